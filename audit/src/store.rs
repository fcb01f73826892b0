//! The log's directory: the only module that touches files. Every read has a cap, every write is whole or absent after a
//! crash (written beside, fsynced, renamed, folder fsynced), and symbolic links are not followed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    ops::Range,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};

use crate::{LogError, Tampered};

pub(crate) const JOURNAL: &str = "journal";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const TILES: &str = "tile";
/// Where files are written before they get their name. One writer, so one name is enough; a crash leaves at most this.
const UNFINISHED: &str = "unfinished";
/// Names in one folder of tiles: c2sp.org/tlog-tiles makes at most 3,000.
const MAX_NAMES: usize = 4096;
const FILE_MODE: u32 = 0o640;
const DIR_MODE: u32 = 0o750;

/// Read access to a log's directory.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    dir: PathBuf,
}

/// Held by the one writer; the lock ends with it.
#[derive(Debug)]
pub(crate) struct WriteLock(#[expect(dead_code, reason = "the open file holds the lock")] File);

impl Store {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Creates the directory if need be (its parent must be there) and takes the writer's lock.
    pub(crate) fn lock(&self) -> Result<WriteLock, LogError> {
        if !self.dir.is_dir() {
            self.create_dir(&self.dir)?;
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let dir = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&self.dir)
            .map_err(|error| failed("open", &self.dir, error))?;
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(WriteLock(dir)),
            Err(Errno::WOULDBLOCK) => Err(LogError::Locked { dir: self.dir.clone() }),
            Err(error) => Err(failed("lock", &self.dir, error.into())),
        }
    }

    /// The bytes of a file, or `None` if there is none. A file longer than `cap` was
    /// not written by us.
    pub(crate) fn read(&self, relative: &Path, cap: usize) -> Result<Option<Vec<u8>>, LogError> {
        let path = self.dir.join(relative);
        let file = match open(&path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            // A folder in the way of the path counts as absence too.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(failed("open", &path, error)),
        };
        let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(|error| failed("read", &path, error))?;
        if bytes.len() > cap {
            return Err(Tampered::Oversized { path: relative.to_owned(), most: cap }.into());
        }
        Ok(Some(bytes))
    }

    /// Whether there is such a file or folder.
    pub(crate) fn has(&self, relative: &Path) -> Result<bool, LogError> {
        let path = self.dir.join(relative);
        path.try_exists().map_err(|error| failed("examine", &path, error))
    }

    /// Names in a folder, sorted, each with whether it is a folder. A folder that is not there has none.
    pub(crate) fn list(&self, relative: &Path) -> Result<Vec<(String, bool)>, LogError> {
        let path = self.dir.join(relative);
        let fail = |error| failed("list", &path, error);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(fail(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            if names.len() == MAX_NAMES {
                return Err(fail(io::Error::other(format!("more than {MAX_NAMES} names"))));
            }
            let entry = entry.map_err(fail)?;
            let kind = entry.file_type().map_err(fail)?;
            names.push((entry.file_name().to_string_lossy().into_owned(), kind.is_dir()));
        }
        names.sort();
        Ok(names)
    }

    /// Opens the journal to append to it.
    pub(crate) fn open_journal(&self) -> Result<JournalFile, LogError> {
        let path = self.dir.join(JOURNAL);
        match open(&path, OpenOptions::new().read(true).write(true)) {
            Ok(file) => Ok(JournalFile { file, path }),
            Err(error) => Err(failed("open", &path, error)),
        }
    }

    /// Writes a file whole: after a crash there is the old one or the new one. Creates missing folders.
    pub(crate) fn write(&self, relative: &Path, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.dir.join(relative);
        let unfinished = self.dir.join(UNFINISHED);
        let parent = path.parent().unwrap_or(&self.dir);
        self.create_parents(parent)?;
        let written = open(&unfinished, OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE))
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&unfinished, &path));
        if let Err(error) = written {
            // What is left would only hold space that may be what is missing; the next write truncates it anyway.
            let _ = fs::remove_file(&unfinished);
            return Err(failed("write", &path, error));
        }
        sync_dir(parent)
    }

    /// Removes the partial forms of a tile that is now full. They are superseded: failing to remove them harms nothing.
    pub(crate) fn remove_partials(&self, relative: &Path) {
        let _ = fs::remove_dir_all(self.dir.join(relative));
    }

    fn create_parents(&self, dir: &Path) -> Result<(), LogError> {
        if dir.is_dir() {
            return Ok(());
        }
        if let Some(parent) = dir.parent() {
            self.create_parents(parent)?;
        }
        self.create_dir(dir)
    }

    fn create_dir(&self, dir: &Path) -> Result<(), LogError> {
        match DirBuilder::new().mode(DIR_MODE).create(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("create", dir, error)),
        }
        dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_dir)
    }
}

/// An open journal. It can still be read after another took its name.
#[derive(Debug)]
pub(crate) struct JournalFile {
    file: File,
    path: PathBuf,
}

impl JournalFile {
    pub(crate) fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), LogError> {
        self.file.write_all_at(bytes, at).map_err(|error| failed("append to", &self.path, error))
    }

    pub(crate) fn sync(&self) -> Result<(), LogError> {
        self.file.sync_data().map_err(|error| failed("sync", &self.path, error))
    }

    pub(crate) fn truncate(&self, length: u64) -> Result<(), LogError> {
        self.file.set_len(length).map_err(|error| failed("truncate", &self.path, error))
    }

    pub(crate) fn read(&self, range: &Range<usize>) -> Result<Vec<u8>, LogError> {
        let mut bytes = vec![0; range.len()];
        let at = u64::try_from(range.start).unwrap_or(u64::MAX);
        self.file.read_exact_at(&mut bytes, at).map_err(|error| failed("read", &self.path, error))?;
        Ok(bytes)
    }
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // NONBLOCK changes nothing for files; without it a FIFO put in a file's place would hold the log up for ever.
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()).open(path)
}

fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| failed("sync", dir, error))
}

/// An error of the system as ours: lack of space is told apart, since it passes.
fn failed(what: &'static str, path: &Path, error: io::Error) -> LogError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogError::Full { what, path: path.to_owned() },
        _ => LogError::Io { what, path: path.to_owned(), source: Arc::new(error) },
    }
}
