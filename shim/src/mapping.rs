//! From a layer chain to the images that are said to contain it, with their documents and names, as claims for the agent.
//! Content store and image records are read anew for each question; only what a digest binds for ever is remembered.

mod config;
mod documents;
mod expected;
mod many;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use assay_admission::{
    CandidateName, DenyCode, Digest, Documents, ImageClaim, ImageRef, MAX_CLAIMS, MAX_DOCUMENT_BYTES, NameSource,
    Namespace, Purpose, Repository,
};
use assay_proto::containerd::content::Info;

use crate::{
    containerd::{Containerd, ContainerdError},
    refusal::Refusal,
};
pub(crate) use config::{Reading, chains, folded};
use documents::collect;
use expected::Admitted;
pub(crate) use expected::Expected;
pub(crate) use many::Many;
use many::{Blobs, TooOdd, blobs};

/// Written by containerd when it has parsed a manifest: its config.
const CONFIG_LABEL: &str = "containerd.io/gc.ref.content.config";
/// Written by containerd when it has parsed an index: its manifests, counted from 0.
const MANIFEST_LABEL: &str = "containerd.io/gc.ref.content.m.";
/// Written by containerd when it has fetched a blob: the repositories it was asked for, without port.
const SOURCE_LABEL: &str = "containerd.io/distribution.source.";
/// Most configs whose chains are remembered: some 300 bytes each.
const MAX_REMEMBERED: usize = 20_000;
/// How deep indexes may be nested.
const MAX_NESTING: usize = 3;
/// Most indexes of one manifest that are looked at.
const MAX_INDEXES: usize = 32;
/// Largest config whose layers are looked for. One that is too large to be judged is still known to claim its layers.
const MAX_CONFIG_BYTES: usize = 16 << 20;
/// Most configs that are read at the same time; those too large to be judged are read one by one.
const PARALLEL_READS: usize = 16;

/// How often it is tried to read ahead: containerd may be started a while after the snapshotter.
const AHEAD_ATTEMPTS: usize = 60;
const AHEAD_PAUSE: Duration = Duration::from_secs(2);

/// Finds the images of a chain.
#[derive(Clone, Debug)]
pub struct Images {
    containerd: Containerd,
    /// Protects what is known of configs already read, by their digests. Held for a look-up, never while waiting.
    known: Arc<Mutex<HashMap<Digest, Layers>>>,
    admitted: Admitted,
    /// Protects what is known of manifests of chains that many images have. Held for a look-up, never while waiting.
    blobs: Arc<Mutex<HashMap<Digest, Blobs>>>,
}

/// What is remembered of a config; for ever, since the digest binds it.
#[derive(Clone, Debug)]
enum Layers {
    /// The first eight bytes of each chain id.
    Chains(Box<[u64]>),
    /// containerd might read chains in it that were not found.
    Unclear,
    /// It has more than [`MAX_CONFIG_BYTES`].
    TooLarge,
}

/// What containerd knows of a chain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapped {
    /// The images that are said to contain it.
    pub(crate) claims: Vec<ImageClaim>,
    /// The documents the claims speak of, as far as they are there.
    pub(crate) documents: Documents,
    /// The chain below it in these images; `None` if it is the first layer, or of no image.
    pub(crate) below: Option<Digest>,
    /// Images of the chain that are not among the claims, because there are too many. To extract a layer, each names the same
    /// blobs as any other for the chains that they share.
    pub(crate) alike: Vec<ImageClaim>,
    /// All of them, if there are too many to be examined at once.
    pub(crate) many: Option<Arc<Many>>,
}

