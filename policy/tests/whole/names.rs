//! Under which of its names an image is judged, and what a name is worth.

use crate::scene::{
    Given, Image, Key, ONE, TWO, decide, decide_for, labelled, prod, requested, rule, told, unpack, with,
};
use assay_admission::{CandidateName, DenyCode, Digest, Gate, Outcome, Purpose, Reason};
use assay_policy::AskedChain;

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
fn a_container_that_may_be_of_several_images_needs_all_of_them() {
    let (own, other) = (Image::new("a", "same"), Image::new("b", "same"));
    let chain = Some(AskedChain { id: own.chain, purpose: Purpose::Use });
    let name = [requested("r.example/prod/app")];
    let signed = |image: &Image| vec![Key::named("ci").sign(&image.index, "")];
    let told = |gate, artifacts: &[_]| {
        let given = [Given::new(&own, &name, &signed(&own)), Given::new(&other, &name, artifacts)];
        told(&decide_for(&prod(), gate, chain, &given))
    };
    assert_eq!(told(Gate::Unpack, &[]), "allow");
    assert_eq!(told(Gate::Run, &[]), "deny NO_SIGNATURE");
    assert_eq!(told(Gate::Run, &signed(&other)), "allow");
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

#[test]
fn signatures_of_a_name_without_its_port_are_looked_for_at_each_port_that_a_scope_for_it_has() {
    let pinned = format!("\"r.example:3/app@{}\"", Digest::sha256(b"x"));
    let rules = [
        rule("one", "\"r.example:1/**\"", ONE),
        rule("two", "\"r.example:2/app\"", ONE),
        rule("three", &pinned, ONE),
        rule("other", "\"x.example:4/**\"", ONE),
        rule("all", "\"**\"", ONE),
    ];
    let policy = with("enforce", &rules);
    let looked = |name: CandidateName| -> Vec<String> {
        policy
            .repositories_for(&name)
            .iter()
            .map(|repository| format!("{}/{}", repository.host(), repository.path()))
            .collect()
    };
    let three = ["r.example:1/app", "r.example:2/app", "r.example:3/app"];
    assert_eq!(looked(labelled("r.example/app")), three);
    // Not at the ports of scopes for something else.
    assert_eq!(looked(labelled("r.example/web")), ["r.example:1/web"]);
    assert_eq!(looked(labelled("y.example/app")), ["y.example/app"]);
    // Who asked for a name said which port.
    assert_eq!(looked(requested("r.example/app")), ["r.example/app"]);
    assert_eq!(looked(requested("r.example:2/app")), ["r.example:2/app"]);
}

#[test]
fn the_colons_of_an_address_are_no_port_of_it() {
    let image = Image::new("a", "a");
    let policy = with("enforce", &[rule("local", "\"[2001:db8::2]/**\"", ONE)]);
    let signed = [Key::named("ci").sign(&image.index, "")];
    let told = |name: CandidateName| told(&unpack(&policy, &[Given::new(&image, &[name], &signed)]));
    assert_eq!(told(labelled("[2001:db8::2]/app")), "allow");
    assert_eq!(told(labelled("[2001:db8::3]/app")), "deny NO_RULE");
}
