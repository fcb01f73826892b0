//! Whom the policy trusts, as files that it names: `[keys.NAME]`, `[certificates.NAME]`, `[sigstore.NAME]`.

use std::num::NonZeroUsize;

use assay_verify::{Action, SignerName, TimestampRule};

use super::{
    KeyEntry, KeySource, RootEntry, RootSource, StoreEntry,
    read::{Fields, Section},
    read_word,
};
use crate::errors::{At, Problems};

const KEY: Fields = Fields {
    known: &["public", "sha256", "transparency-log"],
    unsupported: &["not-before", "not-after", "expires", "timestamps"],
};
const STORE: Fields = Fields {
    known: &["anchors", "signing-authority", "timestamping", "verify-timestamp", "revocation", "revocation-max-age"],
    unsupported: &["level", "crl"],
};
const ROOT: Fields = Fields {
    known: &["trusted-root", "trust-root", "transparency-logs", "trusted-times"],
    unsupported: &["timestamps", "witnesses"],
};

const PUBLIC_HINT: &str = "a file below the policy's folder, the PEM text itself, or a pkcs11: URI";
const ANCHORS_HINT: &str = "anchors = [\"root.pem\"]: files with the certificates that chains must end in";
const REVOCATION_HINT: &str = "revocation = \"enforce\", \"log\" or \"skip\" (default)";
const FILE_HINT: &str = "a path below the policy's folder, without `.` and `..`";

pub(super) fn read_keys(root: &Section<'_, '_>, problems: &mut Problems) -> Vec<KeyEntry> {
    let mut keys = Vec::new();
    for (name, section) in root.named("keys", "a key", problems) {
        section.allow(&KEY, problems);
        let public = section.required_text("public", PUBLIC_HINT, problems);
        let pin = section.text("sha256", problems);
        if let Some(pin) = &pin
            && !is_sha256(&pin.value)
        {
            let hint = "SHA-256 of the key's SubjectPublicKeyInfo (DER)";
            problems.add(&pin.span, "`sha256` must be 64 lower-case hex digits", hint);
        }
        let Some(public) = public.and_then(|public| read_source(public, problems)) else { continue };
        if matches!(public.value, KeySource::Token(_)) && pin.is_none() {
            let hint = "sha256 = \"…\", the SHA-256 of its SubjectPublicKeyInfo: what a token answers is not believed";
            problems.add(&public.span, "a key in a token needs `sha256`", hint);
        }
        let log = section.text("transparency-log", problems);
        let log = log.and_then(|log| read_name(&log, problems).map(|name| At { value: name, span: log.span }));
        keys.push(KeyEntry { name, public, pin, log });
    }
    keys
}

fn read_source(public: At<String>, problems: &mut Problems) -> Option<At<KeySource>> {
    let At { value, span } = public;
    let source = if value.contains("-----BEGIN") {
        KeySource::Pem(value)
    } else if value.starts_with("pkcs11:") {
        if value.contains("pin-value=") || value.contains("pin-source=") {
            problems.add(
                &span,
                "a policy must not hold a PIN",
                "reading a public key needs none: take it out of the URI",
            );
            return None;
        }
        if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            problems.add(
                &span,
                "this is no pkcs11: URI",
                "spaces and letters beyond ASCII are written %20 and so on (RFC 7512)",
            );
            return None;
        }
        KeySource::Token(value)
    } else if is_path_below(&value) {
        KeySource::File(value)
    } else {
        problems.add(&span, format!("{value:?} is no file of this policy"), PUBLIC_HINT);
        return None;
    };
    Some(At { value: source, span })
}

pub(super) fn read_stores(root: &Section<'_, '_>, problems: &mut Problems) -> Vec<StoreEntry> {
    let mut stores = Vec::new();
    for (name, section) in root.named("certificates", "a certificate store", problems) {
        section.allow(&STORE, problems);
        let anchors = section.texts("anchors", ANCHORS_HINT, problems);
        let signing_authority = section.texts("signing-authority", ANCHORS_HINT, problems);
        if !section.has("anchors") && !section.has("signing-authority") {
            problems.add(&section.span, "a certificate store needs `anchors` or `signing-authority`", ANCHORS_HINT);
        }
        let timestamping = section.texts("timestamping", "timestamping = [\"tsa-root.pem\"]", problems);
        for path in anchors.iter().chain(&signing_authority).chain(&timestamping) {
            if !is_path_below(&path.value) {
                problems.add(&path.span, format!("{:?} is no file of this policy", path.value), FILE_HINT);
            }
        }
        let timestamps = read_timestamps(&section, problems);
        let actions = [("enforce", Action::Enforce), ("log", Action::Log), ("skip", Action::Skip)];
        let revocation = read_word(&section, "revocation", &actions, REVOCATION_HINT, problems);
        // Without `revocation` no list is asked for: what a policy does not say, it does not demand.
        let revocation = revocation.unwrap_or(Action::Skip);
        let age = section.seconds("revocation-max-age", problems);
        if let Some(age) = &age
            && revocation == Action::Skip
            && !section.has("timestamping")
        {
            let message = "`revocation-max-age` is for lists that nothing here asks for";
            problems.add(&age.span, message, REVOCATION_HINT);
        }
        stores.push(StoreEntry {
            name,
            anchors,
            signing_authority,
            timestamping,
            timestamps,
            revocation,
            revocation_age: age.map(|age| age.value),
        });
    }
    stores
}

