//! A small Sigstore of our own: a certificate authority, a certificate transparency log, a Rekor log of version 1 and one of tiles, and
//! a time-stamping authority, each with a key made for one test. What it signs, other Sigstore clients verify too.

use assay_admission::{Digest, UnixTime};
use assay_verify::SigstoreRoot;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, SanType, SerialNumber, string::Ia5String,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::support::TestKey;

/// 2024-03-01T10:00:00Z: when everything was signed.
pub(crate) const SIGNED: i64 = 1_709_287_200;
pub(crate) const IDENTITY: &str = "https://ci.example/acme/app/release.yml@refs/tags/v1";
pub(crate) const ISSUER: &str = "https://token.ci.example";
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
pub(crate) const TILES: &str = "tiles.log.example";

/// What can be wrong in a certificate or in where it comes from.
#[derive(Clone)]
pub(crate) struct Wishes {
    pub(crate) names: Vec<SanType>,
    pub(crate) issuer_8: Option<&'static str>,
    pub(crate) issuer_1: Option<&'static str>,
    pub(crate) usage: ExtendedKeyUsagePurpose,
    /// Validity of leaf and intermediate, in seconds from [`SIGNED`].
    pub(crate) leaf: (i64, i64),
    pub(crate) intermediate: (i64, i64),
    pub(crate) has_sct: bool,
    /// The last word on each certificate before it is signed.
    pub(crate) change_leaf: fn(&mut CertificateParams),
    pub(crate) change_intermediate: fn(&mut CertificateParams),
    pub(crate) change_root: fn(&mut CertificateParams),
    pub(crate) change_tsa: fn(&mut CertificateParams),
    pub(crate) change_tsa_root: fn(&mut CertificateParams),
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            names: vec![uri(IDENTITY)],
            issuer_8: Some(ISSUER),
            issuer_1: Some(ISSUER),
            usage: ExtendedKeyUsagePurpose::CodeSigning,
            leaf: (-60, 540),
            intermediate: (-86_400, 86_400),
            has_sct: true,
            change_leaf: |_| {},
            change_intermediate: |_| {},
            change_root: |_| {},
            change_tsa: |_| {},
            change_tsa_root: |_| {},
        }
    }
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

/// The services with their keys.
pub(crate) struct World {
    root: rcgen::Certificate,
    intermediate: rcgen::Certificate,
    authority: TestKey,
    intermediate_params: CertificateParams,
    ct: TestKey,
    rekor: TestKey,
    tiles: TestKey,
    tsa: TestKey,
    tsa_leaf: rcgen::Certificate,
    tsa_root: rcgen::Certificate,
    tsa_root_params: CertificateParams,
    tsa_root_key: TestKey,
    wishes: Wishes,
}

/// A signature with its certificate.
pub(crate) struct Made {
    pub(crate) leaf: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    /// The bytes that were signed.
    pub(crate) message: Vec<u8>,
    payload: Option<Vec<u8>>,
}

/// So many seconds after [`SIGNED`], as certificates have it.
pub(crate) fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(SIGNED + seconds).unwrap()
}

/// What can be wrong in a time-stamp.
pub(crate) struct Stamping {
    /// How many copies of its SignerInfo there are.
    pub(crate) signers: usize,
    /// What the signed attribute messageDigest is the hash of, if not the content.
    pub(crate) digest_of: Option<Vec<u8>>,
    /// The certificate that the SignerInfo names, if not the authority's own.
    pub(crate) names: Option<Vec<u8>>,
    /// The key that signs, if not the authority's own.
    pub(crate) key: Option<TestKey>,
    /// Certificates that come with it.
    pub(crate) certificates: Vec<Vec<u8>>,
}

impl Default for Stamping {
    fn default() -> Self {
        Self { signers: 1, digest_of: None, names: None, key: None, certificates: Vec::new() }
    }
}

fn params(name: &str, valid: (i64, i64), serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "Acme");
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (at(valid.0), at(valid.1));
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

