//! A Sigstore root of trust: a `trusted_root.json` (sigstore protobuf-specs `TrustedRoot`, versions 0.1 and 0.2) comes in;
//! certificate authorities, logs and time-stamping authorities with the time in which each may be believed come out.
//! What the file does not say is not trusted; nothing is fetched.

use std::{collections::BTreeSet, num::NonZeroUsize};

use assay_admission::{Digest, UnixTime};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::key::{PublicKey, PublicKeyKind};
use crate::{
    der::tlv,
    json::{JsonError, Object, Value, wrong},
    limits::{LimitReached, MAX_CHAIN, MAX_ROOT_ENTRIES},
    notation::rfc3339,
};

mod described;

pub use described::RootMember;

/// The media types of versions 0.1 and 0.2, as the specification and its tools write them.
const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

/// `SEQUENCE { OBJECT IDENTIFIER rsaEncryption, NULL }`
const RSA_ENCRYPTION: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

/// Whom to believe about who signed (certificate authorities), that it was logged (logs) and when (time-stamping authorities).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigstoreRoot {
    pub(crate) authorities: Vec<Authority>,
    pub(crate) ct_logs: Vec<Log>,
    pub(crate) logs: Vec<Log>,
    pub(crate) time_stamping: Vec<Authority>,
    pub(crate) required_logs: LogRule,
    pub(crate) required_times: NonZeroUsize,
    ignored: Vec<String>,
}

/// Whether a signature must stand in transparency logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRule {
    /// In logs of at least so many different operators.
    Operators(NonZeroUsize),
    /// It need not stand in any: for deployments without a log, where time-stamps alone say when. Entries that are there
    /// have to be right all the same.
    InsecureNone,
}

/// The time in which something may be believed; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) start: Option<UnixTime>,
    pub(crate) end: Option<UnixTime>,
}

/// A log with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    /// What entries and time-stamps call it: SHA-256 of its key, or a checkpoint's key id.
    pub(crate) id: Vec<u8>,
    pub(crate) key: PublicKey,
    pub(crate) window: Window,
    /// Who runs it: one operator counts once.
    pub(crate) operator: String,
}

/// A certificate authority, or a time-stamping authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    /// In DER, the anchor last. A time-stamping authority's own certificate stands first.
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) window: Window,
    pub(crate) operator: String,
}

/// Why a file is no root of trust.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// A field is missing or wrong.
    #[error("{field}: {problem}")]
    Malformed {
        /// Where.
        field: &'static str,
        /// What is wrong there.
        problem: String,
    },
    /// Another version, or something else.
    #[error("mediaType {0:?} is no trusted root of version 0.1 or 0.2")]
    MediaType(String),
    /// Two logs with one id.
    #[error("{list}: the log {id} stands there twice")]
    Twice {
        /// In which list.
        list: &'static str,
        /// Its id in hex.
        id: String,
    },
    /// Two operators with one key: a threshold over operators would count one signature twice.
    #[error("{list}: {} and {} have one key, so they would count as two where they are one", .operators[0], .operators[1])]
    OneKey {
        /// In which list.
        list: &'static str,
        /// Who they are said to be.
        operators: [String; 2],
    },
    /// A root that names nobody.
    #[error("it names no certificate authority and no log, so nothing could be verified with it")]
    Empty,
    /// A cap was reached.
    #[error(transparent)]
    Limit(#[from] LimitReached),
}

impl From<JsonError> for RootError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Syntax(problem) => Self::Malformed { field: "JSON", problem },
            JsonError::Field { field, problem } => Self::Malformed { field, problem },
            JsonError::Limit(limit) => Self::Limit(limit),
        }
    }
}

