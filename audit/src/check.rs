//! The offline check of a whole log: every file below its directory, every record, every hash, every signature.
//! Reads only; takes no lock, so a running agent is not disturbed. The first thing that is wrong is named.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use assay_admission::RecordId;
use tlog_tiles::{HASH_SIZE, Hash, record_hash};

use crate::{
    Head, LogError, NoteError, NoteKey, Record, RecordedOutcome, Tampered, checkpoint,
    journal::{self, MAX_JOURNAL_BYTES, Scan},
    note::MAX_NOTE_BYTES,
    store::{CHECKPOINT, JOURNAL, Store, TILES},
    tiles::{Kind, MAX_BUNDLE_BYTES, MAX_TILE_BYTES, TileFile, bundle, hashes_to_bytes, unbundle},
    tree::{Range, TILE, TILE_RECORDS, perfect_root},
};

/// How often, and how long apart, a journal that ends within a record is read again: an agent may be writing it.
const READS: usize = 5;
const BETWEEN_READS: Duration = Duration::from_millis(20);
/// Folders within folders that tile names need: `tile/<L>/x.../x.../x.../.../NNN.p`.
const MAX_DEPTH: usize = 12;

/// A log that is what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The log's name.
    pub origin: String,
    /// The records and their root.
    pub head: Head,
    /// How many of them the stored checkpoint signs. Nothing but the journal's own hashes protects the others yet.
    pub signed: u64,
    /// The pinned key that signed it.
    pub signed_by: NoteKey,
    /// The size of the earlier checkpoint, of which this log is a continuation.
    pub since: Option<u64>,
    /// Decisions that allowed.
    pub allowed: u64,
    /// Decisions that denied, and refusals by gates.
    pub denied: u64,
    /// Uses of keys.
    pub key_uses: u64,
    /// Policies applied or refused.
    pub policies: u64,
    /// Updates of roots of trust, refused ones too.
    pub trust_roots: u64,
    /// Evidence that was brought by hand.
    pub evidence: u64,
    /// Starts of the agent.
    pub starts: u64,
    /// Records of a version or kind that this program does not know.
    pub unknown: u64,
}

/// Why a log was not found to be right.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CheckError {
    /// It was changed.
    #[error(transparent)]
    Tampered(#[from] Tampered),
    /// It could not be read.
    #[error(transparent)]
    Unreadable(LogError),
    /// No key was given, and an unsigned log proves nothing.
    #[error("no log key is pinned; give the log's public key")]
    NoKey,
}

impl From<LogError> for CheckError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Tampered(found) => Self::Tampered(found),
            other => Self::Unreadable(other),
        }
    }
}

/// Checks the log in `dir`. `keys` are the public keys that may have signed its checkpoint, under its origin's name;
/// `since` is a checkpoint that was saved elsewhere earlier, of which the log must be a continuation.
///
/// # Errors
/// [`CheckError::Tampered`] names what is wrong. [`CheckError::NoKey`] if `keys` is empty.
pub fn verify_dir(dir: &Path, keys: &[NoteKey], since: Option<&[u8]>) -> Result<Report, CheckError> {
    if keys.is_empty() {
        return Err(CheckError::NoKey);
    }
    let store = Store::new(dir);
    // The checkpoint first: what it signs is in every journal that is read after it.
    let note = store.read(Path::new(CHECKPOINT), MAX_NOTE_BYTES)?;
    let (journal, scan) = read_journal(&store)?;
    let note = note.ok_or(Tampered::CheckpointMissing)?;
    let signed = verified(&note, keys, &scan).map_err(|fault| match fault {
        Fault::Note(error) => Tampered::Checkpoint(error),
        Fault::Origin(found) => Tampered::CheckpointOrigin { found, expected: scan.head.origin.clone() },
        Fault::Ahead(signed) => Tampered::Dropped { signed, found: scan.size() },
    })?;
    let earlier = since.map(|note| verified(note, keys, &scan)).transpose().map_err(|fault| match fault {
        Fault::Note(error) => Tampered::Since(error),
        Fault::Origin(found) => Tampered::SinceOrigin { found, expected: scan.head.origin.clone() },
        Fault::Ahead(signed) => Tampered::SinceDropped { signed, found: scan.size() },
    })?;

    let (root, since) = (signed.head().clone(), earlier.map(|earlier| earlier.head().clone()));
    let report = Report {
        origin: scan.head.origin.clone(),
        head: Head { size: 0, root: [0; 32] },
        signed: root.size,
        signed_by: *signed.key(),
        since: since.as_ref().map(|since| since.size),
        allowed: 0,
        denied: 0,
        key_uses: 0,
        policies: 0,
        trust_roots: 0,
        evidence: 0,
        starts: 0,
        unknown: 0,
    };
    let levels = vec![Level::default()];
    let mut check = Check { store: &store, range: Range::default(), levels, signed: root, since, report };
    check.all(&journal, &scan)?;
    Ok(check.report)
}

