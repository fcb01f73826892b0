//! Cases of x509-limbo (C2SP) for the profile of the Notary Project's chains, made again under their names with code-signing leaves
//! instead of servers. What is judged otherwise than there is listed with its reason in docs/verify-divergences.md.

use std::fs;

use assay_admission::UnixTime;
use assay_verify::{Certificate, RejectionReason};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, Issuer, KeyUsagePurpose, NameConstraints, SerialNumber, date_time_ymd,
};

use crate::{
    certificates::{Pki, params},
    jws::Jws,
    support::*,
};

/// What a chain is worth: nothing for the reason that is named, if it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    Valid,
    Invalid(&'static str),
}
use Worth::{Invalid, Valid};

/// A chain from the root to the leaf.
struct Chain {
    certificates: Vec<CertificateParams>,
    /// Another issuer's name for the leaf.
    issuer: Option<DistinguishedName>,
    /// What is done to the leaf's DER once it is signed.
    bend: fn(&mut Vec<u8>),
    /// Which certificates are trusted; a stranger's root if none.
    trusted: Option<usize>,
    at: UnixTime,
}

impl Chain {
    fn of(certificates: Vec<CertificateParams>) -> Self {
        Self { certificates, issuer: None, bend: |_| {}, trusted: Some(0), at: NOW }
    }

    /// Root, one CA and a leaf, with one of them changed.
    fn with(at: usize, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut certificates = vec![params("root", true), params("intermediate", true), params("leaf", false)];
        change(&mut certificates[at]);
        Self::of(certificates)
    }

    /// Root, one CA for each path length, and a leaf.
    fn lengths(lengths: &[u8]) -> Self {
        let mut certificates = vec![params("root", true)];
        for (at, length) in lengths.iter().enumerate() {
            let mut one = params(&format!("intermediate {at}"), true);
            one.is_ca = IsCa::Ca(BasicConstraints::Constrained(*length));
            certificates.push(one);
        }
        certificates.push(params("leaf", false));
        Self::of(certificates)
    }

    /// Why a signature by the leaf does not count, if it does not.
    fn judge(self) -> Result<(), String> {
        let mut issuer: Option<(CertificateParams, TestKey)> = None;
        let mut made = Vec::new();
        let last = self.certificates.len() - 1;
        for (at, one) in self.certificates.into_iter().enumerate() {
            let key = TestKey::new();
            let der = match &issuer {
                None => one.self_signed(&key.0).unwrap(),
                Some((above, above_key)) => {
                    let mut above = above.clone();
                    if let (true, Some(name)) = (at == last, &self.issuer) {
                        above.distinguished_name.clone_from(name);
                    }
                    one.signed_by(&key.0, &Issuer::from_params(&above, &above_key.0)).unwrap()
                }
            };
            let mut der = der.der().to_vec();
            if at == last {
                (self.bend)(&mut der);
            }
            made.push(Certificate::from_der(der).map_err(|error| error.to_string())?);
            issuer = Some((one, key));
        }
        let anchor = self.trusted.map_or_else(|| Pki::new().chain[2].clone(), |at| made[at].clone());
        made.reverse();
        let pki = Pki { chain: made, leaf_key: issuer.unwrap().1 };
        let signature = envelope(JWS, Jws::good(&pki).sign(&pki.leaf_key).to_string());
        let findings = findings_at(vec![signature], &trust_certificates(vec![anchor]), self.at);
        match (findings.facts.as_slice(), findings.rejections.as_slice()) {
            ([_], []) => Ok(()),
            ([], [rejection]) => Err(match &rejection.reason {
                RejectionReason::Certificate { problem, .. } => problem.clone(),
                other => other.to_string(),
            }),
            other => panic!("{other:?}"),
        }
    }
}

fn extension(oid: &[u64], critical: bool, content: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(critical);
    extension
}

/// A CA whose basicConstraints is written by hand, and whose subject key identifier rcgen therefore leaves out.
fn by_hand(one: &mut CertificateParams, critical: bool) {
    one.is_ca = IsCa::NoCa;
    one.custom_extensions.push(extension(&[2, 5, 29, 19], critical, &[0x30, 3, 1, 1, 0xff]));
}

