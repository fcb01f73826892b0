//! What holds for every case: taking signatures away never admits, junk never refuses, and no order matters.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::scene::{Authority, Given, Image, Key, decide, labelled, policy, requested, start, unpack};
use assay_admission::{CandidateName, DenyCode, Digest, Gate, Reason};
use assay_policy::{Collection, Decision, Policy};
use assay_verify::Artifact;
use proptest::{prelude::*, sample::subsequence};

const POLICY: &str = r#"
version = 1
mode = "enforce"
[keys.ci]
public = "ci.pem"
[keys.releases]
public = "releases.pem"
[keys.releases-again]
public = "releases.pem"
[certificates.acme]
anchors = ["acme.pem"]
[signers.ann]
certificates = "acme"
subject = "C=DE, ST=Berlin, O=Acme, CN=Ann"
[signers.acme]
certificates = "acme"
subject = "C=DE, ST=Berlin, O=Acme"
[[rules]]
name = "one"
images = ["r.example/one/**", "r.example:5000/one/**"]
require = [{ signatures = 1, of = ["ci", "acme"] }]
[[rules]]
name = "two"
images = ["r.example/two/**"]
require = [{ signatures = 2, of = ["ci", "releases", "releases-again", "ann", "acme"] }]
[[rules]]
name = "observed"
images = ["r.example/observed/*"]
require = [{ signatures = 1, of = ["releases"] }]
mode = "observe"
[[rules]]
name = "open"
images = ["r.example/open"]
accept = "unsigned"
[[rules]]
name = "all"
images = ["**"]
require = [{ signatures = 2, of = ["ci", "releases"] }]
subject = "index"
"#;

fn all_names() -> Vec<CandidateName> {
    ["r.example/one/a", "r.example/two/a", "r.example/observed/a", "r.example/open", "x.example/a"]
        .into_iter()
        .map(requested)
        .chain([labelled("r.example/one/a")])
        .collect()
}

/// Signatures that may count, on either document, with and without a repository.
fn all_signatures(image: &Image) -> Vec<Artifact> {
    let mut signatures = Vec::new();
    for subject in [&image.index, &image.manifest] {
        for key in ["ci", "releases"] {
            signatures.push(Key::named(key).sign(subject, ""));
        }
        signatures.push(Key::named("ci").sign(subject, "r.example/one/a"));
        for name in ["Ann", "Bob"] {
            signatures.push(Authority::acme().sign(name, subject, None));
        }
    }
    signatures
}

/// What never counts: strangers' signatures, signatures of something else.
fn all_junk(image: &Image) -> Vec<Artifact> {
    let other = Image::new("junk", "junk");
    let mut junk = vec![
        Key::named("stranger").sign(&image.index, ""),
        Key::named("stranger").sign(&image.manifest, "r.example/one/a"),
        Authority::acme().sign("Ann", &image.manifest, Some("2026-11-22T09:59:59Z")),
    ];
    for mut artifact in [Key::named("ci").sign(&other.index, ""), Authority::acme().sign("Ann", &other.index, None)] {
        artifact.subject = image.index.digest;
        junk.push(artifact);
    }
    junk
}

fn some<T: Clone + std::fmt::Debug + 'static>(all: Vec<T>) -> impl Strategy<Value = Vec<T>> {
    let length = all.len();
    subsequence(all, 0..=length)
}

/// One image; signatures and names are some of all, in their order.
fn one() -> impl Strategy<Value = Given> {
    let image = Image::new("a", "same");
    (some(all_names()), some(all_signatures(&image)))
        .prop_map(move |(names, signatures)| Given::new(&image, &names, &signatures))
}

/// One to five images of one chain: of one config or of several, with one set of blobs or another.
fn several() -> impl Strategy<Value = Vec<Given>> {
    let images = vec![
        Image::new("a", "same"),
        Image::with_foreign_blobs("a", "same", "foreign"),
        Image::new("b", "same"),
        Image::with_foreign_blobs("c", "same", "foreign"),
        Image::of_layers("d", &[("same", "same"), ("top", "top")]),
    ];
    subsequence(images, 1..=5).prop_flat_map(|images| {
        images
            .into_iter()
            .map(|image| {
                (some(all_names()), some(all_signatures(&image)))
                    .prop_map(move |(names, signatures)| Given::new(&image, &names, &signatures))
            })
            .collect::<Vec<_>>()
    })
}

fn gates() -> impl Strategy<Value = Gate> {
    prop_oneof![Just(Gate::Unpack), Just(Gate::Run), Just(Gate::Ask)]
}

fn shown(decision: &Decision) -> String {
    format!("{decision:?}")
}

