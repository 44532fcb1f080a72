//! Starts the runs of the Tune view (the baseline, that with the prefix, and the baseline's repeat) and handles their
//! events. At most one inference of each kind runs; events of one that was replaced are ignored.
//!
//! Records with the same prompt, settings and module form a group ([`GroupKey`]), which has its own baseline and plot.

use std::sync::Arc;
use std::time::Duration;

use softprefix_core::experiment::{Experiment, GroupKey, PrefixIdentity, Prompt, Record};
use softprefix_core::prefix::{Magnitude, PrefixKind, PrefixRecipe};

use super::running_inference::{RunningInference, StreamingDiff};
use super::{Notice, Workbench, pane_of};
use crate::messages::{Inference, LibraryRequest, Pair, PromptAndSettings, Request, Texts};
use crate::model::{Notification, Pane, PaneState, Problem, ProblemKind, RunId, RunKind, Timings};

impl Workbench {
    /// Returns the prompt, settings and module of the controls, without the prefix.
    pub fn group_key(&self) -> GroupKey {
        let module = self.module.last_facts().map(|facts| facts.identity.clone());
        GroupKey::new(
            &module.unwrap_or_default(),
            self.prompt.prompt(),
            self.prompt.settings(),
        )
    }

    /// Returns the prompt and settings of the controls.
    pub(super) fn prompt_and_settings(&self) -> PromptAndSettings {
        PromptAndSettings {
            prompt: self.prompt.prompt(),
            settings: self.prompt.settings(),
        }
    }

    /// Starts the run of the current controls after `delay`, with its baseline if that is missing. Does nothing while nothing can be run.
    pub(super) fn run_after(&mut self, delay: Duration) {
        if self.why_not_run().is_some() {
            return;
        }
        let key = self.show_controls();
        self.remember_prompt();
        self.start_baseline_if_missing(&key, delay);
        // Without a module it is not known whether several runs can go on at once.
        let one_at_a_time = self.module.facts().is_none_or(|facts| facts.concurrency < 2);
        if one_at_a_time {
            self.cancel_run(RunKind::BaselineRepeat);
        }
        self.start_run(RunKind::Prefixed, key, delay);
    }

    /// Starts the baseline of a group unless it has one, or one is running.
    pub(super) fn start_baseline_if_missing(&mut self, key: &GroupKey, delay: Duration) {
        let has_baseline = self.tuning.group().is_some_and(|group| group.baseline.is_some());
        let baseline = self.running.get(&RunKind::Baseline);
        if !has_baseline && baseline.is_none_or(|inference| inference.key != *key) {
            self.start_run(RunKind::Baseline, key.clone(), delay);
        }
    }

    /// Stores a prompt that the user wrote, so that it can be chosen again.
    fn remember_prompt(&mut self) {
        /// Maximum number of prompts that are stored: they are listed in a menu below the presets.
        const MAX_OWN_PROMPTS: usize = 12;
        let is_empty = self.prompt.user.trim().is_empty();
        // Visitors of an exhibition leave nothing behind.
        if is_empty || self.prompt.preset().is_some() || self.exhibition.is_some() {
            return;
        }
        let prompt = self.prompt.prompt();
        self.own_prompts.retain(|kept| *kept != prompt);
        self.own_prompts.insert(0, prompt);
        self.own_prompts.truncate(MAX_OWN_PROMPTS);
    }

    /// Stores the prompt if it was not run, before another takes its place.
    pub(super) fn keep_replaced_prompt(&mut self) {
        if !self.own_prompts.contains(&self.prompt.prompt()) {
            self.remember_prompt();
        }
    }

    /// Shows the panes and plot of the current controls, for a run that starts.
    pub(super) fn show_controls(&mut self) -> GroupKey {
        let key = self.group_key();
        if self.tuning.is_closed {
            // The run is saved in another session, where it needs a baseline.
            self.new_session();
        }
        if self.tuning.shown_group.as_ref() != Some(&key) {
            self.show_group(key.clone());
        }
        key
    }

    /// Shows the panes and plot of another prompt, settings or module. Texts of the previous one stay, faded, until
    /// there are new ones.
    pub(super) fn show_group(&mut self, key: GroupKey) {
        self.tuning.shown_group = Some(key.clone());
        self.tuning.selected_record = None;
        self.tuning.record_at_controls = None;
        self.stop_curve();
        self.tuning.refresh();
        self.diff = None;
        for kind in [RunKind::Baseline, RunKind::BaselineRepeat] {
            if self.running.get(&kind).is_some_and(|inference| inference.key != key) {
                self.cancel_run(kind);
            }
        }
        if let Some(baseline) = self.tuning.baseline() {
            self.baseline = pane_of(baseline);
            self.compare_panes();
        }
        self.refresh_stale();
    }

