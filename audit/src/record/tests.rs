#![expect(clippy::unwrap_used, reason = "tests")]

use assay_admission::DenyCode;
use proptest::prelude::*;

use super::*;

fn decision() -> DecisionRecord {
    DecisionRecord {
        time: UnixTime::from_seconds(1_795_341_600),
        gate: Gate::Unpack,
        namespace: "default".into(),
        subject: RecordedSubject::Chain(Digest::sha256(b"chain")),
        names: vec!["registry.example/app:1".into()],
        images: vec![ImageRecord {
            manifest: Digest::sha256(b"manifest"),
            config: Digest::sha256(b"config"),
            name: Some("registry.example/app:1".into()),
            rule: Some("all".into()),
            mode: Mode::Enforce,
            admitted: false,
            reasons: vec![Reason::new(DenyCode::NoSignature, "")],
            facts: vec!["key ci signed it".into()],
        }],
        outcome: RecordedOutcome::Deny,
        mode: Mode::Enforce,
        rule: Some("all".into()),
        reasons: vec![Reason::new(DenyCode::NoSignature, "registry.example/app:1")],
        would_deny: Vec::new(),
        policy_version: 7,
        policy_sha256: "ab".into(),
        cached_from: Some(RecordId::new(3)),
        trimmed: Vec::new(),
    }
}

