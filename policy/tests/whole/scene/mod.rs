//! Real images and real signatures, made in memory: documents that bind, cosign signatures by Ed25519 keys, Notary Project
//! JWS by certificates. What a policy sees of them comes from the verifier alone, as everywhere.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod keyless;
mod rules;
mod signatures;
#[expect(dead_code, reason = "the verifier's tests use all of it")]
#[path = "../../../../verify/tests/verify/sigstore_world.rs"]
pub(crate) mod sigstore_world;
pub(crate) mod support;

use std::collections::BTreeMap;

use assay_admission::{
    CandidateName, Descriptor, Digest, Document, Documents, Gate, ImageClaim, MediaType, NameSource, Outcome, Purpose,
    Reason, UnixTime,
};
use assay_policy::{AskedChain, Case, CaseImage, Collection, Decision, ImageState, Material, Policy, PolicyDocument};
use assay_verify::{
    Artifact, AttestationFindings, BoundImage, Budget, Evidence, Findings, RevocationEvidence, bind, verify,
    verify_attestations,
};
use serde_json::json;

pub(crate) use keyless::{attest, attest_keyless, sign_keyless, trusted_root};
pub(crate) use rules::{ONE, TWO, prod, rule, with};
pub(crate) use signatures::{Authority, Key};

/// The time at which every case is judged: 2026-11-22T10:00:00Z.
pub(crate) const NOW: UnixTime = UnixTime::from_seconds(1_795_341_600);

/// An image in an index.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) manifest: Descriptor,
    pub(crate) index: Descriptor,
    pub(crate) config: Digest,
    /// The chain of its lowest layer.
    pub(crate) chain: Digest,
    claim: ImageClaim,
    documents: Documents,
}

impl Image {
    /// An image whose config differs by `config` and whose layers differ by `layers`.
    pub(crate) fn new(config: &str, layers: &str) -> Self {
        Self::with_foreign_blobs(config, layers, layers)
    }

    /// An image that names the layers `blobs` under the config of the layers `layers`.
    pub(crate) fn with_foreign_blobs(config: &str, layers: &str, blobs: &str) -> Self {
        Self::of_layers(config, &[(layers, blobs)])
    }

    /// An image of layers, the lowest first, each with the text that its diff id and its blob are made of.
    pub(crate) fn of_layers(config: &str, layers: &[(&str, &str)]) -> Self {
        Self::of_typed_layers(config, layers, "application/vnd.oci.image.layer.v1.tar+gzip")
    }

    /// The same under this media type of each layer.
    pub(crate) fn of_typed_layers(config: &str, layers: &[(&str, &str)], layer_type: &str) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|(id, _)| Digest::sha256(id.as_bytes()).to_string()).collect();
        let blobs: Vec<serde_json::Value> = layers
            .iter()
            .map(|(_, blob)| {
                json!({
                    "mediaType": layer_type,
                    "digest": Digest::sha256(format!("{blob} packed").as_bytes()).to_string(), "size": 100,
                })
            })
            .collect();
        let config = document(
            MediaType::OCI_CONFIG,
            &json!({
                "os": "linux", "architecture": "amd64", "author": config,
                "rootfs": { "type": "layers", "diff_ids": diff_ids },
            }),
        );
        let manifest = document(
            MediaType::OCI_MANIFEST,
            &json!({
                "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": descriptor(&config),
                "layers": blobs,
            }),
        );
        let mut entry = descriptor(&manifest);
        entry["platform"] = json!({ "os": "linux", "architecture": "amd64" });
        let index = document(
            MediaType::OCI_INDEX,
            &json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [entry] }),
        );
        let claim = ImageClaim {
            manifest: *manifest.digest(),
            config: *config.digest(),
            indexes: vec![*index.digest()],
            names: Vec::new(),
        };
        Self {
            manifest: manifest.descriptor(),
            index: index.descriptor(),
            config: *config.digest(),
            chain: diff_ids[0].parse().unwrap(),
            claim,
            documents: [config, manifest, index].map(|document| (*document.digest(), document)).into(),
        }
    }

    pub(crate) fn bound(&self) -> BoundImage {
        bind(&self.claim, &self.documents, &"linux/amd64".parse().unwrap()).unwrap()
    }
}

pub(crate) fn document(media_type: &str, value: &serde_json::Value) -> Document {
    Document::new(MediaType::new(media_type).unwrap(), serde_json::to_vec(value).unwrap()).unwrap()
}

pub(crate) fn descriptor(document: &Document) -> serde_json::Value {
    let Descriptor { media_type, digest, size } = document.descriptor();
    json!({ "mediaType": media_type.as_str(), "digest": digest.to_string(), "size": size })
}

/// A name that was asked for.
pub(crate) fn requested(text: &str) -> CandidateName {
    CandidateName { reference: text.parse().unwrap(), source: NameSource::Requested }
}

/// A name that a record of containerd's has.
pub(crate) fn recorded(text: &str) -> CandidateName {
    CandidateName { reference: text.parse().unwrap(), source: NameSource::ImageRecord }
}

/// A repository that a label of containerd's names.
pub(crate) fn labelled(text: &str) -> CandidateName {
    CandidateName { reference: text.parse().unwrap(), source: NameSource::DistributionSource }
}