    /// Starts a run in the group of `key` after `delay`. It replaces one of its kind that is running.
    pub(super) fn start_run(&mut self, kind: RunKind, key: GroupKey, delay: Duration) {
        let run = RunId(self.fresh_id());
        let recipe = (kind == RunKind::Prefixed).then(|| self.prefix.recipe());
        // The second run of the baseline checks the first: the unit computes every token of it again.
        let draft = match kind {
            RunKind::Baseline => Vec::new(),
            RunKind::Prefixed | RunKind::BaselineRepeat => self.draft_tokens(recipe.as_ref()),
        };
        let input = PromptAndSettings {
            prompt: key.prompt.clone(),
            settings: key.settings.clone(),
        };
        self.running.insert(
            kind,
            RunningInference {
                run,
                key,
                recipe: recipe.clone(),
                sent: None,
                text: String::new(),
                is_stopped: false,
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
            input,
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

    /// Runs the baseline of the current controls again. Does nothing while nothing can be run.
    pub(super) fn rerun_baseline(&mut self) {
        if self.why_not_run().is_some() {
            return;
        }
        let key = self.show_controls();
        self.cancel_run(RunKind::BaselineRepeat);
        self.start_run(RunKind::Baseline, key, Duration::ZERO);
    }

    /// Stops all runs. The panes show the texts so far and that they were stopped.
    pub(super) fn stop_all(&mut self) {
        self.stop_curve();
        self.cancel_run(RunKind::BaselineRepeat);
        // The stopped runs end with records, after which the repeat and the curve would otherwise start by themselves.
        self.is_repeat_withheld = true;
        self.curve.of = Some(self.curve_at_controls());
        for kind in [RunKind::Prefixed, RunKind::Baseline] {
            // It is not cancelled, so that its last events still reach its pane.
            if let Some(inference) = self.running.get_mut(&kind) {
                inference.is_stopped = true;
                self.pending_requests.push(Request::Stop { kind });
            }
        }
    }

    /// Stops the run of a kind, if there is one. Its later events do not change its pane.
    pub(super) fn cancel_run(&mut self, kind: RunKind) {
        self.pending_requests
            .retain(|request| !matches!(request, Request::Infer(queued) if queued.kind == kind));
        if self.running.remove(&kind).is_some() {
            self.pending_requests.push(Request::Stop { kind });
        }
        if let Some(pane) = self.pane_mut(kind) {
            pane.stop();
        }
    }

    /// Marks running panes as stopped and removes their runs; called when the module is closed.
    pub(super) fn clear_running(&mut self) {
        self.running.clear();
        self.interrupt_curve();
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
    pub(super) fn start_background_runs(&mut self) {
        let is_busy = self.is_running() || self.running.contains_key(&RunKind::BaselineRepeat);
        if self.is_played || is_busy || self.tuning.is_closed || !self.module.is_ready() {
            return;
        }
        let key = self.group_key();
        let is_due = !self.is_repeat_withheld && self.tuning.baselines(&key) == 1;
        if self.tuning.shown_group.as_ref() == Some(&key) && is_due {
            self.start_run(RunKind::BaselineRepeat, key, Duration::ZERO);
        }
        self.fill_when_idle();
    }

    /// Returns the progress of the baseline's second run, 0 to 1; `None` if it is not running. It is the length of its text relative to that
    /// of the first run, which it usually repeats.
    pub fn repeat_progress(&self) -> Option<f32> {
        let inference = self.running.get(&RunKind::BaselineRepeat)?;
        let expected = self.tuning.baseline()?.output().len();
        Some((inference.text.len() as f32 / expected.max(1) as f32).min(1.0))
    }

    /// Returns whether a run's problem belongs on its pane.
    pub(super) fn is_on_pane(&self, run: RunId, kind: RunKind) -> bool {
        self.pane(kind).is_some_and(|pane| pane.run == Some(run))
    }

    /// Returns the running inference of a kind if the event belongs to it.
    fn running_inference(&mut self, run: RunId, kind: RunKind) -> Option<&mut RunningInference> {
        self.running.get_mut(&kind).filter(|inference| inference.run == run)
    }

    /// Removes and returns the running inference of a kind if the event belongs to it.
    fn take_running(&mut self, run: RunId, kind: RunKind) -> Option<RunningInference> {
        self.running_inference(run, kind)?;
        self.running.remove(&kind)
    }

    /// Handles that a run was sent, with this prefix.
    pub(super) fn started(&mut self, run: RunId, kind: RunKind, sent: Option<PrefixIdentity>) {
        if let Some(inference) = self.running_inference(run, kind) {
            inference.sent = sent;
        }
    }

    /// Handles the next piece of a run's text.
    pub(super) fn delta(&mut self, run: RunId, kind: RunKind, text: &str) {
        let Some(inference) = self.running_inference(run, kind) else {
            return;
        };
        let is_first = inference.text.is_empty();
        inference.text.push_str(text);
        // Copied whole with each piece: an output has a few kilobytes.
        let text_so_far: Arc<str> = Arc::from(inference.text.as_str());
        let sent = inference.sent.clone();
        // The text of the baseline's repeat is not shown.
        let Some(pane) = self.pane_mut(kind) else { return };
        pane.text = text_so_far;
        pane.state = PaneState::Streaming;
        if is_first {
            // The old text stayed until now; from here on the pane shows the new run.
            pane.finish = None;
            pane.timings = Timings::default();
            pane.error = None;
            if kind == RunKind::Prefixed {
                pane.origin = sent;
                self.tuning.selected_record = None;
            }
            self.refresh_stale();
        }
        self.compare_panes();
        if kind == RunKind::Prefixed {
            self.notify_of(Notification::Token(text.to_owned()));
        }
    }

    /// Returns whether a run was started in the shown session rather than in an earlier one.
    pub(super) fn belongs_to_shown_session(&self, run: RunId) -> bool {
        run >= self.tuning.first_run
    }

    /// Handles the creation of the journal of a run's session.
    pub(super) fn journal_created(&mut self, run: RunId, experiment: Experiment) {
        if self.belongs_to_shown_session(run) {
            self.tuning.saved.experiment = experiment;
        } else if let Some(own) = self.own_session_of(run) {
            own.saved.experiment = experiment;
        }
    }

    /// Handles the end of a run, whose record is saved.
    pub(super) fn finished(&mut self, run: RunId, kind: RunKind, record: Record) {
        if !self.belongs_to_shown_session(run) {
            // Cancelled when its session was left. All that changes on screen is that session's number of runs in the history.
            if let Some(own) = self.own_session_of(run) {
                let comparisons = own.add(record);
                self.measure(comparisons);
            }
            self.ask_library(LibraryRequest::List);
            return;
        }
        self.clear_saved_notice();
        let comparisons = self.tuning.add(record.clone());
        self.measure(comparisons);
        if let Some(inference) = self.take_running(run, kind) {
            let is_cut = inference.is_stopped || !record.is_complete();
            match kind {
                RunKind::BaselineRepeat => self.is_repeat_withheld = is_cut,
                RunKind::Baseline | RunKind::Prefixed => self.is_repeat_withheld &= is_cut,
            }
            self.show_record(kind, &record);
            if kind == RunKind::Prefixed && record.is_complete() {
                self.tuning.record_at_controls = Some(record.id.clone());
            }
        }
        self.refresh_stale();
        self.compare_panes();
        self.start_background_runs();
    }

    /// Shows the record of a run that has ended in its pane, if it has one.
    fn show_record(&mut self, kind: RunKind, record: &Record) {
        let keeps_first_baseline = kind == RunKind::Baseline
            && self
                .tuning
                .baseline()
                .is_some_and(|baseline| baseline.id != record.id && record.is_complete());
        let shown = if keeps_first_baseline {
            // A manual repeat: the first baseline remains the reference, and this one measures the noise.
            self.tuning.baseline().map(pane_of)
        } else {
            Some(pane_of(record))
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
        if self.take_running(run, kind).is_some() {
            self.is_repeat_withheld |= kind == RunKind::BaselineRepeat;
        }
        if kind == RunKind::BaselineRepeat {
            tracing::warn!(%problem, "the baseline's second run failed");
        }
        if self.is_on_pane(run, kind) {
            self.notify_of(Notification::Error(problem.to_string()));
            if let Some(pane) = self.pane_mut(kind) {
                pane.state = PaneState::Done;
                pane.error = Some(problem);
            }
        } else if matches!(problem.kind, ProblemKind::File | ProblemKind::Program) {
            // An unsaved record is reported regardless of what the pane shows now.
            self.notice = Some(Notice::Problem(problem));
        }
        self.refresh_stale();
    }

    /// Handles the end of a run that leaves no record, because it was stopped before it was sent.
    pub(super) fn dropped(&mut self, run: RunId, kind: RunKind) {
        if self.take_running(run, kind).is_none() {
            return;
        }
        if let Some(pane) = self.pane_mut(kind) {
            pane.stop();
        }
        self.refresh_stale();
    }

    /// Marks panes whose text no longer matches the controls.
    pub(super) fn refresh_stale(&mut self) {
        let same_group = self.tuning.shown_group.as_ref() == Some(&self.group_key());
        self.baseline.stale = !self.baseline.text.is_empty() && !same_group;
        let recipe = self.prefix.recipe();
        let origin = self.prefixed.origin.as_ref();
        let from = origin
            .filter(|origin| !same_group || !self.same_prefix(&origin.recipe, &recipe))
            .cloned();
        self.prefixed.stale = !self.prefixed.text.is_empty() && from.is_some();
        self.prefixed.stale_from = from;
    }

    /// Returns whether two recipes make the same prefix, as far as is known without building them. A magnitude may be given in either
    /// unit; only for a constant are both exactly comparable.
    fn same_prefix(&self, a: &PrefixRecipe, b: &PrefixRecipe) -> bool {
        /// Maximum relative difference of equal raw values. Converting the unit changes one by about 1e-16, and a step of the controls by far
        /// more than this.
        const RELATIVE_TOLERANCE: f64 = 1e-9;
        if a == b {
            return true;
        }
        let same_magnitude = match (a.magnitude, b.magnitude) {
            (Magnitude::TokenNorms(_), Magnitude::Raw(_)) | (Magnitude::Raw(_), Magnitude::TokenNorms(_)) => {
                a.kind == PrefixKind::Constant
                    && matches!((self.raw_of(a), self.raw_of(b)), (Some(x), Some(y)) if (x - y).abs() <= RELATIVE_TOLERANCE * x.abs())
            }
            (x, y) => x == y,
        };
        same_magnitude && a.kind == b.kind && a.len == b.len && a.rounding == b.rounding
    }

    /// Requests the diff of the panes, now or when the one in progress is done. Without two texts there is none.
    pub(super) fn compare_panes(&mut self) {
        if self.left().text.is_empty() || self.prefixed.text.is_empty() {
            self.diff = None;
            return;
        }
        if self.streaming_diff.in_progress {
            self.streaming_diff.is_outdated = true;
            return;
        }
        self.streaming_diff = StreamingDiff {
            in_progress: true,
            is_outdated: false,
        };
        self.pending_requests.push(Request::Compare(Texts {
            pair: Pair::Panes,
            left: Arc::clone(&self.left().text),
            right: Arc::clone(&self.prefixed.text),
            granularity: self.granularity,
            measured: self.tuning.pinned.is_some(),
        }));
    }

    /// Shows a run in the left pane in the baseline's place; `None` or an unknown id shows the baseline again.
    pub(super) fn pin(&mut self, id: Option<&str>) {
        let record = id.and_then(|id| self.tuning.record(id));
        self.tuning.pinned = record.map(|record| (record.id.clone(), pane_of(record)));
        self.compare_panes();
    }

    /// Shows a record of the session again; `None` returns to the last one.
    pub(super) fn select_record(&mut self, id: Option<String>) {
        let record = match &id {
            Some(id) => self.tuning.record(id),
            None => {
                self.tuning.selected_record = None;
                self.tuning.current().map(|(record, _)| record)
            }
        };
        let Some(record) = record.cloned() else {
            self.tuning.selected_record = None;
            return;
        };
        // Streaming text must not overwrite the selected one.
        self.cancel_run(RunKind::Prefixed);
        let key = GroupKey::of(&record);
        if self.tuning.shown_group.as_ref() != Some(&key) {
            self.show_group(key);
        }
        self.tuning.selected_record = id;
        self.prefixed = pane_of(&record);
        self.refresh_stale();
        self.compare_panes();
    }

    /// Sets the prompt and the settings from a record.
    pub(super) fn set_controls_from(&mut self, record: &Record) {
        self.keep_replaced_prompt();
        let Prompt { system, user } = record.prompt.clone();
        (self.prompt.system, self.prompt.user) = (system, user);
        if let Some(tokens) = record.settings.max_new_tokens {
            self.prompt.max_tokens = tokens.max(1);
        }
        if let Some(sampling) = crate::model::Sampling::of(&record.settings) {
            self.prompt.sampling = sampling;
        }
    }
}
