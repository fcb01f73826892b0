//! What of all that is attached to an image is wanted, by the types that registries and manifests give. Types only choose what
//! is fetched; what it is worth is judged by somebody else, and what nobody wants costs no request.

use assay_admission::MediaType;

use crate::referrers::Likelihood;

/// What of an image's evidence is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Signatures. Sigstore bundles that are not said to be attestations come along, for only their content tells them apart.
    Signatures,
    /// Attestations: Sigstore bundles, and envelopes under cosign's tag `sha256-<hex>.att` or among the referrers.
    Attestations,
    /// Both.
    SignaturesAndAttestations,
    /// Both, and the manifests of all other referrers.
    Everything,
}

/// Artifact type of Notary Project signatures.
pub(crate) const NOTARY_SIGNATURE: &str = "application/vnd.cncf.notary.signature";
/// Prefix of all Sigstore bundle types.
pub(crate) const SIGSTORE_BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
const COSIGN_SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const DSSE_ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// What tools call a manifest that holds envelopes.
const ATTESTATION_TYPES: [&str; 3] =
    [DSSE_ENVELOPE, "application/vnd.in-toto+json", "application/vnd.dev.cosign.artifact.att.v1+json"];
/// The predicate type by which cosign says "signed".
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

impl Wanted {
    /// What a referrer is, by its artifact type. `None`: it is not wanted for sure, and is not fetched.
    pub(crate) fn likelihood(self, artifact_type: Option<&str>) -> Option<Likelihood> {
        match artifact_type {
            Some(text) if self.has_type(text) => Some(Likelihood::Signature),
            None | Some("" | EMPTY | MediaType::OCI_CONFIG) => Some(Likelihood::Unknown),
            Some(_) => self.has_others().then_some(Likelihood::Other),
        }
    }

    /// Whether an artifact or config type is that of a manifest with something wanted in it.
    pub(crate) fn has_type(self, text: &str) -> bool {
        let signature = matches!(text, NOTARY_SIGNATURE | COSIGN_SIGNATURE);
        let attestation = ATTESTATION_TYPES.contains(&text);
        text.starts_with(SIGSTORE_BUNDLE)
            || self.has_signatures() && signature
            || self.has_attestations() && attestation
    }

    /// Whether a layer of this type is wanted.
    pub(crate) fn has_layer(self, media_type: &MediaType) -> bool {
        let text = media_type.as_str();
        let signature = matches!(
            text,
            "application/jose+json" | "application/cose" | "application/vnd.dev.cosign.simplesigning.v1+json"
        );
        text.starts_with(SIGSTORE_BUNDLE)
            || self.has_signatures() && signature
            || self.has_attestations() && text == DSSE_ENVELOPE
    }

    /// Whether a bundle that is said to state this is wanted. Nobody signed what is said there: a lie withholds evidence, which
    /// any registry can do, and a large attestation spends nothing that signatures need.
    pub(crate) fn has_predicate_type(self, text: Option<&str>) -> bool {
        match self {
            Self::Signatures => text.is_none_or(|text| text == SIGNED),
            Self::Attestations | Self::SignaturesAndAttestations | Self::Everything => true,
        }
    }

    /// The ends of cosign's tags that are looked under.
    pub(crate) const fn tag_suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Signatures => &["sig"],
            Self::Attestations => &["att"],
            Self::SignaturesAndAttestations | Self::Everything => &["sig", "att"],
        }
    }

    /// Whether manifests are wanted that are neither.
    pub(crate) const fn has_others(self) -> bool {
        match self {
            Self::Signatures | Self::Attestations | Self::SignaturesAndAttestations => false,
            Self::Everything => true,
        }
    }

    const fn has_signatures(self) -> bool {
        match self {
            Self::Signatures | Self::SignaturesAndAttestations | Self::Everything => true,
            Self::Attestations => false,
        }
    }

    const fn has_attestations(self) -> bool {
        match self {
            Self::Attestations | Self::SignaturesAndAttestations | Self::Everything => true,
            Self::Signatures => false,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_types_that_are_surely_something_else_are_passed_over() {
        for text in [
            NOTARY_SIGNATURE,
            "application/vnd.dev.sigstore.bundle.v0.3+json",
            COSIGN_SIGNATURE,
            "application/vnd.dev.sigstore.bundle+json;version=0.2",
        ] {
            assert_eq!(Wanted::Signatures.likelihood(Some(text)), Some(Likelihood::Signature), "{text}");
        }
        for wanted in [Wanted::Signatures, Wanted::Attestations, Wanted::Everything] {
            for text in [None, Some(""), Some(EMPTY), Some(MediaType::OCI_CONFIG)] {
                assert_eq!(wanted.likelihood(text), Some(Likelihood::Unknown), "{text:?}");
            }
        }
        assert_eq!(Wanted::Signatures.likelihood(Some("application/spdx+json")), None);
        assert_eq!(Wanted::Attestations.likelihood(Some("application/spdx+json")), None);
        assert_eq!(Wanted::SignaturesAndAttestations.likelihood(Some("application/spdx+json")), None);
        assert_eq!(Wanted::Everything.likelihood(Some("application/spdx+json")), Some(Likelihood::Other));
    }

    #[test]
    fn who_wants_signatures_gets_no_envelopes_and_who_wants_attestations_no_signatures() {
        let layer = |wanted: Wanted, text: &str| wanted.has_layer(&MediaType::new(text).unwrap());
        for (text, signatures, attestations) in [
            (DSSE_ENVELOPE, false, true),
            ("application/jose+json", true, false),
            ("application/cose", true, false),
            ("application/vnd.dev.cosign.simplesigning.v1+json", true, false),
            ("application/vnd.dev.sigstore.bundle.v0.3+json", true, true),
            ("application/vnd.oci.image.layer.v1.tar", false, false),
        ] {
            assert_eq!(layer(Wanted::Signatures, text), signatures, "{text}");
            assert_eq!(layer(Wanted::Attestations, text), attestations, "{text}");
            assert_eq!(layer(Wanted::Everything, text), signatures || attestations, "{text}");
            assert_eq!(layer(Wanted::SignaturesAndAttestations, text), signatures || attestations, "{text}");
        }
        assert_eq!(Wanted::Attestations.likelihood(Some(NOTARY_SIGNATURE)), None);
        assert_eq!(Wanted::Signatures.likelihood(Some(DSSE_ENVELOPE)), None);
    }
}
