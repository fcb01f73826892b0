//! Asks the repositories from time to time: after each root's interval, earlier again after a failure, never all nodes at once.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use super::TrustRoots;
use crate::judge::now;

/// The first wait after a failure; it doubles up to the root's interval.
const FIRST_RETRY: Duration = Duration::from_secs(60);
/// Wait after the start until what is due is asked for: a node that starts has other things to do.
const SETTLING: Duration = Duration::from_secs(5);

/// Keeps every root of trust that has repositories fresh, until the agent ends.
pub(crate) fn keep_fresh(roots: &Arc<TrustRoots>) {
    for (name, managed) in roots.roots.iter().filter(|(_, managed)| !managed.config.repositories.is_empty()) {
        let (roots, name, interval) = (Arc::clone(roots), name.clone(), managed.config.refresh);
        let accepted = managed.state().trust.and_then(|trust| trust.accepted());
        let age = accepted.map(|at| Duration::from_secs(u64::try_from(now().seconds() - at.seconds()).unwrap_or(0)));
        let first = age.map_or(SETTLING, |age| interval.saturating_sub(age).max(SETTLING));
        tokio::spawn(async move {
            let (mut wait, mut retry) = (first, FIRST_RETRY);
            loop {
                tokio::time::sleep(spread(wait)).await;
                match roots.update(name.as_str()).await {
                    Ok(changed) => {
                        tracing::info!(%name, changed, "trust root refreshed");
                        (wait, retry) = (interval, FIRST_RETRY);
                    }
                    // It is in the log and in the status already.
                    Err(_) => {
                        wait = retry.min(interval);
                        retry = retry.saturating_mul(2);
                    }
                }
            }
        });
    }
}

/// `wait`, or up to a tenth less, by chance.
fn spread(wait: Duration) -> Duration {
    let chance = RandomState::new().build_hasher().finish();
    let tenth = u64::try_from(wait.as_millis() / 10).unwrap_or(u64::MAX);
    wait.saturating_sub(Duration::from_millis(chance.checked_rem(tenth).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_differ_by_at_most_a_tenth() {
        let wait = Duration::from_secs(1_000);
        let waits: Vec<Duration> = (0..50).map(|_| spread(wait)).collect();
        assert!(waits.iter().all(|found| *found <= wait && *found >= wait * 9 / 10), "{waits:?}");
        assert!(waits.iter().any(|found| Some(found) != waits.first()));
        assert_eq!(spread(Duration::ZERO), Duration::ZERO);
    }
}
