//! Counts distinct signers, in this one place. Every signer of a rule counts once, and every key counts once, however many
//! signatures it made, in however many formats, under however many names and certificates.

use std::collections::BTreeMap;

use assay_verify::{Signer, SignerName};

use crate::policy::{Authority, Identity, Threshold};

/// Who of a threshold's signers signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Count<'p> {
    /// One signer for each key that counts, in the rule's order.
    pub(crate) counted: Vec<&'p SignerName>,
    pub(crate) is_satisfied: bool,
}

impl Threshold {
    /// Counts those of `signers` that are the threshold's. They are taken from facts about the right document.
    pub(crate) fn count<'p>(&'p self, signers: &[&Signer]) -> Count<'p> {
        let mut keys: Vec<&str> = signers.iter().map(|signer| key_of(signer)).collect();
        keys.sort_unstable();
        keys.dedup();
        // For each signer the keys by which it signed. A signer may match several, a key several signers (two names of one
        // key, overlapping subjects); what counts is the largest number of pairs that share neither.
        let choices: Vec<Vec<usize>> = self
            .of
            .iter()
            .map(|authority| {
                let signed = signers.iter().filter(|signer| authority.matches(signer));
                let mut choices: Vec<usize> =
                    signed.filter_map(|signer| keys.binary_search(&key_of(signer)).ok()).collect();
                choices.sort_unstable();
                choices.dedup();
                choices
            })
            .collect();
        let mut pairs = Pairs::default();
        for signer in 0..choices.len() {
            pairs.place(signer, &choices, &mut vec![false; keys.len()]);
        }
        let mut placed: Vec<usize> = pairs.signer_of_key.into_values().collect();
        placed.sort_unstable();
        let counted: Vec<&SignerName> =
            placed.into_iter().filter_map(|signer| self.of.get(signer)).map(|authority| &authority.name).collect();
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
            (Identity::LoggedKey { name: wanted, spki_sha256: key }, Signer::Key { name, spki_sha256 }) => {
                wanted == name && key == spki_sha256
            }
            (Identity::Certified { root: wanted, pattern }, Signer::Identity { root, .. }) => {
                wanted == root && pattern.matches(signer)
            }
            (
                Identity::Key { .. } | Identity::LoggedKey { .. },
                Signer::Certificate { .. } | Signer::Identity { .. },
            )
            | (Identity::Certificate { .. }, Signer::Key { .. } | Signer::Identity { .. })
            | (Identity::Certified { .. }, Signer::Key { .. } | Signer::Certificate { .. }) => false,
        }
    }
}

