//! containerd's filter language (`name==x,labels."a.b"~=^c`): text comes in, a matcher goes out.
//! Terms joined by commas must all hold; of several filters one must. What does not parse is an error, never a match.

use std::iter::Peekable;
use std::str::Chars;

use regex_lite::{Regex, RegexBuilder};

/// Most filters of one request, and the longest text of one.
const MAX_FILTERS: usize = 256;
const MAX_FILTER_BYTES: usize = 16 << 10;
/// Most memory a compiled expression may take.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// Filters of which one must match. Without any, everything matches.
#[derive(Clone, Debug)]
pub struct Filter(Vec<Vec<Term>>);

/// Gives the value of a field path such as `["labels", "a.b"]`; `None` if it has none.
pub trait Fields {
    /// The field's value.
    fn field(&self, path: &[String]) -> Option<&str>;
}

#[derive(Clone, Debug)]
struct Term {
    path: Vec<String>,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

/// Why a filter is refused. Fits after "failed to parse filter: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// More filters, or a longer one, than are looked at.
    #[error("at most {MAX_FILTERS} filters of {MAX_FILTER_BYTES} bytes are looked at")]
    Limit,
    /// Something else stands where this was needed.
    #[error("{filter:?}: {expected} expected")]
    Expected {
        /// The filter.
        filter: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// The right side of `~=` is no regular expression.
    #[error("{0:?} is no regular expression")]
    Regex(String),
}

impl Filter {
    /// Parses the filters of one request.
    ///
    /// # Errors
    /// [`FilterError`] if one is malformed or too long.
    pub fn parse(filters: &[String]) -> Result<Self, FilterError> {
        if filters.len() > MAX_FILTERS || filters.iter().any(|filter| filter.len() > MAX_FILTER_BYTES) {
            return Err(FilterError::Limit);
        }
        filters.iter().map(|text| Parser::new(text).terms()).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the object passes.
    pub fn matches(&self, object: &impl Fields) -> bool {
        let holds = |terms: &Vec<Term>| terms.iter().all(|term| term.holds(object.field(&term.path)));
        self.0.is_empty() || self.0.iter().any(holds)
    }
}

impl Term {
    fn holds(&self, value: Option<&str>) -> bool {
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(text) => value == Some(text),
            // As containerd has it: a field that is absent differs from every text but the empty one.
            Test::NotEqual(text) => value.unwrap_or_default() != text,
            Test::Matches(regex) => regex.is_match(value.unwrap_or_default()),
        }
    }
}

struct Parser<'a> {
    filter: &'a str,
    rest: Peekable<Chars<'a>>,
}

impl<'a> Parser<'a> {
    fn new(filter: &'a str) -> Self {
        Self { filter, rest: filter.chars().peekable() }
    }

    fn expected(&self, expected: &'static str) -> FilterError {
        FilterError::Expected { filter: self.filter.to_owned(), expected }
    }

    /// `term ("," term)*`; an empty filter has no terms and matches everything.
    fn terms(mut self) -> Result<Vec<Term>, FilterError> {
        let mut terms = Vec::new();
        if self.filter.is_empty() {
            return Ok(terms);
        }
        loop {
            terms.push(self.term()?);
            self.skip_space();
            match self.rest.next() {
                None => return Ok(terms),
                Some(',') => {}
                Some(_) => return Err(self.expected("a comma")),
            }
        }
    }

    /// `field ("." field)* (operator value)?`
    fn term(&mut self) -> Result<Term, FilterError> {
        let mut path = vec![self.field()?];
        self.skip_space();
        while self.rest.next_if_eq(&'.').is_some() {
            path.push(self.field()?);
            self.skip_space();
        }
        let mut operator = String::new();
        while let Some(character) = self.rest.next_if(|character| matches!(character, '=' | '!' | '~')) {
            operator.push(character);
        }
        let test = match operator.as_str() {
            "" => Test::Present,
            "==" => Test::Equal(self.value(&['"'])?),
            "!=" => Test::NotEqual(self.value(&['"'])?),
            "~=" => {
                // Only here do `/` and `|` quote: expressions are full of the other kind.
                let text = self.value(&['"', '/', '|'])?;
                let regex = RegexBuilder::new(&text).size_limit(MAX_REGEX_BYTES).build();
                Test::Matches(regex.map_err(|_| FilterError::Regex(text))?)
            }
            _ => return Err(self.expected("==, != or ~=")),
        };
        Ok(Term { path, test })
    }

    fn field(&mut self) -> Result<String, FilterError> {
        self.skip_space();
        if self.rest.peek() == Some(&'"') {
            return self.quoted('"');
        }
        let mut field = String::new();
        while let Some(character) =
            self.rest.next_if(|character| character.is_ascii_alphanumeric() || *character == '_')
        {
            field.push(character);
        }
        if field.is_empty() { Err(self.expected("a field name")) } else { Ok(field) }
    }

    fn value(&mut self, quotes: &[char]) -> Result<String, FilterError> {
        self.skip_space();
        match self.rest.peek().copied() {
            Some(quote @ ('"' | '/' | '|')) if quotes.contains(&quote) => self.quoted(quote),
            None | Some('"' | '/' | '|' | ',' | '.' | '=' | '!' | '~') => Err(self.expected("a value")),
            Some(_) => {
                let mut value = String::new();
                while let Some(character) = self
                    .rest
                    .next_if(|character| *character != ',' && !character.is_whitespace() && !character.is_control())
                {
                    value.push(character);
                }
                Ok(value)
            }
        }
    }