impl SigstoreRoot {
    /// Reads a `trusted_root.json`. One log entry and one trusted time are required of a signature unless said otherwise.
    ///
    /// # Errors
    /// [`RootError`] naming the field.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RootError> {
        let value = crate::json::parse(bytes)?;
        let root = value.object("trusted root")?;
        let media_type = root.string("mediaType")?;
        if !MEDIA_TYPES.contains(&media_type) {
            return Err(RootError::MediaType(media_type.to_owned()));
        }
        root.only(&["mediaType", "tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"])?;
        let mut ignored = Vec::new();
        let read = Self {
            authorities: authorities(root, "certificateAuthorities")?,
            ct_logs: logs(root, "ctlogs", &mut ignored)?,
            logs: logs(root, "tlogs", &mut ignored)?,
            time_stamping: authorities(root, "timestampAuthorities")?,
            required_logs: LogRule::Operators(NonZeroUsize::MIN),
            required_times: NonZeroUsize::MIN,
            ignored,
        };
        if read.authorities.is_empty() && read.logs.is_empty() {
            return Err(RootError::Empty);
        }
        Ok(read)
    }

    /// The same root with another rule about logs.
    #[must_use]
    pub fn requiring_logs(self, rule: LogRule) -> Self {
        Self { required_logs: rule, ..self }
    }

    /// The same root, requiring a trusted time of so many different operators of logs and time-stamping authorities.
    #[must_use]
    pub fn requiring_times(self, operators: NonZeroUsize) -> Self {
        Self { required_times: operators, ..self }
    }

    /// Who runs its transparency logs, each once: no signature stands in the logs of more.
    #[must_use]
    pub fn log_operators(&self) -> BTreeSet<&str> {
        self.logs.iter().map(|log| log.operator.as_str()).collect()
    }

    /// Who may tell the time of a signature, each once: who runs its logs and its time-stamping authorities.
    #[must_use]
    pub fn time_operators(&self) -> BTreeSet<&str> {
        let stamping = self.time_stamping.iter().map(|authority| authority.operator.as_str());
        self.log_operators().into_iter().chain(stamping).collect()
    }

    /// Logs of the file that are not trusted because their kind of key or hash is not known here: a sentence each.
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }
}

impl Window {
    /// Whether `at` lies in it.
    pub(crate) fn contains(&self, at: UnixTime) -> bool {
        self.has_started(at) && self.end.is_none_or(|end| at <= end)
    }

    /// Whether it does not begin after `at`.
    pub(crate) fn has_started(&self, at: UnixTime) -> bool {
        self.start.is_none_or(|start| start <= at)
    }
}

fn list<'v>(root: Object<'v>, name: &'static str) -> Result<&'v [Value<'v>], RootError> {
    let entries = root.optional_array(name)?;
    if entries.len() > MAX_ROOT_ENTRIES {
        return Err(LimitReached { what: "entries in a list of a trusted root", limit: MAX_ROOT_ENTRIES }.into());
    }
    Ok(entries)
}

fn authorities(root: Object<'_>, name: &'static str) -> Result<Vec<Authority>, RootError> {
    list(root, name)?.iter().map(|entry| authority(entry.object(name)?)).collect()
}

fn authority(entry: Object<'_>) -> Result<Authority, RootError> {
    entry.only(&["subject", "uri", "certChain", "validFor", "operator"])?;
    let certificates = entry.object("certChain")?.array("certificates")?;
    if certificates.is_empty() {
        return Err(wrong("certificates", "is empty").into());
    }
    if certificates.len() > MAX_CHAIN {
        return Err(LimitReached { what: "certificates in a chain", limit: MAX_CHAIN }.into());
    }
    let chain = certificates.iter().map(certificate).collect::<Result<Vec<_>, RootError>>()?;
    let named = |key| entry.optional_string(key).map(|text| text.filter(|text| !text.is_empty()));
    let operator = match (named("operator")?, named("uri")?) {
        (Some(name), _) | (None, Some(name)) => name.to_owned(),
        (None, None) => chain.last().map_or_else(String::new, |anchor| Digest::sha256(anchor).hex()),
    };
    Ok(Authority { chain, window: window(entry)?, operator })
}

fn certificate(value: &Value<'_>) -> Result<Vec<u8>, RootError> {
    let der = bytes(value.object("certificates")?, "rawBytes")?;
    let problem = |problem: String| RootError::from(wrong("rawBytes", problem));
    match X509Certificate::from_der(&der) {
        Ok(([], _)) => Ok(der),
        Ok(_) => Err(problem("has bytes behind its certificate".to_owned())),
        Err(error) => Err(problem(format!("is no certificate in DER: {error}"))),
    }
}

fn logs(root: Object<'_>, name: &'static str, ignored: &mut Vec<String>) -> Result<Vec<Log>, RootError> {
    let mut logs: Vec<Log> = Vec::new();
    for entry in list(root, name)? {
        match log(entry.object(name)?)? {
            Ok(log) if logs.iter().any(|known| known.id == log.id) => {
                return Err(RootError::Twice { list: name, id: hex::encode(log.id) });
            }
            Ok(log) => match logs.iter().find(|known| known.key == log.key && known.operator != log.operator) {
                Some(known) => {
                    let operators = [known.operator.clone(), log.operator];
                    return Err(RootError::OneKey { list: name, operators });
                }
                None => logs.push(log),
            },
            Err(why) => ignored.push(format!("{name}: {why}")),
        }
    }
    Ok(logs)
}

