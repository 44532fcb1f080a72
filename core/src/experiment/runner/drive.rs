//! The main loop of a run: it sets up tasks, runs cases and scores on them, and repeats the cases of a task that died. A task is one of
//! llm-sys, a model set up with a system prompt; those of tokio are called async tasks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};

use super::canary::{CanaryFinding, canary};
use super::clock::Clock;
use super::error::RunError;
use super::event::{RunEnd, RunEvent, RunProgress};
use super::source::Source;
use super::{Control, RunRequest, SaveTo};
use crate::client::{ClientError, ScoreRequest, ScoredText, Task};
use crate::experiment::generation::Generation;
use crate::experiment::journal::{Ending, Entry, Experiment, SharedJournal};
use crate::experiment::plan::{Case, Prompt, Settings};
use crate::experiment::record::{ModuleIdentity, Record};
use crate::experiment::scores::{self, Batch, CaseScores, Unscored};
use crate::experiment::session::{CaseProgress, CaseRequest, FinishedCase, Session, SessionError, Stop, exit};
use crate::protocol::extension::{Priority, SCORE};
use crate::time;

pub(super) struct Runner {
    pub(super) request: RunRequest,
    events: mpsc::UnboundedSender<RunEvent>,
    control: watch::Receiver<Control>,
    experiment: Experiment,
    /// The journal of the records; `None` before it is created, and where nothing is saved.
    pub(super) journal: Option<SharedJournal>,
    /// Lines that could not be saved yet.
    pub(super) unsaved: VecDeque<Entry>,
    progress: RunProgress,
    /// Number of cases finished since this runner was started, from which the time left is estimated. Cases of a resumed run do not count.
    finished_here: usize,
    clock: Clock,
    /// Whether the run is paused because saving failed. Cleared when the user resumes it.
    pub(super) save_failed: bool,
    unscored: Unscored,
    canary_done: bool,
    /// Whether [`RunEvent::Started`] was sent.
    is_started: bool,
    /// Number of cases that panicked and so have no record, and the first panic.
    lost: Option<(usize, Arc<JoinError>)>,
    /// A set-up that was abandoned before the module answered; its task is ended once it is there.
    abandoned_set_up: Option<SettingUp>,
}

type SettingUp = JoinHandle<Result<Task, ClientError>>;

impl Runner {
    pub(super) fn new(
        request: RunRequest,
        events: mpsc::UnboundedSender<RunEvent>,
        control: watch::Receiver<Control>,
    ) -> Self {
        let experiment = match &request.resume {
            Some(saved) => saved.experiment.clone(),
            None => {
                let (name, plan) = (request.plan.name.clone(), Some(request.plan.clone()));
                Experiment::new(name, plan, ModuleIdentity::default())
            }
        };
        let journal = match &request.save_to {
            SaveTo::Journal(journal) => Some(Arc::clone(journal)),
            SaveTo::Library(_) | SaveTo::Nowhere => None,
        };
        Self {
            request,
            events,
            control,
            experiment,
            journal,
            unsaved: VecDeque::new(),
            progress: RunProgress::default(),
            finished_here: 0,
            clock: Clock::default(),
            save_failed: false,
            unscored: Unscored::default(),
            canary_done: false,
            is_started: false,
            lost: None,
            abandoned_set_up: None,
        }
    }

    pub(super) fn emit(&self, event: RunEvent) {
        // Fails if the run was dropped; it then ends by itself.
        let _ = self.events.send(event);
    }

