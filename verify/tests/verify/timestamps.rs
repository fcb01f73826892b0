//! RFC 3161 tokens over a Notary Project signature, right and with one thing wrong each.

use assay_verify::{
    Anchors, Artifact, Certificate, CertificateStore, Check, LimitReached, RejectionReason, RevocationEvidence,
    TimestampRule, VerificationLevel,
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use proptest::prelude::*;
use rcgen::{CustomExtension, ExtendedKeyUsagePurpose, Issuer, date_time_ymd};
use x509_parser::prelude::FromDer as _;

use crate::{
    asn1::*,
    certificates::params,
    notary::{Chain, Recipe, judged, november, outcome, reason, without_revocation},
    support::*,
};

const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
const STAMP: &str = "io.cncf.notary.timestampSignature";

/// What a test may change of a token.
struct Token<'c> {
    authority: &'c Chain,
    imprint: Vec<u8>,
    imprint_hash: &'static str,
    time: &'static str,
    /// Fields behind genTime.
    more: Vec<u8>,
    digest: &'static str,
    /// Certificates in front of the authority's own.
    extra: Vec<Vec<u8>>,
    signers: usize,
    message_digest: Option<Vec<u8>>,
    certificate_hash: Option<Vec<u8>>,
    content_type: &'static str,
}

/// The extendedKeyUsage timeStamping, critical: what rcgen writes is not.
fn time_stamping(critical: bool) -> CustomExtension {
    let mut usage = CustomExtension::from_oid_content(&[2, 5, 29, 37], seq(&[oid("1.3.6.1.5.5.7.3.8")]));
    usage.set_criticality(critical);
    usage
}

fn authority_recipe() -> Recipe {
    let mut recipe = Recipe::new();
    recipe.leaf.extended_key_usages.clear();
    recipe.leaf.custom_extensions.push(time_stamping(true));
    recipe
}

impl<'c> Token<'c> {
    fn of(authority: &'c Chain, signature: &[u8]) -> Self {
        Self {
            authority,
            imprint: sha256(signature),
            imprint_hash: SHA256,
            time: "20261122110000Z",
            more: Vec::new(),
            digest: SHA256,
            extra: Vec::new(),
            signers: 1,
            message_digest: None,
            certificate_hash: None,
            content_type: TST_INFO,
        }
    }

    fn make(&self) -> Vec<u8> {
        let imprint = seq(&[algorithm(self.imprint_hash), octets(&self.imprint)]);
        let info = seq(&[int(1), oid("1.2.3.4"), imprint, int(7), generalized(self.time), self.more.clone()]);
        let leaf = self.authority.certificates[0].der();
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(leaf).unwrap();
        let attribute = |id: &str, value: Vec<u8>| seq(&[oid(id), set(&[value])]);
        let digest = self.message_digest.clone().unwrap_or_else(|| sha256(&info));
        let certificate_hash = self.certificate_hash.clone().unwrap_or_else(|| sha256(leaf));
        let attributes = sorted(&[
            attribute("1.2.840.113549.1.9.3", oid(self.content_type)),
            attribute("1.2.840.113549.1.9.4", octets(&digest)),
            attribute("1.2.840.113549.1.9.16.2.47", seq(&[seq(&[seq(&[octets(&certificate_hash)])])])),
        ]);
        let signature = self.authority.keys[0].sign_der(&tlv(0x31, &attributes));
        let signer = |version| {
            seq(&[
                int(version),
                seq(&[parsed.issuer().as_raw().to_vec(), tlv(2, parsed.raw_serial())]),
                algorithm(self.digest),
                context(0, &attributes),
                algorithm(ECDSA_SHA256),
                octets(&signature),
            ])
        };
        let signers: Vec<Vec<u8>> = [1, 3].into_iter().take(self.signers).map(signer).collect();
        let own = self.authority.certificates[..2].iter().map(|certificate| certificate.der().to_vec());
        let certificates = [self.extra.clone(), own.collect()].concat().concat();
        let content = seq(&[oid(TST_INFO), context(0, &octets(&info))]);
        let signed = seq(&[int(3), set(&[algorithm(SHA256)]), content, context(0, &certificates), set(&signers)]);
        seq(&[oid("1.2.840.113549.1.7.2"), context(0, &signed)])
    }
}

/// A signer and a time-stamping authority.
struct Scene {
    signer: Chain,
    authority: Chain,
}

impl Scene {
    fn new() -> Self {
        Self { signer: Recipe::new().make(), authority: authority_recipe().make() }
    }

    fn store(&self, level: VerificationLevel) -> CertificateStore {
        let anchors = Anchors { ca: vec![self.signer.root()], tsa: vec![self.authority.root()], ..Anchors::default() };
        CertificateStore::of(anchors, level).unwrap()
    }

