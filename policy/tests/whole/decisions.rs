//! What a policy decides: names, modes, thresholds, chains. Each admission stands beside a twin that differs in one thing
//! and is refused.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::scene::{Authority, Given, Image, Key, decide, labelled, policy, requested, start, told, unpack};
use assay_admission::{DenyCode, Digest, Gate, Mode, Outcome, Reason, UnixTime};
use assay_policy::{Case, Collection};

const KEYS: &str = r#"
[keys.ci]
public = "ci.pem"
[keys.ci-again]
public = "ci.pem"
[keys.releases]
public = "releases.pem"
[certificates.acme]
anchors = ["acme.pem"]
[signers.ann]
certificates = "acme"
subject = "C=DE, ST=Berlin, O=Acme, CN=Ann"
"#;

fn rule(name: &str, images: &str, rest: &str) -> String {
    format!("[[rules]]\nname = \"{name}\"\nimages = [{images}]\n{rest}\n")
}

const ONE: &str = "require = [{ signatures = 1, of = [\"ci\"] }]";
const TWO: &str = "require = [{ signatures = 2, of = [\"ci\", \"releases\", \"ann\"] }]";

fn with(mode: &str, rules: &[String]) -> assay_policy::Policy {
    policy(&format!("version = 1\nmode = \"{mode}\"\n{KEYS}{}", rules.concat()))
}

fn prod() -> assay_policy::Policy {
    with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE)])
}

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
fn a_signature_for_another_repository_does_not_count_unless_the_rule_says_so() {
    let image = Image::new("a", "a");
    let name = [requested("r.example/prod/b:1")];
    let told = |rest: &str, identity: &str| {
        let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", &format!("{ONE}\n{rest}"))]);
        let signed = [Key::named("ci").sign(&image.index, identity)];
        told(&unpack(&policy, &[Given::new(&image, &name, &signed)]))
    };
    assert_eq!(told("", "r.example/prod/b"), "allow");
    assert_eq!(told("", "r.example/prod/b:other-tag"), "allow");
    assert_eq!(told("", &format!("r.example/prod/b@{}", image.index.digest)), "allow");
    assert_eq!(told("", ""), "allow");
    assert_eq!(told("", "r.example/prod/a"), "deny NOT_SATISFIED");
    assert_eq!(told("", "r.example:5000/prod/b"), "deny NOT_SATISFIED");
    assert_eq!(told("", "not a reference"), "deny NOT_SATISFIED");
    assert_eq!(told("", &format!("r.example/prod/b@{}", Digest::sha256(b"x"))), "deny NOT_SATISFIED");
    assert_eq!(told("docker-reference = \"ignore\"", "r.example/prod/a"), "allow");
}

#[test]
fn an_enforcing_rule_under_one_name_is_enough_and_a_lenient_one_is_not() {
    let image = Image::new("a", "a");
    let signed = [Key::named("ci").sign(&image.index, "")];
    let names = |other: &str| [requested("r.example/prod/app"), requested(other)];
    let lenient = |rest: &str| {
        let rules =
            [rule("production", "\"r.example/prod/**\"", ONE), rule("sandbox", "\"r.example/sandbox/**\"", rest)];
        with("enforce", &rules)
    };
    // Signed: the name that others may have added changes nothing.
    let policy = lenient(TWO);
    assert_eq!(told(&unpack(&policy, &[Given::new(&image, &names("r.example/sandbox/app"), &signed)])), "allow");
    assert_eq!(told(&unpack(&policy, &[Given::new(&image, &names("other.example/app"), &signed)])), "allow");
    // Unsigned: a lax name beside the strict one does not help.
    for rest in ["accept = \"unsigned\"", &format!("{ONE}\nmode = \"observe\""), &format!("{ONE}\nmode = \"warn\"")] {
        let policy = lenient(rest);
        let told = |names: &[_]| told(&unpack(&policy, &[Given::new(&image, names, &[])]));
        assert_eq!(told(&names("r.example/sandbox/app")), "deny NO_SIGNATURE", "{rest}");
        assert!(told(&[requested("r.example/sandbox/app")]).starts_with("allow"), "{rest}");
    }
}

