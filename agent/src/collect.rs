//! Asks the fetcher for an image's documents and signatures. What comes back is sorted by what it claims to be, bounded,
//! and nothing more: every claim is checked by whoever uses it.

use std::{path::PathBuf, time::Duration};

use assay_admission::{DenyCode, Digest, Document, Documents, ImageRef, MediaType, Platform, Reason};
use assay_proto::{MAX_MESSAGE_BYTES, assay as wire, connector_to};
use assay_verify::{Artifact, FoundBy};
use tonic::transport::Channel;

/// Most messages of one collection: 64 artifacts with up to 64 layers are never all there; the fetcher's own caps are lower.
const MAX_MESSAGES: usize = 2_048;
/// Most bytes of one collection.
const MAX_BYTES: usize = 64 << 20;
/// How much longer than the fetcher's own deadline the agent waits before it gives the fetcher up.
const GRACE: Duration = Duration::from_millis(500);

/// What a collection is to bring.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Where to look: a repository, with a tag or digest if the image's own documents are wanted.
    pub(crate) reference: ImageRef,
    /// Bring the image's documents for this platform.
    pub(crate) image_for: Option<Platform>,
    /// Bring the signatures of these.
    pub(crate) subjects: Vec<Digest>,
    /// Bring attestations too.
    pub(crate) attestations: bool,
}

/// What a collection brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    /// The image's documents.
    pub(crate) documents: Documents,
    /// The document that the reference led to.
    pub(crate) top: Option<Digest>,
    /// Signatures.
    pub(crate) artifacts: Vec<Artifact>,
    /// Why something is missing. Empty: everything that the registry has is here.
    pub(crate) problems: Vec<Reason>,
}

/// Where evidence comes from.
#[tonic::async_trait]
pub(crate) trait Collect: Send + Sync {
    /// Collects what is wanted within `deadline`. Never fails: what went wrong is among the problems.
    async fn collect(&self, wanted: Wanted, deadline: Duration) -> Collected;

    /// The revocation list at `url`, or what the responder there answers to `ocsp_request`: untrusted bytes.
    async fn revocation(
        &self,
        url: String,
        ocsp_request: Option<Vec<u8>>,
        deadline: Duration,
    ) -> Result<Vec<u8>, Reason>;

    /// A word on its health: `Ok` with a remark, or what is wrong.
    async fn health(&self) -> Result<String, String>;
}

/// The fetcher behind fetch.sock.
#[derive(Debug)]
pub(crate) struct Fetcher {
    channel: Channel,
    path: PathBuf,
}

impl Fetcher {
    /// A fetcher that is connected to when it is first needed, and again whenever it was restarted.
    pub(crate) fn new(path: PathBuf, uid: u32) -> Self {
        Self { channel: connector_to(&path, &[0, uid]), path }
    }

    fn client(&self) -> wire::fetch_client::FetchClient<Channel> {
        wire::fetch_client::FetchClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    async fn stream(&self, request: wire::CollectRequest, collected: &mut Collected) -> Result<(), Reason> {
        let unavailable = |status: tonic::Status| {
            let path = self.path.display();
            Reason::new(DenyCode::EvidenceUnavailable, format!("the fetcher at {path}: {}", status.message()))
        };
        let mut stream = self.client().collect(request).await.map_err(unavailable)?.into_inner();
        let mut sorter = Sorter::default();
        while let Some(message) = stream.message().await.map_err(unavailable)? {
            match message.item {
                Some(wire::collect_response::Item::Collected(item)) => sorter.add(item, collected)?,
                Some(wire::collect_response::Item::Summary(summary)) => {
                    collected.problems.extend(summary.problems.iter().map(reason_of));
                    return Ok(());
                }
                None => return Err(Reason::new(DenyCode::Internal, "the fetcher sent an empty message")),
            }
        }
        Err(Reason::new(DenyCode::EvidenceUnavailable, "the fetcher stopped before its summary"))
    }
}

#[tonic::async_trait]
impl Collect for Fetcher {
    async fn collect(&self, wanted: Wanted, deadline: Duration) -> Collected {
        let request = wire::CollectRequest {
            reference: wanted.reference.to_string(),
            want_image: wanted.image_for.is_some(),
            platform: wanted.image_for.map(|platform| platform.to_string()).unwrap_or_default(),
            subjects: wanted.subjects.iter().map(ToString::to_string).collect(),
            deadline_ms: u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX),
            want_attestations: wanted.attestations,
        };
        let mut collected = Collected::default();
        let outcome = tokio::time::timeout(deadline + GRACE, self.stream(request, &mut collected)).await;
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => collected.problems.push(reason),
            Err(_) => {
                let detail = format!("{}: no answer within {} s", wanted.reference, (deadline + GRACE).as_secs_f32());
                collected.problems.push(Reason::new(DenyCode::EvidenceUnavailable, detail));
            }
        }
        collected
    }

    async fn revocation(
        &self,
        url: String,
        ocsp_request: Option<Vec<u8>>,
        deadline: Duration,
    ) -> Result<Vec<u8>, Reason> {
        let unavailable = |detail: String| Reason::new(DenyCode::EvidenceUnavailable, detail);
        let request = wire::RevocationRequest {
            url: url.clone(),
            ocsp_request: ocsp_request.unwrap_or_default(),
            deadline_ms: u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX),
        };
        let mut client = self.client();
        match tokio::time::timeout(deadline + GRACE, client.revocation(request)).await {
            Ok(Ok(answer)) => match answer.into_inner().answer {
                Some(wire::revocation_response::Answer::Content(content)) => Ok(content),
                Some(wire::revocation_response::Answer::Problem(problem)) => Err(reason_of(&problem)),
                None => Err(unavailable(format!("the fetcher at {} sent an empty message", self.path.display()))),
            },
            Ok(Err(status)) => {
                Err(unavailable(format!("the fetcher at {}: {}", self.path.display(), status.message())))
            }
            Err(_) => Err(unavailable(format!("{url}: no answer within {} s", (deadline + GRACE).as_secs_f32()))),
        }
    }

    async fn health(&self) -> Result<String, String> {
        let status =
            tokio::time::timeout(Duration::from_secs(1), self.client().status(wire::FetchStatusRequest {})).await;
        match status {
            Ok(Ok(answer)) => {
                let answer = answer.into_inner();
                Ok(format!(
                    "version {}, {} collections, {} with problems",
                    answer.version, answer.collections, answer.failures
                ))
            }
            Ok(Err(status)) => Err(format!("{}: {}", self.path.display(), status.message())),
            Err(_) => Err(format!("{}: no answer within 1 s", self.path.display())),
        }
    }
}

