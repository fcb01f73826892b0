//! A file that does nothing but take space, given up when the disk is full, so that snapshots can still be removed.
//! redb writes new pages before it frees old ones: without it a full disk could never be emptied again.

use std::{
    fs::{self, File},
    io::{self, Write},
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use redb::{BackendError, DatabaseError, StorageBackend, backends::FileBackend};

use rustix::{fs::FallocateFlags, io::Errno};

use super::{error::is_full, later::Later};

/// Enough for the pages of several removals; what a removal frees serves the next one.
const BALLAST_BYTES: usize = 2 << 20;

/// The file that takes space.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    pub(super) fn new(root: &Path) -> Self {
        Self { path: root.join("ballast") }
    }

    /// Makes the ballast if it is gone. It fails while the disk is full.
    pub(super) fn make(&self) -> io::Result<()> {
        if fs::metadata(&self.path).is_ok() {
            return Ok(());
        }
        let growing = self.path.with_extension("new");
        let made = fill(&growing).and_then(|()| fs::rename(&growing, &self.path));
        if made.is_err() {
            let _ = fs::remove_file(&growing);
        }
        made
    }

    /// Does `work`, and again with the ballast's space if there was none.
    fn under(&self, mut work: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        match work() {
            Err(error) if is_full(&error) && self.release() => work(),
            other => other,
        }
    }

    /// Gives the space free; false if it was gone already.
    fn release(&self) -> bool {
        let released = fs::remove_file(&self.path).is_ok();
        if released {
            tracing::warn!(path = %self.path.display(), "disk full: reserved space given up so that snapshots can be removed");
        }
        released
    }
}

fn fill(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    // Written, not only reserved: a file system that compresses or overcommits would promise what it does not have.
    let block: Vec<u8> = (0..4096_u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    for _ in 0..BALLAST_BYTES / block.len() {
        file.write_all(&block)?;
    }
    file.sync_all()
}

/// redb's file, with the ballast under it: what fails for want of space is done again once the ballast is given up.
#[derive(Debug)]
pub(super) struct Cushioned {
    file: FileBackend,
    /// The same file, for what redb's own backend cannot do.
    raw: Arc<File>,
    ballast: Arc<Ballast>,
    syncs: Arc<Syncs>,
}

/// How the next sync is done, told from outside, since redb asks for it in the middle of a commit.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    later: Later,
    /// The folder that is synced before the file, if the next sync is to go on behind the commit.
    defer: Mutex<Option<Arc<File>>>,
}

impl Syncs {
    /// Lets the next sync go on behind the commit, that of `folder` before it, until [`Self::at_once`].
    pub(super) fn behind(&self, folder: Arc<File>) {
        *self.defer.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder);
    }

    /// Pretends that a sync behind an answer failed.
    #[cfg(test)]
    pub(super) fn fail_behind(&self) {
        self.later.begin(|| Err(io::Error::other("the disk is gone"))).expect("no sync is under way");
    }

    /// Every commit waits for its sync again.
    pub(super) fn at_once(&self) {
        self.defer.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Cushioned {
    pub(super) fn new(file: File, ballast: Arc<Ballast>, syncs: Arc<Syncs>) -> Result<Self, DatabaseError> {
        let raw = Arc::new(file.try_clone().map_err(redb::StorageError::Io)?);
        Ok(Self { file: FileBackend::new(file)?, raw, ballast, syncs })
    }

    /// Does `work` once no sync is under way.
    fn with_ballast(&self, work: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        self.syncs.later.end()?;
        self.ballast.under(work)
    }
}

impl StorageBackend for Cushioned {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with_ballast(|| {
            self.file.set_len(len)?;
            // With its blocks taken when the file grows, what comes later writes in place and needs no space.
            match rustix::fs::fallocate(&*self.raw, FallocateFlags::empty(), 0, len) {
                Err(Errno::NOTSUP | Errno::INVAL | Errno::NOSYS) => Ok(()),
                Err(error) => Err(error.into()),
                Ok(()) => Ok(()),
            }
        })
        // Too little even so: the file may have holes, which are filled as far as there is space.
        .or_else(|error| if is_full(&error) { self.file.set_len(len) } else { Err(error) })
    }

    fn sync_data(&self) -> io::Result<()> {
        let folder = self.syncs.defer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(folder) = folder else { return self.with_ballast(|| self.file.sync_data()) };
        let (file, ballast) = (Arc::clone(&self.raw), Arc::clone(&self.ballast));
        self.syncs.later.begin(move || {
            folder.sync_all()?;
            ballast.under(|| file.sync_data())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with_ballast(|| self.file.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        // redb has nothing to say of a failure any more; its next opening checks the file.
        let synced = self.syncs.later.end();
        self.file.close().and(synced)
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
