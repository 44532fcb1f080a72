//! Between the window and the module: one thread that owns the async runtime. Requests go out, events come back.
//!
//! Only this module and the session it shares with the shell await. It knows the client and the embedded unit, and nothing of egui: after every event it calls a
//! `wake` closure.

pub mod deep;
mod doctor;
mod events;
pub mod figure;
mod inference;
mod latest;
pub mod material;
mod reach;
pub mod recording;
pub mod sweep;
mod worker;

pub use doctor::Ways;
pub(crate) use inference::outcome_of;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use softprefix_core::client::ConnectOptions;
use softprefix_core::compare::{Diff, Granularity, Measures};
use softprefix_core::prefix::PrefixRecipe;

use crate::workbench::doctor::{DoctorEvent, DoctorRequest};
use crate::workbench::{
    BuiltPrefix, CaseId, CaseKey, ConnectStep, FetchProgress, FileQuestion, Finish, ModelChoice, ModuleFacts, Problem,
    RunId, Scores, Side, Snapshot, Target, Timings, Vocabulary,
};

/// What the workbench asks for. None of these is answered at once; what comes of them arrives as [`Event`]s.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Connect and set up, leaving the module in use (its task is exited first).
    Connect {
        target: Target,
        case: Box<CaseKey>,
    },
    /// Exit these left-over tasks, then connect as before.
    ExitTasks {
        tasks: Vec<String>,
    },
    /// Fetch this model of the catalogue, then connect to the embedded module with it.
    FetchModel {
        name: String,
        case: Box<CaseKey>,
    },
    CancelFetch,
    /// List the models of the embedded module.
    ListModels,

    /// Build the prefix and tell its norms and digest. Of several in a row only the last is built.
    Describe {
        recipe: PrefixRecipe,
    },
    /// Count the tokens of the prompt. Of several in a row only the last is counted.
    Count {
        system: String,
        user: String,
    },

    /// Run an inference. A running one of the same side is stopped first, and this one waits `delay`.
    Infer(Box<Inference>),
    /// Stop the inference of a side, also one that still waits.
    Stop {
        side: Side,
    },

    /// Compare two texts away from the window's thread.
    Compare(Comparison),

    /// Lead the model through a run's texts, in the place of another run's.
    Score(Box<deep::ScoreRun>),
    StopScoring,

    /// Write a plot.
    SaveFigure(Box<figure::WriteFigure>),
    /// Write a results file.
    Save {
        path: PathBuf,
        snapshot: Box<Snapshot>,
    },
    /// Read a results file.
    Open {
        path: PathBuf,
    },
    /// Files of prefixes, and what a prefix is.
    Material(Box<material::MaterialRequest>),
    /// Work of the doctor.
    Doctor(DoctorRequest),
    /// Sweeps and their history.
    Sweep(Box<sweep::SweepRequest>),
    /// Recordings: written, read.
    Recording(recording::RecordingRequest),
    /// Exit the task and end.
    Shutdown,
}

/// One inference to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    pub run: RunId,
    pub side: Side,
    pub case: CaseKey,
    /// `None` on the baseline.
    pub recipe: Option<PrefixRecipe>,
    pub delay: Duration,
}

/// Two texts to compare.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    pub purpose: Purpose,
    pub left: Arc<str>,
    pub right: Arc<str>,
    pub granularity: Granularity,
}

/// What a comparison is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The diff of what the panes show.
    Panes,
    /// The measures of a finished run, and its diff.
    Run(RunId),
    /// The noise floor of a case: two baselines.
    Noise(CaseId),
}

/// What the bridge reports.
#[derive(Debug)]
pub enum Event {
    // The module.
    Models(Vec<ModelChoice>),
    Fetching(FetchProgress),
    /// The person cancelled the fetch, or it failed: there is no model to start with.
    NoModel(Option<Problem>),
    /// The embedded unit reads a model.
    Loading {
        model: String,
        fraction: f32,
        what: String,
    },
    Connecting(ConnectStep),
    Ready(Box<ModuleFacts>, Option<Arc<Vocabulary>>),
    TaskFull {
        tasks: Vec<String>,
    },
    /// Connecting did not work, or the connection was lost.
    Lost(Problem),

    // The prefix and the prompt.
    Described {
        recipe: PrefixRecipe,
        built: Result<BuiltPrefix, Problem>,
    },
    Counted {
        system: String,
        user: String,
        count: TokenCount,
    },

    // Inferences.
    /// The request is on its way to the module; with a prefix, what it is.
    Started {
        run: RunId,
        side: Side,
        built: Option<BuiltPrefix>,
    },
    Delta {
        run: RunId,
        side: Side,
        text: String,
    },
    Finished {
        run: RunId,
        side: Side,
        outcome: Box<RunOutcome>,
    },
    Failed {
        run: RunId,
        side: Side,
        problem: Problem,
    },
    /// It was stopped before it was sent.
    Dropped {
        run: RunId,
        side: Side,
    },

