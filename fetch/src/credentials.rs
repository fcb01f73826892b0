//! Credentials for one origin, from docker's `config.json` and the helpers it names. They are read when they are
//! needed, kept for one answer, and never printed.

use std::{collections::BTreeMap, fmt, path::Path, process::Stdio};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};
use zeroize::Zeroizing;

use crate::{
    caps,
    config::{Config, read_bounded},
    error::{AuthFailure, Error},
    origin::{Origin, Scheme},
};

/// A text that is wiped when it is dropped and never printed.
#[derive(PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What a registry accepts as proof of who asks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    Password {
        user: String,
        password: Secret,
    },
    /// A refresh token for the token server.
    IdentityToken(Secret),
    /// A bearer token for the registry itself.
    RegistryToken(Secret),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: Secret,
}

/// The credential that the configuration has for exactly this scheme, host and port.
///
/// # Errors
/// [`Error::Auth`] if a file or helper that should have it is unusable.
pub(crate) async fn find(config: &Config, origin: &Origin) -> Result<Option<Credential>, Error> {
    let Some(path) = &config.docker_config else { return Ok(None) };
    let docker = load(path)?;
    let named = docker.cred_helpers.iter().find(|(key, _)| is_key_of(key, origin));
    let helper = named.map(|(key, name)| (name, key.clone())).or_else(|| {
        docker.creds_store.as_ref().filter(|name| !name.is_empty()).map(|name| (name, server_address(origin)))
    });
    if let Some((name, server)) = helper
        && let Some(credential) = ask_helper(config, name, &server).await?
    {
        return Ok(Some(credential));
    }
    match docker.auths.into_iter().find(|(key, _)| is_key_of(key, origin)) {
        Some((key, entry)) => from_entry(path, &key, entry),
        None => Ok(None),
    }
}

fn load(path: &Path) -> Result<DockerConfig, Error> {
    let unusable = |why: String| Error::auth(path.display().to_string(), AuthFailure::File(why));
    let bytes = Zeroizing::new(read_bounded(path).map_err(|error| unusable(error.to_string()))?);
    // The parser's own message can repeat a value, which may be a password.
    serde_json::from_slice(&bytes).map_err(|error| {
        unusable(format!("no docker configuration at line {} column {}", error.line(), error.column()))
    })
}

fn from_entry(path: &Path, key: &str, entry: Entry) -> Result<Option<Credential>, Error> {
    let filled = |secret: Option<Secret>| secret.filter(|secret| !secret.expose().is_empty());
    if let Some(token) = filled(entry.registrytoken) {
        return Ok(Some(Credential::RegistryToken(token)));
    }
    if let Some(token) = filled(entry.identitytoken) {
        return Ok(Some(Credential::IdentityToken(token)));
    }
    if let Some(auth) = filled(entry.auth) {
        let unusable = || {
            let why = format!("auth of {key:?} is not base64 of USER:PASSWORD");
            Error::auth(path.display().to_string(), AuthFailure::File(why))
        };
        let bytes = Zeroizing::new(STANDARD.decode(auth.expose().trim()).map_err(|_| unusable())?);
        let text = std::str::from_utf8(&bytes).map_err(|_| unusable())?;
        let (user, password) = text.split_once(':').ok_or_else(unusable)?;
        let password = Secret::new(password.trim_end_matches('\0').to_owned());
        return Ok(Some(Credential::Password { user: user.to_owned(), password }));
    }
    match (entry.username, filled(entry.password)) {
        (Some(user), Some(password)) => Ok(Some(Credential::Password { user, password })),
        _ => Ok(None),
    }
}

/// Whether a key of `config.json` (`host`, `host:port`, with or without scheme and path) is that of `origin`.
/// Without a port it means the scheme's own port, never any port.
fn is_key_of(key: &str, origin: &Origin) -> bool {
    let (scheme, rest) = match key.split_once("://") {
        Some(("https", rest)) => (Some(Scheme::Https), rest),
        Some(("http", rest)) => (Some(Scheme::Http), rest),
        Some(_) => return false,
        None => (None, key),
    };
    let host = match rest.split('/').next().unwrap_or_default() {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    };
    scheme.is_none_or(|scheme| scheme == origin.scheme())
        && Origin::new(origin.scheme(), host).is_ok_and(|named| named == *origin)
}