    pub(super) async fn run(mut self, mut source: Source) {
        if let Some(saved) = self.request.resume.take() {
            let finished = saved.finished();
            self.progress.finished = finished.len();
            self.progress.failed = saved.records.iter().filter(|record| record.error().is_some()).count();
            source.forget(&finished);
            for record in saved.undeleted() {
                self.queue_for_scoring(record);
            }
        }
        self.clock.run(true);
        let mut end = self.drive(&mut source).await;
        if let (RunEnd::Complete, Some((count, first))) = (&end, self.lost.take()) {
            let error = RunError::CasesLost { count, first };
            end = RunEnd::Interrupted { error };
        }
        let how = match &end {
            RunEnd::Complete => Some(Ending::Complete),
            // A run that was dropped has no ending and is offered for resuming; one that was cancelled is resumed only where a person asks for it.
            RunEnd::Cancelled if *self.control.borrow() == Control::Cancel => Some(Ending::Cancelled),
            RunEnd::Cancelled | RunEnd::NoEffect | RunEnd::Interrupted { .. } => None,
        };
        // An experiment has its module as soon as it is in a journal, also where this runner resumes it.
        let is_in_journal = !self.experiment.module.model.is_empty();
        if let Some(how) = how.filter(|_| is_in_journal) {
            let experiment = self.experiment.id.clone();
            self.save(Entry::Ended {
                experiment,
                how,
                at_unix: time::now(),
            })
            .await;
        }
        self.emit(RunEvent::Ended(end));
        if let Some(set_up) = self.abandoned_set_up {
            match set_up.await {
                Ok(Ok(task)) => exit(&task).await,
                // Nothing was set up.
                Ok(Err(_)) => {}
                Err(error) => tracing::warn!(%error, "an abandoned set-up panicked"),
            }
        }
    }

    /// Runs one task after the other: one for each sequence of cases with the same system prompt.
    async fn drive(&mut self, source: &mut Source) -> RunEnd {
        let mut repeats: VecDeque<(Case, u32)> = VecDeque::new();
        let (mut is_first, mut is_back) = (true, false);
        loop {
            let next = repeats
                .front()
                .map(|(case, _)| case.prompt)
                // A search has a next prompt even if it has nothing left to run.
                .or_else(|| source.next_prompt().filter(|_| source.left() > 0))
                .or_else(|| self.unscored.next_prompt());
            let Some(prompt) = next else { return RunEnd::Complete };
            let system = self.prompt(prompt).system;
            let task = match self.set_up_or_wait(&system, is_first).await {
                Ok(task) => task,
                Err(end) => return end,
            };
            is_first = false;
            if std::mem::take(&mut is_back) {
                self.emit(RunEvent::Reconnected);
            }
            if let Err(error) = self.start_journal().await {
                exit(&task).await;
                return RunEnd::Interrupted { error };
            }
            if let Source::Prefix(proposals) = source
                && let Some(opening) = proposals.opening()
            {
                self.tell_generation(opening).await;
            }
            if let Some(end) = self.run_canary(&task, prompt).await {
                exit(&task).await;
                return end;
            }
            let end = self.run_task(&task, &system, source, &mut repeats).await;
            // The next task may need this one's place: a stock unit has room for two, and a module that only hung still
            // has the old task.
            exit(&task).await;
            match end {
                TaskEnd::Done => {}
                TaskEnd::Died(error) => {
                    is_back = true;
                    self.emit(RunEvent::Reconnecting { because: error });
                }
                TaskEnd::Cancelled => return RunEnd::Cancelled,
            }
        }
    }

    fn of_session(&self, error: SessionError) -> RunError {
        RunError::Session {
            error: Arc::new(error),
            is_embedded: self.request.session.facts().is_embedded(),
        }
    }

    fn prompt(&self, number: usize) -> Prompt {
        self.request.plan.prompts.get(number).cloned().unwrap_or_default()
    }

