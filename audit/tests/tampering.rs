//! What somebody with write access to the log's files can do, and how each of it is found.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use assay_admission::RecordId;
use assay_audit::{CheckError, Log, NoteError, Report, Tampered, checkpoint::Unsigned, verify_dir};
use proptest::prelude::*;
use support::{LogKey, ORIGIN, append, files, open, record};
use tempfile::TempDir;

/// 300 records, signed at 290; and the checkpoint of the first 100.
struct Sealed {
    dir: TempDir,
    key: LogKey,
    early: String,
}

impl Sealed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (log, key) = (open(dir.path()), LogKey::new(1));
        append(&log, 100);
        let early = key.sign(&log.unsigned_checkpoint());
        append(&log, 190);
        key.seal(&log);
        append(&log, 10);
        Self { dir, key, early }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn verify(&self) -> Result<Report, CheckError> {
        verify_dir(self.dir.path(), &[self.key.public], Some(self.early.as_bytes()))
    }

    fn found(&self) -> Tampered {
        match self.verify() {
            Err(CheckError::Tampered(found)) => found,
            other => panic!("{other:?}"),
        }
    }

    fn change(&self, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(file)).unwrap();
        change(&mut bytes);
        fs::write(self.path(file), bytes).unwrap();
    }
}

/// Another log with `count` records of which the one at `changed` is another, signed by `key`: what an attacker makes who
/// may write every file.
fn forge(dir: &Path, count: u64, changed: u64, key: &LogKey) {
    let log = open(dir);
    for number in 0..count {
        let other = if number == changed { record(9_999) } else { record(number) };
        log.append_wait(other, assay_audit::Durability::Synced).unwrap();
    }
    key.seal(&log);
}

fn replace(target: &Path, source: &Path, except: &str) {
    for file in files(source).iter().filter(|file| file.to_str() != Some(except)) {
        fs::create_dir_all(target.join(file).parent().unwrap()).unwrap();
        fs::copy(source.join(file), target.join(file)).unwrap();
    }
}

#[test]
fn an_untouched_log_is_reported_in_full() {
    let log = Sealed::new();
    let report = log.verify().unwrap();
    assert_eq!((report.origin.as_str(), report.head.size, report.signed, report.since), (ORIGIN, 300, 290, Some(100)));
    assert_eq!((report.starts, report.unknown, report.signed_by), (300, 0, log.key.public));
}

#[test]
fn without_a_pinned_key_nothing_is_proven() {
    let log = Sealed::new();
    assert!(matches!(verify_dir(log.dir.path(), &[], None), Err(CheckError::NoKey)));
}

#[test]
fn a_log_that_is_being_written_verifies() {
    let log = Sealed::new();
    let dir = log.dir.path().to_owned();
    let writer = std::thread::spawn(move || append(&open(&dir), 600));
    while !writer.is_finished() {
        log.verify().unwrap();
    }
    writer.join().unwrap();
    assert_eq!(log.verify().unwrap().head.size, 900);
}

#[test]
fn a_changed_record_in_a_full_bundle_is_named() {
    let log = Sealed::new();
    log.change("tile/entries/000", |bytes| {
        let at = at_of(bytes, b"record 17\"");
        bytes[at] = b'R';
    });
    assert_eq!(log.found(), Tampered::Tile { path: "tile/0/000".into(), first: RecordId::new(17) });
}

fn at_of(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).position(|window| window == wanted).unwrap()
}

#[test]
fn swapped_records_in_a_full_bundle_are_named() {
    let log = Sealed::new();
    log.change("tile/entries/000", |bytes| {
        // Records 20 and 21 are equally long.
        let start = at_of(bytes, b"{\"v\":1,\"kind\":\"start\",\"time\":1795341600,\"program_version\":\"record 20\"");
        let length = usize::from(u16::from_be_bytes([bytes[start - 2], bytes[start - 1]]));
        let (first, second) = bytes[start..].split_at_mut(length + 2);
        first[..length].swap_with_slice(&mut second[..length]);
    });
    assert_eq!(log.found(), Tampered::Tile { path: "tile/0/000".into(), first: RecordId::new(20) });
}

