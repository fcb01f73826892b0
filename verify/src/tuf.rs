//! A Sigstore root of trust kept up to date by a TUF repository (The Update Framework, specification 1.0): a root that the operator
//! configured and bytes from anywhere come in; the `trusted_root.json` that the repository vouches for comes out, or why not.
//! Pure: no clock, files or network. The one target is `trusted_root.json` among the top-level targets.

mod canonical;
mod error;
mod kept;
mod keys;
mod metadata;
mod refresh;
mod verified;

pub use error::TufError;
pub use kept::{TufFiles, TufSet};
pub use refresh::{TufRefresh, TufStep};

use assay_admission::UnixTime;

use self::{
    keys::Authority,
    metadata::{Head, Root, Unproved},
    verified::Proved,
};
use crate::limits::{LimitReached, MAX_TUF_KEPT_ROOTS, MAX_TUF_ROOT_BYTES};

/// The target that is wanted, and its name in the repository.
pub const TRUSTED_ROOT: &str = "trusted_root.json";

/// What is trusted of one repository. Made from the configured root alone, and whatever was kept that it still vouches for.
#[derive(Clone, Debug)]
pub struct TufTrust {
    files: TufFiles,
    root: Root,
    /// What the complete set among the files proves.
    complete: Option<Proved>,
}

/// Versions, ends and keys of what is trusted, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TufSummary {
    /// The newest root.
    pub root: TufRole,
    /// The timestamp of the last complete refresh, and so on.
    pub timestamp: Option<TufRole>,
    /// Its snapshot.
    pub snapshot: Option<TufRole>,
    /// Its targets.
    pub targets: Option<TufRole>,
}

/// One role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TufRole {
    /// The metadata's version.
    pub version: u64,
    /// When it expires.
    pub expires: UnixTime,
    /// How many different keys must sign it, by the newest root.
    pub threshold: u64,
    /// These keys: kind and SHA-256 of each, or its id if its kind is not known.
    pub keys: Vec<String>,
}

impl TufTrust {
    /// Verifies what was kept again, from the root that the operator configured. Nothing expires here: what was fresh when a refresh
    /// accepted it stays, so that a node without network goes on with what it has.
    ///
    /// # Errors
    /// [`TufError`] for the first file that does not hold.
    pub fn open(configured: &[u8], kept: TufFiles) -> Result<Self, TufError> {
        if configured.len() > MAX_TUF_ROOT_BYTES {
            return Err(TufError::Size { file: "the configured root".to_owned(), limit: MAX_TUF_ROOT_BYTES });
        }
        let mut root = Unproved::<Root>::read(configured, "the configured root")?.prove_by_itself()?;
        if kept.roots.len() > MAX_TUF_KEPT_ROOTS {
            return Err(LimitReached { what: "roots behind the configured one", limit: MAX_TUF_KEPT_ROOTS }.into());
        }
        // A newer root may have been configured since: what lies before it is not needed any more.
        let configured_version = root.head.version;
        let wanted = kept.complete.as_ref().map(|set| set.root_version.max(configured_version));
        let mut set_root = (wanted == Some(configured_version)).then(|| root.clone());
        let mut roots = Vec::new();
        for (bytes, number) in kept.roots.into_iter().zip(1_u64..) {
            let unproved = Unproved::<Root>::read(&bytes, &format!("kept root {number}"))?;
            if unproved.version() <= configured_version {
                continue;
            }
            root = unproved.prove_behind(&root)?;
            if wanted == Some(root.head.version) {
                set_root = Some(root.clone());
            }
            roots.push(bytes);
        }
        let complete = kept.complete.as_ref().map(|set| {
            let by = set_root.ok_or_else(|| TufError::Kept(format!("root version {} is missing", set.root_version)))?;
            verified::set(&by, set)
        });
        Ok(Self { files: TufFiles { roots, ..kept }, root, complete: complete.transpose()? })
    }

    /// Begins a refresh at the time `now`.
    #[must_use]
    pub fn refresh(self, now: UnixTime) -> TufRefresh {
        TufRefresh::new(self, now)
    }

    /// The `trusted_root.json` of the last complete refresh.
    #[must_use]
    pub fn trusted_root(&self) -> Option<&[u8]> {
        self.files.complete.as_ref().map(|set| set.target.as_slice())
    }

    /// When the last complete refresh was.
    #[must_use]
    pub fn accepted(&self) -> Option<UnixTime> {
        self.files.complete.as_ref().map(|set| set.accepted)
    }

    /// What to keep.
    #[must_use]
    pub const fn files(&self) -> &TufFiles {
        &self.files
    }

    /// What it is, for a person.
    #[must_use]
    pub fn summary(&self) -> TufSummary {
        let (root, proved) = (&self.root, self.complete.as_ref());
        TufSummary {
            root: role(root.head, &root.root),
            timestamp: proved.map(|proved| role(proved.timestamp.head, &root.timestamp)),
            snapshot: proved.map(|proved| role(proved.snapshot.head, &root.snapshot)),
            targets: proved.map(|proved| role(proved.targets.head, &root.targets)),
        }
    }
}

fn role(head: Head, authority: &Authority) -> TufRole {
    let key = |(id, key): &(String, Option<keys::Key>)| {
        key.as_ref().map_or_else(|| format!("{id} (of a kind that is not known)"), keys::Key::describe)
    };
    TufRole {
        version: head.version,
        expires: head.expires,
        threshold: authority.threshold,
        keys: authority.keys.iter().map(key).collect(),
    }
}
