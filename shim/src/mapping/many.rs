//! Chains of more images than are examined for one answer: in which order they are looked at, how many at a time, and which of
//! them name other blobs for a layer than others do, so that they have to be looked at each time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    ops::Range,
};

use assay_admission::{Digest, ImageClaim, MediaType};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

/// Most images that are examined for one answer where there are more than for one.
pub(super) const PART: usize = 128;
/// Most images that name other blobs than others and are therefore examined each time.
const MAX_ODD: usize = PART / 2;
/// Most layers of one manifest that are looked at; the agent looks at no more.
const MAX_LAYERS: usize = 1024;

/// How containerd unpacks the layers of an image: for each, a hash of the blob's digest and of how it is read. `None` if the
/// manifest may be read in several ways.
pub(super) type Blobs = Option<Box<[u128]>>;

/// Many images of one chain, in the order in which they are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Many {
    claims: Vec<ImageClaim>,
    /// Which of them stand in every part.
    odd: BTreeSet<usize>,
    /// The others, part by part.
    parts: Vec<Range<usize>>,
    others: Vec<usize>,
}

/// Images that cannot be looked at some after others, since too many name other blobs for the same layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TooOdd {
    pub(super) count: usize,
    pub(super) manifest: Digest,
}

impl Many {
    /// Divides `claims`, the likeliest first. `layers` gives the chains of an image and how its layers are unpacked; nothing if
    /// either is not known.
    pub(super) fn divide<'a>(
        claims: Vec<ImageClaim>,
        layers: impl Fn(&ImageClaim) -> Option<(&'a [u64], &'a [u128])>,
    ) -> Result<Self, TooOdd> {
        let odd = odd(&claims, layers);
        if let Some(manifest) = odd.first().and_then(|at| claims.get(*at)).map(|claim| claim.manifest)
            && odd.len() > MAX_ODD
        {
            return Err(TooOdd { count: odd.len(), manifest });
        }
        Ok(Self::divided(claims, odd))
    }

    fn divided(claims: Vec<ImageClaim>, odd: BTreeSet<usize>) -> Self {
        let others: Vec<usize> = (0..claims.len()).filter(|at| !odd.contains(at)).collect();
        let mut parts = Vec::new();
        let mut start = 0;
        while start < others.len() || parts.is_empty() {
            let full = others.len().min(start + PART - odd.len());
            let config = |at: usize| others.get(at).and_then(|at| claims.get(*at)).map(|claim| claim.config);
            // The manifests of one config stand together: they are admitted together or not at all.
            let mut end = full;
            while end < others.len() && end > start && config(end) == config(end - 1) {
                end -= 1;
            }
            let end = if end == start { full } else { end };
            parts.push(start..end);
            start = end;
        }
        Self { claims, odd, parts, others }
    }

    /// Images that are alike as far as that matters, the likeliest first.
    pub(super) fn alike(claims: Vec<ImageClaim>) -> Self {
        Self::divided(claims, BTreeSet::new())
    }

    /// How many parts there are, at least one.
    pub(crate) const fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The images of a part, and all others.
    pub(super) fn part(&self, at: usize) -> (Vec<ImageClaim>, Vec<ImageClaim>) {
        let own: BTreeSet<usize> = self
            .parts
            .get(at)
            .and_then(|range| self.others.get(range.clone()))
            .into_iter()
            .flatten()
            .copied()
            .collect();
        let is_examined = |at: &usize| own.contains(at) || self.odd.contains(at);
        let (examined, alike): (Vec<_>, Vec<_>) = self.claims.iter().enumerate().partition(|(at, _)| is_examined(at));
        let claims = |all: Vec<(usize, &ImageClaim)>| all.into_iter().map(|(_, claim)| claim.clone()).collect();
        (claims(examined), claims(alike))
    }
}

/// The images that name another blob, or another way to read it, for a chain than some other image does; all of either side.
fn odd<'a>(claims: &[ImageClaim], layers: impl Fn(&ImageClaim) -> Option<(&'a [u64], &'a [u128])>) -> BTreeSet<usize> {
    let known = |claim: &ImageClaim| layers(claim).filter(|(chains, blobs)| chains.len() == blobs.len());
    let mut blob_of: HashMap<u64, u128> = HashMap::new();
    let mut differing: HashSet<u64> = HashSet::new();
    for (chains, blobs) in claims.iter().filter_map(known) {
        for (chain, blob) in chains.iter().zip(blobs) {
            if *blob_of.entry(*chain).or_insert(*blob) != *blob {
                differing.insert(*chain);
            }
        }
    }
    let is_odd =
        |claim: &ImageClaim| known(claim).is_none_or(|(chains, _)| chains.iter().any(|c| differing.contains(c)));
    claims.iter().enumerate().filter(|(_, claim)| is_odd(claim)).map(|(at, _)| at).collect()
}

/// How the layers of a manifest are unpacked.
pub(super) fn blobs(manifest: &[u8]) -> Blobs {
    let Ok(Json::Object(members)) = serde_json::from_slice(manifest) else { return None };
    let Some(Json::List(layers)) = members.get("layers") else { return None };
    if layers.len() > MAX_LAYERS {
        return None;
    }
    let text = |layer: &Json, name: &str| match layer {
        Json::Object(members) => match members.get(name) {
            Some(Json::Text(text)) => Some(text.clone()),
            Some(Json::Object(_) | Json::List(_) | Json::Other) | None => None,
        },
        Json::List(_) | Json::Text(_) | Json::Other => None,
    };
    let blob = |layer: &Json| {
        let digest: Digest = text(layer, "digest")?.parse().ok()?;
        let read_as = MediaType::new(&text(layer, "mediatype")?)?;
        let both = Digest::sha256(format!("{digest} {}", read_as.unpacked_as()).as_bytes());
        both.value().first_chunk().map(|first| u128::from_be_bytes(*first))
    };
    layers.iter().map(blob).collect()
}

