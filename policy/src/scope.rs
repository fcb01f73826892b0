//! The images a rule is about: `registry.example/prod/**`, `alpine`, `registry.example:5000/app@sha256:…`, `**`.
//! A text comes in, its one canonical form goes out. A scope names repositories or digests, never tags: a tag moves.

use std::{fmt, str::FromStr};

use assay_admission::{Digest, DigestError, ImageRef, ReferenceError};

/// A set of repositories, or one digest in them. Equal sets written differently (`alpine`, `docker.io/library/alpine`) are
/// equal scopes.
///
/// `*` stands for one part between slashes, or once in such a part for any characters of it. `**` stands for any number of
/// parts, once in a scope: in the middle for none or more, at the end for one or more. `**` alone is every image.
///
/// Of two scopes that hold one image the more specific one wins: first one with a digest; then, part by part from the left,
/// a literal, then a part with the longer text before its `*`, then with the longer text behind it, then `*`, then `**`; what
/// follows a `**` is compared part by part from the right. Two different scopes that hold one image are never equal in this.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    pub(crate) place: Place,
    pub(crate) pin: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    /// `**`: every image, also one without a name.
    Everywhere,
    /// Repositories of one host, port included.
    Host { host: String, head: Vec<Part>, tail: Option<Vec<Part>> },
}

/// One part of a path. `tail` of [`Place::Host`] holds the parts behind a `**`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Part {
    Literal(String),
    Wildcard { before: String, after: String },
}

/// Why a text is no scope. Part of a phrase: "failed to read scope: …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// A tag where a digest or nothing belongs.
    #[error("a scope cannot have the tag {0:?}: tags move; leave it out, or name a digest: REPOSITORY@sha256:…")]
    Tag(String),
    /// The part behind `@` is no digest.
    #[error("{0}")]
    Digest(#[from] DigestError),
    /// A wildcard where the host belongs.
    #[error(
        "a host cannot have a wildcard: write HOST/** for each host, docker.io/… for Docker Hub, or ** for every image"
    )]
    HostWildcard,
    /// A host alone.
    #[error("{0:?} names a host without a repository: write {0}/** for all of it")]
    HostAlone(String),
    /// More than one `**`.
    #[error("** can stand only once in a scope")]
    TwoDoubleStars,
    /// A `**` inside a part, or a second `*` in it.
    #[error("{0:?}: a part can have one *, and ** only as the whole part")]
    Stars(String),
    /// With `x` in the place of wildcards it is no image reference.
    #[error("{0}")]
    Reference(#[from] ReferenceError),
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let (name, pin) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        let place = if name == "**" { Place::Everywhere } else { parse_place(name)? };
        Ok(Self { place, pin })
    }
}

fn parse_place(name: &str) -> Result<Place, ScopeError> {
    let (first, rest) = match name.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    if first.contains('*') {
        return Err(ScopeError::HostWildcard);
    }
    if rest.is_none()
        && (first.starts_with('[')
            || first.split(':').next().is_some_and(|host| host == "localhost" || host.contains('.')))
    {
        return Err(ScopeError::HostAlone(first.to_owned()));
    }
    if let Some((_, tag)) = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        return Err(ScopeError::Tag(tag.to_owned()));
    }
    check_stars(name)?;

    // The host, and whether `library/` belongs before the path, are what the reference grammar makes of the name with an
    // ordinary letter in the place of each wildcard; the letter keeps every part as legal as it was.
    let probe: ImageRef = name.replace("**", "x/x").replace('*', "x").parse()?;
    let host = probe.repository().host().to_owned();
    let path = match rest {
        Some(rest) if is_written_host(first, &host) => rest,
        Some(_) | None => name,
    };
    let familiar = host == "docker.io" && !path.contains('/') && path != "**";
    let mut head: Vec<Part> = familiar.then(|| Part::Literal("library".to_owned())).into_iter().collect();
    let mut parts = path.split('/');
    head.extend(parts.by_ref().take_while(|part| *part != "**").map(parse_part));
    let tail = path.split('/').any(|part| part == "**").then(|| parts.map(parse_part).collect());
    Ok(Place::Host { host, head, tail })
}

/// Whether the first part of the written name is the host of its canonical form, rather than a part of the path.
fn is_written_host(first: &str, host: &str) -> bool {
    first.eq_ignore_ascii_case(host) || (first == "index.docker.io" && host == "docker.io")
}

