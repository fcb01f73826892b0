//! Verdicts in memory: an answer that was recorded once may be given again to the same question under the same policy,
//! until the first of the facts that it rests on stops holding. Never on disk, and never a refusal.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use assay_admission::{AdmissionRequest, Digest, ImageClaim, RecordId, Subject, UnixTime, Verdict};
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

/// Verdicts kept. Each is some hundred bytes.
const CAPACITY: usize = 4_096;
/// Longest life of a verdict: what it rests on is verified again at least this often.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What a cached verdict is found by: the whole question but for the layer chain, and the policy that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

/// The cache.
#[derive(Debug)]
pub(crate) struct VerdictCache {
    entries: Cache<Key, Entry>,
}

/// An admission and until when it holds, by both clocks: one may be set back, the other stands still in suspend.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    verdict: Verdict,
    /// The layer chains for which it holds: those that every image of the question contains. One image is asked about
    /// once for each of its layers, and the answer is the same.
    chains: Arc<[Digest]>,
    record: RecordId,
    until: UnixTime,
    until_monotonic: Instant,
}

impl Key {
    /// The key of `request` under the policy revision `revision`.
    pub(crate) fn of(request: &AdmissionRequest, revision: &Digest) -> Self {
        let mut hash = Sha256::new();
        // Each part is preceded by its length, so that no two questions have one encoding.
        let mut add = |part: &[u8]| {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        };
        add(revision.value());
        add(request.gate().as_str().as_bytes());
        add(request.namespace().as_str().as_bytes());
        add(request.platform().to_string().as_bytes());
        match request.subject() {
            Subject::Chain { chain: _, purpose, images, alike } => {
                add(b"chain");
                add(purpose.as_str().as_bytes());
                add(&u64::try_from(images.len()).unwrap_or(u64::MAX).to_be_bytes());
                // The order in which they are looked at changes nothing in an admission.
                let in_order = |claims: &[ImageClaim]| {
                    let mut claims: Vec<ImageClaim> = claims.to_vec();
                    claims.sort_unstable_by_key(|claim| (claim.manifest, claim.config));
                    claims
                };
                for image in in_order(images).iter().chain(&in_order(alike)) {
                    add(image.manifest.value());
                    add(image.config.value());
                    add(b"i");
                    image.indexes.iter().for_each(|index| add(index.value()));
                    add(b"n");
                    image.names.iter().for_each(|name| add(name.to_string().as_bytes()));
                    add(b"e");
                }
            }
            Subject::Image { name, top } => {
                add(b"image");
                add(name.to_string().as_bytes());
                add(top.map(|digest| digest.to_string()).unwrap_or_default().as_bytes());
            }
        }
        for document in request.documents().values() {
            add(document.digest().value());
            add(document.media_type().as_str().as_bytes());
        }
        Self(hash.finalize().into())
    }
}

impl VerdictCache {
    /// An empty cache.
    pub(crate) fn new() -> Self {
        Self { entries: Cache::new(CAPACITY) }
    }

    /// The verdict for this question, if one is kept and still holds.
    pub(crate) fn get(
        &self,
        key: &Key,
        subject: &Subject,
        now: UnixTime,
        monotonic: Instant,
    ) -> Option<(Verdict, RecordId)> {
        let entry = self.entries.get(key)?;
        if now > entry.until || monotonic > entry.until_monotonic {
            self.entries.remove(key);
            return None;
        }
        let holds = match subject {
            Subject::Chain { chain, .. } => entry.chains.contains(chain),
            Subject::Image { .. } => true,
        };
        holds.then_some((entry.verdict, entry.record))
    }

