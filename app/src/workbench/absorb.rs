//! What each event of the bridge does to the state. Events of runs that were replaced meanwhile are ignored.

use std::sync::Arc;
use std::time::Duration;

use super::doctor::DoctorAction;
use super::{Dialog, DiffOf, Lane, Notice, StreamingDiff, Unmeasured, Workbench};
use crate::messages::{Comparison, Event, FileQuestion, Purpose, RecordingRequest, Request};
use crate::model::{
    Applied, BaselineRun, Budget, CaseId, Finish, Kept, MagnitudeUnit, ModuleFacts, ModuleState, Noise, Origin,
    PaneState, Problem, Run, RunId, RunOutcome, Side, Snapshot, Target, TokenCount, Vocabulary,
};
use softprefix_core::compare::{Diff, Measures};

impl Workbench {
    /// Takes in what the bridge reports. The only other way in which the state changes.
    pub fn absorb(&mut self, event: Event) {
        let noted = self.note_event(&event);
        let opened = matches!(event, Event::Opened { .. });
        self.take_in(event);
        self.record_event(noted, opened);
        self.show_played();
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Models(models) => self.models = models,
            Event::Fetching(progress) => self.module = ModuleState::Fetching(progress),
            Event::NoModel(problem) => self.module = ModuleState::NoModel { problem },
            Event::Loading { model, fraction, what } => {
                // A loading message may be overtaken by the set-up's answer.
                if !self.module.is_ready() {
                    self.module = ModuleState::Loading { model, fraction, what };
                }
            }
            Event::Connecting(what) => self.module = ModuleState::Connecting { what },
            Event::Ready(facts, vocabulary) => self.ready(*facts, vocabulary),
            Event::TaskFull { tasks } => {
                self.forget_flights();
                self.module = ModuleState::TaskFull { tasks };
                self.dialog = Some(Dialog::LeftOverTasks);
            }
            Event::Lost(problem) => {
                self.forget_flights();
                let last = self.module.last_facts().cloned().map(Box::new);
                self.module = ModuleState::Failed { problem, last };
            }

            Event::Kept(kept) => self.keep(kept),

            Event::Described { recipe, built } => {
                if recipe == self.prefix.recipe() {
                    self.card.built = Some(built);
                    self.card.outdated = false;
                }
            }
            Event::Counted { system, user, count } => self.counted(&system, &user, count),

            Event::Started { run, side, built } => {
                if let Some(flight) = self
                    .flights
                    .get_mut(&Lane::from(side))
                    .filter(|flight| flight.run == run)
                {
                    flight.built = built;
                }
            }
            Event::Delta { run, side, text } => self.delta(run, side, &text),
            Event::Finished { run, side, outcome } => self.finished(run, side, *outcome),
            Event::Failed { run, side, problem } => self.failed(run, side, problem),
            Event::Dropped { run, side } => self.dropped(run, side),

            Event::Scored { run, found } => self.scored(run, found),
            Event::Compared {
                comparison,
                diff,
                measures,
            } => self.compared(comparison, diff, measures.map(|m| *m)),
            Event::NotCompared(problem) => {
                // The next text is compared again.
                self.streaming_diff = StreamingDiff::default();
                self.notice = Some(Notice::Problem(problem));
            }
            Event::Chosen { question, path } => self.chosen(question, path),
            Event::FigureSaved(path) => self.notice = Some(Notice::Saved(path)),
            Event::Saved { path } => {
                self.file = super::FileState {
                    path: Some(path.clone()),
                    ..super::FileState::default()
                };
                self.notice = Some(Notice::Saved(path));
            }
            Event::Opened { path, snapshot } => self.opened(path, *snapshot),
            Event::Doctor(event) => {
                let in_use = self.doctor_compares_with();
                let request = self.doctor.absorb(event, in_use);
                self.outbox.extend(request.map(Request::Doctor));
            }
            Event::Sweep(event) => self.absorb_sweep(*event),
            Event::Material(event) => self.absorb_material(*event),
            Event::Recording(event) => self.absorb_recording(*event),
            Event::FileProblem(problem) => {
                self.file.writing = false;
                self.notice = Some(Notice::Problem(problem));
            }
        }
        self.look_deeper();
        self.import_waiting();
    }

    // ----- the module -----

    /// Another module could not be had: the one in use is worked with again, as soon as the person has decided about tasks that former
    /// clients left on the other one.
    fn keep(&mut self, kept: Box<Kept>) {
        let why = match &self.module {
            ModuleState::TaskFull { .. } if self.dialog == Some(Dialog::LeftOverTasks) => {
                self.kept = Some(kept);
                return;
            }
            ModuleState::Failed { problem, .. } => Some(problem.clone()),
            ModuleState::NoModel { problem } => problem.clone(),
            _ => None,
        };
        self.target = kept.target;
        self.ready(kept.facts, kept.vocabulary);
        self.notice = why.map(Notice::Problem).or(self.notice.take());
    }

    /// The person leaves the tasks of the other module alone.
    pub(super) fn back_to_kept(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.keep(kept);
        }
    }

    fn ready(&mut self, facts: ModuleFacts, vocabulary: Option<Arc<Vocabulary>>) {
        self.kept = None;
        if let Target::Embedded { model } = &mut self.target
            && facts.embedded
        {
            // What "the default" turned out to be is what the next start takes.
            *model = model.take().or_else(|| Some(facts.model.clone()));
        }
        self.deep.start_over();
        let ours = facts.ours;
        self.module = ModuleState::Ready(facts);
        if self.dialog == Some(Dialog::LeftOverTasks) {
            self.dialog = None;
        }
        match vocabulary {
            Some(vocabulary) => {
                self.vocabulary = Some(vocabulary);
                if self.prefix.unit == MagnitudeUnit::Raw && !self.settings.raw_magnitude {
                    self.set_unit(MagnitudeUnit::TokenNorms);
                }
            }
            None => {
                // Without the vocabulary there is no token norm to go by: convert while the old one is still known.
                self.set_unit(MagnitudeUnit::Raw);
                self.sweep.form.set_unit(MagnitudeUnit::Raw);
                self.vocabulary = None;
            }
        }
        if !ours {
            self.budget = None;
        }
        self.describe();
        self.count();
        self.refresh_stale();
        if self.live && self.shown_case.is_none() {
            self.run_now(Duration::ZERO);
        }
    }

    fn counted(&mut self, system: &str, user: &str, count: TokenCount) {
        if self.prompt.system != system || self.prompt.user != user {
            return;
        }
        let budget = Budget {
            template: count.template,
            prompt: count.prompt,
            window: count.window,
            prefill_window: count.prefill_window,
            current: true,
            ..Budget::default()
        };
        self.budget = Some(budget.with(self.prefix.len, self.prompt.max_tokens));
    }

    // ----- inferences -----

    fn delta(&mut self, run: RunId, side: Side, text: &str) {
        let Some(flight) = self
            .flights
            .get_mut(&Lane::from(side))
            .filter(|flight| flight.run == run)
        else {
            return;
        };
        let first = flight.text.is_empty();
        flight.text.push_str(text);
        let whole: Arc<str> = Arc::from(flight.text.as_str());
        let origin = first.then(|| self.origin_of(Lane::from(side))).flatten();
        let Some(pane) = self.pane_mut(side) else { return };
        pane.text = whole;
        pane.state = PaneState::Streaming;
        if first {
            // The old text stood until now; from here on the pane shows the new run.
            pane.finish = None;
            pane.timings = crate::model::Timings::default();
            pane.error = None;
            if side == Side::Prefixed {
                pane.origin = origin;
                self.selected = None;
            }
            self.refresh_stale();
        }
        self.compare_panes();
    }

    /// What the prefixed flight is made with.
    fn origin_of(&self, lane: Lane) -> Option<Origin> {
        let flight = self.flights.get(&lane)?;
        let recipe = flight.recipe.clone()?;
        let built = flight.built.as_ref();
        let norms = self.norms_of(&recipe).or_else(|| built.and_then(|built| built.norms));
        let raw = self.raw_of(&recipe).or_else(|| built.and_then(|built| built.raw));
        Some(Origin { recipe, norms, raw })
    }

    fn finished(&mut self, run: RunId, side: Side, outcome: RunOutcome) {
        let lane = Lane::from(side);
        if self.flights.get(&lane).is_none_or(|flight| flight.run != run) {
            return;
        }
        let origin = self.origin_of(lane);
        let Some(flight) = self.flights.remove(&lane) else {
            return;
        };
        let text: Arc<str> = Arc::from(outcome.text.as_str());
        let stopped = outcome.finish == Finish::Stopped;
        if let Some(pane) = self.pane_mut(side) {
            // A run that was stopped before its first token leaves the old text as it was.
            if !(stopped && text.is_empty()) {
                pane.text = Arc::clone(&text);
                pane.timings = outcome.timings;
                pane.finish = Some(outcome.finish);
                if side == Side::Prefixed {
                    pane.origin.clone_from(&origin);
                }
            }
            pane.state = if pane.text.is_empty() && pane.finish.is_none() {
                PaneState::Empty
            } else {
                PaneState::Done
            };
            pane.error = None;
        }
        match side {
            Side::Baseline if !stopped => {
                let baseline = BaselineRun {
                    text,
                    timings: outcome.timings,
                    finish: outcome.finish,
                    tokens: outcome.tokens,
                };
                self.new_baseline(flight.case, baseline);
            }
            Side::Repeat if !stopped => {
                let repeat = BaselineRun {
                    text,
                    timings: outcome.timings,
                    finish: outcome.finish,
                    tokens: outcome.tokens,
                };
                self.measure_noise(flight.case, repeat);
            }
            Side::Prefixed if !stopped => {
                if let Some(origin) = origin {
                    let (len, sha256) = match &flight.built {
                        Some(built) => (built.len, built.sha256.clone()),
                        None => (origin.recipe.len, String::new()),
                    };
                    self.unmeasured.push(Unmeasured {
                        run,
                        case: flight.case,
                        origin,
                        len,
                        sha256,
                        text,
                        timings: outcome.timings,
                        finish: outcome.finish,
                        tokens: outcome.tokens,
                        echoed: outcome.echoed,
                        asked: false,
                    });
                }
            }
            // A stopped output is a part of one: no baseline, no point.
            Side::Baseline | Side::Prefixed | Side::Repeat => {}
        }
        self.refresh_stale();
        self.compare_panes();
        self.measure_waiting();
        self.look_for_noise();
    }

    /// Takes a case's new baseline. Its runs are measured again if the text is not the one they were measured against.
    fn new_baseline(&mut self, case: CaseId, baseline: BaselineRun) {
        let Some(known) = self.cases.iter_mut().find(|known| known.id == case) else {
            return;
        };
        let old = known.baseline.replace(baseline.clone());
        match old {
            // Run again by hand: this is a repeat, too.
            Some(old) if old.text == baseline.text => known.noise.learn(Noise::Deterministic),
            Some(old) => {
                self.outbox.push(Request::Compare(Comparison {
                    purpose: Purpose::Noise(case),
                    left: Arc::clone(&old.text),
                    right: Arc::clone(&baseline.text),
                    granularity: self.granularity,
                }));
                known.repeats.push(old);
                let outdated: Vec<Run> = self.runs.extract_if(.., |run| run.case == case).collect();
                self.unmeasured.extend(outdated.into_iter().map(Unmeasured::from));
            }
            None => {}
        }
    }

    /// Asks for the measures of finished runs whose baseline is there.
    fn measure_waiting(&mut self) {
        for waiting in self.unmeasured.iter_mut().filter(|waiting| !waiting.asked) {
            let Some(baseline) = self
                .cases
                .iter()
                .find(|case| case.id == waiting.case)
                .and_then(|case| case.baseline.as_ref())
            else {
                continue;
            };
            waiting.asked = true;
            self.outbox.push(Request::Compare(Comparison {
                purpose: Purpose::Run(waiting.run),
                left: Arc::clone(&baseline.text),
                right: Arc::clone(&waiting.text),
                granularity: self.granularity,
            }));
        }
    }

    /// Once the outputs that the person looks at are done, runs the baseline again to learn the noise floor.
    fn look_for_noise(&mut self) {
        if self.is_running() || self.flights.contains_key(&Lane::Repeat) || !self.module.is_ready() {
            return;
        }
        let key = self.case_key();
        let wanted = self
            .case()
            .filter(|case| case.key == key && case.baseline.is_some() && case.noise == Noise::Unknown)
            .map(|case| case.id);
        if let Some(case) = wanted {
            self.launch(Lane::Repeat, case, Duration::ZERO);
        }
    }

    fn measure_noise(&mut self, case: CaseId, repeat: BaselineRun) {
        let Some(known) = self.cases.iter_mut().find(|known| known.id == case) else {
            return;
        };
        let Some(baseline) = &known.baseline else { return };
        if baseline.text == repeat.text {
            known.noise.learn(Noise::Deterministic);
        } else {
            self.outbox.push(Request::Compare(Comparison {
                purpose: Purpose::Noise(case),
                left: Arc::clone(&baseline.text),
                right: Arc::clone(&repeat.text),
                granularity: self.granularity,
            }));
        }
        known.repeats.push(repeat);
    }

    fn failed(&mut self, run: RunId, side: Side, problem: Problem) {
        let lane = Lane::from(side);
        if self.flights.get(&lane).is_none_or(|flight| flight.run != run) {
            return;
        }
        self.flights.remove(&lane);
        if let Some(pane) = self.pane_mut(side) {
            pane.state = PaneState::Done;
            pane.error = Some(problem);
        }
        self.refresh_stale();
    }

    fn dropped(&mut self, run: RunId, side: Side) {
        let lane = Lane::from(side);
        if self.flights.get(&lane).is_none_or(|flight| flight.run != run) {
            return;
        }
        self.flights.remove(&lane);
        if let Some(pane) = self.pane_mut(side) {
            pane.state = if pane.text.is_empty() {
                PaneState::Empty
            } else {
                PaneState::Done
            };
        }
        self.refresh_stale();
    }

    // ----- comparisons -----

    fn compared(&mut self, comparison: Comparison, diff: Diff, measures: Option<Measures>) {
        match comparison.purpose {
            Purpose::Panes => {
                let again = std::mem::take(&mut self.streaming_diff);
                if comparison.granularity == self.granularity {
                    self.diff = Some(Arc::new(DiffOf {
                        left: comparison.left,
                        right: comparison.right,
                        diff,
                    }));
                }
                if again.wanted {
                    self.streaming_diff = StreamingDiff::default();
                    self.compare_panes();
                }
            }
            Purpose::Run(id) => {
                if let Some(measures) = measures {
                    self.measured(id, measures);
                }
            }
            Purpose::Noise(id) => {
                if let (Some(case), Some(measures)) = (self.cases.iter_mut().find(|case| case.id == id), measures) {
                    case.noise.learn(Noise::Floor(Box::new(measures)));
                }
            }
        }
    }

    /// A finished run gets its measures and becomes a point.
    fn measured(&mut self, id: RunId, measures: Measures) {
        let Some(at) = self.unmeasured.iter().position(|waiting| waiting.run == id) else {
            return;
        };
        let waiting = self.unmeasured.swap_remove(at);
        let applied = if waiting.echoed {
            Applied::Proven
        } else {
            let same = measures.indel >= 1.0;
            let large = waiting
                .origin
                .norms
                .or(waiting.origin.raw.map(|raw| raw * 50.0))
                .is_none_or(|x| x >= 3.0);
            match (same, large) {
                (true, true) => Applied::Doubtful,
                (true, false) => Applied::Unknown,
                (false, _) => Applied::Plausible,
            }
        };
        let run = Run {
            id: waiting.run,
            case: waiting.case,
            collapsed: measures.repetition.is_collapse(),
            origin: waiting.origin,
            len: waiting.len,
            sha256: waiting.sha256,
            text: waiting.text,
            measures,
            timings: waiting.timings,
            finish: waiting.finish,
            tokens: waiting.tokens,
            applied,
        };
        // The same prefix with the same output again is the same point.
        self.runs.retain(|old| {
            old.case != run.case || old.sha256 != run.sha256 || old.len != run.len || old.text != run.text
        });
        self.runs.push(run);
        self.runs.sort_by_key(|run| run.id);
        self.file.edited = true;
    }

    // ----- files -----

    fn chosen(&mut self, question: FileQuestion, path: Option<std::path::PathBuf>) {
        self.file.asking = false;
        if let FileQuestion::SaveRecording { from, .. } = question {
            return self.keep_recording(from, path);
        }
        let Some(path) = path else { return };
        match question {
            FileQuestion::SaveRecording { .. } => {}
            FileQuestion::OpenRecording => self.outbox.push(Request::Recording(RecordingRequest::Open(path))),
            FileQuestion::SaveResults { .. } => self.save_to(path),
            FileQuestion::OpenResults => self.outbox.push(Request::Open { path }),
            FileQuestion::UnitBinary => self.act(super::Action::Doctor(DoctorAction::SetUnit(
                path.to_string_lossy().into_owned(),
            ))),
            FileQuestion::SaveFigure { form, .. } => self.save_figure(path, form),
            FileQuestion::ExportSweep { format, .. } => self.export_sweep(path, format),
            FileQuestion::ImportSweep => self.import_sweep(path),
            FileQuestion::ImportPrefix => self.import_prefix(path),
            FileQuestion::ExportPrefix { form, .. } => self.export_prefix(path, form),
            FileQuestion::ModelFile => {
                let model = Some(path.to_string_lossy().into_owned());
                self.act(super::Action::Connect(Target::Embedded { model }));
            }
        }
    }

    fn opened(&mut self, path: std::path::PathBuf, snapshot: Snapshot) {
        let Snapshot { mut case, runs } = snapshot;
        let id = CaseId(self.fresh_id());
        case.id = id;
        self.prompt.system.clone_from(&case.key.system);
        self.prompt.user.clone_from(&case.key.user);
        self.prompt.max_tokens = case.key.max_tokens.max(1);
        self.prompt.sampling = case.key.sampling;
        self.prompt.preset = None;
        self.cases.push(case);
        let count = runs.len();
        for mut run in runs {
            run.id = RunId(self.fresh_id());
            run.case = id;
            self.runs.push(run);
        }
        self.stop_for_opened();
        self.show_case(id);
        let last = self.visible_runs().map(|run| run.id).max();
        self.act(super::Action::SelectRun(last));
        self.count();
        self.file = super::FileState {
            path: Some(path.clone()),
            ..super::FileState::default()
        };
        self.notice = Some(Notice::Opened(path, count));
    }

    fn stop_for_opened(&mut self) {
        self.act(super::Action::Stop);
        self.flights.clear();
    }
}

impl From<Run> for Unmeasured {
    fn from(run: Run) -> Self {
        Self {
            run: run.id,
            case: run.case,
            origin: run.origin,
            len: run.len,
            sha256: run.sha256,
            text: run.text,
            timings: run.timings,
            finish: run.finish,
            tokens: run.tokens,
            echoed: run.applied == Applied::Proven,
            asked: false,
        }
    }
}
