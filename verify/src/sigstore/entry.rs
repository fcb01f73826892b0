//! An entry of a transparency log as a bundle carries it (protobuf-specs `TransparencyLogEntry`): what is read is untrusted; once a
//! log of the root has signed it, by a promise or by a checkpoint over a tree that contains it, it counts for that log's operator.

use assay_admission::UnixTime;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    EntryError,
    checkpoint::{Checkpoint, SignedBy},
    merkle,
};
use crate::{
    bundle::decode,
    facts::RejectionReason,
    json::{JsonError, Object, Value, parse_object, wrong},
    limits::{Budget, LimitReached, MAX_PROOF_HASHES},
    trust::{Log, SigstoreRoot},
};

/// An entry, read and not yet believed.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The place in the log over all its shards: what a promise is about.
    pub(super) index: u64,
    pub(super) log: Vec<u8>,
    pub(super) kind: EntryKind,
    pub(super) integrated: Option<UnixTime>,
    pub(super) promise: Option<Vec<u8>>,
    pub(super) proof: Option<Proof>,
    pub(super) body: Vec<u8>,
}

/// The kinds of entry that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    HashedRekord001,
    Dsse001,
    Intoto002,
    /// Rekor's second version, a log of tiles.
    HashedRekord002,
}

/// An inclusion proof.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    index: u64,
    size: u64,
    root: Vec<u8>,
    hashes: Vec<[u8; 32]>,
    /// Absent in some bundles of version 0.1: the proof then proves nothing, and the promise has to.
    checkpoint: Option<String>,
}

/// What has to be signed by the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProofRule {
    /// A promise; a proof may stand beside it. Bundles of version 0.1, and cosign's legacy signatures.
    Promise,
    /// A proof with a checkpoint; a promise may stand beside it. Every later version.
    Proof,
}

/// Why an entry gives nothing: it is wrong, or the image's budget is spent.
#[derive(Debug)]
pub(super) enum Stop {
    Wrong(EntryError),
    Exhausted(LimitReached),
}

impl From<EntryError> for Stop {
    fn from(error: EntryError) -> Self {
        Self::Wrong(error)
    }
}

impl From<LimitReached> for Stop {
    fn from(limit: LimitReached) -> Self {
        Self::Exhausted(limit)
    }
}

/// An entry that a log of the root has signed.
#[derive(Debug)]
pub(super) struct Logged<'r> {
    pub(super) log: &'r Log,
    /// When the log took it in, if it has promised so.
    pub(super) time: Option<UnixTime>,
}

impl Entry {
    /// Reads an element of `tlogEntries`.
    pub(super) fn read(value: &Value<'_>) -> Result<Self, RejectionReason> {
        let entry = value.object("tlogEntries")?;
        entry.only(&[
            "logIndex",
            "logId",
            "kindVersion",
            "integratedTime",
            "inclusionPromise",
            "inclusionProof",
            "canonicalizedBody",
        ])?;
        let kind = entry.object("kindVersion")?;
        kind.only(&["kind", "version"])?;
        let promise = entry.optional_object("inclusionPromise")?;
        promise.map_or(Ok(()), |promise| promise.only(&["signedEntryTimestamp"]))?;
        let promise = promise.map(|promise| promise.string("signedEntryTimestamp").map(str::to_owned)).transpose()?;
        Ok(Self {
            index: number(entry, "logIndex")?,
            log: decode("keyId", entry.object("logId")?.string("keyId")?)?,
            kind: EntryKind::read(kind.string("kind")?, kind.string("version")?)?,
            integrated: integrated(number(entry, "integratedTime")?)?,
            promise: promise.map(|promise| decode("signedEntryTimestamp", &promise)).transpose()?,
            proof: entry.optional_object("inclusionProof")?.map(Proof::read).transpose()?,
            body: decode("canonicalizedBody", entry.string("canonicalizedBody")?)?,
        })
    }

