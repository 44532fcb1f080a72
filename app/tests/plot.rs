//! What a person can do with a plot: zoom it, move it, take hold of the line of the magnitude, point at a run.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[allow(dead_code, reason = "only what is painted")]
#[path = "common/stage.rs"]
mod stage;

use eframe::egui::{
    Event, Modifiers, MouseWheelSource, MouseWheelUnit, PointerButton, Pos2, Rect, ScrollArea, Shape, TouchPhase, Vec2,
    pos2, vec2,
};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use softprefix::views::axis::Axis;
use softprefix::views::magnitude::MagnitudeChange;
use softprefix::views::plot::{Current, Plot, Point, Touched, View};
use softprefix::{fonts, theme};

use stage::painted;

struct Page {
    points: Vec<Point>,
    y_label: &'static str,
    touched: Vec<Touched>,
}

/// A page that is higher than the window, with a plot at its top: points at 0.01, 0.1, 1 and 10, the magnitude at 1.
fn page() -> Harness<'static, Page> {
    let mut harness = Harness::builder()
        .with_size(vec2(640.0, 400.0))
        .with_step_dt(0.01)
        .with_context_setup(|ctx| {
            fonts::install(ctx);
            theme::install(ctx);
        })
        .build_ui_state(
            |ui, page: &mut Page| {
                let plot = Plot {
                    name: "plot",
                    axis: Axis::NORMS,
                    regions: None,
                    points: &page.points,
                    top: 100.0,
                    y_label: page.y_label,
                    x_label: "Magnitude",
                    noise: None,
                    collapse: None,
                    current: Some(Current {
                        x: 1.0,
                        y: None,
                        tag: String::new(),
                        movable: true,
                    }),
                    second: None,
                    selected: None,
                    empty: "",
                };
                let touched = ScrollArea::vertical().show(ui, |ui| {
                    let touched = plot.show(ui, vec2(600.0, 300.0), |id| format!("run {id}"));
                    ui.add_space(800.0);
                    touched
                });
                page.touched.push(touched.inner);
            },
            Page {
                points: (0..4).map(|index| point(index, 10_f64.powi(index - 2))).collect(),
                y_label: "chrF2",
                touched: Vec::new(),
            },
        );
    harness.run_steps(2);
    harness
}

fn point(index: i32, x: f64) -> Point {
    Point {
        id: index as u64,
        x,
        y: 80.0 - 20.0 * f64::from(index),
        collapsed: false,
        joined: true,
    }
}

/// Where the lines of the plot are: beside the figures, the place of 0 and the names of the regions.
fn area(harness: &Harness<'_, Page>) -> Rect {
    let whole = harness.get_by_label("plot").rect();
    Rect::from_min_max(whole.min + vec2(88.0, 24.0), whole.max - vec2(8.0, 46.0))
}

/// Where a magnitude lies while all of the axis is visible; half way up.
fn at(harness: &Harness<'_, Page>, magnitude: f64) -> Pos2 {
    let area = area(harness);
    pos2(
        area.left() + area.width() * Axis::NORMS.share(magnitude),
        area.center().y,
    )
}

fn wheel(harness: &mut Harness<'_, Page>, at: Pos2, delta: f32, modifiers: Modifiers) {
    harness.hover_at(at);
    harness.run_steps(1);
    harness.event(Event::MouseWheel {
        unit: MouseWheelUnit::Point,
        delta: vec2(0.0, delta),
        phase: TouchPhase::Move,
        source: MouseWheelSource::Unknown,
        modifiers,
    });
    // The wheel glides.
    harness.run_steps(40);
}

fn press(harness: &mut Harness<'_, Page>, pos: Pos2, button: PointerButton, pressed: bool) {
    harness.event(Event::PointerButton {
        pos,
        button,
        pressed,
        modifiers: Modifiers::NONE,
    });
    harness.run_steps(1);
}

fn drag(harness: &mut Harness<'_, Page>, button: PointerButton, from: Pos2, by: Vec2) {
    harness.hover_at(from);
    harness.run_steps(1);
    press(harness, from, button, true);
    for share in [0.05, 0.5, 1.0] {
        harness.hover_at(from + share * by);
        harness.run_steps(1);
    }
    press(harness, from + by, button, false);
    harness.run_steps(1);
}

