//! Signatures that are made here are verified here, and have the bytes of the tools that they imitate.

use std::collections::BTreeMap;

use assay_admission::{Digest, UnixTime};
use assay_verify::{
    Certificate,
    signing::{Algorithm, cosign_bundle, ecdsa_der_of_raw, notation_cose},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{certificates::Pki, support::*};

fn stage() -> BTreeMap<String, String> {
    [("stage".to_owned(), "release".to_owned())].into()
}

#[test]
fn a_bundle_has_the_bytes_that_cosign_writes() {
    for (name, annotations) in [("p256", BTreeMap::new()), ("rsa3072", stage())] {
        let real = artifact(&format!("bundle-{name}")).blobs[0].bytes().to_vec();
        let value: Value = serde_json::from_slice(&real).unwrap();
        let signature = STANDARD.decode(value["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap()).unwrap();
        let to_sign = cosign_bundle::pae_to_sign(&index(), &annotations);
        let made = cosign_bundle::assemble(&to_sign, &signature, key(name).spki());
        assert_eq!(String::from_utf8(made).unwrap(), String::from_utf8(real).unwrap());
        let manifest: Value = serde_json::from_slice(artifact(&format!("bundle-{name}")).manifest.bytes()).unwrap();
        for (key, value) in cosign_bundle::manifest_annotations() {
            assert_eq!(manifest["annotations"][key], value);
        }
    }
}

#[test]
fn a_bundle_made_with_a_token_like_key_counts() {
    let key = TestKey::new();
    let odd = BTreeMap::from([("quote\"\\\n\u{1}".to_owned(), "<&>\u{e9}".to_owned())]);
    let to_sign = cosign_bundle::pae_to_sign(&index(), &odd);
    let signature = ecdsa_der_of_raw(&key.sign_raw(&to_sign.pae)).unwrap();
    let made = cosign_bundle::assemble(&to_sign, &signature, key.public().spki());
    let found = findings(envelope(BUNDLE, made), &trust_key("ci", key.public()));
    assert_eq!(found.facts[0].annotations(), &odd);
}

#[test]
fn a_cose_envelope_has_the_bytes_that_notation_writes() {
    let chain = Certificate::all_from_pem(&vector("keys/ec256-chain.pem")).unwrap();
    for (name, annotations, expires) in
        [("ec256", BTreeMap::new(), false), ("metadata", stage(), false), ("expiry", BTreeMap::new(), true)]
    {
        let artifact = artifact(&format!("notation-cose-{name}"));
        let real = artifact.blobs[0].bytes();
        let time = findings(artifact.clone(), &trust_root("ec256-root")).facts[0].claimed_time().unwrap();
        let expiry = expires.then(|| UnixTime::from_seconds(time.seconds() + 24 * 3600));
        let to_sign = notation_cose::to_sign(&index(), &chain, time, expiry, &annotations).unwrap();
        assert_eq!(to_sign.algorithm(), Algorithm::Es256);
        let made = to_sign.assemble(&real[real.len() - 64..], "notation-go/1.3.2");
        assert_eq!(hex::encode(made), hex::encode(real), "{name}");
        let manifest: Value = serde_json::from_slice(artifact.manifest.bytes()).unwrap();
        for (key, value) in notation_cose::manifest_annotations(&chain) {
            assert_eq!(manifest["annotations"][key], value);
        }
    }
}

#[test]
fn a_cose_envelope_made_with_a_token_like_key_counts() {
    let pki = Pki::new();
    let expiry = UnixTime::from_seconds(NOW.seconds() + 60);
    let to_sign = notation_cose::to_sign(&index(), &pki.chain, NOW, Some(expiry), &stage()).unwrap();
    let signature = pki.leaf_key.sign_raw(to_sign.sig_structure());
    let found = findings(envelope(COSE, to_sign.assemble(&signature, "assay")), &pki.trust());
    assert_eq!(found.rejections, []);
    assert_eq!(found.facts[0].holds_until(), Some(UnixTime::from_seconds(NOW.seconds() + 59)));
    assert_eq!(found.facts[0].annotations(), &stage());
}

#[test]
fn what_a_verifier_would_refuse_is_not_signed() {
    let pki = Pki::new();
    let sign = |chain: &[Certificate], expiry| {
        notation_cose::to_sign(&index(), chain, NOW, expiry, &BTreeMap::new()).map(|_| ())
    };
    assert!(matches!(sign(&pki.chain[..2], None), Err(notation_cose::SigningError::Chain(_))));
    assert!(matches!(sign(&[], None), Err(notation_cose::SigningError::Chain(_))));
    let expected = notation_cose::SigningError::Expiry { expiry: NOW, signing_time: NOW };
    assert_eq!(sign(&pki.chain, Some(NOW)), Err(expected));
}

#[test]
fn the_hint_is_the_hash_of_the_key() {
    let to_sign = cosign_bundle::pae_to_sign(&index(), &BTreeMap::new());
    let bundle: Value = serde_json::from_slice(&cosign_bundle::assemble(&to_sign, b"x", b"spki")).unwrap();
    let hint = STANDARD.encode(Digest::sha256(b"spki").value());
    assert_eq!(bundle["verificationMaterial"]["publicKey"]["hint"], hint);
}
