//! One collection: the image's own documents and then the signatures of every digest that is asked for, as untrusted bytes
//! with a word on where each was found, in an order that does not depend on which answer arrives first. What could not
//! be had is a problem beside them; nothing is judged here.

use std::{collections::BTreeSet, time::Duration};

use assay_admission::{Digest, Document, ImageRef, MediaType, Platform, Repository};
use tokio::sync::mpsc;

use crate::{
    caps,
    document::{Parsed, parse, select},
    error::{Error, Limit, Malformation, Problem, ProblemKind},
    referrers::FoundBy,
    registry::{Access, Client, Remote},
    signatures::Search,
    wanted::Wanted,
};

/// What to collect.
#[derive(Clone, Debug)]
pub struct CollectRequest {
    /// The image. Its tag is resolved only with `platform`.
    pub image: ImageRef,
    /// The image's documents for this platform are wanted too.
    pub platform: Option<Platform>,
    /// Digests whose signatures are wanted; those of the documents found are added.
    pub subjects: Vec<Digest>,
    /// What of that which is attached to them is wanted.
    pub wanted: Wanted,
    /// How long it may take, 60 s at most.
    pub time: Duration,
}

/// What a document is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The image's index.
    Index,
    /// The image's manifest.
    Manifest,
    /// The image's config.
    Config,
    /// A manifest that may hold signatures.
    SignatureManifest,
    /// A layer of a signature manifest.
    SignatureBlob,
    /// A manifest of something else that refers to the image. Its layers are not collected.
    OtherManifest,
}

/// A document that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// What it is of.
    pub role: Role,
    /// Where it was found.
    pub found_by: FoundBy,
    /// Its media type, as header and descriptor have it.
    pub media_type: MediaType,
    /// Its bytes, which have the digest that was asked for.
    pub content: Vec<u8>,
    /// The image document that it was found for.
    pub subject: Option<Digest>,
    /// The signature manifest that it belongs to.
    pub parent: Option<Digest>,
}

/// Whoever wanted the documents is gone, or the budget was spent before the image was known: nothing more is fetched.
struct Stop;

struct Collection<'a> {
    remote: Remote,
    found: &'a mpsc::Sender<Collected>,
    problems: Vec<Error>,
    /// What spent the budget; everything that runs meets it, and it is told once, last.
    end: Option<Error>,
    any_signature: bool,
}

impl Client {
    /// Collects what `request` asks for and sends it: index, manifest and config, then the signatures of each subject, those
    /// that were asked for first, every signature manifest before its layers. Returns what could not be had, in the same
    /// order; an empty list means that everything the registry has was collected. Ends early if `found`'s receiver is gone.
    ///
    /// containerd drops a registry's port from the label by which an image's repository is known. Where nothing answers at
    /// the usual port, signatures are therefore looked for at the ports of this host that the configuration names.
    pub async fn collect(&self, request: &CollectRequest, found: &mpsc::Sender<Collected>) -> Vec<Problem> {
        let repository = request.image.repository();
        let (mut errors, _) = self.collect_at(repository, request, found).await;
        if request.platform.is_none() && !repository.has_port() && is_nobody_there(&errors) {
            for port in self.ports_of(repository.host()) {
                let host = format!("{}:{port}", repository.host());
                let Ok(elsewhere) = Repository::new(&host, repository.path()) else { continue };
                let (others, any) = self.collect_at(&elsewhere, request, found).await;
                if any {
                    errors = others;
                    break;
                }
                if !is_nobody_there(&others) {
                    errors = others;
                }
            }
        }
        errors.iter().take(caps::MAX_PROBLEMS).map(Problem::from).collect()
    }

    /// What could not be had from `repository`, and whether any signature was found there.
    async fn collect_at(
        &self,
        repository: &Repository,
        request: &CollectRequest,
        found: &mpsc::Sender<Collected>,
    ) -> (Vec<Error>, bool) {
        match self.open(repository, Access::Pull, request.time) {
            Ok(remote) => {
                let mut collection =
                    Collection { remote, found, problems: Vec::new(), end: None, any_signature: false };
                let _ = collection.run(request).await;
                collection.finish()
            }
            Err(error) => (vec![error], false),
        }
    }

    /// [`collect`](Self::collect) for callers that want all at once.
    pub async fn collect_all(&self, request: &CollectRequest) -> (Vec<Collected>, Vec<Problem>) {
        let (sender, mut receiver) = mpsc::channel(caps::CONCURRENCY);
        let collect = async {
            let problems = self.collect(request, &sender).await;
            drop(sender);
            problems
        };
        let gather = async {
            let mut all = Vec::new();
            while let Some(collected) = receiver.recv().await {
                all.push(collected);
            }
            all
        };
        let (problems, all) = tokio::join!(collect, gather);
        (all, problems)
    }
}

/// Whether the registry was not reached at all, or may not be by the configuration.
fn is_nobody_there(errors: &[Error]) -> bool {
    !errors.is_empty()
        && errors.iter().all(|error| matches!(error.kind(), ProblemKind::Unreachable | ProblemKind::Forbidden))
}

