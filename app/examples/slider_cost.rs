//! What the slider costs, in wall time, beside what it is to cost: `cargo run --release -p softprefix --example slider_cost -- [MODEL]`.
//!
//! The window without a screen, its bridge and the embedded unit. The curve of a prefix is filled; then the magnitude is walked over by
//! its key with Live on, and each press is timed until the frame that shows the whole text. MODEL is a catalogue name or a path to a
//! GGUF file. The times hold for a release build on a machine that does nothing else; the ratio holds on others, too. With `--check` it
//! fails where a figure misses its aim.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use eframe::egui::{Context, Event, Key, Modifiers, Pos2, RawInput, Rect, UiBuilder, vec2};
use softprefix::app::frame_of;
use softprefix::bridge::Bridge;
use softprefix::messages::{LibraryRequest, Request};
use softprefix::model::{LIVE_DELAY, PRESETS, PaneState, Remembered, Target};
use softprefix::panels::Window;
use softprefix::workbench::library::LibraryState;
use softprefix::workbench::{Action, Workbench};
use softprefix::{fonts, theme};
use softprefix_core::experiment::Record;

/// Longest wait for one thing.
const LONG: Duration = Duration::from_secs(300);

/// Key to whole text where a text is kept, in milliseconds.
const AIM_KEPT: f64 = 50.0;
/// Key to whole text elsewhere, without Live's delay, as a share of a plain run with as many tokens.
const AIM_BETWEEN: f64 = 0.85;
/// All twelve runs of a curve of 64 tokens with the model of 0.5 billion parameters, in milliseconds.
const AIM_CURVE: f64 = 4500.0;

struct Harness {
    workbench: Workbench,
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
        let (window, workbench) = (&mut self.window, &mut self.workbench);
        let output = self.ctx.run_ui(input, |ui| {
            let whole = ui.ctx().content_rect();
            frame_of(window, workbench, &mut ui.new_child(UiBuilder::new().max_rect(whole)));
        });
        let triangles = self.ctx.tessellate(output.shapes.clone(), output.pixels_per_point);
        assert!(!triangles.is_empty());
        output.drop_without_applying_deltas();
        self.bridge.send_all(self.workbench.take_requests());
    }

    /// Takes in what is reported until `done`, without drawing.
    fn until(&mut self, what: &str, done: impl Fn(&Workbench) -> bool) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        while !done(&self.workbench) {
            if begin.elapsed() > LONG {
                bail!("waited in vain for {what}");
            }
            if let Some(event) = self.bridge.wait(Duration::from_millis(5)) {
                self.workbench.absorb(event);
            }
            self.bridge.send_all(self.workbench.take_requests());
        }
        Ok(begin.elapsed())
    }

    fn act(&mut self, action: Action) {
        self.workbench.apply(action);
        self.bridge.send_all(self.workbench.take_requests());
    }
}

/// Whether the right pane shows the whole text of what the controls say.
fn is_whole(workbench: &Workbench) -> bool {
    !workbench.is_running() && workbench.prefixed.state == PaneState::Done && !workbench.prefixed.stale
}

/// Times of runs that nothing was drafted for.
struct Plain {
    first_token: f64,
    /// Of each baseline, the time of a token after the first one.
    by_token: Vec<f64>,
}

impl Plain {
    /// In milliseconds.
    fn of(&mut self, tokens: usize) -> anyhow::Result<f64> {
        let by_token = middle(&mut self.by_token).context("no baseline was run")?;
        Ok(self.first_token + tokens.saturating_sub(1) as f64 * by_token)
    }
}

/// The number of tokens of a run.
fn tokens_of(record: &Record) -> anyhow::Result<usize> {
    let usage = record.answer().and_then(|answer| answer.usage.as_ref());
    Ok(usage
        .context("the unit does not tell the number of tokens")?
        .completion_tokens)
}

