//! Keyless signatures: what a small Sigstore of our own signs counts, and the same with one thing changed does not. Another client's
//! library judges beside ours.

mod bundles;
mod certificates;
mod entries;
mod legacy;

use std::collections::BTreeMap;

use assay_verify::{EntryError, RejectionReason, SigstoreError, SigstoreRoot, Trust, signing::cosign_bundle};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{sigstore_world::*, support::*};

fn trust_of(root: SigstoreRoot) -> Trust {
    Trust { sigstore: BTreeMap::from([("acme".parse().unwrap(), root)]), ..Trust::default() }
}

fn trust(world: &World) -> Trust {
    trust_of(world.root())
}

/// `cosign sign`'s statement about the index.
fn statement() -> Vec<u8> {
    cosign_bundle::pae_to_sign(&index(), &BTreeMap::new()).payload
}

fn good() -> (World, Made, Value) {
    let world = World::new(Wishes::default());
    let made = world.sign_statement(&statement());
    let bundle = world.bundle(&made);
    (world, made, bundle)
}

/// Why `bundle` does not count, as a Sigstore reason. Another library has to refuse it too.
fn refused_sigstore(world: &World, bundle: &Value) -> SigstoreError {
    assert!(!others_accept(&world.root_json(), bundle), "another library accepts {bundle:#}");
    match refused(envelope(BUNDLE, bundle.to_string()), &trust(world)) {
        RejectionReason::Sigstore(error) => error,
        other => panic!("{other:?}"),
    }
}

fn entry_error(world: &World, bundle: &Value) -> EntryError {
    match refused_sigstore(world, bundle) {
        SigstoreError::Entry { number: 1, problem } => problem,
        other => panic!("{other:?}"),
    }
}

/// What sigstore-verify, an independent library, says about a bundle around the index or a message.
fn others_accept(root: &Value, bundle: &Value) -> bool {
    use sigstore_verify::{
        VerificationPolicy, Verifier,
        trust_root::TrustedRoot,
        types::{Bundle, Sha256Hash},
    };
    let root = TrustedRoot::from_json(&root.to_string()).unwrap();
    let Ok(bundle) = Bundle::from_json(&bundle.to_string()) else { return false };
    let digest = Sha256Hash::from_hex(&index().digest.hex()).unwrap();
    Verifier::new(&root).unwrap().verify(digest, &bundle, &VerificationPolicy::any_identity()).is_ok()
}

/// Changes one byte of the base64 at `pointer`.
fn flip(bundle: &mut Value, pointer: &str, at: usize) {
    let value = bundle.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}"));
    let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    let place = at.min(bytes.len() - 1);
    bytes[place] ^= 1;
    *value = STANDARD.encode(bytes).into();
}

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";
