//! One question while it is judged: the images it is about, bound to their documents, with what was collected for each.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Instant,
};

use assay_admission::{
    AdmissionRequest, CandidateName, DenyCode, Digest, Document, Documents, Gate, ImageClaim, Namespace, Outcome,
    Platform, Purpose, Reason, Subject,
};
use assay_policy::{AskedChain, Decision};
use assay_verify::{Artifact, BindError, BoundImage, RevocationSource, bind, bind_manifest, claim_of};

use super::{Judge, pulled::ExactNames};
use crate::{
    active::Loaded,
    collect::{Collected, Wanted},
    evidence_store::Brought,
};

/// Repositories asked for one image's signatures. A name seldom leads to more than two.
const MAX_REPOSITORIES: usize = 4;
/// Images of one chain for which the fetcher is asked; further ones are judged by what is kept.
pub(super) const MAX_COLLECTED_IMAGES: usize = 16;

/// A question with everything known about it so far.
#[derive(Debug)]
pub(crate) struct OpenCase {
    pub(super) gate: Gate,
    pub(super) namespace: Namespace,
    pub(super) chain: Option<AskedChain>,
    /// The likeliest to be the one in question first.
    pub(super) images: Vec<OpenImage>,
    /// Images whose documents were left out of the question.
    pub(super) alike: Vec<ImageClaim>,
    /// Documents that came from the registry rather than from the gate.
    fetched: Documents,
    /// Revocation lists and OCSP answers.
    pub(super) brought: Brought,
    /// Where revocation was asked about already.
    pub(super) asked: HashSet<RevocationSource>,
}

#[derive(Clone, Debug)]
pub(super) struct OpenImage {
    pub(super) claim: ImageClaim,
    pub(super) bound: Result<Arc<BoundImage>, Reason>,
    pub(super) artifacts: Vec<Artifact>,
    /// Artifacts that are not kept yet.
    fresh: Vec<Artifact>,
    pub(super) problems: Vec<Reason>,
    /// Whether a registry was asked for its signatures, and then whether for its attestations too.
    was_collected: Option<bool>,
}

/// Whether nothing that could still be collected would change the decision for the better: any refused image of a chain might
/// become the one that admits it.
pub(super) fn is_settled(decision: &Decision) -> bool {
    match decision.outcome() {
        Outcome::Allow { would_deny } => would_deny.is_empty(),
        Outcome::Deny { first, .. } => {
            let mut refused = decision.images().iter().filter(|image| !image.admitted).peekable();
            match refused.peek() {
                None => is_final(first.code),
                // What a rule wants comes before names that no rule covers.
                Some(_) => refused.all(|image| image.reasons.first().is_some_and(|reason| is_final(reason.code))),
            }
        }
    }
}

/// Whether a reason stands whatever signatures there are.
const fn is_final(code: DenyCode) -> bool {
    match code {
        DenyCode::Blocked | DenyCode::UnknownChain | DenyCode::ForeignRoot | DenyCode::Malformed | DenyCode::NoRule => {
            true
        }
        DenyCode::NoSignature
        | DenyCode::NotSatisfied
        | DenyCode::AmbiguousConfig
        | DenyCode::EvidencePending
        | DenyCode::NotFound
        | DenyCode::EvidenceUnavailable
        | DenyCode::RegistryAuth
        | DenyCode::Limit
        | DenyCode::NoPolicy
        | DenyCode::AgentUnavailable
        | DenyCode::LogUnavailable
        | DenyCode::Internal => false,
    }
}

