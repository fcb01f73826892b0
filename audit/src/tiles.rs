//! Names and contents of the files of c2sp.org/tlog-tiles, "Merkle Tree" and "Log entries".
//! Pure: coordinates become paths and back, entries become bundles and back.

use std::path::{Path, PathBuf};

use tlog_tiles::{HASH_SIZE, Hash, Tile};

use crate::{record::MAX_ENTRY_BYTES, tree::TILE};

/// The height of a tile of the specification: 2^8 hashes.
pub(crate) const HEIGHT: u8 = 8;
/// Most bytes of a bundle.
pub(crate) const MAX_BUNDLE_BYTES: usize = TILE * (2 + MAX_ENTRY_BYTES);
/// Most bytes of a tile of hashes.
pub(crate) const MAX_TILE_BYTES: usize = TILE * HASH_SIZE;

/// What a file below `tile/` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Hashes at a level from 0 to 63.
    Hashes(u8),
    /// Records.
    Entries,
}

/// A file below `tile/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TileFile {
    pub(crate) kind: Kind,
    pub(crate) index: u64,
    /// From 1 to 256; 256 is a full tile.
    pub(crate) width: u16,
}

impl TileFile {
    pub(crate) const fn full(kind: Kind, index: u64) -> Self {
        Self { kind, index, width: 256 }
    }

    /// `tile/<L>/<N>[.p/<W>]`
    pub(crate) fn path(self) -> PathBuf {
        let (level, is_data) = match self.kind {
            Kind::Hashes(level) => (level, false),
            Kind::Entries => (0, true),
        };
        // The crate's names have the height as a second part and say "data" for entries.
        let name = Tile::new(HEIGHT, level, self.index, u32::from(self.width), is_data).path();
        let rest = name.strip_prefix("tile/8/").unwrap_or(&name);
        match rest.strip_prefix("data/") {
            Some(number) => Path::new("tile/entries").join(number),
            None => Path::new("tile").join(rest),
        }
    }

    /// The folder of the tile's partial forms: `tile/<L>/<N>.p`
    pub(crate) fn partials(self) -> PathBuf {
        let mut path = Self { width: 256, ..self }.path().into_os_string();
        path.push(".p");
        path.into()
    }

    /// The file that `path` names, if it is spelt exactly as [`TileFile::path`] spells it.
    pub(crate) fn parse(path: &Path) -> Option<Self> {
        let mut parts: Vec<&str> = path.to_str()?.split('/').collect();
        if parts.len() < 3 || parts.len() > 11 {
            return None;
        }
        let kind = match *parts.get(1)? {
            "entries" => Kind::Entries,
            level => Kind::Hashes(level.parse().ok().filter(|level| *level < 64)?),
        };
        let mut width = 256;
        if let Some(stem) = parts.get(parts.len() - 2)?.strip_suffix(".p") {
            width = parts.last()?.parse().ok().filter(|width| (1..256).contains(width))?;
            parts.truncate(parts.len() - 2);
            parts.push(stem);
        }
        let mut index = 0u64;
        for part in parts.get(2..)? {
            let digits: u64 = part.trim_start_matches('x').parse().ok()?;
            index = index.checked_mul(1000)?.checked_add(digits)?;
        }
        let file = Self { kind, index, width };
        (file.path() == path).then_some(file)
    }
}

/// A tile's bytes.
pub(crate) fn hashes_to_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// A tile's hashes; `None` if there are not whole ones.
pub(crate) fn hashes_from_bytes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, []) = bytes.as_chunks::<HASH_SIZE>() else { return None };
    Some(hashes.iter().map(|hash| Hash(*hash)).collect())
}

/// A bundle: each entry with its length before it, big-endian.
pub(crate) fn bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).expect("records are cut to 65,535 bytes before they are stored");
        bytes.extend(length.to_be_bytes());
        bytes.extend(entry);
    }
    bytes
}

/// The entries of a bundle; `None` if they are not exactly `count` whole ones.
pub(crate) fn unbundle(mut bytes: &[u8], count: usize) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::with_capacity(count.min(TILE));
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bytes = rest;
    }
    bytes.is_empty().then_some(entries)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        for (kind, index, width, path) in [
            (Kind::Hashes(0), 0, 256, "tile/0/000"),
            (Kind::Hashes(4), 1_234_067, 256, "tile/4/x001/x234/067"),
            (Kind::Hashes(1), 1_234_067, 8, "tile/1/x001/x234/067.p/8"),
            (Kind::Entries, 273, 112, "tile/entries/273.p/112"),
        ] {
            let file = TileFile { kind, index, width };
            assert_eq!(file.path(), Path::new(path));
            assert_eq!(TileFile::parse(Path::new(path)), Some(file));
        }
        assert_eq!(TileFile::full(Kind::Entries, 1000).partials(), Path::new("tile/entries/x001/000.p"));
    }

    #[test]
    fn paths_spelt_otherwise_are_no_tiles() {
        for path in [
            "tile/0/00",
            "tile/64/000",
            "tile/00/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/x000/001",
            "tile/data/000",
            "tile/0/000.q/1",
            "tile/0/+01",
            "tile/0",
            "tile/0/001/000",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(TileFile::parse(Path::new(path)), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn bundles_give_their_entries_back_and_nothing_shorter_or_longer(
            entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..9), cut in 1usize..50,
        ) {
            let bytes = bundle(entries.iter().map(Vec::as_slice));
            let back: Vec<Vec<u8>> = unbundle(&bytes, entries.len()).unwrap().into_iter().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(&back, &entries);
            prop_assert_eq!(unbundle(&bytes, entries.len() + 1), None);
            let shorter = &bytes[..bytes.len().saturating_sub(cut)];
            prop_assert!(shorter == bytes || unbundle(shorter, entries.len()).is_none());
        }

        #[test]
        fn no_path_makes_the_parser_panic(path in "tile/[x0-9.p/+a-]{0,40}") {
            let _ = TileFile::parse(Path::new(&path));
        }
    }
}