    /// Sets up a task. If the module is gone, tries again after each of
    /// [`ConnectOptions::retries`](crate::client::ConnectOptions::retries). Can be cancelled at any time.
    async fn set_up_or_wait(&mut self, system: &str, is_first: bool) -> Result<Task, RunEnd> {
        let mut waits = self.request.session.module().options().retries.clone().into_iter();
        loop {
            let session = Arc::clone(&self.request.session);
            let settings = self.request.plan.settings.clone();
            let mut setting_up = tokio::spawn(set_up(session, system.to_owned(), settings));
            let set_up = tokio::select! {
                set_up = &mut setting_up => set_up,
                () = cancelled(&mut self.control) => {
                    self.abandoned_set_up = Some(setting_up);
                    return Err(RunEnd::Cancelled);
                }
            };
            let error = match set_up {
                Ok(Ok(task)) => return Ok(task),
                Ok(Err(error)) => error,
                Err(error) => return Err(RunEnd::Interrupted { error: error.into() }),
            };
            // A module that was never reached, or that refused, is not tried again.
            let hopeless = is_first || matches!(error, ClientError::Refused { .. } | ClientError::TaskFull { .. });
            let Some(wait) = waits.next().filter(|_| !hopeless) else {
                let error = self.of_session(error.into());
                return Err(RunEnd::Interrupted { error });
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = cancelled(&mut self.control) => return Err(RunEnd::Cancelled),
            }
        }
    }

    /// Writes the experiment's first line, once, when the module is set up.
    ///
    /// # Errors
    /// The reason for which the journal cannot be created.
    async fn start_journal(&mut self) -> Result<(), RunError> {
        if std::mem::replace(&mut self.is_started, true) {
            return Ok(());
        }
        if self.experiment.module == ModuleIdentity::default() {
            self.experiment.module = self.request.session.facts().identity.clone();
            if let SaveTo::Library(library) = &self.request.save_to {
                let (library, experiment) = (Arc::clone(library), self.experiment.clone());
                let made = tokio::task::spawn_blocking(move || library.create(&experiment)).await;
                self.journal = Some(made??);
            } else {
                self.save(Entry::Started(Box::new(self.experiment.clone()))).await;
            }
        }
        self.emit(RunEvent::Started(Box::new(self.experiment.clone())));
        Ok(())
    }

    /// Runs the canary once, on stock modules only. Returns the end of the run if prefixes have no effect.
    async fn run_canary(&mut self, task: &Task, prompt: usize) -> Option<RunEnd> {
        let wanted = self.request.options.canary && task.support().is_none();
        if std::mem::replace(&mut self.canary_done, true) || !wanted {
            return None;
        }
        let (session, prompt) = (Arc::clone(&self.request.session), self.prompt(prompt));
        let found = tokio::select! {
            found = canary(&session, task, &prompt.user) => found,
            () = cancelled(&mut self.control) => return Some(RunEnd::Cancelled),
        };
        let canary = match found {
            Ok(canary) => canary,
            // Reported, since now nothing proves that prefixes are used. The run goes on: the cases show whether the
            // module works.
            Err(error) => {
                let error = self.of_session(error);
                self.emit(RunEvent::CanaryFailed { error });
                return None;
            }
        };
        let stop = canary.finding == CanaryFinding::NoEffect && self.request.options.stop_without_effect;
        self.emit(RunEvent::Canary(canary));
        stop.then_some(RunEnd::NoEffect)
    }

