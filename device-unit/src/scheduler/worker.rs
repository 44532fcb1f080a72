//! The thread that owns the engine: between two steps it lets in who waits and fits, and lets go who is done, stopped, late or no
//! longer listened to.
//!
//! It knows whose turn it is; `batch`, `scoring` and `learning` know what is done in a step.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use softprefix_core::prefix::SoftPrefix;

use super::active::{Active, Work, never_started};
use super::job::{End, FinishReason, Job, Priority};
use super::learning::{LearnJob, Learning, Unlearned};
use super::queue::{Room, Waiting};
use super::scoring::{ScoreJob, Scoring, Unscored};
use super::{ENGINE_GONE, Shared, State};
use crate::budget::{Budget, Charge, Use};
use crate::engine::{Engine, TokenEmbeddings};

/// Rows of a step of scoring beside sequences that are producing tokens: one block of the CPU engine's columns.
pub(super) const SCORE_ROWS_BESIDE_OTHERS: usize = 16;
/// Rows of such a step when nothing else runs: as many as the CPU engine computes in one pass. Each row's logits are kept until the
/// step is over, 0.6 MB for a large vocabulary. A live run that comes meanwhile does not wait for it: the step is given up, and done
/// again later.
const SCORE_ROWS_ALONE: usize = 128;

/// How often it is looked whether another model has given memory back, while nothing else can be done.
const LOOK_FOR_MEMORY: Duration = Duration::from_millis(20);

/// The memory of one that can start, or why it never can.
type Admitted = Result<Charge, String>;

/// Most positions that a job can come to: its last token is never fed.
fn positions(job: &Job) -> usize {
    let prompt = job.prefix.as_ref().map_or(0, SoftPrefix::len) + job.tokens.len();
    prompt.saturating_add(job.max_new_tokens).saturating_sub(1)
}

/// Memory for `bytes`; `None` where others have to end first.
fn admit(memory: &Budget, bytes: usize, positions: usize) -> Option<Admitted> {
    let share = memory.share(Use::Work);
    if bytes > share {
        return Some(Err(format!(
            "{positions} positions would take {} MiB, but this unit has {} MiB for what runs; ask for fewer tokens, or start the unit \
             with more --memory",
            bytes >> 20,
            share >> 20
        )));
    }
    memory.charge(Use::Work, bytes).map(Ok)
}

/// What the thread owns.
pub(super) struct Worker {
    shared: Arc<Shared>,
    pub engine: Box<dyn Engine>,
    pub embeddings: Arc<dyn TokenEmbeddings>,
    max_sequences: usize,
    memory: Budget,
    pub hidden_size: usize,
    pub chunked_prefill: bool,
    pub active: Vec<Active>,
    /// The text that is scored next, and the one that is.
    next_score: Option<(ScoreJob, Admitted)>,
    scoring: Option<Scoring>,
    /// The prefix that is learned next, and the one that is.
    next_learn: Option<(LearnJob, Admitted)>,
    learning: Option<Learning>,
}

impl Worker {
    pub fn new(shared: Arc<Shared>, engine: Box<dyn Engine>, max_sequences: usize, memory: Budget) -> Self {
        let info = engine.info();
        Self {
            shared,
            embeddings: engine.embeddings(),
            max_sequences,
            memory,
            hidden_size: info.hidden_size,
            chunked_prefill: info.chunked_prefill,
            engine,
            active: Vec::new(),
            next_score: None,
            scoring: None,
            next_learn: None,
            learning: None,
        }
    }

    pub fn run(&mut self) {
        while let Some(starting) = self.wait_for_work() {
            for (waiting, admitted) in starting {
                match admitted {
                    Ok(memory) => self.begin(waiting, memory),
                    Err(sentence) => never_started(waiting, End::Failed(sentence)),
                }
            }
            match self.next_score.take() {
                None => {}
                Some((job, Ok(memory))) => self.scoring = Scoring::begin(job, memory, self.engine.as_mut()),
                Some((job, Err(sentence))) => {
                    drop(job.place);
                    job.sink.end(Err(Unscored::Failed(sentence)));
                }
            }
            match self.next_learn.take() {
                None => {}
                Some((job, Ok(memory))) => self.learning = Learning::begin(job, memory, self.engine.as_mut()),
                Some((job, Err(sentence))) => {
                    drop(job.place);
                    job.sink.end(Err(Unlearned::Failed(sentence)));
                }
            }
            self.let_go_of_the_unwanted();
            // A panic in an engine must not leave everybody without an answer.
            let stepped = catch_unwind(AssertUnwindSafe(|| {
                if !self.active.is_empty() {
                    self.step();
                }
                self.score_step();
                self.learn_step();
            }));
            if stepped.is_err() {
                tracing::error!("the engine panicked; its thread ends");
                break;
            }
        }
    }

