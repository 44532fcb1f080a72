//! Runs a plan on a module and tells what happens: as many cases at once as the unit can take, one at a time on a stranger's. Each
//! finished case is in the journal before it is told. It knows modules through the client, and no window.
//!
//! A case that fails is recorded with its error and the rest goes on. When the module dies under a case, the connection and the
//! task are made anew and the case is repeated once, alone. What cannot be made anew interrupts the run; a run of the rest can
//! follow any time ([`RunRequest::resume`]).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::analysis::Proof;
use super::journal::{Ending, Entry, Experiment, JOURNAL_VERSION, Journal, JournalError};
use super::plan::{Case, Plan, PlanError, Prompt, Settings};
use super::record::{Answer, Failure, ModuleIdentity, Outcome, PrefixIdentity, RECORD_VERSION, Record};
use super::scores::{self, Batch, CaseScores, Unscored};
use super::threshold::{Budget, Threshold, ThresholdSearch};
use crate::client::{ClientError, InferenceEvent, InferenceRequest, Module, Task};
use crate::compare::{Measures, Noise, Verdict};
use crate::prefix::{
    EmbeddingRows, Magnitude, Need, PrefixError, PrefixKind, PrefixRecipe, Rounding, Shelf, SoftPrefix,
};
use crate::protocol::SetUp;
use crate::protocol::extension::{Priority, feature};

/// A journal that the runner and others append to.
pub type SharedJournal = Arc<Mutex<Journal>>;

/// What is to be run, and where.
#[derive(Clone)]
pub struct RunRequest {
    pub plan: Plan,
    pub module: Module,
    /// The set-up of every task: model and settings. The prompts' system texts and the plan's settings are put in.
    pub set_up: SetUp,
    /// Answers for words and the vocabulary where the module cannot: a task of our unit with the same model.
    pub words_from: Option<Task>,
    /// Where records are kept; `None` keeps none.
    pub journal: Option<SharedJournal>,
    /// Going on with an experiment, and the indices of its finished cases.
    pub resume: Option<(Experiment, HashSet<usize>)>,
    /// The records of the experiment that goes on: those that are not scored yet are. May be empty.
    pub known: Vec<Record>,
    pub options: RunOptions,
}

/// How a plan is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What records say wrote them: `softprefix 0.1.0`.
    pub written_by: String,
    /// How the module is called in records instead of its address (`embedded`).
    pub address: Option<String>,
    /// At most so many cases at once, whatever the unit says.
    pub at_once: Option<usize>,
    /// Whether a stranger's module is first asked to prove that a prefix has any effect.
    pub canary: bool,
    /// Whether the run ends when that proof fails.
    pub stop_without_effect: bool,
    /// Where imported prefixes are kept.
    pub shelf: Option<Shelf>,
    /// Waits before each try to reach a dead module again.
    pub retries: Vec<Duration>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            written_by: concat!("softprefix ", env!("CARGO_PKG_VERSION")).to_owned(),
            address: None,
            at_once: None,
            canary: true,
            stop_without_effect: true,
            shelf: None,
            retries: [0.2, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
                .map(Duration::from_secs_f64)
                .to_vec(),
        }
    }
}

/// What happens in a run.
#[derive(Clone, Debug)]
pub enum RunEvent {
    /// The module is set up and the first cases begin; sent again for a resumed experiment.
    Started(Box<Experiment>),
    /// A case was sent.
    CaseStarted { index: usize, name: String },
    /// More text of a running case.
    Text { index: usize, text: String },
    /// A case finished, and is in the journal (unless [`RunEvent::JournalFailed`] comes first).
    CaseFinished(Box<Record>),
    /// A finished case was scored, and that is in the journal. Sent where the plan asks for it and the unit can.
    Scored { record: String, scores: Box<CaseScores> },
    /// So many finished cases could not be scored, for this reason; the run goes on.
    NotScored { count: usize, error: String },
    /// How far the run is.
    Progress(Progress),
    /// What the canary showed on a stranger's module.
    Canary(Canary),
    /// The module died and is being reached again.
    Reconnecting { because: String },
    /// It is there again.
    Reconnected,
    /// Records cannot be saved; the run waits ([`Run::go_on`] tries again). Nothing is lost meanwhile.
    JournalFailed { error: String },
    /// A threshold search knows more.
    Threshold(Threshold),
    /// The last event.
    Ended(RunEnd),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEnd {
    Complete,
    Cancelled,
    /// The canary had no effect; see [`RunEvent::Canary`].
    NoEffect,
    /// The module could not be used any more; the rest can be run later.
    Interrupted {
        error: String,
    },
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Cases with a record, failed ones and those of earlier runs included.
    pub finished: usize,
    pub failed: usize,
    pub running: usize,
    pub total: usize,
    /// Since the start, without pauses.
    pub elapsed: Duration,
    /// Time to the end at the present pace; `None` before the first case has finished.
    pub left: Option<Duration>,
    pub paused: bool,
    /// Finished cases whose texts are still to be scored.
    pub unscored: usize,
}

/// Whether a large prefix changes what a stranger's module says.
#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    pub finding: CanaryFinding,
    /// The text without a prefix.
    pub baseline: String,
    /// The text with the large prefix.
    pub text: String,
}

