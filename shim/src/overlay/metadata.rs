//! Snapshot records in redb: durable at commit, read without waiting for a writer, recovered after a failed write.
//! A full disk still lets records be removed (`ballast`). Knows names, ids and links; nothing of folders.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use redb::{Database, ReadableTable, Table, TableDefinition};

use super::{
    OverlayError,
    ballast::{Ballast, Cushioned, Syncs},
    record::Record,
};

const SNAPSHOTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("snapshots");
/// (parent id, child id)
const CHILDREN: TableDefinition<'static, (u64, u64), ()> = TableDefinition::new("children");
const COUNTERS: TableDefinition<'static, &str, u64> = TableDefinition::new("counters");
const NEXT_ID: &str = "next-id";
const VERSION: &str = "version";
const KNOWN_VERSION: u64 = 1;
/// Pages kept in memory: the metadata of some thousand snapshots.
const CACHE_BYTES: usize = 2 << 20;

/// The store.
#[derive(Debug)]
pub(super) struct Metadata {
    path: PathBuf,
    ballast: Arc<Ballast>,
    syncs: Arc<Syncs>,
    /// Protects the database's place: exclusive only while it is opened anew after a failed write. `None` if that failed.
    database: RwLock<Option<Database>>,
}

/// What can be read inside a transaction of either kind.
pub(super) trait Tables {
    /// The record of that name.
    fn get(&self, name: &str) -> Result<Option<Record>, OverlayError>;
    /// Calls `visit` with each record, in the order of names.
    fn each(&self, visit: impl FnMut(&str, &Record)) -> Result<(), OverlayError>;
    /// The record of that name, which must exist.
    fn require(&self, name: &str) -> Result<Record, OverlayError> {
        self.get(name)?.ok_or_else(|| OverlayError::NotFound(name.to_owned()))
    }
}

impl Metadata {
    /// Opens or makes `metadata.redb` and the ballast beside it.
    pub(super) fn open(root: &Path) -> Result<Self, OverlayError> {
        let path = root.join("metadata.redb");
        let ballast = Arc::new(Ballast::new(root));
        let syncs = Arc::new(Syncs::default());
        let database = open(&path, &ballast, &syncs)?;
        let metadata = Self { path, ballast, syncs, database: RwLock::new(Some(database)) };
        metadata.write(|tables| {
            match tables.counter(VERSION)? {
                None => tables.set_counter(VERSION, KNOWN_VERSION)?,
                Some(KNOWN_VERSION) => {}
                Some(found) => return Err(OverlayError::Version { found, known: KNOWN_VERSION }),
            }
            Ok(())
        })?;
        if let Err(error) = metadata.ballast.make() {
            tracing::warn!(%error, "no ballast could be made; Prepare is refused until there is space");
        }
        Ok(metadata)
    }

    /// Refuses what would take space while there is none: what is left belongs to Remove.
    pub(super) fn require_space(&self) -> Result<(), OverlayError> {
        self.ballast.make().map_err(|error| OverlayError::io(&self.path, error))
    }

