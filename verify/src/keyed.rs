//! Finds the keys of the policy that made a signature in one of cosign's formats. Keys come from the policy alone; what the
//! evidence says about keys only decides which is tried first.

use std::collections::BTreeSet;

use crate::{
    facts::{RejectionReason, Signer},
    failure::Failure,
    limits::Budget,
    trust::{PublicKey, SignerName, Trust},
};

/// Every name of the key that made `signature` over `message`: at least one.
///
/// # Errors
/// [`RejectionReason::BadSignature`] if the hint names a key of the policy and no key made it, [`RejectionReason::UnknownKey`] else.
pub(crate) fn signers(
    trust: &Trust,
    message: &[u8],
    signature: &[u8],
    hint: Option<&[u8]>,
    budget: &mut Budget,
) -> Result<Vec<Signer>, Failure> {
    let hinted = |key: &PublicKey| hint == Some(key.spki_hash());
    let named = trust.keys.iter().find(|(_, key)| hinted(key));
    let others = trust.keys.iter().filter(|(_, key)| !hinted(key));
    let mut tried = BTreeSet::new();
    for (_, key) in named.into_iter().chain(others) {
        if !tried.insert(key.spki_hash()) {
            continue;
        }
        budget.spend_key_operation().map_err(Failure::Exhausted)?;
        if key.verifies(message, signature) {
            return Ok(names(trust, key));
        }
    }
    Err(Failure::Rejected(
        named.map_or(RejectionReason::UnknownKey, |(name, _)| RejectionReason::BadSignature {
            by: format!("key {name}"),
        }),
    ))
}

fn names(trust: &Trust, key: &PublicKey) -> Vec<Signer> {
    let signer = |name: &SignerName| Signer::Key { name: name.clone(), spki_sha256: key.spki_sha256() };
    trust.keys.iter().filter(|(_, other)| *other == key).map(|(name, _)| signer(name)).collect()
}
