//! With the run gate in front of runc a container starts only if it is of an image that is admitted under its own name, today,
//! whatever is unpacked already; and what starts is the real runtime's alone.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use assay_testkit::{Finished, Host, ImageBuilder, Program, PullBy, PushedImage, Version, eventually};
use nix::sys::signal::Signal;

use crate::scene::{Scene, refused};

const BOTH: [Version; 2] = [Version::V2, Version::V1_6];
const END: Duration = Duration::from_secs(10);

/// A host with the gate and a signed image that is unpacked.
fn ready(version: Version) -> Result<(Scene, PushedImage)> {
    let scene = Scene::gated(version, Ok)?;
    let image = scene.signed("signed")?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    Ok((scene, image))
}

/// Makes a container and its snapshot; nothing runs yet.
fn create(scene: &Scene, image: &PushedImage, id: &str) -> Result<()> {
    let words = ["containers", "create", "--snapshotter", "assay", &image.by_tag(), id];
    scene.host.containerd.ctr(&words)?.success()?;
    Ok(())
}

fn start(scene: &Scene, id: &str) -> Result<Finished> {
    scene.host.containerd.ctr(&["tasks", "start", id])
}

/// A name that no other container of this machine has: runc keeps its state by namespace and id.
fn unique(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn is_on_record(scene: &Scene, code: &str) -> Result<()> {
    eventually("the refusal is on record", END, || {
        let Ok(shown) = scene.host.node.assay(&["audit", "show"]) else { return false };
        shown.stdout.lines().any(|line| line.contains("  run     ") && line.contains(code))
    })
}

/// Processes that are the gate's program.
fn gates(host: &Host) -> Vec<String> {
    let program = host.node.run_gate_folder().join("bin/runc");
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let is_gate = |process: &fs::DirEntry| fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe == program);
    processes.flatten().filter(is_gate).map(|process| process.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn signed_image_runs_as_without_the_gate_and_nothing_of_the_gate_stays() -> Result<()> {
    for version in BOTH {
        let (scene, image) = ready(version)?;
        let containerd = &scene.host.containerd;
        assert_eq!(containerd.run(&image.by_tag(), &[])?.success()?.stdout, "hello from signed\n");
        let ended = containerd.run(&image.by_tag(), &["sh", "-c", "echo out; echo err >&2; exit 7"])?;
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(7), "out\n"));
        assert!(ended.stderr.contains("err\n"), "{ended}");

        let id = containerd.run_detached(&image.by_tag(), &["sleep", "1000"])?;
        assert_eq!(gates(&scene.host), Vec::<String>::new());
        let exec = ["tasks", "exec", "--exec-id", "x", &id, "sh", "-c", "echo in; exit 3"];
        let executed = containerd.ctr(&exec)?;
        assert_eq!((executed.status.code(), executed.stdout.as_str()), (Some(3), "in\n"));
        containerd.ctr(&["tasks", "kill", "-s", "SIGKILL", &id])?.success()?;
        eventually("the container ends", END, || {
            containerd.ctr(&["tasks", "ls"]).is_ok_and(|listed| listed.said("STOPPED"))
        })?;
        containerd.ctr(&["tasks", "delete", &id])?;
        // The same container once more: containerd makes no new snapshot for it.
        containerd.ctr(&["tasks", "start", "--detach", &id])?.success()?;
        assert_eq!(gates(&scene.host), Vec::<String>::new());
    }
    Ok(())
}

#[test]
fn image_of_many_layers_and_a_read_only_container_run() -> Result<()> {
    for version in BOTH {
        let scene = Scene::gated(version, Ok)?;
        let image = ImageBuilder::busybox("deep")?.layers(60, 100).push(&scene.production(), "deep")?;
        scene.cosign.sign(&scene.ci, &image.by_digest())?;
        let containerd = &scene.host.containerd;
        containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
        assert_eq!(containerd.run(&image.by_tag(), &[])?.success()?.stdout, "hello from deep\n");
        let words = ["run", "--rm", "--read-only", "--snapshotter", "assay", &image.by_tag(), &unique("ro")];
        assert_eq!(containerd.ctr(&words)?.success()?.stdout, "hello from deep\n");
    }
    Ok(())
}

