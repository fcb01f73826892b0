//! What evidence proves (facts), and why the rest proves nothing (rejections). Facts are made in this crate alone.

use std::{collections::BTreeMap, fmt};

use assay_admission::{Descriptor, Digest, UnixTime};

use crate::{limits::LimitReached, notation::NotaryResult, sigstore::SigstoreError, trust::SignerName};

/// The format of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// A Sigstore bundle with a DSSE envelope, as `cosign sign` 3 writes it.
    SigstoreBundle,
    /// cosign's legacy `.sig`: a simple-signing payload with the signature in an annotation.
    CosignSimpleSigning,
    /// A Notary Project JWS envelope.
    NotationJws,
    /// A Notary Project COSE envelope.
    NotationCose,
}

impl Format {
    /// How people call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SigstoreBundle => "Sigstore bundle",
            Self::CosignSimpleSigning => "cosign signature",
            Self::NotationJws => "Notary Project signature (JWS)",
            Self::NotationCose => "Notary Project signature (COSE)",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who signed, as far as it is proved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signer {
    /// The holder of a key of the policy.
    Key {
        /// The key's name in the policy.
        name: SignerName,
        /// SHA-256 of its SubjectPublicKeyInfo, lower-case hex. Two names with one key are one signer.
        spki_sha256: String,
    },
    /// The subject of a certificate that chains to a store of the policy.
    Certificate {
        /// The store's name in the policy.
        store: SignerName,
        /// The leaf's subject, RFC 4514 text in the certificate's order: `C=DE,ST=Berlin,O=Acme,CN=Release`.
        subject: String,
        /// The leaf's attributes as (type, value): (`C`, `DE`). Types without a short name are dotted OIDs.
        attributes: Vec<(String, String)>,
        /// SHA-256 of the leaf's SubjectPublicKeyInfo, lower-case hex.
        spki_sha256: String,
    },
    /// An identity that an authority of a Sigstore root certified for one signature. Its keys are thrown away: one identity is one
    /// signer, however many keys it had.
    Identity {
        /// The root's name in the policy.
        root: SignerName,
        /// The certificate's subject alternative name: an e-mail address, a workflow's URI, a user name.
        identity: String,
        /// Who vouches for it: the issuer of the token with which it asked for the certificate.
        issuer: String,
    },
}

/// A proved statement: `signer` signed `subject`, in `format`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub(crate) signer: Signer,
    pub(crate) format: Format,
    pub(crate) subject: Descriptor,
    pub(crate) envelope: Digest,
    pub(crate) identity: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) claimed_time: Option<UnixTime>,
    pub(crate) holds_until: Option<UnixTime>,
}

impl Fact {
    /// Who signed.
    #[must_use]
    pub const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// In which format.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The document that was signed: the image's index or its platform manifest.
    #[must_use]
    pub const fn subject(&self) -> &Descriptor {
        &self.subject
    }

    /// The digest of the envelope or payload that holds the signature.
    #[must_use]
    pub const fn envelope(&self) -> &Digest {
        &self.envelope
    }

    /// The repository or reference that the signature names (`critical.identity.docker-reference`), if the format has one.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// Signed annotations.
    #[must_use]
    pub const fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// When the signer says it signed. Proves nothing.
    #[must_use]
    pub const fn claimed_time(&self) -> Option<UnixTime> {
        self.claimed_time
    }

    /// The last second at which this fact holds, if it ends: a certificate's or the signature's own expiry.
    #[must_use]
    pub const fn holds_until(&self) -> Option<UnixTime> {
        self.holds_until
    }
}

/// A signature, or what looked like one, that counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The signature manifest it stands in.
    pub artifact: Digest,
    /// The envelope or payload, if it was reached.
    pub envelope: Option<Digest>,
    /// The format, if it was recognised.
    pub format: Option<Format>,
    /// Why.
    pub reason: RejectionReason,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Some(format) => write!(f, "{format}")?,
            None => f.write_str("artifact")?,
        }
        write!(f, " {} does not count: {}", self.envelope.as_ref().unwrap_or(&self.artifact), self.reason)
    }
}

