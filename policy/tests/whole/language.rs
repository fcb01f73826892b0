//! The policy language: what is read, and what is refused at which line and column.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use assay_admission::Mode;
use assay_policy::{Material, Policy, PolicyDocument};

const ED25519_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
const ED25519_SHA256: &str = "06e3fd8fda29bb60ab59557de61edb0aecdb231134be30e75b455f8e1b792fa9";

/// The errors of a policy, parsed and compiled: (line, column, message).
fn errors(text: &str, material: &Material) -> Vec<(usize, usize, String)> {
    let errors = match PolicyDocument::parse("policy.toml", text) {
        Ok(document) => document.compile(material).unwrap_err(),
        Err(errors) => errors,
    };
    errors.iter().map(|(line, column, message)| (line, column, message.to_owned())).collect()
}

fn policy(text: &str, material: &Material) -> Policy {
    match PolicyDocument::parse("policy.toml", text).and_then(|document| document.compile(material)) {
        Ok(policy) => policy,
        Err(errors) => panic!("{errors}"),
    }
}

fn with_key() -> Material {
    let files = BTreeMap::from([("ci.pem".to_owned(), ED25519_PEM.as_bytes().to_vec())]);
    Material { files, ..Material::default() }
}

const GOOD: &str = r#"version = 3
mode = "enforce"

[keys.ci]
public = "ci.pem"

[signers.releases]
key = "ci"

[[rules]]
name = "production"
images = ["registry.example/prod/**"]
require = [{ signatures = 1, of = ["releases"] }]

[[rules]]
name = "sandbox"
images = ["registry.example/sandbox/**"]
accept = "unsigned"
mode = "warn"

[[blocked]]
digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
reason = "CVE-2026-1"
"#;

#[test]
fn a_whole_policy_is_read() {
    let document = PolicyDocument::parse("policy.toml", GOOD).unwrap();
    assert_eq!(document.files(), ["ci.pem"]);
    assert!(document.token_keys().is_empty());
    let policy = document.compile(&with_key()).unwrap();
    assert_eq!((policy.version(), policy.mode()), (3, Mode::Enforce));
    assert_eq!(policy.source(), GOOD);
    assert_eq!(policy.trust().keys.len(), 1);
}

#[test]
fn the_digest_of_all_changes_with_the_text_and_with_every_key() {
    let original = policy(GOOD, &with_key()).digest_of_all();
    assert_eq!(original, policy(GOOD, &with_key()).digest_of_all());
    assert_ne!(original, policy(&GOOD.replace("CVE-2026-1", "CVE-2026-2"), &with_key()).digest_of_all());
    let mut other = with_key();
    other.files.get_mut("ci.pem").unwrap().push(b'\n');
    assert_ne!(original, policy(GOOD, &other).digest_of_all());
}

/// One line of `GOOD` replaced, and the error that this makes.
fn refused(line: &str, replacement: &str, at: (usize, usize), message: &str) {
    assert_eq!(GOOD.matches(line).count(), 1, "{line}");
    let found = errors(&GOOD.replacen(line, replacement, 1), &with_key());
    assert!(
        found.iter().any(|(line, column, text)| (*line, *column) == at && text.contains(message)),
        "{replacement}: wanted {at:?} {message:?}, got {found:?}"
    );
}

#[test]
fn unknown_fields_are_refused_where_they_stand() {
    refused("version = 3", "version = 3\nowner = 1", (2, 1), "`owner` is not a field of a policy");
    refused("public = \"ci.pem\"", "public = \"ci.pem\"\n  Sha256 = \"\"", (6, 3), "`Sha256` is not a field of a key");
    refused("key = \"ci\"", "key = \"ci\"\nkeys = 1", (9, 1), "`keys` is not a field of a signer");
    refused("name = \"sandbox\"", "name = \"sandbox\"\ndocker_reference = \"ignore\"", (17, 1), "`docker_reference`");
    refused(
        "signatures = 1,",
        "signatures = 1, threshold = 1,",
        (13, 30),
        "`threshold` is not a field of a requirement",
    );
    refused("reason = \"CVE-2026-1\"", "reason = \"x\"\nwhy = 1", (24, 1), "`why` is not a field of a blocked digest");
}