    /// Runs on `task` the next cases as long as they have this system prompt, as many at once as the unit takes, and scores beside them.
    /// Returns when none is left, when the task has died and its running cases have ended, or when the run is cancelled.
    async fn run_task(
        &mut self,
        task: &Task,
        system: &str,
        source: &mut Source,
        repeats: &mut VecDeque<(Case, u32)>,
    ) -> TaskEnd {
        let facts = self.request.session.facts();
        let (at_most, can_score) = (facts.concurrency.max(1), facts.scores);
        let at_most = at_most.min(self.request.options.at_once.unwrap_or(usize::MAX)).max(1);
        if !can_score {
            self.unscored = Unscored::default();
        }
        let mut running: JoinSet<Attempt> = JoinSet::new();
        // By the id of the async task that runs it: after a panic, the id is all that is known.
        let mut cases: HashMap<tokio::task::Id, Case> = HashMap::new();
        // One batch at a time, since it shares the engine with the running cases.
        let mut scoring: JoinSet<Scoring> = JoinSet::new();
        let mut died = None;
        let mut control = self.control.clone();
        loop {
            if self.events.is_closed() || *control.borrow_and_update() == Control::Cancel {
                return TaskEnd::Cancelled;
            }
            let paused = self.save_failed || *control.borrow() == Control::Pause;
            while died.is_none() && !paused && running.len() < at_most {
                // A case under which the module died is repeated alone, so that it cannot fail other cases a second
                // time.
                let repeat = if running.is_empty() { repeats.pop_front() } else { None };
                if repeat.is_none() && !repeats.is_empty() {
                    break;
                }
                let is_repeat = repeat.is_some();
                let fits = |prompt| self.prompt(prompt).system == system;
                let next = match repeat {
                    Some((case, number)) if fits(case.prompt) => Some((case, number)),
                    Some(other) => {
                        repeats.push_front(other);
                        return TaskEnd::Done;
                    }
                    None if source.next_prompt().is_some_and(fits) => source.next().map(|case| (case, 1)),
                    None => None,
                };
                let Some((case, number)) = next else { break };
                self.emit(RunEvent::CaseStarted {
                    index: case.index,
                    name: case.name.clone(),
                });
                let wanted = match source {
                    Source::Prefix(proposals) if can_score => proposals.wanted_text(),
                    _ => None,
                };
                let attempt = self.attempt(task, case.clone(), number, wanted);
                cases.insert(running.spawn(attempt).id(), case);
                if is_repeat {
                    break;
                }
            }
            if died.is_none()
                && !paused
                && scoring.is_empty()
                && can_score
                && let Some(batch) = self.next_batch(system)
            {
                scoring.spawn(score_batch(Arc::clone(&self.request.session), task.clone(), batch));
            }
            self.report(running.len(), source.left() + repeats.len(), paused);
            if running.is_empty() && scoring.is_empty() {
                if let Some(error) = died {
                    return TaskEnd::Died(error);
                }
                if !paused {
                    return TaskEnd::Done;
                }
            }
            tokio::select! {
                Some(joined) = running.join_next_with_id(), if !running.is_empty() => match joined {
                    Ok((id, attempt)) => {
                        cases.remove(&id);
                        if let Some(error) = self.finish(attempt, source, repeats).await {
                            died = Some(error);
                        }
                    }
                    Err(error) => {
                        source.case_lost();
                        self.report_lost(cases.remove(&error.id()), error);
                    }
                },
                Some(joined) = scoring.join_next(), if !scoring.is_empty() => match joined {
                    Ok(scored) => {
                        if let Some(error) = self.take_scores(scored).await {
                            died = Some(error);
                        }
                    }
                    Err(error) => {
                        let count = self.unscored.batch_done();
                        let error = error.into();
                        self.emit(RunEvent::NotScored { count, error });
                    }
                },
                changed = control.changed() => {
                    if changed.is_err() {
                        return TaskEnd::Cancelled;
                    }
                    if *control.borrow() == Control::Go && std::mem::take(&mut self.save_failed) {
                        self.save_rest().await;
                    }
                }
            }
        }
    }

    /// The future that runs a case and, if a text is wanted, then scores that text with the case's prefix.
    fn attempt(
        &self,
        task: &Task,
        case: Case,
        number: u32,
        wanted: Option<&str>,
    ) -> impl Future<Output = Attempt> + Send + use<> {
        let wanted = wanted.filter(|_| case.recipe.is_some()).map(str::to_owned);
        let (session, task, events) = (Arc::clone(&self.request.session), task.clone(), self.events.clone());
        let index = case.index;
        let request = CaseRequest {
            experiment: self.experiment.id.clone(),
            prompt: self.prompt(case.prompt),
            settings: self.request.plan.settings.clone(),
            priority: Priority::Batch,
            draft: Vec::new(),
            attempt: number,
            written_by: self.request.options.written_by.clone(),
            case,
        };
        async move {
            let report = |progress| {
                if let CaseProgress::Text(text) = progress {
                    // Fails if the run was dropped.
                    let _ = events.send(RunEvent::Text { index, text });
                }
            };
            let ran = session.run(&task, request, Stop::never(), report).await;
            let ran_well = ran
                .as_ref()
                .filter(|ran| ran.error.is_none() && ran.record.text().is_some());
            let mean_ln_p = match wanted.zip(ran_well) {
                Some((wanted, ran)) => Some(mean_ln_p(&session, &task, &ran.record, wanted).await),
                None => None,
            };
            Attempt { number, ran, mean_ln_p }
        }
    }

