//! What a certificate says of its holder, for people. DER that anyone may have made comes in; nothing here is proved.

use serde_json::{Value, json};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Fulcio's extension with the issuer of the token, as a DER string, and the older one with the bare text.
const ISSUER: &str = "1.3.6.1.4.1.57264.1.8";
const OLD_ISSUER: &str = "1.3.6.1.4.1.57264.1.1";

/// Subject, names, issuer and validity; `null` if it is no certificate.
pub(super) fn describe(der: &[u8]) -> Value {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Value::Null };
    let names: Vec<String> = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|extension| extension.value.general_names.iter().filter_map(name).collect())
        .unwrap_or_default();
    let validity = certificate.validity();
    let time =
        |time: &x509_parser::time::ASN1Time| assay_admission::UnixTime::from_seconds(time.timestamp()).to_string();
    json!({
        "subject": certificate.subject().to_string(),
        "names": names,
        "issuer": certificate.issuer().to_string(),
        "oidcIssuer": oidc_issuer(&certificate),
        "notBefore": time(&validity.not_before),
        "notAfter": time(&validity.not_after),
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::RFC822Name(text) | GeneralName::DNSName(text) | GeneralName::URI(text) => Some((*text).to_owned()),
        _ => None,
    }
}

fn oidc_issuer(certificate: &X509Certificate<'_>) -> Option<String> {
    let value = |oid: &str| {
        certificate.extensions().iter().find(|extension| extension.oid.to_id_string() == oid).map(|found| found.value)
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    match value(ISSUER) {
        // UTF8String (0x0c) with a length below 128.
        Some([0x0c, length, rest @ ..]) if usize::from(*length) == rest.len() => text(rest),
        _ => value(OLD_ISSUER).and_then(text),
    }
}