#[test]
fn what_belongs_to_the_language_and_is_not_built_is_refused_by_name() {
    let unsupported = "is not supported by this version";
    for field in ["exceptions", "repositories", "revocation", "break-glass"] {
        refused("version = 3", &format!("version = 3\n{field} = 1"), (2, 1), &format!("`{field}` {unsupported}"));
    }
    refused("key = \"ci\"", "subjects = \"x\"", (8, 1), &format!("`subjects` {unsupported}"));
    refused(
        "public = \"ci.pem\"",
        "public = \"ci.pem\"\ntimestamps = 1",
        (6, 1),
        &format!("`timestamps` {unsupported}"),
    );
    for field in ["attestations", "rego", "max-age", "max-severity"] {
        let replacement = format!("require = [{{ {field} = \"x\" }}]");
        refused(
            "require = [{ signatures = 1, of = [\"releases\"] }]",
            &replacement,
            (13, 14),
            &format!("`{field}` {unsupported}"),
        );
    }
    for (table, field) in [("certificates", "level"), ("sigstore", "witnesses")] {
        let replacement = format!("[{table}.x]\n{field} = \"x\"\n[signers.releases]");
        refused("[signers.releases]", &replacement, (8, 1), &format!("`{field}` {unsupported}"));
    }
}

/// `GOOD` with these lines before its signer, and these instead of the signer's key.
fn refused_signer(before: &str, signer: &str, message: &str) {
    let text = GOOD.replacen("[signers.releases]", &format!("{before}\n[signers.releases]"), 1).replacen(
        "key = \"ci\"",
        signer,
        1,
    );
    let found = errors(&text, &with_roots());
    assert!(found.iter().any(|(.., text)| text.contains(message)), "{signer}: wanted {message:?}, got {found:?}");
}

/// A root with one log: the key is that of a vector of the verifier's.
const ROOT: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[{"baseUrl":"x","hashAlgorithm":"SHA2_256","publicKey":{"rawBytes":"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYI4heOTrNrZO27elFE8ynfrdPMikttRkbe+vJKQ50G6bfwQ3WyhLpRwwwohelDAm8xRzJ56nYsIa3VHivVvpmA==","keyDetails":"PKIX_ECDSA_P256_SHA_256"},"logId":{"keyId":"AAAAAAAAAAA="}}]}"#;

fn with_roots() -> Material {
    let mut material = with_key();
    material.files.insert("root.json".to_owned(), ROOT.as_bytes().to_vec());
    material.files.insert("acme.pem".to_owned(), crate::scene::Authority::acme().root_pem().into_bytes());
    material
}

const SIGSTORE: &str = "[sigstore.public]\ntrusted-root = \"root.json\"";

#[test]
fn a_root_that_the_agent_keeps_up_to_date_is_named_and_changes_without_a_new_version() {
    let of = |fields: &str| {
        let root = format!("[sigstore.public]\n{fields}\n[signers.releases]");
        let text = GOOD.replacen("[signers.releases]", &root, 1);
        (text.clone(), move |root: &str| {
            let trust_roots = BTreeMap::from([("public-good".to_owned(), root.as_bytes().to_vec())]);
            policy(&text, &Material { trust_roots, ..with_roots() })
        })
    };
    let (text, compile) = of("trust-root = \"public-good\"");
    assert_eq!(PolicyDocument::parse("p", &text).unwrap().trust_roots(), ["public-good"]);
    let before = compile(ROOT);
    assert_eq!(before.trust().sigstore.len(), 1);
    let after = compile(&ROOT.replace("\"x\"", "\"y\""));
    assert_eq!(after.may_follow(&before), Ok(()));
    // What was judged by the old one is judged again.
    assert_ne!(after.digest_of_all(), before.digest_of_all());

    let refused = |fields: &str, says: &str| {
        let found = errors(&of(fields).0, &with_roots());
        assert!(found.iter().any(|(.., text)| text.contains(says)), "{fields}: {found:?}");
    };
    refused("trust-root = \"public-good\"", "the trust root public-good has nothing that is trusted yet");
    refused("trust-root = \"../x\"", "is no name of a trust root");
    refused("trust-root = \"a\"\ntrusted-root = \"root.json\"", "exclude each other");
}