#[test]
fn a_catch_all_that_is_satisfied_does_not_outweigh_the_rule_of_a_name() {
    let rules = [
        rule("production", "\"r.example/prod/**\"", "require = [{ signatures = 1, of = [\"releases\"] }]"),
        rule("all", "\"**\"", ONE),
    ];
    let policy = with("enforce", &rules);
    let image = Image::new("a", "a");
    let signed = [Key::named("ci").sign(&image.index, "")];
    let told = |names: &[_]| told(&unpack(&policy, &[Given::new(&image, names, &signed)]));
    assert_eq!(told(&[requested("x.example/app")]), "allow");
    assert_eq!(told(&[]), "allow");
    assert_eq!(told(&[requested("x.example/app"), requested("r.example/prod/app")]), "deny NOT_SATISFIED");
}

#[test]
fn an_image_without_a_name_is_judged_by_the_catch_all_alone() {
    let image = Image::new("a", "a");
    let signed = [Key::named("ci").sign(&image.index, "")];
    assert_eq!(told(&unpack(&prod(), &[Given::new(&image, &[], &signed)])), "deny NO_RULE");
    let policy = with("enforce", &[rule("all", "\"**\"", ONE)]);
    assert_eq!(told(&unpack(&policy, &[Given::new(&image, &[], &signed)])), "allow");
    assert_eq!(told(&unpack(&policy, &[Given::new(&image, &[], &[])])), "deny NO_SIGNATURE");
}

#[test]
fn a_container_that_may_run_under_several_names_needs_all_of_them() {
    let rules = [rule("production", "\"r.example/prod/**\"", ONE), rule("twice", "\"r.example/twice/**\"", TWO)];
    let policy = with("enforce", &rules);
    let image = Image::new("a", "a");
    let names = [requested("r.example/prod/app"), requested("r.example/twice/app")];
    let by = |key: &str| Key::named(key).sign(&image.index, "");
    let told = |gate, artifacts: &[_]| told(&decide(&policy, gate, None, &[Given::new(&image, &names, artifacts)]));
    assert_eq!(told(Gate::Unpack, &[by("ci")]), "allow");
    assert_eq!(told(Gate::Run, &[by("ci")]), "deny NOT_SATISFIED");
    assert_eq!(told(Gate::Run, &[by("ci"), by("releases")]), "allow");
}

