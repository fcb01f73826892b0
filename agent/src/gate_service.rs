//! `assay.v1.Gate` on a socket: messages in, recorded verdicts out. Who may ask at which gate is settled here.

use std::{sync::Arc, time::Duration};

use assay_admission::{DenyCode, Gate, Reason, Verdict};
use assay_proto::{ConversionError, GateAdmit, assay as wire};
use tonic::{Request, Response, Status};

use crate::judge::Judge;

/// The gates that a socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    /// gate.sock: whatever enforces.
    Gates,
    /// admin.sock: questions that enforce nothing.
    Questions,
}

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct GateService {
    judge: Arc<Judge>,
    serves: Serves,
}

impl GateService {
    /// A service for one socket.
    pub(crate) const fn new(judge: Arc<Judge>, serves: Serves) -> Self {
        Self { judge, serves }
    }
}

#[tonic::async_trait]
impl wire::gate_server::Gate for GateService {
    async fn admit(&self, request: Request<wire::AdmitRequest>) -> Result<Response<wire::AdmitResponse>, Status> {
        let left = deadline(request.metadata());
        let verdict = match GateAdmit::request(request.into_inner()) {
            Ok(request) => {
                let is_question = match request.gate() {
                    Gate::Ask => true,
                    Gate::Pull | Gate::Unpack | Gate::Run => false,
                };
                if is_question != (self.serves == Serves::Questions) {
                    return Err(Status::permission_denied(format!(
                        "requests of the {} gate are not served on this socket",
                        request.gate().as_str()
                    )));
                }
                self.judge.admit(request, left).await
            }
            Err(error) => self.judge.refuse_unread(reason_of(&error)).await,
        };
        Ok(Response::new(GateAdmit::verdict_message(&verdict)))
    }
}

/// How long the caller waits, as it says in `grpc-timeout` (gRPC over HTTP/2, "Timeout"): at most eight digits and a unit.
fn deadline(metadata: &tonic::metadata::MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

fn reason_of(error: &ConversionError) -> Reason {
    let code = match error {
        ConversionError::Request(cap) if cap.is_limit() => DenyCode::Limit,
        ConversionError::Request(_)
        | ConversionError::Field(_)
        | ConversionError::Digest(..)
        | ConversionError::Reference(_)
        | ConversionError::Platform(_) => DenyCode::Malformed,
    };
    Reason::new(code, error.to_string())
}

/// What a person sees of a verdict in the agent's own log.
pub(crate) fn summary(verdict: &Verdict) -> String {
    match verdict.outcome() {
        assay_admission::Outcome::Allow { would_deny } => {
            would_deny.first().map_or_else(|| "admitted".to_owned(), |reason| format!("admitted although {reason}"))
        }
        assay_admission::Outcome::Deny { first, .. } => format!("refused: {first}"),
    }
}