    /// An entry of which no more is at hand than its promise, as cosign's legacy formats keep it. Its kind is that which its body
    /// names: `hashedrekord` for a signature over bytes, `dsse` or `intoto` for one over an envelope.
    pub(crate) fn promised(
        index: u64,
        log: Vec<u8>,
        integrated_time: u64,
        promise: Vec<u8>,
        body: Vec<u8>,
        is_envelope: bool,
    ) -> Result<Self, RejectionReason> {
        let (kind, version) = parse_object(&body, "body", |body| {
            Ok((body.string("kind")?.to_owned(), body.string("apiVersion")?.to_owned()))
        })?;
        let kind = match EntryKind::read(&kind, &version)? {
            kind @ EntryKind::HashedRekord001 if !is_envelope => kind,
            kind @ (EntryKind::Dsse001 | EntryKind::Intoto002) if is_envelope => kind,
            EntryKind::HashedRekord001 | EntryKind::Dsse001 | EntryKind::Intoto002 | EntryKind::HashedRekord002 => {
                return Err(RejectionReason::Unknown { field: "kind", value: format!("{kind} {version}") });
            }
        };
        let integrated = integrated(integrated_time)?;
        Ok(Self { index, log, kind, integrated, promise: Some(promise), proof: None, body })
    }

    /// Checks what the log has signed, by `rule`.
    pub(super) fn logged<'r>(
        &self,
        root: &'r SigstoreRoot,
        rule: ProofRule,
        at: UnixTime,
        budget: &mut Budget,
    ) -> Result<Logged<'r>, Stop> {
        let id = || hex::encode(&self.log);
        let log = root.logs.iter().find(|log| log.id == self.log);
        let log = log.ok_or_else(|| EntryError::UnknownLog { id: id() })?;
        // An entry of a log whose key is not yet to be believed cannot have been made.
        if !log.window.has_started(at) {
            return Err(EntryError::Window { id: id(), time: at }.into());
        }
        let tiles = self.kind.is_of_tiles();
        match (rule, tiles) {
            (ProofRule::Promise, false) if self.promise.is_none() => return Err(EntryError::Missing("promise").into()),
            (ProofRule::Proof, _) | (ProofRule::Promise, true) if self.proof.is_none() => {
                return Err(EntryError::Missing("inclusion proof").into());
            }
            (ProofRule::Promise | ProofRule::Proof, _) => {}
        }
        match self.proof.as_ref().map(|proof| (proof, &proof.checkpoint)) {
            Some((proof, Some(checkpoint))) => self.proved(proof, checkpoint, log, budget)?,
            Some((_, None)) if rule == ProofRule::Proof || tiles => {
                return Err(EntryError::Missing("checkpoint").into());
            }
            Some((_, None)) | None => {}
        }
        // Logs of tiles promise nothing, and a time beside their entries is nobody's word.
        let Some(promise) = self.promise.as_ref().filter(|_| !tiles) else { return Ok(Logged { log, time: None }) };
        budget.spend_key_operation()?;
        if !log.key.verifies(self.promise_message().as_bytes(), promise) {
            return Err(EntryError::Promise.into());
        }
        if let Some(time) = self.integrated.filter(|time| !log.window.contains(*time)) {
            return Err(EntryError::Window { id: id(), time }.into());
        }
        Ok(Logged { log, time: self.integrated })
    }

    fn proved(&self, proof: &Proof, checkpoint: &str, log: &Log, budget: &mut Budget) -> Result<(), Stop> {
        let checkpoint = Checkpoint::read(checkpoint)?;
        // The copies of index, size and root beside the checkpoint are what version 1 of Rekor proves; for a log of tiles they
        // are nobody's word, and the checkpoint's own count.
        let (index, rule) = if self.kind.is_of_tiles() {
            (self.index, SignedBy::KeyAndOrigin)
        } else {
            if proof.size != checkpoint.size {
                return Err(EntryError::Proof("is for a tree of another size than its checkpoint").into());
            }
            if proof.root != checkpoint.root {
                return Err(EntryError::Proof("is for another root hash than its checkpoint").into());
            }
            (proof.index, SignedBy::Key)
        };
        let root = merkle::root(merkle::leaf(&self.body), index, checkpoint.size, &proof.hashes);
        if root != Some(checkpoint.root) {
            return Err(EntryError::Proof("does not lead to the root hash of its checkpoint").into());
        }
        checkpoint.signed_by(log, rule, budget)
    }

    /// What Rekor signs as a promise: canonical JSON (RFC 8785) of body, time, log and index.
    fn promise_message(&self) -> String {
        let body = STANDARD.encode(&self.body);
        let time = self.integrated.map_or(0, UnixTime::seconds);
        let (log, index) = (hex::encode(&self.log), self.index);
        format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"{log}","logIndex":{index}}}"#)
    }
}

