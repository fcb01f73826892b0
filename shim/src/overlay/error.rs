//! What can be wrong with a snapshot request.

use std::{io, path::PathBuf};

use rustix::io::Errno;

/// Why the backend refuses or fails. Fits after "failed to …: ".
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// There is no such snapshot.
    #[error("snapshot {0:?} does not exist")]
    NotFound(String),
    /// The parent does not exist.
    #[error("parent snapshot {0:?} does not exist")]
    NoParent(String),
    /// Key or name is taken.
    #[error("snapshot {0:?} already exists")]
    Exists(String),
    /// Only a committed snapshot can be a parent.
    #[error("parent snapshot {0:?} is not committed")]
    ParentNotCommitted(String),
    /// A committed snapshot has no mounts.
    #[error("snapshot {0:?} is committed, only active snapshots and views have mounts")]
    Committed(String),
    /// Only an active snapshot can be committed.
    #[error("snapshot {0:?} is not active")]
    NotActive(String),
    /// A snapshot with children cannot be removed.
    #[error("snapshot {0:?} has children, remove them first")]
    HasChildren(String),
    /// The parent cannot change at commit.
    #[error("snapshot {0:?} cannot change its parent on commit")]
    Rebase(String),
    /// The field cannot change.
    #[error("field {field:?} of snapshot {key:?} cannot change")]
    Field {
        /// The snapshot.
        key: String,
        /// The field.
        field: String,
    },
    /// A key or name is empty or too long.
    #[error("snapshot name is empty or longer than {} bytes", super::MAX_NAME_BYTES)]
    Name,
    /// The labels are too large.
    #[error("labels have {0} bytes, at most {max} are kept", max = super::MAX_LABEL_BYTES)]
    Labels(usize),
    /// More layers than can be mounted.
    #[error("snapshot has more than {} layers below it", super::MAX_DEPTH)]
    TooDeep,
    /// The commit would give the content a name that was not admitted.
    #[error("assay: snapshot {key:?} was admitted as {admitted} and cannot become {name:?}; pull the image again")]
    ForeignName {
        /// The active snapshot.
        key: String,
        /// The name it was to get.
        name: String,
        /// What it was admitted for.
        admitted: String,
    },
    /// The file system is full.
    #[error("no space left below {0}; remove images or containers (`ctr image rm`, `crictl rmi --prune`)")]
    NoSpace(PathBuf),
    /// An operation on a file failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The metadata cannot be read or written.
    #[error("snapshot metadata: {0}")]
    Database(#[from] Box<redb::Error>),
    /// A record is not what this version writes.
    #[error("record of snapshot {name:?}: {source}")]
    Record {
        /// The snapshot.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The metadata was written by another version.
    #[error("snapshot metadata has version {found}, this program knows version {known}")]
    Version {
        /// What was found.
        found: u64,
        /// What this program writes.
        known: u64,
    },
}

impl OverlayError {
    pub(super) fn io(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.into(), source.into());
        if is_full(&source) { Self::NoSpace(path) } else { Self::Io { path, source } }
    }

    pub(super) fn database(path: &std::path::Path, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(source) if is_full(&source) => Self::NoSpace(path.to_owned()),
            other => Self::Database(Box::new(other)),
        }
    }
}

/// Whether the disk, or the quota on it, is used up.
pub(super) fn is_full(error: &io::Error) -> bool {
    [Errno::NOSPC, Errno::DQUOT].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
