//! A workbench and a bridge without a window, and units to work with.

use std::fmt::Display;
use std::io::{BufRead as _, BufReader, Lines};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use softprefix::bridge::{Bridge, DoctorAccess};
use softprefix::messages::{Event, FileQuestion, LibraryRequest, MaterialRequest, RecordingRequest, Request};
use softprefix::model::{Format, Remembered, RunId, RunKind, Target};
use softprefix::session::embedded::Models;
use softprefix::workbench::library::LibraryState;
use softprefix::workbench::{Action, Effect, Notice, Workbench};
use softprefix_core::client::{ConnectOptions, Module, Task};
use softprefix_core::experiment::{Applied, Group, Journal, Point, Record, SavedExperiment, experiments};
use softprefix_core::protocol::SetUp;
use softprefix_unit::listen;
use softprefix_unit::models::{ModelStore, Places};
use softprefix_unit::testing::TinyModel;
use softprefix_unit::unit::{Unit, UnitOptions};
use tokio::sync::oneshot;

/// Longest wait for anything a test waits for.
pub const LONG: Duration = Duration::from_secs(120);

/// Waits for a state of another process, its files or a unit's tasks, of which no event tells: looks every few milliseconds, at most [`LONG`].
pub fn wait_for(what: &str, mut is_reached: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !is_reached() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How often a process is killed: so many times, or `long` times where `SOFTPREFIX_TEST_LONG` is set.
pub fn rounds(usual: usize, long: usize) -> usize {
    std::env::var_os("SOFTPREFIX_TEST_LONG").map_or(usual, |_| long)
}

/// What the bridge reported, as far as tests ask for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    Started(RunKind, RunId),
    Finished(RunKind, RunId, Box<Record>),
    Failed(RunKind, RunId),
    Dropped(RunKind, RunId),
}

/// The window's loop without a window.
pub struct Harness {
    pub workbench: Workbench,
    pub bridge: Bridge,
    pub seen: Vec<Seen>,
    /// The library's.
    pub folder: PathBuf,
    /// Taken away after the bridge.
    _own: Option<tempfile::TempDir>,
}

impl Harness {
    /// Nothing connected, live mode off, a short English prompt, a library of its own.
    pub fn new() -> Self {
        Self::with(ConnectOptions::default())
    }

    pub fn with(limits: ConnectOptions) -> Self {
        Self::owned(limits, Models::from_env())
    }

    /// The embedded module has only these models.
    pub fn with_models(models: Models) -> Self {
        Self::owned(ConnectOptions::default(), models)
    }

    fn owned(limits: ConnectOptions, models: Models) -> Self {
        let own = tempfile::tempdir().unwrap();
        let mut harness = Self::before(limits, models, own.path().join("experiments"));
        harness._own = Some(own);
        harness.open_library();
        harness
    }

    /// The same on this library.
    pub fn in_library(folder: &Path) -> Self {
        Self::in_library_with(folder, ConnectOptions::default())
    }

    pub fn in_library_with(folder: &Path, limits: ConnectOptions) -> Self {
        let mut harness = Self::before(limits, Models::from_env(), folder.to_owned());
        harness.open_library();
        harness
    }

    /// The same for a model of real size, which may be slow beside other tests.
    pub fn patient(folder: &Path) -> Self {
        let limits = ConnectOptions {
            request: LONG,
            ..ConnectOptions::default()
        };
        Self::in_library_with(folder, limits)
    }

    /// As the window starts without `--fresh`: the last session comes back.
    pub fn again(folder: &Path) -> Self {
        let mut harness = Self::before(ConnectOptions::default(), Models::from_env(), folder.to_owned());
        harness.workbench.library.restore = true;
        harness.open_library();
        harness
    }

    fn before(limits: ConnectOptions, models: Models, folder: PathBuf) -> Self {
        let mut remembered = Remembered::default();
        remembered.settings.live = false;
        remembered.prompt.user = "Why is the sky blue?".to_owned();
        remembered.prompt.max_tokens = 24;
        Self {
            workbench: Workbench::new(remembered),
            bridge: Bridge::by(limits, DoctorAccess::default(), models, || ()).unwrap(),
            seen: Vec::new(),
            folder,
            _own: None,
        }
    }

