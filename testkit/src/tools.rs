//! Where the programs are that `setup.sh` unpacked. In: ASSAY_TOOLS, ASSAY_CACHE or the workspace's cache folder.
//! Out: paths. Never looks for these programs on the machine's own PATH.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::containerd::Version;

/// The folder of unpacked programs.
#[derive(Debug, Clone)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Finds the folder that `setup.sh` filled; fails with what to do if it is not there.
    pub fn find() -> Result<Self> {
        let folder = match (env::var_os("ASSAY_TOOLS"), env::var_os("ASSAY_CACHE")) {
            (Some(tools), _) => PathBuf::from(tools),
            (None, Some(cache)) => Path::new(&cache).join("tools"),
            (None, None) => workspace().join(".cache/tools"),
        };
        ensure!(folder.join("VERSIONS").is_file(), "no tools in {}: run ./setup.sh as root once", folder.display());
        Ok(Self { folder })
    }

    /// A program that exists once: `runc`, `docker-registry`, `busybox`, `cosign` or `notation`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// cosign 2, beside the present one.
    pub fn cosign_2(&self) -> PathBuf {
        self.folder.join("cosign-2/cosign")
    }

    /// One of `containerd`, `ctr` and `containerd-shim-runc-v2` of that version.
    pub fn containerd(&self, version: Version, name: &str) -> PathBuf {
        self.folder.join(version.folder()).join(name)
    }

    /// A PATH on which containerd of that version finds its own shim and runc before any of the machine's.
    pub fn search_path(&self, version: Version) -> Result<OsString> {
        let ours = [self.folder.join(version.folder()), self.folder.join("bin")];
        let machine = env::var_os("PATH").unwrap_or_default();
        Ok(env::join_paths(ours.into_iter().chain(env::split_paths(&machine)))?)
    }
}

/// The root of the source tree this crate was compiled from.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate's folder lies in the workspace")
}
