//! What is mounted where a container's root file system is to be, compared with what the snapshotter says of its snapshot.
//! Reads the kernel's own list of mounts; nothing is mounted or changed.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use assay_proto::containerd::types::Mount;
use rustix::fs::{Mode, OFlags};

/// Most bytes of the list of mounts that are read: some hundred thousand mounts.
const MAX_MOUNTS_BYTES: u64 = 64 << 20;

/// Why a root file system is refused. Fits after "failed to …: ".
#[derive(Debug, thiserror::Error)]
pub(super) enum RootError {
    /// The folder or the list of mounts cannot be read.
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// The kernel's list does not have it.
    #[error("the mount of {0} is not in the kernel's list of mounts")]
    NotListed(PathBuf),
    /// The snapshot is something that is not compared.
    #[error("the snapshotter mounts it in a way that is not known: {0}")]
    Unknown(String),
    /// Something else is mounted.
    #[error("{path} is not the container's snapshot: {what}")]
    Foreign { path: PathBuf, what: String },
}

impl RootError {
    /// Whether everything could be looked at, and it is something else than the snapshot.
    pub(super) const fn is_foreign(&self) -> bool {
        match self {
            Self::Foreign { .. } | Self::Unknown(_) | Self::NotListed(_) => true,
            Self::Io { .. } => false,
        }
    }
}

/// Makes sure that what is mounted at `root` is just the snapshot with these mounts.
pub(super) fn verify(root: &Path, snapshot: &[Mount]) -> Result<(), RootError> {
    let [expected] = snapshot else {
        return Err(RootError::Unknown(format!("{} mounts", snapshot.len())));
    };
    let failed = |source| RootError::Io { path: root.to_owned(), source };
    let folder = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let folder = folder.map_err(|error| failed(error.into()))?;
    let found = rustix::fs::fstat(&folder).map_err(|error| failed(error.into()))?;
    let foreign = |what: String| RootError::Foreign { path: root.to_owned(), what };
    match expected.r#type.as_str() {
        "bind" => {
            let source = Path::new(&expected.source);
            let wanted = rustix::fs::stat(source)
                .map_err(|error| RootError::Io { path: source.to_owned(), source: error.into() })?;
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino) {
                return Ok(());
            }
            Err(foreign(format!("the snapshot is {}, and something else is mounted there", source.display())))
        }
        "overlay" => {
            // By the mount's number, not by its path: several may lie one over the other at one path.
            let number = mount_number(folder.as_raw_fd()).map_err(failed)?;
            let line = mount_line(number)?.ok_or_else(|| RootError::NotListed(root.to_owned()))?;
            overlay(&line, &expected.options).map_err(foreign)
        }
        other => Err(RootError::Unknown(format!("type {other:?}"))),
    }
}

/// `mnt_id` of an open file (proc(5), /proc/pid/fdinfo).
fn mount_number(descriptor: i32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}"))?;
    let number = text.lines().find_map(|line| line.strip_prefix("mnt_id:")).and_then(|rest| rest.trim().parse().ok());
    number.ok_or_else(|| io::Error::other("the kernel does not say which mount it is"))
}

fn mount_line(number: u64) -> Result<Option<String>, RootError> {
    let path = Path::new("/proc/self/mountinfo");
    let failed = |source| RootError::Io { path: path.to_owned(), source };
    let mut mounts = BufReader::new(File::open(path).map_err(failed)?.take(MAX_MOUNTS_BYTES));
    let mut line = Vec::new();
    let prefix = format!("{number} ");
    loop {
        line.clear();
        if mounts.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Ok(None);
        }
        if line.starts_with(prefix.as_bytes()) {
            return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
        }
    }
}

