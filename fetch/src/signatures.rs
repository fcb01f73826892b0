//! The search for signatures: digests go in; manifests and layers that may be signatures come out, digest by digest in the
//! order in which they were asked for. All that is known to be wanted is asked for at once, within the budget's turns and
//! caps, and what comes out never depends on which answer arrives first. Nothing is judged here.

use std::collections::BTreeSet;

use assay_admission::{Descriptor, Digest, Document};
use tokio::sync::{oneshot, watch};

use crate::{
    caps,
    collect::{Collected, Role},
    document::{Parsed, parse},
    error::{Error, Limit, Malformation},
    in_order::{InOrder, Panicked},
    referrers::{FoundBy, Referrer, Referrers},
    registry::Remote,
    wanted::{SIGSTORE_BUNDLE, Wanted},
};

/// What one piece of work brought, and what it could not have.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) found: Vec<Collected>,
    pub(crate) problems: Vec<Error>,
}

/// The search in one repository. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Search {
    remote: Remote,
    wanted: Wanted,
    subjects: Vec<Digest>,
    batches: InOrder<Batch>,
    /// How many signatures the next subject may read: what those before it left, so that it is the same in every run.
    left: oneshot::Receiver<usize>,
    /// While it is there, what lists name has to wait.
    hold: Option<watch::Sender<()>>,
}

impl Search {
    /// A search for nothing yet. Lists are asked for at once, and so is one small signature in each; all else that they name
    /// waits for [`Self::release`], so that others' signatures cannot spend what the image's own documents need.
    pub(crate) fn new(remote: Remote, wanted: Wanted) -> Self {
        let (sender, left) = oneshot::channel();
        sender.send(caps::MAX_SIGNATURES).expect("the receiver is still here");
        let hold = Some(watch::Sender::new(()));
        Self { remote, wanted, subjects: Vec::new(), batches: InOrder::new(), left, hold }
    }

    /// Everything that is more important is on its way.
    pub(crate) fn release(&mut self) {
        self.hold = None;
    }

    /// Starts to look for the signatures of `subject`, unless they are looked for already.
    pub(crate) fn add(&mut self, subject: Digest) -> Result<(), Limit> {
        if self.subjects.contains(&subject) {
            return Ok(());
        }
        if self.subjects.len() >= caps::MAX_SUBJECTS {
            return Err(Limit::Subjects(self.subjects.len() + 1));
        }
        self.subjects.push(subject);
        let (pass_on, next) = oneshot::channel();
        let left = std::mem::replace(&mut self.left, next);
        let hold = Hold(self.hold.as_ref().map(watch::Sender::subscribe));
        let place = Place { remote: self.remote.clone(), subject, wanted: self.wanted };
        self.batches.add(signatures(place, hold, left, pass_on));
        Ok(())
    }

    /// Gives up `subject` if it was the last to be added. Nothing may be added after that.
    pub(crate) fn withdraw(&mut self, subject: &Digest) {
        if self.subjects.last() == Some(subject) {
            self.subjects.pop();
            self.batches.withdraw_last();
        }
    }

    /// Waits for everything about the next subject.
    pub(crate) async fn next(&mut self) -> Option<Batch> {
        self.batches.next().await.map(|batch| batch.unwrap_or_else(Batch::from))
    }
}

#[derive(Clone, Debug)]
struct Hold(Option<watch::Receiver<()>>);

impl Hold {
    /// Waits until the search is released (the sender goes, and never sends), unless `document` is a small one and the first
    /// in its list: most images have one signature, and that one need not wait.
    async fn end_for(&mut self, at: usize, document: &Descriptor) {
        let is_small = document.size <= caps::SMALL_DOCUMENT_BYTES;
        if let Some(receiver) = self.0.as_mut().filter(|_| at > 0 || !is_small) {
            while receiver.changed().await.is_ok() {}
        }
    }
}

impl Batch {
    fn problem(error: impl Into<Error>) -> Self {
        Self { found: Vec::new(), problems: vec![error.into()] }
    }

    /// What is attached to the image and is nothing that is verified.
    fn other(subject: Digest, found_by: FoundBy, document: &Document) -> Self {
        let found = vec![Collected {
            role: Role::OtherManifest,
            found_by,
            media_type: document.media_type().clone(),
            content: document.bytes().to_vec(),
            subject: Some(subject),
            parent: None,
        }];
        Self { found, problems: Vec::new() }
    }

    fn append(&mut self, mut other: Self) {
        self.found.append(&mut other.found);
        self.problems.append(&mut other.problems);
    }
}

impl From<Panicked> for Batch {
    /// A task that panicked left its signature out; to say so is enough, for less evidence never admits more.
    fn from(_: Panicked) -> Self {
        Self::problem(Error::malformed("a signature manifest", Malformation::Rule("reading it failed")))
    }
}

/// Where something is looked for: in one repository, about one digest.
#[derive(Clone, Debug)]
struct Place {
    remote: Remote,
    subject: Digest,
    wanted: Wanted,
}

/// All signatures of one digest: by its referrers, and under cosign's tags.
async fn signatures(
    place: Place,
    hold: Hold,
    left: oneshot::Receiver<usize>,
    pass_on: oneshot::Sender<usize>,
) -> Batch {
    let by_tags = by_cosigns_tags(&place, hold.clone());
    let by_lists = by_lists(&place, hold, left, pass_on);
    let (mut all, by_tags) = tokio::join!(by_lists, by_tags);
    all.append(by_tags);
    all
}

