//! The way from a time-stamping certificate to a trusted root, over certificates that came with the token in any order. Every step
//! is a verified signature; the steps tried are bounded. What each certificate may do is judged afterwards.

use crate::{
    facts::RejectionReason,
    failure::Failure,
    limits::{Budget, LimitReached, MAX_CHAIN, MAX_PATH_STEPS},
    notation::chain::{check_signature, key_of},
    trust::Certificate,
};

/// A chain from `leaf` to one of `roots`, both included.
pub(super) fn build(
    leaf: Certificate,
    others: &[Certificate],
    roots: &[Certificate],
    budget: &mut Budget,
) -> Result<Vec<Certificate>, Failure> {
    let subject = leaf.subject();
    let mut search = Search { others, roots, steps: MAX_PATH_STEPS, budget };
    let mut chain = vec![leaf];
    match search.extend(&mut chain) {
        Ok(true) => Ok(chain),
        Ok(false) => {
            let problem = format!("the certificate chain of {subject:?} ends in no trusted time-stamping root");
            Err(RejectionReason::Timestamp { problem }.into())
        }
        // Spent on this token alone, so that a bad one does not cost the image its other signatures.
        Err(End::Steps) => {
            let limit = LimitReached { what: "steps tried in a time-stamp's chain", limit: MAX_PATH_STEPS };
            Err(RejectionReason::from(limit).into())
        }
        Err(End::Budget(limit)) => Err(Failure::Exhausted(limit)),
    }
}

enum End {
    Steps,
    Budget(LimitReached),
}

struct Search<'s> {
    others: &'s [Certificate],
    roots: &'s [Certificate],
    steps: usize,
    budget: &'s mut Budget,
}

impl Search<'_> {
    /// Extends `chain` to a root; `false`, with `chain` as it was, if there is no way. Recursion is as deep as a chain is long.
    fn extend(&mut self, chain: &mut Vec<Certificate>) -> Result<bool, End> {
        let Some(last) = chain.last().cloned() else { return Ok(false) };
        let parsed = last.parsed();
        if parsed.issuer().as_raw() == parsed.subject().as_raw() {
            return Ok(self.roots.contains(&last));
        }
        if chain.len() >= MAX_CHAIN {
            return Ok(false);
        }
        let (roots, others) = (self.roots, self.others);
        for candidate in roots.iter().chain(others) {
            let issuer = candidate.parsed();
            if issuer.subject().as_raw() != parsed.issuer().as_raw() || chain.contains(candidate) {
                continue;
            }
            let Ok(key) = key_of(&issuer) else { continue };
            self.steps = self.steps.checked_sub(1).ok_or(End::Steps)?;
            self.budget.spend_key_operation().map_err(End::Budget)?;
            if check_signature(&parsed, &key).is_err() {
                continue;
            }
            chain.push(candidate.clone());
            if self.extend(chain)? {
                return Ok(true);
            }
            chain.pop();
        }
        Ok(false)
    }
}