fn ca(name: &str, valid: (i64, i64), serial: u64) -> CertificateParams {
    let mut params = params(name, valid, serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl World {
    pub(crate) fn new(wishes: Wishes) -> Self {
        let year = 366 * 86_400;
        let (root_key, authority) = (TestKey::new(), TestKey::new());
        let mut root_params = ca("root", (-year, year), 1);
        (wishes.change_root)(&mut root_params);
        let root = root_params.self_signed(&root_key.0).unwrap();
        let mut intermediate_params = ca("intermediate", wishes.intermediate, 2);
        intermediate_params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        (wishes.change_intermediate)(&mut intermediate_params);
        let issuer = Issuer::from_params(&root_params, &root_key.0);
        let intermediate = intermediate_params.signed_by(&authority.0, &issuer).unwrap();

        let (tsa_root_key, tsa) = (TestKey::new(), TestKey::new());
        let mut tsa_root_params = ca("tsa root", (-year, year), 3);
        (wishes.change_tsa_root)(&mut tsa_root_params);
        let tsa_root = tsa_root_params.self_signed(&tsa_root_key.0).unwrap();
        let mut tsa_params = params("tsa", (-year, year), 4);
        tsa_params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        tsa_params.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping];
        (wishes.change_tsa)(&mut tsa_params);
        let tsa_leaf = tsa_params.signed_by(&tsa.0, &Issuer::from_params(&tsa_root_params, &tsa_root_key.0)).unwrap();
        let [ct, rekor, tiles] = [TestKey::new(), TestKey::new(), TestKey::new()];
        Self {
            root,
            intermediate,
            authority,
            intermediate_params,
            ct,
            rekor,
            tiles,
            tsa,
            tsa_leaf,
            tsa_root,
            tsa_root_params,
            tsa_root_key,
            wishes,
        }
    }

    /// A certificate for `key` that the time-stamping authority's own CA issued, for something else than stamping.
    pub(crate) fn beside_the_tsa(&self, key: &TestKey) -> Vec<u8> {
        let mut other = params("mail", (-86_400, 86_400), 5);
        other.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        other.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
        other
            .signed_by(&key.0, &Issuer::from_params(&self.tsa_root_params, &self.tsa_root_key.0))
            .unwrap()
            .der()
            .to_vec()
    }

    /// The time-stamping authority's own certificate.
    pub(crate) fn tsa_leaf(&self) -> Vec<u8> {
        self.tsa_leaf.der().to_vec()
    }

    /// A certificate of these names that only its own key vouches for, as an intermediate that anyone can put in a chain.
    pub(crate) fn forged_ca(name: &str, issuer: &str) -> Vec<u8> {
        let (own, above) = (ca(name, (-86_400, 86_400), 6), ca(issuer, (-86_400, 86_400), 7));
        own.signed_by(&TestKey::new().0, &Issuer::from_params(&above, &TestKey::new().0)).unwrap().der().to_vec()
    }

    /// The intermediate of the certificate authority.
    pub(crate) fn intermediate(&self) -> Vec<u8> {
        self.intermediate.der().to_vec()
    }

    /// The world's `trusted_root.json`.
    pub(crate) fn root_json(&self) -> Value {
        let window = json!({ "start": "2023-01-01T00:00:00Z", "end": "2025-01-01T00:00:00Z" });
        let log = |name: &str, key: &TestKey, id: Vec<u8>| {
            json!({
                "baseUrl": format!("https://{name}"),
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": STANDARD.encode(key.public().spki()),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": window,
                },
                "logId": { "keyId": STANDARD.encode(id) },
            })
        };
        let authority = |name: &str, chain: &[&rcgen::Certificate]| {
            let chain: Vec<Value> = chain.iter().map(|one| json!({ "rawBytes": STANDARD.encode(one.der()) })).collect();
            json!({
                "subject": { "organization": "Acme", "commonName": name },
                "uri": format!("https://{name}"),
                "certChain": { "certificates": chain },
                "validFor": window,
            })
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [
                log("rekor.example", &self.rekor, id_of(&self.rekor)),
                log(TILES, &self.tiles, id_of(&self.tiles)),
            ],
            "certificateAuthorities": [authority("fulcio.example", &[&self.intermediate, &self.root])],
            "ctlogs": [log("ct.example", &self.ct, id_of(&self.ct))],
            "timestampAuthorities": [authority("tsa.example", &[&self.tsa_leaf, &self.tsa_root])],
        })
    }

    pub(crate) fn root(&self) -> SigstoreRoot {
        SigstoreRoot::from_json(self.root_json().to_string().as_bytes()).unwrap()
    }

    /// A certificate for `key` as the world's wishes have it.
    fn leaf(&self, key: &TestKey) -> Vec<u8> {
        self.leaf_by(key, &self.intermediate_params, &self.authority)
    }

    /// The same by another issuer.
    fn leaf_by(&self, key: &TestKey, issuer: &CertificateParams, issuer_key: &TestKey) -> Vec<u8> {
        let wishes = &self.wishes;
        let mut params = params("", wishes.leaf, 77);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![wishes.usage.clone()];
        params.subject_alt_names.clone_from(&wishes.names);
        (wishes.change_leaf)(&mut params);
        let mut extend = |oid: &[u64], content| {
            params.custom_extensions.push(CustomExtension::from_oid_content(oid, content));
        };
        if let Some(issuer) = wishes.issuer_1 {
            extend(&[1, 3, 6, 1, 4, 1, 57264, 1, 1], issuer.as_bytes().to_vec());
        }
        if let Some(issuer) = wishes.issuer_8 {
            extend(&[1, 3, 6, 1, 4, 1, 57264, 1, 8], tlv(0x0c, issuer.as_bytes()));
        }
        let issuer_hash = Digest::sha256(issuer_key.public().spki());
        let issuer = Issuer::from_params(issuer, &issuer_key.0);
        let before = params.signed_by(&key.0, &issuer).unwrap();
        if !wishes.has_sct {
            return before.der().to_vec();
        }
        // RFC 6962 §3.2: the time-stamp is over the certificate as it is without the time-stamp.
        let (_, parsed) = X509Certificate::from_der(before.der()).unwrap();
        let tbs = parsed.tbs_certificate.as_ref();
        let milliseconds = u64::try_from(SIGNED * 1000).unwrap().to_be_bytes();
        let length = u32::try_from(tbs.len()).unwrap().to_be_bytes();
        let head: &[u8] = &[0, 0];
        let message = [head, &milliseconds, &[0, 1], issuer_hash.value(), &length[1..], tbs, &[0, 0]].concat();
        let signature = vector(&self.ct.sign_der(&message));
        let sct = [&[0_u8], id_of(&self.ct).as_slice(), &milliseconds, &[0, 0, 4, 3], &signature].concat();
        let list = tlv(0x04, &vector(&vector(&sct)));
        params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], list));
        params.signed_by(&key.0, &issuer).unwrap().der().to_vec()
    }

    /// Signs a statement, by a key that nobody keeps.
    pub(crate) fn sign_statement(&self, payload: &[u8]) -> Made {
        let pae = [format!("DSSEv1 28 {PAYLOAD_TYPE} {} ", payload.len()).as_bytes(), payload].concat();
        Made { payload: Some(payload.to_vec()), ..self.sign_message(&pae) }
    }

    /// The same with a certificate by a CA that the authority made below its own: the signature, and that CA's certificate.
    pub(crate) fn sign_below(&self, payload: &[u8]) -> (Made, Vec<u8>) {
        let (below, key) = (TestKey::new(), TestKey::new());
        let mut params = ca("below", (-86_400, 86_400), 8);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let issuer = Issuer::from_params(&self.intermediate_params, &self.authority.0);
        let certificate = params.signed_by(&below.0, &issuer).unwrap();
        let pae = [format!("DSSEv1 28 {PAYLOAD_TYPE} {} ", payload.len()).as_bytes(), payload].concat();
        let leaf = self.leaf_by(&key, &params, &below);
        let made = Made { leaf, signature: key.sign_der(&pae), message: pae, payload: Some(payload.to_vec()) };
        (made, certificate.der().to_vec())
    }

    pub(crate) fn sign_message(&self, message: &[u8]) -> Made {
        let key = TestKey::new();
        Made { leaf: self.leaf(&key), signature: key.sign_der(message), message: message.to_vec(), payload: None }
    }

    /// A bundle of version 0.3 with an entry of Rekor's first version, promise and proof.
    pub(crate) fn bundle(&self, made: &Made) -> Value {
        self.bundle_with(made, vec![self.entry(made)], &[])
    }

    pub(crate) fn bundle_with(&self, made: &Made, entries: Vec<Value>, tokens: &[Vec<u8>]) -> Value {
        let tokens: Vec<Value> =
            tokens.iter().map(|token| json!({ "signedTimestamp": STANDARD.encode(token) })).collect();
        let mut bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": { "rawBytes": STANDARD.encode(&made.leaf) },
                "tlogEntries": entries,
                "timestampVerificationData": { "rfc3161Timestamps": tokens },
            },
        });
        let signature = STANDARD.encode(&made.signature);
        match &made.payload {
            Some(payload) => {
                bundle["dsseEnvelope"] = json!({
                    "payload": STANDARD.encode(payload),
                    "payloadType": PAYLOAD_TYPE,
                    "signatures": [{ "sig": signature }],
                });
            }
            None => {
                bundle["messageSignature"] = json!({
                    "messageDigest": {
                        "algorithm": "SHA2_256",
                        "digest": STANDARD.encode(Digest::sha256(&made.message).value()),
                    },
                    "signature": signature,
                });
            }
        }
        bundle
    }

    /// The body of an entry of Rekor's first version.
    pub(crate) fn body(&self, made: &Made) -> Value {
        if made.payload.is_some() { Self::dsse_body(made) } else { Self::message_body(made) }
    }

    /// The body of an entry about an envelope.
    pub(crate) fn dsse_body(made: &Made) -> Value {
        let payload = made.payload.as_deref().unwrap();
        json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": { "algorithm": "sha256", "value": Digest::sha256(b"as it was sent").hex() },
                "payloadHash": { "algorithm": "sha256", "value": Digest::sha256(payload).hex() },
                "signatures": [{
                    "signature": STANDARD.encode(&made.signature),
                    "verifier": STANDARD.encode(pem(&made.leaf)),
                }],
            },
        })
    }

    /// The body of an entry about a message.
    pub(crate) fn message_body(made: &Made) -> Value {
        json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": { "hash": { "algorithm": "sha256", "value": Digest::sha256(&made.message).hex() } },
                "signature": {
                    "content": STANDARD.encode(&made.signature),
                    "publicKey": { "content": STANDARD.encode(pem(&made.leaf)) },
                },
            },
        })
    }

    pub(crate) fn entry(&self, made: &Made) -> Value {
        self.entry_of(&self.body(made), SIGNED)
    }

    /// An entry of Rekor's first version with a body of choice.
    pub(crate) fn entry_of(&self, body: &Value, integrated: i64) -> Value {
        let bytes = body.to_string();
        let id = id_of(&self.rekor);
        let promise = format!(
            r#"{{"body":"{}","integratedTime":{integrated},"logID":"{}","logIndex":4711}}"#,
            STANDARD.encode(&bytes),
            hex::encode(&id)
        );
        let (path, root) = tree(bytes.as_bytes());
        let signed = format!("rekor.example - 42\n3\n{}\n", STANDARD.encode(&root));
        json!({
            "logIndex": "4711",
            "logId": { "keyId": STANDARD.encode(&id) },
            "kindVersion": { "kind": body["kind"], "version": body["apiVersion"] },
            "integratedTime": integrated.to_string(),
            "inclusionPromise": { "signedEntryTimestamp": STANDARD.encode(self.rekor.sign_der(promise.as_bytes())) },
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": STANDARD.encode(root),
                "treeSize": "3",
                "hashes": path.iter().map(|hash| STANDARD.encode(hash)).collect::<Vec<_>>(),
                "checkpoint": { "envelope": note(&signed, "rekor.example", &self.rekor) },
            },
            "canonicalizedBody": STANDARD.encode(&bytes),
        })
    }

    /// The body of an entry of the log of tiles.
    pub(crate) fn tiles_body(made: &Made) -> Value {
        json!({
            "apiVersion": "0.0.2",
            "kind": "hashedrekord",
            "spec": { "hashedRekordV002": {
                "data": { "algorithm": "SHA2_256", "digest": STANDARD.encode(Digest::sha256(&made.message).value()) },
                "signature": {
                    "content": STANDARD.encode(&made.signature),
                    "verifier": {
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                        "x509Certificate": { "rawBytes": STANDARD.encode(&made.leaf) },
                    },
                },
            } },
        })
    }

    /// An entry of the log of tiles.
    pub(crate) fn tiles_entry(&self, made: &Made) -> Value {
        self.tiles_entry_of(&Self::tiles_body(made))
    }

    /// An entry of the log of tiles with a body of choice.
    pub(crate) fn tiles_entry_of(&self, body: &Value) -> Value {
        let body = body.to_string();
        let (path, root) = tree(body.as_bytes());
        let signed = format!("{TILES}\n3\n{}\n", STANDARD.encode(&root));
        json!({
            "logIndex": "1",
            "logId": { "keyId": STANDARD.encode(id_of(&self.tiles)) },
            "kindVersion": { "kind": "hashedrekord", "version": "0.0.2" },
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": STANDARD.encode(root),
                "treeSize": "3",
                "hashes": path.iter().map(|hash| STANDARD.encode(hash)).collect::<Vec<_>>(),
                "checkpoint": { "envelope": note(&signed, TILES, &self.tiles) },
            },
            "canonicalizedBody": STANDARD.encode(body),
        })
    }

    /// An RFC 3161 token for `signature`, made at `time` (seconds from [`SIGNED`]).
    pub(crate) fn token(&self, signature: &[u8], time: i64) -> Vec<u8> {
        self.token_with(signature, time, 1)
    }

    /// The same with so many copies of its SignerInfo.
    pub(crate) fn token_with(&self, signature: &[u8], time: i64, signers: usize) -> Vec<u8> {
        self.token_of(signature, time, &Stamping { signers, ..Stamping::default() })
    }

    /// The same with what can be wrong in it.
    pub(crate) fn token_of(&self, signature: &[u8], time: i64, stamping: &Stamping) -> Vec<u8> {
        const SIGNED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
        const TST_INFO: &[u8] = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x04";
        const CONTENT_TYPE: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03";
        const MESSAGE_DIGEST: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04";
        const SHA256: &[u8] = b"\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00";
        const ECDSA_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
        const POLICY: &[u8] = b"\x06\x03\x2a\x03\x04";
        let sequence = |parts: &[&[u8]]| tlv(0x30, &parts.concat());
        let hash = |bytes: &[u8]| tlv(0x04, Digest::sha256(bytes).value());
        let text = UnixTime::from_seconds(SIGNED + time).to_string().replace(['-', ':', 'T'], "");
        let imprint = sequence(&[SHA256, &hash(signature)]);
        let info = sequence(&[b"\x02\x01\x01", POLICY, &imprint, b"\x02\x01\x07", &tlv(0x18, text.as_bytes())]);
        let digest = stamping.digest_of.as_deref().map_or_else(|| hash(&info), hash);
        let attributes =
            [sequence(&[CONTENT_TYPE, &tlv(0x31, TST_INFO)]), sequence(&[MESSAGE_DIGEST, &tlv(0x31, &digest)])]
                .concat();
        let named = stamping.names.as_deref().unwrap_or(self.tsa_leaf.der());
        let (_, certificate) = X509Certificate::from_der(named).unwrap();
        let sid = sequence(&[certificate.issuer().as_raw(), &tlv(0x02, certificate.raw_serial())]);
        let key = stamping.key.as_ref().unwrap_or(&self.tsa);
        let value = tlv(0x04, &key.sign_der(&tlv(0x31, &attributes)));
        let signer = sequence(&[b"\x02\x01\x01", &sid, SHA256, &tlv(0xa0, &attributes), ECDSA_SHA256, &value]);
        let content = sequence(&[TST_INFO, &tlv(0xa0, &tlv(0x04, &info))]);
        let sent = stamping.certificates.concat();
        let sent = if sent.is_empty() { sent } else { tlv(0xa0, &sent) };
        let signers = tlv(0x31, &signer.repeat(stamping.signers));
        let data = sequence(&[b"\x02\x01\x03", &tlv(0x31, SHA256), &content, &sent, &signers]);
        let token = sequence(&[SIGNED_DATA, &tlv(0xa0, &data)]);
        sequence(&[b"\x30\x03\x02\x01\x00", &token])
    }
}

