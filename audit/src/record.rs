//! What the log holds: one JSON object for each record, with a version, cut to the size that an entry may have.
//! Typed records go in, entry bytes come out, and back. Never files, never a clock.

mod text;
mod trim;

use assay_admission::{Digest, Gate, Mode, Reason, RecordId, UnixTime};
use serde::{Deserialize, Serialize};

/// Most bytes of one entry: the length prefix of C2SP tlog-tiles entry bundles is a uint16.
pub const MAX_ENTRY_BYTES: usize = 65_535;

/// The version that this code writes and reads.
const VERSION: u32 = 1;

/// One record. Its JSON form begins `{"v":1,"kind":"decision",`; the kinds are `decision`, `refusal`, `key-use`,
/// `policy`, `trust-root`, `evidence`, `start`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// An image was judged.
    Decision(Box<DecisionRecord>),
    /// A gate refused something by itself.
    Refusal(Box<RefusalRecord>),
    /// A key was used, or its use refused.
    KeyUse(KeyUseRecord),
    /// A policy was applied or refused.
    Policy(PolicyRecord),
    /// A root of trust was updated, or an update refused.
    TrustRoot(TrustRootRecord),
    /// Evidence was brought by hand.
    Evidence(EvidenceRecord),
    /// The agent started.
    Start(StartRecord),
}

/// An image was judged: for whom, by which rule, with what outcome and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// When, in Unix seconds.
    #[serde(with = "text::time")]
    pub time: UnixTime,
    /// The gate that asked.
    #[serde(with = "text::gate")]
    pub gate: Gate,
    /// The containerd namespace.
    pub namespace: String,
    /// What was asked about.
    pub subject: RecordedSubject,
    /// Every candidate name, in the order in which they came.
    pub names: Vec<String>,
    /// Every image that was judged for the answer.
    pub images: Vec<ImageRecord>,
    /// Allow or deny.
    pub outcome: RecordedOutcome,
    /// The mode of the deciding rule.
    #[serde(with = "text::mode")]
    pub mode: Mode,
    /// The deciding rule, if one matched.
    pub rule: Option<String>,
    /// Why it was refused; empty for an allow.
    #[serde(with = "text::reasons")]
    pub reasons: Vec<Reason>,
    /// Why an enforcing rule would have refused it; empty for a deny.
    #[serde(with = "text::reasons", default)]
    pub would_deny: Vec<Reason>,
    /// The version of the policy in force.
    pub policy_version: u64,
    /// SHA-256 of the policy's text, hex.
    pub policy_sha256: String,
    /// The first record of this answer, if it came from the cache.
    #[serde(with = "text::record_id", default, skip_serializing_if = "Option::is_none")]
    pub cached_from: Option<RecordId>,
    /// What was left out because the entry would have been too long. Callers leave it empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trimmed: Vec<String>,
}

/// What a decision was about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordedSubject {
    /// A layer chain, by its chain id.
    #[serde(with = "text::digest")]
    Chain(Digest),
    /// An image, by its name.
    Name(String),
}

/// Allow or deny, without reasons: these stand beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordedOutcome {
    /// The image may go on.
    Allow,
    /// It may not.
    Deny,
}

/// How one image of a decision was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The platform manifest.
    #[serde(with = "text::digest")]
    pub manifest: Digest,
    /// The config.
    #[serde(with = "text::digest")]
    pub config: Digest,
    /// The candidate name that decided.
    pub name: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// The mode of that rule.
    #[serde(with = "text::mode")]
    pub mode: Mode,
    /// Whether this image was admitted.
    pub admitted: bool,
    /// Why not.
    #[serde(with = "text::reasons")]
    pub reasons: Vec<Reason>,
    /// What was proven about it, one sentence each.
    pub facts: Vec<String>,
}

/// A gate refused something by itself: without the agent, or before it was asked. As the gate reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalRecord {
    /// When it was recorded, in Unix seconds.
    #[serde(with = "text::time")]
    pub time: UnixTime,
    /// The gate that refused.
    #[serde(with = "text::gate")]
    pub gate: Gate,
    /// The containerd namespace; empty if it is not known.
    pub namespace: String,
    /// What was refused, as the gate knows it: a snapshot's key. Of several, the last.
    pub about: String,
    /// Why.
    #[serde(with = "text::reason")]
    pub reason: Reason,
    /// How many such refusals this record stands for, at least one.
    pub times: u64,
    /// When the first of them was made, in Unix seconds.
    #[serde(with = "text::time")]
    pub since: UnixTime,
    /// Refusals of whatever kind that the gate could not report in the meantime.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// A key was used, or its use refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUseRecord {
    /// When, in Unix seconds.
    #[serde(with = "text::time")]
    pub time: UnixTime,
    /// The key's `pkcs11:` URI, without PIN attributes.
    pub key: String,
    /// SHA-256 of the key's SubjectPublicKeyInfo, hex; empty if it is not known.
    pub spki_sha256: String,
    /// The purpose that the key is bound to: `image`, `log`, `policy`.
    pub purpose: String,
    /// What was asked of it.
    pub operation: KeyOperation,
    /// What was signed: the image's digest, or the SHA-256 of the checkpoint's text.
    #[serde(with = "text::digest_option", default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
    /// The uid of the peer that asked; none if the agent itself did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_uid: Option<u32>,
    /// What came of it.
    pub outcome: KeyUseOutcome,
}

/// What was asked of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyOperation {
    /// A signature over an image.
    Sign,
    /// A new key pair.
    Generate,
    /// A signature over a checkpoint of this log.
    Checkpoint,
}

