//! Names under which an image may be judged, and how each is known. A name chooses the rule, so its source matters.

use std::fmt;

use crate::ImageRef;

/// How a name came to be tied to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameSource {
    /// The pull in progress, or the person who asks: exact, port included.
    Requested,
    /// containerd's image record of that name points at this image.
    ImageRecord,
    /// A `containerd.io/distribution.source.*` label: a repository that was once asked for this blob. The port is lost,
    /// and a mirror may have served it.
    DistributionSource,
}

impl NameSource {
    /// A stable word for logs and wire: `requested`, `image-record`, `distribution-source`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::ImageRecord => "image-record",
            Self::DistributionSource => "distribution-source",
        }
    }
}

/// A name and how it is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CandidateName {
    /// The name.
    pub reference: ImageRef,
    /// How it is known.
    pub source: NameSource,
}

impl CandidateName {
    /// Whether the host's port is unknown, so that a scope with any port matches it.
    #[must_use]
    pub fn port_is_unknown(&self) -> bool {
        match self.source {
            NameSource::DistributionSource => !self.reference.repository().has_port(),
            NameSource::Requested | NameSource::ImageRecord => false,
        }
    }
}

impl fmt::Display for CandidateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reference, self.source.as_str())
    }
}
