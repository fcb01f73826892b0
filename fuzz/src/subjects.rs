//! What the bytes are said to be about: the image of the vectors, keys and certificates that signed it, a small Sigstore.

use std::{collections::BTreeMap, sync::LazyLock};

use assay_admission::{Digest, Document, Documents, ImageClaim, MediaType, Platform};
use assay_policy::Material;
use assay_verify::{BoundImage, Certificate, CertificateStore, PublicKey, SigstoreRoot, Trust, bind};

macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!("../../verify/vectors/", $name)).as_slice()
    };
}

static IMAGE: LazyLock<BoundImage> = LazyLock::new(|| {
    let [index, manifest, config] =
        [vector!("image/index.json"), vector!("image/manifest-amd64.json"), vector!("image/config-amd64.json")];
    let claim = ImageClaim {
        manifest: Digest::sha256(manifest),
        config: Digest::sha256(config),
        indexes: vec![Digest::sha256(index)],
        names: Vec::new(),
    };
    let typed = [(MediaType::OCI_INDEX, index), (MediaType::OCI_MANIFEST, manifest), (MediaType::OCI_CONFIG, config)];
    let documents: Documents = typed
        .into_iter()
        .map(|(kind, bytes)| document(kind, bytes.to_vec()))
        .map(|document| (*document.digest(), document))
        .collect();
    let platform: Platform = "linux/amd64".parse().expect("a platform");
    bind(&claim, &documents, &platform).expect("the vectors' image is whole")
});

static ROOT: LazyLock<SigstoreRoot> = LazyLock::new(|| {
    SigstoreRoot::from_json(vector!("keyless/trusted_root.json")).expect("the root that made the seeds")
});

static CERTIFICATES: LazyLock<Vec<Certificate>> = LazyLock::new(|| {
    Certificate::all_from_pem(include_bytes!("../seeds/notary-chain.pem")).expect("the chain of the notary vectors")
});

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let name = |text: &str| text.parse().expect("a name");
    let key = |pem: &[u8]| PublicKey::from_pem(&String::from_utf8_lossy(pem)).expect("a key");
    let store =
        |pem: &[u8]| CertificateStore::new(Certificate::all_from_pem(pem).expect("certificates")).expect("a store");
    Trust {
        keys: BTreeMap::from([
            (name("p256"), key(vector!("keys/p256.pub.pem"))),
            (name("rsa"), key(vector!("keys/rsa2048.pub.pem"))),
            (name("ed25519"), key(vector!("keys/ed25519.pub.pem"))),
            (name("attester"), key(vector!("keys/attester.pub.pem"))),
        ]),
        certificates: BTreeMap::from([
            (name("ec"), store(vector!("keys/ec256-root.pem"))),
            (name("rsa"), store(vector!("keys/r2048-root.pem"))),
        ]),
        sigstore: BTreeMap::from([(name("small"), ROOT.clone())]),
        // So that log entries beside a key are read too.
        logged_keys: BTreeMap::from([(name("rsa"), name("small"))]),
    }
});

static MATERIAL: LazyLock<Material> = LazyLock::new(|| Material {
    files: BTreeMap::from([
        ("ci.pem".to_owned(), vector!("keys/p256.pub.pem").to_vec()),
        ("root.pem".to_owned(), vector!("keys/ec256-root.pem").to_vec()),
    ]),
    ..Material::default()
});

/// The image that the vectors sign.
pub(crate) fn image() -> &'static BoundImage {
    &IMAGE
}

/// The Sigstore that the seeds are of.
pub(crate) fn root() -> &'static SigstoreRoot {
    &ROOT
}

/// A certificate that names where its revocation is looked up, and its issuer.
pub(crate) fn certificates() -> (&'static Certificate, &'static Certificate) {
    match CERTIFICATES.as_slice() {
        [leaf, issuer, ..] => (leaf, issuer),
        _ => panic!("the chain has a leaf and an issuer"),
    }
}

pub(crate) fn trust() -> &'static Trust {
    &TRUST
}

pub(crate) fn material() -> &'static Material {
    &MATERIAL
}

pub(crate) fn document(media_type: &str, bytes: Vec<u8>) -> Document {
    Document::new(MediaType::new(media_type).expect("a media type"), bytes).expect("fuzz inputs are small")
}