async fn by_lists(
    place: &Place,
    mut hold: Hold,
    left: oneshot::Receiver<usize>,
    pass_on: oneshot::Sender<usize>,
) -> Batch {
    let subject = place.subject;
    let Referrers { found, mut problems } = place.remote.referrers(&subject, place.wanted).await;
    // Without an answer the subject before this one panicked, and how much it read is unknown: nothing is left.
    let left = left.await.unwrap_or(0);
    if found.len() > left {
        problems.push(Limit::Signatures { subject, found: found.len(), left }.into());
    }
    let read = found.len().min(left);
    // There may be no subject after this one.
    let _ = pass_on.send(left - read);
    let mut batches = InOrder::new();
    for (at, referrer) in found.into_iter().take(read).enumerate() {
        hold.end_for(at, &referrer.descriptor).await;
        batches.add(listed(place.clone(), hold.clone(), referrer));
    }
    let mut all = Batch { found: Vec::new(), problems };
    while let Some(batch) = batches.next().await {
        all.append(batch.unwrap_or_else(Batch::from));
    }
    all
}

async fn by_cosigns_tags(place: &Place, hold: Hold) -> Batch {
    let mut all = Batch::default();
    // sha512 digests are longer than a tag may be; cosign writes none for them.
    if place.subject.algorithm() != "sha256" {
        return all;
    }
    for suffix in place.wanted.tag_suffixes() {
        match place.remote.tagged(&format!("sha256-{}.{suffix}", place.subject.hex())).await {
            Ok(document) => all.append(manifest(place, hold.clone(), FoundBy::CosignTag, document).await),
            Err(Error::NotFound { .. }) => {}
            Err(error) => all.problems.push(error),
        }
    }
    all
}

/// Fetches a manifest that a list gives, and its signatures.
async fn listed(place: Place, hold: Hold, referrer: Referrer) -> Batch {
    match place.remote.described(&referrer.descriptor).await {
        Ok(document) => manifest(&place, hold, referrer.found_by, document).await,
        Err(Error::NotFound { what }) => Batch::problem(Error::malformed(what, Malformation::ListedButMissing)),
        Err(error) => Batch::problem(error),
    }
}

/// A signature manifest and the signatures in it. What turns out to be no signature is passed over.
async fn manifest(place: &Place, mut hold: Hold, found_by: FoundBy, document: Document) -> Batch {
    let Place { remote, subject, wanted } = place;
    let digest = *document.digest();
    let parsed = match parse(&remote.name(&digest.to_string()), document.media_type(), document.bytes()) {
        Ok(Parsed::Manifest(manifest)) => manifest,
        // An index of signatures is no format that anybody writes.
        Ok(Parsed::Index(_)) if wanted.has_others() => return Batch::other(*subject, found_by, &document),
        Ok(Parsed::Index(_)) => return Batch::default(),
        Err(error) => return Batch::problem(error),
    };
    let layers: Vec<&Descriptor> = parsed.layers.iter().filter(|layer| wanted.has_layer(&layer.media_type)).collect();
    let is_bundle = |layer: &&Descriptor| layer.media_type.as_str().starts_with(SIGSTORE_BUNDLE);
    if !layers.is_empty()
        && layers.iter().all(is_bundle)
        && !wanted.has_predicate_type(parsed.predicate_type.as_deref())
    {
        return Batch::default();
    }
    let is_typed = parsed.artifact_type.as_deref().is_some_and(|text| wanted.has_type(text))
        || wanted.has_type(parsed.config.media_type.as_str());
    if layers.is_empty() && !is_typed {
        return if wanted.has_others() { Batch::other(*subject, found_by, &document) } else { Batch::default() };
    }
    let mut all = Batch::default();
    all.found.push(Collected {
        role: Role::SignatureManifest,
        found_by,
        media_type: document.media_type().clone(),
        content: document.bytes().to_vec(),
        subject: Some(*subject),
        parent: None,
    });
    if layers.len() > caps::MAX_LAYERS {
        all.problems.push(Limit::Layers { manifest: digest, found: layers.len() }.into());
    }
    let mut known = BTreeSet::new();
    let mut blobs = InOrder::new();
    for (at, layer) in layers.into_iter().take(caps::MAX_LAYERS).enumerate() {
        hold.end_for(at, layer).await;
        // cosign's layers differ by annotation and may share their bytes.
        if !known.insert(layer.digest) {
            continue;
        }
        // No more tasks wait for their turn than can have it, or 64 manifests would have 4,096 of them.
        if blobs.len() >= caps::CONCURRENCY
            && let Some(batch) = blobs.next().await
        {
            all.append(batch.unwrap_or_else(Batch::from));
        }
        blobs.add(blob(remote.clone(), found_by, *subject, digest, (*layer).clone()));
    }
    while let Some(batch) = blobs.next().await {
        all.append(batch.unwrap_or_else(Batch::from));
    }
    all
}

/// One layer of the signature manifest `parent`.
async fn blob(remote: Remote, found_by: FoundBy, subject: Digest, parent: Digest, layer: Descriptor) -> Batch {
    match remote.blob(&layer, caps::MAX_DOCUMENT_BYTES).await {
        Ok(content) => {
            let (role, media_type) = (Role::SignatureBlob, layer.media_type);
            let (subject, parent) = (Some(subject), Some(parent));
            let found = vec![Collected { role, found_by, media_type, content, subject, parent }];
            Batch { found, problems: Vec::new() }
        }
        Err(Error::NotFound { what }) => Batch::problem(Error::malformed(what, Malformation::ListedButMissing)),
        Err(error) => Batch::problem(error),
    }
}
