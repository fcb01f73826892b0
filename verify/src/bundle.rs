//! Sigstore bundles v0.3 with a DSSE envelope and a key, as `cosign sign --key` 3 writes them (sigstore protobuf-specs `Bundle`, DSSE
//! v1.0.2, in-toto Statement v1). The bundle's own words about key, log and time prove nothing and are not believed.

use std::collections::BTreeMap;

use assay_admission::{Descriptor, Document};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    artifact::Question,
    facts::{Fact, Format, RejectionReason, Signer},
    failure::{Failure, malformed},
    image::BoundImage,
    json::{JsonError, Object, Value, parse_object, wrong},
    keyed,
    limits::{Budget, LimitReached, MAX_SUBJECTS},
};

/// The media types of version 0.3. Versions 0.1 and 0.2 are not looked at.
pub(crate) const MEDIA_TYPES: [&str; 2] =
    ["application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.dev.sigstore.bundle+json;version=0.3"];
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
pub(crate) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The one predicate that says "signed". An attestation by the same key is no signature.
pub(crate) const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

/// What the bundle holds, decoded and not yet believed.
struct Envelope {
    hint: Option<Vec<u8>>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// A subject of the image that the statement names, with the annotations beside it.
struct SignedSubject {
    subject: Descriptor,
    annotations: BTreeMap<String, String>,
}

/// A payload that someone whom the policy trusts signed, whatever it says.
pub(crate) struct Authenticated {
    /// Who signed it: at least one.
    pub(crate) signers: Vec<Signer>,
    /// The bytes of the statement that was signed.
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn verify(question: &Question<'_>, blob: &Document, budget: &mut Budget) -> Result<Vec<Fact>, Failure> {
    let Authenticated { signers, payload } = authenticate(question, blob, budget)?;
    let subjects = signed_subjects(question.image, &payload)?;
    let fact = |signer, signed: &SignedSubject| Fact {
        signer,
        format: Format::SigstoreBundle,
        subject: signed.subject.clone(),
        envelope: *blob.digest(),
        identity: None,
        annotations: signed.annotations.clone(),
        claimed_time: None,
        holds_until: None,
    };
    Ok(signers.iter().flat_map(|signer| subjects.iter().map(|subject| fact(signer.clone(), subject))).collect())
}

/// Who signed the statement in a bundle. Nothing in the statement was looked at yet.
pub(crate) fn authenticate(
    question: &Question<'_>,
    blob: &Document,
    budget: &mut Budget,
) -> Result<Authenticated, Failure> {
    let envelope = read(blob.bytes())?;
    let message = pae(&envelope.payload);
    let hint = envelope.hint.as_deref();
    let signers = keyed::signers(question.trust, &message, &envelope.signature, hint, budget)?;
    Ok(Authenticated { signers, payload: envelope.payload })
}

/// DSSE v1 pre-authentication encoding: the type is signed together with the exact bytes of the payload.
pub(crate) fn pae(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn read(bytes: &[u8]) -> Result<Envelope, RejectionReason> {
    let value = crate::json::parse(bytes)?;
    let bundle = value.object("bundle")?;
    let media_type = bundle.string("mediaType")?;
    if !MEDIA_TYPES.contains(&media_type) {
        return Err(RejectionReason::Unknown { field: "mediaType", value: media_type.to_owned() });
    }
    bundle.only(&["mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature"])?;
    if bundle.optional("messageSignature")?.is_some() {
        return Err(RejectionReason::Unsupported("a message signature in a bundle".to_owned()));
    }
    let hint = key_hint(bundle.object("verificationMaterial")?)?;
    let dsse = bundle.object("dsseEnvelope")?;
    dsse.only(&["payload", "payloadType", "signatures"])?;
    let payload_type = dsse.string("payloadType")?;
    if payload_type != PAYLOAD_TYPE {
        return Err(RejectionReason::Unknown { field: "payloadType", value: payload_type.to_owned() });
    }
    let [signature] = dsse.array("signatures")? else {
        return Err(malformed("signatures", "does not have exactly one entry"));
    };
    let signature = signature.object("signatures")?;
    signature.only(&["sig", "keyid"])?;
    Ok(Envelope {
        hint,
        payload: decode("payload", dsse.string("payload")?)?,
        signature: decode("sig", signature.string("sig")?)?,
    })
}

/// The hash of the key that is said to have signed. Log entries and time-stamps may stand beside it: a keyed signature needs neither,
/// and since neither is verified here, nothing is taken from them.
fn key_hint(material: Object<'_>) -> Result<Option<Vec<u8>>, RejectionReason> {
    material.only(&["publicKey", "certificate", "x509CertificateChain", "tlogEntries", "timestampVerificationData"])?;
    for certificate in ["certificate", "x509CertificateChain"] {
        if material.optional(certificate)?.is_some() {
            return Err(RejectionReason::Unsupported("a keyless signature (a certificate in a bundle)".to_owned()));
        }
    }
    let key = material.object("publicKey")?;
    key.only(&["hint"])?;
    Ok(key.optional_string("hint")?.and_then(|hint| STANDARD.decode(hint).ok()))
}

pub(crate) fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, RejectionReason> {
    STANDARD.decode(text).map_err(|error| malformed(field, format!("is not canonical base64: {error}")))
}

fn signed_subjects(image: &BoundImage, payload: &[u8]) -> Result<Vec<SignedSubject>, RejectionReason> {
    let (predicate_type, named) = parse_object(payload, "statement", |statement| {
        let kind = statement.string("_type")?;
        if kind != STATEMENT_TYPE {
            return Err(wrong("_type", format!("is {kind:?}, not {STATEMENT_TYPE:?}")));
        }
        let subjects = statement.array("subject")?;
        if subjects.len() > MAX_SUBJECTS {
            return Err(LimitReached { what: "subjects of a statement", limit: MAX_SUBJECTS }.into());
        }
        let named = subjects.iter().map(subject).collect::<Result<Vec<_>, JsonError>>()?;
        Ok((statement.string("predicateType")?.to_owned(), named))
    })?;
    if predicate_type != PREDICATE_TYPE {
        return Err(RejectionReason::Unknown { field: "predicateType", value: predicate_type });
    }
    let of_image: Vec<_> = image
        .subjects()
        .filter_map(|subject| {
            let (_, annotations) = named.iter().find(|(hex, _)| *hex == subject.digest.hex())?;
            Some(SignedSubject { subject: subject.clone(), annotations: annotations.clone() })
        })
        .collect();
    if of_image.is_empty() {
        let found = named.first().map_or_else(|| "nothing".to_owned(), |(hex, _)| format!("sha256:{hex}"));
        return Err(RejectionReason::OtherSubject { found });
    }
    Ok(of_image)
}

/// The SHA-256 value, in hex as it stands there, and the annotations of one subject.
fn subject(value: &Value<'_>) -> Result<(String, BTreeMap<String, String>), JsonError> {
    let subject = value.object("subject")?;
    let digest = subject.object("digest")?;
    Ok((digest.string("sha256")?.to_owned(), subject.strings("annotations")?))
}