/// Puts each document in its place and counts.
#[derive(Default)]
struct Sorter {
    messages: usize,
    bytes: usize,
}

impl Sorter {
    fn add(&mut self, item: wire::Collected, collected: &mut Collected) -> Result<(), Reason> {
        self.messages += 1;
        self.bytes += item.content.len();
        if self.messages > MAX_MESSAGES || self.bytes > MAX_BYTES {
            return Err(Reason::new(DenyCode::Limit, "the fetcher brought more than one collection may hold"));
        }
        let bad = |what: &str| Reason::new(DenyCode::EvidenceUnavailable, format!("the fetcher sent {what}"));
        let (role, found_by) = (item.role(), item.found_by());
        let media_type = MediaType::new(&item.media_type).ok_or_else(|| bad("a document without media type"))?;
        let document = Document::new(media_type, item.content).map_err(|error| bad(&error.to_string()))?;
        match role {
            wire::Role::Index | wire::Role::Manifest | wire::Role::Config => {
                // The index comes first if there is one, else the manifest: the contract of `Collect`.
                collected.top.get_or_insert(*document.digest());
                collected.documents.insert(*document.digest(), document);
            }
            wire::Role::SignatureManifest => collected.artifacts.push(Artifact {
                subject: item.subject.parse().map_err(|_| bad("a signature without subject"))?,
                found_by: match found_by {
                    wire::FoundBy::ReferrersApi => FoundBy::ReferrersApi,
                    wire::FoundBy::ReferrersTag => FoundBy::ReferrersTag,
                    wire::FoundBy::CosignTag => FoundBy::CosignTag,
                    wire::FoundBy::Name | wire::FoundBy::Unspecified => return Err(bad("a signature found nowhere")),
                },
                manifest: document,
                blobs: Vec::new(),
            }),
            wire::Role::SignatureBlob => {
                let parent: Digest = item.parent.parse().map_err(|_| bad("a layer without manifest"))?;
                let mut is_known = false;
                for artifact in collected.artifacts.iter_mut().filter(|artifact| *artifact.manifest.digest() == parent)
                {
                    artifact.blobs.push(document.clone());
                    is_known = true;
                }
                if !is_known {
                    return Err(bad("a layer before its manifest"));
                }
            }
            wire::Role::Unspecified => return Err(bad("a document without a role")),
        }
        Ok(())
    }
}

fn reason_of(problem: &wire::Problem) -> Reason {
    let code = match problem.kind() {
        wire::ProblemKind::NotFound => DenyCode::NotFound,
        wire::ProblemKind::Unreachable
        | wire::ProblemKind::Forbidden
        | wire::ProblemKind::Deadline
        | wire::ProblemKind::Unspecified => DenyCode::EvidenceUnavailable,
        wire::ProblemKind::Auth => DenyCode::RegistryAuth,
        wire::ProblemKind::Limit => DenyCode::Limit,
        wire::ProblemKind::Malformed => DenyCode::Malformed,
    };
    Reason::new(code, problem.detail.clone())
}
