//! The COSE envelope (signature-envelope-cose.md): a tagged COSE_Sign1 (RFC 9052 §4.2) with exactly the headers that the
//! specification names. Algorithm, type and times count only where they are protected.

use assay_admission::UnixTime;
use ciborium::value::Value;
use coset::{
    CoseSign1, Header, Label, RegisteredLabel, RegisteredLabelWithPrivate, TaggedCborSerializable, iana::EnumI64 as _,
};

use super::{
    Algorithm, Envelope, SIGNING_AGENT, TIMESTAMP_SIGNATURE,
    headers::{AUTHENTIC_SIGNING_TIME, EXPIRY, Headers, PLUGIN, PLUGIN_VERSION, SIGNING_SCHEME, SIGNING_TIME},
};
use crate::{facts::RejectionReason, failure::malformed};

/// `x5chain` (RFC 9360 §2).
pub(crate) const X5CHAIN: i64 = 33;
/// A date as seconds since 1970 (RFC 8949 §3.4.2).
pub(crate) const EPOCH_TAG: u64 = 1;

pub(super) fn read(bytes: &[u8]) -> Result<Envelope, RejectionReason> {
    // Refuses another tag or none, bytes behind it, and a label twice in one map.
    let sign1 = CoseSign1::from_tagged_slice(bytes).map_err(|error| malformed("COSE", error.to_string()))?;
    let signed = sign1.tbs_data(&[]);
    let headers = protected(&sign1.protected.header)?;
    let (chain, timestamp) = unprotected(&sign1.unprotected)?;
    Ok(Envelope {
        headers,
        payload: sign1.payload.ok_or_else(|| malformed("payload", "is nil"))?,
        signed,
        signature: sign1.signature,
        chain,
        timestamp,
    })
}

fn protected(header: &Header) -> Result<Headers, RejectionReason> {
    without_others("protected", header)?;
    let mut out = Headers { critical: critical(header)?, ..Headers::default() };
    out.algorithm = match &header.alg {
        Some(RegisteredLabelWithPrivate::Assigned(algorithm)) => {
            let number = algorithm.to_i64();
            Algorithm::from_cose(number).map_or_else(|| number.to_string(), |known| known.as_str().to_owned())
        }
        Some(RegisteredLabelWithPrivate::PrivateUse(number)) => number.to_string(),
        Some(RegisteredLabelWithPrivate::Text(text)) => format!("text {text:?}"),
        None => return Err(malformed("alg", "is missing in the protected header")),
    };
    out.content_type = match &header.content_type {
        Some(RegisteredLabel::Text(text)) => text.clone(),
        Some(RegisteredLabel::Assigned(number)) => number.to_i64().to_string(),
        None => return Err(malformed("content type", "is missing in the protected header")),
    };
    for (label, value) in &header.rest {
        match label {
            Label::Text(name) if name == SIGNING_SCHEME => out.scheme = text(SIGNING_SCHEME, value)?,
            Label::Text(name) if name == SIGNING_TIME => out.signing_time = Some(time(SIGNING_TIME, value)?),
            Label::Text(name) if name == AUTHENTIC_SIGNING_TIME => {
                out.authentic_signing_time = Some(time(AUTHENTIC_SIGNING_TIME, value)?);
            }
            Label::Text(name) if name == EXPIRY => out.expiry = Some(time(EXPIRY, value)?),
            Label::Text(name) if name == PLUGIN => out.plugin = Some(text(PLUGIN, value)?),
            Label::Text(name) if name == PLUGIN_VERSION => out.has_plugin_version = true,
            other => return Err(malformed("protected header", format!("has the unknown label {other:?}"))),
        }
    }
    Ok(out)
}

/// Certificates in DER, leaf first.
type Chain = Vec<Vec<u8>>;

/// The certificate chain and the time-stamp token; nothing else that is unprotected is looked at.
fn unprotected(header: &Header) -> Result<(Chain, Option<Vec<u8>>), RejectionReason> {
    without_others("unprotected", header)?;
    if header.alg.is_some() || header.content_type.is_some() || !header.crit.is_empty() {
        return Err(malformed("unprotected header", "has alg, crit or content type, which must be protected"));
    }
    let (mut chain, mut timestamp) = (None, None);
    for (label, value) in &header.rest {
        match label {
            Label::Int(X5CHAIN) => chain = Some(certificates(value)?),
            Label::Text(name) if name == TIMESTAMP_SIGNATURE => {
                let bytes = value.as_bytes().cloned();
                timestamp = Some(bytes.ok_or_else(|| malformed(TIMESTAMP_SIGNATURE, "is not a byte string"))?);
            }
            Label::Text(name) if name == SIGNING_AGENT => {}
            other => return Err(malformed("unprotected header", format!("has the unknown label {other:?}"))),
        }
    }
    Ok((chain.ok_or_else(|| malformed("x5chain", "is missing"))?, timestamp))
}

fn without_others(which: &'static str, header: &Header) -> Result<(), RejectionReason> {
    let Header { key_id, iv, partial_iv, counter_signatures, .. } = header;
    if key_id.is_empty() && iv.is_empty() && partial_iv.is_empty() && counter_signatures.is_empty() {
        Ok(())
    } else {
        Err(malformed("header", format!("the {which} one has a key id, an IV or a countersignature")))
    }
}

fn critical(header: &Header) -> Result<Vec<String>, RejectionReason> {
    header
        .crit
        .iter()
        .map(|label| match label {
            RegisteredLabelWithPrivate::Text(name) => Ok(name.clone()),
            RegisteredLabelWithPrivate::Assigned(label) => Ok(format!("label {}", label.to_i64())),
            RegisteredLabelWithPrivate::PrivateUse(label) => Ok(format!("label {label}")),
        })
        .collect()
}

fn certificates(value: &Value) -> Result<Vec<Vec<u8>>, RejectionReason> {
    let certificates = value.as_array().ok_or_else(|| malformed("x5chain", "is not an array"))?;
    let bytes = |value: &Value| value.as_bytes().cloned().ok_or_else(|| malformed("x5chain", "has no byte string"));
    certificates.iter().map(bytes).collect()
}

fn text(field: &'static str, value: &Value) -> Result<String, RejectionReason> {
    value.as_text().map(str::to_owned).ok_or_else(|| malformed(field, "is not a text string"))
}

fn time(field: &'static str, value: &Value) -> Result<UnixTime, RejectionReason> {
    let seconds = match value {
        Value::Tag(EPOCH_TAG, inner) => inner.as_integer().and_then(|number| i64::try_from(number).ok()),
        _ => None,
    };
    seconds.map(UnixTime::from_seconds).ok_or_else(|| malformed(field, "is not an integer of seconds with tag 1"))
}
