//! The footer of a window that plays a recording, with the playback controls; and the labels shown while recording or
//! in an exhibition.

use std::time::Duration;

use eframe::egui::{self, Align2, Frame, Key, Panel, Rect, Sense, Stroke, Ui, UiBuilder, pos2, vec2};

use crate::text::DemoText;
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::icon::{Icon, IconButton};
use crate::views::paint;
use crate::views::slider::{self, Colours, Linear, Slider};
use crate::workbench::playback::Playback;
use crate::workbench::{Action, PlaybackAction, Workbench};

/// Height of the footer.
const FOOT: f32 = 52.0;
/// Below this width the labels beside the bar are omitted.
const NARROW: f32 = 560.0;

/// Draws the footer. Must be called before the other panels.
pub fn footer(ui: &mut Ui, own: &Workbench, playback: &Playback, actions: &mut Vec<Action>) {
    let text = DemoText::of(own.settings.language);
    let palette = Palette::of(ui);
    Panel::bottom("playback")
        .exact_size(FOOT)
        .frame(Frame::NONE.fill(palette.raised))
        .show(ui, |ui| {
            let whole = ui.max_rect();
            ui.painter()
                .hline(whole.x_range(), whole.top() + 0.5, Stroke::new(1.0, palette.line));
            let inner = whole.shrink2(vec2(theme::PADDING, 0.0));
            let mut row = ui.new_child(
                UiBuilder::new()
                    .max_rect(inner)
                    .layout(egui::Layout::left_to_right(egui::Align::Center)),
            );
            row.spacing_mut().item_spacing.x = 8.0;
            controls(&mut row, text, playback, actions);
        });
    keys(ui, own, actions);
}

fn controls(ui: &mut Ui, text: &DemoText, playback: &Playback, actions: &mut Vec<Action>) {
    let palette = Palette::of(ui);
    let mut act = |action| actions.push(Action::Playback(action));
    sign(ui, text, playback);
    ui.add_space(4.0);
    let (icon, name) = match (playback.playing, playback.is_over()) {
        (true, _) => (Icon::Pause, text.pause),
        (false, true) => (Icon::Run, text.from_start),
        (false, false) => (Icon::Run, text.play),
    };
    if ui.add(IconButton::new(icon, name).outlined()).clicked() {
        act(PlaybackAction::Toggle);
    }
    // From the right: everything with a fixed width. The bar takes the rest.
    let rest = ui.available_rect_before_wrap();
    let mut right = ui.new_child(
        UiBuilder::new()
            .max_rect(rest)
            .layout(egui::Layout::right_to_left(egui::Align::Center)),
    );
    right.spacing_mut().item_spacing.x = 8.0;
    if right.add(Button::ink(text.leave).key("Esc")).clicked() {
        act(PlaybackAction::Leave);
    }
    right.add_space(4.0);
    let again = if playback.looping { text.again_on } else { text.again };
    let mut again = IconButton::new(Icon::Again, again);
    if playback.looping {
        again = again.outlined();
    }
    if right.add(again).clicked() {
        act(PlaybackAction::ToggleLoop);
    }
    let speed = format!("{}×", playback.speed);
    let accessible_name = (text.speed)(&speed);
    if right
        .add(Button::quiet(&speed).name(&accessible_name).width(52.0))
        .clicked()
    {
        act(PlaybackAction::NextSpeed);
    }
    let times = format!("{} / {}", clock(playback.at()), clock(playback.recording.length()));
    right.label(paint::figures(times, theme::BODY, palette.text2));
    let bar =
        Rect::from_min_max(rest.min, pos2(right.min_rect().left() - 16.0, rest.max.y)).with_min_x(rest.left() + 8.0);
    if bar.width() > 48.0
        && let Some(to) = (Slider {
            name: text.position,
            accessible_value: &(text.position_accessible_value)(
                &clock(playback.at()),
                &clock(playback.recording.length()),
            ),
            scale: Linear {
                least: 0.0,
                most: playback.recording.length().as_secs_f64(),
                x: slider::track_in(bar),
            },
            steps: (5.0, 30.0),
            keys: false,
            colours: Colours {
                filled: palette.text,
                handle: palette.text,
                ring: palette.raised,
            },
        })
        .show(ui, bar, playback.at().as_secs_f64())
    {
        act(PlaybackAction::Seek(Duration::from_secs_f64(to)));
    }
}

