//! The agent's end of key.sock: one thread that owns the connection, reconnects with back-off, and answers at once
//! while the worker is gone. Nothing that needs no key ever waits here.

mod health;
#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use assay_hsm::{
    ClientError, GenerateRequest, KeyError, KeyInfo, KeyList, KeyUri, Scheme, SignRequest, TokenStatus, WorkerClient,
};
use tokio::sync::oneshot;

use health::Health;

/// Requests that may wait for the worker; one more is refused at once.
const QUEUE: usize = 32;
/// One call, whole: signing with a slow token takes tens of milliseconds; the worker's own deadline is 5 s.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Making an RSA key in a small token takes up to a minute, which is what the worker allows for it.
const GENERATE_DEADLINE: Duration = Duration::from_secs(65);
/// Who asks how the worker is waits this long. A worker that is well answers in a few milliseconds.
const HEALTH_PATIENCE: Duration = Duration::from_secs(2);
/// After that wait, a question older than this counts as silence. Well below it, since the thread that asks starts later.
const SILENCE: Duration = Duration::from_secs(1);
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LAST_BACK_OFF: Duration = Duration::from_secs(10);

/// A handle to the key worker; clones share one connection.
#[derive(Clone, Debug)]
pub(crate) struct KeyWorker {
    path: PathBuf,
    uid: u32,
    queue: mpsc::SyncSender<Job>,
    health: Arc<Health>,
}

/// Why a key could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyWorkerError {
    /// The worker answered with an error, or could not be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The connection broke a moment ago and is not tried again yet.
    #[error("the key worker is away ({last}); next try in {next_ms} ms")]
    Away {
        /// What was wrong last time.
        last: String,
        /// Milliseconds until it is tried again.
        next_ms: u128,
    },
    /// Too many requests wait already.
    #[error("{QUEUE} requests wait for the key worker already")]
    Busy,
}

type Answer<T> = oneshot::Sender<Result<T, KeyWorkerError>>;

enum Job {
    Status,
    List(Answer<KeyList>),
    Public(KeyUri, Answer<KeyInfo>),
    Sign(SignRequest, Answer<Vec<u8>>),
}

impl KeyWorker {
    /// Starts the thread for the worker at `path`, which must run as `uid` or have got its socket from root.
    pub(crate) fn start(path: PathBuf, uid: u32) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        let health = Arc::new(Health::default());
        let mut connection = Connection {
            path: path.clone(),
            uid,
            client: None,
            back_off: FIRST_BACK_OFF,
            retry_at: Instant::now(),
            last: String::new(),
            health: Arc::clone(&health),
        };
        std::thread::Builder::new().name("key-worker".into()).spawn(move || {
            while let Ok(job) = jobs.recv() {
                connection.run(job);
            }
        })?;
        Ok(Self { path, uid, queue, health })
    }

    /// The keys of the token.
    pub(crate) async fn list(&self) -> Result<KeyList, KeyWorkerError> {
        self.ask(Job::List).await
    }

    /// The public half of a key.
    pub(crate) async fn public(&self, uri: KeyUri) -> Result<KeyInfo, KeyWorkerError> {
        self.ask(|answer| Job::Public(uri, answer)).await
    }

    /// A signature over `message`.
    pub(crate) async fn sign(&self, uri: KeyUri, scheme: Scheme, message: Vec<u8>) -> Result<Vec<u8>, KeyWorkerError> {
        self.ask(|answer| Job::Sign(SignRequest { uri, scheme, message }, answer)).await
    }

    /// A new key. Over a connection of its own: it takes long, and signing goes on meanwhile.
    pub(crate) async fn generate(&self, request: GenerateRequest) -> Result<KeyInfo, KeyWorkerError> {
        let (path, uid) = (self.path.clone(), self.uid);
        let made = tokio::task::spawn_blocking(move || {
            WorkerClient::connect(&path, &[uid], GENERATE_DEADLINE)?.generate(&request)
        });
        Ok(made.await.unwrap_or_else(|error| Err(ClientError::Transport { why: error.to_string() }))?)
    }

    /// Asks how the worker is, unless that is being asked already; the answer is kept for [`KeyWorker::health`].
    pub(crate) fn probe(&self) {
        if self.health.begin_probe() && self.queue.try_send(Job::Status).is_err() {
            self.health.end_probe();
        }
    }

    /// Asks how the worker is, and waits a moment for the answer: a remark, or what is wrong. A worker that does not answer
    /// is not taken for what it was before.
    pub(crate) async fn health(&self) -> Result<String, String> {
        let mut probes = self.health.probes();
        self.probe();
        let _ = tokio::time::timeout(HEALTH_PATIENCE, probes.changed()).await;
        self.health.now(SILENCE)
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, KeyWorkerError> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(job(answer)).map_err(|_| KeyWorkerError::Busy)?;
        answered.await.unwrap_or_else(|_| {
            Err(KeyWorkerError::Client(ClientError::Transport { why: "the agent is stopping".into() }))
        })
    }
}

