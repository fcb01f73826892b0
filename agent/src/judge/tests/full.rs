//! No room for evidence: every verdict is the one that there would be with it.

use super::*;

#[tokio::test]
async fn a_full_disk_under_the_evidence_changes_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let (evidence, log) = (folder.path().join("evidence"), folder.path().join("log"));
    std::fs::create_dir(&evidence).unwrap();
    std::fs::create_dir(&log).unwrap();
    let mount = |words: &[&str]| {
        assert!(std::process::Command::new(words[0]).args(&words[1..]).arg(&evidence).status().unwrap().success());
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs"]);
    let scene = Scene::with_log(folder, &log, Fetcher::Brings(vec![])).await;
    while std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(evidence.join("filler"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 1024]))
        .is_ok()
    {}
    let (signed, unsigned) = (Image::new("signed"), Image::new("unsigned"));
    let mut answers = Vec::new();
    for judge in [Arc::clone(&scene.judge), scene.restarted()] {
        scene.plays(Fetcher::Brings(vec![scene.signature(&signed)]));
        answers.push(code(&judge.admit(signed.request(), None).await));
        answers.push(code(&judge.admit(unsigned.request(), None).await));
        // What is kept is written behind the answer's back.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Nothing was kept: without the registry there is nothing to go by, and that is no admission.
    scene.plays(Fetcher::Fails(DenyCode::EvidenceUnavailable));
    let offline = code(&scene.restarted().admit(signed.request(), None).await);
    drop(scene.judge);
    mount(&["umount", "-l"]);
    drop(scene.folder);
    let (admitted, refused) = (None, Some(DenyCode::NotSatisfied));
    assert_eq!(answers, [admitted, refused, admitted, refused]);
    assert_eq!(offline, Some(DenyCode::EvidenceUnavailable));
}
