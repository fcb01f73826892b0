//! Keyless signers, keys that need a log, and attestations: what admits, and its twin that differs in one thing and is refused.

use assay_verify::Artifact;

use crate::scene::{
    Given, Image, Key, attest, attest_keyless, policy, requested, sign_keyless,
    sigstore_world::{IDENTITY, ISSUER},
    told, unpack,
};

const SPDX: &str = "https://spdx.dev/Document";
const VULN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";

/// A policy with the small Sigstore as `public`, what `more` adds, and one rule.
fn with(more: &str, require: &str) -> assay_policy::Policy {
    policy(&format!(
        "version = 1\nmode = \"enforce\"\n[keys.ci]\npublic = \"ci.pem\"\n[keys.audit]\npublic = \"audit.pem\"\n\
         [sigstore.public]\ntrusted-root = \"trusted_root.json\"\n{more}\n\
         [[rules]]\nname = \"r\"\nimages = [\"r.example/**\"]\nrequire = [{require}]\n"
    ))
}

fn told_of(policy: &assay_policy::Policy, image: &Image, artifacts: &[Artifact]) -> String {
    told(&unpack(policy, &[Given::new(image, &[requested("r.example/app:1")], artifacts)]))
}

fn signer(identity: &str, issuer: &str) -> String {
    format!("[signers.release]\nsigstore = \"public\"\n{identity}\n{issuer}")
}

const ONE: &str = "{ signatures = 1, of = [\"release\"] }";

#[test]
fn an_identity_of_the_policy_admits_and_every_other_identity_issuer_and_root_is_refused() {
    let image = Image::new("a", "a");
    let signed = [sign_keyless(&image.index, true)];
    let issuer = format!("issuer = {ISSUER:?}");
    for (identity, issuer, verdict) in [
        (format!("identity = {IDENTITY:?}"), issuer.clone(), "allow"),
        ("identity = \"https://ci.example/acme/app/release.yml@refs/tags/*\"".into(), issuer.clone(), "allow"),
        ("identity-regexp = \"https://ci[.]example/acme/.*\"".into(), "issuer-regexp = \"https://.*\"".into(), "allow"),
        (format!("identity = \"{IDENTITY}0\""), issuer.clone(), "deny NOT_SATISFIED"),
        ("identity = \"https://ci.example/acme/*@refs/tags/v1\"".into(), issuer.clone(), "deny NOT_SATISFIED"),
        ("identity-regexp = \"https://ci[.]example/acme\"".into(), issuer, "deny NOT_SATISFIED"),
        (format!("identity = {IDENTITY:?}"), format!("issuer = \"{ISSUER}.evil\""), "deny NOT_SATISFIED"),
    ] {
        assert_eq!(told_of(&with(&signer(&identity, &issuer), ONE), &image, &signed), verdict, "{identity} {issuer}");
    }
    // A root of the same content under another name is another root.
    let other = format!(
        "[sigstore.other]\ntrusted-root = \"trusted_root.json\"\n{}",
        signer(&format!("identity = {IDENTITY:?}"), &format!("issuer = {ISSUER:?}"))
    );
    let decision = unpack(&with(&other, ONE), &[Given::new(&image, &[requested("r.example/app:1")], &signed)]);
    assert_eq!(told(&decision), "allow");
    assert!(decision.because().iter().any(|text| text.contains("(Sigstore root public)")), "{:?}", decision.because());
}

#[test]
fn a_root_asks_for_as_many_logs_as_the_policy_says() {
    let image = Image::new("a", "a");
    let root = |logs: &str| {
        let text = signer(&format!("identity = {IDENTITY:?}"), &format!("issuer = {ISSUER:?}"));
        policy(&format!(
            "version = 1\nmode = \"enforce\"\n[sigstore.public]\ntrusted-root = \"trusted_root.json\"\n{logs}\n{text}\n\
             [[rules]]\nname = \"r\"\nimages = [\"r.example/**\"]\nrequire = [{ONE}]\n"
        ))
    };
    let (logged, stamped) = ([sign_keyless(&image.index, true)], [sign_keyless(&image.index, false)]);
    assert_eq!(told_of(&root(""), &image, &logged), "allow");
    assert_eq!(told_of(&root(""), &image, &stamped), "deny NOT_SATISFIED");
    assert_eq!(told_of(&root("transparency-logs = 0"), &image, &stamped), "allow");
    assert_eq!(told_of(&root("transparency-logs = 2"), &image, &logged), "deny NOT_SATISFIED");
    assert_eq!(told_of(&root("trusted-times = 2"), &image, &logged), "deny NOT_SATISFIED");
}