#[test]
fn keyless_signers_are_read() {
    for (root, signer) in [
        ("", "issuer = \"https://i.example\"\nidentity = \"https://c.example/a@refs/tags/*\""),
        ("transparency-logs = 0", "issuer-regexp = \"https://i.*\"\nidentity-regexp = \".*@acme[.]example\""),
        ("transparency-logs = 1\ntrusted-times = 1", "issuer = \"https://i.example\"\nidentity = \"a@acme.example\""),
    ] {
        let text = GOOD.replacen("[signers.releases]", &format!("{SIGSTORE}\n{root}\n[signers.releases]"), 1).replacen(
            "key = \"ci\"",
            &format!("sigstore = \"public\"\n{signer}"),
            1,
        );
        let policy = policy(&text, &with_roots());
        assert_eq!(policy.trust().sigstore.len(), 1, "{signer}");
    }
    let document =
        PolicyDocument::parse("p", &GOOD.replacen("[signers.releases]", &format!("{SIGSTORE}\n[signers.releases]"), 1));
    assert_eq!(document.unwrap().files(), ["ci.pem", "root.json"]);
}

#[test]
fn more_operators_than_the_root_names_are_refused_at_their_line() {
    let text = |more: &str| GOOD.replacen("[signers.releases]", &format!("{SIGSTORE}\n{more}\n[signers.releases]"), 1);
    let told = |more: &str| errors(&text(more), &with_roots());
    policy(&text("transparency-logs = 1\ntrusted-times = 1"), &with_roots());
    let message = |field: &str, wanted: &str| {
        format!("`{field}` of {wanted} different operators can never be there: the root names 1")
    };
    let line = text("").lines().position(|line| line.contains("root.json")).unwrap() + 2;
    assert_eq!(told("transparency-logs = 2"), [(line, 21, message("transparency-logs", "2"))]);
    assert_eq!(told("trusted-times = 2"), [(line, 17, message("trusted-times", "2"))]);
    let most = "18446744073709551615";
    assert_eq!(told(&format!("trusted-times = {most}")), [(line, 17, message("trusted-times", most))]);

    // A root without logs, and nothing said of them: the usual number is out of reach too.
    let mut material = with_roots();
    material.files.insert("root.json".to_owned(), without_logs());
    let found: Vec<String> = errors(&text(""), &material).into_iter().map(|(.., text)| text).collect();
    assert!(found.iter().any(|text| text.contains("`transparency-logs` of 1 different operators")), "{found:?}");
    policy(&text("transparency-logs = 0"), &material);

    // The policy is in force when its root becomes another one: that counts, and nothing satisfies it.
    let two = text("transparency-logs = 2");
    let again = PolicyDocument::parse("policy.toml", &two).unwrap().compile_again(&with_roots()).unwrap();
    assert_eq!(again.trust().sigstore.len(), 1);
}

/// The small Sigstore's root of trust with its time-stamping authority and none of its logs.
fn without_logs() -> Vec<u8> {
    let mut root: serde_json::Value = serde_json::from_slice(&crate::scene::trusted_root()).unwrap();
    root.as_object_mut().unwrap().remove("tlogs");
    root.to_string().into_bytes()
}

#[test]
fn keyless_signers_that_mean_too_much_or_nothing_are_refused() {
    let of = |rest: &str| format!("sigstore = \"public\"\n{rest}");
    let identity = "identity = \"a@b\"";
    refused_signer(SIGSTORE, &of(identity), "needs `issuer`");
    refused_signer(SIGSTORE, &of("issuer = \"https://i\""), "needs `identity`");
    refused_signer(SIGSTORE, &of(&format!("{identity}\nissuer = \"https://*\"")), "an issuer has no `*`");
    refused_signer(SIGSTORE, &of("issuer = \"https://i\"\nidentity = \"*\""), "would be anybody");
    refused_signer(SIGSTORE, &of("issuer = \"https://i\"\nidentity = \"https://c/**\""), "`**` has no meaning");
    refused_signer(SIGSTORE, &of("issuer = \"https://i\"\nidentity-regexp = \"(\""), "this pattern cannot be used");
    let both = format!("{identity}\nidentity-regexp = \"x\"\nissuer = \"https://i\"");
    refused_signer(SIGSTORE, &of(&both), "`identity` or `identity-regexp`, not both");
    refused_signer(
        SIGSTORE,
        &of(&format!("key = \"ci\"\n{identity}")),
        "has one of `key`, `certificates` and `sigstore`",
    );
    refused_signer(SIGSTORE, &format!("key = \"ci\"\n{identity}"), "a signer with `key` has no `identity`");
    refused_signer(
        "",
        &of(&format!("{identity}\nissuer = \"https://i\"")),
        "the Sigstore root public, which is not there",
    );
    let zero = format!("{SIGSTORE}\ntrusted-times = 0");
    refused_signer(&zero, &of(&format!("{identity}\nissuer = \"https://i\"")), "`trusted-times` must be at least 1");
    let whole = of(&format!("{identity}\nissuer = \"https://i\""));
    refused_signer("[sigstore.public]\ntrusted-root = \"acme.pem\"", &whole, "acme.pem cannot be used");
    refused_signer("[sigstore.public]\ntrusted-root = \"../x\"", &of(identity), "is no file of this policy");
    refused_signer("[sigstore.public]", &of(identity), "needs `trusted-root`");
}

