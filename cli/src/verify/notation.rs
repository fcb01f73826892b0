//! `assay verify --trust-policy FILE --trust-store DIR`: judges an image by a Notary Project trust policy and trust stores in the
//! layout that notation uses, without an agent. Prints every check of every signature. Fetches nothing but the signatures.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use assay_admission::ImageRef;
use assay_verify::{
    Anchors, Certificate, CertificateStore, CheckOutcome, Demand, Findings, NotaryResult, RevocationEvidence,
    SignerName, Standing, Trust, TrustPolicyDocument, TrustPolicyStatement, TrustStoreKind, TrustStoreName,
};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    Context, bounded_file,
    failure::{Exit, Failure},
    registry,
    revocation::RevocationArgs,
};

use super::{Annotations, offline::Fetched};

/// Largest trust policy or certificate that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Files in one trust store: the verifier's cap on certificates.
const MAX_STORE_FILES: usize = 1024;

/// How to judge Notary Project signatures as notation does.
#[derive(Args, Debug, Default)]
pub(crate) struct NotationArgs {
    /// Decide by this Notary Project trust policy (trustpolicy.json 1.0), without an agent
    #[arg(long, value_name = "FILE", requires = "trust_store", conflicts_with_all = ["policy", "key", "certificate_store", "predicate_type"])]
    trust_policy: Option<PathBuf>,
    /// Where its trust stores are: DIR/x509/{ca,signingAuthority,tsa}/NAME/*
    #[arg(long, value_name = "DIR", requires = "trust_policy")]
    trust_store: Option<PathBuf>,
}

/// A trust policy that is chosen for an image.
#[derive(Debug)]
pub(super) struct Chosen {
    statement: TrustPolicyStatement,
    trust: Trust,
    revocation: RevocationEvidence,
}

impl NotationArgs {
    /// The statement for `image` with its stores, if a trust policy was given.
    ///
    /// # Errors
    /// If a file cannot be read or breaks a rule, or if no statement is about the image.
    pub(super) fn choose(&self, image: &ImageRef, revocation: &RevocationArgs) -> Result<Option<Chosen>, Failure> {
        let (Some(policy), Some(stores)) = (&self.trust_policy, &self.trust_store) else { return Ok(None) };
        let bytes = read("the trust policy", policy, MAX_FILE_BYTES)?;
        let document = TrustPolicyDocument::parse(&bytes).map_err(|error| {
            Failure::new(
                "TRUST_POLICY",
                format!("failed to read {}: {error}", policy.display()),
                "mend the file; notation policy show prints the one that notation uses",
            )
        })?;
        let repository = image.repository().to_string();
        let statement = document.statement_for(&repository).ok_or_else(|| {
            Failure::new(
                "NO_STATEMENT",
                format!("no statement of {} is about {}", policy.display(), repository),
                "add its repository to registryScopes of a statement, or a statement with \"*\"",
            )
            .exits(Exit::Denied)
        })?;
        let trust = trust(statement, stores)?;
        Ok(Some(Chosen { statement: statement.clone(), trust, revocation: revocation.read()? }))
    }
}

impl Chosen {
    /// Whether the statement asks for no signature at all: then nothing need be collected.
    pub(super) fn asks_nothing(&self) -> bool {
        *self.statement.demand() == Demand::Nothing
    }

