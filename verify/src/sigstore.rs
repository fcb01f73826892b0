//! Keyless signatures: a certificate that an authority issued to an identity, a transparency log that saw the signature, and a trusted
//! time at which both held (Sigstore client specification, "Verification"). Evidence and a [`SigstoreRoot`] go in; the identity that
//! signed comes out. Time is an argument: no clock is asked.

use std::collections::BTreeSet;

use assay_admission::UnixTime;

use crate::{
    facts::{RejectionReason, Signer},
    failure::Failure,
    limits::Budget,
    trust::{LogRule, PublicKey, SigstoreRoot, Trust},
};

use self::{
    body::Verifier,
    entry::{Logged, Stop},
    leaf::Leaf,
};

pub(crate) use chain::is_self_issued;
pub(crate) use entry::{Entry, ProofRule};
pub use error::{EntryError, SctError, SigstoreError, TimestampError};
#[cfg(fuzzing)]
pub(crate) use fuzzing::{fuzz_checkpoint, fuzz_entry, fuzz_leaf, fuzz_token};
pub(crate) use material::{Material, certificates};
pub use signed::{BlobDigests, BlobHasher};
pub(crate) use signed::{HashName, Signed};

mod body;
mod chain;
mod checkpoint;
mod entry;
mod error;
#[cfg(fuzzing)]
mod fuzzing;
mod leaf;
mod material;
mod merkle;
mod sct;
mod signed;
mod timestamp;

/// A DSSE envelope, as log entries name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) payload_type: &'a str,
    pub(crate) payload: &'a [u8],
}

/// A signature with all that is said to prove who made it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) signed: Signed<'a>,
    /// The envelope, if what was signed is one.
    pub(crate) envelope: Option<Envelope<'a>>,
    pub(crate) signature: &'a [u8],
    pub(crate) material: &'a Material,
}

/// Who made a signature, as far as its own proof goes.
#[derive(Clone, Copy)]
enum Maker<'a> {
    Certificate(&'a Leaf),
    Key(&'a PublicKey),
}

impl Maker<'_> {
    /// How a log entry names it.
    fn verifier(self) -> Verifier {
        match self {
            Self::Certificate(leaf) => Verifier::Certificate(leaf.der.clone()),
            Self::Key(key) => Verifier::Key(key.spki().to_vec()),
        }
    }
}

/// The identity that made the signature of `claim` with the certificates in it, for each root that leads to it: at least one.
///
/// # Errors
/// A reason of a root that has to do with the certificate or its log, if there is one: it says more than that another has not.
pub(crate) fn identities(
    trust: &Trust,
    claim: &Claim<'_>,
    at: UnixTime,
    budget: &mut Budget,
) -> Result<Vec<Signer>, Failure> {
    let (first, others) = match claim.material.certificates.split_first() {
        Some(parts) if !trust.sigstore.is_empty() => parts,
        Some(_) => return Err(rejected(SigstoreError::NoRoot)),
        None => return Err(rejected(SigstoreError::Profile { field: "certificates", problem: "is empty".to_owned() })),
    };
    let leaf = Leaf::read(first).map_err(rejected)?;
    budget.spend_key_operation().map_err(Failure::Exhausted)?;
    if !claim.signed.verifies(&leaf.key, claim.signature) {
        let by = format!("the certificate of {:?}", leaf.identity);
        if let Some(missing) = claim.signed.lacks(&leaf.key) {
            return Err(Failure::Rejected(RejectionReason::MessageUnknown { by, missing }));
        }
        return Err(Failure::Rejected(RejectionReason::BadSignature { by }));
    }
    is_about(claim, Maker::Certificate(&leaf))?;
    let (mut signers, mut reason) = (Vec::new(), None);
    for (name, root) in &trust.sigstore {
        let judged = Judgement { root, claim, at }.certificate(&leaf, others, budget);
        match judged {
            Ok(()) => signers.push(Signer::Identity {
                root: name.clone(),
                identity: leaf.identity.clone(),
                issuer: leaf.issuer.clone(),
            }),
            Err(Failure::Exhausted(limit)) => return Err(Failure::Exhausted(limit)),
            Err(Failure::Rejected(why)) => reason = Some(reason.filter(|_| is_stranger(&why)).unwrap_or(why)),
        }
    }
    match reason {
        Some(reason) if signers.is_empty() => Err(Failure::Rejected(reason)),
        Some(_) | None => Ok(signers),
    }
}

/// Shows that the logs of `root` have the signature that `key` made, which was verified before.
///
/// # Errors
/// Why they have not.
pub(crate) fn logged_by_key(
    root: &SigstoreRoot,
    claim: &Claim<'_>,
    key: &PublicKey,
    at: UnixTime,
    budget: &mut Budget,
) -> Result<(), Failure> {
    is_about(claim, Maker::Key(key))?;
    let judgement = Judgement { root, claim, at };
    let entries = judgement.entries(budget)?;
    judgement.enough_logs(&entries)
}

/// Whether every log entry is about this very signature. Says nothing about the log.
fn is_about(claim: &Claim<'_>, maker: Maker<'_>) -> Result<(), Failure> {
    for (at, entry) in claim.material.entries.iter().enumerate() {
        body::is_about(entry, &claim.signed, claim.envelope.as_ref(), claim.signature, maker)
            .map_err(|problem| rejected(SigstoreError::Entry { number: at + 1, problem }))?;
    }
    Ok(())
}

