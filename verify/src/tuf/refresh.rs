//! One refresh, as the TUF specification's client workflow has it (section 5; its numbers stand in comments). It says which file it
//! needs next and takes its bytes or their absence; where they come from is no matter of its own. It opens nothing.

use assay_admission::UnixTime;

use super::{
    TufTrust,
    error::TufError,
    kept::TufSet,
    metadata::{Pin, Root, Snapshot, TargetFile, Targets, Timestamp, Unproved},
    verified,
};
use crate::limits::{
    LimitReached, MAX_TRUSTED_ROOT_BYTES, MAX_TUF_KEPT_ROOTS, MAX_TUF_ROOT_BYTES, MAX_TUF_ROOT_STEPS,
    MAX_TUF_SNAPSHOT_BYTES, MAX_TUF_TARGETS_BYTES, MAX_TUF_TIMESTAMP_BYTES,
};

/// What a refresh needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TufStep {
    /// A file of the repository, at this path below its address, of at most so many bytes.
    Fetch {
        /// Of letters, digits, `.`, `-`, `_` and `/`.
        path: String,
        /// More is refused.
        most_bytes: usize,
    },
    /// Nothing: what the repository vouches for is verified.
    Done,
}

/// A refresh under way. Whatever way it ends, [`TufRefresh::into_trust`] has what was verified.
#[derive(Debug)]
pub struct TufRefresh {
    trust: TufTrust,
    /// 5.1: one time for the whole of it.
    now: UnixTime,
    stage: Stage,
    root_steps: usize,
}

#[derive(Clone, Debug)]
enum Stage {
    Root,
    Timestamp,
    Snapshot {
        timestamp: Vec<u8>,
        pin: Pin,
    },
    Targets {
        timestamp: Vec<u8>,
        snapshot: Vec<u8>,
        pin: Pin,
    },
    Target {
        timestamp: Vec<u8>,
        snapshot: Vec<u8>,
        targets: Vec<u8>,
        file: TargetFile,
    },
    Done,
    /// A file was refused.
    Refused,
}

impl TufRefresh {
    pub(super) const fn new(trust: TufTrust, now: UnixTime) -> Self {
        Self { trust, now, stage: Stage::Root, root_steps: 0 }
    }

    /// What is needed next. What is kept and still right is not asked for again.
    ///
    /// # Errors
    /// [`TufError::Limit`] if there are more roots than one refresh steps over.
    pub fn step(&mut self) -> Result<TufStep, TufError> {
        self.reuse();
        let root = &self.trust.root;
        let versioned = |version: u64, name: &str| {
            if root.consistent_snapshot { format!("{version}.{name}") } else { name.to_owned() }
        };
        let (path, most_bytes) = match &self.stage {
            Stage::Root if self.root_steps >= MAX_TUF_ROOT_STEPS => {
                return Err(LimitReached { what: "roots in one refresh", limit: MAX_TUF_ROOT_STEPS }.into());
            }
            // 5.3.2
            Stage::Root => (root_file(root), MAX_TUF_ROOT_BYTES),
            // 5.4.1
            Stage::Timestamp => ("timestamp.json".to_owned(), MAX_TUF_TIMESTAMP_BYTES),
            // 5.5.1
            Stage::Snapshot { pin, .. } => (versioned(pin.version, "snapshot.json"), MAX_TUF_SNAPSHOT_BYTES),
            // 5.6.1
            Stage::Targets { pin, .. } => (versioned(pin.version, "targets.json"), MAX_TUF_TARGETS_BYTES),
            // 5.7.3
            Stage::Target { file, .. } => match file.hashes.first() {
                Some(hash) if root.consistent_snapshot => {
                    (format!("targets/{}.{}", hash.hex(), super::TRUSTED_ROOT), MAX_TRUSTED_ROOT_BYTES)
                }
                Some(_) | None => (format!("targets/{}", super::TRUSTED_ROOT), MAX_TRUSTED_ROOT_BYTES),
            },
            Stage::Done => return Ok(TufStep::Done),
            Stage::Refused => return Err(TufError::Over),
        };
        Ok(TufStep::Fetch { path, most_bytes })
    }

