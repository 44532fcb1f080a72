//! A thread pool for the engine: runs one parallel loop at a time on persistent threads.
//!
//! Tasks are handed out one by one, so that a thread whose core is busy with other work takes fewer of them, and the loop waits for at most
//! one task of it. Idle threads spin for a moment and then sleep, so that an idle engine uses almost no processor time.

// The closure of a parallel loop is on its caller's stack; sharing it with long-lived threads requires erasing its lifetime.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, PoisonError};

use primitives::{
    AtomicBool, AtomicPtr, AtomicUsize, Builder, Condvar, JoinHandle, Mutex, MutexGuard, Ordering, fence,
};

/// The synchronisation primitives. With `RUSTFLAGS="--cfg loom_pool"` the tests use loom's, which explore the orders in which threads can
/// run and the values that a load may see. (`--cfg loom` itself would change tokio, too.)
#[cfg(not(all(test, loom_pool)))]
mod primitives {
    pub use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};
    pub use std::sync::{Condvar, Mutex, MutexGuard};
    pub use std::thread::{Builder, JoinHandle};
}
#[cfg(all(test, loom_pool))]
mod primitives {
    pub use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};
    pub use loom::sync::{Condvar, Mutex, MutexGuard};
    pub use loom::thread::{Builder, JoinHandle};
}

/// Spin rounds before a thread sleeps: about 20 microseconds, longer than the gap between two products of a forward pass and far shorter
/// than a scheduler's time slice.
const SPIN_ROUNDS: usize = if cfg!(all(test, loom_pool)) { 1 } else { 400 };

/// A fixed number of threads, including the calling one. Dropping the pool ends its threads.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held by the caller of the loop in progress: loops of different callers run one after another.
    turn: Mutex<()>,
}

/// A parallel loop.
struct Job<'a> {
    body: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

struct Shared {
    /// Number of unclaimed tasks. The thread that decrements it from k to k - 1 owns task `tasks - k` of the current job.
    unclaimed: AtomicUsize,
    /// Number of unfinished tasks. The job is valid while this is above zero.
    unfinished: AtomicUsize,
    /// The current job; may be read only by the owner of one of its tasks.
    job: AtomicPtr<Job<'static>>,
    closing: AtomicBool,
    /// Number of workers that sleep or are about to.
    sleepers: AtomicUsize,
    /// Whether the caller sleeps, or is about to, until `unfinished` is zero.
    caller_sleeps: AtomicBool,
    /// Held while a thread decides to sleep, and while sleepers are woken.
    sleep: Mutex<()>,
    work: Condvar,
    done: Condvar,
}

#[cfg(not(all(test, loom_pool)))]
thread_local! {
    /// Set while this thread runs a task: a nested loop then runs on this thread alone.
    static INSIDE_A_TASK: Cell<bool> = const { Cell::new(false) };
}
#[cfg(all(test, loom_pool))]
loom::thread_local! {
    static INSIDE_A_TASK: Cell<bool> = Cell::new(false);
}

