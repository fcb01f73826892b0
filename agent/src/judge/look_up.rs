//! Asks the fetcher about the revocation of certificates whose status is unknown. Only what certificates below an anchor of the policy name
//! is ever asked for; what comes back goes to the verifier like everything else.

use std::time::{Duration, Instant};

use assay_admission::Reason;
use assay_verify::RevocationSource;
use tokio::task::JoinSet;

use super::{Judge, case::OpenCase, proof::Decided};
use crate::evidence_store::Brought;

/// Sources asked for one case: a chain of four certificates names three to six.
const MAX_SOURCES: usize = 16;
/// Addresses of one list that are tried.
const MAX_ADDRESSES: usize = 4;
/// How long one case waits for all of them: a responder that is down must not take all the time that signatures have.
const TIME: Duration = Duration::from_secs(10);

impl Judge {
    /// Fetches what `decided` lacks; says whether anything came that may change it. Each source is asked once for a case.
    pub(super) async fn look_up(&self, case: &mut OpenCase, decided: &Decided) -> bool {
        let deadline = Instant::now() + TIME.min(self.waits.collection);
        let mut lookups = JoinSet::new();
        for (image, source) in &decided.unknown {
            if case.asked.len() >= MAX_SOURCES || !case.asked.insert(source.clone()) {
                continue;
            }
            let (collector, image, source) = (std::sync::Arc::clone(&self.collector), *image, source.clone());
            lookups.spawn(async move {
                let attempts: Vec<(String, Option<Vec<u8>>)> = match source {
                    RevocationSource::List { urls } => {
                        urls.into_iter().take(MAX_ADDRESSES).map(|url| (url, None)).collect()
                    }
                    RevocationSource::Responder { url, request } => vec![(url, Some(request))],
                };
                let mut problems: Vec<Reason> = Vec::new();
                for (url, request) in attempts {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let is_list = request.is_none();
                    match collector.revocation(url.clone(), request, left).await {
                        Ok(bytes) if is_list => return (image, Brought::list(url, bytes), Vec::new()),
                        Ok(bytes) => return (image, Brought::answer(bytes), Vec::new()),
                        Err(problem) => problems.push(problem),
                    }
                }
                (image, Brought::default(), problems)
            });
        }
        let mut has_changed = false;
        while let Some(found) = lookups.join_next().await {
            // A task that panicked brought nothing, which can only deny.
            let Ok((image, brought, problems)) = found else { continue };
            has_changed |= case.brought.add(brought) || !problems.is_empty();
            if let Some(image) = case.images.get_mut(image) {
                image.problems.extend(problems);
            }
        }
        has_changed
    }
}
