//! One way to read an image's name: the rule that it leads to, and whether the image satisfies that rule.

use assay_admission::{CandidateName, DenyCode, Descriptor, Digest, ImageRef, Mode, Reason, UnixTime};
use assay_verify::{
    Attestation, AttestationFindings, AttestationRejection, BoundImage, Fact, Findings, LimitReached, RejectionReason,
    Signer,
};

use crate::{
    case::Collection,
    document::{DockerReference, SignedDocument},
    policy::{AttestationDemand, Authority, Demand, Policy, Requirement, Rule},
};

/// A name (none for an import) and what the policy has for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) name: Option<&'a CandidateName>,
    /// `None`: no scope holds the name, which refuses it under the policy's own mode.
    pub(crate) rule: Option<&'a Rule>,
    pub(crate) mode: Mode,
    is_catch_all: bool,
}

/// What is proved of an image, and whether that is all that there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proved<'a> {
    pub(crate) findings: &'a Findings,
    pub(crate) attestations: &'a AttestationFindings,
    pub(crate) collection: &'a Collection,
}

/// A reading, with what an image is worth under it.
#[derive(Clone, Debug)]
pub(crate) struct Judged<'a> {
    pub(crate) reading: Reading<'a>,
    pub(crate) worth: Worth,
}

/// Whether an image satisfies a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    Satisfied {
        /// The earliest end of the facts that counted.
        holds_until: Option<UnixTime>,
    },
    /// At least one reason.
    Unsatisfied(Vec<Reason>),
}

impl Policy {
    /// The readings of an image with these names and digests (manifest first), in the order of the names. Never empty.
    pub(crate) fn readings<'a>(&'a self, names: &[&'a CandidateName], digests: &[Digest]) -> Vec<Reading<'a>> {
        if names.is_empty() {
            return self.readings_of(None, digests);
        }
        names.iter().flat_map(|name| self.readings_of(Some(name), digests)).collect()
    }

    fn readings_of<'a>(&'a self, name: Option<&'a CandidateName>, digests: &[Digest]) -> Vec<Reading<'a>> {
        let mut readings: Vec<Reading<'a>> = self
            .index
            .find(name, digests)
            .into_iter()
            .filter_map(|found| {
                let rule = self.rules.get(found.rule)?;
                Some(Reading { name, rule: Some(rule), mode: rule.mode, is_catch_all: found.is_catch_all })
            })
            .collect();
        if readings.is_empty() {
            readings.push(Reading { name, rule: None, mode: self.mode, is_catch_all: false });
        }
        readings
    }
}

impl<'a> Reading<'a> {
    /// Whether admission under this name alone is worth anything. A name can be chosen by others, so only a rule that
    /// enforces, asks for signatures and means this name in particular can be enough.
    pub(crate) const fn can_suffice(&self) -> bool {
        match (self.rule, self.mode) {
            (Some(rule), Mode::Enforce) => match rule.demand {
                Demand::Requirements(_) => !self.is_catch_all,
                Demand::Unsigned => false,
            },
            (Some(_), Mode::Warn | Mode::Observe) | (None, Mode::Enforce | Mode::Warn | Mode::Observe) => false,
        }
    }

    /// This reading, with `worth` as what the image is worth.
    pub(crate) const fn with(self, worth: Worth) -> Judged<'a> {
        Judged { reading: self, worth }
    }

