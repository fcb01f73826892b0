//! Why something of a TUF repository is not believed: typed values in, a sentence for a person out.

use assay_admission::UnixTime;

use crate::{json::JsonError, limits::LimitReached, trust::RootError};

/// Why a file of a repository is refused. `file` is its name in the repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TufError {
    /// It is not what the specification says.
    #[error("{file} is malformed: {problem}")]
    Malformed {
        /// The file.
        file: String,
        /// Field and problem.
        problem: String,
    },
    /// It is the metadata of another role.
    #[error("{file} is metadata of type {found:?}, not {expected:?}")]
    Type {
        /// The file.
        file: String,
        /// The type that stands in it.
        found: String,
        /// The type that belongs there.
        expected: &'static str,
    },
    /// It follows a specification that is not known.
    #[error("{file} follows version {version:?} of the TUF specification, and 1.x is understood")]
    Specification {
        /// The file.
        file: String,
        /// As it stands there.
        version: String,
    },
    /// Too few different keys signed it.
    #[error("{file} is signed by {valid} of the {needed} different keys that {by} asks for")]
    Threshold {
        /// The file.
        file: String,
        /// Different keys of the role whose signature is right.
        valid: usize,
        /// How many there must be.
        needed: u64,
        /// The root that says so.
        by: String,
    },
    /// One key id has two signatures.
    #[error("{file} has two signatures of the key id {key:?}")]
    SignedTwice {
        /// The file.
        file: String,
        /// The key id.
        key: String,
    },
    /// It has another version than it must have.
    #[error("{file} has version {found}, and it must be {expected}")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: u64,
        /// The next one, or the one that is pinned.
        expected: u64,
    },
    /// It is older than what was seen before.
    #[error("{file} goes back to version {found} of {what}, and {seen} was seen before: a rollback, or a stale mirror")]
    Rollback {
        /// The file.
        file: String,
        /// The role that goes back.
        what: String,
        /// The version that it states.
        found: u64,
        /// The version that was seen.
        seen: u64,
    },
    /// A snapshot leaves out what an earlier one listed.
    #[error("{file} no longer lists {what}, which was listed before")]
    Removed {
        /// The file.
        file: String,
        /// What is gone.
        what: String,
    },
    /// It is too old: somebody may hold back what is newer.
    #[error(
        "{file} expired at {expires} and it is {now}: the repository is stale, or somebody holds back what is newer"
    )]
    Expired {
        /// The file.
        file: String,
        /// When it expired.
        expires: UnixTime,
        /// The time of the refresh.
        now: UnixTime,
    },
    /// It has another length than is pinned.
    #[error("{file} has {found} bytes, and {expected} are pinned")]
    Length {
        /// The file.
        file: String,
        /// Its length.
        found: usize,
        /// The length that is pinned.
        expected: u64,
    },
    /// It has another hash than is pinned.
    #[error("{file} does not have the {algorithm} hash that is pinned")]
    Hash {
        /// The file.
        file: String,
        /// `sha256` or `sha512`.
        algorithm: &'static str,
    },
    /// Only hashes of unknown kinds are pinned for it.
    #[error("{file} is pinned by neither sha256 nor sha512")]
    NoHash {
        /// The file.
        file: String,
    },
    /// The repository does not have it.
    #[error("{file} is not in the repository")]
    Missing {
        /// The file.
        file: String,
    },
    /// The targets do not list it.
    #[error("targets.json does not list trusted_root.json{}", if *.delegates { "; delegated targets are not followed" } else { "" })]
    NotListed {
        /// Whether there are delegations, where it could be.
        delegates: bool,
    },
    /// The target that the repository vouches for is unusable.
    #[error("trusted_root.json is vouched for and unusable: {0}")]
    Target(RootError),
    /// More than a cap allows.
    #[error("{file} has more than {limit} bytes")]
    Size {
        /// The file.
        file: String,
        /// The cap.
        limit: usize,
    },
    /// Another cap.
    #[error(transparent)]
    Limit(#[from] LimitReached),
    /// What was kept is incomplete or of an unknown version.
    #[error("what was kept of the repository is unusable: {0}")]
    Kept(String),
    /// A refresh that has ended is gone on with.
    #[error("the refresh is over")]
    Over,
}

impl TufError {
    /// A JSON error in `file`.
    pub(super) fn json(file: &str, error: JsonError) -> Self {
        match error {
            JsonError::Limit(limit) => Self::Limit(limit),
            error @ (JsonError::Syntax(_) | JsonError::Field { .. }) => {
                Self::Malformed { file: file.to_owned(), problem: error.to_string() }
            }
        }
    }
}