impl Judge {
    /// Binds the documents of every image in question and takes what evidence is kept.
    pub(super) async fn open_case(
        &self,
        request: &AdmissionRequest,
        exact: &ExactNames,
        loaded: &Loaded,
    ) -> Result<OpenCase, Reason> {
        let mut case = match request.subject() {
            Subject::Chain { chain, purpose, images, alike } => OpenCase {
                gate: request.gate(),
                namespace: request.namespace().clone(),
                chain: Some(AskedChain { id: *chain, purpose: *purpose }),
                images: images
                    .iter()
                    .enumerate()
                    .map(|(place, claim)| {
                        let bound = bind_manifest(claim, request.documents(), request.platform());
                        let mut image = OpenImage::new(claim.clone(), bound, Vec::new());
                        if image.bound.as_ref().is_ok_and(|bound| bound.left_out().is_empty()) {
                            image.claim.names = exact.of(place, &claim.names);
                        }
                        image
                    })
                    .collect(),
                alike: alike.clone(),
                fetched: Documents::new(),
                brought: Brought::default(),
                asked: HashSet::new(),
            },
            Subject::Image { name, top } => {
                let top = match (top, name.reference.digest()) {
                    (Some(top), Some(named)) if top != named => {
                        let detail = format!("{} was asked for, and the gate holds {top}", name.reference);
                        return Err(Reason::new(DenyCode::Malformed, detail));
                    }
                    (Some(digest), _) | (None, Some(digest)) => Some(*digest),
                    (None, None) => None,
                };
                self.open_by_name(request, loaded, name, top).await?
            }
        };
        for image in &mut case.images {
            for subject in image.subjects() {
                image.artifacts.extend(self.evidence.artifacts(&subject));
            }
        }
        Ok(case)
    }

    /// An image by name: its documents are with the request, kept here, or in the registry.
    async fn open_by_name(
        &self,
        request: &AdmissionRequest,
        loaded: &Loaded,
        candidate: &CandidateName,
        top: Option<Digest>,
    ) -> Result<OpenCase, Reason> {
        let name = &candidate.reference;
        let platform = request.platform();
        let mut documents = request.documents().clone();
        let mut fetched = Collected::default();
        let mut was_collected = None;
        let mut claimed = top.map(|top| self.claim(&top, &mut documents, platform, candidate));
        if !matches!(claimed, Some(Ok(_))) {
            let reference = match top {
                Some(top) => name.repository().clone().with_digest(top),
                None => name.clone(),
            };
            let digests: Vec<Digest> = top.into_iter().collect();
            let attestations = loaded.policy.asks_for_attestations(std::slice::from_ref(candidate), &digests);
            let wanted = Wanted { reference, image_for: Some(platform.clone()), subjects: Vec::new(), attestations };
            fetched = self.collector.collect(wanted, self.waits.collection).await;
            // With an image's own documents, the fetcher brings their signatures.
            was_collected = Some(attestations);
            documents.extend(fetched.documents.clone());
            let found = top.or(fetched.top).ok_or_else(|| {
                fetched
                    .problems
                    .first()
                    .cloned()
                    .unwrap_or_else(|| Reason::new(DenyCode::EvidenceUnavailable, format!("{name} was not found")))
            })?;
            claimed = Some(self.claim(&found, &mut documents, platform, candidate));
        }
        let claim = match claimed {
            Some(Ok(claim)) => claim,
            Some(Err(error)) => return Err(fetched.problems.first().cloned().unwrap_or_else(|| reason_of(&error))),
            None => return Err(Reason::new(DenyCode::Internal, "no claim was made")),
        };
        let bound = bind(&claim, &documents, platform);
        let mut image = OpenImage::new(claim, bound, fetched.problems);
        image.artifacts.clone_from(&fetched.artifacts);
        image.fresh = fetched.artifacts;
        image.was_collected = was_collected;
        Ok(OpenCase {
            gate: request.gate(),
            namespace: request.namespace().clone(),
            chain: None,
            images: vec![image],
            alike: Vec::new(),
            fetched: fetched.documents,
            brought: Brought::default(),
            asked: HashSet::new(),
        })
    }

    /// The claim that `top` makes, with documents that are kept filled in as they are missed.
    fn claim(
        &self,
        top: &Digest,
        documents: &mut Documents,
        platform: &Platform,
        name: &CandidateName,
    ) -> Result<ImageClaim, BindError> {
        // Index, manifest, config: each can be missed once.
        for _ in 0..3 {
            let missing = match claim_of(top, documents, platform, vec![name.clone()]) {
                Ok(claim) if documents.contains_key(&claim.config) => return Ok(claim),
                Ok(claim) => claim.config,
                Err(BindError::Missing { digest }) => digest,
                Err(error) => return Err(error),
            };
            match self.evidence.document(&missing) {
                Some(document) => drop(documents.insert(missing, document)),
                None => return Err(BindError::Missing { digest: missing }),
            }
        }
        claim_of(top, documents, platform, vec![name.clone()])
    }