/// Draws the label that this is a recording, or why an action is not possible.
fn sign(ui: &mut Ui, text: &DemoText, playback: &Playback) {
    let palette = Palette::of(ui);
    let words = match &playback.recording.name {
        None => text.is_demo.to_owned(),
        Some(name) => format!("{} · {name}", text.is_recording),
    };
    let narrow = ui.available_width() < NARROW;
    let most = if narrow { 120.0 } else { 280.0 };
    let galley = if playback.refused {
        paint::cut_to(ui, text.refused, theme::BODY.semibold(), palette.text, most + 120.0)
    } else {
        paint::cut_to(ui, &words, theme::BODY.semibold(), palette.text, most)
    };
    let (mark, _) = ui.allocate_exact_size(vec2(14.0, 14.0), Sense::hover());
    reel(ui.painter(), mark, palette);
    ui.add(egui::Label::new(galley).show_tooltip_when_elided(false))
        .on_hover_text(text.refused);
}

/// Paints two reels and the tape between them.
fn reel(painter: &egui::Painter, rect: Rect, palette: &Palette) {
    let stroke = Stroke::new(1.5, palette.text);
    let y = rect.center().y - 1.0;
    let (left, right) = (pos2(rect.left() + 3.0, y), pos2(rect.right() - 3.0, y));
    painter.circle_stroke(left, 3.0, stroke);
    painter.circle_stroke(right, 3.0, stroke);
    painter.hline(left.x..=right.x, y + 3.0, stroke);
}

/// Formats minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Handles keys: Space plays and pauses, the arrows seek by five seconds, Home seeks to the start. Esc is handled by
/// the window.
fn keys(ui: &Ui, own: &Workbench, actions: &mut Vec<Action>) {
    if own.dialog.is_some() || ui.ctx().egui_wants_keyboard_input() {
        return;
    }
    let (toggle, steps, home, again) = ui.input(|input| {
        let pressed = |key| input.num_presses(key) as i32;
        (
            input.key_pressed(Key::Space),
            pressed(Key::ArrowRight) - pressed(Key::ArrowLeft),
            input.key_pressed(Key::Home),
            input.modifiers.is_none() && input.key_pressed(Key::L),
        )
    });
    let mut act = |action| actions.push(Action::Playback(action));
    if toggle {
        act(PlaybackAction::Toggle);
    }
    if steps != 0 {
        act(PlaybackAction::Step(steps));
    }
    if home {
        act(PlaybackAction::Seek(Duration::ZERO));
    }
    if again {
        act(PlaybackAction::ToggleLoop);
    }
}

/// Draws, from the right, the label of a running recording and its stop button.
pub fn recording_sign(ui: &mut Ui, own: &Workbench, actions: &mut Vec<Action>) {
    let Some(recorder) = own.recording() else { return };
    let text = DemoText::of(own.settings.language);
    let palette = Palette::of(ui);
    if ui.add(Button::outlined(text.end_recording).small()).clicked() {
        actions.push(Action::ToggleRecording);
    }
    let words = format!("{} · {}", text.recording, (text.recorded_runs)(recorder.runs()));
    ui.label(paint::strong(words, theme::BODY, palette.broken));
    let (dot, _) = ui.allocate_exact_size(vec2(12.0, 12.0), Sense::hover());
    ui.painter().circle_filled(dot.center(), 5.0, palette.broken);
}

/// Draws the corner label of the Presenter: that it shows a recording, or who has the controls. Returns its box.
pub fn corner(ui: &Ui, own: &Workbench, at: egui::Pos2) -> Option<Rect> {
    let text = DemoText::of(own.settings.language);
    let palette = Palette::of(ui);
    let font = theme::CAPTION.regular();
    let exhibition = own.exhibition.as_ref();
    if own.recording().is_some() {
        let taken = paint::text(
            ui.painter(),
            at,
            Align2::RIGHT_TOP,
            text.recording,
            font,
            palette.broken,
        );
        ui.painter()
            .circle_filled(pos2(taken.left() - 9.0, taken.center().y), 4.0, palette.broken);
        return Some(taken);
    }
    let words = match exhibition? {
        exhibition if exhibition.is_touched() => text.visiting,
        _ => text.exhibiting,
    };
    Some(paint::text(
        ui.painter(),
        at,
        Align2::RIGHT_TOP,
        words,
        font,
        palette.text2,
    ))
}
