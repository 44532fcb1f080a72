//! What a frame of the history costs with 10,000 experiments in it, in processor time:
//! `cargo run --release -p softprefix --example history_cost`.
//!
//! The whole Sweep view at rest and while its history is scrolled; interface and tessellation are counted. With `--check` it fails where
//! a figure is above its bound.

use std::process::ExitCode;

use cpu_time::ThreadTime;
use eframe::egui::{self, Context, Event, MouseWheelUnit, PointerButton, Pos2, RawInput, Rect, UiBuilder, pos2, vec2};
use softprefix::messages::LibraryEvent;
use softprefix::model::Remembered;
use softprefix::panels::Window;
use softprefix::workbench::{Action, Tab, Workbench};
use softprefix::{fonts, theme};
use softprefix_core::experiment::journal::JOURNAL_VERSION;
use softprefix_core::experiment::{Condition, Experiment, ModuleIdentity, SavedExperiment, Summary};

const EXPERIMENTS: usize = 10_000;
const FRAMES: usize = 200;
/// Of the median, in milliseconds (release build).
const BOUND: f64 = 1.5;

fn workbench() -> Workbench {
    let mut workbench = Workbench::new(Remembered::default());
    let plan = workbench.sweep_plan();
    let experiments = (0..EXPERIMENTS).rev().map(|number| {
        let saved = SavedExperiment::new(Experiment {
            version: JOURNAL_VERSION,
            id: format!("e{number}"),
            name: format!("春の花を咲かせ {number}"),
            started_unix: 1.8e9 + number as f64,
            plan: Some(plan.clone()),
            module: ModuleIdentity::default(),
        });
        Summary::of(&saved, Condition::default())
    });
    let listed = LibraryEvent::Listed {
        experiments: experiments.collect(),
        problems: Vec::new(),
    };
    workbench.absorb(softprefix::messages::Event::Library(Box::new(listed)));
    workbench.apply(Action::ShowTab(Tab::Sweep));
    workbench
}

fn main() -> ExitCode {
    let ctx = Context::default();
    fonts::install(&ctx);
    theme::install(&ctx);
    let (mut window, mut workbench) = (Window::default(), workbench());
    let mut times = [Vec::new(), Vec::new()];
    for frame in 0..2 * FRAMES + 40 {
        // The second page of the rail is the history.
        let over = pos2(240.0, 80.0);
        let button = |pressed| Event::PointerButton {
            pos: over,
            button: PointerButton::Primary,
            pressed,
            modifiers: egui::Modifiers::NONE,
        };
        let events = match frame {
            10 => vec![Event::PointerMoved(over), button(true)],
            11 => vec![button(false)],
            12..40 => vec![Event::PointerMoved(pos2(160.0, 400.0))],
            _ if frame >= 40 + FRAMES => vec![Event::MouseWheel {
                unit: MouseWheelUnit::Point,
                delta: vec2(0.0, -400.0),
                phase: egui::TouchPhase::Move,
                source: egui::MouseWheelSource::Unknown,
                modifiers: egui::Modifiers::NONE,
            }],
            _ => Vec::new(),
        };
        let input = RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, vec2(1280.0, 800.0))),
            time: Some(frame as f64 / 60.0),
            events,
            ..RawInput::default()
        };
        let start = ThreadTime::now();
        let output = ctx.run_ui(input, |ui| {
            let whole = ui.ctx().content_rect();
            let ui = &mut ui.new_child(UiBuilder::new().max_rect(whole));
            for action in window.show(ui, &workbench) {
                workbench.apply(action);
            }
        });
        let shapes = ctx.tessellate(output.shapes.clone(), output.pixels_per_point);
        let spent = start.elapsed();
        assert!(!shapes.is_empty());
        output.drop_without_applying_deltas();
        if let Some(counted) = frame.checked_sub(40) {
            times[counted / FRAMES].push(spent);
        }
    }
    println!("{EXPERIMENTS} experiments, {FRAMES} frames, processor time of the interface thread");
    let mut failed = false;
    for (name, mut times) in ["at rest", "scrolling"].into_iter().zip(times) {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        println!(
            "{name:<12} p50 {:.2} ms, p95 {:.2} ms, bound {BOUND} ms",
            at(0.5),
            at(0.95)
        );
        failed |= at(0.5) > BOUND;
    }
    if failed && std::env::args().any(|argument| argument == "--check") {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
