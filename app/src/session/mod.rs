//! Opens a module, including the one inside this process: the session of `core`, opened in the same way by the window,
//! a second module and the shell. Every failure is a [`Problem`].

pub mod embedded;
pub mod learning;
mod probe;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use softprefix_core::client::{ClientError, ConnectOptions, Module};
use softprefix_core::experiment::session::{self, EMBEDDED, OpenRequest, SessionError};
use softprefix_core::experiment::{Plan, Settings};
use softprefix_core::prefix::{PrefixRecipe, PrefixStore, PrefixSummary, SoftPrefix};
use softprefix_core::protocol::extension;
use softprefix_unit::models::{Entry, ModelStore};

use self::embedded::{Embedded, Models, Wanted};
use crate::errors;
use crate::model::{
    Bilingual, ConnectStep, FetchProgress, Histogram, LoadStage, Problem, ProblemKind, Target, Vocabulary,
};

pub use probe::ModuleProbe;

/// A connected module. The unit inside this process, if that is the module, lives as long as its session.
pub struct Session {
    core: Arc<session::Session>,
    _embedded: Option<Embedded>,
    substituted: Vec<&'static Entry>,
}

impl Deref for Session {
    type Target = Arc<session::Session>;

    fn deref(&self) -> &Self::Target {
        &self.core
    }
}

/// Which module to open, and how.
pub struct Opening {
    pub target: Target,
    /// System prompt and settings of the first task.
    pub system: String,
    pub settings: Settings,
    pub limits: ConnectOptions,
    pub prefix_store: Option<PrefixStore>,
    pub left_over: LeftOver,
    /// The models for the embedded module.
    pub models: Models,
    pub missing: MissingModel,
}

impl Opening {
    /// Options for running a plan: nothing is downloaded, and no task of other clients is ended.
    pub fn for_plan(target: Target, plan: &Plan) -> Self {
        let first = plan.prompts.first();
        Self {
            system: first.map(|prompt| prompt.system.clone()).unwrap_or_default(),
            settings: plan.settings.clone(),
            ..Self::of(target)
        }
    }

    /// Options with an empty system prompt and default settings; otherwise as [`Opening::for_plan`].
    pub fn of(target: Target) -> Self {
        Self {
            target,
            system: String::new(),
            settings: Settings::default(),
            limits: ConnectOptions::default(),
            prefix_store: None,
            left_over: LeftOver::Keep,
            models: Models::from_env(),
            missing: MissingModel::Refuse,
        }
    }
}

/// What to do where the model for the embedded module is not here. Setting a flag cancels the download.
#[derive(Debug, Clone)]
pub enum MissingModel {
    Refuse,
    /// Downloads it first.
    Fetch(Arc<AtomicBool>),
    /// Takes the small model in place of the default one, and downloads that first where it is not here either; another model is
    /// downloaded as with `Fetch`. [`Session::substituted`] lists what is still missing.
    Substitute(Arc<AtomicBool>),
}

/// What to do with tasks that earlier clients left if they take all task slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOver {
    /// Nothing: the user is asked.
    Keep,
    /// Exits these first: the user agreed.
    Exit(Vec<String>),
    /// Exits all of them if there is no free slot.
    ExitAll,
}

/// A step of opening a session.
#[derive(Debug, Clone, PartialEq)]
pub enum OpenStep {
    Connecting(ConnectStep),
    Fetching(FetchProgress),
    /// The embedded unit loads its model. `fraction` is in 0..=1.
    Loading {
        model: String,
        fraction: f32,
        stage: LoadStage,
    },
}

/// Why a module could not be opened.
#[derive(Debug)]
pub enum ConnectProblem {
    /// All task slots are taken by these tasks.
    TaskFull(Vec<String>),
    /// The embedded unit has no model: the download was cancelled, or failed for this reason, or the file cannot be used for it.
    NoModel(Option<Problem>),
    Other(Problem),
}

impl From<Problem> for ConnectProblem {
    fn from(problem: Problem) -> Self {
        Self::Other(problem)
    }
}

impl ConnectProblem {
    fn of<E: Into<SessionError>>(error: E, is_embedded: bool) -> Self {
        match error.into() {
            SessionError::Client(ClientError::TaskFull { ids }) => Self::TaskFull(ids),
            error => Self::Other(errors::session(&error, is_embedded)),
        }
    }

