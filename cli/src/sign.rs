//! `assay sign IMAGE`: resolves the image, has the agent sign its descriptor with a key in the token, and pushes the
//! signature beside the image. The bytes that are signed are the agent's; no key is used here.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use assay_admission::{Descriptor, ImageRef, MediaType};
use assay_fetch::{Access, Listed, NewReferrer, TypeField};
use assay_proto::assay as wire;
use assay_verify::Certificate;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::{
    Context,
    agent::Agent,
    bounded_file, duration,
    failure::{Exit, Failure},
    registry::{self, RegistryArgs},
    verify::reference,
};

/// Sign an image with a key in the token
///
/// What the tag leads to now is signed, by its digest: the index if there is one, else the manifest. The signature is
/// pushed beside the image, where cosign, notation and Assay find it.
#[derive(Args, Debug)]
pub(crate) struct SignArgs {
    /// The image: [HOST[:PORT]/]PATH[:TAG][@DIGEST]
    image: String,
    /// The key, as a pkcs11: URI (`assay keys list` shows them)
    #[arg(long, value_name = "URI")]
    key: String,
    /// Whose format to sign in
    #[arg(long, value_enum, default_value = "cosign")]
    format: Format,
    /// For notation: the certificate of the key and its issuers as PEM, leaf first, root included
    #[arg(long, value_name = "FILE", visible_alias = "cert-chain")]
    certificate_chain: Option<PathBuf>,
    /// An annotation to sign along (may be repeated)
    #[arg(short = 'a', long = "annotation", visible_alias = "annotations", value_name = "KEY=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,
    /// For notation: how long the signature holds, such as 24h or 90d
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    expiry: Option<Duration>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Formats that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A Sigstore bundle, as `cosign sign` 3 writes it
    Cosign,
    /// A Notary Project signature in a COSE envelope, as notation writes it
    Notation,
}

pub(crate) async fn run(context: &Context, arguments: SignArgs) -> Result<Exit, Failure> {
    let image = reference(&arguments.image)?;
    let request = request(&arguments)?;
    // Asked first: without an agent nothing needs to be fetched.
    let agent = Agent::signing(context).await?;

    let progress = context.console.progress("resolving the image");
    let client = registry::client(context, &arguments.registry, image.repository())?;
    let remote =
        client.open(image.repository(), Access::Push, context.left()).map_err(|error| registry::failed(&error))?;
    let resolved = remote.resolve(&image).await.map_err(|error| registry::failed(&error))?;
    let subject = resolved.descriptor();

    drop(progress);
    let progress = context.console.progress("the token signs");
    let request = wire::SignRequest {
        media_type: subject.media_type.to_string(),
        digest: subject.digest.to_string(),
        size: subject.size,
        ..request
    };
    let signed = agent.ask(agent.keys().sign(agent.request(request))).await?;

    drop(progress);
    let progress = context.console.progress("pushing the signature");
    let new = NewReferrer {
        subject: &subject,
        artifact_type: &signed.artifact_type,
        type_field: match arguments.format {
            Format::Cosign => TypeField::ArtifactType,
            Format::Notation => TypeField::ConfigMediaType,
        },
        layer_type: &signed.media_type,
        layer: &signed.envelope,
        annotations: signed.annotations.clone().into_iter().collect::<BTreeMap<_, _>>(),
    };
    let (pushed, listed) = remote.push_referrer(&new).await.map_err(|error| registry::failed(&error))?;
    drop(progress);
    let exit = report(context, &image, &subject, &pushed, listed, &signed, arguments.format)?;
    if names_an_index(resolved.bytes()) {
        context.console.remark(&format!(
            "note: {image} is an index that names another index, and nested indexes are not followed: no node will admit it; push it \
             as one index and sign that"
        ));
    }
    Ok(exit)
}

/// Whether a document is an index that names another one.
fn names_an_index(document: &[u8]) -> bool {
    let parsed: Value = serde_json::from_slice(document).unwrap_or_default();
    let entries = parsed.get("manifests").and_then(Value::as_array);
    let types = entries.into_iter().flatten().filter_map(|entry| entry.get("mediaType").and_then(Value::as_str));
    types.filter_map(MediaType::new).any(|media_type| media_type.is_index())
}

/// Everything but the image, checked before anyone is asked for anything.
fn request(arguments: &SignArgs) -> Result<wire::SignRequest, Failure> {
    let usage = |message: &str, remedy: &str| Failure::new("USAGE", message, remedy).exits(Exit::Usage);
    if !arguments.key.starts_with("pkcs11:") {
        return Err(usage(
            &format!("--key {:?} is no pkcs11: URI, and images are signed with keys in the token alone", arguments.key),
            "`assay keys list` shows the URIs; `assay keys generate LABEL` makes a key",
        ));
    }
    let mut annotations = std::collections::HashMap::new();
    for (name, value) in &arguments.annotations {
        if annotations.insert(name.clone(), value.clone()).is_some() {
            return Err(usage(&format!("annotation {name:?} is given twice"), "give each annotation once"));
        }
    }
    let (format, chain) = match (arguments.format, &arguments.certificate_chain) {
        (Format::Cosign, None) if arguments.expiry.is_none() => (wire::SignatureFormat::CosignBundle, Vec::new()),
        (Format::Cosign, _) => {
            return Err(usage(
                "a cosign bundle made with a key has neither certificates nor an expiry",
                "leave out --certificate-chain and --expiry, or give --format notation",
            ));
        }
        (Format::Notation, Some(path)) => (wire::SignatureFormat::NotationCose, read_chain(path)?),
        (Format::Notation, None) => {
            return Err(usage(
                "a Notary Project signature needs the key's certificate chain",
                "give --certificate-chain FILE.pem: leaf first, root included",
            ));
        }
    };
    Ok(wire::SignRequest {
        key: arguments.key.clone(),
        format: format.into(),
        annotations,
        certificate_chain: chain,
        expires_in_seconds: arguments.expiry.map_or(0, |expiry| expiry.as_secs().max(1)),
        ..wire::SignRequest::default()
    })
}

