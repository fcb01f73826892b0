//! Waits for the log: a record goes in, the proof that it is stored comes out, or the reason why nothing may rest on it.

use assay_audit::{Durability, Log, LogError, Record, Recorded};

/// Appends `record` and waits until it is as durable as asked.
///
/// # Errors
/// [`LogError`] if it is not stored; [`LogError::Closed`] if the log ended without an answer.
pub(crate) async fn append(log: &Log, record: Record, durability: Durability) -> Result<Recorded, LogError> {
    let (done, written) = tokio::sync::oneshot::channel();
    log.append(record, durability, move |outcome| {
        let _ = done.send(outcome);
    });
    written.await.unwrap_or(Err(LogError::Closed))
}
