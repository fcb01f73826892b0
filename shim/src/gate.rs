//! The unpack gate: a snapshot key and its parent come in, an admission or a refusal with its reasons goes out.
//! Asks containerd what the chain belongs to and the agent for a verdict, within one deadline. Without a verdict the answer is no.

mod report;

use std::{fmt, path::Path, time::Duration};

use assay_admission::{
    AdmissionRequest, DenyCode, Digest, Gate, Namespace, Outcome, Platform, Purpose, Reason, Subject, Thoroughness,
    Verdict,
};
use assay_proto::{GateAdmit, MAX_MESSAGE_BYTES, assay::gate_client::GateClient};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tonic::{Code, Request, Status, transport::Channel};

use crate::{
    key::Key,
    mapping::{Expected, Images, Mapped, MappingError},
    overlay::Admission,
};
use report::Reporter;

/// Most questions under way at once; further ones wait within their deadline.
const MAX_QUESTIONS: usize = 64;
/// Longest refusal. containerd shows it to the user as it is, and wraps it several times.
const MAX_REFUSAL_BYTES: usize = 2 << 10;

/// The agent, at the other end of its gate socket.
#[derive(Clone, Debug)]
pub struct Agent {
    gate: GateClient<Channel>,
    channel: Channel,
}

/// Asks for a verdict before anything is unpacked.
#[derive(Debug)]
pub struct UnpackGate {
    images: Images,
    agent: Agent,
    timeout: Duration,
    places: Semaphore,
    reporter: Reporter,
}

/// What is about to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// The snapshot's key.
    pub(crate) key: &'a str,
    /// Its parent's name.
    pub(crate) parent: Option<&'a str>,
    /// The chain of the nearest layer at or below the parent.
    pub(crate) parent_chain: Option<Digest>,
}

/// What the agent is asked about.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    namespace: &'a Namespace,
    chain: Digest,
    purpose: Purpose,
}

/// Why nothing may be made; its text is for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    text: String,
    /// The reason, if the gate refused by itself: what the agent refused is in its log.
    own: Option<Reason>,
}

/// How long before the end of a question the agent's silence is called that.
const ANSWER_MARGIN: Duration = Duration::from_millis(20);

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
}

impl UnpackGate {
    /// A gate that waits at most `timeout` for each answer, and tells the agent what it refused by itself. Needs a tokio
    /// runtime.
    #[must_use]
    pub fn new(images: Images, agent: Agent, timeout: Duration) -> Self {
        let reporter = Reporter::new(agent.channel.clone());
        Self { images, agent, timeout, places: Semaphore::new(MAX_QUESTIONS), reporter }
    }

    /// Judges the making of a snapshot, whatever kind of key it has.
    pub(crate) async fn admit(&self, question: Question<'_>) -> Result<Admission, Refusal> {
        let deadline = Instant::now() + self.timeout;
        let answer = timeout_at(deadline, self.judge(question, deadline)).await;
        let answer = answer.unwrap_or_else(|_| Err(self.late("no verdict")));
        if let Err(Refusal { own: Some(reason), .. }) = &answer {
            self.report(question.key, reason.clone());
        }
        answer
    }

    /// Has it recorded that `key` was not committed, for this reason.
    pub(crate) fn refused_commit(&self, key: &str, reason: String) {
        self.report(key, Reason::new(DenyCode::Malformed, reason));
    }

    fn report(&self, key: &str, reason: Reason) {
        let namespace = Key::parse(key).map(|key| key.namespace);
        let namespace = namespace.as_ref().map(Namespace::as_str).unwrap_or_default();
        self.reporter.tell(namespace, key, reason);
    }

