//! Notary Project signatures (signature-specification.md): an envelope with its certificate chain comes in, facts for the stores that
//! anchor the chain come out, and how each check ended. Nothing is fetched, and no plugin is run.

use std::collections::BTreeMap;

use assay_admission::{Descriptor, Document};

use crate::{
    artifact::Question,
    facts::{Fact, Findings, Format, RejectionReason, Signer, Tolerated},
    failure::{Failure, malformed},
    image::BoundImage,
    json::parse_object,
    limits::{Budget, LimitReached, MAX_CHAIN},
    oci,
    trust::{Certificate, CertificateStore, PublicKey},
};

use chain::Purpose;
use judge::Signed;

pub use algorithm::Algorithm;
#[cfg(fuzzing)]
pub(crate) use fuzzing::{fuzz_chain, fuzz_envelope, fuzz_ocsp, fuzz_revocation, fuzz_token};
pub(crate) use headers::{EXPIRY, SIGNING_SCHEME, SIGNING_TIME, X509_SCHEME};
pub use level::{Action, Check, Level, LevelError, UnknownWord, VerificationLevel};
pub use result::{CheckOutcome, CheckResult, NotaryResult, Standing};
pub use revocation::{RevocationSource, SeenAnswer, SeenAt};
pub use trust_policy::{
    Demand, StatementProblem, TrustPolicyDocument, TrustPolicyError, TrustPolicyStatement, TrustStoreKind,
    TrustStoreName,
};

mod algorithm;
pub(crate) mod chain;
pub(crate) mod cose;
#[cfg(fuzzing)]
mod fuzzing;
mod hash;
mod headers;
mod judge;
mod jws;
mod level;
mod result;
mod revocation;
pub(crate) mod rfc3339;
pub(crate) mod timestamp;
mod trust_policy;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod wycheproof;

pub(crate) const ARTIFACT_TYPE: &str = "application/vnd.cncf.notary.signature";
pub(crate) const JWS_MEDIA_TYPE: &str = "application/jose+json";
pub(crate) const COSE_MEDIA_TYPE: &str = "application/cose";
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";
pub(crate) const SIGNING_AGENT: &str = "io.cncf.notary.signingAgent";
/// An RFC 3161 token over the signature.
const TIMESTAMP_SIGNATURE: &str = "io.cncf.notary.timestampSignature";

/// An envelope of either encoding, decoded and not yet believed.
struct Envelope {
    headers: headers::Headers,
    payload: Vec<u8>,
    /// The exact bytes that the signature is over.
    signed: Vec<u8>,
    signature: Vec<u8>,
    /// Certificates in DER, leaf first.
    chain: Vec<Vec<u8>>,
    /// The time-stamp token in DER, if there is one.
    timestamp: Option<Vec<u8>>,
}

