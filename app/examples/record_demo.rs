//! Records the session that `softprefix demo` plays: the workbench and the bridge without a window, with the real embedded
//! module, led by the script below at a person's pace.
//!
//! `cargo run --release -p softprefix --example record_demo -- assets/demo/demo.jsonl`
//!
//! It needs the Qwen model (`softprefix models fetch qwen-coder`), and a machine with nothing else to do: what is recorded is its pace.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use softprefix::bridge::Bridge;
use softprefix::messages::{Event, LibraryRequest, RecordingEvent, RecordingRequest, Request};
use softprefix::model::{KindChoice, Language, Remembered, Target};
use softprefix::workbench::{Action, Workbench};
use softprefix_core::compare::Measure;

/// What the user does.
enum Move {
    /// Asks something else.
    Ask(&'static str),
    /// To this magnitude in token norms, in so many milliseconds; then until the text is there, and so long after it.
    To(f64, u64, u64),
}

/// The prompts and magnitudes are among those of `assets/demo/story.json`, which `assets/demo/make` runs.
const SCRIPT: &[Move] = &[
    Move::Ask("春についての短い詩を書いてください。"),
    Move::To(0.1, 0, 1500),
    Move::To(1.0, 900, 1000),
    Move::To(3.0, 700, 1000),
    Move::To(5.0, 600, 1800),
    Move::To(10.0, 700, 1300),
    Move::To(20.0, 800, 1800),
    Move::To(100.0, 800, 2200),
    Move::Ask("Write a haiku about the sea."),
    Move::To(0.1, 900, 1500),
    Move::To(0.5, 700, 1800),
    Move::To(1.0, 700, 1200),
    Move::To(3.0, 700, 1000),
    Move::To(5.0, 700, 1000),
    Move::To(7.0, 600, 1800),
    Move::To(20.0, 800, 1300),
    Move::To(100.0, 800, 2500),
];
const SEED: u64 = 1;
const LEN: usize = 4;
const MAX_TOKENS: usize = 48;
/// One step of the slider.
const STEP: Duration = Duration::from_millis(40);
const PATIENCE: Duration = Duration::from_secs(120);

struct Recorder {
    workbench: Workbench,
    bridge: Bridge,
    written: Option<PathBuf>,
}

impl Recorder {
    fn act(&mut self, action: Action) {
        self.workbench.apply(action);
        self.bridge.send_all(self.workbench.take_requests());
    }

    fn turn(&mut self, at_most: Duration) -> anyhow::Result<()> {
        if let Some(event) = self.bridge.wait(at_most) {
            match &event {
                Event::Failed { problem, .. } | Event::Lost(problem) => anyhow::bail!("{problem}"),
                Event::Recording(event) => match &**event {
                    RecordingEvent::Ended { path } => self.written = Some(path.clone()),
                    RecordingEvent::CannotWrite(problem) => anyhow::bail!("{problem}"),
                    _ => {}
                },
                _ => {}
            }
            self.workbench.absorb(event);
            self.bridge.send_all(self.workbench.take_requests());
        }
        Ok(())
    }

    fn rest(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.turn(left.min(Duration::from_millis(5)))?;
        }
        Ok(())
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            anyhow::ensure!(Instant::now() < until, "waited in vain for {what}");
            self.turn(Duration::from_millis(5))?;
        }
        Ok(())
    }

    fn glide(&mut self, to: f64, time: Duration) -> anyhow::Result<()> {
        const LEAST: f64 = 1e-3;
        let from = self.workbench.prefix.magnitude;
        let (a, b) = (from.max(LEAST).ln(), to.max(LEAST).ln());
        let steps = (time.as_millis() / STEP.as_millis()) as u32;
        for step in 1..steps {
            let way = f64::from(step) / f64::from(steps);
            // A person is slow at both ends; four figures are more than a slider has.
            let at = (a + (b - a) * way * way * (3.0 - 2.0 * way)).exp();
            self.act(Action::SetMagnitude((at * 1e4).round() / 1e4));
            self.rest(STEP)?;
        }
        self.act(Action::SetMagnitude(to));
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let to: PathBuf = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from("assets/demo/demo.jsonl"), PathBuf::from);
    let folder = tempfile::tempdir()?;
    let mut remembered = Remembered::default();
    remembered.settings.live = false;
    remembered.settings.language = Language::English;
    remembered.settings.measure = Measure::Chrf2;
    remembered.prefix.kind = KindChoice::RandomNormal;
    remembered.prefix.seed = SEED;
    remembered.prefix.len = LEN;
    remembered.prefix.magnitude = 0.0;
    remembered.prompt.max_tokens = MAX_TOKENS;
    let mut recorder = Recorder {
        workbench: Workbench::new(remembered),
        bridge: Bridge::start(|| ())?,
        written: None,
    };
    recorder
        .bridge
        .send(Request::Recording(RecordingRequest::Folder(folder.path().to_owned())));
    // What is run is kept; here only until the recording is written.
    recorder.bridge.send(Request::Library(LibraryRequest::Open {
        folder: folder.path().join("experiments"),
        old: folder.path().join("none"),
    }));
    recorder.act(Action::Connect(Target::default()));
    recorder.until("the module", |recorder| recorder.workbench.module.is_ready())?;
    recorder.until("the budget", |recorder| {
        recorder.workbench.budget.is_some_and(|budget| budget.current)
    })?;
    recorder.rest(Duration::from_secs(1))?;
    recorder.act(Action::ToggleRecording);
    recorder.rest(Duration::from_millis(400))?;
    for step in SCRIPT {
        match *step {
            Move::Ask(prompt) => {
                recorder.act(Action::SetLive(false));
                recorder.act(Action::SetPrompt(prompt.to_owned()));
                recorder.rest(Duration::from_millis(300))?;
            }
            Move::To(magnitude, glide, after) => {
                recorder.glide(magnitude, Duration::from_millis(glide))?;
                if !recorder.workbench.live {
                    recorder.act(Action::Run);
                    recorder.act(Action::SetLive(true));
                }
                recorder.until("the texts", |recorder| !recorder.workbench.is_running())?;
                recorder.until("the noise floor", |recorder| {
                    recorder
                        .workbench
                        .tuning
                        .group()
                        .is_some_and(|group| group.noise.is_some())
                })?;
                recorder.rest(Duration::from_millis(after))?;
            }
        }
    }
    recorder.act(Action::ToggleRecording);
    recorder.until("the file", |recorder| recorder.written.is_some())?;
    if let Some(written) = recorder.written.take() {
        std::fs::copy(&written, &to)?;
    }
    println!("{}: {} bytes", to.display(), std::fs::metadata(&to)?.len());
    Ok(())
}