    async fn judge(&self, question: Question<'_>, deadline: Instant) -> Result<Admission, Refusal> {
        let Question { key, parent, parent_chain } = question;
        let Ok(_place) = self.places.acquire().await else {
            return Err(refusal(DenyCode::Internal, "the gate is closed"));
        };
        let Some(parsed) = Key::parse(key) else {
            return Err(refusal(DenyCode::UnknownChain, format!("snapshot key {} is not containerd's", shown(key))));
        };
        let namespace = parsed.namespace.clone();
        if parent.is_some_and(|parent| Key::parse(parent).is_none_or(|parent| parent.namespace != namespace)) {
            return Err(refusal(
                DenyCode::UnknownChain,
                format!("the parent of {} is in no namespace or another", shown(key)),
            ));
        }
        let target = parsed.target();
        // What rests on no layer and is none is asked about as the chain of no layers, which no image has. It is the agent
        // that refuses it, since under a policy that only observes it has to be admitted and recorded.
        let chain = target.or(parent_chain).unwrap_or_else(|| Digest::sha256(b""));
        let purpose = if target.is_some() { Purpose::Extraction } else { Purpose::Use };
        let asked = Asked { namespace: &namespace, chain, purpose };
        let expected = self.images.expected(&namespace, &chain, purpose);
        // What was admitted a moment ago for the layer below is probably what is asked for now: containerd and the agent are
        // asked at once, and the agent's answer counts if it was asked just what containerd says.
        let (mapped, early) = match &expected {
            None => (self.map(asked, None).await?, None),
            Some(expected) => {
                let early = self.verdict(asked, expected.mapping(), deadline);
                let found = self.map(asked, Some(expected));
                tokio::pin!(early, found);
                let mut answer = None;
                let found = loop {
                    tokio::select! {
                        found = &mut found => break found?,
                        early = &mut early, if answer.is_none() => answer = Some(early),
                    }
                };
                // An answer to another question is not waited for.
                match (expected.is(&found), answer) {
                    (true, None) => (found, Some(early.await)),
                    (true, answer) => (found, answer),
                    (false, _) => (found, None),
                }
            }
        };
        if let Some(target) = target
            && !mapped.claims.is_empty()
            && (mapped.below != parent_chain || mapped.below.is_some() != parent.is_some())
        {
            let place = |chain: Option<Digest>| chain.map_or_else(|| "nothing".to_owned(), |chain| chain.to_string());
            let detail = format!(
                "layer {target} belongs on {}, it was to be unpacked on {}",
                place(mapped.below),
                parent.map_or_else(|| "nothing".to_owned(), shown),
            );
            return Err(refusal(DenyCode::Malformed, detail));
        }
        // An image that contains a layer at its place contains the layers below it: the parent needs no question of its own.
        match early {
            Some(verdict) => verdict?,
            None => {
                self.settle(asked, &mapped, deadline).await?;
                self.images.admitted(&namespace, mapped);
            }
        }
        Ok(target.map_or(Admission::Other, Admission::Layer))
    }

    async fn map(&self, asked: Asked<'_>, expected: Option<&Expected>) -> Result<Mapped, Refusal> {
        let Asked { namespace, chain, purpose } = asked;
        self.images.of_chain(namespace, &chain, purpose, expected).await.map_err(|error| unmapped(&error))
    }

    /// Asks about all images of a chain or, where there are too many, by glances at some after others before that: images whose
    /// signatures are kept need not be among those that were pulled last.
    async fn settle(&self, asked: Asked<'_>, mapped: &Mapped, deadline: Instant) -> Result<(), Refusal> {
        if let Some(many) = &mapped.many {
            let glance_until = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
            for at in 0..many.parts() {
                let read;
                let part = match at {
                    0 => mapped,
                    _ => {
                        let part = self.images.part(asked.namespace, &asked.chain, many, at).await;
                        read = part.map_err(|error| unmapped(&error))?;
                        &read
                    }
                };
                let request = question(asked, part)?.with_thoroughness(Thoroughness::Glance);
                match self.ask(&request, deadline).await?.outcome() {
                    Outcome::Allow { .. } => return Ok(()),
                    // It has to be asked about in full.
                    Outcome::Deny { first, .. } if first.code == DenyCode::EvidencePending => break,
                    Outcome::Deny { .. } if Instant::now() >= glance_until => break,
                    Outcome::Deny { .. } => {}
                }
            }
        }
        self.verdict(asked, mapped, deadline).await
    }

    /// Asks the agent about a chain.
    async fn verdict(&self, asked: Asked<'_>, mapped: &Mapped, deadline: Instant) -> Result<(), Refusal> {
        self.enforce(&question(asked, mapped)?, deadline).await
    }

    /// The agent's verdict: nothing if it is an allow.
    async fn enforce(&self, request: &AdmissionRequest, deadline: Instant) -> Result<(), Refusal> {
        let verdict = self.ask(request, deadline).await?;
        match verdict.outcome() {
            Outcome::Allow { would_deny } => {
                for reason in would_deny {
                    tracing::warn!(mode = %verdict.mode(), record = ?verdict.record(), "admitted, would be refused: {reason}");
                }
                Ok(())
            }
            Outcome::Deny { first, others } => Err(refused(&verdict, first, others)),
        }
    }

