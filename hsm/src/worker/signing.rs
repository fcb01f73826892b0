//! Signatures: which mechanism of PKCS#11 makes or checks them, and over what.
//!
//! In: a session, a key and a whole message. Out: a signature of the scheme's length, or a typed error.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use sha2::{Digest, Sha256, Sha384};

use super::keys::{Half, TokenSession};
use super::module::Failure;
use crate::key::{KeyKind, Scheme};
use crate::protocol::{KeyError, SignRequest, VerifyRequest};
use crate::uri::KeyUri;

impl TokenSession {
    /// Signs the message with the one private key of that name.
    pub(super) fn sign(&mut self, request: &SignRequest) -> Result<Vec<u8>, Failure> {
        let key = self.find(Half::Private, &request.uri)?;
        let length = fitting_length(&request.uri, request.scheme, key.kind)?;
        for (mechanism, data) in ways(request.scheme, &request.message) {
            match self.session.sign(&mechanism, key.handle, &data) {
                Ok(signature) if signature.len() == length => return Ok(signature),
                Ok(signature) => {
                    let rv = format!("a signature of {} bytes instead of {length}", signature.len());
                    return Err(KeyError::ModuleFailed { call: "C_Sign".to_owned(), rv }.into());
                }
                Err(error) if is_unsupported(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(KeyError::MechanismUnsupported { mechanism: request.scheme.to_string() }.into())
    }

    /// Lets the token check a signature with the one public key of that name.
    pub(super) fn verify(&mut self, request: &VerifyRequest) -> Result<(), Failure> {
        let key = self.find(Half::Public, &request.uri)?;
        let invalid = || KeyError::SignatureInvalid { uri: request.uri.clone() };
        if request.signature.len() != fitting_length(&request.uri, request.scheme, key.kind)? {
            return Err(invalid().into());
        }
        for (mechanism, data) in ways(request.scheme, &request.message) {
            match self.session.verify(&mechanism, key.handle, &data, &request.signature) {
                Ok(()) => return Ok(()),
                Err(Error::Pkcs11(RvError::SignatureInvalid | RvError::SignatureLenRange, _)) => {
                    return Err(invalid().into());
                }
                Err(error) if is_unsupported(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(KeyError::MechanismUnsupported { mechanism: request.scheme.to_string() }.into())
    }
}

fn fitting_length(uri: &KeyUri, scheme: Scheme, kind: KeyKind) -> Result<usize, KeyError> {
    scheme.signature_length(kind).ok_or_else(|| KeyError::SchemeMismatch { uri: uri.clone(), scheme, kind })
}

/// The mechanisms that make this scheme's signature, the better first, each with what it signs.
fn ways(scheme: Scheme, message: &[u8]) -> Vec<(Mechanism<'static>, Vec<u8>)> {
    match scheme {
        // CKM_ECDSA_SHA256 is refused by several modules, the raw mechanism by none.
        Scheme::EcdsaP256Sha256 => vec![(Mechanism::Ecdsa, Sha256::digest(message).to_vec())],
        Scheme::EcdsaP384Sha384 => vec![(Mechanism::Ecdsa, Sha384::digest(message).to_vec())],
        Scheme::RsaPssSha256 => {
            let pss = PkcsPssParams {
                hash_alg: MechanismType::SHA256,
                mgf: PkcsMgfType::MGF1_SHA256,
                s_len: cryptoki::types::Ulong::new(32),
            };
            vec![
                (Mechanism::Sha256RsaPkcsPss(pss), message.to_vec()),
                (Mechanism::RsaPkcsPss(pss), Sha256::digest(message).to_vec()),
            ]
        }
        Scheme::RsaPssSha384 => {
            let pss = PkcsPssParams {
                hash_alg: MechanismType::SHA384,
                mgf: PkcsMgfType::MGF1_SHA384,
                s_len: cryptoki::types::Ulong::new(48),
            };
            vec![
                (Mechanism::Sha384RsaPkcsPss(pss), message.to_vec()),
                (Mechanism::RsaPkcsPss(pss), Sha384::digest(message).to_vec()),
            ]
        }
        Scheme::RsaPkcs1Sha256 => vec![
            (Mechanism::Sha256RsaPkcs, message.to_vec()),
            (Mechanism::RsaPkcs, [SHA256_DIGEST_INFO, Sha256::digest(message).as_slice()].concat()),
        ],
        Scheme::Ed25519 => vec![(Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)), message.to_vec())],
    }
}

/// RFC 8017 §9.2, note 1: what stands before a SHA-256 digest in PKCS #1 v1.5.
const SHA256_DIGEST_INFO: &[u8] =
    &[0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

fn is_unsupported(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::MechanismInvalid | RvError::MechanismParamInvalid | RvError::FunctionNotSupported,
            cryptoki::context::Function::SignInit | cryptoki::context::Function::VerifyInit
        )
    )
}
