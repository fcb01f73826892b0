//! Answers a registry's challenge: what comes out is one `Authorization` value for the origin that asked, and for no other.
//!
//! A token server gets the registry's credentials only if it is the registry's own host, or by HTTPS a domain above or
//! below it, or Docker Hub's, or listed in `realms`. Any other gets none: the request fails and names what to configure.

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    Method,
    header::{self, HeaderValue},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    budget::Budget,
    caps,
    challenge::Challenge,
    config::Config,
    credentials::{self, Credential, Secret},
    error::{AuthFailure, Error, Forbidden},
    origin::{Origin, Scheme, Url, percent_encode},
    transport::{Answer, Ask, Peer, Redirects, Transport},
};

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Secret>,
    access_token: Option<Secret>,
}

/// Answers the challenge in `refusal`, which `peer` itself sent. `scope` is ours: a registry does not choose for what its
/// credentials are used.
pub(crate) async fn answer(
    transport: &Transport,
    budget: &Budget,
    peer: &Peer,
    scope: &str,
    refusal: &Answer,
) -> Result<HeaderValue, Error> {
    let at = refusal.url.to_string();
    let status = refusal.status.as_u16();
    let challenge =
        Challenge::from_headers(&refusal.headers).ok_or_else(|| Error::auth(&at, AuthFailure::NoChallenge(status)))?;
    let credential = credentials::find(transport.config(), &peer.origin).await?;
    match (challenge, credential) {
        (_, Some(Credential::RegistryToken(token))) => bearer(&at, &token),
        (Challenge::Basic, Some(Credential::Password { user, password })) => basic(&at, &user, &password),
        (Challenge::Basic, Some(Credential::IdentityToken(_)) | None) => {
            Err(Error::auth(at, AuthFailure::NoCredentials(peer.origin.to_string())))
        }
        (Challenge::Bearer { realm, service }, credential) => {
            let realm = refusal
                .url
                .join(&realm)
                .map_err(|_| Error::auth(&at, AuthFailure::Challenge("names no URL as its realm")))?;
            fetch_token(transport, budget, peer, realm, service.as_deref(), scope, credential).await
        }
    }
}

/// The token protocol: `GET realm?service&scope` with a password or anonymously, `POST` with an identity token.
async fn fetch_token(
    transport: &Transport,
    budget: &Budget,
    peer: &Peer,
    realm: Url,
    service: Option<&str>,
    scope: &str,
    credential: Option<Credential>,
) -> Result<HeaderValue, Error> {
    let at = realm.to_string();
    if credential.is_some() && !belongs(transport.config(), &peer.origin, realm.origin()) {
        let (registry, realm) = (peer.origin.to_string(), realm.origin().to_string());
        return Err(Forbidden::Realm { registry, realm }.into());
    }
    let anonymous = credential.is_none();
    let mut ask = Ask { redirects: Redirects::Return, ..Ask::get(realm, caps::MAX_TOKEN_BYTES) };
    let query = service.map(|service| ("service", service)).into_iter().chain([("scope", scope)]);
    match credential {
        Some(Credential::IdentityToken(token)) => {
            let pairs = [("grant_type", "refresh_token"), ("client_id", "assay"), ("refresh_token", token.expose())];
            let mut form = Zeroizing::new(String::new());
            for (name, value) in query.chain(pairs) {
                let separator = if form.is_empty() { "" } else { "&" };
                form.push_str(&format!("{separator}{name}={}", percent_encode(value)));
            }
            ask.method = Method::POST;
            ask.body = form.as_bytes().to_vec().into();
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            ask.headers.insert(header::CONTENT_TYPE, form_type);
        }
        Some(Credential::Password { user, password }) => {
            ask.private.insert(header::AUTHORIZATION, basic(&at, &user, &password)?);
            ask.url = ask.url.with_query(query);
        }
        Some(Credential::RegistryToken(_)) | None => ask.url = ask.url.with_query(query),
    }
    // The realm is a server of its own unless it is the registry itself: then its CA and name hold for it too.
    let origin = ask.url.origin().clone();
    let realm_peer = if origin == peer.origin { peer.clone() } else { Peer { origin, tls: None, named: false } };
    let answer = transport.send(budget, &realm_peer, &ask).await?;
    let failed = |why| Error::auth(&at, why);
    match answer.status.as_u16() {
        200..=299 => {}
        300..=399 => return Err(Forbidden::RealmRedirect(at).into()),
        401 | 403 if anonymous => return Err(failed(AuthFailure::NoCredentials(peer.origin.to_string()))),
        status @ (400..=403) => return Err(failed(AuthFailure::Refused(status))),
        status => return Err(Error::Status { at, status, code: None }),
    }
    let body = Zeroizing::new(answer.body);
    let found: TokenAnswer =
        serde_json::from_slice(&body).map_err(|_| failed(AuthFailure::Token("is no JSON object")))?;
    let token = found.token.or(found.access_token).filter(|token| !token.expose().is_empty());
    bearer(&at, &token.ok_or_else(|| failed(AuthFailure::Token("has no token in it")))?)
}