fn subject() -> Policy {
    policy(POLICY)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn taking_signatures_away_never_admits(given in one(), gate in gates(), keep in any::<u32>()) {
        let policy = subject();
        let before = decide(&policy, gate, None, std::slice::from_ref(&given));
        let mut fewer = given.clone();
        let mut at = 0_u32;
        fewer.artifacts.retain(|_| { at += 1; keep & (1 << at) != 0 });
        let mut failed = fewer.clone();
        failed.collection = Collection::Failed(Vec::new());
        for less in [fewer, failed] {
            let after = decide(&policy, gate, None, &[less]);
            prop_assert!(before.is_allow() || !after.is_allow(), "{before:?}\n{after:?}");
        }
    }

    #[test]
    fn taking_signatures_away_never_admits_a_chain(given in several(), keep in any::<u64>(), unbound in any::<u8>()) {
        let policy = subject();
        let before = unpack(&policy, &given);
        let mut fewer = given.clone();
        let mut at = 0_u32;
        for one in &mut fewer {
            one.artifacts.retain(|_| { at += 1; keep & (1 << (at % 64)) != 0 });
        }
        let mut less_known = given.clone();
        for (at, one) in less_known.iter_mut().enumerate() {
            let reason = Reason::new(DenyCode::EvidenceUnavailable, "x");
            one.unbound = (unbound & (1 << at) != 0).then_some(reason);
        }
        for less in [fewer, less_known] {
            let after = unpack(&policy, &less);
            prop_assert!(before.is_allow() || !after.is_allow(), "{before:?}\n{after:?}");
        }
    }

    #[test]
    fn a_chain_with_foreign_blobs_is_refused_unless_every_image_of_other_blobs_is_admitted(given in several()) {
        let decision = unpack(&subject(), &given);
        let blobs = |manifest: &Digest| {
            let given = given.iter().find(|given| given.image.manifest.digest == *manifest);
            given.unwrap().image.bound().layers().first().copied()
        };
        let admitted: Vec<_> =
            decision.images().iter().filter(|image| image.admitted).map(|image| blobs(&image.manifest)).collect();
        let mut refused = decision.images().iter().filter(|image| !image.admitted).map(|image| blobs(&image.manifest));
        prop_assert!(!decision.is_allow() || refused.all(|blob| admitted.contains(&blob)), "{decision:?}");
    }

    #[test]
    fn what_is_extracted_or_made_of_layers_needs_an_image_that_is_admitted(given in several()) {
        let policy = subject();
        let whole: Vec<Given> = given.into_iter().filter(|given| given.image.bound().chains().len() == 1).collect();
        for decision in [unpack(&policy, &whole), start(&policy, &whole)] {
            prop_assert!(!decision.is_allow() || decision.images().iter().any(|image| image.admitted), "{decision:?}");
        }
    }

    #[test]
    fn without_signatures_nothing_is_made_of_layers_that_a_refused_image_has(given in several()) {
        let policy = subject();
        let mut unsigned: Vec<Given> = given.into_iter().filter(|given| given.image.bound().chains().len() == 1).collect();
        unsigned.iter_mut().for_each(|one| one.artifacts.clear());
        let made = start(&policy, &unsigned);
        prop_assert!(!made.is_allow() || made.images().iter().all(|image| image.admitted), "{made:?}");
    }

    #[test]
    fn leaving_documents_out_never_admits(given in several(), left_out in any::<u8>()) {
        let policy = subject();
        // Only where all blobs are the same may documents be left out.
        let same: Vec<Given> = given
            .into_iter()
            .filter(|given| given.image.bound().layers().first() == Image::new("a", "same").bound().layers().first())
            .collect();
        let mut fewer = same.clone();
        fewer.iter_mut().enumerate().for_each(|(at, given)| given.is_alike = left_out & (1 << at) != 0);
        for decide in [unpack, start] {
            let (before, after) = (decide(&policy, &same), decide(&policy, &fewer));
            prop_assert!(before.is_allow() || !after.is_allow(), "{before:?}\n{after:?}");
        }
    }

    #[test]
    fn junk_never_refuses(given in one(), gate in gates()) {
        let policy = subject();
        let before = decide(&policy, gate, None, std::slice::from_ref(&given));
        let mut more = given.clone();
        more.artifacts.extend(all_junk(&given.image));
        let after = decide(&policy, gate, None, &[more]);
        prop_assert_eq!(before.is_allow(), after.is_allow());
        prop_assert_eq!(before.rule(), after.rule());
        prop_assert_eq!(before.holds_until(), after.holds_until());
    }

    #[test]
    fn a_further_image_or_name_that_is_refused_never_admits(given in several(), drop in any::<prop::sample::Index>()) {
        let policy = subject();
        // Every image of the case alone is refused: so are all of them together.
        let alone = given.iter().any(|one| unpack(&policy, std::slice::from_ref(one)).is_allow());
        prop_assert!(alone || !unpack(&policy, &given).is_allow());
        // No signature anywhere: a case with a name that enforces is refused.
        let mut unsigned = given.clone();
        unsigned.iter_mut().for_each(|one| one.artifacts.clear());
        let at = drop.index(unsigned.len());
        unsigned.get_mut(at).unwrap().names.push(requested("r.example/two/b"));
        prop_assert!(!start(&policy, &unsigned).is_allow());
    }

    #[test]
    fn no_order_changes_anything(given in several(), seed in any::<u64>()) {
        let policy = subject();
        let expected = unpack(&policy, &given);
        let mut turned = given.clone();
        let turn = |length: usize| usize::try_from(seed % 7).unwrap() % length.max(1);
        for one in &mut turned {
            let (names, artifacts) = (turn(one.names.len()), turn(one.artifacts.len()));
            one.names.rotate_left(names);
            one.names.reverse();
            one.artifacts.rotate_left(artifacts);
        }
        let images = turn(turned.len());
        turned.rotate_left(images);
        turned.reverse();
        prop_assert_eq!(shown(&unpack(&policy, &turned)), shown(&expected));
    }
}