#[test]
fn a_key_that_needs_a_log_is_not_satisfied_by_its_other_name_that_needs_none() {
    let image = Image::new("a", "a");
    let signed = [Key::named("ci").sign(&image.index, "")];
    let logged = "[keys.logged]\npublic = \"ci.pem\"\ntransparency-log = \"public\"";
    assert_eq!(told_of(&with(logged, "{ signatures = 1, of = [\"ci\"] }"), &image, &signed), "allow");
    assert_eq!(told_of(&with(logged, "{ signatures = 1, of = [\"logged\"] }"), &image, &signed), "deny NOT_SATISFIED");
}

#[test]
fn an_attestation_that_is_asked_for_must_be_there_of_its_type_by_its_signer_about_the_image() {
    let (image, other) = (Image::new("a", "a"), Image::new("b", "b"));
    let both = with("", "{ signatures = 1, of = [\"ci\"] }, { attestation = \"spdxjson\", by = [\"audit\"] }");
    let signed = Key::named("ci").sign(&image.index, "");
    let attested = |key: &str, image: &Image, kind: &str| attest(&Key::named(key), &image.index, kind);
    let told = |attestation: Artifact| told_of(&both, &image, &[signed.clone(), attestation]);
    assert_eq!(told(attested("audit", &image, SPDX)), "allow");
    assert_eq!(told(attested("audit", &image, VULN)), "deny NOT_SATISFIED");
    // A type that is not known here may say anything, and is another type all the same.
    assert_eq!(told(attested("audit", &image, "https://spdx.dev/Documents")), "deny NOT_SATISFIED");
    assert_eq!(told(attested("ci", &image, SPDX)), "deny NOT_SATISFIED");
    assert_eq!(told(attested("nobody", &image, SPDX)), "deny NOT_SATISFIED");
    let mut moved = attested("audit", &other, SPDX);
    moved.subject = image.index.digest;
    assert_eq!(told(moved), "deny NOT_SATISFIED");
    assert_eq!(told_of(&both, &image, std::slice::from_ref(&signed)), "deny NOT_SATISFIED");
    // The other half is missing.
    assert_eq!(told_of(&both, &image, &[attested("audit", &image, SPDX)]), "deny NOT_SATISFIED");
    let detail =
        format!("{:?}", unpack(&both, &[Given::new(&image, &[requested("r.example/app:1")], &[signed])]).outcome());
    assert!(detail.contains("an attestation of type https://spdx.dev/Document by one of [audit] needed"), "{detail}");
}

#[test]
fn an_attestation_is_no_signature_and_a_signature_is_no_attestation() {
    let image = Image::new("a", "a");
    let signature = with("", "{ signatures = 1, of = [\"ci\"] }");
    let attestation = with("", "{ attestation = \"spdxjson\", by = [\"ci\"] }");
    let attested = [attest(&Key::named("ci"), &image.index, SPDX)];
    let signed = [Key::named("ci").sign(&image.index, "")];
    assert_eq!(told_of(&signature, &image, &attested), "deny NOT_SATISFIED");
    assert_eq!(told_of(&attestation, &image, &attested), "allow");
    assert_eq!(told_of(&attestation, &image, &signed), "deny NOT_SATISFIED");
    assert_eq!(told_of(&attestation, &image, &[]), "deny NO_SIGNATURE");
}

#[test]
fn an_identity_attests_for_itself_alone() {
    let image = Image::new("a", "a");
    let release = signer(&format!("identity = {IDENTITY:?}"), &format!("issuer = {ISSUER:?}"));
    let other = signer("identity = \"someone@acme.example\"", &format!("issuer = {ISSUER:?}"));
    let require = "{ attestation = \"spdxjson\", by = [\"release\"] }";
    let attested = [attest_keyless(&image.manifest, SPDX)];
    assert_eq!(told_of(&with(&release, require), &image, &attested), "allow");
    assert_eq!(told_of(&with(&other, require), &image, &attested), "deny NOT_SATISFIED");
    // What must be signed is what must be attested.
    let only_index = format!("{require}]\nsubject = \"index\"\n#[");
    assert_eq!(told_of(&with(&release, &only_index), &image, &attested), "deny NOT_SATISFIED");
}

#[test]
fn attestations_are_asked_for_only_where_a_rule_does() {
    let policy = with("", "{ attestation = \"spdxjson\", by = [\"ci\"] }");
    let digest = Image::new("a", "a").manifest.digest;
    assert!(policy.asks_for_attestations(&[requested("r.example/app:1")], &[digest]));
    assert!(!policy.asks_for_attestations(&[requested("other.example/app:1")], &[digest]));
    let signatures = with("", "{ signatures = 1, of = [\"ci\"] }");
    assert!(!signatures.asks_for_attestations(&[requested("r.example/app:1")], &[digest]));
}
