//! The log as the agent has it: records go in from any thread, one thread of its own writes, a [`Recorded`] comes out
//! when a record is stored. It never holds a key: heads go out to be signed, and come back as checkpoints.
//!
//! # What is on disk
//!
//! ```text
//! journal                      the newest records, at most 256, each in a checked frame
//! checkpoint                   the newest signed head: a C2SP signed note
//! tile/<L>/<N>[.p/<W>]         hashes       } c2sp.org/tlog-tiles
//! tile/entries/<N>[.p/<W>]     the records  }
//! ```
//!
//! A record is first appended to `journal` and made durable by one fdatasync for all that wait (group commit). When 256
//! are there, their full tiles are written and a new journal begins. Partial tiles are written for each checkpoint, before
//! the checkpoint itself; so what `checkpoint` signs can always be read by any tool that knows the specification.
//!
//! After a crash, `open` cuts an unfinished frame off the journal's end and says so. It refuses to open the log, and leaves
//! everything as it is, if a durable record is changed or missing, or if the checkpoint was made of more or other records
//! than are there: then nothing can be recorded, and so nothing is allowed, until a person has looked. It examines the right
//! edge of the tree, not every record ever written: that is `verify_dir`.

use std::{
    fmt,
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use assay_admission::RecordId;
use tlog_tiles::record_hash;

use crate::{
    LogError, Record, Tampered, checkpoint,
    proof::Hashes,
    store::{JournalFile, Store},
    tiles::{Kind, MAX_BUNDLE_BYTES, TileFile, unbundle},
    tree::{TILE, TILE_RECORDS},
    writer::{Command, Pending, Writer},
};

/// Most records that one [`Log::read`] gives.
pub const MAX_READ_RECORDS: u32 = 1024;
/// Most bytes that one [`Log::read`] gives, unless its first record alone is longer.
pub const MAX_READ_BYTES: usize = 2 << 20;
/// Most records that wait for the disk; with more, [`LogError::Overloaded`].
const MAX_WAITING: usize = 4096;

/// When the caller hears that its record is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once it is on disk.
    Synced,
    /// Once it is handed to the system; it is on disk within a second. Only a power failure or a crash of the system
    /// before that can lose it, not one of the agent.
    Soon,
}

/// The state of a log: how many records, and their RFC 6962 root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of records.
    pub size: u64,
    /// The root hash.
    pub root: [u8; 32],
}

/// Proof that a record is stored. Only the log makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Recorded {
    pub(crate) id: RecordId,
    pub(crate) leaf: [u8; 32],
    pub(crate) durability: Durability,
}

impl Recorded {
    /// Where the log has it.
    #[must_use]
    pub const fn id(&self) -> RecordId {
        self.id
    }

    /// The leaf hash of its entry.
    #[must_use]
    pub const fn leaf(&self) -> &[u8; 32] {
        &self.leaf
    }

    /// How durable it was when this was made.
    #[must_use]
    pub const fn durability(&self) -> Durability {
        self.durability
    }
}

/// What was found when the log was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The number of records.
    pub size: u64,
    /// What was cut off the end after a crash.
    pub repaired: Option<Torn>,
    /// The size of the stored checkpoint. Its signature is not checked here.
    pub checkpoint: Option<u64>,
}

/// An unfinished write that was cut off the end of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The record that was not whole.
    pub record: RecordId,
    /// How many bytes were cut off.
    pub bytes: u64,
}