    /// Says that nothing is asked, as notation does, and succeeds.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(super) fn skip(&self, context: &Context, image: &ImageRef) -> Result<Exit, Failure> {
        let name = self.statement.name();
        let text = format!("not verified: {image}\n  statement {name:?} has level skip: no signature is looked at");
        let json = json!({ "image": image.to_string(), "verified": false, "skipped": true, "statement": name });
        context.console.print(&text, &json)?;
        Ok(Exit::Success)
    }

    /// Prints how each check of each signature ended, and ends with cosign's codes.
    ///
    /// # Errors
    /// If nothing is there because the registry failed, or standard output cannot be written.
    pub(super) fn judge(
        &self,
        context: &Context,
        image: &ImageRef,
        fetched: &Fetched,
        annotations: &Annotations,
    ) -> Result<Exit, Failure> {
        let findings = fetched.findings_with(&self.trust, &self.revocation);
        let exit = exit(&findings, annotations, fetched.is_unsigned());
        if let (false, Some(problem)) = (exit == Exit::Success, fetched.problems().first()) {
            return Err(registry::of_kind(problem.kind, &problem.detail));
        }
        let head = match exit {
            Exit::Success => format!("verified: {image}"),
            Exit::NoSignature => format!("not verified: {image} has no signature"),
            _ => format!("not verified: no signature of {image} counts"),
        };
        let mut lines = vec![head, format!("  by statement {:?}, level {}", self.statement.name(), self.level())];
        findings.notary.iter().for_each(|result| push(&mut lines, result));
        lines.extend(findings.rejections.iter().map(|rejection| format!("  - {rejection}")));
        lines.extend(unannotated(&findings, annotations));
        lines.extend(findings.limit.iter().map(|limit| format!("  - a limit was reached: {limit}")));
        let code = match exit {
            Exit::Success => None,
            Exit::NoSignature => Some("NO_SIGNATURE"),
            _ => Some("NOT_SATISFIED"),
        };
        let json = json!({
            "image": image.to_string(),
            "verified": exit == Exit::Success,
            "code": code,
            "statement": self.statement.name(),
            "level": self.level(),
            "signatures": findings.notary.iter().map(result_json).collect::<Vec<_>>(),
            "because": findings.rejections.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "limit": findings.limit.map(|limit| limit.to_string()),
        });
        context.console.print(&lines.join("\n"), &json)?;
        Ok(exit)
    }

    fn level(&self) -> String {
        match self.statement.demand() {
            Demand::Nothing => "skip".to_owned(),
            Demand::Signature { level, .. } => level.to_string(),
        }
    }
}

/// One signature that counts suffices, as for notation. What was found before a limit was reached proves nothing.
fn exit(findings: &Findings, annotations: &Annotations, is_unsigned: bool) -> Exit {
    let counts = |result: &NotaryResult| match result.standing() {
        Standing::Proved | Standing::Tolerated(_) => has(findings, annotations, result),
        Standing::Refused(_) => false,
    };
    match (findings.limit.is_none() && findings.notary.iter().any(counts), is_unsigned) {
        (true, _) => Exit::Success,
        (false, true) => Exit::NoSignature,
        (false, false) => Exit::NotSatisfied,
    }
}

/// Whether the signature has every annotation that was asked for. One of which nothing is proved has none.
fn has(findings: &Findings, annotations: &Annotations, result: &NotaryResult) -> bool {
    let mut facts = findings.facts.iter().filter(|fact| fact.envelope() == result.envelope());
    annotations.0.is_empty() || facts.any(|fact| annotations.missing_in(fact).is_none())
}

/// A line for each signature that lacks an annotation.
fn unannotated<'a>(findings: &'a Findings, annotations: &'a Annotations) -> impl Iterator<Item = String> + 'a {
    findings.facts.iter().filter_map(|fact| {
        let missing = annotations.missing_in(fact)?;
        Some(format!("  - {} has not the user metadata {missing}", fact.envelope()))
    })
}

const fn standing(result: &Standing) -> &'static str {
    match result {
        Standing::Proved => "counts",
        Standing::Tolerated(_) => "counts at this level, and not everything holds",
        Standing::Refused(_) => "does not count",
    }
}

fn push(lines: &mut Vec<String>, result: &NotaryResult) {
    lines.push(format!("  - {} by {:?} {}", result.envelope(), result.subject(), standing(&result.standing())));
    for check in result.checks() {
        let (word, detail) = outcome(&check.outcome);
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        lines.push(format!("      {} ({}) {word}{detail}", check.check, check.action.as_str()));
    }
}

fn outcome(outcome: &CheckOutcome) -> (&'static str, String) {
    match outcome {
        CheckOutcome::Passed(found) => ("holds", found.clone()),
        CheckOutcome::Failed(reason) => ("fails", reason.to_string()),
        CheckOutcome::NotMade => ("not made", String::new()),
    }
}

