//! The gates that containerd starts itself: below the node's root, where they find out by their own path whose they are.

use std::{fs, io, path::Path};

use crate::failure::Failure;

use super::{UpArgs, child, layout};

/// Each gate's program, and where it is installed. `runc` is what containerd looks for in the folder that it is told to prefer.
const GATES: [(&str, &str); 2] = [
    ("assay-runc", "usr/lib/assay/bin/runc"),
    ("assay-image-verifier", "usr/lib/assay/image-verifier.d/assay-image-verifier"),
];
/// containerd's image verifier directory: it starts whatever is in it before each pull.
pub(super) const VERIFIERS: &str = "usr/lib/assay/image-verifier.d";
/// Where a copy is made ready. Not beside its place: a file among the verifiers that cannot be run stops every pull.
const NEW: &str = "usr/lib/assay/.new";

/// Installs the gates below `root`, anew each time: they are to be as new as the agent.
///
/// # Errors
/// If a program is missing or cannot be put there.
pub(super) fn install(root: &Path, arguments: &UpArgs) -> Result<(), Failure> {
    let folder = child::programs(arguments)?;
    for (program, place) in GATES {
        let (from, to) = (folder.join(program), root.join(place));
        if !from.is_file() {
            return Err(child::no_program(&from));
        }
        if let Some(folder) = to.parent() {
            layout::make_path(folder)?;
            layout::refuse_foreign(folder, 0)?;
        }
        put(&from, &root.join(NEW), &to).map_err(|error| Failure::io("install", &to, &error))?;
    }
    Ok(())
}

/// Puts a copy there that is whole at any moment. A link to a file that is not root's would be one that others may change.
fn put(from: &Path, new: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::copy(from, new)?;
    fs::set_permissions(new, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::rename(new, to)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_gate_is_replaced_whole_and_can_be_changed_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("assay-runc"), folder.path().join("runc"));
        fs::write(&from, "new").unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(&to, "old").unwrap();
        let old = fs::metadata(&to).unwrap().ino();
        put(&from, &folder.path().join("new"), &to).unwrap();
        let installed = fs::metadata(&to).unwrap();
        assert_eq!((fs::read_to_string(&to).unwrap().as_str(), installed.mode() & 0o7777), ("new", 0o755));
        assert_ne!(installed.ino(), old);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
