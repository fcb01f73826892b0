//! `assay verify IMAGE`: the agent's verdict on an image, or, without an agent, that of a policy file or a key.
//! Prints why; the exit code says it to scripts.

mod agent;
mod verdict;

use assay_admission::{ImageRef, Platform};
use clap::Args;

use crate::{
    Context,
    failure::{Exit, Failure},
};

/// Judge an image: is it signed as the policy wants, and if not, why not
///
/// Asks this node's agent. With --policy or --key no agent is needed, and nothing is recorded.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The image: [HOST[:PORT]/]PATH[:TAG][@DIGEST]; without tag and digest, `latest`
    image: String,
    /// For which platform to judge it [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
}

pub(crate) async fn run(context: &Context, arguments: VerifyArgs) -> Result<Exit, Failure> {
    let image = reference(&arguments.image)?;
    let platform = arguments.platform.clone().unwrap_or_else(Platform::host);
    agent::run(context, image, platform).await
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
    use super::*;

    #[test]
    fn a_name_without_tag_means_latest_and_one_with_a_digest_does_not() {
        assert_eq!(reference("r.example/a").unwrap().to_string(), "r.example/a:latest");
        assert_eq!(reference("r.example/a:1").unwrap().to_string(), "r.example/a:1");
        let digest = assay_admission::Digest::sha256(b"x");
        let text = format!("r.example/a@{digest}");
        assert_eq!(reference(&text).unwrap().to_string(), text);
        assert_eq!(reference("r.example/A").unwrap_err().exit, Exit::Usage);
    }
}
