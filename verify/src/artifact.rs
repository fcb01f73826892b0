//! Recognises what a signature artifact is and hands each of its layers to the format's verifier. Names given by registries
//! (tags, annotations of the manifest) decide nothing: types do, and every byte is matched by digest and size.

use assay_admission::{Descriptor, Document, UnixTime};

use crate::{
    bundle,
    evidence::{Artifact, RevocationEvidence},
    facts::{Fact, Findings, Format, Rejection, RejectionReason},
    failure::{Failure, malformed},
    image::BoundImage,
    limits::{Budget, LimitReached, MAX_BLOBS},
    notation,
    oci::{self, Layer, Manifest},
    simple_signing,
    trust::Trust,
};

/// What a signature is judged against.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) image: &'a BoundImage,
    pub(crate) trust: &'a Trust,
    pub(crate) at: UnixTime,
    pub(crate) revocation: &'a RevocationEvidence,
}

/// Adds a fact or a rejection for every layer of `artifact` to `findings`.
///
/// # Errors
/// [`LimitReached`] if the budget is spent: the rest of the evidence is not looked at.
pub(crate) fn verify(
    question: &Question<'_>,
    artifact: &Artifact,
    budget: &mut Budget,
    findings: &mut Findings,
) -> Result<(), LimitReached> {
    let digest = *artifact.manifest.digest();
    let reject = |reason| Rejection { artifact: digest, envelope: None, format: None, reason };
    let manifest = match read(question.image, artifact) {
        Ok(manifest) => manifest,
        Err(reason) => {
            findings.rejections.push(reject(reason));
            return Ok(());
        }
    };
    for layer in &manifest.layers {
        let format = match recognise(&manifest, layer) {
            Ok(format) => format,
            Err(reason) => {
                findings.rejections.push(Rejection { envelope: Some(layer.descriptor.digest), ..reject(reason) });
                continue;
            }
        };
        budget.spend_signature()?;
        match verify_layer(question, artifact, layer, format, budget, findings) {
            Ok(facts) => findings.facts.extend(facts),
            Err(Failure::Exhausted(limit)) => return Err(limit),
            Err(Failure::Rejected(reason)) => findings.rejections.push(Rejection {
                artifact: digest,
                envelope: Some(layer.descriptor.digest),
                format: Some(format),
                reason,
            }),
        }
    }
    Ok(())
}

/// The signature manifest, if it is about the image and has a bearable number of layers.
pub(crate) fn read(image: &BoundImage, artifact: &Artifact) -> Result<Manifest, RejectionReason> {
    let manifest = oci::parse_manifest(&artifact.manifest)?;
    let about = image
        .subjects()
        .find(|subject| subject.digest == artifact.subject)
        .ok_or_else(|| RejectionReason::OtherSubject { found: artifact.subject.to_string() })?;
    if let Some(subject) = &manifest.subject
        && subject != about
    {
        return Err(RejectionReason::OtherSubject { found: describe(subject) });
    }
    if manifest.layers.is_empty() {
        return Err(malformed("layers", "is empty"));
    }
    if manifest.layers.len() > MAX_BLOBS {
        return Err(LimitReached { what: "layers of a signature artifact", limit: MAX_BLOBS }.into());
    }
    Ok(manifest)
}

fn describe(descriptor: &Descriptor) -> String {
    format!("{} ({}, {} bytes)", descriptor.digest, descriptor.media_type, descriptor.size)
}

/// The format of a layer. Notary Project signatures name their type in the manifest (older ones in the config's media type) and have
/// exactly one layer; cosign's are told by the layer alone.
fn recognise(manifest: &Manifest, layer: &Layer) -> Result<Format, RejectionReason> {
    let media_type = layer.descriptor.media_type.as_str();
    let artifact_type = manifest.artifact_type.as_deref().unwrap_or(manifest.config.media_type.as_str());
    let unknown = |field, value: &str| RejectionReason::Unknown { field, value: value.to_owned() };
    let format = match media_type {
        notation::JWS_MEDIA_TYPE => Format::NotationJws,
        notation::COSE_MEDIA_TYPE => Format::NotationCose,
        simple_signing::MEDIA_TYPE => Format::CosignSimpleSigning,
        bundle if bundle::MEDIA_TYPES.contains(&bundle) => Format::SigstoreBundle,
        other => return Err(unknown("mediaType", other)),
    };
    match format {
        Format::SigstoreBundle | Format::CosignSimpleSigning => Ok(format),
        Format::NotationJws | Format::NotationCose if artifact_type != notation::ARTIFACT_TYPE => {
            Err(unknown("artifactType", artifact_type))
        }
        Format::NotationJws | Format::NotationCose if manifest.layers.len() != 1 => {
            Err(malformed("layers", format!("has {} entries, and this format has one", manifest.layers.len())))
        }
        Format::NotationJws | Format::NotationCose => Ok(format),
    }
}

fn verify_layer(
    question: &Question<'_>,
    artifact: &Artifact,
    layer: &Layer,
    format: Format,
    budget: &mut Budget,
    findings: &mut Findings,
) -> Result<Vec<Fact>, Failure> {
    let blob = blob_of(artifact, layer)?;
    match format {
        Format::SigstoreBundle => bundle::verify(question, blob, budget),
        Format::CosignSimpleSigning => simple_signing::verify(question, blob, &layer.annotations, budget),
        Format::NotationJws | Format::NotationCose => notation::verify(question, blob, format, budget, findings),
    }
}

/// The collected bytes of `layer`: a [`Document`] knows its own hash, so a blob under a false digest is simply not found.
pub(crate) fn blob_of<'a>(artifact: &'a Artifact, layer: &Layer) -> Result<&'a Document, RejectionReason> {
    let wanted = &layer.descriptor;
    let blob = artifact.blobs.iter().find(|blob| *blob.digest() == wanted.digest);
    let blob = blob.ok_or(RejectionReason::MissingBlob(wanted.digest))?;
    let size = blob.descriptor().size;
    if size != wanted.size {
        return Err(malformed("size", format!("is {}, and the layer has {size} bytes", wanted.size)));
    }
    Ok(blob)
}
