//! Revocation lists and OCSP answers, right and with one thing wrong each.

use std::{collections::BTreeMap, sync::Arc};

use assay_admission::{Digest, UnixTime};
use assay_verify::{
    Certificate, Check, Findings, Level, RejectionReason, RevocationEvidence, RevocationList, RevocationSource, SeenAt,
};
use proptest::prelude::*;
use rcgen::{CrlDistributionPoint, CustomExtension, ExtendedKeyUsagePurpose, Issuer, KeyUsagePurpose};
use serde_json::json;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{
    asn1::*,
    certificates::params,
    notary::{Chain, LIST, Recipe, judged, november, outcome, reason},
    support::*,
};

const BEFORE: &str = "20261122000000Z";
const AFTER: &str = "20261123000000Z";

fn parsed(certificate: &Certificate) -> X509Certificate<'_> {
    X509Certificate::from_der(certificate.der()).unwrap().1
}

/// The serial number of a chain's certificate as DER has it.
pub(crate) fn serial(chain: &Chain, at: usize) -> Vec<u8> {
    parsed(&chain.certificates[at]).raw_serial().to_vec()
}

/// A revocation list, with everything about it to choose.
pub(crate) struct List<'c> {
    issuer: &'c Certificate,
    key: &'c TestKey,
    url: &'static str,
    version: Vec<u8>,
    algorithm: &'static str,
    outer_algorithm: &'static str,
    this_update: &'static str,
    next_update: Option<&'static str>,
    entries: Vec<Vec<u8>>,
    extensions: Vec<Vec<u8>>,
}

impl<'c> List<'c> {
    /// By the CA at this place of the chain.
    pub(crate) fn by(chain: &'c Chain, at: usize) -> Self {
        Self {
            issuer: &chain.certificates[at],
            key: &chain.keys[at],
            url: LIST,
            version: int(1),
            algorithm: ECDSA_SHA256,
            outer_algorithm: ECDSA_SHA256,
            this_update: BEFORE,
            next_update: Some(AFTER),
            entries: Vec::new(),
            extensions: vec![extension("2.5.29.20", false, &int(7))],
        }
    }

