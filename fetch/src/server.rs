//! `assay.v1.Fetch` on top of the client: the wire's words come in and go out here and nowhere else. At most eight
//! collections run at a time; a caller that goes away ends its own.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use assay_admission::{Digest, ImageRef, Platform};
use assay_proto::assay as wire;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{
    caps,
    collect::{CollectRequest, Collected, Role},
    error::{Problem, ProblemKind},
    referrers::FoundBy,
    registry::Client,
    repository::RepositoryFile,
    revocation::RevocationRequest,
    wanted::Wanted,
};

/// Serves collections to the agent. Clones share client and counters.
#[derive(Clone, Debug)]
pub struct Service {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The client in use; replaced whole by a reload, held only to clone it.
    client: Mutex<Client>,
    running: Semaphore,
    waiting: AtomicUsize,
    collections: AtomicU64,
    failures: AtomicU64,
    /// The newest problem's text, for the status.
    last_problem: Mutex<String>,
}

type Item = Result<wire::CollectResponse, Status>;

impl Service {
    /// A service that collects with `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            shared: Arc::new(Shared {
                client: Mutex::new(client),
                running: Semaphore::new(caps::MAX_COLLECTIONS),
                waiting: AtomicUsize::new(0),
                collections: AtomicU64::new(0),
                failures: AtomicU64::new(0),
                last_problem: Mutex::new(String::new()),
            }),
        }
    }

    /// Uses `client` for every collection that starts from now on.
    pub fn replace(&self, client: Client) {
        *self.shared.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    async fn run(self, request: CollectRequest, sender: mpsc::Sender<Item>) {
        let problems = match self.turn(request.time).await {
            Ok(_turn) => self.collect(&request, &sender).await,
            Err(problem) => vec![problem],
        };
        self.count(&request.image, &problems);
        let problems = problems.into_iter().map(problem_message).collect();
        let item = wire::collect_response::Item::Summary(wire::Summary { problems });
        // A caller that is gone needs no summary.
        let _ = sender.send(Ok(wire::CollectResponse { item: Some(item) })).await;
    }

    /// Waits for one of the places, no longer than the collection itself may take.
    async fn turn(&self, time: Duration) -> Result<tokio::sync::SemaphorePermit<'_>, Problem> {
        let waiting = Waiting::new(&self.shared.waiting);
        let detail = match waiting {
            None => "too many collections are waiting already",
            Some(_waiting) => match tokio::time::timeout(time, self.shared.running.acquire()).await {
                Ok(Ok(permit)) => return Ok(permit),
                Ok(Err(_)) | Err(_) => "other collections took all the time",
            },
        };
        Err(Problem { kind: ProblemKind::Deadline, detail: detail.to_owned() })
    }

    async fn collect(&self, request: &CollectRequest, sender: &mpsc::Sender<Item>) -> Vec<Problem> {
        let client = self.shared.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (found, mut documents) = mpsc::channel(caps::CONCURRENCY);
        let collecting = async {
            let problems = client.collect(request, &found).await;
            drop(found);
            problems
        };
        let forwarding = async {
            while let Some(collected) = documents.recv().await {
                let item = wire::collect_response::Item::Collected(collected_message(collected));
                if sender.send(Ok(wire::CollectResponse { item: Some(item) })).await.is_err() {
                    // The receiver of `found` goes with this, and that ends the collection.
                    documents.close();
                    return;
                }
            }
        };
        tokio::select! {
            // A caller that goes away while a registry is slow ends its collection at once.
            () = sender.closed() => Vec::new(),
            (problems, ()) = async { tokio::join!(collecting, forwarding) } => problems,
        }
    }

    fn count(&self, image: &ImageRef, problems: &[Problem]) {
        self.shared.collections.fetch_add(1, Ordering::Relaxed);
        let Some(first) = problems.first() else {
            tracing::debug!(%image, "collected");
            return;
        };
        self.shared.failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%image, kind = ?first.kind, problems = problems.len(), "collected with problems: {}", first.detail);
        *self.shared.last_problem.lock().unwrap_or_else(PoisonError::into_inner) = first.detail.clone();
    }
}

