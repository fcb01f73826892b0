//! A log key, records, and files, for the tests of the log.

use std::{
    fs,
    path::{Path, PathBuf},
};

use assay_admission::UnixTime;
use assay_audit::{Durability, Log, NoteKey, Record, StartRecord, checkpoint};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

pub(crate) const ORIGIN: &str = "node.example/log";

pub(crate) struct LogKey {
    pair: Ed25519KeyPair,
    pub(crate) public: NoteKey,
}

impl LogKey {
    pub(crate) fn new(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let spki = [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0], pair.public_key().as_ref()].concat();
        Self { public: NoteKey::from_spki(&spki).unwrap(), pair }
    }

    pub(crate) fn sign(&self, head: &checkpoint::Unsigned) -> String {
        let text = head.text();
        checkpoint::sign_with(&text, &head.origin, &self.public, self.pair.sign(text.as_bytes()).as_ref()).unwrap()
    }

    /// Signs the log's head and stores it.
    pub(crate) fn seal(&self, log: &Log) -> String {
        let note = self.sign(&log.unsigned_checkpoint());
        log.store_checkpoint(&note).unwrap();
        note
    }
}

pub(crate) fn record(number: u64) -> Record {
    StartRecord {
        time: UnixTime::from_seconds(1_795_341_600),
        program_version: format!("record {number}"),
        log_size: number,
        repaired_bytes: 0,
    }
    .into()
}

pub(crate) fn open(dir: &Path) -> Log {
    Log::open(dir, ORIGIN).unwrap().0
}

/// Appends records numbered from the log's size on.
pub(crate) fn append(log: &Log, count: u64) {
    let size = log.head().size;
    for number in size..size + count {
        let recorded = log.append_wait(record(number), Durability::Synced).unwrap();
        assert_eq!(recorded.id().index(), number);
    }
}

/// Every file below `dir`, relative to it.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(dir).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
