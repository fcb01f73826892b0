//! What each fuzz target does with its bytes. A target is a parser, or the whole of verification; it fails by a panic, by an assertion,
//! by taking too long or too much memory. Nothing here is part of a program.

mod repository;
mod subjects;
mod verification;

pub use repository::tuf_file;
pub use verification::{bundle, dsse, verify};

use assay_verify::{
    Certificate, DistinguishedNamePattern, PublicKey, SigstoreRoot, TextPattern, TrustPolicyDocument, fuzzing,
};

use subjects::{certificates, image, root};

pub fn json(bytes: &[u8]) {
    fuzzing::json(bytes);
}

pub fn oci_document(bytes: &[u8]) {
    fuzzing::oci_document(bytes);
}

pub fn statement(bytes: &[u8]) {
    fuzzing::statement(image(), bytes);
}

/// Up to the first zero byte a payload, behind it an annotation.
pub fn simple_signing(bytes: &[u8]) {
    let (payload, annotation) = verification::parts(bytes);
    fuzzing::simple_signing(payload, &String::from_utf8_lossy(annotation));
}

pub fn notary_envelope(bytes: &[u8]) {
    fuzzing::notary_envelope(image(), bytes);
}

pub fn certificate_chain(bytes: &[u8]) {
    fuzzing::certificate_chain(bytes);
    let _ = Certificate::all_from_pem(bytes);
}

pub fn timestamp_token(bytes: &[u8]) {
    fuzzing::timestamp_token(bytes);
    fuzzing::keyless_token(root(), bytes);
}

pub fn revocation_list(bytes: &[u8]) {
    let (leaf, issuer) = certificates();
    fuzzing::revocation_list(leaf, issuer, bytes);
}

pub fn ocsp_answer(bytes: &[u8]) {
    let (leaf, issuer) = certificates();
    fuzzing::ocsp_answer(leaf, issuer, bytes);
}

pub fn trusted_root(bytes: &[u8]) {
    if let Ok(root) = SigstoreRoot::from_json(bytes) {
        assert!(root.ignored().iter().all(|sentence| !sentence.is_empty()));
    }
}

pub fn trust_policy(bytes: &[u8]) {
    if let Ok(policy) = TrustPolicyDocument::parse(bytes) {
        let _ = policy.statement_for("registry.example/team/app");
    }
}

pub fn log_entry(bytes: &[u8]) {
    fuzzing::log_entry(root(), bytes);
}

pub fn log_checkpoint(bytes: &[u8]) {
    fuzzing::checkpoint(bytes);
}

pub fn keyless_certificate(bytes: &[u8]) {
    fuzzing::keyless_certificate(root(), bytes);
}

/// A key in DER or PEM. Who is read twice is one.
pub fn public_key(bytes: &[u8]) {
    if let Ok(key) = PublicKey::from_spki_der(bytes) {
        assert_eq!(PublicKey::from_spki_der(key.spki()).as_ref(), Ok(&key));
        assert_eq!(key.spki(), bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = PublicKey::from_pem(text);
    }
}

/// A pattern up to the first zero byte, and behind it what it is matched with.
pub fn patterns(bytes: &[u8]) {
    let (pattern, text) = verification::parts(bytes);
    let (pattern, text) = (String::from_utf8_lossy(pattern), String::from_utf8_lossy(text));
    let _ = DistinguishedNamePattern::parse(&pattern);
    if let Ok(exact) = TextPattern::exact(&pattern) {
        assert_eq!(exact.matches(&text), pattern == text);
    }
    if let Ok(regex) = TextPattern::regex(&pattern) {
        let _ = regex.matches(&text);
    }
}

/// A policy; its errors are written out for people.
pub fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match assay_policy::PolicyDocument::parse("policy.toml", text) {
        Ok(document) => {
            if let Err(errors) = document.compile(subjects::material()) {
                assert!(!errors.to_string().is_empty());
            }
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

/// A reference in its canonical form means itself.
pub fn image_reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(reference) = text.parse::<assay_admission::ImageRef>() {
        let written = reference.to_string();
        assert!(written.is_ascii(), "{written:?}");
        assert_eq!(written.parse().as_ref(), Ok(&reference), "{text:?} became {written:?}");
    }
    if let Ok(digest) = text.parse::<assay_admission::Digest>() {
        assert_eq!(digest.to_string(), text);
    }
}

pub fn audit_checkpoint(bytes: &[u8]) {
    assay_audit::fuzzing::checkpoint(bytes);
}

pub fn audit_tiles(bytes: &[u8]) {
    assay_audit::fuzzing::tiles(bytes);
}

pub fn audit_record(bytes: &[u8]) {
    assay_audit::fuzzing::record(bytes);
}
