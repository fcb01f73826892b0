//! Arbitrary bytes never make a parser panic, and a mutated signature never proves more than the original.

use assay_admission::Document;
use assay_verify::{Artifact, Certificate, DistinguishedNamePattern, PublicKey, Trust};
use proptest::prelude::*;

use crate::support::*;

const VECTORS: [&str; 6] = [
    "bundle-p256",
    "legacy-p256",
    "notation-jws-ec256",
    "notation-jws-r2048",
    "notation-cose-ec256",
    "notation-cose-r2048",
];

fn trust() -> Trust {
    let mut all = trust_key("ci", key("p256"));
    for root in ["ec256-root", "r2048-root"] {
        for (_, store) in trust_root(root).certificates {
            all.certificates.insert(root.parse().unwrap(), store);
        }
    }
    all
}

/// The artifact with the first layer's bytes replaced, and its manifest saying so.
fn with_layer(real: &Artifact, bytes: Vec<u8>) -> Artifact {
    let old = &real.blobs[0];
    let blob = Document::new(old.media_type().clone(), bytes).unwrap();
    let manifest = String::from_utf8(real.manifest.bytes().to_vec()).unwrap();
    let manifest = manifest
        .replace(&old.digest().to_string(), &blob.digest().to_string())
        .replace(&format!("\"size\":{}}}", old.bytes().len()), &format!("\"size\":{}}}", blob.bytes().len()))
        .replace(&format!("\"size\":{},", old.bytes().len()), &format!("\"size\":{},", blob.bytes().len()));
    Artifact {
        manifest: document("application/vnd.oci.image.manifest.v1+json", manifest.into_bytes()),
        blobs: vec![blob],
        ..real.clone()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Parts of an envelope are unsigned (the hint, the agent's name, white space): changing those changes nothing that is proved.
    #[test]
    fn a_mutated_signature_proves_nothing_new(
        which in 0..VECTORS.len(),
        at in any::<prop::sample::Index>(),
        mask in 1_u8..,
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let real = artifact(VECTORS[which]);
        let expected = findings(real.clone(), &trust()).facts;
        prop_assert_eq!(expected.len(), 1);
        let mut bytes = real.blobs[0].bytes().to_vec();
        match cut {
            Some(cut) => bytes.truncate(cut.index(bytes.len())),
            None => bytes[at.index(real.blobs[0].bytes().len())] ^= mask,
        }
        for fact in findings(with_layer(&real, bytes), &trust()).facts {
            prop_assert!(cut.is_none());
            prop_assert_eq!(fact.signer(), expected[0].signer());
            prop_assert_eq!(fact.subject(), expected[0].subject());
            prop_assert_eq!(fact.identity(), expected[0].identity());
            prop_assert_eq!(fact.annotations(), expected[0].annotations());
            prop_assert_eq!(fact.claimed_time(), expected[0].claimed_time());
            prop_assert_eq!(fact.holds_until(), expected[0].holds_until());
        }
    }

    #[test]
    fn a_mutated_signature_manifest_proves_nothing_new(
        which in 0..VECTORS.len(),
        at in any::<prop::sample::Index>(),
        mask in 1_u8..,
    ) {
        let real = artifact(VECTORS[which]);
        let expected = findings(real.clone(), &trust()).facts;
        let mut bytes = real.manifest.bytes().to_vec();
        bytes[at.index(real.manifest.bytes().len())] ^= mask;
        let manifest = Document::new(real.manifest.media_type().clone(), bytes).unwrap();
        for fact in findings(Artifact { manifest, ..real }, &trust()).facts {
            prop_assert_eq!(&fact, &expected[0]);
        }
    }

    #[test]
    fn arbitrary_envelopes_prove_nothing(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for media_type in [BUNDLE, SIMPLE_SIGNING, JWS, COSE] {
            prop_assert_eq!(findings(envelope(media_type, bytes.clone()), &trust()).facts, []);
        }
    }

    #[test]
    fn arbitrary_documents_do_not_bind(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut documents = documents();
        for media_type in ["application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"] {
            let document = document(media_type, bytes.clone());
            let top = *document.digest();
            documents.insert(top, document);
            let platform = "linux/amd64".parse().unwrap();
            prop_assert!(assay_verify::claim_of(&top, &documents, &platform, Vec::new()).is_err());
        }
    }

    #[test]
    fn arbitrary_keys_certificates_and_patterns_do_not_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        text in "\\PC{0,60}",
    ) {
        prop_assert!(PublicKey::from_spki_der(&bytes).is_err());
        prop_assert!(Certificate::from_der(bytes.clone()).is_err());
        let _ = Certificate::all_from_pem(&bytes);
        let _ = PublicKey::from_pem(&text);
        let _ = DistinguishedNamePattern::parse(&text);
    }

    /// One bit of a certificate: if it still parses, nothing that depends on it holds.
    #[test]
    fn a_mutated_certificate_is_no_anchor(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let root = Certificate::all_from_pem(&vector("keys/ec256-root.pem")).unwrap().remove(0);
        let mut der = root.der().to_vec();
        let at = at.index(der.len());
        der[at] ^= 1 << bit;
        if let Ok(changed) = Certificate::from_der(der) {
            prop_assert_eq!(findings(artifact("notation-cose-ec256"), &trust_certificates(vec![changed])).facts, []);
        }
    }
}