/// What came of the use of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyUseOutcome {
    /// It was done.
    Done,
    /// It was not allowed, and why.
    Refused(String),
    /// It was allowed and failed, and why.
    Failed(String),
}

/// A policy was applied or refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// When, in Unix seconds.
    #[serde(with = "text::time")]
    pub time: UnixTime,
    /// Its version, if it could be read.
    pub version: Option<u64>,
    /// SHA-256 of its text, hex.
    pub sha256: String,
    /// Applied or refused.
    pub outcome: PolicyOutcome,
}

/// Whether a policy came into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyOutcome {
    /// It is in force from here on.
    Applied,
    /// It is not: file, line, column, reason.
    Refused(String),
}

/// A Sigstore root of trust was updated from its repository or by hand, or what came was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRootRecord {
    /// When, in Unix seconds.
    #[serde(with = "text::time")]
    pub time: UnixTime,
    /// Its name in the agent's configuration.
    pub name: String,
    /// The repository's address, or `import`.
    pub source: String,
    /// What came of it.
    pub outcome: TrustRootOutcome,
}

/// What came of an update of a root of trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustRootOutcome {
    /// It counts from here on.
    Updated {
        /// SHA-256 of the `trusted_root.json`, hex.
        sha256: String,
        /// The version of the repository's root that vouches for it.
        root_version: u64,
    },
    /// It does not, and why. What was trusted before stays.
    Refused(String),
}

/// Somebody brought a revocation list or an OCSP answer. It counts for what its issuer signed and no more, as one that was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceRecord {
    /// When, in Unix seconds.
    #[serde(with = "text::time")]
    pub time: UnixTime,
    /// The uid of the peer that brought it.
    pub peer_uid: u32,
    /// What it is said to be.
    pub what: BroughtEvidence,
    /// The digest of its bytes.
    #[serde(with = "text::digest")]
    pub digest: Digest,
}

/// What evidence is said to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BroughtEvidence {
    /// The revocation list for this address.
    RevocationList(String),
    /// An answer of an OCSP responder.
    OcspAnswer,
}

/// The agent started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRecord {
    /// When, in Unix seconds.
    #[serde(with = "text::time")]
    pub time: UnixTime,
    /// The program's version.
    pub program_version: String,
    /// How many records the log had when it was opened.
    pub log_size: u64,
    /// How many bytes of an unfinished record were cut off its end.
    pub repaired_bytes: u64,
}

impl Record {
    /// When it was made.
    #[must_use]
    pub fn time(&self) -> UnixTime {
        match self {
            Self::Decision(record) => record.time,
            Self::Refusal(record) => record.time,
            Self::KeyUse(record) => record.time,
            Self::Policy(record) => record.time,
            Self::TrustRoot(record) => record.time,
            Self::Evidence(record) => record.time,
            Self::Start(record) => record.time,
        }
    }

    /// The bytes that are hashed into the log: one JSON object without a line break, at most [`MAX_ENTRY_BYTES`]. Lists
    /// and texts of a longer record are cut, and `trimmed` says so.
    ///
    /// # Errors
    /// [`RecordError::TooLong`] if even the shortest form does not fit.
    pub fn to_entry(&self) -> Result<Vec<u8>, RecordError> {
        let bytes = encode(self)?;
        if bytes.len() <= MAX_ENTRY_BYTES {
            return Ok(bytes);
        }
        trim::shorten(self, encode, MAX_ENTRY_BYTES)
    }

    /// Reads an entry back.
    ///
    /// # Errors
    /// [`RecordError`] if it is not JSON of a known version and kind.
    pub fn parse(entry: &[u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let Version { v } = serde_json::from_slice(entry).map_err(RecordError::json)?;
        if v != VERSION {
            return Err(RecordError::Version(v));
        }
        serde_json::from_slice(entry).map_err(RecordError::json)
    }
}

fn encode(record: &Record) -> Result<Vec<u8>, RecordError> {
    #[derive(Serialize)]
    struct Line<'a> {
        v: u32,
        #[serde(flatten)]
        record: &'a Record,
    }
    serde_json::to_vec(&Line { v: VERSION, record }).map_err(RecordError::json)
}

impl From<DecisionRecord> for Record {
    fn from(record: DecisionRecord) -> Self {
        Self::Decision(Box::new(record))
    }
}

impl From<RefusalRecord> for Record {
    fn from(record: RefusalRecord) -> Self {
        Self::Refusal(Box::new(record))
    }
}

impl From<KeyUseRecord> for Record {
    fn from(record: KeyUseRecord) -> Self {
        Self::KeyUse(record)
    }
}

impl From<PolicyRecord> for Record {
    fn from(record: PolicyRecord) -> Self {
        Self::Policy(record)
    }
}

impl From<TrustRootRecord> for Record {
    fn from(record: TrustRootRecord) -> Self {
        Self::TrustRoot(record)
    }
}

impl From<EvidenceRecord> for Record {
    fn from(record: EvidenceRecord) -> Self {
        Self::Evidence(record)
    }
}

impl From<StartRecord> for Record {
    fn from(record: StartRecord) -> Self {
        Self::Start(record)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Why bytes are no record, or a record cannot become an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not JSON of a known kind.
    #[error("not a record: {0}")]
    Json(String),
    /// A version that this program does not know.
    #[error("record version {0} is not known, {VERSION} is; use a newer assay")]
    Version(u32),
    /// Too long even when cut.
    #[error("record has {0} bytes after cutting, at most {MAX_ENTRY_BYTES} fit")]
    TooLong(usize),
}

impl RecordError {
    fn json(error: serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}

#[cfg(test)]
mod tests;
