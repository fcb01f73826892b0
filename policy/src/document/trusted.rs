//! Whom the policy trusts: `[keys.NAME]`, `[certificates.NAME]`, `[signers.NAME]`, and that their names lead somewhere.

use assay_verify::{DistinguishedNamePattern, SignerName};

use super::{
    IdentifiedBy, KeyEntry, KeySource, SignerEntry, StoreEntry,
    read::{Fields, Section},
};
use crate::errors::{At, Problems};

const KEY: Fields = Fields { known: &["public", "sha256"], unsupported: &["not-before", "not-after", "expires"] };
const STORE: Fields = Fields { known: &["anchors"], unsupported: &["timestamping", "revocation", "signing-authority"] };
const SIGNER: Fields =
    Fields { known: &["key", "certificates", "subject"], unsupported: &["sigstore", "issuer", "identity", "subjects"] };

const PUBLIC_HINT: &str = "a file below the policy's folder, the PEM text itself, or a pkcs11: URI";
const FILE_HINT: &str = "a path below the policy's folder, without `.` and `..`";
const SUBJECT_HINT: &str =
    "subject = \"C=DE, ST=Berlin, O=Acme, CN=Release\" (C, ST and O are needed, the rest narrows it)";

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
        keys.push(KeyEntry { name, public, pin });
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
        let hint = "anchors = [\"root.pem\"]: files with the certificates that chains must end in";
        let Some(anchors) = section.required_texts("anchors", hint, problems) else { continue };
        for anchor in anchors.iter().filter(|anchor| !is_path_below(&anchor.value)) {
            problems.add(&anchor.span, format!("{:?} is no file of this policy", anchor.value), FILE_HINT);
        }
        stores.push(StoreEntry { name, anchors });
    }
    stores
}

pub(super) fn read_signers(root: &Section<'_, '_>, problems: &mut Problems) -> Vec<SignerEntry> {
    let mut signers = Vec::new();
    for (name, section) in root.named("signers", "a signer", problems) {
        if !section.allow(&SIGNER, problems) {
            continue;
        }
        let key = section.text("key", problems);
        let store = section.text("certificates", problems);
        let subject = section.text("subject", problems);
        let identified_by = match (key, store) {
            (Some(key), None) => {
                if let Some(subject) = subject {
                    problems.add(&subject.span, "a signer with a `key` has no `subject`", "a bare key carries no name");
                }
                read_name(&key, problems).map(IdentifiedBy::Key)
            }
            (None, Some(store)) => {
                if subject.is_none() && !section.has("subject") {
                    problems.add(&section.span, "a signer with `certificates` needs `subject`", SUBJECT_HINT);
                }
                let subject = subject.and_then(|subject| read_subject(&subject, problems));
                read_name(&store, problems)
                    .zip(subject)
                    .map(|(store, subject)| IdentifiedBy::Certificate { store, subject })
            }
            (Some(_), Some(store)) => {
                let hint = "make two signers of it, and name both in `of`";
                problems.add(&store.span, "a signer has a `key` or `certificates`, not both", hint);
                None
            }
            (None, None) => {
                if !section.has("key") && !section.has("certificates") {
                    let hint = "key = \"NAME\", or certificates = \"NAME\" and subject = \"…\"";
                    problems.add(&section.span, "a signer needs `key` or `certificates`", hint);
                }
                None
            }
        };
        signers.extend(identified_by.map(|identified_by| SignerEntry { name, identified_by }));
    }
    signers
}

fn read_subject(text: &At<String>, problems: &mut Problems) -> Option<DistinguishedNamePattern> {
    match DistinguishedNamePattern::parse(&text.value) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            problems.add(&text.span, format!("this subject cannot be used: {error}"), SUBJECT_HINT);
            None
        }
    }
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

/// Every signer's key or store exists, and no name means two things where a rule says `of`.
/// What failed to be read has its own error already, so names are looked up in the text, not among what was read.
pub(super) fn check_references(
    root: &Section<'_, '_>,
    keys: &[KeyEntry],
    stores: &[StoreEntry],
    signers: &[SignerEntry],
    problems: &mut Problems,
) {
    for signer in signers {
        match &signer.identified_by {
            IdentifiedBy::Key(key) => {
                if !root.has_named("keys", key) {
                    let message = format!("signer {} has the key {key}, which is not there", signer.name.value);
                    problems.add(&signer.name.span, message, known("keys", keys.iter().map(|key| &key.name.value)));
                }
                if key != &signer.name.value && root.has_named("keys", &signer.name.value) {
                    ambiguous(signer, problems);
                }
            }
            IdentifiedBy::Certificate { store, .. } => {
                if !root.has_named("certificates", store) {
                    let message =
                        format!("signer {} has the certificates {store}, which are not there", signer.name.value);
                    let hint = known("certificate stores", stores.iter().map(|store| &store.name.value));
                    problems.add(&signer.name.span, message, hint);
                }
                if root.has_named("keys", &signer.name.value) {
                    ambiguous(signer, problems);
                }
            }
        }
    }
}

fn ambiguous(signer: &SignerEntry, problems: &mut Problems) {
    let name = &signer.name.value;
    let message = format!("{name} is both a key and a signer that is not that key");
    problems.add(&signer.name.span, message, "rename one: rules name keys and signers alike");
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
