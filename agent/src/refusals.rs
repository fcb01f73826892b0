//! What gates refused by themselves, into the log: reports come in, records go out, equal ones of a minute as one with their
//! number. Nothing that is reported changes an answer, and no number of reports fills the log.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use assay_admission::{DenyCode, Gate, GateRefusal, UnixTime};
use assay_audit::{Durability, Log, Record, RefusalRecord};
use assay_proto::{GateReport, assay as wire};
use tonic::{Request, Response, Status};

use crate::{judge::now, recording::append};

/// How long equal refusals are gathered after the first.
const WINDOW: Duration = Duration::from_secs(60);
/// Most kinds of refusals that are told apart within a window; further ones go by gate and code alone, of which there are few.
const MAX_KINDS: usize = 16;

/// The refusals that gates report.
#[derive(Clone, Debug)]
pub(crate) struct Refusals {
    log: Arc<Log>,
    window: Duration,
    /// Protects what is gathered in the windows that are open. Held for look-ups only.
    gathered: Arc<Mutex<HashMap<Kind, Gathered>>>,
}

/// What makes two refusals equal: all but what was refused, which has a number of its own each time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Whole(Gate, String, DenyCode, String),
    Code(Gate, DenyCode),
}

/// The refusals of one kind since the first one was recorded.
#[derive(Clone, Debug, Default)]
struct Gathered {
    times: u64,
    left_out: u64,
    since: Option<UnixTime>,
    last: Option<GateRefusal>,
}

impl Refusals {
    /// Refusals into this log. Needs a tokio runtime when one is taken.
    pub(crate) fn new(log: Arc<Log>) -> Self {
        Self { log, window: WINDOW, gathered: Arc::default() }
    }

    /// Records the first refusal of its kind at once, and how many followed it when its window has ended.
    pub(crate) async fn take(&self, refusal: GateRefusal) {
        let since = since(&refusal);
        let Some(kind) = self.gather(&refusal, since) else { return };
        let left_out = refusal.left_out();
        self.record(record(&refusal, 1, since, left_out)).await;
        let refusals = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(refusals.window).await;
            refusals.close(&kind).await;
        });
    }

    /// Records what is gathered by now: the agent is about to stop.
    pub(crate) async fn close_all(&self) {
        let kinds: Vec<Kind> = self.gathered.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        for kind in kinds {
            self.close(&kind).await;
        }
    }

    /// Counts it to its kind; gives the kind back if it is the first and has to be recorded.
    fn gather(&self, refusal: &GateRefusal, since: UnixTime) -> Option<Kind> {
        let (gate, code) = (refusal.gate(), refusal.reason().code);
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = Kind::Whole(gate, refusal.namespace().to_owned(), code, refusal.reason().detail.clone());
        let has_room = gathered.len() < MAX_KINDS;
        let kind = if has_room || gathered.contains_key(&whole) { whole } else { Kind::Code(gate, code) };
        let Some(equal) = gathered.get_mut(&kind) else {
            gathered.insert(kind.clone(), Gathered::default());
            return Some(kind);
        };
        equal.times += 1;
        equal.left_out = equal.left_out.saturating_add(refusal.left_out());
        equal.since = Some(equal.since.map_or(since, |first| first.min(since)));
        equal.last = Some(refusal.clone());
        None
    }

    async fn close(&self, kind: &Kind) {
        let gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner).remove(kind);
        if let Some(Gathered { times, left_out, since: Some(since), last: Some(last) }) = gathered {
            self.record(record(&last, times, since, left_out)).await;
        }
    }

    async fn record(&self, record: Record) {
        // The refusal stands whether or not it is on record.
        if let Err(error) = append(&self.log, record, Durability::Soon).await {
            tracing::error!(%error, "what a gate refused by itself cannot be recorded");
        }
    }
}

fn since(refusal: &GateRefusal) -> UnixTime {
    let ago = i64::try_from(refusal.ago().as_secs()).unwrap_or(i64::MAX);
    UnixTime::from_seconds(now().seconds().saturating_sub(ago).max(0))
}

fn record(refusal: &GateRefusal, times: u64, since: UnixTime, left_out: u64) -> Record {
    Record::from(RefusalRecord {
        time: now(),
        gate: refusal.gate(),
        namespace: refusal.namespace().to_owned(),
        about: refusal.about().to_owned(),
        reason: refusal.reason().clone(),
        times,
        since,
        left_out,
    })
}

