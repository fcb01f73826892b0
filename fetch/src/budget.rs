//! What one collection may still spend: requests, bytes, time; and how many requests it may make at a time. Spending never
//! goes below zero, is never given back, and is over for good once anything was asked for that is not left.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use crate::{caps, error::Limit};

/// Shared by everything that runs for one collection.
#[derive(Debug)]
pub(crate) struct Budget {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    deadline: Instant,
    turns: Semaphore,
    /// The first thing of which there was not enough.
    end: OnceLock<Limit>,
}

impl Budget {
    /// All of it, to be spent within `time` or [`caps::MAX_DEADLINE`], whichever is shorter.
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            requests: AtomicUsize::new(caps::MAX_TOTAL_REQUESTS),
            bytes: AtomicUsize::new(caps::MAX_TOTAL_BYTES),
            deadline: Instant::now() + time.min(caps::MAX_DEADLINE),
            turns: Semaphore::new(caps::CONCURRENCY),
            end: OnceLock::new(),
        }
    }

    pub(crate) fn spend_request(&self) -> Result<(), Limit> {
        self.spend(&self.requests, 1, Limit::Requests)
    }

    pub(crate) fn spend_bytes(&self, count: usize) -> Result<(), Limit> {
        self.spend(&self.bytes, count, Limit::TotalBytes)
    }

    /// Waits until fewer than [`caps::CONCURRENCY`] requests are in flight, first come, first served. `None` if time is over
    /// before. Whoever has a turn must not wait for one.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.turns.try_acquire() {
            return Some(turn);
        }
        tokio::time::timeout(self.time_for(caps::MAX_DEADLINE), self.turns.acquire()).await.ok()?.ok()
    }

    /// How long the next step may take: `at_most`, or what is left.
    pub(crate) fn time_for(&self, at_most: Duration) -> Duration {
        at_most.min(self.deadline.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    fn spend(&self, left: &AtomicUsize, count: usize, limit: Limit) -> Result<(), Limit> {
        if let Some(end) = self.end.get() {
            return Err(end.clone());
        }
        match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(count)) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.end.get_or_init(|| limit).clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_and_request_may_be_spent_and_not_one_more() {
        let budget = Budget::new(Duration::from_secs(1));
        for _ in 0..caps::MAX_TOTAL_REQUESTS {
            assert_eq!(budget.spend_request(), Ok(()));
        }
        assert_eq!(budget.spend_bytes(caps::MAX_TOTAL_BYTES), Ok(()));
        assert_eq!(budget.spend_request(), Err(Limit::Requests));

        let budget = Budget::new(Duration::from_secs(1));
        assert_eq!(budget.spend_bytes(caps::MAX_TOTAL_BYTES), Ok(()));
        assert_eq!(budget.spend_bytes(1), Err(Limit::TotalBytes));
    }

    #[test]
    fn once_something_was_not_left_nothing_is() {
        let budget = Budget::new(Duration::from_secs(1));
        assert_eq!(budget.spend_bytes(caps::MAX_TOTAL_BYTES + 1), Err(Limit::TotalBytes));
        assert_eq!(budget.spend_bytes(1), Err(Limit::TotalBytes));
        assert_eq!(budget.spend_request(), Err(Limit::TotalBytes));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn no_more_turns_are_given_than_the_cap_and_none_after_the_deadline() {
        let budget = Budget::new(Duration::from_millis(50));
        let mut turns = Vec::new();
        for _ in 0..caps::CONCURRENCY {
            turns.push(budget.turn().await);
        }
        assert!(turns.iter().all(Option::is_some));
        assert!(budget.turn().await.is_none());
        assert!(budget.is_over());
    }

    #[test]
    fn no_request_can_ask_for_more_time_than_the_cap() {
        let budget = Budget::new(Duration::from_secs(3600));
        assert!(budget.time_for(Duration::from_secs(3600)) <= caps::MAX_DEADLINE);
        assert!(Budget::new(Duration::ZERO).is_over());
    }
}
