//! The overlay backend: keys, parents and labels come in, mounts go out; metadata and folders stay in step.
//! Behaves as containerd's own overlayfs snapshotter does. Blocks on the disk; never on agent, network or a request that waits.

mod ballast;
mod error;
mod folders;
mod later;
mod metadata;
mod mount;
mod record;
mod usage;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use assay_admission::{Digest, Namespace};

pub use error::OverlayError;
pub use mount::Mount;
pub use record::{Admission, Info, Kind, NewKind, Usage};

use crate::{filter::Filter, key::Key};
use folders::Folders;
use metadata::{Metadata, Tables, Writer};
use mount::MountOptions;
use record::{Record, Stamp};

/// Most layers below a snapshot. The kernel mounts at most 500.
const MAX_DEPTH: usize = 1024;
/// Longest key or name; bolt, which containerd keeps its own in, has 32 KiB.
const MAX_NAME_BYTES: usize = 8 << 10;
/// Most bytes of all labels of a snapshot together.
const MAX_LABEL_BYTES: usize = 256 << 10;

/// Snapshots below one folder.
#[derive(Debug)]
pub struct Overlay {
    folders: Folders,
    metadata: Metadata,
    options: MountOptions,
}

impl Overlay {
    /// Opens or makes the store below `root`, and removes what a crash has left over.
    ///
    /// # Errors
    /// [`OverlayError`] if folder or metadata cannot be made, are of an unknown version, or in use by another process.
    pub fn open(root: &Path) -> Result<Self, OverlayError> {
        let folders = Folders::open(root)?;
        let metadata = Metadata::open(root)?;
        let overlay = Self { options: MountOptions::detect(root), folders, metadata };
        overlay.cleanup()?;
        Ok(overlay)
    }

