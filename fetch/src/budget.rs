//! What one collection may still spend: requests, bytes, time. Spending never goes below zero and is never given back.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::{caps, error::Limit};

/// Shared by everything that runs for one collection.
#[derive(Debug)]
pub(crate) struct Budget {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    deadline: Instant,
}

impl Budget {
    /// All of it, to be spent within `time` or [`caps::MAX_DEADLINE`], whichever is shorter.
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            requests: AtomicUsize::new(caps::MAX_TOTAL_REQUESTS),
            bytes: AtomicUsize::new(caps::MAX_TOTAL_BYTES),
            deadline: Instant::now() + time.min(caps::MAX_DEADLINE),
        }
    }

    pub(crate) fn spend_request(&self) -> Result<(), Limit> {
        spend(&self.requests, 1).ok_or(Limit::Requests)
    }

    pub(crate) fn spend_bytes(&self, count: usize) -> Result<(), Limit> {
        spend(&self.bytes, count).ok_or(Limit::TotalBytes)
    }

    /// How long the next step may take: `at_most`, or what is left.
    pub(crate) fn time_for(&self, at_most: Duration) -> Duration {
        at_most.min(self.deadline.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

fn spend(left: &AtomicUsize, count: usize) -> Option<()> {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(count)).ok().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_may_be_spent_and_not_one_more() {
        let budget = Budget::new(Duration::from_secs(1));
        assert_eq!(budget.spend_bytes(caps::MAX_TOTAL_BYTES), Ok(()));
        assert_eq!(budget.spend_bytes(1), Err(Limit::TotalBytes));
        for _ in 0..caps::MAX_TOTAL_REQUESTS {
            assert_eq!(budget.spend_request(), Ok(()));
        }
        assert_eq!(budget.spend_request(), Err(Limit::Requests));
    }

    #[test]
    fn no_request_can_ask_for_more_time_than_the_cap() {
        let budget = Budget::new(Duration::from_secs(3600));
        assert!(budget.time_for(Duration::from_secs(3600)) <= caps::MAX_DEADLINE);
        assert!(Budget::new(Duration::ZERO).is_over());
    }
}