#[test]
fn image_of_one_layer_runs_read_only() -> Result<()> {
    let scene = Scene::gated(Version::V2, Ok)?;
    let image = ImageBuilder::busybox("one")?.of_one_layer().push(&scene.production(), "one")?;
    scene.cosign.sign(&scene.ci, &image.by_digest())?;
    let containerd = &scene.host.containerd;
    containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    let id = unique("one");
    let words = ["run", "--rm", "--read-only", "--snapshotter", "assay", &image.by_tag(), &id, "/bin/echo", "one"];
    assert_eq!(containerd.ctr(&words)?.success()?.stdout, "one\n");
    Ok(())
}

#[test]
fn container_made_under_a_policy_that_observed_does_not_start_under_one_that_enforces() -> Result<()> {
    for version in BOTH {
        let scene = Scene::gated(version, Ok)?;
        scene.host.node.apply_policy(&scene.policy.in_mode("observe"))?;
        let (signed, unsigned) = (scene.signed("signed")?, scene.unsigned("unsigned")?);
        let (ours, theirs) = (unique("signed"), unique("unsigned"));
        for (image, id) in [(&signed, &ours), (&unsigned, &theirs)] {
            scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
            create(&scene, image, id)?;
        }
        assert_eq!(start(&scene, &theirs)?.success()?.stdout, "hello from unsigned\n");
        scene.host.containerd.ctr(&["tasks", "delete", &theirs])?;
        scene.host.node.apply_policy(&scene.policy.in_mode("enforce"))?;
        refused(start(&scene, &theirs)?, "NO_SIGNATURE")?;
        is_on_record(&scene, "NO_SIGNATURE")?;
        assert_eq!(start(&scene, &ours)?.success()?.stdout, "hello from signed\n");
    }
    Ok(())
}

#[test]
fn digest_that_was_blocked_since_does_not_start_again() -> Result<()> {
    let (scene, image) = ready(Version::V2)?;
    let id = unique("blocked");
    create(&scene, &image, &id)?;
    let block = format!("[[blocked]]\ndigest = \"{}\"\nreason = \"CVE\"\n", image.digest);
    scene.host.node.apply_policy(&scene.policy.in_mode("enforce").text(&block))?;
    refused(start(&scene, &id)?, "BLOCKED")
}

#[test]
fn unsigned_config_on_the_layers_of_a_signed_image_does_not_start() -> Result<()> {
    for version in BOTH {
        let scene = Scene::gated(version, Ok)?;
        let signed = ImageBuilder::busybox("same")?.push(&scene.production(), "signed")?;
        scene.cosign.sign(&scene.ci, &signed.by_digest())?;
        let swapped =
            ImageBuilder::busybox("same")?.command(&["/bin/echo", "evil"]).push(&scene.production(), "swapped")?;
        assert_eq!(signed.manifest().layers, swapped.manifest().layers);
        let containerd = &scene.host.containerd;
        containerd.pull(&signed.by_tag(), PullBy::Default)?.success()?;
        // containerd only looks whether the layers are there, and asks nobody.
        containerd.pull(&swapped.by_tag(), PullBy::Default)?.success()?;
        let answer = containerd.run(&swapped.by_tag(), &[])?;
        assert!(!answer.said("evil"), "{answer}");
        refused(answer, "NO_SIGNATURE")?;
        assert_eq!(containerd.run(&signed.by_tag(), &[])?.success()?.stdout, "hello from same\n");
    }
    Ok(())
}

#[test]
fn folder_of_the_host_is_not_started_as_a_container() -> Result<()> {
    for version in BOTH {
        let (scene, _) = ready(version)?;
        let folder = scene.host.node.root().join("foreign");
        fs::create_dir_all(folder.join("bin"))?;
        fs::copy(assay_testkit::Tools::find()?.program("busybox"), folder.join("bin/busybox"))?;
        let words =
            ["run", "--rm", "--rootfs", &folder.to_string_lossy(), &unique("rootfs"), "/bin/busybox", "echo", "evil"];
        let answer = scene.host.containerd.ctr(&words)?;
        assert!(!answer.said("evil\n"), "{answer}");
        refused(answer, "FOREIGN_ROOT")?;
        is_on_record(&scene, "FOREIGN_ROOT")?;
    }
    Ok(())
}