    /// Takes the file that [`TufRefresh::step`] asked for; `None` if the repository does not have it.
    ///
    /// # Errors
    /// [`TufError`]: the file is refused and this refresh is over.
    pub fn give(&mut self, bytes: Option<Vec<u8>>) -> Result<(), TufError> {
        let TufStep::Fetch { path, most_bytes } = self.step()? else { return Err(TufError::Over) };
        match bytes {
            Some(bytes) if bytes.len() > most_bytes => {
                self.stage = Stage::Refused;
                Err(TufError::Size { file: path, limit: most_bytes })
            }
            Some(bytes) => self.take(bytes, &path),
            None => match std::mem::replace(&mut self.stage, Stage::Refused) {
                // 5.3.3: no newer root, so this is the last one. Everything else has to be there.
                Stage::Root => self.end_of_roots(),
                Stage::Timestamp
                | Stage::Snapshot { .. }
                | Stage::Targets { .. }
                | Stage::Target { .. }
                | Stage::Done
                | Stage::Refused => Err(TufError::Missing { file: path }),
            },
        }
    }

    /// What is trusted now: all that was before, newer roots, and if the refresh was done, what it brought.
    #[must_use]
    pub fn into_trust(self) -> TufTrust {
        self.trust
    }

    /// Takes a file for the present stage, and goes on to the next; a refused one ends the refresh.
    fn take(&mut self, bytes: Vec<u8>, file: &str) -> Result<(), TufError> {
        match std::mem::replace(&mut self.stage, Stage::Refused) {
            Stage::Root => self.root(bytes, file),
            Stage::Timestamp => self.timestamp(bytes),
            Stage::Snapshot { timestamp, pin } => self.snapshot(timestamp, &pin, bytes, file),
            Stage::Targets { timestamp, snapshot, pin } => self.targets(timestamp, snapshot, &pin, bytes, file),
            Stage::Target { timestamp, snapshot, targets, file } => {
                self.target(timestamp, snapshot, targets, &file, bytes)
            }
            Stage::Done | Stage::Refused => Err(TufError::Over),
        }
    }

    fn root(&mut self, bytes: Vec<u8>, file: &str) -> Result<(), TufError> {
        if self.trust.files.roots.len() >= MAX_TUF_KEPT_ROOTS {
            return Err(LimitReached { what: "roots behind the configured one", limit: MAX_TUF_KEPT_ROOTS }.into());
        }
        let before = &self.trust.root;
        let next = Unproved::<Root>::read(&bytes, file)?.prove_behind(before)?;
        // 5.3.11: once a key of these roles is gone, versions that it signed are no floor: it may have run them up.
        if before.timestamp.loses_a_key_in(&next.timestamp) || before.snapshot.loses_a_key_in(&next.snapshot) {
            self.trust.files.timestamp = None;
            self.trust.files.snapshot = None;
        }
        // 5.3.7, 5.3.8
        self.trust.files.roots.push(bytes);
        self.trust.root = next;
        self.root_steps += 1;
        self.stage = Stage::Root;
        Ok(())
    }

    fn end_of_roots(&mut self) -> Result<(), TufError> {
        // 5.3.10
        self.trust.root.head.fresh_at(self.now, &format!("root version {}", self.trust.root.head.version))?;
        self.stage = Stage::Timestamp;
        Ok(())
    }

    fn timestamp(&mut self, bytes: Vec<u8>) -> Result<(), TufError> {
        const FILE: &str = "timestamp.json";
        let root = &self.trust.root;
        // 5.4.2
        let new = verified::timestamp(root, &bytes)?;
        let seen = self
            .trust
            .files
            .timestamp
            .as_ref()
            .and_then(|bytes| verified::timestamp(root, bytes).ok().map(|timestamp| (bytes.clone(), timestamp)));
        let rollback =
            |what: &str, found, seen| TufError::Rollback { file: FILE.to_owned(), what: what.to_owned(), found, seen };
        let (bytes, timestamp): (Vec<u8>, Timestamp) = match seen {
            // 5.4.3.1
            Some((_, seen)) if new.head.version < seen.head.version => {
                return Err(rollback("the timestamp", new.head.version, seen.head.version));
            }
            // 5.4.3.1: of one version there is one file, the one that was seen first.
            Some(seen) if new.head.version == seen.1.head.version => seen,
            // 5.4.3.2
            Some((_, seen)) if new.snapshot.version < seen.snapshot.version => {
                return Err(rollback("the snapshot", new.snapshot.version, seen.snapshot.version));
            }
            Some(_) | None => (bytes, new),
        };
        // 5.4.4
        timestamp.head.fresh_at(self.now, FILE)?;
        // 5.4.5
        self.trust.files.timestamp = Some(bytes.clone());
        self.stage = Stage::Snapshot { timestamp: bytes, pin: timestamp.snapshot };
        Ok(())
    }

