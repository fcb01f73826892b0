//! What is kept of one root of trust: one file, replaced whole, so that what belongs together is there together or not at all.
//! Reading verifies all of it again from the configured root.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use assay_verify::{TufFiles, TufTrust};

use super::{State, TrustedRoot};
use crate::{active::read_bounded, config::TrustRootName};

/// A longer file is not one of ours.
const MAX_BYTES: u64 = 16 << 20;

/// The file of one root of trust.
#[derive(Clone, Debug)]
pub(super) struct Store {
    folder: PathBuf,
    file: PathBuf,
}

impl Store {
    pub(super) fn new(folder: &Path, name: &TrustRootName) -> Self {
        Self { folder: folder.to_owned(), file: folder.join(format!("{name}.json")) }
    }

    /// What may be trusted from what was kept, by the root in the file `configured`.
    pub(super) fn open(&self, configured: &Path) -> State {
        let unusable = |problem: String| State { problem: Some(problem), ..State::default() };
        let root = match read_bounded(configured) {
            Ok(root) => root,
            Err(error) => return unusable(error.to_string()),
        };
        let none = match TufTrust::open(&root, TufFiles::default()) {
            Ok(none) => none,
            Err(error) => return unusable(format!("{}: {error}", configured.display())),
        };
        let kept = self.read().and_then(|files| match files {
            Some(files) => TufTrust::open(&root, files).map(Some).map_err(|error| error.to_string()),
            None => Ok(None),
        });
        let (trust, problem) = match kept {
            Ok(kept) => (kept.unwrap_or(none), None),
            Err(why) => {
                let problem = format!(
                    "{} is left aside, it begins anew from {}: {why}",
                    self.file.display(),
                    configured.display()
                );
                (none, Some(problem))
            }
        };
        let current = trust.trusted_root().map(TrustedRoot::new);
        State { trust: Some(Arc::new(trust)), current, problem, ..State::default() }
    }

    fn read(&self) -> Result<Option<TufFiles>, String> {
        let file = match fs::File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        TufFiles::from_json(&bytes).map(Some).map_err(|error| error.to_string())
    }

    /// Replaces the file. It is on disk when this returns.
    pub(super) fn save(&self, files: &TufFiles) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let new = self.file.with_extension("new");
        let mut file = fs::File::create(&new)?;
        file.write_all(&files.to_json())?;
        file.sync_all()?;
        fs::rename(&new, &self.file)?;
        fs::File::open(&self.folder)?.sync_all()
    }
}
