//! The way for fuzzing to the parsers of a log's files. Bytes go in; nothing comes out, and nothing may panic. Compiled for fuzzing
//! alone: no program has it.

use std::path::Path;

use crate::{journal, note::Note, record::Record, tiles};

/// A signed note with a checkpoint: what is read is written the same way.
pub fn checkpoint(bytes: &[u8]) {
    let _ = Note::parse(bytes);
    if let Ok(found) = crate::checkpoint::parse(bytes) {
        let _ = found.verify(&[]);
        assert!(bytes.starts_with(found.claims().origin.as_bytes()));
    }
}

/// A bundle of records, a tile of hashes, the journal, and a record. The first byte says how many records the bundle has.
pub fn tiles(bytes: &[u8]) {
    let Some((count, rest)) = bytes.split_first() else { return };
    if let Some(entries) = tiles::unbundle(rest, usize::from(*count)) {
        assert_eq!(tiles::bundle(entries.iter().copied()), rest);
        for entry in entries {
            let _ = Record::parse(entry);
        }
    }
    if let Some(hashes) = tiles::hashes_from_bytes(rest) {
        assert_eq!(tiles::hashes_to_bytes(&hashes), rest);
    }
    let _ = journal::scan(rest);
    if let Ok(path) = std::str::from_utf8(rest)
        && let Some(file) = tiles::TileFile::parse(Path::new(path))
    {
        assert_eq!(file.path(), Path::new(path));
    }
}

/// A record.
pub fn record(bytes: &[u8]) {
    if let Ok(record) = Record::parse(bytes) {
        let again = record.to_entry().ok();
        assert!(again.is_none_or(|entry| Record::parse(&entry).is_ok()), "a record that cannot be read back");
    }
}
