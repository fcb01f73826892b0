//! A second opinion on images: what the strict reader binds, the crate `oci-spec` reads too, and as the same values.

use std::str::FromStr;

use assay_admission::Digest;
use assay_verify::bind;
use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};

use crate::support::*;

fn digest(found: &oci_spec::image::Digest) -> Digest {
    Digest::from_str(found.as_ref()).unwrap()
}

#[test]
fn what_is_bound_is_what_oci_spec_reads() {
    let (documents, claim) = (documents(), claim("amd64"));
    let bound = bind(&claim, &documents, &"linux/amd64".parse().unwrap()).unwrap();

    let manifest = ImageManifest::from_reader(documents[&claim.manifest].bytes()).unwrap();
    assert_eq!(digest(manifest.config().digest()), *bound.config());
    assert_eq!(manifest.layers().len(), bound.chains().len());

    let config = ImageConfiguration::from_reader(documents[&claim.config].bytes()).unwrap();
    assert_eq!(config.architecture().to_string(), bound.platform().architecture());
    let chains = config.rootfs().diff_ids().iter().fold(Vec::<Digest>::new(), |mut chains, diff_id| {
        let diff_id = Digest::from_str(diff_id).unwrap();
        chains.push(match chains.last() {
            None => diff_id,
            Some(below) => Digest::sha256(format!("{below} {diff_id}").as_bytes()),
        });
        chains
    });
    assert_eq!(chains, bound.chains());

    let [index] = bound.indexes() else { panic!("one index") };
    let listed = ImageIndex::from_reader(documents[&index.digest].bytes()).unwrap();
    let entry = listed.manifests().iter().find(|entry| digest(entry.digest()) == bound.manifest().digest).unwrap();
    assert_eq!(
        (entry.size(), entry.media_type().to_string()),
        (bound.manifest().size, bound.manifest().media_type.to_string())
    );
}

#[test]
fn a_document_with_a_key_twice_is_refused_here_whatever_oci_spec_makes_of_it() {
    let (mut documents, claim) = (documents(), claim("amd64"));
    let text = String::from_utf8(documents[&claim.manifest].bytes().to_vec()).unwrap();
    let twice =
        document(assay_admission::MediaType::OCI_MANIFEST, text.replacen('{', r#"{"LAYERS":[],"#, 1).into_bytes());
    let claim = assay_admission::ImageClaim { manifest: *twice.digest(), indexes: Vec::new(), ..claim };
    assert!(ImageManifest::from_reader(twice.bytes()).is_ok());
    documents.insert(*twice.digest(), twice);
    let refused = bind(&claim, &documents, &"linux/amd64".parse().unwrap());
    assert!(matches!(refused, Err(assay_verify::BindError::Malformed { .. })), "{refused:?}");
}
