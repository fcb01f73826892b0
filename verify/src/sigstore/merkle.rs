//! Whether a leaf stands in a Merkle tree: hash, place and audit path go in, the root that they lead to comes out.

use assay_admission::Digest;

/// The leaf hash of RFC 6962 §2.1: `SHA-256(0x00 || leaf)`.
pub(super) fn leaf(bytes: &[u8]) -> [u8; 32] {
    hash(0, &[bytes])
}

/// RFC 9162 §2.1.3.2: the root that `path` leads to from the leaf at `index` of a tree of `size` leaves; `None` if the place does
/// not exist or the path is too short or too long for it.
pub(super) fn root(leaf: [u8; 32], index: u64, size: u64, path: &[[u8; 32]]) -> Option<[u8; 32]> {
    let last = size.checked_sub(1)?;
    if index > last {
        return None;
    }
    let (mut place, mut end, mut node) = (index, last, leaf);
    for sibling in path {
        if end == 0 {
            return None;
        }
        if place % 2 == 1 || place == end {
            node = hash(1, &[sibling, &node]);
            // A node without a right neighbour rises until it has a left one.
            while place != 0 && place % 2 == 0 {
                (place, end) = (place / 2, end / 2);
            }
        } else {
            node = hash(1, &[&node, sibling]);
        }
        (place, end) = (place / 2, end / 2);
    }
    (end == 0).then_some(node)
}

fn hash(prefix: u8, parts: &[&[u8]]) -> [u8; 32] {
    let mut all = vec![prefix];
    parts.iter().for_each(|part| all.extend_from_slice(part));
    let mut out = [0; 32];
    out.copy_from_slice(Digest::sha256(&all).value());
    out
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    /// RFC 6962 §2.1, by its definition: the root of `leaves`.
    fn tree(leaves: &[[u8; 32]]) -> [u8; 32] {
        match leaves {
            [one] => *one,
            many => {
                let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
                hash(1, &[&tree(left), &tree(right)])
            }
        }
    }

    /// RFC 6962 §2.1.1, by its definition: the path of the leaf at `index`.
    fn path(index: usize, leaves: &[[u8; 32]]) -> Vec<[u8; 32]> {
        if leaves.len() < 2 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let (mut inner, other) = if index < left.len() {
            (path(index, left), tree(right))
        } else {
            (path(index - left.len(), right), tree(left))
        };
        inner.push(other);
        inner
    }

    #[test]
    fn every_leaf_of_every_small_tree_leads_to_its_root_and_from_nowhere_else() {
        let leaves: Vec<[u8; 32]> = (0..33_u8).map(|at| leaf(&[at])).collect();
        for size in 1..=leaves.len() {
            let (all, wanted) = (&leaves[..size], tree(&leaves[..size]));
            let total = u64::try_from(size).unwrap();
            for index in 0..size {
                let (place, path) = (u64::try_from(index).unwrap(), path(index, all));
                assert_eq!(root(all[index], place, total, &path), Some(wanted), "{index} of {size}");
                assert_eq!(root(all[index], total, total, &path), None);
                let longer = [path.as_slice(), &[wanted]].concat();
                assert_ne!(root(all[index], place, total, &longer), Some(wanted));
                if let Some((_, shorter)) = path.split_last() {
                    assert_ne!(root(all[index], place, total, shorter), Some(wanted));
                    let mut changed = path.clone();
                    changed[0][0] ^= 1;
                    assert_ne!(root(all[index], place, total, &changed), Some(wanted));
                }
                for other in (0..size).filter(|other| *other != index) {
                    assert_ne!(root(all[index], u64::try_from(other).unwrap(), total, &path), Some(wanted));
                }
            }
        }
        assert_eq!(root(leaves[0], 0, 0, &[]), None);
    }

    #[test]
    fn the_largest_tree_ends_in_bounded_work() {
        let path = [[7; 32]; 64];
        assert!(root([0; 32], u64::MAX - 1, u64::MAX, &path).is_none());
        assert!(root([0; 32], u64::MAX, u64::MAX, &path).is_none());
        assert!(root([0; 32], 0, u64::MAX, &path).is_some());
    }
}
