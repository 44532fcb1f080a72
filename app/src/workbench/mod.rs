//! The workbench: the state of the window, and the only place that changes it.
//!
//! Views read [`Workbench`] and send [`Action`]s; the bridge sends [`Event`](crate::messages::Event)s.
//! [`Workbench::apply`] and [`Workbench::absorb`] turn both into new state, [`Request`]s for the bridge and [`Effect`]s
//! for the window. Nothing here blocks or depends on egui, sockets or files.

mod absorb;
mod action;
mod apply;
mod curve;
pub mod discovery;
pub mod doctor;
pub mod exhibition;
pub mod external;
mod fetching;
mod figure;
pub mod find;
mod finding;
pub mod library;
mod material;
pub mod playback;
mod recorder;
mod running;
mod running_inference;
mod scores;
mod scoring;
pub mod search;
mod sessions;
pub mod sweep;
#[cfg(test)]
mod tests;
pub mod tuning;
mod window;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use softprefix_core::compare::{Diff, Granularity, Measure, Measures};
use softprefix_core::experiment::drawing::Paper;
use softprefix_core::experiment::{Prompt, Record};
use softprefix_core::prefix::PrefixRecipe;

use crate::errors;
use crate::messages::{FileQuestion, Request};
use crate::model::{
    BackgroundFetch, Figure, LIVE_DELAY, MagnitudeUnit, ModelChoice, ModuleFacts, ModuleState, NextPrefix, Pane,
    PrefixForm, PrefixSheet, PreviousModule, PromptForm, Remembered, RunKind, Settings, Target, Unavailable,
    Vocabulary, WindowUse,
};

pub use action::{Action, ExhibitionAction, ExternalAction, FindAction, MaterialAction, PlaybackAction, SweepAction};
pub use running_inference::{CurveFill, Filling};
use running_inference::{RunningInference, StreamingDiff};

pub use library::Library;
pub use material::dropped;
pub use scores::ShownScores;
pub use sessions::MAX_NOTE_CHARACTERS;
pub use tuning::Tuning;
pub use window::{Dialog, Effect, FileState, Notice, Tab, file_name};

/// The whole state of the window.
pub struct Workbench {
    // The module.
    pub module: ModuleState,
    pub target: Target,
    /// The previous module, which stays connected if the user leaves another module's tasks alone.
    previous_module: Option<Box<PreviousModule>>,
    /// What the module of `target` was when it was last ready; kept while it is opened again.
    last_facts: Option<Box<ModuleFacts>>,
    /// Models for the embedded module, on this machine and to be downloaded.
    pub models: Vec<ModelChoice>,
    /// The model that is downloaded in the background.
    pub background_fetch: Option<BackgroundFetch>,
    /// Whether it is used as soon as it is downloaded: the user has chosen no other module since.
    takes_over: bool,
    /// The downloaded model that is being set up.
    taking_over: Option<String>,

    // The controls.
    pub prefix: PrefixForm,
    pub prompt: PromptForm,
    /// The user's own prompts that were run or replaced by another, latest first.
    pub own_prompts: Vec<Prompt>,
    pub live: bool,

    // Derived from the controls.
    /// Norm and digest of the prefix that would be sent.
    pub next_prefix: NextPrefix,
    /// The description of the prefix whose sheet is open.
    pub sheet: Option<PrefixSheet>,
    /// A prefix file that waits until the width of the model's rows is known.
    waiting_file: Option<PathBuf>,
    /// `None` if the module does not count tokens.
    pub budget: Option<WindowUse>,
    /// `None` if the module does not report its vocabulary's norms: magnitudes are then raw values.
    pub vocabulary: Option<Arc<Vocabulary>>,

    // Outputs.
    pub baseline: Pane,
    pub prefixed: Pane,
    /// Differences between the two panes. Lags behind while text streams in: see [`Workbench::covered`].
    pub diff: Option<Arc<DiffOf>>,
    pub granularity: Granularity,
    /// Index of the current difference; see [`Workbench::difference`].
    difference: Option<usize>,
    /// The scores of the texts, and whether they are coloured by them.
    pub scores: ShownScores,