    /// A Go string literal, with its escapes.
    fn quoted(&mut self, quote: char) -> Result<String, FilterError> {
        self.rest.next();
        let mut text = String::new();
        loop {
            match self.rest.next() {
                None | Some('\n') => return Err(self.expected("a closing quote")),
                Some(character) if character == quote => return Ok(text),
                Some('\\') => text.push(self.escape(quote)?),
                Some(character) => text.push(character),
            }
        }
    }

    fn escape(&mut self, quote: char) -> Result<char, FilterError> {
        let bad = self.expected("an escape sequence of Go");
        Ok(match self.rest.next().ok_or_else(|| bad.clone())? {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' => '\\',
            character if character == quote => quote,
            first @ '0'..='7' => {
                let value = first.to_digit(8).ok_or_else(|| bad.clone())? * 64
                    + self.number(8, 2).ok_or_else(|| bad.clone())?;
                char::from_u32(value).ok_or(bad)?
            }
            'x' => self.number(16, 2).and_then(char::from_u32).ok_or(bad)?,
            'u' => self.number(16, 4).and_then(char::from_u32).ok_or(bad)?,
            'U' => self.number(16, 8).and_then(char::from_u32).ok_or(bad)?,
            _ => return Err(bad),
        })
    }

    fn number(&mut self, radix: u32, digits: usize) -> Option<u32> {
        (0..digits)
            .try_fold(0_u32, |value, _| value.checked_mul(radix)?.checked_add(self.rest.next()?.to_digit(radix)?))
    }

    fn skip_space(&mut self) {
        while self.rest.next_if(|character| character.is_whitespace()).is_some() {}
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Object;

    impl Fields for Object {
        fn field(&self, path: &[String]) -> Option<&str> {
            match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["name"] => Some("k8s.io/3/sha256:abc"),
                ["kind"] => Some("committed"),
                ["labels", "containerd.io/snapshot.ref"] => Some("sha256:abc"),
                ["labels", "a", "b"] => Some("\"q\""),
                _ => None,
            }
        }
    }

    fn matches(filters: &[&str]) -> bool {
        let filters: Vec<String> = filters.iter().map(ToString::to_string).collect();
        Filter::parse(&filters).unwrap().matches(&Object)
    }

    #[test]
    fn terms_are_joined_by_and_filters_by_or() {
        assert!(matches(&[]));
        assert!(matches(&[""]));
        assert!(matches(&["kind==committed,name==k8s.io/3/sha256:abc"]));
        assert!(!matches(&["kind==committed,name==k8s.io/3/sha256:abd"]));
        assert!(matches(&["kind==active", "kind==committed"]));
        assert!(!matches(&["kind==active", "kind==view"]));
    }

    #[test]
    fn labels_are_named_by_quoted_or_dotted_paths() {
        assert!(matches(&["labels.\"containerd.io/snapshot.ref\"==sha256:abc"]));
        assert!(!matches(&["labels.\"containerd.io/snapshot.ref\"==sha256:abd"]));
        assert!(matches(&["labels.a.b==\"\\\"q\\\"\""]));
        assert!(matches(&["labels.\"containerd.io/snapshot.ref\""]));
        assert!(!matches(&["labels.other"]));
    }

    #[test]
    fn an_absent_field_differs_and_does_not_match() {
        assert!(matches(&["parent!=x"]));
        assert!(!matches(&["kind!=committed"]));
        assert!(matches(&["name~=^k8s"]));
        assert!(matches(&["name~=/^k8s.io\\/3/"]));
        assert!(matches(&["name~=|sha256:a|"]));
        assert!(!matches(&["name~=^k9s"]));
    }

    #[test]
    fn what_is_not_the_language_is_refused() {
        let expected = |filter: &str| match Filter::parse(&[filter.to_owned()]).unwrap_err() {
            FilterError::Expected { expected, .. } => expected,
            other => panic!("{other}"),
        };
        assert_eq!(expected("name="), "==, != or ~=");
        assert_eq!(expected("name=="), "a value");
        assert_eq!(expected("name==/x/"), "a value");
        assert_eq!(expected("name==x y"), "a comma");
        assert_eq!(expected("name==x,"), "a field name");
        assert_eq!(expected("name==\"x"), "a closing quote");
        assert_eq!(expected("name==\"\\q\""), "an escape sequence of Go");
        assert_eq!(Filter::parse(&["name~=(".into()]).unwrap_err(), FilterError::Regex("(".into()));
        assert_eq!(Filter::parse(&["x".repeat(MAX_FILTER_BYTES + 1)]).unwrap_err(), FilterError::Limit);
        assert_eq!(Filter::parse(&vec![String::new(); MAX_FILTERS + 1]).unwrap_err(), FilterError::Limit);
    }

    proptest! {
        #[test]
        fn a_quoted_text_equals_itself_and_nothing_longer(text in "[a-z\"\\\\/|,. ]{0,20}") {
            struct Name(String);
            impl Fields for Name {
                fn field(&self, _: &[String]) -> Option<&str> {
                    Some(&self.0)
                }
            }
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            let filter = Filter::parse(&[format!("name==\"{quoted}\"")]).unwrap();
            prop_assert!(filter.matches(&Name(text.clone())));
            let longer = Name(format!("{text}x"));
            prop_assert!(!filter.matches(&longer));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
            let _ = Filter::parse(&[text]);
        }
    }
}