    /// Converts the error to a sentence, for callers that cannot ask the user.
    pub fn into_problem(self, remedy: &str, remedy_ja: &str) -> Problem {
        match self {
            Self::Other(problem) | Self::NoModel(Some(problem)) => problem,
            Self::NoModel(None) => Problem::new(
                ProblemKind::Model,
                Bilingual::new(
                    "There is no model for the embedded module on this computer.",
                    "内蔵モジュール用のモデルがありません。",
                ),
                Bilingual::new(remedy, remedy_ja),
            ),
            Self::TaskFull(tasks) => Problem::new(
                ProblemKind::TaskFull,
                Bilingual::new(
                    format!("All task slots of the module are in use ({}).", tasks.join(", ")),
                    format!("モジュールのタスクの空きがありません（{}）。", tasks.join("、")),
                ),
                Bilingual::new(remedy, remedy_ja),
            ),
        }
    }
}

/// Called with each step of opening a session.
pub type Steps = Arc<dyn Fn(OpenStep) + Send + Sync>;

impl Session {
    /// Opens a module.
    ///
    /// # Errors
    /// [`ConnectProblem`].
    pub async fn open(opening: Opening, steps: Steps) -> Result<Self, ConnectProblem> {
        let Opening {
            target,
            system,
            settings,
            limits,
            prefix_store,
            left_over,
            models,
            missing,
        } = opening;
        let request = |address: String, model| OpenRequest {
            address,
            name: None,
            model,
            system: system.clone(),
            settings: settings.clone(),
            limits: limits.clone(),
            prefix_store: prefix_store.clone(),
        };
        let connecting = |step| steps(OpenStep::Connecting(step));
        match target {
            Target::Remote { address, model } => {
                let of_remote = |error| ConnectProblem::of::<ClientError>(error, false);
                if let LeftOver::Exit(tasks) = &left_over {
                    connecting(ConnectStep::Opening);
                    exit_all(&address, tasks, &limits).await.map_err(of_remote)?;
                }
                let mut opened = session::Session::open(request(address.clone(), model.clone()), connecting).await;
                if let (Err(SessionError::Client(ClientError::TaskFull { ids })), LeftOver::ExitAll) =
                    (&opened, &left_over)
                {
                    exit_all(&address, ids, &limits).await.map_err(of_remote)?;
                    opened = session::Session::open(request(address, model), connecting).await;
                }
                let opened = opened.map_err(|error| ConnectProblem::of(error, false))?;
                Ok(Self {
                    core: Arc::new(opened),
                    _embedded: None,
                    substituted: Vec::new(),
                })
            }
            Target::Embedded { model } => {
                connecting(ConnectStep::Starting);
                let FoundModel {
                    name,
                    store,
                    substituted,
                } = find_or_fetch(model, models, missing, &steps).await?;
                let report = Arc::clone(&steps);
                let observer = Arc::new(move |model: &str, fraction: f32, stage: LoadStage| {
                    report(OpenStep::Loading {
                        model: model.to_owned(),
                        fraction,
                        stage,
                    });
                });
                let embedded = Embedded::start(Arc::new(store), observer).await?;
                let request = OpenRequest {
                    name: Some(EMBEDDED.to_owned()),
                    limits: limits.clone().in_this_process(embedded.secret()),
                    ..request(embedded.address().to_string(), Some(name))
                };
                // While the model loads, the load observer reports the details.
                let opened = session::Session::open(request, |step| {
                    if step != ConnectStep::SettingUp {
                        connecting(step);
                    }
                });
                let opened = opened.await.map_err(|error| ConnectProblem::of(error, true))?;
                Ok(Self {
                    core: Arc::new(opened),
                    _embedded: Some(embedded),
                    substituted,
                })
            }
        }
    }

    /// Returns the session of `core`, for runs that outlive this value.
    pub fn core(&self) -> &Arc<session::Session> {
        &self.core
    }

    /// Returns the entries of the default model, if the small one is used in its place.
    pub fn substituted(&self) -> &[&'static Entry] {
        &self.substituted
    }

    /// Describes an error of this module.
    pub fn problem(&self, error: impl Into<SessionError>) -> Problem {
        errors::session(&error.into(), self.facts().is_embedded())
    }

    /// Builds the prefix that `recipe` describes.
    ///
    /// # Errors
    /// Why the recipe gives no prefix on this module.
    pub async fn build(&self, recipe: &PrefixRecipe) -> Result<SoftPrefix, Problem> {
        self.core.build(recipe).await.map_err(|error| self.problem(error))
    }

