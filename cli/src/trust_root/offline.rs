//! `assay trust-root update --dir`: the agent's own way to a root of trust, for machines without an agent. Files in a folder stand
//! for the agent's memory and are verified again each time.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use assay_admission::{Digest, UnixTime};
use assay_fetch::{Client, Config, RepositoryFile};
use assay_verify::{TRUSTED_ROOT, TufError, TufFiles, TufStep, TufTrust};
use serde_json::json;

use super::{copy, shown};
use crate::{
    Context, bounded_file,
    failure::{Exit, Failure},
    registry,
};

/// What is kept to go on from, beside `trusted_root.json`.
const KEPT: &str = "tuf.json";
const MAX_KEPT: u64 = 16 << 20;
const MAX_ROOT: u64 = 1 << 20;

/// Where the files come from.
enum Repository<'a> {
    Network { client: Client, address: &'a str, timeout: Duration },
    Copy(BTreeMap<String, Vec<u8>>),
}

pub(super) async fn update(
    context: &Context,
    folder: &Path,
    repository: &str,
    root: &Path,
    plain_http: bool,
) -> Result<Exit, Failure> {
    let root = bounded_file::read(root, MAX_ROOT).map_err(|error| Failure::io("read", root, &error))?;
    fs::create_dir_all(folder).map_err(|error| Failure::io("make", folder, &error))?;
    let kept = kept(&folder.join(KEPT))?;
    let before = TufTrust::open(&root, kept.clone()).map_err(|error| refused(&error, folder))?;
    let old = before.trusted_root().map(<[u8]>::to_vec);
    let source = source(context, repository, plain_http)?;

    let progress = context.console.progress("asking the repository");
    let mut refresh = before.refresh(now());
    let outcome = loop {
        let (path, most_bytes) = match refresh.step() {
            Ok(TufStep::Fetch { path, most_bytes }) => (path, most_bytes),
            Ok(TufStep::Done) => break Ok(()),
            Err(error) => break Err(refused(&error, folder)),
        };
        let file = match source.file(&path, most_bytes).await {
            Ok(file) => file,
            Err(failure) => break Err(failure),
        };
        if let Err(error) = refresh.give(file) {
            break Err(refused(&error, folder));
        }
    };
    drop(progress);
    let trust = refresh.into_trust();
    // Newer roots and what was seen are kept even if the rest was refused.
    if *trust.files() != kept {
        replace(&folder.join(KEPT), &trust.files().to_json())?;
    }
    outcome?;
    let bytes = trust.trusted_root().unwrap_or_default();
    replace(&folder.join(TRUSTED_ROOT), bytes)?;

    let changed = old.as_deref() != Some(bytes);
    let revision = Digest::sha256(bytes).to_string();
    let what = if changed { "a new one" } else { "as it was" };
    let text = format!("{}: {what}, {revision}", folder.join(TRUSTED_ROOT).display());
    let summary = trust.summary();
    let json = json!({
        "file": folder.join(TRUSTED_ROOT),
        "changed": changed,
        "revision": revision,
        "root": shown::role_json(summary.root.version, summary.root.expires, summary.root.threshold, &summary.root.keys),
    });
    context.console.print(&text, &json)?;
    Ok(Exit::Success)
}

fn source<'a>(context: &Context, repository: &'a str, plain_http: bool) -> Result<Repository<'a>, Failure> {
    let Some((_, rest)) = repository.split_once("://") else {
        return copy::read(Path::new(repository)).map(Repository::Copy);
    };
    let path = context.path("etc/assay/fetch.toml");
    let mut config =
        if path.exists() { Config::load(&path).map_err(|error| registry::failed(&error))? } else { Config::default() };
    if plain_http {
        let host = rest.split('/').next().unwrap_or_default();
        let usage = |error| Failure::new("USAGE", format!("{repository}: {error}"), "").exits(Exit::Usage);
        config.plain_http.push(host.parse().map_err(usage)?);
    }
    Ok(Repository::Network { client: Client::new(config), address: repository, timeout: context.left() })
}

impl Repository<'_> {
    async fn file(&self, path: &str, most_bytes: usize) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Self::Copy(files) => Ok(files.get(path).cloned()),
            Self::Network { client, address, timeout } => {
                let file = RepositoryFile::new(address, path, most_bytes).map_err(|error| registry::failed(&error))?;
                client.repository_file(&file, *timeout).await.map_err(|error| registry::failed(&error))
            }
        }
    }
}

fn kept(path: &Path) -> Result<TufFiles, Failure> {
    match bounded_file::read(path, MAX_KEPT) {
        Ok(bytes) => TufFiles::from_json(&bytes).map_err(|error| refused(&error, path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(TufFiles::default()),
        Err(error) => Err(Failure::io("read", path, &error)),
    }
}

/// Replaces a file whole.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let new = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|error| Failure::io("write", path, &error))
}

fn refused(error: &TufError, folder: &Path) -> Failure {
    Failure::new(
        "NOT_TRUSTED",
        format!("the root of trust was not updated: {error}"),
        format!("what is in {} stays; ask whoever runs the repository, or take another mirror", folder.display()),
    )
}

fn now() -> UnixTime {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    UnixTime::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}
