//! Disk usage of a tree: blocks of every inode once, hard links counted once. Follows no link, holds one open folder.

use std::{collections::HashSet, io, path::Path};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat},
    io::Errno,
};

use super::record::Usage;

/// Size of the unit in which the kernel counts blocks (stat(2)).
const BLOCK: u64 = 512;

/// Counts what is below `root`, itself included. Files that vanish meanwhile are left out.
pub(super) fn disk_usage(root: &Path) -> io::Result<Usage> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let base = openat(CWD, root, flags, Mode::empty())?;
    let mut linked = HashSet::new();
    let mut usage = Usage::default();
    let mut count = |stat: &Stat| {
        // Only a file with several names can be met twice, so only that is remembered. A folder has one name; its link
        // count is that of its subfolders.
        let is_folder = FileType::from_raw_mode(stat.st_mode).is_dir();
        if is_folder || stat.st_nlink < 2 || linked.insert((stat.st_dev, stat.st_ino)) {
            usage.bytes = usage.bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK));
            usage.inodes = usage.inodes.saturating_add(1);
        }
    };
    count(&statat(&base, "", AtFlags::EMPTY_PATH)?);
    let mut waiting = vec![b".".to_vec()];
    while let Some(path) = waiting.pop() {
        let folder = match openat(&base, path.as_slice(), flags, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut entries = Dir::read_from(&folder)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    count(&stat);
                    if FileType::from_raw_mode(stat.st_mode).is_dir() {
                        waiting.push([path.as_slice(), b"/", name.to_bytes()].concat());
                    }
                }
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(usage)
}
