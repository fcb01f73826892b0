//! Having been admitted once gives no right: another policy, another tag, another namespace, and the image is judged again.

use anyhow::Result;
use assay_testkit::{PullBy, Version};

use crate::scene::{Scene, refused, refused_cleanly};

#[test]
fn pulled_under_observe_is_refused_at_run_under_enforce() -> Result<()> {
    for version in [Version::V2, Version::V1_6] {
        let scene = Scene::observing(version)?;
        let (signed, unsigned) = (scene.signed("signed")?, scene.unsigned("unsigned")?);
        let containerd = &scene.host.containerd;
        for image in [&signed, &unsigned] {
            containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
            containerd.run(&image.by_tag(), &[])?.success()?;
        }
        scene.host.node.apply_policy(&scene.policy.in_mode("enforce"))?;
        refused(containerd.run(&unsigned.by_tag(), &[])?, "NO_SIGNATURE")?;
        containerd.run(&signed.by_tag(), &[])?.success()?;
    }
    Ok(())
}

#[test]
fn snapshot_key_of_an_unknown_kind_is_judged_too() -> Result<()> {
    let scene = Scene::observing(Version::V2)?;
    let image = scene.unsigned("1")?;
    let containerd = &scene.host.containerd;
    containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    let snapshots = containerd.snapshots()?;
    let parent = snapshots.last().map(String::as_str).unwrap_or_default();
    containerd.ctr(&["snapshots", "--snapshotter", "assay", "prepare", "before", parent])?.success()?;
    scene.host.node.apply_policy(&scene.policy.in_mode("enforce"))?;
    for verb in ["prepare", "view"] {
        for parent in &snapshots {
            refused(containerd.ctr(&["snapshots", "--snapshotter", "assay", verb, "some-key", parent])?, "assay: ")?;
        }
    }
    Ok(())
}

#[test]
fn tag_that_moved_to_an_unsigned_image_is_refused() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let image = scene.signed("1")?;
    scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?.success()?;
    let moved = assay_testkit::ImageBuilder::busybox("evil")?.push(&scene.production(), "1")?;
    assert_eq!(moved.by_tag(), image.by_tag());
    refused(scene.host.containerd.pull(&moved.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    // The old image is still the one that the node knows by this name.
    assert_eq!(scene.host.containerd.run(&image.by_tag(), &[])?.success()?.stdout, "hello from 1\n");
    Ok(())
}

#[test]
fn another_namespace_is_judged_for_itself() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let (signed, unsigned) = (scene.signed("signed")?, scene.unsigned("unsigned")?);
    let containerd = &scene.host.containerd;
    containerd.pull(&signed.by_tag(), PullBy::Default)?.success()?;
    let pull = |reference: &str| {
        containerd.ctr(&["-n", "second", "images", "pull", "--plain-http", "--snapshotter", "assay", reference])
    };
    pull(&signed.by_tag())?.success()?;
    refused_in_second(&scene, pull(&unsigned.by_tag())?)
}

fn refused_in_second(scene: &Scene, answer: assay_testkit::Finished) -> Result<()> {
    refused(answer, "NO_SIGNATURE")?;
    let listed = scene.host.containerd.ctr(&["-n", "second", "images", "ls", "-q"])?.success()?;
    assert_eq!(listed.stdout.lines().count(), 1, "{listed}");
    Ok(())
}

#[test]
fn pulled_by_a_lax_name_is_refused_under_the_strict_one() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let lax = format!(
        "[[rules]]\nname = \"lab\"\nimages = [\"{}/lab/**\"]\nmode = \"observe\"\nrequire = [{{ signatures = 1, of = [\"ci\"] }}]\n",
        scene.host.registry.host()
    );
    scene.host.node.apply_policy(&scene.policy.in_mode("enforce").text(&lax))?;
    let builder = assay_testkit::ImageBuilder::busybox("same")?;
    let in_lab = builder.push(&scene.host.repository("lab/app"), "1")?;
    let in_production = builder.push(&scene.production(), "1")?;
    assert_eq!(in_lab.digest, in_production.digest);
    let containerd = &scene.host.containerd;
    containerd.pull(&in_lab.by_tag(), PullBy::Default)?.success()?;
    containerd.run(&in_lab.by_tag(), &[])?.success()?;
    // Now the same digest also has a name that production's rule covers: the stricter of the two decides.
    containerd.ctr(&["images", "tag", &in_lab.by_tag(), &in_production.by_tag()])?.success()?;
    refused(containerd.run(&in_production.by_tag(), &[])?, "assay: ")?;
    containerd.ctr(&["images", "rm", &in_lab.by_tag()])?.success()?;
    refused(containerd.run(&in_production.by_tag(), &[])?, "assay: ")
}

#[test]
fn image_admitted_without_signatures_is_unpacked_and_runs_beside_a_refused_one_on_its_base() -> Result<()> {
    let scene = Scene::enforcing(Version::V2)?;
    let open = format!(
        "[[rules]]\nname = \"lab\"\nimages = [\"{}/lab/**\"]\naccept = \"unsigned\"\n",
        scene.host.registry.host()
    );
    scene.host.node.apply_policy(&scene.policy.in_mode("enforce").text(&open))?;
    let base = assay_testkit::ImageBuilder::busybox("base")?;
    let unsigned = base.clone().push(&scene.production(), "unsigned")?;
    let admitted = base.layers(1, 1_000).push(&scene.host.repository("lab/app"), "1")?;
    let containerd = &scene.host.containerd;
    containerd.ctr(&["content", "fetch", "--plain-http", &unsigned.by_tag()])?.success()?;
    refused(containerd.pull(&unsigned.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    containerd.pull(&admitted.by_tag(), PullBy::Default)?.success()?;
    containerd.run(&admitted.by_tag(), &[])?.success()?;
    // All layers of the refused one are unpacked now, for the other's sake, and nothing is made of them.
    refused(containerd.run(&unsigned.by_tag(), &[])?, "NO_SIGNATURE")
}

#[test]
fn refused_image_leaves_the_next_pull_of_a_signed_one_alone() -> Result<()> {
    let scene = Scene::enforcing(Version::V1_6)?;
    let (signed, unsigned) = (scene.signed("signed")?, scene.unsigned("unsigned")?);
    refused_cleanly(&scene.host, scene.host.containerd.pull(&unsigned.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    scene.host.containerd.pull(&signed.by_tag(), PullBy::Default)?.success()?;
    assert_eq!(scene.host.containerd.run(&signed.by_tag(), &[])?.success()?.stdout, "hello from signed\n");
    refused(scene.host.containerd.run(&unsigned.by_tag(), &[])?, "NO_SIGNATURE")
}