    /// What the agent says.
    async fn ask(&self, request: &AdmissionRequest, deadline: Instant) -> Result<Verdict, Refusal> {
        let mut message = Request::new(GateAdmit::request_message(request));
        message.set_timeout(deadline.saturating_duration_since(Instant::now()));
        let mut agent = self.agent.gate.clone();
        // A little before the whole question ends, so that it is said whose answer is missing. An agent that is well says
        // EVIDENCE_PENDING itself before that.
        let answer = match timeout_at(deadline - ANSWER_MARGIN, agent.admit(message)).await {
            Ok(answer) => answer.map_err(|status| self.unanswered(&status, deadline))?,
            Err(_) => return Err(self.silent()),
        };
        GateAdmit::verdict(answer.into_inner())
            .map_err(|error| refusal(DenyCode::Internal, format!("the agent's answer is not understood: {error}")))
    }

    fn unanswered(&self, status: &Status, deadline: Instant) -> Refusal {
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
            Code::DeadlineExceeded => self.silent(),
            // What tonic's client answers itself when the time it was given is over.
            Code::Cancelled if Instant::now() + ANSWER_MARGIN >= deadline => self.silent(),
            Code::ResourceExhausted | Code::OutOfRange => refusal(DenyCode::Limit, detail),
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Unimplemented => {
                refusal(DenyCode::AgentUnavailable, detail)
            }
            _ => refusal(DenyCode::Internal, format!("the agent answered {:?}: {detail}", status.code())),
        }
    }

    /// The agent took the question and said nothing.
    fn silent(&self) -> Refusal {
        refusal(DenyCode::AgentUnavailable, format!("no answer within {} ms", self.timeout.as_millis()))
    }

    fn late(&self, what: &str) -> Refusal {
        refusal(DenyCode::EvidencePending, format!("{what} within {} ms", self.timeout.as_millis()))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The question whether these images admit the chain.
fn question(asked: Asked<'_>, mapped: &Mapped) -> Result<AdmissionRequest, Refusal> {
    let Asked { namespace, chain, purpose } = asked;
    let (images, alike) = (mapped.claims.clone(), mapped.alike.clone());
    let subject = Subject::Chain { chain, purpose, images, alike };
    let (namespace, documents) = (namespace.clone(), mapped.documents.clone());
    let request = AdmissionRequest::new(Gate::Unpack, namespace, Platform::host(), subject, documents);
    request.map_err(|error| refusal(DenyCode::Limit, error.to_string()))
}

fn unmapped(error: &MappingError) -> Refusal {
    let code = if error.is_limit() { DenyCode::Limit } else { DenyCode::Internal };
    refusal(code, format!("the image cannot be looked up: {error}"))
}

/// A refusal made here.
fn refusal(code: DenyCode, detail: impl Into<String>) -> Refusal {
    let reason = Reason::new(code, detail);
    Refusal { text: bounded(format!("assay: {reason}")), own: Some(reason) }
}

/// The agent's refusal, for a person: reasons, rule, record, and a line for each signature that was looked at.
fn refused(verdict: &Verdict, first: &Reason, others: &[Reason]) -> Refusal {
    let mut text = format!("assay: {first}");
    for reason in others {
        text.push_str(&format!("; also {reason}"));
    }
    let rule = verdict.rule().map(|rule| format!("rule {rule:?}"));
    let record = verdict.record().map(|record| format!("record {record}"));
    let origin: Vec<String> = rule.into_iter().chain(record).collect();
    if !origin.is_empty() {
        text.push_str(&format!(" [{}]", origin.join("; ")));
    }
    for line in verdict.because() {
        text.push_str(&format!("; {line}"));
    }
    Refusal { text: bounded(text), own: None }
}

/// Without control characters, and cut to what fits.
fn bounded(text: String) -> String {
    let mut text: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    if text.len() > MAX_REFUSAL_BYTES {
        text.truncate(text.floor_char_boundary(MAX_REFUSAL_BYTES - '…'.len_utf8()));
        text.push('…');
    }
    text
}

/// A name from outside, short enough for a message.
fn shown(name: &str) -> String {
    format!("{:?}", name.chars().take(200).collect::<String>())
}

#[cfg(test)]
mod tests;
