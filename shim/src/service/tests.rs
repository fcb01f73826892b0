//! The whole snapshotter behind its socket, with an agent and a containerd that misbehave as real ones cannot be made to.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod many;
mod node;

use std::time::Instant;

use assay_admission::{Digest, RecordId};
use assay_proto::{
    assay::{AdmitResponse, Decision, Mode, Reason},
    containerd::snapshots::{
        CommitSnapshotRequest, ListSnapshotsRequest, MountsRequest, PrepareSnapshotRequest, RemoveSnapshotRequest,
        StatSnapshotRequest, UsageRequest, ViewSnapshotRequest,
    },
};
use node::{Behaviour, Image, Node};
use tonic::{Code, Status};

fn allow() -> AdmitResponse {
    AdmitResponse {
        decision: Decision::Allow.into(),
        mode: Mode::Enforce.into(),
        rule: "production".into(),
        record: Some(RecordId::new(7).index()),
        ..AdmitResponse::default()
    }
}

fn deny() -> AdmitResponse {
    AdmitResponse {
        decision: Decision::Deny.into(),
        reasons: vec![Reason { code: "NO_SIGNATURE".into(), detail: "r.example/app".into() }],
        because: vec!["key\nci: nothing found".into()],
        ..allow()
    }
}

async fn prepare(node: &Node, key: &str, parent: &str) -> Result<(), Status> {
    let request = PrepareSnapshotRequest { key: key.into(), parent: parent.into(), ..Default::default() };
    node.snapshots().prepare(request).await.map(|_| ())
}

async fn commit(node: &Node, name: &str, key: &str) -> Result<(), Status> {
    let request = CommitSnapshotRequest { name: name.into(), key: key.into(), ..Default::default() };
    node.snapshots().commit(request).await.map(|_| ())
}

fn refused(result: Result<(), Status>, text: &str) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert!(status.message().starts_with("assay: ") && status.message().contains(text), "{}", status.message());
}

async fn is_empty(node: &Node) -> bool {
    let mut answers = node.snapshots().list(ListSnapshotsRequest::default()).await.unwrap().into_inner();
    answers.message().await.unwrap().is_none()
}

#[tokio::test]
async fn an_admitted_image_is_unpacked_layer_by_layer() {
    let image = Image::new(&["a", "b"]);
    let node = Node::new(&[&image], Behaviour::Answer(allow())).await;
    let (first, second) = (image.chain(0), image.chain(1));
    prepare(&node, &format!("default/1/extract-1 {first}"), "").await.unwrap();
    commit(&node, &format!("default/2/{first}"), &format!("default/1/extract-1 {first}")).await.unwrap();
    prepare(&node, &format!("default/3/extract-2 {second}"), &format!("default/2/{first}")).await.unwrap();
    commit(&node, &format!("default/4/{second}"), &format!("default/3/extract-2 {second}")).await.unwrap();
    prepare(&node, "default/5/web", &format!("default/4/{second}")).await.unwrap();
    let asked = node.asked();
    assert_eq!(asked, [first, second, second]);
    let last = node.last_question().unwrap();
    assert_eq!((last.namespace.as_str(), last.documents.len()), ("default", 3));
    let Some(assay_proto::assay::admit_request::Subject::Chain(chain)) = last.subject else { panic!("no chain") };
    let claim = chain.images.first().unwrap();
    assert_eq!((chain.images.len(), claim.manifest.as_str()), (1, image.manifest().to_string().as_str()));
    assert_eq!(claim.indexes, [image.index().to_string()]);
    let mut names: Vec<&str> = claim.names.iter().map(|name| name.reference.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["r.example/app", "r.example/team/app:1"]);
}

/// Unpacks the first of two layers; gives the call that asks for the second.
async fn half_unpacked(node: &Node, image: &Image) -> (String, String) {
    let (first, second) = (image.chain(0), image.chain(1));
    prepare(node, &format!("default/1/extract-1 {first}"), "").await.unwrap();
    commit(node, &format!("default/2/{first}"), &format!("default/1/extract-1 {first}")).await.unwrap();
    (format!("default/3/extract-2 {second}"), format!("default/2/{first}"))
}

