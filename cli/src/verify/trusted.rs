//! `assay verify --key`, `--certificate-identity` and `--certificate-store`: what the signatures of an image prove to someone who
//! trusts just that key, identity or store, the way `cosign verify` does it. Without a policy no repository, threshold or mode is looked at.

use std::path::Path;

use assay_admission::ImageRef;
use assay_verify::{
    Certificate, CertificateStore, DistinguishedNamePattern, Fact, Findings, IdentityPattern, PublicKey,
    RejectionReason, Signer, SignerName, SigstoreRoot, Trust,
};
use serde_json::{Value, json};

use crate::{
    Context, bounded_file,
    failure::{Exit, Failure},
    keys, registry,
};

use super::{Annotations, offline::Fetched};

/// The name of the given key or store in sentences.
const GIVEN: &str = "given";

/// Largest file of keys or certificates that is read; a system's whole store of CAs has a fifth of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Whom to trust.
#[derive(Debug)]
pub(super) struct Trusted {
    trust: Trust,
    who: Who,
}

/// Who must have signed, of all whom the trust leads to.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// Whoever is trusted: there is but one key.
    Anyone,
    /// A certificate with such a subject.
    Subject(DistinguishedNamePattern),
    /// An identity that such an issuer vouches for.
    Identity(IdentityPattern),
}

impl Who {
    /// Whether `signer` is meant.
    pub(crate) fn is(&self, signer: &Signer) -> bool {
        match self {
            Self::Anyone => true,
            Self::Subject(subject) => subject.matches(signer),
            Self::Identity(identity) => identity.matches(signer),
        }
    }
}

/// Trusts a key: a PEM file, PEM text, or a `pkcs11:` URI that the agent knows. With a root its signatures have to stand in the root's
/// logs.
///
/// # Errors
/// If it cannot be read or is no key that counts.
pub(crate) async fn trust_key(
    context: &Context,
    key: &str,
    logs: Option<SigstoreRoot>,
) -> Result<(Trust, Who), Failure> {
    let mut trust = Trust::default();
    trust.keys.insert(given(), public_key(context, key).await?);
    if let Some(root) = logs {
        trust.sigstore.insert(given(), root);
        trust.logged_keys.insert(given(), given());
    }
    Ok((trust, Who::Anyone))
}

/// Trusts a root for an identity.
pub(crate) fn trust_identity(root: SigstoreRoot, identity: IdentityPattern) -> (Trust, Who) {
    let mut trust = Trust::default();
    trust.sigstore.insert(given(), root);
    (trust, Who::Identity(identity))
}

async fn public_key(context: &Context, key: &str) -> Result<PublicKey, Failure> {
    let failed = |error: assay_verify::KeyError| {
        Failure::new(
            "KEY",
            format!("failed to read the public key: {error}"),
            "give a PEM file that begins with -----BEGIN PUBLIC KEY-----",
        )
    };
    if key.starts_with("pkcs11:") {
        let known = keys::public_key(context, key.to_owned()).await?;
        PublicKey::from_spki_der(&known.spki).map_err(failed)
    } else if key.trim_start().starts_with("-----BEGIN") {
        PublicKey::from_pem(key).map_err(failed)
    } else {
        let path = Path::new(key);
        let pem = bounded_file::read(path, MAX_FILE_BYTES)
            .map_err(|error| Failure::io("read the public key", path, &error))?;
        PublicKey::from_pem(&String::from_utf8_lossy(&pem)).map_err(failed)
    }
}

impl Trusted {
    /// Trusts a key, as [`trust_key`] reads it.
    ///
    /// # Errors
    /// If it cannot be read or is no key that counts.
    pub(super) async fn key(context: &Context, key: &str, logs: Option<SigstoreRoot>) -> Result<Self, Failure> {
        trust_key(context, key, logs).await.map(|(trust, who)| Self { trust, who })
    }

    /// Trusts a root for an identity.
    pub(super) fn identity(root: SigstoreRoot, identity: IdentityPattern) -> Self {
        let (trust, who) = trust_identity(root, identity);
        Self { trust, who }
    }