/// What docker hands to a helper as the server's address.
fn server_address(origin: &Origin) -> String {
    let text = origin.to_string();
    match text.strip_prefix("https://").or(text.strip_prefix("http://")).unwrap_or(&text) {
        "registry-1.docker.io" => "https://index.docker.io/v1/".into(),
        other => other.into(),
    }
}

/// Runs `docker-credential-NAME get` (the protocol of docker-credential-helpers) in bounded time with bounded output.
async fn ask_helper(config: &Config, name: &str, server: &str) -> Result<Option<Credential>, Error> {
    let failed = |why: &str| Error::auth(server, AuthFailure::Helper(format!("docker-credential-{name} {why}")));
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(legal) {
        return Err(Error::auth(server, AuthFailure::Helper("has a name that is not of a-z, 0-9 and -".into())));
    }
    let folder = config.credential_helpers_dir.as_deref().unwrap_or(Path::new("/usr/bin"));
    let mut child = Command::new(folder.join(format!("docker-credential-{name}")))
        .arg("get")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_PID")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&format!("could not be started from {}: {}", folder.display(), error.kind())))?;
    let mut input = child.stdin.take().ok_or_else(|| failed("has no input"))?;
    let output = child.stdout.take().ok_or_else(|| failed("has no output"))?;
    let cap = u64::try_from(caps::MAX_HELPER_BYTES).unwrap_or(u64::MAX);
    let conversation = async {
        // A helper that ends without reading says by its status what it has to say.
        let _ = input.write_all(server.as_bytes()).await;
        drop(input);
        let mut answer = Zeroizing::new(Vec::new());
        output.take(cap.saturating_add(1)).read_to_end(&mut answer).await?;
        if answer.len() > caps::MAX_HELPER_BYTES {
            return Err(std::io::Error::other("printed too much"));
        }
        Ok((answer, child.wait().await?))
    };
    let (answer, status) = match tokio::time::timeout(caps::HELPER_TIMEOUT, conversation).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => return Err(failed(&format!("failed: {error}"))),
        Err(_) => return Err(failed(&format!("did not answer within {} s", caps::HELPER_TIMEOUT.as_secs()))),
    };
    if !status.success() {
        // The protocol has only this text to tell "none" from "failed".
        let none = String::from_utf8_lossy(&answer).contains("credentials not found");
        return if none { Ok(None) } else { Err(failed(&format!("ended with {status}"))) };
    }
    let answer: HelperAnswer = serde_json::from_slice(&answer).map_err(|_| failed("printed no credential"))?;
    if answer.username == "<token>" {
        return Ok(Some(Credential::IdentityToken(answer.secret)));
    }
    Ok(Some(Credential::Password { user: answer.username, password: answer.secret }))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn https(host: &str) -> Origin {
        Origin::new(Scheme::Https, host).unwrap()
    }

    fn password(user: &str, password: &str) -> Credential {
        Credential::Password { user: user.into(), password: Secret::new(password.into()) }
    }

    async fn find_in(text: &str, origin: &Origin) -> Result<Option<Credential>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        for (name, script) in [
            ("good", "read server; echo \"{\\\"Username\\\":\\\"$server\\\",\\\"Secret\\\":\\\"s3cret\\\"}\""),
            ("token", "echo '{\"Username\":\"<token>\",\"Secret\":\"s3cret\"}'"),
            ("none", "echo 'credentials not found in native keychain'; exit 1"),
            ("broken", "echo s3cret; exit 1"),
            ("endless", "exec cat /dev/zero"),
            ("hangs", "exec sleep 30"),
        ] {
            let program = folder.path().join(format!("docker-credential-{name}"));
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let config = Config {
            docker_config: Some(path),
            credential_helpers_dir: Some(folder.path().into()),
            ..Config::default()
        };
        find(&config, origin).await
    }

    fn failure(result: Result<Option<Credential>, Error>) -> AuthFailure {
        match result {
            Err(Error::Auth { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_bound_to_scheme_host_and_port() {
        for key in ["r.example", "r.example:443", "https://r.example", "https://r.example/v1/", "r.example/v2/"] {
            assert!(is_key_of(key, &https("r.example")), "{key}");
        }
        for key in ["http://r.example", "r.example:444", "x.r.example", "example", "evil-r.example", "*", ""] {
            assert!(!is_key_of(key, &https("r.example")), "{key}");
        }
        for key in ["docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"] {
            assert!(is_key_of(key, &https("registry-1.docker.io")), "{key}");
        }
        assert!(!is_key_of("https://127.0.0.1:5000", &Origin::new(Scheme::Http, "127.0.0.1:5000").unwrap()));
    }

    #[tokio::test]
    async fn each_form_of_credential_is_read() {
        let text = r#"{"auths":{"a.example":{"auth":"dTpwOnc="},"b.example":{"username":"u","password":"p"},
            "c.example":{"identitytoken":"i"},"d.example":{"registrytoken":"r"},"e.example":{}}}"#;
        let find = |host: &'static str| async move { find_in(text, &https(host)).await.unwrap() };
        assert_eq!(find("a.example").await, Some(password("u", "p:w")));
        assert_eq!(find("b.example").await, Some(password("u", "p")));
        assert_eq!(find("c.example").await, Some(Credential::IdentityToken(Secret::new("i".into()))));
        assert_eq!(find("d.example").await, Some(Credential::RegistryToken(Secret::new("r".into()))));
        assert_eq!(find("e.example").await, None);
        assert_eq!(find("f.example").await, None);
        assert_eq!(find("a.example:444").await, None);
    }

    #[tokio::test]
    async fn a_broken_file_is_named_and_its_secret_is_not() {
        let error = find_in(r#"{"auths":{"a.example":"s3cret"}}"#, &https("a.example")).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("config.json") && text.contains("line 1") && !text.contains("s3cret"), "{text}");
        let why = failure(find_in(r#"{"auths":{"a.example":{"auth":"s3cret!"}}}"#, &https("a.example")).await);
        assert_eq!(why, AuthFailure::File("auth of \"a.example\" is not base64 of USER:PASSWORD".into()));
    }

    #[tokio::test]
    async fn helpers_are_asked_for_their_host_and_bounded() {
        let helper = |name: &str| format!(r#"{{"credHelpers":{{"h.example":"{name}"}}}}"#);
        let ask = |name: &'static str| async move { find_in(&helper(name), &https("h.example")).await };
        assert_eq!(ask("good").await.unwrap(), Some(password("h.example", "s3cret")));
        assert_eq!(find_in(&helper("good"), &https("i.example")).await.unwrap(), None);
        assert_eq!(ask("token").await.unwrap(), Some(Credential::IdentityToken(Secret::new("s3cret".into()))));
        assert_eq!(ask("none").await.unwrap(), None);
        let why = |text: &str| AuthFailure::Helper(format!("docker-credential-{text}"));
        assert_eq!(failure(ask("broken").await), why("broken ended with exit status: 1"));
        assert_eq!(failure(ask("endless").await), why("endless failed: printed too much"));
        assert_eq!(failure(ask("hangs").await), why("hangs did not answer within 5 s"));
        let bad_name = AuthFailure::Helper("has a name that is not of a-z, 0-9 and -".into());
        assert_eq!(failure(find_in(&helper("../good"), &https("h.example")).await), bad_name);
        let store = find_in(r#"{"credsStore":"good"}"#, &https("registry-1.docker.io")).await.unwrap();
        assert_eq!(store, Some(password("https://index.docker.io/v1/", "s3cret")));
    }

    #[test]
    fn no_debug_output_shows_a_secret() {
        assert!(!format!("{:?}", password("u", "s3cret")).contains("s3cret"));
    }
}