impl Pool {
    /// Creates a pool of `threads` threads, including the calling one; 0 counts as 1. If the system cannot start as many, the pool is smaller,
    /// which does not change results.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            unclaimed: AtomicUsize::new(0),
            unfinished: AtomicUsize::new(0),
            job: AtomicPtr::new(std::ptr::null_mut()),
            closing: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            caller_sleeps: AtomicBool::new(false),
            sleep: Mutex::new(()),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let workers = (1..threads)
            .map_while(|number| {
                let shared = Arc::clone(&shared);
                Builder::new()
                    .name(format!("engine-{number}"))
                    .spawn(move || shared.work_until_closed())
                    .ok()
            })
            .collect();
        Self {
            shared,
            workers,
            turn: Mutex::new(()),
        }
    }

    /// Returns the number of threads, including the calling one.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `body(0)` to `body(tasks - 1)`, each once, in any order, on all threads; returns when all have ended.
    ///
    /// A loop that is started in a task runs on that task's thread alone, unless that task is its loop's only one.
    ///
    /// # Panics
    /// If a task panics: with the first panic. The other tasks have run by then if the loop ran on several threads; else those after it are not
    /// run.
    pub fn run(&self, tasks: usize, body: impl Fn(usize) + Sync) {
        if tasks == 0 {
            return;
        }
        if tasks == 1 || self.workers.is_empty() || INSIDE_A_TASK.with(Cell::get) {
            (0..tasks).for_each(body);
            return;
        }
        let _turn = lock(&self.turn);
        let job = Job {
            body: &body,
            tasks,
            panic: Mutex::new(None),
        };
        self.shared.publish_and_help(&job);
        let panic = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Cuts `items` into pieces of `piece` (the last may be shorter) and calls `body(index of the piece, piece)` for each,
    /// on all threads.
    ///
    /// # Panics
    /// See [`Pool::run`]; also if `piece` is 0.
    pub fn for_each_piece<T: Send>(&self, items: &mut [T], piece: usize, body: impl Fn(usize, &mut [T]) + Sync) {
        let pieces: Vec<Mutex<&mut [T]>> = items.chunks_mut(piece).map(Mutex::new).collect();
        self.run(pieces.len(), |index| body(index, &mut lock(&pieces[index])));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Workers check it under the lock before they sleep.
        self.shared.closing.store(true, Ordering::Relaxed);
        {
            let _sleep = lock(&self.shared.sleep);
            self.shared.work.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its tasks; nothing else in it can fail.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn publish_and_help(&self, job: &Job<'_>) {
        let erased: *const Job<'_> = job;
        self.job
            .store(erased.cast::<Job<'static>>().cast_mut(), Ordering::Relaxed);
        self.unfinished.store(job.tasks, Ordering::Relaxed);
        // The stores above are visible to a thread that claims a task after this one.
        self.unclaimed.store(job.tasks, Ordering::Release);
        // Either this thread sees the sleeper, or the sleeper sees the tasks. Without the fences here and in `work_until_closed` both could see
        // the old values, and the sleeper would never be woken.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            let _sleep = lock(&self.sleep);
            self.work.notify_all();
        }
        while self.work_on_one_task() {}
        self.wait_until_finished();
    }

    /// Claims and runs one task; returns `false` if there is none.
    fn work_on_one_task(&self) -> bool {
        let mut left = self.unclaimed.load(Ordering::Relaxed);
        loop {
            if left == 0 {
                return false;
            }
            match self
                .unclaimed
                .compare_exchange_weak(left, left - 1, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => left = now,
            }
        }
        // SAFETY: the exchange made this thread owner of an unfinished task, so `unfinished` is above zero until the
        // subtraction below, and `publish_and_help`, on whose caller's stack the job lives, does not return before it is
        // zero. The job was stored before `unclaimed`, with release, and read here after an acquire of it. Should the
        // count have been a later job's (equal counts cannot be distinguished), the claim and the pointer are both that job's.
        let job = unsafe { &*self.job.load(Ordering::Relaxed) };
        let outer = INSIDE_A_TASK.with(|inside| inside.replace(true));
        let outcome = catch_unwind(AssertUnwindSafe(|| (job.body)(job.tasks - left)));
        INSIDE_A_TASK.with(|inside| inside.set(outer));
        if let Err(panic) = outcome {
            lock(&job.panic).get_or_insert(panic);
        }
        // From here on the job may be freed.
        if self.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            // As above, with the fence in `wait_until_finished`.
            fence(Ordering::SeqCst);
            if self.caller_sleeps.load(Ordering::Relaxed) {
                let _sleep = lock(&self.sleep);
                self.done.notify_all();
            }
        }
        true
    }

    fn wait_until_finished(&self) {
        for _ in 0..SPIN_ROUNDS {
            if self.unfinished.load(Ordering::Acquire) == 0 {
                return;
            }
            pause();
        }
        let mut sleep = lock(&self.sleep);
        self.caller_sleeps.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while self.unfinished.load(Ordering::Acquire) > 0 {
            sleep = self.done.wait(sleep).unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_sleeps.store(false, Ordering::Relaxed);
    }

    fn work_until_closed(&self) {
        loop {
            while self.work_on_one_task() {}
            for _ in 0..SPIN_ROUNDS {
                if self.unclaimed.load(Ordering::Relaxed) > 0 {
                    break;
                }
                pause();
            }
            if self.unclaimed.load(Ordering::Relaxed) > 0 {
                continue;
            }
            let mut sleep = lock(&self.sleep);
            self.sleepers.fetch_add(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            while self.unclaimed.load(Ordering::Relaxed) == 0 && !self.closing.load(Ordering::Relaxed) {
                sleep = self.work.wait(sleep).unwrap_or_else(PoisonError::into_inner);
            }
            self.sleepers.fetch_sub(1, Ordering::Relaxed);
            if self.closing.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// One round of a spin: some tens of cycles on every processor (a single `spin_loop` is one cycle on some).
fn pause() {
    #[cfg(all(test, loom_pool))]
    loom::thread::yield_now();
    for _ in 0..4 {
        std::hint::spin_loop();
    }
}

/// A poisoned lock can be used: no code panics while it modifies what the pool's locks guard, and a piece's lock is taken only once.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every order of two threads with at most three pre-emptions.
#[cfg(all(test, loom_pool))]
mod orders {
    use super::*;

    fn in_every_order(body: impl Fn() + Send + Sync + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(body);
    }

    #[test]
    fn no_task_and_no_wake_up_is_lost_and_what_tasks_wrote_is_seen() {
        in_every_order(|| {
            let pool = Pool::new(2);
            for _ in 0..2 {
                let runs = [AtomicUsize::new(0), AtomicUsize::new(0)];
                pool.run(2, |task| {
                    runs[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
            }
        });
    }

    /// Each task waits for the other, so that a worker that is not woken would be a deadlock.
    #[test]
    fn a_worker_that_falls_asleep_is_woken_for_a_loop() {
        in_every_order(|| {
            let pool = Pool::new(2);
            let (started, changed) = (Mutex::new(0), Condvar::new());
            pool.run(2, |_| {
                let mut started = lock(&started);
                *started += 1;
                changed.notify_all();
                while *started < 2 {
                    started = changed.wait(started).unwrap();
                }
            });
        });
    }

    #[test]
    fn a_pool_that_is_dropped_ends_its_threads() {
        in_every_order(|| drop(Pool::new(2)));
    }
}

#[cfg(all(test, not(loom_pool)))]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_task_runs_exactly_once_on_any_number_of_threads() {
        for threads in [0, 1, 2, 3, 7] {
            let pool = Pool::new(threads);
            for tasks in [0, 1, 2, 3, 17, 1000] {
                let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, |task| {
                    runs[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1),
                    "{threads} threads, {tasks} tasks"
                );
            }
        }
    }

    #[test]
    fn many_short_loops_in_a_row_lose_no_task() {
        let pool = Pool::new(4);
        let sum = AtomicU64::new(0);
        for round in 0..20_000 {
            if round % 5000 == 0 {
                std::thread::sleep(Duration::from_millis(2)); // lets the workers fall asleep
            }
            pool.run(5, |task| {
                sum.fetch_add(task as u64 + 1, Ordering::Relaxed);
            });
        }
        assert_eq!(sum.load(Ordering::Relaxed), 20_000 * 15);
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_pool_works_on() {
        let pool = Pool::new(3);
        let finished = AtomicUsize::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(50, |task| {
                if task == 7 {
                    panic!("task seven");
                }
                finished.fetch_add(1, Ordering::Relaxed);
            });
        }));
        assert_eq!(outcome.unwrap_err().downcast_ref::<&str>(), Some(&"task seven"));
        assert_eq!(finished.load(Ordering::Relaxed), 49);
        let after = AtomicUsize::new(0);
        pool.run(10, |_| {
            after.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(after.load(Ordering::Relaxed), 10);
    }

    #[test]
    fn a_loop_inside_a_task_runs_on_the_spot() {
        let pool = Pool::new(3);
        let count = AtomicUsize::new(0);
        pool.run(4, |_| {
            pool.run(6, |_| {
                count.fetch_add(1, Ordering::Relaxed);
            })
        });
        assert_eq!(count.load(Ordering::Relaxed), 24);
    }

    #[test]
    fn callers_on_several_threads_take_turns() {
        let pool = Pool::new(2);
        let count = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        pool.run(7, |_| {
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 3 * 500 * 7);
    }

    #[test]
    fn pieces_are_disjoint_and_cover_everything() {
        let pool = Pool::new(3);
        let mut items = vec![0usize; 103];
        pool.for_each_piece(&mut items, 10, |index, piece| {
            piece.iter_mut().for_each(|item| *item += index + 1)
        });
        assert!(items.iter().enumerate().all(|(at, item)| *item == at / 10 + 1));
    }
}