/// Compares a line of the list of mounts (proc(5), /proc/pid/mountinfo) with the options of an overlay.
fn overlay(line: &str, options: &[String]) -> Result<(), String> {
    let (before, after) = line.split_once(" - ").ok_or("the kernel's list of mounts is not understood")?;
    let part = before.split(' ').nth(3);
    let mut after = after.split(' ');
    let (kind, found) = (after.next().unwrap_or_default(), after.nth(1).unwrap_or_default());
    if kind != "overlay" {
        return Err(format!("it is a mount of type {kind:?} instead of an overlay"));
    }
    if part != Some("/") {
        return Err("it is a part of an overlay".to_owned());
    }
    let wanted = Folders::of(options.iter().map(String::as_str));
    let unescaped: Vec<String> = found.split(',').map(unescape).collect();
    let found = Folders::of(unescaped.iter().map(String::as_str));
    if wanted.lower.is_empty() || found.has_others || wanted.has_others {
        return Err("it has folders that are not compared".to_owned());
    }
    if found.upper != wanted.upper {
        let shown = |upper: Option<&str>| upper.unwrap_or("none").to_owned();
        return Err(format!(
            "its upper folder is {}, the snapshot's is {}",
            shown(found.upper.as_deref()),
            shown(wanted.upper.as_deref())
        ));
    }
    if !are_same(&found.lower, &wanted.lower) {
        return Err("its lower folders are not those of the snapshot".to_owned());
    }
    Ok(())
}

/// The folders of an overlay.
#[derive(Debug, Default, PartialEq, Eq)]
struct Folders {
    lower: Vec<String>,
    upper: Option<String>,
    /// Lower folders of other kinds.
    has_others: bool,
}

impl Folders {
    fn of<'a>(options: impl Iterator<Item = &'a str>) -> Self {
        let mut folders = Self::default();
        for option in options {
            match option.split_once('=') {
                // Linux 6.5 and later list folders one by one that were given so.
                Some(("lowerdir" | "lowerdir+", value)) => folders.lower.extend(value.split(':').map(str::to_owned)),
                Some(("upperdir", value)) => folders.upper = Some(value.to_owned()),
                Some(("datadir+" | "datadir", _)) => folders.has_others = true,
                Some(_) | None => {}
            }
        }
        // An empty part stands for folders with data alone (overlayfs.rst, "Data-only lower layers").
        folders.has_others |= folders.lower.iter().any(String::is_empty);
        folders
    }
}

/// Whether the lists are the same. For many layers containerd mounts from within a folder that all of them have in common, and
/// the kernel lists them as seen from there.
fn are_same(found: &[String], wanted: &[String]) -> bool {
    if found == wanted {
        return true;
    }
    let above = |found: &String, wanted: &String| -> Option<String> {
        let above = wanted.strip_suffix(found.as_str())?.strip_suffix('/')?;
        (!found.starts_with('/')).then(|| above.to_owned())
    };
    let Some(first) = found.first().zip(wanted.first()).and_then(|(found, wanted)| above(found, wanted)) else {
        return false;
    };
    found.len() == wanted.len()
        && found.iter().zip(wanted).all(|(found, wanted)| above(found, wanted).as_ref() == Some(&first))
}

