//! Asks the node's agent for a verdict on an image by name. The question is recorded as one, and enforces nothing.

use assay_admission::{AdmissionRequest, CandidateName, Documents, Gate, ImageRef, NameSource, Platform, Subject};
use assay_proto::GateAdmit;

use crate::{
    Context,
    agent::Agent,
    failure::{Exit, Failure},
};

use super::verdict::{self, Shown};

/// The containerd namespace that a question by name is asked for: the one that `ctr` uses.
const NAMESPACE: &str = "default";

pub(super) async fn run(context: &Context, image: ImageRef, platform: Platform) -> Result<Exit, Failure> {
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
    Ok(verdict::exit(verdict.outcome()))
}
