//! TUF metadata (specification 4): bytes that anyone may have made come in; what stands in them comes out only once enough keys
//! have signed it. Until then it is [`Unproved`].

use std::collections::BTreeMap;

use assay_admission::{Digest, UnixTime};

use super::{
    canonical,
    error::TufError,
    keys::{Authority, Signature},
};
use crate::{
    json::{self, JsonError, Object, Value, wrong},
    limits::{LimitReached, MAX_TUF_SIGNATURES},
    notation::rfc3339,
};

/// Metadata that was read and not yet proved by signatures.
pub(super) struct Unproved<T> {
    file: String,
    content: T,
    message: Vec<u8>,
    signatures: Vec<Signature>,
}

/// A role's own part of the metadata.
pub(super) trait Role: Sized {
    /// `_type`.
    const TYPE: &'static str;
    /// Reads `signed`.
    fn read(head: Head, signed: Object<'_>) -> Result<Self, JsonError>;
}

/// What all roles have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) version: u64,
    pub(super) expires: UnixTime,
}

/// Specification 4.3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) head: Head,
    pub(super) consistent_snapshot: bool,
    pub(super) root: Authority,
    pub(super) timestamp: Authority,
    pub(super) snapshot: Authority,
    pub(super) targets: Authority,
}

/// Specification 4.6.
#[derive(Clone, Debug)]
pub(super) struct Timestamp {
    pub(super) head: Head,
    pub(super) snapshot: Pin,
}

/// Specification 4.4.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) head: Head,
    pub(super) files: BTreeMap<String, Pin>,
}

/// Specification 4.5, as far as it is needed: one target.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    pub(super) head: Head,
    pub(super) trusted_root: Option<TargetFile>,
    pub(super) delegates: bool,
}

/// What one file says about another: version, and length and hashes where they are stated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) version: u64,
    length: Option<u64>,
    hashes: Option<Vec<Digest>>,
}

/// What the targets say about a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TargetFile {
    pub(super) length: u64,
    /// SHA-256 first, if both are there.
    pub(super) hashes: Vec<Digest>,
}

impl<T: Role> Unproved<T> {
    /// Reads metadata of the role `T`.
    pub(super) fn read(bytes: &[u8], file: &str) -> Result<Self, TufError> {
        let malformed = |error| TufError::json(file, error);
        let value = json::parse(bytes).map_err(malformed)?;
        let outer = value.object("metadata").map_err(malformed)?;
        let signed = outer.object("signed").map_err(malformed)?;
        let found = signed.string("_type").map_err(malformed)?;
        if found != T::TYPE {
            return Err(TufError::Type { file: file.to_owned(), found: found.to_owned(), expected: T::TYPE });
        }
        let version = signed.string("spec_version").map_err(malformed)?;
        if version.split('.').next() != Some("1") {
            return Err(TufError::Specification { file: file.to_owned(), version: version.to_owned() });
        }
        let content = Head::read(signed).and_then(|head| T::read(head, signed)).map_err(malformed)?;
        let message = outer.members().find(|(key, _)| *key == "signed").map(|(_, value)| canonical::bytes(value));
        let message = message.transpose().map_err(malformed)?.unwrap_or_default();
        let signatures = signatures(outer, file)?;
        Ok(Self { file: file.to_owned(), content, message, signatures })
    }

    /// The content, if `authority` signed it; `by` is the root that names the authority.
    pub(super) fn prove(self, authority: &Authority, by: &Root) -> Result<T, TufError> {
        self.signed_by(authority, by)?;
        Ok(self.content)
    }

    fn signed_by(&self, authority: &Authority, by: &Root) -> Result<(), TufError> {
        let valid = authority.signers(&self.message, &self.signatures);
        if u64::try_from(valid).is_ok_and(|valid| valid >= authority.threshold) {
            return Ok(());
        }
        let by = format!("root version {}", by.head.version);
        Err(TufError::Threshold { file: self.file.clone(), valid, needed: authority.threshold, by })
    }
}

impl Unproved<Root> {
    /// The version that it states.
    pub(super) const fn version(&self) -> u64 {
        self.content.head.version
    }

    /// A root that is trusted as it stands: by whoever configured it. It must still hold its own rule.
    pub(super) fn prove_by_itself(self) -> Result<Root, TufError> {
        self.signed_by(&self.content.root, &self.content)?;
        Ok(self.content)
    }

    /// The root behind `before`.
    pub(super) fn prove_behind(self, before: &Root) -> Result<Root, TufError> {
        // 5.3.4: by a threshold of the root before, and of itself.
        self.signed_by(&before.root, before)?;
        self.signed_by(&self.content.root, &self.content)?;
        // 5.3.5: exactly the next version.
        let found = self.content.head.version;
        match before.head.version.checked_add(1) {
            Some(expected) if found == expected => Ok(self.content),
            expected => Err(TufError::Version { file: self.file, found, expected: expected.unwrap_or(u64::MAX) }),
        }
    }
}

fn signatures(outer: Object<'_>, file: &str) -> Result<Vec<Signature>, TufError> {
    let malformed = |error| TufError::json(file, error);
    let listed = outer.array("signatures").map_err(malformed)?;
    if listed.len() > MAX_TUF_SIGNATURES {
        return Err(LimitReached { what: "signatures under a TUF file", limit: MAX_TUF_SIGNATURES }.into());
    }
    let mut read: Vec<Signature> = Vec::new();
    for entry in listed {
        let entry = entry.object("signatures").map_err(malformed)?;
        let key = entry.string("keyid").map_err(malformed)?;
        if read.iter().any(|known| known.key == key) {
            return Err(TufError::SignedTwice { file: file.to_owned(), key: key.to_owned() });
        }
        // An empty one is the place of somebody who has not signed yet; like any other wrong one it counts for nothing.
        let value = hex::decode(entry.string("sig").map_err(malformed)?).unwrap_or_default();
        read.push(Signature { key: key.to_owned(), value });
    }
    Ok(read)
}