    /// Trusts the certificates in a PEM file as anchors, for signers whose subject matches.
    ///
    /// # Errors
    /// If the file or the distinguished name is not what it should be.
    pub(super) fn certificates(path: &Path, subject: &str) -> Result<Self, Failure> {
        let failed = |error: assay_verify::StoreError| {
            Failure::new(
                "CERTIFICATES",
                format!("failed to read {}: {error}", path.display()),
                "give a PEM file of CAs",
            )
        };
        let pem = bounded_file::read(path, MAX_FILE_BYTES)
            .map_err(|error| Failure::io("read the certificates", path, &error))?;
        let certificates = Certificate::all_from_pem(&pem).map_err(failed)?;
        let store = CertificateStore::new(certificates).map_err(failed)?;
        let subject = DistinguishedNamePattern::parse(subject).map_err(|error| {
            Failure::new(
                "USAGE",
                format!("failed to parse --subject: {error}"),
                "write it as \"C=DE, ST=Berlin, O=Acme, CN=Releases\"; C, ST and O are needed",
            )
            .exits(Exit::Usage)
        })?;
        let mut trust = Trust::default();
        trust.certificates.insert(given(), store);
        Ok(Self { trust, who: Who::Subject(subject) })
    }

    /// Who must have signed.
    pub(super) const fn who(&self) -> &Who {
        &self.who
    }

    /// Everything that is trusted.
    pub(super) const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Prints what is proved, and ends with cosign's codes.
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
        let findings = fetched.findings(&self.trust);
        let (by_whom, others): (Vec<&Fact>, Vec<&Fact>) =
            findings.facts.iter().partition(|fact| self.who.is(fact.signer()));
        let (facts, bare): (Vec<&Fact>, Vec<&Fact>) =
            by_whom.into_iter().partition(|fact| annotations.missing_in(fact).is_none());
        if let (true, Some(problem)) = (facts.is_empty(), fetched.problems().first()) {
            return Err(registry::of_kind(problem.kind, &problem.detail));
        }
        let exit = exit(!facts.is_empty(), fetched.is_unsigned(), &findings, &self.who);
        let manifest = fetched.bound().manifest().digest;
        let mut sentences: Vec<String> = facts.iter().map(|fact| sentence(fact, &manifest)).collect();
        sentences
            .extend(others.iter().map(|fact| format!("{}: it is not who was asked for", sentence(fact, &manifest))));
        sentences.extend(bare.iter().filter_map(|fact| {
            let missing = annotations.missing_in(fact)?;
            Some(format!("{}: it has not the annotation {missing}", sentence(fact, &manifest)))
        }));
        sentences.extend(findings.rejections.iter().map(ToString::to_string));
        sentences.extend(findings.limit.iter().map(|limit| format!("a limit was reached: {limit}")));
        let head = match exit {
            Exit::Success => format!("verified: {image}"),
            Exit::NoSignature => format!("not verified: {image} has no signature"),
            _ => format!("not verified: no signature of {image} counts"),
        };
        let mut text = head;
        sentences.iter().for_each(|sentence| text.push_str(&format!("\n  - {sentence}")));
        context.console.print(&text, &result_json(image, exit, &facts, &sentences))?;
        Ok(exit)
    }
}

fn given() -> SignerName {
    GIVEN.parse().expect("a plain word is a name")
}

fn exit(is_proved: bool, is_unsigned: bool, findings: &Findings, who: &Who) -> Exit {
    let is_by_key = |rejection: &assay_verify::Rejection| rejection.reason == RejectionReason::UnknownKey;
    // What was found before a limit was reached proves nothing.
    match (is_proved && findings.limit.is_none(), is_unsigned) {
        (true, _) => Exit::Success,
        (false, true) => Exit::NoSignature,
        (false, false) => match who {
            Who::Identity(_)
                if findings.facts.is_empty()
                    && !findings.rejections.is_empty()
                    && findings.rejections.iter().all(is_by_key) =>
            {
                Exit::NoCertificate
            }
            Who::Anyone | Who::Subject(_) | Who::Identity(_) => Exit::NotSatisfied,
        },
    }
}

