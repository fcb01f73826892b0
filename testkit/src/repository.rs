//! A small registry client for tests: gets, puts and deletes blobs and manifests. It checks nothing, so that a test can
//! store what no honest client would.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::http::{self, Response};
use crate::image::sha256;

/// Every media type a manifest of the tests may have.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// A user and a password for basic authentication.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The password, which protects nothing outside a test.
    pub password: String,
}

impl Credentials {
    /// The one user whom [`crate::Registry::with_basic_auth`] knows.
    pub fn test() -> Self {
        Self { user: "tester".to_owned(), password: "correct horse".to_owned() }
    }

    /// User and password in base64, as docker's configuration and basic authentication have them.
    pub(crate) fn encoded(&self) -> String {
        STANDARD.encode(format!("{}:{}", self.user, self.password))
    }

    fn header(&self) -> String {
        format!("Basic {}", self.encoded())
    }
}

/// A manifest or index as a registry holds it.
#[derive(Debug, Clone)]
pub struct StoredManifest {
    /// Its `Content-Type`.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl StoredManifest {
    /// The bytes as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.bytes)?)
    }

    /// The digest of the bytes.
    pub fn digest(&self) -> String {
        sha256(&self.bytes)
    }
}

/// One repository of one registry.
#[derive(Debug, Clone)]
pub struct Repository {
    server: SocketAddr,
    name: String,
    credentials: Option<Credentials>,
}

impl Repository {
    pub(crate) fn new(server: SocketAddr, name: &str, credentials: Option<Credentials>) -> Self {
        Self { server, name: name.to_owned(), credentials }
    }

    /// `host:port/name`, to which `:tag` or `@digest` can be appended.
    pub fn path(&self) -> String {
        format!("{}/{}", self.server, self.name)
    }

    /// Stores a blob and returns its digest.
    pub fn push_blob(&self, bytes: &[u8]) -> Result<String> {
        let digest = sha256(bytes);
        if self.send("HEAD", &format!("blobs/{digest}"), &[], b"")?.status == 200 {
            return Ok(digest);
        }
        let upload = self.send("POST", "blobs/uploads/", &[], b"")?.expect_status(202)?;
        let location = upload.header("location").context("an upload without a location")?;
        // The location is absolute; the path starts after the scheme and the host.
        let target = location.splitn(4, '/').nth(3).context("a location without a path")?;
        let joint = if target.contains('?') { '&' } else { '?' };
        let target = format!("/{target}{joint}digest={digest}");
        self.send_to(&target, "PUT", &[("Content-Type", "application/octet-stream")], bytes)?.expect_status(201)?;
        Ok(digest)
    }

    /// The bytes of a blob.
    pub fn blob(&self, digest: &str) -> Result<Vec<u8>> {
        Ok(self.send("GET", &format!("blobs/{digest}"), &[], b"")?.expect_status(200)?.body)
    }

    /// Stores a manifest under a tag or a digest and returns its digest.
    pub fn push_manifest(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Result<String> {
        self.send("PUT", &format!("manifests/{reference}"), &[("Content-Type", media_type)], bytes)?
            .expect_status(201)?;
        Ok(sha256(bytes))
    }

    /// The manifest or index of a tag or digest; `None` if there is none.
    pub fn manifest(&self, reference: &str) -> Result<Option<StoredManifest>> {
        let answer = self.send("GET", &format!("manifests/{reference}"), &[("Accept", MANIFESTS)], b"")?;
        if answer.status == 404 {
            return Ok(None);
        }
        let answer = answer.expect_status(200)?;
        let media_type = answer.header("content-type").context("a manifest without a type")?.to_owned();
        Ok(Some(StoredManifest { media_type, bytes: answer.body }))
    }

    /// Deletes a manifest, with every tag that points to it.
    pub fn delete_manifest(&self, digest: &str) -> Result<()> {
        self.send("DELETE", &format!("manifests/{digest}"), &[], b"")?.expect_status(202)?;
        Ok(())
    }

    /// The tags, in no certain order.
    pub fn tags(&self) -> Result<Vec<String>> {
        let answer = self.send("GET", "tags/list", &[], b"")?.expect_status(200)?;
        let list: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let tags = list.get("tags").and_then(|tags| tags.as_array()).cloned().unwrap_or_default();
        Ok(tags.iter().filter_map(|tag| tag.as_str()).map(str::to_owned).collect())
    }

    /// Sends any request below this repository's path, for tests that need another one.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
        self.send_to(&format!("/v2/{}/{path}", self.name), method, headers, body)
    }

    fn send_to(&self, target: &str, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
        let authorization = self.credentials.as_ref().map(Credentials::header);
        let mut headers = headers.to_vec();
        if let Some(value) = &authorization {
            headers.push(("Authorization", value));
        }
        http::exchange(self.server, method, target, &headers, body)
    }
}