fn result_json(result: &NotaryResult) -> Value {
    let checks = result.checks().iter().map(|check| {
        let (word, detail) = outcome(&check.outcome);
        json!({ "check": check.check.as_str(), "action": check.action.as_str(), "result": word, "detail": detail })
    });
    json!({
        "envelope": result.envelope().to_string(),
        "subject": result.subject(),
        "counts": !matches!(result.standing(), Standing::Refused(_)),
        "checks": checks.collect::<Vec<_>>(),
    })
}

/// The statement's stores as one: what they ask of a signature is the same.
fn trust(statement: &TrustPolicyStatement, folder: &Path) -> Result<Trust, Failure> {
    let Demand::Signature { level, timestamps, stores, identities } = statement.demand() else {
        return Ok(Trust::default());
    };
    let mut anchors = Anchors::default();
    for store in stores {
        let certificates = read_store(store, folder)?;
        match store.kind {
            TrustStoreKind::Ca => anchors.ca.extend(certificates),
            TrustStoreKind::SigningAuthority => anchors.signing_authority.extend(certificates),
            TrustStoreKind::Tsa => anchors.tsa.extend(certificates),
        }
    }
    let store = CertificateStore::of(anchors, level.clone()).map_err(|error| {
        Failure::new(
            "TRUST_STORE",
            format!("failed to use the trust stores of statement {:?}: {error}", statement.name()),
            "name a store of type ca or signingAuthority in it",
        )
    })?;
    let store = store.with_timestamps(*timestamps).with_identities(identities.clone());
    let name: SignerName = "given".parse().expect("a plain word is a name");
    Ok(Trust { certificates: BTreeMap::from([(name, store)]), ..Trust::default() })
}