/// Why a chain cannot be mapped. Fits after "failed to look up the chain: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MappingError {
    /// containerd did not answer.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    /// More images of one chain than are examined at once, and too many of them cannot stand for each other.
    #[error(
        "{all} images contain this chain, and {odd} of them, such as {manifest}, name other blobs than another for a layer \
         that both have; remove those that are not needed (`ctr -n {namespace} images rm --sync`), or pull them again from one source"
    )]
    Odd { all: usize, odd: usize, manifest: Box<Digest>, namespace: Box<str> },
    /// A config that may name the chain cannot be read.
    #[error(
        "config {config} has more than {MAX_CONFIG_BYTES} bytes, so that the layers it names are not known and nothing is \
         unpacked beside it: remove its image (`ctr -n {namespace} images rm --sync`, or `ctr -n {namespace} content rm {manifest}`)"
    )]
    Config { config: Box<Digest>, manifest: Box<Digest>, namespace: Box<str> },
    /// More configs than can be remembered at once.
    #[error("more than {MAX_REMEMBERED} image configs are in use at once; remove images that are not needed")]
    Configs,
    /// More indexes than are looked at.
    #[error("{0} is in more than {MAX_INDEXES} indexes")]
    Indexes(Digest),
    /// The documents together are larger than a request may be.
    #[error("the documents of its images have more than {0} bytes")]
    Bytes(usize),
    /// A document is malformed in a way that containerd might read otherwise.
    #[error("{0}")]
    Document(#[from] assay_admission::RequestError),
}

impl MappingError {
    /// What a gate says for it.
    pub(crate) fn refusal(&self) -> Refusal {
        let code = if self.is_limit() { DenyCode::Limit } else { DenyCode::Internal };
        Refusal::own(code, format!("the image cannot be looked up: {self}"))
    }

    /// Whether a limit was reached, rather than containerd not answering.
    pub(crate) const fn is_limit(&self) -> bool {
        match self {
            Self::Containerd(ContainerdError::Call { .. }) => false,
            Self::Containerd(ContainerdError::Blobs | ContainerdError::DocumentSize { .. })
            | Self::Odd { .. }
            | Self::Config { .. }
            | Self::Configs
            | Self::Indexes(_)
            | Self::Bytes(_)
            | Self::Document(_) => true,
        }
    }
}

/// The manifests and indexes of a namespace at one moment.
#[derive(Default)]
struct Content {
    /// Manifest → config.
    manifests: Vec<(Digest, Digest)>,
    /// Manifest or index → indexes that name it.
    parents: BTreeMap<Digest, Vec<Digest>>,
    /// Which of the configs that were looked for are there.
    configs: BTreeSet<Digest>,
    /// Repositories that were asked for a manifest or index.
    sources: BTreeMap<Digest, Vec<(String, String)>>,
    /// When containerd last changed a manifest's or index's labels: at the latest when it was pulled.
    changed: BTreeMap<Digest, (i64, i32)>,
}

impl Images {
    /// Images of the containerd that listens at `socket`.
    #[must_use]
    pub fn of(socket: &Path) -> Self {
        Self {
            containerd: Containerd::at(socket),
            known: Arc::default(),
            admitted: Admitted::default(),
            blobs: Arc::default(),
        }
    }

    /// Reads beforehand what the first question about a namespace would have to read: on a node of thousands of images that takes
    /// longer than a question may. Tries again while containerd does not answer; nothing depends on its success.
    pub(crate) async fn learn_ahead(&self, namespace: &Namespace) {
        for _ in 0..AHEAD_ATTEMPTS {
            match self.learn_all(namespace).await {
                Ok(()) => return,
                Err(error) if error.is_limit() => {
                    return tracing::warn!(%namespace, %error, "images are not read ahead");
                }
                Err(error) => tracing::debug!(%namespace, %error, "images could not be read ahead yet"),
            }
            tokio::time::sleep(AHEAD_PAUSE).await;
        }
    }

    async fn learn_all(&self, namespace: &Namespace) -> Result<(), MappingError> {
        let content = self.content(namespace, &[]).await?;
        self.learn(namespace, &content.manifests).await?;
        // Manifests are read for what is extracted only where there are many.
        if content.manifests.len() > MAX_CLAIMS {
            let manifests: Vec<Digest> = content.manifests.iter().map(|(manifest, _)| *manifest).collect();
            self.learn_blobs(namespace, &manifests).await?;
        }
        Ok(())
    }