#[test]
fn a_label_without_a_port_falls_under_the_hosts_rules_and_a_requested_name_does_not() {
    let policy = with("enforce", &[rule("local", "\"r.example:5000/**\"", ONE)]);
    let image = Image::new("a", "a");
    let signed = [Key::named("ci").sign(&image.index, "r.example:5000/app")];
    assert_eq!(told(&unpack(&policy, &[Given::new(&image, &[labelled("r.example/app")], &signed)])), "allow");
    assert_eq!(told(&unpack(&policy, &[Given::new(&image, &[requested("r.example/app")], &signed)])), "deny NO_RULE");
    assert_eq!(told(&unpack(&policy, &[Given::new(&image, &[labelled("x.example/app")], &signed)])), "deny NO_RULE");
    // One port is lax, the other strict: the label leaves open which one it was, so the lax one alone is not enough.
    let rules = [rule("lax", "\"r.example:1/**\"", "accept = \"unsigned\""), rule("strict", "\"r.example:2/**\"", ONE)];
    let policy = with("enforce", &rules);
    assert_eq!(told(&unpack(&policy, &[Given::new(&image, &[labelled("r.example/app")], &[])])), "deny NO_SIGNATURE");
    assert_eq!(told(&unpack(&policy, &[Given::new(&image, &[requested("r.example:1/app")], &[])])), "allow");
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
fn a_scope_with_a_digest_is_about_what_the_image_is_and_not_what_it_is_called() {
    let (image, other) = (Image::new("a", "a"), Image::new("b", "b"));
    let pinned = format!("\"r.example/prod/app@{}\"", image.index.digest);
    let rules = [rule("production", "\"r.example/prod/**\"", ONE), rule("vendor", &pinned, "accept = \"unsigned\"")];
    let policy = with("enforce", &rules);
    let name = requested("r.example/prod/app:1");
    assert_eq!(told(&unpack(&policy, &[Given::new(&image, std::slice::from_ref(&name), &[])])), "allow");
    assert_eq!(told(&unpack(&policy, &[Given::new(&other, &[name], &[])])), "deny NO_SIGNATURE");
    let lie = requested(&format!("r.example/prod/app@{}", image.index.digest));
    assert_eq!(told(&unpack(&policy, &[Given::new(&other, &[lie], &[])])), "deny NO_SIGNATURE");
    assert_eq!(
        told(&unpack(&policy, &[Given::new(&image, &[requested("r.example/prod/b")], &[])])),
        "deny NO_SIGNATURE"
    );
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
fn an_admitted_config_with_foreign_layers_is_refused() {
    let (good, evil) = (Image::new("a", "a"), Image::with_foreign_blobs("a", "a", "evil"));
    assert_eq!(good.config, evil.config);
    let name = [requested("r.example/prod/app")];
    let signed = Given::new(&good, &name, &[Key::named("ci").sign(&good.index, "")]);
    assert_eq!(told(&unpack(&prod(), std::slice::from_ref(&signed))), "allow");
    let foreign = Given::new(&evil, &[requested("x.example/evil")], &[]);
    assert_eq!(told(&unpack(&prod(), &[signed.clone(), foreign.clone()])), "deny AMBIGUOUS_CONFIG NO_RULE");
    assert_eq!(told(&unpack(&prod(), &[foreign, signed])), "deny AMBIGUOUS_CONFIG NO_RULE");
}

#[test]
fn layers_that_an_admitted_image_shares_with_a_refused_one_are_admitted_for_its_sake() {
    let (good, other) = (Image::new("a", "same"), Image::new("b", "same"));
    assert_eq!(good.chain, other.chain);
    let signed = Given::new(&good, &[requested("r.example/prod/app")], &[Key::named("ci").sign(&good.index, "")]);
    let unsigned = Given::new(&other, &[requested("r.example/prod/other")], &[]);
    assert_eq!(told(&unpack(&prod(), &[unsigned.clone(), signed.clone()])), "allow");
    assert_eq!(told(&unpack(&prod(), &[unsigned])), "deny NO_SIGNATURE");
}

/// Decides about the chain of the lowest layer of `images`; the first is signed, the others are not.
fn beside_signed(policy: &assay_policy::Policy, images: &[&Image]) -> (String, assay_policy::Decision) {
    let given: Vec<Given> = images
        .iter()
        .enumerate()
        .map(|(at, image)| match at {
            0 => Given::new(image, &[requested("r.example/prod/app")], &[Key::named("ci").sign(&image.index, "")]),
            _ => Given::new(image, &[requested("r.example/prod/other")], &[]),
        })
        .collect();
    let decision = unpack(policy, &given);
    let turned: Vec<Given> = given.iter().rev().cloned().collect();
    assert_eq!(decision, decide(policy, Gate::Unpack, Some(images.first().unwrap().chain), &turned));
    (told(&decision), decision)
}

#[test]
fn a_rewritten_config_with_foreign_layers_refuses_the_chain_until_it_is_gone() {
    let (good, evil) = (Image::new("a", "same"), Image::with_foreign_blobs("b", "same", "evil"));
    assert_eq!((good.chain, good.config == evil.config), (evil.chain, false));
    let (text, decision) = beside_signed(&prod(), &[&good, &evil]);
    assert_eq!(text, "deny AMBIGUOUS_CONFIG NO_SIGNATURE");
    let Outcome::Deny { first, .. } = decision.outcome() else { panic!() };
    for part in [format!("refused image {}", evil.manifest.digest), format!("content rm {}", evil.manifest.digest)] {
        assert!(first.detail.contains(&part), "{first}");
    }
    assert_eq!(beside_signed(&prod(), &[&good]).0, "allow");
    // Another image that is signed and has the very layers does not make up for it, nor does one more honest one.
    let honest = Image::new("c", "same");
    assert_eq!(beside_signed(&prod(), &[&good, &honest, &evil]).0, "deny AMBIGUOUS_CONFIG NO_SIGNATURE");
    assert_eq!(beside_signed(&prod(), &[&good, &honest]).0, "allow");
    // What a rule lets in is not in the way.
    let lax = rule("lax", "\"r.example/prod/other\"", &format!("{ONE}\nmode = \"observe\""));
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE), lax]);
    assert_eq!(beside_signed(&policy, &[&good, &evil]).0, "allow");
    let observing = with("observe", &[rule("production", "\"r.example/prod/**\"", ONE)]);
    assert_eq!(beside_signed(&observing, &[&good, &evil]).0, "allow (NO_SIGNATURE)");
}

