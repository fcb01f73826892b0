//! A node's Sigstore root of trust follows its TUF repository, by the root that its operator configured: forwards only, and what was
//! verified stays when the repository is stale, gone or lying.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use assay_testkit::{AGENT_UID, Cosign, FETCHER_UID, KEY_WORKER_UID, Node, TufRepository, eventually, sha256};
use serde_json::{Value, json};

const LATER: &str = "2100-01-01T00:00:00Z";

/// A node whose agent has the trust root `test` from that repository.
struct Scene {
    node: Node,
    repository: TufRepository,
}

impl Scene {
    fn start() -> Result<Self> {
        let mut scene = Self { node: Node::reserve()?, repository: TufRepository::start(&root_of_trust(1))? };
        let (node, repository) = (&scene.node, &scene.repository);
        node.write("tuf-root.json", std::str::from_utf8(&repository.first_root()?)?)?;
        let host = repository.server.host();
        node.write("fetch.toml", &format!("agent-uid = {AGENT_UID}\nplain-http = [{host:?}]\n"))?;
        node.write(
            "assayd.toml",
            &format!(
                "key-worker-uid = {KEY_WORKER_UID}\nfetcher-uid = {FETCHER_UID}\nadmin-uids = [0]\n\
                 [trust-roots.test]\nroot = \"tuf-root.json\"\nrepositories = [{:?}]\nrefresh = \"365d\"\n",
                repository.address()
            ),
        )?;
        scene.up()?;
        Ok(scene)
    }

    fn up(&mut self) -> Result<()> {
        let nowhere = self.node.root().join("containerd.sock");
        self.node.start(&nowhere, &["--no-keyd", "--no-snapshotter"])
    }

    fn update(&self) -> Result<()> {
        self.node.assay(&["trust-root", "update", "test"])?.success()?;
        Ok(())
    }

    /// The update is refused, in these words.
    fn refused(&self, words: &[&str], why: &str) -> Result<()> {
        let answer = self.node.assay(words)?.failure()?;
        ensure!(answer.said(why), "not refused for {why:?}: {answer}");
        Ok(())
    }

    /// Fails unless the root of trust is the one of that version.
    fn trusts(&self, version: u64) -> Result<Value> {
        let shown = self.node.assay(&["trust-root", "show", "test", "-o", "json"])?.success()?;
        let shown: Value = serde_json::from_str(&shown.stdout)?;
        let root = shown.pointer("/trust_roots/0").cloned().unwrap_or_default();
        let expected = sha256(&root_of_trust(version));
        ensure!(root.get("revision").and_then(Value::as_str) == Some(&expected), "another root of trust: {root}");
        Ok(root)
    }
}

/// A `trusted_root.json` with one log whose address tells the versions apart.
fn root_of_trust(version: u64) -> Vec<u8> {
    let key = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [{
            "baseUrl": format!("https://log{version}.example"),
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": key,
                "keyDetails": "PKIX_ED25519",
                "validFor": { "start": "2023-01-01T00:00:00Z" },
            },
            "logId": { "keyId": "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=" },
        }],
    })
    .to_string()
    .into_bytes()
}

#[test]
fn trust_root_follows_its_repository_and_outlives_it() -> Result<()> {
    let mut scene = Scene::start()?;
    scene.update()?;
    let shown = scene.trusts(1)?;
    ensure!(shown.pointer("/members/0/operator").and_then(Value::as_str) == Some("https://log1.example"), "{shown}");

    scene.repository.rotate(2)?;
    scene.repository.publish(2, &root_of_trust(2), LATER)?;
    scene.update()?;
    let shown = scene.trusts(2)?;
    ensure!(shown.pointer("/root/version") == Some(&json!(2)), "{shown}");

    // No repository, and the agent starts anew: it verifies what it kept, and goes on with it.
    scene.node.stop()?;
    scene.repository.server.replace(BTreeMap::new());
    scene.up()?;
    scene.trusts(2)?;
    scene.refused(&["trust-root", "update"], "timestamp.json is not in the repository")?;
    scene.trusts(2)?;
    let status = scene.node.assay(&["node", "status"])?;
    ensure!(status.said("trust root   test: sha256:") && status.said("NOT UPDATED: "), "{status}");
    let log = scene.node.assay(&["audit", "show"])?.success()?;
    ensure!(log.said("trust   test is sha256:") && log.said("by root version 2"), "{log}");
    Ok(())
}