#[test]
fn a_decision_is_one_versioned_line_of_json_and_comes_back() {
    let record = Record::from(decision());
    let entry = record.to_entry().unwrap();
    let text = String::from_utf8(entry.clone()).unwrap();
    assert!(text.starts_with(r#"{"v":1,"kind":"decision","time":1795341600,"gate":"unpack""#), "{text}");
    assert!(!text.contains('\n'));
    assert_eq!(Record::parse(&entry), Ok(record));
}

#[test]
fn every_kind_comes_back() {
    let time = UnixTime::from_seconds(1);
    for (record, kind) in [
        (
            Record::from(RefusalRecord {
                time,
                gate: Gate::Unpack,
                namespace: "default".into(),
                about: "default/1/x".into(),
                reason: Reason::new(DenyCode::Limit, "5000 images"),
                times: 3,
                since: time,
                left_out: 1,
            }),
            "refusal",
        ),
        (
            Record::from(KeyUseRecord {
                time,
                key: "pkcs11:token=t;object=o".into(),
                spki_sha256: "00".into(),
                purpose: "image".into(),
                operation: KeyOperation::Sign,
                subject: Some(Digest::sha256(b"")),
                peer_uid: Some(0),
                outcome: KeyUseOutcome::Refused("wrong purpose".into()),
            }),
            "key-use",
        ),
        (
            PolicyRecord { time, version: None, sha256: "00".into(), outcome: PolicyOutcome::Refused("line 1".into()) }
                .into(),
            "policy",
        ),
        (
            TrustRootRecord {
                time,
                name: "public-good".into(),
                source: "https://tuf.example".into(),
                outcome: TrustRootOutcome::Updated { sha256: "00".into(), root_version: 2 },
            }
            .into(),
            "trust-root",
        ),
        (StartRecord { time, program_version: "0.1.0".into(), log_size: 1, repaired_bytes: 2 }.into(), "start"),
    ] {
        let entry = record.to_entry().unwrap();
        let start = format!(r#"{{"v":1,"kind":"{kind}","#);
        assert!(entry.starts_with(start.as_bytes()), "{}", String::from_utf8_lossy(&entry));
        assert_eq!(Record::parse(&entry), Ok(record));
    }
}

#[test]
fn another_version_and_unknown_words_are_errors_not_defaults() {
    let text = String::from_utf8(Record::from(decision()).to_entry().unwrap()).unwrap();
    assert_eq!(Record::parse(text.replace("\"v\":1", "\"v\":2").as_bytes()), Err(RecordError::Version(2)));
    for (word, other) in [
        ("\"unpack\"", "\"push\""),
        ("\"enforce\"", "\"maybe\""),
        ("\"deny\"", "\"perhaps\""),
        ("NO_SIGNATURE", "NO_IDEA"),
        ("sha256:", "md5:"),
        ("\"decision\"", "\"opinion\""),
    ] {
        assert!(matches!(Record::parse(text.replace(word, other).as_bytes()), Err(RecordError::Json(_))), "{word}");
    }
}

#[test]
fn evidence_that_was_brought_is_written_with_what_it_is_its_digest_and_by_whom() {
    let digest = Digest::sha256(b"a list");
    let time = UnixTime::from_seconds(1_795_341_600);
    let list = BroughtEvidence::RevocationList("http://ca.example/ca.crl".into());
    for (what, json) in
        [(list, r#"{"revocation-list":"http://ca.example/ca.crl"}"#), (BroughtEvidence::OcspAnswer, r#""ocsp-answer""#)]
    {
        let record = Record::from(EvidenceRecord { time, peer_uid: 1_000, what, digest });
        let entry = record.to_entry().unwrap();
        let expected = format!(
            r#"{{"v":1,"kind":"evidence","time":1795341600,"peer_uid":1000,"what":{json},"digest":"{digest}"}}"#
        );
        assert_eq!(String::from_utf8(entry.clone()).unwrap(), expected);
        assert_eq!(Record::parse(&entry), Ok(record));
    }
    let longest = BroughtEvidence::RevocationList("\u{1}".repeat(100_000));
    let record = Record::from(EvidenceRecord { time, peer_uid: 0, what: longest, digest });
    assert!(record.to_entry().unwrap().len() <= MAX_ENTRY_BYTES);
}

#[test]
fn a_record_that_is_too_long_is_cut_and_says_so_but_keeps_its_decision() {
    let mut long = decision();
    let image = ImageRecord { facts: vec!["f".repeat(400); 32], ..long.images.remove(0) };
    long.images = vec![image; 200];
    let entry = Record::from(long).to_entry().unwrap();
    assert!(entry.len() <= MAX_ENTRY_BYTES);
    let Ok(Record::Decision(cut)) = Record::parse(&entry) else { panic!("a decision") };
    assert_eq!((cut.outcome, cut.rule.as_deref(), cut.policy_version), (RecordedOutcome::Deny, Some("all"), 7));
    assert_eq!(cut.reasons, decision().reasons);
    assert_eq!(cut.trimmed, ["texts to 1024 bytes", "facts: 6400 left out", "images: 136 of 200 left out"]);
}

#[test]
fn the_worst_record_still_fits() {
    let worst = "\u{1}".repeat(2_000);
    let reasons = vec![Reason::new(DenyCode::Malformed, worst.clone()); 100];
    let image = ImageRecord {
        name: Some(worst.clone()),
        rule: Some(worst.clone()),
        reasons: reasons.clone(),
        facts: vec![worst.clone(); 2],
        ..decision().images.remove(0)
    };
    let record = Record::from(DecisionRecord {
        namespace: worst.clone(),
        subject: RecordedSubject::Name(worst.clone()),
        names: vec![worst.clone(); 100],
        images: vec![image; 100],
        rule: Some(worst.clone()),
        reasons: reasons.clone(),
        would_deny: reasons,
        policy_sha256: worst.clone(),
        ..decision()
    });
    assert!(record.to_entry().unwrap().len() <= MAX_ENTRY_BYTES);
    let refusal = RefusalRecord {
        time: UnixTime::from_seconds(0),
        gate: Gate::Unpack,
        namespace: "\u{1}".repeat(30_000),
        about: "\u{1}".repeat(30_000),
        reason: Reason::new(DenyCode::Malformed, "\u{1}".repeat(30_000)),
        times: 1,
        since: UnixTime::from_seconds(0),
        left_out: 0,
    };
    assert!(Record::from(refusal).to_entry().unwrap().len() <= MAX_ENTRY_BYTES);
    let refused = PolicyOutcome::Refused("é".repeat(100_000));
    let policy = PolicyRecord { time: UnixTime::from_seconds(0), version: None, sha256: worst, outcome: refused };
    assert!(Record::from(policy).to_entry().unwrap().len() <= MAX_ENTRY_BYTES);
}

proptest! {
    #[test]
    fn any_text_comes_back_and_any_length_fits(text in "\\PC{0,200}", times in 1usize..400) {
        let mut decision = decision();
        decision.namespace.clone_from(&text);
        let record = Record::from(decision.clone());
        prop_assert_eq!(Record::parse(&record.to_entry().unwrap()), Ok(record));
        decision.names = vec![text; times];
        prop_assert!(Record::from(decision).to_entry().unwrap().len() <= MAX_ENTRY_BYTES);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(junk in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Record::parse(&junk);
    }
}