    /// Runs `read` on a consistent state. Never waits for a writer.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Reader<'_>) -> Result<T, OverlayError>) -> Result<T, OverlayError> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or_else(|| self.failed(redb::Error::DatabaseClosed))?;
        let transaction = redb::ReadableDatabase::begin_read(database).map_err(|error| self.failed(error))?;
        let snapshots = transaction.open_table(SNAPSHOTS).map_err(|error| self.failed(error))?;
        read(&Reader { path: &self.path, snapshots })
    }

    /// Runs `write` in a transaction that is durable when this returns, or has not happened. Writers follow each other.
    pub(super) fn write<T>(
        &self,
        write: impl FnMut(&mut Writer<'_>) -> Result<T, OverlayError>,
    ) -> Result<T, OverlayError> {
        self.write_until(write, &End::Commit)
    }

    /// The same, but after a power cut it may be that it has not happened: it survives the end of this process at once, and
    /// is durable before the next transaction begins to write. `folder` is synced before the record that speaks of it.
    pub(super) fn write_soon<T>(
        &self,
        folder: &Arc<File>,
        write: impl FnMut(&mut Writer<'_>) -> Result<T, OverlayError>,
    ) -> Result<T, OverlayError> {
        self.write_until(write, &End::CommitSoon(Arc::clone(folder)))
    }

    fn write_until<T>(
        &self,
        mut write: impl FnMut(&mut Writer<'_>) -> Result<T, OverlayError>,
        end: &End,
    ) -> Result<T, OverlayError> {
        match self.try_write(&mut write, end) {
            Err(OverlayError::NoSpace(_) | OverlayError::Database(_)) => {
                // After a failed write the database takes nothing more until it is opened anew.
                self.reopen()?;
                self.try_write(&mut write, end)
            }
            other => other,
        }
    }

    /// How the next sync is done.
    #[cfg(test)]
    pub(super) fn syncs(&self) -> &Syncs {
        &self.syncs
    }

    /// Runs `work` while no writer is active, and writes nothing.
    pub(super) fn alone<T>(
        &self,
        mut work: impl FnMut(&mut Writer<'_>) -> Result<T, OverlayError>,
    ) -> Result<T, OverlayError> {
        self.try_write(&mut work, &End::Abort)
    }

    fn try_write<T>(
        &self,
        write: &mut impl FnMut(&mut Writer<'_>) -> Result<T, OverlayError>,
        end: &End,
    ) -> Result<T, OverlayError> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or_else(|| self.failed(redb::Error::DatabaseClosed))?;
        let transaction = database.begin_write().map_err(|error| self.failed(error))?;
        let value = {
            let mut writer = Writer {
                path: &self.path,
                snapshots: transaction.open_table(SNAPSHOTS).map_err(|error| self.failed(error))?,
                children: transaction.open_table(CHILDREN).map_err(|error| self.failed(error))?,
                counters: transaction.open_table(COUNTERS).map_err(|error| self.failed(error))?,
            };
            // An error leaves here, and the dropped transaction is undone.
            write(&mut writer)?
        };
        match end {
            End::Commit => transaction.commit().map_err(|error| self.failed(error))?,
            End::CommitSoon(folder) => {
                self.syncs.behind(Arc::clone(folder));
                let committed = transaction.commit();
                self.syncs.at_once();
                committed.map_err(|error| self.failed(error))?;
            }
            End::Abort => transaction.abort().map_err(|error| self.failed(error))?,
        }
        Ok(value)
    }

    fn reopen(&self) -> Result<(), OverlayError> {
        let mut guard = self.database.write().unwrap_or_else(PoisonError::into_inner);
        drop(guard.take());
        *guard = Some(open(&self.path, &self.ballast, &self.syncs)?);
        Ok(())
    }

    fn failed(&self, error: impl Into<redb::Error>) -> OverlayError {
        OverlayError::database(&self.path, error)
    }
}

enum End {
    Commit,
    /// Answered before it is durable; the folder is synced before the record.
    CommitSoon(Arc<File>),
    Abort,
}

fn open(path: &Path, ballast: &Arc<Ballast>, syncs: &Arc<Syncs>) -> Result<Database, OverlayError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| OverlayError::io(path, error))?;
    let backend = Cushioned::new(file, Arc::clone(ballast), Arc::clone(syncs))
        .map_err(|error| OverlayError::database(path, error))?;
    redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(backend)
        .map_err(|error| OverlayError::database(path, error))
}

/// Records as of the moment the read began.
pub(super) struct Reader<'a> {
    path: &'a Path,
    snapshots: redb::ReadOnlyTable<&'static str, &'static [u8]>,
}

impl Tables for Reader<'_> {
    fn get(&self, name: &str) -> Result<Option<Record>, OverlayError> {
        get(self.path, &self.snapshots, name)
    }

    fn each(&self, visit: impl FnMut(&str, &Record)) -> Result<(), OverlayError> {
        each(self.path, &self.snapshots, visit)
    }
}

