//! A TUF repository of our own with keys made for one test: whatever it publishes can be wrong in just one way.

use std::collections::BTreeMap;

use assay_admission::{Digest, UnixTime};
use assay_verify::{TufError, TufStep, TufTrust};
use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PSS_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::sigstore_world::{Wishes, World};

/// 2026-11-22T12:00:00Z
pub(crate) const NOW: UnixTime = UnixTime::from_seconds(1_795_348_800);
const FRESH: &str = "2026-12-01T00:00:00Z";

/// A key with the id that its owner gives it.
pub(crate) struct Signer {
    pub(crate) id: String,
    pub(crate) object: Value,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

impl Signer {
    fn new(pair: Pair, scheme: &str, public: String) -> Self {
        let object = json!({ "keytype": "any", "scheme": scheme, "keyval": { "public": public } });
        Self { id: Digest::sha256(object.to_string().as_bytes()).hex(), object, pair }
    }

    pub(crate) fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public = hex::encode(pair.public_key().as_ref());
        Self::new(Pair::Ed25519(pair), "ed25519", public)
    }

    pub(crate) fn p256() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let public = pem(pair.public_key().as_der().unwrap().as_ref());
        Self::new(Pair::P256(pair), "ecdsa-sha2-nistp256", public)
    }

    pub(crate) fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = pem(pair.public_key().as_der().unwrap().as_ref());
        Self::new(Pair::Rsa(pair), "rsassa-pss-sha256", public)
    }

    /// The same key in the form that Sigstore's first roots had.
    pub(crate) fn in_hex(mut self) -> Self {
        if let Pair::P256(pair) = &self.pair {
            self.object["keyval"]["public"] = json!(hex::encode(pair.public_key().as_ref()));
        }
        self
    }

    /// The same key under another id.
    pub(crate) fn called(self, id: &str) -> Self {
        Self { id: id.to_owned(), ..self }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> String {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ed25519(pair) => hex::encode(pair.sign(message)),
            Pair::P256(pair) => hex::encode(pair.sign(&random, message).unwrap()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PSS_SHA256, &random, message, &mut signature).unwrap();
                hex::encode(signature)
            }
        }
    }
}

