//! Policies as text that most cases are about.

use assay_policy::Policy;

use super::policy;

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

/// A rule with this name, these scopes and the rest of its lines.
pub(crate) fn rule(name: &str, images: &str, rest: &str) -> String {
    format!("[[rules]]\nname = \"{name}\"\nimages = [{images}]\n{rest}\n")
}

/// One signature of `ci`.
pub(crate) const ONE: &str = "require = [{ signatures = 1, of = [\"ci\"] }]";
/// Two signers of three.
pub(crate) const TWO: &str = "require = [{ signatures = 2, of = [\"ci\", \"releases\", \"ann\"] }]";

/// A policy in this mode with keys, a certificate store and these tables.
pub(crate) fn with(mode: &str, rules: &[String]) -> Policy {
    policy(&format!("version = 1\nmode = \"{mode}\"\n{KEYS}{}", rules.concat()))
}

/// One signature of `ci` for `r.example/prod/**`, enforced.
pub(crate) fn prod() -> Policy {
    with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE)])
}