    /// A signature that the token made by `stamp` stands in.
    fn stamped(&self, stamp: impl FnOnce(&mut Token<'_>)) -> Artifact {
        self.wrapped(|signature| {
            let mut token = Token::of(&self.authority, signature);
            stamp(&mut token);
            token.make()
        })
    }

    fn wrapped(&self, token: impl FnOnce(&[u8]) -> Vec<u8>) -> Artifact {
        let mut jws = self.signer.jws().sign(&self.signer.keys[0]);
        let signature = URL_SAFE_NO_PAD.decode(jws["signature"].as_str().unwrap()).unwrap();
        jws["header"][STAMP] = STANDARD.encode(token(&signature)).into();
        envelope(JWS, jws.to_string())
    }

    fn judge(&self, artifact: Artifact) -> assay_verify::Findings {
        judged(artifact, self.store(without_revocation()), &RevocationEvidence::default(), NOW)
    }

    fn refused(&self, stamp: impl FnOnce(&mut Token<'_>)) -> String {
        problem(&self.judge(self.stamped(stamp)))
    }
}

fn problem(findings: &assay_verify::Findings) -> String {
    match reason(findings) {
        RejectionReason::Timestamp { problem } => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stamped_signature_counts_and_one_without_a_stamp_does_not() {
    let scene = Scene::new();
    let found = scene.judge(scene.stamped(|_| {}));
    assert_eq!(found.rejections, []);
    // The stamp, not the certificates, says when it was made: nothing ends it.
    assert_eq!((found.facts.len(), found.facts[0].holds_until()), (1, None));
    let plain = scene.judge(scene.signer.sign(&scene.signer.jws()));
    assert_eq!(reason(&plain), RejectionReason::MissingTimestamp);
    assert_eq!(outcome(&plain, Check::AuthenticTimestamp), "it has no time-stamp, and one is required");
}

#[test]
fn a_stamp_lets_a_signature_outlive_its_certificates() {
    let mut scene = Scene::new();
    scene.signer = Recipe::new().until_november(22).make();
    let later = november(30);
    let judge = |artifact, rule| {
        let store = scene.store(without_revocation()).with_timestamps(rule);
        judged(artifact, store, &RevocationEvidence::default(), later)
    };
    let early = |token: &mut Token<'_>| token.time = "20261121110000Z";
    let plain = || scene.signer.sign(&scene.signer.jws());
    for rule in [TimestampRule::Always, TimestampRule::AfterCertificateExpiry] {
        assert_eq!(judge(scene.stamped(early), rule).facts.len(), 1);
        assert_eq!(reason(&judge(plain(), rule)), RejectionReason::MissingTimestamp);
        // Stamped when the leaf had expired.
        let late = judge(scene.stamped(|_| {}), rule);
        assert!(matches!(reason(&late), RejectionReason::CertificateTime { .. }), "{late:?}");
    }
}

#[test]
fn after_expiry_only_expired_chains_need_a_stamp() {
    let scene = Scene::new();
    let store = || scene.store(without_revocation()).with_timestamps(TimestampRule::AfterCertificateExpiry);
    let plain = scene.signer.sign(&scene.signer.jws());
    let last = scene.signer.certificates[0].not_after();
    for at in [NOW, last] {
        let found = judged(plain.clone(), store(), &RevocationEvidence::default(), at);
        assert_eq!(found.facts[0].holds_until(), Some(last));
    }
    let after = assay_admission::UnixTime::from_seconds(last.seconds() + 1);
    let found = judged(plain, store(), &RevocationEvidence::default(), after);
    assert_eq!(reason(&found), RejectionReason::MissingTimestamp);
}

#[test]
fn the_whole_range_of_the_stamp_lies_within_every_certificates_validity() {
    let mut scene = Scene::new();
    scene.signer = Recipe::new().until_november(22).make();
    let accuracy = |seconds: u8| {
        move |token: &mut Token<'_>| {
            token.time = "20261121235950Z";
            token.more = seq(&[int(seconds)]);
        }
    };
    let judge = |artifact| judged(artifact, scene.store(without_revocation()), &RevocationEvidence::default(), NOW);
    assert_eq!(judge(scene.stamped(accuracy(10))).facts.len(), 1);
    let late = judge(scene.stamped(accuracy(11)));
    assert!(matches!(reason(&late), RejectionReason::CertificateTime { .. }), "{late:?}");
}

#[test]
fn a_stamp_of_something_else_or_by_a_weak_hash_is_refused() {
    let scene = Scene::new();
    assert_eq!(scene.refused(|token| token.imprint = sha256(b"other")), "it stamps something else");
    let weak = scene.refused(|token| token.imprint_hash = SHA1);
    assert_eq!(weak, format!("its hash {SHA1} is not SHA-2"));
    assert_eq!(scene.refused(|token| token.digest = SHA1), format!("its hash {SHA1} is not SHA-2"));
    let claimed = "its signed attribute messageDigest is not the hash of its content";
    assert_eq!(scene.refused(|token| token.message_digest = Some(sha256(b"other"))), claimed);
    let content = scene.refused(|token| token.content_type = "1.2.840.113549.1.7.1");
    assert_eq!(content, "its signed attribute contentType is 1.2.840.113549.1.7.1, not TSTInfo");
}

#[test]
fn a_token_has_one_signer_and_his_certificate_by_hash() {
    let scene = Scene::new();
    assert_eq!(scene.refused(|token| token.signers = 2), "it has 2 signatures, not one");
    assert_eq!(scene.refused(|token| token.signers = 0), "it has 0 signatures, not one");
    let missing = "it does not hold the certificate that its signer names by hash";
    assert_eq!(scene.refused(|token| token.certificate_hash = Some(sha256(b"other"))), missing);
    // A certificate of the same names by another CA, put in front, is not taken for the signer's.
    let forged = authority_recipe().make();
    let extra: Vec<Vec<u8>> = forged.certificates.iter().map(|one| one.der().to_vec()).collect();
    let found = scene.judge(scene.stamped(|token| token.extra = extra.clone()));
    assert_eq!(found.facts.len(), 1, "{found:?}");
    // Nor is its hash believed where the signer info names another.
    let hash = sha256(forged.certificates[0].der());
    let two = scene.refused(|token| {
        token.extra = extra;
        token.certificate_hash = Some(hash);
    });
    assert_eq!(two, "its signer names two certificates");
    let many = scene.refused(|token| {
        token.extra = (0..15).map(|_| Recipe::new().make().certificates[0].der().to_vec()).collect();
    });
    assert_eq!(many, "it has 17 certificates, at most 16 are read");
}

#[test]
fn only_a_trusted_root_makes_a_time_stamping_authority() {
    let scene = Scene::new();
    let other = authority_recipe().make();
    let found = scene.judge(scene.wrapped(|signature| Token::of(&other, signature).make()));
    let untrusted = "the certificate chain of \"C=DE,ST=Berlin,O=Acme,CN=leaf\" ends in no trusted time-stamping root";
    assert_eq!(problem(&found), untrusted);
    // A token that brings its root along makes it no more trusted.
    let whole = scene.judge(scene.wrapped(|signature| {
        let mut token = Token::of(&other, signature);
        token.extra.push(other.root().der().to_vec());
        token.make()
    }));
    assert_eq!(problem(&whole), untrusted);
    // The signer's own CA is none, nor is an intermediate that stands in the store.
    let own = scene.judge(scene.wrapped(|signature| Token::of(&scene.signer, signature).make()));
    assert_eq!(problem(&own), untrusted);
    let anchors = Anchors {
        ca: vec![scene.signer.root()],
        tsa: vec![scene.authority.certificates[1].clone()],
        ..Anchors::default()
    };
    let store = CertificateStore::of(anchors, without_revocation()).unwrap();
    let found = judged(scene.stamped(|_| {}), store, &RevocationEvidence::default(), NOW);
    assert_eq!(problem(&found), untrusted);
}

#[test]
fn a_maze_of_certificates_in_a_token_ends_within_its_own_steps() {
    let scene = Scene::new();
    let (leaf_key, key) = (TestKey::new(), TestKey::new());
    let (x, y) = (params("x", true), params("y", true));
    let (by_x, by_y) = (Issuer::from_params(&x, &key.0), Issuer::from_params(&y, &key.0));
    // Two names that vouch for each other with one key: every step is truly signed, and none leads out.
    let x_by_y = || x.signed_by(&key.0, &by_y).unwrap().der().to_vec();
    let y_by_x = || y.signed_by(&key.0, &by_x).unwrap().der().to_vec();
    let leaf = authority_recipe().leaf.signed_by(&leaf_key.0, &by_x).unwrap().der().to_vec();
    let first = [leaf, x_by_y()].map(|der| Certificate::from_der(der).unwrap());
    let authority = Chain { certificates: first.to_vec(), keys: vec![leaf_key] };
    let maze: Vec<Vec<u8>> = (0..7).flat_map(|_| [x_by_y(), y_by_x()]).collect();
    let found = scene.judge(scene.wrapped(|signature| {
        let mut token = Token::of(&authority, signature);
        token.extra = maze;
        token.make()
    }));
    let limit = LimitReached { what: "steps tried in a time-stamp's chain", limit: 32 };
    assert_eq!(reason(&found), RejectionReason::Limit(limit));
    assert_eq!(found.limit, None);
}

#[test]
fn a_stamping_certificate_stamps_and_does_nothing_else() {
    let with = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = Recipe::new();
        recipe.leaf.extended_key_usages.clear();
        change(&mut recipe);
        let scene = Scene { signer: Recipe::new().make(), authority: recipe.make() };
        problem(&scene.judge(scene.stamped(|_| {})))
    };
    let leaf = |problem: &str| format!("certificate \"C=DE,ST=Berlin,O=Acme,CN=leaf\": {problem}");
    assert_eq!(with(&|_| {}), leaf("it has no extendedKeyUsage, and it must be timeStamping"));
    let uncritical = with(&|recipe| recipe.leaf.custom_extensions.push(time_stamping(false)));
    assert_eq!(uncritical, leaf("its extendedKeyUsage is not critical"));
    let two = with(&|recipe| {
        recipe.leaf.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::TimeStamping, ExtendedKeyUsagePurpose::CodeSigning];
    });
    assert_eq!(two, leaf("its extendedKeyUsage must be timeStamping alone"));
    let other = with(&|recipe| recipe.leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]);
    assert_eq!(other, leaf("its extendedKeyUsage must be timeStamping alone"));
    let narrow = with(&|recipe| {
        recipe.leaf.custom_extensions.push(time_stamping(true));
        recipe.intermediate.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    });
    let ca = "certificate \"C=DE,ST=Berlin,O=Acme,CN=intermediate\": its extendedKeyUsage does not allow timeStamping";
    assert_eq!(narrow, ca);
}

