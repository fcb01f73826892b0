//! The mounts that containerd makes for a snapshot: a bind mount for one layer, an overlay for several.

use std::{fs, path::Path};

use super::{
    folders::Folders,
    record::{Kind, Record},
};

/// `f_type` of tmpfs (linux/magic.h).
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// One mount, in the words of mount(8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `bind` or `overlay`.
    pub kind: &'static str,
    /// The folder to bind, or `overlay`.
    pub source: String,
    /// Options, one by one.
    pub options: Vec<String>,
}

/// Options that every overlay of this host gets.
#[derive(Clone, Debug)]
pub(super) struct MountOptions(Vec<String>);

impl MountOptions {
    /// Finds out what this kernel knows and this process needs.
    pub(super) fn detect(root: &Path) -> Self {
        let mut options = Vec::new();
        // Outside the first user namespace overlayfs may not write trusted.* attributes; tmpfs has no user.* ones.
        let whole = |map: String| map.split_whitespace().eq(["0", "0", "4294967295"]);
        let is_namespaced = fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !whole(map));
        let is_tmpfs = rustix::fs::statfs(root).is_ok_and(|stat| stat.f_type == TMPFS_MAGIC);
        if is_namespaced && !is_tmpfs {
            options.push("userxattr".to_owned());
        }
        // With an index, a lower folder that is used by two mounts at once is refused.
        if Path::new("/sys/module/overlay/parameters/index").exists() {
            options.push("index=off".to_owned());
        }
        Self(options)
    }

    /// The mounts of a snapshot whose parents are `parents`, the nearest first.
    pub(super) fn mounts(&self, folders: &Folders, record: &Record, parents: &[u64]) -> Vec<Mount> {
        let upper = |id: u64| folders.upper(id).to_string_lossy().into_owned();
        let bind = |id: u64, access: &str| {
            vec![Mount { kind: "bind", source: upper(id), options: vec![access.to_owned(), "rbind".to_owned()] }]
        };
        let mut options = match (record.kind, parents) {
            (Kind::Active, []) => return bind(record.id, "rw"),
            (Kind::View | Kind::Committed, []) => return bind(record.id, "ro"),
            (Kind::View | Kind::Committed, [only]) => return bind(*only, "ro"),
            (Kind::View | Kind::Committed, _) => Vec::new(),
            (Kind::Active, _) => vec![
                format!("workdir={}", folders.work(record.id).to_string_lossy()),
                format!("upperdir={}", upper(record.id)),
            ],
        };
        let lower: Vec<String> = parents.iter().map(|id| upper(*id)).collect();
        options.push(format!("lowerdir={}", lower.join(":")));
        options.extend(self.0.iter().cloned());
        vec![Mount { kind: "overlay", source: "overlay".to_owned(), options }]
    }
}
