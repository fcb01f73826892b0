//! What is found where, and what is refused because it is not what it should be.

use assay_admission::{Digest, MediaType};
use assay_fetch::{Access, Client, Collected, Error, FoundBy, Malformation, ProblemKind, Role, Wanted};
use serde_json::{Value, json};

use crate::{
    collect, image, kinds, plain,
    registry::{Answer, Registry},
    store::{BUNDLE, EMPTY, NOTARY, Store, digest},
};

fn roles(all: &[Collected]) -> Vec<(Role, FoundBy)> {
    let mut roles: Vec<_> = all.iter().map(|collected| (collected.role, collected.found_by)).collect();
    roles.sort_by_key(|(role, found_by)| format!("{role:?} {found_by:?}"));
    roles
}

fn contents(all: &[Collected], role: Role) -> Vec<String> {
    let of_role = all.iter().filter(|collected| collected.role == role);
    let mut contents: Vec<String> =
        of_role.map(|collected| String::from_utf8(collected.content.clone()).unwrap()).collect();
    contents.sort();
    contents
}

#[tokio::test]
async fn an_image_and_its_signatures_are_collected_by_the_referrers_api() {
    let mut store = Store::default();
    let (index, manifest) = store.image();
    let of_index = store.signature(BUNDLE, "bundle", Some(BUNDLE));
    let of_manifest = store.signature(NOTARY, "jws", Some(NOTARY));
    store.list_by_api(&index, std::slice::from_ref(&of_index));
    store.list_by_api(&manifest, &[of_manifest]);
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let (all, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(problems, []);
    assert_eq!(
        roles(&all),
        [
            (Role::Config, FoundBy::Name),
            (Role::Index, FoundBy::Name),
            (Role::Manifest, FoundBy::Name),
            (Role::SignatureBlob, FoundBy::ReferrersApi),
            (Role::SignatureBlob, FoundBy::ReferrersApi),
            (Role::SignatureManifest, FoundBy::ReferrersApi),
            (Role::SignatureManifest, FoundBy::ReferrersApi),
        ]
    );
    let bundle = all.iter().find(|collected| collected.content == b"bundle").unwrap();
    assert_eq!((bundle.subject, bundle.parent), (Some(digest(&index)), Some(digest(&of_index))));
    assert_eq!(bundle.media_type.as_str(), BUNDLE);
    // `urls` in the image's layer were not followed, and no layer was fetched.
    assert!(registry.targets().iter().all(|target| !target.contains(&Digest::sha256(b"layer").to_string())));
}

#[tokio::test]
async fn the_fallback_tag_is_read_whatever_type_it_gives_and_cosigns_tag_beside_it() {
    let mut store = Store::default();
    let (index, _) = store.image();
    // As cosign 3.1.1 and notation 1.3.2 write them to a registry without the API.
    let cosign = store.signature(BUNDLE, "bundle", Some(EMPTY));
    let notation = store.signature(NOTARY, "jws", Some(NOTARY));
    let untyped = store.signature(BUNDLE, "another", None);
    store.list_by_tag(&index, &[cosign, notation, untyped]);
    let config = store.blob(MediaType::OCI_CONFIG, b"{}");
    let layer = store.blob("application/vnd.dev.cosign.simplesigning.v1+json", b"simple");
    let legacy = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    let tag = format!("sha256-{}.sig", digest(&index).hex());
    store.document(MediaType::OCI_MANIFEST, Some(&tag), &legacy);
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let (all, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(problems, []);
    assert_eq!(contents(&all, Role::SignatureBlob), ["another", "bundle", "jws", "simple"]);
    let found = |found_by| all.iter().filter(|collected| collected.found_by == found_by).count();
    assert_eq!((found(FoundBy::ReferrersTag), found(FoundBy::CosignTag)), (6, 2));
}

#[tokio::test]
async fn only_signatures_are_asked_for_when_the_image_is_known() {
    let mut store = Store::default();
    let (index, _) = store.image();
    let signature = store.signature(BUNDLE, "bundle", Some(BUNDLE));
    let sbom = store.signature("application/spdx+json", "sbom", Some("application/spdx+json"));
    let untyped_sbom = store.signature("application/spdx+json", "sbom 2", None);
    store.list_by_api(&index, &[signature, sbom.clone(), untyped_sbom]);
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let mut request = image(&format!("{}/app", registry.host));
    (request.platform, request.subjects) = (None, vec![digest(&index)]);
    let (all, problems) = collect(plain(&[&registry.host]), &request).await;
    assert_eq!(problems, []);
    assert_eq!(
        roles(&all),
        [(Role::SignatureBlob, FoundBy::ReferrersApi), (Role::SignatureManifest, FoundBy::ReferrersApi)]
    );
    let targets = registry.targets();
    assert!(targets.iter().all(|target| !target.contains(&digest(&sbom).to_string())), "{targets:?}");
    assert!(targets.iter().all(|target| !target.contains(&Digest::sha256(b"sbom 2").to_string())), "{targets:?}");
}

#[tokio::test]
async fn wrong_bytes_under_a_right_digest_header_are_refused() {
    for (change, accepted) in [(false, true), (true, false)] {
        let mut store = Store::default();
        let (index, _) = store.image();
        let path = format!("/v2/app/manifests/{}", digest(&index));
        if change {
            let bytes = &mut store.0.get_mut(&path).unwrap().1;
            let at = bytes.iter().position(|&byte| byte == b'2').unwrap();
            bytes[at] = b'3';
        }
        let claimed = digest(&index).to_string();
        let registry = Registry::start(move |seen, _| store.answer(seen).header("Docker-Content-Digest", &claimed));
        let remote = Client::new(plain(&[&registry.host]))
            .open(
                &format!("{}/app", registry.host).parse::<assay_admission::ImageRef>().unwrap().repository().clone(),
                Access::Pull,
                std::time::Duration::from_secs(10),
            )
            .unwrap();
        match remote.manifest(&digest(&index)).await {
            Ok(document) => assert!(accepted && *document.digest() == digest(&index)),
            Err(Error::Malformed { why: Malformation::Digest(expected), .. }) => {
                assert!(!accepted && expected == digest(&index));
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_changed_config_or_signature_is_left_out_and_named() {
    let mut store = Store::default();
    let (index, _) = store.image();
    let signature = store.signature(BUNDLE, "bundle", Some(BUNDLE));
    store.list_by_api(&index, &[signature]);
    for content in [&b"bundle"[..], b"{\"os\":\"linux\"}"] {
        let path = format!("/v2/app/blobs/{}", Digest::sha256(content));
        store.0.get_mut(&path).unwrap().1[1] ^= 1;
    }
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let (all, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(kinds(&problems), [ProblemKind::Malformed, ProblemKind::Malformed]);
    assert_eq!(
        roles(&all),
        [
            (Role::Index, FoundBy::Name),
            (Role::Manifest, FoundBy::Name),
            (Role::SignatureManifest, FoundBy::ReferrersApi)
        ]
    );
}

#[tokio::test]
async fn content_type_descriptor_and_body_must_agree() {
    let served_as = |served: &'static str| async move {
        let mut store = Store::default();
        let (_, manifest) = store.image();
        let path = format!("/v2/app/manifests/{}", digest(&manifest));
        store.0.get_mut(&path).unwrap().0 = served.into();
        let registry = Registry::start(move |seen, _| store.answer(seen));
        let (all, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
        (all.len(), problems)
    };
    assert_eq!(served_as("application/vnd.oci.image.manifest.v1+json; charset=utf-8").await, (3, vec![]));
    for wrong in [MediaType::DOCKER_MANIFEST, MediaType::OCI_INDEX, "text/html", "application/octet-stream", ""] {
        let (count, problems) = served_as(wrong).await;
        assert_eq!((count, kinds(&problems)), (1, vec![ProblemKind::Malformed]), "{wrong}: {problems:?}");
    }
}

#[tokio::test]
async fn a_descriptors_size_is_the_documents_own() {
    let mut store = Store::default();
    let (index, _) = store.image();
    let mut signature = store.signature(BUNDLE, "bundle", Some(BUNDLE));
    signature["size"] = json!(signature["size"].as_u64().unwrap() + 1);
    store.list_by_api(&index, &[signature]);
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let (all, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((all.len(), kinds(&problems)), (3, vec![ProblemKind::Malformed]));
}

#[tokio::test]
async fn a_descriptors_media_type_is_the_documents_own() {
    let mut store = Store::default();
    let (index, _) = store.image();
    // The document itself names no type: only its header and its descriptor can contradict each other.
    let mut signature = store.signature(BUNDLE, "bundle", Some(BUNDLE));
    signature["mediaType"] = json!(MediaType::DOCKER_MANIFEST);
    store.list_by_api(&index, &[signature]);
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let (all, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((all.len(), kinds(&problems)), (3, vec![ProblemKind::Malformed]));
}

#[tokio::test]
async fn an_image_that_is_not_there_is_not_found_and_a_missing_signature_is_no_problem() {
    let mut store = Store::default();
    store.image();
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let (all, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:2", registry.host))).await;
    assert_eq!((all.len(), kinds(&problems)), (0, vec![ProblemKind::NotFound]));
    let (all, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((all.len(), problems), (3, vec![]));
    let (_, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app", registry.host))).await;
    assert_eq!(kinds(&problems), [ProblemKind::Malformed]);
}

#[tokio::test]
async fn a_listed_signature_that_is_missing_takes_no_other_with_it() {
    let mut store = Store::default();
    let (index, _) = store.image();
    let good = store.signature(BUNDLE, "bundle", Some(BUNDLE));
    let gone = store.signature(BUNDLE, "gone", Some(BUNDLE));
    store.0.remove(&format!("/v2/app/manifests/{}", digest(&gone)));
    let bad: Value = json!({ "mediaType": "x/y", "digest": "sha256:../x", "size": 1, "artifactType": BUNDLE });
    store.list_by_api(&index, &[bad, gone, good]);
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let (all, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(contents(&all, Role::SignatureBlob), ["bundle"]);
    assert_eq!(kinds(&problems), [ProblemKind::Malformed, ProblemKind::Malformed]);
}

#[tokio::test]
async fn a_front_end_that_answers_every_path_has_no_referrers_api() {
    let mut store = Store::default();
    let (index, _) = store.image();
    let signature = store.signature(BUNDLE, "bundle", Some(BUNDLE));
    store.list_by_tag(&index, &[signature]);
    let registry = Registry::start(move |seen, _| match seen.path().contains("/referrers/") {
        true => Answer::ok("text/html", "<p>Welcome"),
        false => store.answer(seen),
    });
    let (all, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(problems, []);
    assert_eq!(contents(&all, Role::SignatureBlob), ["bundle"]);
}

#[tokio::test]
async fn a_name_that_lost_its_port_leads_to_the_ports_that_are_configured_for_signatures_alone() {
    let mut store = Store::default();
    let (index, _) = store.image();
    let signature = store.signature("application/vnd.dev.sigstore.bundle.v0.3+json", "{}", None);
    store.list_by_tag(&index, &[signature]);
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let mut request = image("127.0.0.1/app:1");
    (request.platform, request.subjects) = (None, vec![digest(&index)]);
    let (all, problems) = collect(plain(&["127.0.0.1:1", &registry.host]), &request).await;
    assert_eq!((all.len(), problems), (2, vec![]));
    // Without the port in the configuration nothing on this machine is asked.
    let (all, problems) = collect(plain(&["127.0.0.2:1"]), &request).await;
    assert_eq!((all.len(), kinds(&problems)), (0, vec![ProblemKind::Forbidden; problems.len()]));
    // A person's question means the port that it names, or the usual one.
    let asked = image("127.0.0.1/app:1");
    let (all, problems) = collect(plain(&[&registry.host]), &asked).await;
    assert_eq!((all.len(), kinds(&problems)), (0, vec![ProblemKind::Forbidden]));
}

#[tokio::test]
async fn attestations_are_fetched_only_where_they_are_wanted() {
    const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
    let mut store = Store::default();
    let (index, _) = store.image();
    let bundle = store.signature(BUNDLE, "bundle", Some(BUNDLE));
    let notation = store.signature(NOTARY, "jws", Some(NOTARY));
    let envelope = store.signature(DSSE, "envelope", Some(DSSE));
    let sbom = store.signature("application/spdx+json", "sbom", Some("application/spdx+json"));
    store.list_by_api(&index, &[bundle, notation, envelope, sbom.clone()]);
    for (suffix, layer) in [("sig", "application/vnd.dev.cosign.simplesigning.v1+json"), ("att", DSSE)] {
        let (config, layer) = (store.blob(MediaType::OCI_CONFIG, b"{}"), store.blob(layer, suffix.as_bytes()));
        let tag = format!("sha256-{}.{suffix}", digest(&index).hex());
        let document = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
        store.document(MediaType::OCI_MANIFEST, Some(&tag), &document);
    }
    let registry = Registry::start(move |seen, _| store.answer(seen));
    for (wanted, blobs, others) in [
        (Wanted::Signatures, &["bundle", "jws", "sig"][..], 0),
        (Wanted::Attestations, &["att", "bundle", "envelope"], 0),
        (Wanted::Everything, &["att", "bundle", "envelope", "jws", "sig"], 1),
    ] {
        let mut request = image(&format!("{}/app", registry.host));
        (request.platform, request.subjects, request.wanted) = (None, vec![digest(&index)], wanted);
        let before = registry.targets().len();
        let (all, problems) = collect(plain(&[&registry.host]), &request).await;
        assert_eq!(problems, [], "{wanted:?}");
        assert_eq!(contents(&all, Role::SignatureBlob), blobs, "{wanted:?}");
        let found: Vec<_> = all.iter().filter(|collected| collected.role == Role::OtherManifest).collect();
        assert_eq!(found.len(), others, "{wanted:?}");
        assert!(found.iter().all(|other| Digest::sha256(&other.content) == digest(&sbom)));
        // What is not wanted costs no request, and the layers of what is something else are never fetched.
        let targets = registry.targets().split_off(before);
        let asked = |text: &str| targets.iter().any(|target| target.contains(text));
        assert_eq!(asked(".att"), wanted != Wanted::Signatures, "{targets:?}");
        assert_eq!(asked(".sig"), wanted != Wanted::Attestations, "{targets:?}");
        assert_eq!(asked(&Digest::sha256(b"envelope").hex()), wanted != Wanted::Signatures, "{targets:?}");
        assert!(!asked(&Digest::sha256(b"sbom").hex()), "{targets:?}");
    }
}

#[tokio::test]
async fn bundles_that_are_said_to_be_attestations_are_not_fetched_as_signatures() {
    let mut store = Store::default();
    let (index, _) = store.image();
    let mut bundle = |content: &str, stated: Value| {
        let (config, layer) = (store.blob(EMPTY, b"{}"), store.blob(BUNDLE, content.as_bytes()));
        let manifest = json!({ "schemaVersion": 2, "artifactType": BUNDLE, "config": config, "layers": [layer],
            "annotations": { "dev.sigstore.bundle.predicateType": stated } });
        let mut descriptor = store.document(MediaType::OCI_MANIFEST, None, &manifest);
        descriptor["artifactType"] = json!(BUNDLE);
        descriptor
    };
    let listed = [
        bundle("signature", json!("https://sigstore.dev/cosign/sign/v1")),
        bundle("sbom", json!("https://spdx.dev/Document")),
        bundle("silent", Value::Null),
    ];
    store.list_by_api(&index, &listed);
    let registry = Registry::start(move |seen, _| store.answer(seen));
    for (wanted, blobs) in
        [(Wanted::Signatures, &["signature", "silent"][..]), (Wanted::Attestations, &["sbom", "signature", "silent"])]
    {
        let mut request = image(&format!("{}/app", registry.host));
        (request.platform, request.subjects, request.wanted) = (None, vec![digest(&index)], wanted);
        let (all, problems) = collect(plain(&[&registry.host]), &request).await;
        assert_eq!(problems, [], "{wanted:?}");
        assert_eq!(contents(&all, Role::SignatureBlob), blobs, "{wanted:?}");
        let manifests = all.iter().filter(|collected| collected.role == Role::SignatureManifest).count();
        assert_eq!(manifests, blobs.len(), "{wanted:?}");
    }
}
