//! `make bench`, part `verification`: what verifying one signature costs without any I/O, beside its bare cryptography: the same calls
//! of aws-lc-rs with the same bytes, and nothing else. In: verify's vectors. Out: lines of a table in Markdown, with the ratio of
//! each and the number of allocations. Never fails because something is slow.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement of vectors that are there")]

use std::{
    collections::BTreeMap,
    fs,
    hint::black_box,
    path::PathBuf,
    time::{Duration, Instant},
};

use assay_admission::{Digest, Document, Documents, ImageClaim, MediaType, Platform, UnixTime};
use assay_verify::{
    Artifact, BoundImage, Budget, Certificate, CertificateStore, Evidence, FoundBy, PublicKey, SigstoreRoot, Trust,
    bind, verify,
};
use aws_lc_rs::signature::{self, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use coset::TaggedCborSerializable as _;
use serde_json::{Value, json};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

/// 2026-11-22T12:00:00Z: the vectors were made an hour before.
const NOW: UnixTime = UnixTime::from_seconds(1_795_348_800);
/// 2024-03-01T10:01:00Z: the keyless ones were signed a minute before.
const THEN: UnixTime = UnixTime::from_seconds(1_709_287_260);
const PAIRS: usize = 300;
/// Calls that are timed as one: a clock is too coarse for fewer.
const CALLS: u32 = 4;

fn main() {
    println!(
        "| Verification without I/O | Must | Measured, bare cryptography, median of {PAIRS} paired ratios |\n|---|---|---|"
    );
    for name in ["bundle-p256", "bundle-p384", "bundle-rsa2048"] {
        keyed(name, "1.5 of its cryptography", Case::bundle(name));
    }
    for name in ["legacy-p256", "legacy-rsa2048"] {
        keyed(name, "1.5 of its cryptography", Case::legacy(name));
    }
    for name in ["notation-jws-ec256", "notation-jws-r2048", "notation-cose-ec256", "notation-cose-r2048"] {
        keyed(name, "1.5 of its cryptography", Case::notation(name));
    }
    keyed("keyless bundle, Rekor's first version", "1 ms", Case::keyless("statement.json"));
    keyed("keyless bundle, Rekor of tiles, time-stamp", "1 ms", Case::keyless("tiles.json"));
}

/// A signature and the calls that it needs at least.
struct Case {
    artifact: Artifact,
    trust: Trust,
    at: UnixTime,
    bare: Vec<Call>,
}

/// One call of aws-lc-rs. Keys of the policy are parsed once, those of certificates each time.
enum Call {
    Known(ParsedPublicKey, Vec<u8>, Vec<u8>),
    Sent(&'static dyn VerificationAlgorithm, Vec<u8>, Vec<u8>, Vec<u8>),
}

impl Call {
    fn make(&self) {
        match self {
            Self::Known(key, message, signature) => key.verify_sig(message, signature).unwrap(),
            Self::Sent(algorithm, key, message, signature) => {
                UnparsedPublicKey::new(*algorithm, key).verify(message, signature).unwrap();
            }
        }
    }
}

/// Times a case beside its calls, in turns.
fn keyed(name: &str, must: &str, case: Case) {
    let image = image();
    let evidence = Evidence::new(vec![case.artifact.clone()]).unwrap();
    let ours = || {
        let findings = verify(black_box(&image), black_box(&evidence), &case.trust, case.at, &mut Budget::default());
        assert_eq!(findings.facts.len(), 1, "{name}: {findings:?}");
    };
    let bare = || case.bare.iter().for_each(|call| black_box(call).make());
    let allocations = allocation_counter::measure(ours).count_total;
    let (mut whole, mut least, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        let (one, other) = if pair % 2 == 0 {
            let one = time(&ours);
            (one, time(&bare))
        } else {
            let other = time(&bare);
            (time(&ours), other)
        };
        ratios.push(one.as_secs_f64() / other.as_secs_f64());
        whole.push(one);
        least.push(other);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "| {name} | {must} | {:.1?}, {:.1?}, {:.2}; {allocations} allocations, {} signatures |",
        median(&mut whole),
        median(&mut least),
        ratios[PAIRS / 2],
        case.bare.len(),
    );
}

fn time(work: &impl Fn()) -> Duration {
    let started = Instant::now();
    (0..CALLS).for_each(|_| work());
    started.elapsed() / CALLS
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

impl Case {
    /// cosign's bundle by a key.
    fn bundle(name: &str) -> Self {
        let bundle: Value = serde_json::from_slice(&vector(&format!("{name}/layer-0"))).unwrap();
        let envelope = &bundle["dsseEnvelope"];
        let call = known(name, pae(&base64(&envelope["payload"])), base64(&envelope["signatures"][0]["sig"]));
        Self { artifact: artifact(name), trust: trust_key(name), at: NOW, bare: vec![call] }
    }

    /// cosign's legacy signature by a key.
    fn legacy(name: &str) -> Self {
        let manifest: Value = serde_json::from_slice(&vector(&format!("{name}/manifest.json"))).unwrap();
        let signature = base64(&manifest["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"]);
        let call = known(name, vector(&format!("{name}/layer-0")), signature);
        Self { artifact: artifact(name), trust: trust_key(name), at: NOW, bare: vec![call] }
    }

    /// A Notary Project signature: the envelope's, and that of each certificate of its chain.
    fn notation(name: &str) -> Self {
        let bytes = vector(&format!("{name}/layer-0"));
        let (signed, signature, chain) = if name.contains("jws") { jws(&bytes) } else { cose(&bytes) };
        let is_rsa = name.contains("-r2048");
        let algorithm: &'static dyn VerificationAlgorithm =
            if is_rsa { &signature::RSA_PSS_2048_8192_SHA256 } else { &signature::ECDSA_P256_SHA256_FIXED };
        let mut bare = issued(&chain, if is_rsa { &signature::RSA_PKCS1_2048_8192_SHA256 } else { P256 });
        bare.push(Call::Sent(algorithm, spki(&chain[0]), signed, signature));
        let root = name.rsplit('-').next().unwrap();
        let root = Certificate::all_from_pem(&vector(&format!("keys/{root}-root.pem"))).unwrap();
        let store = CertificateStore::new(root).unwrap();
        let certificates = BTreeMap::from([("acme".parse().unwrap(), store)]);
        Self { artifact: artifact(name), trust: Trust { certificates, ..Trust::default() }, at: NOW, bare }
    }

    /// A keyless bundle: the statement's signature, the chain's, the log's under its checkpoint; and either the log's promise, or a
    /// time-stamp. All keys are P-256.
    fn keyless(file: &str) -> Self {
        let bytes = vector(&format!("keyless/{file}"));
        let bundle: Value = serde_json::from_slice(&bytes).unwrap();
        let root: Value = serde_json::from_slice(&vector("keyless/trusted_root.json")).unwrap();
        let material = &bundle["verificationMaterial"];
        let leaf = base64(&material["certificate"]["rawBytes"]);
        let authorities = root["certificateAuthorities"][0]["certChain"]["certificates"].as_array().unwrap();
        let mut chain = vec![leaf.clone()];
        chain.extend(authorities.iter().map(|one| base64(&one["rawBytes"])));
        // The anchor's own signature is not verified: it is trusted as it is.
        let mut bare = issued(&chain, P256);
        bare.pop();
        let envelope = &bundle["dsseEnvelope"];
        let message = pae(&base64(&envelope["payload"]));
        let signature = base64(&envelope["signatures"][0]["sig"]);
        // As many verifications by P-256 as there are signatures of services: checkpoint and certificate transparency, and a promise or
        // the two of a time-stamp and its certificate. What they are over is about as long as this.
        let services = if material["tlogEntries"][0]["inclusionPromise"].is_null() { 4 } else { 3 };
        bare.extend((0..=services).map(|_| Call::Sent(P256, spki(&leaf), message.clone(), signature.clone())));
        let sigstore = BTreeMap::from([(
            "acme".parse().unwrap(),
            SigstoreRoot::from_json(&vector("keyless/trusted_root.json")).unwrap(),
        )]);
        let artifact = wrap("application/vnd.dev.sigstore.bundle.v0.3+json", bytes);
        Self { artifact, trust: Trust { sigstore, ..Trust::default() }, at: THEN, bare }
    }
}

const P256: &dyn VerificationAlgorithm = &signature::ECDSA_P256_SHA256_ASN1;

fn key_of(name: &str) -> PublicKey {
    let key = name.rsplit('-').next().unwrap();
    PublicKey::from_pem(&String::from_utf8(vector(&format!("keys/{key}.pub.pem"))).unwrap()).unwrap()
}

fn trust_key(name: &str) -> Trust {
    Trust { keys: BTreeMap::from([("ci".parse().unwrap(), key_of(name))]), ..Trust::default() }
}

/// The call for a key of the policy, by the kind that the vector's name ends with.
fn known(name: &str, message: Vec<u8>, signature: Vec<u8>) -> Call {
    let algorithm: &'static dyn VerificationAlgorithm = match name.rsplit('-').next().unwrap() {
        "p256" => P256,
        "p384" => &signature::ECDSA_P384_SHA384_ASN1,
        "rsa2048" => &signature::RSA_PKCS1_2048_8192_SHA256,
        other => panic!("{other}"),
    };
    Call::Known(ParsedPublicKey::new(algorithm, key_of(name).spki()).unwrap(), message, signature)
}

/// One call for each certificate of `chain`, by its issuer's key; the last is its own issuer.
fn issued(chain: &[Vec<u8>], algorithm: &'static dyn VerificationAlgorithm) -> Vec<Call> {
    let call = |(at, der): (usize, &Vec<u8>)| {
        let (_, parsed) = X509Certificate::from_der(der).unwrap();
        let issuer = spki(chain.get(at + 1).unwrap_or(der));
        let signature = parsed.signature_value.data.to_vec();
        Call::Sent(algorithm, issuer, parsed.tbs_certificate.as_ref().to_vec(), signature)
    };
    chain.iter().enumerate().map(call).collect()
}

fn spki(der: &[u8]) -> Vec<u8> {
    X509Certificate::from_der(der).unwrap().1.public_key().raw.to_vec()
}

/// What is signed, the signature, and the chain.
fn jws(bytes: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<Vec<u8>>) {
    let jws: Value = serde_json::from_slice(bytes).unwrap();
    let text = |name: &str| jws[name].as_str().unwrap().to_owned();
    let signed = format!("{}.{}", text("protected"), text("payload")).into_bytes();
    let chain = jws["header"]["x5c"].as_array().unwrap().iter().map(base64).collect();
    (signed, URL_SAFE_NO_PAD.decode(text("signature")).unwrap(), chain)
}

fn cose(bytes: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<Vec<u8>>) {
    let sign1 = coset::CoseSign1::from_tagged_slice(bytes).unwrap();
    let chain = sign1.unprotected.rest.iter().find(|(label, _)| *label == coset::Label::Int(33)).unwrap();
    let chain = chain.1.as_array().unwrap().iter().map(|one| one.as_bytes().unwrap().clone()).collect();
    (sign1.tbs_data(&[]), sign1.signature, chain)
}

fn pae(payload: &[u8]) -> Vec<u8> {
    [format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len()).as_bytes(), payload].concat()
}

fn base64(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

fn vector(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn document(media_type: &str, bytes: Vec<u8>) -> Document {
    Document::new(MediaType::new(media_type).unwrap(), bytes).unwrap()
}

fn image() -> BoundImage {
    let typed = [
        (MediaType::OCI_INDEX, "image/index.json"),
        (MediaType::OCI_MANIFEST, "image/manifest-amd64.json"),
        (MediaType::OCI_CONFIG, "image/config-amd64.json"),
    ];
    let all = typed.map(|(kind, file)| document(kind, vector(file)));
    let [index, manifest, config] = [0, 1, 2].map(|at: usize| *all[at].digest());
    let documents: Documents = all.into_iter().map(|document| (*document.digest(), document)).collect();
    let platform: Platform = "linux/amd64".parse().unwrap();
    bind(&ImageClaim { manifest, config, indexes: vec![index], names: Vec::new() }, &documents, &platform).unwrap()
}

/// A vector as it was collected.
fn artifact(name: &str) -> Artifact {
    let manifest = vector(&format!("{name}/manifest.json"));
    let value: Value = serde_json::from_slice(&manifest).unwrap();
    let layer = value["layers"][0]["mediaType"].as_str().unwrap();
    let index = Digest::sha256(&vector("image/index.json"));
    Artifact {
        subject: value["subject"]["digest"].as_str().map_or(index, |text| text.parse().unwrap()),
        found_by: FoundBy::ReferrersTag,
        blobs: vec![document(layer, vector(&format!("{name}/layer-0")))],
        manifest: document(MediaType::OCI_MANIFEST, manifest),
    }
}

/// A signature manifest about the index around one bundle.
fn wrap(media_type: &str, envelope: Vec<u8>) -> Artifact {
    let (blob, index) = (document(media_type, envelope), vector("image/index.json"));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": media_type,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}").to_string(), "size": 2 },
        "layers": [{ "mediaType": media_type, "digest": blob.digest().to_string(), "size": blob.bytes().len() }],
        "subject": { "mediaType": MediaType::OCI_INDEX, "digest": Digest::sha256(&index).to_string(), "size": index.len() },
    });
    Artifact {
        subject: Digest::sha256(&index),
        found_by: FoundBy::Given,
        blobs: vec![blob],
        manifest: document(MediaType::OCI_MANIFEST, manifest.to_string().into_bytes()),
    }
}
