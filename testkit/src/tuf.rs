//! A TUF repository that vouches for a Sigstore root of trust. In: nothing, it makes its own Ed25519 keys. Out: an address that
//! serves it, and new versions of everything on demand.

use anyhow::{Context, Result};
use rcgen::{KeyPair, PKCS_ED25519, SigningKey as _};
use serde_json::{Value, json};

use crate::image::sha256;
use crate::web::WebServer;

/// A repository with two root keys, both needed, and one key for everything else.
#[derive(Debug)]
pub struct TufRepository {
    /// Where it is served.
    pub server: WebServer,
    roots: [Signer; 2],
    online: Signer,
}

#[derive(Debug)]
struct Signer {
    id: String,
    key: KeyPair,
}

impl Signer {
    fn new(id: &str) -> Result<Self> {
        Ok(Self { id: id.to_owned(), key: KeyPair::generate_for(&PKCS_ED25519)? })
    }
}

/// Nothing here needs to expire by itself: a test that wants it says so.
const LATER: &str = "2100-01-01T00:00:00Z";

impl TufRepository {
    /// Starts a repository with one root that vouches for `trusted_root` at version 1.
    pub fn start(trusted_root: &[u8]) -> Result<Self> {
        let repository = Self {
            server: WebServer::start()?,
            roots: [Signer::new("root-a")?, Signer::new("root-b")?],
            online: Signer::new("online-1")?,
        };
        repository.publish_root(1)?;
        repository.publish(1, trusted_root, LATER)?;
        Ok(repository)
    }

    /// `http://127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("http://{}", self.server.host())
    }

    /// The root that an operator configures.
    pub fn first_root(&self) -> Result<Vec<u8>> {
        self.server.files().remove("1.root.json").context("the repository has its first root")
    }

    /// Gives the roles below the root another key, by a root of this version.
    pub fn rotate(&mut self, version: u64) -> Result<()> {
        self.online = Signer::new(&format!("online-{version}"))?;
        self.publish_root(version)
    }

    /// Publishes targets, snapshot and timestamp of this version; the timestamp expires at `expires` (RFC 3339).
    pub fn publish(&self, version: u64, trusted_root: &[u8], expires: &str) -> Result<()> {
        let hash = sha256(trusted_root).trim_start_matches("sha256:").to_owned();
        let target = json!({ "length": trusted_root.len(), "hashes": { "sha256": hash } });
        let targets = json!({ "targets": { "trusted_root.json": target } });
        self.put(&format!("{version}.targets.json"), "targets", version, LATER, targets)?;
        let snapshot = json!({ "meta": { "targets.json": { "version": version } } });
        self.put(&format!("{version}.snapshot.json"), "snapshot", version, LATER, snapshot)?;
        self.server.put(&format!("targets/{hash}.trusted_root.json"), trusted_root.to_vec());
        let timestamp = json!({ "meta": { "snapshot.json": { "version": version } } });
        self.put("timestamp.json", "timestamp", version, expires, timestamp)
    }

    fn publish_root(&self, version: u64) -> Result<()> {
        let key = |signer: &Signer| {
            json!({
                "keytype": "ed25519", "scheme": "ed25519",
                "keyval": { "public": hex::encode(signer.key.public_key_raw()) },
            })
        };
        let [a, b] = &self.roots;
        let lower = json!({ "keyids": [self.online.id], "threshold": 1 });
        let content = json!({
            "consistent_snapshot": true,
            "keys": { a.id.as_str(): key(a), b.id.as_str(): key(b), self.online.id.as_str(): key(&self.online) },
            "roles": {
                "root": { "keyids": [a.id, b.id], "threshold": 2 },
                "timestamp": lower, "snapshot": lower, "targets": lower,
            },
        });
        let file = signed(head("root", version, LATER, content), &[a, b])?;
        self.server.put(&format!("{version}.root.json"), file);
        Ok(())
    }

    fn put(&self, path: &str, role: &str, version: u64, expires: &str, content: Value) -> Result<()> {
        self.server.put(path, signed(head(role, version, expires, content), &[&self.online])?);
        Ok(())
    }
}

fn head(role: &str, version: u64, expires: &str, mut content: Value) -> Value {
    if let Some(members) = content.as_object_mut() {
        members.insert("_type".into(), role.into());
        members.insert("spec_version".into(), "1.0.31".into());
        members.insert("version".into(), version.into());
        members.insert("expires".into(), expires.into());
    }
    content
}

fn signed(content: Value, signers: &[&Signer]) -> Result<Vec<u8>> {
    // Members are sorted and nothing in them needs an escape: this is canonical JSON as TUF signs it.
    let message = content.to_string();
    let mut signatures = Vec::new();
    for signer in signers {
        let signature = signer.key.sign(message.as_bytes())?;
        signatures.push(json!({ "keyid": signer.id, "sig": hex::encode(signature) }));
    }
    Ok(json!({ "signed": content, "signatures": signatures }).to_string().into_bytes())
}
