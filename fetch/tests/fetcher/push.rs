//! Signatures that are written can be found again, with and without the referrers API, and beside those of other tools.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use assay_admission::{Descriptor, Digest, ImageRef, MediaType};
use assay_fetch::{
    Access, Client, CollectRequest, Error, Forbidden, FoundBy, Limit, Listed, NewReferrer, Role, TypeField, Wanted,
};
use serde_json::{Value, json};

use crate::{
    collect, plain,
    registry::{Answer, Registry, Seen},
    store::{BUNDLE, NOTARY, Store},
};

/// Takes uploads; with `api` it lists referrers itself.
fn take(store: &mut Store, seen: &Seen, api: bool) -> Answer {
    let path = seen.path().to_owned();
    match seen.method.as_str() {
        "POST" => Answer::status(202).header("Location", "/v2/app/blobs/uploads/1?state=a"),
        "PUT" if path.contains("/uploads/") => {
            assert!(seen.target.starts_with("/v2/app/blobs/uploads/1?state=a&digest=sha256%3A"), "{}", seen.target);
            store.blob("x/y", &seen.body);
            Answer::status(201)
        }
        "PUT" => {
            let document: Value = serde_json::from_slice(&seen.body).unwrap();
            let reference = path.rsplit('/').next().unwrap();
            let media_type = seen.header("Content-Type").unwrap().to_owned();
            let mut descriptor = store.document(&media_type, None, &document);
            store.0.insert(path.clone(), (media_type, seen.body.clone()));
            if api && reference.starts_with("sha256:") {
                descriptor["artifactType"] = document["artifactType"].clone();
                descriptor["digest"] = json!(Digest::sha256(&seen.body).to_string());
                descriptor["size"] = json!(seen.body.len());
                store.list_by_api(&document["subject"], &[descriptor]);
                return Answer::status(201).header("OCI-Subject", document["subject"]["digest"].as_str().unwrap());
            }
            Answer::status(201)
        }
        _ => store.answer(seen),
    }
}

fn registry(api: bool) -> (Registry, Arc<Mutex<Store>>) {
    let store = Arc::new(Mutex::new(Store::default()));
    let shared = store.clone();
    (Registry::start(move |seen, _| take(&mut shared.lock().unwrap(), seen, api)), store)
}

fn subject() -> Descriptor {
    Descriptor { media_type: MediaType::new(MediaType::OCI_INDEX).unwrap(), digest: Digest::sha256(b"image"), size: 5 }
}

fn signature<'a>(subject: &'a Descriptor, layer: &'a [u8], notary: bool) -> NewReferrer<'a> {
    let (artifact_type, type_field, layer_type) = match notary {
        true => (NOTARY, TypeField::ConfigMediaType, "application/cose"),
        false => (BUNDLE, TypeField::ArtifactType, BUNDLE),
    };
    let annotations = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    NewReferrer { subject, artifact_type, type_field, layer_type, layer, annotations }
}

fn open(registry: &Registry) -> assay_fetch::Remote {
    let image: ImageRef = format!("{}/app", registry.host).parse().unwrap();
    Client::new(plain(&[&registry.host])).open(image.repository(), Access::Push, Duration::from_secs(10)).unwrap()
}

async fn signatures(registry: &Registry, found_by: FoundBy) -> Vec<Vec<u8>> {
    let request = CollectRequest {
        image: format!("{}/app", registry.host).parse().unwrap(),
        platform: None,
        subjects: vec![subject().digest],
        wanted: Wanted::Signatures,
        time: Duration::from_secs(10),
    };
    let (all, problems) = collect(plain(&[&registry.host]), &request).await;
    assert_eq!(problems, []);
    assert!(all.iter().all(|collected| collected.found_by == found_by));
    let blobs = all.into_iter().filter(|collected| collected.role == Role::SignatureBlob);
    let mut contents: Vec<_> = blobs.map(|collected| collected.content).collect();
    contents.sort();
    contents
}

#[tokio::test]
async fn a_signature_is_found_again_where_the_registry_lists_referrers_itself() {
    let (registry, _) = registry(true);
    let (_, listed) = open(&registry).push_referrer(&signature(&subject(), b"one", false)).await.unwrap();
    assert_eq!(listed, Listed::ByRegistry);
    assert_eq!(signatures(&registry, FoundBy::ReferrersApi).await, [b"one"]);
    let written = registry.seen().into_iter().filter(|seen| seen.method != "GET");
    assert!(written.map(|seen| seen.target).all(|target| !target.contains("/manifests/sha256-")));
}

