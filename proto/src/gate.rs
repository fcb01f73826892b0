//! `assay.v1.Gate` messages to admission types and back. What is unspecified, unknown or over a cap is an error, never a default.

use assay_admission::{
    AdmissionRequest, CandidateName, DenyCode, Digest, DigestError, Document, Documents, Gate, ImageClaim, MediaType,
    Mode, NameSource, Outcome, PlatformError, Reason, RecordId, ReferenceError, RequestError, Subject, Verdict,
};

use crate::generated::assay::v1 as wire;

/// Marker for the gate service's two conversions, so that callers read `GateAdmit::request(message)`.
#[derive(Clone, Copy, Debug)]
pub struct GateAdmit;

/// Why a message is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    /// A required field is unset, or an enum has a value this version does not know.
    #[error("field {0} is missing or has an unknown value")]
    Field(&'static str),
    /// A field that should be a digest is not.
    #[error("field {0}: {1}")]
    Digest(&'static str, DigestError),
    /// A name is not an image reference.
    #[error("image name: {0}")]
    Reference(#[from] ReferenceError),
    /// The platform is malformed.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The request breaks a cap or has a malformed namespace.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl GateAdmit {
    /// Parses a request from its wire form.
    ///
    /// # Errors
    /// [`ConversionError`] naming the field.
    pub fn request(message: wire::AdmitRequest) -> Result<AdmissionRequest, ConversionError> {
        let gate = match message.gate() {
            wire::GateKind::Pull => Gate::Pull,
            wire::GateKind::Unpack => Gate::Unpack,
            wire::GateKind::Run => Gate::Run,
            wire::GateKind::Ask => Gate::Ask,
            wire::GateKind::Unspecified => return Err(ConversionError::Field("gate")),
        };
        let subject = match message.subject.ok_or(ConversionError::Field("subject"))? {
            wire::admit_request::Subject::Chain(chain) => Subject::Chain {
                chain: digest("chain", &chain.chain)?,
                images: chain.images.into_iter().map(claim).collect::<Result<_, _>>()?,
            },
            wire::admit_request::Subject::Image(image) => Subject::Image {
                name: name(image.name.ok_or(ConversionError::Field("name"))?)?,
                top: if image.top.is_empty() { None } else { Some(digest("top", &image.top)?) },
            },
        };
        let mut documents = Documents::new();
        for document in message.documents {
            let media_type = MediaType::new(&document.media_type).ok_or(ConversionError::Field("media_type"))?;
            let document = Document::new(media_type, document.content)?;
            documents.insert(*document.digest(), document);
        }
        let platform = message.platform.parse()?;
        Ok(AdmissionRequest::new(gate, message.namespace.parse()?, platform, subject, documents)?)
    }

    /// The wire form of a request.
    #[must_use]
    pub fn request_message(request: &AdmissionRequest) -> wire::AdmitRequest {
        let gate = match request.gate() {
            Gate::Pull => wire::GateKind::Pull,
            Gate::Unpack => wire::GateKind::Unpack,
            Gate::Run => wire::GateKind::Run,
            Gate::Ask => wire::GateKind::Ask,
        };
        let subject = match request.subject() {
            Subject::Chain { chain, images } => wire::admit_request::Subject::Chain(wire::ChainSubject {
                chain: chain.to_string(),
                images: images.iter().map(claim_message).collect(),
            }),
            Subject::Image { name, top } => wire::admit_request::Subject::Image(wire::ImageSubject {
                name: Some(name_message(name)),
                top: top.map(|digest| digest.to_string()).unwrap_or_default(),
            }),
        };
        wire::AdmitRequest {
            gate: gate.into(),
            namespace: request.namespace().to_string(),
            platform: request.platform().to_string(),
            subject: Some(subject),
            documents: request.documents().values().map(document_message).collect(),
        }
    }

    /// Parses an answer. An allow without a record, or with reasons that are unknown, is an error.
    ///
    /// # Errors
    /// [`ConversionError::Field`] naming the field.
    pub fn verdict(message: wire::AdmitResponse) -> Result<Verdict, ConversionError> {
        let mode = match message.mode() {
            wire::Mode::Observe => Mode::Observe,
            wire::Mode::Warn => Mode::Warn,
            wire::Mode::Enforce => Mode::Enforce,
            wire::Mode::Unspecified => return Err(ConversionError::Field("mode")),
        };
        let decision = message.decision();
        let mut reasons = message
            .reasons
            .into_iter()
            .map(|reason| {
                let code = reason.code.parse::<DenyCode>().map_err(|()| ConversionError::Field("reasons.code"))?;
                Ok(Reason::new(code, reason.detail))
            })
            .collect::<Result<Vec<_>, ConversionError>>()?
            .into_iter();
        let outcome = match decision {
            wire::Decision::Allow => Outcome::Allow { would_deny: reasons.collect() },
            wire::Decision::Deny => Outcome::Deny {
                first: reasons.next().ok_or(ConversionError::Field("reasons"))?,
                others: reasons.collect(),
            },
            wire::Decision::Unspecified => return Err(ConversionError::Field("decision")),
        };
        let rule = Some(message.rule).filter(|rule| !rule.is_empty());
        Verdict::new(outcome, mode, rule, message.because, message.record.map(RecordId::new))
            .map_err(|_| ConversionError::Field("record"))
    }

    /// The wire form of an answer.
    #[must_use]
    pub fn verdict_message(verdict: &Verdict) -> wire::AdmitResponse {
        let (decision, reasons): (_, Vec<&Reason>) = match verdict.outcome() {
            Outcome::Allow { would_deny } => (wire::Decision::Allow, would_deny.iter().collect()),
            Outcome::Deny { first, others } => (wire::Decision::Deny, std::iter::once(first).chain(others).collect()),
        };
        let mode = match verdict.mode() {
            Mode::Observe => wire::Mode::Observe,
            Mode::Warn => wire::Mode::Warn,
            Mode::Enforce => wire::Mode::Enforce,
        };
        wire::AdmitResponse {
            decision: decision.into(),
            mode: mode.into(),
            rule: verdict.rule().unwrap_or_default().to_owned(),
            reasons: reasons
                .into_iter()
                .map(|reason| wire::Reason { code: reason.code.to_string(), detail: reason.detail.clone() })
                .collect(),
            because: verdict.because().to_vec(),
            record: verdict.record().map(RecordId::index),
        }
    }
}

fn digest(field: &'static str, text: &str) -> Result<Digest, ConversionError> {
    text.parse().map_err(|error| ConversionError::Digest(field, error))
}

fn claim(message: wire::ImageClaim) -> Result<ImageClaim, ConversionError> {
    Ok(ImageClaim {
        manifest: digest("manifest", &message.manifest)?,
        config: digest("config", &message.config)?,
        indexes: message.indexes.iter().map(|text| digest("indexes", text)).collect::<Result<_, _>>()?,
        names: message.names.into_iter().map(name).collect::<Result<_, _>>()?,
    })
}

fn claim_message(claim: &ImageClaim) -> wire::ImageClaim {
    wire::ImageClaim {
        manifest: claim.manifest.to_string(),
        config: claim.config.to_string(),
        indexes: claim.indexes.iter().map(ToString::to_string).collect(),
        names: claim.names.iter().map(name_message).collect(),
    }
}

fn name(message: wire::Name) -> Result<CandidateName, ConversionError> {
    let source = match message.source() {
        wire::NameSource::Requested => NameSource::Requested,
        wire::NameSource::ImageRecord => NameSource::ImageRecord,
        wire::NameSource::DistributionSource => NameSource::DistributionSource,
        wire::NameSource::Unspecified => return Err(ConversionError::Field("name.source")),
    };
    Ok(CandidateName { reference: message.reference.parse()?, source })
}

fn name_message(name: &CandidateName) -> wire::Name {
    let source = match name.source {
        NameSource::Requested => wire::NameSource::Requested,
        NameSource::ImageRecord => wire::NameSource::ImageRecord,
        NameSource::DistributionSource => wire::NameSource::DistributionSource,
    };
    wire::Name { reference: name.reference.to_string(), source: source.into() }
}

fn document_message(document: &Document) -> wire::Document {
    wire::Document { media_type: document.media_type().to_string(), content: document.bytes().to_vec() }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn allow() -> wire::AdmitResponse {
        wire::AdmitResponse {
            decision: wire::Decision::Allow.into(),
            mode: wire::Mode::Enforce.into(),
            rule: "production".into(),
            reasons: vec![],
            because: vec!["key ci signed it".into()],
            record: Some(7),
        }
    }

    #[test]
    fn an_answer_survives_its_wire_form() {
        let verdict = GateAdmit::verdict(allow()).unwrap();
        assert!(verdict.is_allow());
        assert_eq!(GateAdmit::verdict(GateAdmit::verdict_message(&verdict)).unwrap(), verdict);
    }

    #[test]
    fn an_empty_unknown_or_unrecorded_answer_is_no_allow() {
        assert_eq!(GateAdmit::verdict(wire::AdmitResponse::default()), Err(ConversionError::Field("mode")));
        let refuse = |change: fn(&mut wire::AdmitResponse)| {
            let mut message = allow();
            change(&mut message);
            GateAdmit::verdict(message).err()
        };
        assert_eq!(refuse(|m| m.record = None), Some(ConversionError::Field("record")));
        assert_eq!(refuse(|m| m.decision = 0), Some(ConversionError::Field("decision")));
        assert_eq!(refuse(|m| m.decision = 9), Some(ConversionError::Field("decision")));
        assert_eq!(refuse(|m| m.decision = 2), Some(ConversionError::Field("reasons")));
        assert_eq!(
            refuse(|m| m.reasons.push(wire::Reason { code: "NEW".into(), detail: String::new() })),
            Some(ConversionError::Field("reasons.code"))
        );
    }

    #[test]
    fn a_request_survives_its_wire_form_and_loses_its_duplicates() {
        let document = Document::new(MediaType::new(MediaType::OCI_MANIFEST).unwrap(), b"{}".to_vec()).unwrap();
        let name = CandidateName { reference: "r.example/a:1".parse().unwrap(), source: NameSource::ImageRecord };
        let claim = ImageClaim {
            manifest: *document.digest(),
            config: Digest::sha256(b"c"),
            indexes: vec![Digest::sha256(b"i"); 2],
            names: vec![name.clone(), name],
        };
        let request = AdmissionRequest::new(
            Gate::Unpack,
            "k8s.io".parse().unwrap(),
            "linux/amd64".parse().unwrap(),
            Subject::Chain { chain: Digest::sha256(b"x"), images: vec![claim] },
            Documents::from([(*document.digest(), document)]),
        )
        .unwrap();
        let Subject::Chain { images, .. } = request.subject() else { panic!("not a chain") };
        let image = images.first().unwrap();
        assert_eq!((image.names.len(), image.indexes.len()), (1, 1));
        assert_eq!(GateAdmit::request(GateAdmit::request_message(&request)).unwrap(), request);
    }

    #[test]
    fn a_request_without_gate_or_subject_is_refused() {
        assert_eq!(GateAdmit::request(wire::AdmitRequest::default()), Err(ConversionError::Field("gate")));
        let message = wire::AdmitRequest { gate: 2, ..Default::default() };
        assert_eq!(GateAdmit::request(message), Err(ConversionError::Field("subject")));
    }
}