#[test]
fn unsigned_images_on_the_same_base_do_not_refuse_a_signed_one() {
    let on_base = |config: &str, base: &str, top: &str| Image::of_layers(config, &[("base", base), (top, top)]);
    let signed = on_base("a", "base", "app");
    let (web, tools) = (on_base("b", "base", "web"), on_base("c", "base", "tools"));
    assert_eq!(beside_signed(&prod(), &[&signed, &web, &tools]).0, "allow");
    assert_eq!(
        beside_signed(&prod(), &[&signed, &web, &on_base("d", "other", "x")]).0,
        "deny AMBIGUOUS_CONFIG NO_SIGNATURE"
    );
}

#[test]
fn foreign_blobs_above_the_chain_refuse_it_if_that_place_is_shared_and_only_then() {
    let layers = |config: &str, top: (&str, &str)| Image::of_layers(config, &[("base", "base"), top]);
    let signed = layers("a", ("app", "app"));
    // The answer for the base is remembered for every chain that all images share, so the upper one counts already.
    assert_eq!(
        beside_signed(&prod(), &[&signed, &layers("b", ("app", "evil"))]).0,
        "deny AMBIGUOUS_CONFIG NO_SIGNATURE"
    );
    assert_eq!(beside_signed(&prod(), &[&signed, &layers("b", ("other", "evil"))]).0, "allow");
}

#[test]
fn foreign_blobs_stop_an_extraction_and_not_what_is_made_of_layers_that_are_there() {
    let good = Image::new("a", "same");
    let signed = Given::new(&good, &[requested("r.example/prod/app")], &[Key::named("ci").sign(&good.index, "")]);
    for evil in [Image::with_foreign_blobs("a", "same", "evil"), Image::with_foreign_blobs("b", "same", "evil")] {
        let evil = Given::new(&evil, &[requested("r.example/prod/other")], &[]);
        let both = [signed.clone(), evil.clone()];
        assert_eq!(told(&unpack(&prod(), &both)), "deny AMBIGUOUS_CONFIG NO_SIGNATURE");
        assert_eq!(told(&start(&prod(), &both)), "allow");
        assert_eq!(told(&start(&prod(), &[evil.clone(), signed.clone()])), "allow");
        // Pulled while a policy observed, and run under one that enforces: nothing signed has these layers.
        let observing = with("observe", &[rule("production", "\"r.example/prod/**\"", ONE)]);
        assert_eq!(told(&unpack(&observing, std::slice::from_ref(&evil))), "allow (NO_SIGNATURE)");
        assert_eq!(told(&start(&prod(), &[evil])), "deny NO_SIGNATURE");
    }
    // What is admitted for less than signatures still needs every image of the layers.
    let lax = rule("lax", "\"r.example/lax\"", &format!("{ONE}\nmode = \"observe\""));
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE), lax]);
    let other = Image::new("b", "same");
    let [lenient, refused] =
        ["r.example/lax", "r.example/prod/other"].map(|name| Given::new(&other, &[requested(name)], &[]));
    let unsigned = Given::new(&good, &[requested("r.example/lax")], &[]);
    assert_eq!(told(&start(&policy, &[unsigned.clone(), lenient])), "allow (NO_SIGNATURE)");
    assert_eq!(told(&start(&policy, &[unsigned, refused])), "deny NO_SIGNATURE");
}

#[test]
fn layers_in_the_middle_of_a_signed_image_make_nothing() {
    let image = Image::of_layers("a", &[("base", "base"), ("app", "app")]);
    let below = Image::of_layers("b", &[("base", "base")]);
    let signed = Given::new(&image, &[requested("r.example/prod/app")], &[Key::named("ci").sign(&image.index, "")]);
    let unsigned = Given::new(&below, &[requested("r.example/prod/base")], &[]);
    assert_eq!(told(&start(&prod(), std::slice::from_ref(&signed))), "allow");
    assert_eq!(told(&start(&prod(), &[unsigned.clone(), signed.clone()])), "deny NO_SIGNATURE");
    assert_eq!(told(&unpack(&prod(), &[unsigned, signed])), "allow");
}

