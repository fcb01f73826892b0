//! Why keyless material proves nothing: each value names the part of the bundle and what stood there.

use assay_admission::UnixTime;

/// What is wrong with a certificate's, a log's or a time-stamp's proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigstoreError {
    /// Nobody is trusted for keyless signatures.
    #[error("a certificate made it, and no Sigstore root is trusted")]
    NoRoot,
    /// No authority of the root may be believed at that time.
    #[error("the root has no certificate authority for {time}")]
    NoAuthority {
        /// When the signature was made.
        time: UnixTime,
    },
    /// The certificate leads to no authority of the root, or a certificate on the way is not valid at that time.
    #[error("the certificate chain of {identity:?} does not hold at {time}: {problem}")]
    Chain {
        /// The identity in the leaf.
        identity: String,
        /// When the signature was made.
        time: UnixTime,
        /// What the path builder says.
        problem: String,
    },
    /// The certificate breaks a rule of Sigstore's profile.
    #[error("certificate, {field}: {problem}")]
    Profile {
        /// The field.
        field: &'static str,
        /// What is wrong there.
        problem: String,
    },
    /// No certificate transparency log of the root vouches for the certificate.
    #[error("the certificate's SCT: {0}")]
    Sct(SctError),
    /// A log entry proves nothing.
    #[error("log entry {number}: {problem}")]
    Entry {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        problem: EntryError,
    },
    /// A time-stamp proves nothing.
    #[error("time-stamp {number}: {problem}")]
    Timestamp {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        problem: TimestampError,
    },
    /// Too few operators vouch for something.
    #[error("{what} of {required} different operators required, and there are {found}")]
    TooFew {
        /// Log entries, or trusted times.
        what: &'static str,
        /// How many different operators there are.
        found: usize,
        /// How many there have to be.
        required: usize,
    },
    /// A proved time lies in the future: somebody's clock is wrong, and nothing may rest on it.
    #[error("it was signed at {time}, and it is {at}")]
    Future {
        /// When the signature was made.
        time: UnixTime,
        /// The time of judging.
        at: UnixTime,
    },
}

/// What is wrong with a signed certificate time-stamp (RFC 6962 §3.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SctError {
    /// The certificate has none.
    #[error("there is none")]
    Missing,
    /// It cannot be read.
    #[error("it is malformed: {0}")]
    Malformed(&'static str),
    /// No log of the root made it.
    #[error("no CT log of the root has the id {id}")]
    UnknownLog {
        /// The log's id in hex.
        id: String,
    },
    /// The log was not to be believed then.
    #[error("the CT log {id} may not be believed at {time}")]
    Window {
        /// The log's id in hex.
        id: String,
        /// The SCT's time.
        time: UnixTime,
    },
    /// The signature does not verify.
    #[error("its signature does not verify with the key of the CT log {id}")]
    Signature {
        /// The log's id in hex.
        id: String,
    },
}

/// What is wrong with an entry of a transparency log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// No log of the root has this id.
    #[error("no log of the root has the id {id}")]
    UnknownLog {
        /// The log's id in hex.
        id: String,
    },
    /// The log's key was not to be believed then.
    #[error("the log {id} may not be believed at {time}")]
    Window {
        /// The log's id in hex.
        id: String,
        /// When the entry, or the signature, was made.
        time: UnixTime,
    },
    /// A kind of entry that is not understood, or not with this kind of signature.
    #[error("an entry of kind {kind} {version} is not understood for this signature")]
    Kind {
        /// `kindVersion.kind`.
        kind: String,
        /// `kindVersion.version`.
        version: String,
    },
    /// Nothing in the entry is signed by the log.
    #[error("it has no {0}, which this version of the format requires")]
    Missing(&'static str),
    /// The signed entry time-stamp does not verify.
    #[error("its signed entry time-stamp does not verify with the log's key")]
    Promise,
    /// The inclusion proof leads elsewhere.
    #[error("its inclusion proof {0}")]
    Proof(&'static str),
    /// The checkpoint is none, or no key of the log signed it.
    #[error("its checkpoint {0}")]
    Checkpoint(String),
    /// The entry is about something else.
    #[error("its {field} is not that of this signature")]
    Other {
        /// Digest, signature or verifier.
        field: &'static str,
    },
    /// The entry's body cannot be read.
    #[error("its body, {field}: {problem}")]
    Body {
        /// Where.
        field: &'static str,
        /// What is wrong there.
        problem: String,
    },
}

/// What is wrong with an RFC 3161 time-stamp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// It cannot be read, or it breaks a rule of RFC 3161 or RFC 5652.
    #[error("it is malformed: {0}")]
    Malformed(String),
    /// No time-stamping authority of the root made it for this signature.
    #[error("no time-stamping authority of the root made it for this signature: {0}")]
    Untrusted(String),
}
