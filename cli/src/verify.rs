//! `assay verify IMAGE`: the agent's verdict on an image, or, without an agent, that of a policy file or a key.
//! Prints why; the exit code says it to scripts.

mod agent;
mod attested;
mod notation;
mod offline;
mod trusted;
mod verdict;

use std::path::PathBuf;

use assay_admission::{ImageRef, Platform};
use assay_fetch::Wanted;
use assay_verify::{Fact, PredicateType};
use clap::Args;

use crate::{
    Context,
    failure::{Exit, Failure},
    identity::{Asked, IdentityArgs},
    policy_file::PolicyFile,
    registry::{self, RegistryArgs},
    revocation::RevocationArgs,
    sign::annotation,
};

use self::{notation::NotationArgs, offline::Fetched, trusted::Trusted};

pub(crate) use offline::now;
pub(crate) use trusted::{Who, name_of, signer_json, trust_identity, trust_key};

/// Judge an image: is it signed as the policy wants, and if not, why not
///
/// Asks this node's agent. With --policy, --key, --certificate-identity, --certificate-store or --trust-policy no agent is asked, and
/// nothing is recorded.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The image: [HOST[:PORT]/]PATH[:TAG][@DIGEST]; without tag and digest, `latest`
    image: String,
    /// For which platform to judge it [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Decide by this policy, without an agent (its keys in a token are still read through one)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "certificate_store"])]
    policy: Option<PathBuf>,
    /// Trust just this public key: a PEM file, PEM text, or a pkcs11: URI
    #[arg(long, value_name = "KEY", conflicts_with = "certificate_store")]
    key: Option<String>,
    /// Trust just the CAs in this PEM file, for Notary Project signatures by --subject
    #[arg(long, value_name = "FILE", requires = "subject")]
    certificate_store: Option<PathBuf>,
    /// Who must have signed: "C=DE, ST=Berlin, O=Acme"; C, ST and O are needed
    #[arg(long, value_name = "DN", requires = "certificate_store")]
    subject: Option<String>,
    /// Look for an attestation of this type instead of a signature: a URI, or cosign's slsaprovenance, slsaprovenance02,
    /// slsaprovenance1, link, spdx, spdxjson, cyclonedx, vuln, openvex, custom
    #[arg(long = "type", value_name = "TYPE", conflicts_with_all = ["policy", "certificate_store"])]
    predicate_type: Option<PredicateType>,
    /// Count only signatures with this signed annotation, which notation calls user metadata (may be repeated)
    #[arg(short = 'a', long = "annotation", visible_aliases = ["annotations", "user-metadata"], visible_short_alias = 'm',
        value_name = "KEY=VALUE", value_parser = annotation, conflicts_with_all = ["policy", "predicate_type"])]
    annotations: Vec<(String, String)>,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    notation: NotationArgs,
    #[command(flatten)]
    revocation: RevocationArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(crate) async fn run(context: &Context, arguments: VerifyArgs) -> Result<Exit, Failure> {
    let image = reference(&arguments.image)?;
    let asked = arguments.identity.read()?;
    if let Some(path) = &arguments.policy {
        if !matches!(asked, Asked::Nothing) {
            return Err(one_way());
        }
        let policy = PolicyFile::read(context, path).await?.compile()?;
        let fetched = collect(context, &arguments, &image, Wanted::SignaturesAndAttestations).await?;
        let client = registry::client(context, &arguments.registry, image.repository())?;
        return offline::decide(context, &image, &fetched, &policy, &client, arguments.revocation.read()?).await;
    }
    if let Some(chosen) = arguments.notation.choose(&image, &arguments.revocation)? {
        if !matches!(asked, Asked::Nothing) {
            return Err(one_way());
        }
        if chosen.asks_nothing() {
            return chosen.skip(context, &image);
        }
        let fetched = collect(context, &arguments, &image, Wanted::Signatures).await?;
        return chosen.judge(context, &image, &fetched, &Annotations(arguments.annotations));
    }
    if !arguments.revocation.is_empty() {
        let hint = "give --policy or --trust-policy too: nothing else here asks whether certificates were revoked";
        return Err(Failure::new("USAGE", "--crl and --ocsp are for policies", hint).exits(Exit::Usage));
    }
    let trusted = match (&arguments.key, &arguments.certificate_store, &arguments.subject, asked) {
        (Some(key), None, _, Asked::Nothing) => Trusted::key(context, key, None).await?,
        (Some(key), None, _, Asked::Root(root)) => Trusted::key(context, key, Some(root)).await?,
        (None, Some(store), Some(subject), Asked::Nothing) => Trusted::certificates(store, subject)?,
        (None, None, _, Asked::Identity(root, pattern)) => Trusted::identity(root, pattern),
        (None, None, _, Asked::Nothing) if arguments.predicate_type.is_some() => return Err(attested::nobody_trusted()),
        (None, None, _, Asked::Nothing) if !arguments.annotations.is_empty() => return Err(one_way()),
        (None, None, _, Asked::Nothing) => {
            arguments.registry.refuse_for_agent()?;
            let platform = arguments.platform.clone().unwrap_or_else(Platform::host);
            return agent::run(context, image, platform).await;
        }
        (Some(_), _, _, Asked::Identity(..)) | (_, Some(_), _, _) | (None, None, _, Asked::Root(_)) => {
            return Err(one_way());
        }
    };
    if let Some(predicate_type) = &arguments.predicate_type {
        let fetched = collect(context, &arguments, &image, Wanted::Attestations).await?;
        return attested::judge(context, &image, &fetched, &trusted, predicate_type);
    }
    let fetched = collect(context, &arguments, &image, Wanted::Signatures).await?;
    trusted.judge(context, &image, &fetched, &Annotations(arguments.annotations))
}

