#![expect(clippy::unwrap_used, reason = "tests")]

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    },
};
use proptest::prelude::*;

use super::*;

const ORIGIN: &str = "node.example/log";

fn ed25519(seed: u8) -> (NoteKey, impl Fn(&str) -> Vec<u8>) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let spki = [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0], pair.public_key().as_ref()].concat();
    (NoteKey::from_spki(&spki).unwrap(), move |text| pair.sign(text.as_bytes()).as_ref().to_vec())
}

fn head() -> Unsigned {
    Unsigned { origin: ORIGIN.into(), size: 20, root: [9; 32] }
}

fn signed(seed: u8, head: &Unsigned) -> String {
    let (key, sign) = ed25519(seed);
    sign_with(&head.text(), &head.origin, &key, &sign(&head.text())).unwrap()
}

fn verify(note: &str, keys: &[NoteKey]) -> Result<Unsigned, NoteError> {
    parse(note.as_bytes())?.verify(keys).map(|verified| verified.head().clone())
}

#[test]
fn a_checkpoint_signed_by_a_pinned_key_verifies_and_any_changed_byte_does_not() {
    let (key, _) = ed25519(1);
    let note = signed(1, &head());
    assert_eq!(verify(&note, &[key]), Ok(head()));
    for at in 0..note.len() {
        let mut changed = note.clone().into_bytes();
        if let Some(byte) = changed.get_mut(at) {
            *byte ^= 1;
        }
        assert!(parse(&changed).and_then(|found| found.verify(&[key])).is_err(), "byte {at}");
    }
}

#[test]
fn other_keys_and_no_keys_do_not_count() {
    let (one, two) = (ed25519(1).0, ed25519(2).0);
    let note = signed(1, &head());
    assert_eq!(verify(&note, &[]), Err(NoteError::NoKeys));
    assert_eq!(verify(&note, &[two]), Err(NoteError::NoKnownKey));
    assert_eq!(verify(&note, &[two, one]), Ok(head()));
}

#[test]
fn a_wrong_signature_of_a_pinned_key_is_refused_even_beside_a_right_one() {
    let (one, two) = (ed25519(1).0, ed25519(2).0);
    let other = signed(2, &Unsigned { size: 21, ..head() });
    let both = signed(1, &head()) + other.rsplit_once("\n\n").unwrap().1;
    assert_eq!(verify(&both, &[one, two]), Err(NoteError::BadSignature));
    assert_eq!(verify(&both, &[one]), Ok(head()));
}

#[test]
fn a_signature_under_another_name_is_not_the_logs() {
    let (key, sign) = ed25519(1);
    let note = sign_with(&head().text(), "other.example", &key, &sign(&head().text())).unwrap();
    assert_eq!(verify(&note, &[key]), Err(NoteError::NoKnownKey));
}

#[test]
fn p256_signatures_are_taken_as_a_token_gives_them_and_as_asn1() {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    for algorithm in [&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_ASN1_SIGNING] {
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).unwrap();
        let point = pair.public_key().as_ref();
        let start = [0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8];
        let curve = [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 3, 0x42, 0];
        let key = NoteKey::from_spki(&[&start, curve.as_slice(), point].concat()).unwrap();
        let raw = pair.sign(&random, head().text().as_bytes()).unwrap();
        let note = sign_with(&head().text(), ORIGIN, &key, raw.as_ref()).unwrap();
        assert_eq!(verify(&note, &[key]), Ok(head()));
        assert_eq!(verify(&note.replace("\n20\n", "\n21\n"), &[key]), Err(NoteError::BadSignature));
        // c2sp.org/signed-note, 0x02: the key ID does not depend on the name.
        assert_eq!(key.id("a"), key.id("b"));
    }
}

#[test]
fn a_wrong_signature_never_becomes_a_note() {
    let (key, sign) = ed25519(1);
    let other = Unsigned { size: 21, ..head() };
    let refused = sign_with(&head().text(), ORIGIN, &key, &sign(&other.text()));
    assert_eq!(refused, Err(NoteError::BadSignature));
    assert_eq!(sign_with("no checkpoint\n", ORIGIN, &key, &sign("no checkpoint\n")), Err(NoteError::NotCheckpoint));
    assert_eq!(sign_with(&head().text(), "two words", &key, &[]), Err(NoteError::Name));
}

#[test]
fn texts_that_are_no_heads_are_refused() {
    let root = BASE64_STANDARD.encode([9; 32]);
    for text in [
        "",
        "a\n",
        "a\n1\n",
        "a\n1\nAAAA\n",
        &format!("a\n01\n{root}\n"),
        &format!("a\n+1\n{root}\n"),
        &format!("a\n-1\n{root}\n"),
        &format!("\n1\n{root}\n"),
        &format!("a\n1\n{root}"),
        &format!("a\n1\n{root}\n\n"),
        &format!("a\n18446744073709551616\n{root}\n"),
        &format!("a b\n1\n{root}\n"),
    ] {
        assert_eq!(Unsigned::parse(text), Err(NoteError::NotCheckpoint), "{text:?}");
    }
    assert!(Unsigned::parse(&format!("a\n1\n{root}\nextension\n")).is_ok());
}

proptest! {
    #[test]
    fn every_head_survives_its_text(size: u64, root: [u8; 32]) {
        let head = Unsigned { size, root, ..head() };
        prop_assert_eq!(Unsigned::parse(&head.text()), Ok(head));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(\\PC|\n){0,60}") {
        let _ = Unsigned::parse(&text);
        let _ = parse(text.as_bytes());
    }
}
