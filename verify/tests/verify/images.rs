//! Images whose documents belong together, and images where one thing does not.

use assay_admission::{Digest, Document, Documents, ImageClaim, MAX_DOCUMENT_BYTES, MediaType, Platform};
use assay_verify::{BindError, bind, bind_manifest, claim_of};
use serde_json::{Value, json};

use crate::support::*;

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn value(document: &Document) -> Value {
    serde_json::from_slice(document.bytes()).unwrap()
}

/// An image of two layers, each document of which can be changed before the next is made of it.
struct Recipe {
    config: Value,
    manifest: Value,
    index: Value,
    config_type: &'static str,
}

impl Recipe {
    fn new() -> Self {
        let index = value(&documents()[&index().digest]);
        let claim = claim("amd64");
        let documents = documents();
        Self {
            config: value(&documents[&claim.config]),
            manifest: value(&documents[&claim.manifest]),
            index,
            config_type: MediaType::OCI_CONFIG,
        }
    }

    /// Config into manifest, manifest into index, by digest and size.
    fn make(self) -> (ImageClaim, Documents) {
        let Self { config, mut manifest, mut index, config_type } = self;
        let config = document(config_type, config.to_string().into_bytes());
        manifest["config"]["digest"] = config.digest().to_string().into();
        let is_said = |size: &Value| *size == json!(1) || size.as_u64() >= Some(4 << 20);
        if !is_said(&manifest["config"]["size"]) {
            manifest["config"]["size"] = config.bytes().len().into();
        }
        let manifest = document(MediaType::OCI_MANIFEST, manifest.to_string().into_bytes());
        for entry in index["manifests"].as_array_mut().into_iter().flatten() {
            if entry["digest"] == json!(claim("amd64").manifest.to_string()) {
                entry["digest"] = manifest.digest().to_string().into();
                if entry["size"] != json!(1) {
                    entry["size"] = manifest.bytes().len().into();
                }
            }
        }
        let index = document(MediaType::OCI_INDEX, index.to_string().into_bytes());
        let claim = ImageClaim {
            manifest: *manifest.digest(),
            config: *config.digest(),
            indexes: vec![*index.digest()],
            names: Vec::new(),
        };
        (claim, [config, manifest, index].map(|document| (*document.digest(), document)).into())
    }
}

fn bind_with(change: impl FnOnce(&mut Recipe)) -> Result<assay_verify::BoundImage, BindError> {
    let mut recipe = Recipe::new();
    change(&mut recipe);
    let (claim, documents) = recipe.make();
    bind(&claim, &documents, &amd64())
}

