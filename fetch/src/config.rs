//! The fetcher's configuration: TOML text comes in, a final value goes out. What is unknown is refused with line and column.

use std::{
    io::Read,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Deserialize;

use crate::{caps, error::Error, origin::Origin};

/// What the fetcher may reach and with what. The default reaches public hosts by TLS, without credentials and mirrors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// The one uid that `assay-fetch` serves. The client library does not use it.
    pub agent_uid: Option<u32>,
    /// Hosts that are spoken to without TLS. They may also be at a local address.
    pub plain_http: Vec<HostPattern>,
    /// Hosts that may be at a loopback, link-local, unspecified or multicast address.
    pub allow_local_addresses: Vec<HostPattern>,
    /// Hosts that may be asked for revocation lists and OCSP answers at an address that is not public.
    pub revocation_hosts: Vec<HostPattern>,
    /// PEM files with CAs that count beside the system's.
    pub ca_files: Vec<PathBuf>,
    /// A docker `config.json` with credentials. It is read when a registry asks for them.
    pub docker_config: Option<PathBuf>,
    /// containerd's folder of `<host>/hosts.toml` files.
    pub certs_d: Option<PathBuf>,
    /// The folder of the `docker-credential-NAME` programs that `docker-config` names; `/usr/bin` if unset.
    pub credential_helpers_dir: Option<PathBuf>,
    /// Token servers that may get a registry's credentials although their host does not show that they belong to it.
    pub realms: Vec<Realm>,
}

/// A registry and the token server that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Realm {
    /// The registry's host, with port if only that one is meant.
    pub registry: HostPattern,
    /// The token server's host, with port if only that one is meant. It is asked by HTTPS.
    pub realm: HostPattern,
}

/// `HOST` (any port) or `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostPattern {
    host: String,
    port: Option<u16>,
}

/// The text is no `HOST` or `HOST:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host or host:port (no scheme, no path, no wildcard)")]
pub struct HostPatternError;

impl HostPattern {
    pub(crate) fn matches(&self, origin: &Origin) -> bool {
        self.host == origin.host() && self.port.is_none_or(|port| port == origin.port())
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        // The image reference's grammar of hosts is the right one, and it is written once.
        let repository = assay_admission::Repository::new(text, "x").map_err(|_| HostPatternError)?;
        let host = repository.host_name().to_owned();
        let port = match repository.host().strip_prefix(&host).and_then(|rest| rest.strip_prefix(':')) {
            Some(port) => Some(port.parse().map_err(|_| HostPatternError)?),
            None => None,
        };
        Ok(Self { host, port })
    }
}

impl TryFrom<String> for HostPattern {
    type Error = HostPatternError;

    fn try_from(text: String) -> Result<Self, HostPatternError> {
        text.parse()
    }
}

impl Config {
    /// Reads the configuration in `path`; relative paths in it start at its folder.
    ///
    /// # Errors
    /// [`Error::Configuration`] with the file, and line and column where they are known.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = read_text(path)?;
        let mut config: Self = parse_toml(path, &text)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let paths = [&mut config.docker_config, &mut config.certs_d, &mut config.credential_helpers_dir];
        for path in paths.into_iter().flatten().chain(&mut config.ca_files) {
            *path = folder.join(&*path);
        }
        Ok(config)
    }

    /// The ports of `host` that the configuration names, in its order, at most eight.
    pub(crate) fn ports_of(&self, host: &str) -> Vec<u16> {
        let named = self.plain_http.iter().chain(&self.allow_local_addresses).filter(|pattern| pattern.host == host);
        let mut ports = Vec::new();
        for port in named.filter_map(|pattern| pattern.port) {
            if !ports.contains(&port) && ports.len() < 8 {
                ports.push(port);
            }
        }
        ports
    }

    /// Whether the configuration says that `origin` may be asked without TLS.
    pub(crate) fn allows_plain_http(&self, origin: &Origin) -> bool {
        self.plain_http.iter().any(|pattern| pattern.matches(origin))
    }

    /// Whether the configuration names `origin` as one that certificates may have asked about revocation wherever it is.
    pub(crate) fn names_revocation_host(&self, origin: &Origin) -> bool {
        self.revocation_hosts.iter().any(|pattern| pattern.matches(origin))
    }

    /// Whether the configuration names `origin`, so that it may be at a local address.
    pub(crate) fn allows_local_address(&self, origin: &Origin) -> bool {
        self.allow_local_addresses.iter().chain(&self.plain_http).any(|pattern| pattern.matches(origin))
    }
}

/// Parses TOML; an error says where.
pub(crate) fn parse_toml<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, Error> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&character| character != '\n').count() + 1;
        Error::Configuration {
            path: path.to_owned(),
            why: format!("line {line} column {column}: {}", error.message().trim()),
        }
    })
}

/// Reads a text file of at most [`caps::MAX_FILE_BYTES`].
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    let unusable = |why: String| Error::Configuration { path: path.to_owned(), why };
    let bytes = read_bounded(path).map_err(|error| unusable(error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| unusable("not UTF-8 text".into()))
}

/// Reads a file of at most [`caps::MAX_FILE_BYTES`]. A longer one is an error, never cut.
pub(crate) fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let cap = u64::try_from(caps::MAX_FILE_BYTES).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(cap.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > caps::MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!("longer than {} bytes", caps::MAX_FILE_BYTES)));
    }
    Ok(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::origin::Scheme;

    fn parse(text: &str) -> Result<Config, String> {
        parse_toml(Path::new("fetch.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_field_is_refused_with_line_and_column() {
        let error = parse("agent-uid = 7\nplain-htpp = []\n").unwrap_err();
        assert!(error.starts_with("fetch.toml: line 2 column 1: unknown field `plain-htpp`"), "{error}");
    }

    #[test]
    fn a_host_pattern_is_a_host_with_or_without_port() {
        let config = parse("plain-http = ['127.0.0.1:5000', 'registry.example', '[::1]:5000']").unwrap();
        let allows = |host: &str| config.allows_plain_http(&Origin::new(Scheme::Http, host).unwrap());
        assert!(allows("127.0.0.1:5000") && allows("registry.example:81") && allows("[::1]:5000"));
        assert!(!allows("127.0.0.1:5001") && !allows("127.0.0.1") && !allows("x.registry.example"));
        for bad in ["http://r.example", "*", "r.example/a", "", "r.example:0", "r.example:"] {
            assert_eq!(bad.parse::<HostPattern>(), Err(HostPatternError), "{bad}");
        }
    }

    #[test]
    fn relative_paths_start_at_the_files_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fetch.toml");
        std::fs::write(&path, "ca-files = ['ca.pem', '/etc/ca.pem']\ndocker-config = 'docker.json'").unwrap();
        let config = Config::load(&path).unwrap();
        assert_eq!(config.ca_files, [folder.path().join("ca.pem"), "/etc/ca.pem".into()]);
        assert_eq!(config.docker_config, Some(folder.path().join("docker.json")));
    }

    #[test]
    fn a_file_over_the_cap_is_refused_not_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, vec![b'#'; caps::MAX_FILE_BYTES]).unwrap();
        assert_eq!(read_bounded(&path).unwrap().len(), caps::MAX_FILE_BYTES);
        std::fs::write(&path, vec![b'#'; caps::MAX_FILE_BYTES + 1]).unwrap();
        assert!(Config::load(&path).unwrap_err().to_string().contains("longer than 1048576 bytes"));
    }
}