fn check_stars(name: &str) -> Result<(), ScopeError> {
    if name.split('/').filter(|part| *part == "**").count() > 1 {
        return Err(ScopeError::TwoDoubleStars);
    }
    let bad = |part: &&str| *part != "**" && part.bytes().filter(|byte| *byte == b'*').count() > 1;
    match name.split('/').find(bad) {
        Some(part) => Err(ScopeError::Stars(part.chars().take(64).collect())),
        None => Ok(()),
    }
}

fn parse_part(text: &str) -> Part {
    match text.split_once('*') {
        Some((before, after)) => Part::Wildcard { before: before.to_owned(), after: after.to_owned() },
        None => Part::Literal(text.to_owned()),
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Everywhere => f.write_str("**")?,
            Place::Host { host, head, tail } => {
                f.write_str(host)?;
                head.iter().try_for_each(|part| write!(f, "/{part}"))?;
                if let Some(tail) = tail {
                    f.write_str("/**")?;
                    tail.iter().try_for_each(|part| write!(f, "/{part}"))?;
                }
            }
        }
        self.pin.iter().try_for_each(|pin| write!(f, "@{pin}"))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Wildcard { before, after } => write!(f, "{before}*{after}"),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Scope>().unwrap().to_string()
    }

    #[test]
    fn scopes_have_the_canonical_form_of_references() {
        for (text, form) in [
            ("alpine", "docker.io/library/alpine"),
            ("docker.io/alpine", "docker.io/library/alpine"),
            ("index.docker.io/library/alpine", "docker.io/library/alpine"),
            ("team/app", "docker.io/team/app"),
            ("team/**", "docker.io/team/**"),
            ("docker.io/**", "docker.io/**"),
            ("docker.io/*", "docker.io/library/*"),
            ("docker.io/library/**/x", "docker.io/library/**/x"),
            ("localhost/app", "localhost/app"),
            ("Registry.Example:5000/app", "registry.example:5000/app"),
            ("registry.example/prod/**", "registry.example/prod/**"),
            ("registry.example/**", "registry.example/**"),
            ("registry.example/team-*/app", "registry.example/team-*/app"),
            ("[::1]:5000/**/app", "[::1]:5000/**/app"),
            ("**", "**"),
        ] {
            assert_eq!(canonical(text), form, "{text}");
            assert_eq!(canonical(form), form, "{text}");
        }
        let digest = Digest::sha256(b"x");
        assert_eq!(canonical(&format!("alpine@{digest}")), format!("docker.io/library/alpine@{digest}"));
        assert_eq!(canonical(&format!("**@{digest}")), format!("**@{digest}"));
    }

    #[test]
    fn what_is_no_scope_is_refused_with_its_reason() {
        let parse = |text: &str| text.parse::<Scope>().unwrap_err();
        assert_eq!(parse(""), ScopeError::Reference(ReferenceError::Empty));
        assert_eq!(parse("alpine:3.19"), ScopeError::Tag("3.19".into()));
        assert_eq!(parse("localhost:5000"), ScopeError::HostAlone("localhost:5000".into()));
        assert_eq!(parse("alpine:latest"), ScopeError::Tag("latest".into()));
        assert_eq!(parse("r.example/a:1"), ScopeError::Tag("1".into()));
        assert_eq!(parse("r.example"), ScopeError::HostAlone("r.example".into()));
        assert_eq!(parse("*"), ScopeError::HostWildcard);
        assert_eq!(parse("*.example/a"), ScopeError::HostWildcard);
        assert_eq!(parse("**/a"), ScopeError::HostWildcard);
        assert_eq!(parse("r.example/**/a/**"), ScopeError::TwoDoubleStars);
        assert_eq!(parse("r.example/a**"), ScopeError::Stars("a**".into()));
        assert_eq!(parse("r.example/*a*"), ScopeError::Stars("*a*".into()));
        assert_eq!(parse("r.example/../a"), ScopeError::Reference(ReferenceError::Path("..".into())));
        assert_eq!(parse("r.example/\u{430}"), ScopeError::Reference(ReferenceError::NotAscii { position: 10 }));
        assert_eq!(parse("r.example/a@sha256:12"), ScopeError::Digest(DigestError::Length { expected: 64, found: 2 }));
        assert_eq!(parse("r.example/A"), ScopeError::Reference(ReferenceError::Path("A".into())));
    }

    proptest! {
        #[test]
        fn a_scope_survives_its_text(text in "[a-c.:/*@-]{1,24}") {
            if let Ok(scope) = text.parse::<Scope>() {
                prop_assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
            }
        }
    }
}
