//! Judges an image without an agent: collects from the registry, verifies and decides here. Records nothing and asks no
//! evidence store, so it says what a node with this policy would say, not what this node says.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use assay_admission::{
    CandidateName, DenyCode, Digest, Document, Documents, Gate, ImageRef, NameSource, Platform, Reason, UnixTime,
};
use assay_fetch::{Client, CollectRequest, Collected, FoundBy, Problem, ProblemKind, RevocationRequest, Role, Wanted};
use assay_policy::{Case, CaseImage, Collection, ImageState, Policy};
use assay_verify::{
    Artifact, AttestationFindings, BindError, BoundImage, Budget, Evidence, Findings, NotaryResult, RevocationEvidence,
    RevocationList, RevocationSource, Trust, bind, claim_of, verify, verify_attestations,
};

use crate::{
    Context,
    failure::{Exit, Failure},
    registry::{self, RegistryArgs},
};

use super::verdict::{self, Shown};

/// Sources of revocation that are asked for one image.
const MAX_SOURCES: usize = 16;
/// Addresses of one list that are tried.
const MAX_ADDRESSES: usize = 4;

/// An image with everything that the registry has for it.
#[derive(Debug)]
pub(super) struct Fetched {
    name: CandidateName,
    bound: BoundImage,
    artifacts: Vec<Artifact>,
    problems: Vec<Problem>,
}

impl Fetched {
    /// Collects the image's documents and what of its signatures and attestations is wanted, and binds the documents to each
    /// other.
    ///
    /// # Errors
    /// Exit code 11 if there is no such image; others if the registry fails or the image is malformed.
    pub(super) async fn collect(
        context: &Context,
        registry: &RegistryArgs,
        image: &ImageRef,
        platform: &Platform,
        wanted: Wanted,
    ) -> Result<Self, Failure> {
        let progress = context.console.progress("collecting signatures");
        let client = registry::client(context, registry, image.repository())?;
        let request = CollectRequest {
            image: image.clone(),
            platform: Some(platform.clone()),
            subjects: Vec::new(),
            wanted,
            time: context.left(),
        };
        let (collected, problems) = client.collect_all(&request).await;
        drop(progress);
        let mut documents = Documents::new();
        let mut artifacts: Vec<Artifact> = Vec::new();
        let mut top = None;
        for item in collected {
            sort(item, &mut top, &mut documents, &mut artifacts)?;
        }
        let Some(top) = image.digest().copied().or(top) else {
            let Some(problem) = problems.first() else {
                return Err(registry::of_kind(ProblemKind::NotFound, &format!("{image} was not found")));
            };
            return Err(registry::of_kind(problem.kind, &problem.detail));
        };
        let name = CandidateName { reference: image.clone(), source: NameSource::Requested };
        let bound = claim_of(&top, &documents, platform, vec![name.clone()])
            .and_then(|claim| bind(&claim, &documents, platform))
            .map_err(|error| unbound(&error, &problems))?;
        Ok(Self { name, bound, artifacts, problems })
    }

    /// What the signatures prove to someone who trusts `trust`.
    pub(super) fn findings(&self, trust: &Trust) -> Findings {
        self.findings_with(trust, &RevocationEvidence::default())
    }

    /// The same, with what is known about revoked certificates.
    pub(super) fn findings_with(&self, trust: &Trust, revocation: &RevocationEvidence) -> Findings {
        match Evidence::new(self.artifacts.clone()).map(|evidence| evidence.with_revocation(revocation.clone())) {
            Ok(evidence) => verify(&self.bound, &evidence, trust, now(), &mut Budget::default()),
            Err(limit) => Findings { limit: Some(limit), ..Findings::default() },
        }
    }

    /// What the attestations prove to someone who trusts `trust`.
    pub(super) fn attestations(&self, trust: &Trust) -> AttestationFindings {
        match Evidence::new(self.artifacts.clone()) {
            Ok(evidence) => verify_attestations(&self.bound, &evidence, trust, now(), &mut Budget::default()),
            Err(limit) => AttestationFindings { limit: Some(limit), ..AttestationFindings::default() },
        }
    }

    /// The image.
    pub(super) const fn bound(&self) -> &BoundImage {
        &self.bound
    }

    /// Nothing, unless the image is for another platform: an image that is no index has just one, whatever was asked for.
    ///
    /// # Errors
    /// Exit code 1.
    pub(super) fn is_for(&self, platform: &Platform) -> Result<(), Failure> {
        if self.bound.is_for_wanted_platform() {
            return Ok(());
        }
        Err(Failure::new(
            "NO_PLATFORM",
            format!("{} is an image for {} alone, not for {platform}", self.name.reference, self.bound.platform()),
            format!("leave out --platform, or give --platform {}", self.bound.platform()),
        ))
    }

    /// Whether nothing at all was found beside the image.
    pub(super) fn is_unsigned(&self) -> bool {
        self.artifacts.is_empty()
    }

