//! Wycheproof's vectors through the functions that verify images: keys are read as the policy's keys and as certificates' keys are, and
//! signatures by cosign's formats, by envelopes of the Notary Project and by issuers of certificates. docs/verify-divergences.md says
//! what is judged otherwise than there.

use std::fmt::Debug;

use ::wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};
use x509_parser::{
    der_parser::{asn1_rs::Oid, oid},
    x509::AlgorithmIdentifier,
};

use super::{Algorithm, chain};
use crate::trust::PublicKey;

/// What was judged otherwise: the set, the test, and what it says.
type Differing = Vec<(String, usize, TestResult)>;

/// What a set is run through.
type Judge<'j> = &'j dyn Fn(&PublicKey, &[u8], &[u8]) -> bool;

/// Runs every test of a set of any of the crate's kinds. `acceptable` may go either way. Keys that are refused refuse everything.
macro_rules! run {
    ($kind:ident, $name:expr, $judge:expr, $differing:expr, $count:expr) => {
        let judge: Judge<'_> = $judge;
        let set = $kind::TestSet::load($name).unwrap();
        assert!(set.number_of_tests > 0);
        for group in &set.test_groups {
            let key = PublicKey::from_spki_der(&group.der);
            for test in &group.tests {
                let verifies = key.as_ref().is_ok_and(|key| judge(key, &test.msg, &test.sig));
                $count += 1;
                match (test.result, verifies) {
                    (TestResult::Valid, true) | (TestResult::Invalid, false) | (TestResult::Acceptable, _) => {}
                    (TestResult::Valid, false) | (TestResult::Invalid, true) => {
                        $differing.push((name_of(&$name), test.tc_id, test.result));
                    }
                }
            }
        }
    };
}

fn name_of(name: &impl Debug) -> String {
    format!("{name:?}")
}

fn cosign(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    key.verifies(message, signature)
}

fn issuer(algorithm: Oid<'static>) -> impl Fn(&PublicKey, &[u8], &[u8]) -> bool {
    let identifier = AlgorithmIdentifier::new(algorithm, None);
    move |key, message, signature| chain::check_signed(&identifier, message, signature, key).is_ok()
}

fn envelope(algorithm: Algorithm) -> impl Fn(&PublicKey, &[u8], &[u8]) -> bool {
    move |key, message, signature| algorithm.verifies(key.spki(), message, signature)
}

#[test]
fn ecdsa_in_der_is_judged_as_wycheproof_says() {
    use ecdsa::TestName::{
        EcdsaSecp256r1Sha256, EcdsaSecp256r1Sha512, EcdsaSecp384r1Sha256, EcdsaSecp384r1Sha384, EcdsaSecp384r1Sha512,
        EcdsaSecp521r1Sha512,
    };
    let (mut differing, mut count) = (Differing::new(), 0);
    for name in [EcdsaSecp256r1Sha256, EcdsaSecp384r1Sha384, EcdsaSecp521r1Sha512] {
        run!(ecdsa, name, &cosign, differing, count);
    }
    for (name, algorithm) in [
        (EcdsaSecp256r1Sha256, oid!(1.2.840.10045.4.3.2)),
        (EcdsaSecp256r1Sha512, oid!(1.2.840.10045.4.3.4)),
        (EcdsaSecp384r1Sha256, oid!(1.2.840.10045.4.3.2)),
        (EcdsaSecp384r1Sha384, oid!(1.2.840.10045.4.3.3)),
        (EcdsaSecp384r1Sha512, oid!(1.2.840.10045.4.3.4)),
        (EcdsaSecp521r1Sha512, oid!(1.2.840.10045.4.3.4)),
    ] {
        run!(ecdsa, name, &issuer(algorithm), differing, count);
    }
    assert_eq!(differing, []);
    assert!(count > 4000, "{count}");
}

#[test]
fn ecdsa_as_r_and_s_is_judged_as_wycheproof_says() {
    use ecdsa::TestName::{EcdsaSecp256r1Sha256P1363, EcdsaSecp384r1Sha384P1363, EcdsaSecp521r1Sha512P1363};
    let (mut differing, mut count) = (Differing::new(), 0);
    for (name, algorithm) in [
        (EcdsaSecp256r1Sha256P1363, Algorithm::Es256),
        (EcdsaSecp384r1Sha384P1363, Algorithm::Es384),
        (EcdsaSecp521r1Sha512P1363, Algorithm::Es512),
    ] {
        run!(ecdsa, name, &envelope(algorithm), differing, count);
    }
    assert_eq!(differing, []);
    assert!(count > 700, "{count}");
}