    /// Describes a prefix.
    pub fn identity(&self, prefix: &SoftPrefix) -> PrefixSummary {
        PrefixSummary::of(prefix, self.facts().identity.median_norm)
    }

    /// Returns the norms of the model's embedding rows.
    pub fn norms(&self) -> Option<Arc<Vocabulary>> {
        self.core
            .vocabulary()
            .map(|vocabulary| Arc::new(vocabulary_of(vocabulary)))
    }
}

async fn exit_all(address: &str, tasks: &[String], limits: &ConnectOptions) -> Result<(), ClientError> {
    let module = Module::connect(address, limits.clone()).await?;
    module.exit_all(tasks).await
}

/// The model to start the embedded unit with.
struct FoundModel {
    name: String,
    /// The store that contains it.
    store: ModelStore,
    substituted: Vec<&'static Entry>,
}

/// Finds the embedded unit's model, or downloads one.
async fn find_or_fetch(
    model: Option<String>,
    models: Models,
    missing: MissingModel,
    steps: &Steps,
) -> Result<FoundModel, ConnectProblem> {
    let steps = Arc::clone(steps);
    let found = tokio::task::spawn_blocking(move || {
        let none = |problem| ConnectProblem::NoModel(Some(problem));
        let (missing_entries, unusable) = match embedded::wanted(&models, model.as_deref()).map_err(none)? {
            Wanted::Present { name, store } => {
                return Ok(FoundModel {
                    name,
                    store: *store,
                    substituted: Vec::new(),
                });
            }
            Wanted::Missing { entries, unusable } => (entries, unusable),
        };
        if let Some(problem) = &unusable {
            tracing::warn!(%problem, "a model file cannot be used");
        }
        let (cancel, may_substitute) = match missing {
            MissingModel::Refuse => return Err(ConnectProblem::NoModel(unusable)),
            MissingModel::Fetch(cancel) => (cancel, false),
            MissingModel::Substitute(cancel) => (cancel, model.is_none()),
        };
        // Where the small model cannot be had, the default one may.
        let first = may_substitute.then_some(models.small);
        let entries: Vec<&'static Entry> = first.into_iter().chain(missing_entries.iter().copied()).collect();
        let report = |progress| steps(OpenStep::Fetching(progress));
        let fetched = embedded::fetch(&models, &entries, &cancel, report).map_err(none)?;
        let name = fetched.ok_or(ConnectProblem::NoModel(None))?;
        let is_small = may_substitute && name == models.small.name;
        match embedded::wanted(&models, Some(&name)).map_err(none)? {
            Wanted::Present { name, store } => Ok(FoundModel {
                name,
                store: *store,
                substituted: if is_small { missing_entries } else { Vec::new() },
            }),
            Wanted::Missing { unusable, .. } => Err(none(unusable.unwrap_or_else(|| {
                Problem::new(
                    ProblemKind::Model,
                    Bilingual::new(
                        format!("{name} was downloaded but cannot be found."),
                        format!("{name} をダウンロードしましたが、見つかりません。"),
                    ),
                    Bilingual::new(
                        "Check that nothing clears the model folder, and download it again.",
                        "モデルのフォルダーを消すものがないか確かめて、ダウンロードし直してください。",
                    ),
                )
            }))),
        }
    });
    found
        .await
        .unwrap_or_else(|error| Err(ConnectProblem::NoModel(Some(errors::task_failed(error)))))
}

fn vocabulary_of(vocabulary: &extension::Vocabulary) -> Vocabulary {
    let p = &vocabulary.percentiles;
    Vocabulary {
        rows: vocabulary.rows,
        hidden_size: vocabulary.hidden_size,
        median: p.p50,
        percentiles: vec![
            (1, p.p1),
            (5, p.p5),
            (25, p.p25),
            (50, p.p50),
            (75, p.p75),
            (95, p.p95),
            (99, p.p99),
        ],
        max: vocabulary.max,
        rms: vocabulary.rms,
        histogram: vocabulary
            .histogram
            .as_ref()
            .map_or_else(Histogram::default, |histogram| Histogram {
                log10_min: histogram.log10_min,
                log10_max: histogram.log10_max,
                counts: histogram.counts.clone(),
            }),
    }
}
