//! Why something was not fetched, as typed values, and the kind of problem it is for the agent. Never holds a credential.

use std::{net::IpAddr, path::PathBuf};

use assay_admission::Digest;

use crate::caps;

/// Why the registry's answer is not there.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The registry says that it does not have it.
    #[error("{what} was not found in the registry")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// No connection, no complete answer in time, or the server failed.
    #[error("{at} could not be reached: {why}")]
    Unreachable {
        /// The URL without its query.
        at: String,
        /// What went wrong.
        why: String,
    },
    /// The server answered with a status that says nothing about what was asked for.
    #[error("{at} answered with status {status}{}", code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Status {
        /// The URL without its query.
        at: String,
        /// The HTTP status.
        status: u16,
        /// The registry's error code, such as `TOOMANYREQUESTS`.
        code: Option<String>,
    },
    /// Credentials are missing, refused or unusable.
    #[error("{at} refused access: {why}")]
    Auth {
        /// The URL without its query, or the file or helper at fault.
        at: String,
        /// What to look at.
        why: AuthFailure,
    },
    /// More than a cap allows.
    #[error(transparent)]
    Limit(#[from] Limit),
    /// The answer is not what the specification or the digest says.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// What was looked at.
        what: String,
        /// What is wrong.
        why: Malformation,
    },
    /// The configuration does not allow it.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The time for the whole collection is over.
    #[error("the time for collecting was over before {at} had answered")]
    Deadline {
        /// The URL without its query.
        at: String,
    },
    /// A file of the fetcher's own configuration cannot be used.
    #[error("{path}: {why}")]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column where they are known.
        why: String,
    },
}

/// Why there is no access.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthFailure {
    /// The registry wants credentials, and there are none for its origin.
    #[error("it asks for credentials and docker-config has none for {0}")]
    NoCredentials(String),
    /// The credentials that were sent are not accepted.
    #[error("status {0}; docker-config has no credentials for it, or they are not accepted")]
    Refused(u16),
    /// No access, and no challenge that could be answered.
    #[error("status {0} without a Basic or Bearer challenge")]
    NoChallenge(u16),
    /// A challenge cannot be answered.
    #[error("its challenge {0}")]
    Challenge(&'static str),
    /// The token server's answer is no token.
    #[error("the token server's answer {0}")]
    Token(&'static str),
    /// The docker configuration is unusable.
    #[error("{0}")]
    File(String),
    /// A credential helper failed.
    #[error("the credential helper {0}")]
    Helper(String),
}

/// Which cap was reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Too many redirects.
    #[error("{at} redirects more than {} times", caps::MAX_REDIRECTS)]
    Redirects {
        /// The first URL.
        at: String,
    },
    /// A body, or the size its descriptor promises, is too long.
    #[error("{what} has more than {cap} bytes")]
    Size {
        /// What was read.
        what: String,
        /// The cap.
        cap: usize,
    },
    /// A response header is too long.
    #[error("the header of {at}'s answer has more than {} bytes", caps::MAX_HEADER_BYTES)]
    Header {
        /// The URL.
        at: String,
    },
    /// All bytes of the collection are used up.
    #[error("the collection has more than {} bytes", caps::MAX_TOTAL_BYTES)]
    TotalBytes,
    /// All requests of the collection are used up.
    #[error("the collection needs more than {} requests", caps::MAX_TOTAL_REQUESTS)]
    Requests,
    /// Too many pages of referrers.
    #[error("the referrers of {0} have more than {cap} pages", cap = caps::MAX_REFERRER_PAGES)]
    Pages(Digest),
    /// A page of referrers links back to an earlier one.
    #[error("the pages of the referrers of {0} lead back to an earlier page")]
    PageCycle(Digest),
    /// Too many signatures.
    #[error(
        "{subject} has {found} referrers that may be signatures; with what was found before, only {left} more are read"
    )]
    Signatures {
        /// The image's digest.
        subject: Digest,
        /// How many there are.
        found: usize,
        /// How many of them may be read.
        left: usize,
    },
    /// Too many layers in a signature manifest.
    #[error("signature manifest {manifest} has {found} signatures, more than {}", caps::MAX_LAYERS)]
    Layers {
        /// The signature manifest.
        manifest: Digest,
        /// How many there are.
        found: usize,
    },
    /// Too many digests in one request.
    #[error("{0} digests to look for at once are more than {cap}", cap = caps::MAX_SUBJECTS)]
    Subjects(usize),
    /// Others keep changing the fallback tag.
    #[error(
        "the index under tag {0} changed {cap} times while a signature was being added; try again",
        cap = caps::MAX_INDEX_ATTEMPTS
    )]
    IndexRace(String),
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformation {
    /// The bytes are not those of the digest.
    #[error("its bytes do not have the digest {0}")]
    Digest(Digest),
    /// The length is not the descriptor's.
    #[error("it has {found} bytes, its descriptor says {expected}")]
    Size {
        /// As the descriptor has it.
        expected: u64,
        /// As it came.
        found: usize,
    },
    /// Content-Type, descriptor and body do not agree.
    #[error("its media type is {found:?} where {expected:?} was expected ({place})")]
    MediaType {
        /// What the descriptor or the header says.
        expected: String,
        /// What came.
        found: String,
        /// Which two were compared.
        place: &'static str,
    },
    /// Neither image index nor image manifest.
    #[error("{0:?} is no media type of an image index or manifest")]
    UnknownType(String),
    /// The JSON is broken.
    #[error("no valid JSON document of its type, line {line} column {column}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A rule of the document's type is broken.
    #[error("{0}")]
    Rule(&'static str),
    /// Several manifests for one platform.
    #[error("{count} manifests are for the platform {platform}")]
    AmbiguousPlatform {
        /// The platform.
        platform: String,
        /// How many.
        count: usize,
    },
    /// A listed signature is not there.
    #[error("the registry lists it and does not have it")]
    ListedButMissing,
    /// A `Location` or `Link` header leads nowhere.
    #[error("its {0} header is missing or no URL")]
    Header(&'static str),
}

/// What the configuration would have to allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// No TLS.
    #[error("{0} is plain HTTP; list the host in plain-http if that is wanted")]
    PlainHttp(String),
    /// An address that belongs to this machine or link.
    #[error(
        "{origin} is at {address}, an address of this machine or its link; list the host in allow-local-addresses if that is wanted"
    )]
    LocalAddress {
        /// Scheme, host and port.
        origin: String,
        /// Where it led.
        address: IpAddr,
    },
    /// A certificate's address for revocation that is not plain HTTP.
    #[error(
        "{0} is not plain HTTP, by which revocation lists and OCSP answers are fetched; import it if there is no other"
    )]
    RevocationScheme(String),
    /// A certificate's address for revocation that is not on the public network.
    #[error(
        "{origin} is at {address}, which is no public address; list the host in revocation-hosts if that is wanted"
    )]
    PrivateAddress {
        /// Scheme, host and port.
        origin: String,
        /// Where it led.
        address: IpAddr,
    },
    /// A token server that is not known to belong to the registry.
    #[error("{registry} wants its credentials sent to {realm}; add both to realms if that is wanted")]
    Realm {
        /// The registry.
        registry: String,
        /// The token server.
        realm: String,
    },
    /// The token server redirects.
    #[error("the token server {0} redirects; credentials are not sent on")]
    RealmRedirect(String),
    /// A page, upload or redirected request leads to another origin.
    #[error("{from} leads to {to} where only the same scheme, host and port may be asked")]
    OtherOrigin {
        /// From where.
        from: String,
        /// To where.
        to: String,
    },
    /// `skip_verify` in `hosts.toml`.
    #[error("{0} has skip_verify = true, which is not supported: name the CA with ca = …")]
    SkipVerify(PathBuf),
}