    /// Saves and reports a finished case, or queues it for a second try. Returns the error after which a new set-up is
    /// needed.
    async fn finish(
        &mut self,
        attempt: Attempt,
        source: &mut Source,
        repeats: &mut VecDeque<(Case, u32)>,
    ) -> Option<RunError> {
        let Attempt { number, ran, mean_ln_p } = attempt;
        let FinishedCase { mut record, error } = ran?;
        let (mean_ln_p, unscored) = match mean_ln_p.transpose() {
            Ok(mean_ln_p) => (mean_ln_p, None),
            Err(error) => (None, Some(self.of_session(error))),
        };
        let error = error.map(|error| self.of_session(error));
        let died = error.or(unscored.clone()).filter(RunError::needs_set_up);
        if died.is_some() && number == 1 {
            repeats.push_back((record.case, 2));
            return died;
        }
        if let Some(error) = unscored {
            self.emit(RunEvent::NotScored { count: 1, error });
        }
        self.finished_here += 1;
        self.progress.finished += 1;
        self.progress.failed += usize::from(record.error().is_some());
        let generation = match source {
            Source::Prefix(proposals) => proposals.take(&mut record, mean_ln_p),
            Source::Plan(_) | Source::Threshold(_) => None,
        };
        self.save(Entry::Case(Box::new(record.clone()))).await;
        if let Source::Threshold(searching) = source {
            searching.take(&record);
            let result = searching.request.search.result();
            if result.measured > 0 {
                self.emit(RunEvent::Threshold(result));
            }
        }
        self.queue_for_scoring(&record);
        self.emit(RunEvent::CaseFinished(Box::new(record)));
        if let Some(generation) = generation {
            self.tell_generation(generation).await;
        }
        died
    }

    /// Saves and reports a generation of a search for a prefix.
    async fn tell_generation(&mut self, generation: Generation) {
        let (experiment, generation) = (self.experiment.id.clone(), Box::new(generation));
        self.save(Entry::Generation {
            experiment,
            generation: generation.clone(),
        })
        .await;
        self.emit(RunEvent::Generation(generation));
    }

    /// Reports a case that panicked. It has no record, so a resumed run repeats it.
    fn report_lost(&mut self, case: Option<Case>, error: JoinError) {
        let error = Arc::new(error);
        let (count, _) = self.lost.get_or_insert_with(|| (0, Arc::clone(&error)));
        *count += 1;
        if let Some(case) = case {
            self.emit(RunEvent::CaseLost {
                index: case.index,
                name: case.name,
                error: RunError::Panicked(error),
            });
        }
    }

    fn next_batch(&mut self, system: &str) -> Option<Batch> {
        let prompts = &self.request.plan.prompts;
        let fits = |prompt: usize| prompts.get(prompt).is_none_or(|prompt| prompt.system == system);
        self.unscored.next(fits)
    }

    /// Queues a finished case for scoring, if the plan asks for it.
    fn queue_for_scoring(&mut self, record: &Record) {
        if self.request.plan.scored {
            self.unscored.take(record);
        }
    }

