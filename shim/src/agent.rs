//! The agent, at the other end of its gate socket: a request and a deadline come in, its verdict or a refusal goes out.
//! An agent that is away, late or not understood is a refusal; nothing is asked twice.

use std::{path::Path, time::Duration};

use assay_admission::{AdmissionRequest, DenyCode, Outcome, Verdict};
use assay_proto::{GateAdmit, MAX_MESSAGE_BYTES, assay::gate_client::GateClient};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Request, Status, transport::Channel};

use crate::refusal::Refusal;

/// How long before the end of a question the agent's silence is called that.
const ANSWER_MARGIN: Duration = Duration::from_millis(20);

/// The agent's client. It connects when it is first used, and again when the agent was restarted.
#[derive(Clone, Debug)]
pub struct Agent {
    gate: GateClient<Channel>,
    channel: Channel,
}

/// Until when a question may go on, and how long that was in all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    whole: Duration,
}

impl Deadline {
    /// The deadline of a question that begins now.
    pub(crate) fn after(whole: Duration) -> Self {
        Self { at: Instant::now() + whole, whole }
    }

    /// When it is.
    pub(crate) const fn at(self) -> Instant {
        self.at
    }

    /// How long it is until then.
    pub(crate) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// The refusal for want of `what` at the end.
    pub(crate) fn late(self, what: &str) -> Refusal {
        Refusal::own(DenyCode::EvidencePending, format!("{what} within {} ms", self.whole.as_millis()))
    }

    /// The refusal of a question that the agent took and said nothing to.
    fn silent(self) -> Refusal {
        Refusal::own(DenyCode::AgentUnavailable, format!("no answer within {} ms", self.whole.as_millis()))
    }
}

impl Agent {
    /// The agent that listens at `socket` with one of these uids.
    #[must_use]
    pub fn at(socket: &Path, uids: &[u32]) -> Self {
        let channel = assay_proto::connector_to(socket, uids);
        let gate = GateClient::new(channel.clone())
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        Self { gate, channel }
    }

    /// The connection, for the agent's other services on this socket.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The agent's verdict: the admission, or its refusal as this gate's.
    pub(crate) async fn enforce(&self, request: &AdmissionRequest, deadline: Deadline) -> Result<Verdict, Refusal> {
        let verdict = self.ask(request, deadline).await?;
        match verdict.outcome() {
            Outcome::Allow { would_deny } => {
                for reason in would_deny {
                    tracing::warn!(mode = %verdict.mode(), record = ?verdict.record(), "admitted, would be refused: {reason}");
                }
                Ok(verdict)
            }
            Outcome::Deny { first, others } => Err(Refusal::of_agent(&verdict, first, others)),
        }
    }

    /// What the agent says.
    pub(crate) async fn ask(&self, request: &AdmissionRequest, deadline: Deadline) -> Result<Verdict, Refusal> {
        let mut message = Request::new(GateAdmit::request_message(request));
        message.set_timeout(deadline.left());
        let mut gate = self.gate.clone();
        // A little before the whole question ends, so that it is said whose answer is missing. An agent that is well says
        // EVIDENCE_PENDING itself before that.
        let answer = match timeout_at(deadline.at - ANSWER_MARGIN, gate.admit(message)).await {
            Ok(answer) => answer.map_err(|status| unanswered(&status, deadline))?,
            Err(_) => return Err(deadline.silent()),
        };
        GateAdmit::verdict(answer.into_inner())
            .map_err(|error| Refusal::own(DenyCode::Internal, format!("the agent's answer is not understood: {error}")))
    }
}

fn unanswered(status: &Status, deadline: Deadline) -> Refusal {
    let detail = {
        let mut detail = status.message().to_owned();
        let mut source = std::error::Error::source(status);
        for _ in 0..8 {
            let Some(error) = source else { break };
            detail = error.to_string();
            source = error.source();
        }
        detail
    };
    match status.code() {
        Code::DeadlineExceeded => deadline.silent(),
        // What tonic's client answers itself when the time it was given is over.
        Code::Cancelled if deadline.left() <= ANSWER_MARGIN => deadline.silent(),
        Code::ResourceExhausted | Code::OutOfRange => Refusal::own(DenyCode::Limit, detail),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Unimplemented => {
            Refusal::own(DenyCode::AgentUnavailable, detail)
        }
        _ => Refusal::own(DenyCode::Internal, format!("the agent answered {:?}: {detail}", status.code())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_agent_says_of_a_failed_call_becomes_a_reason() {
        let deadline = Deadline::after(Duration::from_secs(9));
        for (code, reason) in [
            (Code::Cancelled, DenyCode::AgentUnavailable),
            (Code::Unavailable, DenyCode::AgentUnavailable),
            (Code::Unknown, DenyCode::AgentUnavailable),
            (Code::DeadlineExceeded, DenyCode::AgentUnavailable),
            (Code::ResourceExhausted, DenyCode::Limit),
            (Code::InvalidArgument, DenyCode::Internal),
            (Code::Ok, DenyCode::Internal),
        ] {
            let refusal = unanswered(&Status::new(code, "x"), deadline);
            assert!(refusal.to_string().starts_with(&format!("assay: {}: ", reason.as_str())), "{refusal}");
            assert_eq!(refusal.own_reason().map(|own| own.code), Some(reason));
        }
    }
}