#[test]
fn a_dropped_record_in_the_middle_is_named() {
    let log = Sealed::new();
    log.change("tile/entries/000", |bytes| {
        let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        bytes.drain(..2 + length);
    });
    assert_eq!(log.found(), Tampered::Bundle { path: "tile/entries/000".into(), first: RecordId::new(0) });
}

#[test]
fn a_changed_record_in_the_journal_is_named() {
    let log = Sealed::new();
    log.change("journal", |bytes| {
        let at = at_of(bytes, b"record 270");
        bytes[at] = b'R';
    });
    assert!(matches!(log.found(), Tampered::JournalRecord { record, .. } if record == RecordId::new(270)));
}

#[test]
fn a_dropped_tail_is_found_by_the_checkpoint() {
    let log = Sealed::new();
    log.change("journal", |bytes| {
        // The 34 records from 256 to 289 were signed; record 280 begins where its mark stands.
        let at = at_of(bytes, &[b"\xa5REC".as_slice(), &280u64.to_be_bytes()].concat());
        bytes.truncate(at);
    });
    assert_eq!(log.found(), Tampered::Dropped { signed: 290, found: 280 });
}

#[test]
fn a_tail_cut_within_a_record_is_found() {
    let log = Sealed::new();
    log.change("journal", |bytes| bytes.truncate(bytes.len() - 1));
    assert!(matches!(log.found(), Tampered::JournalTail { size: 299, .. }));
}

#[test]
fn missing_files_are_named() {
    for file in ["tile/0/000", "tile/entries/000", "tile/0/001.p/34", "tile/entries/001.p/34", "tile/1/000.p/1"] {
        let log = Sealed::new();
        fs::remove_file(log.path(file)).unwrap();
        assert_eq!(log.found(), Tampered::Missing { path: file.into() });
    }
    let log = Sealed::new();
    fs::remove_file(log.path("checkpoint")).unwrap();
    assert_eq!(log.found(), Tampered::CheckpointMissing);
    fs::remove_file(log.path("journal")).unwrap();
    assert_eq!(log.found(), Tampered::JournalMissing);
}

#[test]
fn files_that_belong_to_no_tile_are_named() {
    for file in ["tile/0/001", "tile/0/002.p/3", "tile/0/001.p/99", "tile/3/000.p/1", "tile/x", "tile/0/000.bak"] {
        let log = Sealed::new();
        let source = if file.starts_with("tile/0/001") { "tile/0/001.p/34" } else { "tile/1/000.p/1" };
        let bytes = fs::read(log.path(source)).unwrap();
        // Long enough to begin as the open tile does, so that it is its place alone that is wrong.
        let bytes = if file.starts_with("tile/0/001") { longer(&log, bytes) } else { bytes };
        fs::create_dir_all(log.path(file).parent().unwrap()).unwrap();
        fs::write(log.path(file), bytes).unwrap();
        assert_eq!(log.found(), Tampered::Foreign { path: file.into() });
    }
}

/// The hashes of the open tile, up to all of the log's records.
fn longer(log: &Sealed, mut bytes: Vec<u8>) -> Vec<u8> {
    let open = Log::open(log.dir.path(), ORIGIN).unwrap().0;
    use sha2::Digest as _;
    for entry in open.read(290, 10).unwrap() {
        bytes.extend(sha2::Sha256::digest([&[0], entry.as_slice()].concat()));
    }
    bytes
}

#[test]
fn a_log_rewritten_and_resealed_with_another_key_is_found() {
    let (log, forged) = (Sealed::new(), tempfile::tempdir().unwrap());
    forge(forged.path(), 300, 5, &LogKey::new(2));
    fs::remove_dir_all(log.path("tile")).unwrap();
    replace(log.dir.path(), forged.path(), "");
    assert_eq!(log.found(), Tampered::Checkpoint(NoteError::NoKnownKey));
}

