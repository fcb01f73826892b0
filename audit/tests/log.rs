//! The log as its caller sees it: what is acknowledged is there, after a restart, a kill, a full disk, a torn write.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use assay_admission::RecordId;
use assay_audit::{
    Durability, Head, Log, LogError, ProofError, Record, Tampered, Torn, check_consistency, check_inclusion, verify_dir,
};
use support::{LogKey, ORIGIN, append, files, open, record};

#[test]
fn records_are_read_back_in_order_before_and_after_a_restart_and_across_tiles() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    assert_eq!(log.head().size, 0);
    append(&log, 600);
    let head = log.head();
    read_back(&log);
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.head(), head);
    read_back(&log);
}

fn read_back(log: &Log) {
    for (start, count) in [(0, 600), (250, 20), (511, 2), (599, 5), (600, 1), (u64::MAX, 9)] {
        let entries = log.read(start, count).unwrap();
        let expected: Vec<_> = (start..600).take(usize::try_from(count).unwrap()).map(record).collect();
        let found: Vec<_> = entries.iter().map(|entry| Record::parse(entry).unwrap()).collect();
        assert_eq!(found, expected, "{count} from {start}");
    }
}

#[test]
fn a_second_writer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _log = open(dir.path());
    let refused = Log::open(dir.path(), ORIGIN).unwrap_err();
    assert!(matches!(&refused, LogError::Locked { dir: named } if named == dir.path()), "{refused}");
}

#[test]
fn another_origin_and_an_impossible_one_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let refused = Log::open(dir.path(), "other.example/log").unwrap_err();
    assert!(matches!(&refused, LogError::Origin { found, .. } if found == ORIGIN), "{refused}");
    for origin in ["", "two words", "a+b", "line\nbreak"] {
        assert!(matches!(Log::open(dir.path(), origin), Err(LogError::BadOrigin(_))), "{origin:?}");
    }
}

#[test]
fn what_may_wait_is_seen_at_once_by_its_caller_and_durable_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let recorded = log.append_wait(record(0), Durability::Soon).unwrap();
    assert_eq!((recorded.id(), recorded.durability()), (RecordId::new(0), Durability::Soon));
    assert_eq!(log.head().size, 0, "a head is never signed for what a crash can take back");
    let begun = Instant::now();
    while log.head().size == 0 {
        assert!(begun.elapsed() < Duration::from_secs(1));
        thread::sleep(Duration::from_millis(20));
    }
    log.append_wait(record(1), Durability::Soon).unwrap();
    drop(log);
    assert_eq!(open(dir.path()).head().size, 2);
}

#[test]
fn a_caller_that_panics_does_not_take_the_log_away_from_others() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.append(record(0), Durability::Synced, |_| panic!("a caller's own fault"));
    append_from(&log, 1);
    assert_eq!(log.head().size, 2);
}

fn append_from(log: &Log, number: u64) {
    assert_eq!(log.append_wait(record(number), Durability::Synced).unwrap().id().index(), number);
}

#[test]
fn parallel_callers_each_get_their_own_place() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(open(dir.path()));
    let callers: Vec<_> = (0..8u64)
        .map(|caller| {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                (0..50)
                    .map(|number| {
                        let record = record(caller * 1000 + number);
                        let recorded = log.append_wait(record.clone(), Durability::Synced).unwrap();
                        (recorded.id().index(), record)
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let places: BTreeMap<u64, Record> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
    assert_eq!(places.len(), 400);
    let entries = log.read(0, 400).unwrap();
    for (index, record) in places {
        assert_eq!(Record::parse(&entries[usize::try_from(index).unwrap()]), Ok(record));
    }
}

#[test]
fn a_tail_torn_at_any_byte_is_repaired_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = open(&path);
    append(&log, 2);
    let head = log.head();
    let whole = fs::metadata(path.join("journal")).unwrap().len();
    append(&log, 1);
    drop(log);
    let bytes = fs::read(path.join("journal")).unwrap();
    for length in usize::try_from(whole).unwrap()..bytes.len() {
        fs::write(path.join("journal"), &bytes[..length]).unwrap();
        let (log, opened) = Log::open(&path, ORIGIN).unwrap();
        let torn = u64::try_from(length).unwrap() - whole;
        let expected = (torn > 0).then_some(Torn { record: RecordId::new(2), bytes: torn });
        assert_eq!((opened.size, opened.repaired), (2, expected));
        assert_eq!((log.head(), fs::metadata(path.join("journal")).unwrap().len()), (head, whole));
        if length % 17 == 0 {
            append(&log, 1);
        }
    }
}

#[test]
fn a_tail_torn_below_the_checkpoint_is_tampering_and_nothing_is_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 3);
    LogKey::new(1).seal(&log);
    drop(log);
    let bytes = fs::read(dir.path().join("journal")).unwrap();
    let shorter = &bytes[..bytes.len() - 1];
    fs::write(dir.path().join("journal"), shorter).unwrap();
    let refused = Log::open(dir.path(), ORIGIN).unwrap_err();
    assert!(matches!(refused, LogError::Tampered(Tampered::Dropped { signed: 3, found: 2 })), "{refused}");
    assert_eq!(fs::read(dir.path().join("journal")).unwrap(), shorter, "evidence is left alone");
}

