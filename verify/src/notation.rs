//! Notary Project signatures (signature-specification.md), scheme `notary.x509`: an envelope with certificate chain comes in, facts for
//! the stores that anchor the chain come out. No time-stamp is believed, no revocation is looked up, no plugin is run.

use std::collections::BTreeMap;

use assay_admission::{Descriptor, Document, UnixTime};

use crate::{
    artifact::Question,
    facts::{Fact, Format, RejectionReason, Signer},
    failure::{Failure, malformed},
    image::BoundImage,
    json::parse_object,
    limits::{Budget, LimitReached, MAX_CHAIN},
    oci,
    trust::{Certificate, SignerName, Trust},
};

pub use algorithm::Algorithm;
pub(crate) use headers::{EXPIRY, SIGNING_SCHEME, SIGNING_TIME, X509_SCHEME};

mod algorithm;
pub(crate) mod chain;
pub(crate) mod cose;
mod headers;
mod jws;
pub(crate) mod rfc3339;

pub(crate) const ARTIFACT_TYPE: &str = "application/vnd.cncf.notary.signature";
pub(crate) const JWS_MEDIA_TYPE: &str = "application/jose+json";
pub(crate) const COSE_MEDIA_TYPE: &str = "application/cose";
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";
pub(crate) const SIGNING_AGENT: &str = "io.cncf.notary.signingAgent";
/// A countersignature. It may be there; since it is not verified here, no time is taken from it.
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
}

pub(crate) fn verify(
    question: &Question<'_>,
    blob: &Document,
    format: Format,
    budget: &mut Budget,
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
    let stores = anchoring(question.trust, &certificates);
    if stores.is_empty() {
        return Err(RejectionReason::UntrustedChain { subject: leaf.subject() }.into());
    }
    let key = chain::verify(&certificates, question.at, budget)?;
    let algorithm = Algorithm::of(key.kind()).map_err(|size| unusable(leaf, &size))?;
    if envelope.headers.algorithm != algorithm.as_str() {
        let required = algorithm.as_str().to_owned();
        return Err(RejectionReason::Algorithm { found: envelope.headers.algorithm, required }.into());
    }
    budget.spend_key_operation().map_err(Failure::Exhausted)?;
    if !algorithm.verifies(key.spki(), &envelope.signed, &envelope.signature) {
        return Err(RejectionReason::BadSignature { by: format!("certificate {:?}", leaf.subject()) }.into());
    }
    // From here on payload and protected headers are what the leaf's holder signed.
    if let Some(expiry) = attributes.expiry
        && question.at >= expiry
    {
        return Err(RejectionReason::Expired { expired: expiry, at: question.at }.into());
    }
    let (subject, annotations) = signed_subject(question.image, &envelope.payload)?;
    let names = leaf.name().attributes().ok_or_else(|| RejectionReason::Certificate {
        subject: leaf.subject(),
        problem: "its subject has a multi-valued part or a value that is no text".to_owned(),
    })?;
    let holds_until = certificates
        .iter()
        .map(Certificate::not_after)
        .chain(attributes.expiry.map(|expiry| UnixTime::from_seconds(expiry.seconds().saturating_sub(1))))
        .min();
    let signer = |store: &SignerName| Signer::Certificate {
        store: store.clone(),
        subject: leaf.subject(),
        attributes: names.clone(),
        spki_sha256: key.spki_sha256(),
    };
    Ok(stores
        .into_iter()
        .map(|store| Fact {
            signer: signer(store),
            format,
            subject: subject.clone(),
            envelope: *blob.digest(),
            identity: None,
            annotations: annotations.clone(),
            claimed_time: Some(attributes.signing_time),
            holds_until,
        })
        .collect())
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

/// The stores that have a certificate of the chain, byte for byte.
fn anchoring<'t>(trust: &'t Trust, chain: &[Certificate]) -> Vec<&'t SignerName> {
    trust
        .certificates
        .iter()
        .filter(|(_, store)| chain.iter().any(|link| store.anchors().iter().any(|anchor| anchor.der() == link.der())))
        .map(|(name, _)| name)
        .collect()
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
