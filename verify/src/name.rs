//! X.509 names: a certificate's subject as text and attributes, and the policy's patterns for it (Notary Project
//! `x509.subject` identities). Comparison is exact: no case folding, no wildcards.

use std::{fmt, str::FromStr};

use x509_parser::x509::X509Name;

use crate::facts::Signer;

/// Attribute types that have a short name (RFC 4514 §3, and those that Go's `crypto/x509/pkix` prints), first the one we print.
const SHORT_NAMES: [(&str, &str); 13] = [
    ("2.5.4.6", "C"),
    ("2.5.4.8", "ST"),
    ("2.5.4.8", "S"),
    ("2.5.4.7", "L"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.3", "CN"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.17", "POSTALCODE"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "EMAILADDRESS"),
];

/// A certificate's subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Relative distinguished names in the certificate's order. A value is `None` if its string type cannot be read.
    rdns: Vec<Vec<(String, Option<String>)>>,
}

impl Name {
    pub(crate) fn of(name: &X509Name<'_>) -> Self {
        let attribute = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            let oid = attribute.attr_type().to_id_string();
            let short = SHORT_NAMES.iter().find(|(known, _)| *known == oid).map(|(_, short)| (*short).to_owned());
            (short.unwrap_or(oid), attribute.as_str().ok().map(str::to_owned))
        };
        Self { rdns: name.iter_rdn().map(|rdn| rdn.iter().map(attribute).collect()).collect() }
    }

    /// The attributes, if each stands alone in its RDN and can be read: others cannot be matched without ambiguity.
    pub(crate) fn attributes(&self) -> Option<Vec<(String, String)>> {
        self.rdns
            .iter()
            .map(|rdn| match rdn.as_slice() {
                [(kind, Some(value))] => Some((kind.clone(), value.clone())),
                _ => None,
            })
            .collect()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, rdn) in self.rdns.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "," })?;
            for (within, (kind, value)) in rdn.iter().enumerate() {
                f.write_str(if within == 0 { "" } else { "+" })?;
                write!(f, "{kind}={}", value.as_deref().map_or_else(|| "#?".to_owned(), escape))?;
            }
        }
        Ok(())
    }
}

/// RFC 4514 §2.4, and every control character as hex, so that a name cannot forge a line of a log.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => out.extend(['\\', character]),
            '#' | ' ' if at == 0 => out.extend(['\\', character]),
            ' ' if at == last => out.push_str("\\ "),
            control if control.is_control() => {
                let mut bytes = [0; 4];
                for byte in control.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!("\\{byte:02X}"));
                }
            }
            other => out.push(other),
        }
    }
    out
}

/// Which subjects count: those that have every attribute named here with exactly this value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistinguishedNamePattern {
    attributes: Vec<(String, String)>,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A part is not `TYPE=value`.
    #[error("{0:?} is not TYPE=value")]
    NotAnAttribute(String),
    /// The attribute type is neither a known short name nor an object identifier.
    #[error("{0:?} is no attribute type (C, ST, L, O, OU, CN, … or an object identifier)")]
    UnknownType(String),
    /// An attribute type stands twice.
    #[error("{0} stands more than once")]
    Duplicate(String),
    /// C, ST or O is missing: the Notary Project requires them, so that a name cannot match too much.
    #[error("{0} is missing: a subject needs at least C, ST and O")]
    Missing(&'static str),
    /// Values joined by `+`.
    #[error("multi-valued parts (joined by '+') are not accepted")]
    MultiValued,
    /// A value in hex form (`=#…`).
    #[error("values in hex form (=#…) are not accepted")]
    Hex,
    /// An escape that is not one of RFC 4514.
    #[error("the escape behind the backslash is not one of RFC 4514")]
    Escape,
    /// A character that must be escaped.
    #[error("{0:?} must be escaped with a backslash")]
    Unescaped(char),
}