/// Annotations that a signature has to have signed along.
#[derive(Debug, Default)]
struct Annotations(Vec<(String, String)>);

impl Annotations {
    /// The first that `fact` does not have with that value.
    fn missing_in(&self, fact: &Fact) -> Option<String> {
        let missing = self.0.iter().find(|(name, value)| fact.annotations().get(name) != Some(value));
        missing.map(|(name, value)| format!("{name}={value}"))
    }
}

/// Everything that the registry has for the image, which has to be for the platform if one was given.
async fn collect(
    context: &Context,
    arguments: &VerifyArgs,
    image: &ImageRef,
    wanted: Wanted,
) -> Result<Fetched, Failure> {
    let platform = arguments.platform.clone().unwrap_or_else(Platform::host);
    let fetched = Fetched::collect(context, &arguments.registry, image, &platform, wanted).await?;
    arguments.platform.iter().try_for_each(|platform| fetched.is_for(platform))?;
    Ok(fetched)
}

fn one_way() -> Failure {
    Failure::new(
        "USAGE",
        "these flags do not go together: one way to be trusted is given at a time",
        "give --policy, or --key [--trusted-root], or --certificate-identity with --certificate-oidc-issuer and --trusted-root, or \
         --certificate-store with --subject, or --trust-policy",
    )
    .exits(Exit::Usage)
}

/// Parses an image name; `latest` is meant where neither tag nor digest is given, as every tool does.
///
/// # Errors
/// Exit code 2.
pub(crate) fn reference(text: &str) -> Result<ImageRef, Failure> {
    let failed = |error: assay_admission::ReferenceError| {
        Failure::new(
            "USAGE",
            format!("failed to parse image reference {text:?}: {error}"),
            "write it as [HOST[:PORT]/]PATH[:TAG][@sha256:…]",
        )
        .exits(Exit::Usage)
    };
    let image: ImageRef = text.parse().map_err(failed)?;
    if image.tag().is_some() || image.digest().is_some() {
        return Ok(image);
    }
    format!("{image}:latest").parse().map_err(failed)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        verify: VerifyArgs,
    }

    #[test]
    fn a_name_without_tag_means_latest_and_one_with_a_digest_does_not() {
        assert_eq!(reference("r.example/a").unwrap().to_string(), "r.example/a:latest");
        assert_eq!(reference("r.example/a:1").unwrap().to_string(), "r.example/a:1");
        let digest = assay_admission::Digest::sha256(b"x");
        let text = format!("r.example/a@{digest}");
        assert_eq!(reference(&text).unwrap().to_string(), text);
        assert_eq!(reference("r.example/A").unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn policy_key_and_certificates_exclude_each_other() {
        let parses = |more: &[&str]| Line::try_parse_from(["verify", "a"].iter().chain(more)).is_ok();
        assert!(parses(&["--policy", "p"]) && parses(&["--key", "k"]));
        assert!(parses(&["--certificate-store", "s", "--subject", "C=DE"]));
        assert!(!parses(&["--policy", "p", "--key", "k"]));
        assert!(!parses(&["--policy", "p", "--certificate-store", "s", "--subject", "C=DE"]));
        assert!(!parses(&["--certificate-store", "s"]) && !parses(&["--subject", "C=DE"]));
        assert!(!parses(&["--platform", "linux"]));
        assert!(parses(&["--key", "k", "-a", "stage=release", "--annotations", "a=b", "-m", "c=d"]));
        assert!(!parses(&["--key", "k", "-a", "stage"]) && !parses(&["--policy", "p", "-a", "a=b"]));
        assert!(parses(&["--key", "k", "--insecure-ignore-tlog=true"]) && parses(&["--insecure-ignore-tlog"]));
        assert!(parses(&["--trust-policy", "p", "--trust-store", "d", "--crl", "u=f", "--ocsp", "f", "--ocsp", "g"]));
        assert!(!parses(&["--trust-policy", "p"]) && !parses(&["--trust-store", "d"]));
        assert!(!parses(&["--trust-policy", "p", "--trust-store", "d", "--key", "k"]));
        assert!(!parses(&["--trust-policy", "p", "--trust-store", "d", "--type", "vuln"]));
        assert!(parses(&["--key", "k", "--type", "vuln"]) && parses(&["--key", "k", "--type", "https://a.example/b"]));
        assert!(!parses(&["--key", "k", "--type", "vulns"]) && !parses(&["--policy", "p", "--type", "vuln"]));
    }
}
