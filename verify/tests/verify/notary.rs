//! A signer with everything that its signatures can be judged by: a chain whose certificates name their revocation sources, the
//! keys of its CAs, and stores at any level.

use std::collections::BTreeMap;

use assay_admission::UnixTime;
use assay_verify::{
    Anchors, Artifact, Certificate, CertificateStore, Check, CheckOutcome, Evidence, Findings, Level, RejectionReason,
    RevocationEvidence, Trust, VerificationLevel, verify,
};
use rcgen::{CertificateParams, CrlDistributionPoint, CustomExtension, Issuer, date_time_ymd};

use crate::{
    asn1::{oid, seq, tlv},
    certificates::{Pki, params},
    jws::Jws,
    support::*,
};

/// Where every certificate but the root says its list is.
pub(crate) const LIST: &str = "http://ca.example/ca.crl";

/// A leaf, an intermediate and a root, all of 2026.
pub(crate) struct Chain {
    pub(crate) certificates: Vec<Certificate>,
    /// In the order of the certificates.
    pub(crate) keys: Vec<TestKey>,
}

/// What a test may change.
pub(crate) struct Recipe {
    pub(crate) leaf: CertificateParams,
    pub(crate) intermediate: CertificateParams,
    pub(crate) root: CertificateParams,
}

impl Recipe {
    pub(crate) fn new() -> Self {
        Self { leaf: params("leaf", false), intermediate: params("intermediate", true), root: params("root", true) }
    }

    pub(crate) fn make(&self) -> Chain {
        let keys = vec![TestKey::new(), TestKey::new(), TestKey::new()];
        let root = self.root.self_signed(&keys[2].0).unwrap();
        let issuer = Issuer::from_params(&self.root, &keys[2].0);
        let intermediate = self.intermediate.signed_by(&keys[1].0, &issuer).unwrap();
        let issuer = Issuer::from_params(&self.intermediate, &keys[1].0);
        let leaf = self.leaf.signed_by(&keys[0].0, &issuer).unwrap();
        let certificates =
            [leaf, intermediate, root].map(|made| Certificate::from_der(made.der().to_vec()).unwrap()).to_vec();
        Chain { certificates, keys }
    }

    /// The leaf names a list, the intermediate nothing.
    pub(crate) fn with_list(mut self) -> Self {
        self.leaf.crl_distribution_points.push(CrlDistributionPoint { uris: vec![LIST.to_owned()] });
        self
    }

    /// The leaf names a responder.
    pub(crate) fn with_ocsp(mut self) -> Self {
        let description = seq(&[oid("1.3.6.1.5.5.7.48.1"), tlv(0x86, b"http://ocsp.example")]);
        self.leaf
            .custom_extensions
            .push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], seq(&[description])));
        self
    }

    /// The leaf's last year is 2026 up to this day of November.
    pub(crate) fn until_november(mut self, day: u8) -> Self {
        self.leaf.not_after = date_time_ymd(2026, 11, day);
        self
    }
}

impl Chain {
    pub(crate) fn pki(&self) -> Pki {
        let leaf_key = TestKey(rcgen::KeyPair::try_from(self.keys[0].0.serialize_der()).unwrap());
        Pki { chain: self.certificates.clone(), leaf_key }
    }

    pub(crate) fn root(&self) -> Certificate {
        self.certificates[2].clone()
    }

    pub(crate) fn jws(&self) -> Jws {
        Jws::good(&self.pki())
    }

    pub(crate) fn sign(&self, jws: &Jws) -> Artifact {
        envelope(JWS, jws.sign(&self.keys[0]).to_string())
    }

    /// A store of type `ca` with the root at `level`.
    pub(crate) fn store(&self, level: impl Into<VerificationLevel>) -> CertificateStore {
        CertificateStore::of(Anchors { ca: vec![self.root()], ..Anchors::default() }, level.into()).unwrap()
    }
}

pub(crate) fn trust(store: CertificateStore) -> Trust {
    Trust { certificates: BTreeMap::from([("acme".parse().unwrap(), store)]), ..Trust::default() }
}

/// `strict` but for revocation, which is left out.
pub(crate) fn without_revocation() -> VerificationLevel {
    use assay_verify::Action;
    VerificationLevel::new(Level::Strict, BTreeMap::from([(Check::Revocation, Action::Skip)])).unwrap()
}

pub(crate) fn judged(
    artifact: Artifact,
    store: CertificateStore,
    revocation: &RevocationEvidence,
    at: UnixTime,
) -> Findings {
    let evidence = Evidence::new(vec![artifact]).unwrap().with_revocation(revocation.clone());
    verify(&image("amd64"), &evidence, &trust(store), at, &mut assay_verify::Budget::default())
}

/// The reason why the one signature proves nothing.
pub(crate) fn reason(findings: &Findings) -> RejectionReason {
    assert_eq!(findings.facts, []);
    assert_eq!(findings.rejections.len(), 1, "{findings:?}");
    findings.rejections[0].reason.clone()
}

/// How a check of the one judgement ended: `holds`, the reason, or `not made`.
pub(crate) fn outcome(findings: &Findings, check: Check) -> String {
    let [result] = findings.notary.as_slice() else { panic!("{findings:?}") };
    match &result.checks().iter().find(|result| result.check == check).unwrap().outcome {
        CheckOutcome::Passed(_) => "holds".to_owned(),
        CheckOutcome::Failed(reason) => reason.to_string(),
        CheckOutcome::NotMade => "not made".to_owned(),
    }
}

/// The end of a day of November 2026, in seconds.
pub(crate) fn november(day: i64) -> UnixTime {
    UnixTime::from_seconds(1_793_491_200 + day * 86_400 - 1)
}
