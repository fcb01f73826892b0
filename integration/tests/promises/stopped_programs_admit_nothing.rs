//! Each program of the node in turn stands still in the middle of a pull: the unsigned image is refused, the signed one is
//! admitted or refused, and afterwards everything works.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use assay_testkit::{Program, PullBy, Version, eventually};
use nix::sys::signal::Signal;

use crate::scene::{Scene, refused};

/// Longer than the gate waits, three seconds for each of the two layers: one that let a layer pass would let the image pass.
const LONG: Duration = Duration::from_secs(7);
const SHORT: Duration = Duration::from_secs(2);
const RECOVERY: Duration = Duration::from_secs(30);

#[test]
fn program_that_stands_still_during_a_pull_lets_nothing_through() -> Result<()> {
    let scene = Scene::enforcing_with_signed_log(Version::V2)?;
    let programs =
        [(Program::Agent, LONG), (Program::Fetcher, LONG), (Program::KeyWorker, SHORT), (Program::Snapshotter, SHORT)];
    for (round, (program, standstill)) in programs.into_iter().enumerate() {
        // At the very start, and when containerd has asked already.
        for pause in [0, 150] {
            let tag = |kind: &str| format!("{kind}-{round}-{pause}");
            let (signed, unsigned) = (scene.signed(&tag("signed"))?, scene.unsigned(&tag("unsigned"))?);
            let containerd = &scene.host.containerd;
            std::thread::scope(|scope| -> Result<()> {
                let pulls =
                    [&signed, &unsigned].map(|image| scope.spawn(|| containerd.pull(&image.by_tag(), PullBy::Default)));
                std::thread::sleep(Duration::from_millis(pause));
                scene.host.node.signal(program, Signal::SIGSTOP)?;
                std::thread::sleep(standstill);
                scene.host.node.signal(program, Signal::SIGCONT)?;
                for (pull, is_signed) in pulls.into_iter().zip([true, false]) {
                    let answer = pull.join().ok().context("the pulling thread panicked")??;
                    let name = program.name();
                    ensure!(is_signed || !answer.status.success(), "with {name} standing still: {answer}");
                }
                Ok(())
            })?;
            eventually("the signed image is admitted", RECOVERY, || {
                containerd.pull(&signed.by_tag(), PullBy::Default).is_ok_and(|answer| answer.status.success())
            })?;
            refused(containerd.pull(&unsigned.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
            containerd.remove_image(&signed.by_tag())?;
            ensure!(containerd.snapshots()?.is_empty(), "{}: snapshots are left", program.name());
        }
    }
    Ok(())
}