/// What a canary showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryFinding {
    /// The text changed more than by itself.
    Applied,
    /// The text stayed the same.
    NoEffect,
    /// The module's texts differ so much by themselves that nothing can be said.
    CannotTell,
}

impl Canary {
    /// What a person should know.
    pub fn sentence(&self) -> &'static str {
        match self.finding {
            CanaryFinding::Applied => "A large prefix changes the text: this module uses prefixes.",
            CanaryFinding::NoEffect => Proof::NoEffect.sentence(),
            CanaryFinding::CannotTell => {
                "This module's texts differ from run to run as much as a large prefix changes them, so nothing proves that prefixes \
                 are used. Turn its sampling down, or run more baselines."
            }
        }
    }
}

/// The canary's prefix: the largest value of existing scripts.
const CANARY: PrefixRecipe = PrefixRecipe {
    kind: PrefixKind::Constant,
    len: 1,
    magnitude: Magnitude::Raw(2.0),
    rounding: Rounding::NearestEven,
};

/// A search for the largest magnitude within an effect budget.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    /// The prefix; its magnitude only tells the unit in which the search goes (raw or token norms).
    pub recipe: PrefixRecipe,
    pub search: ThresholdSearch,
    pub budget: Budget,
}

/// A run in progress. Dropping it cancels the run without a word in the journal, so that it can be resumed.
pub struct Run {
    events: mpsc::UnboundedReceiver<RunEvent>,
    control: watch::Sender<Control>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Go,
    /// Counts up, so that going on after a failed save can be told from never having paused.
    Pause,
    Cancel,
}

impl Run {
    /// Starts a plan. Must be called from within a tokio runtime.
    ///
    /// # Errors
    /// [`PlanError`]; what goes wrong later is an event.
    pub fn start(request: RunRequest) -> Result<Self, PlanError> {
        let cases = request.plan.cases()?;
        Ok(Self::drive(request, Source::Plan(cases.into())))
    }

    /// Starts a search instead: the plan's prompt (the first) with one magnitude after the other. The plan's sweeps are not run.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn search(mut request: RunRequest, search: SearchRequest) -> Result<Self, PlanError> {
        request.plan.sweeps.clear();
        request.plan.prompts.truncate(1);
        let baselines: VecDeque<Case> = request.plan.cases()?.into();
        let next_index = baselines.len();
        Ok(Self::drive(
            request,
            Source::Search(Box::new(Searching {
                baselines,
                next_index,
                search,
                base: None,
                waits: false,
            })),
        ))
    }

    fn drive(request: RunRequest, source: Source) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let (control, controlled) = watch::channel(Control::Go);
        let runner = Runner::new(request, sender, controlled);
        tokio::spawn(runner.run(source));
        Self { events, control }
    }

    /// The next event; `None` after [`RunEvent::Ended`]. May be dropped while it waits without losing anything.
    pub async fn next(&mut self) -> Option<RunEvent> {
        self.events.recv().await
    }

    /// Begins no further case; running ones finish.
    pub fn pause(&self) {
        self.set(Control::Pause);
    }

    /// Goes on after a pause.
    pub fn go_on(&self) {
        self.set(Control::Go);
    }

    /// Stops running cases (they leave no record) and ends the run.
    pub fn cancel(&self) {
        self.set(Control::Cancel);
    }

    fn set(&self, control: Control) {
        // Cancelling is final.
        self.control.send_if_modified(|now| {
            let changes = *now != Control::Cancel;
            if changes {
                *now = control;
            }
            changes
        });
    }
}

/// Where cases come from.
enum Source {
    Plan(VecDeque<Case>),
    Search(Box<Searching>),
}

/// A search at work: the baselines before, one magnitude at a time, the baseline again.
struct Searching {
    /// The plan's baselines; the last one is run at the end.
    baselines: VecDeque<Case>,
    next_index: usize,
    search: SearchRequest,
    /// The text that effects are measured against.
    base: Option<String>,
    /// Whether a case is out whose result the next step needs.
    waits: bool,
}

