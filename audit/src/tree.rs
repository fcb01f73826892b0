//! The right edge of the Merkle tree (RFC 6962 §2.1): what is needed to append, to know the root, and to fill tiles.
//! Leaf hashes go in, roots and full tiles come out. Memory is some 8 KiB for each level of tiles, however long the log.

use tlog_tiles::{EMPTY_HASH, Hash, node_hash};

/// Hashes in a full tile, and records in a full bundle.
pub(crate) const TILE: usize = 256;
/// The same as a number of records.
pub(crate) const TILE_RECORDS: u64 = 256;

/// A compact range from record 0: the roots of the perfect subtrees that make up the tree, largest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Range {
    size: u64,
    subtrees: Vec<(u32, Hash)>,
}

impl Range {
    /// Appends one leaf.
    pub(crate) fn push(&mut self, leaf: Hash) {
        self.push_subtree(0, leaf);
    }

    /// Appends a perfect subtree of 2^`height` leaves; the size so far must be a multiple of that.
    fn push_subtree(&mut self, height: u32, root: Hash) {
        self.size += 1 << height;
        let (mut height, mut root) = (height, root);
        while let Some((_, left)) = self.subtrees.pop_if(|(left, _)| *left == height) {
            root = node_hash(left, root);
            height += 1;
        }
        self.subtrees.push((height, root));
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// The RFC 6962 tree head.
    pub(crate) fn root(&self) -> Hash {
        let subtrees = self.subtrees.iter().rev().map(|(_, root)| *root);
        subtrees.reduce(|right, left| node_hash(left, right)).unwrap_or(EMPTY_HASH)
    }
}

/// A tile that has just become full.
pub(crate) struct FullTile {
    pub(crate) level: u8,
    pub(crate) index: u64,
    pub(crate) hashes: Vec<Hash>,
}

/// The right edge: every tile of the tree that is not full, and the range for the root.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    range: Range,
    /// The number of records in full level-0 tiles: a multiple of [`TILE_RECORDS`].
    sealed: u64,
    /// The leaves after `sealed`; up to a whole tile, until it is sealed.
    leaves: Vec<Hash>,
    /// For level 1 and above, the hashes of the tile that is not full.
    above: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of `sealed` records, from the hashes of the partial tiles at level 1 and above.
    pub(crate) fn new(sealed: u64, above: Vec<Vec<Hash>>) -> Self {
        let mut range = Range::default();
        for (height, hashes) in (1u32..).map(|level| level * 8).zip(&above).collect::<Vec<_>>().into_iter().rev() {
            hashes.iter().for_each(|hash| range.push_subtree(height, *hash));
        }
        Self { range, sealed, leaves: Vec::new(), above }
    }

    /// Appends a leaf. The caller seals a full tile before it appends more.
    pub(crate) fn push(&mut self, leaf: Hash) {
        self.range.push(leaf);
        self.leaves.push(leaf);
    }

    pub(crate) const fn size(&self) -> u64 {
        self.range.size()
    }

    pub(crate) fn root(&self) -> Hash {
        self.range.root()
    }

    pub(crate) const fn sealed(&self) -> u64 {
        self.sealed
    }

    /// How many more leaves fit before the tile must be sealed.
    pub(crate) fn room(&self) -> usize {
        TILE.saturating_sub(self.leaves.len())
    }

    /// The hashes of the tile at `level` that is not sealed, and that tile's index.
    pub(crate) fn open_tile(&self, level: u8) -> (u64, &[Hash]) {
        let hashes = match level.checked_sub(1) {
            None => self.leaves.as_slice(),
            Some(above) => self.above.get(usize::from(above)).map(Vec::as_slice).unwrap_or_default(),
        };
        (self.sealed.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0), hashes)
    }

    /// The levels that have hashes in an open tile.
    pub(crate) fn levels(&self) -> u8 {
        u8::try_from(self.above.len() + 1).expect("a tree of 2^64 records has eight levels")
    }

    /// The tiles that become full when the leaves are sealed, lowest level first. Empty if the leaves fill no tile.
    pub(crate) fn full_tiles(&self) -> Vec<FullTile> {
        let mut full = Vec::new();
        if self.leaves.len() < TILE {
            return full;
        }
        let mut hashes = self.leaves.clone();
        for level in 0..self.levels() {
            let root = perfect_root(&hashes);
            full.push(FullTile { level, index: self.open_tile(level).0, hashes });
            hashes = self.open_tile(level + 1).1.to_vec();
            hashes.push(root);
            if hashes.len() < TILE {
                break;
            }
        }
        full
    }

    /// Moves past the leaves, once their full tiles are stored.
    pub(crate) fn seal(&mut self) {
        let Some(last) = self.full_tiles().pop() else { return };
        let above_last = usize::from(last.level);
        self.leaves.clear();
        self.above.iter_mut().take(above_last).for_each(Vec::clear);
        if self.above.len() == above_last {
            self.above.push(Vec::new());
        }
        if let Some(hashes) = self.above.get_mut(above_last) {
            hashes.push(perfect_root(&last.hashes));
        }
        self.sealed += TILE_RECORDS;
    }
}

/// The root of a full tile.
pub(crate) fn perfect_root(hashes: &[Hash]) -> Hash {
    let mut range = Range::default();
    hashes.iter().for_each(|hash| range.push(*hash));
    range.root()
}

#[cfg(test)]
mod tests;
