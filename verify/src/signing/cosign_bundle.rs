//! A keyed Sigstore bundle v0.3, byte for byte as `cosign sign --key` 3.1 writes it without transparency log and time-stamp.

use std::collections::BTreeMap;

use assay_admission::{Descriptor, Digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::bundle::{MEDIA_TYPES, PAYLOAD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE, pae};

/// The media type of the layer, and the type of the artifact that holds it.
pub const MEDIA_TYPE: &str = MEDIA_TYPES[0];

/// What is to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToSign {
    /// The in-toto statement.
    pub payload: Vec<u8>,
    /// The bytes to sign: DSSE's pre-authentication encoding of the payload. Hash them by the key's rule: SHA-256 for P-256 and
    /// RSA (PKCS#1 v1.5), SHA-384 for P-384, SHA-512 for P-521, none for Ed25519.
    pub pae: Vec<u8>,
}

/// The statement that `subject` is signed, with signed annotations.
#[must_use]
pub fn pae_to_sign(subject: &Descriptor, annotations: &BTreeMap<String, String>) -> ToSign {
    let text = |text: &str| Value::from(text).to_string();
    let annotations: Vec<_> = annotations.iter().map(|(key, value)| format!("{}:{}", text(key), text(value))).collect();
    // Written out, not serialised: the order of the fields is cosign's.
    let payload = format!(
        concat!(
            r#"{{"_type":"{statement}","subject":[{{"digest":{{"{algorithm}":"{hex}"}},"annotations":{{{annotations}}}}}],"#,
            r#""predicateType":"{predicate}","predicate":{{}}}}"#
        ),
        statement = STATEMENT_TYPE,
        algorithm = subject.digest.algorithm(),
        hex = subject.digest.hex(),
        annotations = annotations.join(","),
        predicate = PREDICATE_TYPE,
    )
    .into_bytes();
    let pae = pae(&payload);
    ToSign { payload, pae }
}

/// The bundle. `signature` is in DER for ECDSA; `spki` is the key's SubjectPublicKeyInfo in DER, whose hash becomes the hint.
#[must_use]
pub fn assemble(to_sign: &ToSign, signature: &[u8], spki: &[u8]) -> Vec<u8> {
    format!(
        concat!(
            r#"{{"mediaType":"{media_type}","verificationMaterial":{{"publicKey":{{"hint":"{hint}"}}}},"#,
            r#""dsseEnvelope":{{"payload":"{payload}","payloadType":"{payload_type}","signatures":[{{"sig":"{signature}"}}]}}}}"#
        ),
        media_type = MEDIA_TYPE,
        hint = STANDARD.encode(Digest::sha256(spki).value()),
        payload = STANDARD.encode(&to_sign.payload),
        payload_type = PAYLOAD_TYPE,
        signature = STANDARD.encode(signature),
    )
    .into_bytes()
}

/// The annotations of the signature manifest, without the time of creation.
#[must_use]
pub fn manifest_annotations() -> BTreeMap<String, String> {
    [("dev.sigstore.bundle.content", "dsse-envelope"), ("dev.sigstore.bundle.predicateType", PREDICATE_TYPE)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}
