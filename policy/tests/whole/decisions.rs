//! What a policy decides of one image: modes, thresholds, evidence. Each admission stands beside a twin that differs in one thing
//! and is refused.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::scene::{Authority, Given, Image, Key, ONE, TWO, decide, prod, requested, rule, told, unpack, with};
use assay_admission::{DenyCode, Digest, Gate, Mode, Outcome, Reason, UnixTime};
use assay_policy::{Case, Collection};

#[test]
fn an_image_signed_by_the_rules_key_is_admitted_and_one_signed_by_another_is_refused() {
    let image = Image::new("a", "a");
    let name = [requested("r.example/prod/app:1")];
    let signed = |key: &str| [Key::named(key).sign(&image.index, "r.example/prod/app")];
    let decision = unpack(&prod(), &[Given::new(&image, &name, &signed("ci"))]);
    assert_eq!(
        (told(&decision).as_str(), decision.rule(), decision.mode()),
        ("allow", Some("production"), Mode::Enforce)
    );
    // The policy has two names for this key, and tells both.
    let signed_as = |key: &str| format!("key {key} signed {} (index) as cosign signature", image.index.digest);
    assert_eq!(decision.because(), [signed_as("ci"), signed_as("ci-again")]);
    assert_eq!(told(&unpack(&prod(), &[Given::new(&image, &name, &signed("releases"))])), "deny NOT_SATISFIED");
    assert_eq!(told(&unpack(&prod(), &[Given::new(&image, &name, &signed("nobody"))])), "deny NOT_SATISFIED");
}

#[test]
fn an_unsigned_image_is_refused_and_the_reason_names_what_was_needed() {
    let image = Image::new("a", "a");
    let decision = unpack(&prod(), &[Given::new(&image, &[requested("r.example/prod/app:1")], &[])]);
    let Outcome::Deny { first, others } = decision.outcome() else { panic!("{decision:?}") };
    assert_eq!(first.code, DenyCode::NoSignature);
    assert_eq!(
        first.detail,
        "r.example/prod/app:1 (requested) by rule \"production\": 1 of [ci] needed; counted: none"
    );
    assert_eq!(others, &[]);
    assert_eq!(decision.holds_until(), None);
}

#[test]
fn a_name_without_a_rule_is_refused_under_the_policys_own_mode() {
    let image = Image::new("a", "a");
    let given = [Given::new(&image, &[requested("r.example/other/app")], &[])];
    assert_eq!(told(&unpack(&prod(), &given)), "deny NO_RULE");
    for mode in ["warn", "observe"] {
        let decision = unpack(&with(mode, &[rule("production", "\"r.example/prod/**\"", ONE)]), &given);
        assert_eq!((told(&decision).as_str(), decision.mode().as_str()), ("allow (NO_RULE)", mode));
    }
}

#[test]
fn warn_and_observe_admit_what_enforce_would_refuse_and_say_so() {
    let image = Image::new("a", "a");
    let given = [Given::new(&image, &[requested("r.example/prod/app")], &[])];
    for mode in ["warn", "observe"] {
        let one = rule("production", "\"r.example/prod/**\"", &format!("{ONE}\nmode = \"{mode}\""));
        let decision = unpack(&with("enforce", &[one]), &given);
        assert_eq!((told(&decision).as_str(), decision.mode().as_str()), ("allow (NO_SIGNATURE)", mode));
    }
    let strict = rule("production", "\"r.example/prod/**\"", &format!("{ONE}\nmode = \"enforce\""));
    assert_eq!(told(&unpack(&with("observe", &[strict]), &given)), "deny NO_SIGNATURE");
}

#[test]
fn a_threshold_counts_distinct_signers_across_formats() {
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", TWO)]);
    let image = Image::new("a", "a");
    let name = [requested("r.example/prod/app")];
    let by = |key: &str| Key::named(key).sign(&image.index, "");
    let ann = Authority::acme().sign("Ann", &image.manifest, None);
    let bob = Authority::acme().sign("Bob", &image.manifest, None);
    let told = |artifacts: &[_]| told(&unpack(&policy, &[Given::new(&image, &name, artifacts)]));
    assert_eq!(told(&[by("ci"), by("releases")]), "allow");
    assert_eq!(told(&[by("ci"), ann.clone()]), "allow");
    assert_eq!(told(&[by("ci"), bob]), "deny NOT_SATISFIED");
    assert_eq!(told(&[by("ci")]), "deny NOT_SATISFIED");
    // One signer twice: on the index and on the manifest, and for two repositories.
    let again = Key::named("ci").sign(&image.manifest, "");
    let third = Key::named("ci").sign(&image.index, "r.example/prod/app");
    assert_eq!(told(&[by("ci"), again, third]), "deny NOT_SATISFIED");
}

