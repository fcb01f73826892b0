//! The way of one image: request → evidence → facts → decision → record → verdict. One direction; only what was recorded
//! becomes a verdict, and every fault on the way is a refusal.

mod case;
mod look_up;
mod proof;
mod pulled;
mod record;
mod stages;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use assay_admission::{
    AdmissionRequest, DenyCode, Digest, Gate, Outcome, Reason, Subject, Thoroughness, UnixTime, Verdict,
};
use assay_audit::{Durability, Log};
use tokio::sync::watch;

use proof::Decided;
use pulled::{ExactNames, Pulled};
pub(crate) use stages::Stages;

use crate::{
    active::{ActivePolicy, Loaded},
    cache::{Key, VerdictCache},
    collect::Collect,
    evidence_store::EvidenceStore,
    gate_service::summary,
    recording::append,
};

/// What is kept of a caller's time for recording and sending the answer that there is none yet.
const ANSWER_MARGIN: Duration = Duration::from_millis(200);

/// Judges. One for the process.
pub(crate) struct Judge {
    policy: Arc<ActivePolicy>,
    evidence: Arc<EvidenceStore>,
    collector: Arc<dyn Collect>,
    log: Arc<Log>,
    waits: Waits,
    stages: Stages,
    cache: VerdictCache,
    pulled: Pulled,
    /// Judgements under way, so that parallel requests for one image are judged once. Held for look-ups only.
    under_way: Mutex<HashMap<Question, watch::Receiver<Option<Verdict>>>>,
    counts: Counts,
}

/// What is judged once however often it is asked at the same time: a cache key, the layer chain if one is asked about, and how
/// thoroughly.
type Question = (Key, Option<Digest>, Thoroughness);

/// Where an answer came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Memory,
    Judgement,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// A gate that holds locks in containerd waits this long.
    pub(crate) verdict: Duration,
    /// A collection goes on this long.
    pub(crate) collection: Duration,
}

/// What was answered since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) allowed: AtomicU64,
    pub(crate) denied: AtomicU64,
    pub(crate) cache_hits: AtomicU64,
}

impl Judge {
    /// Puts the stages together.
    pub(crate) fn new(
        policy: Arc<ActivePolicy>,
        evidence: Arc<EvidenceStore>,
        collector: Arc<dyn Collect>,
        log: Arc<Log>,
        waits: Waits,
        stages: Stages,
    ) -> Arc<Self> {
        Arc::new(Self {
            policy,
            evidence,
            collector,
            log,
            waits,
            stages,
            cache: VerdictCache::new(),
            pulled: Pulled::default(),
            under_way: Mutex::default(),
            counts: Counts::default(),
        })
    }

    /// What was answered since the start.
    pub(crate) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The recorded answer to `request`, within the gate's time and, if the caller says how long it waits, before that ends.
    pub(crate) async fn admit(self: &Arc<Self>, request: AdmissionRequest, left: Option<Duration>) -> Verdict {
        let started = Instant::now();
        // What is known of pulls now counts for the whole question.
        let exact = Arc::new(self.pulled.exact(request.subject()));
        let (verdict, source) = match self.remembered(&request, &exact).await {
            Some(verdict) => (verdict, Source::Memory),
            None => (self.answer(&request, &exact, left).await, Source::Judgement),
        };
        if let (true, Gate::Pull, Subject::Image { name, top: Some(top) }) =
            (verdict.is_allow(), request.gate(), request.subject())
        {
            self.pulled.note(&name.reference, *top);
        }
        if !verdict.is_allow() && request.thoroughness() == Thoroughness::Glance {
            // The gate asks again.
            return verdict;
        }
        let count = if verdict.is_allow() { &self.counts.allowed } else { &self.counts.denied };
        count.fetch_add(1, Ordering::Relaxed);
        // What is answered from memory stands in the node's log; journals of small devices need not hold it too.
        if source == Source::Judgement {
            tracing::info!(
                gate = request.gate().as_str(),
                namespace = request.namespace().as_str(),
                record = verdict.record().map(assay_admission::RecordId::index),
                rule = verdict.rule(),
                us = started.elapsed().as_micros(),
                "{}",
                summary(&verdict)
            );
        }
        verdict
    }

    /// What a question is remembered by: besides itself, the policy with all that it names, what is known of revoked certificates,
    /// and the names that stand for some of its own.
    fn key(&self, request: &AdmissionRequest, exact: &ExactNames, loaded: &Loaded) -> Key {
        let revocation = self.evidence.revocation().revision().to_be_bytes();
        let exact = exact.digest(request.subject());
        let exact = exact.as_ref().map(Digest::value).unwrap_or_default();
        let revision = [loaded.policy.digest_of_all().value(), revocation.as_slice(), exact].concat();
        Key::of(request, &Digest::sha256(&revision))
    }

