//! kill -9 at random moments: after each, records and folders are in step and what was committed is there.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use super::*;

const CHURN: &str = "ASSAY_TEST_CHURN";
const ROUNDS: u64 = 12;

#[test]
fn a_kill_at_any_moment_leaves_records_and_folders_in_step() {
    if let Some(root) = std::env::var_os(CHURN) {
        return churn(Path::new(&root));
    }
    let root = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "overlay::tests::crash::a_kill_at_any_moment_leaves_records_and_folders_in_step",
                "--nocapture",
            ])
            .env(CHURN, root.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = Vec::new();
        let wanted = 3 + usize::try_from(round).unwrap() * 2;
        while told.len() < wanted {
            let line = lines.next().unwrap().unwrap();
            told.extend(line.strip_prefix("committed ").map(ToOwned::to_owned));
        }
        std::thread::sleep(Duration::from_micros(round * 397 % 3000));
        child.kill().unwrap();
        child.wait().unwrap();
        told.extend(
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("committed ").map(ToOwned::to_owned)),
        );
        let overlay = Overlay::open(root.path()).unwrap();
        assert_in_step(root.path(), &overlay);
        for name in told {
            assert_eq!(overlay.stat(&name).unwrap().kind, Kind::Committed);
        }
        for info in overlay.list(&Filter::parse(&[]).unwrap()).unwrap() {
            if info.kind != Kind::Committed {
                overlay.remove(&info.name).unwrap();
            }
        }
    }
}

/// Makes, commits and removes snapshots until it is killed; says what it has committed.
fn churn(root: &Path) {
    let overlay = Overlay::open(root).unwrap();
    let start = u64::from(std::process::id()) * 100_000;
    for n in start.. {
        let name = layer(&overlay, n, None);
        println!("\ncommitted {name}");
        let key = format!("default/3/gone-{n}");
        active(&overlay, &key, Some(&name)).unwrap();
        overlay.remove(&key).unwrap();
        overlay.reap();
    }
}

#[test]
fn a_layer_under_way_is_there_after_the_program_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (root, key) = (folder.path().join("s"), "default/1/extract-1 x");
    let overlay = Overlay::open(&root).unwrap();
    let admission = Admission::Layer(Digest::sha256(b"x"));
    overlay.create(NewKind::Active, key, None, BTreeMap::new(), admission).unwrap();
    // What a killed program leaves: the files as they are, without any closing.
    let copy = folder.path().join("copy");
    let copied = Command::new("cp").arg("-a").args([&root, &copy]).status();
    assert!(copied.unwrap().success());
    Overlay::open(&copy).unwrap().stat(key).unwrap();
    overlay.stat(key).unwrap();
}