/// One place in the bounded queue, given back when dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Option<Self> {
        waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < caps::MAX_WAITING).then_some(count + 1)
            })
            .ok()
            .map(|_| Self(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tonic::async_trait]
impl wire::fetch_server::Fetch for Service {
    type CollectStream = ReceiverStream<Item>;

    async fn collect(&self, request: Request<wire::CollectRequest>) -> Result<Response<Self::CollectStream>, Status> {
        let request = parse(request.into_inner()).map_err(Status::invalid_argument)?;
        let (sender, receiver) = mpsc::channel(caps::CONCURRENCY);
        tokio::spawn(self.clone().run(request, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn repository_file(
        &self,
        request: Request<wire::RepositoryFileRequest>,
    ) -> Result<Response<wire::RepositoryFileResponse>, Status> {
        use wire::repository_file_response::{Absent, Answer};
        let wire::RepositoryFileRequest { repository, path, most_bytes, deadline_ms } = request.into_inner();
        let most_bytes = usize::try_from(most_bytes).unwrap_or(usize::MAX);
        let file = RepositoryFile::new(&repository, &path, most_bytes)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let time = Duration::from_millis(deadline_ms.into());
        let fetched = match self.turn(time.min(caps::MAX_DEADLINE)).await {
            Ok(_turn) => {
                let client = self.shared.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
                client.repository_file(&file, time).await.map_err(|error| Problem::from(&error))
            }
            Err(problem) => Err(problem),
        };
        let answer = match fetched {
            Ok(Some(content)) => Answer::Content(content),
            Ok(None) => Answer::Absent(Absent {}),
            Err(problem) => {
                tracing::warn!(%repository, %path, kind = ?problem.kind, "not fetched: {}", problem.detail);
                Answer::Problem(problem_message(problem))
            }
        };
        Ok(Response::new(wire::RepositoryFileResponse { answer: Some(answer) }))
    }

    async fn revocation(
        &self,
        request: Request<wire::RevocationRequest>,
    ) -> Result<Response<wire::RevocationResponse>, Status> {
        let wire::RevocationRequest { url, ocsp_request, deadline_ms } = request.into_inner();
        // Questions are bounded by the message that they come in.
        if url.len() > caps::MAX_URL_BYTES {
            return Err(Status::invalid_argument("an address of that length is none"));
        }
        let time = Duration::from_millis(deadline_ms.into());
        let asked = match ocsp_request.is_empty() {
            true => RevocationRequest::List,
            false => RevocationRequest::Answer(ocsp_request),
        };
        let found = match self.turn(time).await {
            Ok(_turn) => {
                let client = self.shared.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
                client.revocation(&url, &asked, time).await.map_err(|error| Problem::from(&error))
            }
            Err(problem) => Err(problem),
        };
        let answer = match found {
            Ok(content) => wire::revocation_response::Answer::Content(content),
            Err(problem) => {
                tracing::warn!(kind = ?problem.kind, "no revocation evidence: {}", problem.detail);
                wire::revocation_response::Answer::Problem(problem_message(problem))
            }
        };
        Ok(Response::new(wire::RevocationResponse { answer: Some(answer) }))
    }

    async fn status(
        &self,
        _: Request<wire::FetchStatusRequest>,
    ) -> Result<Response<wire::FetchStatusResponse>, Status> {
        Ok(Response::new(wire::FetchStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            collections: self.shared.collections.load(Ordering::Relaxed),
            failures: self.shared.failures.load(Ordering::Relaxed),
            last_problem: self.shared.last_problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }))
    }
}

fn parse(message: wire::CollectRequest) -> Result<CollectRequest, String> {
    let image: ImageRef = message.reference.parse().map_err(|error| format!("reference: {error}"))?;
    let platform = match message.want_image {
        true => Some(message.platform.parse::<Platform>().map_err(|error| format!("platform: {error}"))?),
        false => None,
    };
    if message.subjects.len() > caps::MAX_SUBJECTS {
        return Err(format!("subjects: {} are more than {}", message.subjects.len(), caps::MAX_SUBJECTS));
    }
    let subjects = message.subjects.iter().map(|text| text.parse::<Digest>());
    let subjects = subjects.collect::<Result<_, _>>().map_err(|error| format!("subjects: {error}"))?;
    if message.deadline_ms == 0 {
        return Err("deadline_ms: there is no time to collect in".to_owned());
    }
    let time = Duration::from_millis(message.deadline_ms.into());
    let wanted = if message.want_attestations { Wanted::SignaturesAndAttestations } else { Wanted::Signatures };
    Ok(CollectRequest { image, platform, subjects, wanted, time })
}

fn collected_message(collected: Collected) -> wire::Collected {
    let role = match collected.role {
        Role::Index => wire::Role::Index,
        Role::Manifest => wire::Role::Manifest,
        Role::Config => wire::Role::Config,
        Role::SignatureManifest => wire::Role::SignatureManifest,
        Role::SignatureBlob => wire::Role::SignatureBlob,
        // Never collected for an agent, which asks for signatures and attestations alone.
        Role::OtherManifest => wire::Role::Unspecified,
    };
    let found_by = match collected.found_by {
        FoundBy::Name => wire::FoundBy::Name,
        FoundBy::ReferrersApi => wire::FoundBy::ReferrersApi,
        FoundBy::ReferrersTag => wire::FoundBy::ReferrersTag,
        FoundBy::CosignTag => wire::FoundBy::CosignTag,
    };
    let text = |digest: Option<Digest>| digest.map(|digest| digest.to_string()).unwrap_or_default();
    wire::Collected {
        role: role.into(),
        found_by: found_by.into(),
        media_type: collected.media_type.to_string(),
        content: collected.content,
        subject: text(collected.subject),
        parent: text(collected.parent),
    }
}

fn problem_message(problem: Problem) -> wire::Problem {
    let kind = match problem.kind {
        ProblemKind::NotFound => wire::ProblemKind::NotFound,
        ProblemKind::Unreachable => wire::ProblemKind::Unreachable,
        ProblemKind::Auth => wire::ProblemKind::Auth,
        ProblemKind::Limit => wire::ProblemKind::Limit,
        ProblemKind::Malformed => wire::ProblemKind::Malformed,
        ProblemKind::Forbidden => wire::ProblemKind::Forbidden,
        ProblemKind::Deadline => wire::ProblemKind::Deadline,
    };
    wire::Problem { kind: kind.into(), detail: problem.detail }
}
