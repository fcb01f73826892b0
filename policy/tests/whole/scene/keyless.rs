//! A small Sigstore, the verifier's own, whose certificates are for the one identity `IDENTITY` by `ISSUER`; and attestations by bare keys.

use std::sync::OnceLock;

use assay_admission::{Descriptor, Document, MediaType};
use assay_verify::{Artifact, FoundBy, signing::cosign_bundle};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    Key, descriptor, document,
    sigstore_world::{Made, Wishes, World},
};

/// One for all tests of a process: its keys are random.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| World::new(Wishes::default()))
}

/// The `trusted_root.json` of the small Sigstore.
pub(crate) fn trusted_root() -> Vec<u8> {
    world().root_json().to_string().into_bytes()
}

/// A keyless signature of `subject` as cosign makes it; without a log entry if so wished.
pub(crate) fn sign_keyless(subject: &Descriptor, is_logged: bool) -> Artifact {
    let made = world().sign_statement(&cosign_bundle::pae_to_sign(subject, &std::collections::BTreeMap::new()).payload);
    artifact(subject, &bundle(&made, is_logged))
}

/// A keyless attestation about `subject`.
pub(crate) fn attest_keyless(subject: &Descriptor, predicate_type: &str) -> Artifact {
    let made = world().sign_statement(statement(subject, predicate_type).to_string().as_bytes());
    artifact(subject, &bundle(&made, true))
}

/// An attestation about `subject` by a key, as cosign makes it.
pub(crate) fn attest(key: &Key, subject: &Descriptor, predicate_type: &str) -> Artifact {
    let payload = statement(subject, predicate_type).to_string();
    let payload_type = "application/vnd.in-toto+json";
    let pae = format!("DSSEv1 {} {payload_type} {} {payload}", payload_type.len(), payload.len());
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "publicKey": { "hint": "" } },
        "dsseEnvelope": {
            "payloadType": payload_type,
            "payload": STANDARD.encode(payload.as_bytes()),
            "signatures": [{ "keyid": "", "sig": STANDARD.encode(key.sign_bytes(pae.as_bytes())) }],
        },
    });
    artifact(subject, &bundle)
}

fn bundle(made: &Made, is_logged: bool) -> Value {
    if is_logged {
        world().bundle(made)
    } else {
        world().bundle_with(made, Vec::new(), &[world().token(&made.signature, 0)])
    }
}

fn statement(subject: &Descriptor, predicate_type: &str) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "app", "digest": { "sha256": subject.digest.hex() } }],
        "predicateType": predicate_type,
        "predicate": { "packages": [], "spdxVersion": "SPDX-2.3", "name": "app" },
    })
}

fn artifact(subject: &Descriptor, bundle: &Value) -> Artifact {
    const TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let bundle = document(TYPE, bundle);
    let empty = Document::new(MediaType::new("application/vnd.oci.empty.v1+json").unwrap(), b"{}".to_vec()).unwrap();
    let manifest = document(
        MediaType::OCI_MANIFEST,
        &json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": TYPE,
            "config": descriptor(&empty), "layers": [descriptor(&bundle)],
            "subject": {
                "mediaType": subject.media_type.as_str(), "digest": subject.digest.to_string(), "size": subject.size,
            },
        }),
    );
    Artifact { subject: subject.digest, found_by: FoundBy::ReferrersApi, manifest, blobs: vec![bundle] }
}
