//! Names and patterns.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn signer(attributes: &[(&str, &str)]) -> Signer {
    Signer::Certificate {
        store: "acme".parse().unwrap(),
        subject: String::new(),
        attributes: attributes.iter().map(|(kind, value)| ((*kind).to_owned(), (*value).to_owned())).collect(),
        spki_sha256: String::new(),
    }
}

const ACME: [(&str, &str); 4] = [("C", "DE"), ("ST", "Berlin"), ("O", "Acme"), ("CN", "Release")];

fn matches(pattern: &str, attributes: &[(&str, &str)]) -> bool {
    DistinguishedNamePattern::parse(pattern).unwrap().matches(&signer(attributes))
}

#[test]
fn a_pattern_matches_subjects_that_have_all_it_names() {
    for pattern in [
        "C=DE, ST=Berlin, O=Acme",
        "O=Acme,S=Berlin,C=DE",
        "c=DE, st=Berlin, o = Acme , cn=Release",
        "2.5.4.6=DE, 2.5.4.8=Berlin, O=\\41cme",
    ] {
        assert!(matches(pattern, &ACME), "{pattern}");
    }
}

#[test]
fn near_misses_do_not_match() {
    let twin = |at: usize, value: &'static str| {
        let mut attributes = ACME;
        attributes.get_mut(at).unwrap().1 = value;
        matches("C=DE, ST=Berlin, O=Acme, CN=Release", &attributes)
    };
    assert!(twin(3, "Release"));
    for value in ["Release-evil", "release", "Release\n", "Release ", "Releas", "", "Release\0"] {
        assert!(!twin(3, value), "{value:?}");
    }
    assert!(!twin(0, "DF"));
    assert!(!matches("C=DE, ST=Berlin, O=Acme, OU=x", &ACME));
    assert!(!matches("C=DE, ST=Berlin, O=Acme", &ACME[..2]));
    // Two values of one type: which of them was meant is anyone's guess.
    assert!(!matches("C=DE, ST=Berlin, O=Acme", &[ACME.as_slice(), &[("O", "Evil")]].concat()));
    assert!(!matches("C=DE, ST=Berlin, O=Acme", &[&[("O", "Evil")], ACME.as_slice()].concat()));
    let key = Signer::Key { name: "ci".parse().unwrap(), spki_sha256: String::new() };
    assert!(!DistinguishedNamePattern::parse("C=DE, ST=Berlin, O=Acme").unwrap().matches(&key));
}

#[test]
fn patterns_that_match_too_much_or_in_two_ways_are_refused() {
    for (text, why) in [
        ("", PatternError::NotAnAttribute(String::new())),
        ("C=DE, ST=Berlin", PatternError::Missing("O")),
        ("ST=Berlin, O=Acme", PatternError::Missing("C")),
        ("C=DE, O=Acme", PatternError::Missing("ST")),
        ("C=DE, ST=Berlin, O=", PatternError::NotAnAttribute(" O=".to_owned())),
        ("C=DE, ST=Berlin, O=Acme,", PatternError::NotAnAttribute(String::new())),
        ("C=DE, ST=Berlin, O=#0c0441636d65", PatternError::Hex),
        ("C=DE, ST=Berlin, O= #00", PatternError::Hex),
        ("C=DE, ST=Berlin, O=Acme+CN=x", PatternError::MultiValued),
        ("C=DE, ST=Berlin, S=Bayern, O=Acme", PatternError::Duplicate("ST".to_owned())),
        ("C=DE, 2.5.4.6=FR, ST=Berlin, O=Acme", PatternError::Duplicate("C".to_owned())),
        ("C=DE, ST=Berlin, O=\"Acme\"", PatternError::Unescaped('"')),
        ("C=DE, ST=Berlin; O=Acme", PatternError::Unescaped(';')),
        ("C=DE, ST=Berlin, O=Acme\\", PatternError::Escape),
        ("C=DE, ST=Berlin, O=\\zz", PatternError::Escape),
        ("C=DE, ST=Berlin, O=\\ff", PatternError::Escape),
        ("C=DE, ST=Berlin, ORG=Acme", PatternError::UnknownType("ORG".to_owned())),
        ("C=DE, ST=Berlin, 2.05.4=x, O=Acme", PatternError::UnknownType("2.05.4".to_owned())),
    ] {
        assert_eq!(DistinguishedNamePattern::parse(text), Err(why), "{text}");
    }
}

#[test]
fn escapes_are_those_of_rfc_4514() {
    let pattern = DistinguishedNamePattern::parse(r"C=DE, ST=Berlin, O=\#1 Acme\, Inc. \ , CN=\c3\a4").unwrap();
    let attributes = [("C", "DE"), ("ST", "Berlin"), ("O", "#1 Acme, Inc.  "), ("CN", "\u{e4}")];
    assert!(pattern.matches(&signer(&attributes)));
}

#[test]
fn a_name_cannot_forge_a_line_of_a_log() {
    assert_eq!(escape("a\nb\0"), "a\\0Ab\\00");
    assert_eq!(escape("\u{85}"), "\\C2\\85");
    assert_eq!(escape(" a, b#"), "\\ a\\, b#");
}

proptest! {
    #[test]
    fn a_pattern_survives_its_text(value in "\\PC{1,20}", raw in prop::collection::vec(any::<char>(), 1..10)) {
        for value in [value, raw.into_iter().collect()] {
            let attributes = vec![("C".to_owned(), "DE".to_owned()), ("ST".to_owned(), "Berlin".to_owned()), ("O".to_owned(), value)];
            let pattern = DistinguishedNamePattern { attributes };
            prop_assert_eq!(DistinguishedNamePattern::parse(&pattern.to_string()), Ok(pattern));
        }
    }
}
