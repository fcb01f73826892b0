//! A key's name: an RFC 7512 `pkcs11:` URI with the attributes that pick one key of one token.
//!
//! In: text from an operator or a peer. Out: `KeyUri`, whose `Display` is canonical. It never carries a PIN or
//! a module path: those are refused by name.

mod error;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use error::KeyUriError;

/// The name of one key: token attributes, and the key's label (`object`), its `id`, or both.
///
/// Two URIs are equal when they name the same key in canonical form; `type` (public or private half) plays no
/// part in equality, order or hash.
#[derive(Clone, Debug)]
pub struct KeyUri(Box<Attributes>);

/// Boxed, because every error names a key and has to stay small.
#[derive(Clone, Debug, Default)]
struct Attributes {
    token: Option<String>,
    manufacturer: Option<String>,
    serial: Option<String>,
    model: Option<String>,
    slot_id: Option<u64>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    half: Option<Half>,
}

/// Which half of a key pair `type` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Public,
    Private,
}

const MAX_URI: usize = 1024;
const MAX_TEXT: usize = 255;

impl FromStr for KeyUri {
    type Err = KeyUriError;

    fn from_str(text: &str) -> Result<Self, KeyUriError> {
        if text.len() > MAX_URI {
            return Err(KeyUriError::TooLong { length: text.len(), limit: MAX_URI });
        }
        // RFC 3986 §3.1: schemes are case-insensitive.
        let (scheme, rest) = text.split_once(':').ok_or(KeyUriError::NotPkcs11)?;
        if !scheme.eq_ignore_ascii_case("pkcs11") {
            return Err(KeyUriError::NotPkcs11);
        }
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        if let Some(query) = query {
            return Err(refuse_query(query));
        }
        if path.is_empty() {
            return Err(KeyUriError::NoKey);
        }
        let mut uri = Attributes::default();
        for attribute in path.split(';') {
            uri.read_attribute(attribute)?;
        }
        if uri.object.is_none() && uri.id.is_none() {
            return Err(KeyUriError::NoKey);
        }
        Ok(KeyUri(Box::new(uri)))
    }
}

impl KeyUri {
    /// The URI of a key of the token `token`, as the worker lists it: label and id where the key has them.
    ///
    /// Returns `None` when neither is usable as a name.
    pub(crate) fn of_key(token: &str, object: Option<String>, id: Option<Vec<u8>>) -> Option<Self> {
        let object = object.filter(|label| is_printable(label) && label.len() <= MAX_TEXT);
        let id = id.filter(|id| !id.is_empty() && id.len() <= MAX_TEXT);
        if object.is_none() && id.is_none() {
            return None;
        }
        let attributes = Attributes { token: Some(token.to_owned()), object, id, ..Attributes::default() };
        Some(KeyUri(Box::new(attributes)))
    }

    /// The token's label.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.0.token.as_deref()
    }

    /// The token's manufacturer.
    #[must_use]
    pub fn manufacturer(&self) -> Option<&str> {
        self.0.manufacturer.as_deref()
    }

    /// The token's serial number.
    #[must_use]
    pub fn serial(&self) -> Option<&str> {
        self.0.serial.as_deref()
    }

    /// The token's model.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.0.model.as_deref()
    }

    /// The slot's number, which most modules choose anew at every start.
    #[must_use]
    pub fn slot_id(&self) -> Option<u64> {
        self.0.slot_id
    }

    /// The key's label (CKA_LABEL).
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        self.0.object.as_deref()
    }

    /// The key's identifier (CKA_ID).
    #[must_use]
    pub fn id(&self) -> Option<&[u8]> {
        self.0.id.as_deref()
    }

    /// What identity is made of: everything but `type`.
    fn identity(&self) -> Identity<'_> {
        (
            self.0.token.as_deref(),
            self.0.manufacturer.as_deref(),
            self.0.serial.as_deref(),
            self.0.model.as_deref(),
            self.0.slot_id,
            self.0.object.as_deref(),
            self.0.id.as_deref(),
        )
    }
}

impl Attributes {
    fn read_attribute(&mut self, attribute: &str) -> Result<(), KeyUriError> {
        let (name, raw) =
            attribute.split_once('=').ok_or_else(|| KeyUriError::NotAnAttribute { text: attribute.to_owned() })?;
        match name {
            "token" => set(&mut self.token, name, text(name, raw, 32)?),
            "manufacturer" => set(&mut self.manufacturer, name, text(name, raw, 32)?),
            "serial" => set(&mut self.serial, name, text(name, raw, 16)?),
            "model" => set(&mut self.model, name, text(name, raw, 16)?),
            "slot-id" => set(&mut self.slot_id, name, slot_id(&text(name, raw, 20)?)?),
            "object" => set(&mut self.object, name, text(name, raw, MAX_TEXT)?),
            "id" => set(&mut self.id, name, bytes(name, raw, MAX_TEXT)?),
            "type" => set(&mut self.half, name, half(&text(name, raw, MAX_TEXT)?)?),
            // A PIN is refused by its own name wherever it stands.
            "pin-value" => Err(KeyUriError::PinValue),
            "" => Err(KeyUriError::NotAnAttribute { text: attribute.to_owned() }),
            _ => Err(KeyUriError::UnknownAttribute { name: name.to_owned() }),
        }
    }
}