fn zoomed(harness: &Harness<'_, Page>) -> Option<[String; 2]> {
    View::of("plot", harness.state().y_label, Axis::NORMS).zoomed(&harness.ctx)
}

fn moved(harness: &Harness<'_, Page>) -> Option<f64> {
    harness
        .state()
        .touched
        .iter()
        .rev()
        .find_map(|touched| match touched.moved {
            Some(MagnitudeChange::Set(value)) => Some(value),
            _ => None,
        })
}

const CTRL: Modifiers = Modifiers {
    ctrl: true,
    command: true,
    ..Modifiers::NONE
};

#[test]
fn ctrl_and_the_wheel_zoom_and_the_plain_wheel_scrolls_the_page() {
    let mut harness = page();
    let place = at(&harness, 0.1);
    wheel(&mut harness, place, 200.0, CTRL);
    let ends = zoomed(&harness);
    assert!(ends.is_some(), "zoomed");
    let top = harness.get_by_label("plot").rect().top();
    wheel(&mut harness, place, -100.0, Modifiers::NONE);
    assert_eq!(zoomed(&harness), ends);
    assert!(
        harness.get_by_label("plot").rect().top() < top - 50.0,
        "the page has scrolled"
    );
}

#[test]
fn pinching_zooms_around_the_pointer_and_ends_where_the_axis_ends() {
    let mut harness = page();
    let place = at(&harness, 1.0);
    harness.hover_at(place);
    harness.run_steps(1);
    harness.event(Event::Zoom(5.0));
    harness.run_steps(1);
    // A fifth of five decades, with three fifths of it left of 1.
    assert_eq!(zoomed(&harness).unwrap(), ["0.25×", "2.5×"]);
    harness.event(Event::Zoom(1e9));
    harness.run_steps(1);
    assert_eq!(zoomed(&harness).unwrap(), ["0.99×", "1.0×"], "a thousandth of the axis");
    harness.event(Event::Zoom(1e-12));
    harness.run_steps(1);
    assert_eq!(zoomed(&harness), None, "all of it, and not more");
}

#[test]
fn a_box_under_the_right_button_fills_the_plot_and_a_double_click_shows_all() {
    let mut harness = page();
    let (from, to) = (at(&harness, 0.1), at(&harness, 10.0));
    drag(
        &mut harness,
        PointerButton::Secondary,
        from,
        to - from + vec2(0.0, 60.0),
    );
    // A box begins where the pointer is when it is seen to drag.
    assert_eq!(zoomed(&harness).unwrap(), ["0.13×", "10×"]);
    let quiet = area(&harness).left_top() + vec2(20.0, 20.0);
    harness.hover_at(quiet);
    for pressed in [true, false, true, false] {
        press(&mut harness, quiet, PointerButton::Primary, pressed);
    }
    harness.run_steps(1);
    assert_eq!(zoomed(&harness), None);
}

#[test]
fn what_is_visible_is_kept_while_runs_come_in_and_each_measure_has_its_own() {
    let mut harness = page();
    harness.hover_at(at(&harness, 1.0));
    harness.run_steps(1);
    harness.event(Event::Zoom(2.0));
    harness.run_steps(1);
    let ends = zoomed(&harness);
    assert!(ends.is_some());
    harness.state_mut().points.push(point(4, 90.0));
    harness.run_steps(3);
    assert_eq!(zoomed(&harness), ends);
    harness.state_mut().y_label = "indel";
    harness.run_steps(2);
    assert_eq!(zoomed(&harness), None);
    harness.state_mut().y_label = "chrF2";
    assert_eq!(zoomed(&harness), ends);
    View::of("plot", "chrF2", Axis::NORMS).reset(&harness.ctx);
    harness.run_steps(2);
    assert_eq!(zoomed(&harness), None);
}

