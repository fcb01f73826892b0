//! Vectors, the image that they sign, and signers whose every mistake can be chosen.

use std::{collections::BTreeMap, fs, path::PathBuf};

use assay_admission::{Descriptor, Digest, Document, Documents, ImageClaim, MediaType, Platform, UnixTime};
use assay_verify::{
    Artifact, BoundImage, Budget, Certificate, CertificateStore, Evidence, Findings, FoundBy, PublicKey,
    RejectionReason, Trust, bind,
};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};

pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub(crate) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
pub(crate) const JWS: &str = "application/jose+json";
pub(crate) const COSE: &str = "application/cose";
pub(crate) const NOTATION: &str = "application/vnd.cncf.notary.signature";

/// 2026-11-22T12:00:00Z: the vectors were made an hour before.
pub(crate) const NOW: UnixTime = UnixTime::from_seconds(1_795_348_800);

pub(crate) fn vector(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn document(media_type: &str, bytes: Vec<u8>) -> Document {
    Document::new(MediaType::new(media_type).unwrap(), bytes).unwrap()
}

/// The documents of the signed image: an index, two manifests, two configs.
pub(crate) fn documents() -> Documents {
    let mut all = vec![document(MediaType::OCI_INDEX, vector("image/index.json"))];
    for architecture in ["amd64", "arm64"] {
        all.push(document(MediaType::OCI_MANIFEST, vector(&format!("image/manifest-{architecture}.json"))));
        all.push(document(MediaType::OCI_CONFIG, vector(&format!("image/config-{architecture}.json"))));
    }
    all.into_iter().map(|document| (*document.digest(), document)).collect()
}

pub(crate) fn claim(architecture: &str) -> ImageClaim {
    ImageClaim {
        manifest: Digest::sha256(&vector(&format!("image/manifest-{architecture}.json"))),
        config: Digest::sha256(&vector(&format!("image/config-{architecture}.json"))),
        indexes: vec![Digest::sha256(&vector("image/index.json"))],
        names: Vec::new(),
    }
}

pub(crate) fn image(architecture: &str) -> BoundImage {
    let platform: Platform = format!("linux/{architecture}").parse().unwrap();
    bind(&claim(architecture), &documents(), &platform).unwrap()
}

pub(crate) fn index() -> Descriptor {
    image("amd64").indexes()[0].clone()
}

/// A vector as it was collected: its manifest and every layer.
pub(crate) fn artifact(name: &str) -> Artifact {
    let manifest = vector(&format!("{name}/manifest.json"));
    let value: Value = serde_json::from_slice(&manifest).unwrap();
    let layers = value["layers"].as_array().unwrap();
    let blob = |(at, layer): (usize, &Value)| {
        document(layer["mediaType"].as_str().unwrap(), vector(&format!("{name}/layer-{at}")))
    };
    let subject = value["subject"]["digest"].as_str().map_or_else(|| index().digest, |text| text.parse().unwrap());
    Artifact {
        subject,
        found_by: FoundBy::ReferrersTag,
        blobs: layers.iter().enumerate().map(blob).collect(),
        manifest: document(MediaType::OCI_MANIFEST, manifest),
    }
}

/// A signature manifest about the index around one envelope.
pub(crate) fn wrap(media_type: &str, envelope: Vec<u8>, annotations: &BTreeMap<String, String>) -> Artifact {
    let blob = document(media_type, envelope);
    let about = index();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": if media_type == JWS || media_type == COSE { NOTATION } else { media_type },
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}").to_string(), "size": 2 },
        "layers": [{ "mediaType": media_type, "digest": blob.digest().to_string(), "size": blob.bytes().len(), "annotations": annotations }],
        "subject": { "mediaType": about.media_type.as_str(), "digest": about.digest.to_string(), "size": about.size },
    });
    Artifact {
        subject: about.digest,
        found_by: FoundBy::ReferrersApi,
        manifest: document(MediaType::OCI_MANIFEST, manifest.to_string().into_bytes()),
        blobs: vec![blob],
    }
}

pub(crate) fn envelope(media_type: &str, bytes: impl Into<Vec<u8>>) -> Artifact {
    wrap(media_type, bytes.into(), &BTreeMap::new())
}

pub(crate) fn key(name: &str) -> PublicKey {
    PublicKey::from_pem(&String::from_utf8(vector(&format!("keys/{name}.pub.pem"))).unwrap()).unwrap()
}

pub(crate) fn trust_key(name: &str, key: PublicKey) -> Trust {
    Trust { keys: BTreeMap::from([(name.parse().unwrap(), key)]), ..Trust::default() }
}

pub(crate) fn trust_certificates(anchors: Vec<Certificate>) -> Trust {
    let store = CertificateStore::new(anchors).unwrap();
    Trust { certificates: BTreeMap::from([("acme".parse().unwrap(), store)]), ..Trust::default() }
}

pub(crate) fn trust_root(name: &str) -> Trust {
    trust_certificates(Certificate::all_from_pem(&vector(&format!("keys/{name}.pem"))).unwrap())
}

pub(crate) fn findings_at(artifacts: Vec<Artifact>, trust: &Trust, at: UnixTime) -> Findings {
    let evidence = Evidence::new(artifacts).unwrap();
    assay_verify::verify(&image("amd64"), &evidence, trust, at, &mut Budget::default())
}

pub(crate) fn findings(artifact: Artifact, trust: &Trust) -> Findings {
    findings_at(vec![artifact], trust, NOW)
}

/// The one reason why the one signature of `artifact` counts for nothing.
pub(crate) fn refused_at(artifact: Artifact, trust: &Trust, at: UnixTime) -> RejectionReason {
    let findings = findings_at(vec![artifact], trust, at);
    assert_eq!(findings.facts, []);
    assert_eq!(findings.rejections.len(), 1, "{findings:?}");
    findings.rejections[0].reason.clone()
}

pub(crate) fn refused(artifact: Artifact, trust: &Trust) -> RejectionReason {
    refused_at(artifact, trust, NOW)
}

pub(crate) fn accepted(artifact: Artifact, trust: &Trust) {
    let findings = findings(artifact, trust);
    assert_eq!(findings.rejections, []);
    assert_eq!(findings.facts.len(), 1, "{findings:?}");
}

pub(crate) fn malformed(field: &'static str, problem: &str) -> RejectionReason {
    RejectionReason::Malformed { field, problem: problem.to_owned() }
}

/// A P-256 key in a test's hands.
pub(crate) struct TestKey(pub(crate) rcgen::KeyPair);

impl TestKey {
    pub(crate) fn new() -> Self {
        Self(rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap())
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::from_pem(&self.0.public_key_pem()).unwrap()
    }

    /// ECDSA in DER, as cosign has it.
    pub(crate) fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.0.serialize_der()).unwrap();
        assert!(!key.public_key().as_ref().is_empty());
        key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    /// ECDSA as r and s, as the Notary Project has it.
    pub(crate) fn sign_raw(&self, message: &[u8]) -> Vec<u8> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.0.serialize_der()).unwrap();
        key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }
}
