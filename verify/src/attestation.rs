//! Attestations: in-toto statements about the image in DSSE envelopes, as Sigstore bundles or as layers of cosign's `.att`. Artifacts
//! go in; what someone whom the policy trusts stated comes out. Nothing that is found here is a signature, nor the other way round.

use std::{collections::BTreeMap, fmt, sync::Arc};

use assay_admission::{Descriptor, Digest, Document};

use crate::{
    artifact::{self, Question},
    bundle::{self, Authenticated},
    evidence::Artifact,
    facts::{RejectionReason, Signer},
    failure::Failure,
    limits::{Budget, LimitReached},
    notation,
    oci::{Layer, Manifest},
    simple_signing,
};

pub use predicate::{
    Component, CycloneDx, Discovered, OpenVex, Package, Predicate, Provenance, Report, Resource, Sarif, Severity, Spdx,
    VerificationResult, VerificationSummary, VexStatement, VexStatus, Vulnerabilities,
};
pub use predicate_type::{PredicateType, PredicateTypeError};
pub use statement::{StatementVersion, UnprovedStatement, read_unproved};

mod dsse;
mod predicate;
mod predicate_type;
mod statement;

/// How an attestation is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttestationFormat {
    /// A Sigstore bundle with a DSSE envelope.
    SigstoreBundle,
    /// A bare DSSE envelope, as in cosign's legacy `.att`.
    Dsse,
}

impl fmt::Display for AttestationFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SigstoreBundle => "attestation (Sigstore bundle)",
            Self::Dsse => "attestation (DSSE envelope)",
        })
    }
}

/// A proved statement: `signer` attested `predicate` about `subject`. It never says that the image is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    signer: Signer,
    format: AttestationFormat,
    subject: Descriptor,
    artifact: Digest,
    envelope: Digest,
    version: StatementVersion,
    predicate_type: Arc<str>,
    predicate: Arc<Predicate>,
    statement: Arc<[u8]>,
}

impl Attestation {
    /// Who attested.
    #[must_use]
    pub const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// How it was wrapped.
    #[must_use]
    pub const fn format(&self) -> AttestationFormat {
        self.format
    }

    /// The document that it is about: the image's index or its platform manifest.
    #[must_use]
    pub const fn subject(&self) -> &Descriptor {
        &self.subject
    }

    /// The digest of the manifest that it stood in.
    #[must_use]
    pub const fn artifact(&self) -> &Digest {
        &self.artifact
    }

    /// The digest of the bundle or envelope.
    #[must_use]
    pub const fn envelope(&self) -> &Digest {
        &self.envelope
    }

    /// The version of the statement around the predicate.
    #[must_use]
    pub const fn statement_version(&self) -> StatementVersion {
        self.version
    }

    /// The predicate's type, a URI, exactly as it was signed. What the predicate means hangs on it.
    #[must_use]
    pub fn predicate_type(&self) -> &str {
        &self.predicate_type
    }

    /// The predicate as far as its type is known.
    #[must_use]
    pub fn predicate(&self) -> &Predicate {
        &self.predicate
    }

    /// The exact bytes that were signed: the whole statement as JSON, in which no key stands twice.
    #[must_use]
    pub fn statement(&self) -> &[u8] {
        &self.statement
    }

    /// The predicate as JSON; `null` if the statement has none. Numbers beyond 64 bits lose digits, [`Self::statement`] has them all.
    #[must_use]
    pub fn predicate_json(&self) -> serde_json::Value {
        let whole: serde_json::Value = serde_json::from_slice(&self.statement).unwrap_or_default();
        match whole {
            serde_json::Value::Object(mut members) => members.remove("predicate").unwrap_or_default(),
            _ => serde_json::Value::Null,
        }
    }
}

/// An attestation, or what looked like one, that counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationRejection {
    /// The manifest it stands in.
    pub artifact: Digest,
    /// The bundle or envelope, if it was reached.
    pub envelope: Option<Digest>,
    /// The format, if it was recognised.
    pub format: Option<AttestationFormat>,
    /// Why.
    pub reason: RejectionReason,
}

impl fmt::Display for AttestationRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Some(format) => write!(f, "{format}")?,
            None => f.write_str("artifact")?,
        }
        write!(f, " {} does not count: {}", self.envelope.as_ref().unwrap_or(&self.artifact), self.reason)
    }
}