type Identity<'a> = (
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<u64>,
    Option<&'a str>,
    Option<&'a [u8]>,
);

fn set<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), KeyUriError> {
    match place.replace(value) {
        None => Ok(()),
        // RFC 7512 §2.3: an attribute must not be given more than once.
        Some(_) => Err(KeyUriError::DuplicateAttribute { name: name.to_owned() }),
    }
}

fn text(name: &str, raw: &str, limit: usize) -> Result<String, KeyUriError> {
    let value =
        String::from_utf8(bytes(name, raw, limit)?).map_err(|_| KeyUriError::NotText { name: name.to_owned() })?;
    if is_printable(&value) { Ok(value) } else { Err(KeyUriError::NotText { name: name.to_owned() }) }
}

fn is_printable(value: &str) -> bool {
    !value.is_empty() && !value.chars().any(char::is_control)
}

fn bytes(name: &str, raw: &str, limit: usize) -> Result<Vec<u8>, KeyUriError> {
    let mut value = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let escaped = hex_digit(rest.next()).zip(hex_digit(rest.next()));
            let (high, low) = escaped.ok_or_else(|| KeyUriError::BadEscape { name: name.to_owned() })?;
            value.push(high << 4 | low);
        } else if is_path_character(byte) {
            value.push(byte);
        } else {
            let character = raw.chars().find(|c| !c.is_ascii() || u32::from(*c) == u32::from(byte));
            return Err(KeyUriError::IllegalCharacter {
                name: name.to_owned(),
                character: character.unwrap_or(char::REPLACEMENT_CHARACTER),
            });
        }
    }
    if value.is_empty() {
        return Err(KeyUriError::EmptyValue { name: name.to_owned() });
    }
    if value.len() > limit {
        return Err(KeyUriError::ValueTooLong { name: name.to_owned(), length: value.len(), limit });
    }
    Ok(value)
}

fn hex_digit(byte: Option<u8>) -> Option<u8> {
    let digit = char::from(byte?).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// RFC 7512 §2.3: `pk11-pchar`, that is unreserved, pk11-res-avail and "&".
fn is_path_character(byte: u8) -> bool {
    is_unreserved(byte) || b":[]@!$'()*+,=&".contains(&byte)
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn slot_id(text: &str) -> Result<u64, KeyUriError> {
    let bad = || KeyUriError::BadSlotId { text: text.to_owned() };
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().map_err(|_| bad()) } else { Err(bad()) }
}

fn half(text: &str) -> Result<Half, KeyUriError> {
    match text {
        "public" => Ok(Half::Public),
        "private" => Ok(Half::Private),
        other => Err(KeyUriError::UnsupportedType { text: other.to_owned() }),
    }
}

fn refuse_query(query: &str) -> KeyUriError {
    // pin-value first, wherever it stands: its owner has to be told that it leaked.
    let names = || query.split('&').map(|attribute| attribute.split_once('=').map_or(attribute, |(name, _)| name));
    if names().any(|name| name == "pin-value") {
        return KeyUriError::PinValue;
    }
    match names().next().unwrap_or_default() {
        "pin-source" => KeyUriError::PinSource,
        "module-path" => KeyUriError::Module { name: "module-path" },
        "module-name" => KeyUriError::Module { name: "module-name" },
        name => KeyUriError::UnknownQuery { name: name.to_owned() },
    }
}

impl fmt::Display for KeyUri {
    /// The canonical form: fixed order, only unreserved characters literal, `id` always escaped (RFC 7512 §2.3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pkcs11:")?;
        let mut separator = "";
        let texts = [
            ("token", &self.0.token),
            ("manufacturer", &self.0.manufacturer),
            ("serial", &self.0.serial),
            ("model", &self.0.model),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                write!(f, "{separator}{name}={}", Escaped(value.as_bytes(), is_unreserved))?;
                separator = ";";
            }
        }
        if let Some(slot_id) = self.0.slot_id {
            write!(f, "{separator}slot-id={slot_id}")?;
            separator = ";";
        }
        if let Some(object) = &self.0.object {
            write!(f, "{separator}object={}", Escaped(object.as_bytes(), is_unreserved))?;
            separator = ";";
        }
        if let Some(id) = &self.0.id {
            write!(f, "{separator}id={}", Escaped(id, |_| false))?;
            separator = ";";
        }
        match self.0.half {
            Some(Half::Public) => write!(f, "{separator}type=public"),
            Some(Half::Private) => write!(f, "{separator}type=private"),
            None => Ok(()),
        }
    }
}

struct Escaped<'a>(&'a [u8], fn(u8) -> bool);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            if (self.1)(byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

impl PartialEq for KeyUri {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for KeyUri {}

impl PartialOrd for KeyUri {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyUri {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl Hash for KeyUri {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl Serialize for KeyUri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