#[tokio::test]
async fn the_next_layer_of_an_admitted_image_is_asked_about_without_reading_its_documents_again() {
    let image = Image::new(&["a", "b"]);
    let node = Node::new(&[&image], Behaviour::Answer(allow())).await;
    let (key, parent) = half_unpacked(&node, &image).await;
    let reads = node.reads();
    prepare(&node, &key, &parent).await.unwrap();
    assert_eq!(node.reads(), reads);
    assert_eq!(node.asked(), [image.chain(0), image.chain(1)]);
    assert_eq!(node.last_claims(), [(image.manifest().to_string(), true)]);
    assert_eq!(node.last_question().unwrap().documents.len(), 3);
}

#[tokio::test]
async fn an_image_that_came_between_two_layers_is_asked_about_too() {
    let image = Image::new(&["a", "b"]);
    let mut foreign = image.clone();
    foreign.use_foreign_layers();
    let node = Node::new(&[&image], Behaviour::Answer(allow())).await;
    let (key, parent) = half_unpacked(&node, &image).await;
    node.add(&foreign);
    node.behave(Behaviour::Judge(|claims| if claims == 1 { allow() } else { deny() }));
    refused(prepare(&node, &key, &parent).await, "NO_SIGNATURE");
    assert_eq!(node.last_claims().len(), 2);
}

#[tokio::test]
async fn a_name_that_came_between_two_layers_is_asked_about() {
    let image = Image::new(&["a", "b"]);
    let node = Node::new(&[&image], Behaviour::Answer(allow())).await;
    let (key, parent) = half_unpacked(&node, &image).await;
    node.name("r.example/other:2", &image);
    prepare(&node, &key, &parent).await.unwrap();
    let Some(assay_proto::assay::admit_request::Subject::Chain(chain)) = node.last_question().unwrap().subject else {
        panic!("no chain")
    };
    let names: Vec<String> =
        chain.images.into_iter().flat_map(|claim| claim.names).map(|name| name.reference).collect();
    assert!(names.contains(&"r.example/other:2".to_owned()), "{names:?}");
}

#[tokio::test]
async fn an_image_whose_config_went_between_two_layers_is_not_unpacked() {
    let image = Image::new(&["a", "b"]);
    let node = Node::new(&[&image], Behaviour::Answer(allow())).await;
    let (key, parent) = half_unpacked(&node, &image).await;
    node.remove_config(&image);
    node.behave(Behaviour::Judge(|claims| if claims == 1 { allow() } else { deny() }));
    refused(prepare(&node, &key, &parent).await, "NO_SIGNATURE");
    assert_eq!(node.last_claims(), []);
}

#[tokio::test]
async fn an_answer_about_what_was_expected_is_not_waited_for_when_containerd_says_otherwise() {
    let image = Image::new(&["a", "b"]);
    let mut foreign = image.clone();
    foreign.use_foreign_layers();
    let node = Node::new(&[&image], Behaviour::Answer(allow())).await;
    let (key, parent) = half_unpacked(&node, &image).await;
    node.add(&foreign);
    node.behave(Behaviour::HangOn(1, allow()));
    prepare(&node, &key, &parent).await.unwrap();
}

#[tokio::test]
async fn a_denial_is_shown_with_reason_record_and_signatures_and_leaves_nothing() {
    let image = Image::new(&["a"]);
    let node = Node::new(&[&image], Behaviour::Answer(deny())).await;
    let key = format!("default/1/extract-1 {}", image.chain(0));
    let status = prepare(&node, &key, "").await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(
        status.message().starts_with("assay: NO_SIGNATURE: no signature was found for this image (r.example/app); ")
    );
    assert!(
        status.message().ends_with(" [rule \"production\"; record 7]; key ci: nothing found"),
        "{}",
        status.message()
    );
    let view = ViewSnapshotRequest { key: "default/2/v".into(), ..Default::default() };
    refused(node.snapshots().view(view).await.map(|_| ()), "NO_SIGNATURE");
    refused(prepare(&node, "default/3/web", "").await, "NO_SIGNATURE");
    assert!(is_empty(&node).await);
    assert!(std::fs::read_dir(node.root().join("s/snapshots")).unwrap().next().is_none());
}

