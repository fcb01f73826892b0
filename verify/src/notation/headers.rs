//! The signed attributes of a Notary Project envelope, the same for JWS and COSE (signature-specification.md, "Signed attributes").
//! What is critical and unknown is refused; what is not in the specification is refused too.

use assay_admission::UnixTime;

use crate::{facts::RejectionReason, failure::malformed, notation::PAYLOAD_TYPE};

pub(crate) const SIGNING_SCHEME: &str = "io.cncf.notary.signingScheme";
pub(crate) const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
pub(crate) const AUTHENTIC_SIGNING_TIME: &str = "io.cncf.notary.authenticSigningTime";
pub(crate) const EXPIRY: &str = "io.cncf.notary.expiry";
pub(crate) const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
pub(crate) const PLUGIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";

pub(crate) const X509_SCHEME: &str = "notary.x509";
const SIGNING_AUTHORITY_SCHEME: &str = "notary.x509.signingAuthority";

/// The protected headers as they stand in the envelope.
#[derive(Debug, Default)]
pub(super) struct Headers {
    /// The JWS name of the algorithm, whatever the encoding.
    pub(super) algorithm: String,
    pub(super) content_type: String,
    pub(super) critical: Vec<String>,
    pub(super) scheme: String,
    pub(super) signing_time: Option<UnixTime>,
    pub(super) authentic_signing_time: Option<UnixTime>,
    pub(super) expiry: Option<UnixTime>,
    pub(super) plugin: Option<String>,
    pub(super) has_plugin_version: bool,
}

/// What is left once the headers are found to be in order.
pub(super) struct Attributes {
    pub(super) signing_time: UnixTime,
    /// The first second at which the signature has expired.
    pub(super) expiry: Option<UnixTime>,
}

pub(super) fn check(headers: &Headers) -> Result<Attributes, RejectionReason> {
    if headers.content_type != PAYLOAD_TYPE {
        return Err(RejectionReason::Unknown { field: "content type", value: headers.content_type.clone() });
    }
    match headers.scheme.as_str() {
        X509_SCHEME => {}
        SIGNING_AUTHORITY_SCHEME => {
            return Err(RejectionReason::Unsupported(format!("the signing scheme {SIGNING_AUTHORITY_SCHEME}")));
        }
        other => return Err(RejectionReason::Unknown { field: "signingScheme", value: other.to_owned() }),
    }
    if let Some(plugin) = &headers.plugin {
        return Err(RejectionReason::Unsupported(format!("the verification plugin {plugin:?}")));
    }
    if headers.has_plugin_version {
        return Err(RejectionReason::Unsupported(format!("the attribute {PLUGIN_VERSION}")));
    }
    check_critical(headers)?;
    if headers.authentic_signing_time.is_some() {
        return Err(malformed("authenticSigningTime", format!("stands in a signature of scheme {X509_SCHEME}")));
    }
    let signing_time = headers.signing_time.ok_or_else(|| malformed("signingTime", "is missing"))?;
    if let Some(expiry) = headers.expiry
        && expiry <= signing_time
    {
        return Err(malformed("expiry", format!("is {expiry}, not after the signing time {signing_time}")));
    }
    Ok(Attributes { signing_time, expiry: headers.expiry })
}

/// `crit` names the scheme, the expiry if there is one, and nothing else: RFC 7515 §4.1.11, RFC 9052 §3.1.
fn check_critical(headers: &Headers) -> Result<(), RejectionReason> {
    let known = |name: &str| name == SIGNING_SCHEME || (name == EXPIRY && headers.expiry.is_some());
    if let Some(other) = headers.critical.iter().find(|name| !known(name)) {
        return Err(RejectionReason::Unsupported(format!("the critical attribute {other:?}")));
    }
    let count = |wanted: &str| headers.critical.iter().filter(|name| *name == wanted).count();
    if count(SIGNING_SCHEME) != 1 {
        return Err(malformed("crit", format!("does not name {SIGNING_SCHEME} once")));
    }
    if headers.expiry.is_some() && count(EXPIRY) != 1 {
        return Err(malformed("crit", format!("does not name {EXPIRY} once")));
    }
    Ok(())
}
