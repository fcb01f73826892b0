//! `assay.v1.Keys`: lists, makes and uses keys. Signing is typed: the agent builds the bytes, a key has one purpose and a
//! list of uids, and every use or refusal stands in the log before the answer goes out.

mod refusal;
mod registry;

use std::{collections::BTreeMap, sync::Arc};

use assay_admission::{Descriptor, Digest, MediaType, UnixTime};
use assay_audit::{Durability, KeyOperation, KeyUseOutcome, KeyUseRecord, Log, LogError, Recorded};
use assay_hsm::{ClientError, GenerateRequest, KeyError, KeyInfo, KeyKind, KeyUri, Scheme};
use assay_proto::{assay as wire, status_with_remedy};
use assay_verify::{Certificate, signing};
use tonic::{Code, Request, Response, Status};

use refusal::Refusal;
pub(crate) use registry::{Entry, KeyRegistry};

use crate::{
    Config,
    config::Purpose,
    judge::now,
    key_worker::{KeyWorker, KeyWorkerError},
    peers::peer_uid,
    recording::append,
};

/// Certificates in one chain; the verifier takes no more either.
const MAX_CHAIN: usize = 8;
/// Annotations in one signature, and bytes of all of them.
const MAX_ANNOTATION_BYTES: usize = 16 << 10;

/// The socket that a service answers on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    /// admin.sock
    Admin,
    /// sign.sock
    Signing,
}

/// The service.
pub(crate) struct KeyService {
    config: Arc<Config>,
    registry: Arc<KeyRegistry>,
    keys: KeyWorker,
    log: Arc<Log>,
    serves: Serves,
}

impl KeyService {
    /// A service for one socket.
    pub(crate) const fn new(
        config: Arc<Config>,
        registry: Arc<KeyRegistry>,
        keys: KeyWorker,
        log: Arc<Log>,
        serves: Serves,
    ) -> Self {
        Self { config, registry, keys, log, serves }
    }

    /// Whether a peer may use a key at all.
    fn permits(&self, entry: &Entry, uid: u32) -> bool {
        match self.serves {
            Serves::Admin => true,
            Serves::Signing => entry.peers.contains(&uid) || self.config.admin_uids.contains(&uid),
        }
    }

    /// Checks purpose and peer, before anything is built or signed.
    fn check(&self, uri: &KeyUri, uid: u32) -> Result<(), Refusal> {
        let Some(entry) = self.registry.find(uri) else {
            let usable = |entry: &Entry| entry.purpose == Purpose::Image && self.permits(entry, uid);
            return Err(Refusal::undeclared(uri, self.registry.of_other_token(uri, usable).as_ref()));
        };
        match entry.purpose {
            Purpose::Image => {}
            other @ (Purpose::Log | Purpose::Policy) => return Err(Refusal::other_purpose(uri, other)),
        }
        if self.permits(&entry, uid) { Ok(()) } else { Err(Refusal::other_peer(uri, uid)) }
    }

    async fn record(
        &self,
        operation: KeyOperation,
        key: String,
        info: Option<&KeyInfo>,
        subject: Option<Digest>,
        peer_uid: u32,
        outcome: KeyUseOutcome,
    ) -> Result<Recorded, LogError> {
        let purpose = key.parse().ok().and_then(|uri| self.registry.find(&uri)).map(|entry| entry.purpose.as_str());
        let record = KeyUseRecord {
            time: now(),
            key,
            spki_sha256: info.map(|info| hex::encode(info.spki_sha256)).unwrap_or_default(),
            purpose: purpose.unwrap_or("none").into(),
            operation,
            subject,
            peer_uid: Some(peer_uid),
            outcome,
        };
        append(&self.log, record.into(), Durability::Synced).await
    }

