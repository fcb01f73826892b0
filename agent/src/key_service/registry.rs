//! Which key may be used for what: as configured, or as it was made. A key that is in neither list is used for nothing.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use assay_hsm::KeyUri;

use crate::{Config, config::Purpose};

/// A key's purpose, and the uids that may use it through sign.sock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) purpose: Purpose,
    pub(crate) peers: Vec<u32>,
}

/// All keys with a purpose.
#[derive(Debug)]
pub(crate) struct KeyRegistry {
    file: PathBuf,
    configured: BTreeMap<KeyUri, Entry>,
    /// Purposes of keys made on this node, by URI; held while the file is written.
    made: Mutex<BTreeMap<KeyUri, Purpose>>,
}

/// Why the registry is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// A configured URI is none.
    #[error("assayd.toml: key {uri:?}: {why}")]
    Uri { uri: String, why: assay_hsm::KeyUriError },
    /// One key has two purposes.
    #[error("assayd.toml: key {0} is declared twice; a key has one purpose")]
    Twice(KeyUri),
    /// The list of keys made here cannot be read or written.
    #[error("{path}: {why}")]
    File { path: PathBuf, why: String },
}

impl KeyRegistry {
    /// Reads the configuration and the list of keys made here.
    pub(crate) fn open(config: &Config) -> Result<Self, RegistryError> {
        let mut configured = BTreeMap::new();
        let log_key = config.log_key.iter().map(|uri| (uri, Purpose::Log, Vec::new()));
        let keys = config.keys.iter().map(|key| (&key.uri, key.purpose, key.peers.clone()));
        for (uri, purpose, peers) in log_key.chain(keys) {
            let parsed: KeyUri = uri.parse().map_err(|why| RegistryError::Uri { uri: uri.clone(), why })?;
            if configured.insert(parsed.clone(), Entry { purpose, peers }).is_some() {
                return Err(RegistryError::Twice(parsed));
            }
        }
        let file = config.state.join("keys.json");
        let made = match fs::read(&file) {
            Ok(bytes) => parse(&bytes).map_err(|why| RegistryError::File { path: file.clone(), why })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(RegistryError::File { path: file, why: error.to_string() }),
        };
        Ok(Self { file, configured, made: Mutex::new(made) })
    }

    /// The entry of the key that `uri` names. A configured URI may name fewer attributes than the token's own; one that
    /// is made here and configured too is what the configuration says.
    pub(crate) fn find(&self, uri: &KeyUri) -> Option<Entry> {
        if let Some((_, entry)) = self.configured.iter().find(|(configured, _)| names_same(configured, uri)) {
            return Some(entry.clone());
        }
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let purpose = made.iter().find(|(made, _)| names_same(made, uri)).map(|(_, purpose)| *purpose)?;
        Some(Entry { purpose, peers: Vec::new() })
    }

    /// A key with `uri`'s object, or id, that is declared for another token than `uri` says, and that is `usable`.
    pub(crate) fn of_other_token(&self, uri: &KeyUri, usable: impl Fn(&Entry) -> bool) -> Option<KeyUri> {
        let alike = |other: &KeyUri| {
            other.token() != uri.token()
                && ids_agree(other, uri)
                && (uri.object().is_some() && other.object() == uri.object()
                    || uri.id().is_some() && other.id() == uri.id())
        };
        let configured = self.configured.iter().find(|(other, entry)| alike(other) && usable(entry));
        if let Some((other, _)) = configured {
            return Some(other.clone());
        }
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.iter()
            .find(|(other, purpose)| alike(other) && usable(&Entry { purpose: **purpose, peers: Vec::new() }))
            .map(|(other, _)| other.clone())
    }

    /// Notes the purpose of a key that was just made, durably.
    pub(crate) fn add(&self, uri: &KeyUri, purpose: Purpose) -> io::Result<()> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert(uri.clone(), purpose);
        let by_text: BTreeMap<String, Purpose> =
            made.iter().map(|(uri, purpose)| (uri.to_string(), *purpose)).collect();
        let text = serde_json::to_vec_pretty(&by_text).map_err(io::Error::other)?;
        let hidden = self.file.with_extension("json.new");
        let mut file = fs::File::create(&hidden)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&hidden, &self.file)
    }
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<KeyUri, Purpose>, String> {
    let by_text: BTreeMap<String, Purpose> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    by_text
        .into_iter()
        .map(|(uri, purpose)| Ok((uri.parse().map_err(|error| format!("{uri}: {error}"))?, purpose)))
        .collect()
}

/// Whether both URIs lead to one key: token and object, and id where both have one.
fn names_same(a: &KeyUri, b: &KeyUri) -> bool {
    a == b || (a.object().is_some() && a.object() == b.object() && a.token() == b.token() && ids_agree(a, b))
}

fn ids_agree(a: &KeyUri, b: &KeyUri) -> bool {
    match (a.id(), b.id()) {
        (Some(a), Some(b)) => a == b,
        (None, _) | (_, None) => true,
    }
}
