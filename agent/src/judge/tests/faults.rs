//! The nth write, sync, rename or cut of a file fails: never an admission without its record, and all is well afterwards. A copy
//! of this very test runs under strace, which makes the system call fail; nothing in the agent knows of it.

use std::{os::unix::process::ExitStatusExt as _, process::Command};

use assay_audit::Durability;

use super::*;

/// Where the copy works.
const FOLDER: &str = "ASSAY_FAULTS_IN";
/// What the copy ends with if it admitted the image at all: 32 and a bit for each of its questions.
const ANSWERED: i32 = 32;
/// How many records are there before: the next but one begins a new journal.
const BEFORE: u64 = 252;

/// One signed image asked about twice (the second time from memory), and another, each in its turn.
#[tokio::test]
async fn the_copy_that_runs_under_strace() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let scene = in_folder(Path::new(&folder)).await;
    let judge = scene.judge_with(Waits { verdict: Duration::from_secs(10), ..WAITS }, Stages::REAL);
    let (one, other) = (Image::new("one"), Image::new("other"));
    let mut answers = 0;
    for (bit, image) in [&one, &one, &other, &other].into_iter().enumerate() {
        scene.plays(Fetcher::Brings(vec![scene.signature(image)]));
        if code(&judge.admit(image.request(), None).await).is_none() {
            answers |= 1 << bit;
        }
        // What is kept behind the answer is part of it here.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::process::exit(ANSWERED + answers);
}

/// A scene of its own key and policy over the log and the evidence of `folder`.
async fn in_folder(folder: &Path) -> Scene {
    let own = tempfile::tempdir_in(folder).unwrap();
    let evidence = folder.join("evidence");
    std::fs::create_dir_all(&evidence).unwrap();
    std::os::unix::fs::symlink(&evidence, own.path().join("evidence")).unwrap();
    Scene::with_log(own, &folder.join("log"), Fetcher::Brings(vec![])).await
}

/// Runs the copy with the `nth` of these calls failing; says what it admitted, if it came so far, and whether one failed.
fn run(folder: &Path, call: &str, nth: usize, error: &str) -> (Option<u32>, bool) {
    let trace = folder.join("trace");
    let status = Command::new("strace")
        .args(["-f", "--seccomp-bpf", "-qq", "-e", &format!("trace={call}"), "-e"])
        .arg(format!("inject={call}:error={error}:when={nth}"))
        .arg("-o")
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "judge::tests::faults::the_copy_that_runs_under_strace", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    let has_failed = std::fs::read_to_string(&trace).unwrap().contains("(INJECTED)");
    assert_eq!(status.signal(), None, "the copy was killed");
    let answers = status.code().and_then(|code| u32::try_from(code - ANSWERED).ok()).filter(|answers| *answers < 16);
    (answers, has_failed)
}

/// How many admissions of the log's records are there.
fn recorded(folder: &Path) -> u32 {
    let (log, _) = Log::open(&folder.join("log"), "assay.test/node").unwrap();
    let mut allowed = 0;
    for entry in log.read(BEFORE, 64).unwrap() {
        match Record::parse(&entry).unwrap() {
            Record::Decision(decision) if decision.outcome == RecordedOutcome::Allow => allowed += 1,
            _ => {}
        }
    }
    allowed
}

#[tokio::test]
async fn whichever_write_sync_or_rename_fails_nothing_is_admitted_without_a_record() {
    // strace counts calls for each thread by itself: one of the log's, some that keep evidence.
    let (mut failures, mut refusals) = (0, 0);
    for (call, most) in [("pwrite64", 5), ("write", 8), ("fdatasync", 8), ("fsync", 8), ("rename", 6), ("ftruncate", 2)]
    {
        for nth in 1..=most {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path();
            {
                let (log, _) = Log::open(&folder.join("log"), "assay.test/node").unwrap();
                for n in 0..BEFORE {
                    let durability = if n + 1 == BEFORE { Durability::Synced } else { Durability::Soon };
                    log.append_wait(filler(), durability).unwrap();
                }
            }
            let error = if nth % 2 == 0 { "EIO" } else { "ENOSPC" };
            let (answers, has_failed) = run(folder, call, nth, error);
            failures += u32::from(has_failed);
            let admitted = answers.map_or(0, u32::count_ones);
            refusals += u32::from(answers.is_some_and(|answers| answers != 0b1111));
            let found = recorded(folder);
            assert!(found >= admitted, "{call} {nth}: {admitted} admitted, {found} recorded");
            assert!(has_failed || answers == Some(0b1111), "{call} {nth}: nothing failed, and {answers:?}");
            // The disk is well again: the same images are admitted, whatever was left behind.
            let scene = in_folder(folder).await;
            let judge = scene.judge_with(Waits { verdict: Duration::from_secs(10), ..WAITS }, Stages::REAL);
            for name in ["one", "other"] {
                let image = Image::new(name);
                scene.plays(Fetcher::Brings(vec![scene.signature(&image)]));
                assert_eq!(code(&judge.admit(image.request(), None).await), None, "{call} {nth}");
            }
        }
    }
    assert!(failures >= 20 && refusals >= 3, "{failures} calls failed, {refusals} runs refused something");
}

fn filler() -> Record {
    let (time, program_version) = (assay_admission::UnixTime::from_seconds(0), "filler".to_owned());
    assay_audit::StartRecord { time, program_version, log_size: 0, repaired_bytes: 0 }.into()
}
