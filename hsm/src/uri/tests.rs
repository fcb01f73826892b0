//! What a key URI accepts, what it refuses and by which name.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{KeyUri, KeyUriError};

fn refused(text: &str) -> KeyUriError {
    text.parse::<KeyUri>().unwrap_err()
}

fn canonical(text: &str) -> String {
    text.parse::<KeyUri>().unwrap().to_string()
}

#[test]
fn attributes_are_read_and_written_in_one_order() {
    let uri: KeyUri = "pkcs11:type=private;id=%01a;object=ci%20release;serial=42;token=my%2ftoken".parse().unwrap();
    assert_eq!(uri.token(), Some("my/token"));
    assert_eq!(uri.serial(), Some("42"));
    assert_eq!(uri.object(), Some("ci release"));
    assert_eq!(uri.id(), Some([1, b'a'].as_slice()));
    assert_eq!(uri.to_string(), "pkcs11:token=my%2Ftoken;serial=42;object=ci%20release;id=%01%61;type=private");
}

#[test]
fn type_plays_no_part_in_identity() {
    let public: KeyUri = "pkcs11:token=a;object=k;type=public".parse().unwrap();
    let private: KeyUri = "pkcs11:object=k;type=private;token=a".parse().unwrap();
    let neither: KeyUri = "PKCS11:object=%6b;token=a".parse().unwrap();
    let other: KeyUri = "pkcs11:object=k;token=b".parse().unwrap();
    assert_eq!(public, private);
    assert_eq!(public, neither);
    assert_ne!(public, other);
    assert_eq!(BTreeSet::from([public, private, neither, other]).len(), 2);
}

#[test]
fn a_pin_in_the_uri_is_refused_by_name() {
    assert_eq!(refused("pkcs11:object=k?pin-value=1234"), KeyUriError::PinValue);
    assert_eq!(refused("pkcs11:object=k?module-path=/x.so&pin-value=1234"), KeyUriError::PinValue);
    assert_eq!(refused("pkcs11:object=k;pin-value=1234"), KeyUriError::PinValue);
    assert_eq!(refused("pkcs11:object=k?pin-source=/etc/pin"), KeyUriError::PinSource);
}

#[test]
fn a_module_in_the_uri_is_refused_by_name() {
    assert_eq!(refused("pkcs11:object=k?module-path=/tmp/evil.so"), KeyUriError::Module { name: "module-path" });
    assert_eq!(refused("pkcs11:object=k?module-name=evil"), KeyUriError::Module { name: "module-name" });
    assert_eq!(refused("pkcs11:object=k?"), KeyUriError::UnknownQuery { name: String::new() });
}

#[test]
fn duplicates_and_unknown_attributes_are_refused() {
    assert_eq!(refused("pkcs11:object=k;object=k"), KeyUriError::DuplicateAttribute { name: "object".into() });
    assert_eq!(
        refused("pkcs11:type=public;object=k;type=public"),
        KeyUriError::DuplicateAttribute { name: "type".into() }
    );
    assert_eq!(refused("pkcs11:object=k;x-vendor=1"), KeyUriError::UnknownAttribute { name: "x-vendor".into() });
    assert_eq!(refused("pkcs11:Object=k"), KeyUriError::UnknownAttribute { name: "Object".into() });
}

#[test]
fn malformed_values_are_refused() {
    assert_eq!(refused("pkcs11:object=a%4"), KeyUriError::BadEscape { name: "object".into() });
    assert_eq!(refused("pkcs11:object=a%4g"), KeyUriError::BadEscape { name: "object".into() });
    assert_eq!(refused("pkcs11:object=%00"), KeyUriError::NotText { name: "object".into() });
    assert_eq!(refused("pkcs11:object=%ff"), KeyUriError::NotText { name: "object".into() });
    assert_eq!(refused("pkcs11:object="), KeyUriError::EmptyValue { name: "object".into() });
    assert_eq!(refused("pkcs11:object=a b"), KeyUriError::IllegalCharacter { name: "object".into(), character: ' ' });
    assert_eq!(refused("pkcs11:object=a/b"), KeyUriError::IllegalCharacter { name: "object".into(), character: '/' });
    assert_eq!(refused("pkcs11:object=aé"), KeyUriError::IllegalCharacter { name: "object".into(), character: 'é' });
    assert_eq!(refused("pkcs11:object=k;"), KeyUriError::NotAnAttribute { text: String::new() });
    assert_eq!(refused("pkcs11:object"), KeyUriError::NotAnAttribute { text: "object".into() });
    assert_eq!(refused("pkcs11:object=k;slot-id=+1"), KeyUriError::BadSlotId { text: "+1".into() });
    assert_eq!(refused("pkcs11:object=k;type=cert"), KeyUriError::UnsupportedType { text: "cert".into() });
}

#[test]
fn a_uri_that_names_no_key_is_refused() {
    assert_eq!(refused("pkcs11:"), KeyUriError::NoKey);
    assert_eq!(refused("pkcs11:token=assay;type=private"), KeyUriError::NoKey);
    assert_eq!(refused("pkcs12:object=k"), KeyUriError::NotPkcs11);
    assert_eq!(refused("object=k"), KeyUriError::NotPkcs11);
}

#[test]
fn lengths_are_bounded() {
    assert_eq!(canonical(&format!("pkcs11:token={};object=k", "t".repeat(32))).len(), 54);
    assert_eq!(
        refused(&format!("pkcs11:token={};object=k", "t".repeat(33))),
        KeyUriError::ValueTooLong { name: "token".into(), length: 33, limit: 32 }
    );
    assert_eq!(
        refused(&format!("pkcs11:object={}", "k".repeat(1024))),
        KeyUriError::TooLong { length: 1038, limit: 1024 }
    );
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_without_panic(text in "(pkcs11:)?\\PC{0,80}") {
        if let Ok(uri) = text.parse::<KeyUri>() {
            prop_assert_eq!(uri.to_string().parse::<KeyUri>().unwrap(), uri);
        }
    }

    #[test]
    fn any_key_survives_its_canonical_form(
        token in "[^\\p{Cc}]{1,8}",
        object in proptest::option::of("[^\\p{Cc}]{1,24}"),
        id in proptest::collection::vec(any::<u8>(), 1..32),
    ) {
        let uri = KeyUri::of_key(&token, object, Some(id)).unwrap();
        let text = uri.to_string();
        let again: KeyUri = text.parse().unwrap();
        prop_assert_eq!(&again, &uri);
        prop_assert_eq!(again.to_string(), text);
    }
}
