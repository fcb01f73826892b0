//! `assay verify --type`: which attestations of an image count for someone who trusts just the given key, the way
//! `cosign verify-attestation` does it. Says of every other one why it does not; decides nothing about what is attested.

use assay_admission::{Digest, ImageRef};
use assay_verify::{Attestation, AttestationFindings, AttestationRejection, PredicateType, RejectionReason};
use serde_json::{Value, json};

use crate::{
    Context,
    failure::{Exit, Failure},
    registry,
};

use super::{
    offline::Fetched,
    trusted::{Trusted, name_of},
};

/// `--type` asks for a proof without an agent, and that needs somebody to be trusted.
pub(super) fn nobody_trusted() -> Failure {
    Failure::new(
        "USAGE",
        "--type needs to know whom to trust",
        "give --key KEY, or --certificate-identity, --certificate-oidc-issuer and --trusted-root",
    )
    .exits(Exit::Usage)
}

/// Prints which attestations of the type count, and ends with cosign's codes.
///
/// # Errors
/// If nothing is there because the registry failed, or standard output cannot be written.
pub(super) fn judge(
    context: &Context,
    image: &ImageRef,
    fetched: &Fetched,
    trusted: &Trusted,
    wanted: &PredicateType,
) -> Result<Exit, Failure> {
    let findings = fetched.attestations(trusted.trust());
    let (by_whom, by_others): (Vec<_>, Vec<_>) =
        findings.attestations.iter().partition(|attestation| trusted.who().is(attestation.signer()));
    let (counting, others): (Vec<_>, Vec<_>) =
        by_whom.into_iter().partition(|attestation| attestation.predicate_type() == wanted.as_str());
    if let (true, Some(problem)) = (counting.is_empty(), fetched.problems().first()) {
        return Err(registry::of_kind(problem.kind, &problem.detail));
    }
    let exit = exit(!counting.is_empty(), &findings);
    let manifest = fetched.bound().manifest().digest;
    let mut sentences: Vec<String> = counting.iter().map(|attestation| sentence(attestation, &manifest)).collect();
    sentences.extend(others.iter().map(|other| {
        format!(
            "{}: its predicate type is {:?}, not {:?}",
            sentence(other, &manifest),
            other.predicate_type(),
            wanted.as_str()
        )
    }));
    sentences
        .extend(by_others.iter().map(|other| format!("{}: it is not who was asked for", sentence(other, &manifest))));
    sentences.extend(findings.rejections.iter().map(ToString::to_string));
    sentences.extend(findings.limit.iter().map(|limit| format!("a limit was reached: {limit}")));
    let head = match exit {
        Exit::Success => format!("verified: {image} has an attestation of type {}", wanted.as_str()),
        Exit::NoSignature => format!("not verified: {image} has no attestation"),
        _ => format!("not verified: no attestation of {image} counts as {}", wanted.as_str()),
    };
    let text = std::iter::once(head).chain(sentences.iter().map(|sentence| format!("  - {sentence}")));
    let text = text.collect::<Vec<_>>().join("\n");
    context.console.print(&text, &result_json(image, exit, wanted, &counting, &sentences))?;
    Ok(exit)
}

fn exit(is_proved: bool, findings: &AttestationFindings) -> Exit {
    // A signature is no attestation that does not count.
    let is_signature = |rejection: &AttestationRejection| rejection.reason == RejectionReason::Signature;
    let is_empty = findings.attestations.is_empty() && findings.rejections.iter().all(is_signature);
    let is_empty = is_empty && findings.limit.is_none();
    // What was found before a limit was reached proves nothing.
    match (is_proved && findings.limit.is_none(), is_empty) {
        (true, _) => Exit::Success,
        (false, true) => Exit::NoSignature,
        (false, false) => Exit::NotSatisfied,
    }
}

fn sentence(attestation: &Attestation, manifest: &Digest) -> String {
    let what = if attestation.subject().digest == *manifest { "manifest" } else { "index" };
    let who = name_of(attestation.signer());
    let (subject, predicate) = (attestation.subject().digest, attestation.predicate());
    format!("{who} attested {subject} ({what}) in {} {}: {predicate}", attestation.format(), attestation.envelope())
}

fn result_json(
    image: &ImageRef,
    exit: Exit,
    wanted: &PredicateType,
    counting: &[&Attestation],
    sentences: &[String],
) -> Value {
    let attestations: Vec<Value> = counting
        .iter()
        .map(|attestation| {
            json!({
                "signer": name_of(attestation.signer()),
                "format": attestation.format().to_string(),
                "subject": attestation.subject().digest.to_string(),
                "artifact": attestation.artifact().to_string(),
                "envelope": attestation.envelope().to_string(),
                "statement": attestation.statement_version().to_string(),
                "predicateType": attestation.predicate_type(),
                "summary": attestation.predicate().to_string(),
                "predicate": attestation.predicate_json(),
            })
        })
        .collect();
    let code = match exit {
        Exit::Success => None,
        Exit::NoSignature => Some("NO_SIGNATURE"),
        _ => Some("NOT_SATISFIED"),
    };
    json!({
        "image": image.to_string(),
        "type": wanted.as_str(),
        "verified": exit == Exit::Success,
        "code": code,
        "attestations": attestations,
        "because": sentences,
    })
}

#[cfg(test)]
mod tests {
    use assay_verify::LimitReached;

    use super::*;

    #[test]
    fn cosigns_names_are_types_and_everything_else_has_to_be_a_uri() {
        let parse = |text: &str| text.parse::<PredicateType>().map(|predicate_type| predicate_type.to_string()).ok();
        assert_eq!(parse("vuln").as_deref(), Some("https://cosign.sigstore.dev/attestation/vuln/v1"));
        assert_eq!(parse("slsaprovenance"), parse("slsaprovenance02"));
        assert_ne!(parse("slsaprovenance"), parse("slsaprovenance1"));
        for uri in ["https://acme.example/review/v1", "urn:x:1"] {
            assert_eq!(parse(uri).as_deref(), Some(uri));
        }
        for bad in ["", "vulns", "VULN", ":x", "https:", "1:2", "a b:c", "https://a b"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn nothing_but_a_proof_without_a_limit_is_success() {
        let nothing = AttestationFindings::default();
        assert_eq!(exit(true, &nothing), Exit::Success);
        assert_eq!(exit(false, &nothing), Exit::NoSignature);
        let rejected = |reason: RejectionReason| {
            let artifact = Digest::sha256(b"x");
            let rejection = AttestationRejection { artifact, envelope: None, format: None, reason };
            AttestationFindings { rejections: vec![rejection], ..AttestationFindings::default() }
        };
        assert_eq!(exit(false, &rejected(RejectionReason::Signature)), Exit::NoSignature);
        assert_eq!(exit(false, &rejected(RejectionReason::UnknownKey)), Exit::NotSatisfied);
        let limit = Some(LimitReached { what: "signatures", limit: 64 });
        let cut_off = AttestationFindings { limit, ..AttestationFindings::default() };
        assert_eq!((exit(true, &cut_off), exit(false, &cut_off)), (Exit::NotSatisfied, Exit::NotSatisfied));
    }
}
