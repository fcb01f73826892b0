use proptest::prelude::*;
use serde_json::json;

use super::*;

fn good() -> serde_json::Value {
    json!({
        "version": "1.0",
        "trustPolicies": [
            {
                "name": "production",
                "registryScopes": ["registry.example/prod/app", "127.0.0.1:5000/team/app"],
                "signatureVerification": {
                    "level": "strict",
                    "override": { "revocation": "skip", "expiry": "log" },
                    "verifyTimestamp": "afterCertExpiry",
                },
                "trustStores": ["tsa:acme-tsa", "ca:acme", "ca:acme"],
                "trustedIdentities": ["x509.subject: C=DE, ST=Berlin, O=Acme", "x509.subject:C=DE,S=Berlin,O=Other"],
            },
            {
                "name": "unsigned",
                "registryScopes": ["registry.example/lab"],
                "signatureVerification": { "level": "skip" },
            },
            {
                "name": "rest",
                "registryScopes": ["*"],
                "signatureVerification": { "level": "audit" },
                "trustStores": ["signingAuthority:services"],
                "trustedIdentities": ["*"],
            },
        ],
    })
}

fn parse(document: &serde_json::Value) -> Result<TrustPolicyDocument, TrustPolicyError> {
    TrustPolicyDocument::parse(document.to_string().as_bytes())
}