#[test]
fn nothing_is_mounted_over_the_image() -> Result<()> {
    let (scene, image) = ready(Version::V2)?;
    for destination in ["/", "//", "/x/.."] {
        let mount = format!("type=bind,src=/usr,dst={destination},options=rbind:ro");
        let words = ["run", "--rm", "--snapshotter", "assay", "--mount", &mount, &image.by_tag(), &unique("mount")];
        refused(scene.host.containerd.ctr(&words)?, "FOREIGN_ROOT")?;
    }
    let mount = "type=bind,src=/usr,dst=/data,options=rbind:ro";
    let words = ["run", "--rm", "--snapshotter", "assay", "--mount", mount, &image.by_tag(), &unique("mount")];
    assert_eq!(scene.host.containerd.ctr(&words)?.success()?.stdout, "hello from signed\n");
    Ok(())
}

#[test]
fn snapshot_of_other_layers_than_the_containers_image_is_refused() -> Result<()> {
    for version in BOTH {
        let (scene, image) = ready(version)?;
        let other = scene.signed("other")?;
        let containerd = &scene.host.containerd;
        containerd.pull(&other.by_tag(), PullBy::Default)?.success()?;
        let (id, kept) = (unique("swapped"), unique("kept"));
        create(&scene, &image, &id)?;
        create(&scene, &image, &kept)?;
        let chain = other.manifest().diff_ids.iter().fold(String::new(), |below, diff_id| {
            if below.is_empty() {
                diff_id.clone()
            } else {
                assay_testkit::sha256(format!("{below} {diff_id}").as_bytes())
            }
        });
        containerd.ctr(&["snapshots", "--snapshotter", "assay", "rm", &id])?.success()?;
        containerd.ctr(&["snapshots", "--snapshotter", "assay", "prepare", &id, &chain])?.success()?;
        refused(start(&scene, &id)?, "FOREIGN_ROOT")?;
        assert_eq!(start(&scene, &kept)?.success()?.stdout, "hello from signed\n");
    }
    Ok(())
}

#[test]
fn container_of_another_snapshotter_is_refused() -> Result<()> {
    for version in BOTH {
        let scene = Scene::gated(version, |mut host| {
            host.containerd.keep_stock_snapshotter()?;
            Ok(host)
        })?;
        let image = scene.unsigned("1")?;
        let containerd = &scene.host.containerd;
        let pull = ["images", "pull", "--plain-http", "--snapshotter", "overlayfs"];
        let by = if version == Version::V2 { vec!["--local"] } else { Vec::new() };
        containerd.ctr(&[&pull[..], &by, &[&image.by_tag()]].concat())?.success()?;
        let words = ["run", "--rm", "--snapshotter", "overlayfs", &image.by_tag(), &unique("stock")];
        let answer = containerd.ctr(&words)?;
        assert!(answer.said("is kept by") && answer.said("overlayfs"), "{answer}");
        refused(answer, "FOREIGN_ROOT")?;
    }
    Ok(())
}

#[test]
fn without_the_agent_nothing_starts_and_what_runs_can_be_ended() -> Result<()> {
    for version in BOTH {
        let (scene, image) = ready(version)?;
        let containerd = &scene.host.containerd;
        let (waiting, running) = (unique("waiting"), containerd.run_detached(&image.by_tag(), &["sleep", "1000"])?);
        create(&scene, &image, &waiting)?;
        scene.host.node.signal(Program::Agent, Signal::SIGSTOP)?;
        let answers = without_an_agent(&scene, &waiting, &running);
        scene.host.node.signal(Program::Agent, Signal::SIGCONT)?;
        let (started, executed, killed, deleted) = answers?;
        refused(started, "AGENT_UNAVAILABLE")?;
        assert_eq!(executed.success()?.stdout, "in\n");
        killed.success()?;
        // ctr tells how the container ended, by its own exit code or in words.
        ensure!(deleted.status.code() == Some(137) || deleted.said("137"), "{deleted}");
        ensure!(!containerd.ctr(&["tasks", "ls", "-q"])?.said(&running), "{deleted}");
        assert_eq!(start(&scene, &waiting)?.success()?.stdout, "hello from signed\n");
    }
    Ok(())
}

