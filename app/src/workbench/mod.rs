//! The workbench: everything the window shows, and the one place that changes it.
//!
//! Views read [`Workbench`] and send [`Action`]s; the bridge reports [`Event`](crate::messages::Event)s. [`Workbench::apply`] and
//! [`Workbench::absorb`] turn both into new state, into [`Request`]s for the bridge and into [`Effect`]s for the window.
//! Nothing here waits, and nothing here knows egui, sockets or files.

mod absorb;
mod action;
mod apply;
mod curve;
mod deep;
pub mod doctor;
pub mod exhibition;
mod figure;
mod flight;
pub mod library;
mod material;
pub mod playback;
mod recorder;
mod running;
mod scoring;
mod sessions;
pub mod sweep;
#[cfg(test)]
mod tests;
pub mod tuning;
mod window;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use softprefix_core::compare::{Diff, Granularity, Measure};
use softprefix_core::experiment::Prompt;
use softprefix_core::experiment::drawing::Paper;
use softprefix_core::prefix::PrefixRecipe;

use crate::messages::{FileQuestion, Request};
use crate::model::{
    Budget, Figure, Kept, ModelChoice, ModuleState, Pane, PrefixCard, PrefixForm, PrefixSheet, PromptForm, Remembered,
    Settings, Side, Target, Vocabulary, WhyNot,
};

pub use action::{Action, ExhibitionAction, MaterialAction, PlaybackAction, SweepAction};
pub use flight::CurveFill;
use flight::{Flight, StreamingDiff};

pub use deep::Deep;
pub use library::Library;
pub use material::dropped;
pub use tuning::Tuning;
pub use window::{Dialog, Effect, FileState, Notice, Tab};

/// Live mode waits this long after the last change before it runs.
pub const LIVE_DELAY: Duration = Duration::from_millis(150);

/// The whole state of the window.
pub struct Workbench {
    // The module.
    pub module: ModuleState,
    pub target: Target,
    /// What is worked with again where the person leaves another module's tasks alone.
    kept: Option<Box<Kept>>,
    /// Models for the embedded module: present ones and those that can be fetched.
    pub models: Vec<ModelChoice>,

    // What is edited.
    pub prefix: PrefixForm,
    pub prompt: PromptForm,
    /// Prompts of the person's own that were run, the last one first.
    pub own_prompts: Vec<Prompt>,
    pub live: bool,

    // What follows from it.
    /// Norm and digest of what would be sent.
    pub card: PrefixCard,
    /// What is known of the prefix whose sheet is open.
    pub sheet: Option<PrefixSheet>,
    /// The file of a prefix that waits until the width of the model's rows is known.
    waiting_file: Option<PathBuf>,
    /// `None` where the module does not count tokens for others.
    pub budget: Option<Budget>,
    /// `None` where the module does not tell its vocabulary's norms: then magnitudes are raw values.
    pub vocabulary: Option<Arc<Vocabulary>>,

    // Outputs.
    pub baseline: Pane,
    pub prefixed: Pane,
    /// Differences between the two panes. While text streams in it lags a moment behind: see [`Workbench::covered`].
    pub diff: Option<Arc<DiffOf>>,
    pub granularity: Granularity,
    /// The difference that was stepped to; see [`Workbench::difference`].
    difference: Option<usize>,
    /// What the model makes of the texts, and whether they are coloured by it.
    pub deep: Deep,

    // The plot.
    /// What was run in this session of tuning, and what of it is shown.
    pub tuning: Tuning,
    pub measure: Measure,
    /// Runs that fill the curve.
    pub curve: CurveFill,
    /// The card of the plot shows the runs of the session as a table.
    pub runs_shown: bool,

    // The window.
    pub tab: Tab,
    pub doctor: doctor::DoctorState,
    pub settings: Settings,
    pub dialog: Option<Dialog>,
    /// What [`Dialog::Path`] asks for.
    pub path_asked: Option<FileQuestion>,
    /// A sentence for the person that belongs to no pane: saved, opened, refused.
    pub notice: Option<Notice>,
    pub file: FileState,
    pub fullscreen: bool,
    /// The presenter's view is shown: the slider, the texts, the plot, and nothing else.
    pub presenting: bool,
    /// The texts are shown without the plot.
    pub texts_alone: bool,
    /// Everything that was ever run, by a line each.
    pub library: Library,
    pub sweep: sweep::Sweeps,
    /// A recording that is shown in place of all this.
    pub playback: Option<Box<playback::Playback>>,
    pub exhibition: Option<exhibition::Exhibition>,

    recorder: Option<recorder::Recorder>,
    /// The plot for which a place is being chosen.
    figure: Option<(Figure, Paper)>,
    outbox: Vec<Request>,
    effects: Vec<Effect>,
    flights: BTreeMap<Side, Flight>,
    streaming_diff: StreamingDiff,
    next_id: u64,
}

/// A diff and the two texts that it was made of.
#[derive(Debug)]
pub struct DiffOf {
    pub left: Arc<str>,
    pub right: Arc<str>,
    pub diff: Diff,
}