fn unknown(one: &mut CertificateParams) {
    one.custom_extensions.push(extension(&[1, 3, 6, 1, 4, 1, 55738, 666, 1], true, &[]));
}

fn constrained(name: &str) -> NameConstraints {
    NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(name.to_owned())],
        excluded_subtrees: Vec::new(),
    }
}

const KEY_ID: &[u64] = &[2, 5, 29, 14];
const AUTHORITY_KEY_ID: &[u64] = &[2, 5, 29, 35];
const ROOT: usize = 0;
const CA: usize = 1;
const LEAF: usize = 2;

/// Name, x509-limbo's verdict, ours, and the chain.
fn cases() -> Vec<(&'static str, Worth, Worth, Chain)> {
    let wrong = Invalid("");
    let mut all = structure(wrong);
    all.extend(extensions(wrong));
    all.extend(path_lengths(wrong));
    all.extend(times(wrong));
    all
}

fn structure(wrong: Worth) -> Vec<(&'static str, Worth, Worth, Chain)> {
    let ca_as_leaf = || Chain::of(vec![params("root", true), params("ca", true)]);
    let swapped = Chain { trusted: Some(1), ..Chain::with(LEAF, |_| {}) };
    let mismatch = Chain {
        bend: |der| {
            let sha256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
            let at = der.windows(8).rposition(|window| window == sha256).unwrap();
            der[at + 7] = 3;
        },
        ..Chain::with(LEAF, |_| {})
    };
    let nameless = Chain { issuer: Some(DistinguishedName::new()), ..Chain::with(LEAF, |_| {}) };
    let no_subject = |at| Chain::with(at, |one| one.distinguished_name = DistinguishedName::new());
    let leaf_key = Invalid("keyUsage must be digitalSignature alone");
    vec![
        ("rfc5280::ee-empty-issuer", wrong, Invalid("its issuer is empty"), nameless),
        ("rfc5280::ca-empty-subject", wrong, Invalid("is empty"), no_subject(ROOT)),
        (
            "rfc5280::chain-untrusted-root",
            wrong,
            Invalid("ends in no"),
            Chain { trusted: None, ..Chain::with(LEAF, |_| {}) },
        ),
        ("rfc5280::mismatching-signature-algorithm", wrong, Invalid("two signature algorithms"), mismatch),
        ("rfc5280::root-and-intermediate-swapped", Valid, Valid, swapped),
        ("rfc5280::ca-as-leaf", Valid, leaf_key, ca_as_leaf()),
        ("webpki::ca-as-leaf", wrong, leaf_key, ca_as_leaf()),
        (
            "webpki::ee-basicconstraints-ca",
            wrong,
            Invalid("it is a CA"),
            Chain::with(LEAF, |one| {
                one.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }),
        ),
        (
            "rfc5280::serial::too-long",
            wrong,
            Valid,
            Chain::with(LEAF, |one| {
                one.serial_number = Some(SerialNumber::from_slice(&[0x11; 22]));
            }),
        ),
        (
            "rfc5280::serial::zero",
            wrong,
            Valid,
            Chain::with(LEAF, |one| one.serial_number = Some(SerialNumber::from(0))),
        ),
    ]
}

