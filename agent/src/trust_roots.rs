//! Sigstore roots of trust that TUF repositories keep up to date: configured roots, kept files and what a repository serves come in,
//! the `trusted_root.json` that may be trusted now comes out. What fails leaves the last good one; every change is on record first.

mod refresh;
mod schedule;
mod service;
mod source;
mod store;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use assay_admission::{Digest, UnixTime};
use assay_audit::{Durability, Log, TrustRootOutcome, TrustRootRecord};
use assay_verify::TufTrust;

use self::{
    refresh::{Attempt, RefreshError, attempt},
    source::{Copied, Source},
    store::Store,
};
pub(crate) use self::{schedule::keep_fresh, service::TrustRootService, source::Repositories};
use crate::{
    config::{TrustRootConfig, TrustRootName},
    judge::now,
    recording,
};

impl std::fmt::Debug for TrustRoots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.roots.keys()).finish()
    }
}

/// All roots of trust of this node.
pub(crate) struct TrustRoots {
    roots: BTreeMap<TrustRootName, Managed>,
    network: Arc<dyn Source>,
    log: Arc<Log>,
    /// Told whenever one of them is another one.
    changed: tokio::sync::Notify,
}

/// One root of trust.
struct Managed {
    config: TrustRootConfig,
    store: Store,
    /// Held while its repository is asked or an import runs: one at a time.
    turn: tokio::sync::Mutex<()>,
    /// What is known of it; held to copy or to replace, never across a wait.
    state: Mutex<State>,
}

/// What is known of one root of trust.
#[derive(Clone, Default)]
struct State {
    /// `None` if the configured root is unusable.
    trust: Option<Arc<TufTrust>>,
    /// What policies may use.
    current: Option<TrustedRoot>,
    attempted: Option<UnixTime>,
    /// Why the last attempt failed, or what is wrong with what was kept.
    problem: Option<String>,
    /// The refusal that was recorded last: the same one is not recorded again with every attempt.
    recorded: Option<String>,
}

/// A `trusted_root.json` that is verified and on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustedRoot {
    /// The file.
    pub(crate) bytes: Arc<[u8]>,
    /// Its SHA-256: whoever remembers what was judged by it remembers this too.
    pub(crate) revision: Digest,
}

/// Why an update brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpdateError {
    /// It is not configured.
    #[error("no trust root {0:?} is configured; [trust-roots.NAME] of assayd.toml does that")]
    Unknown(String),
    /// It has nobody to ask.
    #[error("the trust root {0} has no repositories; it is imported with `assay trust-root import`")]
    NoRepositories(TrustRootName),
    /// Its configured root is unusable.
    #[error("{0}")]
    Unusable(String),
    /// Every repository failed.
    #[error("the trust root {name} stays as it was: {why}")]
    Refused {
        /// Its name.
        name: TrustRootName,
        /// What each repository said.
        why: String,
    },
}

impl TrustRoots {
    /// Verifies what was kept of each again. What cannot be verified is left aside, and the status says so.
    pub(crate) fn open(
        configured: &BTreeMap<TrustRootName, TrustRootConfig>,
        state: &std::path::Path,
        network: Arc<dyn Source>,
        log: Arc<Log>,
    ) -> Self {
        let roots = configured.iter().map(|(name, config)| {
            let store = Store::new(&state.join("trust-roots"), name);
            let state = store.open(&config.root);
            if let Some(problem) = &state.problem {
                tracing::warn!(%name, "trust root: {problem}");
            }
            let (turn, state) = (tokio::sync::Mutex::new(()), Mutex::new(state));
            (name.clone(), Managed { config: config.clone(), store, turn, state })
        });
        Self { roots: roots.collect(), network, log, changed: tokio::sync::Notify::new() }
    }

    /// The root of trust `name`, if there is a verified one.
    pub(crate) fn get(&self, name: &str) -> Option<TrustedRoot> {
        self.roots.get(name)?.state().current.clone()
    }

    /// Waits until one of them is another one than before. A change that nobody waited for is not lost.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Asks the repositories of `name`, one after the other until one has what can be trusted. Whether anything changed.
    pub(crate) async fn update(&self, name: &str) -> Result<bool, UpdateError> {
        let (name, managed) = self.find(name)?;
        if managed.config.repositories.is_empty() {
            return Err(UpdateError::NoRepositories(name.clone()));
        }
        let _turn = managed.turn.lock().await;
        let mut problems = Vec::new();
        for repository in &managed.config.repositories {
            match self.from(name, managed, &*self.network, repository).await {
                Ok(changed) => return Ok(changed),
                Err(problem) => problems.push(format!("{repository}: {problem}")),
            }
        }
        Err(refused(name, managed, &problems.join("; ")))
    }

