//! The log's one writing thread: takes what waits, appends it at once, syncs it at once, and tells every caller.
//! A failed write is undone and reported; a failed sync stops the log, because the state of the file is then unknown.

mod open;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use assay_admission::RecordId;
use tlog_tiles::Hash;

use crate::{
    Durability, Head, LogError, Recorded, checkpoint, journal,
    log::Shared,
    proof::Hashes,
    store::{CHECKPOINT, JOURNAL, JournalFile, Store, WriteLock},
    tiles::{Kind, TileFile, bundle, hashes_to_bytes},
    tree::{Edge, TILE},
};

/// How long a record that may wait does wait for its sync: well below the second that is promised.
const SOON: Duration = Duration::from_millis(500);

type Done = Box<dyn FnOnce(Result<Recorded, LogError>) + Send>;

/// What the thread is asked to do.
pub(crate) enum Command {
    /// Append a record.
    Append(Pending),
    /// Anything else that needs the writer's state.
    Run(Box<dyn FnOnce(&mut Writer) + Send>),
}

/// A record that waits to be appended.
pub(crate) struct Pending {
    entry: Vec<u8>,
    leaf: Hash,
    durability: Durability,
    done: Done,
}

impl Pending {
    pub(crate) fn new(
        entry: Vec<u8>,
        leaf: Hash,
        durability: Durability,
        done: impl FnOnce(Result<Recorded, LogError>) + Send + 'static,
    ) -> Self {
        Self { entry, leaf, durability, done: Box::new(done) }
    }

    pub(crate) fn refuse(self, error: LogError) {
        self.tell(Err(error));
    }

    fn accept(self, index: u64) {
        let recorded = Recorded { id: RecordId::new(index), leaf: self.leaf.0, durability: self.durability };
        self.tell(Ok(recorded));
    }

    fn tell(self, result: Result<Recorded, LogError>) {
        // A caller that panics must not take the log away from the others.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.done)(result)));
    }
}

/// The state of the one writer.
pub(crate) struct Writer {
    store: Store,
    origin: String,
    edge: Edge,
    journal: Arc<JournalFile>,
    /// The check of the journal's head.
    check: [u8; 32],
    /// Where every written entry lies in the journal.
    entries: Vec<std::ops::Range<usize>>,
    /// Where the journal ends.
    end: u64,
    /// Up to where it is known to be on disk.
    durable: u64,
    /// When the newest records must be synced, if they are not.
    sync_by: Option<Instant>,
    /// The size of the stored checkpoint.
    checkpoint: u64,
    /// Why nothing more can be written.
    stopped: Option<LogError>,
    shared: Arc<Mutex<Shared>>,
    _lock: WriteLock,
}

impl Writer {
    pub(crate) fn shared(&self) -> Arc<Mutex<Shared>> {
        Arc::clone(&self.shared)
    }

