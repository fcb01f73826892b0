//! New key pairs, made in the token and staying there.
//!
//! In: a label that no key has, and a kind. Out: the public half. A private key that the token would give away is
//! destroyed again.

use std::fs::File;
use std::io::Read;

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;

use super::keys::{self, TokenSession};
use super::module::Failure;
use super::token::Token;
use crate::der::{ED25519_CURVE_NAME, ED25519_PARAMS, P256_PARAMS, P384_PARAMS};
use crate::key::{KeyInfo, KeyKind};
use crate::protocol::{GenerateRequest, KeyError};
use crate::uri::KeyUri;

/// Makes a key pair in a read-write session. The caller sees to it that nobody else does at the same time.
pub(super) fn generate(session: &TokenSession, token: &Token, request: &GenerateRequest) -> Result<KeyInfo, Failure> {
    let session = &session.session;
    let id = match &request.id {
        Some(id) => id.clone(),
        None => random_id()?,
    };
    let nameable = KeyUri::of_key(&token.label, Some(request.label.clone()), Some(id.clone()))
        .is_some_and(|uri| uri.object().is_some() && uri.id().is_some());
    if !nameable {
        let why = "label and id have to be 1 to 255 bytes, the label printable".to_owned();
        return Err(KeyError::Malformed { why }.into());
    }
    if keys::count(session, Attribute::Label(request.label.clone().into_bytes()))? > 0 {
        return Err(KeyError::KeyExists { what: "label".to_owned(), value: request.label.clone() }.into());
    }
    if keys::count(session, Attribute::Id(id.clone()))? > 0 {
        return Err(KeyError::KeyExists { what: "id".to_owned(), value: hex::encode(&id) }.into());
    }
    let (public, private) = make_pair(session, request, &id)?;
    let described = protect(session, private).and_then(|()| keys::describe_new(session, token, public));
    if described.is_err() {
        // A key that nobody was told about must not lie around.
        for half in [private, public] {
            if let Err(error) = session.destroy_object(half) {
                tracing::error!(%error, label = request.label, "failed to destroy half of a refused key");
            }
        }
    }
    described
}

fn make_pair(session: &Session, request: &GenerateRequest, id: &[u8]) -> Result<(ObjectHandle, ObjectHandle), Failure> {
    let unsupported = || KeyError::MechanismUnsupported { mechanism: format!("making a key of kind {}", request.kind) };
    for (mechanism, algorithm) in ways(request.kind).ok_or_else(unsupported)? {
        let mut public = named(&request.label, id);
        public.extend([Attribute::Private(false), Attribute::Verify(true)]);
        public.extend(algorithm);
        let mut private = named(&request.label, id);
        private.extend([
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ]);
        if matches!(request.kind, KeyKind::Rsa { .. }) {
            // Signing only: tokens allow an RSA key everything unless told otherwise.
            private.extend([Attribute::Decrypt(false), Attribute::Unwrap(false)]);
        }
        match session.generate_key_pair(&mechanism, &public, &private) {
            Ok(pair) => return Ok(pair),
            Err(error) if is_unsupported(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(unsupported().into())
}

fn named(label: &str, id: &[u8]) -> Vec<Attribute> {
    vec![Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(id.to_vec())]
}

/// The mechanisms that make a key of this kind, each with the public template's part; `None` for a weak kind.
fn ways(kind: KeyKind) -> Option<Vec<(Mechanism<'static>, Vec<Attribute>)>> {
    let curve = |mechanism, params: &[u8]| (mechanism, vec![Attribute::EcParams(params.to_vec())]);
    match kind {
        KeyKind::P256 => Some(vec![curve(Mechanism::EccKeyPairGen, P256_PARAMS)]),
        KeyKind::P384 => Some(vec![curve(Mechanism::EccKeyPairGen, P384_PARAMS)]),
        // PKCS#11 3.0 names the curve by text, modules before and beside it by object identifier.
        KeyKind::Ed25519 => Some(vec![
            curve(Mechanism::EccEdwardsKeyPairGen, ED25519_PARAMS),
            curve(Mechanism::EccEdwardsKeyPairGen, ED25519_CURVE_NAME),
        ]),
        KeyKind::Rsa { bits: bits @ (2048 | 3072 | 4096) } => Some(vec![(
            Mechanism::RsaPkcsKeyPairGen,
            vec![Attribute::ModulusBits(Ulong::new(bits.into())), Attribute::PublicExponent(vec![1, 0, 1])],
        )]),
        KeyKind::Rsa { .. } => None,
    }
}

fn is_unsupported(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::MechanismInvalid
                | RvError::MechanismParamInvalid
                | RvError::FunctionNotSupported
                | RvError::CurveNotSupported
                | RvError::DomainParamsInvalid
                | RvError::AttributeValueInvalid,
            _
        )
    )
}

/// Believes the token's own word on the new key, not the template that asked for it.
fn protect(session: &Session, private: ObjectHandle) -> Result<(), Failure> {
    let attributes = session.get_attributes(private, &[AttributeType::Sensitive, AttributeType::Extractable])?;
    let unprotected = |property: &str| KeyError::KeyUnprotected { property: property.to_owned() };
    if !attributes.contains(&Attribute::Sensitive(true)) {
        return Err(unprotected("sensitive").into());
    }
    if !attributes.contains(&Attribute::Extractable(false)) {
        return Err(unprotected("unextractable").into());
    }
    Ok(())
}

fn random_id() -> Result<Vec<u8>, KeyError> {
    let mut id = vec![0; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut id))
        .map_err(|error| KeyError::Internal { why: format!("/dev/urandom: {error}") })?;
    Ok(id)
}