impl Head {
    fn read(signed: Object<'_>) -> Result<Self, JsonError> {
        let version = signed.integer("version")?;
        if version == 0 {
            return Err(wrong("version", "is 0, and versions begin at 1"));
        }
        let text = signed.string("expires")?;
        let expires = rfc3339::parse(text).ok_or_else(|| wrong("expires", format!("is {text:?}, which is no time")))?;
        Ok(Self { version, expires })
    }

    /// Refuses what has expired at `now`: the end itself has.
    pub(super) fn fresh_at(self, now: UnixTime, file: &str) -> Result<(), TufError> {
        if now < self.expires {
            return Ok(());
        }
        Err(TufError::Expired { file: file.to_owned(), expires: self.expires, now })
    }
}

impl Role for Root {
    const TYPE: &'static str = "root";

    fn read(head: Head, signed: Object<'_>) -> Result<Self, JsonError> {
        let (keys, roles) = (signed.object("keys")?, signed.object("roles")?);
        let authority = |name| Authority::read(roles.object(name)?, keys);
        let consistent_snapshot = match signed.raw("consistent_snapshot")? {
            Some(Value::Bool(is)) => *is,
            Some(_) | None => return Err(wrong("consistent_snapshot", "is not true or false")),
        };
        Ok(Self {
            head,
            consistent_snapshot,
            root: authority("root")?,
            timestamp: authority("timestamp")?,
            snapshot: authority("snapshot")?,
            targets: authority("targets")?,
        })
    }
}

impl Role for Timestamp {
    const TYPE: &'static str = "timestamp";

    fn read(head: Head, signed: Object<'_>) -> Result<Self, JsonError> {
        let snapshot = signed.object("meta")?.object("snapshot.json")?;
        Ok(Self { head, snapshot: Pin::read(snapshot)? })
    }
}

impl Role for Snapshot {
    const TYPE: &'static str = "snapshot";

    fn read(head: Head, signed: Object<'_>) -> Result<Self, JsonError> {
        let files = signed.object("meta")?.members();
        let files = files.map(|(name, pin)| Ok((name.to_owned(), Pin::read(pin.object("meta")?)?)));
        Ok(Self { head, files: files.collect::<Result<_, JsonError>>()? })
    }
}

impl Role for Targets {
    const TYPE: &'static str = "targets";

    fn read(head: Head, signed: Object<'_>) -> Result<Self, JsonError> {
        let trusted_root = signed.object("targets")?.optional_object("trusted_root.json")?;
        let trusted_root = trusted_root.map(|target| {
            let hashes = hashes(target.object("hashes")?)?;
            if hashes.is_empty() {
                return Err(wrong("hashes", "has neither sha256 nor sha512"));
            }
            Ok(TargetFile { length: target.integer("length")?, hashes })
        });
        let delegates = signed.optional_object("delegations")?.is_some();
        Ok(Self { head, trusted_root: trusted_root.transpose()?, delegates })
    }
}

impl Pin {
    fn read(object: Object<'_>) -> Result<Self, JsonError> {
        let length = object.optional("length")?.map(|_| object.integer("length")).transpose()?;
        let hashes = object.optional_object("hashes")?.map(hashes).transpose()?;
        Ok(Self { version: object.integer("version")?, length, hashes })
    }

    /// Refuses bytes that are not the pinned ones.
    pub(super) fn holds(&self, bytes: &[u8], file: &str) -> Result<(), TufError> {
        if let Some(expected) = self.length {
            same_length(bytes, expected, file)?;
        }
        match &self.hashes {
            Some(hashes) => same_hashes(bytes, hashes, file),
            None => Ok(()),
        }
    }
}

impl TargetFile {
    /// Refuses bytes that are not the target.
    pub(super) fn holds(&self, bytes: &[u8], file: &str) -> Result<(), TufError> {
        same_length(bytes, self.length, file)?;
        same_hashes(bytes, &self.hashes, file)
    }
}

fn same_length(bytes: &[u8], expected: u64, file: &str) -> Result<(), TufError> {
    if u64::try_from(bytes.len()).is_ok_and(|length| length == expected) {
        return Ok(());
    }
    Err(TufError::Length { file: file.to_owned(), found: bytes.len(), expected })
}

fn same_hashes(bytes: &[u8], hashes: &[Digest], file: &str) -> Result<(), TufError> {
    if hashes.is_empty() {
        return Err(TufError::NoHash { file: file.to_owned() });
    }
    match hashes.iter().find(|hash| !hash.matches(bytes)) {
        Some(hash) => Err(TufError::Hash { file: file.to_owned(), algorithm: hash.algorithm() }),
        None => Ok(()),
    }
}

/// The hashes of known kinds; SHA-256 comes first.
fn hashes(object: Object<'_>) -> Result<Vec<Digest>, JsonError> {
    let mut read = Vec::new();
    for algorithm in ["sha256", "sha512"] {
        if let Some(hex) = object.optional_string(algorithm)? {
            let digest = format!("{algorithm}:{hex}").parse();
            read.push(digest.map_err(|_| wrong("hashes", format!("has {hex:?}, which is no {algorithm} hash")))?);
        }
    }
    Ok(read)
}