fn without_an_agent(scene: &Scene, waiting: &str, running: &str) -> Result<(Finished, Finished, Finished, Finished)> {
    let containerd = &scene.host.containerd;
    let started = start(scene, waiting)?;
    let executed = containerd.ctr(&["tasks", "exec", "--exec-id", "x", running, "echo", "in"])?;
    let killed = containerd.ctr(&["tasks", "kill", "-s", "SIGKILL", running])?;
    eventually("the container ends", END, || {
        containerd.ctr(&["tasks", "ls"]).is_ok_and(|listed| listed.said("STOPPED"))
    })?;
    Ok((started, executed, killed, containerd.ctr(&["tasks", "delete", running])?))
}

#[test]
fn without_the_agents_socket_or_containerds_nothing_starts() -> Result<()> {
    let (mut scene, image) = ready(Version::V2)?;
    let id = unique("away");
    create(&scene, &image, &id)?;
    let file = scene.host.node.configuration_file("runtime.toml");
    let honest = fs::read_to_string(&file)?;
    fs::write(&file, honest.replacen("c.sock", "d.sock", 1))?;
    refused(start(&scene, &id)?, "INTERNAL")?;
    fs::write(&file, "runtimes = 7\n")?;
    let unread = start(&scene, &id)?.failure()?;
    assert!(unread.said("runtime.toml"), "{unread}");
    fs::write(&file, honest)?;
    assert_eq!(start(&scene, &id)?.success()?.stdout, "hello from signed\n");
    scene.host.containerd.ctr(&["tasks", "delete", &id])?;
    // Programs and sockets are gone; snapshots that were made stay mounted and mountable.
    scene.host.node.stop()?;
    start(&scene, &id)?.failure().context("nothing starts without a node")?;
    scene.host.start_node()?;
    // containerd waits a while before it tries the snapshotter's socket again.
    eventually("the container starts", END, || {
        start(&scene, &id).is_ok_and(|answer| answer.said("hello from signed\n"))
    })
}

#[test]
fn gate_that_is_named_as_runc_binary_judges_too() -> Result<()> {
    for version in BOTH {
        let scene = Scene::gated(version, |mut host| {
            let elsewhere = host.node.root().join("elsewhere");
            host.containerd.prefer_runtimes_of(&elsewhere)?;
            Ok(host)
        })?;
        let signed = ImageBuilder::busybox("same")?.push(&scene.production(), "signed")?;
        scene.cosign.sign(&scene.ci, &signed.by_digest())?;
        let swapped =
            ImageBuilder::busybox("same")?.command(&["/bin/echo", "evil"]).push(&scene.production(), "swapped")?;
        let containerd = &scene.host.containerd;
        for image in [&signed, &swapped] {
            containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
        }
        let gate = scene.host.node.run_gate_folder().join("bin/runc");
        let run = |image: &PushedImage| {
            let (gate, id) = (gate.to_string_lossy(), unique("binary"));
            containerd.ctr(&["run", "--rm", "--runc-binary", &gate, "--snapshotter", "assay", &image.by_tag(), &id])
        };
        assert_eq!(run(&signed)?.success()?.stdout, "hello from same\n");
        refused(run(&swapped)?, "NO_SIGNATURE")?;
    }
    Ok(())
}

#[test]
fn container_whose_image_was_removed_does_not_start_by_another_images_right() -> Result<()> {
    let scene = Scene::gated(Version::V2, Ok)?;
    let builder = ImageBuilder::busybox("same")?;
    let signed = builder.clone().push(&scene.production(), "signed")?;
    scene.cosign.sign(&scene.ci, &signed.by_digest())?;
    let swapped = builder.command(&["/bin/echo", "evil"]).push(&scene.production(), "swapped")?;
    let containerd = &scene.host.containerd;
    for image in [&signed, &swapped] {
        containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    }
    let id = unique("removed");
    create(&scene, &signed, &id)?;
    // Its name is gone, and which of the images with its layers it is of cannot be told: all of them have to be admitted.
    containerd.remove_image(&signed.by_tag())?;
    refused(start(&scene, &id)?, "NO_SIGNATURE")?;
    containerd.remove_image(&swapped.by_tag())?;
    refused(start(&scene, &id)?, "UNKNOWN_CHAIN")?;
    containerd.pull(&signed.by_tag(), PullBy::Default)?.success()?;
    assert_eq!(start(&scene, &id)?.success()?.stdout, "hello from same\n");
    Ok(())
}
