//! `assay verify-blob`: who signed a file, by a Sigstore bundle beside it. A file or its digest, and whom to trust, come in; a sentence
//! and an exit code go out. No agent, no registry.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use assay_admission::{Digest, MAX_DOCUMENT_BYTES};
use assay_verify::{BlobDigests, BlobHasher, BlobSignature, Budget, RejectionReason, Signer, Trust, verify_blob};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    Context, bounded_file,
    failure::{Exit, Failure},
    identity::{Asked, IdentityArgs},
    verify::{self, Who},
};

/// Verify a file: who signed it, by the bundle that stands beside it
///
/// A bundle with a statement counts for every subject of it; a bundle with a message signature for its message.
#[derive(Args, Debug)]
pub(crate) struct VerifyBlobArgs {
    /// The file, or its digest: sha256:HEX
    #[arg(value_name = "FILE|sha256:HEX")]
    blob: String,
    /// The Sigstore bundle
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// Trust just this public key: a PEM file, PEM text, or a pkcs11: URI
    #[arg(long, value_name = "KEY", conflicts_with_all = ["certificate_identity", "certificate_identity_regexp"])]
    key: Option<String>,
    #[command(flatten)]
    identity: IdentityArgs,
}

pub(crate) async fn run(context: &Context, arguments: VerifyBlobArgs) -> Result<Exit, Failure> {
    let (trust, who) = match (&arguments.key, arguments.identity.read()?) {
        (Some(key), Asked::Nothing) => verify::trust_key(context, key, None).await?,
        (Some(key), Asked::Root(root)) => verify::trust_key(context, key, Some(root)).await?,
        (None, Asked::Identity(root, pattern)) => verify::trust_identity(root, pattern),
        (Some(_), Asked::Identity(..)) | (None, Asked::Nothing | Asked::Root(_)) => {
            return Err(Failure::new(
                "USAGE",
                "it is not said who must have signed",
                "give --key, or --certificate-identity with --certificate-oidc-issuer and --trusted-root",
            )
            .exits(Exit::Usage));
        }
    };
    let digests = digests(&arguments.blob)?;
    let most = u64::try_from(MAX_DOCUMENT_BYTES).unwrap_or(u64::MAX);
    let bundle = bounded_file::read(&arguments.bundle, most)
        .map_err(|error| Failure::io("read the bundle", &arguments.bundle, &error))?;
    let judged = judge(&digests, &bundle, &trust, &who);
    let (exit, text, json) = shown(&arguments.blob, &judged);
    context.console.print(&text, &json)?;
    Ok(exit)
}

/// Why a bundle does not suffice.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// It proves nothing.
    Reason(RejectionReason),
    /// Somebody else signed.
    Others(Vec<Signer>),
}

fn judge(digests: &BlobDigests, bundle: &[u8], trust: &Trust, who: &Who) -> Result<BlobSignature, Refusal> {
    let signature =
        verify_blob(digests, bundle, trust, verify::now(), &mut Budget::default()).map_err(Refusal::Reason)?;
    if signature.signers().iter().any(|signer| who.is(signer)) {
        Ok(signature)
    } else {
        Err(Refusal::Others(signature.signers().to_vec()))
    }
}

/// The digests of `blob`: it is hashed piece by piece, whatever its size. What reads as a digest is one.
fn digests(blob: &str) -> Result<BlobDigests, Failure> {
    if blob.starts_with("sha256:") {
        let parsed = blob.parse::<Digest>().ok().and_then(|digest| BlobDigests::of_sha256(digest).ok());
        return parsed.ok_or_else(|| {
            let message = format!("{blob:?} is no digest");
            Failure::new("USAGE", message, "write it as sha256: and 64 lower-case hex digits").exits(Exit::Usage)
        });
    }
    let path = Path::new(blob);
    let failed = |error: std::io::Error| Failure::io("read", path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let (mut hasher, mut piece) = (BlobHasher::default(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut piece).map_err(failed)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(piece.get(..read).unwrap_or_default()),
        }
    }
}

fn shown(blob: &str, judged: &Result<BlobSignature, Refusal>) -> (Exit, String, Value) {
    match judged {
        Ok(signature) => {
            let what = signature.predicate_type().map_or_else(String::new, |kind| format!(", in a statement {kind}"));
            let because: Vec<String> = signature
                .signers()
                .iter()
                .map(|signer| format!("{} signed it{what}", verify::name_of(signer)))
                .collect();
            let text = format!("verified: {blob}\n  - {}", because.join("\n  - "));
            let json = json!({
                "blob": blob,
                "verified": true,
                "code": null,
                "signers": signature.signers().iter().map(verify::signer_json).collect::<Vec<_>>(),
                "predicateType": signature.predicate_type(),
                "because": because,
            });
            (Exit::Success, text, json)
        }
        Err(refusal) => {
            let because = match refusal {
                Refusal::Reason(reason) => reason.to_string(),
                Refusal::Others(signers) => {
                    let names: Vec<String> = signers.iter().map(verify::name_of).collect();
                    format!("{} signed it, who was not asked for", names.join(" and "))
                }
            };
            let json = json!({ "blob": blob, "verified": false, "code": "NOT_SATISFIED", "because": [because] });
            (Exit::NotSatisfied, format!("not verified: {blob}\n  - {because}"), json)
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        verify: VerifyBlobArgs,
    }

    #[test]
    fn what_reads_as_a_digest_is_one_and_must_be_right() {
        let digest = Digest::sha256(b"a file");
        assert_eq!(digests(&digest.to_string()).unwrap(), BlobDigests::of_sha256(digest).unwrap());
        for bad in ["sha256:", "sha256:AA", "sha256:../x"] {
            assert_eq!(digests(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
        assert_eq!(digests("/nowhere/file").unwrap_err().code, "IO");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn it_has_to_be_said_who_must_have_signed() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::for_tests(folder.path());
        let line = |more: &[&str]| Line::try_parse_from(["x", "--bundle", "b", "file"].iter().chain(more));
        assert_eq!(run(&context, line(&[]).unwrap().verify).await.unwrap_err().exit, Exit::Usage);
        assert!(line(&["--key", "k", "--certificate-identity", "a"]).is_err());
        assert!(line(&["--certificate-identity", "a"]).is_err());
    }

    #[test]
    fn who_signed_is_said_and_who_should_not_have_signed_too() {
        let signer = Signer::Identity {
            root: "given".parse().unwrap(),
            identity: "a@acme.example".to_owned(),
            issuer: "https://issuer.example".to_owned(),
        };
        let (exit, text, json) = shown("f", &Err(Refusal::Others(vec![signer])));
        assert_eq!(exit, Exit::NotSatisfied);
        assert!(
            text.contains("\"a@acme.example\" (issuer https://issuer.example) signed it, who was not asked for"),
            "{text}"
        );
        assert_eq!((&json["verified"], &json["code"]), (&false.into(), &"NOT_SATISFIED".into()));
    }
}