#[test]
fn a_key_may_ask_for_a_log_that_is_there() {
    let with =
        |root: &str, log: &str| {
            GOOD.replacen("public = \"ci.pem\"", &format!("public = \"ci.pem\"\ntransparency-log = \"{log}\""), 1)
                .replacen("[signers.releases]", &format!("{SIGSTORE}\n{root}\n[signers.releases]"), 1)
        };
    let policy = policy(&with("", "public"), &with_roots());
    assert_eq!(policy.trust().logged_keys.len(), 1);
    for (root, log, message) in [
        ("", "other", "the transparency log of other, which is not there"),
        ("transparency-logs = 0", "public", "asks for no log"),
    ] {
        let found = errors(&with(root, log), &with_roots());
        assert!(found.iter().any(|(line, _, text)| *line == 6 && text.contains(message)), "{found:?}");
    }
}

#[test]
fn what_a_certificate_store_asks_for_is_read_and_checked() {
    let store = |more: &str| format!("[certificates.acme]\n{more}\n[signers.releases]");
    let text = |more: &str| GOOD.replacen("[signers.releases]", &store(more), 1);
    for good in [
        "anchors = [\"acme.pem\"]\nrevocation = \"enforce\"\nrevocation-max-age = \"7d\"",
        "anchors = [\"acme.pem\"]\ntimestamping = [\"acme.pem\"]\nverify-timestamp = \"after-expiry\"",
        "signing-authority = [\"acme.pem\"]\nrevocation = \"log\"",
    ] {
        policy(&text(good), &with_roots());
    }
    for (bad, message) in [
        ("revocation = \"enforce\"", "needs `anchors` or `signing-authority`"),
        ("anchors = []", "`anchors` is empty"),
        ("anchors = [\"acme.pem\"]\nrevocation = \"maybe\"", "`revocation` cannot be \"maybe\""),
        ("anchors = [\"acme.pem\"]\nverify-timestamp = \"always\"", "needs `timestamping`"),
        ("anchors = [\"acme.pem\"]\nrevocation-max-age = \"7d\"", "lists that nothing here asks for"),
        ("anchors = [\"acme.pem\"]\nrevocation = \"log\"\nrevocation-max-age = \"7\"", "\"7\" is no span of time"),
        ("anchors = [\"acme.pem\"]\nrevocation = \"log\"\nrevocation-max-age = \"0d\"", "\"0d\" is no span of time"),
        ("anchors = [\"acme.pem\"]\nrevocation = \"log\"\nrevocation-max-age = \"99999d\"", "is no span of time"),
        ("anchors = [\"acme.pem\"]\ntimestamping = [\"tsa.pem\"]", "tsa.pem was not found"),
        ("anchors = [\"acme.pem\"]\nsigning-authority = [\"/acme.pem\"]", "is no file of this policy"),
    ] {
        let found = errors(&text(bad), &with_roots());
        assert!(found.iter().any(|(.., text)| text.contains(message)), "{bad}: wanted {message:?}, got {found:?}");
    }
}

