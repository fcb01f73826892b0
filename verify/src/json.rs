//! One strict reader for every JSON document. Bytes that anyone may have made go in, a tree of values comes out, or an error
//! that names the field. It never guesses: what two JSON readers could understand differently is refused.

use std::{borrow::Cow, cell::Cell, collections::BTreeMap, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::limits::{LimitReached, MAX_JSON_DEPTH, MAX_JSON_VALUES};

/// A JSON value. Numbers other than plain unsigned integers (`1e2`, `1.0`, `-0`, `-1`) are kept apart: no field here wants them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Integer(u64),
    OtherNumber,
    String(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonError {
    /// It is not JSON, or JSON that readers understand differently.
    #[error("{0}")]
    Syntax(String),
    /// A field is missing or is not what it must be.
    #[error("{field}: {problem}")]
    Field { field: &'static str, problem: String },
    /// It is nested too deeply or has too many values.
    #[error(transparent)]
    Limit(#[from] LimitReached),
}

/// Reads one document: UTF-8, nothing behind it, no key twice in an object, and no field twice in another case.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value<'_>, JsonError> {
    parse_up_to(bytes, MAX_JSON_VALUES)
}

/// The same for a document with at most `most` values.
pub(crate) fn parse_up_to(bytes: &[u8], most: usize) -> Result<Value<'_>, JsonError> {
    let work = Work { values: Cell::new(0), most, limit: Cell::new(None) };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    ValueSeed { depth: 0, keys: Keys::Fields, work: &work }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| work.limit.get().map_or_else(|| JsonError::Syntax(error.to_string()), JsonError::Limit))
}

/// Reads one document that must be an object. `name` stands in errors.
pub(crate) fn parse_object<T>(
    bytes: &[u8],
    name: &'static str,
    read: impl FnOnce(Object<'_>) -> Result<T, JsonError>,
) -> Result<T, JsonError> {
    read(parse(bytes)?.object(name)?)
}

struct Work {
    values: Cell<usize>,
    most: usize,
    limit: Cell<Option<LimitReached>>,
}

impl Work {
    fn stop<E: serde::de::Error>(&self, what: &'static str, limit: usize) -> E {
        self.limit.set(Some(LimitReached { what, limit }));
        E::custom("limit reached")
    }
}

/// What the keys of an object are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// Names of fields, which Go matches in any case.
    Fields,
    /// A map's own keys, which Go keeps apart by case: images have labels `Name` and `name`.
    Map,
}

impl Keys {
    /// The keys of the object that stands under `key` (OCI image-spec: annotations; config.md: `config.Labels`).
    fn under(key: &str) -> Self {
        if matches!(key, "annotations" | "Labels") { Self::Map } else { Self::Fields }
    }
}

#[derive(Clone, Copy)]
struct ValueSeed<'w> {
    depth: usize,
    keys: Keys,
    work: &'w Work,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        let values = self.work.values.get();
        if values >= self.work.most {
            return Err(self.work.stop("values in a JSON document", self.work.most));
        }
        self.work.values.set(values + 1);
        deserializer.deserialize_any(self)
    }
}

impl ValueSeed<'_> {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_JSON_DEPTH {
            return Err(self.work.stop("levels in a JSON document", MAX_JSON_DEPTH));
        }
        Ok(Self { depth: self.depth + 1, keys: Keys::Fields, work: self.work })
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Owned(value.to_owned())))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Borrowed(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value<'de>, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let inner = self.inner()?;
        let mut members = Vec::new();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let inner = Self { keys: Keys::under(&key), ..inner };
            members.push((key, map.next_value_seed(inner)?));
        }
        match colliding_key(&members, self.keys) {
            Some(key) => Err(A::Error::custom(format!("the key {key:?} stands twice in one object (case ignored)"))),
            None => Ok(Value::Object(members)),
        }
    }
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, value: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(value.to_owned()))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(value))
    }
}

/// Go's `encoding/json` matches a field's name in any case, and folds U+017F to `s` and U+212A to `k`.
fn fold(key: &str) -> impl Iterator<Item = char> {
    key.chars().map(|character| match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    })
}

fn colliding_key(members: &[(Cow<'_, str>, Value<'_>)], keys: Keys) -> Option<String> {
    let mut folded: Vec<Cow<'_, str>> = members
        .iter()
        .map(|(key, _)| match keys {
            // The same as `fold`, at a tenth of its time.
            Keys::Fields if key.is_ascii() => Cow::Owned(key.to_ascii_lowercase()),
            Keys::Fields => Cow::Owned(fold(key).collect()),
            Keys::Map => Cow::Borrowed(key.as_ref()),
        })
        .collect();
    folded.sort_unstable();
    folded.array_windows().find(|[a, b]| a == b).map(|[a, _]| a.clone().into_owned())
}

