//! What cosign's legacy formats keep in annotations beside a signature: certificate, chain, Rekor's promise and an RFC 3161 time-stamp.
//! Annotations are unsigned; they are read into the same material as a bundle's, and proved by the same steps.

use std::collections::BTreeMap;

use x509_parser::pem::Pem;

use crate::{
    bundle::decode,
    facts::RejectionReason,
    failure::malformed,
    json,
    limits::{LimitReached, MAX_CHAIN},
    sigstore::{Entry, Material, ProofRule, is_self_issued},
};

const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const BUNDLE: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// The certificates in DER, the leaf first; `None` if there is none, and so a key signed.
pub(super) fn certificates(layer: &BTreeMap<String, String>) -> Result<Option<Vec<Vec<u8>>>, RejectionReason> {
    let Some(leaf) = present(layer, CERTIFICATE) else { return Ok(None) };
    let mut certificates = pem(CERTIFICATE, leaf)?;
    if certificates.len() != 1 {
        return Err(malformed(CERTIFICATE, format!("has {} certificates, and one signs", certificates.len())));
    }
    if let Some(chain) = present(layer, CHAIN) {
        // cosign keeps the whole chain, root included. It decides nothing: anchors come from the root of trust alone.
        certificates.extend(pem(CHAIN, chain)?.into_iter().filter(|der| !is_self_issued(der)));
    }
    if certificates.len() > MAX_CHAIN {
        return Err(LimitReached { what: "certificates in a chain", limit: MAX_CHAIN }.into());
    }
    Ok(Some(certificates))
}

/// The log entry and the time-stamp, as far as they are there.
pub(super) fn read(
    layer: &BTreeMap<String, String>,
    certificates: Vec<Vec<u8>>,
    is_envelope: bool,
) -> Result<Material, RejectionReason> {
    let entry = present(layer, BUNDLE).map(|bundle| entry(bundle, is_envelope)).transpose()?;
    let timestamp = present(layer, TIMESTAMP).map(timestamp).transpose()?;
    Ok(Material {
        certificates,
        entries: entry.into_iter().collect(),
        rule: ProofRule::Promise,
        timestamps: timestamp.into_iter().collect(),
    })
}

/// cosign writes annotations that are empty where it has nothing to say.
fn present<'l>(layer: &'l BTreeMap<String, String>, key: &str) -> Option<&'l str> {
    layer.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

fn pem(field: &'static str, text: &str) -> Result<Vec<Vec<u8>>, RejectionReason> {
    let mut certificates = Vec::new();
    for block in Pem::iter_from_buffer(text.as_bytes()) {
        let block = block.map_err(|error| malformed(field, format!("is no PEM: {error}")))?;
        if block.label != "CERTIFICATE" {
            return Err(malformed(field, format!("has a PEM block {:?}", block.label)));
        }
        if certificates.len() == MAX_CHAIN {
            return Err(LimitReached { what: "certificates in a chain", limit: MAX_CHAIN }.into());
        }
        certificates.push(block.contents);
    }
    if certificates.is_empty() {
        return Err(malformed(field, "has no certificate"));
    }
    Ok(certificates)
}

/// cosign's `bundle.RekorBundle`: the promise and what it is about.
fn entry(text: &str, is_envelope: bool) -> Result<Entry, RejectionReason> {
    let value = json::parse(text.as_bytes())?;
    let bundle = value.object(BUNDLE)?;
    bundle.only(&["SignedEntryTimestamp", "Payload"])?;
    let payload = bundle.object("Payload")?;
    payload.only(&["body", "integratedTime", "logIndex", "logID"])?;
    let log =
        hex::decode(payload.string("logID")?).map_err(|error| malformed("logID", format!("is not hex: {error}")))?;
    Entry::promised(
        payload.integer("logIndex")?,
        log,
        payload.integer("integratedTime")?,
        decode("SignedEntryTimestamp", bundle.string("SignedEntryTimestamp")?)?,
        decode("body", payload.string("body")?)?,
        is_envelope,
    )
}

/// cosign's `bundle.RFC3161Timestamp`.
fn timestamp(text: &str) -> Result<Vec<u8>, RejectionReason> {
    let value = json::parse(text.as_bytes())?;
    let timestamp = value.object(TIMESTAMP)?;
    timestamp.only(&["SignedRFC3161Timestamp"])?;
    decode("SignedRFC3161Timestamp", timestamp.string("SignedRFC3161Timestamp")?)
}
