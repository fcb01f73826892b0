//! Whole verifications: an envelope of any format, in an artifact that says that it is about the image.

use std::fmt::Write as _;

use assay_admission::{Digest, MediaType, UnixTime};
use assay_verify::{Artifact, BlobHasher, Budget, Evidence, FoundBy, verify_attestations, verify_blob};

use crate::subjects::{document, image, trust};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// 2026-11-22T12:00:00Z: the vectors were made an hour before.
const NOW: UnixTime = UnixTime::from_seconds(1_795_348_800);

/// The bytes up to the first zero byte, and those behind it.
pub(crate) fn parts(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

/// A bundle: about a file, about the image, as an attestation.
pub fn bundle(bytes: &[u8]) {
    let mut hasher = BlobHasher::default();
    hasher.update(b"a file");
    let _ = verify_blob(&hasher.finish(), bytes, trust(), NOW, &mut Budget::default());
    judge(BUNDLE, bytes, &[]);
}

/// A bare DSSE envelope. Up to the first zero byte the envelope, behind it what stands beside it.
pub fn dsse(bytes: &[u8]) {
    let (envelope, beside) = parts(bytes);
    judge(ENVELOPE, envelope, beside);
}

/// The first byte picks the format; up to the first zero byte the envelope, behind it what stands beside it. COSE is binary, and
/// has nothing beside it.
pub fn verify(bytes: &[u8]) {
    let Some((format, bytes)) = bytes.split_first() else { return };
    let (envelope, beside) = parts(bytes);
    match format {
        b'b' => judge(BUNDLE, envelope, beside),
        b's' => judge("application/vnd.dev.cosign.simplesigning.v1+json", envelope, beside),
        b'j' => judge("application/jose+json", envelope, beside),
        b'c' => judge("application/cose", bytes, &[]),
        b'e' => judge(ENVELOPE, envelope, beside),
        _ => {}
    }
}

/// What is found is about the image, by someone who is trusted, and the same the second time.
fn judge(media_type: &str, envelope: &[u8], beside: &[u8]) {
    let Some(artifact) = artifact(media_type, envelope, beside) else { return };
    let Ok(evidence) = Evidence::new(vec![artifact]) else { return };
    let (image, trust) = (image(), trust());
    let find = || assay_verify::verify(image, &evidence, trust, NOW, &mut Budget::default());
    let findings = find();
    assert_eq!(find(), findings, "another answer the second time");
    for fact in &findings.facts {
        assert!(image.subjects().any(|subject| subject == fact.subject()), "{fact:?}");
    }
    let attested = verify_attestations(image, &evidence, trust, NOW, &mut Budget::default());
    for attestation in &attested.attestations {
        assert!(image.subjects().any(|subject| subject == attestation.subject()), "{attestation:?}");
        assert!(findings.facts.is_empty(), "a signature and an attestation at once");
    }
    let _ = findings.rejections.iter().map(ToString::to_string).collect::<Vec<_>>();
    let _ = attested.rejections.iter().map(ToString::to_string).collect::<Vec<_>>();
}

fn artifact(media_type: &str, envelope: &[u8], beside: &[u8]) -> Option<Artifact> {
    let about = image().subjects().next()?;
    let blob = document(media_type, envelope.to_vec());
    let artifact_type =
        if media_type.starts_with("application/vnd.") { media_type } else { "application/vnd.cncf.notary.signature" };
    let (config, beside) = (Digest::sha256(b"{}"), String::from_utf8_lossy(beside));
    let mut annotations = String::new();
    // One line for each annotation that cosign writes, in this order.
    let names = [
        "dev.cosignproject.cosign/signature",
        "dev.sigstore.cosign/certificate",
        "dev.sigstore.cosign/chain",
        "dev.sigstore.cosign/bundle",
        "dev.sigstore.cosign/rfc3161timestamp",
    ];
    for (name, value) in names.into_iter().zip(beside.split('\u{1}')) {
        let comma = if annotations.is_empty() { "" } else { "," };
        write!(annotations, "{comma}\"{name}\":{}", serde_json::Value::from(value)).ok()?;
    }
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{manifest}","artifactType":"{artifact_type}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"{media_type}","digest":"{}","size":{},"annotations":{{{annotations}}}}}],"subject":{{"mediaType":"{}","digest":"{}","size":{}}}}}"#,
        blob.digest(),
        blob.bytes().len(),
        about.media_type,
        about.digest,
        about.size,
        manifest = MediaType::OCI_MANIFEST,
    );
    Some(Artifact {
        subject: about.digest,
        found_by: FoundBy::Given,
        manifest: document(MediaType::OCI_MANIFEST, manifest.into_bytes()),
        blobs: vec![blob],
    })
}
