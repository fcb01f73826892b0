//! DER from raw signatures.

use super::*;

#[test]
fn raw_signatures_become_minimal_der() {
    let raw = [[0_u8; 31].as_slice(), &[1], &[0x80], &[0; 31]].concat();
    let expected = [b"\x30\x26\x02\x01\x01\x02\x21\x00\x80".as_slice(), &[0; 31]].concat();
    assert_eq!(ecdsa_der_of_raw(&raw), Some(expected));
    // P-521's sequence is longer than 127 bytes.
    let long = ecdsa_der_of_raw(&[0x01; 132]);
    assert_eq!(long.as_deref().and_then(|der| der.get(..4)), Some([0x30, 0x81, 0x88, 0x02].as_slice()));
    for bad in [0, 1, 63, 134] {
        assert_eq!(ecdsa_der_of_raw(&vec![1; bad]), None, "{bad}");
    }
}