fn read_timestamps(section: &Section<'_, '_>, problems: &mut Problems) -> TimestampRule {
    const HINT: &str = "\"always\" or \"after-expiry\", with roots of time-stamping authorities in `timestamping`";
    let rules = [("always", TimestampRule::Always), ("after-expiry", TimestampRule::AfterCertificateExpiry)];
    let rule = read_word(section, "verify-timestamp", &rules, HINT, problems);
    if rule.is_some() && !section.has("timestamping") {
        problems.add(&section.span, "`verify-timestamp` needs `timestamping`", HINT);
    }
    rule.unwrap_or_default()
}

pub(super) fn read_roots(root: &Section<'_, '_>, problems: &mut Problems) -> Vec<RootEntry> {
    const LOGS: &str = "so many operators of logs must have the signature; 0 only where there is no log";
    const TIMES: &str = "so many operators of logs or time-stamping authorities must have told its time";
    let mut roots = Vec::new();
    for (name, section) in root.named("sigstore", "a Sigstore root", problems) {
        if !section.allow(&ROOT, problems) {
            continue;
        }
        let source = read_root_source(&section, problems);
        let logs = section.number("transparency-logs", 0, LOGS, problems);
        let times = section.number("trusted-times", 1, TIMES, problems);
        let times = times.and_then(|times| {
            let number = usize::try_from(times.value).unwrap_or(usize::MAX);
            Some(At { value: NonZeroUsize::new(number)?, span: times.span })
        });
        let Some(source) = source else { continue };
        roots.push(RootEntry { name, source, logs, times });
    }
    roots
}

fn read_root_source(section: &Section<'_, '_>, problems: &mut Problems) -> Option<At<RootSource>> {
    const HINT: &str = "trusted-root = \"trusted_root.json\", a file below the policy's folder, or trust-root = \"NAME\", one \
                        that assayd.toml has the agent keep up to date";
    let Some(managed) = section.text("trust-root", problems) else {
        let file = section.required_text("trusted-root", HINT, problems)?;
        if !is_path_below(&file.value) {
            problems.add(&file.span, format!("{:?} is no file of this policy", file.value), FILE_HINT);
        }
        return Some(At { value: RootSource::File(file.value), span: file.span });
    };
    if section.has("trusted-root") {
        problems.add(&managed.span, "`trust-root` and `trusted-root` exclude each other", HINT);
    }
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=64).contains(&managed.value.len()) || !managed.value.bytes().all(legal) {
        let hint = "a name is 1 to 64 lower-case letters, digits and '-'";
        problems.add(&managed.span, format!("{:?} is no name of a trust root", managed.value), hint);
    }
    Some(At { value: RootSource::Managed(managed.value), span: managed.span })
}

/// A name that refers to another part of the policy.
pub(super) fn read_name(text: &At<String>, problems: &mut Problems) -> Option<SignerName> {
    match text.value.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            problems.add(&text.span, format!("{:?} is no name: {error}", text.value), "");
            None
        }
    }
}

/// "the keys are: a, b", for hints.
pub(super) fn known<'a>(what: &str, names: impl Iterator<Item = &'a SignerName>) -> String {
    let names: Vec<&str> = names.map(SignerName::as_str).collect();
    if names.is_empty() { format!("there are no {what}") } else { format!("the {what} are: {}", names.join(", ")) }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Relative, and nowhere up: a policy that is delivered cannot make the agent read other files of the host.
fn is_path_below(text: &str) -> bool {
    let part = |part: &str| !matches!(part, "" | "." | "..");
    text.len() <= 1024 && !text.contains(|c: char| c == '\\' || c.is_control()) && text.split('/').all(part)
}