    /// The answer to a request that could not even be read.
    pub(crate) async fn refuse_unread(&self, reason: Reason) -> Verdict {
        self.counts.denied.fetch_add(1, Ordering::Relaxed);
        tracing::warn!("a request was refused unread: {reason}");
        self.recorded_refusal(record::unread(&reason, now()), reason).await
    }

    /// The answer that was given to this question before, once its use is on record.
    async fn remembered(&self, request: &AdmissionRequest, exact: &ExactNames) -> Option<Verdict> {
        let loaded = self.policy.current()?;
        let key = self.key(request, exact, &loaded);
        let (verdict, first) = self.cache.get(&key, request.subject(), now(), Instant::now())?;
        // Its first record was synced before it was ever used. This use is handed to the system before it is answered
        // and synced within a second; if even that fails, the image is judged anew, and refused for want of a record.
        let record = record::repeated(request, &verdict, first, &loaded, now());
        append(&self.log, record, Durability::Soon).await.ok()?;
        self.counts.cache_hits.fetch_add(1, Ordering::Relaxed);
        Some(verdict)
    }

    async fn answer(
        self: &Arc<Self>,
        request: &AdmissionRequest,
        exact: &Arc<ExactNames>,
        left: Option<Duration>,
    ) -> Verdict {
        let Some(loaded) = self.policy.current() else {
            let detail = self.policy.error().unwrap_or_default();
            return self.refuse(request, None, Reason::new(DenyCode::NoPolicy, detail)).await;
        };
        let key = self.key(request, exact, &loaded);
        let mut judgement = self.join(key, request, exact, Arc::clone(&loaded));
        let patience = match request.gate() {
            Gate::Unpack | Gate::Run => self.waits.verdict,
            Gate::Pull | Gate::Ask => self.waits.collection + self.waits.verdict,
        };
        let patience = left.map_or(patience, |left| patience.min(left.saturating_sub(ANSWER_MARGIN)));
        let waited = tokio::time::timeout(patience, judgement.wait_for(Option::is_some))
            .await
            .map(|judged| judged.map(|verdict| verdict.clone()));
        let reason = match waited {
            Ok(Ok(Some(verdict))) => return verdict,
            Ok(Ok(None)) => Reason::new(DenyCode::Internal, "a judgement ended without a verdict"),
            Ok(Err(_)) => Reason::new(DenyCode::Internal, "a judgement was abandoned"),
            Err(_) => Reason::new(
                DenyCode::EvidencePending,
                format!("nothing was decided within {} ms", patience.as_millis()),
            ),
        };
        self.refuse(request, Some(&loaded), reason).await
    }