    /// Keeps a recorded admission, for these chains and until the last second at which its facts hold. Refusals are not
    /// kept: an image that is signed after it was refused is admitted at once.
    pub(crate) fn put(
        &self,
        key: Key,
        verdict: &Verdict,
        chains: &[Digest],
        holds_until: Option<UnixTime>,
        now: UnixTime,
        monotonic: Instant,
    ) {
        let Some(record) = verdict.record().filter(|_| verdict.is_allow()) else { return };
        let longest = i64::try_from(LONGEST.as_secs()).unwrap_or(0);
        let seconds = holds_until.map_or(longest, |until| (until.seconds() - now.seconds()).min(longest));
        let Ok(life) = u64::try_from(seconds) else { return };
        let entry = Entry {
            verdict: verdict.clone(),
            chains: chains.into(),
            record,
            until: UnixTime::from_seconds(now.seconds() + seconds),
            until_monotonic: monotonic + Duration::from_secs(life),
        };
        self.entries.insert(key, entry);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use assay_admission::{
        CandidateName, DenyCode, Documents, Gate, Mode, NameSource, Outcome, Platform, Purpose, Reason,
    };

    use super::*;

    fn request(gate: Gate, name: &str) -> AdmissionRequest {
        let name = CandidateName { reference: name.parse().unwrap(), source: NameSource::Requested };
        let subject = Subject::Image { name, top: None };
        AdmissionRequest::new(gate, "default".parse().unwrap(), Platform::host(), subject, Documents::new()).unwrap()
    }

    fn allow() -> Verdict {
        let outcome = Outcome::Allow { would_deny: vec![] };
        Verdict::new(outcome, Mode::Enforce, None, vec![], Some(RecordId::new(3))).unwrap()
    }

    const NOW: UnixTime = UnixTime::from_seconds(1_000_000);

    #[test]
    fn gate_name_and_policy_all_change_the_key() {
        let policy = Digest::sha256(b"policy");
        let key = Key::of(&request(Gate::Ask, "a:1"), &policy);
        assert_eq!(key, Key::of(&request(Gate::Ask, "docker.io/library/a:1"), &policy));
        assert_ne!(key, Key::of(&request(Gate::Pull, "a:1"), &policy));
        assert_ne!(key, Key::of(&request(Gate::Ask, "a:2"), &policy));
        assert_ne!(key, Key::of(&request(Gate::Ask, "a:1"), &Digest::sha256(b"policz")));
    }

    #[test]
    fn a_verdict_on_an_image_holds_for_its_chains_and_no_other() {
        let chain = |text: &[u8]| subject(text, Purpose::Extraction, &[], &[]);
        let ask = |text: &[u8]| {
            let namespace = "default".parse().unwrap();
            AdmissionRequest::new(Gate::Unpack, namespace, Platform::host(), chain(text), Documents::new()).unwrap()
        };
        let (cache, policy, start) = (VerdictCache::new(), Digest::sha256(b""), Instant::now());
        let key = Key::of(&ask(b"1"), &policy);
        cache.put(key, &allow(), &[Digest::sha256(b"1"), Digest::sha256(b"2")], None, NOW, start);
        for (text, holds) in [(b"1", true), (b"2", true), (b"3", false)] {
            let request = ask(text);
            assert_eq!(Key::of(&request, &policy), key);
            assert_eq!(cache.get(&key, request.subject(), NOW, start).is_some(), holds);
        }
    }

    fn subject(chain: &[u8], purpose: Purpose, images: &[&[u8]], alike: &[&[u8]]) -> Subject {
        let claims = |names: &[&[u8]]| {
            let claim = |name: &&[u8]| ImageClaim {
                manifest: Digest::sha256(name),
                config: Digest::sha256(b"c"),
                indexes: vec![],
                names: vec![],
            };
            names.iter().map(claim).collect()
        };
        Subject::Chain { chain: Digest::sha256(chain), purpose, images: claims(images), alike: claims(alike) }
    }

    #[test]
    fn purpose_and_what_was_left_out_change_the_key_and_order_does_not() {
        let key = |subject: Subject| {
            let (namespace, documents) = ("default".parse().unwrap(), Documents::new());
            let asked = AdmissionRequest::new(Gate::Unpack, namespace, Platform::host(), subject, documents).unwrap();
            Key::of(&asked, &Digest::sha256(b"policy"))
        };
        let (a, b): (&[u8], &[u8]) = (b"a", b"b");
        let of = |purpose, images: &[&[u8]], alike: &[&[u8]]| key(subject(b"x", purpose, images, alike));
        let both = of(Purpose::Extraction, &[a, b], &[]);
        assert_eq!(both, of(Purpose::Extraction, &[b, a], &[]));
        assert_ne!(both, of(Purpose::Use, &[a, b], &[]));
        assert_ne!(both, of(Purpose::Extraction, &[a], &[b]));
        assert_ne!(of(Purpose::Extraction, &[b], &[a]), of(Purpose::Extraction, &[a], &[b]));
    }

    #[test]
    fn a_verdict_ends_with_its_first_fact_by_either_clock() {
        let cache = VerdictCache::new();
        let asked = request(Gate::Ask, "a:1");
        let (key, subject) = (Key::of(&asked, &Digest::sha256(b"")), asked.subject());
        let start = Instant::now();
        let later = |seconds: i64| UnixTime::from_seconds(NOW.seconds() + seconds);
        cache.put(key, &allow(), &[], Some(later(10)), NOW, start);
        assert!(cache.get(&key, subject, later(10), start).is_some());
        assert!(cache.get(&key, subject, later(11), start).is_none());
        cache.put(key, &allow(), &[], Some(later(10)), NOW, start);
        assert!(cache.get(&key, subject, later(-500), start + Duration::from_secs(11)).is_none());
    }

    #[test]
    fn refusals_and_facts_that_ended_are_not_kept() {
        let cache = VerdictCache::new();
        let asked = request(Gate::Ask, "a:1");
        let (key, subject) = (Key::of(&asked, &Digest::sha256(b"")), asked.subject());
        let start = Instant::now();
        cache.put(key, &Verdict::unrecorded_refusal(Reason::new(DenyCode::NoSignature, "")), &[], None, NOW, start);
        assert!(cache.get(&key, subject, NOW, start).is_none());
        cache.put(key, &allow(), &[], Some(UnixTime::from_seconds(NOW.seconds() - 1)), NOW, start);
        assert!(cache.get(&key, subject, NOW, start).is_none());
    }
}
