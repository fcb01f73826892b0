//! One collection: the image's own documents and the signatures of every digest that is asked for, as untrusted bytes
//! with a word on where each was found. What could not be had is a problem beside them; nothing is judged here.

use std::{collections::BTreeSet, time::Duration};

use assay_admission::{Descriptor, Digest, Document, ImageRef, MediaType, Platform, Repository};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    caps,
    document::{Parsed, parse, select},
    error::{Error, Limit, Malformation, Problem, ProblemKind},
    referrers::{FoundBy, Referrer, is_signature_layer, is_signature_type},
    registry::{Access, Client, Remote},
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

/// Whoever wanted the documents is gone, or the budget is spent: nothing more is fetched.
struct Stop;

struct Collection<'a> {
    remote: Remote,
    found: &'a mpsc::Sender<Collected>,
    problems: Vec<Error>,
    signatures_left: usize,
}

impl Client {
    /// Collects what `request` asks for and sends each document as soon as it is there. Returns what could not be had;
    /// an empty list means that everything the registry has was collected. Ends early if `found`'s receiver is gone.
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
                    Collection { remote, found, problems: Vec::new(), signatures_left: caps::MAX_SIGNATURES };
                let _ = collection.run(request).await;
                (collection.problems, collection.signatures_left < caps::MAX_SIGNATURES)
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
        let mut subjects: BTreeSet<Digest> = request.subjects.iter().copied().collect();
        if let Some(platform) = &request.platform {
            self.image(&request.image, platform, &mut subjects).await?;
        }
        if subjects.len() > caps::MAX_SUBJECTS {
            return self.note(Limit::Subjects(subjects.len()).into());
        }
        for subject in subjects {
            self.signatures(&subject).await?;
        }
        Ok(())
    }

    /// The image's documents. Each that could not be had is a problem, and the rest is still tried.
    async fn image(
        &mut self,
        image: &ImageRef,
        platform: &Platform,
        subjects: &mut BTreeSet<Digest>,
    ) -> Result<(), Stop> {
        let top = match self.remote.resolve(image).await {
            Ok(top) => top,
            Err(error) => return self.note(error),
        };
        let what = self.remote.name(&top.digest().to_string());
        // The digest as it was asked for, which need not be SHA-256.
        let top_digest = image.digest().copied().unwrap_or(*top.digest());
        subjects.insert(top_digest);
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
                subjects.insert(descriptor.digest);
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
        match self.remote.blob(&manifest.config, caps::MAX_DOCUMENT_BYTES).await {
            Ok(content) => {
                let media_type = manifest.config.media_type;
                let (role, found_by) = (Role::Config, FoundBy::Name);
                self.send(Collected { role, found_by, media_type, content, subject: None, parent: None }).await
            }
            Err(error) => self.note(error),
        }
    }

    /// All signatures of one digest: by its referrers, and under cosign's tag.
    async fn signatures(&mut self, subject: &Digest) -> Result<(), Stop> {
        let referrers = self.remote.referrers(subject).await;
        for error in referrers.problems {
            self.note(error)?;
        }
        let found = referrers.found.len();
        if found > self.signatures_left {
            self.note(Limit::Signatures { subject: *subject, found, left: self.signatures_left }.into())?;
        }
        let read = found.min(self.signatures_left);
        self.signatures_left -= read;
        let mut tasks = JoinSet::new();
        for referrer in referrers.found.into_iter().take(read) {
            if tasks.len() >= caps::CONCURRENCY {
                self.finish_one(&mut tasks).await?;
            }
            let (remote, found, subject) = (self.remote.clone(), self.found.clone(), *subject);
            tasks.spawn(async move { listed(&remote, &found, &subject, &referrer).await });
        }
        // sha512 digests are longer than a tag may be; cosign writes none for them.
        if subject.algorithm() == "sha256" {
            match self.remote.tagged(&format!("sha256-{}.sig", subject.hex())).await {
                Ok(document) => {
                    let problems = manifest(&self.remote, self.found, subject, FoundBy::CosignTag, document).await;
                    self.note_all(problems)?;
                }
                Err(Error::NotFound { .. }) => {}
                Err(error) => self.note(error)?,
            }
        }
        while !tasks.is_empty() {
            self.finish_one(&mut tasks).await?;
        }
        Ok(())
    }

    async fn finish_one(&mut self, tasks: &mut JoinSet<Result<Vec<Error>, Stop>>) -> Result<(), Stop> {
        match tasks.join_next().await {
            Some(Ok(problems)) => self.note_all(problems),
            // A task that panicked left its signature out; to say so is enough, for less evidence never admits more.
            Some(Err(_)) => {
                self.note(Error::malformed("a signature manifest", Malformation::Rule("reading it failed")))
            }
            None => Ok(()),
        }
    }

    fn note_all(&mut self, problems: Result<Vec<Error>, Stop>) -> Result<(), Stop> {
        problems?.into_iter().try_for_each(|error| self.note(error))
    }

    fn note(&mut self, error: Error) -> Result<(), Stop> {
        let ends = error.ends_collection();
        if self.problems.len() < caps::MAX_PROBLEMS {
            self.problems.push(error);
        } else if ends && let Some(last) = self.problems.last_mut() {
            // What ended everything explains more than the last of many.
            *last = error;
        }
        if ends { Err(Stop) } else { Ok(()) }
    }

    async fn send(&self, collected: Collected) -> Result<(), Stop> {
        self.found.send(collected).await.map_err(|_| Stop)
    }
}

