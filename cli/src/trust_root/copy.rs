//! A copy of a TUF repository that somebody carried here: a folder or a `.tar` comes in, the files that can matter come out by their
//! path in the repository. Bounded, and nothing of it is written anywhere.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use crate::{bounded_file, failure::Failure};

/// Largest file of a repository.
const MAX_FILE: u64 = 4 << 20;
/// All of them: what one message to the agent holds, with room.
const MAX_ALL: usize = 20 << 20;
/// Files that can matter: four, and the roots of decades.
const MAX_FILES: usize = 512;
/// Entries of an archive that are looked at.
const MAX_ENTRIES: usize = 100_000;

/// The files by path.
pub(super) fn read(copy: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let found = if copy.is_dir() { from_folder(copy) } else { from_archive(copy) };
    let found = found.map_err(|error| Failure::io("read", copy, &error))?;
    if !found.contains_key("timestamp.json") {
        return Err(Failure::new(
            "INVALID",
            format!("{} is no copy of a TUF repository: timestamp.json is not in it", copy.display()),
            "give the folder that has timestamp.json, the numbered files and targets/, or a .tar of it",
        ));
    }
    Ok(found)
}

fn from_folder(folder: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut found = Found::default();
    for below in ["", "targets/"] {
        let entries = match fs::read_dir(folder.join(below)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !below.is_empty() => continue,
            Err(error) => return Err(error),
        };
        for entry in entries.take(MAX_ENTRIES) {
            let entry = entry?;
            let Some(path) = entry.file_name().to_str().map(|name| format!("{below}{name}")) else { continue };
            if matters(&path) {
                found.add(path, bounded_file::read(&entry.path(), MAX_FILE)?)?;
            }
        }
    }
    Ok(found.files)
}

fn from_archive(archive: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut archive = tar::Archive::new(File::open(archive)?);
    let mut found = Found::default();
    for entry in archive.entries()?.take(MAX_ENTRIES) {
        let entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let Some(path) = entry.path()?.to_str().map(str::to_owned) else { continue };
        if !matters(&path) {
            continue;
        }
        let mut bytes = Vec::new();
        entry.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE) {
            return Err(io::Error::other(format!("{path} is longer than {MAX_FILE} bytes")));
        }
        found.add(path, bytes)?;
    }
    Ok(below_the_timestamp(found.files))
}

#[derive(Default)]
struct Found {
    files: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

impl Found {
    fn add(&mut self, path: String, bytes: Vec<u8>) -> io::Result<()> {
        self.bytes += bytes.len();
        if self.bytes > MAX_ALL || self.files.len() >= MAX_FILES {
            return Err(io::Error::other(format!("it has more than {MAX_FILES} files or {MAX_ALL} bytes of metadata")));
        }
        self.files.insert(path, bytes);
        Ok(())
    }
}

/// Whether a file of this path may be asked for.
fn matters(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if folder == "targets" || folder.ends_with("/targets") {
        return name == "trusted_root.json" || name.ends_with(".trusted_root.json");
    }
    ["timestamp.json", "snapshot.json", "targets.json"].contains(&name)
        || [".root.json", ".snapshot.json", ".targets.json"].iter().any(|end| name.ends_with(end))
}

/// Paths as the repository has them: archives are made of a folder's content or of the folder.
fn below_the_timestamp(files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let base = files.keys().filter_map(|path| path.strip_suffix("timestamp.json")).min_by_key(|base| base.len());
    let base = base.unwrap_or_default().to_owned();
    files
        .into_iter()
        .filter_map(|(path, bytes)| path.strip_prefix(base.as_str()).map(|path| (path.to_owned(), bytes)))
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_folder_and_archives_of_it_are_the_same_copy_and_strangers_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("repository");
        fs::create_dir_all(repository.join("targets")).unwrap();
        for (path, text) in [
            ("timestamp.json", "t"),
            ("2.root.json", "r"),
            ("7.snapshot.json", "s"),
            ("targets/ab.trusted_root.json", "x"),
            ("targets/other.json", "no"),
            ("README.md", "no"),
        ] {
            fs::write(repository.join(path), text).unwrap();
        }
        let read_folder = read(&repository).unwrap();
        let paths: Vec<&str> = read_folder.keys().map(String::as_str).collect();
        assert_eq!(paths, ["2.root.json", "7.snapshot.json", "targets/ab.trusted_root.json", "timestamp.json"]);
        for inside in [".", "repository"] {
            let path = folder.path().join("copy.tar");
            let mut archive = tar::Builder::new(File::create(&path).unwrap());
            archive.append_dir_all(inside, &repository).unwrap();
            archive.finish().unwrap();
            assert_eq!(read(&path).unwrap(), read_folder, "{inside}");
        }
    }

    #[test]
    fn what_is_no_copy_or_has_a_file_that_is_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap_err().code, "INVALID");
        let length = usize::try_from(MAX_FILE).unwrap() + 1;
        fs::write(folder.path().join("timestamp.json"), vec![b' '; length]).unwrap();
        assert_eq!(read(folder.path()).unwrap_err().code, "IO");
    }
}