    /// A window that has just started with these requests, with all its files in `folder` instead of the person's own.
    pub fn with_requests(workbench: Workbench, requests: Vec<Request>, folder: &Path) -> Self {
        let harness = Self {
            workbench,
            bridge: Bridge::start(|| ()).unwrap(),
            seen: Vec::new(),
            folder: folder.join("experiments"),
            _own: None,
        };
        for request in requests {
            harness.bridge.send(match request {
                Request::Library(LibraryRequest::Open { .. }) => Request::Library(LibraryRequest::Open {
                    folder: harness.folder.clone(),
                    old: folder.join("none"),
                }),
                Request::Recording(RecordingRequest::Folder(_)) => {
                    Request::Recording(RecordingRequest::Folder(folder.join("recordings")))
                }
                Request::Material(material) => match *material {
                    MaterialRequest::UsePrefixStore { .. } => {
                        let folder = folder.join("prefixes");
                        Request::Material(Box::new(MaterialRequest::UsePrefixStore { folder }))
                    }
                    other => Request::Material(Box::new(other)),
                },
                other => other,
            });
        }
        harness
    }

    fn open_library(&mut self) {
        self.bridge.send(Request::Library(LibraryRequest::Open {
            folder: self.folder.clone(),
            old: self.folder.join("none"),
        }));
        self.until("the library", |workbench| workbench.library.state == LibraryState::Open);
    }

    /// Keeps imported prefixes in `folder`.
    pub fn with_prefix_store(self, folder: &Path) -> Self {
        self.use_prefix_store(folder);
        self
    }

    pub fn use_prefix_store(&self, folder: &Path) {
        let folder = folder.to_owned();
        let request = MaterialRequest::UsePrefixStore { folder };
        self.bridge.send(Request::Material(Box::new(request)));
    }

    pub fn apply(&mut self, action: Action) {
        self.workbench.apply(action);
        self.bridge.send_all(self.workbench.take_requests());
    }

    /// Turns until `done`, and returns what the workbench asked of the bridge meanwhile.
    pub fn requests_until(&mut self, what: &str, done: impl Fn(&Workbench) -> bool) -> Vec<Request> {
        let (end, mut asked) = (Instant::now() + LONG, Vec::new());
        while !done(&self.workbench) {
            assert!(Instant::now() < end, "waited in vain for {what}");
            if let Some(event) = self.bridge.wait(Duration::from_millis(20)) {
                self.workbench.absorb(event);
            }
            let requests = self.workbench.take_requests();
            asked.extend(requests.iter().cloned());
            requests.into_iter().for_each(|request| self.bridge.send(request));
        }
        asked
    }

    /// One turn of the loop, waiting a moment for an event.
    pub fn turn(&mut self) {
        if let Some(event) = self.bridge.wait(Duration::from_millis(20)) {
            match &event {
                Event::Started { run, kind, .. } => self.seen.push(Seen::Started(*kind, *run)),
                Event::Finished { run, kind, record } => {
                    self.seen.push(Seen::Finished(*kind, *run, record.clone()));
                }
                Event::Failed { run, kind, .. } => self.seen.push(Seen::Failed(*kind, *run)),
                Event::Dropped { run, kind } => self.seen.push(Seen::Dropped(*kind, *run)),
                _ => {}
            }
            self.workbench.absorb(event);
        }
        self.bridge.send_all(self.workbench.take_requests());
    }

    /// Turns until `done`, or panics with what was waited for.
    pub fn until(&mut self, what: &str, done: impl Fn(&Workbench) -> bool) {
        let end = Instant::now() + LONG;
        while !done(&self.workbench) {
            assert!(
                Instant::now() < end,
                "waited in vain for {what}; {:?}; {:?}; {:?}; {:?}",
                self.workbench.module,
                self.workbench.prefixed.error,
                self.workbench.notice,
                self.seen
            );
            self.turn();
        }
    }

    pub fn connect(&mut self, target: Target) {
        self.apply(Action::Connect(target));
        self.until("the module", |workbench| workbench.module.is_ready());
    }

    /// Runs, and waits until the new point and its measures are there.
    pub fn run(&mut self) {
        let last = |workbench: &Workbench| {
            workbench
                .tuning
                .points()
                .next_back()
                .map(|(record, _)| record.id.clone())
        };
        let before = last(&self.workbench);
        self.apply(Action::Run);
        self.until("a finished run", |workbench| {
            !workbench.is_running() && last(workbench).is_some() && last(workbench) != before
        });
    }