    /// Takes the files of a copy of the repository, by path, as an answer of the repository.
    pub(crate) async fn import(&self, name: &str, files: BTreeMap<String, Vec<u8>>) -> Result<bool, UpdateError> {
        let (name, managed) = self.find(name)?;
        let _turn = managed.turn.lock().await;
        let outcome = self.from(name, managed, &Copied::new(files), "import").await;
        outcome.map_err(|problem| refused(name, managed, &problem))
    }

    fn find(&self, name: &str) -> Result<(&TrustRootName, &Managed), UpdateError> {
        self.roots.get_key_value(name).ok_or_else(|| UpdateError::Unknown(name.to_owned()))
    }

    /// One attempt at one source. What it verified is kept even if it fails: newer roots, and what was seen.
    async fn from(
        &self,
        name: &TrustRootName,
        managed: &Managed,
        source: &dyn Source,
        address: &str,
    ) -> Result<bool, String> {
        let before = managed.state();
        let Some(trust) = before.trust.clone() else { return Err(before.problem.unwrap_or_default()) };
        managed.change(|state| state.attempted = Some(now()));
        let Attempt { trust, outcome } = attempt(TufTrust::clone(&trust), source, address, now()).await;
        if let Err(RefreshError::Refused(why)) = &outcome {
            self.record_refusal(name, managed, address, &why.to_string());
        }
        let changed = self.accept(name, managed, address, trust).await?;
        outcome.map_err(|error| error.to_string())?;
        managed.change(|state| (state.problem, state.recorded) = (None, None));
        Ok(changed)
    }

    /// Makes `trust` count: recorded first, then stored, then used. Whether the root of trust is another one now.
    async fn accept(
        &self,
        name: &TrustRootName,
        managed: &Managed,
        address: &str,
        trust: TufTrust,
    ) -> Result<bool, String> {
        let current = trust.trusted_root().map(TrustedRoot::new);
        let changed = current != managed.state().current;
        if let Some(current) = current.as_ref().filter(|_| changed) {
            let root_version = trust.summary().root.version;
            let outcome = TrustRootOutcome::Updated { sha256: current.revision.hex(), root_version };
            let record = TrustRootRecord { time: now(), name: name.to_string(), source: address.to_owned(), outcome };
            let recorded = recording::append(&self.log, record.into(), Durability::Synced).await;
            recorded.map_err(|error| format!("it cannot be recorded: {error}"))?;
        }
        let is_kept = managed.state().trust.is_some_and(|kept| kept.files() == trust.files());
        if !is_kept {
            let (store, files) = (managed.store.clone(), trust.files().clone());
            let stored = tokio::task::spawn_blocking(move || store.save(&files)).await;
            let stored = stored.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            stored.map_err(|error| format!("it cannot be stored: {error}"))?;
        }
        let trust = Arc::new(trust);
        managed.change(|state| (state.trust, state.current) = (Some(trust), current));
        if changed {
            self.changed.notify_one();
        }
        Ok(changed)
    }

    fn record_refusal(&self, name: &TrustRootName, managed: &Managed, address: &str, why: &str) {
        let line = format!("{address}: {why}");
        if managed.state().recorded.as_ref() == Some(&line) {
            return;
        }
        let outcome = TrustRootOutcome::Refused(why.to_owned());
        let record = TrustRootRecord { time: now(), name: name.to_string(), source: address.to_owned(), outcome };
        self.log.append(record.into(), Durability::Synced, |_| {});
        managed.change(|state| state.recorded = Some(line));
    }
}

impl TrustedRoot {
    fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), revision: Digest::sha256(bytes) }
    }
}

impl Managed {
    fn state(&self) -> State {
        self.lock().clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(name: &TrustRootName, managed: &Managed, why: &str) -> UpdateError {
    if managed.state().trust.is_none() {
        return UpdateError::Unusable(why.to_owned());
    }
    tracing::warn!(%name, "trust root not updated: {why}");
    managed.change(|state| state.problem = Some(why.to_owned()));
    UpdateError::Refused { name: name.clone(), why: why.to_owned() }
}

#[cfg(test)]
mod tests;
