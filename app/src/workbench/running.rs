//! Starts the runs of the Tune view (the baseline, the prefixed side and the baseline's repeat) and handles their
//! events. At most one inference runs on each side; events of one that was replaced are ignored.

use std::sync::Arc;
use std::time::Duration;

use softprefix_core::experiment::{Experiment, GroupKey, PrefixIdentity, Prompt, Record};
use softprefix_core::prefix::{Magnitude, PrefixKind, PrefixRecipe};

use super::flight::{Flight, StreamingDiff};
use super::{Notice, Workbench};
use crate::messages::{Asked, Inference, LibraryRequest, Pair, Request, Texts};
use crate::model::{Notification, Pane, PaneState, Problem, ProblemKind, RunId, RunKind, Timings};

impl Workbench {
    /// Returns the prompt, settings and module of the controls, without the prefix.
    pub fn key(&self) -> GroupKey {
        let module = self.module.last_facts().map(|facts| facts.identity.clone());
        GroupKey::new(
            &module.unwrap_or_default(),
            self.prompt.prompt(),
            self.prompt.settings(),
        )
    }

    /// Returns the same for the bridge.
    pub(super) fn asked(&self) -> Asked {
        Asked {
            prompt: self.prompt.prompt(),
            settings: self.prompt.settings(),
        }
    }

    // ----- launching -----

    /// Starts the run of the current controls after `delay`, with its baseline if that is missing.
    pub(super) fn run_after(&mut self, delay: Duration) {
        if self.why_not_run().is_some() {
            return;
        }
        let key = self.show_controls();
        self.remember_prompt();
        self.launch_baseline_if_missing(&key, delay);
        let one_at_a_time = self.module.facts().is_none_or(|facts| facts.concurrency < 2);
        if one_at_a_time {
            self.detach(RunKind::BaselineRepeat);
        }
        self.launch(RunKind::Prefixed, key, delay);
    }

    pub(super) fn launch_baseline_if_missing(&mut self, key: &GroupKey, delay: Duration) {
        let has_baseline = self.tuning.group().is_some_and(|group| group.baseline.is_some());
        let baseline = self.flights.get(&RunKind::Baseline);
        if !has_baseline && baseline.is_none_or(|flight| flight.key != *key) {
            self.launch(RunKind::Baseline, key.clone(), delay);
        }
    }

    /// Stores a prompt that the user wrote, so that it can be chosen again.
    fn remember_prompt(&mut self) {
        /// Number of prompts that are kept.
        const KEPT: usize = 12;
        if self.prompt.preset.is_some() || self.exhibition.is_some() {
            return;
        }
        let prompt = self.prompt.prompt();
        self.own_prompts.retain(|kept| *kept != prompt);
        self.own_prompts.insert(0, prompt);
        self.own_prompts.truncate(KEPT);
    }

    /// Shows the panes and plot of the current controls.
    pub(super) fn show_controls(&mut self) -> GroupKey {
        let key = self.key();
        if self.tuning.shown.as_ref() != Some(&key) {
            self.show_group(key.clone());
        }
        key
    }

    /// Shows the panes and plot of another prompt, settings or module. Texts of the previous one stay, faded, until
    /// there are new ones.
    pub(super) fn show_group(&mut self, key: GroupKey) {
        self.tuning.shown = Some(key.clone());
        self.tuning.selected = None;
        self.tuning.at = None;
        self.stop_curve();
        self.tuning.refresh();
        self.diff = None;
        for kind in [RunKind::Baseline, RunKind::BaselineRepeat] {
            if self.flights.get(&kind).is_some_and(|flight| flight.key != key) {
                self.detach(kind);
            }
        }
        if let Some(baseline) = self.tuning.baseline() {
            self.baseline = Pane::of(baseline);
            self.compare_panes();
        }
        self.refresh_stale();
    }

