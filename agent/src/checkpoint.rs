//! Signs the log's head with the log key in the token. Without token or key the log goes on growing unsigned, and the
//! status says so.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use assay_admission::Digest;
use assay_audit::{
    Durability, KeyOperation, KeyUseOutcome, KeyUseRecord, Log, LogError, NoteError, NoteKey,
    checkpoint::{Unsigned, sign_with},
};
use assay_hsm::{KeyInfo, KeyKind, KeyUri, KeyUriError, Scheme};

use crate::{
    Config,
    judge::now,
    key_worker::{KeyWorker, KeyWorkerError},
    recording::append,
};

/// Signs checkpoints, one at a time.
pub(crate) struct Checkpoints {
    origin: String,
    uri: Option<String>,
    log: Arc<Log>,
    keys: KeyWorker,
    /// The log key's SubjectPublicKeyInfo as it was first seen: another key under the same name is refused from then on.
    pinned: PathBuf,
    /// Held while a checkpoint is made, so that two never race; across waits, hence tokio's.
    newest: tokio::sync::Mutex<Option<Signed>>,
    /// What status shows; locked for a copy only.
    shown: Mutex<(u64, String)>,
}

#[derive(Clone, Debug)]
struct Signed {
    size: u64,
    note: String,
}

/// Why there is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    /// The configuration names no log key.
    #[error("no log-key is configured in assayd.toml; make one with `assay keys generate --purpose log LABEL`")]
    NoKey,
    /// The configured name is no key's.
    #[error("log-key: {0}")]
    Uri(#[from] KeyUriError),
    /// The key cannot be used now.
    #[error("log key: {0}")]
    Worker(#[from] KeyWorkerError),
    /// The key is not of a kind that signs notes.
    #[error("log key is {0}; checkpoints are signed with p256 or ed25519")]
    Kind(KeyKind),
    /// The token holds another key under this name than before.
    #[error(
        "log key has the SHA-256 {found}, {path} holds {pinned}; if it was replaced on purpose, keep that file elsewhere and remove it"
    )]
    OtherKey { found: String, pinned: String, path: String },
    /// The pinned key cannot be kept.
    #[error("{0}")]
    Pin(std::io::Error),
    /// The signature is not the key's.
    #[error("log key: {0}")]
    Note(#[from] NoteError),
    /// The log refuses.
    #[error("log: {0}")]
    Log(#[from] LogError),
}

impl Checkpoints {
    /// For the log and log key of `config`.
    pub(crate) fn new(config: &Config, log: Arc<Log>, keys: KeyWorker) -> Self {
        Self {
            origin: config.log_origin.clone(),
            uri: config.log_key.clone(),
            log,
            keys,
            pinned: config.state.join("log-key.spki"),
            newest: tokio::sync::Mutex::default(),
            shown: Mutex::new((0, "no checkpoint since the start".into())),
        }
    }

    /// The size that the newest checkpoint covers; 0 before the first.
    pub(crate) fn signed_size(&self) -> u64 {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// A remark for the status: empty, or why the newest records are not signed for.
    pub(crate) fn detail(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Signs the head if records other than the last signing's own were added.
    pub(crate) async fn sign_if_grown(&self) -> Result<(), CheckpointError> {
        self.current().await.map(drop)
    }

    /// The newest checkpoint as a signed note, made now if the log has grown since the last one.
    pub(crate) async fn current(&self) -> Result<String, CheckpointError> {
        let mut newest = self.newest.lock().await;
        if let Some(signed) = newest.as_ref().filter(|signed| signed.size == self.log.head().size) {
            return Ok(signed.note.clone());
        }
        let outcome = self.sign().await;
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        match &outcome {
            Ok(signed) => *shown = (signed.size, String::new()),
            Err(error) => shown.1 = error.to_string(),
        }
        drop(shown);
        outcome.map(|signed| newest.insert(signed).note.clone())
    }

    async fn sign(&self) -> Result<Signed, CheckpointError> {
        let uri: KeyUri = self.uri.as_ref().ok_or(CheckpointError::NoKey)?.parse()?;
        let key = self.keys.public(uri.clone()).await?;
        self.check_pin(&key)?;
        let scheme = match key.kind {
            KeyKind::P256 => Scheme::EcdsaP256Sha256,
            KeyKind::Ed25519 => Scheme::Ed25519,
            kind @ (KeyKind::P384 | KeyKind::Rsa { .. }) => return Err(CheckpointError::Kind(kind)),
        };
        // The use is recorded before it happens, so that the checkpoint covers its own record and the next one is due
        // only when something else was recorded.
        let record = KeyUseRecord {
            time: now(),
            key: uri.to_string(),
            spki_sha256: hex::encode(key.spki_sha256),
            purpose: "log".into(),
            operation: KeyOperation::Checkpoint,
            subject: None,
            peer_uid: None,
            outcome: KeyUseOutcome::Done,
        };
        append(&self.log, record.into(), Durability::Synced).await?;
        let head = self.log.head();
        let text = Unsigned { origin: self.origin.clone(), size: head.size, root: head.root }.text();
        let signature = self.keys.sign(uri, scheme, text.clone().into_bytes()).await?;
        let note = sign_with(&text, &self.origin, &NoteKey::from_spki(&key.spki)?, &signature)?;
        let (log, stored) = (Arc::clone(&self.log), note.clone());
        tokio::task::spawn_blocking(move || log.store_checkpoint(&stored)).await.unwrap_or(Err(LogError::Closed))?;
        Ok(Signed { size: head.size, note })
    }

    fn check_pin(&self, key: &KeyInfo) -> Result<(), CheckpointError> {
        match fs::read(&self.pinned) {
            Ok(pinned) if pinned == key.spki => Ok(()),
            Ok(pinned) => Err(CheckpointError::OtherKey {
                found: hex::encode(key.spki_sha256),
                pinned: Digest::sha256(&pinned).hex(),
                path: self.pinned.display().to_string(),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::write(&self.pinned, &key.spki).map_err(CheckpointError::Pin)
            }
            Err(error) => Err(CheckpointError::Pin(error)),
        }
    }
}
