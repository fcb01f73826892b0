//! `[signers.NAME]`: ways to be identified, and that every name in them leads somewhere.

use assay_verify::{DistinguishedNamePattern, IdentityPattern, SignerName, TextPattern, TextPatternError};

use super::{
    IdentifiedBy, KeyEntry, RootEntry, SignerEntry, StoreEntry,
    read::{Fields, Section},
    trusted::{known, read_name},
};
use crate::errors::{At, Problems};

const SIGNER: Fields = Fields {
    known: &["key", "certificates", "subject", "sigstore", "issuer", "issuer-regexp", "identity", "identity-regexp"],
    unsupported: &["subjects", "identities", "extensions"],
};
const WAYS_HINT: &str =
    "key = \"NAME\"; certificates = \"NAME\" with subject; or sigstore = \"NAME\" with issuer and identity";
const SUBJECT_HINT: &str =
    "subject = \"C=DE, ST=Berlin, O=Acme, CN=Release\" (C, ST and O are needed, the rest narrows it)";
const IDENTITY_HINT: &str =
    "identity = \"https://ci.example/acme/app/release.yml@refs/tags/*\": a `*` stays within one part";
const ISSUER_HINT: &str = "issuer = \"https://token.ci.example\": who vouches for the identity";

/// The fields that each way to be identified has beside its first.
const WAYS: [(&str, &[&str]); 3] = [
    ("key", &[]),
    ("certificates", &["subject"]),
    ("sigstore", &["issuer", "issuer-regexp", "identity", "identity-regexp"]),
];

pub(super) fn read_signers(root: &Section<'_, '_>, problems: &mut Problems) -> Vec<SignerEntry> {
    let mut signers = Vec::new();
    for (name, section) in root.named("signers", "a signer", problems) {
        if !section.allow(&SIGNER, problems) {
            continue;
        }
        let ways: Vec<&(&str, &[&str])> = WAYS.iter().filter(|(way, _)| section.has(way)).collect();
        let [(way, fields)] = ways.as_slice() else {
            if ways.is_empty() {
                problems.add(&section.span, "a signer needs `key`, `certificates` or `sigstore`", WAYS_HINT);
            } else {
                let hint = "make a signer of each, and name all of them in `of`";
                problems.add(&section.span, "a signer has one of `key`, `certificates` and `sigstore`", hint);
            }
            continue;
        };
        let strangers = WAYS.iter().flat_map(|(_, fields)| *fields).filter(|field| !fields.contains(*field));
        for stranger in strangers.filter(|field| section.has(field)) {
            problems.add(&section.span, format!("a signer with `{way}` has no `{stranger}`"), WAYS_HINT);
        }
        let first = section.text(way, problems).and_then(|text| read_name(&text, problems));
        let identified_by = match *way {
            "key" => first.map(IdentifiedBy::Key),
            "certificates" => {
                let subject = section.required_text("subject", SUBJECT_HINT, problems);
                let subject = subject.and_then(|subject| read_subject(&subject, problems));
                first.zip(subject).map(|(store, subject)| IdentifiedBy::Certificate { store, subject })
            }
            _ => {
                let pattern = read_identity(&section, problems);
                first.zip(pattern).map(|(root, pattern)| IdentifiedBy::Identity { root, pattern })
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

/// Both are needed: an identity is worth what its issuer is.
fn read_identity(section: &Section<'_, '_>, problems: &mut Problems) -> Option<IdentityPattern> {
    let issuer = read_pattern(section, ("issuer", "issuer-regexp"), exact_issuer, ISSUER_HINT, problems);
    let identity = read_pattern(section, ("identity", "identity-regexp"), TextPattern::glob, IDENTITY_HINT, problems);
    Some(IdentityPattern::new(identity?, issuer?))
}

/// An issuer is one address; a `*` in it would be meant as more, and is not.
fn exact_issuer(text: &str) -> Result<TextPattern, TextPatternError> {
    if text.contains('*') {
        return Err(TextPatternError::Syntax("an issuer has no `*`; issuer-regexp is for several".to_owned()));
    }
    TextPattern::exact(text)
}

type Read = fn(&str) -> Result<TextPattern, TextPatternError>;

fn read_pattern(
    section: &Section<'_, '_>,
    (plain, regexp): (&str, &str),
    read_plain: Read,
    hint: &str,
    problems: &mut Problems,
) -> Option<TextPattern> {
    let (text, read): (_, Read) = match (section.has(plain), section.has(regexp)) {
        (true, true) => {
            problems.add(&section.span, format!("a signer has `{plain}` or `{regexp}`, not both"), hint);
            return None;
        }
        (false, true) => (section.text(regexp, problems)?, TextPattern::regex),
        (true, false) | (false, false) => (section.required_text(plain, hint, problems)?, read_plain),
    };
    match read(&text.value) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            problems.add(&text.span, format!("this pattern cannot be used: {error}"), hint);
            None
        }
    }
}

/// What names may lead to.
pub(super) struct Known<'a> {
    pub(super) keys: &'a [KeyEntry],
    pub(super) stores: &'a [StoreEntry],
    pub(super) roots: &'a [RootEntry],
}

/// Everything that is named exists, and no name means two things where a rule says `of`.
/// What failed to be read has its own error already, so names are looked up in the text, not among what was read.
pub(super) fn check_references(
    root: &Section<'_, '_>,
    there: &Known<'_>,
    signers: &[SignerEntry],
    problems: &mut Problems,
) {
    let roots = || known("Sigstore roots", there.roots.iter().map(|root| &root.name.value));
    for key in there.keys {
        if let Some(log) = key.log.as_ref().filter(|log| !root.has_named("sigstore", &log.value)) {
            let message =
                format!("key {} has the transparency log of {}, which is not there", key.name.value, log.value);
            problems.add(&log.span, message, roots());
        }
        let has_no_log = |log: &&At<SignerName>| {
            there.roots.iter().any(|root| root.name.value == log.value && root.required_logs() == 0)
        };
        if let Some(log) = key.log.as_ref().filter(has_no_log) {
            let message = format!("the root {} asks for no log, so none can be asked for by the key", log.value);
            problems.add(
                &log.span,
                message,
                "take the key's `transparency-log` away, or the root's `transparency-logs = 0`",
            );
        }
    }
    for signer in signers {
        let (section, called, name, hint) = match &signer.identified_by {
            IdentifiedBy::Key(key) => ("keys", "key", key, known("keys", there.keys.iter().map(|key| &key.name.value))),
            IdentifiedBy::Certificate { store, .. } => {
                let names = there.stores.iter().map(|store| &store.name.value);
                ("certificates", "certificates", store, known("certificate stores", names))
            }
            IdentifiedBy::Identity { root, .. } => ("sigstore", "Sigstore root", root, roots()),
        };
        if !root.has_named(section, name) {
            let message = format!("signer {} has the {called} {name}, which is not there", signer.name.value);
            problems.add(&signer.name.span, message, hint);
        }
        let is_that_key = matches!(&signer.identified_by, IdentifiedBy::Key(key) if *key == signer.name.value);
        if !is_that_key && root.has_named("keys", &signer.name.value) {
            let name = &signer.name.value;
            let message = format!("{name} is both a key and a signer that is not that key");
            problems.add(&signer.name.span, message, "rename one: rules name keys and signers alike");
        }
    }
}