/// The journal. One that ends within a record is read again a few times before it is believed.
fn read_journal(store: &Store) -> Result<(Vec<u8>, Scan), CheckError> {
    let mut read = 1;
    loop {
        let bytes = store.read(Path::new(JOURNAL), MAX_JOURNAL_BYTES)?.ok_or(Tampered::JournalMissing)?;
        let scan = journal::scan(&bytes)?;
        if scan.torn == 0 {
            return Ok((bytes, scan));
        }
        if read == READS {
            let bytes = u64::try_from(scan.torn).expect("a journal has at most some 30 MiB");
            return Err(Tampered::JournalTail { size: scan.size(), bytes }.into());
        }
        read += 1;
        thread::sleep(BETWEEN_READS);
    }
}

enum Fault {
    Note(NoteError),
    Origin(String),
    Ahead(u64),
}

fn verified(note: &[u8], keys: &[NoteKey], scan: &Scan) -> Result<checkpoint::Verified, Fault> {
    let found = checkpoint::parse(note).and_then(|found| found.verify(keys)).map_err(Fault::Note)?;
    if found.head().origin != scan.head.origin {
        return Err(Fault::Origin(found.head().origin.clone()));
    }
    if found.head().size > scan.size() {
        return Err(Fault::Ahead(found.head().size));
    }
    Ok(found)
}

/// The tile that is being filled at one level, as the records make it.
#[derive(Default)]
struct Level {
    index: u64,
    hashes: Vec<Hash>,
}

struct Check<'a> {
    store: &'a Store,
    range: Range,
    levels: Vec<Level>,
    signed: checkpoint::Unsigned,
    since: Option<checkpoint::Unsigned>,
    report: Report,
}