#[test]
fn a_stamp_from_outside_the_authoritys_validity_or_from_the_future_is_refused() {
    let mut recipe = authority_recipe();
    recipe.leaf.not_after = date_time_ymd(2026, 11, 20);
    let scene = Scene { signer: Recipe::new().make(), authority: recipe.make() };
    let expired = scene.refused(|_| {});
    assert!(expired.ends_with("and it is 2026-11-22T11:00:00Z"), "{expired}");
    let found = scene.judge(scene.stamped(|token| token.time = "20261119110000Z"));
    assert_eq!(found.facts.len(), 1, "{found:?}");
    let scene = Scene::new();
    let future = scene.refused(|token| token.time = "20261122120001Z");
    assert_eq!(future, "it is from 2026-11-22T12:00:01Z, and it is 2026-11-22T12:00:00Z");
}

#[test]
fn a_stamp_needs_its_authoritys_revocation_whatever_the_level_says() {
    let scene = Scene {
        signer: Recipe::new().make(),
        authority: {
            let mut recipe = authority_recipe().with_list();
            recipe.intermediate.crl_distribution_points = recipe.leaf.crl_distribution_points.clone();
            recipe.make()
        },
    };
    let unknown = scene.refused(|_| {});
    let expected = "it is not known whether certificate \"C=DE,ST=Berlin,O=Acme,CN=leaf\" was revoked: there is no list \
                    from http://ca.example/ca.crl";
    assert_eq!(unknown, expected);
    let lists = |revoked: &[usize]| {
        let list = |at: usize| {
            let serials =
                if revoked.contains(&at) { vec![crate::revocation::serial(&scene.authority, at)] } else { Vec::new() };
            crate::revocation::List::by(&scene.authority, at + 1).revoking(serials).evidence()
        };
        RevocationEvidence::new(vec![list(0), list(1)], Vec::new()).unwrap()
    };
    let judge =
        |evidence: &RevocationEvidence| judged(scene.stamped(|_| {}), scene.store(without_revocation()), evidence, NOW);
    assert_eq!(judge(&lists(&[])).facts.len(), 1);
    for (at, name) in [(0, "leaf"), (1, "intermediate")] {
        let revoked = problem(&judge(&lists(&[at])));
        assert!(
            revoked.starts_with(&format!("certificate \"C=DE,ST=Berlin,O=Acme,CN={name}\" was revoked")),
            "{revoked}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// One changed byte of a token: it counts no more, or it says the same (what is not signed is the order and the extra bytes).
    #[test]
    fn a_token_with_a_changed_byte_proves_nothing_new(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let scene = Scene::new();
        let found = scene.judge(scene.wrapped(|signature| {
            let mut token = Token::of(&scene.authority, signature).make();
            let at = at.index(token.len());
            token[at] ^= 1 << bit;
            token
        }));
        for fact in found.facts {
            prop_assert_eq!(fact.holds_until(), None);
        }
    }

    #[test]
    fn no_bytes_are_a_token(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let scene = Scene::new();
        prop_assert_eq!(scene.judge(scene.wrapped(|_| bytes)).facts, []);
    }
}
