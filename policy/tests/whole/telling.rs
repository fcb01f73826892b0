//! What a decision tells, in which order, and how much of it at most. None of it changes a verdict; all of it is what a person reads.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::scene::{Authority, Given, Image, Key, ONE, decide_likely, prod, requested, rule, told, unpack, with};
use assay_admission::{CandidateName, DenyCode, Gate, Outcome, Purpose, Reason};
use assay_policy::{AskedChain, Decision};

/// More names than a decision has room for reasons.
fn twenty_names() -> Vec<CandidateName> {
    (0..20).map(|n| requested(&format!("r.example/prod/app{n}"))).collect()
}

/// The reasons of a refusal, in order.
fn refused(decision: &Decision) -> Vec<Reason> {
    let Outcome::Deny { first, others } = decision.outcome() else { panic!("{decision:?}") };
    std::iter::once(first).chain(others).cloned().collect()
}

#[test]
fn no_more_than_sixteen_reasons_are_told_whatever_else_there_is_to_tell() {
    let (good, evil) = (Image::new("a", "same"), Image::with_foreign_blobs("b", "same", "evil"));
    let signed = Given::new(&good, &[requested("r.example/prod/app")], &[Key::named("ci").sign(&good.index, "")]);
    let unsigned = Given::new(&evil, &twenty_names(), &[]);
    let alone = unpack(&prod(), std::slice::from_ref(&unsigned));
    assert_eq!((refused(&alone).len(), alone.images().first().unwrap().reasons.len()), (16, 16));
    // How it stands in the way of the other comes first; asked for by its own name, last.
    let beside = refused(&unpack(&prod(), &[signed.clone(), unsigned.clone()]));
    assert_eq!((beside.len(), beside.first().unwrap().code), (16, DenyCode::AmbiguousConfig));
    let chain = AskedChain { id: good.chain, purpose: Purpose::Extraction };
    let likeliest = Some(evil.manifest.digest);
    let itself =
        refused(&decide_likely(&prod(), Gate::Unpack, Some(chain), likeliest, &[signed.clone(), unsigned.clone()]));
    assert_eq!((itself.len(), itself.last().unwrap().code), (16, DenyCode::AmbiguousConfig));
    // That another one was not looked at comes last too.
    let left_out = Given { is_alike: true, ..Given::new(&Image::new("c", "same"), &[requested("r.example/x")], &[]) };
    let alone = refused(&unpack(&prod(), &[unsigned, left_out]));
    assert_eq!((alone.len(), alone.last().unwrap().code), (16, DenyCode::Limit));
}

#[test]
fn no_more_than_sixteen_reasons_are_told_of_what_is_admitted_all_the_same() {
    let observing = with("observe", &[rule("production", "\"r.example/prod/**\"", ONE)]);
    let image = Image::new("a", "same");
    let would_deny = |given: &[Given]| match unpack(&observing, given).outcome() {
        Outcome::Allow { would_deny } => would_deny.len(),
        Outcome::Deny { .. } => panic!("denied"),
    };
    assert_eq!(would_deny(&[Given::new(&image, &twenty_names(), &[])]), 16);
    let images: Vec<Given> = twenty_names()
        .iter()
        .enumerate()
        .map(|(at, name)| Given::new(&Image::new(&at.to_string(), "same"), std::slice::from_ref(name), &[]))
        .collect();
    assert_eq!(would_deny(&images), 16);
    assert_eq!(would_deny(images.get(..3).unwrap()), 3);
}

/// Two images of one chain, in the order in which a case has them.
fn two() -> [Image; 2] {
    let mut both = [Image::new("a", "same"), Image::new("b", "same")];
    both.sort_by_key(|image| image.config);
    both
}

#[test]
fn of_two_images_that_are_observed_the_one_that_would_be_refused_is_told() {
    let observed = |name: &str| rule(name, &format!("\"r.example/{name}\""), &format!("{ONE}\nmode = \"observe\""));
    let policy = with("enforce", &[observed("first"), observed("second")]);
    let images = two();
    for (signed, told_of) in [(0, "second"), (1, "first")] {
        let given: Vec<Given> = images
            .iter()
            .zip(["r.example/first", "r.example/second"])
            .enumerate()
            .map(|(at, (image, name))| {
                let by = if at == signed { vec![Key::named("ci").sign(&image.index, "")] } else { Vec::new() };
                Given::new(image, &[requested(name)], &by)
            })
            .collect();
        let decision = unpack(&policy, &given);
        assert_eq!((told(&decision).as_str(), decision.rule()), ("allow (NO_SIGNATURE)", Some(told_of)));
    }
}