    /// What [`Self::of_chain`] will probably find, from what was admitted last; `None` if nothing speaks for anything.
    pub(crate) fn expected(&self, namespace: &Namespace, chain: &Digest, purpose: Purpose) -> Option<Expected> {
        let prefix = prefix(chain);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let contains = |claim: &ImageClaim| matches!(known.get(&claim.config), Some(Layers::Chains(chains)) if asks_for(purpose, chains, prefix));
        let mut mapped = self.admitted.newest(namespace, contains)?;
        mapped.below = below(&mapped.claims, &mapped.documents, chain);
        Some(Expected(mapped))
    }

    /// Notes that what was found has been admitted, so that it is expected again.
    pub(crate) fn admitted(&self, namespace: &Namespace, mapped: Mapped) {
        self.admitted.keep(namespace, mapped);
    }

    /// Everything that is said to contain `chain` now and, for an extraction, everything of which that cannot be ruled out.
    ///
    /// With something `expected`, what confirms it is asked for at once instead of step by step; the answer is the same.
    pub(crate) async fn of_chain(
        &self,
        namespace: &Namespace,
        chain: &Digest,
        purpose: Purpose,
        expected: Option<&Expected>,
    ) -> Result<Mapped, MappingError> {
        let likely = expected.map(|expected| expected.mapping().claims.as_slice()).unwrap_or_default();
        // All of it, each time: a manifest that came since the last look may name a config that is known already.
        let (content, names) = tokio::try_join!(self.content(namespace, likely), async {
            Ok(self.containerd.names(namespace, &targets(likely)).await?)
        })?;
        let absent = self.learn(namespace, &content.manifests).await?;
        let mut found = self.claimants(namespace, &content.manifests, &absent, chain, purpose)?;
        found.sort_unstable();
        found.dedup();
        let mut claims = Vec::with_capacity(found.len());
        for (manifest, config) in found {
            claims.push(ImageClaim { manifest, config, indexes: content.indexes_of(manifest)?, names: Vec::new() });
        }
        content.order(&mut claims);
        if claims.len() > MAX_CLAIMS {
            let many = self.divide(namespace, claims, &content, purpose).await?;
            return self.part(namespace, chain, &Arc::new(many), 0).await;
        }
        let as_expected = expected.filter(|_| targets(&claims) == targets(likely));
        let (documents, absent, names) = match as_expected.filter(|expected| expected.has_documents_of(&claims)) {
            // Manifests and indexes were listed just now.
            Some(expected) => {
                let configs = claims.iter().map(|claim| claim.config);
                let absent = configs.filter(|config| !content.configs.contains(config)).collect();
                (expected.mapping().documents.clone(), absent, names)
            }
            None => {
                let ((documents, absent), names) =
                    tokio::try_join!(collect(&self.containerd, namespace, &claims), async {
                        Ok(self.containerd.names(namespace, &targets(&claims)).await?)
                    })?;
                (documents, absent, names)
            }
        };
        // Remembered, or collected as garbage since they were listed: nothing is unpacked from what containerd does not have.
        claims.retain(|claim| !absent.contains(&claim.manifest) && !absent.contains(&claim.config));
        for claim in &mut claims {
            claim.indexes.retain(|index| !absent.contains(index));
            claim.names = content.names_of(claim, &names);
        }
        let below = below(&claims, &documents, chain);
        Ok(Mapped { claims, documents, below, ..Mapped::default() })
    }

    /// One part of many images with its documents, and the others beside it.
    pub(crate) async fn part(
        &self,
        namespace: &Namespace,
        chain: &Digest,
        many: &Arc<Many>,
        at: usize,
    ) -> Result<Mapped, MappingError> {
        let (mut claims, alike) = many.part(at);
        let (documents, absent) = collect(&self.containerd, namespace, &claims).await?;
        claims.retain(|claim| !absent.contains(&claim.manifest) && !absent.contains(&claim.config));
        claims.iter_mut().for_each(|claim| claim.indexes.retain(|index| !absent.contains(index)));
        let below = below(&claims, &documents, chain);
        Ok(Mapped { claims, documents, below, alike, many: Some(Arc::clone(many)) })
    }

