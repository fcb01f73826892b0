//! `assay inspect` and `assay tree`: all that belongs to an image, from a registry or an OCI layout, decoded for people and
//! scripts. Nothing is verified and nothing is decided here.

mod belongings;
mod certificate;
mod decoded;
mod layout;
mod remote;
mod shown;

use clap::Args;

use crate::{
    Context,
    failure::{Exit, Failure},
    registry::RegistryArgs,
};

/// Which image, and where it is.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// The image: [HOST[:PORT]/]PATH[:TAG][@DIGEST], or oci:DIR[:TAG][@DIGEST] for an OCI layout in a folder
    image: String,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// How much is printed as text. JSON has it all with `inspect`, and the tree alone with `tree`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Everything that was decoded.
    All,
    /// A line for each part.
    Tree,
}

pub(crate) async fn run(context: &Context, arguments: InspectArgs, detail: Detail) -> Result<Exit, Failure> {
    let found = match arguments.image.strip_prefix("oci:") {
        Some(place) => layout::read(place)?,
        None => remote::collect(context, &arguments.registry, &arguments.image).await?,
    };
    context.console.print(&shown::text(&found, detail), &shown::json(&found, detail))?;
    for problem in &found.problems {
        context.console.remark(&format!("not everything could be had: {problem}"));
    }
    Ok(Exit::Success)
}