#[tonic::async_trait]
impl wire::refusals_server::Refusals for Refusals {
    async fn report(&self, request: Request<wire::ReportRequest>) -> Result<Response<wire::ReportResponse>, Status> {
        let refusal = GateReport::refusal(request.get_ref())
            .map_err(|error| Status::invalid_argument(format!("failed to read a report: {error}")))?;
        tracing::warn!(gate = refusal.gate().as_str(), about = refusal.about(), "a gate refused: {}", refusal.reason());
        self.take(refusal).await;
        Ok(Response::new(wire::ReportResponse {}))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use assay_admission::Reason;

    use super::*;

    struct Scene {
        _folder: tempfile::TempDir,
        log: Arc<Log>,
        refusals: Refusals,
    }

    impl Scene {
        fn new(window: Duration) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let log = Arc::new(Log::open(&folder.path().join("log"), "assay.test/node").unwrap().0);
            let refusals = Refusals { window, ..Refusals::new(Arc::clone(&log)) };
            Self { _folder: folder, log, refusals }
        }

        /// Every record by now: its text, its last key, its number and how many the gate left out.
        fn recorded(&self) -> Vec<(String, String, u64, u64)> {
            // What is handed to the system is made durable, and so readable, by this.
            self.log.append_wait(start(), Durability::Synced).unwrap();
            let entries = self.log.read(0, 1000).unwrap();
            let refusals = entries.iter().filter_map(|entry| match Record::parse(entry).unwrap() {
                Record::Refusal(refusal) => Some(*refusal),
                _ => None,
            });
            refusals
                .map(|refusal| {
                    let text = format!("{} {}", refusal.reason.code, refusal.reason.detail);
                    (text, refusal.about, refusal.times, refusal.left_out)
                })
                .collect()
        }
    }

    fn start() -> Record {
        let (time, program_version) = (UnixTime::from_seconds(0), String::new());
        assay_audit::StartRecord { time, program_version, log_size: 0, repaired_bytes: 0 }.into()
    }

    fn refusal(code: DenyCode, detail: &str, about: &str, left_out: u64) -> GateRefusal {
        let reason = Reason::new(code, detail);
        GateRefusal::new(Gate::Unpack, "default", about, &reason, Duration::from_secs(2), left_out)
    }

    #[tokio::test]
    async fn equal_refusals_of_a_window_are_two_records_with_their_number() {
        let scene = Scene::new(Duration::from_secs(60));
        for n in 0..1000 {
            scene.refusals.take(refusal(DenyCode::Limit, "5000 images", &format!("default/{n}/x"), 0)).await;
        }
        scene.refusals.take(refusal(DenyCode::Internal, "containerd", "default/7/y", 3)).await;
        let first = |text: &str, about: &str, left_out| (text.to_owned(), about.to_owned(), 1, left_out);
        let mut expected =
            vec![first("LIMIT 5000 images", "default/0/x", 0), first("INTERNAL containerd", "default/7/y", 3)];
        assert_eq!(scene.recorded(), expected);
        scene.refusals.close_all().await;
        expected.push(("LIMIT 5000 images".into(), "default/999/x".into(), 999, 0));
        assert_eq!(scene.recorded(), expected);
        scene.refusals.close_all().await;
        assert_eq!(scene.recorded(), expected);
    }

    #[tokio::test]
    async fn a_window_ends_by_itself_and_the_next_refusal_is_recorded_at_once_again() {
        let scene = Scene::new(Duration::from_millis(50));
        for n in 0..3 {
            scene.refusals.take(refusal(DenyCode::Limit, "", &n.to_string(), 0)).await;
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
        scene.refusals.take(refusal(DenyCode::Limit, "", "3", 0)).await;
        let told: Vec<(String, u64)> =
            scene.recorded().into_iter().map(|(_, about, times, _)| (about, times)).collect();
        assert_eq!(told, [("0".to_owned(), 1), ("2".to_owned(), 2), ("3".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn no_number_of_different_refusals_fills_the_log() {
        let scene = Scene::new(Duration::from_secs(60));
        for n in 0..2000 {
            let namespace = n.to_string();
            let reason = Reason::new(DenyCode::UnknownChain, format!("key {n}"));
            let refusal = GateRefusal::new(Gate::Unpack, &namespace, "x", &reason, Duration::ZERO, 0);
            scene.refusals.take(refusal).await;
        }
        scene.refusals.close_all().await;
        let recorded = scene.recorded();
        assert_eq!(recorded.len(), MAX_KINDS + 2);
        assert_eq!(recorded.iter().map(|(_, _, times, _)| times).sum::<u64>(), 2000);
    }
}
