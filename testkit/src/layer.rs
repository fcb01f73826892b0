//! One layer of an image. In: files, folders, links and whiteouts. Out: a tar archive, plain and compressed, the same bytes
//! on every run.

use std::fs;
use std::io::Write;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use crate::tools::Tools;

/// A layer under construction: entries keep the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    path: String,
    kind: EntryType,
    mode: u32,
    content: Vec<u8>,
    target: Option<String>,
}

impl Layer {
    /// A layer without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Busybox, the folders a container needs, and a link for each command the tests use.
    pub fn busybox() -> Result<Self> {
        const COMMANDS: [&str; 12] =
            ["sh", "cat", "echo", "sleep", "ls", "id", "true", "false", "stat", "find", "sha256sum", "touch"];
        let mut layer = Self::new();
        for folder in ["bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
            layer = layer.folder(folder);
        }
        layer = layer.program("bin/busybox", &fs::read(Tools::find()?.program("busybox"))?);
        for command in COMMANDS {
            layer = layer.symlink(&format!("bin/{command}"), "busybox");
        }
        Ok(layer)
    }

    /// A file with mode 0644.
    pub fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(path, EntryType::Regular, 0o644, content, None)
    }

    /// A file with mode 0755.
    pub fn program(self, path: &str, content: &[u8]) -> Self {
        self.entry(path, EntryType::Regular, 0o755, content, None)
    }

    /// A folder with mode 0755.
    pub fn folder(self, path: &str) -> Self {
        self.entry(path, EntryType::Directory, 0o755, b"", None)
    }

    /// A symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Symlink, 0o777, b"", Some(target))
    }

    /// A hard link to an earlier entry.
    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Link, 0o644, b"", Some(target))
    }

    /// Takes away `name` of the layers below from `folder` (empty for the root).
    pub fn whiteout(self, folder: &str, name: &str) -> Self {
        self.file(&join(folder, &format!(".wh.{name}")), b"")
    }

    /// Takes away all that the layers below have in `folder`.
    pub fn opaque(self, folder: &str) -> Self {
        self.file(&join(folder, ".wh..wh..opq"), b"")
    }

    fn entry(mut self, path: &str, kind: EntryType, mode: u32, content: &[u8], target: Option<&str>) -> Self {
        let (path, target) = (path.to_owned(), target.map(str::to_owned));
        self.entries.push(Entry { path, kind, mode, content: content.to_vec(), target });
        self
    }

    /// The tar archive.
    pub fn tar(&self) -> Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        for entry in &self.entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(entry.kind);
            header.set_mode(entry.mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1);
            header.set_size(u64::try_from(entry.content.len())?);
            match &entry.target {
                Some(target) => archive.append_link(&mut header, &entry.path, target)?,
                None => archive.append_data(&mut header, &entry.path, entry.content.as_slice())?,
            }
        }
        Ok(archive.into_inner()?)
    }
}

/// Compresses without a name or a time, so that the same bytes give the same digest.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