fn key_of(signer: &Signer) -> &str {
    match signer {
        Signer::Key { spki_sha256, .. } | Signer::Certificate { spki_sha256, .. } => spki_sha256,
        // An identity has a new key for each signature, and is one signer all the same.
        Signer::Identity { identity, .. } => identity,
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::num::NonZeroUsize;

    use assay_verify::{IdentityPattern, TextPattern};

    use super::*;

    fn key(name: &str, spki: &str) -> Signer {
        Signer::Key { name: name.parse().unwrap(), spki_sha256: spki.to_owned() }
    }

    fn certificate(name: &str, spki: &str) -> Signer {
        let attributes = [("C", "DE"), ("ST", "Berlin"), ("O", "Acme"), ("CN", name)];
        Signer::Certificate {
            store: "acme".parse().unwrap(),
            subject: format!("C=DE,ST=Berlin,O=Acme,CN={name}"),
            attributes: attributes.map(|(kind, value)| (kind.to_owned(), value.to_owned())).to_vec(),
            spki_sha256: spki.to_owned(),
        }
    }

    fn by_key(name: &str, spki: &str) -> Authority {
        Authority { name: name.parse().unwrap(), identity: Identity::Key { spki_sha256: spki.to_owned() } }
    }

    fn by_subject(name: &str, subject: &str) -> Authority {
        let identity = Identity::Certificate { store: "acme".parse().unwrap(), subject: subject.parse().unwrap() };
        Authority { name: name.parse().unwrap(), identity }
    }

    fn counted(signatures: usize, of: &[Authority], signers: &[Signer]) -> (Vec<String>, bool) {
        let threshold = Threshold { signatures: NonZeroUsize::new(signatures).unwrap(), of: of.to_vec() };
        let count = threshold.count(&signers.iter().collect::<Vec<_>>());
        (count.counted.iter().map(|name| name.to_string()).collect(), count.is_satisfied)
    }

    #[test]
    fn two_signers_are_two_and_one_of_them_is_not_enough() {
        let of = [by_key("a", "1"), by_key("b", "2")];
        assert_eq!(counted(2, &of, &[key("a", "1"), key("b", "2")]), (vec!["a".into(), "b".into()], true));
        assert_eq!(counted(2, &of, &[key("a", "1"), key("x", "3")]), (vec!["a".into()], false));
        assert_eq!(counted(1, &of, &[]), (vec![], false));
    }

    #[test]
    fn one_key_counts_once_however_often_it_signed_and_whatever_it_is_called() {
        let of = [by_key("a", "1"), by_key("alias", "1"), by_key("b", "2")];
        assert!(!counted(2, &of, &[key("a", "1"), key("a", "1")]).1);
        assert!(!counted(2, &of, &[key("a", "1"), key("alias", "1")]).1);
        assert!(counted(2, &of, &[key("alias", "1"), key("b", "2")]).1);
    }

    #[test]
    fn one_key_in_two_certificates_or_in_a_certificate_and_bare_counts_once() {
        let of = [
            by_subject("ann", "C=DE, ST=Berlin, O=Acme, CN=Ann"),
            by_subject("bob", "C=DE, ST=Berlin, O=Acme, CN=Bob"),
            by_key("ci", "1"),
        ];
        assert!(!counted(2, &of, &[certificate("Ann", "1"), certificate("Bob", "1")]).1);
        assert!(!counted(2, &of, &[certificate("Ann", "1"), key("ci", "1")]).1);
        assert!(counted(2, &of, &[certificate("Ann", "1"), certificate("Bob", "2")]).1);
        assert!(counted(3, &of, &[certificate("Ann", "3"), certificate("Bob", "2"), key("ci", "1")]).1);
    }

    #[test]
    fn one_signer_with_two_certificates_counts_once() {
        let of = [by_subject("acme", "C=DE, ST=Berlin, O=Acme"), by_key("ci", "9")];
        assert!(!counted(2, &of, &[certificate("Ann", "1"), certificate("Bob", "2")]).1);
        assert!(counted(2, &of, &[certificate("Ann", "1"), key("ci", "9")]).1);
    }

    #[test]
    fn a_signer_who_matches_two_names_leaves_the_narrower_name_to_the_other() {
        let of = [by_subject("acme", "C=DE, ST=Berlin, O=Acme"), by_subject("ann", "C=DE, ST=Berlin, O=Acme, CN=Ann")];
        // Ann matches both names and comes first for `acme`; Bob matches only `acme`.
        assert!(counted(2, &of, &[certificate("Ann", "1"), certificate("Bob", "2")]).1);
        assert!(!counted(2, &of, &[certificate("Cid", "1"), certificate("Bob", "2")]).1);
    }

    #[test]
    fn an_identity_counts_once_and_only_by_its_own_root_and_issuer() {
        let identity = |root: &str, identity: &str, issuer: &str| Signer::Identity {
            root: root.parse().unwrap(),
            identity: identity.to_owned(),
            issuer: issuer.to_owned(),
        };
        let exact = |text: &str| TextPattern::exact(text).unwrap();
        let by = |name: &str, glob: &str| {
            let pattern = IdentityPattern::new(TextPattern::glob(glob).unwrap(), exact("https://i.example"));
            let identity = Identity::Certified { root: "public".parse().unwrap(), pattern };
            Authority { name: name.parse().unwrap(), identity }
        };
        let of = [by("ann", "ann@acme.example"), by("acme", "*@acme.example"), by_key("ci", "1")];
        let ann = identity("public", "ann@acme.example", "https://i.example");
        let bob = identity("public", "bob@acme.example", "https://i.example");
        assert!(counted(1, &of, std::slice::from_ref(&ann)).1);
        assert!(!counted(2, &of, &[ann.clone(), ann.clone()]).1);
        assert!(counted(2, &of, &[ann.clone(), bob]).1);
        assert!(counted(2, &of, &[ann, key("ci", "1")]).1);
        assert!(!counted(1, &of, &[identity("other", "ann@acme.example", "https://i.example")]).1);
        assert!(!counted(1, &of, &[identity("public", "ann@acme.example", "https://i.example.evil")]).1);
        assert!(!counted(1, &of, &[identity("public", "ann@acme.example.evil", "https://i.example")]).1);
    }

    #[test]
    fn a_key_that_needs_a_log_counts_by_its_own_name_alone() {
        let identity = Identity::LoggedKey { name: "logged".parse().unwrap(), spki_sha256: "1".to_owned() };
        let of = [Authority { name: "logged".parse().unwrap(), identity }, by_key("bare", "1")];
        let (logged, bare) = (of.first().cloned().unwrap(), of.last().cloned().unwrap());
        assert!(counted(1, std::slice::from_ref(&logged), &[key("logged", "1")]).1);
        assert!(!counted(1, std::slice::from_ref(&logged), &[key("bare", "1")]).1);
        assert!(!counted(1, &[logged], &[key("logged", "2")]).1);
        assert!(counted(1, &[bare], &[key("logged", "1")]).1);
        assert!(!counted(2, &of, &[key("logged", "1"), key("bare", "1")]).1);
    }

    #[test]
    fn a_certificate_of_another_store_or_subject_is_nobody() {
        let of = [by_subject("ann", "C=DE, ST=Berlin, O=Acme, CN=Ann")];
        let mut foreign = certificate("Ann", "1");
        assert!(counted(1, &of, std::slice::from_ref(&foreign)).1);
        if let Signer::Certificate { store, .. } = &mut foreign {
            *store = "other".parse().unwrap();
        }
        assert!(!counted(1, &of, &[foreign]).1);
        assert!(!counted(1, &of, &[certificate("ann", "1")]).1);
        assert!(!counted(1, &of, &[key("ann", "1")]).1);
    }
}