#[test]
fn one_key_under_two_names_counts_once() {
    let require = "require = [{ signatures = 2, of = [\"ci\", \"ci-again\", \"releases\"] }]";
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", require)]);
    let image = Image::new("a", "a");
    let name = [requested("r.example/prod/app")];
    let by = |key: &str| Key::named(key).sign(&image.index, "");
    assert_eq!(told(&unpack(&policy, &[Given::new(&image, &name, &[by("ci")])])), "deny NOT_SATISFIED");
    assert_eq!(told(&unpack(&policy, &[Given::new(&image, &name, &[by("ci"), by("releases")])])), "allow");
}

#[test]
fn a_shortfall_names_what_was_needed_and_what_counted() {
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", TWO)]);
    let image = Image::new("a", "a");
    let signed = [Key::named("ci").sign(&image.index, "")];
    let decision = unpack(&policy, &[Given::new(&image, &[requested("r.example/prod/app")], &signed)]);
    let Outcome::Deny { first, .. } = decision.outcome() else { panic!("{decision:?}") };
    assert!(first.detail.contains("2 of [ci, releases, ann] needed; counted: ci"), "{first}");
}

#[test]
fn every_requirement_of_a_rule_must_be_met() {
    let require = "require = [{ signatures = 1, of = [\"ci\"] }, { signatures = 1, of = [\"releases\"] }]";
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", require)]);
    let image = Image::new("a", "a");
    let name = [requested("r.example/prod/app")];
    let by = |key: &str| Key::named(key).sign(&image.index, "");
    assert_eq!(told(&unpack(&policy, &[Given::new(&image, &name, &[by("ci"), by("releases")])])), "allow");
    assert_eq!(told(&unpack(&policy, &[Given::new(&image, &name, &[by("releases")])])), "deny NOT_SATISFIED");
}

#[test]
fn the_document_that_must_be_signed_is_the_one_that_the_rule_names() {
    let image = Image::new("a", "a");
    for (subject, on_index, on_manifest) in [
        ("index", "allow", "deny NOT_SATISFIED"),
        ("manifest", "deny NOT_SATISFIED", "allow"),
        ("either", "allow", "allow"),
    ] {
        let one = rule("production", "\"r.example/prod/**\"", &format!("{ONE}\nsubject = \"{subject}\""));
        let policy = with("enforce", &[one]);
        for (document, expected) in [(&image.index, on_index), (&image.manifest, on_manifest)] {
            let signed = [Key::named("ci").sign(document, "")];
            let decision = unpack(&policy, &[Given::new(&image, &[requested("r.example/prod/app")], &signed)]);
            assert_eq!(told(&decision), expected, "{subject}");
        }
    }
}

#[test]
fn a_blocked_digest_is_refused_in_every_mode_under_every_name() {
    let image = Image::new("a", "a");
    let signed = [Key::named("ci").sign(&image.index, "")];
    let name = [requested("r.example/prod/app")];
    for mode in ["enforce", "warn", "observe"] {
        for digest in [image.manifest.digest, image.index.digest, image.config] {
            let blocked = format!("[[blocked]]\ndigest = \"{digest}\"\nreason = \"CVE-2026-1\"\n");
            let rules = [rule("production", "\"r.example/prod/**\"", ONE), blocked];
            let decision = unpack(&with(mode, &rules), &[Given::new(&image, &name, &signed)]);
            assert_eq!(told(&decision), "deny BLOCKED", "{mode}");
            let Outcome::Deny { first, .. } = decision.outcome() else { panic!() };
            assert_eq!(first.detail, format!("{digest}: CVE-2026-1"));
        }
        let other = format!("[[blocked]]\ndigest = \"{}\"\nreason = \"x\"\n", Digest::sha256(b"other"));
        let rules = [rule("production", "\"r.example/prod/**\"", ONE), other];
        assert_eq!(told(&unpack(&with(mode, &rules), &[Given::new(&image, &name, &signed)])), "allow");
    }
}

#[test]
fn evidence_that_could_not_be_collected_matters_only_if_something_is_missing() {
    let image = Image::new("a", "a");
    let name = [requested("r.example/prod/app")];
    let failed = |artifacts: &[_], reasons: Vec<Reason>| {
        let given = Given { collection: Collection::Failed(reasons), ..Given::new(&image, &name, artifacts) };
        told(&unpack(&prod(), &[given]))
    };
    let auth = || vec![Reason::new(DenyCode::RegistryAuth, "r.example")];
    let by = |key: &str| Key::named(key).sign(&image.index, "");
    assert_eq!(failed(&[by("ci")], auth()), "allow");
    assert_eq!(failed(&[], auth()), "deny REGISTRY_AUTH");
    assert_eq!(failed(&[by("releases")], auth()), "deny REGISTRY_AUTH NOT_SATISFIED");
    assert_eq!(failed(&[], Vec::new()), "deny EVIDENCE_UNAVAILABLE");
}