#[test]
fn of_two_names_that_are_observed_the_one_that_would_be_refused_is_told() {
    let observed = |name: &str, by: &str| {
        let require = format!("require = [{{ signatures = 1, of = [\"{by}\"] }}]\nmode = \"observe\"");
        rule(name, &format!("\"r.example/{name}\""), &require)
    };
    let image = Image::new("a", "a");
    let given = Given::new(
        &image,
        &[requested("r.example/first"), requested("r.example/second")],
        &[Key::named("ci").sign(&image.index, "")],
    );
    for (first, second, told_of) in [("ci", "releases", "second"), ("releases", "ci", "first")] {
        let policy = with("enforce", &[observed("first", first), observed("second", second)]);
        let decision = unpack(&policy, std::slice::from_ref(&given));
        assert_eq!((told(&decision).as_str(), decision.rule()), ("allow (NOT_SATISFIED)", Some(told_of)));
    }
}

#[test]
fn the_sentences_of_the_image_that_decided_come_first() {
    let images = two();
    for signed in images.iter().map(|image| image.index.digest) {
        // One is signed as the rule wants, the other by somebody else, and has the same blobs.
        let given = images.each_ref().map(|image| {
            let key = if image.index.digest == signed { "ci" } else { "releases" };
            Given::new(image, &[requested("r.example/prod/app")], &[Key::named(key).sign(&image.index, "")])
        });
        let decision = unpack(&prod(), &given);
        assert_eq!((told(&decision).as_str(), decision.because().len()), ("allow", 3));
        let [first, second, third] = decision.because() else { panic!("{decision:?}") };
        assert!(first.contains(&format!("key ci signed {signed}")), "{first}");
        assert!(second.contains(&format!("key ci-again signed {signed}")), "{second}");
        assert!(third.starts_with("key releases signed "), "{third}");
    }
}

#[test]
fn sentences_that_are_left_out_are_told_of_and_the_last_one_that_fits_is_not_replaced() {
    let images = two();
    let because = |counts: [usize; 2]| {
        let given: Vec<Given> = images
            .iter()
            .zip(counts)
            .map(|(image, count)| {
                let by: Vec<_> =
                    (0..count).map(|n| Key::named("releases").sign(&image.index, &format!("r.example/{n}"))).collect();
                Given::new(image, &[requested("r.example/prod/app")], &by)
            })
            .collect();
        unpack(&prod(), &given).because().to_vec()
    };
    const LEFT_OUT: &str = "further sentences are left out";
    for (counts, is_all) in [([16, 16], true), ([16, 17], false), ([30, 30], false)] {
        let because = because(counts);
        assert_eq!(because.len(), 32, "{counts:?}");
        assert_eq!(because.last().unwrap() != LEFT_OUT, is_all, "{counts:?}: {because:?}");
        assert!(!because.iter().take(31).any(|text| text == LEFT_OUT));
    }
}

#[test]
fn a_signature_that_nobody_asked_for_does_not_end_an_allow() {
    let image = Image::new("a", "a");
    let name = [requested("r.example/prod/app")];
    let soon = Authority::acme().sign("Ann", &image.manifest, Some("2026-11-22T11:00:00Z"));
    let signed = [Key::named("ci").sign(&image.index, ""), soon];
    let decision = unpack(&prod(), &[Given::new(&image, &name, &signed)]);
    assert_eq!((told(&decision).as_str(), decision.holds_until()), ("allow", None));
}

#[test]
fn a_refusal_names_the_admitted_image_that_is_asked_for_and_not_another_one() {
    let images = two();
    let evil = Image::with_foreign_blobs("c", "same", "evil");
    let mut given: Vec<Given> = images
        .iter()
        .map(|image| Given::new(image, &[requested("r.example/prod/app")], &[Key::named("ci").sign(&image.index, "")]))
        .collect();
    given.push(Given::new(&evil, &[requested("r.example/prod/evil")], &[]));
    for asked in images.map(|image| image.manifest.digest) {
        let chain = AskedChain { id: evil.chain, purpose: Purpose::Extraction };
        let reasons = refused(&decide_likely(&prod(), Gate::Unpack, Some(chain), Some(asked), &given));
        let first = reasons.first().unwrap();
        assert_eq!(first.code, DenyCode::AmbiguousConfig);
        assert!(first.detail.contains(&format!("beside admitted image {asked}")), "{first}");
    }
}
