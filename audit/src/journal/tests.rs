#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn head() -> Head {
    Head { base: 512, root: [7; 32], origin: "node.example/log".into() }
}

/// A journal of one batch for each of `batches`, each synced before the next, and where its frames begin.
fn journal(batches: &[&[&str]]) -> (Vec<u8>, Vec<usize>) {
    let head = head();
    let mut bytes = head.encode();
    let (mut starts, mut index) = (Vec::new(), head.base);
    for batch in batches {
        let durable = u64::try_from(bytes.len()).unwrap();
        for entry in *batch {
            starts.push(bytes.len());
            frame(&mut bytes, &head.check(), index, durable, entry.as_bytes());
            index += 1;
        }
    }
    (bytes, starts)
}

fn texts(bytes: &[u8], scan: &Scan) -> Vec<String> {
    scan.entries.iter().map(|span| String::from_utf8(bytes[span.clone()].to_vec()).unwrap()).collect()
}

#[test]
fn a_journal_gives_back_what_was_appended() {
    let (bytes, _) = journal(&[&["one"], &["two", ""]]);
    let scan = scan(&bytes).unwrap();
    assert_eq!(texts(&bytes, &scan), ["one", "two", ""]);
    assert_eq!((scan.head.clone(), scan.size(), scan.end, scan.torn), (head(), 515, bytes.len(), 0));
    assert_eq!(scan.leaves[0], record_hash(b"one"));
}

#[test]
fn a_tail_torn_at_any_byte_is_told_apart_from_whole_records() {
    let (bytes, starts) = journal(&[&["one"], &["two", "three"]]);
    for length in starts[0]..=bytes.len() {
        let whole = starts.iter().skip(1).chain([&bytes.len()]).filter(|end| **end <= length).count();
        let scan = scan(&bytes[..length]).unwrap();
        assert_eq!(scan.entries.len(), whole, "cut to {length} bytes");
        assert_eq!(scan.torn, length - scan.end, "cut to {length} bytes");
    }
}

#[test]
fn a_hole_in_the_last_unsynced_batch_is_torn_but_one_in_a_synced_batch_is_tampering() {
    let (mut bytes, starts) = journal(&[&["one"], &["two", "three"]]);
    bytes[starts[1] + 20] ^= 1;
    let scanned = scan(&bytes).unwrap();
    assert_eq!((texts(&bytes, &scanned), scanned.end), (vec!["one".to_owned()], starts[1]));

    let (mut bytes, starts) = journal(&[&["one"], &["two"], &["three"]]);
    bytes[starts[1] + 20] ^= 1;
    let offset = u64::try_from(starts[1]).unwrap();
    assert_eq!(scan(&bytes).unwrap_err(), Tampered::JournalRecord { record: RecordId::new(513), offset });
}

#[test]
fn dropped_and_swapped_and_doubled_records_are_found() {
    let (bytes, starts) = journal(&[&["one", "two", "six"]]);
    let (one, two, six) = (&bytes[starts[0]..starts[1]], &bytes[starts[1]..starts[2]], &bytes[starts[2]..]);
    for (frames, record, after) in
        [([one, six, &[]], 513, one), ([two, one, six], 512, &[]), ([one, one, two], 513, one)]
    {
        let changed = [&bytes[..starts[0]], &frames.concat()].concat();
        let offset = u64::try_from(starts[0] + after.len()).unwrap();
        let found = scan(&changed).unwrap_err();
        assert_eq!(found, Tampered::JournalRecord { record: RecordId::new(record), offset });
    }
}

#[test]
fn frames_of_another_journal_do_not_count() {
    let (bytes, starts) = journal(&[&["one"]]);
    let other = Head { root: [8; 32], ..head() }.encode();
    let mixed = [&other, &bytes[starts[0]..]].concat();
    let scan = scan(&mixed).unwrap();
    assert_eq!((scan.entries.len(), scan.end), (0, other.len()));
}

#[test]
fn any_changed_byte_of_the_head_is_found() {
    let (bytes, starts) = journal(&[&["one"]]);
    for at in 0..starts[0] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(matches!(scan(&changed), Err(Tampered::JournalHead(_))), "byte {at}");
    }
}

#[test]
fn a_journal_with_more_than_a_tile_of_records_is_found() {
    let entries = vec!["x"; 257];
    let (bytes, _) = journal(&[&entries[..256]]);
    assert_eq!(scan(&bytes).unwrap().size(), 768);
    let (bytes, starts) = journal(&[&entries]);
    let offset = u64::try_from(starts[256]).unwrap();
    assert_eq!(scan(&bytes).unwrap_err(), Tampered::JournalRecord { record: RecordId::new(768), offset });
}

#[test]
fn looking_for_frames_in_crafted_bytes_costs_no_more_than_its_budget() {
    let (mut bytes, _) = journal(&[&["one"]]);
    bytes.extend(FRAME_MARK.repeat(500_000));
    assert!(matches!(scan(&bytes), Err(Tampered::JournalRecord { .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_the_scan_panic(junk in proptest::collection::vec(any::<u8>(), 0..300), after_head: bool) {
        let bytes = if after_head { [head().encode(), junk].concat() } else { junk };
        let _ = scan(&bytes);
    }
}
