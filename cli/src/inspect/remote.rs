//! Finds what belongs to an image in its registry, within the fetcher's caps.

use std::time::Duration;

use assay_admission::{Digest, Document};
use assay_fetch::{Access, CollectRequest, Collected, FoundBy, Role, Wanted};

use crate::{
    Context,
    failure::Failure,
    registry::{self, RegistryArgs},
    verify,
};

use super::belongings::{Attached, Belongings, children};

/// Collects everything.
///
/// # Errors
/// Exit code 2 if the name is none, 11 if there is no such image, others if the registry fails.
pub(super) async fn collect(context: &Context, arguments: &RegistryArgs, name: &str) -> Result<Belongings, Failure> {
    let image = verify::reference(name)?;
    let client = registry::client(context, arguments, image.repository())?;
    let progress = context.console.progress("collecting what belongs to the image");
    let failed = |error: assay_fetch::Error| registry::failed(&error);
    let remote = client.open(image.repository(), Access::Pull, context.left()).map_err(failed)?;
    let top = remote.resolve(&image).await.map_err(failed)?;
    let mut problems = Vec::new();
    let children = children(&top, &mut problems);
    let subjects: Vec<Digest> =
        std::iter::once(*top.digest()).chain(children.iter().map(|child| child.digest)).collect();
    let time: Duration = context.left();
    let request = CollectRequest { image: image.clone(), platform: None, subjects, wanted: Wanted::Everything, time };
    let (collected, missing) = client.collect_all(&request).await;
    drop(progress);
    problems.extend(missing.into_iter().map(|problem| problem.detail));
    let mut attached: Vec<Attached> = Vec::new();
    for item in collected {
        sort(item, &mut attached, &mut problems);
    }
    Ok(Belongings { name: image.to_string(), top, children, attached, problems })
}

fn sort(item: Collected, attached: &mut Vec<Attached>, problems: &mut Vec<String>) {
    let Collected { role, found_by, media_type, content, subject, parent } = item;
    let document = match Document::new(media_type, content) {
        Ok(document) => document,
        Err(error) => return problems.push(error.to_string()),
    };
    match (role, subject) {
        (Role::SignatureManifest | Role::OtherManifest, Some(subject)) => {
            attached.push(Attached { subject, found_by: place(found_by), manifest: document, blobs: Vec::new() });
        }
        (Role::SignatureBlob, subject) => {
            let parent = attached.iter_mut().find(|attached| {
                Some(*attached.manifest.digest()) == parent && subject.is_none_or(|subject| attached.subject == subject)
            });
            parent.into_iter().for_each(|attached| attached.blobs.push(document.clone()));
        }
        (Role::SignatureManifest | Role::OtherManifest, None) | (Role::Index | Role::Manifest | Role::Config, _) => {}
    }
}

const fn place(found_by: FoundBy) -> &'static str {
    match found_by {
        FoundBy::Name => "name",
        FoundBy::ReferrersApi => "referrers API",
        FoundBy::ReferrersTag => "referrers tag",
        FoundBy::CosignTag => "cosign tag",
    }
}