impl Collection<'_> {
    async fn run(&mut self, request: &CollectRequest) -> Result<(), Stop> {
        let mut search = Search::new(self.remote.clone(), request.wanted);
        let subjects: BTreeSet<Digest> = request.subjects.iter().copied().collect();
        if subjects.len() > caps::MAX_SUBJECTS {
            self.note(Limit::Subjects(subjects.len()).into())?;
        } else {
            subjects.iter().try_for_each(|subject| self.look_for(&mut search, subject))?;
        }
        if let Some(platform) = &request.platform {
            let known = request.image.digest().filter(|digest| !subjects.contains(digest));
            self.image(&request.image, known, platform, &mut search).await?;
        }
        search.release();
        loop {
            let batch = tokio::select! {
                () = self.found.closed() => return Err(Stop),
                batch = search.next() => batch,
            };
            let Some(batch) = batch else { return Ok(()) };
            for collected in batch.found {
                self.any_signature = true;
                self.send(collected).await?;
            }
            for error in batch.problems {
                // What runs beside it ends by itself, and what it has found until then still counts.
                let _ = self.note(error);
            }
        }
    }

    /// The image's documents. Each that could not be had is a problem, and the rest is still tried. A digest that is
    /// `known` before its document is there is looked for at once, and given up if there is no such document.
    async fn image(
        &mut self,
        image: &ImageRef,
        known: Option<&Digest>,
        platform: &Platform,
        search: &mut Search,
    ) -> Result<(), Stop> {
        known.map_or(Ok(()), |digest| self.look_for(search, digest))?;
        let top = match self.remote.resolve(image).await {
            Ok(top) => top,
            Err(error) => {
                known.into_iter().for_each(|digest| search.withdraw(digest));
                return self.note(error);
            }
        };
        let what = self.remote.name(&top.digest().to_string());
        // The digest as it was asked for, which need not be SHA-256.
        let top_digest = image.digest().copied().unwrap_or(*top.digest());
        self.look_for(search, &top_digest)?;
        let parsed = parse(&what, top.media_type(), top.bytes());
        let manifest = match parsed {
            Ok(Parsed::Manifest(manifest)) => {
                self.send(own(Role::Manifest, top)).await?;
                manifest
            }
            Ok(Parsed::Index(entries)) => {
                self.send(own(Role::Index, top)).await?;
                let descriptor = match select(&what, &entries, platform) {
                    Ok(descriptor) => descriptor,
                    Err(error) => return self.note(error),
                };
                if !descriptor.media_type.is_manifest() {
                    let why = Malformation::Rule("an index that lists an index for a platform is not followed");
                    return self.note(Error::malformed(what, why));
                }
                self.look_for(search, &descriptor.digest)?;
                let child = match self.remote.described(descriptor).await {
                    Ok(child) => child,
                    Err(error) => return self.note(error),
                };
                let parsed = parse(&what, child.media_type(), child.bytes());
                self.send(own(Role::Manifest, child)).await?;
                match parsed {
                    Ok(Parsed::Manifest(manifest)) => manifest,
                    Ok(Parsed::Index(_)) => {
                        return self.note(Error::malformed(what, Malformation::Rule("an index in an index")));
                    }
                    Err(error) => return self.note(error),
                }
            }
            Err(error) => return self.note(error),
        };
        search.release();
        match self.remote.blob(&manifest.config, caps::MAX_DOCUMENT_BYTES).await {
            Ok(content) => {
                let media_type = manifest.config.media_type;
                let (role, found_by) = (Role::Config, FoundBy::Name);
                self.send(Collected { role, found_by, media_type, content, subject: None, parent: None }).await
            }
            Err(error) => self.note(error),
        }
    }

    fn look_for(&mut self, search: &mut Search, subject: &Digest) -> Result<(), Stop> {
        search.add(*subject).or_else(|limit| self.note(limit.into()))
    }

    fn note(&mut self, error: Error) -> Result<(), Stop> {
        if error.ends_collection() {
            self.end.get_or_insert(error);
            return Err(Stop);
        }
        if self.problems.len() < caps::MAX_PROBLEMS {
            self.problems.push(error);
        }
        Ok(())
    }

    async fn send(&self, collected: Collected) -> Result<(), Stop> {
        self.found.send(collected).await.map_err(|_| Stop)
    }

    /// The problems, and whether any signature was found.
    fn finish(mut self) -> (Vec<Error>, bool) {
        if let Some(end) = self.end {
            // What ended everything explains more than the last of many.
            self.problems.truncate(caps::MAX_PROBLEMS - 1);
            self.problems.push(end);
        }
        (self.problems, self.any_signature)
    }
}

fn own(role: Role, document: Document) -> Collected {
    let media_type = document.media_type().clone();
    let content = document.bytes().to_vec();
    Collected { role, found_by: FoundBy::Name, media_type, content, subject: None, parent: None }
}
