//! The node's folders below its root, each with the owner and mode of the program it is for, and the lock that keeps two
//! nodes out of one root. Changes nothing that exists: a folder with a wrong owner is an error.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::failure::Failure;

use super::child::Program;

/// Folders that exist, and the lock on them.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
    _lock: File,
}

impl Layout {
    /// Makes what is missing below `root`, and takes the lock.
    ///
    /// # Errors
    /// If another node runs there, a folder is a link or has another owner, or a program could not reach its files.
    pub(super) fn create(root: &Path, programs: &[Program]) -> Result<Self, Failure> {
        make_path(root)?;
        for folder in ["etc/assay", "run/assay", "var/lib/assay"] {
            make_path(&root.join(folder))?;
            refuse_foreign(&root.join(folder), 0)?;
        }
        let lock = lock(&root.join("run/assay/node.lock"))?;
        refuse_running(&root.join("run/assay/pids.json"))?;
        for program in programs {
            let folder = root.join("var/lib/assay").join(program.folder());
            make_owned(&folder, program.uid())?;
            refuse_foreign(&folder, program.uid())?;
            for needed in [root, program.path()] {
                refuse_unreachable(needed, program)?;
            }
        }
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// `name` in the folder of configuration files.
    pub(super) fn etc(&self, name: &str) -> PathBuf {
        self.root.join("etc/assay").join(name)
    }

    /// `name` in the folder of sockets.
    pub(super) fn run(&self, name: &str) -> PathBuf {
        self.root.join("run/assay").join(name)
    }

    /// The root itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

/// Makes `path` and its missing parents as root's, mode 0755, whatever the umask is.
pub(super) fn make_path(path: &Path) -> Result<(), Failure> {
    let missing: Vec<&Path> = path.ancestors().take_while(|part| fs::symlink_metadata(part).is_err()).collect();
    for part in missing.into_iter().rev() {
        fs::create_dir(part)
            .and_then(|()| fs::set_permissions(part, Permissions::from_mode(0o755)))
            .map_err(|error| Failure::io("make the folder", part, &error))?;
    }
    Ok(())
}

fn make_owned(path: &Path, uid: u32) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => chown(path, Some(uid), Some(uid)).map_err(|error| Failure::io("change the owner of", path, &error)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Failure::io("make the folder", path, &error)),
    }
}

pub(super) fn refuse_foreign(path: &Path, uid: u32) -> Result<(), Failure> {
    let metadata = fs::symlink_metadata(path).map_err(|error| Failure::io("look at", path, &error))?;
    let (what, remedy) = if !metadata.is_dir() {
        ("is no folder (a link is not followed)".to_owned(), "remove it".to_owned())
    } else if metadata.uid() != uid {
        (
            format!("belongs to uid {}, and has to belong to uid {uid}", metadata.uid()),
            format!("chown -R {uid} it, or give the uid it has (--uid-…)"),
        )
    } else if metadata.mode() & 0o022 != 0 {
        ("can be written by others".to_owned(), "chmod go-w it".to_owned())
    } else {
        return Ok(());
    };
    Err(Failure::new("LAYOUT", format!("{} {what}", path.display()), remedy))
}

/// Whether the program's uid gets through every folder above `path`: a temporary folder is often closed to others.
fn refuse_unreachable(path: &Path, program: &Program) -> Result<(), Failure> {
    let uid = program.uid();
    for (depth, part) in path.ancestors().enumerate().filter(|(_, part)| !part.as_os_str().is_empty()) {
        let metadata = fs::metadata(part).map_err(|error| Failure::io("look at", part, &error))?;
        let shift = if metadata.uid() == uid {
            6
        } else if metadata.gid() == uid {
            3
        } else {
            0
        };
        if uid != 0 && (metadata.is_dir() || depth == 0) && metadata.mode() >> shift & 0o1 == 0 {
            return Err(Failure::new(
                "LAYOUT",
                format!("{} cannot be entered by uid {uid}, under which {} runs", part.display(), program.name()),
                format!("chmod o+x {}, or choose another folder", part.display()),
            ));
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, Failure> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| Failure::io("open", path, &error))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Failure::new(
            "ALREADY_RUNNING",
            format!("another `assay node up` runs here and holds {}", path.display()),
            "stop it first, or choose another --root",
        )
    })?;
    Ok(file)
}

/// Programs that outlived a killed `assay node up` still serve the old sockets and hold the old stores.
fn refuse_running(pids: &Path) -> Result<(), Failure> {
    let Ok(text) = fs::read_to_string(pids) else { return Ok(()) };
    let Ok(pids) = serde_json::from_str::<std::collections::BTreeMap<String, u32>>(&text) else { return Ok(()) };
    for (name, pid) in pids {
        // The kernel keeps 15 characters of a program's name.
        let running = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if !running.trim().is_empty() && name.starts_with(running.trim()) {
            return Err(Failure::new(
                "ALREADY_RUNNING",
                format!("{name} of an earlier `assay node up` still runs with pid {pid}"),
                format!("end it with `kill {pid}` and start again"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_second_node_in_one_root_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.lock");
        let _first = lock(&path).unwrap();
        assert_eq!(lock(&path).unwrap_err().code, "ALREADY_RUNNING");
    }

    #[test]
    fn a_program_of_an_earlier_node_is_found_by_pid_and_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pids.json");
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        fs::write(&path, format!("{{\"{}\":{}}}", own.trim(), std::process::id())).unwrap();
        assert_eq!(refuse_running(&path).unwrap_err().code, "ALREADY_RUNNING");
        fs::write(&path, format!("{{\"assayd\":{}}}", std::process::id())).unwrap();
        assert_eq!(refuse_running(&path), Ok(()));
    }

    #[test]
    fn a_linked_or_foreign_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let own = nix::unistd::geteuid().as_raw();
        assert_eq!(refuse_foreign(folder.path(), own), Ok(()));
        let failure = refuse_foreign(folder.path(), own + 1).unwrap_err();
        assert!(failure.message.contains("belongs to uid"), "{failure}");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/", &link).unwrap();
        assert!(refuse_foreign(&link, own).unwrap_err().message.contains("is no folder"));
    }
}
