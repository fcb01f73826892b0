//! What is kept of a snapshot, and the part of it that containerd sees.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use assay_admission::Digest;
use serde::{Deserialize, Serialize};

use crate::filter::Fields;

/// A snapshot's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Mounted read-only.
    View,
    /// Mounted for writing.
    Active,
    /// Finished: can be a parent.
    Committed,
}

/// The kinds that can be made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewKind {
    /// Mounted read-only.
    View,
    /// Mounted for writing.
    Active,
}

impl From<NewKind> for Kind {
    fn from(kind: NewKind) -> Self {
        match kind {
            NewKind::View => Self::View,
            NewKind::Active => Self::Active,
        }
    }
}

/// What a snapshot was admitted as, kept with it so that a commit can be checked without anyone's help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admission {
    /// As the layer that has this chain id.
    #[serde(with = "digest")]
    Layer(Digest),
    /// As anything but a layer: a container, something to look at, something that is being built.
    Other,
}

/// Bytes on disk and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes, in whole blocks.
    pub bytes: u64,
    /// Inodes; a file with several names counts once.
    pub inodes: u64,
}

/// What containerd sees of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its key or name.
    pub name: String,
    /// The parent's name.
    pub parent: Option<String>,
    /// Its state.
    pub kind: Kind,
    /// When it was made or committed.
    pub created: SystemTime,
    /// When a label last changed.
    pub updated: SystemTime,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Fields for Info {
    fn field(&self, path: &[String]) -> Option<&str> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "name" => Some(&self.name),
            // As containerd has it: the parent of a base is present and empty.
            "parent" => Some(self.parent.as_deref().unwrap_or_default()),
            "kind" => Some(match self.kind {
                Kind::View => "view",
                Kind::Active => "active",
                Kind::Committed => "committed",
            }),
            "labels" => self.labels.get(&rest.join(".")).map(String::as_str),
            _ => None,
        }
    }
}

/// The stored form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) parent: Option<String>,
    pub(super) created: Stamp,
    pub(super) updated: Stamp,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) usage: Usage,
    pub(super) admission: Admission,
}

impl Record {
    pub(super) fn info(&self, name: &str) -> Info {
        Info {
            name: name.to_owned(),
            parent: self.parent.clone(),
            kind: self.kind,
            created: self.created.into(),
            updated: self.updated.into(),
            labels: self.labels.clone(),
        }
    }
}

/// Seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp(u64, u32);

impl Stamp {
    pub(super) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_secs(), since.subsec_nanos())
    }
}

impl From<Stamp> for SystemTime {
    fn from(stamp: Stamp) -> Self {
        UNIX_EPOCH.checked_add(Duration::new(stamp.0, stamp.1.min(999_999_999))).unwrap_or(UNIX_EPOCH)
    }
}

/// Digests through their text, so that a stored one is checked as any other.
mod digest {
    use assay_admission::Digest;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