fn extensions(wrong: Worth) -> Vec<(&'static str, Worth, Worth, Chain)> {
    let no_sign = |one: &mut CertificateParams| one.key_usages = vec![KeyUsagePurpose::CrlSign];
    let critical = Invalid("critical extension");
    let names = Invalid("name constraints");
    // id-ad-caIssuers and an address.
    let issuers =
        [&[0x30, 0x1f, 0x30, 0x1d, 6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86, 0x11][..], b"http://ca.example"].concat();
    let aia = |is_critical| {
        let extension = extension(&[1, 3, 6, 1, 5, 5, 7, 1, 1], is_critical, &issuers);
        Chain::with(LEAF, |one| one.custom_extensions.push(extension))
    };
    let usage = |usages: Vec<ExtendedKeyUsagePurpose>| Chain::with(LEAF, |one| one.extended_key_usages = usages);
    let put = |at, oid: &[u64], is_critical, content: &[u8]| {
        let extension = extension(oid, is_critical, content);
        Chain::with(at, |one| one.custom_extensions.push(extension))
    };
    vec![
        ("rfc5280::unknown-critical-extension-ee", wrong, critical, Chain::with(LEAF, unknown)),
        ("rfc5280::unknown-critical-extension-intermediate", wrong, critical, Chain::with(CA, unknown)),
        ("rfc5280::unknown-critical-extension-root", wrong, critical, Chain::with(ROOT, unknown)),
        (
            "rfc5280::intermediate-ca-without-ca-bit",
            wrong,
            Invalid("it is no CA"),
            Chain::with(CA, |one| {
                one.is_ca = IsCa::ExplicitNoCa;
            }),
        ),
        (
            "rfc5280::intermediate-ca-missing-basic-constraints",
            wrong,
            Invalid("it is no CA"),
            Chain::with(CA, |one| {
                one.is_ca = IsCa::NoCa;
            }),
        ),
        (
            "rfc5280::root-missing-basic-constraints",
            wrong,
            Invalid("it is no CA"),
            Chain::with(ROOT, |one| {
                one.is_ca = IsCa::NoCa;
            }),
        ),
        (
            "rfc5280::root-non-critical-basic-constraints",
            wrong,
            Invalid("basicConstraints is not critical"),
            Chain::with(ROOT, |one| by_hand(one, false)),
        ),
        (
            "rfc5280::root-inconsistent-ca-extensions",
            wrong,
            Invalid("must have keyCertSign"),
            Chain::with(ROOT, no_sign),
        ),
        ("rfc5280::ica-ku-keycertsign", wrong, Invalid("must have keyCertSign"), Chain::with(CA, no_sign)),
        (
            "rfc5280::leaf-ku-keycertsign",
            wrong,
            Invalid("keyUsage must be digitalSignature alone"),
            Chain::with(LEAF, |one| {
                one.key_usages.push(KeyUsagePurpose::KeyCertSign);
            }),
        ),
        ("rfc5280::ee-aia", Valid, Valid, aia(false)),
        ("rfc5280::ee-critical-aia-invalid", wrong, critical, aia(true)),
        (
            "rfc5280::duplicate-extensions",
            wrong,
            Invalid("stands twice"),
            Chain::with(LEAF, |one| {
                let san = extension(&[2, 5, 29, 17], false, &[0x30, 3, 0x82, 1, b'a']);
                one.custom_extensions.extend([san.clone(), san]);
            }),
        ),
        ("rfc5280::no-keyusage", Valid, Invalid("it has no keyUsage"), Chain::with(LEAF, |one| one.key_usages.clear())),
        ("rfc5280::no-basicconstraints", Valid, Valid, Chain::with(LEAF, |one| one.is_ca = IsCa::NoCa)),
        (
            "rfc5280::eku::ee-wrong-eku",
            wrong,
            Invalid("extendedKeyUsage must be codeSigning"),
            usage(vec![ExtendedKeyUsagePurpose::ClientAuth]),
        ),
        ("rfc5280::eku::ee-without-eku", Valid, Valid, usage(Vec::new())),
        (
            "webpki::eku::ee-anyeku",
            wrong,
            Invalid("extendedKeyUsage must be codeSigning"),
            usage(vec![ExtendedKeyUsagePurpose::CodeSigning, ExtendedKeyUsagePurpose::Any]),
        ),
        ("rfc5280::aki::critical-aki", wrong, critical, put(ROOT, AUTHORITY_KEY_ID, true, &[0x30, 3, 0x80, 1, 1])),
        ("rfc5280::aki::leaf-missing-aki", wrong, Valid, Chain::with(LEAF, |_| {})),
        ("rfc5280::aki::intermediate-missing-aki", wrong, Valid, Chain::with(CA, |_| {})),
        ("rfc5280::aki::self-signed-root-missing-aki", Valid, Valid, Chain::with(ROOT, |_| {})),
        (
            "rfc5280::ski::critical-ski",
            wrong,
            critical,
            Chain::with(ROOT, |one| {
                by_hand(one, true);
                one.custom_extensions.push(extension(KEY_ID, true, &[4, 1, 1]));
            }),
        ),
        ("rfc5280::ski::root-missing-ski", wrong, Valid, Chain::with(ROOT, |one| by_hand(one, true))),
        ("rfc5280::ski::intermediate-missing-ski", wrong, Valid, Chain::with(CA, |one| by_hand(one, true))),
        (
            "rfc5280::nc::permitted-dns-match",
            Valid,
            names,
            Chain::with(CA, |one| {
                one.name_constraints = Some(constrained("example.com"));
            }),
        ),
        (
            "rfc5280::nc::excluded-dns-match",
            wrong,
            names,
            Chain::with(CA, |one| {
                let NameConstraints { permitted_subtrees, excluded_subtrees } = constrained("example.com");
                let turned =
                    NameConstraints { permitted_subtrees: excluded_subtrees, excluded_subtrees: permitted_subtrees };
                one.name_constraints = Some(turned);
            }),
        ),
        ("rfc5280::pc::ica-noncritical-pc", wrong, Valid, put(CA, &[2, 5, 29, 36], false, &[0x30, 3, 0x80, 1, 0])),
    ]
}

