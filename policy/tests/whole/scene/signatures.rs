//! Signers: Ed25519 keys that sign as cosign did before bundles, and a certificate authority whose leaves sign as notation does.

use std::{collections::BTreeMap, sync::OnceLock};

use assay_admission::{Descriptor, Digest, Document, MediaType};
use assay_verify::{Artifact, FoundBy, RevocationEvidence, RevocationList};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::{NOW, descriptor, document};

/// Where Cid's certificate says that the authority's revocation list lies; those of Ann and Bob name none.
const LIST: &str = "http://ca.acme.example/ca.crl";
const CIDS_SERIAL: u64 = 77;

/// A key whose secret is made from its name.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    seed: [u8; 32],
}

impl Key {
    pub(crate) fn named(name: &str) -> Self {
        let mut seed = [0; 32];
        seed.copy_from_slice(Digest::sha256(name.as_bytes()).value());
        Self { seed }
    }

    fn pair(&self) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&self.seed).unwrap()
    }

    pub(crate) fn public_pem(&self) -> String {
        // RFC 8410 §4: the fixed beginning of every Ed25519 SubjectPublicKeyInfo.
        let mut spki = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        spki.extend_from_slice(self.pair().public_key().as_ref());
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(spki))
    }

    pub(crate) fn sign_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair().sign(bytes).as_ref().to_vec()
    }

    /// A cosign signature of `subject` for the repository `identity`.
    pub(crate) fn sign(&self, subject: &Descriptor, identity: &str) -> Artifact {
        let payload = document(
            "application/vnd.dev.cosign.simplesigning.v1+json",
            &json!({
                "critical": {
                    "identity": { "docker-reference": identity },
                    "image": { "docker-manifest-digest": subject.digest.to_string() },
                    "type": "cosign container image signature",
                },
                "optional": null,
            }),
        );
        let signature = STANDARD.encode(self.pair().sign(payload.bytes()).as_ref());
        let mut layer = descriptor(&payload);
        layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": signature });
        let config = document(MediaType::OCI_CONFIG, &json!({}));
        let manifest = document(
            MediaType::OCI_MANIFEST,
            &json!({
                "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
                "config": descriptor(&config), "layers": [layer],
            }),
        );
        Artifact { subject: subject.digest, found_by: FoundBy::CosignTag, manifest, blobs: vec![payload] }
    }
}

/// A root certificate, and leaves below it by their common name.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: Vec<u8>,
    root_pem: String,
    leaves: BTreeMap<&'static str, (Vec<u8>, KeyPair)>,
}

impl Authority {
    /// One authority for all tests of a process: keys are random.
    pub(crate) fn acme() -> &'static Self {
        static ACME: OnceLock<Authority> = OnceLock::new();
        ACME.get_or_init(|| Self::new(&["Ann", "Bob", "Cid"]))
    }

    fn new(names: &[&'static str]) -> Self {
        let root_key = KeyPair::generate().unwrap();
        let mut root = named("Root");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = root.self_signed(&root_key).unwrap();
        let issuer = Issuer::new(root, root_key);
        let leaf = |name: &&'static str| {
            let key = KeyPair::generate().unwrap();
            let mut leaf = named(name);
            leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
            leaf.use_authority_key_identifier_extension = true;
            if *name == "Cid" {
                leaf.serial_number = Some(SerialNumber::from(CIDS_SERIAL));
                leaf.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![LIST.to_owned()] }];
            }
            (*name, (leaf.signed_by(&key, &issuer).unwrap().der().to_vec(), key))
        };
        Self {
            leaves: names.iter().map(leaf).collect(),
            issuer,
            root: certificate.der().to_vec(),
            root_pem: pem("CERTIFICATE", certificate.der()),
        }
    }

    pub(crate) fn root_pem(&self) -> String {
        self.root_pem.clone()
    }

    /// The authority's revocation list, made so many days ago and good for thirty, with Cid's certificate on it or not.
    pub(crate) fn list(&self, days: i64, has_cid: bool) -> RevocationEvidence {
        let made = OffsetDateTime::from_unix_timestamp(NOW.seconds()).unwrap() - Duration::days(days);
        let cid = RevokedCertParams {
            serial_number: SerialNumber::from(CIDS_SERIAL),
            revocation_time: made,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: made,
            next_update: made + Duration::days(30),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: if has_cid { vec![cid] } else { vec![] },
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let der = list.signed_by(&self.issuer).unwrap().der().to_vec();
        RevocationEvidence::new(vec![RevocationList { url: LIST.to_owned(), der }], Vec::new()).unwrap()
    }

    /// A Notary Project JWS of `subject` by `C=DE,ST=Berlin,O=Acme,CN=<name>`, that expires at `expiry` (RFC 3339) if given.
    pub(crate) fn sign(&self, name: &str, subject: &Descriptor, expiry: Option<&str>) -> Artifact {
        let (leaf, key) = self.leaves.get(name).unwrap();
        let mut protected = json!({
            "alg": "ES256",
            "cty": "application/vnd.cncf.notary.payload.v1+json",
            "crit": ["io.cncf.notary.signingScheme"],
            "io.cncf.notary.signingScheme": "notary.x509",
            "io.cncf.notary.signingTime": "2026-11-01T00:00:00Z",
        });
        if let Some(expiry) = expiry {
            protected["crit"] = json!(["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"]);
            protected["io.cncf.notary.expiry"] = json!(expiry);
        }
        let payload = json!({ "targetArtifact": {
            "mediaType": subject.media_type.as_str(), "digest": subject.digest.to_string(), "size": subject.size,
        }});
        let protected = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&protected).unwrap());
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&payload).unwrap());
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der()).unwrap();
        let signature = pair.sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes()).unwrap();
        let envelope = document(
            "application/jose+json",
            &json!({
                "payload": payload, "protected": protected, "signature": URL_SAFE_NO_PAD.encode(signature.as_ref()),
                "header": { "x5c": [STANDARD.encode(leaf), STANDARD.encode(&self.root)] },
            }),
        );
        let empty =
            Document::new(MediaType::new("application/vnd.oci.empty.v1+json").unwrap(), b"{}".to_vec()).unwrap();
        let manifest = document(
            MediaType::OCI_MANIFEST,
            &json!({
                "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
                "artifactType": "application/vnd.cncf.notary.signature",
                "config": descriptor(&empty), "layers": [descriptor(&envelope)],
                "subject": {
                    "mediaType": subject.media_type.as_str(), "digest": subject.digest.to_string(), "size": subject.size,
                },
            }),
        );
        Artifact { subject: subject.digest, found_by: FoundBy::ReferrersApi, manifest, blobs: vec![envelope] }
    }
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let subject = [
        (DnType::CountryName, "DE"),
        (DnType::StateOrProvinceName, "Berlin"),
        (DnType::OrganizationName, "Acme"),
        (DnType::CommonName, common_name),
    ];
    subject.into_iter().for_each(|(kind, value)| params.distinguished_name.push(kind, value));
    params
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).filter_map(|at| text.get(at..text.len().min(at + 64))).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