#[test]
fn attestations_are_asked_for_by_type_and_by_whom() {
    let require = "require = [{ signatures = 1, of = [\"releases\"] }]";
    let with = |more: &str| GOOD.replacen(require, &format!("require = [{{ {more} }}]"), 1);
    policy(&with("attestation = \"spdxjson\", by = [\"releases\", \"ci\"]"), &with_key());
    policy(&with("attestation = \"https://acme.example/built/v1\", by = [\"ci\"]"), &with_key());
    for (bad, message) in [
        ("attestation = \"spdxjson\"", "needs `by`"),
        ("attestation = \"spdxjson\", by = []", "`by` is empty"),
        ("by = [\"ci\"]", "needs `attestation`"),
        ("attestation = \"sbom\", by = [\"ci\"]", "\"sbom\" is neither a URI nor one of"),
        ("attestation = \"vuln\", by = [\"nobody\"]", "there is no signer or key nobody"),
        ("attestation = \"vuln\", by = [\"ci\", \"ci\"]", "ci stands twice in `by`"),
        ("attestation = \"vuln\", by = [\"ci\"], signatures = 1", "not both"),
    ] {
        let found = errors(&with(bad), &with_key());
        assert!(found.iter().any(|(.., text)| text.contains(message)), "{bad}: wanted {message:?}, got {found:?}");
    }
}

#[test]
fn a_policy_without_version_or_mode_is_refused() {
    refused("version = 3", "", (1, 1), "needs `version`");
    refused("version = 3", "version = 0", (1, 11), "at least 1");
    refused("version = 3", "version = -3", (1, 11), "at least 1");
    refused("version = 3", "version = 3.5", (1, 11), "must be a whole number, not a number with a fraction");
    refused("mode = \"enforce\"", "", (1, 1), "needs `mode`");
    refused("mode = \"enforce\"", "mode = \"Enforce\"", (2, 8), "cannot be \"Enforce\"");
}

#[test]
fn an_empty_list_satisfies_nothing_and_is_refused() {
    let require = "require = [{ signatures = 1, of = [\"releases\"] }]";
    refused(require, "require = []", (13, 11), "`require` is empty");
    refused(require, "", (10, 1), "a rule needs `require`");
    refused(require, "require = [{ signatures = 1, of = [] }]", (13, 35), "`of` is empty");
    refused("images = [\"registry.example/prod/**\"]", "images = []", (12, 10), "`images` is empty");
}

#[test]
fn thresholds_that_are_zero_or_out_of_reach_are_refused() {
    refused("signatures = 1", "signatures = 0", (13, 27), "at least 1");
    refused("signatures = 1", "signatures = -1", (13, 27), "at least 1");
    for huge in ["18446744073709551616", "99999999999999999999999999999999999999999"] {
        refused("signatures = 1", &format!("signatures = {huge}"), (13, 27), "is larger than any number of its kind");
    }
    let most = "18446744073709551615";
    let told = format!("{most} signatures of 1 distinct signers can never be there");
    refused("signatures = 1", &format!("signatures = {most}"), (13, 27), &told);
    refused("signatures = 1", "signatures = 2", (13, 27), "2 signatures of 1 distinct signers can never be there");
    // The signer `releases` and the key `ci` are one key.
    let both = "signatures = 2, of = [\"releases\", \"ci\"]";
    refused("signatures = 1, of = [\"releases\"]", both, (13, 27), "2 signatures of 1 distinct signers");
    let twice = "signatures = 1, of = [\"releases\", \"releases\"]";
    refused("signatures = 1, of = [\"releases\"]", twice, (13, 48), "releases stands twice");
}

#[test]
fn names_that_lead_nowhere_are_refused() {
    refused("of = [\"releases\"]", "of = [\"release\"]", (13, 36), "there is no signer or key release");
    refused("key = \"ci\"", "key = \"cl\"", (7, 10), "the key cl, which is not there");
    refused("key = \"ci\"", "certificates = \"acme\"\nsubject = \"C=DE, ST=B, O=A\"", (7, 10), "certificates acme");
    refused("key = \"ci\"", "certificates = \"acme\"", (7, 10), "needs `subject`");
    refused("key = \"ci\"", "certificates = \"acme\"\nsubject = \"CN=A\"", (9, 11), "this subject cannot be used");
    refused("key = \"ci\"", "", (7, 10), "needs `key`, `certificates` or `sigstore`");
}

#[test]
fn a_name_that_means_two_things_is_refused() {
    let other = format!("[keys.releases]\npublic = '''{ED25519_PEM}'''\n[signers.releases]");
    refused("[signers.releases]", &other, (12, 10), "both a key and a signer that is not that key");
}

#[test]
fn two_rules_of_one_name_or_one_scope_are_refused() {
    refused("name = \"sandbox\"", "name = \"production\"", (16, 8), "there are two rules \"production\"");
    let scope = "\"registry.example/sandbox/**\"";
    refused(scope, "\"registry.example/prod/**\"", (17, 11), "stands already in rule \"production\"");
    refused(scope, "\"alpine\", \"docker.io/library/alpine\"", (17, 21), "stands already in rule \"sandbox\"");
}

