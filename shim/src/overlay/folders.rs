//! One folder per snapshot, `snapshots/ID/{fs,work}`: made before its record, moved away after it, deleted later.
//! Content of layers is hostile: nothing here follows a link, recurses, or trusts the depth of a tree.

use std::{
    collections::BTreeSet,
    ffi::CString,
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat},
    io::Errno,
};

use super::{NewKind, OverlayError, record::Usage, usage};

/// Beginning of the name of what is to be deleted.
const DEAD: &str = "rm-";

/// What is written to a snapshot.
const UPPER: &str = "fs";
const UPPER_MODE: u32 = 0o755;
/// overlayfs' own folder.
const WORK: &str = "work";
/// Beginning of the name of what is made ahead.
const SPARE: &str = "spare-";

/// The folder of all snapshots.
#[derive(Debug)]
pub(super) struct Folders {
    snapshots: PathBuf,
    handle: Arc<File>,
    /// Held by the one thread that deletes.
    reaping: Mutex<()>,
    /// A folder as [`NewKind::Active`] needs it, made ahead: three new folders are a good part of what a Prepare costs.
    spare: Mutex<Option<PathBuf>>,
    /// Names the parts of trees that are taken apart, and spare folders.
    parts: AtomicU64,
}

impl Folders {
    pub(super) fn open(root: &Path) -> Result<Self, OverlayError> {
        let snapshots = root.join("snapshots");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&snapshots)
            .map_err(|error| OverlayError::io(&snapshots, error))?;
        let handle = File::open(&snapshots).map_err(|error| OverlayError::io(&snapshots, error))?;
        Ok(Self {
            snapshots,
            handle: Arc::new(handle),
            reaping: Mutex::new(()),
            spare: Mutex::new(None),
            parts: AtomicU64::new(0),
        })
    }

    /// What is written to the snapshot.
    pub(super) fn upper(&self, id: u64) -> PathBuf {
        self.snapshots.join(id.to_string()).join(UPPER)
    }

    /// overlayfs' own folder.
    pub(super) fn work(&self, id: u64) -> PathBuf {
        self.snapshots.join(id.to_string()).join(WORK)
    }

    /// Makes the folder. The root of an overlay shows owner and mode of its top layer, so they follow the parent's.
    pub(super) fn make(&self, id: u64, kind: NewKind, parent: Option<u64>) -> Result<(), OverlayError> {
        let folder = self.snapshots.join(id.to_string());
        match kind {
            NewKind::Active if self.take_spare(&folder) => {}
            NewKind::Active => make_active(&folder)?,
            NewKind::View => make_folder(&folder, 0o700).and_then(|()| make_folder(&folder.join(UPPER), UPPER_MODE))?,
        }
        let Some(parent) = parent.map(|parent| self.upper(parent)) else { return Ok(()) };
        let metadata = fs::symlink_metadata(&parent).map_err(|error| OverlayError::io(&parent, error))?;
        let upper = self.upper(id);
        chown(&upper, Some(metadata.uid()), Some(metadata.gid()))
            // Changing the owner clears set-id bits.
            .and_then(|()| fs::set_permissions(&upper, Permissions::from_mode(metadata.mode() & 0o7777)))
            .map_err(|error| OverlayError::io(&upper, error))
    }

    /// Makes a folder ahead, if there is none. It is no loss if that fails: the next snapshot will say why.
    pub(super) fn provide(&self) {
        // Somebody takes, makes or clears one just now.
        let Ok(mut spare) = self.spare.try_lock() else { return };
        if spare.is_none() {
            let part = self.parts.fetch_add(1, Ordering::Relaxed);
            let folder = self.snapshots.join(format!("{SPARE}{part}"));
            match make_active(&folder) {
                Ok(()) => *spare = Some(folder),
                Err(error) => tracing::debug!(%error, "no folder could be made ahead"),
            }
        }
    }

    /// Gives the spare folder, if there is one, the name of a snapshot's.
    fn take_spare(&self, folder: &Path) -> bool {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        spare.is_some_and(|spare| {
            renameat_with(CWD, &spare, CWD, folder, RenameFlags::NOREPLACE)
                .inspect_err(|error| tracing::warn!(%error, "the folder made ahead cannot be used"))
                .is_ok()
        })
    }

    /// The folder of all snapshots' folders, whose sync makes their names durable.
    pub(super) const fn handle(&self) -> &Arc<File> {
        &self.handle
    }

    /// Makes the names of all folders durable.
    pub(super) fn sync(&self) -> Result<(), OverlayError> {
        self.handle.sync_all().map_err(|error| OverlayError::io(&self.snapshots, error))
    }

    /// Moves the folder out of the way. Should that fail, the folder has no record, and cleaning up will find it.
    pub(super) fn retire(&self, id: u64) {
        let dead = self.snapshots.join(format!("{DEAD}{id}"));
        if let Err(error) = fs::rename(self.snapshots.join(id.to_string()), &dead)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(id, %error, "snapshot folder could not be moved away");
        }
    }

    /// Moves every folder out of the way whose id is not in `ids`.
    pub(super) fn retire_all_but(&self, ids: &BTreeSet<u64>) -> Result<(), OverlayError> {
        // What was made ahead goes too: whoever cleans up wants to see nothing that belongs to nobody.
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        *spare = None;
        let entries = fs::read_dir(&self.snapshots).map_err(|error| OverlayError::io(&self.snapshots, error))?;
        for entry in entries {
            let name = entry.map_err(|error| OverlayError::io(&self.snapshots, error))?.file_name();
            let text = name.to_string_lossy();
            let owned = text.parse().is_ok_and(|id: u64| ids.contains(&id) && id.to_string() == text);
            if !owned && !text.starts_with(DEAD) {
                let dead = self.snapshots.join(format!("{DEAD}{text}"));
                if let Err(error) = fs::rename(self.snapshots.join(&name), dead) {
                    tracing::warn!(%error, folder = %text, "left-over folder could not be moved away");
                }
            }
        }
        Ok(())
    }

    /// Deletes what was moved away. A tree that cannot be deleted (an immutable file) stays until the next time.
    pub(super) fn reap(&self) {
        let _alone = self.reaping.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.delete_dead() {
            tracing::warn!(%error, "removed snapshots could not be deleted completely");
        }
    }

    fn delete_dead(&self) -> io::Result<()> {
        let top = openat(CWD, &self.snapshots, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut failed = BTreeSet::new();
        let mut last = None;
        loop {
            let dead: Vec<CString> =
                names(&top)?.into_iter().filter(|name| is_dead(name) && !failed.contains(name)).collect();
            if dead.is_empty() {
                return last.map_or(Ok(()), Err);
            }
            for name in dead {
                if let Err(error) = self.delete_tree(&top, &name) {
                    last = Some(error);
                    failed.insert(name);
                }
            }
        }
    }

    /// Deletes `name` but for folders inside that are not empty: they are moved up beside it and come next. So neither
    /// the stack nor the number of open files grows with the depth of a tree.
    fn delete_tree(&self, top: &OwnedFd, name: &CString) -> io::Result<()> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match openat(top, name, flags, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(unlinkat(top, name, AtFlags::empty())?),
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut entries = Dir::read_from(&folder)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let child = entry.file_name();
            if matches!(child.to_bytes(), b"." | b"..") {
                continue;
            }
            if entry.file_type() != FileType::Directory {
                match unlinkat(&folder, child, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    // A file system that does not tell the type.
                    Err(Errno::ISDIR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            match unlinkat(&folder, child, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    let part = self.parts.fetch_add(1, Ordering::Relaxed);
                    let aside = format!("{DEAD}{}-{part}", name.to_string_lossy().trim_start_matches(DEAD));
                    let aside = aside.get(aside.len().saturating_sub(200)..).filter(|name| name.starts_with(DEAD));
                    let aside = aside.map_or_else(|| format!("{DEAD}part-{part}"), ToOwned::to_owned);
                    renameat_with(&folder, child, top, aside, RenameFlags::NOREPLACE)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(unlinkat(top, name, AtFlags::REMOVEDIR)?)
    }

    /// What the snapshot's own files take.
    pub(super) fn usage(&self, id: u64) -> Result<Usage, OverlayError> {
        let upper = self.upper(id);
        usage::disk_usage(&upper).map_err(|error| OverlayError::io(upper, error))
    }
}

/// A folder to write to, as long as it has no parent.
fn make_active(folder: &Path) -> Result<(), OverlayError> {
    make_folder(folder, 0o700)?;
    make_folder(&folder.join(UPPER), UPPER_MODE)?;
    make_folder(&folder.join(WORK), 0o711)
}

fn make_folder(path: &Path, mode: u32) -> Result<(), OverlayError> {
    DirBuilder::new()
        .mode(mode)
        .create(path)
        // Whatever this program's umask is.
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .map_err(|error| OverlayError::io(path, error))
}

fn names(folder: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    let mut entries = Dir::read_from(folder.as_fd())?;
    while let Some(entry) = entries.read() {
        names.push(entry?.file_name().to_owned());
    }
    Ok(names)
}

fn is_dead(name: &CString) -> bool {
    name.to_bytes().starts_with(DEAD.as_bytes())
}
