//! The tamper-evident log: records go in, a proof that each is stored comes out, and anyone can check the whole later.
//! RFC 6962 hashing, C2SP tlog-tiles on disk, checkpoints as C2SP signed notes. It holds no key and never signs.
//!
//! `store` is the only module that touches files; `record`, `tree`, `tiles`, `journal`, `note`, `checkpoint` are pure.

pub mod checkpoint;

mod check;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod journal;
mod log;
mod note;
mod proof;
mod record;
mod store;
mod tiles;
mod tree;
mod writer;

pub use check::{CheckError, Report, verify_dir};
pub use error::{LogError, Tampered};
pub use log::{Durability, Head, Log, MAX_READ_BYTES, MAX_READ_RECORDS, Opened, Recorded, Torn};
pub use note::{NoteError, NoteKey};
pub use proof::{ProofError, check_consistency, check_inclusion};
pub use record::{
    BroughtEvidence, DecisionRecord, EvidenceRecord, ImageRecord, KeyOperation, KeyUseOutcome, KeyUseRecord,
    MAX_ENTRY_BYTES, PolicyOutcome, PolicyRecord, Record, RecordError, RecordedOutcome, RecordedSubject, RefusalRecord,
    StartRecord, TrustRootOutcome, TrustRootRecord,
};