    pub(crate) fn revoking(mut self, serials: Vec<Vec<u8>>) -> Self {
        self.entries.extend(serials.iter().map(|serial| seq(&[tlv(2, serial), generalized("20261101000000Z")])));
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn der(&self) -> Vec<u8> {
        let mut tbs = vec![
            self.version.clone(),
            algorithm(self.algorithm),
            parsed(self.issuer).subject().as_raw().to_vec(),
            generalized(self.this_update),
        ];
        tbs.extend(self.next_update.map(generalized));
        if !self.entries.is_empty() {
            tbs.push(seq(&self.entries));
        }
        if !self.extensions.is_empty() {
            tbs.push(context(0, &seq(&self.extensions)));
        }
        let tbs = seq(&tbs);
        let signature = self.key.sign_der(&tbs);
        seq(&[tbs, algorithm(self.outer_algorithm), bits(&signature)])
    }

    pub(crate) fn evidence(&self) -> RevocationList {
        RevocationList { url: self.url.to_owned(), der: self.der() }
    }
}

fn lists(lists: &[List<'_>]) -> RevocationEvidence {
    RevocationEvidence::new(lists.iter().map(List::evidence).collect(), Vec::new()).unwrap()
}

fn judge(chain: &Chain, evidence: &RevocationEvidence) -> Findings {
    judged(chain.sign(&chain.jws()), chain.store(Level::Strict), evidence, NOW)
}

const LEAF: &str = "C=DE,ST=Berlin,O=Acme,CN=leaf";

/// Why it is not known whether the leaf was revoked.
fn unknown(findings: &Findings) -> String {
    match reason(findings) {
        RejectionReason::RevocationUnknown { subject, problem } if subject == LEAF => problem,
        other => panic!("{other:?}"),
    }
}

fn is_revoked_by(findings: &Findings, by: &'static str) -> bool {
    matches!(reason(findings), RejectionReason::Revoked { subject, source_kind, .. } if subject == LEAF && source_kind == by)
}

/// What is wrong with the intermediate's list once it is changed.
fn list_refused(change: impl FnOnce(&mut List<'_>)) -> String {
    let chain = Recipe::new().with_list().make();
    let problem = unknown(&judge(&chain, &lists(&[List::by(&chain, 1).with(change)])));
    problem.strip_prefix("the list from http://ca.example/ca.crl: ").unwrap_or(&problem).to_owned()
}

#[test]
fn a_fresh_list_without_the_certificate_is_believed_until_the_next_one() {
    let chain = Recipe::new().with_list().make();
    let found = judge(&chain, &lists(&[List::by(&chain, 1)]));
    assert_eq!(found.rejections, []);
    assert_eq!(found.facts[0].holds_until().map(|until| until.to_string()).as_deref(), Some("2026-11-23T00:00:00Z"));
    let revoked = judge(&chain, &lists(&[List::by(&chain, 1).revoking(vec![serial(&chain, 0)])]));
    assert!(is_revoked_by(&revoked, "a revocation list"), "{revoked:?}");
    // Another certificate's revocation is its own affair.
    let other = judge(&chain, &lists(&[List::by(&chain, 1).revoking(vec![serial(&chain, 1)])]));
    assert_eq!(other.facts.len(), 1);
}

#[test]
fn an_older_list_or_answer_than_one_that_was_seen_does_not_count() {
    let chain = Recipe::new().with_list().make();
    let found = judge(&chain, &lists(&[List::by(&chain, 1)]));
    let [seen] = found.notary[0].seen_answers() else { panic!("{found:?}") };
    assert_eq!(seen.made.to_string(), "2026-11-22T00:00:00Z");
    assert_eq!((seen.source.clone(), found.notary[0].revocation_sources()), (SeenAt::List(LIST.to_owned()), &[][..]));
    let knowing = |made: i64| {
        let newest = BTreeMap::from([(seen.about, UnixTime::from_seconds(seen.made.seconds() + made))]);
        judge(&chain, &lists(&[List::by(&chain, 1)]).knowing(Arc::new(newest)))
    };
    assert_eq!(knowing(0).facts.len(), 1);
    assert!(unknown(&knowing(1)).contains("it is from 2026-11-22T00:00:00Z, older than one from 2026-11-22T00:00:01Z"));
    // Of another list nothing is known.
    let other = BTreeMap::from([(Digest::sha256(b"other"), NOW)]);
    assert_eq!(judge(&chain, &lists(&[List::by(&chain, 1)]).knowing(Arc::new(other))).facts.len(), 1);
}

#[test]
fn what_nobody_vouches_for_or_comes_from_the_future_was_not_seen() {
    let chain = Recipe::new().with_list().make();
    let other = Recipe::new().with_list().make();
    for list in [
        List::by(&other, 1),
        List::by(&chain, 2),
        List::by(&chain, 1).with(|list| list.this_update = "20261122120001Z"),
    ] {
        let found = judge(&chain, &lists(&[list]));
        assert_eq!(found.notary[0].seen_answers(), []);
        let source = RevocationSource::List { urls: vec![LIST.to_owned()] };
        assert_eq!(found.notary[0].revocation_sources(), [source]);
    }
    // One that has ended was seen all the same.
    let ended = judge(&chain, &lists(&[List::by(&chain, 1).with(|list| list.next_update = Some("20261122115959Z"))]));
    assert_eq!(ended.notary[0].seen_answers().len(), 1);
}

#[test]
fn only_certificates_below_an_anchor_have_anyone_asked() {
    let (chain, stranger) = (Recipe::new().with_list().make(), Recipe::new().with_list().make());
    for level in [Level::Strict, Level::Permissive, Level::Audit] {
        let found = judged(stranger.sign(&stranger.jws()), chain.store(level), &RevocationEvidence::default(), NOW);
        let sources: usize = found.notary.iter().map(|result| result.revocation_sources().len()).sum();
        assert_eq!(sources, 0, "{level:?}");
        let own = judged(chain.sign(&chain.jws()), chain.store(level), &RevocationEvidence::default(), NOW);
        assert_eq!(own.notary[0].revocation_sources().len(), 1, "{level:?}");
    }
}

#[test]
fn certificates_that_name_no_source_need_none() {
    let chain = Recipe::new().make();
    assert_eq!(judge(&chain, &RevocationEvidence::default()).facts.len(), 1);
}

#[test]
fn a_list_that_is_missing_old_or_early_leaves_the_status_unknown() {
    let chain = Recipe::new().with_list().make();
    let none = judge(&chain, &RevocationEvidence::default());
    assert_eq!(unknown(&none), "there is no list from http://ca.example/ca.crl");
    assert_eq!(
        list_refused(|list| list.url = "http://ca.example/other.crl"),
        "there is no list from http://ca.example/ca.crl"
    );
    let old = list_refused(|list| list.next_update = Some("20261122115959Z"));
    assert_eq!(old, "it was to be replaced at 2026-11-22T11:59:59Z, and it is 2026-11-22T12:00:00Z");
    let early = list_refused(|list| list.this_update = "20261122120001Z");
    assert_eq!(early, "it is from 2026-11-22T12:00:01Z, and it is 2026-11-22T12:00:00Z");
    assert_eq!(list_refused(|list| list.next_update = None), "it does not say when the next one comes");
    let aged = |seconds| {
        let store = chain.store(Level::Strict).with_revocation_age(seconds);
        judged(chain.sign(&chain.jws()), store, &lists(&[List::by(&chain, 1)]), NOW)
    };
    assert_eq!(aged(43_200).facts[0].holds_until(), Some(NOW));
    assert!(unknown(&aged(43_199)).ends_with("it is from 2026-11-22T00:00:00Z, older than 43199 seconds"));
}

#[test]
fn a_list_by_anyone_but_the_issuer_says_nothing() {
    let chain = Recipe::new().with_list().make();
    let root = unknown(&judge(&chain, &lists(&[List::by(&chain, 2)])));
    assert_eq!(root, "the list from http://ca.example/ca.crl: its issuer did not sign it");
    let other = Recipe::new().with_list().make();
    let forged = unknown(&judge(&chain, &lists(&[List::by(&other, 1)])));
    assert_eq!(forged, "the list from http://ca.example/ca.crl: its issuer did not sign it");
    let named = List { issuer: &other.certificates[0], ..List::by(&chain, 1) };
    let named = unknown(&judge(&chain, &lists(&[named])));
    assert_eq!(named, "the list from http://ca.example/ca.crl: another issuer made it");
    let mut recipe = Recipe::new().with_list();
    recipe.intermediate.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let chain = recipe.make();
    let barred = unknown(&judge(&chain, &lists(&[List::by(&chain, 1)])));
    assert_eq!(barred, "the list from http://ca.example/ca.crl: its issuer's keyUsage has no cRLSign");
}

#[test]
fn lists_of_other_kinds_and_weak_ones_are_refused_by_name() {
    let scope = |contents: Vec<u8>| {
        move |list: &mut List<'_>| {
            list.extensions.push(extension("2.5.29.28", true, &tlv(0x30, &contents)));
        }
    };
    let delta = list_refused(|list| list.extensions.push(extension("2.5.29.27", true, &int(1))));
    assert_eq!(delta, "it is a delta list, and deltas are not read");
    let freshest = list_refused(|list| list.extensions.push(extension("2.5.29.46", false, &seq(&[]))));
    assert_eq!(freshest, "it names a delta list, and deltas are not read");
    assert_eq!(list_refused(scope(tlv(0x84, &[0xff]))), "it is an indirect list");
    assert_eq!(list_refused(scope(tlv(0x83, &[6, 0x40]))), "it is for some reasons only");
    assert_eq!(list_refused(scope(tlv(0x82, &[0xff]))), "it is for CAs only");
    assert_eq!(list_refused(scope(tlv(0x85, &[0xff]))), "it is for attribute certificates only");
    let point = |url: &str| context(0, &context(0, &tlv(0x86, url.as_bytes())));
    assert_eq!(list_refused(scope(point("http://ca.example/b.crl"))), "it is for http://ca.example/b.crl");
    let chain = Recipe::new().with_list().make();
    for scoped in [scope(point(LIST)), scope(tlv(0x81, &[0xff]))] {
        assert_eq!(judge(&chain, &lists(&[List::by(&chain, 1).with(scoped)])).facts.len(), 1);
    }
    let unknown = list_refused(|list| list.extensions.push(extension("1.2.3.4", true, &[5, 0])));
    assert_eq!(unknown, "its critical extension 1.2.3.4 is unknown");
    let twice = list_refused(|list| list.extensions.push(extension("2.5.29.20", false, &int(8))));
    assert_eq!(twice, "its extension 2.5.29.20 stands twice");
    assert_eq!(list_refused(|list| list.algorithm = "1.2.840.10045.4.3.3"), "it names two signature algorithms");
    let sha1 = list_refused(|list| list.outer_algorithm = "1.2.840.10045.4.1");
    assert_eq!(sha1, "its signature algorithm 1.2.840.10045.4.1 is not accepted with an P-256 issuer");
    let version = list_refused(|list| {
        list.version = Vec::new();
        list.extensions.clear();
    });
    assert_eq!(version, "it is not of version 2");
}

#[test]
fn an_entry_that_cannot_be_understood_spoils_its_list() {
    let entry = |id: &str, critical, value: &[u8]| {
        let extensions = seq(&[extension(id, critical, value)]);
        seq(&[int(99), generalized("20261101000000Z"), extensions])
    };
    let taken_back = list_refused(|list| list.entries.push(entry("2.5.29.21", false, &tlv(10, &[8]))));
    assert_eq!(taken_back, "an entry takes a revocation back, which only delta lists do");
    let other_issuer = list_refused(|list| list.entries.push(entry("2.5.29.29", true, &seq(&[]))));
    assert_eq!(other_issuer, "an entry's critical extension 2.5.29.29 is unknown");
    // Empty reason bits in a list's scope are an error and no panic.
    let empty = list_refused(|list| list.extensions.push(extension("2.5.29.28", true, &seq(&[tlv(0x83, &[])]))));
    assert_eq!(empty, "its issuingDistributionPoint cannot be read");
}

#[test]
fn every_distribution_point_must_have_its_list_and_any_list_can_revoke() {
    const OTHER: &str = "http://ca.example/b.crl";
    let mut recipe = Recipe::new().with_list();
    recipe.leaf.crl_distribution_points.push(CrlDistributionPoint { uris: vec![OTHER.to_owned()] });
    let chain = recipe.make();
    let here = || List::by(&chain, 1);
    let there = || List::by(&chain, 1).with(|list| list.url = OTHER);
    assert_eq!(judge(&chain, &lists(&[here(), there()])).facts.len(), 1);
    assert_eq!(unknown(&judge(&chain, &lists(&[here()]))), "there is no list from http://ca.example/b.crl");
    let second = judge(&chain, &lists(&[here(), there().revoking(vec![serial(&chain, 0)])]));
    assert!(is_revoked_by(&second, "a revocation list"), "{second:?}");
}

#[test]
fn deltas_and_part_lists_named_by_a_certificate_are_not_followed() {
    let named = |id: [u64; 4], value: Vec<u8>| {
        let mut recipe = Recipe::new();
        recipe.leaf.custom_extensions.push(CustomExtension::from_oid_content(&id, value));
        let chain = recipe.make();
        unknown(&judge(&chain, &lists(&[List::by(&chain, 1)])))
    };
    let name = context(0, &context(0, &tlv(0x86, LIST.as_bytes())));
    let point = |more: Vec<u8>| seq(&[tlv(0x30, &[name.clone(), more].concat())]);
    assert_eq!(named([2, 5, 29, 46], point(Vec::new())), "it names a delta list, and deltas are not read");
    assert_eq!(named([2, 5, 29, 31], point(tlv(0x81, &[6, 0x40]))), "it names a list for some reasons only");
    let directory = context(4, parsed(&Recipe::new().make().certificates[2]).subject().as_raw());
    assert_eq!(named([2, 5, 29, 31], point(context(2, &directory))), "it names an indirect list");
}

#[test]
fn what_became_invalid_after_a_signing_authority_signed_does_not_matter_to_it_alone() {
    let chain = Recipe::new().with_list().make();
    let list = |since: &str| {
        let date = seq(&[extension("2.5.29.24", false, &generalized(since))]);
        let entry = seq(&[tlv(2, &serial(&chain, 0)), generalized("20261101000000Z"), date]);
        lists(&[List::by(&chain, 1).with(|list| list.entries.push(entry))])
    };
    let mut jws = chain.jws();
    let protected = jws.protected.as_object_mut().unwrap();
    protected.remove("io.cncf.notary.signingTime");
    protected.insert("io.cncf.notary.signingScheme".to_owned(), "notary.x509.signingAuthority".into());
    protected.insert("io.cncf.notary.authenticSigningTime".to_owned(), "2026-11-10T12:00:00Z".into());
    protected.insert("crit".to_owned(), json!(["io.cncf.notary.signingScheme", "io.cncf.notary.authenticSigningTime"]));
    let authority = |evidence: &RevocationEvidence| {
        let anchors = assay_verify::Anchors { signing_authority: vec![chain.root()], ..Default::default() };
        let store = assay_verify::CertificateStore::of(anchors, Level::Strict.into()).unwrap();
        judged(chain.sign(&jws), store, evidence, NOW)
    };
    assert_eq!(authority(&list("20261110120001Z")).facts.len(), 1);
    assert!(is_revoked_by(&authority(&list("20261110120000Z")), "a revocation list"));
    // For a plain signer revoked is revoked: its time is its own word.
    assert!(is_revoked_by(&judge(&chain, &list("20261122110001Z")), "a revocation list"));
}

#[test]
fn revocation_that_is_only_told_refuses_nothing_and_proves_nothing() {
    let chain = Recipe::new().with_list().make();
    let evidence = lists(&[List::by(&chain, 1).revoking(vec![serial(&chain, 0)])]);
    let found = judged(chain.sign(&chain.jws()), chain.store(Level::Permissive), &evidence, NOW);
    assert!(matches!(found.notary[0].standing(), assay_verify::Standing::Tolerated(RejectionReason::Revoked { .. })));
    assert!(outcome(&found, Check::Revocation).contains("was revoked at 2026-11-01T00:00:00Z"));
    assert_eq!(found.facts, []);
}

/// An OCSP answer, with everything about it to choose.
struct Answer<'c> {
    chain: &'c Chain,
    key: &'c TestKey,
    responder: Vec<u8>,
    serial: Vec<u8>,
    issuer: &'c Certificate,
    hash: &'static str,
    status: Vec<u8>,
    this_update: &'static str,
    /// When it says that it was made, if not at `this_update`.
    produced: Option<&'static str>,
    next_update: Option<&'static str>,
    algorithm: &'static str,
    certificates: Vec<Vec<u8>>,
    extensions: Vec<Vec<u8>>,
}

impl<'c> Answer<'c> {
    /// Good, about the leaf, by the intermediate itself.
    fn about(chain: &'c Chain) -> Self {
        Self {
            chain,
            key: &chain.keys[1],
            responder: by_name(&chain.certificates[1]),
            serial: serial(chain, 0),
            issuer: &chain.certificates[1],
            hash: SHA1,
            status: tlv(0x80, &[]),
            this_update: BEFORE,
            produced: None,
            next_update: Some(AFTER),
            algorithm: ECDSA_SHA256,
            certificates: Vec::new(),
            extensions: Vec::new(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn revoked(self) -> Self {
        self.with(|answer| answer.status = context(1, &generalized("20261101000000Z")))
    }

    fn der(&self) -> Vec<u8> {
        let issuer = parsed(self.issuer);
        let hashed = |data: &[u8]| octets(&if self.hash == SHA1 { sha1(data) } else { sha256(data) });
        let id = seq(&[
            algorithm(self.hash),
            hashed(issuer.subject().as_raw()),
            hashed(&issuer.public_key().subject_public_key.data),
            tlv(2, &self.serial),
        ]);
        let next = self.next_update.map(|next| context(0, &generalized(next))).unwrap_or_default();
        let single = seq(&[id, self.status.clone(), generalized(self.this_update), next]);
        let more = if self.extensions.is_empty() { Vec::new() } else { context(1, &seq(&self.extensions)) };
        let produced = generalized(self.produced.unwrap_or(self.this_update));
        let tbs = seq(&[self.responder.clone(), produced, seq(&[single]), more]);
        let signature = bits(&self.key.sign_der(&tbs));
        let certificates = if self.certificates.is_empty() { Vec::new() } else { context(0, &seq(&self.certificates)) };
        let basic = seq(&[tbs, algorithm(self.algorithm), signature, certificates]);
        seq(&[tlv(10, &[0]), context(0, &seq(&[oid("1.3.6.1.5.5.7.48.1.1"), octets(&basic)]))])
    }

    fn judge(&self) -> Findings {
        judge(self.chain, &RevocationEvidence::new(Vec::new(), vec![self.der()]).unwrap())
    }
}

fn by_name(certificate: &Certificate) -> Vec<u8> {
    context(1, parsed(certificate).subject().as_raw())
}

fn by_key(certificate: &Certificate) -> Vec<u8> {
    context(2, &octets(&sha1(&parsed(certificate).public_key().subject_public_key.data)))
}

fn answer_refused(change: impl FnOnce(&mut Answer<'_>)) -> String {
    let chain = Recipe::new().with_ocsp().make();
    let problem = unknown(&Answer::about(&chain).with(change).judge());
    problem.strip_prefix("the OCSP answer: ").unwrap_or(&problem).to_owned()
}

#[test]
fn a_fresh_answer_of_the_issuer_is_believed_until_the_next_one() {
    let chain = Recipe::new().with_ocsp().make();
    for (hash, responder) in [(SHA1, by_name(&chain.certificates[1])), (SHA256, by_key(&chain.certificates[1]))] {
        let answer =
            || Answer::about(&chain).with(|answer| (answer.hash, answer.responder) = (hash, responder.clone()));
        let found = answer().judge();
        assert_eq!(found.rejections, []);
        let until = found.facts[0].holds_until().map(|until| until.to_string());
        assert_eq!(until.as_deref(), Some("2026-11-23T00:00:00Z"));
        assert!(is_revoked_by(&answer().revoked().judge(), "an OCSP answer"));
    }
}

#[test]
fn an_answer_that_is_missing_unknown_old_or_about_another_leaves_the_status_unknown() {
    let none = "there is no OCSP answer about it";
    let chain = Recipe::new().with_ocsp().make();
    assert_eq!(unknown(&judge(&chain, &RevocationEvidence::default())), none);
    let try_later = RevocationEvidence::new(Vec::new(), vec![vec![0x30, 3, 10, 1, 3]]).unwrap();
    assert_eq!(unknown(&judge(&chain, &try_later)), none);
    assert_eq!(answer_refused(|answer| answer.serial = vec![9]), none);
    assert_eq!(answer_refused(|answer| answer.issuer = &answer.chain.certificates[2]), none);
    let status = answer_refused(|answer| answer.status = tlv(0x82, &[]));
    assert_eq!(status, "the responder does not know the certificate");
    let old = answer_refused(|answer| answer.next_update = Some("20261122115959Z"));
    assert_eq!(old, "it was to be replaced at 2026-11-22T11:59:59Z, and it is 2026-11-22T12:00:00Z");
    let early = answer_refused(|answer| answer.this_update = "20261122120001Z");
    assert_eq!(early, "it was made at 2026-11-22T12:00:01Z, and it is 2026-11-22T12:00:00Z");
    assert_eq!(answer_refused(|answer| answer.next_update = None), "it does not say until when it holds");
    let critical = answer_refused(|answer| answer.extensions.push(extension("1.2.3.4", true, &[5, 0])));
    assert_eq!(critical, "its critical extension 1.2.3.4 is unknown");
    let aged = |seconds| {
        let answer = Answer::about(&chain).with(|answer| answer.next_update = None);
        let evidence = RevocationEvidence::new(Vec::new(), vec![answer.der()]).unwrap();
        let store = chain.store(Level::Strict).with_revocation_age(seconds);
        judged(chain.sign(&chain.jws()), store, &evidence, NOW)
    };
    assert_eq!(aged(43_200).facts.len(), 1);
    assert_eq!(aged(43_199).facts, []);
}

#[test]
fn an_older_answer_than_one_that_was_seen_does_not_count() {
    let chain = Recipe::new().with_ocsp().make();
    let found = Answer::about(&chain).judge();
    let [seen] = found.notary[0].seen_answers() else { panic!("{found:?}") };
    assert!(matches!(seen.source, SeenAt::Answer(_)), "{seen:?}");
    let knowing = |made: i64| {
        let newest = BTreeMap::from([(seen.about, UnixTime::from_seconds(seen.made.seconds() + made))]);
        let evidence = RevocationEvidence::new(Vec::new(), vec![Answer::about(&chain).der()]).unwrap();
        judge(&chain, &evidence.knowing(Arc::new(newest)))
    };
    assert_eq!(knowing(0).facts.len(), 1);
    assert!(unknown(&knowing(1)).contains("older than one from"), "{:?}", knowing(1));
    // One from the future, or by a stranger, was not seen.
    let later = Answer::about(&chain).with(|answer| {
        (answer.produced, answer.this_update) = (Some(BEFORE), "20261122120001Z");
    });
    let other = Recipe::new().with_ocsp().make();
    let foreign = Answer::about(&chain).with(|answer| answer.key = &other.keys[1]);
    for nothing in [later, foreign] {
        let found = nothing.judge();
        assert_eq!(found.notary[0].seen_answers(), []);
        unknown(&found);
    }
}

#[test]
fn an_answer_signed_by_anyone_else_or_weakly_is_refused() {
    let other = Recipe::new().make();
    let signature = "its signature does not verify with the responder's key and SHA-2";
    let chain = Recipe::new().with_ocsp().make();
    let forged = Answer { key: &other.keys[1], ..Answer::about(&chain) };
    assert_eq!(unknown(&forged.judge()), format!("the OCSP answer: {signature}"));
    assert_eq!(answer_refused(|answer| answer.algorithm = "1.2.840.10045.4.1"), signature);
    let stranger = "neither the issuer nor a certificate in it is its responder";
    assert_eq!(answer_refused(|answer| answer.responder = by_key(&other.certificates[1])), stranger);
    assert_eq!(answer_refused(|answer| answer.responder = by_name(&other.certificates[0])), stranger);
}

/// The answer of a responder that the CA at `by` of the chain appointed, with `change` made to its certificate.
fn delegated(by: usize, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Findings {
    delegated_under(by_name, by, change)
}

/// The same, answering under the name that `named` makes of its certificate.
fn delegated_under(
    named: fn(&Certificate) -> Vec<u8>,
    by: usize,
    change: impl FnOnce(&mut rcgen::CertificateParams),
) -> Findings {
    let recipe = Recipe::new().with_ocsp();
    let chain = recipe.make();
    let mut responder = params("responder", false);
    responder.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    change(&mut responder);
    let key = TestKey::new();
    let issuer = if by == 1 { &recipe.intermediate } else { &recipe.root };
    let made = responder.signed_by(&key.0, &Issuer::from_params(issuer, &chain.keys[by].0)).unwrap();
    let certificate = Certificate::from_der(made.der().to_vec()).unwrap();
    let answer = Answer::about(&chain).with(|answer| {
        answer.responder = named(&certificate);
        answer.certificates = vec![certificate.der().to_vec()];
    });
    let answer = Answer { key: &key, ..answer };
    answer.judge()
}

#[test]
fn a_responder_counts_if_the_issuer_itself_appointed_it_for_ocsp() {
    assert_eq!(delegated(1, |_| {}).facts.len(), 1);
    let refused = |by, change: fn(&mut rcgen::CertificateParams)| {
        let problem = unknown(&delegated(by, change));
        let start = "the OCSP answer: its responder \"C=DE,ST=Berlin,O=Acme,CN=responder\": ";
        problem.strip_prefix(start).unwrap_or(&problem).to_owned()
    };
    assert_eq!(refused(2, |_| {}), "another CA issued it");
    let no_usage = "its extendedKeyUsage has no OCSPSigning";
    assert_eq!(refused(1, |one| one.extended_key_usages.clear()), no_usage);
    assert_eq!(refused(1, |one| one.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]), no_usage);
    let usage = refused(1, |one| one.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    assert_eq!(usage, "its keyUsage has no digitalSignature");
    let expired = refused(1, |one| one.not_after = rcgen::date_time_ymd(2026, 11, 22));
    assert!(expired.ends_with("and it is 2026-11-22T12:00:00Z"), "{expired}");
    let point = |one: &mut rcgen::CertificateParams| {
        one.crl_distribution_points.push(CrlDistributionPoint { uris: vec![LIST.to_owned()] });
    };
    assert_eq!(refused(1, point), "its own revocation would have to be looked up");
    let exempt = delegated(1, |one| {
        point(one);
        one.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 48, 1, 5], vec![5, 0]));
    });
    assert_eq!(exempt.facts.len(), 1);
}

#[test]
fn a_responder_that_was_appointed_answers_under_its_own_name_alone() {
    for own in [by_name, by_key] {
        assert_eq!(delegated_under(own, 1, |_| {}).facts.len(), 1);
    }
    let others = |_: &Certificate| by_name(&Recipe::new().make().certificates[0]);
    let stranger = "the OCSP answer: neither the issuer nor a certificate in it is its responder";
    assert_eq!(unknown(&delegated_under(others, 1, |_| {})), stranger);
}

#[test]
fn a_list_stands_in_for_an_answer_and_neither_outweighs_a_revocation() {
    let chain = Recipe::new().with_ocsp().with_list().make();
    let with = |answer: Option<Answer<'_>>, list: Option<List<'_>>| {
        let lists = list.iter().map(List::evidence).collect();
        let answers = answer.iter().map(Answer::der).collect();
        judge(&chain, &RevocationEvidence::new(lists, answers).unwrap())
    };
    let (answer, list) = (|| Some(Answer::about(&chain)), || Some(List::by(&chain, 1)));
    assert_eq!(with(answer(), None).facts.len(), 1);
    assert_eq!(with(None, list()).facts.len(), 1);
    let neither = "there is no OCSP answer about it; there is no list from http://ca.example/ca.crl";
    assert_eq!(unknown(&with(None, None)), neither);
    let revoking = || Some(List::by(&chain, 1).revoking(vec![serial(&chain, 0)]));
    assert!(is_revoked_by(&with(answer(), revoking()), "a revocation list"));
    let revoked = || answer().map(Answer::revoked);
    assert!(is_revoked_by(&with(revoked(), list()), "an OCSP answer"));
}

#[test]
fn an_intermediates_revocation_counts_too() {
    let mut recipe = Recipe::new().with_list();
    recipe.intermediate.crl_distribution_points = recipe.leaf.crl_distribution_points.clone();
    let chain = recipe.make();
    let with = |serials| lists(&[List::by(&chain, 1), List::by(&chain, 2).revoking(serials)]);
    assert_eq!(judge(&chain, &with(Vec::new())).facts.len(), 1);
    let found = judge(&chain, &with(vec![serial(&chain, 1)]));
    let intermediate = "C=DE,ST=Berlin,O=Acme,CN=intermediate";
    assert!(matches!(reason(&found), RejectionReason::Revoked { subject, .. } if subject == intermediate));
}

#[test]
fn evidence_beyond_the_caps_is_refused() {
    let list = |bytes| RevocationList { url: LIST.to_owned(), der: vec![0; bytes] };
    let what = |lists, answers| RevocationEvidence::new(lists, answers).unwrap_err().what;
    assert_eq!(what(vec![list(1); 65], Vec::new()), "revocation lists");
    assert_eq!(what(vec![list((4 << 20) + 1)], Vec::new()), "bytes of a revocation list");
    assert_eq!(what(Vec::new(), vec![Vec::new(); 65]), "OCSP answers");
    assert_eq!(what(Vec::new(), vec![vec![0; (64 << 10) + 1]]), "bytes of an OCSP answer");
    assert!(RevocationEvidence::new(vec![list(4 << 20)], vec![vec![0; 64 << 10]]).is_ok());
}

#[test]
fn withheld_evidence_never_makes_a_revoked_certificate_count() {
    let chain = Recipe::new().with_ocsp().with_list().make();
    let all: [&dyn Fn() -> RevocationEvidence; 4] = [
        &RevocationEvidence::default,
        &|| RevocationEvidence::new(Vec::new(), vec![Answer::about(&chain).revoked().der()]).unwrap(),
        &|| lists(&[List::by(&chain, 1).revoking(vec![serial(&chain, 0)])]),
        &|| {
            let list = List::by(&chain, 1).revoking(vec![serial(&chain, 0)]).evidence();
            RevocationEvidence::new(vec![list], vec![Answer::about(&chain).revoked().der()]).unwrap()
        },
    ];
    for evidence in all {
        assert_eq!(judged(chain.sign(&chain.jws()), chain.store(Level::Strict), &evidence(), november(22)).facts, []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn one_changed_bit_of_a_list_or_an_answer_says_nothing(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let flip = |mut der: Vec<u8>| {
            let at = at.index(der.len());
            der[at] ^= 1 << bit;
            der
        };
        let chain = Recipe::new().with_list().make();
        let list = RevocationList { url: LIST.to_owned(), der: flip(List::by(&chain, 1).der()) };
        prop_assert_eq!(judge(&chain, &RevocationEvidence::new(vec![list], Vec::new()).unwrap()).facts, []);
        let chain = Recipe::new().with_ocsp().make();
        let answer = flip(Answer::about(&chain).der());
        prop_assert_eq!(judge(&chain, &RevocationEvidence::new(Vec::new(), vec![answer]).unwrap()).facts, []);
    }

    #[test]
    fn no_bytes_are_a_list_or_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let chain = Recipe::new().with_list().with_ocsp().make();
        let list = RevocationList { url: LIST.to_owned(), der: bytes.clone() };
        prop_assert_eq!(judge(&chain, &RevocationEvidence::new(vec![list], vec![bytes]).unwrap()).facts, []);
    }
}