    /// Makes a snapshot to write to or to look at, on top of `parent`. The folder is there before the record is.
    ///
    /// # Errors
    /// [`OverlayError`]: the key exists, the parent does not or is not committed, no space.
    pub fn create(
        &self,
        kind: NewKind,
        key: &str,
        parent: Option<&str>,
        labels: BTreeMap<String, String>,
        admission: Admission,
    ) -> Result<Vec<Mount>, OverlayError> {
        check_names(&[key], &labels)?;
        self.metadata.require_space()?;
        let mut made = None;
        // A layer under way that a power cut takes is extracted again; what a container stands on must be there afterwards.
        let soon = matches!(admission, Admission::Layer(_));
        let create = |tables: &mut Writer<'_>| {
            let parents = match parent {
                None => Vec::new(),
                Some(name) => {
                    let record = tables.get(name)?.ok_or_else(|| OverlayError::NoParent(name.to_owned()))?;
                    if record.kind != Kind::Committed {
                        return Err(OverlayError::ParentNotCommitted(name.to_owned()));
                    }
                    lineage(tables, record)?.into_iter().map(|(_, record)| record.id).collect()
                }
            };
            let existing = tables.get(key)?;
            if let Some(id) = made.take() {
                // A second try, because the first one's commit failed. It may have reached the disk all the same.
                match &existing {
                    Some(record) if record.id == id => return Ok((record.clone(), parents)),
                    Some(_) | None => self.folders.retire(id),
                }
            }
            if existing.is_some() {
                return Err(OverlayError::Exists(key.to_owned()));
            }
            let id = tables.next_id()?;
            made = Some(id);
            self.folders.make(id, kind, parents.first().copied())?;
            if !soon {
                // The record is durable at its commit; the folder's name must not come later.
                self.folders.sync()?;
            }
            let now = Stamp::now();
            let record = Record {
                id,
                kind: kind.into(),
                parent: parent.map(ToOwned::to_owned),
                created: now,
                updated: now,
                labels: without_empty(labels.clone()),
                usage: Usage::default(),
                admission: admission.clone(),
            };
            tables.put(key, &record)?;
            if let Some(parent) = parents.first() {
                tables.link(*parent, id)?;
            }
            Ok((record, parents))
        };
        let created =
            if soon { self.metadata.write_soon(self.folders.handle(), create) } else { self.metadata.write(create) };
        match created {
            Ok((record, parents)) => Ok(self.options.mounts(&self.folders, &record, &parents)),
            Err(error) => {
                // Whatever was refused or failed leaves no folder, unless a record that reached the disk owns it.
                let owner = self.metadata.read(|tables| Ok(tables.get(key)?.map(|record| record.id)));
                if let (Some(id), Ok(owner)) = (made, owner)
                    && owner != Some(id)
                {
                    self.folders.retire(id);
                }
                Err(error)
            }
        }
    }

    /// Makes ahead what the next [`Self::create`] needs, if it is not there.
    pub fn provide(&self) {
        self.folders.provide();
    }

    /// The mounts of an active snapshot or a view.
    ///
    /// # Errors
    /// [`OverlayError`]: there is no such key, or it is committed.
    pub fn mounts(&self, key: &str) -> Result<Vec<Mount>, OverlayError> {
        self.metadata.read(|tables| {
            let record = tables.require(key)?;
            if record.kind == Kind::Committed {
                return Err(OverlayError::Committed(key.to_owned()));
            }
            let parents: Vec<u64> = match &record.parent {
                None => Vec::new(),
                Some(name) => {
                    let parent = tables.get(name)?.ok_or_else(|| OverlayError::NoParent(name.clone()))?;
                    lineage(tables, parent)?.into_iter().map(|(_, record)| record.id).collect()
                }
            };
            Ok(self.options.mounts(&self.folders, &record, &parents))
        })
    }

    /// Makes the active snapshot `key` a committed one called `name`, if that is what it was admitted for.
    ///
    /// # Errors
    /// [`OverlayError`]: wrong name for the chain that was admitted, name exists, no such key, not active, other parent.
    pub fn commit(
        &self,
        name: &str,
        key: &str,
        labels: BTreeMap<String, String>,
        parent: Option<&str>,
    ) -> Result<(), OverlayError> {
        check_names(&[name, key], &labels)?;
        self.metadata.require_space()?;
        let record = self.metadata.read(|tables| tables.require(key))?;
        check_commit_name(name, key, &record)?;
        // A large layer takes a while to count: before the transaction, so that nobody waits for it.
        let usage = if record.kind == Kind::Active { self.folders.usage(record.id)? } else { Usage::default() };
        self.metadata.write(|tables| {
            if tables.get(name)?.is_some() {
                return Err(OverlayError::Exists(name.to_owned()));
            }
            let mut record = tables.require(key)?;
            if record.kind != Kind::Active {
                return Err(OverlayError::NotActive(key.to_owned()));
            }
            check_commit_name(name, key, &record)?;
            if parent.is_some() && parent != record.parent.as_deref() {
                return Err(OverlayError::Rebase(key.to_owned()));
            }
            record.kind = Kind::Committed;
            record.created = Stamp::now();
            record.updated = record.created;
            record.labels = without_empty(labels.clone());
            record.usage = usage;
            tables.delete(key)?;
            tables.put(name, &record)
        })
    }

    /// Forgets a snapshot without children. Its folder is moved away at once and deleted later ([`Self::reap`]).
    ///
    /// # Errors
    /// [`OverlayError`]: there is no such key, or it has children.
    pub fn remove(&self, key: &str) -> Result<(), OverlayError> {
        let id = self.metadata.write(|tables| {
            let record = tables.require(key)?;
            if tables.has_children(record.id)? {
                return Err(OverlayError::HasChildren(key.to_owned()));
            }
            if let Some(parent) = &record.parent {
                let parent = tables.get(parent)?.ok_or_else(|| OverlayError::NoParent(parent.clone()))?;
                tables.unlink(parent.id, record.id)?;
            }
            tables.delete(key)?;
            Ok(record.id)
        })?;
        self.folders.retire(id);
        Ok(())
    }

    /// What is known of one snapshot.
    ///
    /// # Errors
    /// [`OverlayError::NotFound`].
    pub fn stat(&self, key: &str) -> Result<Info, OverlayError> {
        self.metadata.read(|tables| Ok(tables.require(key)?.info(key)))
    }

    /// Replaces labels: all of them, or those that `fields` name (`labels`, `labels.KEY`). Nothing else can change.
    ///
    /// # Errors
    /// [`OverlayError`]: no such key, or a field that cannot change.
    pub fn update(
        &self,
        key: &str,
        labels: &BTreeMap<String, String>,
        fields: &[String],
    ) -> Result<Info, OverlayError> {
        check_names(&[key], labels)?;
        self.metadata.require_space()?;
        self.metadata.write(|tables| {
            let mut record = tables.require(key)?;
            if fields.is_empty() {
                record.labels.clone_from(labels);
            }
            for field in fields {
                match field.strip_prefix("labels") {
                    Some("") => record.labels.clone_from(labels),
                    Some(rest) if rest.starts_with('.') => {
                        let label = rest.trim_start_matches('.').to_owned();
                        let value = labels.get(&label).cloned().unwrap_or_default();
                        record.labels.insert(label, value);
                    }
                    _ => return Err(OverlayError::Field { key: key.to_owned(), field: field.clone() }),
                }
            }
            record.labels = without_empty(std::mem::take(&mut record.labels));
            check_names(&[key], &record.labels)?;
            record.updated = Stamp::now();
            tables.put(key, &record)?;
            Ok(record.info(key))
        })
    }

    /// All snapshots that pass the filter, in the order of their names.
    ///
    /// # Errors
    /// [`OverlayError`] if the metadata cannot be read.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Info>, OverlayError> {
        self.metadata.read(|tables| {
            let mut found = Vec::new();
            tables.each(|name, record| {
                let info = record.info(name);
                if filter.matches(&info) {
                    found.push(info);
                }
            })?;
            Ok(found)
        })
    }

    /// Disk usage: counted now for an active snapshot, as it was at its commit for a committed one.
    ///
    /// # Errors
    /// [`OverlayError`]: no such key, or its folder cannot be read.
    pub fn usage(&self, key: &str) -> Result<Usage, OverlayError> {
        let record = self.metadata.read(|tables| tables.require(key))?;
        match record.kind {
            Kind::Active => self.folders.usage(record.id),
            Kind::View | Kind::Committed => Ok(record.usage),
        }
    }

    /// Moves away every folder that no record owns, then deletes what was moved away.
    ///
    /// # Errors
    /// [`OverlayError`] if metadata or folder cannot be read.
    pub fn cleanup(&self) -> Result<(), OverlayError> {
        // Inside a write transaction nobody else is between making a folder and recording it.
        self.metadata.alone(|tables| {
            let mut ids = BTreeSet::new();
            tables.each(|_, record| {
                ids.insert(record.id);
            })?;
            self.folders.retire_all_but(&ids)
        })?;
        self.reap();
        Ok(())
    }

    /// Deletes the folders of removed snapshots. What cannot be deleted is logged and tried again at the next call.
    pub fn reap(&self) {
        self.folders.reap();
    }

    /// The namespaces that have snapshots.
    ///
    /// # Errors
    /// [`OverlayError`] if the metadata cannot be read.
    pub fn namespaces(&self) -> Result<BTreeSet<Namespace>, OverlayError> {
        self.metadata.read(|tables| {
            let mut namespaces = BTreeSet::new();
            tables.each(|name, _| namespaces.extend(Key::parse(name).map(|key| key.namespace)))?;
            Ok(namespaces)
        })
    }

    /// The chain of the nearest committed layer at or below `parent`, `None` if it rests on none.
    ///
    /// # Errors
    /// [`OverlayError::NoParent`] if `parent` does not exist.
    pub fn nearest_chain(&self, parent: &str) -> Result<Option<Digest>, OverlayError> {
        self.metadata.read(|tables| {
            let record = tables.get(parent)?.ok_or_else(|| OverlayError::NoParent(parent.to_owned()))?;
            let below = lineage(tables, record)?;
            let names = std::iter::once(parent).chain(below.iter().filter_map(|(name, _)| name.as_deref()));
            Ok(names.filter_map(Key::parse).find_map(|key| key.chain()))
        })
    }
}

