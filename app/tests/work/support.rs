//! A workbench and a bridge without a window, and units to work with.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use softprefix::bridge::Bridge;
use softprefix::messages::{Event, MaterialRequest, Request};
use softprefix::model::{Remembered, RunId, RunOutcome, Side, Target};
use softprefix::workbench::{Action, Workbench};
use softprefix_core::client::{ConnectOptions, Module};
use softprefix_unit::listen;
use softprefix_unit::models::{ModelStore, Places};
use softprefix_unit::testing::TinyModel;
use softprefix_unit::unit::{Unit, UnitOptions};

/// Longest wait for anything a test waits for.
pub const LONG: Duration = Duration::from_secs(120);

/// What the bridge reported, as far as tests ask for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    Started(Side, RunId),
    Finished(Side, RunId, RunOutcome),
    Failed(Side, RunId),
    Dropped(Side, RunId),
}

/// The window's loop without a window.
pub struct Desk {
    pub bench: Workbench,
    pub bridge: Bridge,
    pub seen: Vec<Seen>,
}

impl Desk {
    /// Nothing connected, live mode off, a short English prompt.
    pub fn new() -> Self {
        Self::with(ConnectOptions::default())
    }

    pub fn with(limits: ConnectOptions) -> Self {
        let mut remembered = Remembered::default();
        remembered.settings.live = false;
        remembered.prompt.user = "Why is the sky blue?".to_owned();
        remembered.prompt.max_tokens = 24;
        Self {
            bench: Workbench::new(remembered),
            bridge: Bridge::with(limits, || ()).unwrap(),
            seen: Vec::new(),
        }
    }

    /// Keeps imported prefixes in `folder`.
    pub fn with_shelf(self, folder: &std::path::Path) -> Self {
        let folder = folder.to_owned();
        let request = MaterialRequest::UseShelf { folder };
        self.bridge.send(Request::Material(Box::new(request)));
        self
    }

    pub fn apply(&mut self, action: Action) {
        self.bench.apply(action);
        self.hand_over();
    }

    fn hand_over(&mut self) {
        for request in self.bench.take_requests() {
            self.bridge.send(request);
        }
    }

    /// One turn of the loop, waiting a moment for an event.
    pub fn turn(&mut self) {
        if let Some(event) = self.bridge.wait(Duration::from_millis(20)) {
            match &event {
                Event::Started { run, side, .. } => self.seen.push(Seen::Started(*side, *run)),
                Event::Finished { run, side, outcome } => {
                    self.seen.push(Seen::Finished(*side, *run, (**outcome).clone()));
                }
                Event::Failed { run, side, .. } => self.seen.push(Seen::Failed(*side, *run)),
                Event::Dropped { run, side } => self.seen.push(Seen::Dropped(*side, *run)),
                _ => {}
            }
            self.bench.absorb(event);
        }
        self.hand_over();
    }

    /// Turns until `done`, or panics with what was waited for.
    pub fn until(&mut self, what: &str, done: impl Fn(&Workbench) -> bool) {
        let end = Instant::now() + LONG;
        while !done(&self.bench) {
            assert!(
                Instant::now() < end,
                "waited in vain for {what}; {:?}; {:?}; {:?}; {:?}",
                self.bench.module,
                self.bench.prefixed.error,
                self.bench.notice,
                self.seen
            );
            self.turn();
        }
    }

    pub fn for_a_while(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn();
        }
    }

    pub fn connect(&mut self, target: Target) {
        self.apply(Action::Connect(target));
        self.until("the module", |bench| bench.module.is_ready());
    }

    /// Runs, and waits until text, measures and noise floor are there.
    pub fn run(&mut self) {
        let before = self.bench.runs.last().map(|run| run.id);
        self.apply(Action::Run);
        self.until("a finished run", |bench| {
            !bench.is_running() && bench.runs.last().map(|run| run.id) != before && bench.runs.last().is_some()
        });
    }

    pub fn started(&self, side: Side) -> usize {
        self.seen
            .iter()
            .filter(|seen| matches!(seen, Seen::Started(s, _) if *s == side))
            .count()
    }

    pub fn finished(&self, side: Side) -> Vec<RunOutcome> {
        self.seen
            .iter()
            .filter_map(|seen| match seen {
                Seen::Finished(s, _, outcome) if *s == side => Some(outcome.clone()),
                _ => None,
            })
            .collect()
    }
}

pub fn at(address: SocketAddr) -> Target {
    Target::Remote {
        address: address.to_string(),
        model: None,
    }
}

/// A model of random weights: real in every way but that its texts say nothing.
pub fn tiny_model() -> PathBuf {
    static FILE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = FILE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        TinyModel {
            window: 2048,
            ..TinyModel::qwen2()
        }
        .write(&path)
        .unwrap();
        (folder, path)
    });
    path.clone()
}

/// Serves a unit with the model file `path` on a loopback port, until the program ends.
pub fn serve(path: PathBuf) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let folder = path.parent().unwrap().to_owned();
            let store = ModelStore::new(Places::only(folder).with_named(path));
            let unit = Unit::new(Arc::new(store), UnitOptions::default());
            let listener = listen::bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            listen::serve(listener, Arc::new(unit), std::future::pending()).await;
        });
    });
    told.recv().unwrap()
}

/// A port on which nothing listens.
pub fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// The tasks that a module has.
pub fn tasks_at(address: SocketAddr) -> Vec<String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let module = Module::connect(address.to_string(), ConnectOptions::default())
            .await
            .unwrap();
        module.tasks().await.unwrap()
    })
}