    /// What could not be had.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// Decides by a policy file, and prints the verdict.
///
/// # Errors
/// If standard output cannot be written.
pub(super) async fn decide(
    context: &Context,
    image: &ImageRef,
    fetched: &Fetched,
    policy: &Policy,
    client: &Client,
    given: RevocationEvidence,
) -> Result<Exit, Failure> {
    let (findings, lookups) = with_revocation(fetched, policy.trust(), client, given, context.left()).await;
    let attestations = fetched.attestations(policy.trust());
    let problems: Vec<Reason> = fetched.problems().iter().chain(&lookups).map(reason).collect();
    let collection = if problems.is_empty() { Collection::Complete } else { Collection::Failed(problems) };
    let decision = policy.decide(&Case {
        gate: Gate::Ask,
        namespace: None,
        chain: None,
        likeliest: None,
        images: vec![CaseImage {
            manifest: fetched.bound.manifest().digest,
            config: *fetched.bound.config(),
            names: vec![fetched.name.clone()],
            state: ImageState::Bound {
                image: &fetched.bound,
                findings: &findings,
                attestations: &attestations,
                collection: &collection,
            },
        }],
    });
    let shown = Shown::from(&decision);
    context.console.print(&verdict::text(image, &shown), &verdict::json(image, &shown))?;
    Ok(verdict::exit(decision.outcome()))
}

/// What the signatures prove, with lists and answers fetched for what is unknown: for certificates below an anchor of the policy alone.
async fn with_revocation(
    fetched: &Fetched,
    trust: &Trust,
    client: &Client,
    given: RevocationEvidence,
    time: Duration,
) -> (Findings, Vec<Problem>) {
    let findings = fetched.findings_with(trust, &given);
    let unknown: BTreeSet<RevocationSource> =
        findings.notary.iter().flat_map(NotaryResult::revocation_sources).cloned().collect();
    let (mut lists, mut answers, mut problems) = (given.lists().to_vec(), given.answers().to_vec(), Vec::new());
    for source in unknown.into_iter().take(MAX_SOURCES) {
        match source {
            RevocationSource::List { urls } => {
                for url in urls.into_iter().take(MAX_ADDRESSES) {
                    match client.revocation(&url, &RevocationRequest::List, time).await {
                        Ok(der) => {
                            lists.push(RevocationList { url, der });
                            break;
                        }
                        Err(error) => problems.push(Problem::from(&error)),
                    }
                }
            }
            RevocationSource::Responder { url, request } => {
                match client.revocation(&url, &RevocationRequest::Answer(request), time).await {
                    Ok(der) => answers.push(der),
                    Err(error) => problems.push(Problem::from(&error)),
                }
            }
        }
    }
    match RevocationEvidence::new(lists, answers) {
        Ok(all) if all != given => (fetched.findings_with(trust, &all), problems),
        Ok(_) | Err(_) => (findings, problems),
    }
}

fn sort(
    item: Collected,
    top: &mut Option<Digest>,
    documents: &mut Documents,
    artifacts: &mut Vec<Artifact>,
) -> Result<(), Failure> {
    let document = Document::new(item.media_type, item.content)
        .map_err(|error| registry::of_kind(ProblemKind::Limit, &error.to_string()))?;
    match item.role {
        Role::Index | Role::Manifest | Role::Config => {
            // The index comes first if there is one, else the manifest.
            top.get_or_insert(*document.digest());
            documents.insert(*document.digest(), document);
        }
        Role::SignatureManifest => {
            let found_by = match item.found_by {
                FoundBy::ReferrersApi => assay_verify::FoundBy::ReferrersApi,
                FoundBy::ReferrersTag => assay_verify::FoundBy::ReferrersTag,
                FoundBy::CosignTag => assay_verify::FoundBy::CosignTag,
                FoundBy::Name => assay_verify::FoundBy::Given,
            };
            if let Some(subject) = item.subject {
                artifacts.push(Artifact { subject, found_by, manifest: document, blobs: Vec::new() });
            }
        }
        Role::SignatureBlob => {
            let parent = item.parent;
            for artifact in artifacts.iter_mut().filter(|artifact| parent.as_ref() == Some(artifact.manifest.digest()))
            {
                artifact.blobs.push(document.clone());
            }
        }
        // Nothing that proves anything, and not asked for.
        Role::OtherManifest => {}
    }
    Ok(())
}

/// A document that is missing is the registry's failure, if it reported one.
fn unbound(error: &BindError, problems: &[Problem]) -> Failure {
    match (error, problems.first()) {
        (BindError::Missing { .. }, Some(problem)) => registry::of_kind(problem.kind, &problem.detail),
        (BindError::NoPlatform { .. }, _) => {
            Failure::new("NO_PLATFORM", error, "give --platform OS/ARCH for one that the image has")
        }
        _ => registry::of_kind(ProblemKind::Malformed, &error.to_string()),
    }
}

fn reason(problem: &Problem) -> Reason {
    let code = match problem.kind {
        ProblemKind::NotFound => DenyCode::NotFound,
        ProblemKind::Unreachable | ProblemKind::Forbidden | ProblemKind::Deadline => DenyCode::EvidenceUnavailable,
        ProblemKind::Auth => DenyCode::RegistryAuth,
        ProblemKind::Limit => DenyCode::Limit,
        ProblemKind::Malformed => DenyCode::Malformed,
    };
    Reason::new(code, problem.detail.clone())
}

/// The wall clock. A clock before 1970 reads as 1970.
pub(crate) fn now() -> UnixTime {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    UnixTime::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}
