//! `assay.v1.Gate` messages to admission types and back. What is unspecified, unknown or over a cap is an error, never a default.

use std::time::Duration;

use assay_admission::{
    AdmissionRequest, CandidateName, DenyCode, Digest, DigestError, Document, Documents, Gate, GateRefusal, ImageClaim,
    MediaType, Mode, NameSource, Outcome, PlatformError, Purpose, Reason, RecordId, ReferenceError, RequestError,
    Subject, Thoroughness, Verdict,
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
        let gate = gate(message.gate())?;
        let mut thoroughness = Thoroughness::Full;
        let subject = match message.subject.ok_or(ConversionError::Field("subject"))? {
            wire::admit_request::Subject::Chain(chain) => {
                if chain.glance {
                    thoroughness = Thoroughness::Glance;
                }
                Subject::Chain {
                    chain: digest("chain", &chain.chain)?,
                    purpose: match chain.purpose() {
                        wire::ChainPurpose::Extraction => Purpose::Extraction,
                        wire::ChainPurpose::Use => Purpose::Use,
                        wire::ChainPurpose::Unspecified => return Err(ConversionError::Field("purpose")),
                    },
                    images: chain.images.into_iter().map(claim).collect::<Result<_, _>>()?,
                    alike: chain.alike.into_iter().map(claim).collect::<Result<_, _>>()?,
                }
            }
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
        let request = AdmissionRequest::new(gate, message.namespace.parse()?, platform, subject, documents)?;
        Ok(request.with_thoroughness(thoroughness))
    }

    /// The wire form of a request.
    #[must_use]
    pub fn request_message(request: &AdmissionRequest) -> wire::AdmitRequest {
        let subject = match request.subject() {
            Subject::Chain { chain, purpose, images, alike } => {
                let purpose = match purpose {
                    Purpose::Extraction => wire::ChainPurpose::Extraction,
                    Purpose::Use => wire::ChainPurpose::Use,
                };
                wire::admit_request::Subject::Chain(wire::ChainSubject {
                    chain: chain.to_string(),
                    images: images.iter().map(claim_message).collect(),
                    purpose: purpose.into(),
                    alike: alike.iter().map(claim_message).collect(),
                    glance: match request.thoroughness() {
                        Thoroughness::Full => false,
                        Thoroughness::Glance => true,
                    },
                })
            }
            Subject::Image { name, top } => wire::admit_request::Subject::Image(wire::ImageSubject {
                name: Some(name_message(name)),
                top: top.map(|digest| digest.to_string()).unwrap_or_default(),
            }),
        };
        wire::AdmitRequest {
            gate: gate_message(request.gate()).into(),
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

/// Marker for the conversions of what a gate refused by itself.
#[derive(Clone, Copy, Debug)]
pub struct GateReport;

impl GateReport {
    /// Parses a refusal from its wire form; texts are cut to what is kept of them.
    ///
    /// # Errors
    /// [`ConversionError`] naming the field.
    pub fn refusal(message: &wire::ReportRequest) -> Result<GateRefusal, ConversionError> {
        let gate = gate(message.gate())?;
        let reason = message.reason.as_ref().ok_or(ConversionError::Field("reason"))?;
        let code = reason.code.parse::<DenyCode>().map_err(|()| ConversionError::Field("reason.code"))?;
        let reason = Reason::new(code, reason.detail.clone());
        let ago = Duration::from_secs(message.seconds_ago.into());
        Ok(GateRefusal::new(gate, &message.namespace, &message.about, &reason, ago, message.left_out))
    }

    /// The wire form of a refusal.
    #[must_use]
    pub fn message(refusal: &GateRefusal) -> wire::ReportRequest {
        wire::ReportRequest {
            gate: gate_message(refusal.gate()).into(),
            namespace: refusal.namespace().to_owned(),
            about: refusal.about().to_owned(),
            reason: Some(wire::Reason {
                code: refusal.reason().code.to_string(),
                detail: refusal.reason().detail.clone(),
            }),
            seconds_ago: u32::try_from(refusal.ago().as_secs()).unwrap_or(u32::MAX),
            left_out: refusal.left_out(),
        }
    }
}

fn gate(kind: wire::GateKind) -> Result<Gate, ConversionError> {
    match kind {
        wire::GateKind::Pull => Ok(Gate::Pull),
        wire::GateKind::Unpack => Ok(Gate::Unpack),
        wire::GateKind::Run => Ok(Gate::Run),
        wire::GateKind::Ask => Ok(Gate::Ask),
        wire::GateKind::Unspecified => Err(ConversionError::Field("gate")),
    }
}

const fn gate_message(gate: Gate) -> wire::GateKind {
    match gate {
        Gate::Pull => wire::GateKind::Pull,
        Gate::Unpack => wire::GateKind::Unpack,
        Gate::Run => wire::GateKind::Run,
        Gate::Ask => wire::GateKind::Ask,
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
            Subject::Chain {
                chain: Digest::sha256(b"x"),
                purpose: Purpose::Extraction,
                images: vec![claim.clone()],
                alike: vec![claim],
            },
            Documents::from([(*document.digest(), document)]),
        )
        .unwrap();
        let glance = request.clone().with_thoroughness(Thoroughness::Glance);
        assert_ne!(glance, request);
        assert_eq!(GateAdmit::request(GateAdmit::request_message(&glance)).unwrap(), glance);
        let Subject::Chain { images, .. } = request.subject() else { panic!("not a chain") };
        let image = images.first().unwrap();
        assert_eq!((image.names.len(), image.indexes.len()), (1, 1));
        assert_eq!(GateAdmit::request(GateAdmit::request_message(&request)).unwrap(), request);
    }

    #[test]
    fn a_chain_without_a_purpose_is_refused() {
        let chain = |purpose| {
            let chain = wire::ChainSubject { chain: Digest::sha256(b"x").to_string(), purpose, ..Default::default() };
            let subject = Some(wire::admit_request::Subject::Chain(chain));
            let (namespace, platform) = ("default".into(), "linux/amd64".into());
            GateAdmit::request(wire::AdmitRequest { gate: 2, namespace, platform, subject, ..Default::default() })
        };
        assert!(chain(1).is_ok() && chain(2).is_ok());
        assert_eq!(chain(0).err(), Some(ConversionError::Field("purpose")));
        assert_eq!(chain(3).err(), Some(ConversionError::Field("purpose")));
    }

    #[test]
    fn a_refusal_survives_its_wire_form_and_an_unknown_one_is_an_error() {
        let reason = Reason::new(DenyCode::Limit, "5000 images");
        let refusal = GateRefusal::new(Gate::Unpack, "default", "default/1/x", &reason, Duration::from_secs(3), 7);
        let message = GateReport::message(&refusal);
        assert_eq!(GateReport::refusal(&message), Ok(refusal));
        let unknown = Some(wire::Reason { code: "ALLOW".into(), detail: String::new() });
        for (field, changed) in [
            ("gate", wire::ReportRequest { gate: 0, ..message.clone() }),
            ("reason", wire::ReportRequest { reason: None, ..message.clone() }),
            ("reason.code", wire::ReportRequest { reason: unknown, ..message }),
        ] {
            assert_eq!(GateReport::refusal(&changed), Err(ConversionError::Field(field)));
        }
    }

    #[test]
    fn a_request_without_gate_or_subject_is_refused() {
        assert_eq!(GateAdmit::request(wire::AdmitRequest::default()), Err(ConversionError::Field("gate")));
        let message = wire::AdmitRequest { gate: 2, ..Default::default() };
        assert_eq!(GateAdmit::request(message), Err(ConversionError::Field("subject")));
    }
}
