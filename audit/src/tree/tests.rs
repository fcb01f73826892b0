#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use tlog_tiles::record_hash;

use super::*;

/// RFC 6962 §2.1, word for word and slow.
fn simple_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY_HASH,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(simple_root(left), simple_root(right))
        }
    }
}

fn leaves(count: u32) -> Vec<Hash> {
    (0..count).map(|number| record_hash(&number.to_be_bytes())).collect()
}

/// The leaves and roots of the Certificate Transparency project's own Merkle tree tests.
#[test]
fn roots_are_those_of_the_certificate_transparency_vectors() {
    let inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut range = Range::default();
    assert_eq!(hex::encode(range.root().0), roots[0]);
    for (input, root) in inputs.iter().zip(&roots[1..]) {
        range.push(record_hash(&hex::decode(input).unwrap()));
        assert_eq!(hex::encode(range.root().0), *root, "size {}", range.size());
    }
}

#[test]
fn every_root_up_to_three_tiles_is_that_of_the_simple_implementation() {
    let leaves = leaves(3 * 256 + 2);
    let mut edge = Edge::new(0, Vec::new());
    for (before, leaf) in leaves.iter().enumerate() {
        assert_eq!(edge.root(), simple_root(&leaves[..before]), "size {before}");
        if edge.room() == 0 {
            edge.seal();
        }
        edge.push(*leaf);
    }
}

#[test]
fn tiles_of_every_level_hold_the_roots_of_their_subtrees() {
    let leaves = leaves(65_536 + 300);
    let mut edge = Edge::new(0, Vec::new());
    let mut full = Vec::new();
    for leaf in &leaves {
        edge.push(*leaf);
        full.extend(edge.full_tiles());
        edge.seal();
    }
    assert_eq!((edge.sealed(), edge.size(), edge.levels()), (65_792, 65_836, 3));
    assert_eq!(edge.root(), simple_root(&leaves));
    assert_eq!(full.len(), 257 + 1);
    for tile in full {
        let span = 256usize.pow(u32::from(tile.level));
        for (at, hash) in (usize::try_from(tile.index).unwrap() * 256..).zip(&tile.hashes) {
            assert_eq!(*hash, simple_root(&leaves[at * span..(at + 1) * span]), "level {}", tile.level);
        }
    }
    assert_eq!(edge.open_tile(1), (1, &[simple_root(&leaves[65_536..65_792])][..]));
    assert_eq!(edge.open_tile(2), (0, &[simple_root(&leaves[..65_536])][..]));

    let again = Edge::new(65_792, vec![edge.open_tile(1).1.to_vec(), edge.open_tile(2).1.to_vec()]);
    assert_eq!((again.size(), again.root()), (65_792, simple_root(&leaves[..65_792])));
}
