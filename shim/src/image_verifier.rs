//! The pull gate: what containerd says of an image before it fetches it comes in, an admission or a refusal with one line of text
//! goes out. Asks the agent under the image's full name and enforces its verdict; whatever fails on the way is a refusal.

mod call;
mod config;

use std::{
    ffi::OsString,
    io::{self, Read},
    path::Path,
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use assay_admission::{
    AdmissionRequest, DenyCode, Documents, Gate, GateRefusal, Namespace, Outcome, Platform, RequestError, Verdict,
};

use crate::{
    agent::{Agent, Deadline},
    refusal::{Refusal, bounded},
    report::tell_once,
};
use call::{Call, CallError};
use config::PullConfig;

/// Longest that the agent's log is waited for after a refusal of the gate's own; the refusal itself stands.
const REPORT_TIMEOUT: Duration = Duration::from_millis(500);
/// How much longer than a question may take the whole program waits for its own answer.
const HANG_MARGIN: Duration = Duration::from_millis(100);

/// What containerd is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullAnswer {
    /// The image may be fetched; a word on why, or on what speaks against it.
    Admitted(String),
    /// It may not; the reason, and what to do.
    Refused(String),
}

/// Answers one call of containerd's image verifier directory: its `arguments`, without the program's own name, and `stdin`, for the
/// node below `root`. Never panics and never takes noticeably longer than configured.
pub fn judge_pull(root: &Path, arguments: Vec<OsString>, stdin: impl Read + Send + 'static) -> PullAnswer {
    let answer = match PullConfig::load(root) {
        Ok(config) => {
            let longest = config.verdict_timeout + HANG_MARGIN;
            within(longest, move || judge(&config, arguments, stdin))
        }
        Err(error) => Err(Refusal::own(DenyCode::Internal, format!("failed to load configuration: {error}"))),
    };
    match answer {
        Ok(text) => PullAnswer::Admitted(text),
        Err(refusal) => PullAnswer::Refused(refusal.to_string()),
    }
}

/// Refuses when it cannot even be told whose root this is.
#[must_use]
pub fn refuse_without_root(error: &io::Error) -> PullAnswer {
    let detail = format!("the kernel does not say which program this is: {error}");
    PullAnswer::Refused(Refusal::own(DenyCode::Internal, detail).to_string())
}

/// What `answer` gives, on a thread of its own: neither a panic nor a file that hangs may keep the reason from being said.
fn within<T: Send + 'static>(
    longest: Duration,
    answer: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let spawned = std::thread::Builder::new().spawn(move || sender.send(answer()));
    if let Err(error) = spawned {
        return Err(Refusal::own(DenyCode::Internal, format!("no thread could be started: {error}")));
    }
    receiver.recv_timeout(longest).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => {
            let detail = format!("the pull gate itself was not done within {} ms", longest.as_millis());
            Err(Refusal::own(DenyCode::EvidencePending, detail))
        }
        RecvTimeoutError::Disconnected => Err(Refusal::own(DenyCode::Internal, "the pull gate panicked")),
    })
}

fn judge(config: &PullConfig, arguments: Vec<OsString>, stdin: impl Read) -> Result<String, Refusal> {
    let deadline = Deadline::after(config.verdict_timeout);
    let call = Call::read(arguments, stdin);
    let about = call.as_ref().map_or_else(|error| error.about.clone(), |call| call.name.reference.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Refusal::own(DenyCode::Internal, error.to_string()))?;
    runtime.block_on(async {
        let agent = Agent::at(&config.gate, &config.agent_uids());
        let answer = match call {
            Ok(call) => ask(&agent, call, deadline).await,
            Err(CallError { code, detail, .. }) => Err(Refusal::own(code, detail)),
        };
        if let Err(Some(own)) = answer.as_ref().map_err(Refusal::own_reason)
            && own.code != DenyCode::AgentUnavailable
        {
            let patience = REPORT_TIMEOUT.min(deadline.left());
            let refusal = GateRefusal::new(Gate::Pull, "", &about, own, Duration::ZERO, 0);
            tell_once(agent.channel(), &refusal, patience).await;
        }
        answer
    })
}

async fn ask(agent: &Agent, call: Call, deadline: Deadline) -> Result<String, Refusal> {
    let name = call.name.to_string();
    let request = question(call).map_err(|error| Refusal::own(DenyCode::Limit, error.to_string()))?;
    let verdict = agent.enforce(&request, deadline).await?;
    Ok(admitted(&name, &verdict))
}

/// containerd does not say in which namespace it pulls.
fn question(call: Call) -> Result<AdmissionRequest, RequestError> {
    let namespace = Namespace::untold();
    AdmissionRequest::new(Gate::Pull, namespace, Platform::host(), call.into_subject(), Documents::new())
}

/// A line for containerd's log.
fn admitted(name: &str, verdict: &Verdict) -> String {
    let mut text = format!("assay: {name} is admitted");
    if let Outcome::Allow { would_deny } = verdict.outcome() {
        for reason in would_deny {
            text.push_str(&format!("; only because the mode is {}: {reason}", verdict.mode()));
        }
    }
    let rule = verdict.rule().map(|rule| format!("rule {rule:?}"));
    let record = verdict.record().map(|record| format!("record {record}"));
    let origin: Vec<String> = rule.into_iter().chain(record).collect();
    bounded(format!("{text} [{}]", origin.join("; ")))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use assay_admission::{Mode, Reason, RecordId};

    use super::*;

    #[test]
    fn what_panics_or_hangs_is_a_refusal_that_says_so() {
        assert_eq!(within(Duration::from_secs(9), || Ok(1)), Ok(1));
        let code = |answer: Result<(), Refusal>| answer.unwrap_err().own_reason().map(|reason| reason.code);
        assert_eq!(code(within(Duration::from_secs(9), || panic!("played"))), Some(DenyCode::Internal));
        let hangs = || {
            std::thread::sleep(Duration::from_secs(60));
            Ok(())
        };
        assert_eq!(code(within(Duration::from_millis(20), hangs)), Some(DenyCode::EvidencePending));
    }

    #[test]
    fn an_admission_is_one_line_that_says_what_speaks_against_it() {
        let would_deny = vec![Reason::new(DenyCode::NoSignature, "a\nb")];
        let outcome = Outcome::Allow { would_deny };
        let verdict = Verdict::new(outcome, Mode::Observe, Some("lab".into()), vec![], Some(RecordId::new(3))).unwrap();
        let text = admitted("r.example/a:1 (requested)", &verdict);
        assert!(
            text.starts_with("assay: r.example/a:1 (requested) is admitted; only because the mode is observe: NO_SIG")
        );
        assert!(text.ends_with(" [rule \"lab\"; record 3]") && !text.contains('\n'), "{text}");
    }
}