/// Whether `realm` may see credentials that are for `registry`.
fn belongs(config: &Config, registry: &Origin, realm: &Origin) -> bool {
    if registry == realm {
        return true;
    }
    let (host, realm_host) = (registry.host(), realm.host());
    let below = |name: &str, domain: &str| {
        // An IP address has no domains above it, and a single label is no domain that somebody owns.
        let is_name = domain.contains('.') && !domain.ends_with(|last: char| last.is_ascii_digit() || last == ']');
        is_name && name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
    };
    let listed = config.realms.iter().any(|pair| pair.registry.matches(registry) && pair.realm.matches(realm));
    let docker_hub = host == "registry-1.docker.io" && realm_host == "auth.docker.io";
    realm.scheme() == Scheme::Https
        && (host == realm_host || below(host, realm_host) || below(realm_host, host) || docker_hub || listed)
}

fn basic(at: &str, user: &str, password: &Secret) -> Result<HeaderValue, Error> {
    let pair = Zeroizing::new(format!("{user}:{}", password.expose()));
    sensitive(at, Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))))
}

fn bearer(at: &str, token: &Secret) -> Result<HeaderValue, Error> {
    sensitive(at, Zeroizing::new(format!("Bearer {}", token.expose())))
}

/// hyper prints no value that is marked so.
fn sensitive(at: &str, text: Zeroizing<String>) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Error::auth(at, AuthFailure::Token("has characters that no header can hold")))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_realm_gets_credentials_only_if_it_belongs_to_the_registry() {
        let config: Config =
            toml::from_str("realms = [{ registry = 'r.corp.example', realm = 'login.corp.example' }]").unwrap();
        let may = |registry: &str, realm: &str| {
            let origin = |text: &str| Url::parse(text).unwrap().origin().clone();
            belongs(&config, &origin(registry), &origin(realm))
        };
        assert!(may("https://r.example", "https://r.example"));
        assert!(may("https://r.example", "https://r.example:8443"));
        assert!(may("http://127.0.0.1:5000", "http://127.0.0.1:5000"));
        assert!(may("https://registry.lab.example", "https://lab.example"));
        assert!(may("https://r.example", "https://auth.r.example"));
        assert!(may("https://registry-1.docker.io", "https://auth.docker.io"));
        assert!(may("https://r.corp.example", "https://login.corp.example"));

        assert!(!may("https://r.example", "http://r.example"));
        assert!(!may("http://127.0.0.1:5000", "http://127.0.0.1:6000"));
        assert!(!may("https://r.example", "https://evil.example"));
        assert!(!may("https://r.example", "https://evilr.example"));
        assert!(!may("https://a.co.example", "https://b.co.example"));
        assert!(!may("https://r.example", "https://example"));
        assert!(!may("https://10.0.0.1", "https://0.0.1"));
        assert!(!may("https://x.corp.example", "https://login.corp.example"));
        assert!(!may("https://r.corp.example", "http://login.corp.example"));
    }
}
