//! Index and manifest as far as the fetcher must read them to know what to fetch next: bytes come in, descriptors go out.
//! The agent reads the same bytes again by stricter rules; nothing here is believed by anybody else.

use std::collections::BTreeMap;

use assay_admission::{Descriptor, Digest, MediaType, Platform};
use serde::Deserialize;

use crate::error::{Error, Malformation};

/// A document whose kind is sure.
#[derive(Debug)]
pub(crate) enum Parsed {
    Index(Vec<Entry>),
    Manifest(Manifest),
}

/// An image manifest, of an image or of a signature.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    /// What a Sigstore bundle in it is said to state.
    pub(crate) predicate_type: Option<String>,
}

/// What an index lists. An entry that cannot be read (a digest of another algorithm, say) keeps its place as `None`.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) descriptor: Option<Descriptor>,
    pub(crate) artifact_type: Option<String>,
    platform: Option<RawPlatform>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    annotations: Option<serde_json::Value>,
}

/// Where tools that attach Sigstore bundles write what a bundle states.
const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
    platform: Option<RawPlatform>,
}

#[derive(Debug, Deserialize)]
struct RawPlatform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// Reads `bytes` as what `media_type` says. The body's own `mediaType`, if it has one, must say the same.
pub(crate) fn parse(what: &str, media_type: &MediaType, bytes: &[u8]) -> Result<Parsed, Error> {
    let malformed = |why| Error::malformed(what, why);
    let raw: RawDocument = serde_json::from_slice(bytes)
        .map_err(|error| malformed(Malformation::Json { line: error.line(), column: error.column() }))?;
    if let Some(found) = raw.media_type
        && found != media_type.as_str()
    {
        let expected = media_type.to_string();
        return Err(malformed(Malformation::MediaType { expected, found, place: "mediaType in the body" }));
    }
    match (raw.manifests, raw.config, raw.layers) {
        (Some(manifests), None, None) if media_type.is_index() => {
            Ok(Parsed::Index(manifests.into_iter().map(entry).collect()))
        }
        (None, Some(config), Some(layers)) if media_type.is_manifest() => {
            let descriptor = |raw: &RawDescriptor| {
                descriptor(raw).ok_or_else(|| malformed(Malformation::Rule("a descriptor has no valid digest or type")))
            };
            Ok(Parsed::Manifest(Manifest {
                artifact_type: raw.artifact_type,
                config: descriptor(&config)?,
                layers: layers.iter().map(descriptor).collect::<Result<_, _>>()?,
                predicate_type: raw
                    .annotations
                    .and_then(|annotations| annotations.get(PREDICATE_TYPE)?.as_str().map(str::to_owned)),
            }))
        }
        _ if media_type.is_index() => {
            Err(malformed(Malformation::Rule("an index has manifests, and neither config nor layers")))
        }
        _ if media_type.is_manifest() => {
            Err(malformed(Malformation::Rule("a manifest has config and layers, and no manifests")))
        }
        _ => Err(malformed(Malformation::UnknownType(media_type.to_string()))),
    }
}

fn entry(raw: RawDescriptor) -> Entry {
    Entry { descriptor: descriptor(&raw), artifact_type: raw.artifact_type, platform: raw.platform }
}

fn descriptor(raw: &RawDescriptor) -> Option<Descriptor> {
    let digest: Digest = raw.digest.parse().ok()?;
    Some(Descriptor { media_type: MediaType::new(&raw.media_type)?, digest, size: raw.size })
}

/// The one manifest of an index that is for `wanted`: same system, architecture and variant.
pub(crate) fn select<'a>(what: &str, entries: &'a [Entry], wanted: &Platform) -> Result<&'a Descriptor, Error> {
    let wanted = normal(wanted.os(), wanted.architecture(), wanted.variant());
    let fitting: Vec<&Entry> = entries
        .iter()
        .filter(|entry| {
            entry.platform.as_ref().is_some_and(|platform| {
                normal(&platform.os, &platform.architecture, platform.variant.as_deref()) == wanted
            })
        })
        .collect();
    match fitting.as_slice() {
        [] => Err(Error::NotFound { what: format!("a manifest for {} in {what}", wanted.join("/")) }),
        [Entry { descriptor: Some(descriptor), .. }] => Ok(descriptor),
        [_] => Err(Error::malformed(what, Malformation::Rule("the platform's descriptor has no valid digest or type"))),
        several => Err(Error::malformed(
            what,
            Malformation::AmbiguousPlatform { platform: wanted.join("/"), count: several.len() },
        )),
    }
}

/// As containerd normalises platforms: the variants that say nothing go, the one that is meant by none comes.
fn normal<'a>(os: &'a str, architecture: &'a str, variant: Option<&'a str>) -> Vec<&'a str> {
    let variant = match (architecture, variant.filter(|variant| !variant.is_empty())) {
        ("arm64", Some("v8")) | ("amd64", Some("v1")) => None,
        ("arm", None) => Some("v7"),
        (_, variant) => variant,
    };
    [Some(os), Some(architecture), variant].into_iter().flatten().collect()
}

/// A manifest to be pushed, in the field order that is customary.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewManifest<'a> {
    pub(crate) schema_version: u32,
    pub(crate) media_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<&'a str>,
    pub(crate) config: NewDescriptor<'a>,
    pub(crate) layers: Vec<NewDescriptor<'a>>,
    pub(crate) subject: NewDescriptor<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: &'a BTreeMap<String, String>,
}

