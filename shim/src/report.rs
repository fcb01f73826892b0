//! Tells the agent what the gate refused by itself, so that it stands in the node's log. Nobody waits for it: a refusal stands
//! whether it is told or not, and what cannot be told yet is kept in a bounded queue and counted beyond it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use assay_admission::{Gate, GateRefusal, Reason};
use assay_proto::{GateReport, assay::refusals_client::RefusalsClient};
use tokio::{sync::mpsc, time::Instant};
use tonic::{Request, transport::Channel};

/// Most refusals that wait to be told.
const MAX_WAITING: usize = 64;
/// Longest that the agent is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after a failure it is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// The way to the agent's log.
#[derive(Debug)]
pub(crate) struct Reporter {
    queue: mpsc::Sender<Told>,
    left_out: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Told {
    namespace: String,
    about: String,
    reason: Reason,
    at: Instant,
}

impl Reporter {
    /// Reports what `gate` refused to the agent at the other end of `channel`. Needs a tokio runtime, and ends with its last
    /// sender.
    pub(crate) fn new(gate: Gate, channel: Channel) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let left_out = Arc::new(AtomicU64::new(0));
        tokio::spawn(tell_all(gate, RefusalsClient::new(channel), waiting, Arc::clone(&left_out)));
        Self { queue, left_out }
    }

    /// Has a refusal of what is called `about` told. Never waits.
    pub(crate) fn tell(&self, namespace: &str, about: &str, reason: Reason) {
        let (namespace, about) = (namespace.to_owned(), about.to_owned());
        if self.queue.try_send(Told { namespace, about, reason, at: Instant::now() }).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Tells the agent of one refusal, within `patience`: for gates that end with their answer.
pub(crate) async fn tell_once(channel: Channel, refusal: &GateRefusal, patience: Duration) {
    let mut message = Request::new(GateReport::message(refusal));
    message.set_timeout(patience);
    let _ = tokio::time::timeout(patience, RefusalsClient::new(channel).report(message)).await;
}

async fn tell_all(
    gate: Gate,
    agent: RefusalsClient<Channel>,
    mut waiting: mpsc::Receiver<Told>,
    left_out: Arc<AtomicU64>,
) {
    while let Some(Told { namespace, about, reason, at }) = waiting.recv().await {
        let lost = left_out.swap(0, Ordering::Relaxed);
        loop {
            let refusal = GateRefusal::new(gate, &namespace, &about, &reason, at.elapsed(), lost);
            let mut message = Request::new(GateReport::message(&refusal));
            message.set_timeout(PATIENCE);
            let mut agent = agent.clone();
            match tokio::time::timeout(PATIENCE, agent.report(message)).await {
                // An agent that does not know reports, or does not take this one, will not the next time.
                Ok(Ok(_)) => break,
                Ok(Err(status))
                    if matches!(status.code(), tonic::Code::Unimplemented | tonic::Code::InvalidArgument) =>
                {
                    tracing::warn!(message = status.message(), "the agent takes no report of a refusal");
                    break;
                }
                Ok(Err(_)) | Err(_) if waiting.is_closed() => return,
                Ok(Err(_)) | Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}
