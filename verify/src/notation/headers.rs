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

/// The signing schemes (signature-specification.md, "Signing Scheme").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// The signer's own key; the time is the signer's word.
    X509,
    /// A signing authority's key; the time is the authority's word, and it is trusted for it.
    SigningAuthority,
}

/// What is left once the headers are found to be in order.
pub(super) struct Attributes {
    pub(super) scheme: Scheme,
    /// The signing time of `notary.x509`, the authentic signing time of a signing authority.
    pub(super) signing_time: UnixTime,
    /// The first second at which the signature has expired.
    pub(super) expiry: Option<UnixTime>,
}

pub(super) fn check(headers: &Headers) -> Result<Attributes, RejectionReason> {
    if headers.content_type != PAYLOAD_TYPE {
        return Err(RejectionReason::Unknown { field: "content type", value: headers.content_type.clone() });
    }
    let scheme = match headers.scheme.as_str() {
        X509_SCHEME => Scheme::X509,
        SIGNING_AUTHORITY_SCHEME => Scheme::SigningAuthority,
        other => return Err(RejectionReason::Unknown { field: "signingScheme", value: other.to_owned() }),
    };
    if let Some(plugin) = &headers.plugin {
        return Err(RejectionReason::Unsupported(format!("the verification plugin {plugin:?}")));
    }
    if headers.has_plugin_version {
        return Err(RejectionReason::Unsupported(format!("the attribute {PLUGIN_VERSION}")));
    }
    check_critical(headers, scheme)?;
    let signing_time = signing_time(headers, scheme)?;
    if let Some(expiry) = headers.expiry
        && expiry <= signing_time
    {
        return Err(malformed("expiry", format!("is {expiry}, not after the signing time {signing_time}")));
    }
    Ok(Attributes { scheme, signing_time, expiry: headers.expiry })
}

/// Each scheme has its own time header, and must not have the other's.
fn signing_time(headers: &Headers, scheme: Scheme) -> Result<UnixTime, RejectionReason> {
    let (own, other, names) = match scheme {
        Scheme::X509 => (headers.signing_time, headers.authentic_signing_time, ("signingTime", "authenticSigningTime")),
        Scheme::SigningAuthority => {
            (headers.authentic_signing_time, headers.signing_time, ("authenticSigningTime", "signingTime"))
        }
    };
    if other.is_some() {
        return Err(malformed(names.1, format!("stands in a signature of scheme {}", headers.scheme)));
    }
    own.ok_or_else(|| malformed(names.0, "is missing"))
}

/// `crit` names the scheme, the expiry if there is one, a signing authority's time, and nothing else: RFC 7515 §4.1.11, RFC 9052 §3.1.
fn check_critical(headers: &Headers, scheme: Scheme) -> Result<(), RejectionReason> {
    let must = [
        (SIGNING_SCHEME, true),
        (EXPIRY, headers.expiry.is_some()),
        (AUTHENTIC_SIGNING_TIME, scheme == Scheme::SigningAuthority && headers.authentic_signing_time.is_some()),
    ];
    let known = |name: &str| must.iter().any(|(attribute, is_there)| *is_there && *attribute == name);
    if let Some(other) = headers.critical.iter().find(|name| !known(name)) {
        return Err(RejectionReason::Unsupported(format!("the critical attribute {other:?}")));
    }
    for (attribute, _) in must.iter().filter(|(_, is_there)| *is_there) {
        if headers.critical.iter().filter(|name| name == attribute).count() != 1 {
            return Err(malformed("crit", format!("does not name {attribute} once")));
        }
    }
    Ok(())
}