#[tokio::test]
async fn signatures_are_listed_under_the_fallback_tag_beside_what_is_there() {
    let (registry, store) = registry(false);
    let foreign = json!({ "mediaType": "x/y", "digest": Digest::sha256(b"sbom").to_string(), "size": 4,
        "artifactType": "application/spdx+json", "somebodys": "field" });
    let there = json!({ "digest": subject().digest.to_string() });
    store.lock().unwrap().list_by_tag(&there, std::slice::from_ref(&foreign));
    let remote = open(&registry);
    for (layer, notary) in [(b"one", false), (b"two", true), (b"one", false)] {
        let (_, listed) = remote.push_referrer(&signature(&subject(), layer, notary)).await.unwrap();
        assert_eq!(listed, Listed::UnderFallbackTag);
    }
    assert_eq!(signatures(&registry, FoundBy::ReferrersTag).await, [b"one", b"two"]);
    let path = format!("/v2/app/manifests/sha256-{}", subject().digest.hex());
    let index: Value = serde_json::from_slice(&store.lock().unwrap().0[&path].1).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[0]), (3, &foreign));
    assert_eq!(entries[1]["artifactType"], json!(BUNDLE));
    assert_eq!((&entries[2]["artifactType"], &entries[2]["annotations"]["a"]), (&json!(NOTARY), &json!("b")));
}

#[tokio::test]
async fn the_manifest_has_the_layout_that_its_tool_writes() {
    for (notary, artifact_type, config_type) in
        [(false, json!(BUNDLE), "application/vnd.oci.empty.v1+json"), (true, Value::Null, NOTARY)]
    {
        let (registry, store) = registry(true);
        let (descriptor, _) = open(&registry).push_referrer(&signature(&subject(), b"one", notary)).await.unwrap();
        let path = format!("/v2/app/manifests/{}", descriptor.digest);
        let manifest: Value = serde_json::from_slice(&store.lock().unwrap().0[&path].1).unwrap();
        let empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        let mut expected = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "config": { "mediaType": config_type, "digest": empty, "size": 2 },
            "layers": [{ "mediaType": if notary { "application/cose" } else { BUNDLE },
                "digest": Digest::sha256(b"one").to_string(), "size": 3 }],
            "subject": { "mediaType": MediaType::OCI_INDEX, "digest": subject().digest.to_string(), "size": 5 },
            "annotations": { "a": "b" },
        });
        if artifact_type != Value::Null {
            expected["artifactType"] = artifact_type;
        }
        assert_eq!(manifest, expected);
    }
}

#[tokio::test]
async fn a_signature_that_a_slower_writer_dropped_from_the_list_is_listed_again() {
    let path = format!("/v2/app/manifests/sha256-{}", subject().digest.hex());
    let store = Arc::new(Mutex::new(Store::default()));
    let (shared, tag, looks) = (store.clone(), path.clone(), AtomicUsize::new(0));
    let registry = Registry::start(move |seen, _| {
        let mut store = shared.lock().unwrap();
        let answer = take(&mut store, seen, false);
        // The first look finds nothing, the second what was written; then comes one who had looked before that.
        if seen.method == "GET" && seen.path() == tag && looks.fetch_add(1, Ordering::SeqCst) == 1 {
            store.0.remove(&tag);
        }
        answer
    });
    let (descriptor, listed) = open(&registry).push_referrer(&signature(&subject(), b"one", false)).await.unwrap();
    assert_eq!(listed, Listed::UnderFallbackTag);
    let index: Value = serde_json::from_slice(&store.lock().unwrap().0[&path].1).unwrap();
    assert_eq!(index["manifests"][0]["digest"], json!(descriptor.digest.to_string()));
}

#[tokio::test]
async fn a_registry_that_forgets_the_list_makes_no_success() {
    let store = Mutex::new(Store::default());
    let registry = Registry::start(move |seen, _| match (seen.method.as_str(), seen.path()) {
        ("PUT", path) if path.contains("/manifests/sha256-") => Answer::status(201),
        _ => take(&mut store.lock().unwrap(), seen, false),
    });
    match open(&registry).push_referrer(&signature(&subject(), b"one", false)).await {
        Err(Error::NotFound { .. } | Error::Limit(Limit::IndexRace(_))) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_upload_to_another_origin_or_by_redirect_is_refused() {
    let other = Registry::start(|_, _| Answer::status(201));
    let to = format!("http://{}/upload", other.host);
    let elsewhere = to.clone();
    let registry = Registry::start(move |seen, _| match seen.method.as_str() {
        "POST" => Answer::status(202).header("Location", &elsewhere),
        _ => Answer::status(404),
    });
    match open(&registry).push_blob(b"x").await {
        Err(Error::Forbidden(Forbidden::OtherOrigin { to: found, .. })) => assert_eq!(found, to),
        other => panic!("{other:?}"),
    }
    let registry = Registry::start(move |seen, _| match seen.method.as_str() {
        "POST" => Answer::redirect(&to),
        _ => Answer::status(404),
    });
    match open(&registry).push_blob(b"x").await {
        Err(Error::Status { status: 307, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(other.seen().len(), 0);
}