    async fn sign_checked(&self, request: &Signing, uid: u32) -> Result<(Signed, KeyInfo), SignFailure> {
        self.check(&request.uri, uid).map_err(SignFailure::Refused)?;
        let key = self.keys.public(request.uri.clone()).await.map_err(SignFailure::Worker)?;
        let signed = match &request.format {
            Format::CosignBundle { annotations } => {
                let to_sign = signing::cosign_bundle::pae_to_sign(&request.target, annotations);
                let raw = self.sign(request, cosign_scheme(key.kind), to_sign.pae.clone()).await?;
                let signature = der_signature(key.kind, raw)?;
                Signed {
                    envelope: signing::cosign_bundle::assemble(&to_sign, &signature, &key.spki),
                    media_type: signing::cosign_bundle::MEDIA_TYPE,
                    artifact_type: signing::cosign_bundle::MEDIA_TYPE,
                    annotations: signing::cosign_bundle::manifest_annotations(),
                }
            }
            Format::NotationCose { chain, expires_in, annotations } => {
                let at = now();
                let expiry = expires_in.map(|seconds| UnixTime::from_seconds(at.seconds().saturating_add(seconds)));
                let to_sign = signing::notation_cose::to_sign(&request.target, chain, at, expiry, annotations)
                    .map_err(|error| SignFailure::Refused(Refusal::wrong(error.to_string(), "")))?;
                if to_sign.leaf().spki() != key.spki {
                    let why = format!("the chain's first certificate is not for key {}", request.uri);
                    let remedy =
                        "give the chain that begins with this key's certificate, or the key of this certificate";
                    return Err(SignFailure::Refused(Refusal::wrong(why, remedy)));
                }
                let raw =
                    self.sign(request, notation_scheme(to_sign.algorithm())?, to_sign.sig_structure().to_vec()).await?;
                Signed {
                    envelope: to_sign.assemble(&raw, concat!("assay/", env!("CARGO_PKG_VERSION"))),
                    media_type: signing::notation_cose::MEDIA_TYPE,
                    artifact_type: signing::notation_cose::ARTIFACT_TYPE,
                    annotations: signing::notation_cose::manifest_annotations(chain),
                }
            }
        };
        Ok((signed, key))
    }

    async fn sign(&self, request: &Signing, scheme: Scheme, message: Vec<u8>) -> Result<Vec<u8>, SignFailure> {
        self.keys.sign(request.uri.clone(), scheme, message).await.map_err(SignFailure::Worker)
    }

    fn describe(&self, info: &KeyInfo) -> wire::Key {
        let purpose = match self.registry.find(&info.uri).map(|entry| entry.purpose) {
            Some(Purpose::Image) => wire::KeyPurpose::Image,
            Some(Purpose::Log) => wire::KeyPurpose::Log,
            Some(Purpose::Policy) => wire::KeyPurpose::Policy,
            None => wire::KeyPurpose::Unspecified,
        };
        wire::Key {
            uri: info.uri.to_string(),
            kind: info.kind.to_string(),
            purpose: purpose.into(),
            spki_sha256: hex::encode(info.spki_sha256),
            spki: info.spki.clone(),
        }
    }
}

#[tonic::async_trait]
impl wire::keys_server::Keys for KeyService {
    async fn list(&self, request: Request<wire::ListKeysRequest>) -> Result<Response<wire::ListKeysResponse>, Status> {
        let uid = peer_uid(&request)?;
        let list = self.keys.list().await.map_err(|error| status_of(&error))?;
        let visible = |info: &&KeyInfo| match self.serves {
            Serves::Admin => true,
            Serves::Signing => self.check(&info.uri, uid).is_ok(),
        };
        let keys = list.keys.iter().filter(visible).map(|info| self.describe(info)).collect();
        Ok(Response::new(wire::ListKeysResponse { keys }))
    }

    async fn public(
        &self,
        request: Request<wire::PublicKeyRequest>,
    ) -> Result<Response<wire::PublicKeyResponse>, Status> {
        let uid = peer_uid(&request)?;
        let uri = parse_uri(&request.into_inner().uri)?;
        if self.serves == Serves::Signing {
            self.check(&uri, uid).map_err(Refusal::into_status)?;
        }
        let info = self.keys.public(uri).await.map_err(|error| status_of(&error))?;
        Ok(Response::new(wire::PublicKeyResponse { key: Some(self.describe(&info)) }))
    }

    async fn sign(&self, request: Request<wire::SignRequest>) -> Result<Response<wire::SignResponse>, Status> {
        let uid = peer_uid(&request)?;
        let request = Signing::parse(request.into_inner())?;
        let (key, subject) = (request.uri.to_string(), Some(request.target.digest));
        match self.sign_checked(&request, uid).await {
            Ok((signed, info)) => {
                let outcome = KeyUseOutcome::Done;
                // Only a signature that stands in the log leaves the agent.
                let recorded = self
                    .record(KeyOperation::Sign, key, Some(&info), subject, uid, outcome)
                    .await
                    .map_err(|error| unrecorded("the signature is withheld", &error))?;
                Ok(Response::new(wire::SignResponse {
                    envelope: signed.envelope,
                    media_type: signed.media_type.into(),
                    artifact_type: signed.artifact_type.into(),
                    annotations: signed.annotations.into_iter().collect(),
                    record: recorded.id().index(),
                }))
            }
            Err(SignFailure::Refused(refusal)) => {
                let outcome = KeyUseOutcome::Refused(refusal.why().to_owned());
                self.record(KeyOperation::Sign, key, None, subject, uid, outcome)
                    .await
                    .map_err(|error| unrecorded(&format!("refused: {}", refusal.why()), &error))?;
                Err(refusal.into_status())
            }
            Err(SignFailure::Worker(error)) => {
                let outcome = KeyUseOutcome::Failed(error.to_string());
                self.record(KeyOperation::Sign, key, None, subject, uid, outcome)
                    .await
                    .map_err(|log_error| unrecorded(&error.to_string(), &log_error))?;
                Err(status_of(&error))
            }
        }
    }

