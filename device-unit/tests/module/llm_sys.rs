//! A simulated llm-sys that uses the real libzmq, or the stock program if the environment names it; and units behind it, in this process
//! and as the program.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use softprefix_unit::bus::{self, BusOptions};
use softprefix_unit::testing::TinyModel;
use softprefix_unit::unit::{Unit, UnitOptions};

use crate::common::*;
use crate::under_test::program;

/// Returns a Python with pyzmq: the one named by the environment, or a virtual environment created once. `None` if neither is available.
pub fn python() -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON
        .get_or_init(|| {
            let has_zmq = |python: &Path| {
                let checked = Command::new(python)
                    .args(["-c", "import zmq"])
                    .stderr(Stdio::null())
                    .status();
                checked.is_ok_and(|status| status.success())
            };
            if let Some(named) = std::env::var_os("SOFTPREFIX_TEST_PYTHON").map(PathBuf::from) {
                assert!(has_zmq(&named), "{} has no pyzmq", named.display());
                return Some(named);
            }
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
            let own = folder.join("bin/python3");
            if !has_zmq(&own) {
                let _ = Command::new("python3").args(["-m", "venv"]).arg(&folder).status();
                let _ = Command::new(&own)
                    .args(["-m", "pip", "install", "--quiet", "pyzmq"])
                    .status();
            }
            has_zmq(&own).then_some(own)
        })
        .clone()
}

/// Ends a process that a test started.
pub struct Process(pub Child);

impl Process {
    /// Sends a signal, given as the option of `kill`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The kind of llm-sys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Simulated, like the x86-64 build.
    Simulated,
    /// Simulated, like the aarch64 build, which scans text in blocks.
    SimulatedInBlocks,
    /// The stock program named by [`STOCK_PROGRAM`].
    Stock,
}

/// The environment variable for the stock llm-sys: a program's path, or HOST:PORT of a module that runs our unit.
pub const STOCK_PROGRAM: &str = "SOFTPREFIX_LLM_SYS";

/// Returns the path of the stock program, if it is given.
pub fn stock_program() -> Option<PathBuf> {
    std::env::var_os(STOCK_PROGRAM)
        .map(PathBuf::from)
        .filter(|path| path.is_file())
}

/// An llm-sys: simulated, in its own folder, or the stock program, whose files are always in /tmp.
pub struct LlmSys {
    /// The folder of rpc.sys and rpc.<unit>.
    pub folder: PathBuf,
    pub address: SocketAddr,
    pub process: Process,
    kind: Kind,
    /// The working directory of the stock program, with its settings and models.
    home: Option<Arc<tempfile::TempDir>>,
}

impl LlmSys {
    pub fn start(folder: &Path) -> Option<Self> {
        Self::start_as(Kind::Simulated, folder)
    }