    /// Sleeps until there is something to do; `None` when it is over. Also answers those in line who gave up.
    fn wait_for_work(&mut self) -> Option<Vec<(Waiting, Admitted)>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            // Whatever was told before the lock was had is seen below.
            shared.news.store(false, Ordering::Release);
            if state.closing {
                return None;
            }
            let now = Instant::now();
            let deadline = state.lines.earliest_deadline();
            if std::mem::take(&mut state.look_again) || deadline.is_some_and(|deadline| deadline <= now) {
                let unwanted = state.lines.take_where(|job| {
                    job.stop.is_set() || job.deadline.is_some_and(|deadline| deadline <= now) || job.sink.is_gone()
                });
                if !unwanted.is_empty() {
                    // Sinks are called without the lock: they may submit.
                    drop(state);
                    for waiting in unwanted {
                        never_started(waiting, End::NeverStarted);
                    }
                    state = shared.lock();
                    continue;
                }
            }
            let starting = self.admit(&mut state);
            if self.scoring.is_none() && self.next_score.is_none() {
                self.next_score = self.admit_score(&mut state);
            }
            if self.learning.is_none() && self.next_learn.is_none() {
                self.next_learn = self.admit_learn(&mut state);
            }
            let scores = self.scoring.is_some() || self.next_score.is_some();
            let learns = self.learning.is_some() || self.next_learn.is_some();
            if scores || learns || !self.active.is_empty() || !starting.is_empty() {
                return Some(starting);
            }
            state = if state.lines.is_empty() && state.scores.is_empty() && state.learns.is_empty() {
                shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                // Another model's inferences have the memory; nobody tells of their end here.
                let waited = shared.wake.wait_timeout(state, LOOK_FOR_MEMORY);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    /// Takes out of the lines who can start now, each with the memory that it can use at most. Who needs more than there is in all is
    /// taken out, too, and told.
    fn admit(&self, state: &mut State) -> Vec<(Waiting, Admitted)> {
        let live = self
            .active
            .iter()
            .filter(|active| active.work.priority == Priority::Live)
            .count();
        let mut running = (live, self.active.len() - live);
        let mut starting = Vec::new();
        let engine = self.engine.as_ref();
        let admit = |job: &Job| {
            let positions = positions(job);
            admit(&self.memory, engine.sequence_bytes(positions), positions)
        };
        while let Some((waiting, admitted)) = state
            .lines
            .pop(Room::of(self.max_sequences, running.0, running.1), admit)
        {
            match waiting.job.priority {
                _ if admitted.is_err() => {}
                Priority::Live => running.0 += 1,
                Priority::Batch => running.1 += 1,
            }
            starting.push((waiting, admitted));
        }
        starting
    }

    /// The text that is scored next, if there is memory for it, or never will be.
    fn admit_score(&self, state: &mut State) -> Option<(ScoreJob, Admitted)> {
        let (bytes, positions) = state.scores.front()?.needs(self.engine.as_ref());
        let admitted = admit(&self.memory, bytes, positions)?;
        Some((state.scores.pop_front()?, admitted))
    }

    /// The same for a prefix to be learned.
    fn admit_learn(&mut self, state: &mut State) -> Option<(LearnJob, Admitted)> {
        let (bytes, positions) = state.learns.front()?.needs(self.engine.as_mut());
        // It may last for hours, and whoever comes meanwhile needs memory, too.
        let share = self.memory.share(Use::Work) / 2;
        let admitted = if bytes > share {
            Err(format!(
                "learning over {positions} positions would take {} MiB, but this unit has {} MiB for it; give shorter examples, or start \
                 the unit with more --memory",
                bytes >> 20,
                share >> 20
            ))
        } else {
            admit(&self.memory, bytes, positions)?
        };
        Some((state.learns.pop_front()?, admitted))
    }

    fn begin(&mut self, waiting: Waiting, memory: Charge) {
        let queued = waiting.since.elapsed();
        let job = &waiting.job;
        let prompt_rows = job.prefix.as_ref().map_or(0, SoftPrefix::len) + job.tokens.len();
        if job.stop.is_set() || job.sink.is_gone() {
            return never_started(waiting, End::NeverStarted);
        }
        if prompt_rows == 0 || job.max_new_tokens == 0 {
            return never_started(
                waiting,
                End::Failed("there is nothing to run: no rows, or no tokens wanted".into()),
            );
        }
        let sequence = match self.engine.open(positions(job)) {
            Ok(sequence) => sequence,
            Err(error) => return never_started(waiting, End::Failed(error.to_string())),
        };
        let Job {
            prefix,
            tokens,
            max_new_tokens,
            at_limit,
            stop_tokens,
            choose,
            priority,
            stop,
            deadline,
            mut sink,
            drafter,
            place,
        } = waiting.job;
        drop(place);
        sink.started();
        self.active.push(Active {
            sequence,
            work: Work {
                prefix,
                tokens,
                max_new_tokens,
                at_limit,
                stop_tokens,
                choose,
                priority,
                stop,
                deadline,
                sink,
                drafter,
            },
            prompt_rows,
            fed: 0,
            produced: 0,
            last: 0,
            rows: Vec::new(),
            drafted: Vec::new(),
            logits: Vec::new(),
            queued,
            started: Instant::now(),
            first_token: None,
            _memory: memory,
        });
    }

    fn let_go_of_the_unwanted(&mut self) {
        let now = Instant::now();
        self.end_where(|active| active.unwanted(now).then_some(End::Finished(FinishReason::Stopped)));
    }

    /// Ends those for which `verdict` has one, in the order in which they came.
    pub fn end_where(&mut self, verdict: impl Fn(&Active) -> Option<End>) {
        let mut kept = Vec::with_capacity(self.active.len());
        for active in self.active.drain(..) {
            match verdict(&active) {
                Some(end) => {
                    self.engine.close(active.sequence);
                    active.end(end);
                }
                None => kept.push(active),
            }
        }
        self.active = kept;
    }

    /// A piece of the text that is being scored, small where others produce tokens meanwhile.
    fn score_step(&mut self) {
        // It stays in its place meanwhile: should the engine panic, it is still there to be answered.
        let Some(scoring) = &mut self.scoring else {
            return;
        };
        let engine = self.engine.as_mut();
        static NEVER: AtomicBool = AtomicBool::new(false);
        let (budget, give_up) = if self.active.is_empty() {
            (SCORE_ROWS_ALONE, &self.shared.news)
        } else {
            (SCORE_ROWS_BESIDE_OTHERS, &NEVER)
        };
        let ended = if scoring.unwanted(Instant::now()) {
            Some(Err(Unscored::Stopped))
        } else {
            match scoring.step(engine, self.embeddings.as_ref(), budget, give_up) {
                Ok(()) if scoring.is_done() => Some(Ok(())),
                Ok(()) => None,
                Err(unscored) => Some(Err(unscored)),
            }
        };
        if let (Some(ended), Some(scoring)) = (&ended, self.scoring.take_if(|_| ended.is_some())) {
            scoring.end(engine, ended.clone());
        }
    }
}

impl Worker {
    /// A share of what is learned, while nothing else is computed.
    fn learn_step(&mut self) {
        let Some(learning) = &mut self.learning else {
            return;
        };
        let busy = !self.active.is_empty() || self.scoring.is_some();
        let engine = self.engine.as_mut();
        let ended = if learning.unwanted() {
            Some(Err(Unlearned::Stopped))
        } else if busy {
            None
        } else {
            match learning.work(engine, self.embeddings.as_ref(), &self.shared.news) {
                Ok(()) if learning.is_done() => Some(Ok(())),
                Ok(()) => None,
                Err(unlearned) => Some(Err(unlearned)),
            }
        };
        if let (Some(ended), Some(learning)) = (&ended, self.learning.take_if(|_| ended.is_some())) {
            learning.end(engine, ended.clone());
        }
    }
}

impl Drop for Worker {
    /// Nobody is left without an answer, whatever ended the thread.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let asked_for = state.closing;
        state.closed = true;
        let waiting = state.lines.take_where(|_| true);
        let scores: Vec<ScoreJob> = self
            .next_score
            .take()
            .map(|(job, _)| job)
            .into_iter()
            .chain(state.scores.drain(..))
            .collect();
        let learns: Vec<LearnJob> = self
            .next_learn
            .take()
            .map(|(job, _)| job)
            .into_iter()
            .chain(state.learns.drain(..))
            .collect();
        drop(state);
        let unlearned = || {
            if asked_for {
                Unlearned::Stopped
            } else {
                Unlearned::Failed(ENGINE_GONE.into())
            }
        };
        if let Some(learning) = self.learning.take() {
            learning.end(self.engine.as_mut(), Err(unlearned()));
        }
        for job in learns {
            drop(job.place);
            job.sink.end(Err(unlearned()));
        }
        let unscored = || {
            if asked_for {
                Unscored::Stopped
            } else {
                Unscored::Failed(ENGINE_GONE.into())
            }
        };
        if let Some(scoring) = self.scoring.take() {
            scoring.end(self.engine.as_mut(), Err(unscored()));
        }
        for job in scores {
            drop(job.place);
            job.sink.end(Err(unscored()));
        }
        for active in self.active.drain(..) {
            self.engine.close(active.sequence);
            let end = if asked_for {
                End::Finished(FinishReason::Stopped)
            } else {
                End::Failed(ENGINE_GONE.into())
            };
            active.end(end);
        }
        for waiting in waiting {
            let end = if asked_for {
                End::NeverStarted
            } else {
                End::Failed(ENGINE_GONE.into())
            };
            never_started(waiting, end);
        }
    }
}