/// The baselines of several prompts, none of which was run before; the last prompt is the one that is tuned.
fn plain_runs(harness: &mut Harness) -> anyhow::Result<Plain> {
    let mut plain = Plain {
        first_token: 0.0,
        by_token: Vec::new(),
    };
    for preset in (0..PRESETS.len()).rev() {
        harness.act(Action::LoadPreset(preset));
        harness.until("the counts", |workbench| {
            workbench.budget.is_some_and(|budget| budget.current)
        })?;
        harness.act(Action::RerunBaseline);
        harness.until("the baseline and its second run", |workbench| {
            workbench.tuning.group().is_some_and(|group| group.noise.is_some()) && !workbench.is_running()
        })?;
        let baseline = harness.workbench.tuning.baseline().context("there is no baseline")?;
        let answer = baseline.answer().context("the baseline has no text")?;
        let first_token = answer.ttft_sec.context("the baseline has no first token")?;
        plain.first_token = first_token * 1000.0;
        let others = tokens_of(baseline)?.saturating_sub(1).max(1) as f64;
        plain
            .by_token
            .push((answer.elapsed_sec - first_token) * 1000.0 / others);
    }
    Ok(plain)
}

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = arguments.iter().any(|argument| argument == "--check");
    arguments.retain(|argument| argument != "--check");
    let model = arguments.pop();
    let folder = tempfile::tempdir()?;
    let mut remembered = Remembered::default();
    remembered.settings.live = false;
    let mut harness = Harness {
        workbench: Workbench::new(remembered),
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
    harness.until("the library", |workbench| workbench.library.state == LibraryState::Open)?;
    harness.act(Action::Connect(Target::Embedded { model }));
    harness.until("the module", |workbench| workbench.module.is_ready())?;
    let mut plain = plain_runs(&mut harness)?;

    harness.act(Action::FillCurve);
    let filled = harness.until("the curve", |workbench| workbench.curve.progress().is_none())?;
    let scored = harness.until("its KL", |workbench| {
        let mut points = workbench.tuning.points();
        workbench.tuning.points().count() >= 12 && points.all(|(record, _)| record.scores.is_some())
    })?;
    let rest = harness.until("the perplexities of its texts", |workbench| {
        !workbench.scores.is_under_way()
    })?;
    let lengths: Vec<usize> = harness
        .workbench
        .tuning
        .points()
        .map(|(record, _)| tokens_of(record))
        .collect::<anyhow::Result<_>>()?;

    harness.act(Action::SetMagnitude(0.01));
    harness.until("the first text", is_whole)?;
    harness.act(Action::SetLive(true));
    harness.frame(Vec::new());
    let delay = LIVE_DELAY.as_secs_f64() * 1000.0;
    let (mut kept, mut between, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    while harness.workbench.prefix.magnitude < 12.0 {
        let ticks = harness.workbench.saved_magnitudes();
        let press = Event::Key {
            key: Key::CloseCurlyBracket,
            physical_key: None,
            pressed: true,
            repeat: false,
            modifiers: Modifiers::NONE,
        };
        let before = harness.workbench.prefix.magnitude;
        let begin = Instant::now();
        harness.frame(vec![press]);
        let now = harness.workbench.prefix.magnitude;
        if now <= before {
            bail!("the key did not move the magnitude");
        }
        harness.until("a text", is_whole)?;
        harness.frame(Vec::new());
        let spent = begin.elapsed().as_secs_f64() * 1000.0;
        if ticks.contains(&now) {
            kept.push(spent);
            continue;
        }
        let (record, _) = harness.workbench.tuning.current().context("no run is shown")?;
        ratios.push((spent - delay) / plain.of(tokens_of(record)?)?);
        between.push(spent);
    }

    let all: usize = lengths.iter().sum();
    println!("a plain run of 64 tokens                  {:8.0} ms", plain.of(64)?);
    let share = |time: Duration| time.as_secs_f64() / filled.as_secs_f64();
    println!(
        "the KL of the curve, after its runs       {:8.0} ms  {:.2} of the runs' time",
        scored.as_secs_f64() * 1000.0,
        share(scored)
    );
    println!(
        "the perplexities of its texts, after that {:8.0} ms  {:.2} of the runs' time",
        rest.as_secs_f64() * 1000.0,
        share(rest)
    );
    let at_kept = middle(&mut kept).context("no kept magnitude was met")?;
    let at_others = middle(&mut between).context("every magnitude was kept")?;
    let ratio = middle(&mut ratios).context("every magnitude was kept")?;
    println!(
        "key to whole text between two kept points {at_others:8.0} ms  with Live's delay of {delay:.0} ms, median of {}",
        between.len()
    );
    let filled = filled.as_secs_f64() * 1000.0;
    println!("\n{:<62} {:>9} {:>9}", "", "measured", "aim");
    let figures = [
        (
            format!("key to whole text on a kept point, median of {}, ms", kept.len()),
            at_kept,
            AIM_KEPT,
            1,
        ),
        (
            format!(
                "between two, of a plain run behind the delay, median of {}",
                ratios.len()
            ),
            ratio,
            AIM_BETWEEN,
            2,
        ),
        (format!("all twelve of a curve, {all} tokens, ms"), filled, AIM_CURVE, 0),
    ];
    let mut missed = false;
    for (name, measured, aim, digits) in figures {
        let met = if measured <= aim { "" } else { "  missed" };
        println!(
            "{name:<62} {measured:>9.digits$} {:>9}{met}",
            format!("≤ {aim:.digits$}")
        );
        missed |= measured > aim;
    }
    harness.bridge.shutdown(Duration::from_secs(10));
    Ok(if check && missed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The median.
fn middle(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