impl DistinguishedNamePattern {
    /// Parses `C=DE, ST=Berlin, O=Acme, CN=Release`: RFC 4514 in any order, with spaces allowed around each part.
    ///
    /// # Errors
    /// [`PatternError`] naming the part.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut attributes: Vec<(String, String)> = Vec::new();
        for part in split(text) {
            let (kind, value) = part.split_once('=').ok_or_else(|| PatternError::NotAnAttribute(part.to_owned()))?;
            let kind = attribute_type(kind.trim_matches(' '))?;
            let value = unescape(value)?;
            if value.is_empty() {
                return Err(PatternError::NotAnAttribute(part.to_owned()));
            }
            if attributes.iter().any(|(other, _)| *other == kind) {
                return Err(PatternError::Duplicate(kind));
            }
            attributes.push((kind, value));
        }
        match ["C", "ST", "O"].into_iter().find(|needed| !attributes.iter().any(|(kind, _)| kind == needed)) {
            Some(missing) => Err(PatternError::Missing(missing)),
            None => Ok(Self { attributes }),
        }
    }

    /// Whether every subject that `other` matches is matched by this one too.
    pub(crate) fn is_part_of(&self, other: &Self) -> bool {
        self.attributes.iter().all(|attribute| other.attributes.contains(attribute))
    }

    /// Whether `signer` is a certificate whose subject has every attribute of the pattern, once each, with the same value.
    #[must_use]
    pub fn matches(&self, signer: &Signer) -> bool {
        match signer {
            Signer::Key { .. } | Signer::Identity { .. } => false,
            Signer::Certificate { attributes, .. } => self.attributes.iter().all(|(kind, wanted)| {
                let mut found = attributes.iter().filter(|(other, _)| other == kind);
                matches!((found.next(), found.next()), (Some((_, value)), None) if value == wanted)
            }),
        }
    }
}

impl FromStr for DistinguishedNamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

impl fmt::Display for DistinguishedNamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (kind, value)) in self.attributes.iter().enumerate() {
            write!(f, "{}{kind}={}", if at == 0 { "" } else { "," }, escape(value))?;
        }
        Ok(())
    }
}

/// Parts between commas that no backslash escapes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

fn attribute_type(text: &str) -> Result<String, PatternError> {
    let unknown = || PatternError::UnknownType(text.to_owned());
    let oid_of = |name: &str| SHORT_NAMES.iter().find(|(_, short)| *short == name).map(|(oid, _)| *oid);
    let is_oid = text.contains('.')
        && text.split('.').all(|arc| {
            !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()) && (arc == "0" || !arc.starts_with('0'))
        });
    let oid = if is_oid { text } else { oid_of(&text.to_ascii_uppercase()).ok_or_else(unknown)? };
    let short = SHORT_NAMES.iter().find(|(known, _)| *known == oid).map(|(_, short)| *short);
    Ok(short.unwrap_or(oid).to_owned())
}

fn unescape(text: &str) -> Result<String, PatternError> {
    let text = text.trim_start_matches(' ');
    if text.starts_with('#') {
        return Err(PatternError::Hex);
    }
    let mut bytes = Vec::with_capacity(text.len());
    // Spaces at the end count only if they are escaped.
    let mut kept = 0;
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => {
                match rest.next().ok_or(PatternError::Escape)? {
                    plain @ (b' ' | b'"' | b'#' | b'+' | b',' | b';' | b'<' | b'=' | b'>' | b'\\') => bytes.push(plain),
                    high => {
                        let pair = [high, rest.next().ok_or(PatternError::Escape)?];
                        bytes.extend(hex::decode(pair).map_err(|_| PatternError::Escape)?);
                    }
                }
                kept = bytes.len();
            }
            b'+' => return Err(PatternError::MultiValued),
            b'"' | b';' | b'<' | b'>' => return Err(PatternError::Unescaped(char::from(byte))),
            other => {
                bytes.push(other);
                if other != b' ' {
                    kept = bytes.len();
                }
            }
        }
    }
    bytes.truncate(kept);
    String::from_utf8(bytes).map_err(|_| PatternError::Escape)
}

#[cfg(test)]
mod tests;
