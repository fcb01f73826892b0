//! The journal's bytes: the newest records, each in a frame, before they fill a tile. Pure; bytes go in and out.
//!
//! A frame carries its record's number, a SHA-256 over itself and the head, and how much of the journal was durable when
//! it was written. So an unfinished write at the end (a crash) can be told from a change to what was durable (tampering).

use std::ops::Range;

use assay_admission::RecordId;
use sha2::{Digest as _, Sha256};
use tlog_tiles::{Hash, record_hash};

use crate::{
    Tampered,
    record::MAX_ENTRY_BYTES,
    tree::{TILE, TILE_RECORDS},
};

const MAGIC: &[u8; 12] = b"ASSAY-LOG\x01\r\n";
const FRAME_MARK: &[u8; 4] = b"\xa5REC";
/// Mark, number, durable length, entry length.
const FRAME_FIELDS: usize = 4 + 8 + 8 + 4;
const CHECK: usize = 32;
const MAX_HEAD_BYTES: usize = MAGIC.len() + 8 + 32 + 1 + 255 + CHECK;
/// Most bytes of a journal: a head, a tile's worth of the longest frames, and as much again for an unfinished write.
pub(crate) const MAX_JOURNAL_BYTES: usize = MAX_HEAD_BYTES + 2 * TILE * (FRAME_FIELDS + CHECK + MAX_ENTRY_BYTES);
/// Most bytes that are hashed to look for whole frames after a broken one.
const SEARCH_BUDGET: usize = 4 * MAX_JOURNAL_BYTES;

/// What a journal begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The number of records in full tiles, where this journal goes on.
    pub(crate) base: u64,
    /// Their root.
    pub(crate) root: [u8; 32],
    /// The log's name.
    pub(crate) origin: String,
}

impl Head {
    /// The head's bytes; the last 32 are its check, which every frame is bound to.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let length = u8::try_from(self.origin.len()).expect("origins are checked to have at most 255 bytes");
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.base.to_be_bytes());
        bytes.extend(self.root);
        bytes.push(length);
        bytes.extend(self.origin.as_bytes());
        bytes.extend(Sha256::digest(&bytes));
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<(Self, usize), &'static str> {
        let rest = bytes.strip_prefix(MAGIC).ok_or("it is not a journal of this version")?;
        let (base, rest) = rest.split_first_chunk().ok_or("it is cut off")?;
        let (root, rest) = rest.split_first_chunk().ok_or("it is cut off")?;
        let (length, rest) = rest.split_first().ok_or("it is cut off")?;
        let (origin, rest) = rest.split_at_checked(usize::from(*length)).ok_or("it is cut off")?;
        let (check, _) = rest.split_first_chunk::<CHECK>().ok_or("it is cut off")?;
        let covered = bytes.len() - rest.len();
        if bytes.get(..covered).map(Sha256::digest).is_none_or(|hash| hash.as_slice() != check) {
            return Err("its checksum is wrong");
        }
        let origin = std::str::from_utf8(origin).map_err(|_| "its origin is not UTF-8")?.to_owned();
        let base = u64::from_be_bytes(*base);
        if base % TILE_RECORDS != 0 {
            return Err("it does not begin where a tile ends");
        }
        Ok((Self { base, root: *root, origin }, covered + CHECK))
    }

    /// What frames of this journal are bound to.
    pub(crate) fn check(&self) -> [u8; CHECK] {
        self.encode().last_chunk().copied().expect("a head ends in its check")
    }
}

/// Appends the frame of the record `index` to `buffer`. `durable` is how many bytes of the journal are known to be on disk.
pub(crate) fn frame(buffer: &mut Vec<u8>, head: &[u8; CHECK], index: u64, durable: u64, entry: &[u8]) -> Range<usize> {
    let length = u32::try_from(entry.len()).expect("records are cut to 65,535 bytes before they are stored");
    let start = buffer.len();
    buffer.extend(FRAME_MARK);
    buffer.extend(index.to_be_bytes());
    buffer.extend(durable.to_be_bytes());
    buffer.extend(length.to_be_bytes());
    let fields = buffer.get(start..).unwrap_or_default();
    let check = Sha256::new().chain_update(head).chain_update(fields).chain_update(entry).finalize();
    buffer.extend(check);
    buffer.extend(entry);
    start + FRAME_FIELDS + CHECK..buffer.len()
}