/// One claim before one root.
struct Judgement<'a> {
    root: &'a SigstoreRoot,
    claim: &'a Claim<'a>,
    at: UnixTime,
}

/// A proved time, and whose word it is.
struct Time<'r> {
    time: UnixTime,
    operator: &'r str,
}

impl<'a> Judgement<'a> {
    /// The steps of the client specification, in an order in which nothing is used before it is proved.
    fn certificate(&self, leaf: &Leaf, others: &[Vec<u8>], budget: &mut Budget) -> Result<(), Failure> {
        let entries = self.entries(budget)?;
        self.enough_logs(&entries)?;
        let times = self.times(&entries, budget)?;
        self.entries_in_time(&entries, &times)?;
        // Every proved time counts: one that is too early or too late is not outvoted by another.
        let mut issuer = None;
        for proved in &times {
            issuer = Some(chain::issuer_key(self.root, leaf, others, proved.time, budget)?);
        }
        let issuer = issuer.ok_or_else(|| self.too_few("trusted times", 0, self.root.required_times.get()))?;
        if self.root.ct_logs.is_empty() {
            return Ok(());
        }
        sct::verify(&leaf.der, &issuer, &self.root.ct_logs, self.at, budget)
            .map_err(Failure::Exhausted)?
            .map_err(|problem| rejected(SigstoreError::Sct(problem)))
    }

    /// Every entry, each signed by a log of the root.
    fn entries(&self, budget: &mut Budget) -> Result<Vec<Logged<'a>>, Failure> {
        let material = self.claim.material;
        let mut logged = Vec::with_capacity(material.entries.len());
        for (at, entry) in material.entries.iter().enumerate() {
            logged.push(entry.logged(self.root, material.rule, self.at, budget).map_err(|stop| match stop {
                Stop::Wrong(problem) => rejected(SigstoreError::Entry { number: at + 1, problem }),
                Stop::Exhausted(limit) => Failure::Exhausted(limit),
            })?);
        }
        Ok(logged)
    }

    fn enough_logs(&self, entries: &[Logged<'_>]) -> Result<(), Failure> {
        let operators: BTreeSet<&str> = entries.iter().map(|entry| entry.log.operator.as_str()).collect();
        match self.root.required_logs {
            LogRule::Operators(required) if operators.len() < required.get() => {
                Err(self.too_few("log entries", operators.len(), required.get()))
            }
            LogRule::Operators(_) | LogRule::InsecureNone => Ok(()),
        }
    }

    /// What logs have promised and time-stamping authorities have signed. A token that proves nothing is an error, not a gap.
    fn times<'r>(&'r self, entries: &'r [Logged<'_>], budget: &mut Budget) -> Result<Vec<Time<'r>>, Failure> {
        let promised = |entry: &'r Logged<'_>| Some(Time { time: entry.time?, operator: &entry.log.operator });
        let mut times: Vec<Time<'r>> = entries.iter().filter_map(promised).collect();
        for (at, token) in self.claim.material.timestamps.iter().enumerate() {
            let (time, authority) = timestamp::verify(token, self.claim.signature, self.root, budget)
                .map_err(Failure::Exhausted)?
                .map_err(|problem| rejected(SigstoreError::Timestamp { number: at + 1, problem }))?;
            times.push(Time { time, operator: &authority.operator });
        }
        if let Some(future) = times.iter().find(|proved| proved.time > self.at) {
            return Err(rejected(SigstoreError::Future { time: future.time, at: self.at }));
        }
        let operators: BTreeSet<&str> = times.iter().map(|proved| proved.operator).collect();
        let required = self.root.required_times.get();
        if operators.len() < required {
            return Err(self.too_few("trusted times", operators.len(), required));
        }
        Ok(times)
    }

    /// No entry was made after its log's key went out of use: an entry without a time of its own is as old as the signature.
    fn entries_in_time(&self, entries: &[Logged<'_>], times: &[Time<'_>]) -> Result<(), Failure> {
        for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.time.is_none()) {
            let late = times.iter().find(|proved| entry.log.window.end.is_some_and(|end| proved.time > end));
            if let Some(late) = late {
                let problem = EntryError::Window { id: hex::encode(&entry.log.id), time: late.time };
                return Err(rejected(SigstoreError::Entry { number: at + 1, problem }));
            }
        }
        Ok(())
    }

    fn too_few(&self, what: &'static str, found: usize, required: usize) -> Failure {
        rejected(SigstoreError::TooFew { what, found, required })
    }
}

/// Whether a root has nothing to do with the signature: with another root the signature may count, and its reason says more.
fn is_stranger(reason: &RejectionReason) -> bool {
    matches!(
        reason,
        RejectionReason::Sigstore(
            SigstoreError::Chain { .. }
                | SigstoreError::NoAuthority { .. }
                | SigstoreError::Entry { problem: EntryError::UnknownLog { .. }, .. }
        )
    )
}

fn rejected(error: SigstoreError) -> Failure {
    Failure::Rejected(RejectionReason::Sigstore(error))
}