#[test]
fn a_changed_record_a_changed_tile_and_a_lost_journal_keep_the_log_closed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 260);
    LogKey::new(1).seal(&log);
    drop(log);
    let refuse = |file: &str, change: &dyn Fn(Vec<u8>) -> Option<Vec<u8>>| {
        let path = dir.path().join(file);
        let before = fs::read(&path).unwrap();
        match change(before.clone()) {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let refused = Log::open(dir.path(), ORIGIN).unwrap_err();
        fs::write(&path, before).unwrap();
        match refused {
            LogError::Tampered(found) => found,
            other => panic!("{other}"),
        }
    };
    let flip = |at: usize| {
        move |mut bytes: Vec<u8>| {
            bytes[at] ^= 1;
            Some(bytes)
        }
    };
    assert!(matches!(refuse("journal", &flip(200)), Tampered::JournalRecord { .. }));
    assert!(matches!(refuse("journal", &flip(3)), Tampered::JournalHead(_)));
    assert_eq!(refuse("journal", &|_| None), Tampered::JournalMissing);
    assert_eq!(refuse("tile/0/000", &flip(100)), Tampered::JournalRoot { size: 256 });
    let tile = PathBuf::from("tile/0/000");
    assert_eq!(refuse("tile/0/000", &|_| None), Tampered::Missing { path: tile.clone() });
    let first = RecordId::new(0);
    assert_eq!(refuse("tile/0/000", &|bytes| Some(bytes[1..].to_vec())), Tampered::Tile { path: tile, first });
    assert!(matches!(refuse("checkpoint", &|_| Some(b"x".to_vec())), Tampered::Checkpoint(_)));
    let root = |bytes: Vec<u8>| {
        let other =
            LogKey::new(1).sign(&assay_audit::checkpoint::Unsigned { origin: ORIGIN.into(), size: 260, root: [0; 32] });
        (!bytes.is_empty()).then(|| other.into_bytes())
    };
    assert_eq!(refuse("checkpoint", &root), Tampered::Root { size: 260 });
    assert_eq!(open(dir.path()).head().size, 260);
}

#[test]
fn only_checkpoints_of_this_log_and_never_older_ones_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (log, key) = (open(dir.path()), LogKey::new(1));
    append(&log, 10);
    let old = log.unsigned_checkpoint();
    append(&log, 250);
    let wrong = assay_audit::checkpoint::Unsigned { root: [0; 32], ..old.clone() };
    let ahead = assay_audit::checkpoint::Unsigned { size: 261, ..old.clone() };
    for head in [&wrong, &ahead] {
        let refused = log.store_checkpoint(&key.sign(head)).unwrap_err();
        assert!(matches!(refused, LogError::ForeignCheckpoint { durable: 260, .. }), "{refused}");
    }
    let other = assay_audit::checkpoint::Unsigned { origin: "other".into(), ..old.clone() };
    assert!(matches!(log.store_checkpoint(&key.sign(&other)), Err(LogError::Origin { .. })));
    assert!(matches!(log.store_checkpoint("text"), Err(LogError::Note(_))));
    assert_eq!(log.checkpoint().unwrap(), None);

    log.store_checkpoint(&key.sign(&old)).unwrap();
    let note = key.seal(&log);
    assert_eq!(log.checkpoint().unwrap(), Some(note.clone().into_bytes()));
    let refused = log.store_checkpoint(&key.sign(&old)).unwrap_err();
    assert!(matches!(refused, LogError::OlderCheckpoint { size: 10, stored: 260 }), "{refused}");
    drop(log);
    let (_log, opened) = Log::open(dir.path(), ORIGIN).unwrap();
    assert_eq!(opened.checkpoint, Some(260));
}

#[test]
fn the_files_are_those_of_the_specification() {
    let dir = tempfile::tempdir().unwrap();
    let (log, key) = (open(dir.path()), LogKey::new(1));
    append(&log, 40);
    key.seal(&log);
    let names = |dir: &Path| files(dir).iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    assert_eq!(names(dir.path()), ["checkpoint", "journal", "tile/0/000.p/40", "tile/entries/000.p/40"]);
    append(&log, 230);
    key.seal(&log);
    let expected = [
        "checkpoint",
        "journal",
        "tile/0/000",
        "tile/0/001.p/14",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/14",
    ];
    assert_eq!(names(dir.path()), expected);
    assert_eq!(fs::metadata(dir.path().join("tile/0/000")).unwrap().len(), 8192);
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(dir.path().join("journal")).unwrap().permissions().mode() & 0o7137, 0);
}

