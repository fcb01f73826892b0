//! The way for fuzzing to parsers that stand behind a signature or behind another parser. Bytes go in; nothing comes out, and nothing
//! may panic. Compiled for fuzzing alone: no program has it.

use crate::{
    Certificate, RevocationEvidence, SigstoreRoot, attestation, bundle, image::BoundImage, json, oci, simple_signing,
};
use assay_admission::{Document, MediaType};

/// Our reader of JSON. What it accepts is JSON for another reader too.
pub fn json(bytes: &[u8]) {
    if json::parse(bytes).is_ok() {
        assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok(), "accepted, and no JSON");
    }
}

/// A manifest, an index and a config.
pub fn oci_document(bytes: &[u8]) {
    for media_type in
        [MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST, MediaType::OCI_INDEX, MediaType::DOCKER_INDEX]
    {
        let document = MediaType::new(media_type).and_then(|kind| Document::new(kind, bytes.to_vec()).ok());
        let Some(document) = document else { continue };
        let (manifest, index) = (oci::parse_manifest(&document), oci::parse_index(&document));
        assert!(manifest.is_err() || index.is_err(), "a manifest and an index at once");
    }
    let _ = oci::parse_config(bytes);
}

/// A statement that was signed: as a signature and as an attestation.
pub fn statement(image: &BoundImage, bytes: &[u8]) {
    let signed = bundle::fuzz_statement(image, bytes);
    let attested = attestation::fuzz_statement(image, bytes);
    assert!(!(signed && attested), "a signature and an attestation at once");
    let _ = attestation::read_unproved(bytes);
}

/// A payload of simple signing, and what stands beside its signature.
pub fn simple_signing(bytes: &[u8], annotation: &str) {
    simple_signing::fuzz(bytes, annotation);
}

/// Everything of the Notary Project: an envelope in either encoding with all that is in it.
pub fn notary_envelope(image: &BoundImage, bytes: &[u8]) {
    crate::notation::fuzz_envelope(image, bytes);
}

/// Certificates one behind the other in DER, as a chain of either purpose.
pub fn certificate_chain(bytes: &[u8]) {
    crate::notation::fuzz_chain(bytes);
}

/// A time-stamp token as the Notary Project reads it, and the TSTInfo in one.
pub fn timestamp_token(bytes: &[u8]) {
    crate::notation::fuzz_token(bytes);
}

/// A revocation list about a certificate of this issuer, as if its signature were good.
pub fn revocation_list(certificate: &Certificate, issuer: &Certificate, bytes: &[u8]) {
    crate::notation::fuzz_revocation(certificate, issuer, &RevocationEvidence::default(), bytes);
}

/// An OCSP answer about a certificate of this issuer, as if its signature were good.
pub fn ocsp_answer(certificate: &Certificate, issuer: &Certificate, bytes: &[u8]) {
    crate::notation::fuzz_ocsp(certificate, issuer, &RevocationEvidence::default(), bytes);
}

/// A transparency log entry in JSON: its body, its inclusion proof, its checkpoint.
pub fn log_entry(root: &SigstoreRoot, bytes: &[u8]) {
    crate::sigstore::fuzz_entry(root, bytes);
}

/// A checkpoint of a log of the root, as if its signature were good.
pub fn checkpoint(bytes: &[u8]) {
    crate::sigstore::fuzz_checkpoint(bytes);
}

/// A keyless signature's certificate with its time-stamps of certificate transparency.
pub fn keyless_certificate(root: &SigstoreRoot, bytes: &[u8]) {
    crate::sigstore::fuzz_leaf(root, bytes);
}

/// A time-stamp token as Sigstore has it.
pub fn keyless_token(root: &SigstoreRoot, bytes: &[u8]) {
    crate::sigstore::fuzz_token(root, bytes);
}