/// A journal that was read.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) head: Head,
    /// Where each entry lies in the journal.
    pub(crate) entries: Vec<Range<usize>>,
    /// The entries' leaf hashes.
    pub(crate) leaves: Vec<Hash>,
    /// Where the last whole frame ends.
    pub(crate) end: usize,
    /// How many bytes follow it.
    pub(crate) torn: usize,
}

impl Scan {
    /// The number of records of the whole log.
    pub(crate) fn size(&self) -> u64 {
        self.head.base + u64::try_from(self.entries.len()).expect("a journal has at most 256 records")
    }
}

/// Reads a journal. What follows the last whole frame is given as `torn` if nothing in it had been made durable.
///
/// # Errors
/// [`Tampered::JournalHead`] and [`Tampered::JournalRecord`].
pub(crate) fn scan(bytes: &[u8]) -> Result<Scan, Tampered> {
    let (head, mut at) = Head::parse(bytes).map_err(Tampered::JournalHead)?;
    let check = head.check();
    let mut scan = Scan { head, entries: Vec::new(), leaves: Vec::new(), end: at, torn: 0 };
    while at < bytes.len() {
        let next = scan.size();
        let damaged =
            || Tampered::JournalRecord { record: RecordId::new(next), offset: u64::try_from(at).unwrap_or(u64::MAX) };
        let Some(found) = Frame::at(bytes, at, &check) else {
            if durable_after(bytes, at, &check) {
                return Err(damaged());
            }
            scan.torn = bytes.len() - at;
            break;
        };
        // A whole frame out of its place was moved there: no crash does that.
        if found.index != next || found.durable > at || scan.entries.len() == TILE {
            return Err(damaged());
        }
        let Some(entry) = bytes.get(found.entry.clone()) else { return Err(damaged()) };
        scan.leaves.push(record_hash(entry));
        at = found.entry.end;
        scan.end = at;
        scan.entries.push(found.entry);
    }
    Ok(scan)
}

struct Frame {
    index: u64,
    durable: usize,
    entry: Range<usize>,
}

impl Frame {
    fn at(bytes: &[u8], at: usize, head: &[u8; CHECK]) -> Option<Self> {
        let (fields, rest) = bytes.get(at..)?.split_first_chunk::<FRAME_FIELDS>()?;
        let (mark, numbers) = fields.split_first_chunk()?;
        if mark != FRAME_MARK {
            return None;
        }
        let (index, numbers) = numbers.split_first_chunk()?;
        let (durable, numbers) = numbers.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*numbers.first_chunk()?)).ok()?;
        if length > MAX_ENTRY_BYTES {
            return None;
        }
        let (check, rest) = rest.split_first_chunk::<CHECK>()?;
        let entry = rest.get(..length)?;
        let found = Sha256::new().chain_update(head).chain_update(fields).chain_update(entry).finalize();
        let start = at + FRAME_FIELDS + CHECK;
        (found.as_slice() == check).then_some(Self {
            index: u64::from_be_bytes(*index),
            durable: usize::try_from(u64::from_be_bytes(*durable)).ok()?,
            entry: start..start + length,
        })
    }
}

/// Whether a whole frame after `broken` says that `broken` had been made durable. Gives up, and says yes, when looking
/// costs more than a journal ever should.
fn durable_after(bytes: &[u8], broken: usize, head: &[u8; CHECK]) -> bool {
    let mut budget = SEARCH_BUDGET;
    let rest = bytes.get(broken + 1..).unwrap_or_default();
    for (skipped, window) in rest.windows(FRAME_MARK.len()).enumerate() {
        if window != FRAME_MARK {
            continue;
        }
        let at = broken + 1 + skipped;
        match budget.checked_sub(MAX_ENTRY_BYTES.min(bytes.len() - at)) {
            None => return true,
            Some(left) => budget = left,
        }
        if Frame::at(bytes, at, head).is_some_and(|frame| frame.durable > broken) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests;