    /// Asks the fetcher for the signatures of the first `most` images of the case, within the collection's time. Says whether
    /// there was anything to ask.
    pub(super) async fn collect_for(&self, case: &mut OpenCase, loaded: &Loaded, most: usize) -> bool {
        let deadline = Instant::now() + self.waits.collection;
        let mut has_asked = false;
        for image in case.images.iter_mut().take(most) {
            let subjects = image.subjects();
            let attestations = loaded.policy.asks_for_attestations(&image.claim.names, &subjects);
            if subjects.is_empty() || image.was_collected.is_some_and(|with_them| with_them || !attestations) {
                continue;
            }
            image.was_collected = Some(attestations);
            has_asked = true;
            let repositories: BTreeSet<_> =
                image.claim.names.iter().flat_map(|name| loaded.policy.repositories_for(name)).collect();
            for repository in repositories.into_iter().take(MAX_REPOSITORIES) {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    let detail = format!("{repository} was not asked in time");
                    image.problems.push(Reason::new(DenyCode::EvidenceUnavailable, detail));
                    continue;
                }
                let subjects = subjects.clone();
                let wanted = Wanted { reference: repository.into(), image_for: None, subjects, attestations };
                let collected = self.collector.collect(wanted, left).await;
                image.problems.extend(collected.problems);
                image.fresh.extend(collected.artifacts);
            }
            image.artifacts.extend(image.fresh.iter().cloned());
        }
        has_asked
    }
}

impl OpenImage {
    fn new(claim: ImageClaim, bound: Result<BoundImage, BindError>, problems: Vec<Reason>) -> Self {
        let bound = bound.map(Arc::new).map_err(|error| reason_of(&error));
        Self { claim, bound, artifacts: Vec::new(), fresh: Vec::new(), problems, was_collected: None }
    }

    /// The documents whose signatures count for this image.
    pub(super) fn subjects(&self) -> Vec<Digest> {
        self.bound
            .as_ref()
            .map_or_else(|_| Vec::new(), |bound| bound.subjects().map(|descriptor| descriptor.digest).collect())
    }
}

impl OpenCase {
    /// The layer chains for which the decision is the same: to extract one, those that every image contains. If the documents
    /// of any are not bound to each other or were left out, or nothing is to be extracted, that is the chain that was asked
    /// about alone.
    pub(super) fn common_chains(&self) -> Vec<Digest> {
        let asked = self.chain.map(|chain| chain.id).into_iter().collect();
        match self.chain.map(|chain| chain.purpose) {
            Some(Purpose::Extraction) if self.alike.is_empty() => {}
            Some(Purpose::Extraction | Purpose::Use) | None => return asked,
        }
        let bound: Result<Vec<_>, ()> = self.images.iter().map(|image| image.bound.as_ref().map_err(|_| ())).collect();
        match bound.as_deref() {
            Ok([first, others @ ..]) => {
                let in_all = |chain: &&Digest| others.iter().all(|other| other.contains_chain(chain));
                first.chains().iter().filter(in_all).copied().collect()
            }
            Ok([]) | Err(()) => asked,
        }
    }

    /// What was collected and is not kept yet, with the documents of each image for which something was, out of those that the gate
    /// `sent` or the registry: it can be verified by name again without a registry.
    pub(super) fn into_collected(self, sent: &Documents) -> (Vec<Document>, Vec<Artifact>) {
        let collected = self.images.iter().filter(|image| !self.fetched.is_empty() || !image.fresh.is_empty());
        let digests: BTreeSet<Digest> = collected
            .flat_map(|image| [image.claim.manifest, image.claim.config].into_iter().chain(image.claim.indexes.clone()))
            .collect();
        let document = |digest: &Digest| self.fetched.get(digest).or_else(|| sent.get(digest)).cloned();
        let documents = digests.iter().filter_map(document).collect();
        (documents, self.images.into_iter().flat_map(|image| image.fresh).collect())
    }
}

fn reason_of(error: &BindError) -> Reason {
    Reason::new(error.code(), error.to_string())
}
