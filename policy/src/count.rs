//! Counts distinct signers, in this one place. Every signer of a rule counts once, and every key counts once, however many
//! signatures it made, in however many formats, under however many names and certificates.

use std::collections::BTreeMap;

use assay_verify::{Fact, Signer, SignerName};

use crate::policy::{Authority, Identity, Threshold};

/// Who of a threshold's signers signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Count<'p> {
    /// One signer for each key that counts, in the rule's order.
    pub(crate) counted: Vec<&'p SignerName>,
    pub(crate) is_satisfied: bool,
}

impl Threshold {
    /// Counts the signers among `facts`, which are about the right document already.
    pub(crate) fn count<'p>(&'p self, facts: &[&Fact]) -> Count<'p> {
        let mut keys: Vec<&str> = facts.iter().map(|fact| key_of(fact.signer())).collect();
        keys.sort_unstable();
        keys.dedup();
        // For each signer the keys by which it signed. A signer may match several, a key several signers (two names of one
        // key, overlapping subjects); what counts is the largest number of pairs that share neither.
        let choices: Vec<Vec<usize>> = self
            .of
            .iter()
            .map(|authority| {
                let signed = facts.iter().filter(|fact| authority.matches(fact.signer()));
                let mut choices: Vec<usize> =
                    signed.filter_map(|fact| keys.binary_search(&key_of(fact.signer())).ok()).collect();
                choices.sort_unstable();
                choices.dedup();
                choices
            })
            .collect();
        let mut pairs = Pairs::default();
        for signer in 0..choices.len() {
            pairs.place(signer, &choices, &mut vec![false; keys.len()]);
        }
        let mut signers: Vec<usize> = pairs.signer_of_key.into_values().collect();
        signers.sort_unstable();
        let counted: Vec<&SignerName> =
            signers.into_iter().filter_map(|signer| self.of.get(signer)).map(|authority| &authority.name).collect();
        let is_satisfied = counted.len() >= self.signatures.get();
        Count { counted, is_satisfied }
    }

    /// Whether `signer` is one of the threshold's.
    pub(crate) fn names(&self, signer: &Signer) -> bool {
        self.of.iter().any(|authority| authority.matches(signer))
    }
}

impl Authority {
    pub(crate) fn matches(&self, signer: &Signer) -> bool {
        match (&self.identity, signer) {
            (Identity::Key { spki_sha256: wanted }, Signer::Key { spki_sha256, .. }) => wanted == spki_sha256,
            (Identity::Certificate { store: wanted, subject }, Signer::Certificate { store, .. }) => {
                wanted == store && subject.matches(signer)
            }
            (Identity::Key { .. }, Signer::Certificate { .. }) | (Identity::Certificate { .. }, Signer::Key { .. }) => {
                false
            }
        }
    }
}

fn key_of(signer: &Signer) -> &str {
    match signer {
        Signer::Key { spki_sha256, .. } | Signer::Certificate { spki_sha256, .. } => spki_sha256,
    }
}

/// A matching of signers and keys (augmenting paths; both sides have at most a few dozen members).
#[derive(Default)]
struct Pairs {
    signer_of_key: BTreeMap<usize, usize>,
}

impl Pairs {
    /// Gives `signer` a key, moving others to further keys of theirs where that makes room.
    fn place(&mut self, signer: usize, choices: &[Vec<usize>], tried: &mut [bool]) -> bool {
        for key in choices.get(signer).into_iter().flatten() {
            match tried.get_mut(*key) {
                Some(tried) if !*tried => *tried = true,
                Some(_) | None => continue,
            }
            let holder = self.signer_of_key.get(key).copied();
            if holder.is_none_or(|holder| self.place(holder, choices, tried)) {
                self.signer_of_key.insert(*key, signer);
                return true;
            }
        }
        false
    }
}