    /// Names the images and finds which of them have to be examined each time.
    async fn divide(
        &self,
        namespace: &Namespace,
        mut claims: Vec<ImageClaim>,
        content: &Content,
        purpose: Purpose,
    ) -> Result<Many, MappingError> {
        let records = self.containerd.names(namespace, &targets(&claims)).await?;
        claims.iter_mut().for_each(|claim| claim.names = content.names_of(claim, &records));
        match purpose {
            // Layers that are there are those of every image that has them.
            Purpose::Use => return Ok(Many::alike(claims)),
            Purpose::Extraction => {
                let manifests: Vec<Digest> = claims.iter().map(|claim| claim.manifest).collect();
                self.learn_blobs(namespace, &manifests).await?;
            }
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let all = claims.len();
        let divided = Many::divide(claims, |claim| match (known.get(&claim.config)?, blobs.get(&claim.manifest)?) {
            (Layers::Chains(chains), Some(blobs)) => Some((chains.as_ref(), blobs.as_ref())),
            (Layers::Chains(_) | Layers::Unclear | Layers::TooLarge, _) => None,
        });
        let namespace = namespace.as_str().into();
        divided.map_err(|TooOdd { count, manifest }| MappingError::Odd {
            all,
            odd: count,
            manifest: manifest.into(),
            namespace,
        })
    }

    /// Reads the manifests that were never read before and remembers what their layers are. What is not there or too large is
    /// not known.
    async fn learn_blobs(&self, namespace: &Namespace, manifests: &[Digest]) -> Result<(), MappingError> {
        let unknown: Vec<Digest> = {
            let mut known = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() + manifests.len() > MAX_REMEMBERED {
                known.clear();
            }
            manifests.iter().copied().filter(|manifest| !known.contains_key(manifest)).collect()
        };
        for some in unknown.chunks(PARALLEL_READS) {
            let mut reads = tokio::task::JoinSet::new();
            for manifest in some.iter().copied() {
                let (containerd, namespace) = (self.containerd.clone(), namespace.clone());
                reads
                    .spawn(async move { (manifest, containerd.read(&namespace, &manifest, MAX_DOCUMENT_BYTES).await) });
            }
            while let Some(read) = reads.join_next().await {
                let Ok((manifest, bytes)) = read else { continue };
                let found = match bytes {
                    Ok(Some(bytes)) => blobs(&bytes),
                    Ok(None) => continue,
                    Err(ContainerdError::DocumentSize { .. }) => None,
                    Err(error) => return Err(error.into()),
                };
                self.blobs.lock().unwrap_or_else(PoisonError::into_inner).insert(manifest, found);
            }
        }
        Ok(())
    }

    /// Manifests and indexes by their labels; configs have none and are looked for by the digests that are `likely`.
    async fn content(&self, namespace: &Namespace, likely: &[ImageClaim]) -> Result<Content, MappingError> {
        let mut filters = vec![format!("labels.\"{CONFIG_LABEL}\""), format!("labels.\"{MANIFEST_LABEL}0\"")];
        let configs: BTreeSet<Digest> = likely.iter().map(|claim| claim.config).collect();
        filters.extend(configs.iter().map(|config| format!("digest=={config}")));
        let mut content = Content::default();
        let mut present = BTreeSet::new();
        let visit = |info: Info| {
            present.extend(info.digest.parse::<Digest>().ok().filter(|digest| configs.contains(digest)));
            content.add(info);
        };
        self.containerd.list(namespace, filters, visit).await?;
        content.configs = present;
        Ok(content)
    }

    /// The manifests whose configs may contain the chain, with the configs.
    fn claimants(
        &self,
        namespace: &Namespace,
        manifests: &[(Digest, Digest)],
        absent: &BTreeSet<Digest>,
        chain: &Digest,
        purpose: Purpose,
    ) -> Result<Vec<(Digest, Digest)>, MappingError> {
        let prefix = prefix(chain);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for (manifest, config) in manifests.iter().copied() {
            let may_contain = match (known.get(&config), purpose) {
                (Some(Layers::Chains(chains)), purpose) => asks_for(purpose, chains, prefix),
                (Some(Layers::Unclear), purpose) => purpose == Purpose::Extraction,
                (Some(Layers::TooLarge), Purpose::Use) => false,
                (Some(Layers::TooLarge), Purpose::Extraction) => {
                    let namespace = namespace.as_str().into();
                    return Err(MappingError::Config { config: config.into(), manifest: manifest.into(), namespace });
                }
                (None, _) if absent.contains(&config) => false,
                // It was read and is forgotten again.
                (None, _) => return Err(MappingError::Configs),
            };
            if may_contain {
                found.push((manifest, config));
            }
        }
        Ok(found)
    }

    /// Reads the configs that were never read before and remembers what is known of them. Those that are not there yet are
    /// given back: nothing is unpacked from a config that containerd does not have.
    async fn learn(
        &self,
        namespace: &Namespace,
        manifests: &[(Digest, Digest)],
    ) -> Result<BTreeSet<Digest>, MappingError> {
        let unknown: BTreeSet<Digest> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            manifests.iter().map(|(_, config)| *config).filter(|config| !known.contains_key(config)).collect()
        };
        let unknown: Vec<Digest> = unknown.into_iter().collect();
        let mut absent = BTreeSet::new();
        let mut large = Vec::new();
        for some in unknown.chunks(PARALLEL_READS) {
            let mut reads = tokio::task::JoinSet::new();
            for config in some.iter().copied() {
                let (containerd, namespace) = (self.containerd.clone(), namespace.clone());
                reads.spawn(async move { (config, containerd.read(&namespace, &config, MAX_DOCUMENT_BYTES).await) });
            }
            while let Some(read) = reads.join_next().await {
                let Ok((config, bytes)) = read else { continue };
                match bytes {
                    Ok(Some(bytes)) => self.remember(config, Layers::of(&bytes)),
                    Ok(None) => {
                        absent.insert(config);
                    }
                    Err(ContainerdError::DocumentSize { .. }) => large.push(config),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        for config in large {
            match self.containerd.read(namespace, &config, MAX_CONFIG_BYTES).await {
                Ok(Some(bytes)) => self.remember(config, Layers::of(&bytes)),
                Ok(None) => {
                    absent.insert(config);
                }
                Err(ContainerdError::DocumentSize { .. }) => self.remember(config, Layers::TooLarge),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(absent)
    }

    fn remember(&self, config: Digest, layers: Layers) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(config, layers);
    }
}

impl Layers {
    fn of(config: &[u8]) -> Self {
        match chains(config) {
            Reading::Plain(chains) => Self::Chains(chains.iter().map(prefix).collect()),
            Reading::Unclear => Self::Unclear,
        }
    }
}

impl Content {
    fn add(&mut self, info: Info) {
        let Ok(digest) = info.digest.parse::<Digest>() else { return };
        if let Some(at) = info.updated_at {
            self.changed.insert(digest, (at.seconds, at.nanos));
        }
        for (label, value) in info.labels {
            if label == CONFIG_LABEL {
                if let Ok(config) = value.parse() {
                    self.manifests.push((digest, config));
                }
            } else if label.starts_with(MANIFEST_LABEL) {
                if let Ok(child) = value.parse() {
                    self.parents.entry(child).or_default().push(digest);
                }
            } else if let Some(host) = label.strip_prefix(SOURCE_LABEL) {
                self.sources.entry(digest).or_default().push((host.to_owned(), value));
            }
        }
    }

    /// Puts the images first that were pulled last, the manifests of one config together: they are the likeliest to be the one
    /// in question, and only so many are examined.
    fn order(&self, claims: &mut [ImageClaim]) {
        let changed = |claim: &ImageClaim| {
            let all = std::iter::once(&claim.manifest).chain(&claim.indexes);
            all.filter_map(|digest| self.changed.get(digest)).copied().max()
        };
        let mut of_config: HashMap<Digest, Option<(i64, i32)>> = HashMap::new();
        for claim in claims.iter() {
            let newest = of_config.entry(claim.config).or_default();
            *newest = changed(claim).max(*newest);
        }
        claims.sort_by_cached_key(|claim| {
            let newest = of_config.get(&claim.config).copied().flatten();
            (Reverse(newest), claim.config, Reverse(changed(claim)), claim.manifest)
        });
    }

    /// The indexes that lead to a manifest, through other indexes too.
    fn indexes_of(&self, manifest: Digest) -> Result<Vec<Digest>, MappingError> {
        let mut indexes = BTreeSet::new();
        let mut level = vec![manifest];
        for _ in 0..MAX_NESTING {
            level = level.iter().filter_map(|child| self.parents.get(child)).flatten().copied().collect();
            level.retain(|index| indexes.insert(*index));
            if indexes.len() > MAX_INDEXES {
                return Err(MappingError::Indexes(manifest));
            }
        }
        Ok(indexes.into_iter().collect())
    }

    /// Image records that point at the image, and repositories that were asked for it. The records are ordered.
    fn names_of(&self, claim: &ImageClaim, records: &[(Digest, String)]) -> Vec<CandidateName> {
        let mut names = BTreeSet::new();
        for digest in std::iter::once(&claim.manifest).chain(&claim.indexes) {
            let first = records.partition_point(|(target, _)| target < digest);
            let recorded = records.iter().skip(first).take_while(|(target, _)| target == digest).map(|(_, name)| name);
            for name in recorded {
                // CRI also makes a record called as the config's digest; that is an id, not a name.
                if name.parse::<Digest>().is_ok() {
                    continue;
                }
                match name.parse() {
                    Ok(reference) => {
                        names.insert(CandidateName { reference, source: NameSource::ImageRecord });
                    }
                    Err(error) => tracing::debug!(name, %error, "image record has a name that no rule can match"),
                }
            }
            for (host, repositories) in self.sources.get(digest).into_iter().flatten() {
                for path in repositories.split(',') {
                    if let Ok(repository) = Repository::new(host, path) {
                        let reference = ImageRef::from(repository);
                        names.insert(CandidateName { reference, source: NameSource::DistributionSource });
                    }
                }
            }
        }
        names.into_iter().collect()
    }
}

/// Whether an image with these chains is one that is asked for.
fn asks_for(purpose: Purpose, chains: &[u64], wanted: u64) -> bool {
    match purpose {
        Purpose::Extraction => chains.contains(&wanted),
        // What a container is made of is a whole image: layers in the middle of one make none.
        Purpose::Use => chains.last() == Some(&wanted),
    }
}

/// The chain below `chain` in the first of these images that contains it.
fn below(claims: &[ImageClaim], documents: &Documents, chain: &Digest) -> Option<Digest> {
    claims.iter().find_map(|claim| {
        let Reading::Plain(chains) = chains(documents.get(&claim.config)?.bytes()) else { return None };
        let at = chains.iter().position(|candidate| candidate == chain)?;
        chains.get(at.checked_sub(1)?).copied()
    })
}

fn targets(claims: &[ImageClaim]) -> Vec<Digest> {
    let all = claims.iter().flat_map(|claim| std::iter::once(claim.manifest).chain(claim.indexes.iter().copied()));
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Enough of a chain id to find candidates by; a candidate too many is one more claim for the agent to check.
fn prefix(chain: &Digest) -> u64 {
    let first = chain.value().first_chunk().expect("a digest has at least 32 bytes");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests;
