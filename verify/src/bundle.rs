//! Sigstore bundles 0.1 to 0.3 (protobuf-specs `Bundle`) around a DSSE envelope (DSSE v1.0.2, in-toto Statement v1) or a message
//! signature, by a key or by a certificate. What a bundle says of keys, logs and time is believed only where it is proved to someone
//! whom the policy trusts.

use std::collections::BTreeMap;

use assay_admission::{Descriptor, Document, UnixTime};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    artifact::Question,
    facts::{Fact, Format, RejectionReason, Signer},
    failure::{Failure, malformed},
    image::BoundImage,
    json::{JsonError, Object, Value, parse_object, wrong},
    keyed,
    limits::{Budget, LimitReached, MAX_SUBJECTS},
    sigstore::{self, BlobDigests, Claim, Envelope, HashName, Material, ProofRule, Signed},
    trust::Trust,
};

/// The media types of versions 0.1, 0.2 and, written in two ways, 0.3.
pub(crate) const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    VERSION_0_2,
    VERSION_0_1,
];
const VERSION_0_1: &str = "application/vnd.dev.sigstore.bundle+json;version=0.1";
const VERSION_0_2: &str = "application/vnd.dev.sigstore.bundle+json;version=0.2";
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
pub(crate) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The one predicate that says "signed". An attestation by the same key is no signature.
pub(crate) const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

/// What a bundle holds, decoded and not yet believed.
pub(crate) struct Bundle {
    pub(crate) content: Content,
    signature: Vec<u8>,
    by: By,
    material: Material,
}

/// What was signed.
pub(crate) enum Content {
    /// A statement in an envelope: its bytes.
    Statement(Vec<u8>),
    /// Something that is not in the bundle, with its digest if the bundle names it.
    Message(Option<Named>),
}

/// Which message was signed, as the bundle says.
pub(crate) struct Named {
    hash: HashName,
    value: Vec<u8>,
}

impl Named {
    /// Whether it is the message with these digests; `None` if that is not known.
    pub(crate) fn is(&self, digests: &BlobDigests) -> Option<bool> {
        digests.get(self.hash).map(|value| value == self.value)
    }

    /// Fails unless it is the message with these digests.
    pub(crate) fn require(&self, digests: &BlobDigests) -> Result<(), RejectionReason> {
        match self.is(digests) {
            Some(true) => Ok(()),
            Some(false) => Err(RejectionReason::OtherSubject { found: self.to_string() }),
            None => {
                Err(RejectionReason::Unsupported(format!("a message named by {self}, of which the SHA-256 is known,")))
            }
        }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.hash.as_str(), hex::encode(&self.value))
    }
}

/// Who is said to have signed.
enum By {
    /// A key, with the hash that may tell which.
    Key(Option<Vec<u8>>),
    Certificate,
}

/// A subject of the image that the statement names, with the annotations beside it.
struct SignedSubject {
    subject: Descriptor,
    annotations: BTreeMap<String, String>,
}