    /// Judges an image whose documents belong together.
    pub(crate) fn judge(self, image: &BoundImage, proved: &Proved<'_>) -> Judged<'a> {
        let Some(rule) = self.rule else {
            // containerd's transfer service unpacks an import before it makes the image's record.
            let detail = match self.name {
                Some(_) => self.place(),
                None => format!(
                    "{}: import it by `ctr image import --no-unpack` under the name that it was signed for, and run it",
                    self.place()
                ),
            };
            return self.with(Worth::Unsatisfied(vec![Reason::new(DenyCode::NoRule, detail)]));
        };
        let requirements = match &rule.demand {
            Demand::Unsigned => return self.with(Worth::Satisfied { holds_until: None }),
            Demand::Requirements(requirements) => requirements,
        };
        if let Some(limit) = proved.limit(requirements) {
            let detail = format!("{}: {limit}", self.place());
            return self.with(Worth::Unsatisfied(vec![Reason::new(DenyCode::Limit, detail)]));
        }
        let facts: Vec<&Fact> = proved.facts().filter(|fact| self.objection(rule, image, fact).is_none()).collect();
        let signers: Vec<&Signer> = facts.iter().map(|fact| fact.signer()).collect();
        let is_met = |requirement: &Requirement| match requirement {
            Requirement::Signatures(threshold) => threshold.count(&signers).is_satisfied,
            Requirement::Attestation(demand) => proved.attestations.attestations.iter().any(|attestation| {
                demand.is_met_by(attestation) && wrong_document(rule, image, attestation.subject()).is_none()
            }),
        };
        // An empty list satisfies nothing; the compiler makes no such rule, and this does not rely on it.
        if !requirements.is_empty() && requirements.iter().all(is_met) {
            let counted = facts.iter().filter(|fact| is_counted(requirements, fact.signer()));
            return self.with(Worth::Satisfied { holds_until: counted.filter_map(|fact| fact.holds_until()).min() });
        }
        let mut reasons = match proved.collection {
            Collection::Complete => Vec::new(),
            Collection::Failed(reasons) if reasons.is_empty() => {
                vec![Reason::new(DenyCode::EvidenceUnavailable, self.place())]
            }
            Collection::Failed(reasons) => reasons.clone(),
        };
        let unmet: Vec<&Requirement> = requirements.iter().filter(|requirement| !is_met(requirement)).collect();
        let detail = self.shortfall(rule, &unmet, &signers, image, proved);
        if !proved.is_empty() {
            reasons.push(Reason::new(DenyCode::NotSatisfied, detail));
        } else if reasons.is_empty() {
            reasons.push(Reason::new(DenyCode::NoSignature, detail));
        }
        self.with(Worth::Unsatisfied(reasons))
    }

    /// Why a fact does not count under this name, whoever signed.
    pub(crate) fn objection(&self, rule: &Rule, image: &BoundImage, fact: &Fact) -> Option<String> {
        if let Some(objection) = wrong_document(rule, image, fact.subject()) {
            return Some(objection);
        }
        match (rule.docker_reference, fact.identity()) {
            (DockerReference::Ignore, _) | (DockerReference::Enforce, None | Some("")) => None,
            (DockerReference::Enforce, Some(identity)) => self.objection_to_identity(identity, image),
        }
    }

    /// Whether the rule asks for signatures, and for none by this signer.
    pub(crate) fn is_nobody(&self, signer: &Signer) -> bool {
        self.rule.is_some_and(|rule| match &rule.demand {
            Demand::Unsigned => false,
            Demand::Requirements(requirements) => {
                requirements.iter().any(|one| matches!(one, Requirement::Signatures(_)))
                    && !is_counted(requirements, signer)
            }
        })
    }

    /// The repository that a signature names must be the one that the image is judged under (containers/image's
    /// `matchRepository`). A digest in it must be the image's.
    fn objection_to_identity(&self, identity: &str, image: &BoundImage) -> Option<String> {
        let is_same = identity.parse::<ImageRef>().is_ok_and(|signed| {
            let is_repository = self.name.is_some_and(|name| {
                let (signed, own) = (signed.repository(), name.reference.repository());
                let is_host = if name.port_is_unknown() {
                    signed.host_name() == own.host_name()
                } else {
                    signed.host() == own.host()
                };
                is_host && signed.path() == own.path()
            });
            is_repository
                && signed.digest().is_none_or(|digest| image.subjects().any(|subject| subject.digest == *digest))
        });
        let shown: String = identity.chars().take(255).collect();
        (!is_same).then(|| {
            format!("it was made for {shown:?} (set docker-reference = \"ignore\" in the rule if that is a mirror's other name)")
        })
    }

    /// What was needed and what counted.
    fn shortfall(
        &self,
        rule: &Rule,
        unmet: &[&Requirement],
        signers: &[&Signer],
        image: &BoundImage,
        proved: &Proved<'_>,
    ) -> String {
        let mut text = self.place();
        for requirement in unmet {
            match requirement {
                Requirement::Signatures(threshold) => {
                    let counted: Vec<&str> =
                        threshold.count(signers).counted.iter().map(|name| name.as_str()).collect();
                    let counted = if counted.is_empty() { "none".to_owned() } else { counted.join(", ") };
                    let of = names(&threshold.of);
                    text += &format!(": {} of [{of}] needed; counted: {counted}", threshold.signatures);
                }
                Requirement::Attestation(demand) => {
                    let by = names(&demand.by);
                    text += &format!(": an attestation of type {} by one of [{by}] needed", demand.predicate_type);
                }
            }
        }
        let objection = proved
            .facts()
            .filter(|fact| unmet.iter().any(|requirement| requirement.counts(fact.signer())))
            .find_map(|fact| self.objection(rule, image, fact));
        if let Some(objection) = objection {
            text += &format!("; a signature does not count: {objection}");
        }
        text
    }

    /// The name and the rule, for details.
    pub(crate) fn place(&self) -> String {
        let name = self.name.map_or_else(|| "an image without a name".to_owned(), ToString::to_string);
        match self.rule {
            Some(rule) => format!("{name} by rule {:?}", rule.name),
            None => name,
        }
    }
}

impl Proved<'_> {
    /// What was signed, as far as the policy's own stores ask.
    pub(crate) fn facts(&self) -> impl Iterator<Item = &Fact> {
        // A store tolerates what the policy says that it only tells: `revocation = "log"`.
        self.findings.facts.iter().chain(self.findings.tolerated.iter().map(|tolerated| &tolerated.fact))
    }

