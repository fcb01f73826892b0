//! Keyless signatures' parsers one by one, for fuzzing alone: each as if what stands before it were good.

use assay_admission::UnixTime;

use super::{
    Envelope, Maker, Signed, body,
    checkpoint::Checkpoint,
    entry::{Entry, ProofRule},
    leaf::Leaf,
    sct, timestamp,
};
use crate::{json, limits::Budget, trust::SigstoreRoot};

/// 2024-03-01T10:00:00Z, when the seeds were signed.
const AT: UnixTime = UnixTime::from_seconds(1_709_287_200);

pub(crate) fn fuzz_entry(root: &SigstoreRoot, bytes: &[u8]) {
    let Some(entry) = json::parse(bytes).ok().and_then(|value| Entry::read(&value).ok()) else { return };
    for rule in [ProofRule::Promise, ProofRule::Proof] {
        let _ = entry.logged(root, rule, AT, &mut Budget::default());
    }
    let Some(log) = root.logs.first() else { return };
    let envelope = Envelope { payload_type: "application/vnd.in-toto+json", payload: b"{}" };
    for envelope in [None, Some(&envelope)] {
        let _ = body::is_about(&entry, &Signed::Bytes(b"{}"), envelope, b"signature", Maker::Key(&log.key));
    }
}

pub(crate) fn fuzz_checkpoint(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Checkpoint::read(text);
    }
}

pub(crate) fn fuzz_leaf(root: &SigstoreRoot, bytes: &[u8]) {
    let Ok(leaf) = Leaf::read(bytes) else { return };
    assert!(!leaf.identity.is_empty() && !leaf.issuer.is_empty() && !leaf.identity.contains('\n'));
    let (budget, none) = (&mut Budget::default(), &[]);
    let _ = super::chain::issuer_key(root, &leaf, none, AT, budget);
    let _ = sct::verify(bytes, b"issuer", &root.ct_logs, AT, budget);
}

pub(crate) fn fuzz_token(root: &SigstoreRoot, bytes: &[u8]) {
    let _ = timestamp::verify(bytes, b"signature", root, &mut Budget::default());
}
