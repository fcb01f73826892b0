//! Frames of this version survive; everything else is refused by name.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::{KeyError, Reply, Request, SignRequest, decode_answer, decode_request, encode_answer, encode_request};
use crate::key::Scheme;

fn sign() -> Request {
    Request::Sign(SignRequest {
        uri: "pkcs11:token=t;object=k".parse().unwrap(),
        scheme: Scheme::EcdsaP256Sha256,
        message: b"hello".to_vec(),
    })
}

#[test]
fn a_request_survives_its_frame() {
    let frame = encode_request(&sign()).unwrap();
    assert_eq!(decode_request(&frame), Ok(sign()));
    assert_eq!(
        String::from_utf8(frame).unwrap(),
        r#"{"v":1,"request":{"op":"sign","uri":"pkcs11:token=t;object=k","scheme":"ecdsa-p256-sha256","message":"aGVsbG8="}}"#
    );
}

#[test]
fn another_version_is_refused_before_its_content_is_read() {
    let frame = br#"{"v":2,"request":{"op":"dance"},"more":1}"#;
    assert_eq!(decode_request(frame), Err(KeyError::UnsupportedVersion { offered: 2, supported: 1 }));
}

#[test]
fn unknown_fields_operations_and_schemes_are_malformed() {
    for frame in [
        r#"{"v":1,"request":{"op":"dance"}}"#,
        r#"{"v":1,"request":{"op":"status","extra":1}}"#,
        r#"{"v":1,"request":{"op":"status"},"extra":1}"#,
        r#"{"v":1,"request":{"op":"sign","uri":"pkcs11:object=k","scheme":"none","message":""}}"#,
        r#"{"v":1,"request":{"op":"sign","uri":"pkcs11:object=k","scheme":"ed25519","message":"!"}}"#,
        r#"{"v":1,"request":{"op":"public","uri":"pkcs11:object=k?pin-value=1"}}"#,
        r#"{"v":1}"#,
        "[]",
        "",
    ] {
        assert!(matches!(decode_request(frame.as_bytes()), Err(KeyError::Malformed { .. })), "{frame}");
    }
}

#[test]
fn answers_survive_their_frame() {
    let good = Reply::Signature { signature: vec![1, 2, 3] };
    assert_eq!(decode_answer(&encode_answer(Ok(good.clone())).unwrap()), Ok(Ok(good)));
    let bad = KeyError::ModuleFailed { call: "C_Sign".into(), rv: "DeviceError".into() };
    assert_eq!(decode_answer(&encode_answer(Err(bad.clone())).unwrap()), Ok(Err(bad)));
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_an_error(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_request(&frame);
        let _ = decode_answer(&frame);
    }
}