    /// Starts the judgement of this question, or joins the one that is under way. It goes on when nobody waits any more.
    fn join(
        self: &Arc<Self>,
        key: Key,
        request: &AdmissionRequest,
        exact: &Arc<ExactNames>,
        loaded: Arc<Loaded>,
    ) -> watch::Receiver<Option<Verdict>> {
        let question = match request.subject() {
            Subject::Chain { chain, .. } => (key, Some(*chain), request.thoroughness()),
            Subject::Image { .. } => (key, None, request.thoroughness()),
        };
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(receiver) = under_way.get(&question) {
            return receiver.clone();
        }
        let (sender, receiver) = watch::channel(None);
        under_way.insert(question, receiver.clone());
        let (judge, request, exact) = (Arc::clone(self), request.clone(), Arc::clone(exact));
        tokio::spawn(async move {
            let judged = tokio::spawn({
                let (judge, request, loaded) = (Arc::clone(&judge), request.clone(), Arc::clone(&loaded));
                async move { judge.judge(key, &request, &exact, &loaded).await }
            });
            // A panic in judging one image is a refusal of that image, and of nothing else.
            let verdict = match judged.await {
                Ok(verdict) => verdict,
                Err(failure) => {
                    let what = if failure.is_panic() { "judging it panicked" } else { "judging it was cut off" };
                    judge.refuse(&request, Some(&loaded), Reason::new(DenyCode::Internal, what)).await
                }
            };
            judge.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&question);
            let _ = sender.send(Some(verdict));
        });
        receiver
    }

    /// The one function that shows the way.
    async fn judge(&self, key: Key, request: &AdmissionRequest, exact: &ExactNames, loaded: &Arc<Loaded>) -> Verdict {
        let at = now();
        // Request → evidence: what is kept here first; the fetcher only if that does not suffice.
        let mut case = match self.open_case(request, exact, loaded).await {
            Ok(case) => case,
            Err(reason) => return self.refuse(request, Some(loaded), reason).await,
        };
        // Evidence → facts → decision.
        let decided = match request.thoroughness() {
            Thoroughness::Glance => {
                let decided = case.decide(loaded, at, self.stages, &self.evidence).await;
                if let Some(reason) = at_a_glance(&decided) {
                    return Verdict::unrecorded_refusal(reason);
                }
                decided
            }
            Thoroughness::Full => self.settle(&mut case, loaded).await,
        };
        let decision = match decided {
            Ok(decided) => decided.decision,
            Err(reason) => return self.refuse(request, Some(loaded), reason).await,
        };
        // Decision → record → verdict.
        let recorded =
            match append(&self.log, record::decided(request, &decision, loaded, at), Durability::Synced).await {
                Ok(recorded) => recorded,
                Err(error) => {
                    return Verdict::unrecorded_refusal(Reason::new(DenyCode::LogUnavailable, error.to_string()));
                }
            };
        let verdict = record::verdict(&decision, &recorded);
        if verdict.is_allow() {
            // What a tag leads to changes: only what is named by digest is remembered.
            if names_a_digest(request.subject()) {
                self.cache.put(key, &verdict, &case.common_chains(), decision.holds_until(), at, Instant::now());
            }
            let kept = self.keep(case, request);
            match request.gate() {
                // Unpacking asks about the same image in a moment, and is to find what was collected. A failure was told.
                Gate::Pull => drop(kept.await),
                // Behind the gate's back: a crash before it is done costs a collection.
                Gate::Unpack | Gate::Run | Gate::Ask => {}
            }
        }
        verdict
    }

    /// Decides by what is kept, and collects only as long as that may change the decision for the better.
    ///
    /// By the clock as it is each time: an OCSP answer is made when it is asked for, and must not be from the future.
    async fn settle(&self, case: &mut case::OpenCase, loaded: &Arc<Loaded>) -> Result<Decided, Reason> {
        let mut decided = case.decide(loaded, now(), self.stages, &self.evidence).await?;
        // The likeliest image alone, then the others: what the first settles need not wait for them.
        for most in [1, case::MAX_COLLECTED_IMAGES] {
            // Lists before signatures: with those that are kept and a fresh list there may be nothing else to ask for.
            for collects in [false, true] {
                if case::is_settled(&decided.decision) {
                    return Ok(decided);
                }
                if collects && self.collect_for(case, loaded, most).await {
                    decided = case.decide(loaded, now(), self.stages, &self.evidence).await?;
                }
                if !case::is_settled(&decided.decision) && self.look_up(case, &decided).await {
                    decided = case.decide(loaded, now(), self.stages, &self.evidence).await?;
                }
            }
        }
        Ok(decided)
    }

    /// Keeps what an admitted image was judged by.
    fn keep(&self, case: case::OpenCase, request: &AdmissionRequest) -> tokio::task::JoinHandle<()> {
        let store = Arc::clone(&self.evidence);
        let (documents, artifacts) = case.into_collected(request.documents());
        tokio::task::spawn_blocking(move || {
            if (!documents.is_empty() || !artifacts.is_empty())
                && let Err(error) = store.keep(&documents, &artifacts)
            {
                tracing::warn!(%error, "evidence cannot be kept; it will be collected again");
            }
        })
    }

    /// A refusal that no policy decided: recorded, unless the gate has only glanced.
    async fn refuse(&self, request: &AdmissionRequest, loaded: Option<&Arc<Loaded>>, reason: Reason) -> Verdict {
        match request.thoroughness() {
            Thoroughness::Glance => return Verdict::unrecorded_refusal(reason),
            Thoroughness::Full => {}
        }
        self.recorded_refusal(record::refused(request, &reason, loaded, now()), reason).await
    }

    async fn recorded_refusal(&self, record: assay_audit::Record, reason: Reason) -> Verdict {
        match append(&self.log, record, Durability::Synced).await {
            Ok(recorded) => record::refusal(reason, &recorded),
            Err(error) => {
                tracing::error!(%error, "a refusal cannot be recorded");
                Verdict::unrecorded_refusal(reason)
            }
        }
    }
}

/// Why a glance does not settle it; nothing if it does. What would be admitted for want of a strict rule has to be asked about
/// in full, so that its record tells what its signatures prove.
fn at_a_glance(decided: &Result<Decided, Reason>) -> Option<Reason> {
    let decision = match decided {
        Ok(decided) => &decided.decision,
        Err(reason) => return Some(reason.clone()),
    };
    match decision.outcome() {
        Outcome::Allow { would_deny } if would_deny.is_empty() => None,
        Outcome::Allow { .. } => Some(Reason::new(DenyCode::EvidencePending, "its signatures were not collected yet")),
        Outcome::Deny { first, .. } => Some(first.clone()),
    }
}

fn names_a_digest(subject: &Subject) -> bool {
    match subject {
        Subject::Chain { .. } => true,
        Subject::Image { name, top } => top.is_some() || name.reference.digest().is_some(),
    }
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// The wall clock. A clock before 1970 reads as 1970.
pub(crate) fn now() -> UnixTime {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    UnixTime::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}
