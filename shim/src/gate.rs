//! The unpack gate: a snapshot key and its parent come in, an admission or a refusal with its reasons goes out.
//! Asks containerd what the chain belongs to and the agent for a verdict, within one deadline. Without a verdict the answer is no.

use std::time::Duration;

use assay_admission::{
    AdmissionRequest, DenyCode, Digest, Gate, Namespace, Outcome, Platform, Purpose, Reason, Subject, Thoroughness,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::{
    agent::{Agent, Deadline},
    key::Key,
    mapping::{Expected, Images, Mapped},
    overlay::Admission,
    refusal::{Refusal, shown},
    report::Reporter,
};

/// Most questions under way at once; further ones wait within their deadline.
const MAX_QUESTIONS: usize = 64;

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

impl UnpackGate {
    /// A gate that waits at most `timeout` for each answer, and tells the agent what it refused by itself. Needs a tokio
    /// runtime.
    #[must_use]
    pub fn new(images: Images, agent: Agent, timeout: Duration) -> Self {
        let reporter = Reporter::new(Gate::Unpack, agent.channel());
        Self { images, agent, timeout, places: Semaphore::new(MAX_QUESTIONS), reporter }
    }

    /// Judges the making of a snapshot, whatever kind of key it has.
    pub(crate) async fn admit(&self, question: Question<'_>) -> Result<Admission, Refusal> {
        let deadline = Deadline::after(self.timeout);
        let answer = timeout_at(deadline.at(), self.judge(question, deadline)).await;
        let answer = answer.unwrap_or_else(|_| Err(deadline.late("no verdict")));
        if let Some(reason) = answer.as_ref().err().and_then(Refusal::own_reason) {
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

    async fn judge(&self, question: Question<'_>, deadline: Deadline) -> Result<Admission, Refusal> {
        let Question { key, parent, parent_chain } = question;
        let Ok(_place) = self.places.acquire().await else {
            return Err(Refusal::own(DenyCode::Internal, "the gate is closed"));
        };
        let Some(parsed) = Key::parse(key) else {
            return Err(Refusal::own(
                DenyCode::UnknownChain,
                format!("snapshot key {} is not containerd's", shown(key)),
            ));
        };
        let namespace = parsed.namespace.clone();
        if parent.is_some_and(|parent| Key::parse(parent).is_none_or(|parent| parent.namespace != namespace)) {
            return Err(Refusal::own(
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
            return Err(Refusal::own(DenyCode::Malformed, detail));
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
        self.images.of_chain(namespace, &chain, purpose, expected).await.map_err(|error| error.refusal())
    }

    /// Asks about all images of a chain or, where there are too many, by glances at some after others before that: images whose
    /// signatures are kept need not be among those that were pulled last.
    async fn settle(&self, asked: Asked<'_>, mapped: &Mapped, deadline: Deadline) -> Result<(), Refusal> {
        if let Some(many) = &mapped.many {
            let glance_until = Instant::now() + deadline.left() / 2;
            for at in 0..many.parts() {
                let read;
                let part = match at {
                    0 => mapped,
                    _ => {
                        let part = self.images.part(asked.namespace, &asked.chain, many, at).await;
                        read = part.map_err(|error| error.refusal())?;
                        &read
                    }
                };
                let request = question(asked, part)?.with_thoroughness(Thoroughness::Glance);
                match self.agent.ask(&request, deadline).await?.outcome() {
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
    async fn verdict(&self, asked: Asked<'_>, mapped: &Mapped, deadline: Deadline) -> Result<(), Refusal> {
        self.agent.enforce(&question(asked, mapped)?, deadline).await.map(drop)
    }
}

/// The question whether these images admit the chain.
fn question(asked: Asked<'_>, mapped: &Mapped) -> Result<AdmissionRequest, Refusal> {
    let Asked { namespace, chain, purpose } = asked;
    let (images, alike) = (mapped.claims.clone(), mapped.alike.clone());
    let subject = Subject::Chain { chain, purpose, images, alike };
    let (namespace, documents) = (namespace.clone(), mapped.documents.clone());
    let request = AdmissionRequest::new(Gate::Unpack, namespace, Platform::host(), subject, documents);
    request.map_err(|error| Refusal::own(DenyCode::Limit, error.to_string()))
}