impl<'a> Value<'a> {
    /// This value as an object that is called `name` in errors.
    pub(crate) fn object<'v>(&'v self, name: &'static str) -> Result<Object<'v>, JsonError> {
        match self {
            Self::Object(members) => Ok(Object { name, members }),
            Self::Null | Self::Bool(_) | Self::Integer(_) | Self::OtherNumber | Self::String(_) | Self::Array(_) => {
                Err(wrong(name, "is not an object"))
            }
        }
    }

    /// This value as a string that is called `name` in errors.
    pub(crate) fn string(&self, name: &'static str) -> Result<&str, JsonError> {
        match self {
            Self::String(text) => Ok(text),
            Self::Null | Self::Bool(_) | Self::Integer(_) | Self::OtherNumber | Self::Array(_) | Self::Object(_) => {
                Err(wrong(name, "is not a string"))
            }
        }
    }
}

/// An object with typed access to its members. A member that differs from a wanted one only in case is an error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object<'v> {
    name: &'static str,
    members: &'v [(Cow<'v, str>, Value<'v>)],
}

impl<'v> Object<'v> {
    /// The members in the document's order.
    pub(crate) fn members(self) -> impl Iterator<Item = (&'v str, &'v Value<'v>)> {
        self.members.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// A member, `null` included.
    pub(crate) fn raw(self, key: &'static str) -> Result<Option<&'v Value<'v>>, JsonError> {
        match self.members().find(|(found, _)| fold(found).eq(fold(key))) {
            Some((found, _)) if found != key => Err(wrong(key, format!("is written {found:?} in {}", self.name))),
            found => Ok(found.map(|(_, value)| value)),
        }
    }

    /// A member that may be absent; `null` is absent, as in Go.
    pub(crate) fn optional(self, key: &'static str) -> Result<Option<&'v Value<'v>>, JsonError> {
        Ok(self.raw(key)?.filter(|value| **value != Value::Null))
    }

    fn required(self, key: &'static str) -> Result<&'v Value<'v>, JsonError> {
        self.optional(key)?.ok_or_else(|| wrong(key, format!("is missing in {}", self.name)))
    }

    pub(crate) fn string(self, key: &'static str) -> Result<&'v str, JsonError> {
        self.required(key)?.string(key)
    }

    pub(crate) fn optional_string(self, key: &'static str) -> Result<Option<&'v str>, JsonError> {
        self.optional(key)?.map(|value| value.string(key)).transpose()
    }

    pub(crate) fn integer(self, key: &'static str) -> Result<u64, JsonError> {
        match self.required(key)? {
            Value::Integer(value) => Ok(*value),
            Value::Null
            | Value::Bool(_)
            | Value::OtherNumber
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => Err(wrong(key, "is not a plain integer")),
        }
    }

    pub(crate) fn array(self, key: &'static str) -> Result<&'v [Value<'v>], JsonError> {
        array(key, self.required(key)?)
    }

    pub(crate) fn optional_array(self, key: &'static str) -> Result<&'v [Value<'v>], JsonError> {
        self.optional(key)?.map_or(Ok(&[]), |value| array(key, value))
    }

    pub(crate) fn object(self, key: &'static str) -> Result<Object<'v>, JsonError> {
        self.required(key)?.object(key)
    }

    pub(crate) fn optional_object(self, key: &'static str) -> Result<Option<Object<'v>>, JsonError> {
        self.optional(key)?.map(|value| value.object(key)).transpose()
    }

    /// A map of strings, empty if absent.
    pub(crate) fn strings(self, key: &'static str) -> Result<BTreeMap<String, String>, JsonError> {
        let Some(object) = self.optional_object(key)? else { return Ok(BTreeMap::new()) };
        object.members().map(|(name, value)| Ok((name.to_owned(), value.string(key)?.to_owned()))).collect()
    }

    /// Refuses every member whose key is not in `keys`.
    pub(crate) fn only(self, keys: &[&str]) -> Result<(), JsonError> {
        match self.members().find(|(key, _)| !keys.contains(key)) {
            Some((key, _)) => Err(wrong(self.name, format!("has the unknown field {key:?}"))),
            None => Ok(()),
        }
    }

    /// Refuses a member, even if it is `null`.
    pub(crate) fn without(self, key: &'static str, problem: &'static str) -> Result<(), JsonError> {
        self.raw(key)?.map_or(Ok(()), |_| Err(wrong(key, problem)))
    }
}

fn array<'v>(key: &'static str, value: &'v Value<'v>) -> Result<&'v [Value<'v>], JsonError> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::OtherNumber | Value::String(_) | Value::Object(_) => {
            Err(wrong(key, "is not an array"))
        }
    }
}

/// The error for a field that is there and wrong, or missing.
pub(crate) fn wrong(field: &'static str, problem: impl Into<String>) -> JsonError {
    JsonError::Field { field, problem: problem.into() }
}

#[cfg(test)]
mod tests;