fn own(role: Role, document: Document) -> Collected {
    let media_type = document.media_type().clone();
    let content = document.bytes().to_vec();
    Collected { role, found_by: FoundBy::Name, media_type, content, subject: None, parent: None }
}

/// Fetches a manifest that a list gives, and its signatures.
async fn listed(
    remote: &Remote,
    found: &mpsc::Sender<Collected>,
    subject: &Digest,
    referrer: &Referrer,
) -> Result<Vec<Error>, Stop> {
    match remote.described(&referrer.descriptor).await {
        Ok(document) => manifest(remote, found, subject, referrer.found_by, document).await,
        Err(Error::NotFound { what }) => Ok(vec![Error::malformed(what, Malformation::ListedButMissing)]),
        Err(error) => Ok(vec![error]),
    }
}

/// Sends a signature manifest and the signatures in it. What turns out to be no signature is passed over.
async fn manifest(
    remote: &Remote,
    found: &mpsc::Sender<Collected>,
    subject: &Digest,
    found_by: FoundBy,
    document: Document,
) -> Result<Vec<Error>, Stop> {
    let digest = *document.digest();
    let parsed = match parse(&remote.name(&digest.to_string()), document.media_type(), document.bytes()) {
        Ok(Parsed::Manifest(manifest)) => manifest,
        // An index of signatures is no format that anybody writes.
        Ok(Parsed::Index(_)) => return Ok(Vec::new()),
        Err(error) => return Ok(vec![error]),
    };
    let layers: Vec<&Descriptor> = parsed.layers.iter().filter(|layer| is_signature_layer(&layer.media_type)).collect();
    let is_typed = parsed.artifact_type.as_deref().is_some_and(is_signature_type)
        || is_signature_type(parsed.config.media_type.as_str());
    if layers.is_empty() && !is_typed {
        return Ok(Vec::new());
    }
    let sent = Collected {
        role: Role::SignatureManifest,
        found_by,
        media_type: document.media_type().clone(),
        content: document.bytes().to_vec(),
        subject: Some(*subject),
        parent: None,
    };
    found.send(sent).await.map_err(|_| Stop)?;
    let mut problems = Vec::new();
    if layers.len() > caps::MAX_LAYERS {
        problems.push(Limit::Layers { manifest: digest, found: layers.len() }.into());
    }
    let mut fetched = BTreeSet::new();
    for layer in layers.into_iter().take(caps::MAX_LAYERS) {
        // cosign's layers differ by annotation and may share their bytes.
        if !fetched.insert(layer.digest) {
            continue;
        }
        match remote.blob(layer, caps::MAX_DOCUMENT_BYTES).await {
            Ok(content) => {
                let sent = Collected {
                    role: Role::SignatureBlob,
                    found_by,
                    media_type: layer.media_type.clone(),
                    content,
                    subject: Some(*subject),
                    parent: Some(digest),
                };
                found.send(sent).await.map_err(|_| Stop)?;
            }
            Err(Error::NotFound { what }) => problems.push(Error::malformed(what, Malformation::ListedButMissing)),
            Err(error) => {
                let ends = error.ends_collection();
                problems.push(error);
                if ends {
                    break;
                }
            }
        }
    }
    Ok(problems)
}