/// JSON as far as it is wanted, with the names of members as Go compares them; two that are one to Go are an error.
enum Json {
    Object(BTreeMap<String, Json>),
    List(Vec<Json>),
    Text(String),
    Other,
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Json>()? {
                    if members.insert(super::config::folded(&name), value).is_some() {
                        return Err(A::Error::custom("two members with one name"));
                    }
                }
                Ok(Json::Object(members))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Json::List(values))
            }

            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
                Ok(Json::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
                Ok(Json::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
                Ok(Json::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
                Ok(Json::Other)
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn claim(config: usize, manifest: usize) -> ImageClaim {
        let digest = |kind: &str, n: usize| Digest::sha256(format!("{kind}{n}").as_bytes());
        ImageClaim {
            manifest: digest("m", manifest),
            config: digest("c", config),
            indexes: Vec::new(),
            names: Vec::new(),
        }
    }

    const SAME: Option<(&[u64], &[u128])> = Some((&[1, 2], &[10, 20]));

    #[test]
    fn every_image_is_examined_in_one_part_and_told_in_all() {
        let claims: Vec<ImageClaim> = (0..5000).map(|n| claim(n, n)).collect();
        let many = Many::divide(claims.clone(), |_| SAME).unwrap();
        assert_eq!(many.parts(), 40);
        let mut examined = Vec::new();
        for at in 0..many.parts() {
            let (some, alike) = many.part(at);
            assert!(some.len() <= PART && some.len() + alike.len() == 5000);
            examined.extend(some);
        }
        assert_eq!(examined, claims);
    }

    #[test]
    fn the_manifests_of_a_config_stand_together() {
        let claims: Vec<ImageClaim> = (0..1000).map(|n| claim(n / 3, n)).collect();
        let many = Many::divide(claims, |_| SAME).unwrap();
        for at in 0..many.parts() {
            let (some, alike) = many.part(at);
            assert!(!some.is_empty() && some.len() <= PART);
            assert!(some.iter().all(|image| alike.iter().all(|other| other.config != image.config)), "part {at}");
        }
        // More of one config than fit are divided all the same.
        let many = Many::divide((0..300).map(|n| claim(0, n)).collect(), |_| SAME).unwrap();
        assert_eq!((many.parts(), many.part(0).0.len()), (3, PART));
    }

    #[test]
    fn who_differs_from_anyone_in_a_shared_chain_is_examined_in_every_part() {
        let claims: Vec<ImageClaim> = (0..400).map(|n| claim(n, n)).collect();
        let odd_ones = [claim(3, 3), claim(200, 200), claim(300, 300), claim(399, 399)];
        // One shares chain 7 with another and has another blob there; one is not known; one has more layers than blobs.
        let [shares, has_other, has_more]: [Option<(&[u64], &[u128])>; 3] =
            [Some((&[1, 7], &[10, 70])), Some((&[1, 7], &[10, 71])), Some((&[1, 2], &[10]))];
        let layers = |claim: &ImageClaim| match odd_ones.iter().position(|odd| odd == claim) {
            Some(0) => shares,
            Some(1) => has_other,
            Some(2) => None,
            Some(_) => has_more,
            None => SAME,
        };
        let many = Many::divide(claims.clone(), layers).unwrap();
        for at in 0..many.parts() {
            let (some, alike) = many.part(at);
            assert!(odd_ones.iter().all(|odd| some.contains(odd) && !alike.contains(odd)), "part {at}");
            assert!(some.len() <= PART);
        }
        // Other blobs for the chain that all share leave nobody who is like all others.
        let evil = claim(0, 0);
        let other_base: Option<(&[u64], &[u128])> = Some((&[1], &[11]));
        let layers = |claim: &ImageClaim| if *claim == evil { other_base } else { SAME };
        assert_eq!(Many::divide(claims, layers), Err(TooOdd { count: 400, manifest: evil.manifest }));
    }

    #[test]
    fn blobs_differ_by_digest_and_by_how_they_are_read() {
        let manifest = |digest: &str, media_type: &str| {
            let digest = Digest::sha256(digest.as_bytes());
            format!(
                "{{\"schemaVersion\":2,\"layers\":[{{\"mediaType\":\"{media_type}\",\"digest\":\"{digest}\",\"size\":1}}]}}"
            )
        };
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        let one = blobs(manifest("a", gzip).as_bytes());
        assert_eq!(one.as_ref().map(|blobs| blobs.len()), Some(1));
        assert_eq!(one, blobs(manifest("a", "application/vnd.docker.image.rootfs.diff.tar.gzip").as_bytes()));
        assert_ne!(one, blobs(manifest("a", "application/vnd.oci.image.layer.v1.tar").as_bytes()));
        assert_ne!(one, blobs(manifest("b", gzip).as_bytes()));
        for ambiguous in ["\"Layers\":[],", "\"layer\u{17f}\":[],", "\"layers\":null,"] {
            let text = manifest("a", gzip).replacen('{', &format!("{{{ambiguous}"), 1);
            assert_eq!(blobs(text.as_bytes()), None, "{ambiguous}");
        }
        for bad in ["", "[]", "{}", "{\"layers\":{}}", "{\"layers\":[{}]}", "{\"layers\":[{\"digest\":\"x\"}]}"] {
            assert_eq!(blobs(bad.as_bytes()), None, "{bad}");
        }
    }
}