#[test]
fn one_blob_under_two_media_types_is_two_layers_unless_they_are_names_of_one() {
    let of = |config: &str, layer_type: &str| Image::of_typed_layers(config, &[("same", "same")], layer_type);
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let signed = of("a", gzip);
    for (other, expected) in [
        (gzip, "allow"),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "allow"),
        ("application/vnd.oci.image.layer.v1.tar", "deny AMBIGUOUS_CONFIG NO_SIGNATURE"),
        ("application/vnd.oci.image.layer.v1.tar+zstd", "deny AMBIGUOUS_CONFIG NO_SIGNATURE"),
        ("application/vnd.docker.image.rootfs.diff.tar", "deny AMBIGUOUS_CONFIG NO_SIGNATURE"),
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "deny AMBIGUOUS_CONFIG NO_SIGNATURE"),
    ] {
        assert_eq!(beside_signed(&prod(), &[&signed, &of("b", other)]).0, expected, "{other}");
    }
}

#[test]
fn images_whose_documents_were_left_out_neither_admit_nor_stand_in_the_way() {
    let (good, other) = (Image::new("a", "same"), Image::new("b", "same"));
    let by_ci = |image: &Image| [Key::named("ci").sign(&image.index, "")];
    let signed = Given::new(&good, &[requested("r.example/prod/app")], &by_ci(&good));
    let named = |name: &str| Given { is_alike: true, ..Given::new(&other, &[requested(name)], &by_ci(&other)) };
    let left_out = named("r.example/prod/other");
    assert_eq!(told(&unpack(&prod(), &[signed.clone(), left_out.clone()])), "allow");
    assert_eq!(told(&start(&prod(), &[left_out.clone(), signed.clone()])), "allow");
    // Though it is signed: nobody looked.
    let unsigned = Given::new(&good, &[requested("r.example/prod/app")], &[]);
    let decision = unpack(&prod(), &[left_out.clone(), unsigned]);
    assert_eq!(told(&decision), "deny NO_SIGNATURE LIMIT");
    assert!(
        format!("{decision:?}").contains("2 images have these layers; the signatures of the 1 that"),
        "{decision:?}"
    );
    assert_eq!(told(&unpack(&prod(), std::slice::from_ref(&left_out))), "deny LIMIT LIMIT");
    // One of the same config is in the way as ever.
    let same_config = Given { is_alike: true, ..Given::new(&good, &[requested("r.example/prod/x")], &[]) };
    assert_eq!(told(&unpack(&prod(), &[signed, same_config])), "deny AMBIGUOUS_CONFIG LIMIT");
    // What asks for no signature goes by names alone, and by all of them.
    let lax = rule("lax", "\"r.example/lax/**\"", &format!("{ONE}\nmode = \"observe\""));
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE), lax]);
    let observed = Given::new(&good, &[requested("r.example/lax/app")], &[]);
    assert_eq!(told(&unpack(&policy, &[observed.clone(), named("r.example/lax/other")])), "allow (NO_SIGNATURE LIMIT)");
    assert_eq!(told(&unpack(&policy, &[observed.clone(), left_out.clone()])), "deny LIMIT LIMIT");
    // What is blocked is blocked.
    for digest in [other.manifest.digest, other.config, other.index.digest] {
        let blocked = format!("[[blocked]]\ndigest = \"{digest}\"\nreason = \"leaks\"\n");
        let policy = with("observe", &[rule("production", "\"r.example/prod/**\"", ONE), blocked]);
        assert_eq!(told(&unpack(&policy, &[observed.clone(), left_out.clone()])), "deny BLOCKED LIMIT");
    }
}

#[test]
fn a_refused_image_of_unknown_layers_refuses_the_chain() {
    let (good, broken) = (Image::new("a", "same"), Image::new("b", "same"));
    let signed = Given::new(&good, &[requested("r.example/prod/app")], &[Key::named("ci").sign(&good.index, "")]);
    let missing = |name: &str| Given {
        unbound: Some(Reason::new(DenyCode::EvidenceUnavailable, "x")),
        ..Given::new(&broken, &[requested(name)], &[])
    };
    let decision = unpack(&prod(), &[signed.clone(), missing("r.example/prod/other")]);
    assert_eq!(told(&decision), "deny AMBIGUOUS_CONFIG EVIDENCE_UNAVAILABLE");
    let lax = rule("lax", "\"r.example/lax\"", &format!("{ONE}\nmode = \"observe\""));
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE), lax]);
    assert_eq!(told(&unpack(&policy, &[signed.clone(), missing("r.example/lax")])), "allow");
    assert_eq!(told(&unpack(&prod(), &[signed, Given::new(&broken, &[], &[])])), "allow");
}