    async fn generate(
        &self,
        request: Request<wire::GenerateKeyRequest>,
    ) -> Result<Response<wire::GenerateKeyResponse>, Status> {
        let uid = peer_uid(&request)?;
        if self.serves != Serves::Admin {
            return Err(Status::permission_denied("keys are made through admin.sock"));
        }
        let request = request.into_inner();
        let purpose = match request.purpose() {
            wire::KeyPurpose::Image => Purpose::Image,
            wire::KeyPurpose::Log => Purpose::Log,
            wire::KeyPurpose::Policy => Purpose::Policy,
            wire::KeyPurpose::Unspecified => return Err(Status::invalid_argument("a key needs a purpose")),
        };
        let kind = parse_kind(&request.kind)?;
        let generate = GenerateRequest { token: None, label: request.label.clone(), kind, id: None };
        match self.keys.generate(generate).await {
            Ok(info) => {
                self.registry.add(&info.uri, purpose).map_err(|error| {
                    Status::internal(format!("key {} was made, its purpose cannot be kept: {error}", info.uri))
                })?;
                let (key, outcome) = (info.uri.to_string(), KeyUseOutcome::Done);
                let recorded =
                    self.record(KeyOperation::Generate, key, Some(&info), None, uid, outcome).await.map_err(
                        |error| unrecorded(&format!("key {} was made and stays in the token", info.uri), &error),
                    )?;
                let record = recorded.id().index();
                Ok(Response::new(wire::GenerateKeyResponse { key: Some(self.describe(&info)), record }))
            }
            Err(error) => {
                let outcome = KeyUseOutcome::Failed(error.to_string());
                self.record(KeyOperation::Generate, request.label, None, None, uid, outcome)
                    .await
                    .map_err(|log_error| unrecorded(&error.to_string(), &log_error))?;
                Err(status_of(&error))
            }
        }
    }
}

/// A request to sign, parsed.
struct Signing {
    uri: KeyUri,
    target: Descriptor,
    format: Format,
}

enum Format {
    CosignBundle { annotations: BTreeMap<String, String> },
    NotationCose { chain: Vec<Certificate>, expires_in: Option<i64>, annotations: BTreeMap<String, String> },
}

struct Signed {
    envelope: Vec<u8>,
    media_type: &'static str,
    artifact_type: &'static str,
    annotations: BTreeMap<String, String>,
}

enum SignFailure {
    /// It is not allowed or makes no sense.
    Refused(Refusal),
    /// The worker could not.
    Worker(KeyWorkerError),
}

impl Signing {
    fn parse(message: wire::SignRequest) -> Result<Self, Status> {
        let format = message.format();
        let digest: Digest =
            message.digest.parse().map_err(|error| Status::invalid_argument(format!("digest: {error}")))?;
        let media_type = MediaType::new(&message.media_type)
            .filter(|media_type| media_type.is_index() || media_type.is_manifest())
            .ok_or_else(|| Status::invalid_argument("media_type: only image indexes and manifests are signed"))?;
        if message.size == 0 {
            return Err(Status::invalid_argument("size: the document's size in bytes is part of what is signed"));
        }
        let annotations: BTreeMap<String, String> = message.annotations.into_iter().collect();
        if annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_ANNOTATION_BYTES {
            return Err(Status::invalid_argument(format!("annotations: more than {MAX_ANNOTATION_BYTES} bytes")));
        }
        let format = match format {
            wire::SignatureFormat::CosignBundle => Format::CosignBundle { annotations },
            wire::SignatureFormat::NotationCose => {
                if message.certificate_chain.is_empty() || message.certificate_chain.len() > MAX_CHAIN {
                    return Err(Status::invalid_argument(format!(
                        "certificate_chain: 1 to {MAX_CHAIN} certificates are needed, leaf first, root included"
                    )));
                }
                let chain = message
                    .certificate_chain
                    .into_iter()
                    .map(Certificate::from_der)
                    .collect::<Result<_, _>>()
                    .map_err(|error| Status::invalid_argument(format!("certificate_chain: {error}")))?;
                let expires_in = i64::try_from(message.expires_in_seconds).ok().filter(|seconds| *seconds > 0);
                Format::NotationCose { chain, expires_in, annotations }
            }
            wire::SignatureFormat::Unspecified => return Err(Status::invalid_argument("format: none is given")),
        };
        let target = Descriptor { media_type, digest, size: message.size };
        Ok(Self { uri: parse_uri(&message.key)?, target, format })
    }
}