/// A log, or why it is none that can be believed here. Clients are to go on without logs that they do not know the kind of.
fn log(entry: Object<'_>) -> Result<Result<Log, String>, RootError> {
    entry.only(&["baseUrl", "hashAlgorithm", "publicKey", "logId", "checkpointKeyId", "operator"])?;
    let base_url = entry.optional_string("baseUrl")?.unwrap_or_default();
    let id = bytes(entry.object("logId")?, "keyId")?;
    if id.len() < 4 || id.len() > 64 {
        return Err(wrong("keyId", format!("has {} bytes, and log ids have 4 to 64", id.len())).into());
    }
    let hash = entry.string("hashAlgorithm")?;
    if hash != "SHA2_256" {
        return Ok(Err(format!("the log {base_url:?} has the unknown hashAlgorithm {hash:?}")));
    }
    let key = entry.object("publicKey")?;
    key.only(&["rawBytes", "keyDetails", "validFor"])?;
    let (raw, details) = (bytes(key, "rawBytes")?, key.string("keyDetails")?);
    let Some(fits) = kind_of(details) else {
        return Ok(Err(format!("the log {base_url:?} has the unknown keyDetails {details:?}")));
    };
    let spki = if details.starts_with("PKCS1_") { rsa_spki(&raw) } else { raw };
    let parsed = PublicKey::from_spki_der(&spki).map_err(|error| wrong("rawBytes", error.to_string()))?;
    if !fits(parsed.kind()) {
        return Err(wrong("keyDetails", format!("is {details:?}, and the key is {}", parsed.kind())).into());
    }
    let operator = entry.optional_string("operator")?.filter(|operator| !operator.is_empty());
    let operator = match (operator, base_url) {
        (Some(operator), _) => operator.to_owned(),
        (None, "") => hex::encode(&id),
        (None, url) => url.to_owned(),
    };
    Ok(Ok(Log { id, key: parsed, window: window(key)?, operator }))
}

/// Which kinds of key `details` (protobuf-specs `PublicKeyDetails`) names, for those whose hash is the kind's own.
fn kind_of(details: &str) -> Option<fn(PublicKeyKind) -> bool> {
    match details {
        "PKIX_ECDSA_P256_SHA_256" => Some(|kind| kind == PublicKeyKind::P256),
        "PKIX_ECDSA_P384_SHA_384" => Some(|kind| kind == PublicKeyKind::P384),
        "PKIX_ECDSA_P521_SHA_512" => Some(|kind| kind == PublicKeyKind::P521),
        "PKIX_ED25519" => Some(|kind| kind == PublicKeyKind::Ed25519),
        "PKIX_RSA_PKCS1V15_2048_SHA256" => Some(|kind| kind == PublicKeyKind::Rsa { bits: 2048 }),
        "PKIX_RSA_PKCS1V15_3072_SHA256" => Some(|kind| kind == PublicKeyKind::Rsa { bits: 3072 }),
        "PKIX_RSA_PKCS1V15_4096_SHA256" => Some(|kind| kind == PublicKeyKind::Rsa { bits: 4096 }),
        "PKIX_RSA_PKCS1V5" | "PKCS1_RSA_PKCS1V5" => Some(|kind| matches!(kind, PublicKeyKind::Rsa { .. })),
        _ => None,
    }
}

/// A SubjectPublicKeyInfo around an `RSAPublicKey` (RFC 8017 §A.1.1).
fn rsa_spki(key: &[u8]) -> Vec<u8> {
    let bits = tlv(0x03, &[&[0_u8], key].concat());
    tlv(0x30, &[RSA_ENCRYPTION, bits.as_slice()].concat())
}

fn window(object: Object<'_>) -> Result<Window, RootError> {
    let Some(window) = object.optional_object("validFor")? else { return Ok(Window { start: None, end: None }) };
    window.only(&["start", "end"])?;
    let time = |key| {
        let text = window.optional_string(key)?;
        let parse = |text| rfc3339::parse(text).ok_or_else(|| wrong(key, format!("is {text:?}, which is no time")));
        text.map(parse).transpose()
    };
    let (start, end) = (time("start")?, time("end")?);
    if start.is_none() {
        return Err(wrong("start", "is missing in validFor").into());
    }
    if let (Some(start), Some(end)) = (start, end)
        && end < start
    {
        return Err(wrong("validFor", format!("ends at {end}, before it starts at {start}")).into());
    }
    Ok(Window { start, end })
}

fn bytes(object: Object<'_>, key: &'static str) -> Result<Vec<u8>, RootError> {
    let text = object.string(key)?;
    STANDARD.decode(text).map_err(|error| wrong(key, format!("is not canonical base64: {error}")).into())
}
