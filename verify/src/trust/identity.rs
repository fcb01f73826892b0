//! Which identities a policy means: an exact text or a regular expression that the whole text has to match, for the identity in a
//! certificate and for the issuer that vouches for it.

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

    /// Every text that matches the regular expression from its first to its last character.
    ///
    /// # Errors
    /// [`TextPatternError`] if it is empty, too long or no regular expression.
    pub fn regex(source: &str) -> Result<Self, TextPatternError> {
        bounded(source)?;
        let compile = |pattern: &str| {
            let built = RegexBuilder::new(pattern).size_limit(MAX_PATTERN_PROGRAM).build();
            built.map_err(|error| TextPatternError::Syntax(error.to_string()))
        };
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
            Kind::Pattern { whole, .. } => !text.is_empty() && all(whole),
        }
    }

    fn parts(&self) -> (bool, &str) {
        match &self.0 {
            Kind::Exact(text) => (true, text),
            Kind::Pattern { source, .. } => (false, source),
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
    fn what_would_escape_its_anchors_or_means_nothing_is_refused() {
        for source in ["a)|(b", "(", "(?x)a#"] {
            assert!(matches!(TextPattern::regex(source), Err(TextPatternError::Syntax(_))), "{source}");
        }
        assert_eq!(TextPattern::regex("").unwrap_err(), TextPatternError::Empty);
        assert_eq!(TextPattern::exact("").unwrap_err(), TextPatternError::Empty);
        let long = "a".repeat(MAX_PATTERN + 1);
        assert_eq!(TextPattern::regex(&long).unwrap_err(), TextPatternError::TooLong(long.len()));
        assert!(matches!(TextPattern::regex("((a{200}){200}){200}"), Err(TextPatternError::Syntax(_))));
    }
}