#[test]
fn a_log_rewritten_under_its_old_checkpoint_is_found() {
    let (log, forged) = (Sealed::new(), tempfile::tempdir().unwrap());
    forge(forged.path(), 300, 120, &LogKey::new(2));
    fs::remove_dir_all(log.path("tile")).unwrap();
    replace(log.dir.path(), forged.path(), "checkpoint");
    assert_eq!(log.found(), Tampered::Root { size: 290 });
}

#[test]
fn a_log_resealed_with_its_own_key_is_found_by_an_earlier_checkpoint() {
    for (count, changed, found) in
        [(300, 50, Tampered::SinceRoot { size: 100 }), (60, 1_000, Tampered::SinceDropped { signed: 100, found: 60 })]
    {
        let (log, forged) = (Sealed::new(), tempfile::tempdir().unwrap());
        forge(forged.path(), count, changed, &log.key);
        fs::remove_dir_all(log.path("tile")).unwrap();
        replace(log.dir.path(), forged.path(), "");
        assert_eq!(log.found(), found);
        assert!(verify_dir(log.dir.path(), &[log.key.public], None).is_ok(), "nothing else could find it");
    }
}

#[test]
fn checkpoints_of_another_log_do_not_count() {
    let log = Sealed::new();
    let other = Unsigned { origin: "other.example/log".into(), size: 1, root: [0; 32] };
    let note = log.key.sign(&other);
    let expected = (other.origin, ORIGIN.to_owned());
    match verify_dir(log.dir.path(), &[log.key.public], Some(note.as_bytes())) {
        Err(CheckError::Tampered(Tampered::SinceOrigin { found, expected: own })) => assert_eq!((found, own), expected),
        other => panic!("{other:?}"),
    }
    let stranger = LogKey::new(2).sign(&Unsigned { origin: ORIGIN.into(), size: 1, root: [0; 32] });
    match verify_dir(log.dir.path(), &[log.key.public], Some(stranger.as_bytes())) {
        Err(CheckError::Tampered(Tampered::Since(NoteError::NoKnownKey))) => {}
        other => panic!("{other:?}"),
    }
    fs::write(log.path("checkpoint"), note).unwrap();
    assert!(matches!(log.found(), Tampered::CheckpointOrigin { .. }));
}

#[test]
fn any_one_changed_byte_in_any_file_is_found() {
    let log = Sealed::new();
    let all = files(log.dir.path());
    assert_eq!(all.len(), 7, "{all:?}");
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    let choices = (proptest::sample::select(all), any::<proptest::sample::Index>(), 1u8..);
    runner
        .run(&choices, |(file, at, change)| {
            let path = log.dir.path().join(&file);
            let before = fs::read(&path).unwrap();
            let mut bytes = before.clone();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            fs::write(&path, bytes).unwrap();
            let result = log.verify();
            fs::write(&path, before).unwrap();
            prop_assert!(matches!(result, Err(CheckError::Tampered(_))), "byte {at} of {}: {result:?}", file.display());
            Ok(())
        })
        .unwrap();
    log.verify().unwrap();
}

#[test]
fn files_longer_than_any_log_writes_them_are_named() {
    let log = Sealed::new();
    log.change("tile/0/000", |bytes| bytes.push(0));
    assert_eq!(log.found(), Tampered::Oversized { path: "tile/0/000".into(), most: 8192 });
}

#[test]
fn any_one_added_or_removed_byte_at_the_end_of_any_file_is_found() {
    let log = Sealed::new();
    for file in files(log.dir.path()) {
        let path = log.dir.path().join(&file);
        let before = fs::read(&path).unwrap();
        for bytes in [before[..before.len() - 1].to_vec(), [&before[..], &[0]].concat()] {
            fs::write(&path, bytes).unwrap();
            assert!(matches!(log.verify(), Err(CheckError::Tampered(_))), "{}", file.display());
        }
        fs::write(&path, before).unwrap();
    }
}
