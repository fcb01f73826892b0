//! Which servers are asked for a registry's images, in order: containerd's `certs.d/<host>/hosts.toml`, then the registry
//! itself. What cannot be honoured there (`skip_verify`) is refused by name; keys that only tune containerd are passed over.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use serde::Deserialize;
use toml::Spanned;

use crate::{
    caps,
    config::{Config, parse_toml, read_text},
    error::{Error, Forbidden},
    origin::{Origin, Scheme, Url},
    tls::{PemFile, TlsProfile},
    transport::Peer,
};

/// One server that can be asked.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) peer: Peer,
    /// `/v2`, or what `override_path` says; no slash at its end.
    pub(crate) path: String,
    /// Extra headers from the file, for this origin alone.
    pub(crate) headers: HeaderMap,
    /// The registry's name, when the server is a mirror that serves several (`?ns=`).
    pub(crate) namespace: Option<String>,
    /// Whether content may be fetched by digest.
    pub(crate) pull: bool,
    /// Whether tags and referrers may be asked for: what no digest binds.
    pub(crate) resolve: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HostsFile {
    server: Option<String>,
    host: BTreeMap<Spanned<String>, HostTable>,
    #[serde(flatten)]
    top: HostTable,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HostTable {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<Client>,
    skip_verify: Option<bool>,
    header: BTreeMap<String, OneOrMany>,
    override_path: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Client {
    File(String),
    Files(Vec<String>),
    Pairs(Vec<Vec<String>>),
}

impl OneOrMany {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// The servers for `host` (as an image reference has it), mirrors first. The list is never empty.
///
/// # Errors
/// [`Error::Configuration`] or [`Error::Forbidden`] if a file is there and cannot be honoured.
pub(crate) fn endpoints(config: &Config, host: &str) -> Result<Vec<Endpoint>, Error> {
    let found = config.certs_d.as_deref().and_then(|certs_d| find(certs_d, host));
    let Some(path) = found else { return Ok(vec![upstream(config, host, &HostTable::default(), None)?]) };
    let text = read_text(&path)?;
    let file: HostsFile = parse_toml(&path, &text)?;
    if file.host.len() > caps::MAX_MIRRORS {
        return Err(unusable(&path, format!("more than {} hosts", caps::MAX_MIRRORS)));
    }
    // containerd asks the hosts in the order of the file; a map would sort them by name.
    let mut mirrors: Vec<_> = file.host.iter().collect();
    mirrors.sort_by_key(|(name, _)| name.span().start);
    let mut endpoints = Vec::new();
    for (name, table) in mirrors {
        endpoints.push(endpoint(&path, host, name.get_ref(), table)?);
    }
    endpoints.push(match &file.server {
        Some(server) => endpoint(&path, host, server, &file.top)?,
        None => upstream(config, host, &file.top, Some(&path))?,
    });
    Ok(endpoints)
}

/// containerd's search: `host_port_`, `host:port`, `_default`; the first folder that is there counts.
fn find(certs_d: &Path, host: &str) -> Option<PathBuf> {
    let escaped = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => format!("{name}_{port}_"),
        _ => host.to_owned(),
    };
    let folder = [&escaped, host, "_default"].map(|name| certs_d.join(name)).into_iter().find(|path| path.is_dir())?;
    // A folder without the file holds certificates in Docker's manner: its registry has no mirrors.
    Some(folder.join("hosts.toml")).filter(|path| path.exists())
}

/// The registry itself, where no file names its server.
fn upstream(config: &Config, host: &str, table: &HostTable, path: Option<&Path>) -> Result<Endpoint, Error> {
    let name = if host == "docker.io" { "registry-1.docker.io" } else { host };
    let bad = |_| Error::malformed(host, crate::error::Malformation::Rule("no registry host"));
    let plain = Origin::new(Scheme::Http, name).map_err(bad)?;
    let origin =
        if config.allows_plain_http(&plain) { plain } else { Origin::new(Scheme::Https, name).map_err(bad)? };
    build(path.unwrap_or(Path::new("")), host, Url::new(origin, "/v2".into()), false, table)
}

fn endpoint(path: &Path, host: &str, server: &str, table: &HostTable) -> Result<Endpoint, Error> {
    let text = if server.starts_with("http") { server.to_owned() } else { format!("https://{server}") };
    let url = Url::parse(&text).map_err(|error| unusable(path, format!("{server:?} is {error}")))?;
    let mut base = url.path().trim_end_matches('/').to_owned();
    if !table.override_path && !base.ends_with("/v2") {
        base.push_str("/v2");
    }
    build(path, host, Url::new(url.origin().clone(), base), true, table)
}

fn build(path: &Path, host: &str, base: Url, named: bool, table: &HostTable) -> Result<Endpoint, Error> {
    if table.skip_verify == Some(true) {
        return Err(Forbidden::SkipVerify(path.to_owned()).into());
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let pem = |file: &String| PemFile::read(&folder.join(file));
    let authorities = table.ca.iter().flat_map(OneOrMany::as_slice).map(pem).collect::<Result<Vec<_>, _>>()?;
    let identity = match table.client.as_ref().map(identity_files) {
        None => None,
        Some(Some((chain, key))) => Some((pem(chain)?, pem(key)?)),
        Some(None) => return Err(unusable(path, "client is not one certificate file with one key".into())),
    };
    let tls = (!authorities.is_empty() || identity.is_some()).then_some(TlsProfile { authorities, identity });
    let may = |what: &str| match &table.capabilities {
        Some(capabilities) => capabilities.iter().any(|capability| capability == what),
        None => true,
    };
    let origin = base.origin().clone();
    let is_registry = if host == "docker.io" {
        matches!(origin.host(), "registry-1.docker.io" | "docker.io")
    } else {
        Origin::new(origin.scheme(), host).is_ok_and(|registry| registry == origin)
    };
    Ok(Endpoint {
        path: base.path().to_owned(),
        headers: headers(path, &table.header)?,
        namespace: (!is_registry).then(|| host.to_owned()),
        pull: may("pull"),
        resolve: may("resolve"),
        peer: Peer { origin, tls, named },
    })
}

fn identity_files(client: &Client) -> Option<(&String, &String)> {
    match client {
        Client::File(file) => Some((file, file)),
        Client::Files(files) => match files.as_slice() {
            [file] => Some((file, file)),
            _ => None,
        },
        Client::Pairs(pairs) => match pairs.as_slice() {
            [pair] => match pair.as_slice() {
                [chain, key] if !key.is_empty() => Some((chain, key)),
                [chain] | [chain, _] => Some((chain, chain)),
                _ => None,
            },
            _ => None,
        },
    }
}

fn headers(path: &Path, table: &BTreeMap<String, OneOrMany>) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (name, values) in table {
        // The value may be a secret, so only the name is repeated.
        let bad = || unusable(path, format!("header {name:?} is no HTTP header"));
        let key: HeaderName = name.parse().map_err(|_| bad())?;
        for value in values.as_slice() {
            let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
            value.set_sensitive(true);
            headers.append(&key, value);
        }
    }
    Ok(headers)
}

fn unusable(path: &Path, why: String) -> Error {
    Error::Configuration { path: path.to_owned(), why }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn with_file(folder: &str, text: &str, host: &str) -> Result<Vec<Endpoint>, Error> {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(folder)).unwrap();
        std::fs::write(root.path().join(folder).join("hosts.toml"), text).unwrap();
        endpoints(&Config { certs_d: Some(root.path().into()), ..Config::default() }, host)
    }

    fn urls(endpoints: &[Endpoint]) -> Vec<String> {
        endpoints.iter().map(|endpoint| format!("{}{}", endpoint.peer.origin, endpoint.path)).collect()
    }

    const FILE: &str = r#"
        server = "https://upstream.example"
        [host."https://z.example/cache"]
          capabilities = ["pull"]
        [host."http://a.example:5000"]
          capabilities = ["pull", "resolve"]
          header = { X-Key = ["one", "two"] }
        [host."https://b.example/mirror/v2/x"]
          override_path = true
          dial_timeout = "1s"
    "#;

    #[test]
    fn mirrors_come_in_the_files_order_and_the_server_last() {
        let found = with_file("r.example", FILE, "r.example").unwrap();
        let expected = [
            "https://z.example/cache/v2",
            "http://a.example:5000/v2",
            "https://b.example/mirror/v2/x",
            "https://upstream.example/v2",
        ];
        assert_eq!(urls(&found), expected);
        assert_eq!(
            found.iter().map(|e| (e.pull, e.resolve)).collect::<Vec<_>>(),
            [(true, false), (true, true), (true, true), (true, true)]
        );
        assert_eq!(found[0].namespace.as_deref(), Some("r.example"));
        assert_eq!(found[1].headers.get_all("x-key").iter().count(), 2);
        assert!(!format!("{:?}", found[1].headers).contains("one"));
    }

    #[test]
    fn folders_are_searched_as_containerd_does() {
        let server = "server = 'https://s.example'";
        for (folder, host, is_found) in [
            ("r.example_5000_", "r.example:5000", true),
            ("r.example:5000", "r.example:5000", true),
            ("_default", "r.example", true),
            ("r.example", "r.example:5000", false),
        ] {
            let found = urls(&with_file(folder, server, host).unwrap());
            let expected = if is_found { "https://s.example/v2".to_owned() } else { format!("https://{host}/v2") };
            assert_eq!(found, [expected], "{folder}");
        }
        assert_eq!(urls(&with_file("_default", "", "docker.io").unwrap()), ["https://registry-1.docker.io/v2"]);
        assert_eq!(with_file("_default", "", "docker.io").unwrap()[0].namespace, None);
    }

    #[test]
    fn skip_verify_is_refused_by_name_wherever_it_stands() {
        for text in ["skip_verify = true", "[host.'https://m.example']\nskip_verify = true"] {
            match with_file("r.example", text, "r.example") {
                Err(Error::Forbidden(Forbidden::SkipVerify(path))) => assert!(path.ends_with("r.example/hosts.toml")),
                other => panic!("{other:?}"),
            }
        }
        assert!(with_file("r.example", "skip_verify = false", "r.example").is_ok());
    }

    #[test]
    fn a_missing_ca_or_a_broken_file_is_no_silent_default() {
        for (text, why) in [
            ("ca = 'missing.pem'", "missing.pem: No such file"),
            ("server = 7", "hosts.toml: line 1 column"),
            ("server = 'ftp://x'", "\"ftp://x\" is not an http or https URL"),
            ("[host.'https://user:pw@m.example']", "not an http or https URL"),
            ("client = [['a'], ['b']]", "client is not one certificate file with one key"),
        ] {
            match with_file("r.example", text, "r.example") {
                Err(error @ Error::Configuration { .. }) => assert!(error.to_string().contains(why), "{error}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