/// The rule that the first statement breaks once `value` stands at `pointer` in it.
fn broken(pointer: &str, value: serde_json::Value) -> StatementProblem {
    let mut document = good();
    *document.pointer_mut(&format!("/trustPolicies/0/{pointer}")).unwrap() = value;
    match parse(&document) {
        Err(TrustPolicyError::Statement { statement, problem })
            if statement == "production" || statement.is_empty() =>
        {
            problem
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_document_is_read_whole() {
    let document = parse(&good()).unwrap();
    let statement = document.statement_for("127.0.0.1:5000/team/app").unwrap();
    assert_eq!(statement.name(), "production");
    let Demand::Signature { level, timestamps, stores, identities } = statement.demand() else { panic!() };
    let actions = Check::ALL.map(|check| level.action(check));
    assert_eq!(actions, [Action::Enforce, Action::Enforce, Action::Log, Action::Enforce, Action::Skip]);
    assert_eq!(*timestamps, TimestampRule::AfterCertificateExpiry);
    assert_eq!(stores.iter().map(ToString::to_string).collect::<Vec<_>>(), ["ca:acme", "tsa:acme-tsa"]);
    let TrustedIdentities::Subjects(subjects) = identities else { panic!() };
    assert_eq!(
        subjects.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["C=DE,ST=Berlin,O=Acme", "C=DE,ST=Berlin,O=Other"]
    );
}

#[test]
fn a_repository_has_its_own_statement_or_that_of_all_others() {
    let document = parse(&good()).unwrap();
    let name = |repository| document.statement_for(repository).map(TrustPolicyStatement::name);
    assert_eq!(name("registry.example/prod/app"), Some("production"));
    // Scopes are whole repositories, not prefixes.
    assert_eq!(name("registry.example/prod/app/more"), Some("rest"));
    assert_eq!(name("registry.example/prod"), Some("rest"));
    assert_eq!(document.statement_for("registry.example/lab").unwrap().demand(), &Demand::Nothing);
    let mut without_rest = good();
    without_rest["trustPolicies"].as_array_mut().unwrap().pop();
    assert_eq!(parse(&without_rest).unwrap().statement_for("registry.example/prod"), None);
}

#[test]
fn every_rule_of_a_statement_is_held() {
    use StatementProblem as P;
    assert_eq!(broken("name", json!("")), P::NoName);
    assert_eq!(broken("registryScopes", json!([])), P::NoScope);
    assert_eq!(broken("registryScopes", json!(["*", "a.example/b"])), P::WildcardBesideOthers);
    for scope in [
        "registry.example",
        "https://a/b",
        "a.example/b:1",
        "a.example/*",
        "a.example/B",
        "a..b/c",
        "a/b/",
        "a:x/b",
        "a/b___c",
        "-a/b",
        "a/b@sha256:0",
    ] {
        assert_eq!(broken("registryScopes", json!([scope])), P::Scope(scope.to_owned()));
    }
    let word = |found: &str, known| P::Word(UnknownWord { found: found.to_owned(), known });
    let level = "strict, permissive, audit, skip";
    assert_eq!(broken("signatureVerification/level", json!("Strict")), word("Strict", level));
    assert_eq!(
        broken("signatureVerification/level", json!("skip")),
        P::Level(LevelError::SkipWithOverride(Check::Expiry))
    );
    let stamps = broken("signatureVerification/verifyTimestamp", json!("never"));
    assert_eq!(stamps, word("never", "always, afterCertExpiry"));
    let overridden = |check: &str, action: &str| broken("signatureVerification/override", json!({ check: action }));
    assert_eq!(overridden("integrity", "log"), P::Level(LevelError::Integrity));
    assert_eq!(overridden("expiry", "skip"), P::Level(LevelError::NotSkippable(Check::Expiry)));
    let checks = "integrity, authenticity, authenticTimestamp, expiry, revocation";
    assert_eq!(overridden("colour", "log"), word("colour", checks));
    assert_eq!(overridden("expiry", "warn"), word("warn", "enforce, log, skip"));
    assert_eq!(broken("trustStores", json!([])), P::NoStore);
    for store in ["acme", "x:acme", "ca:", "ca:..", "ca:a/b", "ca:a b", "CA:acme"] {
        assert_eq!(broken("trustStores", json!([store])), P::Store(store.to_owned()));
    }
    assert_eq!(broken("trustedIdentities", json!([])), P::NoIdentity);
    assert_eq!(broken("trustedIdentities", json!(["*", "x509.subject:C=DE,ST=B,O=A"])), P::AnyoneBesideOthers);
    for identity in ["", "C=DE,ST=B,O=A", "x509.subject:", "x509.san:a", "spiffe:a"] {
        assert_eq!(broken("trustedIdentities", json!([identity])), P::IdentityKind(identity.to_owned()));
    }
    let bad = |identity: &str| match broken("trustedIdentities", json!([identity])) {
        P::Identity { problem, .. } => problem,
        other => panic!("{other:?}"),
    };
    assert_eq!(bad("x509.subject:C=DE,O=A"), PatternError::Missing("ST"));
    assert_eq!(bad("x509.subject:C=DE,ST=B,O=#0401"), PatternError::Hex);
    assert_eq!(bad("x509.subject:C=DE,ST=B,O=A+OU=C"), PatternError::MultiValued);
    assert_eq!(bad("x509.subject:C=DE,ST=B,S=B,O=A"), PatternError::Duplicate("ST".to_owned()));
    let overlap = broken("trustedIdentities", json!(["x509.subject:C=DE,ST=B,O=A,CN=x", "x509.subject:C=DE,ST=B,O=A"]));
    assert_eq!(overlap, P::Overlap("C=DE,ST=B,O=A".to_owned(), "C=DE,ST=B,O=A,CN=x".to_owned()));
}

#[test]
fn skip_is_neither_for_everything_nor_with_trust() {
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut document = good();
        change(&mut document["trustPolicies"][1]);
        match parse(&document) {
            Err(TrustPolicyError::Statement { problem, .. }) => problem,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(with(&|one| one["registryScopes"] = json!(["*"])), StatementProblem::SkipEverywhere);
    assert_eq!(with(&|one| one["trustStores"] = json!(["ca:a"])), StatementProblem::SkipWithTrust);
    assert_eq!(with(&|one| one["trustedIdentities"] = json!(["*"])), StatementProblem::SkipWithTrust);
}

#[test]
fn every_rule_of_the_document_is_held() {
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut document = good();
        change(&mut document);
        parse(&document).unwrap_err()
    };
    assert_eq!(with(&|all| all["version"] = json!("1.1")), TrustPolicyError::Version("1.1".to_owned()));
    assert_eq!(with(&|all| all["trustPolicies"] = json!([])), TrustPolicyError::Empty);
    let name = TrustPolicyError::DuplicateName("rest".to_owned());
    assert_eq!(with(&|all| all["trustPolicies"][1]["name"] = json!("rest")), name);
    let scope = TrustPolicyError::DuplicateScope("registry.example/prod/app".to_owned());
    assert_eq!(with(&|all| all["trustPolicies"][1]["registryScopes"] = json!(["registry.example/prod/app"])), scope);
    let scope = TrustPolicyError::DuplicateScope("*".to_owned());
    assert_eq!(
        with(&|all| {
            all["trustPolicies"][1] = all["trustPolicies"][2].clone();
            all["trustPolicies"][1]["name"] = json!("other");
        }),
        scope
    );
    let unknown =
        TrustPolicyError::Malformed { field: "trustPolicies", problem: "has the unknown field \"more\"".to_owned() };
    assert_eq!(with(&|all| all["trustPolicies"][0]["more"] = json!(1)), unknown);
    let missing = TrustPolicyError::Malformed { field: "version", problem: "is missing in trust policy".to_owned() };
    assert_eq!(with(&|all| all["version"] = json!(null)), missing);
    let twice = TrustPolicyDocument::parse(br#"{"version":"1.0","Version":"1.0","trustPolicies":[]}"#).unwrap_err();
    assert!(matches!(twice, TrustPolicyError::Malformed { field: "JSON", .. }), "{twice:?}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,60}") {
        prop_assert!(TrustPolicyDocument::parse(&bytes).is_err());
        let mut document = good();
        document["trustPolicies"][0]["registryScopes"] = json!([text.clone()]);
        document["trustPolicies"][0]["trustStores"] = json!([text.clone()]);
        document["trustPolicies"][0]["trustedIdentities"] = json!([text]);
        prop_assert!(parse(&document).is_err());
    }
}