    pub(super) fn launch(&mut self, kind: RunKind, key: GroupKey, delay: Duration) {
        let run = RunId(self.fresh_id());
        let recipe = (kind == RunKind::Prefixed).then(|| self.prefix.recipe());
        // The second run of the baseline checks the first: the unit computes every token of it again.
        let draft = match kind {
            RunKind::Baseline => Vec::new(),
            RunKind::Prefixed | RunKind::BaselineRepeat => self.likely(recipe.as_ref()),
        };
        let asked = Asked {
            prompt: key.prompt.clone(),
            settings: key.settings.clone(),
        };
        self.flights.insert(
            kind,
            Flight {
                run,
                key,
                recipe: recipe.clone(),
                sent: None,
                text: String::new(),
            },
        );
        if let Some(pane) = self.pane_mut(kind) {
            pane.run = Some(run);
            pane.state = PaneState::Waiting;
            pane.error = None;
        }
        let inference = Inference {
            run,
            kind,
            asked,
            recipe,
            draft,
            delay,
            // An exhibition shows visitors' runs, which are not saved.
            is_saved: self.exhibition.is_none(),
        };
        // Replaces a request that was not sent yet: dragging queues one per frame.
        self.replace_request(
            |request| matches!(request, Request::Infer(queued) if queued.kind == kind),
            Request::Infer(Box::new(inference)),
        );
    }

    pub(super) fn rerun_baseline(&mut self) {
        if self.why_not_run().is_some() {
            return;
        }
        let key = self.show_controls();
        self.detach(RunKind::BaselineRepeat);
        self.launch(RunKind::Baseline, key, Duration::ZERO);
    }

    pub(super) fn stop_all(&mut self) {
        self.stop_curve();
        self.detach(RunKind::BaselineRepeat);
        for kind in [RunKind::Prefixed, RunKind::Baseline] {
            // Its pane shows its last text and how it ended.
            if self.flights.contains_key(&kind) {
                self.outbox.push(Request::Stop { kind });
            }
        }
    }

    /// Stops a side's run, whose later events no longer change its pane.
    pub(super) fn detach(&mut self, kind: RunKind) {
        self.outbox
            .retain(|request| !matches!(request, Request::Infer(queued) if queued.kind == kind));
        if self.flights.remove(&kind).is_some() {
            self.outbox.push(Request::Stop { kind });
        }
        if let Some(pane) = self.pane_mut(kind) {
            pane.stop();
        }
    }

    /// Forgets all running inferences, since their module is being closed.
    pub(super) fn forget_flights(&mut self) {
        self.flights.clear();
        self.stop_curve();
        self.baseline.stop();
        self.prefixed.stop();
    }

    fn pane(&self, kind: RunKind) -> Option<&Pane> {
        match kind {
            RunKind::Baseline => Some(&self.baseline),
            RunKind::Prefixed => Some(&self.prefixed),
            RunKind::BaselineRepeat => None,
        }
    }

    pub(super) fn pane_mut(&mut self, kind: RunKind) -> Option<&mut Pane> {
        match kind {
            RunKind::Baseline => Some(&mut self.baseline),
            RunKind::Prefixed => Some(&mut self.prefixed),
            RunKind::BaselineRepeat => None,
        }
    }

    /// When the visible outputs are done: runs the baseline once more, which measures the noise floor, and goes on filling
    /// the curve.
    pub(super) fn work_when_idle(&mut self) {
        if self.is_running() || self.flights.contains_key(&RunKind::BaselineRepeat) || !self.module.is_ready() {
            return;
        }
        let key = self.key();
        if self.tuning.shown.as_ref() == Some(&key) && self.tuning.baselines(&key) == 1 {
            self.launch(RunKind::BaselineRepeat, key, Duration::ZERO);
        }
        self.fill_when_idle();
    }

    /// Returns the progress of the baseline's second run, 0 to 1; `None` if it is not running.
    pub fn check_progress(&self) -> Option<f32> {
        let flight = self.flights.get(&RunKind::BaselineRepeat)?;
        let whole = self.tuning.baseline()?.output().len();
        Some((flight.text.len() as f32 / whole.max(1) as f32).min(1.0))
    }

    // ----- events -----

    /// Returns whether a run's problem belongs on its pane.
    pub(super) fn is_on_pane(&self, run: RunId, kind: RunKind) -> bool {
        self.pane(kind).is_some_and(|pane| pane.run == Some(run))
    }