/// A signer in a sentence.
pub(crate) fn name_of(signer: &Signer) -> String {
    match signer {
        Signer::Key { spki_sha256, .. } => format!("the key {spki_sha256}"),
        Signer::Certificate { subject, .. } => format!("{subject:?}"),
        Signer::Identity { identity, issuer, .. } => format!("{identity:?} (issuer {issuer})"),
    }
}

/// A signer for scripts.
pub(crate) fn signer_json(signer: &Signer) -> Value {
    match signer {
        Signer::Key { spki_sha256, .. } => json!({ "key": spki_sha256 }),
        Signer::Certificate { subject, spki_sha256, .. } => json!({ "subject": subject, "key": spki_sha256 }),
        Signer::Identity { identity, issuer, .. } => json!({ "identity": identity, "issuer": issuer }),
    }
}

fn sentence(fact: &Fact, manifest: &assay_admission::Digest) -> String {
    let who = name_of(fact.signer());
    let what = if fact.subject().digest == *manifest { "manifest" } else { "index" };
    let mut text = format!("{who} signed {} ({what}) as {}", fact.subject().digest, fact.format());
    fact.identity().iter().for_each(|identity| text.push_str(&format!(" for {identity}")));
    fact.holds_until().iter().for_each(|until| text.push_str(&format!(", holds until {until}")));
    text
}

fn result_json(image: &ImageRef, exit: Exit, facts: &[&Fact], sentences: &[String]) -> Value {
    let facts: Vec<Value> = facts
        .iter()
        .map(|fact| {
            json!({
                "format": fact.format().as_str(),
                "signer": signer_json(fact.signer()),
                "subject": fact.subject().digest.to_string(),
                "envelope": fact.envelope().to_string(),
                "identity": fact.identity(),
                "annotations": fact.annotations(),
            })
        })
        .collect();
    let code = match exit {
        Exit::Success => None,
        Exit::NoSignature => Some("NO_SIGNATURE"),
        Exit::NoCertificate => Some("NO_CERTIFICATE"),
        _ => Some("NOT_SATISFIED"),
    };
    json!({
        "image": image.to_string(),
        "verified": exit == Exit::Success,
        "code": code,
        "facts": facts,
        "because": sentences,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_proof_without_a_limit_is_success() {
        let findings = Findings::default();
        let anyone = Who::Anyone;
        assert_eq!(exit(true, false, &findings, &anyone), Exit::Success);
        assert_eq!(exit(false, true, &findings, &anyone), Exit::NoSignature);
        assert_eq!(exit(false, false, &findings, &anyone), Exit::NotSatisfied);
        let limit = assay_verify::LimitReached { what: "signatures", limit: 64 };
        let cut_off = Findings { limit: Some(limit), ..Findings::default() };
        assert_eq!(exit(true, false, &cut_off, &anyone), Exit::NotSatisfied);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_key_that_is_none_is_named_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::for_tests(folder.path());
        let file = folder.path().join("key.pem");
        std::fs::write(&file, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").unwrap();
        assert_eq!(Trusted::key(&context, file.to_str().unwrap(), None).await.unwrap_err().code, "KEY");
        assert_eq!(Trusted::key(&context, "/nowhere/key.pem", None).await.unwrap_err().code, "IO");
        assert_eq!(Trusted::key(&context, "pkcs11:object=x", None).await.unwrap_err().exit, Exit::AgentUnreachable);
        assert_eq!(Trusted::certificates(&file, "CN=x").unwrap_err().code, "CERTIFICATES");
        let endless = Path::new("/dev/zero");
        assert!(Trusted::certificates(endless, "CN=x").unwrap_err().message.contains("longer than"));
        assert!(Trusted::key(&context, "/dev/zero", None).await.unwrap_err().message.contains("longer than"));
    }
}
