//! From a key press to the whole text, in wall time: `cargo run --release -p softprefix --example slider_cost -- [MODEL]`.
//!
//! The window without a screen, its bridge and the embedded unit. The curve of a prefix is filled; then the magnitude is walked over by
//! its key with Live on, and each press is timed until the frame that shows the whole text. MODEL is a catalogue name or a path to a
//! GGUF file. Times depend on the machine: compare the ratios.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use eframe::egui::{Context, Event, Key, Modifiers, Pos2, RawInput, Rect, UiBuilder, vec2};
use softprefix::app::frame_of;
use softprefix::bridge::Bridge;
use softprefix::messages::{LibraryRequest, Request};
use softprefix::model::{LIVE_DELAY, PaneState, Remembered, Target};
use softprefix::panels::Window;
use softprefix::workbench::library::LibraryState;
use softprefix::workbench::{Action, Workbench};
use softprefix::{fonts, theme};

/// Longest wait for one thing.
const LONG: Duration = Duration::from_secs(300);

struct Harness {
    bench: Workbench,
    bridge: Bridge,
    window: Window,
    ctx: Context,
    started: Instant,
}

impl Harness {
    /// One frame in which these events come, up to its triangles.
    fn frame(&mut self, events: Vec<Event>) {
        let input = RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, vec2(1280.0, 800.0))),
            time: Some(self.started.elapsed().as_secs_f64()),
            events,
            ..RawInput::default()
        };
        let (window, bench) = (&mut self.window, &mut self.bench);
        let output = self.ctx.run_ui(input, |ui| {
            let whole = ui.ctx().content_rect();
            frame_of(window, bench, &mut ui.new_child(UiBuilder::new().max_rect(whole)));
        });
        let triangles = self.ctx.tessellate(output.shapes.clone(), output.pixels_per_point);
        assert!(!triangles.is_empty());
        output.drop_without_applying_deltas();
        self.send();
    }

    fn send(&mut self) {
        for request in self.bench.take_requests() {
            self.bridge.send(request);
        }
    }

    /// Takes in what is reported until `done`, without drawing.
    fn until(&mut self, what: &str, done: impl Fn(&Workbench) -> bool) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        while !done(&self.bench) {
            if begin.elapsed() > LONG {
                bail!("waited in vain for {what}");
            }
            if let Some(event) = self.bridge.wait(Duration::from_millis(5)) {
                self.bench.absorb(event);
            }
            self.send();
        }
        Ok(begin.elapsed())
    }

    fn act(&mut self, action: Action) {
        self.bench.apply(action);
        self.send();
    }
}

/// Whether the right pane shows the whole text of what the controls say.
fn is_whole(bench: &Workbench) -> bool {
    !bench.is_running() && bench.prefixed.state == PaneState::Done && !bench.prefixed.stale
}

fn main() -> anyhow::Result<()> {
    let model = std::env::args().nth(1);
    let folder = tempfile::tempdir()?;
    let mut remembered = Remembered::default();
    remembered.settings.live = false;
    let mut harness = Harness {
        bench: Workbench::new(remembered),
        bridge: Bridge::start(|| ())?,
        window: Window::default(),
        ctx: Context::default(),
        started: Instant::now(),
    };
    fonts::install(&harness.ctx);
    theme::install(&harness.ctx);
    harness.bridge.send(Request::Library(LibraryRequest::Open {
        folder: folder.path().join("experiments"),
        old: folder.path().join("none"),
    }));
    harness.until("the library", |bench| bench.library.state == LibraryState::Open)?;
    harness.act(Action::Connect(Target::Embedded { model }));
    harness.until("the module", |bench| bench.module.is_ready())?;
    harness.until("the counts", |bench| bench.budget.is_some_and(|budget| budget.current))?;

    // The first run has nothing to be drafted from.
    harness.act(Action::RerunBaseline);
    let plain = harness.until("the baseline", |bench| {
        !bench.is_running() && !bench.baseline.text.is_empty()
    })?;
    harness.until("its second run", |bench| {
        bench.tuning.group().is_some_and(|group| group.noise.is_some())
    })?;
    harness.act(Action::FillCurve);
    let filled = harness.until("the curve", |bench| bench.curve.progress().is_none())?;
    harness.until("its scores", |bench| {
        let mut points = bench.tuning.points();
        bench.tuning.points().count() >= 12 && points.all(|(record, _)| record.scores.is_some())
    })?;

    harness.act(Action::SetMagnitude(0.01));
    harness.until("the first text", is_whole)?;
    harness.act(Action::SetLive(true));
    harness.frame(Vec::new());
    let (mut kept, mut between) = (Vec::new(), Vec::new());
    while harness.bench.prefix.magnitude < 12.0 {
        let ticks = harness.bench.kept_magnitudes();
        let press = Event::Key {
            key: Key::CloseCurlyBracket,
            physical_key: None,
            pressed: true,
            repeat: false,
            modifiers: Modifiers::NONE,
        };
        let before = harness.bench.prefix.magnitude;
        let begin = Instant::now();
        harness.frame(vec![press]);
        let now = harness.bench.prefix.magnitude;
        if now <= before {
            bail!("the key did not move the magnitude");
        }
        harness.until("a text", is_whole)?;
        harness.frame(Vec::new());
        let spent = begin.elapsed();
        if ticks.contains(&now) { &mut kept } else { &mut between }.push(spent);
    }
    let plain_ms = plain.as_secs_f64() * 1000.0;
    println!("a plain run (the baseline)        {plain_ms:8.0} ms");
    println!(
        "the curve, 12 runs                {:8.0} ms  {:.2} of twelve plain runs",
        filled.as_secs_f64() * 1000.0,
        filled.as_secs_f64() / (12.0 * plain.as_secs_f64())
    );
    let at_kept = median(&mut kept).context("no kept magnitude was met")?;
    println!("key to text, kept, median of {:2}   {at_kept:8.1} ms", kept.len());
    let delay = LIVE_DELAY.as_secs_f64() * 1000.0;
    let ran = median(&mut between).context("every magnitude was kept")?;
    println!(
        "key to text, between, median of {:2} {ran:7.0} ms  {:.2} of a plain run behind the delay of {delay:.0} ms",
        between.len(),
        (ran - delay) / plain_ms
    );
    harness.bridge.shutdown(Duration::from_secs(10));
    Ok(())
}

/// In milliseconds.
fn median(times: &mut [Duration]) -> Option<f64> {
    times.sort_unstable();
    Some(times.get(times.len() / 2)?.as_secs_f64() * 1000.0)
}