    /// Returns the running inference of a side if the event belongs to it.
    fn flight(&mut self, run: RunId, kind: RunKind) -> Option<&mut Flight> {
        self.flights.get_mut(&kind).filter(|flight| flight.run == run)
    }

    pub(super) fn started(&mut self, run: RunId, kind: RunKind, sent: Option<PrefixIdentity>) {
        if let Some(flight) = self.flight(run, kind) {
            flight.sent = sent;
        }
    }

    pub(super) fn delta(&mut self, run: RunId, kind: RunKind, text: &str) {
        let Some(flight) = self.flight(run, kind) else { return };
        let first = flight.text.is_empty();
        flight.text.push_str(text);
        let whole: Arc<str> = Arc::from(flight.text.as_str());
        let sent = flight.sent.clone();
        let Some(pane) = self.pane_mut(kind) else { return };
        pane.text = whole;
        pane.state = PaneState::Streaming;
        if first {
            // The old text stayed until now; from here on the pane shows the new run.
            pane.finish = None;
            pane.timings = Timings::default();
            pane.error = None;
            if kind == RunKind::Prefixed {
                pane.origin = sent;
                self.tuning.selected = None;
            }
            self.refresh_stale();
        }
        self.compare_panes();
        if kind == RunKind::Prefixed {
            self.notify_of(Notification::Token(text.to_owned()));
        }
    }

    /// Returns whether a run was started in the shown session rather than in an earlier one.
    fn is_of_session(&self, run: RunId) -> bool {
        run >= self.tuning.since
    }

    /// Handles the creation of the journal of a run's session.
    pub(super) fn session_began(&mut self, run: RunId, experiment: Experiment) {
        if self.is_of_session(run) {
            self.tuning.saved.experiment = experiment;
        }
    }

    /// Handles the end of a run, whose record is saved.
    pub(super) fn finished(&mut self, run: RunId, kind: RunKind, record: Record) {
        let is_shown = self.flight(run, kind).is_some();
        if !self.is_of_session(run) {
            // The run belongs to an earlier session, whose number of runs in the history changes.
            self.ask_library(LibraryRequest::List);
            return;
        }
        self.forget_saved();
        let comparisons = self.tuning.add(record.clone());
        self.measure(comparisons);
        if is_shown {
            self.flights.remove(&kind);
            self.show_record(kind, &record);
            if kind == RunKind::Prefixed && record.is_complete() {
                self.tuning.at = Some(record.id.clone());
            }
        }
        self.refresh_stale();
        self.compare_panes();
        self.work_when_idle();
    }

    fn show_record(&mut self, kind: RunKind, record: &Record) {
        let stays = kind == RunKind::Baseline
            && self
                .tuning
                .baseline()
                .is_some_and(|baseline| baseline.id != record.id && record.is_complete());
        let shown = if stays {
            // A manual repeat: the first baseline remains the reference, and this one measures the noise.
            self.tuning.baseline().map(Pane::of)
        } else {
            Some(Pane::of(record))
        };
        let Some(pane) = self.pane_mut(kind) else { return };
        // A run that was stopped before its first token leaves the old text.
        if record.output().is_empty() && !record.is_complete() && !pane.text.is_empty() {
            pane.state = PaneState::Done;
            return;
        }
        if let Some(shown) = shown {
            let run = pane.run;
            *pane = Pane { run, ..shown };
        }
    }

    /// Handles the failure of a run, which comes after its record if there is one.
    pub(super) fn failed(&mut self, run: RunId, kind: RunKind, problem: Problem) {
        if self.flight(run, kind).is_some() {
            self.flights.remove(&kind);
        }
        if self.is_on_pane(run, kind) {
            self.notify_of(Notification::Error(problem.to_string()));
            if let Some(pane) = self.pane_mut(kind) {
                pane.state = PaneState::Done;
                pane.error = Some(problem);
            }
        } else if matches!(problem.kind, ProblemKind::File | ProblemKind::Program) {
            // A record that was not saved is told, whatever the pane shows now.
            self.notice = Some(Notice::Problem(problem));
        }
        self.refresh_stale();
    }