pub(crate) fn verify(
    question: &Question<'_>,
    blob: &Document,
    format: Format,
    budget: &mut Budget,
    findings: &mut Findings,
) -> Result<Vec<Fact>, Failure> {
    let envelope = match format {
        Format::NotationJws => jws::read(blob.bytes())?,
        Format::NotationCose => cose::read(blob.bytes())?,
        Format::SigstoreBundle | Format::CosignSimpleSigning => {
            return Err(RejectionReason::Unsupported(format!("{format} as a Notary Project signature")).into());
        }
    };
    let attributes = headers::check(&envelope.headers)?;
    let certificates = certificates(&envelope.chain)?;
    let leaf = certificates.first().ok_or_else(|| malformed("x5c", "is empty"))?;
    // Anchors before anything costly: a chain that anyone can make costs no public-key operation.
    let concerned = |store: &CertificateStore| judge::concerns(store, attributes.scheme, &certificates);
    let stores: Vec<_> = question.trust.certificates.iter().filter(|(_, store)| concerned(store)).collect();
    if stores.is_empty() {
        return Err(RejectionReason::UntrustedChain { subject: leaf.subject() }.into());
    }
    let key = chain::verify(&certificates, Purpose::CodeSigning, budget)?;
    check_signature(&envelope, leaf, &key, budget)?;
    // From here on payload and protected headers are what the leaf's holder signed.
    let (subject, annotations) = signed_subject(question.image, &envelope.payload)?;
    let names = leaf.name().attributes().ok_or_else(|| RejectionReason::Certificate {
        subject: leaf.subject(),
        problem: "its subject has a multi-valued part or a value that is no text".to_owned(),
    })?;
    let signed = Signed {
        envelope: *blob.digest(),
        attributes,
        chain: &certificates,
        signature: &envelope.signature,
        timestamp: envelope.timestamp.as_deref(),
    };
    let (mut facts, mut refusal) = (Vec::new(), None);
    for (name, store) in stores {
        let signer = Signer::Certificate {
            store: name.clone(),
            subject: leaf.subject(),
            attributes: names.clone(),
            spki_sha256: key.spki_sha256(),
        };
        let judged = judge::judge(question, &signed, (name, store), &signer, budget).map_err(Failure::Exhausted)?;
        let fact = Fact {
            signer,
            format,
            subject: subject.clone(),
            envelope: *blob.digest(),
            identity: None,
            annotations: annotations.clone(),
            claimed_time: Some(signed.attributes.signing_time),
            holds_until: judged.holds_until,
        };
        match judged.result.standing() {
            Standing::Proved => facts.push(fact),
            // What is only tolerated is not proved: the caller who chose that level looks for it.
            Standing::Tolerated(reason) => {
                findings.tolerated.push(Tolerated { fact, reason: reason.clone() });
                refusal.get_or_insert(reason);
            }
            Standing::Refused(reason) => {
                refusal.get_or_insert(reason);
            }
        }
        findings.notary.push(judged.result);
    }
    match (facts.is_empty(), refusal) {
        (true, Some(reason)) => Err(reason.into()),
        _ => Ok(facts),
    }
}

fn check_signature(
    envelope: &Envelope,
    leaf: &Certificate,
    key: &PublicKey,
    budget: &mut Budget,
) -> Result<(), Failure> {
    let algorithm = Algorithm::of(key.kind()).map_err(|size| unusable(leaf, &size))?;
    if envelope.headers.algorithm != algorithm.as_str() {
        let required = algorithm.as_str().to_owned();
        return Err(RejectionReason::Algorithm { found: envelope.headers.algorithm.clone(), required }.into());
    }
    budget.spend_key_operation().map_err(Failure::Exhausted)?;
    if algorithm.verifies(key.spki(), &envelope.signed, &envelope.signature) {
        Ok(())
    } else {
        Err(RejectionReason::BadSignature { by: format!("certificate {:?}", leaf.subject()) }.into())
    }
}

fn unusable(leaf: &Certificate, key: &str) -> RejectionReason {
    RejectionReason::Certificate {
        subject: leaf.subject(),
        problem: format!("its {key} key is not one that the Notary Project signs with"),
    }
}

fn certificates(chain: &[Vec<u8>]) -> Result<Vec<Certificate>, RejectionReason> {
    if chain.len() > MAX_CHAIN {
        return Err(LimitReached { what: "certificates in a chain", limit: MAX_CHAIN }.into());
    }
    let parse = |der: &Vec<u8>| {
        Certificate::from_der(der.clone()).map_err(|error| malformed("certificate chain", error.to_string()))
    };
    chain.iter().map(parse).collect()
}

/// The image's subject that the payload names, with the signed annotations (`notation sign -m`).
fn signed_subject<'i>(
    image: &'i BoundImage,
    payload: &[u8],
) -> Result<(&'i Descriptor, BTreeMap<String, String>), RejectionReason> {
    let (signed, annotations) = parse_object(payload, "payload", |payload| {
        payload.only(&["targetArtifact"])?;
        let target = payload.object("targetArtifact")?;
        target.only(&["mediaType", "digest", "size", "annotations"])?;
        Ok((oci::descriptor(target)?, target.strings("annotations")?))
    })?;
    let subject = image.subjects().find(|subject| **subject == signed);
    let found = || format!("{} ({}, {} bytes)", signed.digest, signed.media_type, signed.size);
    Ok((subject.ok_or_else(|| RejectionReason::OtherSubject { found: found() })?, annotations))
}
