//! cosign's legacy signatures: a simple-signing payload (containers/image `atomic signature` format) as a layer, the signature over its
//! exact bytes in an annotation of that layer. The annotation is unsigned; only the bytes it signs are believed.

use std::collections::BTreeMap;

use assay_admission::{Descriptor, Document};

use crate::{
    artifact::Question,
    bundle::decode,
    facts::{Fact, Format, RejectionReason, Signer},
    failure::{Failure, malformed},
    image::BoundImage,
    json::{JsonError, Object, Value, parse_object, wrong},
    keyed,
    limits::Budget,
    oci::parse_digest,
    sigstore::{self, Claim, Envelope, Signed},
};

mod beside;

pub(crate) const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const PAYLOAD_TYPE: &str = "cosign container image signature";

struct Payload {
    digest: assay_admission::Digest,
    reference: String,
    optional: BTreeMap<String, String>,
}

pub(crate) fn verify(
    question: &Question<'_>,
    blob: &Document,
    layer: &BTreeMap<String, String>,
    budget: &mut Budget,
) -> Result<Vec<Fact>, Failure> {
    let signature = layer.get(SIGNATURE).ok_or_else(|| malformed("annotations", format!("has no {SIGNATURE}")))?;
    let signature = decode("annotations", signature)?;
    let signers = signers(question, blob.bytes(), None, &signature, layer, budget)?;
    // From here on the payload is what somebody whom the policy trusts signed.
    let payload = read(blob.bytes())?;
    let subject = subject_of(question.image, &payload)?;
    Ok(signers
        .into_iter()
        .map(|signer| Fact {
            signer,
            format: Format::CosignSimpleSigning,
            subject: subject.clone(),
            envelope: *blob.digest(),
            identity: Some(payload.reference.clone()).filter(|reference| !reference.is_empty()),
            annotations: payload.optional.clone(),
            claimed_time: None,
            holds_until: None,
        })
        .collect())
}

/// Who made `signature` over `message` (an envelope's encoding, if `envelope` is given), with what cosign writes beside it into the
/// annotations of the layer: nothing but a key, or certificates, a log entry and a time-stamp.
pub(crate) fn signers(
    question: &Question<'_>,
    message: &[u8],
    envelope: Option<Envelope<'_>>,
    signature: &[u8],
    layer: &BTreeMap<String, String>,
    budget: &mut Budget,
) -> Result<Vec<Signer>, Failure> {
    let (trust, at) = (question.trust, question.at);
    let signed = Signed::Bytes(message);
    let material = |certificates| beside::read(layer, certificates, envelope.is_some());
    match beside::certificates(layer)? {
        Some(certificates) => {
            let claim = Claim { signed, envelope, signature, material: &material(certificates)? };
            sigstore::identities(trust, &claim, at, budget)
        }
        None if trust.logged_keys.is_empty() => keyed::signers(trust, message, signature, None, budget),
        None => {
            let claim = Claim { signed, envelope, signature, material: &material(Vec::new())? };
            keyed::signers_of_claim(trust, &claim, None, at, budget)
        }
    }
}

/// Reads a payload, and `annotation` as each of the annotations beside it.
#[cfg(fuzzing)]
pub(crate) fn fuzz(payload: &[u8], annotation: &str) {
    let _ = read(payload);
    let layer = ["certificate", "chain", "bundle", "rfc3161timestamp"]
        .map(|name| (format!("dev.sigstore.cosign/{name}"), annotation.to_owned()));
    for (name, value) in layer {
        let one = BTreeMap::from([(name, value)]);
        let _ = beside::certificates(&one);
        for is_envelope in [false, true] {
            let _ = beside::read(&one, Vec::new(), is_envelope);
        }
    }
}

fn subject_of<'i>(image: &'i BoundImage, payload: &Payload) -> Result<&'i Descriptor, RejectionReason> {
    image
        .subjects()
        .find(|subject| subject.digest == payload.digest)
        .ok_or_else(|| RejectionReason::OtherSubject { found: payload.digest.to_string() })
}

fn read(bytes: &[u8]) -> Result<Payload, JsonError> {
    parse_object(bytes, "payload", |payload| {
        payload.only(&["critical", "optional"])?;
        let critical = payload.object("critical")?;
        critical.only(&["identity", "image", "type"])?;
        let kind = critical.string("type")?;
        if kind != PAYLOAD_TYPE {
            return Err(wrong("type", format!("is {kind:?}, not {PAYLOAD_TYPE:?}")));
        }
        let image = critical.object("image")?;
        image.only(&["docker-manifest-digest"])?;
        let digest = image.string("docker-manifest-digest")?;
        let identity = critical.object("identity")?;
        identity.only(&["docker-reference"])?;
        Ok(Payload {
            digest: parse_digest("docker-manifest-digest", digest)?,
            reference: identity.string("docker-reference")?.to_owned(),
            optional: payload.optional_object("optional")?.map(optional).unwrap_or_default(),
        })
    })
}

/// The signed annotations: `-a` of cosign gives strings, containers/image also writes a time stamp as a number.
fn optional(object: Object<'_>) -> BTreeMap<String, String> {
    let text = |value: &Value<'_>| match value {
        Value::String(text) => Some(text.clone().into_owned()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::OtherNumber | Value::Array(_) | Value::Object(_) => None,
    };
    object.members().filter_map(|(name, value)| Some((name.to_owned(), text(value)?))).collect()
}