    /// Waits until the only journal of the library holds what is in memory: a run is on disk before it is here.
    pub fn until_all_is_on_disk(&mut self) {
        let folder = self.folder.clone();
        self.until("the records as on disk", |workbench| {
            let here = by_id(&workbench.tuning.saved.records);
            matches!(&kept(&folder)[..], [only] if by_id(&only.records) == here)
        });
    }

    /// Waits until the baseline of what is shown ran twice.
    pub fn until_noise_is_known(&mut self) {
        self.until("the noise floor", noise_is_known);
    }

    /// The question for a file that the window would ask by the system's dialog.
    pub fn question(&mut self) -> FileQuestion {
        let mut effects = self.workbench.take_effects().into_iter();
        let question = effects.find_map(|effect| match effect {
            Effect::Ask(question) => Some(question),
            _ => None,
        });
        question.expect("a question for a file")
    }

    /// Writes what the view shows to `path`, which is chosen where the system's dialog would be asked.
    pub fn export(&mut self, format: Format, path: &Path) {
        self.workbench.notice = None;
        self.apply(Action::Export(format));
        let question = self.question();
        let to = path.to_owned();
        self.bridge.await_answer(async move {
            Event::Chosen {
                question,
                path: Some(to),
            }
        });
        self.until("the file", |workbench| {
            matches!(&workbench.notice, Some(Notice::Saved(saved)) if saved == path) && !workbench.file.writing
        });
    }

    /// The point whose text the right pane shows.
    pub fn current(&self) -> (&Record, &Point) {
        self.workbench.tuning.current().unwrap()
    }

    /// Whether the prefix of that point was used.
    pub fn applied(&self) -> Applied {
        self.workbench.tuning.group().unwrap().applied(self.current().1)
    }

    pub fn started(&self, kind: RunKind) -> usize {
        self.seen
            .iter()
            .filter(|seen| matches!(seen, Seen::Started(s, _) if *s == kind))
            .count()
    }

    pub fn finished(&self, kind: RunKind) -> Vec<Record> {
        self.seen
            .iter()
            .filter_map(|seen| match seen {
                Seen::Finished(s, _, record) if *s == kind => Some((**record).clone()),
                _ => None,
            })
            .collect()
    }
}

/// A window in a process of its own, which is this program with the ignored test `name`: it works on `library` with the unit at
/// `address` until it is killed, and says what it shows.
pub struct KilledWindow {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl KilledWindow {
    /// Address and library for the process.
    const VARIABLE: &str = "SOFTPREFIX_TEST_KILLED_WINDOW";

    pub fn start(name: &str, address: SocketAddr, library: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(Self::VARIABLE, format!("{address} {}", library.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// In the process: where to work; `None` where the test is run for itself.
    pub fn place() -> Option<(SocketAddr, PathBuf)> {
        let wanted = std::env::var(Self::VARIABLE).ok()?;
        let (address, library) = wanted.split_once(' ').unwrap();
        Some((address.parse().unwrap(), library.into()))
    }

    /// In the process: says that this is shown.
    pub fn report(shown: impl Display) {
        println!("shown {shown}");
    }

    /// Waits for the next thing that the window shows; `None` where it ended by itself.
    pub fn next_shown(&mut self) -> Option<String> {
        let shown = |line: std::io::Result<String>| Some(line.ok()?.split_once("shown ")?.1.to_owned());
        self.lines.by_ref().find_map(shown)
    }

    /// Kills it, and returns what it has shown meanwhile.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.next_shown()).collect()
    }
}

/// Whether the baseline of what is shown ran twice.
pub fn noise_is_known(workbench: &Workbench) -> bool {
    workbench.tuning.group().is_some_and(|group| group.noise.is_some())
}

pub fn is_deterministic(workbench: &Workbench) -> bool {
    workbench.tuning.group().is_some_and(Group::is_deterministic)
}

/// Points of the plot.
pub fn points(workbench: &Workbench) -> usize {
    workbench.tuning.points().count()
}

/// The records in the order of their ids: of two runs that end together, either may be written first.
pub fn by_id(records: &[Record]) -> Vec<Record> {
    let mut records = records.to_vec();
    records.sort_by(|a, b| a.id.cmp(&b.id));
    records
}

/// The journals of a library, in the order of their names.
pub fn journals(folder: &Path) -> Vec<PathBuf> {
    let Ok(files) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = files.map(|file| file.unwrap().path());
    let mut out: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "journal"))
        .collect();
    out.sort();
    out
}

/// What the journals of a library hold, as a program that starts now would find it.
pub fn kept(folder: &Path) -> Vec<SavedExperiment> {
    let read = |path: PathBuf| experiments(Journal::read(&path).unwrap().0);
    journals(folder).into_iter().flat_map(read).collect()
}

pub fn at(address: SocketAddr) -> Target {
    Target::Remote {
        address: address.to_string(),
        model: None,
    }
}

/// A model of random weights: real in every way but that its texts say nothing.
pub fn tiny_model() -> PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| written("tiny", &TinyModel::qwen2())).clone()
}

