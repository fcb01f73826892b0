//! `WWW-Authenticate` (RFC 9110 §11.6.1): header values come in, the one challenge that can be answered goes out.

use hyper::{HeaderMap, header};

/// A challenge that the fetcher can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    /// The token protocol of the distribution project.
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

impl Challenge {
    /// The challenge to answer: Bearer before Basic, since a token shows the password to one server less often.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for value in headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()) {
            for (scheme, parameters) in split(value) {
                let get =
                    |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
                match scheme.as_str() {
                    "bearer" => {
                        if let Some(realm) = get("realm") {
                            return Some(Self::Bearer { realm, service: get("service") });
                        }
                    }
                    "basic" => basic = Some(Self::Basic),
                    _ => {}
                }
            }
        }
        basic
    }
}

/// Splits `Scheme name="value", name=token, Scheme …` into lower-case schemes with their parameters.
/// What does not fit the grammar ends the list: nothing behind it is believed.
fn split(mut rest: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut challenges: Vec<(String, Vec<(String, String)>)> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (name, behind) = take_token(rest);
        if name.is_empty() {
            return challenges;
        }
        let Some(value) = behind.trim_start().strip_prefix('=').filter(|_| !challenges.is_empty()) else {
            challenges.push((name.to_ascii_lowercase(), Vec::new()));
            rest = behind;
            continue;
        };
        let value = value.trim_start();
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => match take_quoted(quoted) {
                Some(found) => found,
                None => return challenges,
            },
            None => {
                let (token, behind) = take_token(value);
                (token.to_owned(), behind)
            }
        };
        if let Some((_, parameters)) = challenges.last_mut() {
            parameters.push((name.to_ascii_lowercase(), value));
        }
        rest = behind;
    }
}

/// RFC 9110 §5.6.2
fn take_token(text: &str) -> (&str, &str) {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text.bytes().position(|byte| !legal(byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// RFC 9110 §5.6.4, behind the opening quote.
fn take_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..).unwrap_or_default())),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn parse(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        Challenge::from_headers(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) })
    }

    #[test]
    fn bearer_is_found_in_one_header_and_in_several_and_preferred() {
        let text = r#"Bearer realm="https://a.example/token",service="r.example",scope="repository:a:pull,push""#;
        assert_eq!(parse(&[text]), bearer("https://a.example/token", Some("r.example")));
        assert_eq!(parse(&[r#"Basic realm="x", bEaReR realm="y" , service = z"#]), bearer("y", Some("z")));
        assert_eq!(parse(&[r#"Basic realm="x""#, r#"Bearer realm="y""#]), bearer("y", None));
        assert_eq!(parse(&[r#"Basic realm="a \" Bearer realm=b""#]), Some(Challenge::Basic));
    }

    #[test]
    fn what_cannot_be_answered_is_no_challenge() {
        for text in ["", "Negotiate abc==", "Bearer", "Bearer service=x", "Bearer realm=\"unclosed", "=x"] {
            assert_eq!(parse(&[text]), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_the_parser_panic_or_hang(text in "[ -~]{0,200}") {
            let _ = split(&text);
        }
    }
}
