//! Where a node is, told by where its gate programs are: containerd starts these with arguments of its own, so that a node below
//! another root than `/` has copies of them. No argument and no environment variable is looked at.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The root of the node whose program this is: what stands before `folder` (such as `usr/lib/assay/bin`) in the program's own
/// path if it ends in `folder/NAME`, and `/` otherwise.
///
/// # Errors
/// If the kernel does not say which program this is.
pub fn node_root(folder: &str) -> io::Result<PathBuf> {
    Ok(root_of(&fs::read_link("/proc/self/exe")?, Path::new(folder)))
}

fn root_of(program: &Path, folder: &Path) -> PathBuf {
    let below = program.parent().filter(|parent| parent.ends_with(folder));
    let above = folder.components().count();
    let root = below.and_then(|parent| parent.ancestors().nth(above));
    root.map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_what_stands_before_the_folder() {
        let folder = "usr/lib/assay/bin";
        for (program, root) in [
            ("/usr/lib/assay/bin/runc", "/"),
            ("/n/x/usr/lib/assay/bin/runc", "/n/x"),
            ("/n/usr/lib/assay/bin/usr/lib/assay/bin/runc", "/n/usr/lib/assay/bin"),
            // Not in the folder, or in one that only looks like it.
            ("/n/usr/lib/assay/bin", "/"),
            ("/n/usr/lib/assay/bin/x/runc", "/"),
            ("/n/notusr/lib/assay/bin/runc", "/"),
            ("/opt/containerd/bin/runc", "/"),
        ] {
            assert_eq!(root_of(Path::new(program), Path::new(folder)), Path::new(root), "{program}");
        }
    }
}
