//! Message signatures in bundles by keys: of each kind over the hash that is its own, or over the whole message.

use assay_admission::Digest;
use assay_verify::{
    BlobDigests, BlobHasher, BlobSignature, Budget, PublicKey, RejectionReason, Signer, signing::cosign_bundle,
    verify_blob,
};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::*;

const MESSAGE: &[u8] = b"a file of some length";

fn digests(message: &[u8]) -> BlobDigests {
    let mut hasher = BlobHasher::default();
    // In pieces, as a file comes.
    message.chunks(5).for_each(|piece| hasher.update(piece));
    hasher.finish()
}

fn bundle(digest: &Value, signature: &[u8]) -> Vec<u8> {
    json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": "" } },
        "messageSignature": { "messageDigest": digest, "signature": STANDARD.encode(signature) },
    })
    .to_string()
    .into_bytes()
}

fn judge(key: &PublicKey, blob: &BlobDigests, bundle: &[u8]) -> Result<BlobSignature, RejectionReason> {
    verify_blob(blob, bundle, &trust_key("ci", key.clone()), NOW, &mut Budget::default())
}

fn counts(key: &PublicKey, blob: &BlobDigests, bundle: &[u8]) {
    let signer = Signer::Key { name: "ci".parse().unwrap(), spki_sha256: key.spki_sha256() };
    assert_eq!(judge(key, blob, bundle).unwrap().signers(), [signer]);
}

fn ed25519() -> (PublicKey, Ed25519KeyPair) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    (PublicKey::from_pem(&pair.public_key_pem()).unwrap(), Ed25519KeyPair::from_pkcs8(&pair.serialize_der()).unwrap())
}

fn p384() -> (PublicKey, EcdsaKeyPair) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    (
        PublicKey::from_pem(&pair.public_key_pem()).unwrap(),
        EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P384_SHA384_ASN1_SIGNING, &pair.serialize_der()).unwrap(),
    )
}

#[test]
fn ed25519_signs_the_whole_message_and_its_changed_twins_do_not_count() {
    let (key, pair) = ed25519();
    let signature = pair.sign(MESSAGE).as_ref().to_vec();
    let named = json!({ "algorithm": "SHA2_256", "digest": STANDARD.encode(Digest::sha256(MESSAGE).value()) });
    // cosign 3 names no digest beside an Ed25519 signature, cosign 2.5 the SHA-256.
    for digest in [json!({}), named] {
        counts(&key, &digests(MESSAGE), &bundle(&digest, &signature));
        let mut changed = signature.clone();
        changed[7] ^= 1;
        let by = RejectionReason::UnknownKey;
        assert_eq!(judge(&key, &digests(MESSAGE), &bundle(&digest, &changed)).unwrap_err(), by);
    }
    let other = judge(&key, &digests(b"a file of some lengti"), &bundle(&json!({}), &signature)).unwrap_err();
    assert_eq!(other, RejectionReason::UnknownKey);
    // Over its hash instead of over the message.
    let hashed = pair.sign(Digest::sha256(MESSAGE).value()).as_ref().to_vec();
    assert_eq!(judge(&key, &digests(MESSAGE), &bundle(&json!({}), &hashed)).unwrap_err(), RejectionReason::UnknownKey);
}

#[test]
fn a_message_of_which_only_the_digest_is_known_is_not_judged_by_keys_that_need_more() {
    let only = BlobDigests::of_sha256(Digest::sha256(MESSAGE)).unwrap();
    let (key, pair) = ed25519();
    let reason = judge(&key, &only, &bundle(&json!({}), pair.sign(MESSAGE).as_ref())).unwrap_err();
    let missing = "all of its bytes, of which not too many";
    assert_eq!(reason, RejectionReason::MessageUnknown { by: "key ci (Ed25519)".to_owned(), missing });
    let (key, pair) = p384();
    let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap();
    let reason = judge(&key, &only, &bundle(&json!({}), signature.as_ref())).unwrap_err();
    let missing = "its SHA-384";
    assert_eq!(reason, RejectionReason::MessageUnknown { by: "key ci (P-384)".to_owned(), missing });
}