    fn snapshot(&mut self, timestamp: Vec<u8>, pin: &Pin, bytes: Vec<u8>, file: &str) -> Result<(), TufError> {
        let root = &self.trust.root;
        // 5.5.2 to 5.5.4
        let new = verified::snapshot(root, pin, &bytes)?;
        let seen = self.trust.files.snapshot.as_ref();
        if let Some(seen) = seen.and_then(|bytes| verified::seen_snapshot(root, bytes).ok()) {
            not_older(&new, &seen, file)?;
        }
        // 5.5.6
        new.head.fresh_at(self.now, file)?;
        let pin = verified::targets_pin(&new, file)?;
        // 5.5.7
        self.trust.files.snapshot = Some(bytes.clone());
        self.stage = Stage::Targets { timestamp, snapshot: bytes, pin };
        Ok(())
    }

    fn targets(
        &mut self,
        timestamp: Vec<u8>,
        snapshot: Vec<u8>,
        pin: &Pin,
        bytes: Vec<u8>,
        file: &str,
    ) -> Result<(), TufError> {
        // 5.6.2 to 5.6.4
        let targets: Targets = verified::targets(&self.trust.root, pin, &bytes)?;
        // 5.6.5
        targets.head.fresh_at(self.now, file)?;
        // 5.6.7
        let file = targets.trusted_root.ok_or(TufError::NotListed { delegates: targets.delegates })?;
        self.stage = Stage::Target { timestamp, snapshot, targets: bytes, file };
        Ok(())
    }

    fn target(
        &mut self,
        timestamp: Vec<u8>,
        snapshot: Vec<u8>,
        targets: Vec<u8>,
        file: &TargetFile,
        target: Vec<u8>,
    ) -> Result<(), TufError> {
        // 5.7.3
        verified::target(file, &target)?;
        let root_version = self.trust.root.head.version;
        let set = TufSet { accepted: self.now, root_version, timestamp, snapshot, targets, target };
        self.trust.complete = Some(verified::set(&self.trust.root, &set)?);
        self.trust.files.complete = Some(set);
        self.stage = Stage::Done;
        Ok(())
    }

    /// Goes on with what is kept, as far as it is just what would be fetched.
    fn reuse(&mut self) {
        while let Some(bytes) = self.kept() {
            let stage = self.stage.clone();
            // One that has expired is asked for: the answer is the same bytes or newer ones, and is judged.
            if self.take(bytes, "what was kept").is_err() {
                self.stage = stage;
                return;
            }
        }
    }

    /// The kept file that the present stage pins. Every stage is left for good when its file is taken.
    fn kept(&self) -> Option<Vec<u8>> {
        let (files, root) = (&self.trust.files, &self.trust.root);
        let complete = files.complete.as_ref();
        let (bytes, is_pinned) = match &self.stage {
            Stage::Snapshot { pin, .. } => {
                let bytes = files.snapshot.as_ref()?;
                (bytes, verified::snapshot(root, pin, bytes).is_ok())
            }
            Stage::Targets { pin, .. } => {
                let bytes = &complete?.targets;
                (bytes, verified::targets(root, pin, bytes).is_ok())
            }
            Stage::Target { file, .. } => {
                let bytes = &complete?.target;
                (bytes, verified::target(file, bytes).is_ok())
            }
            Stage::Root | Stage::Timestamp | Stage::Done | Stage::Refused => return None,
        };
        is_pinned.then(|| bytes.clone())
    }
}

/// 5.5.5: nothing that was listed goes back or is gone.
fn not_older(new: &Snapshot, seen: &Snapshot, file: &str) -> Result<(), TufError> {
    for (name, before) in &seen.files {
        match new.files.get(name) {
            None => return Err(TufError::Removed { file: file.to_owned(), what: name.clone() }),
            Some(now) if now.version < before.version => {
                return Err(TufError::Rollback {
                    file: file.to_owned(),
                    what: name.clone(),
                    found: now.version,
                    seen: before.version,
                });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn root_file(root: &Root) -> String {
    format!("{}.root.json", root.head.version.saturating_add(1))
}