impl Workbench {
    /// A workbench with the fields that were remembered. Nothing is asked of the bridge yet.
    pub fn new(remembered: Remembered) -> Self {
        let Remembered {
            settings,
            prefix,
            prompt,
            sweep,
            own_prompts,
        } = remembered;
        Self {
            module: ModuleState::Idle,
            target: settings.target.clone(),
            kept: None,
            models: Vec::new(),
            prefix,
            prompt,
            own_prompts,
            live: settings.live,
            card: PrefixCard::default(),
            sheet: None,
            waiting_file: None,
            budget: None,
            vocabulary: None,
            baseline: Pane::default(),
            prefixed: Pane::default(),
            diff: None,
            granularity: settings.granularity,
            difference: None,
            deep: Deep::default(),
            tuning: Tuning::default(),
            measure: settings.measure,
            curve: CurveFill::default(),
            runs_shown: false,
            tab: Tab::default(),
            doctor: doctor::DoctorState::at(settings.doctor_host.clone()),
            settings,
            dialog: None,
            path_asked: None,
            notice: None,
            file: FileState::default(),
            fullscreen: false,
            presenting: false,
            texts_alone: false,
            library: Library::default(),
            sweep: sweep::Sweeps::new(sweep),
            playback: None,
            exhibition: None,
            recorder: None,
            figure: None,
            outbox: Vec::new(),
            effects: Vec::new(),
            flights: BTreeMap::new(),
            streaming_diff: StreamingDiff::default(),
            next_id: 1,
        }
    }

    /// What is to be stored for the next start.
    pub fn remembered(&self) -> Remembered {
        let settings = Settings {
            live: self.live,
            granularity: self.granularity,
            measure: self.measure,
            target: self.target.clone(),
            doctor_host: self.doctor.host.clone(),
            ..self.settings.clone()
        };
        Remembered {
            settings,
            prefix: self.prefix.clone(),
            prompt: self.prompt.clone(),
            own_prompts: self.own_prompts.clone(),
            sweep: self.sweep.form.clone(),
        }
    }

    /// Hands over what the bridge is to do, in order.
    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.outbox)
    }

    /// Hands over what the window is to do, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Something was run that is in no file which was saved.
    fn forget_saved(&mut self) {
        if matches!(self.notice, Some(Notice::Saved(_))) {
            self.notice = None;
        }
    }

    // ----- what views ask -----

    /// Why `Run` is off; `None` where it is on.
    pub fn why_not_run(&self) -> Option<WhyNot> {
        if self.module.is_busy() {
            return Some(WhyNot::StillConnecting);
        }
        if !self.module.is_ready() {
            return Some(WhyNot::NotConnected);
        }
        if self.prompt.user.trim().is_empty() {
            return Some(WhyNot::EmptyPrompt);
        }
        if let Some(lacking) = self.prefix.lacks() {
            return Some(lacking);
        }
        match self.budget {
            Some(budget) if budget.current && !budget.fits() => Some(WhyNot::DoesNotFit),
            _ => None,
        }
    }

    /// Whether one of the two visible outputs is on its way (then `Run` is `Stop`).
    pub fn is_running(&self) -> bool {
        self.flights.contains_key(&Side::Baseline) || self.flights.contains_key(&Side::Prefixed)
    }

    /// Largest P that the slider offers.
    pub fn max_len(&self) -> usize {
        if let Some(budget) = self.budget {
            return budget.max_len();
        }
        // A stranger's module takes 128 positions before the first token (its prefill), template and prompt among them.
        let prefill = self
            .module
            .last_facts()
            .and_then(|facts| facts.identity.prefill_window)
            .unwrap_or(128);
        (prefill / 2).max(1)
    }

    /// The magnitude in token norms, where the vocabulary is known and the kind has one.
    pub fn magnitude_norms(&self) -> Option<f64> {
        self.norms_of(&self.prefix.recipe())
    }

    /// The magnitude as a raw value, where the kind has one and H is known.
    pub fn magnitude_raw(&self) -> Option<f64> {
        self.raw_of(&self.prefix.recipe())
    }

    /// A recipe's magnitude in token norms.
    pub fn norms_of(&self, recipe: &PrefixRecipe) -> Option<f64> {
        let vocabulary = self.vocabulary.as_ref();
        let hidden_size = vocabulary.map_or(0, |vocabulary| vocabulary.hidden_size);
        recipe.token_norms_at(hidden_size, vocabulary.map(|vocabulary| vocabulary.median))
    }

    /// A recipe's magnitude as a raw value.
    pub fn raw_of(&self, recipe: &PrefixRecipe) -> Option<f64> {
        let vocabulary = self.vocabulary.as_ref();
        let hidden_size = vocabulary.map_or(0, |vocabulary| vocabulary.hidden_size);
        recipe.raw_at(hidden_size, vocabulary.map(|vocabulary| vocabulary.median))
    }

    /// Which difference of the texts of this view was stepped to (none at first), and how many there are; `None` where there is none.
    pub fn difference(&self) -> Option<(Option<usize>, usize)> {
        let (now, diff) = match self.tab {
            Tab::Sweep => (self.sweep.difference, self.sweep.diff.as_ref().map(|of| &of.diff)),
            Tab::Tune | Tab::Doctor => {
                let covered = self.covered(Side::Baseline) > 0;
                let of = self.diff.as_ref().filter(|_| covered);
                (self.difference, of.map(|of| &of.diff))
            }
        };
        let count = diff.map_or(0, |diff| diff.changes.len());
        (count > 0).then(|| (now.filter(|now| *now < count), count))
    }

    /// How many bytes of a pane's text the difference covers; the rest is to be shown plain.
    ///
    /// While text streams in, the difference belongs to a beginning of it. Where it belongs to another text, nothing is covered.
    pub fn covered(&self, side: Side) -> usize {
        let current =
            |of: &&Arc<DiffOf>| self.baseline.text.starts_with(&*of.left) && self.prefixed.text.starts_with(&*of.right);
        let of = self.diff.as_ref().filter(current);
        of.map_or(0, |of| match side {
            Side::Baseline => of.left.len(),
            Side::Prefixed => of.right.len(),
            Side::Repeat => 0,
        })
    }
}
