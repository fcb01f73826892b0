//! Roots and proofs (RFC 6962 §2.1.1, §2.1.2) from the hashes on disk and the open tiles in memory; and their checks.

use std::{
    cell::RefCell,
    collections::{BTreeMap, btree_map::Entry},
};

use assay_admission::RecordId;
use tlog_tiles::{
    Error, Hash, HashReader, Tile, check_record, check_tree, prove_record, prove_tree, record_hash, tree_hash,
};

use crate::{
    Head, LogError, Tampered,
    store::Store,
    tiles::{HEIGHT, Kind, MAX_TILE_BYTES, TileFile, hashes_from_bytes, hashes_to_bytes},
    tree::{Edge, TILE},
};

/// The hashes of a log: full tiles from files, the others from the edge.
pub(crate) struct Hashes<'a> {
    store: &'a Store,
    edge: &'a Edge,
    fault: RefCell<Option<LogError>>,
}

impl<'a> Hashes<'a> {
    pub(crate) const fn new(store: &'a Store, edge: &'a Edge) -> Self {
        Self { store, edge, fault: RefCell::new(None) }
    }

    /// The root of the first `size` records.
    pub(crate) fn root_at(&self, size: u64) -> Result<[u8; 32], LogError> {
        if size > self.edge.size() {
            return Err(LogError::NotInTree { index: size, size: self.edge.size() });
        }
        tree_hash(size, self).map(|root| root.0).map_err(|error| self.explain(&error))
    }

    /// The inclusion proof of the record `index` in the tree of `size`.
    pub(crate) fn inclusion(&self, index: u64, size: u64) -> Result<Vec<[u8; 32]>, LogError> {
        if index >= size || size > self.edge.size() {
            return Err(LogError::NotInTree { index, size });
        }
        prove_record(size, index, self).map(to_bytes).map_err(|error| self.explain(&error))
    }

    /// The proof that the tree of `from` is a prefix of the tree of `to`.
    pub(crate) fn consistency(&self, from: u64, to: u64) -> Result<Vec<[u8; 32]>, LogError> {
        if from == 0 || from > to || to > self.edge.size() {
            return Err(LogError::NotInTree { index: from, size: to });
        }
        prove_tree(to, from, self).map(to_bytes).map_err(|error| self.explain(&error))
    }

    fn tile(&self, level: u8, index: u64) -> Result<Vec<u8>, LogError> {
        let (open, hashes) = self.edge.open_tile(level);
        if index == open {
            return Ok(hashes_to_bytes(hashes));
        }
        full_tile(self.store, level, index).map(|hashes| hashes_to_bytes(&hashes))
    }

    fn explain(&self, error: &Error) -> LogError {
        self.fault.take().unwrap_or_else(|| LogError::Stopped(format!("the tree's arithmetic failed: {error}")))
    }
}

/// A full tile's hashes.
pub(crate) fn full_tile(store: &Store, level: u8, index: u64) -> Result<Vec<Hash>, LogError> {
    let path = TileFile::full(Kind::Hashes(level), index).path();
    let Some(bytes) = store.read(&path, MAX_TILE_BYTES)? else { return Err(Tampered::Missing { path }.into()) };
    let first = RecordId::new(index.checked_shl(8 * (u32::from(level) + 1)).unwrap_or(u64::MAX));
    hashes_from_bytes(&bytes).filter(|hashes| hashes.len() == TILE).ok_or_else(|| Tampered::Tile { path, first }.into())
}

impl HashReader for Hashes<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let mut tiles = BTreeMap::new();
        let mut hashes = Vec::with_capacity(indexes.len());
        for &index in indexes {
            let tile = Tile::from_index(HEIGHT, index);
            let place = (tile.level(), tile.level_index());
            let data = match tiles.entry(place) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(missing) => missing.insert(self.tile(place.0, place.1).map_err(|error| {
                    self.fault.replace(Some(error));
                    Error::InvalidTile
                })?),
            };
            hashes.push(tile.hash_at_index(data, index)?);
        }
        Ok(hashes)
    }
}

fn to_bytes(proof: Vec<Hash>) -> Vec<[u8; 32]> {
    proof.into_iter().map(|hash| hash.0).collect()
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The numbers cannot be those of a proof.
    #[error("record or tree {index} cannot be proven against a tree of {size} records")]
    Numbers {
        /// The record, or the smaller tree's size.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The hashes do not lead to the root.
    #[error("proof does not lead to the root")]
    Wrong,
}

/// Checks that `entry` is the record `index` of the log with `head`.
///
/// # Errors
/// [`ProofError`] if `proof` does not prove it.
pub fn check_inclusion(proof: &[[u8; 32]], head: &Head, index: RecordId, entry: &[u8]) -> Result<(), ProofError> {
    let (index, size) = (index.index(), head.size);
    if index >= size {
        return Err(ProofError::Numbers { index, size });
    }
    let hashes = from_bytes(proof)?;
    check_record(&hashes, size, Hash(head.root), index, record_hash(entry)).map_err(|_| ProofError::Wrong)
}

/// Checks that the log with `old` is a prefix of the log with `new`.
///
/// # Errors
/// [`ProofError`] if `proof` does not prove it. An empty `old` proves nothing.
pub fn check_consistency(proof: &[[u8; 32]], old: &Head, new: &Head) -> Result<(), ProofError> {
    if old.size == 0 || old.size > new.size {
        return Err(ProofError::Numbers { index: old.size, size: new.size });
    }
    let hashes = from_bytes(proof)?;
    check_tree(&hashes, new.size, Hash(new.root), old.size, Hash(old.root)).map_err(|_| ProofError::Wrong)
}

/// No tree of 2^64 records has a longer proof than this.
fn from_bytes(proof: &[[u8; 32]]) -> Result<Vec<Hash>, ProofError> {
    if proof.len() > 128 {
        return Err(ProofError::Wrong);
    }
    Ok(proof.iter().map(|hash| Hash(*hash)).collect())
}
