//! Certificate chains with one thing wrong each, around a signature that is otherwise right.

use assay_admission::UnixTime;
use assay_verify::{Certificate, RejectionReason, Trust};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyUsagePurpose, NameConstraints, date_time_ymd,
};

use crate::{jws::Jws, support::*};

const LEAF: &str = "C=DE,ST=Berlin,O=Acme,CN=leaf";
const INTERMEDIATE: &str = "C=DE,ST=Berlin,O=Acme,CN=intermediate";
const ROOT: &str = "C=DE,ST=Berlin,O=Acme,CN=root";

/// A root, an intermediate and a leaf.
pub(crate) struct Pki {
    pub(crate) chain: Vec<Certificate>,
    pub(crate) leaf_key: TestKey,
}

struct Recipe {
    root: CertificateParams,
    intermediate: CertificateParams,
    leaf: CertificateParams,
}

pub(crate) fn params(name: &str, ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CountryName, "DE");
    subject.push(DnType::StateOrProvinceName, "Berlin");
    subject.push(DnType::OrganizationName, "Acme");
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    } else {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    }
    params
}

impl Recipe {
    fn new() -> Self {
        Self { root: params("root", true), intermediate: params("intermediate", true), leaf: params("leaf", false) }
    }

    fn make(self) -> Pki {
        let (root_key, intermediate_key, leaf_key) = (TestKey::new(), TestKey::new(), TestKey::new());
        let root = self.root.self_signed(&root_key.0).unwrap();
        let issuer = Issuer::from_params(&self.root, &root_key.0);
        let intermediate = self.intermediate.signed_by(&intermediate_key.0, &issuer).unwrap();
        let issuer = Issuer::from_params(&self.intermediate, &intermediate_key.0);
        let leaf = self.leaf.signed_by(&leaf_key.0, &issuer).unwrap();
        let chain = [leaf, intermediate, root];
        Pki { chain: chain.iter().map(|made| Certificate::from_der(made.der().to_vec()).unwrap()).collect(), leaf_key }
    }
}

impl Pki {
    pub(crate) fn new() -> Self {
        Recipe::new().make()
    }

    pub(crate) fn trust(&self) -> Trust {
        trust_certificates(vec![self.chain.last().unwrap().clone()])
    }

    fn signature(&self) -> assay_verify::Artifact {
        envelope(JWS, Jws::good(self).sign(&self.leaf_key).to_string())
    }
}

fn refused_with(change: impl FnOnce(&mut Recipe)) -> RejectionReason {
    let mut recipe = Recipe::new();
    change(&mut recipe);
    let pki = recipe.make();
    refused(pki.signature(), &pki.trust())
}

fn accepted_with(change: impl FnOnce(&mut Recipe)) {
    let mut recipe = Recipe::new();
    change(&mut recipe);
    let pki = recipe.make();
    accepted(pki.signature(), &pki.trust());
}

fn certificate(subject: &str, problem: &str) -> RejectionReason {
    RejectionReason::Certificate { subject: subject.to_owned(), problem: problem.to_owned() }
}

#[test]
fn every_certificate_of_the_chain_must_be_valid_now() {
    type Part = fn(&mut Recipe) -> &mut CertificateParams;
    let parts: [(&str, Part); 3] =
        [(LEAF, |r| &mut r.leaf), (INTERMEDIATE, |r| &mut r.intermediate), (ROOT, |r| &mut r.root)];
    let first = UnixTime::from_seconds(1_767_225_600);
    for (subject, part) in parts {
        let expired = refused_with(|recipe| part(recipe).not_after = date_time_ymd(2026, 11, 22));
        let not_after = UnixTime::from_seconds(1_795_305_600);
        let subject = subject.to_owned();
        assert_eq!(
            expired,
            RejectionReason::CertificateTime { subject: subject.clone(), not_before: first, not_after, at: NOW }
        );
        let early = refused_with(|recipe| part(recipe).not_before = date_time_ymd(2026, 11, 23));
        let (not_before, not_after) = (UnixTime::from_seconds(1_795_392_000), UnixTime::from_seconds(1_798_761_600));
        assert_eq!(early, RejectionReason::CertificateTime { subject, not_before, not_after, at: NOW });
    }
}