#[test]
fn a_file_too_large_to_be_kept_is_not_judged_by_ed25519_and_is_by_others() {
    let (piece, mut hasher) = (vec![0_u8; 1 << 20], BlobHasher::default());
    (0..33).for_each(|_| hasher.update(&piece));
    let large = hasher.finish();
    let message = vec![0_u8; 33 << 20];
    let (key, pair) = ed25519();
    let reason = judge(&key, &large, &bundle(&json!({}), pair.sign(&message).as_ref())).unwrap_err();
    assert!(matches!(reason, RejectionReason::MessageUnknown { .. }), "{reason:?}");
    let key = TestKey::new();
    counts(&key.public(), &large, &bundle(&json!({}), &key.sign_der(&message)));
}

#[test]
fn a_message_is_named_by_any_hash_and_has_to_be_the_one_that_is_named() {
    let (key, pair) = p384();
    let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap();
    let sha384 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, MESSAGE);
    let named = |bytes: &[u8]| json!({ "algorithm": "SHA2_384", "digest": STANDARD.encode(bytes) });
    counts(&key, &digests(MESSAGE), &bundle(&named(sha384.as_ref()), signature.as_ref()));
    let mut other = sha384.as_ref().to_vec();
    other[0] ^= 1;
    let reason = judge(&key, &digests(MESSAGE), &bundle(&named(&other), signature.as_ref())).unwrap_err();
    assert_eq!(reason, RejectionReason::OtherSubject { found: format!("sha384:{}", hex::encode(&other)) });
    let only = BlobDigests::of_sha256(Digest::sha256(MESSAGE)).unwrap();
    let reason = judge(&key, &only, &bundle(&named(sha384.as_ref()), signature.as_ref())).unwrap_err();
    assert!(matches!(reason, RejectionReason::Unsupported(_)), "{reason:?}");
    let unknown = json!({ "algorithm": "SHA3_256", "digest": "" });
    let reason = judge(&key, &digests(MESSAGE), &bundle(&unknown, signature.as_ref())).unwrap_err();
    assert_eq!(reason, RejectionReason::Unknown { field: "messageDigest", value: "SHA3_256".to_owned() });
}

// A key of `openssl ecparam -genkey`, a signature over "a message" by `openssl dgst -sha256 -sign`; the private key was thrown away.
const P384: &str = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEWS68WvqypivO6ck0+wdeFC+NYaR5ivwG\nGv3/blkMO9NX0nzlKoFPPmQIcuix2tBXu0o6zVjVg5yksHFXdCzs5jr8w95NnQaH\n0zH6ENQV9QFM/IUQ/31dx4ZctxjirYE5\n-----END PUBLIC KEY-----\n";
const P384_SHA256: &str = "MGUCMQDYJO5NPDyGSJL98bXd3EY7iN5v329wO4x3qi4Wa/+vlVTIdXQXUVYvi2bR0b5ptZkCMAx/0+d251Dtw6SLxHPRZUq7T2VvUjXOgXctqtuj8mbyhpSDi0J/LvgEmJebGKXruQ==";

#[test]
fn a_message_signed_over_sha256_by_a_larger_curve_is_named_as_such() {
    let key = PublicKey::from_pem(P384).unwrap();
    let signature = STANDARD.decode(P384_SHA256).unwrap();
    let reason = judge(&key, &digests(b"a message"), &bundle(&json!({}), &signature)).unwrap_err();
    let by = "key ci (P-384)".to_owned();
    assert_eq!(reason, RejectionReason::OtherHash { by, found: "SHA-256", required: "SHA-384" });
}

#[test]
fn a_statement_by_ed25519_needs_no_file() {
    let (key, pair) = ed25519();
    let statement = cosign_bundle::pae_to_sign(&index(), &Default::default());
    let signature = pair.sign(&statement.pae).as_ref().to_vec();
    let bundle = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": "" } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(&statement.payload),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{ "sig": STANDARD.encode(signature) }],
        },
    });
    let only = BlobDigests::of_sha256(index().digest).unwrap();
    counts(&key, &only, bundle.to_string().as_bytes());
    accepted(envelope(BUNDLE, bundle.to_string()), &trust_key("ci", key));
}
