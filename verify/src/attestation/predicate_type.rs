//! Which kind of attestation is meant: one of the names that cosign has for predicate types, or a URI, which stands for itself.

use std::{fmt, str::FromStr};

use crate::limits::MAX_IDENTITY;

/// A predicate type as attestations write it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PredicateType(String);

/// The text is neither one of the names nor a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is neither a URI nor one of slsaprovenance, slsaprovenance02, slsaprovenance1, link, spdx, spdxjson, cyclonedx, vuln, \
     openvex, custom"
)]
pub struct PredicateTypeError;

const NAMES: [(&str, &str); 10] = [
    ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance02", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("link", "https://in-toto.io/Link/v1"),
    ("spdx", "https://spdx.dev/Document"),
    ("spdxjson", "https://spdx.dev/Document"),
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("openvex", "https://openvex.dev/ns"),
    ("custom", "https://cosign.sigstore.dev/attestation/v1"),
];

impl PredicateType {
    /// The URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PredicateType {
    type Err = PredicateTypeError;

    fn from_str(text: &str) -> Result<Self, PredicateTypeError> {
        if let Some((_, predicate_type)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(Self((*predicate_type).to_owned()));
        }
        // RFC 3986 §3.1: a scheme, and something behind it.
        let is_uri = text.split_once(':').is_some_and(|(scheme, rest)| {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
            scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme.bytes().all(legal)
                && !rest.is_empty()
        });
        let is_printable = text.len() <= MAX_IDENTITY && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_uri && is_printable { Ok(Self(text.to_owned())) } else { Err(PredicateTypeError) }
    }
}

impl fmt::Display for PredicateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn names_are_cosigns_and_all_else_is_a_uri() {
        let of = |text: &str| text.parse::<PredicateType>().map(|found| found.to_string());
        assert_eq!(of("vuln").unwrap(), "https://cosign.sigstore.dev/attestation/vuln/v1");
        assert_eq!(of("https://acme.example/built/v1").unwrap(), "https://acme.example/built/v1");
        let long = format!("https://{}", "a".repeat(MAX_IDENTITY));
        for bad in ["", "vulns", "Vuln", "https:", ":x", "1a:b", "https://a.example/b c", long.as_str()] {
            assert_eq!(of(bad), Err(PredicateTypeError), "{bad}");
        }
    }
}