/// cosign's signature algorithm for a key: the hash is the curve's, RSA is PKCS #1 v1.5 with SHA-256.
const fn cosign_scheme(kind: KeyKind) -> Scheme {
    match kind {
        KeyKind::P256 => Scheme::EcdsaP256Sha256,
        KeyKind::P384 => Scheme::EcdsaP384Sha384,
        KeyKind::Rsa { .. } => Scheme::RsaPkcs1Sha256,
        KeyKind::Ed25519 => Scheme::Ed25519,
    }
}

/// Notary Project signature-specification, "Signature Algorithm Requirements": the leaf's key fixes it.
fn notation_scheme(algorithm: signing::Algorithm) -> Result<Scheme, SignFailure> {
    match algorithm {
        signing::Algorithm::Es256 => Ok(Scheme::EcdsaP256Sha256),
        signing::Algorithm::Es384 => Ok(Scheme::EcdsaP384Sha384),
        signing::Algorithm::Ps256 => Ok(Scheme::RsaPssSha256),
        signing::Algorithm::Ps384 => Ok(Scheme::RsaPssSha384),
        signing::Algorithm::Ps512 | signing::Algorithm::Es512 => Err(SignFailure::Refused(Refusal::wrong(
            "rsa-4096 and p521 keys cannot make Notary Project signatures here".into(),
            "use a p256, p384, rsa-2048 or rsa-3072 key and its certificate",
        ))),
    }
}

/// Tokens give r and s; Sigstore's formats want them in ASN.1.
fn der_signature(kind: KeyKind, raw: Vec<u8>) -> Result<Vec<u8>, SignFailure> {
    match kind {
        KeyKind::P256 | KeyKind::P384 => assay_hsm::ecdsa_raw_to_der(&raw)
            .map_err(|error| SignFailure::Refused(Refusal::wrong(error.to_string(), ""))),
        KeyKind::Rsa { .. } | KeyKind::Ed25519 => Ok(raw),
    }
}

fn parse_uri(text: &str) -> Result<KeyUri, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("key: {error}")))
}

fn parse_kind(text: &str) -> Result<KeyKind, Status> {
    // `rsa3072` and `rsa-3072` are both in use.
    let text = match text.strip_prefix("rsa") {
        Some(bits) if !bits.starts_with('-') => format!("rsa-{bits}"),
        _ => text.to_owned(),
    };
    text.parse().map_err(|error: assay_hsm::InvalidKeyKind| Status::invalid_argument(error.to_string()))
}

/// `what` happened, and the log does not have it.
fn unrecorded(what: &str, error: &LogError) -> Status {
    let remedy = "free disk space below /var/lib/assay, see `assay node status`, and try again";
    status_with_remedy(Code::Unavailable, format!("{what}; the use of the key could not be recorded: {error}"), remedy)
}

fn status_of(error: &KeyWorkerError) -> Status {
    let message = error.to_string();
    match error {
        KeyWorkerError::Client(ClientError::Worker(KeyError::TokenNotServed { .. })) => status_with_remedy(
            Code::FailedPrecondition,
            message,
            "`assay keys list` shows each key's URI with its token; keyd.toml says which token is served",
        ),
        KeyWorkerError::Client(ClientError::Worker(KeyError::KeyNotFound { .. })) => Status::not_found(message),
        KeyWorkerError::Client(ClientError::Worker(KeyError::KeyExists { .. })) => status_with_remedy(
            Code::AlreadyExists,
            message,
            "choose another label, or use the key that is there: `assay keys list` shows it",
        ),
        KeyWorkerError::Client(ClientError::Worker(KeyError::PinRefused { .. })) => status_with_remedy(
            Code::FailedPrecondition,
            message,
            "correct the PIN where keyd.toml says it is, then send SIGHUP to assay-keyd or restart it",
        ),
        KeyWorkerError::Client(error) if !error.is_retryable() => Status::failed_precondition(message),
        KeyWorkerError::Client(_) | KeyWorkerError::Away { .. } | KeyWorkerError::Busy => Status::unavailable(message),
    }
}