/// Largest file with a chain: some hundred certificates.
const MAX_CHAIN_BYTES: u64 = 1 << 20;

fn read_chain(path: &std::path::Path) -> Result<Vec<Vec<u8>>, Failure> {
    let pem = bounded_file::read(path, MAX_CHAIN_BYTES)
        .map_err(|error| Failure::io("read the certificate chain", path, &error))?;
    let certificates = Certificate::all_from_pem(&pem).map_err(|error| {
        Failure::new(
            "CERTIFICATES",
            format!("failed to read certificates from {}: {error}", path.display()),
            "give a PEM file with the key's certificate first, then its issuers, the root last",
        )
    })?;
    Ok(certificates.iter().map(|certificate| certificate.der().to_vec()).collect())
}

fn report(
    context: &Context,
    image: &ImageRef,
    subject: &Descriptor,
    pushed: &Descriptor,
    listed: Listed,
    signed: &wire::SignResponse,
    format: Format,
) -> Result<Exit, Failure> {
    let what = if subject.media_type.is_index() { "index" } else { "manifest" };
    let (place, found_by) = match listed {
        Listed::ByRegistry => ("listed by the registry", "referrers-api"),
        Listed::UnderFallbackTag => ("listed under the fallback tag", "referrers-tag"),
    };
    let signature = image.repository().clone().with_digest(pushed.digest);
    let format = match format {
        Format::Cosign => "cosign",
        Format::Notation => "notation",
    };
    let text = format!(
        "signed {} ({what} of {image})\npushed {signature}\n  {}, {place}; record {}",
        subject.digest, signed.artifact_type, signed.record
    );
    let json = json!({
        "image": image.to_string(),
        "subject": { "mediaType": subject.media_type.as_str(), "digest": subject.digest.to_string(), "size": subject.size },
        "signature": signature.to_string(),
        "digest": pushed.digest.to_string(),
        "format": format,
        "artifactType": signed.artifact_type,
        "foundBy": found_by,
        "record": signed.record,
    });
    context.console.print(&text, &json)?;
    Ok(Exit::Success)
}

/// Parses `KEY=VALUE`.
pub(crate) fn annotation(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it has to be KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sign: SignArgs,
    }

    fn request_of(more: &[&str]) -> Result<wire::SignRequest, Failure> {
        let line = ["sign", "r.example/a:1", "--key", "pkcs11:object=ci"].iter().chain(more);
        request(&Line::try_parse_from(line).unwrap().sign)
    }

    #[test]
    fn a_cosign_bundle_takes_annotations_and_no_expiry() {
        let request = request_of(&["-a", "build=7", "--annotation", "team=a=b"]).unwrap();
        assert_eq!(request.format(), wire::SignatureFormat::CosignBundle);
        assert_eq!(request.annotations.get("team").map(String::as_str), Some("a=b"));
        assert_eq!(request_of(&["--expiry", "24h"]).unwrap_err().exit, Exit::Usage);
        assert_eq!(request_of(&["-a", "x=1", "-a", "x=2"]).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_notary_signature_needs_a_chain_of_certificates() {
        assert_eq!(request_of(&["--format", "notation"]).unwrap_err().exit, Exit::Usage);
        let missing = request_of(&["--format", "notation", "--certificate-chain", "/nowhere.pem"]).unwrap_err();
        assert_eq!(missing.code, "IO");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chain.pem");
        std::fs::write(&file, "no certificate").unwrap();
        let chain = format!("--certificate-chain={}", file.display());
        assert_eq!(request_of(&["--format", "notation", &chain]).unwrap_err().code, "CERTIFICATES");
        let endless = request_of(&["--format", "notation", "--certificate-chain", "/dev/zero"]).unwrap_err();
        assert!(endless.message.contains("longer than 1048576 bytes"), "{}", endless.message);
    }

    #[test]
    fn an_index_of_indexes_is_recognised_and_one_of_manifests_is_none() {
        let index = |media_type: &str| format!("{{\"manifests\":[{{\"mediaType\":\"{media_type}\"}}]}}");
        assert!(names_an_index(index("application/vnd.oci.image.index.v1+json").as_bytes()));
        assert!(names_an_index(index("application/vnd.docker.distribution.manifest.list.v2+json").as_bytes()));
        for other in [index("application/vnd.oci.image.manifest.v1+json"), "{\"layers\":[]}".into(), "no JSON".into()] {
            assert!(!names_an_index(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_key_outside_the_token_is_wrong_usage() {
        for key in ["ci.key", "./pkcs11:object=ci", ""] {
            let line = Line::try_parse_from(["sign", "r.example/a", "--key", key]).unwrap();
            let failure = request(&line.sign).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains("is no pkcs11: URI"), "{failure}");
        }
    }

    #[test]
    fn an_annotation_needs_a_name() {
        assert_eq!(annotation("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(annotation("=b").is_err_and(|why| why.contains("KEY=VALUE")));
    }
}