/// The policy, with the keys `ci.pem`, `releases.pem`, `audit.pem`, the certificates `acme.pem` and the Sigstore
/// root `trusted_root.json` beside it.
pub(crate) fn policy(text: &str) -> Policy {
    match PolicyDocument::parse("policy.toml", text).and_then(|document| document.compile(&material())) {
        Ok(policy) => policy,
        Err(errors) => panic!("{errors}"),
    }
}

pub(crate) fn material() -> Material {
    let mut files: BTreeMap<String, Vec<u8>> = ["ci", "releases", "audit"]
        .into_iter()
        .map(|name| (format!("{name}.pem"), Key::named(name).public_pem().into_bytes()))
        .collect();
    files.insert("trusted_root.json".to_owned(), trusted_root());
    files.insert("acme.pem".to_owned(), Authority::acme().root_pem().into_bytes());
    Material { files, ..Material::default() }
}

/// An image as a case has it: its names, its signatures, and whether all of them were seen.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) image: Image,
    pub(crate) names: Vec<CandidateName>,
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) collection: Collection,
    pub(crate) unbound: Option<Reason>,
    /// Whether its documents are left out of the question.
    pub(crate) is_alike: bool,
    /// What is known of revoked certificates.
    pub(crate) revocation: RevocationEvidence,
}

impl Given {
    pub(crate) fn new(image: &Image, names: &[CandidateName], artifacts: &[Artifact]) -> Self {
        Self {
            image: image.clone(),
            names: names.to_vec(),
            artifacts: artifacts.to_vec(),
            collection: Collection::Complete,
            unbound: None,
            is_alike: false,
            revocation: RevocationEvidence::default(),
        }
    }

    fn attestations(&self, policy: &Policy) -> AttestationFindings {
        match Evidence::new(self.artifacts.clone()) {
            Ok(evidence) => {
                verify_attestations(&self.image.bound(), &evidence, policy.trust(), NOW, &mut Budget::default())
            }
            Err(limit) => AttestationFindings { limit: Some(limit), ..AttestationFindings::default() },
        }
    }

    fn findings(&self, policy: &Policy) -> Findings {
        match Evidence::new(self.artifacts.clone()) {
            Ok(evidence) => {
                let evidence = evidence.with_revocation(self.revocation.clone());
                verify(&self.image.bound(), &evidence, policy.trust(), NOW, &mut Budget::default())
            }
            Err(limit) => Findings { limit: Some(limit), ..Findings::default() },
        }
    }
}

/// Verifies and decides; about a chain, to extract a layer for it.
pub(crate) fn decide(policy: &Policy, gate: Gate, chain: Option<Digest>, given: &[Given]) -> Decision {
    decide_for(policy, gate, chain.map(|id| AskedChain { id, purpose: Purpose::Extraction }), given)
}

/// Verifies and decides.
pub(crate) fn decide_for(policy: &Policy, gate: Gate, chain: Option<AskedChain>, given: &[Given]) -> Decision {
    decide_likely(policy, gate, chain, None, given)
}

/// Verifies and decides; the image with this manifest is probably the one in question.
pub(crate) fn decide_likely(
    policy: &Policy,
    gate: Gate,
    chain: Option<AskedChain>,
    likeliest: Option<Digest>,
    given: &[Given],
) -> Decision {
    let prepared: Vec<(BoundImage, Findings, AttestationFindings)> =
        given.iter().map(|given| (given.image.bound(), given.findings(policy), given.attestations(policy))).collect();
    let images = given
        .iter()
        .zip(&prepared)
        .map(|(given, (image, findings, attestations))| CaseImage {
            manifest: given.image.manifest.digest,
            config: given.image.config,
            names: given.names.clone(),
            state: match &given.unbound {
                _ if given.is_alike => ImageState::Alike(std::slice::from_ref(&given.image.index.digest)),
                Some(reason) => ImageState::Unbound(reason.clone()),
                None => ImageState::Bound { image, findings, attestations, collection: &given.collection },
            },
        })
        .collect();
    policy.decide(&Case { gate, namespace: Some(&"k8s.io".parse().unwrap()), chain, likeliest, images })
}

/// Decides at the unpack gate about the chain of the first image.
pub(crate) fn unpack(policy: &Policy, given: &[Given]) -> Decision {
    decide(policy, Gate::Unpack, given.first().map(|given| given.image.chain), given)
}

/// Decides at the unpack gate about making something of all layers of the first image.
pub(crate) fn start(policy: &Policy, given: &[Given]) -> Decision {
    let top = given.first().and_then(|given| given.image.bound().chains().last().copied());
    decide_for(policy, Gate::Unpack, top.map(|id| AskedChain { id, purpose: Purpose::Use }), given)
}

/// The codes of a denial, or of what would have been one, in order: `deny NO_RULE`, `allow`, `allow (NO_RULE)`.
pub(crate) fn told(decision: &Decision) -> String {
    let codes = |reasons: &mut dyn Iterator<Item = &Reason>| -> String {
        reasons.map(|reason| reason.code.as_str()).collect::<Vec<_>>().join(" ")
    };
    match decision.outcome() {
        Outcome::Allow { would_deny } if would_deny.is_empty() => "allow".to_owned(),
        Outcome::Allow { would_deny } => format!("allow ({})", codes(&mut would_deny.iter())),
        Outcome::Deny { first, others } => format!("deny {}", codes(&mut std::iter::once(first).chain(others))),
    }
}
