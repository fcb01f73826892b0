//! The threads that talk to the module, and the deadlines that nobody else has to wait longer than.
//!
//! In: requests. Out: their results, or `Deadline`. A thread that does not come back from the module is given up;
//! when all are, the process ends, because nothing else takes a hung module out of it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::token::TokenKeeper;
use crate::config::Config;
use crate::pin::Pin;
use crate::protocol::{KeyError, Reply, Request, Status, TokenStatus};

/// How many requests may wait for a thread.
const MAX_WAITING: usize = 32;
/// Making a key takes longer than using one.
const GENERATE_FACTOR: u32 = 12;
/// sysexits' EX_SOFTWARE; not 0, so that the supervisor starts another worker.
const EXIT_HUNG: i32 = 70;
/// Modules use C libraries with deep stacks.
const STACK: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    deadline: Duration,
    threads: u32,
}

#[derive(Debug)]
struct Shared {
    keeper: TokenKeeper,
    queue: Mutex<Queue>,
    /// Signalled whenever `queue` changes.
    changed: Condvar,
    /// Threads that are given up, until they come back.
    hung: AtomicU32,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    working: u32,
    stopping: bool,
}

#[derive(Debug)]
struct Job {
    request: Request,
    /// Protects the step from Waiting to Done; whoever takes it first decides.
    stage: Arc<Mutex<Stage>>,
    reply: SyncSender<Result<Reply, KeyError>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Running,
    Done,
    GivenUp,
}

impl Pool {
    /// Starts the threads and lets one of them open the token.
    pub(super) fn start(config: Config, pin: Pin) -> std::io::Result<Arc<Self>> {
        let deadline = config.deadline;
        let threads = config.sessions.get();
        let shared = Arc::new(Shared {
            keeper: TokenKeeper::new(config, pin),
            queue: Mutex::default(),
            changed: Condvar::new(),
            hung: AtomicU32::new(0),
        });
        for _ in 0..threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("module".to_owned()).stack_size(STACK).spawn(move || work(&shared))?;
        }
        let pool = Arc::new(Pool { shared, deadline, threads });
        // Open the token now, so that the first signature does not wait for it; nobody waits for this answer.
        let first = Arc::clone(&pool);
        thread::Builder::new().name("open".to_owned()).spawn(move || drop(first.status()))?;
        Ok(pool)
    }

    /// Does one request within its deadline.
    pub(super) fn call(&self, request: Request) -> Result<Reply, KeyError> {
        let limit = match request {
            Request::Generate(_) => self.deadline.saturating_mul(GENERATE_FACTOR),
            Request::Status {} | Request::List {} | Request::Public { .. } | Request::Sign(_) | Request::Verify(_) => {
                self.deadline
            }
        };
        let (reply, answer) = sync_channel(1);
        let stage = Arc::new(Mutex::new(Stage::Waiting));
        let job = Job { request, stage: Arc::clone(&stage), reply };
        {
            let mut queue = lock(&self.shared.queue);
            if queue.stopping {
                return Err(KeyError::Stopping {});
            }
            if queue.jobs.len() >= MAX_WAITING {
                let limit = u32::try_from(MAX_WAITING).unwrap_or(u32::MAX);
                return Err(KeyError::Busy { limit, what: "waiting requests".to_owned() });
            }
            queue.jobs.push_back(job);
        }
        self.shared.changed.notify_one();
        match answer.recv_timeout(limit) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => self.give_up(&stage, &answer, limit),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }

    /// How worker, module and token are; asks the module, but does not fail if it fails.
    pub(super) fn status(&self) -> Status {
        let token = match self.call(Request::Status {}) {
            Ok(Reply::Status(status)) => status.token,
            Ok(_) => TokenStatus::Unavailable { error: gone() },
            Err(error) => TokenStatus::Unavailable { error },
        };
        let mut status = self.shared.keeper.status(token);
        status.threads = self.threads;
        status.hung = self.shared.hung.load(Ordering::SeqCst);
        status
    }

    /// Hands over a PIN read anew.
    pub(super) fn reload(&self, pin: Pin) {
        self.shared.keeper.reload(pin);
    }

    /// Takes no more requests, and waits at most `limit` for those under way.
    pub(super) fn stop(&self, limit: Duration) {
        let mut queue = lock(&self.shared.queue);
        queue.stopping = true;
        self.shared.changed.notify_all();
        let until = Instant::now() + limit;
        while queue.working > 0 || !queue.jobs.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            queue = self.shared.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(queue);
        self.shared.keeper.close();
    }

    fn give_up(
        &self,
        stage: &Mutex<Stage>,
        answer: &Receiver<Result<Reply, KeyError>>,
        limit: Duration,
    ) -> Result<Reply, KeyError> {
        let mut stage = lock(stage);
        match *stage {
            // It finished while the clock ran out.
            Stage::Done => return answer.recv().unwrap_or_else(|_| Err(gone())),
            Stage::Waiting | Stage::GivenUp => *stage = Stage::GivenUp,
            Stage::Running => {
                *stage = Stage::GivenUp;
                let hung = self.shared.hung.fetch_add(1, Ordering::SeqCst) + 1;
                tracing::error!(hung, threads = self.threads, "the PKCS#11 module did not answer in time");
                if hung >= self.threads {
                    exit_hung();
                }
            }
        }
        Err(KeyError::Deadline { limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) })
    }
}

fn work(shared: &Shared) {
    while let Some(job) = next_job(shared) {
        let started = {
            let mut stage = lock(&job.stage);
            let waiting = *stage == Stage::Waiting;
            if waiting {
                *stage = Stage::Running;
            }
            waiting
        };
        if started {
            let result = catch_unwind(AssertUnwindSafe(|| shared.keeper.perform(&job.request)))
                .unwrap_or_else(|_| Err(KeyError::Internal { why: "it panicked; see its log".to_owned() }));
            let mut stage = lock(&job.stage);
            if *stage == Stage::Running {
                *stage = Stage::Done;
                // The receiver waits, or takes it under the same lock.
                let _ = job.reply.try_send(result);
            } else {
                shared.hung.fetch_sub(1, Ordering::SeqCst);
                tracing::warn!("the PKCS#11 module answered after the deadline");
            }
        }
        lock(&shared.queue).working -= 1;
        shared.changed.notify_all();
    }
}

fn next_job(shared: &Shared) -> Option<Job> {
    let mut queue = lock(&shared.queue);
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            queue.working += 1;
            return Some(job);
        }
        if queue.stopping {
            return None;
        }
        queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Ends the process soon: after the answers that tell of it, and although the module may also hang in its exit
/// handlers.
fn exit_hung() {
    tracing::error!("no thread is left that the PKCS#11 module answers; ending, to be started anew");
    let after = |wait, end: fn()| {
        thread::Builder::new().spawn(move || {
            thread::sleep(Duration::from_millis(wait));
            end();
        })
    };
    if after(100, || std::process::exit(EXIT_HUNG)).is_err() || after(600, || std::process::abort()).is_err() {
        std::process::abort();
    }
}

fn gone() -> KeyError {
    KeyError::Internal { why: "the thread that did it is gone".to_owned() }
}

/// What these locks protect is consistent at every step, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