#[test]
fn a_drag_from_the_line_moves_the_magnitude_and_one_from_elsewhere_moves_the_plot() {
    let mut harness = page();
    let (line, step) = (at(&harness, 1.0), area(&harness).width() / 5.0);
    drag(
        &mut harness,
        PointerButton::Primary,
        line + vec2(4.0, -70.0),
        vec2(step - 4.0, 10.0),
    );
    let to = moved(&harness).unwrap();
    assert!((to / 10.0 - 1.0).abs() < 0.02, "dragged to {to}");
    assert_eq!(zoomed(&harness), None);
    // To the place of 0.
    drag(
        &mut harness,
        PointerButton::Primary,
        line,
        vec2(-3.0 * step - 40.0, 0.0),
    );
    assert_eq!(moved(&harness), Some(0.0));

    // All of it is visible: there is nowhere to go.
    harness.state_mut().touched.clear();
    let elsewhere = at(&harness, 0.03);
    drag(&mut harness, PointerButton::Primary, elsewhere, vec2(step, 0.0));
    assert_eq!((zoomed(&harness), moved(&harness)), (None, None));
    harness.hover_at(line);
    harness.run_steps(1);
    harness.event(Event::Zoom(5.0));
    harness.run_steps(1);
    assert_eq!(zoomed(&harness).unwrap(), ["0.25×", "2.5×"]);
    // A fifth of the width is a fifth of a decade now.
    drag(&mut harness, PointerButton::Primary, elsewhere, vec2(step, 0.0));
    assert_eq!(zoomed(&harness).unwrap(), ["0.16×", "1.6×"]);
    assert_eq!(moved(&harness), None);
}

#[test]
fn a_point_says_what_it_is_and_opens_at_a_click_and_the_arrows_go_from_one_to_the_next() {
    let mut harness = page();
    let area = area(&harness);
    let height = area.height() - 12.0;
    let spot = pos2(at(&harness, 0.1).x, area.bottom() - height * 0.6);
    harness.hover_at(spot + vec2(5.0, 5.0));
    harness.run_steps(2);
    assert_eq!(harness.state().touched.last().unwrap().pointed, Some(1));
    assert_eq!(harness.get_by_label("plot").value().unwrap(), "run 1");
    press(&mut harness, spot, PointerButton::Primary, true);
    press(&mut harness, spot, PointerButton::Primary, false);
    let opened = |harness: &Harness<'_, Page>| harness.state().touched.iter().rev().find_map(|touched| touched.opened);
    assert_eq!(opened(&harness), Some(1));
    harness.get_by_label("plot").focus();
    harness.run_steps(1);
    harness.key_press(eframe::egui::Key::ArrowLeft);
    harness.run_steps(2);
    assert_eq!(opened(&harness), Some(3), "nothing is selected: from the end");
}

/// What is painted of texts in the last frame, and where.
fn texts(harness: &Harness<'_, Page>) -> Vec<(String, Rect)> {
    let texts = painted(harness).into_iter().filter_map(|shape| match shape {
        Shape::Text(text) => Some((text.galley.text().to_owned(), text.visual_bounding_rect())),
        _ => None,
    });
    texts.collect()
}

#[test]
fn a_tooltip_is_next_to_its_point() {
    let mut harness = page();
    let area = area(&harness);
    let height = area.height() - 12.0;
    for (magnitude, share, words) in [(0.1, 0.6, "run 1"), (1.0, 0.4, "run 2"), (10.0, 0.2, "run 3")] {
        let spot = pos2(at(&harness, magnitude).x, area.bottom() - height * share);
        harness.hover_at(spot + vec2(4.0, 3.0));
        harness.run_steps(3);
        let texts = texts(&harness);
        let tooltip = texts.iter().find(|(text, _)| text == words).map(|(_, place)| *place);
        let distance = tooltip.unwrap().distance_to_pos(spot);
        assert!((4.0..32.0).contains(&distance), "{words}: {distance}");
    }
}

#[test]
fn the_crosshair_says_magnitude_and_value_where_the_pointer_is() {
    let mut harness = page();
    let area = area(&harness);
    let spot = pos2(at(&harness, 0.1).x, area.bottom() - (area.height() - 12.0) * 0.25);
    harness.hover_at(spot);
    harness.run_steps(3);
    let values = texts(&harness).into_iter().find(|(text, _)| text.contains("× · "));
    let (values, place) = values.unwrap();
    assert!(area.contains_rect(place), "in the corner of the plot");
    let (magnitude, value) = values.split_once("× · ").unwrap();
    assert_eq!(magnitude, "0.10");
    assert!((value.parse::<f64>().unwrap() - 25.0).abs() < 1.0, "{values}");
}
