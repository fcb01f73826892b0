//! By CRI, as Kubernetes starts them: the sandbox and each container of a pod is judged for itself when it starts.

use anyhow::{Context, Result, ensure};
use assay_testkit::{Cri, Host, ImageBuilder, Pod, PushedImage, Version};

use crate::scene::Scene;

const BOTH: [Version; 2] = [Version::V2, Version::V1_6];
const SLEEP: [&str; 2] = ["/bin/sleep", "1000"];

/// A pod that runs, of a signed pause image.
struct PodScene {
    scene: Scene,
    cri: Cri,
    pod: Pod,
}

impl PodScene {
    fn start(version: Version) -> Result<Self> {
        let scene = Scene::gated(version, |mut host: Host| {
            let (registry, pause) = (host.registry.host(), format!("{}/prod/pause:1", host.registry.host()));
            host.containerd.serve_cri(&pause, &registry)?;
            Ok(host)
        })?;
        let pause = ImageBuilder::busybox("pause")?.command(&SLEEP).push(&scene.host.repository("prod/pause"), "1")?;
        scene.cosign.sign(&scene.ci, &pause.by_digest())?;
        let cri = Cri::of(&scene.host.containerd)?;
        let pod = cri.run_pod(&format!("pod-{}-{version:?}", std::process::id()).to_lowercase().replace('_', "-"));
        let pod = pod.with_context(|| scene.host.containerd.log())?;
        Ok(Self { scene, cri, pod })
    }

    fn create(&self, image: &PushedImage, command: &[&str]) -> Result<String> {
        let id = self.cri.pull(&image.by_tag())?;
        Ok(self.cri.create(&self.pod, &id, &image.by_tag(), command)?)
    }

    fn refused(&self, container: &str, code: &str) -> Result<()> {
        let status = self.cri.start(container).err().context("it was to be refused")?;
        ensure!(status.message().contains("assay: ") && status.message().contains(code), "{status}");
        Ok(())
    }
}

#[test]
fn signed_containers_of_a_pod_run_one_beside_the_other_and_again() -> Result<()> {
    for version in BOTH {
        let pods = PodScene::start(version)?;
        let (one, two) = (pods.scene.signed("one")?, pods.scene.signed("two")?);
        let first = pods.create(&one, &SLEEP)?;
        pods.cri.start(&first)?;
        let second = pods.create(&two, &SLEEP)?;
        pods.cri.start(&second)?;
        assert_eq!(pods.cri.exec(&first, &["/bin/cat", "/etc/name"])?, "one");
        assert_eq!(pods.cri.exec(&second, &["/bin/cat", "/etc/name"])?, "two");
        pods.cri.remove(&first)?;
        let again = pods.create(&one, &SLEEP)?;
        pods.cri.start(&again)?;
        assert_eq!(pods.cri.exec(&again, &["/bin/cat", "/etc/name"])?, "one");
        pods.cri.remove_pod(&pods.pod)?;
    }
    Ok(())
}

#[test]
fn unsigned_config_on_signed_layers_does_not_start_in_a_pod() -> Result<()> {
    for version in BOTH {
        let pods = PodScene::start(version)?;
        let builder = ImageBuilder::busybox("same")?;
        let signed = builder.clone().push(&pods.scene.production(), "signed")?;
        pods.scene.cosign.sign(&pods.scene.ci, &signed.by_digest())?;
        let swapped = builder.environment("LD_PRELOAD", "/evil.so").push(&pods.scene.production(), "swapped")?;
        let honest = pods.create(&signed, &SLEEP)?;
        pods.cri.start(&honest)?;
        let container = pods.create(&swapped, &SLEEP)?;
        pods.refused(&container, "NO_SIGNATURE")?;
    }
    Ok(())
}

#[test]
fn image_that_was_blocked_since_does_not_start_in_a_pod() -> Result<()> {
    for version in BOTH {
        let pods = PodScene::start(version)?;
        let (image, other) = (pods.scene.signed("blocked")?, pods.scene.signed("other")?);
        let (container, untouched) = (pods.create(&image, &SLEEP)?, pods.create(&other, &SLEEP)?);
        let block = format!("[[blocked]]\ndigest = \"{}\"\nreason = \"CVE\"\n", image.digest);
        pods.scene.host.node.apply_policy(&pods.scene.policy.in_mode("enforce").text(&block))?;
        pods.refused(&container, "BLOCKED")?;
        pods.cri.start(&untouched)?;
    }
    Ok(())
}