/// The certificates of one store: every regular file of its folder, in PEM or DER. Like notation, no links and no folders.
fn read_store(store: &TrustStoreName, folder: &Path) -> Result<Vec<Certificate>, Failure> {
    let folder = folder.join("x509").join(store.kind.as_str()).join(&store.name);
    let refused = |problem: String| {
        Failure::new(
            "TRUST_STORE",
            format!("failed to read the trust store {store}: {problem}"),
            format!("put CA certificates as files into {}", folder.display()),
        )
    };
    let io = |error: std::io::Error| Failure::io("read the trust store", &folder, &error);
    if !fs::symlink_metadata(&folder).map_err(io)?.is_dir() {
        return Err(refused(format!("{} is no folder", folder.display())));
    }
    let mut certificates = Vec::new();
    for (entry, number) in fs::read_dir(&folder).map_err(io)?.zip(1..) {
        if number > MAX_STORE_FILES {
            return Err(refused(format!("it has more than {MAX_STORE_FILES} files")));
        }
        let entry = entry.map_err(io)?;
        let path = entry.path();
        if !entry.file_type().map_err(io)?.is_file() {
            return Err(refused(format!("{} is no regular file", path.display())));
        }
        let bytes = read("the certificate", &path, MAX_FILE_BYTES)?;
        let parsed = if bytes.starts_with(b"\x30") {
            Certificate::from_der(bytes).map(|one| vec![one])
        } else {
            Certificate::all_from_pem(&bytes)
        };
        for certificate in parsed.map_err(|error| refused(format!("{}: {error}", path.display())))? {
            check_anchor(store.kind, &certificate).map_err(|problem| {
                refused(format!("{}: certificate {:?} {problem}", path.display(), certificate.subject()))
            })?;
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() { Err(refused("it has no certificate".to_owned())) } else { Ok(certificates) }
}

/// notation's own rules for what may stand in a store.
fn check_anchor(kind: TrustStoreKind, certificate: &Certificate) -> Result<(), &'static str> {
    match kind {
        TrustStoreKind::Ca | TrustStoreKind::SigningAuthority
            if certificate.is_ca() || certificate.is_self_issued() =>
        {
            Ok(())
        }
        TrustStoreKind::Ca | TrustStoreKind::SigningAuthority => Err("is neither a CA nor self-signed"),
        TrustStoreKind::Tsa if certificate.is_ca() && certificate.is_self_issued() => Ok(()),
        TrustStoreKind::Tsa => Err("is no root"),
    }
}

fn read(what: &str, path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    bounded_file::read(path, most).map_err(|error| Failure::io(&format!("read {what}"), path, &error))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const ROOT: &str = include_str!("../../../verify/vectors/keys/ec256-root.pem");
    const LEAF_FIRST: &str = include_str!("../../../verify/vectors/keys/ec256-chain.pem");

    struct Node {
        folder: tempfile::TempDir,
        arguments: NotationArgs,
    }

    /// A policy with the statement `all` at `level`, and a store `ca:acme` with `pem` in it.
    fn node(level: &str, scope: &str, pem: &str) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("x509/ca/acme");
        fs::create_dir_all(&store).unwrap();
        fs::write(store.join("root.crt"), pem).unwrap();
        let trusted = if level == "skip" { (json!([]), json!([])) } else { (json!(["ca:acme"]), json!(["*"])) };
        let document = json!({ "version": "1.0", "trustPolicies": [{
            "name": "all",
            "registryScopes": [scope],
            "signatureVerification": { "level": level },
            "trustStores": trusted.0,
            "trustedIdentities": trusted.1,
        }] });
        let policy = folder.path().join("trustpolicy.json");
        fs::write(&policy, document.to_string()).unwrap();
        let arguments = NotationArgs { trust_policy: Some(policy), trust_store: Some(folder.path().to_owned()) };
        Node { folder, arguments }
    }

    fn choose(node: &Node, image: &str) -> Result<Option<Chosen>, Failure> {
        node.arguments.choose(&image.parse().unwrap(), &RevocationArgs::default())
    }

    #[test]
    fn the_statement_of_the_repository_is_chosen_with_its_stores() {
        let chosen = choose(&node("strict", "r.example/a", ROOT), "r.example/a:1").unwrap().unwrap();
        assert!(!chosen.asks_nothing());
        assert_eq!((chosen.level().as_str(), chosen.trust.certificates.len()), ("strict", 1));
        let other = choose(&node("strict", "r.example/a", ROOT), "r.example/b:1").unwrap_err();
        assert_eq!((other.code, other.exit), ("NO_STATEMENT", Exit::Denied));
        assert!(choose(&node("skip", "r.example/a", ROOT), "r.example/a:1").unwrap().unwrap().asks_nothing());
        assert!(
            NotationArgs::default()
                .choose(&"r.example/a:1".parse().unwrap(), &RevocationArgs::default())
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_store_with_anything_but_anchors_in_it_is_refused() {
        let refused = |node: &Node| choose(node, "r.example/a:1").unwrap_err();
        let leaf = refused(&node("strict", "*", LEAF_FIRST));
        assert_eq!(leaf.code, "TRUST_STORE");
        assert!(leaf.message.contains("is neither a CA nor self-signed"), "{}", leaf.message);
        assert_eq!(refused(&node("strict", "*", "no certificate")).code, "TRUST_STORE");
        let linked = node("strict", "*", ROOT);
        let store = linked.folder.path().join("x509/ca/acme");
        std::os::unix::fs::symlink("root.crt", store.join("more.crt")).unwrap();
        assert!(refused(&linked).message.contains("is no regular file"));
        let missing = node("strict", "*", ROOT);
        fs::remove_dir_all(missing.folder.path().join("x509")).unwrap();
        assert_eq!(refused(&missing).code, "IO");
        let empty = node("strict", "*", ROOT);
        fs::remove_file(empty.folder.path().join("x509/ca/acme/root.crt")).unwrap();
        assert!(refused(&empty).message.contains("it has no certificate"));
    }

    #[test]
    fn a_trust_policy_that_breaks_a_rule_is_refused_by_name() {
        let broken = choose(&node("lenient", "*", ROOT), "r.example/a:1").unwrap_err();
        assert_eq!(broken.code, "TRUST_POLICY");
        assert!(
            broken.message.ends_with(
                "statement \"all\": signatureVerification: \"lenient\" is none of strict, permissive, audit, skip"
            ),
            "{}",
            broken.message
        );
        let skip = choose(&node("skip", "*", ROOT), "r.example/a:1").unwrap_err();
        assert_eq!(skip.code, "TRUST_POLICY");
    }

    #[test]
    fn nothing_found_is_no_success() {
        assert_eq!(exit(&Findings::default(), &Annotations::default(), true), Exit::NoSignature);
        assert_eq!(exit(&Findings::default(), &Annotations::default(), false), Exit::NotSatisfied);
    }
}
