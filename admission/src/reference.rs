//! Image references in one canonical ASCII form (distribution `reference` grammar, Docker's familiar names expanded).
//! `a`, `docker.io/a` and `index.docker.io/library/a` are the same reference; what is not ASCII or not canonical is refused.

use std::{fmt, str::FromStr};

use crate::{Digest, DigestError};

/// Longest repository (host and path), as the distribution grammar has it.
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;

/// A registry host, with its port if one was given, and a repository path in it: `127.0.0.1:5000/team/app`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    host: String,
    path: String,
}

/// A tag: 1 to 128 characters of `A-Za-z0-9_.-`, not starting with `.` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// A repository with an optional tag and an optional digest. Where both are there, the digest decides and the tag is a remark.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

/// Why a text is no image reference. Part of a phrase: "failed to parse image reference: …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("the reference is empty")]
    Empty,
    /// A character outside the ASCII range, such as a Cyrillic or full-width look-alike.
    #[error("character {position} is not ASCII")]
    NotAscii {
        /// Offset in bytes of the first such character.
        position: usize,
    },
    /// Host and path together are longer than 255 bytes.
    #[error("host and repository have {0} bytes, at most {MAX_REPOSITORY} are allowed")]
    TooLong(usize),
    /// The host is not a DNS name, an IPv4 address or a bracketed IPv6 address with an optional port.
    #[error("{0:?} is no registry host")]
    Host(String),
    /// A path component is not lower-case letters and digits joined by `.`, `_`, `__` or dashes.
    #[error("{0:?} is no repository path component (lower-case letters and digits, joined by '.', '_', '__' or '-')")]
    Path(String),
    /// The tag has a bad character or length.
    #[error("{0:?} is no tag")]
    Tag(String),
    /// The part behind `@` is no digest.
    #[error("{0}")]
    Digest(#[from] DigestError),
}

impl Repository {
    /// Parses `HOST/PATH` that is canonical already: a host must be there, nothing is expanded.
    ///
    /// # Errors
    /// [`ReferenceError`] naming the part that is not canonical.
    pub fn new(host: &str, path: &str) -> Result<Self, ReferenceError> {
        let host = parse_host(host)?;
        let length = host.len() + 1 + path.len();
        if length > MAX_REPOSITORY {
            return Err(ReferenceError::TooLong(length));
        }
        match path.split('/').find(|component| !is_component(component)) {
            Some(bad) => Err(ReferenceError::Path(bad.to_owned())),
            None => Ok(Self { host, path: path.to_owned() }),
        }
    }

    /// The registry host with its port if one was given, lower case: `docker.io`, `127.0.0.1:5000`, `[::1]:5000`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host without its port.
    #[must_use]
    pub fn host_name(&self) -> &str {
        split_port(&self.host).0
    }

    /// Whether the host names a port.
    #[must_use]
    pub fn has_port(&self) -> bool {
        split_port(&self.host).1.is_some()
    }

    /// The path in the registry: `library/alpine`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The image of this repository that has `digest`.
    #[must_use]
    pub fn with_digest(self, digest: Digest) -> ImageRef {
        ImageRef { repository: self, tag: None, digest: Some(digest) }
    }
}

impl Tag {
    /// The tag's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ImageRef {
    /// Host and path.
    #[must_use]
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, if one was given. `latest` is never assumed here.
    #[must_use]
    pub const fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, if one was given.
    #[must_use]
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
}

impl From<Repository> for ImageRef {
    fn from(repository: Repository) -> Self {
        Self { repository, tag: None, digest: None }
    }
}

impl FromStr for ImageRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some(position) = text.bytes().position(|byte| !byte.is_ascii()) {
            return Err(ReferenceError::NotAscii { position });
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon behind the last slash starts a tag; one before it belongs to the host's port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, Some(tag.parse()?)),
            _ => (name, None),
        };
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if is_host_like(host) => (host.to_ascii_lowercase(), path.to_owned()),
            _ => ("docker.io".to_owned(), name.to_owned()),
        };
        // What only its capitals show to be a host would be written, and read again, as a part of a path at Docker Hub.
        if !is_host_like(&host) {
            return Err(ReferenceError::Host(host));
        }
        let host = if host == "index.docker.io" { "docker.io" } else { &host };
        let path = if host == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path };
        Ok(Self { repository: Repository::new(host, &path)?, tag, digest })
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        match text.as_bytes() {
            [first, ..] if !matches!(first, b'.' | b'-') && text.len() <= MAX_TAG && text.bytes().all(legal) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(ReferenceError::Tag(text.chars().take(MAX_TAG).collect())),
        }
    }
}