impl Check<'_> {
    fn all(&mut self, journal: &[u8], scan: &Scan) -> Result<(), CheckError> {
        self.compare_roots()?;
        for index in 0..scan.head.base / TILE_RECORDS {
            self.full_bundle(index)?;
        }
        if self.range.root().0 != scan.head.root {
            return Err(Tampered::JournalRoot { size: scan.head.base }.into());
        }
        let mut entries = Vec::with_capacity(scan.entries.len());
        for span in &scan.entries {
            let entry = journal.get(span.clone()).unwrap_or_default();
            self.record(entry)?;
            entries.push(entry);
        }
        self.tile_file(Kind::Entries, scan.head.base / TILE_RECORDS, &bundle(entries.iter().copied()), None)?;
        self.open_tiles()?;
        self.tiles_of_checkpoint()?;
        self.report.head = Head { size: self.range.size(), root: self.range.root().0 };
        self.nothing_foreign()
    }

    /// A bundle that must be there and full.
    fn full_bundle(&mut self, index: u64) -> Result<(), CheckError> {
        let file = TileFile::full(Kind::Entries, index);
        let path = file.path();
        let bytes = self.store.read(&path, MAX_BUNDLE_BYTES)?;
        let bytes = bytes.ok_or_else(|| Tampered::Missing { path: path.clone() })?;
        let first = RecordId::new(index * TILE_RECORDS);
        let entries = unbundle(&bytes, TILE).ok_or(Tampered::Bundle { path, first })?;
        // The tile of its hashes first: it says which record is wrong.
        let leaves: Vec<Hash> = entries.iter().map(|entry| record_hash(entry)).collect();
        self.tile_file(Kind::Hashes(0), index, &hashes_to_bytes(&leaves), Some(TILE))?;
        self.tile_file(Kind::Entries, index, &bytes, Some(TILE))?;
        entries.into_iter().try_for_each(|entry| self.record(entry))?;
        self.roll_up()
    }

    fn record(&mut self, entry: &[u8]) -> Result<(), CheckError> {
        let leaf = record_hash(entry);
        self.range.push(leaf);
        if let Some(level) = self.levels.first_mut() {
            level.hashes.push(leaf);
        }
        let report = &mut self.report;
        let count = match Record::parse(entry) {
            Ok(Record::Decision(decision)) => match decision.outcome {
                RecordedOutcome::Allow => &mut report.allowed,
                RecordedOutcome::Deny => &mut report.denied,
            },
            Ok(Record::Refusal(_)) => &mut report.denied,
            Ok(Record::KeyUse(_)) => &mut report.key_uses,
            Ok(Record::Policy(_)) => &mut report.policies,
            Ok(Record::TrustRoot(_)) => &mut report.trust_roots,
            Ok(Record::Evidence(_)) => &mut report.evidence,
            Ok(Record::Start(_)) => &mut report.starts,
            Err(_) => &mut report.unknown,
        };
        *count += 1;
        self.compare_roots()?;
        Ok(())
    }

    fn compare_roots(&self) -> Result<(), Tampered> {
        let size = self.range.size();
        if size == self.signed.size && self.range.root().0 != self.signed.root {
            return Err(Tampered::Root { size });
        }
        match &self.since {
            Some(since) if since.size == size && self.range.root().0 != since.root => Err(Tampered::SinceRoot { size }),
            Some(_) | None => Ok(()),
        }
    }

    /// Carries full tiles upwards, and compares each above level 0 with its file.
    fn roll_up(&mut self) -> Result<(), CheckError> {
        for level in 0u8..8 {
            let at = usize::from(level);
            let Some(full) = self.levels.get_mut(at).filter(|tile| tile.hashes.len() == TILE) else { break };
            let (index, hashes) = (full.index, std::mem::take(&mut full.hashes));
            full.index += 1;
            if level > 0 {
                self.tile_file(Kind::Hashes(level), index, &hashes_to_bytes(&hashes), Some(TILE))?;
            }
            if self.levels.len() == at + 1 {
                self.levels.push(Level::default());
            }
            if let Some(above) = self.levels.get_mut(at + 1) {
                above.hashes.push(perfect_root(&hashes));
            }
        }
        Ok(())
    }

    fn open_tiles(&self) -> Result<(), CheckError> {
        for (level, tile) in (0u8..).zip(&self.levels) {
            self.tile_file(Kind::Hashes(level), tile.index, &hashes_to_bytes(&tile.hashes), None)?;
        }
        Ok(())
    }

    /// Compares a tile's full and partial files with the bytes that the records make. The full one must be there if
    /// `full` is given. Longer files, which a running agent may have written since, need only begin so;
    /// [`Self::nothing_foreign`] finds those that have no right to be longer.
    fn tile_file(&self, kind: Kind, index: u64, expected: &[u8], full: Option<usize>) -> Result<(), CheckError> {
        let file = TileFile::full(kind, index);
        let path = file.path();
        let cap = match kind {
            Kind::Entries => MAX_BUNDLE_BYTES,
            Kind::Hashes(_) => MAX_TILE_BYTES,
        };
        match self.store.read(&path, cap)? {
            Some(found) if full.is_some() && found == expected => {}
            Some(found) if full.is_none() && found.starts_with(expected) => {}
            Some(found) => return Err(misfit(kind, index, path, expected, &found).into()),
            None if full.is_some() => return Err(Tampered::Missing { path }.into()),
            None => {}
        }
        for (name, _) in self.store.list(&file.partials())? {
            let path = file.partials().join(&name);
            // Names that are no widths are found by the walk through all names.
            let Some(partial) = TileFile::parse(&path) else { continue };
            // One that was listed and is gone was removed by a running agent, since its full tile is there.
            let Some(found) = self.store.read(&path, cap)? else { continue };
            let wanted = prefix(kind, expected, usize::from(partial.width));
            let fits = wanted.map_or_else(|| found.starts_with(expected), |wanted| found == wanted);
            if !fits {
                return Err(misfit(kind, index, path, wanted.unwrap_or(expected), &found).into());
            }
        }
        Ok(())
    }

    /// c2sp.org/tlog-tiles, "Partial Tiles": those for the size of a checkpoint must be there, or their full tiles.
    fn tiles_of_checkpoint(&self) -> Result<(), CheckError> {
        for level in 0u8..8 {
            let count = self.signed.size.checked_shr(8 * u32::from(level)).unwrap_or(0);
            let Some(width) = u16::try_from(count % 256).ok().filter(|width| *width > 0) else { continue };
            let kinds = [Some(Kind::Hashes(level)), (level == 0).then_some(Kind::Entries)];
            for kind in kinds.into_iter().flatten() {
                let path = TileFile { kind, index: count / 256, width }.path();
                let full = TileFile::full(kind, count / 256).path();
                // In this order: a running agent writes the full one before it removes the partial ones.
                if !self.store.has(&path)? && !self.store.has(&full)? {
                    return Err(Tampered::Missing { path }.into());
                }
            }
        }
        Ok(())
    }

    /// Every file below `tile/` is a tile of this log, as large as it is by now.
    fn nothing_foreign(&self) -> Result<(), CheckError> {
        let mut files = Vec::new();
        self.walk(Path::new(TILES), 1, &mut |path| {
            if TileFile::parse(&path).is_none_or(|file| end(file) > self.range.size()) {
                files.push(path);
            }
        })?;
        if files.is_empty() {
            return Ok(());
        }
        let (_, now) = read_journal(self.store)?;
        match files.into_iter().find(|path| TileFile::parse(path).is_none_or(|file| end(file) > now.size())) {
            Some(path) => Err(Tampered::Foreign { path }.into()),
            None => Ok(()),
        }
    }

    fn walk(&self, folder: &Path, depth: usize, found: &mut impl FnMut(PathBuf)) -> Result<(), CheckError> {
        for (name, is_folder) in self.store.list(folder)? {
            let path = folder.join(name);
            if !is_folder {
                found(path);
            } else if depth == MAX_DEPTH {
                return Err(Tampered::Foreign { path }.into());
            } else {
                self.walk(&path, depth + 1, found)?;
            }
        }
        Ok(())
    }
}