    /// What the model makes of a run's texts.
    Scored {
        run: RunId,
        found: Result<Arc<Scores>, Problem>,
    },

    // Comparisons and files.
    Compared {
        comparison: Comparison,
        diff: Diff,
        measures: Option<Box<Measures>>,
    },
    Chosen {
        question: FileQuestion,
        path: Option<PathBuf>,
    },
    Saved {
        path: PathBuf,
    },
    Opened {
        path: PathBuf,
        snapshot: Box<Snapshot>,
    },
    FigureSaved(PathBuf),
    FileProblem(Problem),

    Doctor(DoctorEvent),
    /// What comes of files of prefixes, and of questions what one is.
    Material(Box<material::MaterialEvent>),
    /// What comes of sweeps.
    Sweep(Box<sweep::SweepEvent>),
    Recording(Box<recording::RecordingEvent>),
}

/// Token counts of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCount {
    pub template: usize,
    pub prompt: usize,
    pub window: usize,
    pub prefill_window: usize,
}

/// How an inference ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOutcome {
    /// The whole text.
    pub text: String,
    pub finish: Finish,
    pub timings: Timings,
    pub tokens: Option<Vec<u32>>,
    /// The reply carries the digest of the prefix that was sent.
    pub echoed: bool,
}

/// Events that may wait for the window. A window that is behind slows the bridge down, and so the module.
const EVENTS: usize = 1024;

/// The window's end of the bridge.
pub struct Bridge {
    requests: mpsc::UnboundedSender<Request>,
    events: mpsc::Receiver<Event>,
    answers: mpsc::Sender<Event>,
    wake: Arc<dyn Fn() + Send + Sync>,
    runtime: tokio::runtime::Handle,
    thread: Option<JoinHandle<()>>,
}

impl Bridge {
    /// Starts the thread. `wake` is called, from that thread, after every event.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(wake: impl Fn() + Send + Sync + 'static) -> std::io::Result<Self> {
        Self::with(ConnectOptions::default(), wake)
    }

    /// The same with other limits for what a module may take.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn with(limits: ConnectOptions, wake: impl Fn() + Send + Sync + 'static) -> std::io::Result<Self> {
        Self::by(limits, Ways::default(), wake)
    }

    /// The same with the doctor's ways to modules given.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn by(limits: ConnectOptions, ways: Ways, wake: impl Fn() + Send + Sync + 'static) -> std::io::Result<Self> {
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(wake);
        let (requests, taken) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::channel(EVENTS);
        // Two workers: one may be busy with a diff's hand-over while the other reads the socket.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("softprefix-bridge")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let report = events::Events {
            given_up: None,
            sender: sender.clone(),
            wake: Arc::clone(&wake),
        };
        let thread = std::thread::Builder::new()
            .name("softprefix-bridge-main".to_owned())
            .spawn(move || {
                runtime.block_on(worker::work(taken, report, limits, ways));
                // A fetch or a dialog may still be blocking a thread; nothing of it is needed any more.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            requests,
            events,
            answers: sender,
            wake,
            runtime: handle,
            thread: Some(thread),
        })
    }

    /// Hands over a request. After a shutdown it is dropped.
    pub fn send(&self, request: Request) {
        let _ = self.requests.send(request);
    }

    /// The next event, if there is one. Never waits.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// The next event, waiting for it until `limit` has passed. For tests and tools, not for the window's thread.
    pub fn wait(&mut self, limit: Duration) -> Option<Event> {
        let until = Instant::now() + limit;
        loop {
            if let Some(event) = self.poll() {
                return Some(event);
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Awaits the answer of a file dialog, away from the window's thread.
    pub fn await_answer(&self, question: FileQuestion, answer: impl Future<Output = Option<PathBuf>> + Send + 'static) {
        let (answers, wake) = (self.answers.clone(), Arc::clone(&self.wake));
        self.runtime.spawn(async move {
            let path = answer.await;
            let _ = answers.send(Event::Chosen { question, path }).await;
            wake();
        });
    }

    /// Exits the task on the module and ends the thread; gives up waiting after `limit`.
    pub fn shutdown(&mut self, limit: Duration) {
        self.send(Request::Shutdown);
        let Some(thread) = self.thread.take() else { return };
        let until = Instant::now() + limit;
        while !thread.is_finished() && Instant::now() < until {
            // The worker must not wait for room in a channel that nobody empties.
            while self.poll().is_some() {}
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.shutdown(Duration::from_secs(4));
    }
}