impl Source {
    /// The next case; `None` if there is none now.
    fn next(&mut self) -> Option<Case> {
        match self {
            Self::Plan(cases) => cases.pop_front(),
            Self::Search(searching) => searching.next(),
        }
    }

    fn left(&self) -> usize {
        match self {
            Self::Plan(cases) => cases.len(),
            Self::Search(searching) => searching.left(),
        }
    }

    /// System text of the next case's prompt.
    fn next_prompt(&self) -> Option<usize> {
        match self {
            Self::Plan(cases) => cases.front().map(|case| case.prompt),
            Self::Search(_) => Some(0),
        }
    }

    fn forget(&mut self, finished: &HashSet<usize>) {
        if let Self::Plan(cases) = self {
            cases.retain(|case| !finished.contains(&case.index));
        }
    }
}

impl Searching {
    fn left(&self) -> usize {
        // Without a baseline's text there is nothing to measure against, and no magnitude is tried.
        let can_measure = self.base.is_some() || self.waits || self.baselines.len() > 1;
        self.baselines.len() + if can_measure { self.search.search.most_left() } else { 0 }
    }

    fn next(&mut self) -> Option<Case> {
        if self.waits {
            return None;
        }
        let is_last = self.baselines.len() == 1;
        if !is_last && let Some(baseline) = self.baselines.pop_front() {
            self.waits = true;
            return Some(baseline);
        }
        let wanted = self.base.as_ref().and_then(|_| self.search.search.next());
        let Some(magnitude) = wanted else {
            return self.baselines.pop_front();
        };
        self.waits = true;
        let index = self.next_index;
        self.next_index += 1;
        let (magnitude, name) = match self.search.recipe.magnitude {
            Magnitude::Raw(_) => (Magnitude::Raw(magnitude), format!("prefix_val_{magnitude:?}")),
            _ => (Magnitude::TokenNorms(magnitude), format!("prefix_norm_{magnitude:?}")),
        };
        let recipe = PrefixRecipe {
            magnitude,
            ..self.search.recipe.clone()
        };
        Some(Case {
            index,
            name,
            prompt: 0,
            repeat: 0,
            recipe: Some(recipe),
        })
    }

    /// Takes in what a case gave. A failed case counts as over the budget: nobody wants a magnitude that fails.
    fn take(&mut self, record: &Record) {
        self.waits = false;
        if record.is_baseline() {
            self.base = self.base.take().or_else(|| record.text().map(str::to_owned));
            return;
        }
        let magnitude = match record.case.recipe.as_ref().map(|recipe| recipe.magnitude) {
            Some(Magnitude::Raw(value) | Magnitude::TokenNorms(value)) => value,
            _ => return,
        };
        let measured = self
            .base
            .as_ref()
            .zip(record.text())
            .map(|(base, text)| Measures::of(base, text));
        let within = measured
            .and_then(|measures| self.search.budget.holds(&measures))
            .unwrap_or(false);
        self.search.search.record(magnitude, within);
    }
}

/// A task that is set up for one system text, with what is known about the module.
struct Session {
    task: Task,
    words_from: Option<Task>,
    shelf: Option<Shelf>,
    identity: ModuleIdentity,
    /// Rows that were asked for already.
    rows: tokio::sync::Mutex<HashMap<Need, Arc<EmbeddingRows>>>,
}

/// A case that was run once: its record, or the reason why it should be run again.
struct Attempt {
    case: Case,
    number: u32,
    record: Record,
    /// The module died.
    died: Option<ClientError>,
}

struct Runner {
    request: RunRequest,
    events: mpsc::UnboundedSender<RunEvent>,
    control: watch::Receiver<Control>,
    experiment: Experiment,
    /// Lines that could not be saved yet.
    unsaved: VecDeque<Entry>,
    progress: Progress,
    /// Cases finished in this run, for the pace.
    here: usize,
    clock: Clock,
    /// Failed saving pauses too.
    halted: bool,
    unscored: Unscored,
    canary_done: bool,
    /// [`RunEvent::Started`] was told.
    introduced: bool,
}

/// Measures time without pauses.
struct Clock {
    before: Duration,
    since: Option<Instant>,
}

impl Clock {
    fn run(&mut self, runs: bool) {
        match (self.since, runs) {
            (None, true) => self.since = Some(Instant::now()),
            (Some(since), false) => {
                self.before += since.elapsed();
                self.since = None;
            }
            _ => {}
        }
    }