/// Canonical JSON, written a second time so that the verifier is not its own judge.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        Value::Array(values) => format!("[{}]", values.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let members: Vec<String> =
                sorted.iter().map(|(key, value)| format!("{}:{}", canonical(&json!(key)), canonical(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        other => other.to_string(),
    }
}

/// Metadata with the signatures of `signers`.
pub(crate) fn signed(content: &Value, signers: &[&Signer]) -> Vec<u8> {
    let message = canonical(content);
    let signatures: Vec<Value> =
        signers.iter().map(|signer| json!({ "keyid": signer.id, "sig": signer.sign(message.as_bytes()) })).collect();
    json!({ "signed": content, "signatures": signatures }).to_string().into_bytes()
}

/// A repository: three keys of which two sign roots, and one for each other role.
pub(crate) struct Repository {
    pub(crate) root: Vec<Signer>,
    pub(crate) timestamp: Signer,
    pub(crate) snapshot: Signer,
    pub(crate) targets: Signer,
    pub(crate) trusted_root: Vec<u8>,
    /// What it serves, by path.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Repository {
    /// One root, and version 1 of everything.
    pub(crate) fn new() -> Self {
        let mut repository = Self {
            root: vec![Signer::p256(), Signer::ed25519(), Signer::p256()],
            timestamp: Signer::p256(),
            snapshot: Signer::ed25519(),
            targets: Signer::ed25519(),
            trusted_root: World::new(Wishes::default()).root_json().to_string().into_bytes(),
            files: BTreeMap::new(),
        };
        repository.publish_root(1);
        repository.publish(1);
        repository
    }

    pub(crate) fn root_content(&self, version: u64) -> Value {
        let lower = [&self.timestamp, &self.snapshot, &self.targets];
        let keys: serde_json::Map<String, Value> =
            self.root.iter().chain(lower).map(|signer| (signer.id.clone(), signer.object.clone())).collect();
        let one = |signer: &Signer| json!({ "keyids": [signer.id], "threshold": 1 });
        json!({
            "_type": "root", "spec_version": "1.0.31", "version": version, "expires": FRESH, "consistent_snapshot": true,
            "keys": keys,
            "roles": {
                "root": { "keyids": self.root.iter().map(|signer| &signer.id).collect::<Vec<_>>(), "threshold": 2 },
                "timestamp": one(&self.timestamp), "snapshot": one(&self.snapshot), "targets": one(&self.targets),
            },
        })
    }

    pub(crate) fn publish_root(&mut self, version: u64) {
        let bytes = signed(&self.root_content(version), &[&self.root[0], &self.root[1]]);
        self.files.insert(format!("{version}.root.json"), bytes);
    }

    pub(crate) fn targets_content(&self, version: u64) -> Value {
        let hash = Digest::sha256(&self.trusted_root).hex();
        json!({
            "_type": "targets", "spec_version": "1.0.31", "version": version, "expires": FRESH,
            "targets": { "trusted_root.json": { "length": self.trusted_root.len(), "hashes": { "sha256": hash } } },
        })
    }

    pub(crate) fn snapshot_content(&self, version: u64, targets: &[u8]) -> Value {
        json!({
            "_type": "snapshot", "spec_version": "1.0.31", "version": version, "expires": FRESH,
            "meta": { "targets.json": {
                "version": version, "length": targets.len(), "hashes": { "sha256": Digest::sha256(targets).hex() },
            } },
        })
    }

    pub(crate) fn timestamp_content(&self, version: u64, snapshot: &[u8]) -> Value {
        json!({
            "_type": "timestamp", "spec_version": "1.0.31", "version": version, "expires": FRESH,
            "meta": { "snapshot.json": {
                "version": version, "length": snapshot.len(), "hashes": { "sha256": Digest::sha256(snapshot).hex() },
            } },
        })
    }

    /// Publishes targets, snapshot and timestamp of this version.
    pub(crate) fn publish(&mut self, version: u64) {
        self.publish_with(version, |_, _| {});
    }

    /// The same with each content changed by `change`, which is given the role.
    pub(crate) fn publish_with(&mut self, version: u64, change: impl Fn(&str, &mut Value)) {
        let make = |role: &str, mut content: Value, signer: &Signer| {
            change(role, &mut content);
            signed(&content, &[signer])
        };
        let targets = make("targets", self.targets_content(version), &self.targets);
        let snapshot = make("snapshot", self.snapshot_content(version, &targets), &self.snapshot);
        let timestamp = make("timestamp", self.timestamp_content(version, &snapshot), &self.timestamp);
        self.files.insert(format!("{version}.targets.json"), targets);
        self.files.insert(format!("{version}.snapshot.json"), snapshot);
        self.files.insert("timestamp.json".into(), timestamp);
        let hash = Digest::sha256(&self.trusted_root).hex();
        self.files.insert(format!("targets/{hash}.trusted_root.json"), self.trusted_root.clone());
    }

    /// The root that operators configure.
    pub(crate) fn configured(&self) -> &[u8] {
        &self.files["1.root.json"]
    }

    /// One refresh of `trust`: how it ended, what is trusted then, and what was asked for.
    pub(crate) fn refresh(&self, trust: TufTrust, now: UnixTime) -> (Result<(), TufError>, TufTrust, Vec<String>) {
        let mut refresh = trust.refresh(now);
        let mut asked = Vec::new();
        let mut go = || -> Result<(), TufError> {
            while let TufStep::Fetch { path, .. } = refresh.step()? {
                asked.push(path.clone());
                refresh.give(self.files.get(&path).cloned())?;
            }
            Ok(())
        };
        let ended = go();
        (ended, refresh.into_trust(), asked)
    }

    /// What a first refresh brings, which must succeed.
    pub(crate) fn trusted(&self) -> TufTrust {
        let trust = TufTrust::open(self.configured(), Default::default()).unwrap();
        let (ended, trust, _) = self.refresh(trust, NOW);
        ended.unwrap();
        assert_eq!(trust.trusted_root(), Some(self.trusted_root.as_slice()));
        trust
    }

    /// How a first refresh ends.
    pub(crate) fn first(&self) -> Result<(), TufError> {
        self.refresh(TufTrust::open(self.configured(), Default::default()).unwrap(), NOW).0
    }
}