/// Records inside the one write transaction.
pub(super) struct Writer<'a> {
    path: &'a Path,
    snapshots: Table<'a, &'static str, &'static [u8]>,
    children: Table<'a, (u64, u64), ()>,
    counters: Table<'a, &'static str, u64>,
}

impl Tables for Writer<'_> {
    fn get(&self, name: &str) -> Result<Option<Record>, OverlayError> {
        get(self.path, &self.snapshots, name)
    }

    fn each(&self, visit: impl FnMut(&str, &Record)) -> Result<(), OverlayError> {
        each(self.path, &self.snapshots, visit)
    }
}

impl Writer<'_> {
    /// Writes a record, in place of one of that name.
    pub(super) fn put(&mut self, name: &str, record: &Record) -> Result<(), OverlayError> {
        let bytes =
            serde_json::to_vec(record).map_err(|source| OverlayError::Record { name: name.to_owned(), source })?;
        self.snapshots.insert(name, bytes.as_slice()).map_err(|error| OverlayError::database(self.path, error))?;
        Ok(())
    }

    /// Deletes the record of that name.
    pub(super) fn delete(&mut self, name: &str) -> Result<(), OverlayError> {
        self.snapshots.remove(name).map_err(|error| OverlayError::database(self.path, error))?;
        Ok(())
    }

    /// Notes that `child` rests on `parent`.
    pub(super) fn link(&mut self, parent: u64, child: u64) -> Result<(), OverlayError> {
        self.children.insert((parent, child), ()).map_err(|error| OverlayError::database(self.path, error))?;
        Ok(())
    }

    /// Takes that note away.
    pub(super) fn unlink(&mut self, parent: u64, child: u64) -> Result<(), OverlayError> {
        self.children.remove((parent, child)).map_err(|error| OverlayError::database(self.path, error))?;
        Ok(())
    }

    /// Whether anything rests on `parent`.
    pub(super) fn has_children(&self, parent: u64) -> Result<bool, OverlayError> {
        let failed = |error| OverlayError::database(self.path, error);
        let mut range = self.children.range((parent, 0)..=(parent, u64::MAX)).map_err(failed)?;
        range.next().transpose().map(|child| child.is_some()).map_err(failed)
    }

    /// An id that was never given before, not even to a snapshot that is gone.
    pub(super) fn next_id(&mut self) -> Result<u64, OverlayError> {
        let id = self.counter(NEXT_ID)?.unwrap_or(1);
        self.set_counter(NEXT_ID, id.saturating_add(1))?;
        Ok(id)
    }

    /// Pretends that another version wrote this.
    #[cfg(test)]
    pub(super) fn force_version(&mut self, version: u64) -> Result<(), OverlayError> {
        self.set_counter(VERSION, version)
    }

    fn counter(&self, name: &str) -> Result<Option<u64>, OverlayError> {
        let value = self.counters.get(name).map_err(|error| OverlayError::database(self.path, error))?;
        Ok(value.map(|value| value.value()))
    }

    fn set_counter(&mut self, name: &str, value: u64) -> Result<(), OverlayError> {
        self.counters.insert(name, value).map_err(|error| OverlayError::database(self.path, error))?;
        Ok(())
    }
}

fn get(
    path: &Path,
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<Option<Record>, OverlayError> {
    let value = table.get(name).map_err(|error| OverlayError::database(path, error))?;
    value.map(|value| parse(name, value.value())).transpose()
}

fn each(
    path: &Path,
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    mut visit: impl FnMut(&str, &Record),
) -> Result<(), OverlayError> {
    for entry in table.iter().map_err(|error| OverlayError::database(path, error))? {
        let (name, value) = entry.map_err(|error| OverlayError::database(path, error))?;
        visit(name.value(), &parse(name.value(), value.value())?);
    }
    Ok(())
}

fn parse(name: &str, bytes: &[u8]) -> Result<Record, OverlayError> {
    serde_json::from_slice(bytes).map_err(|source| OverlayError::Record { name: name.to_owned(), source })
}