/// RFC 6962 §2.1 and §2.1.1, word for word and slow.
fn simple_root(leaves: &[[u8; 32]]) -> [u8; 32] {
    use sha2::Digest as _;
    match leaves {
        [] => sha2::Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            sha2::Sha256::digest([&[1], &simple_root(left)[..], &simple_root(right)].concat()).into()
        }
    }
}

fn simple_path(index: usize, leaves: &[[u8; 32]]) -> Vec<[u8; 32]> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut path, sibling) = match index.checked_sub(left.len()) {
        None => (simple_path(index, left), simple_root(right)),
        Some(index) => (simple_path(index, right), simple_root(left)),
    };
    path.push(sibling);
    path
}

#[test]
fn proofs_agree_with_a_simple_implementation_and_their_changed_twins_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 530);
    let entries = log.read(0, 530).unwrap();
    use sha2::Digest as _;
    let leaves: Vec<[u8; 32]> =
        entries.iter().map(|entry| sha2::Sha256::digest([&[0], entry.as_slice()].concat()).into()).collect();
    assert_eq!(log.head().root, simple_root(&leaves));
    for (index, size) in
        [(0, 1), (0, 2), (3, 7), (255, 256), (256, 257), (100, 530), (529, 530), (512, 513), (300, 512)]
    {
        let head = Head { size: u64::try_from(size).unwrap(), root: simple_root(&leaves[..size]) };
        let id = RecordId::new(u64::try_from(index).unwrap());
        let proof = log.prove_inclusion(id, head.size).unwrap();
        assert_eq!(proof, simple_path(index, &leaves[..size]), "{index} in {size}");
        assert_eq!(check_inclusion(&proof, &head, id, &entries[index]), Ok(()));
        assert_eq!(check_inclusion(&proof, &head, id, b"another"), Err(ProofError::Wrong));
        let long = [proof.clone(), vec![[0; 32]]].concat();
        assert_eq!(check_inclusion(&long, &head, id, &entries[index]), Err(ProofError::Wrong));

        let new = log.head();
        let proof = log.prove_consistency(head.size, new.size).unwrap();
        assert_eq!(check_consistency(&proof, &head, &new), Ok(()));
        let mut changed = head;
        changed.root[31] ^= 1;
        assert_eq!(check_consistency(&proof, &changed, &new), Err(ProofError::Wrong));
    }
    let (index, size) = (RecordId::new(530), 530);
    assert!(matches!(log.prove_inclusion(index, size), Err(LogError::NotInTree { index: 530, size: 530 })));
    assert!(matches!(log.prove_inclusion(index, 531), Err(LogError::NotInTree { .. })));
    assert!(matches!(log.prove_consistency(0, 5), Err(LogError::NotInTree { .. })));
    let none = Head { size: 0, root: [0; 32] };
    assert_eq!(check_inclusion(&[], &none, RecordId::new(0), b""), Err(ProofError::Numbers { index: 0, size: 0 }));
    assert_eq!(check_consistency(&[], &none, &log.head()), Err(ProofError::Numbers { index: 0, size: 530 }));
}

#[test]
fn a_log_of_three_levels_opens_proves_and_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let (log, key) = (open(dir.path()), LogKey::new(1));
    let (done, acknowledged) = mpsc::channel();
    for wave in 0..33u64 {
        for number in wave * 2000..(wave + 1) * 2000 {
            let done = done.clone();
            log.append(record(number), Durability::Soon, move |result| {
                done.send(result.unwrap().id().index()).unwrap()
            });
        }
        let ids: Vec<u64> = acknowledged.iter().take(2000).collect();
        assert_eq!(ids, (wave * 2000..(wave + 1) * 2000).collect::<Vec<_>>());
    }
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.head().size, 66_000);
    let note = key.seal(&log);
    for file in ["tile/1/000", "tile/2/000.p/1", "tile/1/001.p/1", "tile/0/257.p/208", "tile/entries/256"] {
        assert!(dir.path().join(file).exists(), "{file}");
    }
    let entry = log.read(65_530, 1).unwrap().remove(0);
    let proof = log.prove_inclusion(RecordId::new(65_530), 66_000).unwrap();
    assert_eq!(check_inclusion(&proof, &log.head(), RecordId::new(65_530), &entry), Ok(()));
    let report = verify_dir(dir.path(), &[key.public], Some(note.as_bytes())).unwrap();
    assert_eq!((report.head, report.signed, report.since, report.starts), (log.head(), 66_000, Some(66_000), 66_000));
}

const CHILD: &str = "ASSAY_AUDIT_TEST_DIR";