#[test]
fn layers_pulled_under_a_lax_name_are_not_admitted_beside_an_image_that_is_refused() {
    let (lax, strict) = (Image::new("a", "same"), Image::new("b", "same"));
    let open = rule("sandbox", "\"r.example/sandbox/**\"", &format!("{ONE}\nmode = \"observe\""));
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE), open]);
    let sandbox = Given::new(&lax, &[requested("r.example/sandbox/app")], &[]);
    assert_eq!(told(&unpack(&policy, std::slice::from_ref(&sandbox))), "allow (NO_SIGNATURE)");
    let production = Given::new(&strict, &[requested("r.example/prod/app")], &[]);
    let decision = unpack(&policy, &[sandbox.clone(), production]);
    assert_eq!((told(&decision).as_str(), decision.rule()), ("deny NO_SIGNATURE", Some("production")));
    assert!(decision.because().iter().any(|text| text.contains("counts only if image")), "{:?}", decision.because());
    let signed = Key::named("ci").sign(&strict.index, "");
    let production = Given::new(&strict, &[requested("r.example/prod/app")], &[signed]);
    assert_eq!(told(&unpack(&policy, &[sandbox, production])), "allow");
}

#[test]
fn a_chain_that_nobody_knows_is_refused_where_anything_enforces() {
    let chain = Some(Digest::sha256(b"unknown"));
    assert_eq!(told(&decide(&prod(), Gate::Unpack, chain, &[])), "deny UNKNOWN_CHAIN");
    let mode = |policy: &str, rule_mode: &str| {
        let one = rule("production", "\"r.example/prod/**\"", &format!("{ONE}\nmode = \"{rule_mode}\""));
        told(&decide(&with(policy, &[one]), Gate::Unpack, chain, &[]))
    };
    assert_eq!(mode("observe", "enforce"), "deny UNKNOWN_CHAIN");
    assert_eq!(mode("enforce", "observe"), "deny UNKNOWN_CHAIN");
    assert_eq!(mode("observe", "warn"), "allow (UNKNOWN_CHAIN)");
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
    let nothing = Case { gate: Gate::Pull, chain: None, images: Vec::new() };
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

#[test]
fn a_snapshot_on_no_layers_is_refused_with_a_reason_of_its_own() {
    let nothing = decide(&prod(), Gate::Unpack, Some(Digest::sha256(b"")), &[]);
    let Outcome::Deny { first, .. } = nothing.outcome() else { panic!("{nothing:?}") };
    assert_eq!(first.code, DenyCode::UnknownChain);
    assert!(
        first.detail.contains("the image has no layers (build it with at least one), or the snapshot was made by hand"),
        "{}",
        first.detail
    );
    let unknown = decide(&prod(), Gate::Unpack, Some(Digest::sha256(b"x")), &[]);
    let Outcome::Deny { first, .. } = unknown.outcome() else { panic!("{unknown:?}") };
    assert_eq!(first, &Reason::new(DenyCode::UnknownChain, Digest::sha256(b"x").to_string()));
}

#[test]
fn an_import_without_a_name_is_told_how_to_get_one() {
    let image = Image::new("a", "a");
    let signed = [Key::named("ci").sign(&image.index, "r.example/prod/app")];
    let nameless = unpack(&prod(), &[Given::new(&image, &[], &signed)]);
    let Outcome::Deny { first, .. } = nameless.outcome() else { panic!("{nameless:?}") };
    assert_eq!(first.code, DenyCode::NoRule);
    assert!(first.detail.contains("ctr image import --no-unpack"), "{}", first.detail);
    let named = unpack(&prod(), &[Given::new(&image, &[requested("docker.io/library/app")], &signed)]);
    let Outcome::Deny { first, .. } = named.outcome() else { panic!("{named:?}") };
    assert_eq!(first, &Reason::new(DenyCode::NoRule, "docker.io/library/app (requested)"));
    assert!(first.to_string().contains("use the name that it was signed for"), "{first}");
}
