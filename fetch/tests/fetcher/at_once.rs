//! What is asked for at once comes out as if it had been asked for in turn; a source that fails is never silence.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use assay_admission::{Digest, MediaType};
use assay_fetch::{CollectRequest, Collected, FoundBy, ProblemKind, Role};
use serde_json::{Value, json};

use crate::{
    collect, image, kinds, plain,
    registry::{Answer, Registry},
    store::{BUNDLE, Store, digest},
};

/// A store with an image, and cosign's tag with one signature of its index.
fn with_legacy() -> (Store, Value, Value) {
    let mut store = Store::default();
    let (index, manifest) = store.image();
    let config = store.blob(MediaType::OCI_CONFIG, b"{}");
    let layers: Vec<Value> = ["first", "second", "third"]
        .iter()
        .map(|text| store.blob("application/vnd.dev.cosign.simplesigning.v1+json", text.as_bytes()))
        .collect();
    let legacy = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    store.document(MediaType::OCI_MANIFEST, Some(&format!("sha256-{}.sig", digest(&index).hex())), &legacy);
    (store, index, manifest)
}

/// Answers out of `store`, each after a time that differs by path and by `salt`.
fn uneven(store: Store, salt: u8) -> Registry {
    Registry::start(move |seen, _| {
        let hash = Digest::sha256(format!("{salt} {}", seen.path()).as_bytes()).to_string();
        let wait = u64::from_str_radix(&hash[hash.len() - 2..], 16).unwrap();
        std::thread::sleep(Duration::from_millis(wait / 4));
        store.answer(seen)
    })
}

fn contents(all: &[Collected], role: Role) -> Vec<String> {
    let of_role = all.iter().filter(|collected| collected.role == role);
    of_role.map(|collected| String::from_utf8(collected.content.clone()).unwrap()).collect()
}

#[tokio::test]
async fn evidence_has_one_order_whatever_answer_arrives_first() {
    let (mut store, index, manifest) = with_legacy();
    let named = |store: &mut Store, names: &[&str]| -> Vec<Value> {
        names.iter().map(|name| store.signature(BUNDLE, name, Some(BUNDLE))).collect()
    };
    let of_index = named(&mut store, &["index 1", "index 2", "index 3"]);
    let of_manifest = named(&mut store, &["manifest 1", "manifest 2"]);
    store.list_by_tag(&index, &of_index);
    store.list_by_api(&manifest, &of_manifest);
    for salt in 0..4 {
        for by in [format!("@{}", digest(&index)), ":1".to_owned()] {
            let registry = uneven(store.clone(), salt);
            let (all, problems) =
                collect(plain(&[&registry.host]), &image(&format!("{}/app{by}", registry.host))).await;
            assert_eq!(problems, []);
            let roles: Vec<Role> = all.iter().map(|collected| collected.role).take(3).collect();
            assert_eq!(roles, [Role::Index, Role::Manifest, Role::Config]);
            assert_eq!(
                contents(&all, Role::SignatureBlob),
                ["index 1", "index 2", "index 3", "first", "second", "third", "manifest 1", "manifest 2"]
            );
            // Each layer stands behind its own manifest.
            for (at, collected) in all.iter().enumerate().filter(|(_, collected)| collected.parent.is_some()) {
                let parent = all[..at].iter().rfind(|before| before.role == Role::SignatureManifest).unwrap();
                assert_eq!(Some(Digest::sha256(&parent.content)), collected.parent);
            }
        }
    }
}

#[tokio::test]
async fn the_cap_on_signatures_is_spent_in_the_order_of_the_subjects() {
    let mut store = Store::default();
    let mut subjects: Vec<Digest> = (0..2).map(|number: u8| Digest::sha256(&[number])).collect();
    subjects.sort();
    for (subject, count) in subjects.iter().zip([60, 10]) {
        let entries: Vec<Value> =
            (0..count).map(|number| store.signature(BUNDLE, &format!("{subject} {number:02}"), Some(BUNDLE))).collect();
        store.list_by_api(&json!({ "digest": subject.to_string() }), &entries);
    }
    for slow in 0..2 {
        let (store, wait) = (store.clone(), format!("/v2/app/referrers/{}", subjects[slow]));
        let registry = Registry::start(move |seen, _| {
            if seen.path() == wait {
                std::thread::sleep(Duration::from_millis(200));
            }
            store.answer(seen)
        });
        let request =
            CollectRequest { platform: None, subjects: subjects.clone(), ..image(&format!("{}/app", registry.host)) };
        let (all, problems) = collect(plain(&[&registry.host]), &request).await;
        let read = |subject: &Digest| {
            let found = all.iter().filter(|collected| collected.role == Role::SignatureBlob);
            found.filter(|collected| collected.subject.as_ref() == Some(subject)).count()
        };
        assert_eq!((read(&subjects[0]), read(&subjects[1])), (60, 4));
        assert_eq!(kinds(&problems), [ProblemKind::Limit]);
        assert!(problems[0].detail.contains("only 4 more are read"), "{problems:?}");
    }
}