struct Connection {
    path: PathBuf,
    uid: u32,
    client: Option<WorkerClient>,
    back_off: Duration,
    retry_at: Instant,
    last: String,
    health: Arc<Health>,
}

impl Connection {
    fn run(&mut self, job: Job) {
        match job {
            Job::Status => {
                if let Ok(status) = self.call(WorkerClient::status) {
                    self.health.set(match status.token {
                        TokenStatus::Present { label, serial, .. } => {
                            Ok(format!("version {}, token {label:?} (serial {serial})", status.worker))
                        }
                        TokenStatus::Unavailable { error } => Err(error.to_string()),
                    });
                }
                self.health.end_probe();
            }
            Job::List(answer) => drop(answer.send(self.call(WorkerClient::list))),
            Job::Public(uri, answer) => drop(answer.send(self.call(|client| client.public(&uri)))),
            Job::Sign(request, answer) => drop(answer.send(self.call(|client| client.sign(&request)))),
        }
    }

    fn call<T>(&mut self, call: impl Fn(&mut WorkerClient) -> Result<T, ClientError>) -> Result<T, KeyWorkerError> {
        // A worker that was restarted while nothing was asked shows only now: one fresh try for a stale connection.
        let had_connection = self.client.is_some();
        match self.call_once(&call) {
            Err(KeyWorkerError::Client(error)) if had_connection && self.client.is_none() && is_broken(&error) => {
                self.retry_at = Instant::now();
                self.call_once(&call)
            }
            outcome => outcome,
        }
    }

    fn call_once<T>(
        &mut self,
        call: impl Fn(&mut WorkerClient) -> Result<T, ClientError>,
    ) -> Result<T, KeyWorkerError> {
        let now = Instant::now();
        let health = Arc::clone(&self.health);
        let _question = health.question();
        let mut client = match self.client.take() {
            Some(client) => client,
            None if now < self.retry_at => {
                let next_ms = (self.retry_at - now).as_millis();
                return Err(KeyWorkerError::Away { last: self.last.clone(), next_ms });
            }
            None => WorkerClient::connect(&self.path, &[self.uid], CALL_DEADLINE).map_err(|error| self.lost(error))?,
        };
        match call(&mut client) {
            Ok(answer) => {
                self.back_off = FIRST_BACK_OFF;
                self.client = Some(client);
                self.health.set_reachable();
                Ok(answer)
            }
            Err(ClientError::Worker(error)) => {
                if client.is_usable() {
                    self.client = Some(client);
                }
                if concerns_the_token(&error) {
                    self.health.set(Err(error.to_string()));
                }
                Err(ClientError::Worker(error).into())
            }
            Err(error) => Err(self.lost(error)),
        }
    }

    fn lost(&mut self, error: ClientError) -> KeyWorkerError {
        self.last = error.to_string();
        tracing::warn!(error = self.last, back_off_ms = self.back_off.as_millis(), "the key worker is away");
        self.health.set(Err(self.last.clone()));
        self.retry_at = Instant::now() + self.back_off;
        self.back_off = (self.back_off * 2).min(LAST_BACK_OFF);
        error.into()
    }
}

const fn is_broken(error: &ClientError) -> bool {
    matches!(error, ClientError::Transport { .. } | ClientError::Unusable)
}

/// Whether an answer says that no key can be used now, rather than that one request was wrong.
const fn concerns_the_token(error: &KeyError) -> bool {
    matches!(
        error,
        KeyError::TokenAbsent { .. }
            | KeyError::AmbiguousToken { .. }
            | KeyError::PinRefused { .. }
            | KeyError::ModuleFailed { .. }
            | KeyError::ModuleUnavailable { .. }
            | KeyError::Deadline { .. }
    )
}