/// Undoes the kernel's `\040` for characters that separate (fs/seq_file.c, mangle_path and seq_escape).
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| others.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit)))
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = others.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const SNAPSHOT: [&str; 4] = ["workdir=/s/9/work", "upperdir=/s/9/fs", "lowerdir=/s/2/fs:/s/1/fs", "index=off"];

    fn line(part: &str, kind: &str, options: &str) -> String {
        format!("99 30 0:55 {part} /b/rootfs rw,relatime shared:1 - {kind} overlay rw,{options}")
    }

    fn compare(line: &str, options: &[&str]) -> Result<(), String> {
        overlay(line, &options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_snapshots_own_overlay_is_taken_and_any_change_refused() {
        let honest = "lowerdir=/s/2/fs:/s/1/fs,upperdir=/s/9/fs,workdir=/s/9/work,index=off";
        assert_eq!(compare(&line("/", "overlay", honest), &SNAPSHOT), Ok(()));
        for (from, to) in [
            ("/s/2/fs:/s/1/fs", "/s/1/fs:/s/2/fs"),
            ("/s/2/fs:/s/1/fs", "/s/2/fs"),
            ("/s/2/fs:/s/1/fs", "/s/3/fs:/s/2/fs:/s/1/fs"),
            ("/s/2/fs:/s/1/fs", "/s/2/fs:/s/1/fs::/d"),
            ("lowerdir=/s/2/fs:/s/1/fs,", ""),
            ("upperdir=/s/9/fs", "upperdir=/s/8/fs"),
            ("upperdir=/s/9/fs,", ""),
            ("index=off", "datadir+=/d"),
        ] {
            assert!(compare(&line("/", "overlay", &honest.replacen(from, to, 1)), &SNAPSHOT).is_err(), "{to}");
        }
        assert!(compare(&line("/usr", "overlay", honest), &SNAPSHOT).is_err());
        assert!(compare(&line("/", "ext4", honest), &SNAPSHOT).is_err());
        assert!(compare("99 30 0:55 / /b/rootfs rw", &SNAPSHOT).is_err());
    }

    #[test]
    fn a_read_only_container_has_no_upper_folder() {
        let [_, _, lower, _] = SNAPSHOT;
        assert_eq!(compare(&line("/", "overlay", lower), &[lower]), Ok(()));
        assert!(compare(&line("/", "overlay", &format!("{lower},upperdir=/s/9/fs")), &[lower]).is_err());
    }

    #[test]
    fn lower_folders_as_seen_from_a_common_one_are_the_same_folders() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let wanted = texts(&["/s/12/fs", "/s/2/fs"]);
        assert!(are_same(&texts(&["12/fs", "2/fs"]), &wanted));
        assert!(are_same(&texts(&["s/12/fs", "s/2/fs"]), &wanted));
        for other in [&["2/fs", "12/fs"][..], &["12/fs"], &["12/fs", "2/fs", "1/fs"], &["12/fs", "s/2/fs"], &["", ""]] {
            assert!(!are_same(&texts(other), &wanted), "{other:?}");
        }
        // Not the end of a name.
        assert!(!are_same(&texts(&["2/fs", "2/fs"]), &wanted));
    }

    #[test]
    fn folders_listed_one_by_one_and_odd_characters_are_read() {
        let options = "lowerdir+=/s/a\\054b/fs,lowerdir+=/s/1/fs,upperdir=/s/9\\040x/fs";
        assert_eq!(
            compare(&line("/", "overlay", options), &["lowerdir=/s/a,b/fs:/s/1/fs", "upperdir=/s/9 x/fs"]),
            Ok(())
        );
        assert_eq!(unescape("a\\134\\05"), "a\\\\05");
    }

    #[test]
    fn a_folder_that_is_no_mount_of_the_snapshot_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mount = |kind: &str, source: &str| Mount {
            r#type: kind.to_owned(),
            source: source.to_owned(),
            target: String::new(),
            options: SNAPSHOT.map(str::to_owned).to_vec(),
        };
        let own = folder.path().to_str().unwrap();
        assert!(verify(folder.path(), &[mount("bind", own)]).is_ok());
        assert!(matches!(verify(folder.path(), &[mount("bind", "/usr")]), Err(RootError::Foreign { .. })));
        assert!(matches!(verify(folder.path(), &[mount("overlay", "overlay")]), Err(RootError::Foreign { .. })));
        assert!(matches!(verify(folder.path(), &[mount("erofs", "x")]), Err(RootError::Unknown(_))));
        assert!(matches!(verify(folder.path(), &[]), Err(RootError::Unknown(_))));
        let two = [mount("bind", own), mount("bind", own)];
        assert!(matches!(verify(folder.path(), &two), Err(RootError::Unknown(_))));
        assert!(matches!(verify(&folder.path().join("x"), &[mount("bind", own)]), Err(RootError::Io { .. })));
    }
}
