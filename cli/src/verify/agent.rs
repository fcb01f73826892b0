//! Asks the node's agent for a verdict on an image by name. The question is recorded as one, and enforces nothing.

use std::time::Duration;

use assay_admission::{
    AdmissionRequest, CandidateName, DenyCode, Documents, Gate, ImageRef, NameSource, Outcome, Platform, Subject,
};
use assay_fetch::{Access, ProblemKind};
use assay_proto::GateAdmit;

use crate::{
    Context,
    agent::Agent,
    failure::{Exit, Failure},
    registry::{self, RegistryArgs},
};

use super::verdict::{self, Shown};

/// The containerd namespace that a question by name is asked for: the one that `ctr` uses.
const NAMESPACE: &str = "default";
/// How long the registry may take to say that it has no such image, after the agent's answer.
const LOOK: Duration = Duration::from_secs(5);

pub(super) async fn run(
    context: &Context,
    registry: &RegistryArgs,
    image: ImageRef,
    platform: Platform,
) -> Result<Exit, Failure> {
    let agent = Agent::admin(context).await?;
    let name = CandidateName { reference: image.clone(), source: NameSource::Requested };
    let request = AdmissionRequest::new(
        Gate::Ask,
        NAMESPACE.parse().expect("a plain word is a namespace"),
        platform,
        Subject::Image { name, top: None },
        Documents::new(),
    )
    .map_err(|error| Failure::new("INVALID", error, ""))?;

    let progress = context.console.progress("the agent collects and verifies");
    let answer = agent.ask(agent.gate().admit(agent.request(GateAdmit::request_message(&request)))).await?;
    drop(progress);
    let verdict = GateAdmit::verdict(answer).map_err(|error| {
        Failure::new(
            "AGENT_FAILED",
            format!("the agent's answer is not understood: {error}"),
            "use an assay of the agent's version",
        )
    })?;
    let shown = Shown::from(&verdict);
    context.console.print(&verdict::text(&image, &shown), &verdict::json(&image, &shown))?;
    match verdict.outcome() {
        Outcome::Deny { first, .. }
            if first.code == DenyCode::EvidenceUnavailable && is_absent(context, registry, &image).await =>
        {
            Ok(Exit::NoImage)
        }
        outcome => Ok(verdict::exit(outcome)),
    }
}

/// Whether the registry says that there is no such image. It chooses between two exit codes of a denial, nothing else.
async fn is_absent(context: &Context, registry: &RegistryArgs, image: &ImageRef) -> bool {
    let Ok(client) = registry::client(context, registry, image.repository()) else { return false };
    let Ok(remote) = client.open(image.repository(), Access::Pull, LOOK) else { return false };
    remote.resolve(image).await.is_err_and(|error| error.kind() == ProblemKind::NotFound)
}
