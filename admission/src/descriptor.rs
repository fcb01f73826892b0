//! What a descriptor says of a document, and what platform an image is for (OCI image-spec).

use std::{fmt, str::FromStr};

use crate::Digest;

/// Largest manifest, index or config that is looked at. Registries accept manifests up to 4 MiB; so does containerd.
pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;

/// A media type as an opaque, bounded ASCII string (RFC 6838 §4.2 has 127 characters for each half).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaType(String);

impl MediaType {
    /// OCI image index.
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// OCI image manifest.
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image config.
    pub const OCI_CONFIG: &'static str = "application/vnd.oci.image.config.v1+json";
    /// Docker manifest list.
    pub const DOCKER_INDEX: &'static str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker manifest, schema 2.
    pub const DOCKER_MANIFEST: &'static str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker image config.
    pub const DOCKER_CONFIG: &'static str = "application/vnd.docker.container.image.v1+json";

    /// Takes a media type as it was given; `None` if it is empty, longer than 255 bytes or not printable ASCII.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let legal =
            !text.is_empty() && text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        legal.then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The type that says how a layer's blob is unpacked: OCI's and Docker's names for the same form are one, every other
    /// type is itself.
    #[must_use]
    pub fn unpacked_as(&self) -> &str {
        match self.as_str() {
            "application/vnd.docker.image.rootfs.diff.tar.gzip" => "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar.zstd" => "application/vnd.oci.image.layer.v1.tar+zstd",
            other => other,
        }
    }

    /// Whether this is an OCI index or a Docker manifest list.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(self.as_str(), Self::OCI_INDEX | Self::DOCKER_INDEX)
    }

    /// Whether this is an OCI or Docker image manifest.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        matches!(self.as_str(), Self::OCI_MANIFEST | Self::DOCKER_MANIFEST)
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Media type, digest and size of a document: what a signature binds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// The media type under which the document is stored.
    pub media_type: MediaType,
    /// The document's digest.
    pub digest: Digest,
    /// The document's length in bytes.
    pub size: u64,
}

/// Operating system, architecture and variant, as Go names them: `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// The text is not `OS/ARCHITECTURE[/VARIANT]` of lower-case letters, digits, `_`, `-` and `.`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("platform is not OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT")]
pub struct PlatformError;

impl Platform {
    /// The platform this program was built for.
    #[must_use]
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "arm" => ("arm", Some("v7")),
            "x86" => ("386", None),
            other => (other, None),
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.map(Into::into) }
    }

    /// `linux`
    #[must_use]
    pub fn os(&self) -> &str {
        &self.os
    }

    /// `amd64`, `arm64`, …
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// `v7`, `v8`, …
    #[must_use]
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let legal = |part: &str| {
            (1..=32).contains(&part.len())
                && part.starts_with(|first: char| first.is_ascii_alphanumeric())
                && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| legal(part)) {
            return Err(PlatformError);
        }
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(PlatformError),
        };
        Ok(Self {
            os: (*os).to_owned(),
            architecture: (*architecture).to_owned(),
            // arm64 has one variant in use, and images omit it as often as they name it.
            variant: variant
                .filter(|variant| !(*architecture == "arm64" && **variant == "v8"))
                .map(|v| (*v).to_owned()),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_two_or_three_parts() {
        assert_eq!("linux/arm/v7".parse::<Platform>().map(|p| p.to_string()), Ok("linux/arm/v7".into()));
        assert_eq!("linux/arm64/v8".parse::<Platform>(), "linux/arm64".parse());
        for bad in ["", "linux", "linux/", "linux/amd64/v1/x", "Linux/amd64", "linux/../x"] {
            assert_eq!(bad.parse::<Platform>(), Err(PlatformError), "{bad}");
        }
    }
}