    pub(super) fn dropped(&mut self, run: RunId, kind: RunKind) {
        if self.flight(run, kind).is_none() {
            return;
        }
        self.flights.remove(&kind);
        if let Some(pane) = self.pane_mut(kind) {
            pane.stop();
        }
        self.refresh_stale();
    }

    // ----- panes -----

    /// Marks panes whose text no longer matches the controls.
    pub(super) fn refresh_stale(&mut self) {
        let same_group = self.tuning.shown.as_ref() == Some(&self.key());
        self.baseline.stale = !self.baseline.text.is_empty() && !same_group;
        let recipe = self.prefix.recipe();
        let origin = self.prefixed.origin.as_ref();
        let from = origin
            .filter(|origin| !same_group || !self.same_prefix(&origin.recipe, &recipe))
            .cloned();
        self.prefixed.stale = !self.prefixed.text.is_empty() && from.is_some();
        self.prefixed.stale_from = from;
    }

    /// Returns whether two recipes make the same prefix, as far as can be told without building them: a constant has no
    /// seed, and a magnitude may be given in either unit.
    fn same_prefix(&self, a: &PrefixRecipe, b: &PrefixRecipe) -> bool {
        if a == b {
            return true;
        }
        let same_size = match (a.magnitude, b.magnitude) {
            (Magnitude::TokenNorms(_), Magnitude::Raw(_)) | (Magnitude::Raw(_), Magnitude::TokenNorms(_)) => {
                // Only a constant is exactly the same in both units; random rows are scaled one by one.
                a.kind == PrefixKind::Constant
                    && matches!((self.raw_of(a), self.raw_of(b)), (Some(x), Some(y)) if (x - y).abs() <= 1e-9 * x.abs())
            }
            (x, y) => x == y,
        };
        same_size && a.kind == b.kind && a.len == b.len && a.rounding == b.rounding
    }

    /// Requests the diff of the panes. At most one is running at a time.
    pub(super) fn compare_panes(&mut self) {
        if self.left().text.is_empty() || self.prefixed.text.is_empty() {
            self.diff = None;
            return;
        }
        if self.streaming_diff.under_way {
            self.streaming_diff.wanted = true;
            return;
        }
        self.streaming_diff = StreamingDiff {
            under_way: true,
            wanted: false,
        };
        self.outbox.push(Request::Compare(Texts {
            pair: Pair::Panes,
            left: Arc::clone(&self.left().text),
            right: Arc::clone(&self.prefixed.text),
            granularity: self.granularity,
            measured: self.tuning.pinned.is_some(),
        }));
    }

    /// Shows a run in the left pane in the baseline's place; `None` shows the baseline again.
    pub(super) fn pin(&mut self, id: Option<&str>) {
        let record = id.and_then(|id| self.tuning.record(id));
        self.tuning.pinned = record.map(|record| (record.id.clone(), Pane::of(record)));
        self.compare_panes();
    }

    /// Shows a record of the session again; `None` returns to the last one.
    pub(super) fn select_record(&mut self, id: Option<String>) {
        let record = match &id {
            Some(id) => self.tuning.record(id),
            None => {
                self.tuning.selected = None;
                self.tuning.current().map(|(record, _)| record)
            }
        };
        let Some(record) = record.cloned() else {
            self.tuning.selected = None;
            return;
        };
        // Streaming text must not overwrite the selected one.
        self.detach(RunKind::Prefixed);
        let key = GroupKey::of(&record);
        if self.tuning.shown.as_ref() != Some(&key) {
            self.show_group(key);
        }
        self.tuning.selected = id;
        self.prefixed = Pane::of(&record);
        self.refresh_stale();
        self.compare_panes();
    }

    /// Sets the prompt and the settings from a record.
    pub(super) fn take_controls(&mut self, record: &Record) {
        let Prompt { system, user } = record.prompt.clone();
        self.prompt.preset = None;
        (self.prompt.system, self.prompt.user) = (system, user);
        if let Some(tokens) = record.settings.max_new_tokens {
            self.prompt.max_tokens = tokens.max(1);
        }
        if let Some(sampling) = crate::model::Sampling::of(&record.settings) {
            self.prompt.sampling = sampling;
        }
    }
}
