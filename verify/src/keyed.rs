//! Finds the keys of the policy that made a signature in one of cosign's formats. Keys come from the policy alone; what the
//! evidence says about keys only decides which is tried first.

use std::collections::BTreeSet;

use assay_admission::UnixTime;

use crate::{
    facts::{RejectionReason, Signer},
    failure::Failure,
    limits::Budget,
    sigstore::{Claim, Signed, SigstoreError, logged_by_key},
    trust::{PublicKey, PublicKeyKind, SignerName, Trust},
};

/// Every name of the key that made `signature` over `message`: at least one. A name whose signatures have to stand in a log is
/// none of them: here is no log entry.
///
/// # Errors
/// [`RejectionReason::OtherHash`] if a key made it with a hash that does not count, [`RejectionReason::BadSignature`] if the
/// hint names a key of the policy and no key made it, [`RejectionReason::UnknownKey`] else.
pub(crate) fn signers(
    trust: &Trust,
    message: &[u8],
    signature: &[u8],
    hint: Option<&[u8]>,
    budget: &mut Budget,
) -> Result<Vec<Signer>, Failure> {
    let key = maker(trust, &Signed::Bytes(message), signature, hint, budget)?;
    names(trust, key, |_| {
        let error = SigstoreError::TooFew { what: "log entries", found: 0, required: 1 };
        Err(Failure::Rejected(error.into()))
    })
}

/// The same for the signature of `claim`, in which log entries may stand: the names of keys that need them count if they hold.
pub(crate) fn signers_of_claim(
    trust: &Trust,
    claim: &Claim<'_>,
    hint: Option<&[u8]>,
    at: UnixTime,
    budget: &mut Budget,
) -> Result<Vec<Signer>, Failure> {
    let key = maker(trust, &claim.signed, claim.signature, hint, budget)?;
    names(trust, key, |root| {
        let root = trust.sigstore.get(root).ok_or(Failure::Rejected(SigstoreError::NoRoot.into()))?;
        logged_by_key(root, claim, key, at, budget)
    })
}

fn maker<'t>(
    trust: &'t Trust,
    signed: &Signed<'_>,
    signature: &[u8],
    hint: Option<&[u8]>,
    budget: &mut Budget,
) -> Result<&'t PublicKey, Failure> {
    let hinted = |key: &PublicKey| hint == Some(key.spki_hash());
    let named = trust.keys.iter().find(|(_, key)| hinted(key));
    let others = trust.keys.iter().filter(|(_, key)| !hinted(key));
    let mut tried = BTreeSet::new();
    for (_, key) in named.into_iter().chain(others) {
        if !tried.insert(key.spki_hash()) {
            continue;
        }
        budget.spend_key_operation().map_err(Failure::Exhausted)?;
        if signed.verifies(key, signature) {
            return Ok(key);
        }
    }
    let reason = other_hash(trust, signed, signature, budget).or_else(|| unknown_part(trust, signed));
    if let Some(reason) = reason {
        return Err(Failure::Rejected(reason));
    }
    Err(Failure::Rejected(
        named.map_or(RejectionReason::UnknownKey, |(name, _)| RejectionReason::BadSignature {
            by: format!("key {name}"),
        }),
    ))
}

/// Why a signature that no key verifies may be a key's all the same: for people, who would look for a wrong key.
fn other_hash(trust: &Trust, signed: &Signed<'_>, signature: &[u8], budget: &mut Budget) -> Option<RejectionReason> {
    let candidates = trust.keys.iter().filter(|(_, key)| match key.kind() {
        PublicKeyKind::P384 | PublicKeyKind::P521 => true,
        PublicKeyKind::P256 | PublicKeyKind::Rsa { .. } | PublicKeyKind::Ed25519 => false,
    });
    for (name, key) in candidates {
        if !budget.spend_diagnosis() {
            return None;
        }
        if key.made_with_sha256(signed, signature) {
            return Some(RejectionReason::OtherHash {
                by: format!("key {name} ({})", key.kind()),
                found: "SHA-256",
                required: key.hash(),
            });
        }
    }
    None
}

/// Whether a key could not be tried, because what it signs of a message is not at hand.
fn unknown_part(trust: &Trust, signed: &Signed<'_>) -> Option<RejectionReason> {
    trust.keys.iter().find_map(|(name, key)| {
        let missing = signed.lacks(key)?;
        Some(RejectionReason::MessageUnknown { by: format!("key {name} ({})", key.kind()), missing })
    })
}