#[test]
fn a_limit_refuses_even_what_is_signed_and_is_told_under_observe() {
    let image = Image::new("a", "a");
    let name = [requested("r.example/prod/app")];
    let mut flood: Vec<_> =
        (0..64).map(|n| Key::named("nobody").sign(&image.index, &format!("r.example/{n}"))).collect();
    flood.push(Key::named("ci").sign(&image.index, ""));
    assert_eq!(told(&unpack(&prod(), &[Given::new(&image, &name, &flood)])), "deny LIMIT");
    let observing = with("observe", &[rule("production", "\"r.example/prod/**\"", ONE)]);
    assert_eq!(told(&unpack(&observing, &[Given::new(&image, &name, &flood)])), "allow (LIMIT)");
    assert_eq!(told(&unpack(&prod(), &[Given::new(&image, &name, &flood.split_off(45))])), "allow");
}

#[test]
fn an_image_whose_documents_do_not_belong_together_is_refused_unless_nothing_enforces() {
    let image = Image::new("a", "a");
    let malformed = |names: &[_]| Given {
        unbound: Some(Reason::new(DenyCode::Malformed, "x")),
        ..Given::new(&image, names, &[Key::named("ci").sign(&image.index, "")])
    };
    let lax = rule("lax", "\"r.example/lax/**\"", &format!("{ONE}\nmode = \"observe\""));
    let open = rule("open", "\"r.example/open/**\"", "accept = \"unsigned\"");
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE), lax, open]);
    let told = |names: &[_]| told(&unpack(&policy, &[malformed(names)]));
    assert_eq!(told(&[requested("r.example/prod/app")]), "deny MALFORMED");
    assert_eq!(told(&[requested("r.example/open/app")]), "deny MALFORMED");
    assert_eq!(told(&[requested("r.example/lax/app"), requested("r.example/prod/app")]), "deny MALFORMED");
    assert_eq!(told(&[]), "deny MALFORMED");
    assert_eq!(told(&[requested("r.example/lax/app")]), "allow (MALFORMED)");
}

#[test]
fn a_case_that_contradicts_itself_is_refused() {
    let image = Image::new("a", "a");
    let signed = [Key::named("ci").sign(&image.index, "")];
    let given = Given::new(&image, &[requested("r.example/prod/app")], &signed);
    assert_eq!(told(&decide(&prod(), Gate::Ask, None, std::slice::from_ref(&given))), "allow");
    assert_eq!(told(&decide(&prod(), Gate::Ask, None, &[])), "deny INTERNAL");
    assert_eq!(told(&decide(&prod(), Gate::Ask, None, &[given.clone(), given.clone()])), "deny INTERNAL");
    let foreign = Some(Digest::sha256(b"foreign"));
    assert_eq!(told(&decide(&prod(), Gate::Unpack, foreign, std::slice::from_ref(&given))), "deny UNKNOWN_CHAIN");
    let mut mislabelled = given;
    mislabelled.image.manifest.digest = Digest::sha256(b"another");
    assert_eq!(told(&decide(&prod(), Gate::Ask, None, &[mislabelled])), "deny INTERNAL");
    let nothing = Case { gate: Gate::Pull, namespace: None, chain: None, likeliest: None, images: Vec::new() };
    assert_eq!(told(&with("observe", &[]).decide(&nothing)), "deny INTERNAL");
}

#[test]
fn an_allow_holds_no_longer_than_the_signatures_it_rests_on() {
    let require = "require = [{ signatures = 1, of = [\"ann\"] }]";
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", require)]);
    let image = Image::new("a", "a");
    let told_at = |expiry: Option<&str>| {
        let signed = [Authority::acme().sign("Ann", &image.manifest, expiry), Key::named("ci").sign(&image.index, "")];
        let decision = unpack(&policy, &[Given::new(&image, &[requested("r.example/prod/app")], &signed)]);
        (told(&decision), decision.holds_until())
    };
    let soon = UnixTime::from_seconds(crate::scene::NOW.seconds() + 3599);
    assert_eq!(told_at(Some("2026-11-22T11:00:00Z")), ("allow".to_owned(), Some(soon)));
    assert_eq!(told_at(Some("2026-11-22T09:00:00Z")), ("deny NOT_SATISFIED".to_owned(), None));
    let (told, until) = told_at(None);
    assert_eq!(told, "allow");
    assert!(until.unwrap() > soon);
}

#[test]
fn sentences_are_bounded_and_carry_no_control_characters() {
    let image = Image::new("a", "a");
    let name = [requested("r.example/prod/app")];
    let junk: Vec<_> =
        (0..60).map(|n| Key::named("ci").sign(&image.index, &format!("{n}\u{1b}[31m\n{}", "x".repeat(2000)))).collect();
    let decision = unpack(&prod(), &[Given::new(&image, &name, &junk)]);
    assert_eq!(told(&decision), "deny NOT_SATISFIED");
    assert_eq!(decision.because().len(), 32);
    for text in decision.because() {
        assert!(text.chars().count() <= 401 && !text.contains(char::is_control), "{text:?}");
    }
}