#[test]
fn the_last_second_of_validity_counts_and_the_next_does_not() {
    let pki = Pki::new();
    let last = pki.chain[0].not_after();
    assert_eq!(findings_at(vec![pki.signature()], &pki.trust(), last).facts.len(), 1);
    let at = UnixTime::from_seconds(last.seconds() + 1);
    let reason = refused_at(pki.signature(), &pki.trust(), at);
    assert!(matches!(reason, RejectionReason::CertificateTime { .. }), "{reason:?}");
}

#[test]
fn a_leaf_that_is_a_ca_and_a_ca_that_is_none_are_refused() {
    let reason = refused_with(|recipe| recipe.leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(reason, certificate(LEAF, "it is a CA, and the leaf must not be one"));
    let reason = refused_with(|recipe| recipe.intermediate.is_ca = IsCa::ExplicitNoCa);
    assert_eq!(reason, certificate(INTERMEDIATE, "it is no CA"));
    accepted_with(|recipe| recipe.leaf.is_ca = IsCa::NoCa);
}

#[test]
fn key_usages_other_than_the_profiles_are_refused() {
    let reason = refused_with(|recipe| recipe.leaf.key_usages.push(KeyUsagePurpose::KeyCertSign));
    let found = "its keyUsage must be digitalSignature alone, and it is Digital Signature, Key Cert Sign";
    assert_eq!(reason, certificate(LEAF, found));
    let reason = refused_with(|recipe| recipe.leaf.key_usages.clear());
    assert_eq!(reason, certificate(LEAF, "it has no keyUsage"));
    let reason = refused_with(|recipe| recipe.intermediate.key_usages = vec![KeyUsagePurpose::CrlSign]);
    assert_eq!(reason, certificate(INTERMEDIATE, "its keyUsage must have keyCertSign, and it is CRL Sign"));
    accepted_with(|recipe| recipe.leaf.key_usages.push(KeyUsagePurpose::ContentCommitment));
    let reason = refused_with(|recipe| {
        recipe.leaf.key_usages.clear();
        // keyUsage digitalSignature, not critical.
        let usage = CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![3, 2, 7, 0x80]);
        recipe.leaf.custom_extensions.push(usage);
    });
    assert_eq!(reason, certificate(LEAF, "its keyUsage is not critical"));
}

#[test]
fn extended_key_usages_of_another_trade_are_refused() {
    let problem = "its extendedKeyUsage must be codeSigning, without any of TLS, mail, time-stamping or OCSP";
    for other in [
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::EmailProtection,
        ExtendedKeyUsagePurpose::TimeStamping,
        ExtendedKeyUsagePurpose::OcspSigning,
        ExtendedKeyUsagePurpose::Any,
    ] {
        let reason = refused_with(|recipe| recipe.leaf.extended_key_usages = vec![other.clone()]);
        assert_eq!(reason, certificate(LEAF, problem), "{other:?}");
        let reason = refused_with(|recipe| recipe.leaf.extended_key_usages.push(other.clone()));
        assert_eq!(reason, certificate(LEAF, problem), "{other:?}");
    }
    accepted_with(|recipe| recipe.leaf.extended_key_usages.clear());
    // A vendor's own usage beside codeSigning says nothing against it.
    accepted_with(|recipe| {
        recipe.leaf.extended_key_usages.push(ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, 99]))
    });
}

#[test]
fn path_length_name_constraints_and_unknown_critical_extensions_are_held() {
    let reason = refused_with(|recipe| recipe.root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    assert_eq!(reason, certificate(ROOT, "its path length 0 is exceeded by 1 CAs below it"));
    accepted_with(|recipe| recipe.root.is_ca = IsCa::Ca(BasicConstraints::Constrained(1)));
    let reason = refused_with(|recipe| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("acme.example".to_owned())];
        let constraints = NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() };
        recipe.intermediate.name_constraints = Some(constraints);
    });
    assert_eq!(reason, certificate(INTERMEDIATE, "it has name constraints"));
    let extension = |critical| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99, 1], vec![5, 0]);
        extension.set_criticality(critical);
        extension
    };
    let reason = refused_with(|recipe| recipe.leaf.custom_extensions.push(extension(true)));
    assert_eq!(reason, certificate(LEAF, "its critical extension 1.3.6.1.4.1.99.1 is unknown"));
    accepted_with(|recipe| recipe.leaf.custom_extensions.push(extension(false)));
}

