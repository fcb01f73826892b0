//! What can go wrong with the log: faults of the machine, and evidence that somebody changed it.
//! Every one of them means that a record was not, or may not have been, stored: the caller denies.

use std::{io, path::PathBuf, sync::Arc};

use assay_admission::RecordId;

use crate::{NoteError, RecordError};

/// Why the log could not be opened, or a record not be stored. Nothing was recorded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// Another process has it open.
    #[error("log {} is open in another process; stop the other assayd first", dir.display())]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },
    /// No space, or no quota, for the record. Appending works again once there is space.
    #[error("no space left to {what} {}; free disk space", path.display())]
    Full {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The system refused an operation.
    #[error("could not {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The log was changed. It is left as it is and accepts nothing more.
    #[error("log was tampered with: {0}; keep the directory as evidence, and move it aside to start a new log")]
    Tampered(#[from] Tampered),
    /// The directory holds the log of another origin.
    #[error("log belongs to {found:?}, not to {expected:?}")]
    Origin {
        /// The origin on disk.
        found: String,
        /// The origin that was asked for.
        expected: String,
    },
    /// The origin cannot be the name of a log.
    #[error("origin {0:?} is empty, longer than 255 bytes, or has spaces, control characters or a plus sign")]
    BadOrigin(String),
    /// The record cannot become an entry.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// More records are waiting than the queue holds.
    #[error("too many records are waiting for the disk")]
    Overloaded,
    /// An earlier write could not be made durable or be undone, so the state of the file is not known.
    #[error("log stopped after a failed write ({0}); restart assayd, which examines and repairs it")]
    Stopped(String),
    /// The log is closed.
    #[error("log is closed")]
    Closed,
    /// The checkpoint is not a well-formed signed note.
    #[error("not a checkpoint: {0}")]
    Note(#[from] NoteError),
    /// The checkpoint is not for a prefix of this log.
    #[error("checkpoint of size {size} is not one of this log, which has {durable} durable records")]
    ForeignCheckpoint {
        /// The checkpoint's size.
        size: u64,
        /// How many records are durable.
        durable: u64,
    },
    /// The checkpoint is older than the one that is stored.
    #[error("checkpoint of size {size} is older than the stored one of size {stored}")]
    OlderCheckpoint {
        /// The checkpoint's size.
        size: u64,
        /// The size of the one that is stored.
        stored: u64,
    },
    /// No such tree or record.
    #[error("record {index} is not in a tree of {size} records")]
    NotInTree {
        /// The record asked for, or the smaller tree's size.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
}

/// How a log is not what it was. Names the first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Tampered {
    /// There are tiles or a checkpoint but no journal.
    #[error("journal is missing")]
    JournalMissing,
    /// The journal does not begin as a journal does.
    #[error("journal's head is damaged: {0}")]
    JournalHead(&'static str),
    /// A record that had been made durable is changed or missing.
    #[error("record {} at byte {offset} of the journal is changed, missing or out of place", record)]
    JournalRecord {
        /// The record.
        record: RecordId,
        /// Where its frame begins.
        offset: u64,
    },
    /// The journal ends within a record. A crash does this too: opening the log repairs it if nothing signed is lost.
    #[error("journal ends in {bytes} bytes that are no whole record, after record count {size}")]
    JournalTail {
        /// How many records are whole.
        size: u64,
        /// How many bytes follow them.
        bytes: u64,
    },
    /// The tiles do not have the root that the journal continues.
    #[error("the first {size} records do not have the root that the journal continues")]
    JournalRoot {
        /// The number of records in full tiles.
        size: u64,
    },
    /// A file that must be there is not.
    #[error("{} is missing", path.display())]
    Missing {
        /// The file, relative to the log's directory.
        path: PathBuf,
    },
    /// A bundle of entries is not a whole one.
    #[error("{} is not a bundle of the records from {first} on", path.display())]
    Bundle {
        /// The file, relative to the log's directory.
        path: PathBuf,
        /// The first record it should hold.
        first: RecordId,
    },
    /// A record's hash is not the one in its tile, or a tile is not what its records make it.
    #[error("{} does not fit the records from {first} on", path.display())]
    Tile {
        /// The file, relative to the log's directory.
        path: PathBuf,
        /// The first record for which it is wrong.
        first: RecordId,
    },
    /// A file is longer than a log ever writes it.
    #[error("{} is longer than {most} bytes, more than it can have", path.display())]
    Oversized {
        /// The file, relative to the log's directory.
        path: PathBuf,
        /// The most bytes it can have.
        most: usize,
    },
    /// There is a file that belongs to no tile of this log.
    #[error("{} does not belong to a log of this size", path.display())]
    Foreign {
        /// The file, relative to the log's directory.
        path: PathBuf,
    },
    /// There is no checkpoint although there are records.
    #[error("checkpoint is missing")]
    CheckpointMissing,
    /// The checkpoint is not signed by a pinned key, or not a checkpoint at all.
    #[error("checkpoint does not count: {0}")]
    Checkpoint(NoteError),
    /// The checkpoint is another log's.
    #[error("checkpoint is for {found:?}, not for this log {expected:?}")]
    CheckpointOrigin {
        /// The origin in the checkpoint.
        found: String,
        /// The origin in the journal.
        expected: String,
    },
    /// Records that were signed for are gone.
    #[error("checkpoint was made of {signed} records, there are {found}: the newest were dropped")]
    Dropped {
        /// The size that was signed.
        signed: u64,
        /// The records that are there.
        found: u64,
    },
    /// Records that were signed for are others now.
    #[error("the first {size} records do not have the root that the checkpoint signs: one of them was changed")]
    Root {
        /// The size that was signed.
        size: u64,
    },
    /// The earlier checkpoint is not signed by a pinned key, or not a checkpoint at all.
    #[error("earlier checkpoint does not count: {0}")]
    Since(NoteError),
    /// The earlier checkpoint is another log's.
    #[error("earlier checkpoint is for {found:?}, not for this log {expected:?}")]
    SinceOrigin {
        /// The origin in the checkpoint.
        found: String,
        /// The origin in the journal.
        expected: String,
    },
    /// Records that the earlier checkpoint was made of are gone.
    #[error("earlier checkpoint was made of {signed} records, there are {found}: the log was cut or begun anew")]
    SinceDropped {
        /// The size that was signed.
        signed: u64,
        /// The records that are there.
        found: u64,
    },
    /// Records that the earlier checkpoint was made of are others now, whoever signed the newest checkpoint.
    #[error("the first {size} records do not have the root of the earlier checkpoint: history was rewritten")]
    SinceRoot {
        /// The size that was signed.
        size: u64,
    },
}