/// Another model of random weights, as wide as the first.
pub fn another_tiny_model() -> PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let another = TinyModel {
        seed: 8,
        ..TinyModel::qwen2()
    };
    FILE.get_or_init(|| written("another", &another)).clone()
}

/// Another model of random weights, wider than the first.
pub fn wide_model() -> PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let wide = TinyModel {
        hidden_size: 128,
        ..TinyModel::qwen2()
    };
    FILE.get_or_init(|| written("wide", &wide)).clone()
}

/// Writes a model with a window of 2,048 tokens into a folder of its own.
fn written(name: &str, model: &TinyModel) -> PathBuf {
    let path = tempfile::tempdir().unwrap().keep().join(format!("{name}.gguf"));
    let model = TinyModel {
        window: 2048,
        ..model.clone()
    };
    model.write(&path).unwrap();
    path
}

/// Serves a unit with the model file `path` on a loopback port, until the program ends.
pub fn serve(path: PathBuf) -> SocketAddr {
    serve_until(std::future::pending(), "127.0.0.1:0".parse().unwrap(), path).0
}

/// Serves a unit with the model file `path` on this address until `ended`; then its connections are cut, as those of a killed process
/// are.
fn serve_until(
    ended: impl Future<Output = ()> + Send + 'static,
    address: SocketAddr,
    path: PathBuf,
) -> (SocketAddr, JoinHandle<()>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let folder = path.parent().unwrap().to_owned();
            let store = ModelStore::new(Places::only(folder).with_named(path));
            let unit = Unit::new(Arc::new(store), UnitOptions::default());
            let until = Instant::now() + LONG;
            // A port that has just been given up may be held back for a moment.
            let listener = loop {
                match listen::bind(address, false).await {
                    Ok(listener) => break listener,
                    Err(error) => assert!(Instant::now() < until, "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            sender.send(listener.local_addr().unwrap()).unwrap();
            listen::serve(listener, Arc::new(unit), ended).await;
        });
        runtime.shutdown_background();
    });
    (receiver.recv().unwrap(), thread)
}

/// A unit with the tiny model that can be killed.
pub struct Killable {
    pub address: SocketAddr,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Killable {
    /// On this address.
    pub fn on(address: SocketAddr) -> Self {
        let (end, ended) = oneshot::channel::<()>();
        let ended = async move {
            let _ = ended.await;
        };
        let (address, thread) = serve_until(ended, address, tiny_model());
        Self { address, end, thread }
    }

    pub fn kill(self) -> SocketAddr {
        let _ = self.end.send(());
        self.thread.join().unwrap();
        self.address
    }
}

/// A port on which nothing listens.
pub fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Another client of a module, with two tasks, which fill it.
pub struct OtherClient {
    runtime: tokio::runtime::Runtime,
    tasks: Vec<Task>,
}

impl OtherClient {
    pub fn at(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let tasks = runtime.block_on(async {
            let module = Module::connect(address.to_string(), ConnectOptions::default())
                .await
                .unwrap();
            let mut tasks = Vec::new();
            for _ in 0..2 {
                tasks.push(module.set_up(&SetUp::new("tiny", "another client's")).await.unwrap());
            }
            tasks
        });
        Self { runtime, tasks }
    }

    pub fn ids(&self) -> Vec<String> {
        self.tasks.iter().map(|task| task.work_id().to_owned()).collect()
    }

    /// Whether the module still has all of its tasks.
    pub fn has_its_tasks(&self) -> bool {
        let each = |task| self.runtime.block_on(Task::check(task));
        self.tasks.iter().map(each).all(|found| found.is_ok())
    }
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