#[tokio::test]
async fn a_forged_or_unknown_answer_is_no_allow() {
    let image = Image::new(&["a"]);
    let key = format!("default/1/extract-1 {}", image.chain(0));
    let forgeries: [fn(&mut AdmitResponse); 4] = [
        |answer| answer.record = None,
        |answer| answer.decision = 0,
        |answer| answer.mode = 9,
        |answer| answer.reasons = vec![Reason { code: "NEW".into(), detail: String::new() }],
    ];
    for forge in forgeries {
        let mut answer = allow();
        forge(&mut answer);
        let node = Node::new(&[&image], Behaviour::Answer(answer)).await;
        refused(prepare(&node, &key, "").await, "INTERNAL");
        assert!(is_empty(&node).await);
    }
    let node = Node::new(&[&image], Behaviour::Answer(allow())).await;
    prepare(&node, &key, "").await.unwrap();
}

#[tokio::test]
async fn without_an_agent_or_with_a_foreign_one_nothing_is_unpacked() {
    let image = Image::new(&["a"]);
    let key = format!("default/1/extract-1 {}", image.chain(0));
    let node = Node::new(&[&image], Behaviour::Absent).await;
    refused(prepare(&node, &key, "").await, "AGENT_UNAVAILABLE");
    let node = Node::new(&[&image], Behaviour::Foreign(allow())).await;
    refused(prepare(&node, &key, "").await, "AGENT_UNAVAILABLE");
    assert!(is_empty(&node).await);
}

