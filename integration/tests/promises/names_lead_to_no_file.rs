//! Names that others choose (snapshot keys, namespaces, references) never become a path: nothing is written where they point.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use assay_proto::assay::gate_client::GateClient;
use assay_proto::assay::{
    AdmitRequest, ChainPurpose, ChainSubject, Decision, GateKind, ImageSubject, Name, NameSource, admit_request,
};
use assay_proto::connect;
use assay_proto::containerd::snapshots::snapshots_client::SnapshotsClient;
use assay_proto::containerd::snapshots::{CommitSnapshotRequest, PrepareSnapshotRequest, StatSnapshotRequest};
use assay_testkit::{Program, Version};

use crate::peer::here;
use crate::scene::Scene;

#[test]
fn snapshot_keys_that_are_paths_name_no_folder() -> Result<()> {
    // Observing, so that nothing but the key itself can keep anyone out.
    let scene = Scene::observing(Version::V2)?;
    let state = scene.host.node.root().join("var/lib/assay/snapshotter");
    let outside = listing(scene.host.node.root(), &state)?;
    let long = format!("default/7/{}", "x".repeat(4096));
    let keys = [
        "default/1/../../../../escape",
        "default/2/a\0b",
        "../escape",
        "/escape",
        "default/../escape",
        "../default/3/escape",
        "",
        &long,
    ];
    let snapshotter = scene.host.node.pid(Program::Snapshotter)?;
    let made = here(async {
        let mut snapshots = SnapshotsClient::new(connect(&scene.host.node.socket("snapshotter"), &[0]).await?);
        let mut made = 0;
        for key in keys {
            let request = PrepareSnapshotRequest { key: key.to_owned(), ..Default::default() };
            if snapshots.prepare(request).await.is_err() {
                continue;
            }
            made += 1;
            let stat = StatSnapshotRequest { key: key.to_owned(), ..Default::default() };
            snapshots.stat(stat).await.with_context(|| format!("{key:?} was made and is not there"))?;
            let name = "default/9/../../../escape".to_owned();
            let _ = snapshots.commit(CommitSnapshotRequest { name, key: key.to_owned(), ..Default::default() }).await;
        }
        Ok(made)
    })?;
    ensure!(made > 0, "none of the keys was taken, and nothing was shown");
    assert_eq!(listing(scene.host.node.root(), &state)?, outside, "something was written outside");
    for entry in fs::read_dir(state.join("snapshots"))? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        // A snapshot's number, or one that is made ahead or being deleted.
        let number = name.strip_prefix("spare-").or_else(|| name.strip_prefix("rm-")).unwrap_or(&name);
        ensure!(!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()), "a folder is called {name:?}");
    }
    assert_eq!(scene.host.node.pid(Program::Snapshotter)?, snapshotter, "the snapshotter lives");
    Ok(())
}

#[test]
fn questions_whose_names_are_paths_are_refused() -> Result<()> {
    let scene = Scene::observing(Version::V2)?;
    let state = scene.host.node.root().join("var/lib/assay/agent");
    let agent = scene.host.node.pid(Program::Agent)?;
    let before: Vec<_> = listing(&state, &state.join("log"))?.into_keys().collect();
    let long = "a".repeat(4096);
    let digests = ["sha256:../../../escape", "sha256:a\0b", "../escape", "md5:00", "sha256:ABCD", &long];
    let references = ["r.example/../escape:1", "r.example/a\0b:1", "r.example//a", "/escape", &long];
    let namespaces = ["../escape", "a/b", "a\0b", ".", &long];
    let chain = |chain: &str| {
        let (chain, purpose) = (chain.to_owned(), ChainPurpose::Use.into());
        admit_request::Subject::Chain(ChainSubject { chain, purpose, ..ChainSubject::default() })
    };
    let image = |reference: &str| {
        let source = NameSource::Requested.into();
        let name = Some(Name { reference: reference.to_owned(), source });
        admit_request::Subject::Image(ImageSubject { name, top: String::new() })
    };
    let good_chain = chain(&assay_testkit::sha256(b"x"));
    let questions: Vec<_> = digests
        .iter()
        .map(|text| ("default", chain(text)))
        .chain(references.iter().map(|text| ("default", image(text))))
        .chain(namespaces.iter().map(|text| (*text, good_chain.clone())))
        .collect();
    here(async {
        let mut gate = GateClient::new(connect(&scene.host.node.socket("gate"), &[0]).await?);
        for (namespace, subject) in questions {
            let request = AdmitRequest {
                gate: GateKind::Unpack.into(),
                namespace: namespace.to_owned(),
                platform: "linux/amd64".to_owned(),
                subject: Some(subject.clone()),
                documents: vec![],
            };
            let answer = gate.admit(request).await?.into_inner();
            let codes: Vec<_> = answer.reasons.iter().map(|reason| reason.code.as_str()).collect();
            ensure!(
                answer.decision() == Decision::Deny
                    && matches!(codes.as_slice(), ["MALFORMED"])
                    && answer.record.is_some(),
                "{namespace:?} {subject:?}: {answer:?}"
            );
        }
        Ok(())
    })?;
    assert_eq!(scene.host.node.pid(Program::Agent)?, agent, "the agent lives");
    let after: Vec<_> = listing(&state, &state.join("log"))?.into_keys().collect();
    assert_eq!(after, before, "something was written");
    Ok(())
}

/// Every file and folder below `folder` with its length, without what lies below `left_out` and without the node's own log.
fn listing(folder: &Path, left_out: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            let is_log = path.extension().is_some_and(|extension| extension == "log") || path.ends_with("agent/log");
            if path == left_out || is_log {
                continue;
            }
            let data = entry.metadata()?;
            if data.is_dir() {
                open.push(path.clone());
            }
            found.insert(path, if data.is_file() { data.len() } else { 0 });
        }
    }
    Ok(found)
}
