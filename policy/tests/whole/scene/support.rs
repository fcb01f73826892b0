//! A key with the names by which the verifier's small Sigstore asks for one.

use assay_verify::PublicKey;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};

pub(crate) struct TestKey(pub(crate) rcgen::KeyPair);

impl TestKey {
    pub(crate) fn new() -> Self {
        Self(rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap())
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::from_pem(&self.0.public_key_pem()).unwrap()
    }

    /// ECDSA in DER.
    pub(crate) fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.0.serialize_der()).unwrap();
        key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }
}
