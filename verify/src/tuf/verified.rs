//! Each file of a repository against the root and against the file that pins it: bytes come in, proved content comes out. Whether it
//! is fresh and not older than what was seen is asked elsewhere.

use super::{
    TRUSTED_ROOT,
    error::TufError,
    kept::TufSet,
    metadata::{Pin, Root, Snapshot, TargetFile, Targets, Timestamp, Unproved},
};
use crate::trust::SigstoreRoot;

/// What a complete set proves.
#[derive(Clone, Debug)]
pub(super) struct Proved {
    pub(super) timestamp: Timestamp,
    pub(super) snapshot: Snapshot,
    pub(super) targets: Targets,
}

/// The whole of a set, each file by the one before it.
pub(super) fn set(root: &Root, set: &TufSet) -> Result<Proved, TufError> {
    let timestamp = timestamp(root, &set.timestamp)?;
    let snapshot = snapshot(root, &timestamp.snapshot, &set.snapshot)?;
    let targets = targets(root, &targets_pin(&snapshot, "snapshot.json")?, &set.targets)?;
    let file = targets.trusted_root.as_ref().ok_or(TufError::NotListed { delegates: targets.delegates })?;
    target(file, &set.target)?;
    Ok(Proved { timestamp, snapshot, targets })
}

/// 5.4.2
pub(super) fn timestamp(root: &Root, bytes: &[u8]) -> Result<Timestamp, TufError> {
    Unproved::<Timestamp>::read(bytes, "timestamp.json")?.prove(&root.timestamp, root)
}

/// 5.5.2 to 5.5.4
pub(super) fn snapshot(root: &Root, pin: &Pin, bytes: &[u8]) -> Result<Snapshot, TufError> {
    const FILE: &str = "snapshot.json";
    pin.holds(bytes, FILE)?;
    let snapshot = seen_snapshot(root, bytes)?;
    same_version(snapshot.head.version, pin, FILE)?;
    Ok(snapshot)
}

/// A snapshot that once was pinned.
pub(super) fn seen_snapshot(root: &Root, bytes: &[u8]) -> Result<Snapshot, TufError> {
    Unproved::<Snapshot>::read(bytes, "snapshot.json")?.prove(&root.snapshot, root)
}

/// What the snapshot says about the top-level targets.
pub(super) fn targets_pin(snapshot: &Snapshot, file: &str) -> Result<Pin, TufError> {
    let pin = snapshot.files.get("targets.json").cloned();
    pin.ok_or_else(|| TufError::Removed { file: file.to_owned(), what: "targets.json".to_owned() })
}

/// 5.6.2 to 5.6.4
pub(super) fn targets(root: &Root, pin: &Pin, bytes: &[u8]) -> Result<Targets, TufError> {
    const FILE: &str = "targets.json";
    pin.holds(bytes, FILE)?;
    let targets = Unproved::<Targets>::read(bytes, FILE)?.prove(&root.targets, root)?;
    same_version(targets.head.version, pin, FILE)?;
    Ok(targets)
}

/// 5.7.3; and what is vouched for must be what it is wanted for.
pub(super) fn target(file: &TargetFile, bytes: &[u8]) -> Result<SigstoreRoot, TufError> {
    file.holds(bytes, TRUSTED_ROOT)?;
    SigstoreRoot::from_json(bytes).map_err(TufError::Target)
}

fn same_version(found: u64, pin: &Pin, file: &str) -> Result<(), TufError> {
    if found == pin.version {
        return Ok(());
    }
    Err(TufError::Version { file: file.to_owned(), found, expected: pin.version })
}