#[tokio::test]
async fn while_the_agent_hangs_everything_but_prepare_answers_and_prepare_is_denied_in_time() {
    let image = Image::new(&["a"]);
    let node = Node::new(&[&image], Behaviour::Answer(allow())).await;
    let (key, name) = (format!("default/1/extract-1 {}", image.chain(0)), format!("default/2/{}", image.chain(0)));
    prepare(&node, &key, "").await.unwrap();
    commit(&node, &name, &key).await.unwrap();
    prepare(&node, "default/3/web", &name).await.unwrap();
    node.behave(Behaviour::Hang);
    let start = Instant::now();
    let waiting = prepare(&node, "default/4/web", &name);
    let others = async {
        // After the Prepare has begun to wait.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let start = Instant::now();
        let mut snapshots = node.snapshots();
        snapshots.stat(StatSnapshotRequest { key: name.clone(), ..Default::default() }).await.unwrap();
        snapshots.mounts(MountsRequest { key: "default/3/web".into(), ..Default::default() }).await.unwrap();
        snapshots.usage(UsageRequest { key: name.clone(), ..Default::default() }).await.unwrap();
        snapshots.list(ListSnapshotsRequest::default()).await.unwrap();
        commit(&node, "default/5/built", "default/3/web").await.unwrap();
        let remove = RemoveSnapshotRequest { key: "default/5/built".into(), ..Default::default() };
        snapshots.remove(remove).await.unwrap();
        snapshots.cleanup(assay_proto::containerd::snapshots::CleanupRequest::default()).await.unwrap();
        start.elapsed()
    };
    let (result, elapsed) = tokio::join!(waiting, others);
    refused(result, "AGENT_UNAVAILABLE");
    assert!(elapsed.as_millis() < 600, "{elapsed:?}");
    assert!((900..1900).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_manifest_that_came_since_the_last_look_is_in_the_next_question() {
    let (image, mut copied) = (Image::new(&["a"]), Image::new(&["a"]));
    copied.use_foreign_layers();
    let node = Node::new(&[&image], Behaviour::Answer(allow())).await;
    let key = format!("default/1/extract-1 {}", image.chain(0));
    prepare(&node, &key, "").await.unwrap();
    node.add(&copied);
    prepare(&node, &format!("default/2/extract-1 {}", image.chain(0)), "").await.unwrap();
    let Some(assay_proto::assay::admit_request::Subject::Chain(chain)) = node.last_question().unwrap().subject else {
        panic!("no chain")
    };
    let manifests: Vec<&str> = chain.images.iter().map(|image| image.manifest.as_str()).collect();
    assert_eq!(manifests.len(), 2);
    assert!(manifests.contains(&copied.manifest().to_string().as_str()));
}

/// The snapshots of an image of one layer: how to extract it, and how to use it once it is there.
async fn extracted(node: &Node, image: &Image) -> String {
    let (key, name) = (format!("default/1/extract-1 {}", image.chain(0)), format!("default/2/{}", image.chain(0)));
    prepare(node, &key, "").await.unwrap();
    commit(node, &name, &key).await.unwrap();
    name
}

fn claims(images: &[(&Image, bool)]) -> Vec<(String, bool)> {
    let mut claims: Vec<_> = images.iter().map(|(image, has)| (image.manifest().to_string(), *has)).collect();
    claims.sort_unstable();
    claims
}

#[tokio::test]
async fn a_config_too_large_to_be_judged_still_claims_its_layers() {
    let (image, mut large) = (Image::new(&["a"]), Image::new(&["a"]));
    large.use_foreign_layers();
    large.rewrite_config("", 4 << 20);
    let node = Node::new(&[&image, &large], Behaviour::Answer(allow())).await;
    prepare(&node, &format!("default/1/extract-1 {}", image.chain(0)), "").await.unwrap();
    assert_eq!(node.last_claims(), claims(&[(&image, true), (&large, false)]));
    let other = Image::new(&["b"]);
    node.add(&other);
    prepare(&node, &format!("default/2/extract-1 {}", other.chain(0)), "").await.unwrap();
    assert_eq!(node.last_claims(), claims(&[(&other, true)]));
}

#[tokio::test]
async fn a_config_of_unknown_layers_stops_extraction_by_name_and_nothing_else() {
    let (image, mut endless) = (Image::new(&["a"]), Image::new(&["b"]));
    endless.rewrite_config("", 16 << 20);
    let node = Node::new(&[&image], Behaviour::Answer(allow())).await;
    let name = extracted(&node, &image).await;
    node.add(&endless);
    let key = format!("default/3/extract-2 {}", image.chain(0));
    for named in ["LIMIT", &endless.config().to_string(), &format!("content rm {}", endless.manifest())] {
        refused(prepare(&node, &key, "").await, named);
    }
    prepare(&node, "default/4/web", &name).await.unwrap();
    node.remove_manifest(&endless);
    prepare(&node, &key, "").await.unwrap();
}

#[tokio::test]
async fn a_config_that_may_be_read_in_another_way_is_in_every_question_about_an_extraction() {
    let (image, mut odd) = (Image::new(&["a"]), Image::new(&["b"]));
    odd.rewrite_config("\"RootFS\":{\"diff_ids\":[null]},", 0);
    let node = Node::new(&[&image], Behaviour::Answer(allow())).await;
    let name = extracted(&node, &image).await;
    node.add(&odd);
    prepare(&node, &format!("default/3/extract-2 {}", image.chain(0)), "").await.unwrap();
    assert_eq!(node.last_claims(), claims(&[(&image, true), (&odd, true)]));
    prepare(&node, "default/4/web", &name).await.unwrap();
    assert_eq!(node.last_claims(), claims(&[(&image, true)]));
}

#[tokio::test]
async fn labels_change_neither_question_nor_answer() {
    let image = Image::new(&["a"]);
    let node = Node::new(&[], Behaviour::Answer(deny())).await;
    let forged = Image::new(&["forged"]);
    node.add(&forged);
    let spoofed = [
        ("containerd.io/snapshot/cri.image-ref", "r.example/signed:1".to_owned()),
        ("containerd.io/snapshot/cri.manifest-digest", forged.manifest().to_string()),
        ("containerd.io/snapshot.ref", forged.chain(0).to_string()),
    ];
    let request = PrepareSnapshotRequest {
        key: format!("default/1/extract-1 {}", image.chain(0)),
        labels: spoofed.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        ..Default::default()
    };
    refused(node.snapshots().prepare(request).await.map(|_| ()), "NO_SIGNATURE");
    assert_eq!(node.asked(), [image.chain(0)]);
    let Some(assay_proto::assay::admit_request::Subject::Chain(chain)) = node.last_question().unwrap().subject else {
        panic!("no chain")
    };
    assert_eq!(chain.images, []);
}

#[tokio::test]
async fn a_layer_at_another_place_than_its_images_is_refused() {
    let image = Image::new(&["a", "b"]);
    let node = Node::new(&[&image], Behaviour::Answer(allow())).await;
    let second = image.chain(1);
    refused(prepare(&node, &format!("default/1/extract-1 {second}"), "").await, "MALFORMED");
    prepare(&node, "default/2/base", "").await.unwrap();
    commit(&node, "default/3/base", "default/2/base").await.unwrap();
    refused(prepare(&node, &format!("default/4/extract-1 {second}"), "default/3/base").await, "MALFORMED");
    refused(prepare(&node, &format!("default/5/extract-1 {}", image.chain(0)), "default/3/base").await, "MALFORMED");
    prepare(&node, &format!("default/6/extract-1 {}", image.chain(0)), "").await.unwrap();
}

#[tokio::test]
async fn what_rests_on_no_layer_is_asked_about_as_no_layer() {
    let node = Node::new(&[], Behaviour::Answer(allow())).await;
    prepare(&node, "default/1/base", "").await.unwrap();
    assert_eq!(node.asked(), [Digest::sha256(b"")]);
    refused(prepare(&node, "no key of containerd's", "").await, "UNKNOWN_CHAIN");
    let other = prepare(&node, "default/2/x", "other/1/y").await.unwrap_err();
    assert_eq!(other.code(), Code::NotFound);
    commit(&node, "default/3/base", "default/1/base").await.unwrap();
    refused(prepare(&node, "other/4/x", "default/3/base").await, "UNKNOWN_CHAIN");
}

#[tokio::test]
async fn a_commit_under_another_name_than_admitted_is_refused() {
    let image = Image::new(&["a", "b"]);
    let node = Node::new(&[&image], Behaviour::Answer(allow())).await;
    let key = format!("default/1/extract-1 {}", image.chain(0));
    prepare(&node, &key, "").await.unwrap();
    refused(commit(&node, &format!("default/2/{}", image.chain(1)), &key).await, "cannot become");
    commit(&node, &format!("default/2/{}", image.chain(0)), &key).await.unwrap();
}

#[tokio::test]
async fn without_containerd_nothing_is_unpacked() {
    let image = Image::new(&["a"]);
    let node = Node::new(&[&image], Behaviour::Answer(allow())).await;
    node.stop_containerd();
    refused(prepare(&node, &format!("default/1/extract-1 {}", image.chain(0)), "").await, "INTERNAL");
    assert_eq!(node.asked(), []);
}

#[tokio::test]
async fn what_the_gate_refuses_by_itself_is_told_to_the_agent_and_what_the_agent_refuses_is_not() {
    let image = Image::new(&["a", "b"]);
    let node = Node::new(&[&image], Behaviour::Answer(deny())).await;
    refused(prepare(&node, &format!("default/1/extract-1 {}", image.chain(0)), "").await, "NO_SIGNATURE");
    node.behave(Behaviour::Answer(allow()));
    refused(prepare(&node, "no key of containerd's", "").await, "UNKNOWN_CHAIN");
    refused(prepare(&node, &format!("default/2/extract-1 {}", image.chain(1)), "").await, "MALFORMED");
    let key = format!("default/3/extract-1 {}", image.chain(0));
    prepare(&node, &key, "").await.unwrap();
    refused(commit(&node, &format!("default/4/{}", image.chain(1)), &key).await, "cannot become");
    node.stop_containerd();
    refused(prepare(&node, &format!("other/5/extract-1 {}", image.chain(0)), "").await, "INTERNAL");
    let told = node.told(4).await;
    let told: Vec<_> = told
        .iter()
        .map(|report| (report.namespace.as_str(), report.about.as_str(), report.reason.as_ref().unwrap().code.as_str()))
        .collect();
    let second = format!("default/2/extract-1 {}", image.chain(1));
    let other = format!("other/5/extract-1 {}", image.chain(0));
    assert_eq!(
        told,
        [
            ("", "no key of containerd's", "UNKNOWN_CHAIN"),
            ("default", second.as_str(), "MALFORMED"),
            ("default", key.as_str(), "MALFORMED"),
            ("other", other.as_str(), "INTERNAL"),
        ]
    );
}

#[tokio::test]
async fn a_refusal_for_want_of_an_agent_waits_for_nobody_and_many_are_counted() {
    let image = Image::new(&["a"]);
    let node = Node::new(&[&image], Behaviour::Absent).await;
    let start = Instant::now();
    for n in 0..200 {
        refused(prepare(&node, &format!("default/{n}/extract-1 {}", image.chain(0)), "").await, "AGENT_UNAVAILABLE");
    }
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    // The agent comes: what waited is told, and how many there was no room for.
    node.start_agent();
    node.behave(Behaviour::Answer(allow()));
    let told = node.told(65).await;
    assert!(told.iter().all(|report| report.reason.as_ref().unwrap().code == "AGENT_UNAVAILABLE"));
    let left_out: u64 = told.iter().map(|report| report.left_out).sum();
    assert_eq!(u64::try_from(told.len()).unwrap() + left_out, 200);
    assert!(told.len() <= 66, "{} told", told.len());
}
