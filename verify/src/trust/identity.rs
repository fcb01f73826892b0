//! Which identities a policy means: an exact text, one with `*` in it, or a regular expression, which the whole text has to match, for
//! the identity in a certificate and for the issuer that vouches for it.

use regex_lite::{Regex, RegexBuilder};

use crate::{
    facts::Signer,
    limits::{MAX_PATTERN, MAX_PATTERN_PROGRAM},
};

/// A text, or a pattern for it.
#[derive(Clone, Debug)]
pub struct TextPattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Exact(String),
    Glob { source: String, whole: Regex },
    Pattern { source: String, whole: Regex },
}

/// Whose keyless signatures count: those of an identity, vouched for by an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityPattern {
    identity: TextPattern,
    issuer: TextPattern,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextPatternError {
    /// It is empty: it would be met by what is not there.
    #[error("it is empty")]
    Empty,
    /// It is longer than any identity.
    #[error("it has {0} bytes, at most {MAX_PATTERN} are accepted")]
    TooLong(usize),
    /// It is no regular expression, or one that needs too much room.
    #[error("it is no regular expression that is accepted: {0}")]
    Syntax(String),
    /// Two `*` side by side, which other languages give another meaning.
    #[error("`**` has no meaning in it: a `*` stays within one part")]
    DoubleStar,
    /// Nothing but `*`: everyone.
    #[error("it has nothing but `*`, which would be anybody")]
    Anybody,
}

impl TextPattern {
    /// Just this text.
    ///
    /// # Errors
    /// [`TextPatternError`] if it is empty or too long.
    pub fn exact(text: &str) -> Result<Self, TextPatternError> {
        bounded(text)?;
        Ok(Self(Kind::Exact(text.to_owned())))
    }

    /// This text, in which each `*` stands for one or more characters of one part of a path: none of them is `/`, `@`, a blank or a
    /// control character. So `…/release.yml@refs/tags/*` is every tag without a slash, and no branch, file or repository of that name.
    ///
    /// # Errors
    /// [`TextPatternError`] if it is empty, too long, has `**`, or has nothing but `*`.
    pub fn glob(source: &str) -> Result<Self, TextPatternError> {
        if !source.contains('*') {
            return Self::exact(source);
        }
        bounded(source)?;
        if source.contains("**") {
            return Err(TextPatternError::DoubleStar);
        }
        if source == "*" {
            return Err(TextPatternError::Anybody);
        }
        let literals: Vec<String> = source.split('*').map(regex_lite::escape).collect();
        let whole = compile(&format!("^(?:{})$", literals.join("[^/@\\x00-\\x20\\x7f]+")))?;
        Ok(Self(Kind::Glob { source: source.to_owned(), whole }))
    }

    /// Every text that matches the regular expression from its first to its last character.
    ///
    /// # Errors
    /// [`TextPatternError`] if it is empty, too long or no regular expression.
    pub fn regex(source: &str) -> Result<Self, TextPatternError> {
        bounded(source)?;
        // By itself first: `a)|(b` would otherwise close the group that anchors it.
        compile(source)?;
        let whole = compile(&format!("^(?:{source})$"))?;
        Ok(Self(Kind::Pattern { source: source.to_owned(), whole }))
    }

    /// Whether the whole of `text` is meant. Nothing is found in an empty text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let all = |whole: &Regex| whole.find(text).is_some_and(|found| found.range() == (0..text.len()));
        match &self.0 {
            Kind::Exact(exact) => !text.is_empty() && exact == text,
            Kind::Glob { whole, .. } | Kind::Pattern { whole, .. } => !text.is_empty() && all(whole),
        }
    }

    /// What makes two patterns equal: their kind and their text.
    fn parts(&self) -> (u8, &str) {
        match &self.0 {
            Kind::Exact(text) => (0, text),
            Kind::Glob { source, .. } => (1, source),
            Kind::Pattern { source, .. } => (2, source),
        }
    }
}

impl PartialEq for TextPattern {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for TextPattern {}

impl IdentityPattern {
    /// Both have to match: an identity is worth what its issuer is.
    #[must_use]
    pub const fn new(identity: TextPattern, issuer: TextPattern) -> Self {
        Self { identity, issuer }
    }

