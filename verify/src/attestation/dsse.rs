//! Bare DSSE envelopes (DSSE v1.0.2 envelope.md) in layers of cosign's `.att`, signed by a key or by a certificate. What stands beside
//! the envelope (key ids, annotations of the layer) is believed only where it is proved.

use std::collections::BTreeMap;

use assay_admission::Document;

use crate::{
    artifact::Question,
    bundle::{Authenticated, PAYLOAD_TYPE, decode, pae},
    facts::RejectionReason,
    failure::{Failure, malformed},
    json,
    limits::Budget,
    sigstore::Envelope,
    simple_signing,
};

pub(super) const MEDIA_TYPE: &str = "application/vnd.dsse.envelope.v1+json";

/// Who signed the statement in an envelope. Nothing in the statement was looked at yet.
pub(super) fn authenticate(
    question: &Question<'_>,
    blob: &Document,
    annotations: &BTreeMap<String, String>,
    budget: &mut Budget,
) -> Result<Authenticated, Failure> {
    let (payload, signature) = read(blob.bytes())?;
    let envelope = Envelope { payload_type: PAYLOAD_TYPE, payload: &payload };
    let signers = simple_signing::signers(question, &pae(&payload), Some(envelope), &signature, annotations, budget)?;
    Ok(Authenticated { signers, payload })
}

/// The payload and the one signature.
fn read(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), RejectionReason> {
    let value = json::parse(bytes)?;
    let envelope = value.object("envelope")?;
    envelope.only(&["payloadType", "payload", "signatures"])?;
    let payload_type = envelope.string("payloadType")?;
    if payload_type != PAYLOAD_TYPE {
        return Err(RejectionReason::Unknown { field: "payloadType", value: payload_type.to_owned() });
    }
    let signatures = envelope.array("signatures")?;
    let [signature] = signatures else {
        return Err(malformed("signatures", format!("has {} entries, and one is read", signatures.len())));
    };
    let signature = signature.object("signatures")?;
    signature.only(&["keyid", "sig"])?;
    Ok((decode("payload", envelope.string("payload")?)?, decode("sig", signature.string("sig")?)?))
}
