//! Small pictures of the widgets that are painted by hand: a change of how they look must be meant.
//!
//! The pictures are in `tests/snapshots`; `UPDATE_SNAPSHOTS=1` draws them anew. They are compared on Linux, where the
//! software renderer draws them the same everywhere; without a renderer there is nothing to compare.

#![cfg(target_os = "linux")]

use eframe::egui::{self, Ui, vec2};
use egui_kittest::{Harness, SnapshotOptions};
use softprefix::model::WindowUse;
use softprefix::views::axis::{Axis, RegionNames, Regions};
use softprefix::views::budget;
use softprefix::views::diff::{Content, DiffPanes, DiffSide};
use softprefix::views::magnitude::{MagnitudeSlider, NormsCurve};
use softprefix::views::plot::{Current, NoiseBand, Plot, Point, Second};
use softprefix::views::status::{self, Status};
use softprefix::{fonts, theme};

const NAMES: RegionNames<'static> = RegionNames {
    floor: "under the floor",
    tokens: "token-like",
    over: "overdriven",
};

fn check(name: &str, size: [f32; 2], dark: bool, mut contents: impl FnMut(&mut Ui) + 'static) {
    let mut harness = Harness::builder()
        .with_size(vec2(size[0], size[1]))
        .with_theme(if dark { egui::Theme::Dark } else { egui::Theme::Light })
        .with_max_steps(20)
        .with_render_cursor(false)
        .with_context_setup(|ctx| {
            fonts::install(ctx);
            theme::install(ctx);
        })
        .build_ui(move |ui| {
            let palette = theme::Palette::of(ui);
            ui.painter().rect_filled(ui.ctx().content_rect(), 0.0, palette.panel);
            contents(ui);
        });
    harness.run_steps(3);
    // The harness panics where neither Vulkan nor GL is installed.
    let drawn = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| harness.render()));
    if !matches!(drawn, Ok(Ok(_))) {
        eprintln!("there is no renderer here, {name} is not compared");
        return;
    }
    // A few pixels at the edges of letters may differ from one renderer to the next.
    let options = SnapshotOptions::new().threshold(1.5).max_failed_pixels(24);
    harness.snapshot_options(name, &options);
}

fn slider(ui: &mut Ui, value: f64, saved: &[f64]) {
    let points = (0..60)
        .map(|step| {
            let x = 10_f64.powf(-0.6 + 0.02 * f64::from(step));
            (x, (-(x.log10() / 0.12).powi(2)).exp() as f32)
        })
        .collect();
    let norms = NormsCurve { points };
    let slider = MagnitudeSlider {
        name: "Magnitude",
        accessible_value: "",
        norms: Some(&norms),
        saved,
        norms_label: Some(["vocabulary", "norms"]),
        handle: 12.0,
        ground: theme::Palette::of(ui).panel,
        keys: true,
    };
    slider.show(ui, Axis::NORMS, Some((Regions::NORMS, NAMES)), 104.0, value);
}

#[test]
fn the_slider_over_the_vocabulary() {
    check("slider-dark", [304.0, 168.0], true, |ui| slider(ui, 2.9, &[]));
}

#[test]
fn the_slider_at_its_stop() {
    check("slider-stop-light", [304.0, 168.0], false, |ui| {
        slider(ui, 0.0, &[0.01, 0.05, 0.25, 1.0, 2.5, 12.0])
    });
}

fn text(ui: &mut Ui, pane: DiffSide, text: &str, marks: &[std::ops::Range<usize>], streaming: bool) {
    let content = Content {
        text,
        marks,
        heats: &[],
        current: None,
        first_difference: Some((9, "4")),
        streaming,
        opacity: 1.0,
        name: "output",
        description: "",
    };
    DiffPanes::default().show(ui, pane, &content, theme::Type { size: 22.0, line: 40.0 });
}

#[test]
fn what_was_removed_is_dashed() {
    check("removed-light", [280.0, 136.0], false, |ui| {
        text(
            ui,
            DiffSide::Left,
            "春の花を咲かせ、風に揺れる葉。",
            &[9..21, 30..42],
            false,
        );
    });
}

#[test]
fn what_was_added_is_solid() {
    check("added-dark", [280.0, 136.0], true, |ui| {
        text(
            ui,
            DiffSide::Right,
            "春の花を咲かせ、風に揺れる葉。",
            &[9..21, 30..42],
            false,
        );
    });
}

/// A plot with everything that one can have; `second` is the second line.
fn plot(ui: &mut Ui, second: Option<Second<'_>>) {
    let points: Vec<_> = [0.0, 0.001, 0.01, 0.1, 0.5, 1.0, 2.9, 8.0, 30.0, 100.0]
        .into_iter()
        .enumerate()
        .map(|(index, x)| Point {
            id: index as u64,
            x,
            y: 100.0 / (1.0 + x),
            collapsed: x > 5.0,
            joined: index != 4,
        })
        .collect();
    let plot = Plot {
        name: "plot",
        axis: Axis::NORMS,
        regions: Some((Regions::NORMS, NAMES)),
        points: &points,
        top: 100.0,
        y_label: "chrF2",
        x_label: "Magnitude, × token norm",
        noise: Some(NoiseBand {
            from: 92.0,
            to: 100.0,
            words: "noise floor",
        }),
        collapse: Some((8.0, "collapsed from 8.0×")),
        current: Some(Current {
            x: 2.9,
            y: Some(25.6),
            tag: "2.9× · chrF2 25.6".to_owned(),
            movable: true,
        }),
        second,
        selected: Some(3),
        empty: "",
    };
    let size = ui.available_size();
    plot.show(ui, size, |id| id.to_string());
}

#[test]
fn the_plot_with_noise_collapse_and_the_current_prefix() {
    check("plot-dark", [560.0, 300.0], true, |ui| plot(ui, None));
}

#[test]
fn the_plot_with_a_second_line() {
    check("plot-light", [560.0, 300.0], false, |ui| {
        let points = [
            (0.001, 0.001),
            (0.01, 0.02),
            (0.1, 0.2),
            (0.5, 0.9),
            (1.0, 1.8),
            (2.9, 4.1),
            (8.0, 5.6),
        ];
        let label = "mean KL, nats";
        plot(ui, Some(Second { points: &points, label }));
    });
}

#[test]
fn the_budget_and_the_marks_of_standing() {
    check("budget-and-marks-light", [240.0, 72.0], false, |ui| {
        let window_use = WindowUse {
            prefix: 4,
            template: 210,
            prompt: 180,
            output: 128,
            window: 1024,
            ..WindowUse::default()
        };
        budget::bar(ui, &window_use, "budget");
        ui.horizontal(|ui| {
            for mark in [
                Status::Good,
                Status::Warning,
                Status::Broken,
                Status::Busy,
                Status::Away,
            ] {
                status::mark(ui, mark);
            }
        });
    });
}