pub(crate) fn id_of(key: &TestKey) -> Vec<u8> {
    Digest::sha256(key.public().spki()).value().to_vec()
}

pub(crate) fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// A tree of three leaves, the given one in the middle: its path and the root.
fn tree(leaf: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let hash = |parts: &[&[u8]]| Digest::sha256(&parts.concat()).value().to_vec();
    let (left, right) = (hash(&[&[0], b"left"]), hash(&[&[0], b"right"]));
    let pair = hash(&[&[1], &left, &hash(&[&[0], leaf])]);
    let root = hash(&[&[1], &pair, &right]);
    (vec![left, right], root)
}

/// A signed note with the hint that Sigstore's logs use: the first bytes of the key's hash.
pub(crate) fn note(signed: &str, name: &str, key: &TestKey) -> String {
    let line = [&id_of(key)[..4], &key.sign_der(signed.as_bytes())].concat();
    format!("{signed}\n\u{2014} {name} {}\n", STANDARD.encode(line))
}

fn vector(bytes: &[u8]) -> Vec<u8> {
    [u16::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat()
}

fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [.., high, low] = contents.len().to_be_bytes();
    let length = match contents.len() {
        0..=0x7f => vec![low],
        0x80..=0xff => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag], length.as_slice(), contents].concat()
}