/// The open log. There is one writer for a directory.
pub struct Log {
    origin: String,
    store: Store,
    shared: Arc<Mutex<Shared>>,
    commands: Option<SyncSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

/// What is durable, for readers. The lock protects nothing else and is held for no I/O.
pub(crate) struct Shared {
    pub(crate) head: Head,
    /// Where the journal begins.
    pub(crate) base: u64,
    pub(crate) journal: Arc<JournalFile>,
    /// Where the durable entries lie in the journal.
    pub(crate) entries: Vec<Range<usize>>,
}

impl Shared {
    pub(crate) fn lock(shared: &Mutex<Self>) -> MutexGuard<'_, Self> {
        // Every change under the lock is a plain assignment, so a panic elsewhere leaves nothing half done.
        shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// Opens the log in `dir`, or begins a new one; the parent of `dir` must be there. `origin` is its name in
    /// checkpoints, for example `node1.example.com/assay`. Blocks; reads at most a few hundred small files.
    ///
    /// # Errors
    /// [`LogError::Locked`] if another writer has it, [`LogError::Tampered`] if it was changed, [`LogError::Origin`] if
    /// it is another log, or what the system said. No record can be stored then.
    pub fn open(dir: &Path, origin: &str) -> Result<(Self, Opened), LogError> {
        let (writer, opened) = Writer::open(dir, origin)?;
        let shared = writer.shared();
        let (commands, queue) = sync_channel(MAX_WAITING);
        let thread = thread::Builder::new().name("log".into()).spawn(move || writer.run(&queue)).map_err(|error| {
            LogError::Io { what: "start the writer of", path: dir.to_owned(), source: Arc::new(error) }
        })?;
        let store = Store::new(dir);
        let log = Self { origin: origin.to_owned(), store, shared, commands: Some(commands), thread: Some(thread) };
        Ok((log, opened))
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Appends a record. `done` is called once, from the log's own thread (or at once, from this one, on an error that is
    /// known at once), and must not block. It is dropped uncalled only if that thread has died: take that as an error.
    pub fn append(
        &self,
        record: Record,
        durability: Durability,
        done: impl FnOnce(Result<Recorded, LogError>) + Send + 'static,
    ) {
        let entry = match record.to_entry() {
            Ok(entry) => entry,
            Err(error) => return done(Err(error.into())),
        };
        let Some(commands) = &self.commands else { return done(Err(LogError::Closed)) };
        let leaf = record_hash(&entry);
        let (full, closed) = match commands.try_send(Command::Append(Pending::new(entry, leaf, durability, done))) {
            Ok(()) => return,
            Err(TrySendError::Full(command)) => (Some(command), None),
            Err(TrySendError::Disconnected(command)) => (None, Some(command)),
        };
        if let Some(Command::Append(pending)) = full {
            pending.refuse(LogError::Overloaded);
        }
        if let Some(Command::Append(pending)) = closed {
            pending.refuse(LogError::Closed);
        }
    }

    /// Appends a record and waits. Not for async code.
    ///
    /// # Errors
    /// [`LogError`]: nothing was recorded that anyone may rely on.
    pub fn append_wait(&self, record: Record, durability: Durability) -> Result<Recorded, LogError> {
        let (reply, answer) = sync_channel(1);
        self.append(record, durability, move |result| {
            // The receiver waits below; it cannot be gone.
            let _ = reply.send(result);
        });
        answer.recv().map_err(|_| LogError::Closed)?
    }

    /// The head of what is durable: what a crash cannot take back, and so what may be signed.
    #[must_use]
    pub fn head(&self) -> Head {
        Shared::lock(&self.shared).head
    }

    /// The head, ready to be signed.
    #[must_use]
    pub fn unsigned_checkpoint(&self) -> checkpoint::Unsigned {
        let Head { size, root } = self.head();
        checkpoint::Unsigned { origin: self.origin.clone(), size, root }
    }

    /// The entries from `start` on: at most `count`, [`MAX_READ_RECORDS`] and [`MAX_READ_BYTES`], and at least one if
    /// there is one. Only durable records are given. Reads files.
    ///
    /// # Errors
    /// [`LogError::Tampered`] if a file is not what it must be, or what the system said.
    pub fn read(&self, start: u64, count: u32) -> Result<Vec<Vec<u8>>, LogError> {
        let (size, base, journal, spans) = {
            let shared = Shared::lock(&self.shared);
            (shared.head.size, shared.base, Arc::clone(&shared.journal), shared.entries.clone())
        };
        let end = start.saturating_add(u64::from(count.min(MAX_READ_RECORDS))).min(size);
        let mut entries: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        let mut next = start;
        while next < end {
            let (tile, within) = (next / TILE_RECORDS, usize::try_from(next % TILE_RECORDS).unwrap_or(TILE));
            let rest = usize::try_from(end - next).unwrap_or(TILE);
            let some: Vec<Vec<u8>> = if next < base {
                self.bundle(tile)?.into_iter().skip(within).take(rest).collect()
            } else {
                spans.iter().skip(within).take(rest).map(|span| journal.read(span)).collect::<Result<_, _>>()?
            };
            if some.is_empty() {
                break;
            }
            for entry in some {
                bytes += entry.len();
                if bytes > MAX_READ_BYTES && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(entry);
                next += 1;
            }
        }
        Ok(entries)
    }

    fn bundle(&self, index: u64) -> Result<Vec<Vec<u8>>, LogError> {
        let path = TileFile::full(Kind::Entries, index).path();
        let bytes = self.store.read(&path, MAX_BUNDLE_BYTES)?;
        let bytes = bytes.ok_or_else(|| Tampered::Missing { path: path.clone() })?;
        let entries = unbundle(&bytes, TILE)
            .ok_or_else(|| Tampered::Bundle { path, first: RecordId::new(index * TILE_RECORDS) })?;
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }

    /// Stores a signed checkpoint: first the partial tiles it needs, then the note, each whole or not at all. Blocks.
    /// The signature is the caller's to make right ([`checkpoint::sign_with`] checks it).
    ///
    /// # Errors
    /// [`LogError::ForeignCheckpoint`] if it is not for a durable prefix of this log, [`LogError::OlderCheckpoint`] if a
    /// newer one is stored, [`LogError::Note`] if it is no checkpoint, or what the system said.
    pub fn store_checkpoint(&self, note: &str) -> Result<(), LogError> {
        let note = note.to_owned();
        self.ask(move |writer| writer.store_checkpoint(&note))
    }

    /// The stored checkpoint, if there is one.
    ///
    /// # Errors
    /// What the system said.
    pub fn checkpoint(&self) -> Result<Option<Vec<u8>>, LogError> {
        self.store.read(Path::new(crate::store::CHECKPOINT), crate::note::MAX_NOTE_BYTES)
    }

    /// The inclusion proof of `record` in the tree of the first `size` records (RFC 6962 §2.1.1). Blocks.
    ///
    /// # Errors
    /// [`LogError::NotInTree`], or what is wrong with the tiles.
    pub fn prove_inclusion(&self, record: RecordId, size: u64) -> Result<Vec<[u8; 32]>, LogError> {
        self.ask(move |writer| writer.hashes(|hashes: &Hashes<'_>| hashes.inclusion(record.index(), size)))
    }

    /// The proof that the first `from` records are a prefix of the first `to` (RFC 6962 §2.1.2). Blocks.
    ///
    /// # Errors
    /// [`LogError::NotInTree`], or what is wrong with the tiles.
    pub fn prove_consistency(&self, from: u64, to: u64) -> Result<Vec<[u8; 32]>, LogError> {
        self.ask(move |writer| writer.hashes(|hashes: &Hashes<'_>| hashes.consistency(from, to)))
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Writer) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let (reply, answer) = sync_channel(1);
        let run = Command::Run(Box::new(move |writer: &mut Writer| {
            // The receiver waits below; it cannot be gone.
            let _ = reply.send(question(writer));
        }));
        let commands = self.commands.as_ref().ok_or(LogError::Closed)?;
        commands.send(run).map_err(|_| LogError::Closed)?;
        answer.recv().map_err(|_| LogError::Closed)?
    }
}

impl Drop for Log {
    /// Everything that waits is written and synced first.
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has already failed every caller that waits for it.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({:?} in {}, {} records)", self.origin, self.store.dir().display(), self.head().size)
    }
}