/// Field and problem of a document that is refused as malformed.
fn malformed_with(change: impl FnOnce(&mut Recipe)) -> (&'static str, String) {
    match bind_with(change) {
        Err(BindError::Malformed { field, problem, .. }) => (field, problem),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_image_binds_with_the_chain_of_each_layer() {
    let image = bind_with(|_| {}).unwrap();
    let layer = |n: u8| Digest::sha256(format!("amd64 layer {n}").as_bytes());
    let second = Digest::sha256(format!("{} {}", layer(0), layer(1)).as_bytes());
    assert_eq!(image.chains(), [layer(0), second]);
    assert!(image.contains_chain(&second) && !image.contains_chain(&layer(1)));
    let packed =
        |image: &assay_verify::BoundImage| -> Vec<String> { image.layers().iter().map(Digest::to_string).collect() };
    let named = |recipe: &Recipe, at: usize| recipe.manifest["layers"][at]["digest"].as_str().unwrap().to_owned();
    let expected = [named(&Recipe::new(), 0), named(&Recipe::new(), 1)];
    assert_eq!(packed(&image), expected);
    let typed = |image: &assay_verify::BoundImage| -> Vec<String> {
        image.layer_types().iter().map(ToString::to_string).collect()
    };
    let said = |at: usize| Recipe::new().manifest["layers"][at]["mediaType"].as_str().unwrap().to_owned();
    assert_eq!(typed(&image), [said(0), said(1)]);
    let plain = "application/vnd.oci.image.layer.v1.tar";
    let other = bind_with(|recipe| recipe.manifest["layers"][1]["mediaType"] = plain.into()).unwrap();
    assert_eq!(typed(&other), [said(0), plain.to_owned()]);
    // The manifest's own digests, in its own order, whatever the config says.
    let foreign = Digest::sha256(b"foreign").to_string();
    let swapped = bind_with(|recipe| recipe.manifest["layers"][1]["digest"] = foreign.clone().into()).unwrap();
    assert_eq!(packed(&swapped), [expected[0].clone(), foreign]);
    assert_eq!(swapped.chains(), image.chains());
    assert_eq!(image.subjects().count(), 2);
    assert!(image.is_for_wanted_platform());
}

#[test]
fn a_config_that_its_manifest_calls_too_large_is_a_limit_that_says_what_to_do() {
    let of = |bytes: usize| bind_with(|recipe| recipe.manifest["config"]["size"] = bytes.into());
    let size = u64::try_from(MAX_DOCUMENT_BYTES).unwrap() + 1;
    let Err(error) = of(MAX_DOCUMENT_BYTES + 1) else { panic!("it binds") };
    assert!(matches!(error, BindError::ConfigSize { size: said, .. } if said == size), "{error}");
    assert_eq!(error.code(), assay_admission::DenyCode::Limit);
    assert!(error.to_string().contains("has 4194305 bytes, at most 4194304 are looked at: build"), "{error}");
    assert!(matches!(of(MAX_DOCUMENT_BYTES), Err(BindError::Mismatch { .. })));
}

#[test]
fn a_document_that_is_not_there_is_missing_and_nothing_else() {
    for part in 0..3 {
        let (claim, mut documents) = Recipe::new().make();
        let digest = [claim.manifest, claim.config, claim.indexes[0]][part];
        let document = documents.remove(&digest).unwrap();
        assert_eq!(bind(&claim, &documents, &amd64()), Err(BindError::Missing { digest }));
        // Other bytes under its digest are not it.
        let other = Document::new(document.media_type().clone(), b"{}".to_vec()).unwrap();
        documents.insert(digest, other);
        assert_eq!(bind(&claim, &documents, &amd64()), Err(BindError::Missing { digest }));
    }
    let (mut claim, documents) = Recipe::new().make();
    claim.manifest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
    assert_eq!(bind(&claim, &documents, &amd64()), Err(BindError::Algorithm { digest: claim.manifest }));
}

#[test]
fn a_document_that_is_manifest_and_index_at_once_is_refused() {
    let both = "stands in a manifest; a document is a manifest or an index, not both";
    for value in [json!([]), json!(null), json!([{}])] {
        let found = malformed_with(|recipe| recipe.manifest["manifests"] = value);
        assert_eq!(found, ("manifests", both.to_owned()));
    }
    let both = "stands in an index; a document is a manifest or an index, not both";
    assert_eq!(malformed_with(|recipe| recipe.index["layers"] = json!([])), ("layers", both.to_owned()));
    assert_eq!(malformed_with(|recipe| recipe.index["config"] = json!({})), ("config", both.to_owned()));
    assert_eq!(malformed_with(|recipe| recipe.index["manifests"] = json!([])), ("manifests", "is empty".to_owned()));
}

#[test]
fn keys_that_other_readers_take_for_the_same_are_refused() {
    for key in ["LAYERS", "layer\u{17f}", "Config", "MediaType"] {
        let (field, problem) = malformed_with(|recipe| recipe.manifest[key] = json!([]));
        assert_eq!(field, "JSON");
        assert!(problem.contains("stands twice in one object (case ignored)"), "{problem}");
    }
    // Alone, such a key would be read by some and not by others.
    let (field, problem) = malformed_with(|recipe| recipe.manifest["layers"][0]["URLS"] = json!(["https://x.example"]));
    assert_eq!((field, problem.as_str()), ("urls", "is written \"URLS\" in layers"));
    let (field, problem) = malformed_with(|recipe| recipe.manifest["manifest\u{17f}"] = json!([]));
    assert_eq!((field, problem.as_str()), ("manifests", "is written \"manifest\u{17f}\" in manifest"));
}

#[test]
fn a_media_type_that_differs_inside_and_outside_is_refused() {
    let (field, problem) = malformed_with(|recipe| recipe.manifest["mediaType"] = MediaType::DOCKER_MANIFEST.into());
    let expected =
        format!("is {:?} in the document and {:?} outside", MediaType::DOCKER_MANIFEST, MediaType::OCI_MANIFEST);
    assert_eq!((field, problem), ("mediaType", expected));
    assert_eq!(malformed_with(|recipe| recipe.manifest["schemaVersion"] = 1.into()).0, "schemaVersion");
    assert!(bind_with(|recipe| drop(recipe.manifest.as_object_mut().unwrap().remove("mediaType"))).is_ok());
}

#[test]
fn config_and_layers_that_contradict_the_manifest_are_refused() {
    let about = |result| match result {
        Err(BindError::Mismatch { about, said, found, .. }) => format!("{about}: {said}, {found}"),
        other => panic!("{other:?}"),
    };
    let (mut claim, documents) = Recipe::new().make();
    let config = claim.config;
    claim.config = Digest::sha256(b"x");
    assert_eq!(about(bind(&claim, &documents, &amd64())), format!("its config: {config}, {}", claim.config));
    let size = documents[&config].bytes().len();
    let found = about(bind_with(|recipe| recipe.manifest["config"]["size"] = 1.into()));
    assert_eq!(found, format!("its config's size: 1, {size}"));
    let found = about(bind_with(|recipe| drop(recipe.manifest["layers"].as_array_mut().unwrap().pop())));
    assert_eq!(found, "its number of layers: 1, 2");
    let found = about(bind_with(|recipe| {
        let digest = Digest::sha256(b"x").to_string();
        recipe.config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(digest.into());
    }));
    assert_eq!(found, "its number of layers: 2, 3");
}

#[test]
fn configs_of_another_type_or_without_layers_are_refused() {
    let octets = "application/octet-stream";
    let result = bind_with(|recipe| {
        recipe.config_type = octets;
        recipe.manifest["config"]["mediaType"] = octets.into();
    });
    assert!(
        matches!(&result, Err(BindError::NotAnImage { media_type, .. }) if media_type.as_str() == octets),
        "{result:?}"
    );
    let (field, problem) = malformed_with(|recipe| recipe.config["rootfs"]["type"] = "x".into());
    assert_eq!((field, problem.as_str()), ("rootfs", "has the type \"x\", not \"layers\""));
    let (field, problem) = malformed_with(|recipe| {
        recipe.config["rootfs"]["diff_ids"] = json!([]);
        recipe.manifest["layers"] = json!([]);
    });
    assert_eq!((field, problem.as_str()), ("diff_ids", "is empty; an image needs at least one layer"));
    let (field, problem) = malformed_with(|recipe| recipe.config["rootfs"]["diff_ids"][0] = "md5:00".into());
    assert_eq!((field, problem.as_str()), ("diff_ids", "digest algorithm is neither sha256 nor sha512"));
    let (field, _) = malformed_with(|recipe| recipe.config["architecture"] = "".into());
    assert_eq!(field, "os, architecture, variant");
}

#[test]
fn too_many_layers_are_a_limit() {
    let result = bind_with(|recipe| {
        let layer = recipe.manifest["layers"][0].clone();
        recipe.manifest["layers"] = vec![layer; 257].into();
    });
    assert!(matches!(&result, Err(BindError::Limit { limit, .. }) if limit.limit == 256), "{result:?}");
    let result = bind_with(|recipe| {
        let entry = recipe.index["manifests"][0].clone();
        recipe.index["manifests"] = vec![entry; 1025].into();
    });
    assert!(matches!(&result, Err(BindError::Limit { limit, .. }) if limit.limit == 1024), "{result:?}");
    let result = bind_with(|recipe| recipe.index["more"] = vec![0; 100_000].into());
    assert!(matches!(&result, Err(BindError::Limit { limit, .. }) if limit.limit == 100_000), "{result:?}");
}

#[test]
fn layers_from_outside_the_registry_are_refused() {
    let result = bind_with(|recipe| recipe.manifest["layers"][1]["urls"] = json!(["https://x.example/layer"]));
    let layer = Digest::sha256(b"amd64 layer 1");
    assert_eq!(result.err(), Some(BindError::ForeignUrls { layer }));
    assert!(bind_with(|recipe| recipe.manifest["layers"][1]["urls"] = json!([])).is_ok());
}

#[test]
fn an_index_must_list_the_manifest_once_with_size_and_type() {
    let result = bind_with(|recipe| recipe.index["manifests"][0]["size"] = 1.into());
    assert!(matches!(result, Err(BindError::Mismatch { about: "the manifest's size", .. })), "{result:?}");
    let result = bind_with(|recipe| recipe.index["manifests"][0]["mediaType"] = MediaType::DOCKER_MANIFEST.into());
    assert!(matches!(result, Err(BindError::Mismatch { about: "the manifest's media type", .. })), "{result:?}");
    let result = bind_with(|recipe| drop(recipe.index["manifests"].as_array_mut().unwrap().remove(0)));
    assert!(matches!(result, Err(BindError::NotInIndex { .. })), "{result:?}");
    let result = bind_with(|recipe| {
        let entries = recipe.index["manifests"].as_array_mut().unwrap();
        entries.push(entries[0].clone());
    });
    assert!(matches!(result, Err(BindError::ListedTwice { .. })), "{result:?}");
}

#[test]
fn an_index_that_does_not_bind_is_left_out_of_an_image_that_is_known_by_its_manifest() {
    let honest = Recipe::new().make();
    let mut twice = Recipe::new();
    let entries = twice.index["manifests"].as_array_mut().unwrap();
    entries.push(entries[0].clone());
    let (other, documents) = twice.make();
    let mut claim = honest.0.clone();
    claim.indexes.extend(other.indexes.clone());
    let documents = honest.1.into_iter().chain(documents).collect();
    let bound = bind_manifest(&claim, &documents, &amd64()).unwrap();
    let subjects: Vec<Digest> = bound.subjects().map(|subject| subject.digest).collect();
    assert_eq!(subjects, [claim.manifest, claim.indexes[0]]);
    assert!(
        matches!(bound.left_out(), [(index, BindError::ListedTwice { .. })] if *index == claim.indexes[1]),
        "{bound:?}"
    );
    // Asked for by name, such an image is refused; and nothing is left out of the image itself.
    assert!(matches!(bind(&claim, &documents, &amd64()), Err(BindError::ListedTwice { .. })));
    let without: Documents = documents.into_iter().filter(|(digest, _)| *digest != claim.config).collect();
    assert_eq!(bind_manifest(&claim, &without, &amd64()), Err(BindError::Missing { digest: claim.config }));
}

#[test]
fn numbers_that_are_no_plain_integers_are_refused() {
    for bad in ["1e2", "-0", "100.0", "-1", "18446744073709551616"] {
        let manifest = String::from_utf8(vector("image/manifest-amd64.json")).unwrap();
        let manifest = manifest.replacen("\"size\":", &format!("\"size\":{bad},\"x\":"), 1);
        let manifest = document(MediaType::OCI_MANIFEST, manifest.into_bytes());
        let claim = ImageClaim { manifest: *manifest.digest(), indexes: Vec::new(), ..claim("amd64") };
        let documents = [(*manifest.digest(), manifest)].into();
        let result = bind(&claim, &documents, &amd64());
        let expected = BindError::Malformed {
            digest: claim.manifest,
            field: "size",
            problem: "is not a plain integer".to_owned(),
        };
        assert_eq!(result, Err(expected), "{bad}");
    }
}

fn claim_with(platform: &str, entries: &[(&str, Option<Value>)]) -> Result<Digest, BindError> {
    let (claim, mut documents) = Recipe::new().make();
    let manifest = documents[&claim.manifest].descriptor();
    let entries: Vec<Value> = entries
        .iter()
        .map(|(media_type, platform)| {
            let digest = manifest.digest.to_string();
            let mut entry = json!({ "mediaType": media_type, "digest": digest, "size": manifest.size });
            if let Some(platform) = platform {
                entry["platform"] = platform.clone();
            }
            entry
        })
        .collect();
    let index = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries });
    let index = document(MediaType::OCI_INDEX, index.to_string().into_bytes());
    let top = *index.digest();
    documents.insert(top, index);
    claim_of(&top, &documents, &platform.parse().unwrap(), Vec::new()).map(|claim| claim.manifest)
}