#[test]
fn policy_that_names_a_trust_root_follows_it() -> Result<()> {
    let scene = Scene::start()?;
    // The agent asks by itself some seconds after its start; nothing is there yet.
    scene.repository.server.replace(BTreeMap::new());
    let policy = "version = 2\nmode = \"enforce\"\n[sigstore.public]\ntrust-root = \"test\"\n[signers.ci]\nsigstore = \"public\"\n\
                  issuer = \"https://token.example\"\nidentity = \"https://ci.example\"\n[[rules]]\nname = \"all\"\n\
                  images = [\"registry.example/**\"]\nrequire = [{ signatures = 1, of = [\"ci\"] }]\n";
    let file = scene.node.configuration_file("policy.toml").display().to_string();
    scene.node.write("policy.toml", policy)?;
    let nothing = "the trust root test has nothing that is trusted yet";
    scene.refused(&["node", "reload"], nothing)?;
    scene.refused(&["policy", "check", &file], nothing)?;

    // Each time the root of trust is another one, the policy counts anew by itself, and its version stays.
    for round in 1..=2 {
        scene.repository.publish(round, &root_of_trust(round), LATER)?;
        scene.update()?;
        eventually("the policy is in force again", Duration::from_secs(20), || {
            let log = scene.node.assay(&["audit", "show"]).map(|log| log.stdout).unwrap_or_default();
            let times = log.matches("policy version 2 is in force from here on").count();
            u64::try_from(times).is_ok_and(|times| times == round)
        })?;
        // A file that was written meanwhile waits for whoever puts it in force.
        scene.node.write("policy.toml", &policy.replace("version = 2", "version = 3"))?;
    }
    scene.node.assay(&["policy", "check", &file])?.success()?;
    ensure!(scene.node.assay(&["node", "reload"])?.success()?.said("policy version 3"));
    Ok(())
}

#[test]
fn rollback_freeze_and_forgery_change_nothing() -> Result<()> {
    let mut scene = Scene::start()?;
    let old = scene.repository.server.files();
    scene.repository.publish(2, &root_of_trust(2), LATER)?;
    scene.update()?;

    scene.repository.server.replace(old.clone());
    scene.refused(&["trust-root", "update", "test"], "rollback")?;
    scene.node.stop()?;
    scene.up()?;
    scene.refused(&["trust-root", "update", "test"], "rollback")?;

    scene.repository.publish(3, &root_of_trust(3), "2026-01-01T00:00:00Z")?;
    scene.refused(&["trust-root", "update", "test"], "expired")?;

    let stranger = TufRepository::start(&root_of_trust(4))?;
    stranger.publish(4, &root_of_trust(4), LATER)?;
    scene.repository.server.replace(stranger.server.files());
    scene.refused(&["trust-root", "update", "test"], "is signed by 0 of the 1 different keys")?;
    scene.trusts(2)?;
    Ok(())
}

#[test]
fn copy_that_was_carried_by_hand_is_judged_alike() -> Result<()> {
    let scene = Scene::start()?;
    scene.repository.publish(2, &root_of_trust(2), LATER)?;
    let copy = |name: &str| -> Result<String> {
        let folder = scene.node.root().join(name);
        for (path, bytes) in scene.repository.server.files() {
            let file = folder.join(path);
            fs::create_dir_all(file.parent().unwrap_or(&folder))?;
            fs::write(file, bytes)?;
        }
        Ok(folder.display().to_string())
    };
    let second = copy("second")?;
    scene.repository.publish(3, &root_of_trust(3), LATER)?;
    let third = copy("third")?;
    let archive = format!("{third}.tar");
    let mut tar = std::process::Command::new("tar");
    ensure!(tar.args(["-C", &third, "-cf", &archive, "."]).status()?.success());
    // Only what is carried counts from here on.
    scene.repository.server.replace(BTreeMap::new());

    scene.node.assay(&["trust-root", "import", &archive])?.success()?;
    scene.trusts(3)?;
    scene.refused(&["trust-root", "import", &second, "test"], "rollback")?;
    fs::write(format!("{third}/timestamp.json"), "{}")?;
    scene.refused(&["trust-root", "import", &third], "malformed")?;
    scene.trusts(3)?;
    Ok(())
}

#[test]
fn folder_without_an_agent_is_kept_by_the_same_rules() -> Result<()> {
    let repository = TufRepository::start(&root_of_trust(1))?;
    let node = Node::reserve()?;
    node.write("tuf-root.json", std::str::from_utf8(&repository.first_root()?)?)?;
    let (folder, root) = (node.root().join("kept"), node.configuration_file("tuf-root.json"));
    let (folder, root, address) = (folder.display().to_string(), root.display().to_string(), repository.address());
    let words =
        ["trust-root", "update", "--repository", &address, "--tuf-root", &root, "--dir", &folder, "--plain-http"];
    let old = repository.server.files();
    repository.publish(2, &root_of_trust(2), LATER)?;
    node.assay(&words)?.success()?;
    ensure!(fs::read(format!("{folder}/trusted_root.json"))? == root_of_trust(2));
    repository.server.replace(old);
    let refused = node.assay(&words)?.failure()?;
    ensure!(refused.said("rollback"), "{refused}");
    ensure!(fs::read(format!("{folder}/trusted_root.json"))? == root_of_trust(2));
    Ok(())
}

#[test]
fn cosign_follows_the_same_repository_to_the_same_root() -> Result<()> {
    let (cosign, mut repository) = (Cosign::new()?, TufRepository::start(&root_of_trust(1))?);
    let root = cosign.file("tuf-root.json");
    fs::write(&root, repository.first_root()?)?;
    repository.rotate(2)?;
    repository.publish(2, &root_of_trust(2), LATER)?;
    let root = root.display().to_string();
    cosign.command(&["initialize", "--mirror", &repository.address(), "--root", &root])?.success()?;
    let kept = format!(".sigstore/root/{}/targets/trusted_root.json", repository.server.host().replace(':', "-"));
    ensure!(fs::read(cosign.file(&kept))? == root_of_trust(2));
    Ok(())
}
