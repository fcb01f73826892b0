//! Keys.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/keys/", $name, ".pub.pem"))
    };
}

fn pem(der: &[u8]) -> Result<PublicKey, KeyError> {
    PublicKey::from_spki_der(der)
}

#[test]
fn every_kind_is_told() {
    for (text, kind) in [
        (vector!("p256"), PublicKeyKind::P256),
        (vector!("p384"), PublicKeyKind::P384),
        (vector!("p521"), PublicKeyKind::P521),
        (vector!("rsa2048"), PublicKeyKind::Rsa { bits: 2048 }),
        (vector!("rsa3072"), PublicKeyKind::Rsa { bits: 3072 }),
        (vector!("ed25519"), PublicKeyKind::Ed25519),
    ] {
        let key = PublicKey::from_pem(text).unwrap();
        assert_eq!(key.kind(), kind);
        assert_eq!(format!("{key:?}"), format!("PublicKey({kind} {})", key.spki_sha256()));
        assert_eq!(PublicKey::from_spki_der(key.spki()).unwrap(), key);
    }
}

#[test]
fn text_that_is_not_one_public_key_is_refused() {
    let one = vector!("p256");
    assert_eq!(PublicKey::from_pem("").err(), Some(KeyError::Pem));
    assert_eq!(PublicKey::from_pem(&[one, one].concat()).err(), Some(KeyError::Pem));
    let private = one.replace("PUBLIC KEY", "PRIVATE KEY");
    let label = "PRIVATE KEY".to_owned();
    assert_eq!(PublicKey::from_pem(&private).err(), Some(KeyError::Label { label }));
}

#[test]
fn another_encoding_of_the_same_key_is_refused() {
    let p256 = PublicKey::from_pem(vector!("p256")).unwrap();
    let mut trailing = p256.spki().to_vec();
    trailing.push(0);
    assert_eq!(pem(&trailing).err(), Some(KeyError::Encoding));
    // The compressed point.
    let point = p256.spki().get(27..59).unwrap();
    let mut compressed =
        b"\x30\x39\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x22\x00\x02"
            .to_vec();
    compressed.extend_from_slice(point);
    assert_eq!(pem(&compressed).err(), Some(KeyError::Encoding));
    // RSA without the NULL that RFC 3279 wants.
    let rsa = PublicKey::from_pem(vector!("rsa2048")).unwrap();
    let without = [b"\x30\x0b".as_slice(), RSA_ENCRYPTION.get(2..13).unwrap(), rsa.spki().get(19..).unwrap()].concat();
    assert_eq!(pem(&tlv(0x30, &without)).err(), Some(KeyError::Encoding));
    let with = [RSA_ENCRYPTION, rsa.spki().get(19..).unwrap()].concat();
    assert_eq!(pem(&tlv(0x30, &with)).unwrap(), rsa);
}

#[test]
fn short_rsa_keys_and_other_curves_are_refused() {
    let modulus = [vec![0x80], vec![0; 126], vec![1]].concat();
    let numbers = [tlv(0x02, &integer(&modulus)), tlv(0x02, &[1, 0, 1])].concat();
    let key = tlv(0x03, &[vec![0], tlv(0x30, &numbers)].concat());
    assert_eq!(pem(&tlv(0x30, &[RSA_ENCRYPTION, &key].concat())).err(), Some(KeyError::RsaSize { bits: 1024 }));

    let mut k1 =
        b"\x30\x56\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x0a\x03\x42\x00\x04".to_vec();
    k1.extend([1; 64]);
    assert_eq!(pem(&k1).err(), Some(KeyError::Algorithm { oid: "1.3.132.0.10".to_owned() }));
    let mut x25519 = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x6e\x03\x21\x00".to_vec();
    x25519.extend([9; 32]);
    assert_eq!(pem(&x25519).err(), Some(KeyError::Algorithm { oid: "1.3.101.110".to_owned() }));
    // A point that is not on the curve.
    let mut off = PublicKey::from_pem(vector!("p256")).unwrap().spki().to_vec();
    *off.last_mut().unwrap() ^= 1;
    assert_eq!(pem(&off).err(), Some(KeyError::Value));
}
