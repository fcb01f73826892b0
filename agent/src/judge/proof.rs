//! Evidence to facts to decision, for every image of a case, on a thread of its own: signatures cost up to a millisecond each. What turns
//! out to be missing about revocation is taken from what is kept, and named for those who can fetch it.

use std::sync::Arc;

use assay_admission::{DenyCode, ImageClaim, Reason, UnixTime};
use assay_policy::{AskedChain, Case, CaseImage, Collection, Decision, ImageState};
use assay_verify::{
    AttestationFindings, Budget, Evidence, Findings, NotaryResult, RevocationEvidence, RevocationSource,
    verify_attestations,
};

use super::{
    Stages,
    case::{OpenCase, OpenImage},
};
use crate::{
    active::Loaded,
    evidence_store::{Brought, EvidenceStore},
};

/// A decision, and what it could not know.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) decision: Decision,
    /// Where the revocation of certificates can be looked up that is unknown, with the place of the image that it is about. Every
    /// one was named by a certificate below an anchor of the policy.
    pub(super) unknown: Vec<(usize, RevocationSource)>,
}

/// What is proved of each image, in the order of the case.
struct Proofs {
    findings: Vec<Findings>,
    attestations: Vec<AttestationFindings>,
    collections: Vec<Collection>,
}

impl OpenCase {
    /// Verifies and decides.
    pub(super) async fn decide(
        &mut self,
        loaded: &Arc<Loaded>,
        at: UnixTime,
        stages: Stages,
        store: &Arc<EvidenceStore>,
    ) -> Result<Decided, Reason> {
        let (loaded, store, gate, chain) = (Arc::clone(loaded), Arc::clone(store), self.gate, self.chain);
        let (images, alike, mut brought) = (self.images.clone(), self.alike.clone(), self.brought.clone());
        let namespace = self.namespace.clone();
        let decide = move || {
            let proofs = prove(&loaded, &images, &mut brought, at, stages, &store)?;
            let unknown = proofs.unknown();
            let likeliest = images.first().map(|image| image.claim.manifest);
            let images = case(chain, &images, &alike, &proofs);
            let case = Case { gate, namespace: Some(&namespace), chain, likeliest, images };
            Ok((Decided { decision: (stages.decide)(&loaded.policy, &case), unknown }, brought))
        };
        match tokio::task::spawn_blocking(decide).await {
            Ok(Ok((decided, brought))) => {
                self.brought = brought;
                Ok(decided)
            }
            Ok(Err(reason)) => Err(reason),
            Err(failure) if failure.is_panic() => Err(Reason::new(DenyCode::Internal, "verification panicked")),
            Err(_) => Err(Reason::new(DenyCode::Internal, "verification was cut off")),
        }
    }
}

/// Verifies, and once more if lists or answers are kept for what was unknown.
fn prove(
    loaded: &Loaded,
    images: &[OpenImage],
    brought: &mut Brought,
    at: UnixTime,
    stages: Stages,
    store: &EvidenceStore,
) -> Result<Proofs, Reason> {
    let known = store.revocation();
    let mut findings = verify_all(loaded, images, &brought.evidence(known.newest()), at, stages);
    let unknown: Vec<&RevocationSource> =
        findings.iter().flat_map(|findings| &findings.notary).flat_map(NotaryResult::revocation_sources).collect();
    if !unknown.is_empty() && brought.add(known.kept_for(unknown)) {
        findings = verify_all(loaded, images, &brought.evidence(known.newest()), at, stages);
    }
    let seen = findings.iter().flat_map(|findings| &findings.notary).flat_map(NotaryResult::seen_answers);
    known.note(seen, brought).map_err(|error| {
        let detail = format!("what was seen of revoked certificates cannot be written down: {error}");
        Reason::new(DenyCode::EvidenceUnavailable, detail)
    })?;
    let attestations = images.iter().map(|image| attestations(loaded, image, at)).collect();
    let collections = images.iter().map(|image| match image.problems.as_slice() {
        [] => Collection::Complete,
        problems => Collection::Failed(problems.to_vec()),
    });
    Ok(Proofs { findings, attestations, collections: collections.collect() })
}

fn verify_all(
    loaded: &Loaded,
    images: &[OpenImage],
    revocation: &RevocationEvidence,
    at: UnixTime,
    stages: Stages,
) -> Vec<Findings> {
    let findings = |image: &OpenImage| match (&image.bound, Evidence::new(image.artifacts.clone())) {
        (Ok(bound), Ok(evidence)) => {
            let evidence = evidence.with_revocation(revocation.clone());
            (stages.verify)(bound, &evidence, loaded.policy.trust(), at, &mut Budget::default())
        }
        (Ok(_), Err(limit)) => Findings { limit: Some(limit), ..Findings::default() },
        (Err(_), _) => Findings::default(),
    };
    images.iter().map(findings).collect()
}

/// What others stated about an image, if a rule for it asks for that.
fn attestations(loaded: &Loaded, image: &OpenImage, at: UnixTime) -> AttestationFindings {
    match (&image.bound, Evidence::new(image.artifacts.clone())) {
        (Ok(_), _) if !loaded.policy.asks_for_attestations(&image.claim.names, &image.subjects()) => {
            AttestationFindings::default()
        }
        (Ok(bound), Ok(evidence)) => {
            verify_attestations(bound, &evidence, loaded.policy.trust(), at, &mut Budget::default())
        }
        (Ok(_), Err(limit)) => AttestationFindings { limit: Some(limit), ..AttestationFindings::default() },
        (Err(_), _) => AttestationFindings::default(),
    }
}

impl Proofs {
    fn unknown(&self) -> Vec<(usize, RevocationSource)> {
        let of_image = |(place, findings): (usize, &Findings)| {
            let sources = findings.notary.iter().flat_map(NotaryResult::revocation_sources);
            sources.map(|source| (place, source.clone())).collect::<Vec<_>>()
        };
        self.findings.iter().enumerate().flat_map(of_image).collect()
    }
}

/// The images of the case as the policy wants them.
fn case<'a>(
    chain: Option<AskedChain>,
    images: &'a [OpenImage],
    alike: &'a [ImageClaim],
    proofs: &'a Proofs,
) -> Vec<CaseImage<'a>> {
    let alike = alike.iter().map(|claim| CaseImage {
        manifest: claim.manifest,
        config: claim.config,
        names: claim.names.clone(),
        state: ImageState::Alike(&claim.indexes),
    });
    let proved = proofs.findings.iter().zip(&proofs.attestations).zip(&proofs.collections);
    let opened = images.iter().zip(proved).map(|(image, ((findings, attestations), collection))| CaseImage {
        manifest: image.claim.manifest,
        config: image.claim.config,
        names: image.claim.names.clone(),
        state: match &image.bound {
            // A chain that the documents do not contain is a contradiction, whatever the gate claimed.
            Ok(bound) if chain.is_some_and(|chain| !chain.is_of(bound)) => ImageState::Unbound(Reason::new(
                DenyCode::Malformed,
                "the config does not have the layer chain where it is wanted",
            )),
            Ok(bound) => ImageState::Bound { image: bound, findings, attestations, collection },
            Err(reason) => ImageState::Unbound(reason.clone()),
        },
    });
    opened.chain(alike).collect()
}
