//! `[[rules]]`: which images, what is required of them, how strictly. A rule that nothing could satisfy, that everything
//! would satisfy without saying so, or that ties with another one is refused.

use std::collections::{BTreeMap, BTreeSet};

use assay_admission::Mode;
use assay_verify::SignerName;

use super::{
    AttestationEntry, DemandEntry, DockerReference, KeyEntry, RequirementEntry, RuleEntry, SignedDocument, SignerEntry,
    StoreEntry, ThresholdEntry,
    read::{Fields, Section},
    read_mode, read_word, trusted,
};
use crate::{
    errors::{At, Problems},
    scope::Scope,
};

const RULE: Fields = Fields {
    known: &["name", "images", "require", "accept", "mode", "subject", "docker-reference"],
    unsupported: &["annotations", "expires", "imported", "freshness"],
};
const REQUIREMENT: Fields = Fields {
    known: &["signatures", "of", "attestation", "by"],
    unsupported: &["attestations", "max-severity", "max-age", "rego", "annotations", "transparency-log"],
};

const REQUIRE_HINT: &str = "require = [{ signatures = 1, of = [\"NAME\"] }]";
const ATTESTATION_HINT: &str = "{ attestation = \"spdxjson\", by = [\"NAME\"] }";
const SUBJECT_HINT: &str = "\"index\", \"manifest\" or \"either\": which document of the image must be signed";
const REFERENCE_HINT: &str =
    "\"enforce\" or \"ignore\": whether a repository that a signature names must be the image's";

/// What `of` may name.
pub(super) struct Names<'a> {
    root: &'a Section<'a, 'a>,
    keys: &'a [KeyEntry],
    stores: &'a [StoreEntry],
    signers: &'a [SignerEntry],
}

impl<'a> Names<'a> {
    pub(super) const fn new(
        root: &'a Section<'a, 'a>,
        keys: &'a [KeyEntry],
        stores: &'a [StoreEntry],
        signers: &'a [SignerEntry],
    ) -> Self {
        Self { root, keys, stores, signers }
    }

    fn check(&self, name: &At<SignerName>, problems: &mut Problems) {
        if self.root.has_named("signers", &name.value) || self.root.has_named("keys", &name.value) {
            return;
        }
        if self.stores.iter().any(|store| store.name.value == name.value) {
            let message = format!("{} is a certificate store, and `of` names signers and keys", name.value);
            let hint =
                format!("add [signers.NAME] with certificates = \"{}\" and the subject that may sign", name.value);
            problems.add(&name.span, message, hint);
        } else {
            let signers = self.signers.iter().map(|signer| &signer.name.value);
            let keys = self.keys.iter().map(|key| &key.name.value);
            let names: BTreeSet<&SignerName> = signers.chain(keys).collect();
            let hint = trusted::known("signers and keys", names.into_iter());
            problems.add(&name.span, format!("there is no signer or key {}", name.value), hint);
        }
    }
}

pub(super) fn read_rules(
    root: &Section<'_, '_>,
    policy_mode: Mode,
    names: &Names<'_>,
    problems: &mut Problems,
) -> Vec<RuleEntry> {
    let hint = "[[rules]] with name, images and require";
    let sections = root.sections("rules", "a rule", hint, problems);
    let rules: Vec<RuleEntry> =
        sections.iter().filter_map(|section| read_rule(section, policy_mode, names, problems)).collect();
    check_unique(&rules, problems);
    rules
}

fn read_rule(
    section: &Section<'_, '_>,
    policy_mode: Mode,
    names: &Names<'_>,
    problems: &mut Problems,
) -> Option<RuleEntry> {
    let clean = section.allow(&RULE, problems);
    let name = section.required_text("name", "name = \"production\": it stands in every answer", problems);
    if let Some(name) = &name
        && (name.value.trim().is_empty() || name.value.len() > 128 || name.value.contains(char::is_control))
    {
        problems.add(&name.span, "a rule's name has 1 to 128 bytes without control characters", "");
    }
    let images_hint = "images = [\"registry.example/prod/**\"], or [\"**\"] for every image";
    let images: Vec<At<Scope>> = section
        .required_texts("images", images_hint, problems)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|text| read_scope(&text, problems))
        .collect();
    let own_mode = read_mode(section, problems);
    let subjects =
        [("either", SignedDocument::Either), ("index", SignedDocument::Index), ("manifest", SignedDocument::Manifest)];
    let signed = read_word(section, "subject", &subjects, SUBJECT_HINT, problems);
    let references = [("enforce", DockerReference::Enforce), ("ignore", DockerReference::Ignore)];
    let docker_reference = read_word(section, "docker-reference", &references, REFERENCE_HINT, problems);
    let demand = read_demand(section, clean, names, problems);
    Some(RuleEntry {
        name: name?,
        images,
        mode: own_mode.unwrap_or(policy_mode),
        demand: demand?,
        signed: signed.unwrap_or(SignedDocument::Either),
        docker_reference: docker_reference.unwrap_or(DockerReference::Enforce),
    })
}

