//! Keys of the open token: found by their URI, exactly one, and described by their public half.
//!
//! In: a session and a URI. Out: handles that stay with their session, and `KeyInfo`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use sha2::{Digest, Sha256};

use super::module::Failure;
use super::token::Token;
use crate::der::{curve_of, curve_spki, modulus_bits, rsa_spki};
use crate::key::{KeyInfo, KeyKind};
use crate::protocol::{KeyError, KeyList, MAX_FRAME};
use crate::uri::KeyUri;

/// How many keys a session remembers before it starts over.
const MAX_REMEMBERED: usize = 256;
/// How long it remembers them: a second key of the same name has to be noticed.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
/// How many private keys of a token are looked at for a list.
const MAX_LISTED: usize = 1024;
/// How many matches are counted before "many" is enough.
const MAX_MATCHES: usize = 16;

/// A session and the keys found in it; finding takes longer than signing.
#[derive(Debug)]
pub(super) struct TokenSession {
    pub(super) session: Session,
    found: HashMap<(Half, KeyUri), (Instant, FoundKey)>,
}

/// Which object of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Half {
    Public,
    Private,
}

/// An object of the token, valid in the session that found it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundKey {
    pub(super) handle: ObjectHandle,
    pub(super) kind: KeyKind,
}

impl TokenSession {
    pub(super) fn new(session: Session) -> Self {
        TokenSession { session, found: HashMap::new() }
    }

    /// The one key of that name.
    pub(super) fn find(&mut self, half: Half, uri: &KeyUri) -> Result<FoundKey, Failure> {
        let name = (half, uri.clone());
        if let Some((_, found)) = self.found.get(&name).filter(|(since, _)| since.elapsed() < REMEMBERED_FOR) {
            return Ok(*found);
        }
        let handle = find_one(&self.session, half, uri)?;
        let kind = Material::read(&self.session, handle)?.kind().map_err(|why| unusable(uri, why))?;
        let found = FoundKey { handle, kind };
        if self.found.len() >= MAX_REMEMBERED {
            self.found.clear();
        }
        self.found.insert(name, (Instant::now(), found));
        Ok(found)
    }
}

/// The public half of the one key named `uri`.
pub(super) fn public(session: &TokenSession, token: &Token, uri: &KeyUri) -> Result<KeyInfo, Failure> {
    let session = &session.session;
    let handle = match find_one(session, Half::Public, uri) {
        // RSA private keys carry the public numbers; some tokens keep no public objects at all.
        Err(Failure::Answer(KeyError::KeyNotFound { .. })) => find_one(session, Half::Private, uri)?,
        other => other?,
    };
    let material = Material::read(session, handle)?;
    material.describe(token).map_err(|why| unusable(uri, why).into())
}

/// All keys that can sign, by their private halves, as many as one answer holds.
pub(super) fn list(session: &TokenSession, token: &Token) -> Result<KeyList, Failure> {
    let private = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true)];
    let handles: Vec<ObjectHandle> =
        session.session.iter_objects(&private)?.take(MAX_LISTED).collect::<Result<_, _>>()?;
    let mut list = KeyList::default();
    let mut room = MAX_FRAME - MAX_FRAME / 8;
    for handle in handles {
        let named = Material::read(&session.session, handle)?;
        let described = match named.uri(token) {
            Some(uri) => public(session, token, &uri),
            None => {
                list.skipped = list.skipped.saturating_add(1);
                continue;
            }
        };
        match described {
            Ok(key) => {
                // Base64 of the key, its name and the fixed parts.
                let size = key.spki.len() * 4 / 3 + key.uri.to_string().len() + 256;
                match room.checked_sub(size) {
                    Some(left) => {
                        room = left;
                        list.keys.push(key);
                    }
                    None => list.skipped = list.skipped.saturating_add(1),
                }
            }
            Err(Failure::Answer(_)) => list.skipped = list.skipped.saturating_add(1),
            Err(failure) => return Err(failure),
        }
    }
    list.keys.sort_by(|a, b| a.uri.cmp(&b.uri));
    Ok(list)
}

/// Describes the public key object `handle`, which the caller has just made.
pub(super) fn describe_new(session: &Session, token: &Token, handle: ObjectHandle) -> Result<KeyInfo, Failure> {
    let material = Material::read(session, handle)?;
    material.describe(token).map_err(|why| Failure::Answer(KeyError::Internal { why: format!("the new key: {why}") }))
}

/// How many objects have this label or id, counted up to a few.
pub(super) fn count(session: &Session, attribute: Attribute) -> Result<usize, Failure> {
    Ok(session
        .iter_objects(&[Attribute::Token(true), attribute])?
        .take(MAX_MATCHES)
        .collect::<Result<Vec<_>, _>>()?
        .len())
}