#[test]
fn rsa_pkcs_1_is_judged_as_wycheproof_says() {
    use pkcs1::TestName::{
        Rsa2048Sha256, Rsa2048Sha384, Rsa2048Sha512, Rsa3072Sha256, Rsa3072Sha384, Rsa3072Sha512, Rsa4096Sha256,
        Rsa4096Sha384, Rsa4096Sha512, Rsa8192Sha256,
    };
    let (mut differing, mut count) = (Differing::new(), 0);
    for name in [Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256, Rsa8192Sha256] {
        run!(pkcs1, name, &cosign, differing, count);
    }
    for (name, algorithm) in [
        (Rsa2048Sha256, oid!(1.2.840.113549.1.1.11)),
        (Rsa2048Sha384, oid!(1.2.840.113549.1.1.12)),
        (Rsa2048Sha512, oid!(1.2.840.113549.1.1.13)),
        (Rsa3072Sha256, oid!(1.2.840.113549.1.1.11)),
        (Rsa4096Sha256, oid!(1.2.840.113549.1.1.11)),
        (Rsa3072Sha384, oid!(1.2.840.113549.1.1.12)),
        (Rsa3072Sha512, oid!(1.2.840.113549.1.1.13)),
        (Rsa4096Sha384, oid!(1.2.840.113549.1.1.12)),
        (Rsa4096Sha512, oid!(1.2.840.113549.1.1.13)),
    ] {
        run!(pkcs1, name, &issuer(algorithm), differing, count);
    }
    assert_eq!(differing, []);
    assert!(count > 2000, "{count}");
}

#[test]
fn rsa_pss_is_judged_as_wycheproof_says_and_only_with_salts_as_long_as_the_hash() {
    use pss::TestName::{
        RsaPss2048Sha256Mgf1SaltLen0, RsaPss2048Sha256Mgf1SaltLen32, RsaPss2048Sha256Mgf1Sha1_20,
        RsaPss2048Sha384Mgf1SaltLen48, RsaPss3072Sha256Mgf1SaltLen32, RsaPss4096Sha256Mgf1SaltLen32,
        RsaPss4096Sha384Mgf1SaltLen48, RsaPss4096Sha512Mgf1SaltLen32, RsaPss4096Sha512Mgf1SaltLen64,
    };
    let (mut differing, mut count) = (Differing::new(), 0);
    for (name, algorithm) in [
        (RsaPss2048Sha256Mgf1SaltLen32, Algorithm::Ps256),
        (RsaPss3072Sha256Mgf1SaltLen32, Algorithm::Ps256),
        (RsaPss4096Sha256Mgf1SaltLen32, Algorithm::Ps256),
        (RsaPss2048Sha384Mgf1SaltLen48, Algorithm::Ps384),
        (RsaPss4096Sha384Mgf1SaltLen48, Algorithm::Ps384),
        (RsaPss4096Sha512Mgf1SaltLen64, Algorithm::Ps512),
    ] {
        run!(pss, name, &envelope(algorithm), differing, count);
    }
    assert_eq!(differing, []);
    assert!(count > 500, "{count}");
    // RFC 7518 §3.5 and RFC 8230 §2: the salt is as long as the hash, and one hash serves for message and mask.
    for (name, algorithm) in [
        (RsaPss2048Sha256Mgf1SaltLen0, Algorithm::Ps256),
        (RsaPss2048Sha256Mgf1Sha1_20, Algorithm::Ps256),
        (RsaPss4096Sha512Mgf1SaltLen32, Algorithm::Ps512),
    ] {
        let (judge, mut accepted) = (envelope(algorithm), 0);
        for group in &pss::TestSet::load(name).unwrap().test_groups {
            let key = PublicKey::from_spki_der(&group.der).unwrap();
            let valid = group.tests.iter().filter(|test| test.result == TestResult::Valid);
            accepted += valid.filter(|test| judge(&key, &test.msg, &test.sig)).count();
        }
        assert_eq!(accepted, 0, "{name:?}");
    }
}

#[test]
fn ed25519_is_judged_as_wycheproof_says() {
    let (mut differing, mut count) = (Differing::new(), 0);
    run!(eddsa, eddsa::TestName::Ed25519, &cosign, differing, count);
    assert_eq!(differing, []);
    assert!(count > 140, "{count}");
}