/// A descriptor in a document to be pushed.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewDescriptor<'a> {
    pub(crate) media_type: &'a str,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<&'a str>,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse_as(media_type: &str, text: &str) -> Result<Parsed, Malformation> {
        parse("document", &MediaType::new(media_type).unwrap(), text.as_bytes()).map_err(|error| match error {
            Error::Malformed { why, .. } => why,
            other => panic!("{other:?}"),
        })
    }

    fn descriptor_json(extra: &str) -> String {
        format!(r#"{{"mediaType":"x/y","digest":"{HEX}","size":0{extra}}}"#)
    }

    #[test]
    fn a_document_that_is_both_index_and_manifest_is_refused() {
        let one = descriptor_json("");
        let both = format!(r#"{{"config":{one},"layers":[{one}],"manifests":[{one}]}}"#);
        let index_rule = Malformation::Rule("an index has manifests, and neither config nor layers");
        let manifest_rule = Malformation::Rule("a manifest has config and layers, and no manifests");
        assert_eq!(parse_as(MediaType::OCI_INDEX, &both).unwrap_err(), index_rule);
        assert_eq!(parse_as(MediaType::OCI_MANIFEST, &both).unwrap_err(), manifest_rule);
        assert_eq!(parse_as(MediaType::OCI_INDEX, "{}").unwrap_err(), index_rule);
        assert_eq!(parse_as(MediaType::DOCKER_MANIFEST, "{}").unwrap_err(), manifest_rule);
        let manifest = format!(r#"{{"config":{one},"layers":[{one}]}}"#);
        assert!(matches!(parse_as(MediaType::OCI_MANIFEST, &manifest), Ok(Parsed::Manifest(_))));
        assert_eq!(parse_as(MediaType::OCI_INDEX, &manifest).unwrap_err(), index_rule);
        assert_eq!(parse_as("text/html", &manifest).unwrap_err(), Malformation::UnknownType("text/html".into()));
    }

    #[test]
    fn a_body_of_another_type_than_its_header_is_refused() {
        let text = format!(r#"{{"mediaType":"{}","manifests":[]}}"#, MediaType::DOCKER_INDEX);
        assert!(matches!(parse_as(MediaType::DOCKER_INDEX, &text), Ok(Parsed::Index(_))));
        let why = Malformation::MediaType {
            expected: MediaType::OCI_INDEX.into(),
            found: MediaType::DOCKER_INDEX.into(),
            place: "mediaType in the body",
        };
        assert_eq!(parse_as(MediaType::OCI_INDEX, &text).unwrap_err(), why);
    }

    #[test]
    fn broken_json_is_refused_without_a_panic() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for text in [
            "",
            "{",
            "[]",
            "null",
            r#"{"manifests":[],"manifests":[]}"#,
            "{\"config\":\"\\ud800\"}",
            &deep,
            r#"{"manifests":[{"mediaType":"x/y","digest":"d","size":1e2}]}"#,
            r#"{"manifests":[{"size":-1}]}"#,
        ] {
            assert!(matches!(parse_as(MediaType::OCI_INDEX, text), Err(Malformation::Json { .. })), "{text}");
        }
    }

    #[test]
    fn a_digest_that_is_none_takes_its_manifest_with_it() {
        for bad in ["sha256:../x", "sha256:E3", "md5:d41d8cd98f00b204e9800998ecf8427e", &HEX[..70]] {
            let one = descriptor_json("");
            let text = format!(r#"{{"config":{one},"layers":[{}]}}"#, one.replace(HEX, bad));
            let why = Malformation::Rule("a descriptor has no valid digest or type");
            assert_eq!(parse_as(MediaType::OCI_MANIFEST, &text).unwrap_err(), why, "{bad}");
        }
    }

    #[test]
    fn the_platforms_manifest_is_exactly_one() {
        let entries = |platforms: &[&str]| -> Vec<Entry> {
            let list: Vec<String> = platforms.iter().map(|p| descriptor_json(&format!(r#","platform":{p}"#))).collect();
            match parse_as(MediaType::OCI_INDEX, &format!(r#"{{"manifests":[{}]}}"#, list.join(","))) {
                Ok(Parsed::Index(entries)) => entries,
                other => panic!("{other:?}"),
            }
        };
        let amd64 = r#"{"os":"linux","architecture":"amd64"}"#;
        let armv7 = r#"{"os":"linux","architecture":"arm","variant":"v7"}"#;
        let armv6 = r#"{"os":"linux","architecture":"arm","variant":"v6"}"#;
        let arm64 = r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#;
        let all = entries(&[amd64, armv7, armv6, arm64, r#"{"os":"unknown","architecture":"unknown"}"#]);
        for platform in ["linux/amd64", "linux/arm/v7", "linux/arm", "linux/arm/v6", "linux/arm64", "linux/arm64/v8"] {
            assert!(select("index", &all, &platform.parse().unwrap()).is_ok(), "{platform}");
        }
        let find = |entries: &[Entry], platform: &str| select("index", entries, &platform.parse().unwrap()).cloned();
        assert!(matches!(find(&all, "linux/s390x"), Err(Error::NotFound { .. })));
        assert!(matches!(find(&all, "linux/amd64/v3"), Err(Error::NotFound { .. })));
        assert!(matches!(find(&entries(&[]), "linux/amd64"), Err(Error::NotFound { .. })));
        match find(&entries(&[amd64, armv7, amd64]), "linux/amd64") {
            Err(Error::Malformed { why: Malformation::AmbiguousPlatform { count: 2, .. }, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}
