//! What is kept of a repository between refreshes, and its one file form. Bytes only: nothing here is trusted before
//! [`super::TufTrust::open`] has verified it again.

use assay_admission::UnixTime;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::error::TufError;
use crate::{
    json::{self, JsonError, Object, wrong},
    limits::{MAX_TUF_KEPT_BYTES, MAX_TUF_KEPT_ROOTS},
};

/// The version that this code writes and reads.
const VERSION: u64 = 1;

/// The files that were verified once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TufFiles {
    /// The roots behind the configured one, in order.
    pub roots: Vec<Vec<u8>>,
    /// The newest timestamp that was seen: an older one never counts.
    pub timestamp: Option<Vec<u8>>,
    /// The newest snapshot that was seen, likewise.
    pub snapshot: Option<Vec<u8>>,
    /// What the last complete refresh brought.
    pub complete: Option<TufSet>,
}

/// The files of one complete refresh, which vouch for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TufSet {
    /// When that was.
    pub accepted: UnixTime,
    /// The version of the root that they were verified by.
    pub root_version: u64,
    /// `timestamp.json`
    pub timestamp: Vec<u8>,
    /// `snapshot.json`
    pub snapshot: Vec<u8>,
    /// `targets.json`
    pub targets: Vec<u8>,
    /// `trusted_root.json`
    pub target: Vec<u8>,
}

impl TufFiles {
    /// All of it as one JSON document, so that one file holds a state that belongs together.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let optional = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| STANDARD.encode(bytes));
        let document = json!({
            "version": VERSION,
            "roots": self.roots.iter().map(|root| STANDARD.encode(root)).collect::<Vec<_>>(),
            "timestamp": optional(&self.timestamp),
            "snapshot": optional(&self.snapshot),
            "complete": self.complete.as_ref().map(|set| json!({
                "accepted": set.accepted.seconds(),
                "root_version": set.root_version,
                "timestamp": STANDARD.encode(&set.timestamp),
                "snapshot": STANDARD.encode(&set.snapshot),
                "targets": STANDARD.encode(&set.targets),
                "target": STANDARD.encode(&set.target),
            })),
        });
        document.to_string().into_bytes()
    }

    /// Reads what [`TufFiles::to_json`] wrote.
    ///
    /// # Errors
    /// [`TufError::Kept`] if it is something else, of another version, or too large.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TufError> {
        if bytes.len() > MAX_TUF_KEPT_BYTES {
            return Err(TufError::Kept(format!("it has more than {MAX_TUF_KEPT_BYTES} bytes")));
        }
        json::parse_object(bytes, "kept files", read).map_err(|error| TufError::Kept(error.to_string()))
    }
}

fn read(document: Object<'_>) -> Result<TufFiles, JsonError> {
    let version = document.integer("version")?;
    if version != VERSION {
        return Err(wrong("version", format!("is {version}, and {VERSION} is known")));
    }
    document.only(&["version", "roots", "timestamp", "snapshot", "complete"])?;
    let roots = document.array("roots")?;
    if roots.len() > MAX_TUF_KEPT_ROOTS {
        return Err(wrong("roots", format!("has more than {MAX_TUF_KEPT_ROOTS} entries")));
    }
    let roots = roots.iter().map(|root| decode("roots", root.string("roots")?)).collect::<Result<_, JsonError>>()?;
    let optional = |key| document.optional_string(key)?.map(|text| decode(key, text)).transpose();
    let complete = document.optional_object("complete")?.map(read_set);
    Ok(TufFiles {
        roots,
        timestamp: optional("timestamp")?,
        snapshot: optional("snapshot")?,
        complete: complete.transpose()?,
    })
}

fn read_set(set: Object<'_>) -> Result<TufSet, JsonError> {
    set.only(&["accepted", "root_version", "timestamp", "snapshot", "targets", "target"])?;
    let bytes = |key| decode(key, set.string(key)?);
    let accepted = i64::try_from(set.integer("accepted")?).map_err(|_| wrong("accepted", "is no time"))?;
    Ok(TufSet {
        accepted: UnixTime::from_seconds(accepted),
        root_version: set.integer("root_version")?,
        timestamp: bytes("timestamp")?,
        snapshot: bytes("snapshot")?,
        targets: bytes("targets")?,
        target: bytes("target")?,
    })
}

fn decode(key: &'static str, text: &str) -> Result<Vec<u8>, JsonError> {
    STANDARD.decode(text).map_err(|error| wrong(key, format!("is not base64: {error}")))
}