    // The plot.
    /// The runs of this session of tuning, and which of them are shown.
    pub tuning: Tuning,
    pub measure: Measure,
    /// Runs that fill the curve.
    pub curve: CurveFill,
    /// Whether the baseline's second run waits for a run that is complete: it failed, or the user stopped what was running.
    is_repeat_withheld: bool,
    /// Whether the plot's card shows the runs of the session as a table.
    pub runs_shown: bool,

    // The window.
    pub tab: Tab,
    pub doctor: doctor::DoctorState,
    pub settings: Settings,
    pub dialog: Option<Dialog>,
    /// The question of [`Dialog::Path`].
    pub path_asked: Option<FileQuestion>,
    /// The view that shows a field whose text is not valid, and so is not in effect.
    wrong_field: Option<Tab>,
    /// Whether a run in Live mode waits until that is corrected.
    is_live_run_withheld: bool,
    /// A message outside of the panes: saved, opened, refused.
    pub notice: Option<Notice>,
    pub file: FileState,
    pub fullscreen: bool,
    /// Whether the menu of settings is open.
    pub settings_open: bool,
    /// Whether the Presenter is shown.
    pub presenting: bool,
    /// Whether the texts are shown without the plot.
    pub texts_alone: bool,
    /// The list of all experiments.
    pub library: Library,
    pub sweep: sweep::Sweeps,
    pub find: find::Finder,
    /// A recording that is shown instead of the user's own work.
    pub playback: Option<Box<playback::Playback>>,
    pub exhibition: Option<exhibition::Exhibition>,
    /// Control by other programs.
    pub external: external::External,
    /// Modules on the local network.
    pub discovery: discovery::Discovery,

    recorder: Option<recorder::Recorder>,
    /// Whether it shows a recording, whose lines start all runs.
    is_played: bool,
    /// The plot whose file is being chosen.
    figure: Option<(Figure, Paper)>,
    pending_requests: Vec<Request>,
    effects: Vec<Effect>,
    running: BTreeMap<RunKind, RunningInference>,
    streaming_diff: StreamingDiff,
    /// Delay of a run in Live mode.
    live_delay: Duration,
    next_id: u64,
}

/// A diff and the two texts that it belongs to.
#[derive(Debug)]
pub struct DiffOf {
    pub left: Arc<str>,
    pub right: Arc<str>,
    pub diff: Diff,
    /// The right text measured against the left one, where that is a run and not the baseline.
    pub measures: Option<Box<Measures>>,
}

impl Workbench {
    /// Creates a workbench with the stored fields, without sending requests.
    pub fn new(remembered: Remembered) -> Self {
        let Remembered {
            settings,
            prefix,
            prompt,
            sweep,
            find,
            search,
            find_mode,
            own_prompts,
        } = remembered;
        Self {
            module: ModuleState::Idle,
            target: settings.target.clone(),
            previous_module: None,
            last_facts: None,
            models: Vec::new(),
            background_fetch: None,
            takes_over: false,
            taking_over: None,
            prefix,
            prompt,
            own_prompts,
            live: settings.live,
            next_prefix: NextPrefix::default(),
            sheet: None,
            waiting_file: None,
            budget: None,
            vocabulary: None,
            baseline: Pane::default(),
            prefixed: Pane::default(),
            diff: None,
            granularity: settings.granularity,
            difference: None,
            scores: ShownScores::default(),
            tuning: Tuning::default(),
            measure: settings.measure,
            curve: CurveFill::default(),
            is_repeat_withheld: false,
            runs_shown: false,
            tab: Tab::default(),
            doctor: doctor::DoctorState::at(settings.doctor_host.clone()),
            settings,
            dialog: None,
            path_asked: None,
            wrong_field: None,
            is_live_run_withheld: false,
            notice: None,
            file: FileState::default(),
            fullscreen: false,
            settings_open: false,
            presenting: false,
            texts_alone: false,
            library: Library::default(),
            sweep: sweep::Sweeps::new(sweep),
            find: find::Finder::new(find, search, find_mode),
            playback: None,
            exhibition: None,
            external: external::External::default(),
            discovery: discovery::Discovery::default(),
            recorder: None,
            is_played: false,
            figure: None,
            pending_requests: Vec::new(),
            effects: Vec::new(),
            running: BTreeMap::new(),
            streaming_diff: StreamingDiff::default(),
            live_delay: LIVE_DELAY,
            next_id: 1,
        }
    }