/// Why a signature counts for nothing. Each value names the field and what stood there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectionReason {
    /// A document is not what its format says.
    #[error("{field}: {problem}")]
    Malformed {
        /// Where.
        field: &'static str,
        /// What is wrong there.
        problem: String,
    },
    /// A layer that the manifest names was not collected.
    #[error("layer {0} is missing")]
    MissingBlob(Digest),
    /// The artifact's type, or a version of it, is not one that is understood.
    #[error("{field} has the unknown value {value:?}")]
    Unknown {
        /// Where.
        field: &'static str,
        /// What stood there.
        value: String,
    },
    /// It signs something else.
    #[error("it signs {found}, not this image")]
    OtherSubject {
        /// What it signs.
        found: String,
    },
    /// It says that the image is signed, and an attestation was looked for.
    #[error("it is a signature, and a signature is no attestation")]
    Signature,
    /// No key of the policy made it.
    #[error("no trusted key made it")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the signature does not verify with {by}")]
    BadSignature {
        /// The key or certificate it was tried with.
        by: String,
    },
    /// A key of the policy made it, with another hash than its kind has in this format.
    #[error(
        "{by} made it with {found}, which does not count: sign it again with {required} (cosign 3 and assay sign do)"
    )]
    OtherHash {
        /// The key.
        by: String,
        /// The hash that was used.
        found: &'static str,
        /// The hash that the key's kind requires.
        required: &'static str,
    },
    /// A message signature that cannot be judged by what is known of the message.
    #[error("whether {by} made it cannot be told without {missing}: give the file itself")]
    MessageUnknown {
        /// The key or certificate.
        by: String,
        /// What such a key signs of a message.
        missing: &'static str,
    },
    /// An algorithm that the format or the key does not allow.
    #[error("algorithm {found} is not allowed; the key requires {required}")]
    Algorithm {
        /// What stood there.
        found: String,
        /// What the key's type requires.
        required: String,
    },
    /// No store of the policy anchors the certificate chain.
    #[error("the certificate chain of {subject:?} ends in no trusted certificate")]
    UntrustedChain {
        /// The leaf's subject.
        subject: String,
    },
    /// The chain is anchored, and its leaf is none of the identities that the store trusts.
    #[error("{subject:?} is none of the trusted identities")]
    UntrustedIdentity {
        /// The leaf's subject.
        subject: String,
    },
    /// A time-stamp is needed and there is none.
    #[error("it has no time-stamp, and one is required")]
    MissingTimestamp,
    /// The time-stamp proves nothing.
    #[error("its time-stamp does not count: {problem}")]
    Timestamp {
        /// Why.
        problem: String,
    },
    /// A certificate of the chain was revoked.
    #[error("certificate {subject:?} was revoked at {since} (says {source_kind})")]
    Revoked {
        /// The certificate's subject.
        subject: String,
        /// When.
        since: UnixTime,
        /// Who says so: an OCSP answer or a revocation list.
        source_kind: &'static str,
    },
    /// Whether a certificate of the chain was revoked is not known.
    #[error("it is not known whether certificate {subject:?} was revoked: {problem}")]
    RevocationUnknown {
        /// The certificate's subject.
        subject: String,
        /// What is missing or does not count.
        problem: String,
    },
    /// A certificate breaks a rule of the Notary Project certificate profile or RFC 5280.
    #[error("certificate {subject:?}: {problem}")]
    Certificate {
        /// The certificate's subject.
        subject: String,
        /// The rule that it breaks.
        problem: String,
    },
    /// A certificate is not valid at the time of judging.
    #[error("certificate {subject:?} is valid from {not_before} to {not_after}, and it is {at}")]
    CertificateTime {
        /// The certificate's subject.
        subject: String,
        /// First second of validity.
        not_before: UnixTime,
        /// Last second of validity.
        not_after: UnixTime,
        /// The time of judging.
        at: UnixTime,
    },
    /// The signature has expired.
    #[error("the signature expired at {expired}, and it is {at}")]
    Expired {
        /// When it expired.
        expired: UnixTime,
        /// The time of judging.
        at: UnixTime,
    },
    /// What proves a keyless signature, or its standing in a log, does not hold.
    #[error(transparent)]
    Sigstore(#[from] SigstoreError),
    /// Something that the format has and that is not verified here; it is refused rather than ignored.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A cap was reached.
    #[error(transparent)]
    Limit(#[from] LimitReached),
}

/// A Notary Project signature whose enforced checks all hold and another does not: its store's level says that this is only told.
/// It is proved as far as the level asks, and no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tolerated {
    /// What would be proved if the other check held too.
    pub fact: Fact,
    /// Why that check does not hold.
    pub reason: RejectionReason,
}

/// All that was found out about one image's evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is proved.
    pub facts: Vec<Fact>,
    /// What a store's level tolerates. Whoever did not choose that level has no use for it.
    pub tolerated: Vec<Tolerated>,
    /// What counts for nothing, and why.
    pub rejections: Vec<Rejection>,
    /// How each check of each Notary Project signature ended, for every store that was asked.
    pub notary: Vec<NotaryResult>,
    /// A cap that was reached: nothing may be admitted on the strength of what was looked at before.
    pub limit: Option<LimitReached>,
}