    /// Works until every sender is gone, then syncs what is not synced.
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let first = match self.sync_by {
                None => commands.recv().map_err(RecvTimeoutError::from),
                Some(at) => commands.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match first {
                Ok(command) => self.take(command, commands),
                Err(RecvTimeoutError::Timeout) => self.sync_late(),
                Err(RecvTimeoutError::Disconnected) => return self.sync_late(),
            }
        }
    }

    /// Takes everything that waits by now: one write and one sync for all of it.
    fn take(&mut self, first: Command, commands: &Receiver<Command>) {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Append(pending) => batch.push(pending),
                Command::Run(run) => {
                    self.append(std::mem::take(&mut batch));
                    run(self);
                }
            }
            next = if batch.len() < TILE { commands.try_recv().ok() } else { None };
        }
        self.append(batch);
        if self.sync_by.is_some_and(|at| at <= Instant::now()) {
            self.sync_late();
        }
    }

    fn append(&mut self, mut batch: Vec<Pending>) {
        while !batch.is_empty() {
            let room = match self.make_room() {
                Ok(room) => room.min(batch.len()),
                Err(error) => return batch.into_iter().for_each(|pending| pending.refuse(error.clone())),
            };
            let rest = batch.split_off(room);
            self.commit(batch);
            batch = rest;
        }
        // Seals in advance, so that the next caller need not wait for it. If it fails, that caller hears why.
        if self.edge.room() == 0 {
            let _ = self.make_room();
        }
    }

    /// How many records the journal takes; if none, its tile is sealed and a new journal begun.
    fn make_room(&mut self) -> Result<usize, LogError> {
        self.alive()?;
        if self.edge.room() == 0 {
            self.seal()?;
        }
        Ok(self.edge.room())
    }

    fn alive(&self) -> Result<(), LogError> {
        self.stopped.as_ref().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Appends records that fit, in one write, and syncs them if one of them asks for it.
    fn commit(&mut self, batch: Vec<Pending>) {
        let first = self.edge.size();
        let mut buffer = Vec::new();
        let at = usize::try_from(self.end).expect("a journal has at most some 30 MiB");
        let mut spans = Vec::with_capacity(batch.len());
        for (index, pending) in (first..).zip(&batch) {
            let span = journal::frame(&mut buffer, &self.check, index, self.durable, &pending.entry);
            spans.push(at + span.start..at + span.end);
        }
        if let Err(error) = self.journal.write_at(&buffer, self.end) {
            // The part of it that was written must not stand before the next record.
            if let Err(cut) = self.journal.truncate(self.end) {
                self.stop(&cut);
            }
            return batch.into_iter().for_each(|pending| pending.refuse(error.clone()));
        }
        self.end += u64::try_from(buffer.len()).expect("a buffer's length fits");
        self.entries.extend(spans);
        batch.iter().for_each(|pending| self.edge.push(pending.leaf));

        let numbered = (first..).zip(batch);
        let (now, soon): (Vec<_>, Vec<_>) = numbered.partition(|(_, pending)| match pending.durability {
            Durability::Synced => true,
            Durability::Soon => false,
        });
        if !soon.is_empty() {
            self.sync_by.get_or_insert_with(|| Instant::now() + SOON);
        }
        soon.into_iter().for_each(|(index, pending)| pending.accept(index));
        if now.is_empty() {
            return;
        }
        match self.sync() {
            Ok(()) => now.into_iter().for_each(|(index, pending)| pending.accept(index)),
            Err(error) => now.into_iter().for_each(|(_, pending)| pending.refuse(error.clone())),
        }
    }

    /// Makes everything written durable, and only then visible.
    fn sync(&mut self) -> Result<(), LogError> {
        self.alive()?;
        if let Err(error) = self.journal.sync() {
            return Err(self.stop(&error));
        }
        self.durable = self.end;
        self.sync_by = None;
        let mut shared = Shared::lock(&self.shared);
        let known = shared.entries.len();
        shared.entries.extend(self.entries.iter().skip(known).cloned());
        shared.head = Head { size: self.edge.size(), root: self.edge.root().0 };
        Ok(())
    }

    /// Nobody waits for this sync; a failure stops the log, so the next caller hears of it.
    fn sync_late(&mut self) {
        self.sync_by = None;
        if self.durable < self.end {
            let _ = self.sync();
        }
    }

    fn stop(&mut self, error: &LogError) -> LogError {
        self.sync_by = None;
        self.stopped.insert(LogError::Stopped(error.to_string())).clone()
    }

    /// Writes the full tiles of the 256 records in the journal and begins a new journal. Until the new journal has its name
    /// the old one counts, and sealing again writes the same tiles again.
    fn seal(&mut self) -> Result<(), LogError> {
        if self.durable < self.end {
            self.sync()?;
        }
        let index = self.edge.open_tile(0).0;
        let entries = self.entries.iter().map(|span| self.journal.read(span)).collect::<Result<Vec<_>, _>>()?;
        let entries_file = TileFile::full(Kind::Entries, index);
        self.store.write(&entries_file.path(), &bundle(entries.iter().map(Vec::as_slice)))?;
        let full = self.edge.full_tiles();
        for tile in &full {
            let file = TileFile::full(Kind::Hashes(tile.level), tile.index);
            self.store.write(&file.path(), &hashes_to_bytes(&tile.hashes))?;
        }

        let mut edge = self.edge.clone();
        edge.seal();
        let head = journal::Head { base: edge.sealed(), root: edge.root().0, origin: self.origin.clone() };
        let bytes = head.encode();
        self.store.write(Path::new(JOURNAL), &bytes)?;
        // From here on the new journal counts; without it in hand nothing may be appended to the old one.
        let journal = match self.store.open_journal() {
            Ok(journal) => Arc::new(journal),
            Err(error) => return Err(self.stop(&error)),
        };

        self.edge = edge;
        self.check = head.check();
        self.journal = Arc::clone(&journal);
        self.entries.clear();
        self.end = u64::try_from(bytes.len()).expect("a head has a few hundred bytes");
        self.durable = self.end;
        let mut shared = Shared::lock(&self.shared);
        shared.base = head.base;
        shared.journal = journal;
        shared.entries.clear();
        drop(shared);

        // c2sp.org/tlog-tiles, "Partial Tiles": they may go once the full tile is there.
        let levels = full.iter().map(|tile| TileFile::full(Kind::Hashes(tile.level), tile.index));
        levels.chain([entries_file]).for_each(|file| self.store.remove_partials(&file.partials()));
        Ok(())
    }

    /// Stores a checkpoint of a durable prefix, after the partial tiles that the specification wants for its size.
    pub(crate) fn store_checkpoint(&mut self, note: &str) -> Result<(), LogError> {
        let found = checkpoint::parse(note.as_bytes())?;
        let checkpoint::Unsigned { origin, size, root } = found.claims().clone();
        if origin != self.origin {
            return Err(LogError::Origin { found: origin, expected: self.origin.clone() });
        }
        self.make_room()?;
        let durable = Shared::lock(&self.shared).head.size;
        if size > durable || self.hashes(|hashes| hashes.root_at(size))? != root {
            return Err(LogError::ForeignCheckpoint { size, durable });
        }
        if size < self.checkpoint {
            return Err(LogError::OlderCheckpoint { size, stored: self.checkpoint });
        }
        self.write_partial_tiles(size)?;
        self.store.write(Path::new(CHECKPOINT), note.as_bytes())?;
        self.checkpoint = size;
        Ok(())
    }

    /// c2sp.org/tlog-tiles, "Partial Tiles": level l has floor(s / 256^l) mod 256 hashes. Tiles that are full by now are there.
    fn write_partial_tiles(&self, size: u64) -> Result<(), LogError> {
        for level in 0..self.edge.levels() {
            let count = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
            let (index, hashes) = self.edge.open_tile(level);
            let width = u16::try_from(count % 256).expect("less than 256");
            let Some(hashes) = hashes.get(..usize::from(width)) else { continue };
            if width == 0 || count / 256 != index {
                continue;
            }
            self.write_partial(TileFile { kind: Kind::Hashes(level), index, width }, || Ok(hashes_to_bytes(hashes)))?;
            if level == 0 {
                self.write_partial(TileFile { kind: Kind::Entries, index, width }, || {
                    let spans = self.entries.iter().take(usize::from(width));
                    let entries = spans.map(|span| self.journal.read(span)).collect::<Result<Vec<_>, _>>()?;
                    Ok(bundle(entries.iter().map(Vec::as_slice)))
                })?;
            }
        }
        Ok(())
    }

    /// A partial tile never changes, so one that is there is left alone.
    fn write_partial(&self, file: TileFile, bytes: impl FnOnce() -> Result<Vec<u8>, LogError>) -> Result<(), LogError> {
        let path = file.path();
        if self.store.has(&path)? { Ok(()) } else { self.store.write(&path, &bytes()?) }
    }

    /// Answers from the log's hashes.
    pub(crate) fn hashes<T>(&self, ask: impl FnOnce(&Hashes<'_>) -> Result<T, LogError>) -> Result<T, LogError> {
        ask(&Hashes::new(&self.store, &self.edge))
    }
}