#[test]
fn chains_that_are_not_full_and_ordered_are_refused() {
    let pki = Pki::new();
    let with = |chain: &[usize]| {
        let chain = chain.iter().map(|at| pki.chain[*at].clone()).collect();
        let other = Pki { chain, leaf_key: TestKey(rcgen::KeyPair::try_from(pki.leaf_key.0.serialize_der()).unwrap()) };
        // Any of them is trusted, so that nothing but the order can be wrong.
        refused(other.signature(), &trust_certificates(pki.chain.clone()))
    };
    assert_eq!(with(&[0, 1]), certificate(INTERMEDIATE, "the root is missing"));
    assert_eq!(with(&[0]), certificate(LEAF, "the root is missing"));
    assert_eq!(with(&[0, 2]), certificate(LEAF, "the next certificate is not its issuer"));
    assert_eq!(with(&[0, 1, 2, 2]), certificate(ROOT, "it is self-issued and not the last of the chain"));
    let usage = "its keyUsage must be digitalSignature alone, and it is Key Cert Sign, CRL Sign";
    assert_eq!(with(&[1, 2]), certificate(INTERMEDIATE, usage));
    assert_eq!(with(&[0, 1, 2, 0]), certificate(ROOT, "the next certificate is not its issuer"));
    assert_eq!(with(&[]), malformed("x5c", "is empty"));
    let reason = with(&[0; 9]);
    let RejectionReason::Limit(limit) = reason else { panic!("{reason:?}") };
    assert_eq!((limit.what, limit.limit), ("certificates in a chain", 8));
}

#[test]
fn a_chain_of_the_same_names_that_another_root_signed_is_refused() {
    let (trusted, forged) = (Pki::new(), Pki::new());
    assert_eq!(
        refused(forged.signature(), &trusted.trust()),
        RejectionReason::UntrustedChain { subject: LEAF.to_owned() }
    );
    // The trusted root put behind a forged intermediate of the same name.
    let chain = vec![forged.chain[0].clone(), forged.chain[1].clone(), trusted.chain[2].clone()];
    let mixed = Pki { chain, leaf_key: forged.leaf_key };
    assert_eq!(refused(mixed.signature(), &trusted.trust()), certificate(INTERMEDIATE, "its issuer did not sign it"));
}

#[test]
fn a_signature_by_another_key_than_the_leafs_is_refused() {
    let pki = Pki::new();
    let stolen = Pki { chain: pki.chain.clone(), leaf_key: TestKey::new() };
    let by = format!("certificate {LEAF:?}");
    assert_eq!(refused(stolen.signature(), &pki.trust()), RejectionReason::BadSignature { by });
}

#[test]
fn any_certificate_of_the_chain_may_be_the_anchor() {
    let pki = Pki::new();
    for anchor in &pki.chain {
        accepted(pki.signature(), &trust_certificates(vec![anchor.clone()]));
    }
}

#[test]
fn a_subject_that_cannot_be_matched_without_doubt_is_refused() {
    let reason = refused_with(|recipe| {
        let bmp = DnValue::BmpString(rcgen::string::BmpString::try_from("x").unwrap());
        recipe.leaf.distinguished_name.push(DnType::OrganizationalUnitName, bmp);
    });
    let RejectionReason::Certificate { problem, .. } = reason else { panic!("{reason:?}") };
    assert_eq!(problem, "its subject has a multi-valued part or a value that is no text");
}

#[test]
fn an_ed25519_leaf_is_refused() {
    let recipe = Recipe::new();
    let (root_key, leaf_key) = (TestKey::new(), rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap());
    let root = recipe.root.self_signed(&root_key.0).unwrap();
    let leaf = recipe.leaf.signed_by(&leaf_key, &Issuer::from_params(&recipe.root, &root_key.0)).unwrap();
    let chain = [leaf, root].map(|made| Certificate::from_der(made.der().to_vec()).unwrap()).to_vec();
    let pki = Pki { chain, leaf_key: TestKey::new() };
    let problem = "its Ed25519 key is not one that the Notary Project uses";
    assert_eq!(refused(pki.signature(), &pki.trust()), certificate(LEAF, problem));
}