impl EntryKind {
    fn read(kind: &str, version: &str) -> Result<Self, RejectionReason> {
        match (kind, version) {
            ("hashedrekord", "0.0.1") => Ok(Self::HashedRekord001),
            ("dsse", "0.0.1") => Ok(Self::Dsse001),
            ("intoto", "0.0.2") => Ok(Self::Intoto002),
            ("hashedrekord", "0.0.2") => Ok(Self::HashedRekord002),
            _ => Err(RejectionReason::Unknown { field: "kindVersion", value: format!("{kind} {version}") }),
        }
    }

    /// The two texts that a body of this kind begins with.
    pub(super) const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::HashedRekord001 => ("hashedrekord", "0.0.1"),
            Self::Dsse001 => ("dsse", "0.0.1"),
            Self::Intoto002 => ("intoto", "0.0.2"),
            Self::HashedRekord002 => ("hashedrekord", "0.0.2"),
        }
    }

    const fn is_of_tiles(self) -> bool {
        match self {
            Self::HashedRekord002 => true,
            Self::HashedRekord001 | Self::Dsse001 | Self::Intoto002 => false,
        }
    }
}

impl Proof {
    fn read(proof: Object<'_>) -> Result<Self, RejectionReason> {
        proof.only(&["logIndex", "rootHash", "treeSize", "hashes", "checkpoint"])?;
        let hashes = proof.optional_array("hashes")?;
        if hashes.len() > MAX_PROOF_HASHES {
            return Err(LimitReached { what: "hashes in an inclusion proof", limit: MAX_PROOF_HASHES }.into());
        }
        let hash = |value: &Value<'_>| {
            let bytes = decode("hashes", value.string("hashes")?)?;
            <[u8; 32]>::try_from(bytes).map_err(|_| wrong("hashes", "has a hash that is not SHA-256").into())
        };
        let checkpoint = proof.optional_object("checkpoint")?;
        checkpoint.map_or(Ok(()), |checkpoint| checkpoint.only(&["envelope"]))?;
        Ok(Self {
            index: number(proof, "logIndex")?,
            size: number(proof, "treeSize")?,
            root: proof.optional_string("rootHash")?.map_or(Ok(Vec::new()), |root| decode("rootHash", root))?,
            hashes: hashes.iter().map(hash).collect::<Result<Vec<_>, RejectionReason>>()?,
            checkpoint: checkpoint.map(|one| one.string("envelope").map(str::to_owned)).transpose()?,
        })
    }
}

fn integrated(seconds: u64) -> Result<Option<UnixTime>, JsonError> {
    let time =
        i64::try_from(seconds).map_err(|_| wrong("integratedTime", format!("is {seconds}, which is no time")))?;
    Ok(Some(UnixTime::from_seconds(time)).filter(|_| time != 0))
}

/// A number of protobuf's JSON: 64-bit ones are written as strings, and zero may be left out.
pub(super) fn number(object: Object<'_>, key: &'static str) -> Result<u64, JsonError> {
    match object.optional(key)? {
        None => Ok(0),
        Some(Value::Integer(number)) => Ok(*number),
        Some(Value::String(text)) => {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let parsed = plain.then(|| text.parse().ok()).flatten();
            parsed.ok_or_else(|| wrong(key, format!("is {text:?}, which is no number that is accepted")))
        }
        Some(Value::Null | Value::Bool(_) | Value::OtherNumber | Value::Array(_) | Value::Object(_)) => {
            Err(wrong(key, "is not a number"))
        }
    }
}