    /// `folder` is for the simulated kinds.
    pub fn start_as(kind: Kind, folder: &Path) -> Option<Self> {
        if kind == Kind::Stock {
            return Some(Self::start_stock(Arc::new(short_folder())));
        }
        let Some(python) = python() else {
            eprintln!("skipped: there is no Python with pyzmq, and none could be made");
            return None;
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/llm_sys.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg("--folder")
            .arg(folder)
            .args((kind == Kind::SimulatedInBlocks).then_some("--blocks"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = format!("127.0.0.1:{}", line.trim()).parse().unwrap();
        Some(Self {
            folder: folder.to_owned(),
            address,
            process: Process(child),
            kind,
            home: None,
        })
    }

    fn start_stock(home: Arc<tempfile::TempDir>) -> Self {
        let folder = PathBuf::from("/tmp");
        let taken = std::os::unix::net::UnixStream::connect(folder.join("rpc.sys"));
        assert!(
            taken.is_err(),
            "an llm-sys is running here; stop it, or name it as HOST:PORT"
        );
        // A free port.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = |part: &str| {
            let path = home.path().join(part);
            std::fs::create_dir_all(&path).unwrap();
            format!("{}/", path.display())
        };
        let settings = serde_json::json!({
            "config_tcp_server": address.port(),
            "config_base_mode_path": path("data"), "config_base_mode_config_path": path("etc"),
            "config_model_d": path("data/models"), "config_lsmod_dir": path("data/models"),
        });
        std::fs::write(home.path().join("sys_config.json"), settings.to_string()).unwrap();
        let child = Command::new(stock_program().unwrap())
            .current_dir(home.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let sys = Self {
            folder,
            address,
            process: Process(child),
            kind: Kind::Stock,
            home: Some(home),
        };
        eventually("llm-sys listens", || TcpStream::connect(address).is_ok());
        sys
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends a command to a simulated llm-sys.
    pub fn command(&self, line: &str) -> Value {
        let mut client = self.client();
        client.write(format!("!{line}\n").as_bytes());
        client.next()
    }

    pub fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.join("llm")).unwrap();
        names
            .map(|name| name.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    pub fn restart(&mut self) {
        self.process.kill();
        *self = match &self.home {
            Some(home) => Self::start_stock(Arc::clone(home)),
            None => Self::start_as(self.kind, &self.folder).unwrap(),
        };
    }
}

impl Drop for LlmSys {
    /// Removes the files that the stock program leaves behind, unless it was restarted and uses them.
    fn drop(&mut self) {
        self.process.kill();
        if self.home.as_ref().is_some_and(|home| Arc::strong_count(home) == 1) {
            let _ = std::fs::remove_file(self.folder.join("rpc.sys"));
            let _ = std::fs::remove_dir_all(self.folder.join("llm"));
        }
    }
}

/// A unit in this process, on the bus.
pub struct OnBus {
    pub unit: Unit,
    runtime: Option<tokio::runtime::Runtime>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
}

impl OnBus {
    pub fn start(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let options = BusOptions {
            folder: folder.to_owned(),
        };
        let source = Arc::new(TinySource::new());
        let served = runtime.spawn(async move {
            let started = move |unit: &Unit| ready.send(unit.clone()).unwrap();
            let stopped = async move {
                let _ = stopped.await;
            };
            bus::serve(source, UnitOptions::default(), options, started, stopped)
                .await
                .unwrap();
        });
        let unit = is_ready
            .recv_timeout(Duration::from_secs(10))
            .expect("the unit is on the bus");
        Self {
            unit,
            runtime: Some(runtime),
            stop: Some(stop),
            served: Some(served),
        }
    }
}

impl Drop for OnBus {
    fn drop(&mut self) {
        let (Some(stop), Some(runtime), Some(served)) = (self.stop.take(), self.runtime.take(), self.served.take())
        else {
            return;
        };
        let _ = stop.send(());
        let _ = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(8), served).await });
        runtime.shutdown_timeout(Duration::from_secs(2));
    }
}

/// An llm-sys with a unit behind it; `None` if it cannot be simulated.
pub fn module() -> Option<(LlmSys, OnBus, tempfile::TempDir)> {
    let folder = short_folder();
    let sys = LlmSys::start(folder.path())?;
    let unit = OnBus::start(folder.path());
    Some((sys, unit, folder))
}

/// Returns a short folder name, because addresses of Unix sockets are limited to about a hundred bytes.
pub fn short_folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("sp").tempdir_in("/tmp").unwrap()
}

pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(Instant::now() < patience, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The program, with the tiny model as a file.
pub struct Program {
    pub process: Process,
    pub log: Arc<Mutex<String>>,
}

impl Program {
    pub fn start(bus: &Path, models: &Path) -> Self {
        Self::start_named(bus, models, "tiny")
    }

    /// Starts it with the tiny model under another name.
    pub fn start_named(bus: &Path, models: &Path, model: &str) -> Self {
        Self::start_with(bus, models, model, &[])
    }

    /// Starts it with additional arguments.
    pub fn start_with(bus: &Path, models: &Path, model: &str, more: &[&str]) -> Self {
        TinyModel::qwen2().write(&models.join(format!("{model}.gguf"))).unwrap();
        let mut command = program();
        command
            .args(["--bus", "--engine", "cpu", "--threads", "1", "--bus-folder"])
            .arg(bus)
            .args(more)
            .env("SOFTPREFIX_MODEL_DIR", models);
        Self::of(command)
    }

    pub fn of(mut command: Command) -> Self {
        let mut child = command.env("RUST_LOG", "info").stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::<Mutex<String>>::default();
        let (stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = lines.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self {
            process: Process(child),
            log,
        }
    }

    pub fn says(&self, words: &str) {
        eventually(words, || self.log.lock().unwrap().contains(words));
    }

    pub fn terminate(&mut self) -> bool {
        let id = self.process.0.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().unwrap();
        let patience = Instant::now() + Duration::from_secs(10);
        while Instant::now() < patience {
            if let Some(status) = self.process.0.try_wait().unwrap() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end: {}", self.log.lock().unwrap());
    }
}