/// The number of records that a tile needs, its own last one included.
fn end(file: TileFile) -> u64 {
    let level = match file.kind {
        Kind::Hashes(level) => u32::from(level),
        Kind::Entries => 0,
    };
    let hashes = file.index.checked_mul(TILE_RECORDS).and_then(|first| first.checked_add(u64::from(file.width)));
    hashes.and_then(|hashes| hashes.checked_mul(256u64.checked_pow(level)?)).unwrap_or(u64::MAX)
}

/// The bytes of the first `width` hashes or entries; `None` if there are fewer.
fn prefix(kind: Kind, bytes: &[u8], width: usize) -> Option<&[u8]> {
    match kind {
        Kind::Hashes(_) => bytes.get(..width * HASH_SIZE),
        Kind::Entries => {
            let mut length = 0usize;
            for _ in 0..width {
                let own = bytes.get(length..)?.first_chunk::<2>()?;
                length += 2 + usize::from(u16::from_be_bytes(*own));
            }
            bytes.get(..length)
        }
    }
}

/// Names the first record for which a file is not what it must be.
fn misfit(kind: Kind, index: u64, path: PathBuf, expected: &[u8], found: &[u8]) -> Tampered {
    match kind {
        Kind::Entries => Tampered::Bundle { path, first: RecordId::new(index * TILE_RECORDS) },
        Kind::Hashes(level) => {
            let same = expected.iter().zip(found).take_while(|(expected, found)| expected == found).count();
            let hash = u64::try_from(same / HASH_SIZE).expect("a tile has 256 hashes");
            let each = 256u64.checked_pow(u32::from(level)).unwrap_or(u64::MAX);
            let first = index.saturating_mul(TILE_RECORDS).saturating_add(hash).saturating_mul(each);
            Tampered::Tile { path, first: RecordId::new(first) }
        }
    }
}