fn linux(architecture: &str, variant: &str) -> Option<Value> {
    Some(json!({ "os": "linux", "architecture": architecture, "variant": variant }))
}

#[test]
fn the_manifest_of_the_platform_is_chosen() {
    let documents = documents();
    for architecture in ["amd64", "arm64"] {
        let platform = format!("linux/{architecture}").parse().unwrap();
        let made = claim_of(&index().digest, &documents, &platform, Vec::new()).unwrap();
        assert_eq!(made, claim(architecture));
        let made = claim_of(&made.manifest, &documents, &platform, Vec::new()).unwrap();
        assert_eq!(made, ImageClaim { indexes: Vec::new(), ..claim(architecture) });
    }
    let manifest = MediaType::OCI_MANIFEST;
    for (platform, entry) in [
        ("linux/arm/v7", linux("arm", "")),
        ("linux/arm/v7", linux("arm", "v6")),
        ("linux/arm64", linux("arm64", "v8")),
        ("linux/amd64/v3", linux("amd64", "v2")),
        ("linux/amd64", linux("amd64", "v1")),
        ("linux/amd64", None),
    ] {
        assert!(claim_with(platform, &[(manifest, entry.clone())]).is_ok(), "{platform} {entry:?}");
    }
    // The exact one wins over one that would run too.
    assert!(claim_with("linux/arm/v7", &[(manifest, linux("arm", "v6")), (manifest, linux("arm", "v7"))]).is_ok());
}

#[test]
fn no_manifest_several_and_nested_indexes_are_errors_of_their_own() {
    let manifest = MediaType::OCI_MANIFEST;
    for (platform, entry) in [
        ("linux/s390x", linux("amd64", "")),
        ("linux/arm/v6", linux("arm", "v7")),
        ("linux/amd64", linux("amd64", "v3")),
        ("windows/amd64", linux("amd64", "")),
    ] {
        let result = claim_with(platform, &[(manifest, entry)]);
        assert!(matches!(result, Err(BindError::NoPlatform { .. })), "{platform} {result:?}");
    }
    let amd64 = (manifest, linux("amd64", ""));
    let result = claim_with("linux/amd64", &[amd64.clone(), amd64.clone()]);
    assert!(matches!(result, Err(BindError::SeveralForPlatform { .. })), "{result:?}");
    let result = claim_with("linux/amd64", &[(MediaType::OCI_INDEX, linux("amd64", ""))]);
    assert!(matches!(result, Err(BindError::Nested { .. })), "{result:?}");
    let result = claim_of(&claim("amd64").config, &documents(), &"linux/amd64".parse().unwrap(), Vec::new());
    assert!(matches!(result, Err(BindError::NotAnImage { .. })), "{result:?}");
}
