//! Evidence to facts. Bytes that anyone may have made go in; what they prove, and why the rest proves nothing, comes out.
//! Pure: no clock, files, network, environment or randomness. Time and bytes are arguments.

mod artifact;
mod attestation;
mod blob;
mod bundle;
mod der;
mod evidence;
mod facts;
mod failure;
#[cfg(fuzzing)]
pub mod fuzzing;
mod image;
mod json;
mod keyed;
mod limits;
mod name;
mod notation;
mod oci;
pub mod signing;
mod sigstore;
mod simple_signing;
mod trust;
mod tuf;

pub use attestation::{
    Attestation, AttestationFindings, AttestationFormat, AttestationRejection, Component, CycloneDx, Discovered,
    OpenVex, Package, Predicate, PredicateType, PredicateTypeError, Provenance, Report, Resource, Sarif, Severity,
    Spdx, StatementVersion, UnprovedStatement, VerificationResult, VerificationSummary, VexStatement, VexStatus,
    Vulnerabilities, read_unproved,
};
pub use blob::{BlobSignature, verify_blob};
pub use evidence::{Artifact, Evidence, FoundBy, RevocationEvidence, RevocationList};
pub use facts::{Fact, Findings, Format, Rejection, RejectionReason, Signer, Tolerated};
pub use image::{BindError, BoundImage, bind, bind_manifest, claim_of};
pub use limits::{Budget, LimitReached};
pub use name::{DistinguishedNamePattern, PatternError};
pub use notation::{
    Action, Check, CheckOutcome, CheckResult, Demand, Level, LevelError, NotaryResult, RevocationSource, SeenAnswer,
    SeenAt, Standing, StatementProblem, TrustPolicyDocument, TrustPolicyError, TrustPolicyStatement, TrustStoreKind,
    TrustStoreName, UnknownWord, VerificationLevel,
};
pub use sigstore::{BlobDigests, BlobHasher, EntryError, SctError, SigstoreError, TimestampError};
pub use trust::{
    Anchors, Certificate, CertificateStore, KeyError, PublicKey, PublicKeyKind, SignerName, SignerNameError,
    StoreError, TimestampRule, Trust, TrustedIdentities,
};
pub use trust::{IdentityPattern, LogRule, RootError, RootMember, SigstoreRoot, TextPattern, TextPatternError};
pub use tuf::{TRUSTED_ROOT, TufError, TufFiles, TufRefresh, TufRole, TufSet, TufStep, TufSummary, TufTrust};

use assay_admission::UnixTime;

/// What `evidence` proves about `image` to someone who trusts `trust`, at the time `at`.
///
/// Every signature found ends either as a [`Fact`] or as a [`Rejection`]; the work is bounded by `budget`.
#[must_use]
pub fn verify(image: &BoundImage, evidence: &Evidence, trust: &Trust, at: UnixTime, budget: &mut Budget) -> Findings {
    let question = artifact::Question { image, trust, at, revocation: evidence.revocation() };
    let mut findings = Findings::default();
    for artifact in evidence.artifacts() {
        if let Err(limit) = artifact::verify(&question, artifact, budget, &mut findings) {
            findings.limit = Some(limit);
            break;
        }
    }
    findings
}

/// What others stated about `image` in `evidence`, proved to someone who trusts `trust`, at the time `at`.
///
/// Every attestation found ends either as an [`Attestation`] or as an [`AttestationRejection`]; signatures are neither. The work is
/// bounded by `budget`.
#[must_use]
pub fn verify_attestations(
    image: &BoundImage,
    evidence: &Evidence,
    trust: &Trust,
    at: UnixTime,
    budget: &mut Budget,
) -> AttestationFindings {
    let question = artifact::Question { image, trust, at, revocation: evidence.revocation() };
    let mut findings = AttestationFindings::default();
    for artifact in evidence.artifacts() {
        if let Err(limit) = attestation::verify(&question, artifact, budget, &mut findings) {
            findings.limit = Some(limit);
            break;
        }
    }
    findings
}