/// This test again, in a process of its own that works in `dir`.
fn child(program: &str, arguments: &[&str], test: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).args([test, "--exact", "--nocapture"]).env(CHILD, dir).stdout(Stdio::piped());
    command
}

#[test]
fn a_writer_killed_at_any_moment_loses_no_acknowledged_record() {
    if let Some(dir) = env::var_os(CHILD) {
        return append_and_tell(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let this = env::current_exe().unwrap();
    let key = LogKey::new(1);
    let test = "a_writer_killed_at_any_moment_loses_no_acknowledged_record";
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    for round in 0..12u64 {
        let mut writer = child(this.to_str().unwrap(), &[], test, dir.path()).spawn().unwrap();
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let kill_after = 20 + usize::try_from(round * 37 % 400).unwrap();
        let mut told = 0;
        for line in lines.map_while(Result::ok) {
            // The harness writes the name of the test without a line break before the first line of ours.
            let Some((_, numbers)) = line.split_once("ack ") else { continue };
            // A line that the kill has cut is no acknowledgement.
            let Some((index, number)) = numbers.strip_suffix('.').and_then(|numbers| numbers.split_once(' ')) else {
                continue;
            };
            acknowledged.insert(index.parse().unwrap(), number.parse().unwrap());
            told += 1;
            if told == kill_after {
                writer.kill().unwrap();
            }
        }
        writer.wait().unwrap();
        assert!(told >= kill_after, "the writer stopped by itself");

        let log = open(dir.path());
        assert!(log.head().size > *acknowledged.last_key_value().unwrap().0);
        for (&index, &number) in &acknowledged {
            let entry = log.read(index, 1).unwrap().remove(0);
            assert_eq!(Record::parse(&entry), Ok(record(number)), "round {round}, record {index}");
        }
        key.seal(&log);
        drop(log);
        verify_dir(dir.path(), &[key.public], None).unwrap();
    }
}

fn append_and_tell(dir: &Path) {
    let log = Arc::new(open(dir));
    let writers: Vec<_> = (0..4u64)
        .map(|writer| {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                for number in (writer << 32).. {
                    let recorded = log.append_wait(record(number), Durability::Synced).unwrap();
                    let line = format!("ack {} {number}.\n", recorded.id());
                    if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

#[test]
fn a_full_disk_fails_appends_cleanly_and_they_work_again_when_there_is_space() {
    if let Some(dir) = env::var_os(CHILD) {
        return fill_and_free(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let this = env::current_exe().unwrap();
    // A mount of its own in a namespace of its own, which ends with the process.
    let namespace = if rustix::process::geteuid().is_root() { "-m" } else { "-Umr" };
    let script = "mount -t tmpfs -o size=256k tmpfs \"$ASSAY_AUDIT_TEST_DIR\" && exec \"$0\" \"$@\"";
    let test = "a_full_disk_fails_appends_cleanly_and_they_work_again_when_there_is_space";
    let arguments = [namespace, "sh", "-c", script, this.to_str().unwrap()];
    let output = child("unshare", &arguments, test, dir.path()).stderr(Stdio::piped()).output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("filled and freed"), "{told}");
}

fn fill_and_free(mount: &Path) {
    let (dir, ballast) = (mount.join("log"), mount.join("ballast"));
    let (log, key) = (open(&dir), LogKey::new(1));
    append(&log, 3);
    for round in 0..20u64 {
        // Every page but a few is taken, another number of them in each round.
        let mut file = fs::File::create(&ballast).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(round % 4 * 4096)).unwrap();
        let written = || fs::metadata(dir.join("journal")).unwrap().len();
        let mut refused = None;
        let mut length = 0;
        while refused.is_none() {
            length = written();
            let number = log.head().size;
            match log.append_wait(record(number), Durability::Synced) {
                Ok(recorded) => assert_eq!(recorded.id().index(), number),
                Err(error) => refused = Some(error),
            }
        }
        assert!(matches!(refused, Some(LogError::Full { .. })), "{refused:?}");
        let head = log.head();
        assert!(matches!(log.append_wait(record(head.size), Durability::Soon), Err(LogError::Full { .. })));
        assert!(matches!(log.store_checkpoint(&key.sign(&log.unsigned_checkpoint())), Err(LogError::Full { .. })));
        assert_eq!((log.head(), written()), (head, length), "a refused record leaves nothing behind");

        drop(file);
        fs::remove_file(&ballast).unwrap();
        append(&log, 1);
    }
    key.seal(&log);
    let head = log.head();
    drop(log);
    let (log, opened) = Log::open(&dir, ORIGIN).unwrap();
    assert_eq!((log.head(), opened.repaired), (head, None));
    assert_eq!(verify_dir(&dir, &[key.public], None).unwrap().head, head);
    println!("filled and freed");
}
