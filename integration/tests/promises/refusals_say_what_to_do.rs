//! What is refused for a reason that is not a signature's says what to do about it, in words that fit and that work.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use assay_testkit::{
    AGENT_UID, Host, ImageBuilder, KeyUse, PolicyText, Program, PullBy, Registry, Token, TokenKey, Version, eventually,
};
use nix::sys::signal::Signal;

use crate::full_disk_admits_nothing::{fill, small_disk};
use crate::scene::{Scene, refused};

#[test]
fn signed_image_that_is_imported_is_told_to_come_under_its_name_and_then_runs() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    let archive = scene.host.node.root().join("image.tar");
    fs::write(&archive, image.archive(&image.by_tag())?)?;
    let path = archive.display().to_string();
    let import = |words: &[&str]| {
        let all = [&["images", "import"], words, &[path.as_str()]].concat();
        scene.host.containerd.ctr(&all)
    };

    let answer = import(&["--snapshotter", "assay"])?;
    ensure!(answer.said("ctr image import --no-unpack"), "{answer}");
    refused(answer, "NO_RULE")?;
    import(&["--no-unpack"])?.success()?;
    scene.host.containerd.run(&image.by_tag(), &[])?.success()?;
    Ok(())
}

#[test]
fn image_under_a_name_without_a_rule_is_told_to_use_the_one_it_was_signed_for() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    let archive = scene.host.node.root().join("image.tar");
    fs::write(&archive, image.archive("docker.io/library/mine:1")?)?;
    let path = archive.display().to_string();
    scene.host.containerd.ctr(&["images", "import", "--no-unpack", &path])?.success()?;
    let answer = scene.host.containerd.run("docker.io/library/mine:1", &[])?;
    ensure!(answer.said("docker.io/library/mine:1") && answer.said("use the name that it was signed for"), "{answer}");
    refused(answer, "NO_RULE")
}

#[test]
fn snapshot_on_nothing_is_told_that_it_has_no_layers() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let answer = scene.host.containerd.ctr(&["snapshots", "--snapshotter", "assay", "prepare", "KEY"])?;
    ensure!(
        answer.said("the image has no layers (build it with at least one), or the snapshot was made by hand"),
        "{answer}"
    );
    refused(answer, "UNKNOWN_CHAIN")
}

#[test]
fn image_of_one_platform_is_not_verified_for_another() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    let (own, image) = (format!("linux/{}", image.manifest().architecture), image.by_tag());
    let key = scene.host.node.root().join("ci.pub");
    fs::write(&key, scene.ci.public_pem()?)?;
    let key = key.display().to_string();
    let verify = |platform: &str| {
        scene.host.node.assay(&["verify", &image, "--plain-http", "--key", &key, "--platform", platform])
    };
    verify(&own)?.success()?;
    let answer = verify("linux/s390x")?.failure()?;
    ensure!(answer.said(&format!("is an image for {own} alone, not for linux/s390x")), "{answer}");
    Ok(())
}

fn host_with_keys() -> Result<Host> {
    let token = Token::create("assay")?;
    for label in ["log", "ci"] {
        token.generate(label, TokenKey::P256)?;
    }
    let uses = [KeyUse { label: "ci", purpose: "image", peers: &[0] }];
    Host::reserve(Version::V2, Registry::start()?)?.with_token(token, &uses)?.up(&PolicyText::enforcing())
}

#[test]
fn key_that_does_not_sign_is_refused_with_the_key_that_does() -> Result<()> {
    let host = host_with_keys()?;
    let image = ImageBuilder::busybox("app")?.push(&host.repository("prod/app"), "1")?.by_tag();
    let ours = host.token.as_ref().context("there is a token")?.uri("ci");
    let log = ours.replace("object=ci", "object=log");
    for (key, remedy) in [
        (log.as_str(), "sign with a key whose purpose is image"),
        ("pkcs11:object=ci", ours.as_str()),
        ("pkcs11:token=other;object=ci", ours.as_str()),
        ("pkcs11:token=assay;object=nobody", "make a key with `assay keys generate`"),
    ] {
        let answer = host.node.assay(&["sign", &image, "--key", key])?.failure()?;
        let told = answer.stderr.split_once("what to do: ").map(|(_, told)| told).unwrap_or_default();
        ensure!(told.contains(remedy) && !told.contains("admin-uids"), "{key}: {answer}");
    }
    let elsewhere = host.node.assay(&["keys", "public", "pkcs11:token=other;object=ci"])?.failure()?;
    ensure!(elsewhere.said("assay keys list"), "{elsewhere}");
    host.node.assay(&["sign", &image, "--key", &ours])?.success()?;
    Ok(())
}

#[test]
fn signature_whose_use_of_the_key_cannot_be_recorded_is_withheld() -> Result<()> {
    let mut host = host_with_keys()?;
    host.node.stop()?;
    let folder = host.node.root().join("var/lib/assay/agent/log");
    fs::remove_dir_all(&folder)?;
    small_disk(&folder, "512k", AGENT_UID)?;
    host.start_node()?;
    let repository = host.repository("prod/app");
    let image = ImageBuilder::busybox("app")?.push(&repository, "1")?;
    let key = host.token.as_ref().context("there is a token")?.uri("ci");
    let sign = || host.node.assay(&["sign", &image.by_tag(), "--key", &key]);
    // The registry lists signatures under this tag alone.
    let listed =
        || repository.manifest(&image.digest.replace(':', "-")).map(|stored| stored.map(|stored| stored.digest()));

    let filler = folder.join("filler");
    let withheld = (0..50).find_map(|_| {
        let _ = fill(&filler);
        let before = listed();
        let answer = sign().ok().filter(|answer| !answer.status.success())?;
        Some((before, answer, listed()))
    });
    let (before, answer, after) = withheld.context("the log was never full")?;
    for text in ["the signature is withheld", "could not be recorded", "free disk space"] {
        ensure!(answer.said(text), "{text}: {answer}");
    }
    assert_eq!(before?, after?, "a signature reached the registry: {answer}");
    fs::remove_file(&filler)?;
    sign()?.success()?;
    ensure!(listed()?.is_some(), "nothing was signed");
    Ok(())
}