    /// Returns what is stored for the next start.
    pub fn remembered(&self) -> Remembered {
        // What an exhibition and its visitors set is not stored.
        let own = self.exhibition.as_ref().map(exhibition::Exhibition::own_controls);
        let (prefix, prompt, live) = own.unwrap_or((&self.prefix, &self.prompt, self.live));
        let settings = Settings {
            live,
            granularity: self.granularity,
            measure: self.measure,
            target: self.target.clone(),
            doctor_host: self.doctor.host.clone(),
            ..self.settings.clone()
        };
        Remembered {
            settings,
            prefix: prefix.clone(),
            prompt: prompt.clone(),
            own_prompts: self.own_prompts.clone(),
            sweep: self.sweep.form.clone(),
            find: self.find.form.clone(),
            search: self.find.search_form.clone(),
            find_mode: self.find.mode,
        }
    }

    /// Takes the requests for the bridge, in order.
    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.pending_requests)
    }

    /// Takes the effects for the window, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Forgets the name of the saved file, because runs were added that it does not contain.
    fn clear_saved_notice(&mut self) {
        if matches!(self.notice, Some(Notice::Saved(_))) {
            self.notice = None;
        }
    }

    /// Returns why `Run` is disabled; `None` if it is enabled.
    pub fn why_not_run(&self) -> Option<Unavailable> {
        if self.module.is_busy() {
            return Some(Unavailable::StillConnecting);
        }
        if !self.module.is_ready() {
            return Some(Unavailable::NotConnected);
        }
        if self.prompt.user.trim().is_empty() {
            return Some(Unavailable::EmptyPrompt);
        }
        if let Some(missing) = self.prefix.missing() {
            return Some(missing);
        }
        if self.has_wrong_field(Tab::Tune) {
            return Some(Unavailable::WrongField);
        }
        match self.budget {
            Some(budget) if budget.current && !budget.fits() => Some(Unavailable::DoesNotFit),
            _ => None,
        }
    }

    /// Returns what the left pane shows: the baseline, or the run that is pinned in its place.
    pub fn left(&self) -> &Pane {
        let pinned = self.tuning.pinned.as_ref();
        pinned.map_or(&self.baseline, |(_, pane)| pane)
    }

    /// Returns the measures of the shown run against the text in the left pane: the baseline's, or that of the run that is pinned in its
    /// place.
    pub fn measures(&self) -> Option<Cow<'_, Measures>> {
        let (_, point) = self.tuning.current()?;
        let against_baseline = point.measures.as_ref();
        if self.tuning.pinned.is_none() {
            return against_baseline.map(Cow::Borrowed);
        }
        let is_shown = |of: &&Arc<DiffOf>| of.left == self.left().text && of.right == self.prefixed.text;
        let of = self
            .diff
            .as_ref()
            .filter(is_shown)
            .filter(|_| !self.prefixed.is_running())?;
        Some(Cow::Owned(Measures {
            // Of the text alone, whatever it is compared with.
            perplexity: against_baseline.and_then(|measures| measures.perplexity),
            ..(**of.measures.as_ref()?).clone()
        }))
    }

    /// Returns whether one of the two visible outputs is running (`Run` is then `Stop`).
    pub fn is_running(&self) -> bool {
        self.running.contains_key(&RunKind::Baseline) || self.running.contains_key(&RunKind::Prefixed)
    }

    /// Returns the largest P that the slider offers.
    pub fn max_len(&self) -> usize {
        if let Some(budget) = self.budget {
            return budget.max_len();
        }
        // A stock module accepts 128 positions before the first token (its prefill), including template and prompt.
        let prefill = self
            .module
            .last_facts()
            .and_then(|facts| facts.identity.prefill_window)
            .unwrap_or(128);
        (prefill / 2).max(1)
    }

    /// Returns the magnitude in token norms, if the vocabulary is known and the kind has one.
    pub fn magnitude_norms(&self) -> Option<f64> {
        self.norms_of(&self.prefix.recipe())
    }

    /// Returns the magnitude as a raw value, if the kind has one and H is known.
    pub fn magnitude_raw(&self) -> Option<f64> {
        self.raw_of(&self.prefix.recipe())
    }

    /// Returns a recipe's magnitude in token norms.
    pub fn norms_of(&self, recipe: &PrefixRecipe) -> Option<f64> {
        let vocabulary = self.vocabulary.as_ref();
        let hidden_size = vocabulary.map_or(0, |vocabulary| vocabulary.hidden_size);
        recipe.token_norms_at(hidden_size, vocabulary.map(|vocabulary| vocabulary.median))
    }

    /// Returns a recipe's magnitude as a raw value.
    pub fn raw_of(&self, recipe: &PrefixRecipe) -> Option<f64> {
        let vocabulary = self.vocabulary.as_ref();
        let hidden_size = vocabulary.map_or(0, |vocabulary| vocabulary.hidden_size);
        recipe.raw_at(hidden_size, vocabulary.map(|vocabulary| vocabulary.median))
    }

    /// Returns the raw value of one token norm for the current kind of prefix, if both are known.
    pub fn raw_per_norm(&self) -> Option<f64> {
        let vocabulary = self.vocabulary.as_ref()?;
        Some(vocabulary.median / self.prefix.recipe().kind.norm_per_raw(vocabulary.hidden_size)?)
    }

    /// Converts token norms to the unit of the controls; a raw value keeps its sign.
    pub fn norms_to_controls(&self, norms: f64) -> f64 {
        if self.prefix.unit == MagnitudeUnit::TokenNorms {
            return norms;
        }
        // The raw value of rows that are not drawn is a factor on their own norms.
        let of_rows = || {
            let built = self.next_prefix.built.as_ref()?.as_ref().ok()?;
            Some(built.raw()?.abs() / built.token_norms?).filter(|scale| scale.is_finite() && *scale > 0.0)
        };
        let scale = self.raw_per_norm().or_else(of_rows).unwrap_or(1.0);
        (norms * scale).copysign(self.prefix.magnitude)
    }

    /// Returns the raw value that a magnitude begins with: that of one token norm, as far as it is known. Rows that have a size of their
    /// own begin with it.
    pub fn raw_of_one_norm(&self) -> f64 {
        /// Raw value assumed for a token norm where the module does not report it; typical of small models.
        const DEFAULT_RAW_PER_NORM: f64 = 0.02;
        if self.prefix.kind.allows_unscaled() {
            return 1.0;
        }
        self.raw_per_norm().unwrap_or(DEFAULT_RAW_PER_NORM)
    }

    /// Returns the index of the current difference of this view's texts, if any, and their number; `None` if there is
    /// no difference.
    pub fn difference(&self) -> Option<(Option<usize>, usize)> {
        let (now, diff) = match self.shown_tab() {
            Tab::Sweep => (self.sweep.difference, self.sweep.diff.as_ref().map(|of| &of.diff)),
            Tab::Find => return None,
            Tab::Tune | Tab::Doctor => {
                let covered = self.covered(RunKind::Baseline) > 0;
                let of = self.diff.as_ref().filter(|_| covered);
                (self.difference, of.map(|of| &of.diff))
            }
        };
        let count = diff.map_or(0, |diff| diff.changes.len());
        (count > 0).then(|| (now.filter(|now| *now < count), count))
    }

    /// Returns how many bytes of a pane's text the diff covers; the rest is shown without marks.
    ///
    /// While text streams in, the diff belongs to its beginning. If it belongs to another text, nothing is covered.
    pub fn covered(&self, kind: RunKind) -> usize {
        let current =
            |of: &&Arc<DiffOf>| self.left().text.starts_with(&*of.left) && self.prefixed.text.starts_with(&*of.right);
        let of = self.diff.as_ref().filter(current);
        of.map_or(0, |of| match kind {
            RunKind::Baseline => of.left.len(),
            RunKind::Prefixed => of.right.len(),
            RunKind::BaselineRepeat => 0,
        })
    }
}

/// Returns the pane of a finished run.
fn pane_of(record: &Record) -> Pane {
    Pane::of(record, errors::case(record))
}