fn path_lengths(wrong: Worth) -> Vec<(&'static str, Worth, Worth, Chain)> {
    let exceeded = Invalid("is exceeded by");
    let mut self_issued = Chain::lengths(&[1, 1, 0]);
    self_issued.certificates[2].distinguished_name = self_issued.certificates[1].distinguished_name.clone();
    let mut ca_leaf = Chain::lengths(&[0, 0]);
    ca_leaf.certificates.pop();
    vec![
        ("pathlen::ee-with-intermediate-pathlen-0", Valid, Valid, Chain::lengths(&[0])),
        ("pathlen::ee-with-intermediate-pathlen-1", Valid, Valid, Chain::lengths(&[1])),
        ("pathlen::ee-with-intermediate-pathlen-2", Valid, Valid, Chain::lengths(&[2])),
        (
            "pathlen::validation-ignores-pathlen-in-leaf",
            Valid,
            Invalid("keyUsage must be digitalSignature alone"),
            ca_leaf,
        ),
        ("pathlen::intermediate-violates-pathlen-0", wrong, exceeded, Chain::lengths(&[0, 0])),
        ("pathlen::intermediate-pathlen-may-increase", Valid, Valid, Chain::lengths(&[1, 2])),
        ("pathlen::intermediate-pathlen-too-long", wrong, exceeded, Chain::lengths(&[1, 0, 0])),
        ("pathlen::self-issued-certs-pathlen", Valid, Invalid("self-issued and not the last"), self_issued),
    ]
}

fn times(wrong: Worth) -> Vec<(&'static str, Worth, Worth, Chain)> {
    let expired = |at| Chain::with(at, |one| one.not_after = date_time_ymd(2026, 2, 1));
    let (first, last) = (UnixTime::from_seconds(1_767_225_600), UnixTime::from_seconds(1_798_761_600));
    let at = |at| Chain { at, ..Chain::with(LEAF, |_| {}) };
    let outside = Invalid("is valid from");
    vec![
        ("rfc5280::validity::expired-root", wrong, outside, expired(ROOT)),
        ("rfc5280::validity::expired-intermediate", wrong, outside, expired(CA)),
        ("rfc5280::validity::expired-leaf", wrong, outside, expired(LEAF)),
        ("rfc5280::validity::notbefore-exact", Valid, Valid, at(first)),
        ("rfc5280::validity::notafter-exact", Valid, Valid, at(last)),
    ]
}

#[test]
fn chains_of_x509_limbo_are_judged_as_there_or_as_the_document_says() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/verify-divergences.md");
    let document = fs::read_to_string(document).unwrap();
    for (name, limbo, ours, chain) in cases() {
        match (chain.judge(), ours) {
            (Ok(()), Valid) => {}
            (Err(problem), Invalid(part)) if problem.contains(part) => {}
            (found, expected) => panic!("{name}: {found:?}, and {expected:?} was expected"),
        }
        let differs = (limbo == Valid) != (ours == Valid);
        assert_eq!(document.contains(&format!("`{name}`")), differs, "{name} in docs/verify-divergences.md");
    }
}