#[test]
fn configuration_that_waits_for_a_restart_is_named_by_reload_and_status() -> Result<()> {
    let host = host_with_keys()?;
    let file = host.node.configuration_file("assayd.toml");
    let before = fs::read_to_string(&file)?;
    let status = host.node.assay(&["node", "status"])?.success()?;
    ensure!(!status.said("restart assayd"), "{status}");

    host.node.write("assayd.toml", &before.replace("object=log", "object=log-2"))?;
    for verb in ["reload", "status"] {
        let answer = host.node.assay(&["node", verb])?.success()?;
        ensure!(answer.said("log-key") && answer.said("restart assayd"), "{answer}");
    }
    host.node.write("assayd.toml", "nonsense = true\n")?;
    let status = host.node.assay(&["node", "status"])?.success()?;
    ensure!(status.said("would not start again") && status.said("assayd.toml:1:1"), "{status}");
    host.node.write("assayd.toml", &before)?;
    let status = host.node.assay(&["node", "status"])?.success()?;
    ensure!(!status.said("assayd.toml"), "{status}");
    Ok(())
}

#[test]
fn saved_head_that_is_none_is_not_taken_for_a_damaged_log() -> Result<()> {
    let host = host_with_keys()?;
    let head = host.node.root().join("head");
    let said = host.node.assay(&["audit", "head"])?.success()?;
    fs::write(&head, &said.stdout)?;
    let since = |file: &str| host.node.assay(&["audit", "verify", "--since", file]);
    since(&head.display().to_string())?.success()?;
    for file in ["/dev/null", "/etc/passwd"] {
        let answer = since(file)?.failure()?;
        ensure!(answer.status.code() == Some(1), "{answer}");
        ensure!(answer.said("is no saved head") && answer.said("assay audit head"), "{answer}");
    }
    // A whole head that is not signed by the log's key may mean that log and key were replaced.
    fs::write(&head, said.stdout.replacen("assay.local/", "assay.other/", 1))?;
    let answer = since(&head.display().to_string())?.failure()?;
    ensure!(answer.status.code() == Some(5), "{answer}");
    Ok(())
}

#[test]
fn key_worker_that_stands_still_is_told_within_five_seconds() -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(5);
    let host = host_with_keys()?;
    eventually("the status is good", Duration::from_secs(10), || {
        host.node.assay(&["node", "status"]).is_ok_and(|status| status.said("key worker   healthy"))
    })?;
    host.node.signal(Program::KeyWorker, Signal::SIGSTOP)?;
    let stopped = Instant::now();
    let status = host.node.assay(&["node", "status"])?.success()?;
    ensure!(status.said("key worker   NOT HEALTHY: it has not answered for"), "{status}");
    ensure!(stopped.elapsed() < LIMIT, "{:?}", stopped.elapsed());
    host.node.signal(Program::KeyWorker, Signal::SIGCONT)?;
    eventually("the status is good again", LIMIT, || {
        host.node.assay(&["node", "status"]).is_ok_and(|status| status.said("key worker   healthy"))
    })
}

#[test]
fn node_that_starts_with_a_broken_policy_says_where_it_is_broken() -> Result<()> {
    let mut scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    scene.host.node.stop()?;
    scene.host.node.write("policy.toml", "version = 9\nmode = \"enforced\"\n")?;
    scene.host.start_node()?;
    let place = "policy.toml:2:8: `mode` cannot be \"enforced\"";
    let answer = scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?;
    ensure!(answer.said(place), "{answer}");
    refused(answer, "NO_POLICY")?;
    let verified = scene.host.node.assay(&["verify", &image.by_tag()])?;
    ensure!(verified.said(place) && verified.status.code() == Some(3), "{verified}");
    let status = scene.host.node.assay(&["node", "status"])?;
    ensure!(status.said("everything is denied") && status.said("policy.toml:2:8"), "{status}");
    ensure!(status.status.code() == Some(1), "{status}");
    let reload = scene.host.node.assay(&["node", "reload"])?.failure()?;
    ensure!(reload.said("everything is refused") && !reload.said("stays in force"), "{reload}");

    scene.host.node.write_policy(&scene.policy)?;
    scene.host.node.assay(&["node", "reload"])?.success()?;
    scene.host.node.assay(&["node", "status"])?.success()?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}

#[test]
fn policy_that_changes_without_a_new_version_does_not_count() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let unsigned = scene.unsigned("1")?;
    let lax = scene.policy.document().replacen("mode = \"enforce\"", "mode = \"observe\"", 1);
    scene.host.node.assay(&["node", "reload"])?.success()?;
    scene.host.node.write("policy.toml", &lax)?;
    let answer = scene.host.node.assay(&["node", "reload"])?.failure()?;
    for text in ["policy.toml:1:11", "in force already with other content", "raise the version", "stays in force"] {
        ensure!(answer.said(text), "{text}: {answer}");
    }
    let status = scene.host.node.assay(&["node", "status"])?.success()?;
    ensure!(status.said(", enforce,") && status.said("policy.toml:1:11"), "{status}");
    refused(scene.host.containerd.pull(&unsigned.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;

    scene.host.node.apply_policy(&scene.policy.in_mode("observe"))?;
    scene.host.containerd.pull(&unsigned.by_tag(), PullBy::Default)?.success()?;
    Ok(())
}