    fn elapsed(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Runner {
    fn new(request: RunRequest, events: mpsc::UnboundedSender<RunEvent>, control: watch::Receiver<Control>) -> Self {
        let experiment = match &request.resume {
            Some((experiment, _)) => experiment.clone(),
            None => Experiment {
                version: JOURNAL_VERSION,
                id: new_id(),
                name: request.plan.name.clone(),
                started_unix: unix_now(),
                plan: request.plan.clone(),
                module: ModuleIdentity::default(),
            },
        };
        let clock = Clock {
            before: Duration::ZERO,
            since: None,
        };
        Self {
            request,
            events,
            control,
            experiment,
            unsaved: VecDeque::new(),
            progress: Progress::default(),
            here: 0,
            clock,
            halted: false,
            unscored: Unscored::default(),
            canary_done: false,
            introduced: false,
        }
    }

    fn tell(&self, event: RunEvent) {
        // Nobody listens to a dropped run; it then ends by itself.
        let _ = self.events.send(event);
    }

    async fn run(mut self, mut source: Source) {
        if let Some((_, finished)) = &self.request.resume {
            self.progress.finished = finished.len();
            source.forget(finished);
        }
        for record in std::mem::take(&mut self.request.known) {
            self.note(&record);
        }
        self.clock.run(true);
        let end = self.drive(&mut source).await;
        let how = match &end {
            RunEnd::Complete => Some(Ending::Complete),
            RunEnd::Cancelled => Some(Ending::Cancelled),
            RunEnd::NoEffect | RunEnd::Interrupted { .. } => None,
        };
        if let Some(how) = how.filter(|_| !self.experiment.module.model.is_empty()) {
            let experiment = self.experiment.id.clone();
            self.save(Entry::Ended {
                experiment,
                how,
                at_unix: unix_now(),
            })
            .await;
        }
        self.tell(RunEvent::Ended(end));
    }

    /// Runs session after session: one for each stretch of cases with the same system text.
    async fn drive(&mut self, source: &mut Source) -> RunEnd {
        let mut again: VecDeque<(Case, u32)> = VecDeque::new();
        let (mut is_first, mut is_back) = (true, false);
        loop {
            let next = again
                .front()
                .map(|(case, _)| case.prompt)
                .or_else(|| source.next_prompt().filter(|_| source.left() > 0))
                .or_else(|| self.unscored.next_prompt());
            let Some(prompt) = next else { return RunEnd::Complete };
            let system = self.prompt(prompt).system;
            let session = match self.set_up_or_wait(&system, is_first).await {
                Ok(session) => Arc::new(session),
                Err(end) => return end,
            };
            is_first = false;
            if std::mem::take(&mut is_back) {
                self.tell(RunEvent::Reconnected);
            }
            self.introduce(&session).await;
            if let Some(end) = self.prove(&session, prompt).await {
                return end;
            }
            match self.run_session(&session, &system, source, &mut again).await {
                SessionEnd::Done => {
                    // The next session may need this one's place: a stock unit has room for two tasks.
                    let _ = session.task.exit().await;
                }
                SessionEnd::Died(error) => {
                    is_back = true;
                    self.tell(RunEvent::Reconnecting {
                        because: error.to_string(),
                    });
                    // What is left of the task on a module that merely hung would fill its places.
                    let _ = tokio::time::timeout(Duration::from_secs(5), session.task.exit()).await;
                }
                SessionEnd::Cancelled => {
                    let _ = tokio::time::timeout(Duration::from_secs(5), session.task.exit()).await;
                    return RunEnd::Cancelled;
                }
            }
        }
    }

    fn prompt(&self, number: usize) -> Prompt {
        self.request.plan.prompts.get(number).cloned().unwrap_or_default()
    }

    /// Sets up, and where the module is gone, tries again after each of the waits.
    async fn set_up_or_wait(&mut self, system: &str, is_first: bool) -> Result<Session, RunEnd> {
        let mut waits = self.request.options.retries.clone().into_iter();
        loop {
            let error = match self.set_up(system).await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            // A module that was never there, or says no, will not change its mind.
            let hopeless = is_first || matches!(error, ClientError::Refused { .. } | ClientError::TaskFull { .. });
            let Some(wait) = waits.next().filter(|_| !hopeless) else {
                return Err(RunEnd::Interrupted {
                    error: error.to_string(),
                });
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = cancelled(&mut self.control) => return Err(RunEnd::Cancelled),
            }
        }
    }

    async fn set_up(&self, system: &str) -> Result<Session, ClientError> {
        let module = &self.request.module;
        if !module.is_connected() {
            module.reconnect().await?;
        }
        let settings = &self.request.plan.settings;
        let mut set_up = self.request.set_up.clone();
        if let Some(streaming) = settings.streaming {
            set_up = set_up.streaming(streaming);
        }
        set_up.prompt = system.to_owned();
        if settings.max_token_len.is_some() {
            set_up.max_token_len = settings.max_token_len;
        }
        set_up.settings.extend(settings.other.clone());
        let task = module.set_up(&set_up).await?;
        let words_from = self.request.words_from.clone();
        let address = self.request.options.address.clone();
        let identity = identify(&task, words_from.as_ref(), address).await;
        Ok(Session {
            task,
            words_from,
            shelf: self.request.options.shelf.clone(),
            identity,
            rows: tokio::sync::Mutex::default(),
        })
    }

    /// Writes the experiment's first line once it is known who answers.
    async fn introduce(&mut self, session: &Session) {
        let is_new = self.experiment.module == ModuleIdentity::default();
        if is_new {
            self.experiment.module = session.identity.clone();
            self.save(Entry::Started(Box::new(self.experiment.clone()))).await;
        }
        if !std::mem::replace(&mut self.introduced, true) {
            self.tell(RunEvent::Started(Box::new(self.experiment.clone())));
        }
    }

    /// The canary, once and for strangers only. Ends the run if it proves that prefixes have no effect.
    async fn prove(&mut self, session: &Arc<Session>, prompt: usize) -> Option<RunEnd> {
        let wanted = self.request.options.canary && session.task.support().is_none();
        if std::mem::replace(&mut self.canary_done, true) || !wanted {
            return None;
        }
        let prompt = self.prompt(prompt);
        let found = tokio::select! {
            found = canary(session, &prompt.user) => found,
            () = cancelled(&mut self.control) => return Some(RunEnd::Cancelled),
        };
        // A canary that failed proves nothing; the cases will tell what is wrong.
        let canary = found.ok()?;
        let stop = canary.finding == CanaryFinding::NoEffect && self.request.options.stop_without_effect;
        self.tell(RunEvent::Canary(canary));
        stop.then_some(RunEnd::NoEffect)
    }

    async fn run_session(
        &mut self,
        session: &Arc<Session>,
        system: &str,
        source: &mut Source,
        again: &mut VecDeque<(Case, u32)>,
    ) -> SessionEnd {
        let most = session.task.support().map_or(1, |support| support.concurrency).max(1);
        let most = most.min(self.request.options.at_once.unwrap_or(usize::MAX)).max(1);
        let can_score = session
            .task
            .support()
            .is_some_and(|support| support.has(feature::SCORE));
        if !can_score {
            self.unscored = Unscored::default();
        }
        let mut running: JoinSet<Attempt> = JoinSet::new();
        // One batch at a time: it shares the engine with the running cases.
        let mut scoring: JoinSet<Scoring> = JoinSet::new();
        let mut died = None;
        let mut control = self.control.clone();
        loop {
            if self.events.is_closed() || *control.borrow_and_update() == Control::Cancel {
                return SessionEnd::Cancelled;
            }
            let paused = self.halted || *control.borrow() == Control::Pause;
            while died.is_none() && !paused && running.len() < most {
                // What died once runs alone, so that it cannot take others with it a second time.
                let repeat = if running.is_empty() { again.pop_front() } else { None };
                if repeat.is_none() && !again.is_empty() {
                    break;
                }
                let is_repeat = repeat.is_some();
                let fits = |prompt| self.prompt(prompt).system == system;
                let next = match repeat {
                    Some((case, number)) if fits(case.prompt) => Some((case, number)),
                    Some(other) => {
                        again.push_front(other);
                        return SessionEnd::Done;
                    }
                    None if source.next_prompt().is_some_and(fits) => source.next().map(|case| (case, 1)),
                    None => None,
                };
                let Some((case, number)) = next else { break };
                self.tell(RunEvent::CaseStarted {
                    index: case.index,
                    name: case.name.clone(),
                });
                let job = self.job(session, case, number);
                running.spawn(job.run());
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
                scoring.spawn(score_batch(Arc::clone(session), batch));
            }
            self.report(running.len(), source.left() + again.len(), paused);
            if running.is_empty() && scoring.is_empty() {
                if let Some(error) = died {
                    return SessionEnd::Died(error);
                }
                if !paused {
                    return SessionEnd::Done;
                }
            }
            tokio::select! {
                Some(joined) = running.join_next(), if !running.is_empty() => {
                    // A panic in a case would be a fault of ours; the case is then missing and a resumed run repeats it.
                    let Ok(attempt) = joined else { continue };
                    if let Some(error) = self.finish(attempt, source, again).await {
                        died = Some(error);
                    }
                }
                Some(joined) = scoring.join_next(), if !scoring.is_empty() => {
                    let Ok(scored) = joined else { continue };
                    if let Some(error) = self.take_scores(scored).await {
                        died = Some(error);
                    }
                }
                changed = control.changed() => {
                    if changed.is_err() {
                        return SessionEnd::Cancelled;
                    }
                    if *control.borrow() == Control::Go && std::mem::take(&mut self.halted) {
                        self.save_rest().await;
                    }
                }
            }
        }
    }

    fn job(&self, session: &Arc<Session>, case: Case, number: u32) -> Job {
        Job {
            session: Arc::clone(session),
            experiment: self.experiment.id.clone(),
            prompt: self.prompt(case.prompt),
            settings: self.request.plan.settings.clone(),
            written_by: self.request.options.written_by.clone(),
            events: self.events.clone(),
            case,
            number,
        }
    }

    /// Keeps and tells a finished case, or puts it back for a second time. Returns why the session is of no more use.
    async fn finish(
        &mut self,
        attempt: Attempt,
        source: &mut Source,
        again: &mut VecDeque<(Case, u32)>,
    ) -> Option<ClientError> {
        let Attempt {
            case,
            number,
            record,
            died,
        } = attempt;
        if died.is_some() && number == 1 {
            again.push_back((case, 2));
            return died;
        }
        self.here += 1;
        self.progress.finished += 1;
        self.progress.failed += usize::from(record.error().is_some());
        self.save(Entry::Case(Box::new(record.clone()))).await;
        if let Source::Search(searching) = source {
            let is_probe = !record.is_baseline();
            searching.take(&record);
            if is_probe {
                self.tell(RunEvent::Threshold(searching.search.search.found()));
            }
        }
        self.note(&record);
        self.tell(RunEvent::CaseFinished(Box::new(record)));
        died
    }

    fn next_batch(&mut self, system: &str) -> Option<Batch> {
        let prompts = &self.request.plan.prompts;
        let fits = |prompt: usize| prompts.get(prompt).is_none_or(|prompt| prompt.system == system);
        self.unscored.next(fits)
    }

    /// Remembers a finished case for scoring, where that is wanted.
    fn note(&mut self, record: &Record) {
        if self.request.plan.deep {
            self.unscored.take(record);
        }
    }

    /// Keeps and tells what was scored. What failed with others is tried once more by itself. Returns why the session is of no more
    /// use.
    async fn take_scores(&mut self, scoring: Scoring) -> Option<ClientError> {
        let Scoring { batch, scores } = scoring;
        self.unscored.is_back();
        let error = match scores {
            Ok(scores) => {
                for (record, scores) in scores {
                    let scores = Box::new(scores);
                    self.save(Entry::Scored {
                        record: record.clone(),
                        scores: scores.clone(),
                    })
                    .await;
                    self.tell(RunEvent::Scored { record, scores });
                }
                return None;
            }
            Err(error) => error,
        };
        let count = batch.cases.len();
        if !self.unscored.put_back(batch) {
            self.tell(RunEvent::NotScored {
                count,
                error: error.to_string(),
            });
        }
        Some(error).filter(ClientError::needs_set_up)
    }

    fn report(&mut self, running: usize, left: usize, paused: bool) {
        self.clock.run(!paused || running > 0);
        let elapsed = self.clock.elapsed();
        let to_do = left + running;
        self.progress.running = running;
        self.progress.total = self.progress.finished + to_do;
        self.progress.elapsed = elapsed;
        self.progress.left = (self.here > 0).then(|| elapsed.div_f64(self.here as f64).mul_f64(to_do as f64));
        self.progress.paused = paused;
        self.progress.unscored = self.unscored.left();
        self.tell(RunEvent::Progress(self.progress));
    }

    async fn save(&mut self, entry: Entry) {
        if self.request.journal.is_some() {
            self.unsaved.push_back(entry);
            self.save_rest().await;
        }
    }

    /// Saves what is not saved yet, in order; halts the run if that fails.
    async fn save_rest(&mut self) {
        let Some(journal) = self.request.journal.clone() else {
            return;
        };
        let entries = std::mem::take(&mut self.unsaved);
        // Waiting for the disk must not hold up running inferences.
        let saved = tokio::task::spawn_blocking(move || append_all(&journal, entries)).await;
        match saved {
            Ok((rest, error)) => {
                self.unsaved = rest;
                if let Some(error) = error {
                    self.halted = true;
                    self.tell(RunEvent::JournalFailed {
                        error: error.to_string(),
                    });
                }
            }
            Err(error) => {
                self.halted = true;
                self.tell(RunEvent::JournalFailed {
                    error: error.to_string(),
                });
            }
        }
    }
}

enum SessionEnd {
    /// No case with this system text is left.
    Done,
    Died(ClientError),
    Cancelled,
}

/// Appends the entries until one fails; returns those that are not saved, and why.
fn append_all(journal: &SharedJournal, mut entries: VecDeque<Entry>) -> (VecDeque<Entry>, Option<JournalError>) {
    let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some(entry) = entries.front() {
        if let Err(error) = journal.append(entry) {
            return (entries, Some(error));
        }
        entries.pop_front();
    }
    (entries, None)
}

/// Returns when the run is to be cancelled.
async fn cancelled(control: &mut watch::Receiver<Control>) {
    // An error means that the run was dropped, which cancels it too.
    let _ = control.wait_for(|now| *now == Control::Cancel).await;
}

/// Who answers, as far as it says. What cannot be asked stays empty: an experiment must not fail for it.
async fn identify(task: &Task, words_from: Option<&Task>, address: Option<String>) -> ModuleIdentity {
    let module = task.module();
    let model = task.set_up().model.clone();
    let card = module
        .cards()
        .await
        .unwrap_or_default()
        .into_iter()
        .find(|card| card.name == model);
    let support = task.support();
    let hidden_size = support
        .map(|support| support.hidden_size)
        .or(card.as_ref().and_then(|card| card.hidden_size));
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ModuleIdentity {
        address: address.unwrap_or_else(|| module.address().to_owned()),
        model,
        card: card.map(|card| card.raw).unwrap_or_default(),
        hidden_size: hidden_size.unwrap_or_default(),
        unit: support.and_then(|support| said(&support.unit)),
        backend: support.and_then(|support| said(&support.backend)),
        model_sha256: support.and_then(|support| support.model_sha256.clone()),
        version: module.version().await.ok(),
        template: if support.is_some() {
            "the unit's"
        } else {
            "the stock unit's"
        }
        .to_owned(),
        median_norm: median_norm(task, words_from).await,
    }
}

async fn median_norm(task: &Task, words_from: Option<&Task>) -> Option<f64> {
    let able = |task: &Task| task.support().is_some_and(|support| support.has(feature::VOCABULARY));
    let asked = if able(task) { task } else { words_from? };
    asked
        .vocabulary()
        .await
        .ok()
        .map(|vocabulary| vocabulary.percentiles.p50)
}

impl Session {
    /// Builds a case's prefix, asking for the rows that it needs.
    async fn build(&self, recipe: &PrefixRecipe) -> Result<SoftPrefix, ClientError> {
        let mut materials = Vec::new();
        for need in recipe.needs() {
            materials.push(self.material(need).await?);
        }
        let materials: Vec<&EmbeddingRows> = materials.iter().map(Arc::as_ref).collect();
        Ok(recipe.build_from(self.identity.hidden_size, &materials, self.identity.median_norm)?)
    }

    async fn material(&self, need: Need) -> Result<Arc<EmbeddingRows>, ClientError> {
        let mut known = self.rows.lock().await;
        if let Some(rows) = known.get(&need) {
            return Ok(Arc::clone(rows));
        }
        let rows = match (&need, &self.shelf) {
            (Need::Stored { name, sha256 }, Some(shelf)) => match shelf.get(sha256) {
                Ok(prefix) => EmbeddingRows::from(&prefix),
                Err(error) => {
                    tracing::warn!(%error, "an imported prefix is not at hand");
                    return Err(PrefixError::StoredMissing {
                        name: name.clone(),
                        sha256: sha256.clone(),
                    }
                    .into());
                }
            },
            _ => {
                let able = self.task.support().is_some_and(|support| support.has(feature::EMBED));
                let asked = match &self.words_from {
                    Some(other) if !able => other,
                    _ => &self.task,
                };
                asked.material(&need).await?
            }
        };
        let rows = Arc::new(rows);
        known.insert(need, Arc::clone(&rows));
        Ok(rows)
    }
}

/// A batch that was scored, or not.
struct Scoring {
    batch: Batch,
    scores: Result<Vec<(String, CaseScores)>, ClientError>,
}

async fn score_batch(session: Arc<Session>, batch: Batch) -> Scoring {
    let work = async {
        let mut prefixes = Vec::with_capacity(batch.cases.len());
        for recipe in batch.cases.iter().filter_map(|case| case.case.recipe.as_ref()) {
            prefixes.push(session.build(recipe).await?);
        }
        scores::score(&session.task, &batch, prefixes).await
    };
    let scores = work.await;
    Scoring { batch, scores }
}

/// One case on its way.
struct Job {
    session: Arc<Session>,
    experiment: String,
    case: Case,
    number: u32,
    prompt: Prompt,
    settings: Settings,
    written_by: String,
    events: mpsc::UnboundedSender<RunEvent>,
}

impl Job {
    async fn run(self) -> Attempt {
        let started_unix = unix_now();
        let started = Instant::now();
        let mut identity = None;
        let result = self.infer(&mut identity).await;
        let (outcome, died) = match result {
            Ok(answer) => (Outcome::Done(answer), None),
            Err(error) => {
                let failure = Failure {
                    error: error.to_string(),
                    partial_text: error.text_so_far().unwrap_or_default().to_owned(),
                    elapsed_sec: started.elapsed().as_secs_f64(),
                };
                (Outcome::Failed(failure), Some(error).filter(ClientError::needs_set_up))
            }
        };
        let record = Record {
            version: RECORD_VERSION,
            id: format!("{}/{}", self.experiment, self.case.index),
            experiment: self.experiment,
            case: self.case.clone(),
            prompt: self.prompt,
            settings: self.settings,
            module: self.session.identity.clone(),
            prefix: identity,
            started_unix,
            attempts: self.number,
            outcome,
            scores: None,
            written_by: self.written_by,
        };
        Attempt {
            case: self.case,
            number: self.number,
            record,
            died,
        }
    }

    async fn infer(&self, identity: &mut Option<PrefixIdentity>) -> Result<Answer, ClientError> {
        let prefix = match &self.case.recipe {
            Some(recipe) => {
                let prefix = self.session.build(recipe).await?;
                *identity = Some(PrefixIdentity::of(recipe, &prefix, self.session.identity.median_norm));
                Some(prefix)
            }
            None => None,
        };
        let mut request = InferenceRequest::new(&self.prompt.user)
            .prefix(prefix)
            .priority(Priority::Batch);
        request.max_new_tokens = self.settings.max_new_tokens;
        let mut inference = self.session.task.infer(request);
        while let Some(event) = inference.next().await {
            match event? {
                InferenceEvent::Delta(text) => {
                    let _ = self.events.send(RunEvent::Text {
                        index: self.case.index,
                        text,
                    });
                }
                InferenceEvent::Done(outcome) => return Ok(answer(outcome)),
            }
        }
        Err(ClientError::Stopped { text: String::new() })
    }
}

fn answer(outcome: crate::client::Outcome) -> Answer {
    let mut usage = outcome.usage;
    let tokens = outcome
        .tokens
        .or_else(|| usage.as_ref().map(|usage| usage.tokens.clone()));
    if let Some(usage) = &mut usage {
        // They stand in the answer; twice would double the journal.
        usage.tokens = Vec::new();
    }
    Answer {
        text: outcome.text,
        tokens,
        finish_reason: outcome.finish_reason,
        echo: outcome.echo,
        usage,
        ttft_sec: outcome.time_to_first_token.map(|time| time.as_secs_f64()),
        elapsed_sec: outcome.elapsed.as_secs_f64(),
    }
}

/// Asks without a prefix and with a large one. Where the texts differ, asks without one again: perhaps they always do.
async fn canary(session: &Session, prompt: &str) -> Result<Canary, ClientError> {
    let ask = async |prefix: Option<SoftPrefix>| -> Result<String, ClientError> {
        let request = InferenceRequest::new(prompt).prefix(prefix).priority(Priority::Batch);
        Ok(session.task.infer(request).outcome().await?.text)
    };
    let baseline = ask(None).await?;
    let text = ask(Some(session.build(&CANARY).await?)).await?;
    let measures = Measures::of(&baseline, &text);
    let finding = if measures.is_same() {
        CanaryFinding::NoEffect
    } else {
        let noise = Noise::of([&Measures::of(&baseline, &ask(None).await?)]);
        match Verdict::of(&measures, noise.as_ref()) {
            Verdict::InsideNoise => CanaryFinding::CannotTell,
            _ => CanaryFinding::Applied,
        }
    };
    Ok(Canary {
        finding,
        baseline,
        text,
    })
}

/// Seconds since 1970.
pub fn unix_now() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// An id that no other experiment has: the time in nanoseconds, the process, and a count within it.
pub fn new_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!(
        "{nanos:x}-{:x}-{:x}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}
