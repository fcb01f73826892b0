//! Registries that flood, loop, stall or never end: each meets a cap, and what was good before it is still there.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use assay_admission::{Digest, MAX_DOCUMENT_BYTES, MediaType};
use assay_fetch::{Problem, ProblemKind, Role};
use serde_json::{Value, json};

use crate::{
    collect, image, kinds, plain,
    registry::{Answer, Registry},
    store::{BUNDLE, Store, digest, list},
};

fn signatures(all: &[assay_fetch::Collected]) -> usize {
    all.iter().filter(|collected| collected.role == Role::SignatureBlob).count()
}

fn junk(number: usize, artifact_type: Option<&str>) -> Value {
    let mut entry = json!({ "mediaType": MediaType::OCI_MANIFEST, "size": 10,
        "digest": Digest::sha256(&number.to_le_bytes()).to_string() });
    if let Some(text) = artifact_type {
        entry["artifactType"] = json!(text);
    }
    entry
}

#[tokio::test]
async fn ten_thousand_referrers_with_the_good_one_last_are_a_limit_within_the_budget() {
    let mut store = Store::default();
    let (index, _) = store.image();
    let good = store.signature(BUNDLE, "bundle", Some(BUNDLE));
    let mut all: Vec<Value> = (0..10_000).map(|number| junk(number, Some(BUNDLE))).collect();
    all.push(good);
    store.list_by_api(&index, &all);
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let (found, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(signatures(&found), 0);
    assert_eq!(problems[0].kind, ProblemKind::Limit);
    assert!(problems[0].detail.contains("10001 referrers"), "{}", problems[0].detail);
    assert!(registry.seen().len() <= 80, "{} requests", registry.seen().len());
}

#[tokio::test]
async fn junk_cannot_push_out_one_good_signature() {
    let mut store = Store::default();
    let (index, _) = store.image();
    let good = store.signature(BUNDLE, "bundle", Some(BUNDLE));
    // Real manifests without a type, and 10,000 of a type that is no signature's.
    let mut all: Vec<Value> = (0..20).map(|number| store.signature("x/y", &format!("junk {number}"), None)).collect();
    all.extend((0..10_000).map(|number| junk(number, Some("application/spdx+json"))));
    all.push(good);
    store.list_by_api(&index, &all);
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let (found, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((signatures(&found), problems), (1, vec![]));
}

#[tokio::test]
async fn untyped_junk_over_the_cap_is_a_limit_and_the_typed_signature_is_still_read() {
    let mut store = Store::default();
    let (index, _) = store.image();
    let mut all: Vec<Value> = (0..100).map(|number| junk(number, None)).collect();
    all.push(store.signature(BUNDLE, "bundle", Some(BUNDLE)));
    store.list_by_api(&index, &all);
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let (found, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((signatures(&found), problems[0].kind), (1, ProblemKind::Limit));
}

/// Serves one signature on each of `pages` pages; the last links to `last`, if that is some.
async fn paged(pages: usize, last: Option<&'static str>) -> (usize, Vec<Problem>) {
    let mut store = Store::default();
    let (index, _) = store.image();
    let entries: Vec<Value> =
        (0..pages).map(|page| store.signature(BUNDLE, &format!("bundle {page}"), Some(BUNDLE))).collect();
    let path = format!("/v2/app/referrers/{}", digest(&index));
    let registry = Registry::start(move |seen, _| {
        if seen.path() != path {
            return store.answer(seen);
        }
        let page: usize = seen.target.split("n=").nth(1).map_or(0, |text| text.parse().unwrap());
        let answer = Answer::ok(MediaType::OCI_INDEX, list(&entries[page..=page]));
        match (page + 1 < pages, last) {
            (true, _) => answer.header("Link", &format!("<{path}?n={}>; rel=\"next\"", page + 1)),
            (false, Some(target)) => answer.header("Link", &format!("<{}>; rel=next", target.replace("PATH", &path))),
            (false, None) => answer,
        }
    });
    let (found, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    (signatures(&found), problems)
}

#[tokio::test]
async fn pages_of_referrers_are_followed_to_their_end() {
    assert_eq!(paged(3, None).await, (3, vec![]));
    assert_eq!(paged(16, None).await, (16, vec![]));
}

#[tokio::test]
async fn pages_that_lead_back_or_never_end_are_a_limit_with_what_was_found() {
    for (pages, last, count, why) in [
        (3, Some("PATH?n=1"), 3, "lead back to an earlier page"),
        (3, Some("PATH"), 3, "lead back to an earlier page"),
        (17, None, 16, "more than 16 pages"),
    ] {
        let (found, problems) = paged(pages, last).await;
        assert_eq!((found, kinds(&problems)), (count, vec![ProblemKind::Limit]));
        assert!(problems[0].detail.contains(why), "{problems:?}");
    }
}

#[tokio::test]
async fn a_page_at_another_origin_is_not_asked_for() {
    for target in ["http://127.0.0.1:1/", "https://169.254.169.254/"] {
        let (found, problems) = paged(1, Some(target)).await;
        assert_eq!((found, kinds(&problems)), (1, vec![ProblemKind::Forbidden]));
        assert!(problems[0].detail.contains("where only the same scheme, host and port may be asked"), "{problems:?}");
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_cap_whatever_its_length_says() {
    let registry = Registry::start(|_, _| Answer::endless(MediaType::OCI_MANIFEST));
    let started = Instant::now();
    let (found, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((found.len(), kinds(&problems)), (0, vec![ProblemKind::Limit]));
    assert!(problems[0].detail.ends_with("has more than 4194304 bytes"), "{problems:?}");
    assert!(started.elapsed() < Duration::from_secs(9), "it was read for {:?}", started.elapsed());
}

#[tokio::test]
async fn a_document_at_the_cap_is_read_and_one_byte_more_is_a_limit_never_cut() {
    let served = |padding: usize| async move {
        let mut store = Store::default();
        store.image();
        let mut bytes = store.0["/v2/app/manifests/1"].1.clone();
        bytes.resize(MAX_DOCUMENT_BYTES + padding, b' ');
        store.0.get_mut("/v2/app/manifests/1").unwrap().1 = bytes;
        let registry = Registry::start(move |seen, _| store.answer(seen));
        let (found, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
        (found.len(), kinds(&problems))
    };
    assert_eq!(served(0).await, (3, vec![]));
    assert_eq!(served(1).await, (0, vec![ProblemKind::Limit]));
}

#[tokio::test]
async fn an_empty_answer_is_no_document() {
    let registry = Registry::start(|_, _| Answer::ok(MediaType::OCI_MANIFEST, ""));
    let (found, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((found.len(), kinds(&problems)), (0, vec![ProblemKind::Malformed]));
}

#[tokio::test]
async fn a_header_over_the_cap_is_a_limit() {
    let with_header = |length: usize| async move {
        let registry = Registry::start(move |_, _| Answer::status(404).header("X-Long", &"x".repeat(length)));
        let (_, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
        kinds(&problems)
    };
    assert_eq!(with_header(12 << 10).await, [ProblemKind::NotFound]);
    assert_eq!(with_header(40 << 10).await, [ProblemKind::Limit]);
}

#[tokio::test]
async fn a_registry_that_stalls_costs_no_more_than_the_deadline() {
    let registry = Registry::start(|_, _| Answer::stalled());
    let mut request = image(&format!("{}/app:1", registry.host));
    request.time = Duration::from_millis(700);
    let started = Instant::now();
    let (_, problems) = collect(plain(&[&registry.host]), &request).await;
    assert_eq!(kinds(&problems), [ProblemKind::Deadline]);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn all_bytes_and_requests_of_a_collection_are_bounded() {
    // 60 signatures of 1 MiB each: more than 32 MiB in all.
    let mut store = Store::default();
    let (index, _) = store.image();
    let large = "x".repeat(1 << 20);
    let entries: Vec<Value> =
        (0..60).map(|number| store.signature(BUNDLE, &format!("{number} {large}"), Some(BUNDLE))).collect();
    store.list_by_api(&index, &entries);
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let (found, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!(problems.last().unwrap().kind, ProblemKind::Limit);
    assert!(problems.last().unwrap().detail.contains("33554432 bytes"), "{problems:?}");
    assert!((20..32).contains(&signatures(&found)), "{}", signatures(&found));

    // 64 manifests with 8 layers each: more than 256 requests.
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let mut store = Store::default();
    let (index, _) = store.image();
    let config = store.blob("x/y", b"{}");
    let entries: Vec<Value> = (0..64)
        .map(|number| {
            let layers: Vec<Value> =
                (0..8).map(|layer| store.blob(BUNDLE, format!("{number} {layer}").as_bytes())).collect();
            let manifest = json!({ "schemaVersion": 2, "artifactType": BUNDLE, "config": config, "layers": layers });
            store.document(MediaType::OCI_MANIFEST, None, &manifest)
        })
        .collect();
    store.list_by_api(&index, &entries);
    let counter = asked.clone();
    let registry = Registry::start(move |seen, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        store.answer(seen)
    });
    let (_, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert!(problems.last().unwrap().detail.contains("more than 256 requests"), "{problems:?}");
    assert!(asked.load(Ordering::Relaxed) <= 256);
}

#[tokio::test]
async fn a_manifest_with_too_many_layers_is_a_limit() {
    let mut store = Store::default();
    let (index, _) = store.image();
    let config = store.blob("x/y", b"{}");
    let layers: Vec<Value> = (0..65).map(|layer| store.blob(BUNDLE, format!("{layer}").as_bytes())).collect();
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let entry = store.document(MediaType::OCI_MANIFEST, None, &manifest);
    store.list_by_api(&index, &[entry]);
    let registry = Registry::start(move |seen, _| store.answer(seen));
    let (found, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((signatures(&found), kinds(&problems)), (64, vec![ProblemKind::Limit]));
}
