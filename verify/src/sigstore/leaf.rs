//! A signing certificate by Sigstore's profile (Fulcio `docs/certificate-specification.md`): DER comes in; its key, the one identity
//! in it, and the issuer that vouches for that identity come out. None of it is believed before the chain is verified.

use x509_parser::{
    certificate::X509Certificate,
    der_parser::{asn1_rs::Any, oid},
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

use super::SigstoreError;
use crate::{limits::MAX_IDENTITY, trust::PublicKey};

/// A leaf that was read.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) der: Vec<u8>,
    pub(super) key: PublicKey,
    pub(super) identity: String,
    pub(super) issuer: String,
}

impl Leaf {
    pub(super) fn read(der: &[u8]) -> Result<Self, SigstoreError> {
        let certificate = match X509Certificate::from_der(der) {
            Ok(([], certificate)) => certificate,
            Ok(_) => return Err(profile("rawBytes", "has bytes behind its certificate")),
            Err(error) => return Err(profile("rawBytes", format!("is no certificate in DER: {error}"))),
        };
        let mut seen: Vec<String> = certificate.extensions().iter().map(|one| one.oid.to_id_string()).collect();
        seen.sort_unstable();
        // RFC 5280 §4.2: no extension stands twice.
        if let Some([twice, _]) = seen.array_windows().find(|[a, b]| a == b) {
            return Err(profile("extensions", format!("{twice} stands there twice")));
        }
        let usage = certificate.key_usage().ok().flatten();
        if !usage.is_some_and(|usage| usage.value.digital_signature()) {
            return Err(profile("keyUsage", "is not digitalSignature"));
        }
        let extended = certificate.extended_key_usage().ok().flatten();
        if !extended.is_some_and(|extended| extended.value.code_signing) {
            return Err(profile("extendedKeyUsage", "is not codeSigning"));
        }
        if certificate.is_ca() {
            return Err(profile("basicConstraints", "makes it a certificate authority, which signs no images"));
        }
        let key = PublicKey::from_spki_der(certificate.public_key().raw)
            .map_err(|error| profile("subjectPublicKeyInfo", error.to_string()))?;
        Ok(Self {
            der: der.to_owned(),
            key,
            identity: printable("subjectAltName", identity(&certificate)?)?,
            issuer: printable("issuer", issuer(&certificate)?)?,
        })
    }
}

/// The subject alternative name: exactly one, and of a kind that Fulcio writes.
fn identity(certificate: &X509Certificate<'_>) -> Result<String, SigstoreError> {
    let names = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(names.general_names.as_slice()),
        _ => None,
    });
    match names {
        Some([GeneralName::RFC822Name(text) | GeneralName::URI(text)]) => Ok((*text).to_owned()),
        // A user name of an issuer without e-mail addresses: [0] EXPLICIT UTF8String.
        Some([GeneralName::OtherName(kind, value)]) if *kind == oid!(1.3.6.1.4.1.57264.1.7) => {
            let inner = Any::from_der(value).ok().filter(|(rest, _)| rest.is_empty());
            let text = inner.and_then(|(_, any)| match Any::from_der(any.data) {
                Ok(([], text)) if any.header.is_contextspecific() => text.utf8string().ok().map(|text| text.string()),
                Ok(([], _)) => any.utf8string().ok().map(|text| text.string()),
                _ => None,
            });
            text.ok_or_else(|| profile("subjectAltName", "is a user name that cannot be read"))
        }
        Some([_]) => Err(profile("subjectAltName", "is no e-mail address, URI or user name")),
        Some(names) => Err(profile("subjectAltName", format!("has {} names, and an identity is one", names.len()))),
        None => Err(profile("subjectAltName", "is missing: it says who signed")),
    }
}

/// The issuer: extension .8 (a DER UTF8String), or the older .1 (the bare text). Where both stand they have to say the same.
fn issuer(certificate: &X509Certificate<'_>) -> Result<String, SigstoreError> {
    let find = |wanted| certificate.extensions().iter().find(|one| one.oid == wanted).map(|one| one.value);
    let newer = find(oid!(1.3.6.1.4.1.57264.1.8)).map(|value| match Any::from_der(value) {
        Ok(([], any)) => any.utf8string().map(|text| text.string()).map_err(|_| ()),
        _ => Err(()),
    });
    let older = find(oid!(1.3.6.1.4.1.57264.1.1)).map(|value| String::from_utf8(value.to_vec()).map_err(|_| ()));
    match (newer, older) {
        (Some(Ok(newer)), Some(Ok(older))) if newer != older => {
            Err(profile("issuer", format!("is {newer:?} in extension .8 and {older:?} in .1")))
        }
        (Some(Ok(issuer)), None | Some(Ok(_))) | (None, Some(Ok(issuer))) => Ok(issuer),
        (Some(Err(())), _) | (_, Some(Err(()))) => Err(profile("issuer", "is no UTF-8 text")),
        (None, None) => Err(profile("issuer", "is missing: nobody is named who vouches for the identity")),
    }
}

/// A text that people will read in logs: bounded, and without characters that could forge a line.
fn printable(field: &'static str, text: String) -> Result<String, SigstoreError> {
    if text.is_empty() {
        return Err(profile(field, "is empty"));
    }
    if text.len() > MAX_IDENTITY {
        return Err(profile(field, format!("has {} bytes, at most {MAX_IDENTITY} are accepted", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(profile(field, format!("is {text:?}, which has control characters")));
    }
    Ok(text)
}

fn profile(field: &'static str, problem: impl Into<String>) -> SigstoreError {
    SigstoreError::Profile { field, problem: problem.into() }
}
