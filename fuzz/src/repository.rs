//! A refresh of a root of trust from a TUF repository of which one file is the fuzzer's.

use assay_admission::UnixTime;
use assay_verify::{TufFiles, TufStep, TufTrust};

const ROOT: &[u8] = include_bytes!("../../verify/vectors/tuf-python/1.root.json");
const TARGET: &[u8] = include_bytes!("../../verify/vectors/keyless/trusted_root.json");
/// The rest of the repository, in the order in which it is asked for.
const FILES: [(&str, &[u8]); 4] = [
    ("2.root.json", include_bytes!("../../verify/vectors/tuf-python/2.root.json")),
    ("timestamp.json", include_bytes!("../../verify/vectors/tuf-python/timestamp.json")),
    ("2.snapshot.json", include_bytes!("../../verify/vectors/tuf-python/2.snapshot.json")),
    ("2.targets.json", include_bytes!("../../verify/vectors/tuf-python/2.targets.json")),
];
/// 2026-11-22T12:00:00Z
const NOW: UnixTime = UnixTime::from_seconds(1_795_348_800);

/// The bytes in place of a file of a repository (their length says which), as a configured root, and as what was kept. Whatever they are,
/// the only root of trust that comes out of a refresh is the one that the repository's keys signed.
pub fn tuf_file(bytes: &[u8]) {
    let _ = TufTrust::open(bytes, TufFiles::default());
    if let Ok(kept) = TufFiles::from_json(bytes) {
        assert_eq!(TufFiles::from_json(&kept.to_json()).as_ref(), Ok(&kept));
        let trusted = TufTrust::open(ROOT, kept);
        assert!(trusted.is_err() || trusted.is_ok_and(|trust| trust.trusted_root().is_none_or(|root| root == TARGET)));
    }
    if let Some((replaced, _)) = FILES.get(bytes.len() % FILES.len()) {
        let trust = refresh(replaced, bytes);
        assert!(trust.trusted_root().is_none_or(|root| root == TARGET), "another root of trust by {replaced}");
    }
}

fn refresh(replaced: &str, bytes: &[u8]) -> TufTrust {
    let trust = TufTrust::open(ROOT, TufFiles::default()).expect("the configured root is right");
    let mut refresh = trust.refresh(NOW);
    while let Ok(TufStep::Fetch { path, .. }) = refresh.step() {
        let file = match FILES.iter().find(|(name, _)| *name == path) {
            Some(_) if path == replaced => Some(bytes.to_vec()),
            Some((_, file)) => Some(file.to_vec()),
            None => path.starts_with("targets/").then(|| TARGET.to_vec()),
        };
        if refresh.give(file).is_err() {
            break;
        }
    }
    refresh.into_trust()
}