/// The names of `key`, without those that need a log in which `logged` does not find the signature; its reason if none is left.
fn names(
    trust: &Trust,
    key: &PublicKey,
    mut logged: impl FnMut(&SignerName) -> Result<(), Failure>,
) -> Result<Vec<Signer>, Failure> {
    let (mut signers, mut reason) = (Vec::new(), None);
    for name in trust.keys.iter().filter(|(_, other)| *other == key).map(|(name, _)| name) {
        match trust.logged_keys.get(name).map_or(Ok(()), &mut logged) {
            Ok(()) => signers.push(Signer::Key { name: name.clone(), spki_sha256: key.spki_sha256() }),
            Err(Failure::Exhausted(limit)) => return Err(Failure::Exhausted(limit)),
            Err(Failure::Rejected(why)) => reason = Some(why),
        }
    }
    match reason {
        Some(reason) if signers.is_empty() => Err(Failure::Rejected(reason)),
        Some(_) | None => Ok(signers),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;
    use crate::limits::MAX_DIAGNOSES;

    // Keys of `openssl ecparam -genkey`, signatures over "a message" by `openssl dgst -sha256 -sign`; the private keys were
    // thrown away.
    const P384: &str = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEWS68WvqypivO6ck0+wdeFC+NYaR5ivwG\nGv3/blkMO9NX0nzlKoFPPmQIcuix2tBXu0o6zVjVg5yksHFXdCzs5jr8w95NnQaH\n0zH6ENQV9QFM/IUQ/31dx4ZctxjirYE5\n-----END PUBLIC KEY-----\n";
    const P384_SHA256: &str = "MGUCMQDYJO5NPDyGSJL98bXd3EY7iN5v329wO4x3qi4Wa/+vlVTIdXQXUVYvi2bR0b5ptZkCMAx/0+d251Dtw6SLxHPRZUq7T2VvUjXOgXctqtuj8mbyhpSDi0J/LvgEmJebGKXruQ==";
    const P384_SHA1: &str = "MGQCMAM4G/C8YGRx8XN4n/JhPG6fiQcxkeNUkFumG+JoANZumrFiH8Z6PdaBLU9UHwssaQIwFE372x/CFKkJt0bhCjWBe03/2f6OkicQb+f7kJI7+ATVhWZsc2LKRMD73CoSIVi7";
    const P521: &str = "-----BEGIN PUBLIC KEY-----\nMIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBQXAaxmSuGXeHCJMj7eXU6Ms66oRp\nZtyNAA55OwDeQawwOZPn/AmDNMkgLhjjxW1nLOhZbXJ5pRjxOAtQx4eoMR0BCiLw\nLnKh3Vc8TtHDaY9FkmcYYT9FxKv8Kdf02uBiTB8OasXT962mzUPtusaKI0KqoguM\nlF5EVJbwiBorakMymjc=\n-----END PUBLIC KEY-----\n";
    const P521_SHA256: &str = "MIGIAkIBvQqd7cWyp9KGBYJW2/YwTq+oMh60DnrJn3KdswrEpmjdmydj7fUmblTVRyWzCXKTESgDHuYRRgKUNTmecYLg/yYCQgGN9+Ohn7d4lh6GJBt1YwYhVZUvrluxZw0yFxEEb8gBFcoyHBwRJ6eotJN3sQk2XCSe12rVp8i696drvwC7oAvvKQ==";

    fn trust(keys: &[(&str, &str)]) -> Trust {
        let mut trust = Trust::default();
        for (name, pem) in keys {
            trust.keys.insert(name.parse().unwrap(), PublicKey::from_pem(pem).unwrap());
        }
        trust
    }

    fn refusal(trust: &Trust, message: &[u8], signature: &str, budget: &mut Budget) -> RejectionReason {
        let signature = STANDARD.decode(signature).unwrap();
        match signers(trust, message, &signature, None, budget) {
            Err(Failure::Rejected(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_signature_over_sha256_by_a_larger_curve_is_named_as_such() {
        let trust = trust(&[("ci", P384), ("large", P521)]);
        let budget = &mut Budget::default();
        for (signature, by, required) in
            [(P384_SHA256, "key ci (P-384)", "SHA-384"), (P521_SHA256, "key large (P-521)", "SHA-512")]
        {
            let expected = RejectionReason::OtherHash { by: by.to_owned(), found: "SHA-256", required };
            assert_eq!(refusal(&trust, b"a message", signature, budget), expected);
            assert_eq!(refusal(&trust, b"A message", signature, budget), RejectionReason::UnknownKey);
        }
        assert_eq!(refusal(&trust, b"a message", P384_SHA1, budget), RejectionReason::UnknownKey);
        let text = refusal(&trust, b"a message", P384_SHA256, budget).to_string();
        assert!(text.contains("made it with SHA-256") && text.contains("sign it again with SHA-384"), "{text}");
    }

    #[test]
    fn looking_for_another_hash_ends_and_takes_nothing_from_the_search_for_signers() {
        let (trust, budget) = (trust(&[("ci", P384)]), &mut Budget::default());
        for _ in 0..MAX_DIAGNOSES {
            assert_eq!(refusal(&trust, b"x", P384_SHA256, budget), RejectionReason::UnknownKey);
        }
        assert_eq!(refusal(&trust, b"a message", P384_SHA256, budget), RejectionReason::UnknownKey);
    }
}