    /// Whether `signer` is such an identity. A key or a certificate of another kind never is.
    #[must_use]
    pub fn matches(&self, signer: &Signer) -> bool {
        match signer {
            Signer::Identity { identity, issuer, .. } => self.identity.matches(identity) && self.issuer.matches(issuer),
            Signer::Key { .. } | Signer::Certificate { .. } => false,
        }
    }
}

fn compile(pattern: &str) -> Result<Regex, TextPatternError> {
    let built = RegexBuilder::new(pattern).size_limit(MAX_PATTERN_PROGRAM).build();
    built.map_err(|error| TextPatternError::Syntax(error.to_string()))
}

fn bounded(text: &str) -> Result<(), TextPatternError> {
    match text.len() {
        0 => Err(TextPatternError::Empty),
        length if length > MAX_PATTERN => Err(TextPatternError::TooLong(length)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn regex(source: &str) -> TextPattern {
        TextPattern::regex(source).unwrap()
    }

    #[test]
    fn a_pattern_matches_the_whole_text_or_nothing() {
        let pattern = regex("https://github.com/acme/app/.*@refs/tags/v[0-9]+");
        assert!(pattern.matches("https://github.com/acme/app/.github/workflows/r.yml@refs/tags/v1"));
        for evil in [
            "https://github.com/acme/app/.github/workflows/r.yml@refs/tags/v1-evil",
            "https://github.com/acme/app/.github/workflows/r.yml@refs/tags/v1\n",
            "x https://github.com/acme/app/.github/workflows/r.yml@refs/tags/v1",
            "",
        ] {
            assert!(!pattern.matches(evil), "{evil:?}");
        }
        // The alternation stays inside, whichever side matches first.
        assert!(!regex("a|ab").matches("abc") && regex("a|ab").matches("ab") && !regex("a|b").matches("xb"));
    }

    #[test]
    fn an_exact_text_is_compared_byte_by_byte() {
        let exact = TextPattern::exact("ci@acme.example").unwrap();
        assert!(exact.matches("ci@acme.example"));
        for other in ["ci@acmexexample", "CI@acme.example", "ci@acme.example ", "ci@acme.example\n", ""] {
            assert!(!exact.matches(other), "{other:?}");
        }
    }

    #[test]
    fn a_star_stays_within_one_part_of_the_identity() {
        let glob = TextPattern::glob("https://ci.example/acme/app/release.yml@refs/tags/v*").unwrap();
        for good in ["v1", "v1.2.3-rc1", "v+"] {
            assert!(glob.matches(&format!("https://ci.example/acme/app/release.yml@refs/tags/{good}")), "{good}");
        }
        for evil in ["v", "v1/x", "v1@refs/heads/main", "v1\n", "v1 x", "x1", "v\u{0}"] {
            assert!(!glob.matches(&format!("https://ci.example/acme/app/release.yml@refs/tags/{evil}")), "{evil:?}");
        }
        assert!(!glob.matches("https://ci.example/acme/app-evil/release.yml@refs/tags/v1"));
        // All but `*` stands for itself.
        assert!(
            !TextPattern::glob("a.b*").unwrap().matches("axbc") && TextPattern::glob("a.b*").unwrap().matches("a.bc")
        );
        assert_eq!(TextPattern::glob("*").unwrap_err(), TextPatternError::Anybody);
        assert_eq!(TextPattern::glob("a**").unwrap_err(), TextPatternError::DoubleStar);
        assert_eq!(TextPattern::glob("ci@acme.example").unwrap(), TextPattern::exact("ci@acme.example").unwrap());
        assert_ne!(TextPattern::glob("a.b*").unwrap(), TextPattern::regex("a.b*").unwrap());
    }

    #[test]
    fn what_would_escape_its_anchors_or_means_nothing_is_refused() {
        for source in ["a)|(b", "(", "(?x)a#"] {
            assert!(matches!(TextPattern::regex(source), Err(TextPatternError::Syntax(_))), "{source}");
        }
        assert_eq!(TextPattern::regex("").unwrap_err(), TextPatternError::Empty);
        assert_eq!(TextPattern::exact("").unwrap_err(), TextPatternError::Empty);
        let long = "a".repeat(MAX_PATTERN + 1);
        assert_eq!(TextPattern::regex(&long).unwrap_err(), TextPatternError::TooLong(long.len()));
        assert!(TextPattern::exact(&"a".repeat(MAX_PATTERN)).is_ok());
        assert!(matches!(TextPattern::regex("((a{200}){200}){200}"), Err(TextPatternError::Syntax(_))));
    }
}