/// All that was found out about the attestations of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttestationFindings {
    /// What is proved: an entry for each signer and each document of the image that the statement names.
    pub attestations: Vec<Attestation>,
    /// What counts for nothing, and why.
    pub rejections: Vec<AttestationRejection>,
    /// A cap that was reached: nothing may be concluded from what was looked at before.
    pub limit: Option<LimitReached>,
}

/// Adds an attestation or a rejection for every layer of `artifact` that may be one to `findings`. Layers of signature formats
/// are not looked at.
///
/// # Errors
/// [`LimitReached`] if the budget is spent: the rest of the evidence is not looked at.
pub(crate) fn verify(
    question: &Question<'_>,
    artifact: &Artifact,
    budget: &mut Budget,
    findings: &mut AttestationFindings,
) -> Result<(), LimitReached> {
    let digest = *artifact.manifest.digest();
    let reject = |reason| AttestationRejection { artifact: digest, envelope: None, format: None, reason };
    let manifest = match artifact::read(question.image, artifact) {
        Ok(manifest) => manifest,
        Err(reason) => {
            findings.rejections.push(reject(reason));
            return Ok(());
        }
    };
    for layer in attestation_layers(&manifest) {
        let envelope = Some(layer.descriptor.digest);
        let Some(format) = recognise(layer) else {
            let value = layer.descriptor.media_type.to_string();
            let reason = RejectionReason::Unknown { field: "mediaType", value };
            findings.rejections.push(AttestationRejection { envelope, ..reject(reason) });
            continue;
        };
        budget.spend_signature()?;
        match verify_layer(question, artifact, layer, format, budget) {
            Ok(attestations) => findings.attestations.extend(attestations),
            Err(Failure::Exhausted(limit)) => return Err(limit),
            Err(Failure::Rejected(reason)) => {
                findings.rejections.push(AttestationRejection { envelope, format: Some(format), ..reject(reason) });
            }
        }
    }
    Ok(())
}

/// Whether the statement is an attestation of the image.
#[cfg(fuzzing)]
pub(crate) fn fuzz_statement(image: &crate::BoundImage, payload: &[u8]) -> bool {
    statement::read(image, payload).is_ok()
}

/// The layers that are not of a format that only signatures have.
fn attestation_layers(manifest: &Manifest) -> impl Iterator<Item = &Layer> {
    manifest.layers.iter().filter(|layer| {
        !matches!(
            layer.descriptor.media_type.as_str(),
            simple_signing::MEDIA_TYPE | notation::JWS_MEDIA_TYPE | notation::COSE_MEDIA_TYPE
        )
    })
}

fn recognise(layer: &Layer) -> Option<AttestationFormat> {
    match layer.descriptor.media_type.as_str() {
        dsse::MEDIA_TYPE => Some(AttestationFormat::Dsse),
        media_type if bundle::MEDIA_TYPES.contains(&media_type) => Some(AttestationFormat::SigstoreBundle),
        _ => None,
    }
}

fn verify_layer(
    question: &Question<'_>,
    artifact: &Artifact,
    layer: &Layer,
    format: AttestationFormat,
    budget: &mut Budget,
) -> Result<Vec<Attestation>, Failure> {
    let blob = artifact::blob_of(artifact, layer)?;
    let authenticated = authenticate(question, blob, &layer.annotations, format, budget)?;
    // From here on the payload is what someone whom the policy trusts signed.
    let statement: Arc<[u8]> = authenticated.payload.into();
    let stated = statement::read(question.image, &statement)?;
    let predicate_type: Arc<str> = stated.predicate_type.into();
    let predicate = Arc::new(stated.predicate);
    let attestation = |signer: &Signer, subject: &Descriptor| Attestation {
        signer: signer.clone(),
        format,
        subject: subject.clone(),
        artifact: *artifact.manifest.digest(),
        envelope: *blob.digest(),
        version: stated.version,
        predicate_type: predicate_type.clone(),
        predicate: predicate.clone(),
        statement: statement.clone(),
    };
    let signers = authenticated.signers.iter();
    Ok(signers.flat_map(|signer| stated.subjects.iter().map(|subject| attestation(signer, subject))).collect())
}

fn authenticate(
    question: &Question<'_>,
    blob: &Document,
    annotations: &BTreeMap<String, String>,
    format: AttestationFormat,
    budget: &mut Budget,
) -> Result<Authenticated, Failure> {
    match format {
        AttestationFormat::SigstoreBundle => bundle::authenticate(question, blob, budget),
        AttestationFormat::Dsse => dsse::authenticate(question, blob, annotations, budget),
    }
}