fn read_scope(text: &At<String>, problems: &mut Problems) -> Option<At<Scope>> {
    match text.value.parse() {
        Ok(scope) => Some(At { value: scope, span: text.span.clone() }),
        Err(error) => {
            problems.add(&text.span, format!("{:?} covers no images: {error}", text.value), "");
            None
        }
    }
}

fn read_demand(
    section: &Section<'_, '_>,
    clean: bool,
    names: &Names<'_>,
    problems: &mut Problems,
) -> Option<DemandEntry> {
    let unsigned_hint = "accept = \"unsigned\" instead of `require` admits everything in `images`";
    let accept = read_word(section, "accept", &[("unsigned", ())], unsigned_hint, problems);
    match (section.has("require"), section.has("accept")) {
        (true, true) => {
            problems.add(&section.span, "a rule has `require` or `accept`, not both", unsigned_hint);
            None
        }
        (false, false) => {
            // A field that was refused by its name may have been meant as the requirement.
            if clean {
                let hint = format!("{REQUIRE_HINT}, or accept = \"unsigned\" to admit what nobody signed");
                problems.add(&section.span, "a rule needs `require`", hint);
            }
            None
        }
        (false, true) => accept.map(|()| DemandEntry::Unsigned),
        (true, false) => {
            let requirements: Vec<RequirementEntry> = section
                .sections("require", "a requirement", REQUIRE_HINT, problems)
                .iter()
                .filter_map(|requirement| read_requirement(requirement, names, problems))
                .collect();
            (!requirements.is_empty()).then_some(DemandEntry::Requirements(requirements))
        }
    }
}

fn read_requirement(section: &Section<'_, '_>, names: &Names<'_>, problems: &mut Problems) -> Option<RequirementEntry> {
    if !section.allow(&REQUIREMENT, problems) {
        return None;
    }
    if !section.has("attestation") && !section.has("by") {
        let signatures = section.required_count("signatures", REQUIRE_HINT, problems);
        let of = read_names(section, "of", REQUIRE_HINT, names, problems)?;
        return Some(RequirementEntry::Signatures(ThresholdEntry { signatures: signatures?, of }));
    }
    if section.has("signatures") || section.has("of") {
        let hint = "two requirements, each in braces of its own: both have to be met";
        problems.add(&section.span, "a requirement asks for `signatures` or for an `attestation`, not both", hint);
        return None;
    }
    let predicate_type = section.required_text("attestation", ATTESTATION_HINT, problems);
    let by = read_names(section, "by", ATTESTATION_HINT, names, problems);
    let At { value, span } = predicate_type?;
    match value.parse() {
        Ok(predicate_type) => Some(RequirementEntry::Attestation(AttestationEntry { predicate_type, by: by? })),
        Err(error) => {
            problems.add(&span, format!("{value:?} {error}"), ATTESTATION_HINT);
            None
        }
    }
}

/// Signers and keys in a list of the requirement, each once.
fn read_names(
    section: &Section<'_, '_>,
    field: &str,
    hint: &str,
    names: &Names<'_>,
    problems: &mut Problems,
) -> Option<Vec<At<SignerName>>> {
    let list: Vec<At<SignerName>> = section
        .required_texts(field, hint, problems)?
        .into_iter()
        .filter_map(|text| trusted::read_name(&text, problems).map(|name| At { value: name, span: text.span }))
        .collect();
    list.iter().for_each(|name| names.check(name, problems));
    let mut seen = BTreeSet::new();
    for name in list.iter().filter(|name| !seen.insert(&name.value)) {
        problems.add(&name.span, format!("{} stands twice in `{field}`", name.value), "every signer counts once");
    }
    Some(list)
}

/// Two rules of one name could not be told apart in an answer, and of two rules with one scope neither is the more specific.
fn check_unique(rules: &[RuleEntry], problems: &mut Problems) {
    let mut names = BTreeSet::new();
    let mut scopes: BTreeMap<&Scope, &str> = BTreeMap::new();
    for rule in rules {
        if !names.insert(&rule.name.value) {
            problems.add(&rule.name.span, format!("there are two rules {:?}", rule.name.value), "rename one of them");
        }
        for scope in &rule.images {
            if let Some(other) = scopes.insert(&scope.value, &rule.name.value) {
                let message = format!("{} stands already in rule {other:?}", scope.value);
                let hint = "the most specific scope decides, and two equal ones would tie: keep one";
                problems.add(&scope.span, message, hint);
            }
        }
    }
}