/// A payload that someone whom the policy trusts signed, whatever it says.
pub(crate) struct Authenticated {
    /// Who signed it: at least one.
    pub(crate) signers: Vec<Signer>,
    /// The bytes of the statement that was signed.
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn verify(question: &Question<'_>, blob: &Document, budget: &mut Budget) -> Result<Vec<Fact>, Failure> {
    let bundle = Bundle::read(blob.bytes(), question.trust)?;
    let (signers, subjects) = match &bundle.content {
        Content::Statement(payload) => {
            let Authenticated { signers, payload } = authenticated(question, &bundle, payload, budget)?;
            // From here on the payload is what somebody whom the policy trusts signed.
            (signers, signed_subjects(question.image, &payload)?)
        }
        Content::Message(named) => of_message(question, &bundle, named.as_ref(), budget)?,
    };
    let fact = |signer, signed: &SignedSubject| Fact {
        signer,
        format: Format::SigstoreBundle,
        subject: signed.subject.clone(),
        envelope: *blob.digest(),
        identity: None,
        annotations: signed.annotations.clone(),
        claimed_time: None,
        holds_until: None,
    };
    Ok(signers.iter().flat_map(|signer| subjects.iter().map(|subject| fact(signer.clone(), subject))).collect())
}

/// Who signed the statement in a bundle. Nothing in the statement was looked at yet.
pub(crate) fn authenticate(
    question: &Question<'_>,
    blob: &Document,
    budget: &mut Budget,
) -> Result<Authenticated, Failure> {
    let bundle = Bundle::read(blob.bytes(), question.trust)?;
    match &bundle.content {
        Content::Statement(payload) => authenticated(question, &bundle, payload, budget),
        Content::Message(_) => Err(malformed("messageSignature", "signs a message, and no statement").into()),
    }
}

fn authenticated(
    question: &Question<'_>,
    bundle: &Bundle,
    payload: &[u8],
    budget: &mut Budget,
) -> Result<Authenticated, Failure> {
    let signers = bundle.signers_of_statement(payload, question.trust, question.at, budget)?;
    Ok(Authenticated { signers, payload: payload.to_owned() })
}

/// Who signed which document of the image as a message: the one that the bundle names, else the first that the signature fits.
fn of_message(
    question: &Question<'_>,
    bundle: &Bundle,
    named: Option<&Named>,
    budget: &mut Budget,
) -> Result<(Vec<Signer>, Vec<SignedSubject>), Failure> {
    let mut last = None;
    for subject in question.image.subjects() {
        let Ok(digests) = BlobDigests::of_sha256(subject.digest) else { continue };
        if let Some(Err(reason)) = named.map(|named| named.require(&digests)) {
            last = last.or(Some(reason));
            continue;
        }
        match bundle.signers_of_message(&digests, question.trust, question.at, budget) {
            Ok(signers) => {
                return Ok((signers, vec![SignedSubject { subject: subject.clone(), annotations: BTreeMap::new() }]));
            }
            Err(Failure::Exhausted(limit)) => return Err(Failure::Exhausted(limit)),
            Err(Failure::Rejected(reason)) => last = Some(reason),
        }
    }
    let found = named.map_or_else(|| "something else".to_owned(), ToString::to_string);
    Err(Failure::Rejected(last.unwrap_or(RejectionReason::OtherSubject { found })))
}

/// DSSE v1 pre-authentication encoding: the type is signed together with the exact bytes of the payload.
pub(crate) fn pae(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

impl Bundle {
    /// Decodes a bundle. Log entries beside a key are read only where `trust` asks for them: a signature by a key needs none.
    pub(crate) fn read(bytes: &[u8], trust: &Trust) -> Result<Self, RejectionReason> {
        let value = crate::json::parse(bytes)?;
        let bundle = value.object("bundle")?;
        let media_type = bundle.string("mediaType")?;
        if !MEDIA_TYPES.contains(&media_type) {
            return Err(RejectionReason::Unknown { field: "mediaType", value: media_type.to_owned() });
        }
        bundle.only(&["mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature"])?;
        let (content, signature) =
            match (bundle.optional_object("dsseEnvelope")?, bundle.optional_object("messageSignature")?) {
                (Some(envelope), None) => statement(envelope)?,
                (None, Some(message)) => message_of(message)?,
                (Some(_), Some(_)) => return Err(malformed("messageSignature", "stands beside a dsseEnvelope")),
                (None, None) => return Err(malformed("dsseEnvelope", "is missing in bundle")),
            };
        let material = bundle.object("verificationMaterial")?;
        material.only(&[
            "publicKey",
            "certificate",
            "x509CertificateChain",
            "tlogEntries",
            "timestampVerificationData",
        ])?;
        let makers = ["publicKey", "certificate", "x509CertificateChain"];
        let present = makers.iter().filter(|maker| matches!(material.optional(maker), Ok(Some(_)))).count();
        if present > 1 {
            return Err(malformed("verificationMaterial", "has more than one of publicKey, certificate and chain"));
        }
        if matches!(media_type, VERSION_0_1 | VERSION_0_2) {
            material.without("certificate", "does not exist before version 0.3")?;
        }
        let rule = if media_type == VERSION_0_1 { ProofRule::Promise } else { ProofRule::Proof };
        let (by, material) = match sigstore::certificates(material)? {
            Some(certificates) => (By::Certificate, Material::read(material, certificates, rule)?),
            None => {
                let by = By::Key(key_hint(material.object("publicKey")?)?);
                let is_needed = !trust.logged_keys.is_empty();
                let none = Material { certificates: Vec::new(), entries: Vec::new(), rule, timestamps: Vec::new() };
                (by, if is_needed { Material::read(material, Vec::new(), rule)? } else { none })
            }
        };
        Ok(Self { content, signature, by, material })
    }

    /// Who signed the bundle's statement: at least one.
    pub(crate) fn signers_of_statement(
        &self,
        payload: &[u8],
        trust: &Trust,
        at: UnixTime,
        budget: &mut Budget,
    ) -> Result<Vec<Signer>, Failure> {
        let envelope = Envelope { payload_type: PAYLOAD_TYPE, payload };
        self.signers(Signed::Bytes(&pae(payload)), Some(envelope), trust, at, budget)
    }

    /// Who signed what has these digests: at least one.
    pub(crate) fn signers_of_message(
        &self,
        digests: &BlobDigests,
        trust: &Trust,
        at: UnixTime,
        budget: &mut Budget,
    ) -> Result<Vec<Signer>, Failure> {
        self.signers(Signed::Digests(digests), None, trust, at, budget)
    }

    fn signers(
        &self,
        signed: Signed<'_>,
        envelope: Option<Envelope<'_>>,
        trust: &Trust,
        at: UnixTime,
        budget: &mut Budget,
    ) -> Result<Vec<Signer>, Failure> {
        let claim = Claim { signed, envelope, signature: &self.signature, material: &self.material };
        match &self.by {
            By::Key(hint) => keyed::signers_of_claim(trust, &claim, hint.as_deref(), at, budget),
            By::Certificate => sigstore::identities(trust, &claim, at, budget),
        }
    }
}

/// The payload and the one signature of an envelope.
fn statement(envelope: Object<'_>) -> Result<(Content, Vec<u8>), RejectionReason> {
    envelope.only(&["payload", "payloadType", "signatures"])?;
    let payload_type = envelope.string("payloadType")?;
    if payload_type != PAYLOAD_TYPE {
        return Err(RejectionReason::Unknown { field: "payloadType", value: payload_type.to_owned() });
    }
    let [signature] = envelope.array("signatures")? else {
        return Err(malformed("signatures", "does not have exactly one entry"));
    };
    let signature = signature.object("signatures")?;
    signature.only(&["sig", "keyid"])?;
    let payload = decode("payload", envelope.string("payload")?)?;
    Ok((Content::Statement(payload), decode("sig", signature.string("sig")?)?))
}

/// The signature over a message, and which message it is said to be.
fn message_of(message: Object<'_>) -> Result<(Content, Vec<u8>), RejectionReason> {
    message.only(&["messageDigest", "signature"])?;
    let digest = match message.optional_object("messageDigest")? {
        None => None,
        // cosign 3 writes an empty one beside Ed25519 signatures, which are over no digest.
        Some(digest) if digest.members().next().is_none() => None,
        Some(digest) => {
            digest.only(&["algorithm", "digest"])?;
            let algorithm = digest.string("algorithm")?;
            let hash = HashName::parse(algorithm)
                .ok_or_else(|| RejectionReason::Unknown { field: "messageDigest", value: algorithm.to_owned() })?;
            Some(Named { hash, value: decode("messageDigest", digest.string("digest")?)? })
        }
    };
    Ok((Content::Message(digest), decode("signature", message.string("signature")?)?))
}

/// The hash of the key that is said to have signed.
fn key_hint(key: Object<'_>) -> Result<Option<Vec<u8>>, RejectionReason> {
    key.only(&["hint"])?;
    Ok(key.optional_string("hint")?.and_then(|hint| STANDARD.decode(hint).ok()))
}

pub(crate) fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, RejectionReason> {
    STANDARD.decode(text).map_err(|error| malformed(field, format!("is not canonical base64: {error}")))
}

/// Whether the statement signs the image.
#[cfg(fuzzing)]
pub(crate) fn fuzz_statement(image: &BoundImage, payload: &[u8]) -> bool {
    signed_subjects(image, payload).is_ok()
}

fn signed_subjects(image: &BoundImage, payload: &[u8]) -> Result<Vec<SignedSubject>, RejectionReason> {
    let (predicate_type, named) = parse_object(payload, "statement", |statement| {
        let kind = statement.string("_type")?;
        if kind != STATEMENT_TYPE {
            return Err(wrong("_type", format!("is {kind:?}, not {STATEMENT_TYPE:?}")));
        }
        let subjects = statement.array("subject")?;
        if subjects.len() > MAX_SUBJECTS {
            return Err(LimitReached { what: "subjects of a statement", limit: MAX_SUBJECTS }.into());
        }
        let named = subjects.iter().map(subject).collect::<Result<Vec<_>, JsonError>>()?;
        Ok((statement.string("predicateType")?.to_owned(), named))
    })?;
    if predicate_type != PREDICATE_TYPE {
        return Err(RejectionReason::Unknown { field: "predicateType", value: predicate_type });
    }
    let of_image: Vec<_> = image
        .subjects()
        .filter_map(|subject| {
            let (_, annotations) = named.iter().find(|(hex, _)| *hex == subject.digest.hex())?;
            Some(SignedSubject { subject: subject.clone(), annotations: annotations.clone() })
        })
        .collect();
    if of_image.is_empty() {
        let found = named.first().map_or_else(|| "nothing".to_owned(), |(hex, _)| format!("sha256:{hex}"));
        return Err(RejectionReason::OtherSubject { found });
    }
    Ok(of_image)
}

/// The SHA-256 value, in hex as it stands there, and the annotations of one subject.
fn subject(value: &Value<'_>) -> Result<(String, BTreeMap<String, String>), JsonError> {
    let subject = value.object("subject")?;
    let digest = subject.object("digest")?;
    Ok((digest.string("sha256")?.to_owned(), subject.strings("annotations")?))
}