    /// Saves and reports scores. Cases of a failed batch are queued once more, one by one. Returns the error after
    /// which a new set-up is needed.
    async fn take_scores(&mut self, scoring: Scoring) -> Option<RunError> {
        let Scoring { batch, scores } = scoring;
        self.unscored.batch_done();
        let error = match scores {
            Ok(scores) => {
                for (record, scores) in scores {
                    let scores = Box::new(scores);
                    self.save(Entry::Scored {
                        record: record.clone(),
                        scores: scores.clone(),
                    })
                    .await;
                    self.emit(RunEvent::Scored { record, scores });
                }
                return None;
            }
            Err(error) => self.of_session(error),
        };
        let count = batch.cases.len();
        if !self.unscored.retry(batch) {
            let error = error.clone();
            self.emit(RunEvent::NotScored { count, error });
        }
        Some(error).filter(RunError::needs_set_up)
    }

    /// Sends the progress, and stops the clock while the run is paused and nothing runs.
    fn report(&mut self, running: usize, left: usize, paused: bool) {
        self.clock.run(!paused || running > 0);
        let elapsed = self.clock.elapsed();
        let to_do = left + running;
        self.progress.running = running;
        self.progress.total = self.progress.finished + to_do;
        self.progress.elapsed = elapsed;
        self.progress.left =
            (self.finished_here > 0).then(|| elapsed.div_f64(self.finished_here as f64).mul_f64(to_do as f64));
        self.progress.paused = paused;
        self.progress.unscored = self.unscored.left();
        self.emit(RunEvent::Progress(self.progress));
    }
}

/// Why no more cases run on a task.
enum TaskEnd {
    /// No case with this system prompt is left.
    Done,
    Died(RunError),
    Cancelled,
}

/// One run of a case; `ran` is `None` where it was stopped before it was sent.
struct Attempt {
    number: u32,
    ran: Option<FinishedCase>,
    /// [`Score::mean_ln_p`](crate::search::Score); `None` where no text is wanted or the unit does not score texts.
    mean_ln_p: Option<Result<f64, SessionError>>,
}

/// The mean of ln p, in nats, over the tokens of a text after a record's prompt with the record's prefix.
async fn mean_ln_p(session: &Session, task: &Task, record: &Record, text: String) -> Result<f64, SessionError> {
    let request = ScoreRequest::new(record.prompt.user.as_str(), ScoredText::Text(text));
    let request = match &record.case.recipe {
        Some(recipe) => request.reference_prefix(session.build_by(Some(task), recipe).await?),
        None => request,
    };
    let mean = -libm::log(task.score(request).await?.reference.perplexity);
    // A journal holds finite numbers only.
    if libm::exp(mean).is_finite() && mean.is_finite() {
        return Ok(mean);
    }
    let action = SCORE.to_owned();
    let detail = "the perplexity is not a positive number".to_owned();
    Err(ClientError::Unreadable { action, detail }.into())
}

/// A batch and its scores or error.
struct Scoring {
    batch: Batch,
    scores: Result<Vec<(String, CaseScores)>, SessionError>,
}

async fn score_batch(session: Arc<Session>, task: Task, batch: Batch) -> Scoring {
    let work = async {
        let mut prefixes = Vec::with_capacity(batch.cases.len());
        for recipe in batch.cases.iter().filter_map(|case| case.case.recipe.as_ref()) {
            prefixes.push(session.build_by(Some(&task), recipe).await?);
        }
        Ok(scores::score(&task, &batch, prefixes).await?)
    };
    let scores = work.await;
    Scoring { batch, scores }
}

async fn set_up(session: Arc<Session>, system: String, settings: Settings) -> Result<Task, ClientError> {
    if !session.module().is_connected() {
        session.module().reconnect().await?;
    }
    session.set_up(&system, &settings).await
}

/// Returns when the run is cancelled or dropped.
async fn cancelled(control: &mut watch::Receiver<Control>) {
    // An error means that the run was dropped.
    let _ = control.wait_for(|now| *now == Control::Cancel).await;
}