    /// A limit that was reached while something was looked for that these ask for.
    fn limit(&self, requirements: &[Requirement]) -> Option<LimitReached> {
        requirements.iter().find_map(|requirement| match requirement {
            Requirement::Signatures(_) => self.findings.limit,
            Requirement::Attestation(_) => self.attestations.limit,
        })
    }

    /// Whether nothing was found that is or looks like a signature or an attestation.
    fn is_empty(&self) -> bool {
        let is_attestation = |rejection: &AttestationRejection| rejection.reason != RejectionReason::Signature;
        self.facts().next().is_none()
            && self.findings.rejections.is_empty()
            && self.attestations.attestations.is_empty()
            && !self.attestations.rejections.iter().any(is_attestation)
    }
}

impl Requirement {
    /// Whether a signature by `signer` is one of those that it counts.
    fn counts(&self, signer: &Signer) -> bool {
        match self {
            Self::Signatures(threshold) => threshold.names(signer),
            Self::Attestation(_) => false,
        }
    }
}

impl AttestationDemand {
    fn is_met_by(&self, attestation: &Attestation) -> bool {
        attestation.predicate_type() == self.predicate_type.as_str()
            && self.by.iter().any(|authority| authority.matches(attestation.signer()))
    }
}

fn is_counted(requirements: &[Requirement], signer: &Signer) -> bool {
    requirements.iter().any(|requirement| requirement.counts(signer))
}

/// "a, b", for details.
fn names(authorities: &[Authority]) -> String {
    authorities.iter().map(|authority| authority.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Why a statement about `subject` is not one about the document that the rule wants.
fn wrong_document(rule: &Rule, image: &BoundImage, subject: &Descriptor) -> Option<String> {
    let is_manifest = subject.digest == image.manifest().digest;
    let is_index = image.indexes().iter().any(|index| index.digest == subject.digest);
    let (is_right_document, wanted) = match rule.signed {
        SignedDocument::Either => (is_manifest || is_index, "the image's index or manifest"),
        SignedDocument::Index => (is_index, "the image's index"),
        SignedDocument::Manifest => (is_manifest, "the platform's manifest"),
    };
    (!is_right_document).then(|| format!("it signs {}, and {wanted} must be signed", subject.digest))
}

impl Judged<'_> {
    pub(crate) const fn is_satisfied(&self) -> bool {
        matches!(self.worth, Worth::Satisfied { .. })
    }

    /// Whether the image may go on under this name.
    pub(crate) const fn admits(&self) -> bool {
        match (&self.worth, self.reading.mode) {
            (Worth::Satisfied { .. }, _) | (Worth::Unsatisfied(_), Mode::Warn | Mode::Observe) => true,
            (Worth::Unsatisfied(_), Mode::Enforce) => false,
        }
    }

    pub(crate) fn reasons(&self) -> &[Reason] {
        match &self.worth {
            Worth::Satisfied { .. } => &[],
            Worth::Unsatisfied(reasons) => reasons,
        }
    }

    pub(crate) const fn holds_until(&self) -> Option<UnixTime> {
        match self.worth {
            Worth::Satisfied { holds_until } => holds_until,
            Worth::Unsatisfied(_) => None,
        }
    }
}