#[tokio::test]
async fn requests_run_at_once_and_never_more_than_the_cap() {
    let (mut store, index, _) = with_legacy();
    let entries: Vec<Value> =
        (0..20).map(|number| store.signature(BUNDLE, &format!("bundle {number}"), Some(BUNDLE))).collect();
    store.list_by_tag(&index, &entries);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen_most = most.clone();
    let registry = Registry::start(move |seen, _| {
        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        running.fetch_sub(1, Ordering::SeqCst);
        store.answer(seen)
    });
    let (_, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    assert_eq!((problems, seen_most.load(Ordering::SeqCst)), (vec![], 4));
}

#[tokio::test]
async fn what_others_attach_cannot_spend_what_the_images_own_documents_need() {
    for legacy in [false, true] {
        let mut store = Store::default();
        let (index, manifest) = store.image();
        let large = "x".repeat(1 << 20);
        let junk = (0..60).map(|number| format!("{number} {large}"));
        if legacy {
            let config = store.blob(MediaType::OCI_CONFIG, b"{}");
            let layers: Vec<Value> = junk.map(|text| store.blob(BUNDLE, text.as_bytes())).collect();
            let legacy = json!({ "schemaVersion": 2, "config": config, "layers": layers });
            store.document(MediaType::OCI_MANIFEST, Some(&format!("sha256-{}.sig", digest(&index).hex())), &legacy);
        } else {
            let entries: Vec<Value> = junk.map(|text| store.signature(BUNDLE, &text, Some(BUNDLE))).collect();
            store.list_by_api(&index, &entries);
        }
        let slow = digest(&manifest).to_string();
        let registry = Registry::start(move |seen, _| {
            if seen.path().ends_with(&slow) {
                std::thread::sleep(Duration::from_secs(1));
            }
            store.answer(seen)
        });
        let request = image(&format!("{}/app@{}", registry.host, digest(&index)));
        let (all, problems) = collect(plain(&[&registry.host]), &request).await;
        let own = all.iter().filter(|collected| collected.found_by == FoundBy::Name).count();
        assert_eq!((own, kinds(&problems)), (3, vec![ProblemKind::Limit]));
    }
}

/// What is collected where `fails` answers with status 500, of an image with a signature in each of the three places.
async fn with_failing(fails: fn(&str) -> bool, has_api: bool) -> (Vec<String>, Vec<ProblemKind>) {
    let (mut store, index, _) = with_legacy();
    let by_tag = store.signature(BUNDLE, "by tag", Some(BUNDLE));
    store.list_by_tag(&index, &[by_tag]);
    if has_api {
        let by_api = store.signature(BUNDLE, "by API", Some(BUNDLE));
        store.list_by_api(&index, &[by_api]);
    }
    let own = digest(&index).hex().to_string();
    let registry = Registry::start(move |seen, _| match seen.path().contains(&own) && fails(seen.path()) {
        true => {
            // Late, so that what it might be mistaken for is there already.
            std::thread::sleep(Duration::from_millis(50));
            Answer::status(500)
        }
        false => store.answer(seen),
    });
    let (all, problems) = collect(plain(&[&registry.host]), &image(&format!("{}/app:1", registry.host))).await;
    (contents(&all, Role::SignatureBlob), kinds(&problems))
}

#[tokio::test]
async fn a_source_that_fails_is_a_problem_and_takes_no_other_with_it() {
    let legacy = ["first", "second", "third"];
    let beside = |one: &str| -> Vec<String> { [&[one], &legacy[..]].concat().into_iter().map(Into::into).collect() };
    let failed = vec![ProblemKind::Unreachable];
    assert_eq!(with_failing(|_| false, true).await, (beside("by API"), vec![]));
    assert_eq!(with_failing(|_| false, false).await, (beside("by tag"), vec![]));
    // The tag counts only where there is no API: its failure says nothing where there is one.
    let is_tag = |path: &str| path.contains("sha256-") && !path.ends_with(".sig");
    assert_eq!(with_failing(is_tag, true).await, (beside("by API"), vec![]));
    assert_eq!(with_failing(is_tag, false).await, (legacy.map(String::from).to_vec(), failed.clone()));
    // An API that fails is not an API that is absent: what the tag lists may be out of date there.
    let is_api = |path: &str| path.contains("/referrers/");
    assert_eq!(with_failing(is_api, true).await, (legacy.map(String::from).to_vec(), failed.clone()));
    let is_legacy = |path: &str| path.ends_with(".sig");
    assert_eq!(with_failing(is_legacy, true).await, (vec!["by API".to_owned()], failed.clone()));
    assert_eq!(with_failing(is_legacy, false).await, (vec!["by tag".to_owned()], failed));
}

#[tokio::test]
async fn an_image_that_is_gone_is_not_found_even_if_signatures_of_its_digest_are_left() {
    let (mut store, index, _) = with_legacy();
    let by_tag = store.signature(BUNDLE, "by tag", Some(BUNDLE));
    store.list_by_tag(&index, &[by_tag]);
    store.0.remove(&format!("/v2/app/manifests/{}", digest(&index)));
    let registry = uneven(store, 0);
    let mut request = image(&format!("{}/app@{}", registry.host, digest(&index)));
    let (all, problems) = collect(plain(&[&registry.host]), &request).await;
    assert_eq!((all, kinds(&problems)), (vec![], vec![ProblemKind::NotFound]));

    // Who names the digest as a subject knows the image, and gets the signatures.
    request.subjects = vec![digest(&index)];
    let (all, problems) = collect(plain(&[&registry.host]), &request).await;
    assert_eq!(kinds(&problems), [ProblemKind::NotFound]);
    assert_eq!(contents(&all, Role::SignatureBlob), ["by tag", "first", "second", "third"]);
    assert!(all.iter().all(|collected| collected.found_by != FoundBy::Name));
}
