//! From the bytes of an image config to its layer chains (OCI image-spec, config.md "Layer ChainID").
//! Finds the chains that containerd's reader finds, or says that it may find others; whether the document is well-formed the
//! agent decides.

use std::fmt;

use assay_admission::Digest;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Most layers of an image that are looked at.
const MAX_LAYERS: usize = 1024;
/// Most lists of layers in one document that are kept: an honest one has one.
const MAX_LISTS: usize = 2;

/// The layers of a config, as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The chain of each layer, the first layer's first. None if the bytes are no config.
    Plain(Vec<Digest>),
    /// containerd may read other layers in these bytes, and so they may contain any.
    Unclear,
}

/// Reads a config as Go does where that leaves no doubt.
///
/// Go's reader takes `RootFS` for `rootfs`, puts several lists one over the other, keeps what a `null` would replace, and
/// takes text that is not Unicode. Whatever is an object and cannot be read plainly here is not taken to have no layers.
pub(crate) fn chains(bytes: &[u8]) -> Reading {
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Reading::Plain(Vec::new());
    }
    match serde_json::from_str::<Lists>(&String::from_utf8_lossy(bytes)).map(|Lists(lists)| lists).as_deref() {
        Ok([]) => Reading::Plain(Vec::new()),
        Ok([list]) => Reading::Plain(chain_ids(list)),
        Ok([_, _, ..]) | Err(_) => Reading::Unclear,
    }
}

fn chain_ids(diff_ids: &[String]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::new();
    for text in diff_ids.iter().take(MAX_LAYERS) {
        let Ok(diff_id) = text.parse::<Digest>() else { break };
        chains.push(match chains.last() {
            // ChainID(L₀) = DiffID(L₀)
            None => diff_id,
            // ChainID(L₀|...|Lₙ) = Digest(ChainID(L₀|...|Lₙ₋₁) + " " + DiffID(Lₙ))
            Some(below) => Digest::sha256(format!("{below} {diff_id}").as_bytes()),
        });
    }
    chains
}

/// Every list of diff ids in a config.
struct Lists(Vec<Vec<String>>);

impl<'de> Deserialize<'de> for Lists {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(deserializer.deserialize_any(Named::<Roots>("rootfs", std::marker::PhantomData))?.0))
    }
}

struct Roots(Vec<Vec<String>>);

impl<'de> Deserialize<'de> for Roots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(deserializer.deserialize_any(Named::<DiffIds>("diff_ids", std::marker::PhantomData))?.0))
    }
}

struct DiffIds(Vec<Vec<String>>);

impl<'de> Deserialize<'de> for DiffIds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Vec<String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of digests")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Vec::new())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element::<String>()? {
                    if texts.len() < MAX_LAYERS {
                        texts.push(text);
                    }
                }
                Ok(texts)
            }
        }
        Ok(Self(vec![deserializer.deserialize_any(List)?]))
    }
}

/// An object in which every member of that name, as Go compares names, is read.
struct Named<T>(&'static str, std::marker::PhantomData<T>);

trait Collected {
    fn lists(self) -> Vec<Vec<String>>;
}

impl Collected for Roots {
    fn lists(self) -> Vec<Vec<String>> {
        self.0
    }
}

impl Collected for DiffIds {
    fn lists(self) -> Vec<Vec<String>> {
        self.0
    }
}

struct All(Vec<Vec<String>>);

impl<'de, T: Deserialize<'de> + Collected> Visitor<'de> for Named<T> {
    type Value = All;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with {}", self.0)
    }

    fn visit_unit<E>(self) -> Result<All, E> {
        Ok(All(Vec::new()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<All, A::Error> {
        let mut lists = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            if folds_to(&name, self.0) {
                let found = members.next_value::<T>()?.lists();
                lists.extend(found.into_iter().take(MAX_LISTS.saturating_sub(lists.len())));
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(All(lists))
    }
}

fn folds_to(name: &str, wanted: &str) -> bool {
    name.chars().map(fold).eq(wanted.chars())
}

/// A name as encoding/json compares it, as far as that matters for names of ASCII.
pub(crate) fn folded(name: &str) -> String {
    name.chars().map(fold).collect()
}

/// Without case, by Unicode's simple folding, in which two characters outside ASCII fold to letters inside it.
const fn fold(character: char) -> char {
    match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(count: u8) -> Vec<Digest> {
        (0..count).map(|n| Digest::sha256(&[n])).collect()
    }

    #[test]
    fn the_first_chain_is_the_first_layer_and_each_further_one_hashes_the_one_below() {
        let [a, b] = digests(2).try_into().unwrap_or_else(|_| panic!("two"));
        let config = format!("{{\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{a}\",\"{b}\"]}}}}");
        let both = vec![a, Digest::sha256(format!("{a} {b}").as_bytes())];
        assert_eq!(chains(config.as_bytes()), Reading::Plain(both.clone()));
        let changed = config.replacen(&a.to_string(), &b.to_string(), 1);
        assert_ne!(chains(changed.as_bytes()), Reading::Plain(both.clone()));
        // What Go passes over is passed over here: other members, text that is not Unicode, white space.
        let mut odd = format!(" {}\n", config.replacen('{', "{\"author\":\"?\\ud800\",", 1)).into_bytes();
        let at = odd.iter().position(|byte| *byte == b'?').unwrap_or_else(|| panic!("an author"));
        odd.splice(at..=at, [0xff]);
        assert_eq!(chains(&odd), Reading::Plain(both));
    }

    #[test]
    fn every_reading_of_an_ambiguous_config_is_found() {
        let [a, b] = digests(2).try_into().unwrap_or_else(|_| panic!("two"));
        for config in [
            format!("{{\"rootfs\":{{\"diff_ids\":[\"{a}\"]}},\"RootFS\":{{\"diff_ids\":[\"{b}\"]}}}}"),
            format!("{{\"rootfs\":{{\"diff_ids\":[\"{a}\"],\"DIFF_IDS\":[\"{b}\"]}}}}"),
            format!("{{\"rootf\u{17f}\":{{\"diff_ids\":[\"{a}\"],\"diff_ids\":[\"{b}\"]}}}}"),
            // Go keeps the first list where the second has null.
            format!("{{\"rootfs\":{{\"diff_ids\":[\"{a}\"],\"diff_ids\":[null]}}}}"),
            format!("{{\"rootfs\":{{\"diff_ids\":[\"{a}\",null]}}}}"),
            format!("{{\"\\ud800\":1,\"rootfs\":{{\"diff_ids\":[\"{a}\"]}}}}"),
            format!(
                "{{{}\"rootfs\":{{\"diff_ids\":[\"{a}\"]}}}}",
                format!("\"rootfs\":{{\"diff_ids\":[\"{b}\"]}},").repeat(9)
            ),
        ] {
            assert_eq!(chains(config.as_bytes()), Reading::Unclear, "{config}");
        }
        let one = format!("{{\"rootfs\":{{\"diff_ids\":[\"{a}\"]}},\"RootFS\":null}}");
        assert_eq!(chains(one.as_bytes()), Reading::Plain(vec![a]));
    }

    #[test]
    fn what_is_no_config_has_no_chains() {
        for bad in ["", " ", "[]", "null", "text", "{}", "{\"rootfs\":null}", "{\"rootfs\":{\"diff_ids\":null}}"] {
            assert_eq!(chains(bad.as_bytes()), Reading::Plain(Vec::new()), "{bad}");
        }
        for bad in ["{", "{\"rootfs\":7}", "{} {}"] {
            assert_eq!(chains(bad.as_bytes()), Reading::Unclear, "{bad}");
        }
    }
}
