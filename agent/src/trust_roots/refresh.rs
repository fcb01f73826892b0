//! One refresh against one source, bounded in time. What was verified until something failed comes back either way.

use std::time::Duration;

use assay_admission::UnixTime;
use assay_verify::{TufError, TufRefresh, TufStep, TufTrust};

use super::source::Source;

/// One refresh: some forty files at worst, each bounded by itself.
const LONGEST: Duration = Duration::from_secs(120);

/// How a refresh ended.
pub(super) struct Attempt {
    /// What is trusted now.
    pub(super) trust: TufTrust,
    pub(super) outcome: Result<(), RefreshError>,
}

/// Why a refresh is not complete.
#[derive(Debug, thiserror::Error)]
pub(super) enum RefreshError {
    /// What came is not to be trusted.
    #[error(transparent)]
    Refused(#[from] TufError),
    /// Nothing came.
    #[error("{0}")]
    Unreachable(String),
    /// Verification panicked.
    #[error("verifying it failed within the agent: {0}")]
    Internal(String),
    /// It took too long.
    #[error("it took longer than {} s", LONGEST.as_secs())]
    Late,
}

/// Refreshes `trust` from `source` at the time `now`.
pub(super) async fn attempt(trust: TufTrust, source: &dyn Source, address: &str, now: UnixTime) -> Attempt {
    let deadline = tokio::time::Instant::now() + LONGEST;
    // What is trusted if verification does not even come back.
    let before = trust.clone();
    let mut refresh = trust.refresh(now);
    loop {
        let (path, most_bytes) = match refresh.step() {
            Ok(TufStep::Fetch { path, most_bytes }) => (path, most_bytes),
            Ok(TufStep::Done) => return Attempt { trust: refresh.into_trust(), outcome: Ok(()) },
            Err(error) => return Attempt { trust: refresh.into_trust(), outcome: Err(error.into()) },
        };
        let file = match tokio::time::timeout_at(deadline, source.file(address, &path, most_bytes)).await {
            Ok(Ok(file)) => file,
            Ok(Err(why)) => {
                return Attempt { trust: refresh.into_trust(), outcome: Err(RefreshError::Unreachable(why)) };
            }
            Err(_) => return Attempt { trust: refresh.into_trust(), outcome: Err(RefreshError::Late) },
        };
        // Signatures take their time; the agent answers gates meanwhile.
        match tokio::task::spawn_blocking(move || give(refresh, file)).await {
            Ok((next, Ok(()))) => refresh = next,
            Ok((next, Err(error))) => return Attempt { trust: next.into_trust(), outcome: Err(error.into()) },
            Err(error) => {
                return Attempt { trust: before, outcome: Err(RefreshError::Internal(error.to_string())) };
            }
        }
    }
}

fn give(mut refresh: TufRefresh, file: Option<Vec<u8>>) -> (TufRefresh, Result<(), TufError>) {
    let outcome = refresh.give(file);
    (refresh, outcome)
}