/// Docker's rule for telling a host from a first path component.
fn is_host_like(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn parse_host(text: &str) -> Result<String, ReferenceError> {
    let bad = || ReferenceError::Host(text.chars().take(MAX_REPOSITORY).collect());
    let (name, port) = split_port(text);
    if let Some(port) = port
        && (port.is_empty() || port.starts_with('0') || port.parse::<u16>().is_err() || port.starts_with('+'))
    {
        return Err(bad());
    }
    let is_ipv6 = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if is_ipv6 || name.split('.').all(is_label) { Ok(text.to_ascii_lowercase()) } else { Err(bad()) }
}

/// Splits off a port; the colons inside `[…]` are the address's own.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let mut separator = "";
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => {
                if !matches!(separator, "" | "." | "_" | "__") && !separator.bytes().all(|byte| byte == b'-') {
                    return false;
                }
                separator = "";
                start = at + 1;
            }
            b'.' | b'_' | b'-' if at > 0 => separator = text.get(start..=at).unwrap_or("?"),
            _ => return false,
        }
    }
    !text.is_empty() && separator.is_empty()
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<ImageRef, ReferenceError> {
        text.parse()
    }

    #[test]
    fn familiar_names_have_one_canonical_form() {
        for text in ["a", "docker.io/a", "index.docker.io/a", "docker.io/library/a", "index.docker.io/library/a"] {
            assert_eq!(parse(text).unwrap().to_string(), "docker.io/library/a", "{text}");
        }
        assert_eq!(parse("team/app:1").unwrap().to_string(), "docker.io/team/app:1");
        assert_eq!(parse("LOCALHOST/app").unwrap().repository().host(), "localhost");
        assert_eq!(parse("Registry.Example:5000/app:x").unwrap().to_string(), "registry.example:5000/app:x");
        assert_eq!(parse("[::1]:5000/app").unwrap().repository().host_name(), "[::1]");
        assert!(!parse("[::1]/app").unwrap().repository().has_port());
        for text in ["Docker.io/a", "INDEX.docker.io/a", "Index.Docker.IO/library/a"] {
            assert_eq!(parse(text).unwrap().to_string(), "docker.io/library/a", "{text}");
        }
    }

    // Found by fuzzing: `22U22/2` meant the host 22u22, and its own text meant docker.io/22u22/2.
    #[test]
    fn a_host_that_only_capitals_show_is_refused() {
        for text in ["22U22/2", "Acme/app:1", "ACME/team/app"] {
            let host = text.split('/').next().unwrap().to_ascii_lowercase();
            assert_eq!(parse(text), Err(ReferenceError::Host(host)), "{text}");
        }
        assert_eq!(parse("Acme:443/app").unwrap().to_string(), "acme:443/app");
    }

    #[test]
    fn a_tag_beside_a_digest_does_not_lose_the_digest() {
        let digest = Digest::sha256(b"x");
        let image = parse(&format!("r.example/a:1@{digest}")).unwrap();
        assert_eq!(image.digest(), Some(&digest));
        assert_eq!(image.tag().unwrap().as_str(), "1");
        assert_eq!(image.to_string(), format!("r.example/a:1@{digest}"));
    }

    #[test]
    fn look_alikes_and_path_tricks_are_refused() {
        assert_eq!(parse(""), Err(ReferenceError::Empty));
        assert_eq!(parse("registry.example/\u{430}pp"), Err(ReferenceError::NotAscii { position: 17 }));
        assert_eq!(parse("registry.example/\u{ff41}pp"), Err(ReferenceError::NotAscii { position: 17 }));
        assert_eq!(parse("r.example/a/../b"), Err(ReferenceError::Path("..".into())));
        assert_eq!(parse("r.example//b"), Err(ReferenceError::Path(String::new())));
        assert_eq!(parse("r.example/a/"), Err(ReferenceError::Path(String::new())));
        assert_eq!(parse("r.example/A"), Err(ReferenceError::Path("A".into())));
        assert_eq!(parse("r.example/a___b"), Err(ReferenceError::Path("a___b".into())));
        assert_eq!(parse("r.example/a_-b"), Err(ReferenceError::Path("a_-b".into())));
        assert_eq!(parse("r.example/a%2fb"), Err(ReferenceError::Path("a%2fb".into())));
        assert_eq!(parse("r.example/a\0b"), Err(ReferenceError::Path("a\0b".into())));
        assert_eq!(parse("r_x.example/a"), Err(ReferenceError::Host("r_x.example".into())));
        assert_eq!(parse("r.example:99999/a"), Err(ReferenceError::Host("r.example:99999".into())));
        assert_eq!(parse("r.example:05/a"), Err(ReferenceError::Host("r.example:05".into())));
        assert_eq!(parse("user@r.example/a"), Err(ReferenceError::Digest(DigestError::NoAlgorithm)));
        assert_eq!(parse("r.example/a:.x"), Err(ReferenceError::Tag(".x".into())));
        assert_eq!(parse(&format!("r.example/{}", "a".repeat(4096))), Err(ReferenceError::TooLong(4106)));
    }

    #[test]
    fn separators_inside_a_component_are_the_grammars() {
        for good in ["a.b", "a_b", "a__b", "a-b", "a---b", "0"] {
            assert!(is_component(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a..b", "a._b", ".a", "a___b", "a-_b"] {
            assert!(!is_component(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_parsed_reference_survives_its_text(text in "[a-zA-D0-9./:@_-]{1,40}|[dD]ocker.io/[a-z/]{1,9}") {
            if let Ok(image) = parse(&text) {
                prop_assert_eq!(parse(&image.to_string()).unwrap(), image);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
            let _ = parse(&text);
        }
    }
}
