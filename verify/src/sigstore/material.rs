//! What a bundle brings to prove its signature (protobuf-specs `VerificationMaterial`): certificates, log entries and time-stamps, read
//! and not believed.

use crate::{
    bundle::decode,
    facts::RejectionReason,
    json::{Object, Value},
    limits::{LimitReached, MAX_CHAIN, MAX_LOG_ENTRIES, MAX_TIMESTAMPS},
};

use super::{Entry, ProofRule};

/// Certificates, entries and tokens.
#[derive(Clone, Debug)]
pub(crate) struct Material {
    /// The leaf first. Empty if a key signed.
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) entries: Vec<Entry>,
    /// What an entry has to have of its log.
    pub(crate) rule: ProofRule,
    pub(crate) timestamps: Vec<Vec<u8>>,
}

impl Material {
    /// Reads log entries and time-stamps of `material`, beside `certificates` that were read before.
    pub(crate) fn read(
        material: Object<'_>,
        certificates: Vec<Vec<u8>>,
        rule: ProofRule,
    ) -> Result<Self, RejectionReason> {
        let entries = bounded(material, "tlogEntries", MAX_LOG_ENTRIES, "log entries in a bundle")?;
        let timestamps = match material.optional_object("timestampVerificationData")? {
            None => &[],
            Some(data) => {
                data.only(&["rfc3161Timestamps"])?;
                bounded(data, "rfc3161Timestamps", MAX_TIMESTAMPS, "time-stamps in a bundle")?
            }
        };
        let token = |value: &Value<'_>| {
            let token = value.object("rfc3161Timestamps")?;
            token.only(&["signedTimestamp"])?;
            decode("signedTimestamp", token.string("signedTimestamp")?)
        };
        Ok(Self {
            certificates,
            entries: entries.iter().map(Entry::read).collect::<Result<Vec<_>, _>>()?,
            rule,
            timestamps: timestamps.iter().map(token).collect::<Result<Vec<_>, _>>()?,
        })
    }
}

/// The certificate or certificates of `material`, the leaf first; `None` if a key signed.
pub(crate) fn certificates(material: Object<'_>) -> Result<Option<Vec<Vec<u8>>>, RejectionReason> {
    let raw = |value: &Value<'_>| {
        let certificate = value.object("certificate")?;
        certificate.only(&["rawBytes"])?;
        decode("rawBytes", certificate.string("rawBytes")?)
    };
    if let Some(certificate) = material.optional("certificate")? {
        return Ok(Some(vec![raw(certificate)?]));
    }
    let Some(chain) = material.optional_object("x509CertificateChain")? else { return Ok(None) };
    chain.only(&["certificates"])?;
    let chain = bounded(chain, "certificates", MAX_CHAIN, "certificates in a chain")?;
    chain.iter().map(raw).collect::<Result<Vec<_>, RejectionReason>>().map(Some)
}

fn bounded<'v>(
    object: Object<'v>,
    key: &'static str,
    limit: usize,
    what: &'static str,
) -> Result<&'v [Value<'v>], RejectionReason> {
    let values = object.optional_array(key)?;
    if values.len() > limit { Err(LimitReached { what, limit }.into()) } else { Ok(values) }
}
