//! Scheme, host and port, the triple that credentials and permissions are bound to; and URLs on it. No network here.

use std::fmt;

use hyper::Uri;

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub(crate) const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Scheme, lower-case host (IPv6 in brackets) and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
}

/// The text is no `http` or `https` URL, or it has a user name in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an http or https URL without user name")]
pub(crate) struct UrlError;

impl Origin {
    /// The origin of `HOST[:PORT]`, such as an image reference has it.
    pub(crate) fn new(scheme: Scheme, host_and_port: &str) -> Result<Self, UrlError> {
        Url::parse(&format!("{}://{host_and_port}/", scheme.as_str())).map(|url| url.origin)
    }

    pub(crate) const fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.port == self.scheme.default_port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// A URL. Its printed form leaves out the query: signed storage URLs carry secrets there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Url {
    origin: Origin,
    path_and_query: String,
}

impl Url {
    pub(crate) fn new(origin: Origin, path_and_query: String) -> Self {
        Self { origin, path_and_query }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.split('#').next().unwrap_or_default().parse().map_err(|_| UrlError)?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(_) | None => return Err(UrlError),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(UrlError)?;
        let host = authority.host().to_ascii_lowercase();
        let port = match authority.as_str().get(host.len()..).unwrap_or_default().strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| UrlError)?,
            None => scheme.default_port(),
        };
        if host.is_empty() || port == 0 {
            return Err(UrlError);
        }
        let path_and_query = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { origin: Origin { scheme, host, port }, path_and_query })
    }

    /// Where a `Location` or `Link` of this URL's answer leads (RFC 3986 §5.2, without dot segments, which are left to the server).
    pub(crate) fn join(&self, reference: &str) -> Result<Self, UrlError> {
        if reference.starts_with("//") {
            return Self::parse(&format!("{}:{reference}", self.origin.scheme.as_str()));
        }
        if has_scheme(reference) {
            return Self::parse(reference);
        }
        let path = self.path();
        let path_and_query = match reference.chars().next() {
            Some('/') => reference.to_owned(),
            Some('?') => format!("{path}{reference}"),
            Some(_) => format!("{}/{reference}", path.rsplit_once('/').map_or("", |(folder, _)| folder)),
            None => return Err(UrlError),
        };
        Self::parse(&format!("{}{path_and_query}", self.origin))
    }

    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn path(&self) -> &str {
        self.path_and_query.split('?').next().unwrap_or_default()
    }

    /// This URL with `name=value` pairs behind what its query has already.
    pub(crate) fn with_query<'a>(mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        for (name, value) in pairs {
            self.path_and_query.push(if self.path_and_query.contains('?') { '&' } else { '?' });
            self.path_and_query.push_str(name);
            self.path_and_query.push('=');
            self.path_and_query.push_str(&percent_encode(value));
        }
        self
    }

    pub(crate) fn uri(&self) -> Result<Uri, UrlError> {
        format!("{}{}", self.origin, self.path_and_query).parse().map_err(|_| UrlError)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path())
    }
}

/// `scheme ":"` before any `/`, `?` or `#` (RFC 3986 §3.1).
fn has_scheme(reference: &str) -> bool {
    reference.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':'))
}

/// Everything but RFC 3986's unreserved characters is escaped; this also makes a form body.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Result<String, UrlError> {
        Url::parse(text).map(|url| format!("{}{}", url.origin, url.path_and_query))
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = |text: &str| Url::parse(text).unwrap().origin;
        assert_eq!(origin("https://R.example/x"), origin("https://r.example:443/y"));
        assert_ne!(origin("https://r.example/"), origin("http://r.example/"));
        assert_ne!(origin("https://r.example/"), origin("https://r.example:444/"));
        assert_eq!(origin("http://[::1]:5000/").host(), "[::1]");
        assert_eq!(Origin::new(Scheme::Http, "127.0.0.1:5000").unwrap().to_string(), "http://127.0.0.1:5000");
    }

    #[test]
    fn user_names_other_schemes_and_broken_ports_are_refused() {
        for bad in [
            "https://user@r.example/",
            "https://r.example@evil.example/",
            "file:///etc/passwd",
            "r.example/x",
            "https://r.example:0/",
            "https://r.example:99999/",
            "https://r.example:/",
            "https:///x",
            "",
            "//r.example/",
        ] {
            assert_eq!(url(bad), Err(UrlError), "{bad}");
        }
    }

    #[test]
    fn a_location_is_joined_as_rfc_3986_says() {
        let base = Url::parse("https://r.example/v2/a/blobs?x=1").unwrap();
        let join = |to: &str| base.join(to).map(|url| format!("{}{}", url.origin, url.path_and_query));
        assert_eq!(join("/y?z#f"), Ok("https://r.example/y?z".into()));
        assert_eq!(join("y"), Ok("https://r.example/v2/a/y".into()));
        assert_eq!(join("?n=2"), Ok("https://r.example/v2/a/blobs?n=2".into()));
        assert_eq!(join("//s.example/y"), Ok("https://s.example/y".into()));
        assert_eq!(join("http://s.example:81/y"), Ok("http://s.example:81/y".into()));
        assert_eq!(join("file:/etc/passwd"), Err(UrlError));
        assert_eq!(join(""), Err(UrlError));
    }

    #[test]
    fn a_printed_url_has_no_query() {
        assert_eq!(Url::parse("https://s.example/b?Signature=secret").unwrap().to_string(), "https://s.example/b");
    }

    proptest! {
        #[test]
        fn no_location_makes_the_parser_panic_or_keeps_a_user_name(text in "[ -~]{0,60}") {
            let base = Url::parse("https://r.example/v2/").unwrap();
            if let Ok(url) = base.join(&text) {
                prop_assert!(!url.origin.host.contains('@'));
                prop_assert_eq!(Url::parse(&format!("{}{}", url.origin, url.path_and_query)).unwrap(), url);
            }
        }
    }
}
