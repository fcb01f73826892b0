//! From the bytes of an image config to its layer chains (OCI image-spec, config.md "Layer ChainID").
//! Finds at least the chains that containerd's reader could find; whether the document is well-formed the agent decides.

use std::fmt;

use assay_admission::Digest;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Most layers of an image that are looked at.
const MAX_LAYERS: usize = 1024;
/// Most lists of layers in one document: an honest one has one.
const MAX_LISTS: usize = 8;

/// The chain of each layer, the first layer's first. Empty if the bytes are no config.
///
/// Go's reader takes `RootFS` for `rootfs` and the last of several. Where a document is ambiguous, the chains of all
/// readings are given: one claim too many is judged and refused, one too few would not be judged.
pub(super) fn chains(bytes: &[u8]) -> Vec<Digest> {
    let lists = serde_json::from_slice::<Lists>(bytes).map(|Lists(lists)| lists).unwrap_or_default();
    lists.iter().take(MAX_LISTS).flat_map(|list| chain_ids(list)).collect()
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
        Ok(Self(deserializer.deserialize_map(Named::<Roots>("rootfs", std::marker::PhantomData))?.0))
    }
}

struct Roots(Vec<Vec<String>>);

impl<'de> Deserialize<'de> for Roots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(deserializer.deserialize_map(Named::<DiffIds>("diff_ids", std::marker::PhantomData))?.0))
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
                while let Some(text) = list.next_element::<Option<String>>()? {
                    if texts.len() < MAX_LAYERS {
                        texts.push(text.unwrap_or_default());
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

/// How encoding/json compares names: without case, by Unicode's simple folding, in which two characters outside ASCII
/// fold to letters inside it.
fn folds_to(name: &str, wanted: &str) -> bool {
    let fold = |character: char| match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    name.chars().map(fold).eq(wanted.chars())
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
        assert_eq!(chains(config.as_bytes()), [a, Digest::sha256(format!("{a} {b}").as_bytes())]);
        let changed = config.replacen(&a.to_string(), &b.to_string(), 1);
        assert_ne!(chains(changed.as_bytes()).first(), Some(&a));
    }

    #[test]
    fn every_reading_of_an_ambiguous_config_is_found() {
        let [a, b] = digests(2).try_into().unwrap_or_else(|_| panic!("two"));
        for config in [
            format!("{{\"rootfs\":{{\"diff_ids\":[\"{a}\"]}},\"RootFS\":{{\"diff_ids\":[\"{b}\"]}}}}"),
            format!("{{\"rootfs\":{{\"diff_ids\":[\"{a}\"],\"DIFF_IDS\":[\"{b}\"]}}}}"),
            format!("{{\"rootf\u{17f}\":{{\"diff_ids\":[\"{a}\"],\"diff_ids\":[\"{b}\"]}}}}"),
        ] {
            assert_eq!(chains(config.as_bytes()), [a, b], "{config}");
        }
    }

    #[test]
    fn what_is_no_config_has_no_chains() {
        for bad in ["", "{", "[]", "{}", "{\"rootfs\":null}", "{\"rootfs\":{\"diff_ids\":null}}", "{\"rootfs\":7}"] {
            assert_eq!(chains(bad.as_bytes()), [], "{bad}");
        }
    }
}
