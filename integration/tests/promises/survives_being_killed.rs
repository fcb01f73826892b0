//! Agent, snapshotter and fetcher are killed at random moments of parallel pulls, again and again: no unsigned image gets
//! through, no record is lost, no snapshot breaks, and everything works after.

use std::time::Duration;

use anyhow::{Result, ensure};
use assay_testkit::{Program, PullBy, PushedImage, Version, eventually};

use crate::scene::{Scene, refused};

const ROUNDS: u64 = 100;
const RECOVERY: Duration = Duration::from_secs(30);

#[test]
fn a_hundred_kills_admit_nothing_and_break_nothing() -> Result<()> {
    let scene = Scene::enforcing_with_signed_log(Version::V2)?;
    let signed: Vec<_> = (0..4).map(|number| scene.signed(&format!("signed-{number}"))).collect::<Result<_>>()?;
    let unsigned: Vec<_> = (0..2).map(|number| scene.unsigned(&format!("unsigned-{number}"))).collect::<Result<_>>()?;
    let mut dice = Dice::new();
    for round in 0..ROUNDS {
        kill_during_pulls(&scene, &signed, &unsigned, &mut dice)?;
        // Start from nothing again now and then, so that unpacking goes on being interrupted.
        if round % 5 == 4 {
            for image in &signed {
                let _ = scene.host.containerd.remove_image(&image.by_tag());
            }
        }
    }
    for (number, image) in signed.iter().enumerate() {
        eventually("every signed image runs", RECOVERY, || {
            scene.host.containerd.pull(&image.by_tag(), PullBy::Default).is_ok_and(|answer| answer.status.success())
        })?;
        let shown = scene.host.containerd.run(&image.by_tag(), &[])?.success()?;
        assert_eq!(shown.stdout, format!("hello from signed-{number}\n"));
    }
    for image in &unsigned {
        refused(scene.host.containerd.pull(&image.by_tag(), PullBy::Default)?, "NO_SIGNATURE")?;
    }
    scene.host.node.assay(&["audit", "head"])?.success()?;
    scene.host.node.assay(&["audit", "verify"])?.success()?;
    Ok(())
}

fn kill_during_pulls(scene: &Scene, signed: &[PushedImage], unsigned: &[PushedImage], dice: &mut Dice) -> Result<()> {
    let programs = [Program::Agent, Program::Snapshotter, Program::Fetcher];
    let victim = programs.get(dice.below(3)).copied().unwrap_or(Program::Agent);
    let wait = Duration::from_millis(u64::try_from(dice.below(250))?);
    std::thread::scope(|scope| {
        let good = signed.get(dice.below(signed.len()));
        let bad = unsigned.get(dice.below(unsigned.len()));
        let containerd = &scene.host.containerd;
        let pulls: Vec<_> = [good, bad]
            .into_iter()
            .flatten()
            .map(|image| scope.spawn(|| containerd.pull(&image.by_tag(), PullBy::Default)))
            .collect();
        std::thread::sleep(wait);
        // It may be down already from the round before; then there is nothing to kill.
        let _ = scene.host.node.kill(victim);
        for (pull, is_signed) in pulls.into_iter().zip([true, false]) {
            let answer = pull.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a pull panicked")))?;
            ensure!(is_signed || !answer.status.success(), "an unsigned image was admitted: {answer}");
        }
        Ok(())
    })
}

/// Numbers that need not be good, only different from run to run; the seed is printed so that a run can be told apart.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = std::time::UNIX_EPOCH.elapsed().map_or(1, |now| u64::from(now.subsec_nanos()) | 1);
        println!("seed {seed}");
        Self(seed)
    }

    /// Marsaglia's xorshift64.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap_or(1)).unwrap_or(0)
    }
}
