//! Keys and thresholds of TUF metadata: a role's keys come in, how many different ones of them signed something comes out.
//! A key id is only a name (specification 4.2): one key under two ids counts once.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PSS_2048_8192_SHA256};

use crate::{
    json::{JsonError, Object, Value, wrong},
    limits::{LimitReached, MAX_TUF_SIGNATURES},
    trust::{PublicKey, PublicKeyKind},
};

/// Who may speak for a role, and how many of them must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) threshold: u64,
    /// By key id; `None` is a key of a kind that is not known, whose signatures count for nothing.
    pub(super) keys: Vec<(String, Option<Key>)>,
}

/// A key for the one scheme that it declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(PublicKey);

/// A signature over the canonical form of `signed`.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
}

impl Authority {
    /// Reads a role of a root (specification 4.3). `keys` is the root's list of keys.
    pub(super) fn read(role: Object<'_>, keys: Object<'_>) -> Result<Self, JsonError> {
        let threshold = role.integer("threshold")?;
        if threshold == 0 {
            return Err(wrong("threshold", "is 0, with which nothing would have to be signed"));
        }
        let listed = role.array("keyids")?;
        if listed.len() > MAX_TUF_SIGNATURES {
            return Err(LimitReached { what: "keys of a TUF role", limit: MAX_TUF_SIGNATURES }.into());
        }
        let mut read: Vec<(String, Option<Key>)> = Vec::new();
        for id in listed {
            let id = id.string("keyids")?;
            if read.iter().any(|(known, _)| known == id) {
                return Err(wrong("keyids", format!("lists {id:?} twice")));
            }
            let Some((_, key)) = keys.members().find(|(known, _)| *known == id) else {
                return Err(wrong("keyids", format!("lists {id:?}, which is not among the keys")));
            };
            read.push((id.to_owned(), Key::read(key)?));
        }
        Ok(Self { threshold, keys: read })
    }

    /// How many different keys of this role made a right signature over `message`.
    pub(super) fn signers(&self, message: &[u8], signatures: &[Signature]) -> usize {
        let by = |signature: &Signature| {
            let (_, key) = self.keys.iter().find(|(id, _)| *id == signature.key)?;
            let key = key.as_ref().filter(|key| key.verifies(message, &signature.value))?;
            Some(key.0.spki().to_vec())
        };
        signatures.iter().filter_map(by).collect::<BTreeSet<_>>().len()
    }

    /// Whether `next` lacks a key that this has: the key may have been taken out because somebody else has it.
    pub(super) fn loses_a_key_in(&self, next: &Self) -> bool {
        self.keys.iter().any(|(_, key)| key.is_some() && !next.keys.iter().any(|(_, other)| other == key))
    }
}

/// Everything before the point of a P-256 key (RFC 5480 §2) and before an Ed25519 key (RFC 8410 §4).
const P256: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

impl Key {
    /// A key object; `None` if its scheme is not known here or its value is no such key. Other keys still count then.
    fn read(value: &Value<'_>) -> Result<Option<Self>, JsonError> {
        let object = value.object("keys")?;
        let scheme = object.string("scheme")?;
        let public = object.object("keyval")?.string("public")?.trim();
        let parsed = if public.starts_with("-----BEGIN") {
            PublicKey::from_pem(public)
        } else {
            // Ed25519 keys stand there bare, and so did the P-256 keys of Sigstore's first roots.
            let Ok(bare) = hex::decode(public) else { return Ok(None) };
            let prefix = if scheme == "ed25519" { ED25519 } else { P256 };
            PublicKey::from_spki_der(&[prefix, &bare].concat())
        };
        let fits = |key: &PublicKey| match key.kind() {
            PublicKeyKind::P256 => scheme == "ecdsa-sha2-nistp256",
            PublicKeyKind::P384 => scheme == "ecdsa-sha2-nistp384",
            PublicKeyKind::Ed25519 => scheme == "ed25519",
            PublicKeyKind::Rsa { .. } => scheme == "rsassa-pss-sha256",
            PublicKeyKind::P521 => false,
        };
        Ok(parsed.ok().filter(fits).map(Self))
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.0.kind() {
            PublicKeyKind::P256 | PublicKeyKind::P384 | PublicKeyKind::P521 | PublicKeyKind::Ed25519 => {
                self.0.verifies(message, signature)
            }
            PublicKeyKind::Rsa { .. } => ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, self.0.spki())
                .is_ok_and(|key| key.verify_sig(message, signature).is_ok()),
        }
    }

    /// Kind and SHA-256 of the key, for a person.
    pub(super) fn describe(&self) -> String {
        format!("{} sha256:{}", self.0.kind(), self.0.spki_sha256())
    }
}
