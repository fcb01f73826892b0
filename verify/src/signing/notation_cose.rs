//! A Notary Project signature in COSE, scheme `notary.x509`, with the headers in the order that notation writes them.

use std::collections::BTreeMap;

use assay_admission::{Descriptor, Digest, UnixTime};
use ciborium::value::Value;
use coset::{CoseSign1, Header, Label, ProtectedHeader, TaggedCborSerializable as _};

use crate::{
    facts::RejectionReason,
    failure::Failure,
    limits::Budget,
    notation::{
        ARTIFACT_TYPE as NOTARY_ARTIFACT_TYPE, Algorithm, COSE_MEDIA_TYPE, EXPIRY, PAYLOAD_TYPE, SIGNING_AGENT,
        SIGNING_SCHEME, SIGNING_TIME, X509_SCHEME,
        chain::{self, Purpose},
        cose::{EPOCH_TAG, X5CHAIN},
    },
    trust::Certificate,
};

/// The media type of the layer.
pub const MEDIA_TYPE: &str = COSE_MEDIA_TYPE;
/// The type of the artifact that holds it.
pub const ARTIFACT_TYPE: &str = NOTARY_ARTIFACT_TYPE;

/// What is to be signed, and what the envelope needs besides.
#[derive(Clone, Debug, PartialEq)]
pub struct ToSign {
    algorithm: Algorithm,
    sig_structure: Vec<u8>,
    protected: ProtectedHeader,
    payload: Vec<u8>,
    chain: Vec<Certificate>,
}

/// Why nothing can be signed with these certificates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// A verifier would refuse the chain.
    #[error("the certificate chain would be refused: {0}")]
    Chain(RejectionReason),
    /// The Notary Project does not sign with such a key.
    #[error("the Notary Project does not sign with {0} keys")]
    Key(String),
    /// The expiry is not after the signing time.
    #[error("the expiry {expiry} is not after the signing time {signing_time}")]
    Expiry {
        /// The expiry.
        expiry: UnixTime,
        /// The signing time.
        signing_time: UnixTime,
    },
}

/// The signature of `subject` by the holder of the first certificate of `chain` (leaf first, root included).
///
/// # Errors
/// [`SigningError`] if a verifier would refuse the result.
pub fn to_sign(
    subject: &Descriptor,
    chain: &[Certificate],
    signing_time: UnixTime,
    expiry: Option<UnixTime>,
    annotations: &BTreeMap<String, String>,
) -> Result<ToSign, SigningError> {
    let key = chain::verify(chain, Purpose::CodeSigning, &mut Budget::default()).map_err(|failure| match failure {
        Failure::Rejected(reason) => SigningError::Chain(reason),
        Failure::Exhausted(limit) => SigningError::Chain(limit.into()),
    })?;
    chain::check_time(chain, signing_time).map_err(SigningError::Chain)?;
    let algorithm = Algorithm::of(key.kind()).map_err(SigningError::Key)?;
    if let Some(expiry) = expiry
        && expiry <= signing_time
    {
        return Err(SigningError::Expiry { expiry, signing_time });
    }
    let payload = payload(subject, annotations);
    let protected =
        ProtectedHeader { original_data: Some(protected(algorithm, signing_time, expiry)), header: Header::default() };
    let sig_structure =
        coset::sig_structure_data(coset::SignatureContext::CoseSign1, protected.clone(), None, &[], &payload);
    Ok(ToSign { algorithm, sig_structure, protected, payload, chain: chain.to_vec() })
}

impl ToSign {
    /// The algorithm, as the leaf's key fixes it.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The bytes to sign (RFC 9052 §4.4).
    #[must_use]
    pub fn sig_structure(&self) -> &[u8] {
        &self.sig_structure
    }

    /// The leaf's certificate, whose key must sign.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        self.chain.first().expect("the chain was verified, so it is not empty")
    }

    /// The envelope. `signature` is r and s for ECDSA; `agent` names the program, unsigned.
    #[must_use]
    pub fn assemble(self, signature: &[u8], agent: &str) -> Vec<u8> {
        let certificates = self.chain.iter().map(|certificate| Value::Bytes(certificate.der().to_owned())).collect();
        let unprotected = Header {
            rest: vec![
                (Label::Int(X5CHAIN), Value::Array(certificates)),
                (Label::Text(SIGNING_AGENT.to_owned()), Value::Text(agent.to_owned())),
            ],
            ..Header::default()
        };
        let sign1 = CoseSign1 {
            protected: self.protected,
            unprotected,
            payload: Some(self.payload),
            signature: signature.to_owned(),
        };
        sign1.to_tagged_vec().expect("a value without floats and with few levels can be written to memory")
    }
}

/// The annotation of the signature manifest by which notation finds certificates: a JSON array of SHA-256 thumbprints in a string.
#[must_use]
pub fn manifest_annotations(chain: &[Certificate]) -> BTreeMap<String, String> {
    let thumbprints: Vec<_> =
        chain.iter().map(|certificate| format!("\"{}\"", Digest::sha256(certificate.der()).hex())).collect();
    BTreeMap::from([("io.cncf.notary.x509chain.thumbprint#S256".to_owned(), format!("[{}]", thumbprints.join(",")))])
}

fn payload(subject: &Descriptor, annotations: &BTreeMap<String, String>) -> Vec<u8> {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let pairs: Vec<_> = annotations.iter().map(|(key, value)| format!("{}:{}", text(key), text(value))).collect();
    let annotations = match pairs.as_slice() {
        [] => String::new(),
        pairs => format!(r#","annotations":{{{}}}"#, pairs.join(",")),
    };
    // Written out, not serialised: the order of the fields is notation's.
    format!(
        r#"{{"targetArtifact":{{"mediaType":{},"digest":"{}","size":{}{annotations}}}}}"#,
        text(subject.media_type.as_str()),
        subject.digest,
        subject.size,
    )
    .into_bytes()
}

fn protected(algorithm: Algorithm, signing_time: UnixTime, expiry: Option<UnixTime>) -> Vec<u8> {
    let time = |time: UnixTime| Value::Tag(EPOCH_TAG, Box::new(Value::from(time.seconds())));
    let text = |text: &str| Value::Text(text.to_owned());
    let mut critical = vec![text(SIGNING_SCHEME)];
    critical.extend(expiry.map(|_| text(EXPIRY)));
    let mut map = vec![
        (Value::from(1), Value::from(algorithm.cose())),
        (Value::from(2), Value::Array(critical)),
        (Value::from(3), text(PAYLOAD_TYPE)),
    ];
    map.extend(expiry.map(|expiry| (text(EXPIRY), time(expiry))));
    map.push((text(SIGNING_TIME), time(signing_time)));
    map.push((text(SIGNING_SCHEME), text(X509_SCHEME)));
    let mut bytes = Vec::new();
    ciborium::into_writer(&Value::Map(map), &mut bytes).expect("writing to memory does not fail");
    bytes
}