#[test]
fn a_rule_that_admits_everything_must_say_so() {
    refused("accept = \"unsigned\"", "accept = \"everything\"", (18, 10), "cannot be \"everything\"");
    refused("accept = \"unsigned\"", "accept = \"unsigned\"\nrequire = []", (15, 1), "`require` or `accept`, not both");
}

#[test]
fn a_pin_that_differs_or_is_missing_is_refused() {
    let public = "public = \"ci.pem\"";
    let pinned = |pin: &str| format!("{public}\nsha256 = \"{pin}\"");
    policy(&GOOD.replacen(public, &pinned(ED25519_SHA256), 1), &with_key());
    let mut other = ED25519_SHA256.to_owned();
    other.replace_range(63.., "b");
    refused(public, &pinned(&other), (6, 10), "is not the pinned one");
    refused(public, &pinned("12"), (6, 10), "64 lower-case hex digits");
    refused(public, "public = \"pkcs11:token=t;object=o\"", (5, 10), "a key in a token needs `sha256`");
    refused(public, "public = \"pkcs11:token=t?pin-value=1234\"", (5, 10), "must not hold a PIN");
}

#[test]
fn a_key_from_a_token_counts_only_if_it_is_the_pinned_one() {
    let uri = "pkcs11:token=assay;object=ci;type=public";
    let text = GOOD.replacen("public = \"ci.pem\"", &format!("public = \"{uri}\"\nsha256 = \"{ED25519_SHA256}\""), 1);
    let document = PolicyDocument::parse("policy.toml", &text).unwrap();
    assert!(document.files().is_empty());
    let keys = document.token_keys();
    let key = keys.first().unwrap();
    assert_eq!((key.name.as_str(), key.uri, key.sha256.as_str()), ("ci", uri, ED25519_SHA256));

    let pem: String = ED25519_PEM.lines().filter(|line| !line.starts_with('-')).collect();
    let spki = base64(&pem);
    let material =
        |spki: &[u8]| Material { token_keys: BTreeMap::from([(uri.to_owned(), spki.to_vec())]), ..Material::default() };
    policy(&text, &material(&spki));

    // A hostile token answers with a key of its own: here the key of RFC 8032's second test.
    let mut hostile = spki;
    hostile.truncate(12);
    hostile.extend(hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"));
    let found = errors(&text, &material(&hostile));
    assert!(found.iter().any(|(line, _, text)| *line == 6 && text.contains("not the pinned one")), "{found:?}");
    let found = errors(&text, &Material::default());
    assert!(found.iter().any(|(line, _, text)| *line == 5 && text.contains("not read from its token")), "{found:?}");
}

#[test]
fn files_stay_below_the_policys_folder_and_must_be_there() {
    for path in ["/etc/shadow", "../ci.pem", "keys/../../ci.pem", "", "./ci.pem"] {
        refused("public = \"ci.pem\"", &format!("public = \"{path}\""), (5, 10), "is no file of this policy");
    }
    refused("public = \"ci.pem\"", "public = \"keys/other.pem\"", (5, 10), "keys/other.pem was not found");
    let store = "[certificates.acme]\nanchors = [\"../acme.pem\"]\n\n[signers.releases]";
    refused("[signers.releases]", store, (8, 12), "is no file of this policy");
}

#[test]
fn keys_and_certificates_that_are_none_are_refused() {
    let text = GOOD.to_owned();
    let mut material = with_key();
    material.files.insert("ci.pem".to_owned(), b"nonsense".to_vec());
    assert!(
        errors(&text, &material).iter().any(|(line, _, text)| *line == 5 && text.contains("key ci cannot be used"))
    );
    let text =
        GOOD.replacen("[signers.releases]", "[certificates.acme]\nanchors = [\"acme.pem\"]\n[signers.releases]", 1);
    material = with_key();
    material.files.insert("acme.pem".to_owned(), b"nonsense".to_vec());
    assert!(
        errors(&text, &material)
            .iter()
            .any(|(line, column, text)| (*line, *column) == (8, 12) && text.contains("acme.pem"))
    );
}

#[test]
fn blocked_digests_are_digests_and_say_why() {
    refused("reason = \"CVE-2026-1\"", "", (21, 1), "needs `reason`");
    let digest = "digest = \"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"";
    refused(digest, "digest = \"sha256:E3B0\"", (22, 10), "this is no digest");
    refused("[[blocked]]\n", "[blocked]\n", (21, 1), "`blocked` must be a list of tables, not a table");
}

#[test]
fn broken_toml_is_refused_where_it_breaks() {
    refused("mode = \"enforce\"", "mode = \"enforce", (2, 16), "");
    refused("version = 3", "version = 3\nversion = 4", (2, 1), "duplicate key");
    let deep = format!("version = {}1{}", "[".repeat(5000), "]".repeat(5000));
    assert!(!errors(&deep, &Material::default()).is_empty());
}

#[test]
fn every_error_is_told_at_once_with_its_line_and_a_hint() {
    let text = GOOD.replacen("signatures = 1", "signatures = 0", 1).replacen("[\"releases\"]", "[\"release\"]", 1);
    let errors = PolicyDocument::parse("policy.toml", &text).unwrap_err();
    assert_eq!(errors.iter().count(), 2);
    assert_eq!(errors.hints().last(), Some("the signers and keys are: ci, releases"));
    let shown = errors.to_string();
    for part in [
        "error: `signatures` must be at least 1",
        "--> policy.toml:13:27",
        "require = [{ signatures = 0, of = [\"release\"] }]",
        "error: there is no signer or key release",
        "help: the signers and keys are: ci, releases",
    ] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
}

#[test]
fn a_version_has_one_content_and_only_rises() {
    let in_force = policy(GOOD, &with_key());
    let of = |text: &str, material: &Material| policy(text, material).may_follow(&in_force);
    let refusal = |text: &str, material: &Material| {
        let errors = of(text, material).unwrap_err();
        let (line, column, message) = errors.iter().next().unwrap();
        assert_eq!((errors.iter().count(), line, column), (1, 1, 11));
        format!("{message}; {}", errors.hints().next().unwrap())
    };
    assert_eq!(of(GOOD, &with_key()), Ok(()));

    let changed = GOOD.replace("mode = \"enforce\"", "mode = \"observe\"");
    let message = refusal(&changed, &with_key());
    let digests = [policy(&changed, &with_key()).sha256().to_owned(), in_force.sha256().to_owned()];
    assert!(digests.iter().all(|digest| message.contains(digest)), "{message}");
    assert!(message.starts_with("version 3 is in force already with other content"), "{message}");
    assert!(message.ends_with("version = 4"), "{message}");
    assert_eq!(of(&changed.replace("version = 3", "version = 4"), &with_key()), Ok(()));
    // A comment is content too: the digest in the log is of the whole text.
    refusal(&format!("{GOOD}#"), &with_key());

    let message = refusal(&GOOD.replace("version = 3", "version = 2"), &with_key());
    assert!(message.starts_with("version 2 is older than version 3"), "{message}");
}

#[test]
fn a_version_has_one_content_with_the_files_that_it_names() {
    let with_file = |bytes: &[u8]| Material { files: [("ci.pem".to_owned(), bytes.to_vec())].into(), ..with_key() };
    let in_force = policy(GOOD, &with_file(ED25519_PEM.as_bytes()));
    let touched = policy(GOOD, &with_file(format!("{ED25519_PEM}\n").as_bytes()));
    let errors = touched.may_follow(&in_force).unwrap_err();
    let (.., message) = errors.iter().next().unwrap();
    assert!(message.contains("a file or key that it names has changed"), "{message}");
    let digests = [touched.digest_of_all(), in_force.digest_of_all()].map(|digest| digest.to_string());
    assert!(digests.iter().all(|digest| message.contains(digest)), "{message}");
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

mod any_text {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
            let _ = PolicyDocument::parse("policy.toml", &text);
        }

        #[test]
        fn no_change_of_a_policy_makes_the_reader_panic(at in 0..GOOD.len(), with in "[\\[\\]{}\"'=.#a\n*@:-]{0,3}", cut in 0..9_usize) {
            let end = (at + cut).min(GOOD.len());
            let mut text = GOOD.to_owned();
            text.replace_range(at..end, &with);
            if let Err(errors) = PolicyDocument::parse("policy.toml", &text).and_then(|document| document.compile(&with_key())) {
                prop_assert!(errors.iter().count() > 0);
                prop_assert!(!errors.to_string().is_empty());
            }
        }
    }
}
