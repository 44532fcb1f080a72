//! What the window starts with, its state before the first frame, and the exit codes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser as _};

use crate::messages::{Event, LibraryRequest, MaterialRequest, RecordingRequest, Request};
use crate::model::{Endpoint, Language, Problem, Remembered, Target};
use crate::places;
use crate::recording::PreparedRecording;
use crate::session::embedded;
use crate::settings_file::SettingsFile;
use crate::workbench::{Action, Dialog, ExhibitionAction, ExternalAction, MaterialAction, PlaybackAction, Workbench};

/// Options of the window.
#[derive(Debug, Args, Default)]
pub struct WindowArgs {
    /// Connect to this module instead of the one used last: `embedded` or HOST or HOST:PORT.
    #[arg(long, value_name = "MODULE", value_parser = target)]
    pub connect: Option<Target>,
    /// Model to set up: a GGUF file, which the embedded module takes, or a name that the module used last lists (`softprefix models` for
    /// the embedded one). Another module is chosen with --connect.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Start with default fields and settings, open nothing of the last start again, not even a sweep that was left, and store no fields or
    /// settings. Runs are kept in the history all the same.
    #[arg(long)]
    pub fresh: bool,
    /// Start with the prefix from this file: a PEFT folder, .safetensors, .npy, .npz or a KoboldAI .zip.
    #[arg(long, value_name = "PATH")]
    pub prefix_file: Option<PathBuf>,
    #[command(flatten)]
    pub external: ExternalArgs,
    /// File to open: a results file, an exported experiment, a journal or a recording.
    #[arg(value_name = "FILE", value_parser = PathBufValueParser::new().try_map(file_to_open))]
    pub results: Option<PathBuf>,
}

/// Options for the control by other programs.
#[derive(Debug, Clone, Args, Default)]
pub struct ExternalArgs {
    /// Receive OSC over UDP on this address: HOST:PORT, or a port of this computer alone. Off unless given: any program that reaches the address can
    /// change the prompt and start runs.
    #[arg(long, value_name = "ADDR", value_parser = endpoint)]
    pub osc: Option<Endpoint>,
    /// Send tokens, texts, similarity and state by OSC to this address, HOST:PORT, and nowhere else.
    #[arg(long, value_name = "ADDR", value_parser = endpoint)]
    pub osc_to: Option<Endpoint>,
}

impl ExternalArgs {
    /// Returns the actions that open the sockets; none unless asked for.
    pub fn actions(&self) -> Vec<Action> {
        if self.osc.is_none() && self.osc_to.is_none() {
            return Vec::new();
        }
        let written = |endpoint: &Option<Endpoint>| endpoint.as_ref().map(Endpoint::to_string).unwrap_or_default();
        let actions = [
            ExternalAction::SetListen(written(&self.osc)),
            ExternalAction::SetSendTo(written(&self.osc_to)),
            ExternalAction::Open,
        ];
        actions.map(Action::External).into()
    }
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    Endpoint::parse(text).ok_or_else(|| "give HOST:PORT, or a port alone for this computer, such as 9000".to_owned())
}

/// Exit status of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Success,
    /// The arguments are invalid (also the status of the argument parser).
    BadArguments,
    /// The module, its model or the connection failed, completely or in some case.
    Module,
    /// A file could not be read or written, or has the wrong content.
    File,
    /// Ended by Ctrl-C; finished runs are saved.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::BadArguments => 2,
            Exit::Module => 3,
            Exit::File => 4,
            // The status that shells use for SIGINT.
            Exit::Interrupted => 130,
        })
    }
}

/// Parses a module's address.
pub(crate) fn target(text: &str) -> Result<Target, String> {
    Target::parse(text)
        .ok_or_else(|| "give `embedded`, or a host with or without a port, such as 192.168.0.7:10001".to_owned())
}

/// Refuses a path that cannot be opened before the window is: it may be a misspelt command.
fn file_to_open(path: PathBuf) -> Result<PathBuf, &'static str> {
    if path.is_dir() {
        return Err("this is a folder; name a file in it");
    }
    match path.exists() {
        true => Ok(path),
        false => Err("there is no file and no command of this name; `softprefix --help` lists the commands"),
    }
}

/// What the window starts with.
pub enum Start {
    /// Connects to the module used last, or the one given.
    Module,
    /// Plays a recording, without connecting.
    Playback {
        recording: Arc<PreparedRecording>,
        /// Full screen, repeatedly.
        exhibition: bool,
    },
}

/// The window's state before its first frame.
pub struct Started {
    pub workbench: Workbench,
    /// Where fields and settings are stored; `None` where they are not.
    pub settings: Option<SettingsFile>,
    /// The first requests for the bridge, in order.
    pub requests: Vec<Request>,
}

/// Creates the workbench from the arguments and from what was stored by the last start. `stored` opens the settings file;
/// it is not called by a fresh start.
pub fn begin(
    args: WindowArgs,
    start: Start,
    stored: impl FnOnce() -> (SettingsFile, Remembered, Option<Problem>),
) -> Started {
    let (settings, remembered, problem) = if args.fresh {
        (None, Remembered::of_first_start(Language::of_environment()), None)
    } else {
        let (file, remembered, problem) = stored();
        (Some(file), remembered, problem)
    };
    let mut workbench = Workbench::new(remembered);
    if let Some(problem) = problem {
        workbench.absorb(Event::FileProblem(problem));
    }
    workbench.library.restore = !args.fresh;
    workbench.library.keeps_fields = settings.as_ref().is_some_and(SettingsFile::was_read);
    let mut requests = vec![
        Request::Material(Box::new(MaterialRequest::UsePrefixStore {
            folder: places::prefix_store().folder().to_owned(),
        })),
        Request::Library(LibraryRequest::Open {
            folder: places::library(),
            old: places::old_history(),
        }),
        Request::Recording(RecordingRequest::Folder(places::recordings())),
    ];
    match start {
        Start::Module => {
            let is_file = args.model.as_deref().is_some_and(embedded::is_file);
            let target = match args.connect {
                Some(target) => target,
                // No module but the embedded one reads files of this machine.
                None if is_file => Target::default(),
                None => workbench.target.clone(),
            };
            let target = target.with_model(args.model);
            workbench.apply(Action::Connect(target));
            // A user who opens a file, or a fresh window, needs no introduction.
            if !args.fresh && args.results.is_none() && !workbench.settings.first_steps_shown {
                workbench.apply(Action::ShowDialog(Dialog::FirstSteps));
            }
        }
        Start::Playback { recording, exhibition } => {
            workbench.play(recording);
            workbench.apply(if exhibition {
                Action::Exhibit(ExhibitionAction::Toggle)
            } else {
                Action::Playback(PlaybackAction::Large)
            });
        }
    }
    for action in args.external.actions() {
        workbench.apply(action);
    }
    if let Some(path) = args.prefix_file {
        workbench.apply(Action::Material(MaterialAction::Import(path)));
    }
    if let Some(path) = args.results {
        workbench.apply(Action::OpenPath(path));
    }
    requests.extend(workbench.take_requests());
    Started {
        workbench,
        settings,
        requests,
    }
}
