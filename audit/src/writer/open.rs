//! Opening: reads the journal, rebuilds the right edge from the tiles, compares both with the checkpoint, and only then
//! repairs what a crash may leave. Whatever else is wrong is left as it is and refused.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use assay_admission::RecordId;
use tlog_tiles::{EMPTY_HASH, Hash};

use super::Writer;
use crate::{
    Head, LogError, Opened, Tampered, Torn, checkpoint, journal,
    log::Shared,
    note::{MAX_NOTE_BYTES, check_name},
    proof::{Hashes, full_tile},
    store::{CHECKPOINT, JOURNAL, Store, TILES},
    tree::{Edge, perfect_root},
};

impl Writer {
    /// Takes the lock, examines the log, repairs a torn tail, finishes an interrupted seal.
    pub(crate) fn open(dir: &Path, origin: &str) -> Result<(Self, Opened), LogError> {
        check_name(origin).map_err(|_| LogError::BadOrigin(origin.to_owned()))?;
        let store = Store::new(dir);
        let lock = store.lock()?;
        let scan = journal::scan(&journal_of(&store, origin)?)?;
        if scan.head.origin != origin {
            return Err(LogError::Origin { found: scan.head.origin, expected: origin.to_owned() });
        }
        let mut edge = edge_of(&store, scan.head.base)?;
        if edge.root().0 != scan.head.root {
            return Err(Tampered::JournalRoot { size: scan.head.base }.into());
        }
        scan.leaves.iter().for_each(|leaf| edge.push(*leaf));
        let signed = examine_checkpoint(&store, &edge, origin)?;

        let journal = Arc::new(store.open_journal()?);
        let end = u64::try_from(scan.end).expect("a journal has at most some 30 MiB");
        let repaired = if scan.torn > 0 {
            journal.truncate(end)?;
            let bytes = u64::try_from(scan.torn).expect("a journal has at most some 30 MiB");
            Some(Torn { record: RecordId::new(scan.size()), bytes })
        } else {
            None
        };
        // What an agent that was killed had written may still be in memory only.
        journal.sync()?;

        let head = Head { size: edge.size(), root: edge.root().0 };
        let shared = Shared { head, base: edge.sealed(), journal: Arc::clone(&journal), entries: scan.entries.clone() };
        let mut writer = Self {
            store,
            origin: origin.to_owned(),
            edge,
            journal,
            check: scan.head.check(),
            entries: scan.entries,
            end,
            durable: end,
            sync_by: None,
            checkpoint: signed.unwrap_or(0),
            stopped: None,
            shared: Arc::new(Mutex::new(shared)),
            _lock: lock,
        };
        // A full disk does not stop the log from being read; the next record hears of it.
        match writer.make_room() {
            Ok(_) | Err(LogError::Full { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok((writer, Opened { size: head.size, repaired, checkpoint: signed }))
    }
}

/// The journal's bytes; a new journal if the directory holds no log at all.
fn journal_of(store: &Store, origin: &str) -> Result<Vec<u8>, LogError> {
    let path = Path::new(JOURNAL);
    if let Some(bytes) = store.read(path, journal::MAX_JOURNAL_BYTES)? {
        return Ok(bytes);
    }
    if store.has(Path::new(TILES))? || store.has(Path::new(CHECKPOINT))? {
        return Err(Tampered::JournalMissing.into());
    }
    let bytes = journal::Head { base: 0, root: EMPTY_HASH.0, origin: origin.to_owned() }.encode();
    store.write(path, &bytes)?;
    Ok(bytes)
}

/// The edge of `sealed` records: for each level from 1, the roots of the full tiles below that fill no tile of their own.
fn edge_of(store: &Store, sealed: u64) -> Result<Edge, LogError> {
    let mut above = Vec::new();
    for below in 0u8..8 {
        let count = sealed.checked_shr(8 * (u32::from(below) + 1)).unwrap_or(0);
        if count == 0 {
            break;
        }
        let hashes = (count - count % 256..count).map(|index| full_tile(store, below, index).map(|t| perfect_root(&t)));
        above.push(hashes.collect::<Result<Vec<Hash>, LogError>>()?);
    }
    Ok(Edge::new(sealed, above))
}

/// The size of the stored checkpoint, if this log has the records that it was made of.
fn examine_checkpoint(store: &Store, edge: &Edge, origin: &str) -> Result<Option<u64>, LogError> {
    let Some(note) = store.read(Path::new(CHECKPOINT), MAX_NOTE_BYTES)? else { return Ok(None) };
    let found = checkpoint::parse(&note).map_err(Tampered::Checkpoint)?;
    let signed = found.claims();
    if signed.origin != origin {
        let (found, expected) = (signed.origin.clone(), origin.to_owned());
        return Err(Tampered::CheckpointOrigin { found, expected }.into());
    }
    if signed.size > edge.size() {
        return Err(Tampered::Dropped { signed: signed.size, found: edge.size() }.into());
    }
    if Hashes::new(store, edge).root_at(signed.size)? != signed.root {
        return Err(Tampered::Root { size: signed.size }.into());
    }
    Ok(Some(signed.size))
}