/// The record and all below it, each with its name but the first.
fn lineage(tables: &impl Tables, record: Record) -> Result<Vec<(Option<String>, Record)>, OverlayError> {
    let mut next = record.parent.clone();
    let mut records = vec![(None, record)];
    while let Some(name) = next.take() {
        if records.len() >= MAX_DEPTH {
            return Err(OverlayError::TooDeep);
        }
        let record = tables.get(&name)?.ok_or_else(|| OverlayError::NoParent(name.clone()))?;
        next.clone_from(&record.parent);
        records.push((Some(name), record));
    }
    Ok(records)
}

/// What was prepared for chain X may become X and nothing else; what was prepared for no chain may not become one.
fn check_commit_name(name: &str, key: &str, record: &Record) -> Result<(), OverlayError> {
    let refused = |admitted: Option<Digest>| OverlayError::ForeignName {
        key: key.to_owned(),
        name: name.to_owned(),
        admitted: admitted.map_or_else(|| "no layer".to_owned(), |chain| format!("layer {chain}")),
    };
    let (Some(parsed), Some(own)) = (Key::parse(name), Key::parse(key)) else { return Err(refused(None)) };
    match &record.admission {
        Admission::Layer(chain) if parsed.chain() == Some(*chain) && parsed.namespace == own.namespace => Ok(()),
        Admission::Layer(chain) => Err(refused(Some(*chain))),
        Admission::Other if parsed.chain().is_none() && parsed.namespace == own.namespace => Ok(()),
        Admission::Other => Err(refused(None)),
    }
}

fn check_names(names: &[&str], labels: &BTreeMap<String, String>) -> Result<(), OverlayError> {
    if names.iter().any(|name| name.is_empty() || name.len() > MAX_NAME_BYTES) {
        return Err(OverlayError::Name);
    }
    let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_LABEL_BYTES { Err(OverlayError::Labels(bytes)) } else { Ok(()) }
}

/// containerd's own store drops labels with an empty value, which is how a label is taken off.
fn without_empty(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.retain(|_, value| !value.is_empty());
    labels
}

#[cfg(test)]
mod tests;