fn find_one(session: &Session, half: Half, uri: &KeyUri) -> Result<ObjectHandle, Failure> {
    let class = match half {
        Half::Public => ObjectClass::PUBLIC_KEY,
        Half::Private => ObjectClass::PRIVATE_KEY,
    };
    let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
    if let Some(label) = uri.object() {
        template.push(Attribute::Label(label.as_bytes().to_vec()));
    }
    if let Some(id) = uri.id() {
        template.push(Attribute::Id(id.to_vec()));
    }
    let matching: Vec<ObjectHandle> = session.iter_objects(&template)?.take(MAX_MATCHES).collect::<Result<_, _>>()?;
    match matching.as_slice() {
        [] => Err(KeyError::KeyNotFound { uri: uri.clone() }.into()),
        [one] => Ok(*one),
        several => {
            let count = u32::try_from(several.len()).unwrap_or(u32::MAX);
            Err(KeyError::AmbiguousKey { uri: uri.clone(), count }.into())
        }
    }
}

fn unusable(uri: &KeyUri, why: &str) -> KeyError {
    KeyError::UnusableKey { uri: uri.clone(), why: why.to_owned() }
}

/// What a key object tells about itself; a token leaves out what does not apply.
#[derive(Default)]
struct Material {
    key_type: Option<KeyType>,
    label: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    curve: Option<Vec<u8>>,
    point: Option<Vec<u8>>,
    modulus: Option<Vec<u8>>,
    exponent: Option<Vec<u8>>,
}

impl Material {
    fn read(session: &Session, handle: ObjectHandle) -> Result<Self, Failure> {
        let mut material = Material::default();
        material
            .add(session.get_attributes(handle, &[AttributeType::KeyType, AttributeType::Label, AttributeType::Id])?);
        // Some modules fail, instead of leaving out, when asked for another algorithm's attributes.
        let wanted: &[AttributeType] = if material.key_type == Some(KeyType::RSA) {
            &[AttributeType::Modulus, AttributeType::PublicExponent]
        } else if material.is_curve() {
            &[AttributeType::EcParams, AttributeType::EcPoint]
        } else {
            &[]
        };
        if !wanted.is_empty() {
            material.add(session.get_attributes(handle, wanted)?);
        }
        Ok(material)
    }

    fn add(&mut self, attributes: Vec<Attribute>) {
        for attribute in attributes {
            match attribute {
                Attribute::KeyType(key_type) => self.key_type = Some(key_type),
                Attribute::Label(label) => self.label = Some(label),
                Attribute::Id(id) => self.id = Some(id),
                Attribute::EcParams(curve) => self.curve = Some(curve),
                Attribute::EcPoint(point) => self.point = Some(point),
                Attribute::Modulus(modulus) => self.modulus = Some(modulus),
                Attribute::PublicExponent(exponent) => self.exponent = Some(exponent),
                // The module may say more than it was asked for.
                _ => {}
            }
        }
    }

    fn is_curve(&self) -> bool {
        self.key_type == Some(KeyType::EC) || self.key_type == Some(KeyType::EC_EDWARDS)
    }

    fn kind(&self) -> Result<KeyKind, &'static str> {
        if self.key_type == Some(KeyType::RSA) {
            let bits = self.modulus.as_deref().and_then(modulus_bits).ok_or("it has no modulus")?;
            return Ok(KeyKind::Rsa { bits });
        }
        if !self.is_curve() {
            return Err("its type is not EC, EC_EDWARDS or RSA");
        }
        let curve = self.curve.as_deref().ok_or("it names no curve")?;
        let kind = curve_of(curve).ok_or("its curve is not P-256, P-384 or Ed25519")?;
        if (kind == KeyKind::Ed25519) == (self.key_type == Some(KeyType::EC_EDWARDS)) {
            Ok(kind)
        } else {
            Err("its curve does not belong to its type")
        }
    }

    fn uri(&self, token: &Token) -> Option<KeyUri> {
        let label = self.label.clone().and_then(|label| String::from_utf8(label).ok());
        KeyUri::of_key(&token.label, label, self.id.clone())
    }

    fn describe(&self, token: &Token) -> Result<KeyInfo, &'static str> {
        let kind = self.kind()?;
        let spki = match kind {
            KeyKind::Rsa { .. } => {
                let modulus = self.modulus.as_deref().ok_or("it has no modulus")?;
                let exponent = self.exponent.as_deref().ok_or("it has no public exponent")?;
                rsa_spki(modulus, exponent).ok_or("its public numbers are zero")?
            }
            KeyKind::P256 | KeyKind::P384 | KeyKind::Ed25519 => {
                let point = self.point.as_deref().ok_or("the token holds no public half of it")?;
                curve_spki(kind, point).ok_or("its public point is malformed")?
            }
        };
        let uri = self.uri(token).ok_or("it has neither label nor id")?;
        let spki_sha256 = Sha256::digest(&spki).into();
        Ok(KeyInfo { uri, kind, spki, spki_sha256 })
    }
}