/// The kind of a problem, as the agent tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// The image is not there.
    NotFound,
    /// No connection or no answer.
    Unreachable,
    /// No access.
    Auth,
    /// A cap.
    Limit,
    /// A wrong answer.
    Malformed,
    /// Not allowed by the configuration.
    Forbidden,
    /// No time left.
    Deadline,
}

/// A problem of a collection in the words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub kind: ProblemKind,
    /// What was asked for and what came back: one line, no credentials.
    pub detail: String,
}

impl Error {
    /// The kind of this error.
    #[must_use]
    pub const fn kind(&self) -> ProblemKind {
        match self {
            Self::NotFound { .. } => ProblemKind::NotFound,
            Self::Unreachable { .. } | Self::Status { .. } => ProblemKind::Unreachable,
            Self::Auth { .. } => ProblemKind::Auth,
            Self::Limit(_) => ProblemKind::Limit,
            Self::Malformed { .. } => ProblemKind::Malformed,
            Self::Forbidden(_) | Self::Configuration { .. } => ProblemKind::Forbidden,
            Self::Deadline { .. } => ProblemKind::Deadline,
        }
    }

    /// Whether nothing else of the same collection can succeed: asking the next mirror would not help.
    #[must_use]
    pub(crate) const fn ends_collection(&self) -> bool {
        matches!(self, Self::Deadline { .. } | Self::Limit(Limit::TotalBytes | Limit::Requests))
    }

    pub(crate) fn malformed(what: impl Into<String>, why: Malformation) -> Self {
        Self::Malformed { what: what.into(), why }
    }

    pub(crate) fn auth(at: impl Into<String>, why: AuthFailure) -> Self {
        Self::Auth { at: at.into(), why }
    }
}

impl From<&Error> for Problem {
    /// Parts of an error come from the registry: control characters and length are cut.
    fn from(error: &Error) -> Self {
        let text = error.to_string();
        let detail = text.chars().take(caps::MAX_DETAIL).map(|c| if c.is_control() { ' ' } else { c });
        Self { kind: error.kind(), detail: detail.collect() }
    }
}
