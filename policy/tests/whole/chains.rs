//! What is decided about layers that several images have: what may be extracted, what may be made of layers that are there, and
//! which image a refusal tells of.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::scene::{
    Given, Image, Key, ONE, decide, decide_likely, prod, recorded, requested, rule, start, told, unpack, with,
};
use assay_admission::{DenyCode, Digest, Gate, Outcome, Purpose, Reason};
use assay_policy::{AskedChain, Decision, Policy};

#[test]
fn an_admitted_config_with_foreign_layers_is_refused() {
    let (good, evil) = (Image::new("a", "a"), Image::with_foreign_blobs("a", "a", "evil"));
    assert_eq!(good.config, evil.config);
    let name = [requested("r.example/prod/app")];
    let signed = Given::new(&good, &name, &[Key::named("ci").sign(&good.index, "")]);
    assert_eq!(told(&unpack(&prod(), std::slice::from_ref(&signed))), "allow");
    let foreign = Given::new(&evil, &[requested("x.example/evil")], &[]);
    assert_eq!(told(&unpack(&prod(), &[signed.clone(), foreign.clone()])), "deny AMBIGUOUS_CONFIG NO_RULE");
    assert_eq!(told(&unpack(&prod(), &[foreign, signed])), "deny AMBIGUOUS_CONFIG NO_RULE");
}

#[test]
fn layers_that_an_admitted_image_shares_with_a_refused_one_are_admitted_for_its_sake() {
    let (good, other) = (Image::new("a", "same"), Image::new("b", "same"));
    assert_eq!(good.chain, other.chain);
    let signed = Given::new(&good, &[requested("r.example/prod/app")], &[Key::named("ci").sign(&good.index, "")]);
    let unsigned = Given::new(&other, &[requested("r.example/prod/other")], &[]);
    assert_eq!(told(&unpack(&prod(), &[unsigned.clone(), signed.clone()])), "allow");
    assert_eq!(told(&unpack(&prod(), &[unsigned])), "deny NO_SIGNATURE");
}

/// Decides about the chain of the lowest layer of `images`; the first is signed, the others are not.
fn beside_signed(policy: &Policy, images: &[&Image]) -> (String, Decision) {
    let given: Vec<Given> = images
        .iter()
        .enumerate()
        .map(|(at, image)| match at {
            0 => Given::new(image, &[requested("r.example/prod/app")], &[Key::named("ci").sign(&image.index, "")]),
            _ => Given::new(image, &[requested("r.example/prod/other")], &[]),
        })
        .collect();
    let decision = unpack(policy, &given);
    let turned: Vec<Given> = given.iter().rev().cloned().collect();
    assert_eq!(decision, decide(policy, Gate::Unpack, Some(images.first().unwrap().chain), &turned));
    (told(&decision), decision)
}

#[test]
fn a_rewritten_config_with_foreign_layers_refuses_the_chain_until_it_is_gone() {
    let (good, evil) = (Image::new("a", "same"), Image::with_foreign_blobs("b", "same", "evil"));
    assert_eq!((good.chain, good.config == evil.config), (evil.chain, false));
    let (text, decision) = beside_signed(&prod(), &[&good, &evil]);
    assert_eq!(text, "deny AMBIGUOUS_CONFIG NO_SIGNATURE");
    let Outcome::Deny { first, .. } = decision.outcome() else { panic!() };
    for part in [format!("refused image {}", evil.manifest.digest), format!("content rm {}", evil.manifest.digest)] {
        assert!(first.detail.contains(&part), "{first}");
    }
    assert_eq!(beside_signed(&prod(), &[&good]).0, "allow");
    // Another image that is signed and has the very layers does not make up for it, nor does one more honest one.
    let honest = Image::new("c", "same");
    assert_eq!(beside_signed(&prod(), &[&good, &honest, &evil]).0, "deny AMBIGUOUS_CONFIG NO_SIGNATURE");
    assert_eq!(beside_signed(&prod(), &[&good, &honest]).0, "allow");
    // What a rule lets in is not in the way.
    let lax = rule("lax", "\"r.example/prod/other\"", &format!("{ONE}\nmode = \"observe\""));
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE), lax]);
    assert_eq!(beside_signed(&policy, &[&good, &evil]).0, "allow");
    let observing = with("observe", &[rule("production", "\"r.example/prod/**\"", ONE)]);
    assert_eq!(beside_signed(&observing, &[&good, &evil]).0, "allow (NO_SIGNATURE)");
}

#[test]
fn unsigned_images_on_the_same_base_do_not_refuse_a_signed_one() {
    let on_base = |config: &str, base: &str, top: &str| Image::of_layers(config, &[("base", base), (top, top)]);
    let signed = on_base("a", "base", "app");
    let (web, tools) = (on_base("b", "base", "web"), on_base("c", "base", "tools"));
    assert_eq!(beside_signed(&prod(), &[&signed, &web, &tools]).0, "allow");
    assert_eq!(
        beside_signed(&prod(), &[&signed, &web, &on_base("d", "other", "x")]).0,
        "deny AMBIGUOUS_CONFIG NO_SIGNATURE"
    );
}

#[test]
fn foreign_blobs_above_the_chain_refuse_it_if_that_place_is_shared_and_only_then() {
    let layers = |config: &str, top: (&str, &str)| Image::of_layers(config, &[("base", "base"), top]);
    let signed = layers("a", ("app", "app"));
    // The answer for the base is remembered for every chain that all images share, so the upper one counts already.
    assert_eq!(
        beside_signed(&prod(), &[&signed, &layers("b", ("app", "evil"))]).0,
        "deny AMBIGUOUS_CONFIG NO_SIGNATURE"
    );
    assert_eq!(beside_signed(&prod(), &[&signed, &layers("b", ("other", "evil"))]).0, "allow");
}

#[test]
fn foreign_blobs_stop_an_extraction_and_not_what_is_made_of_layers_that_are_there() {
    let good = Image::new("a", "same");
    let signed = Given::new(&good, &[requested("r.example/prod/app")], &[Key::named("ci").sign(&good.index, "")]);
    for evil in [Image::with_foreign_blobs("a", "same", "evil"), Image::with_foreign_blobs("b", "same", "evil")] {
        let evil = Given::new(&evil, &[requested("r.example/prod/other")], &[]);
        let both = [signed.clone(), evil.clone()];
        assert_eq!(told(&unpack(&prod(), &both)), "deny AMBIGUOUS_CONFIG NO_SIGNATURE");
        assert_eq!(told(&start(&prod(), &both)), "allow");
        assert_eq!(told(&start(&prod(), &[evil.clone(), signed.clone()])), "allow");
        // Pulled while a policy observed, and run under one that enforces: nothing signed has these layers.
        let observing = with("observe", &[rule("production", "\"r.example/prod/**\"", ONE)]);
        assert_eq!(told(&unpack(&observing, std::slice::from_ref(&evil))), "allow (NO_SIGNATURE)");
        assert_eq!(told(&start(&prod(), &[evil])), "deny NO_SIGNATURE");
    }
    // What is admitted for less than signatures still needs every image of the layers.
    let lax = rule("lax", "\"r.example/lax\"", &format!("{ONE}\nmode = \"observe\""));
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE), lax]);
    let other = Image::new("b", "same");
    let [lenient, refused] =
        ["r.example/lax", "r.example/prod/other"].map(|name| Given::new(&other, &[requested(name)], &[]));
    let unsigned = Given::new(&good, &[requested("r.example/lax")], &[]);
    assert_eq!(told(&start(&policy, &[unsigned.clone(), lenient])), "allow (NO_SIGNATURE)");
    assert_eq!(told(&start(&policy, &[unsigned, refused])), "deny NO_SIGNATURE");
}

#[test]
fn layers_in_the_middle_of_a_signed_image_make_nothing() {
    let image = Image::of_layers("a", &[("base", "base"), ("app", "app")]);
    let below = Image::of_layers("b", &[("base", "base")]);
    let signed = Given::new(&image, &[requested("r.example/prod/app")], &[Key::named("ci").sign(&image.index, "")]);
    let unsigned = Given::new(&below, &[requested("r.example/prod/base")], &[]);
    assert_eq!(told(&start(&prod(), std::slice::from_ref(&signed))), "allow");
    assert_eq!(told(&start(&prod(), &[unsigned.clone(), signed.clone()])), "deny NO_SIGNATURE");
    assert_eq!(told(&unpack(&prod(), &[unsigned, signed])), "allow");
}

#[test]
fn one_blob_under_two_media_types_is_two_layers_unless_they_are_names_of_one() {
    let of = |config: &str, layer_type: &str| Image::of_typed_layers(config, &[("same", "same")], layer_type);
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let signed = of("a", gzip);
    for (other, expected) in [
        (gzip, "allow"),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "allow"),
        ("application/vnd.oci.image.layer.v1.tar", "deny AMBIGUOUS_CONFIG NO_SIGNATURE"),
        ("application/vnd.oci.image.layer.v1.tar+zstd", "deny AMBIGUOUS_CONFIG NO_SIGNATURE"),
        ("application/vnd.docker.image.rootfs.diff.tar", "deny AMBIGUOUS_CONFIG NO_SIGNATURE"),
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "deny AMBIGUOUS_CONFIG NO_SIGNATURE"),
    ] {
        assert_eq!(beside_signed(&prod(), &[&signed, &of("b", other)]).0, expected, "{other}");
    }
}

#[test]
fn images_whose_documents_were_left_out_neither_admit_nor_stand_in_the_way() {
    let (good, other) = (Image::new("a", "same"), Image::new("b", "same"));
    let by_ci = |image: &Image| [Key::named("ci").sign(&image.index, "")];
    let signed = Given::new(&good, &[requested("r.example/prod/app")], &by_ci(&good));
    let named = |name: &str| Given { is_alike: true, ..Given::new(&other, &[requested(name)], &by_ci(&other)) };
    let left_out = named("r.example/prod/other");
    assert_eq!(told(&unpack(&prod(), &[signed.clone(), left_out.clone()])), "allow");
    assert_eq!(told(&start(&prod(), &[left_out.clone(), signed.clone()])), "allow");
    // Though it is signed: nobody looked.
    let unsigned = Given::new(&good, &[requested("r.example/prod/app")], &[]);
    let decision = unpack(&prod(), &[left_out.clone(), unsigned]);
    assert_eq!(told(&decision), "deny NO_SIGNATURE LIMIT");
    assert!(
        format!("{decision:?}").contains("2 images have these layers; the signatures of the 1 that"),
        "{decision:?}"
    );
    assert_eq!(told(&unpack(&prod(), std::slice::from_ref(&left_out))), "deny LIMIT LIMIT");
    // One of the same config is in the way as ever.
    let same_config = Given { is_alike: true, ..Given::new(&good, &[requested("r.example/prod/x")], &[]) };
    assert_eq!(told(&unpack(&prod(), &[signed, same_config])), "deny AMBIGUOUS_CONFIG LIMIT");
    // What asks for no signature goes by names alone, and by all of them.
    let lax = rule("lax", "\"r.example/lax/**\"", &format!("{ONE}\nmode = \"observe\""));
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE), lax]);
    let observed = Given::new(&good, &[requested("r.example/lax/app")], &[]);
    assert_eq!(told(&unpack(&policy, &[observed.clone(), named("r.example/lax/other")])), "allow (NO_SIGNATURE LIMIT)");
    assert_eq!(told(&start(&policy, &[observed.clone(), left_out.clone()])), "deny LIMIT LIMIT");
    // Their blobs are the same, so that they do not stop an extraction; alone, they are the reason for none.
    assert_eq!(told(&unpack(&policy, &[observed.clone(), left_out.clone()])), "allow (NO_SIGNATURE)");
    let third = Image::new("c", "same");
    let lax = Given { is_alike: true, ..Given::new(&third, &[requested("r.example/lax/other")], &[]) };
    assert_eq!(told(&unpack(&policy, &[lax, left_out.clone()])), "deny LIMIT LIMIT");
    // What is blocked is blocked.
    for digest in [other.manifest.digest, other.config, other.index.digest] {
        let blocked = format!("[[blocked]]\ndigest = \"{digest}\"\nreason = \"leaks\"\n");
        let policy = with("observe", &[rule("production", "\"r.example/prod/**\"", ONE), blocked]);
        assert_eq!(told(&start(&policy, &[observed.clone(), left_out.clone()])), "deny BLOCKED LIMIT");
        assert_eq!(told(&unpack(&policy, std::slice::from_ref(&left_out))), "deny BLOCKED LIMIT");
    }
}

#[test]
fn a_refused_image_of_unknown_layers_refuses_the_chain() {
    let (good, broken) = (Image::new("a", "same"), Image::new("b", "same"));
    let signed = Given::new(&good, &[requested("r.example/prod/app")], &[Key::named("ci").sign(&good.index, "")]);
    let missing = |name: &str| Given {
        unbound: Some(Reason::new(DenyCode::EvidenceUnavailable, "x")),
        ..Given::new(&broken, &[requested(name)], &[])
    };
    let decision = unpack(&prod(), &[signed.clone(), missing("r.example/prod/other")]);
    assert_eq!(told(&decision), "deny AMBIGUOUS_CONFIG EVIDENCE_UNAVAILABLE");
    let lax = rule("lax", "\"r.example/lax\"", &format!("{ONE}\nmode = \"observe\""));
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE), lax]);
    assert_eq!(told(&unpack(&policy, &[signed.clone(), missing("r.example/lax")])), "allow");
    assert_eq!(told(&unpack(&prod(), &[signed, Given::new(&broken, &[], &[])])), "allow");
}

#[test]
fn layers_pulled_under_a_lax_name_make_nothing_beside_an_image_that_is_refused() {
    let (lax, strict) = (Image::new("a", "same"), Image::new("b", "same"));
    let open = rule("sandbox", "\"r.example/sandbox/**\"", &format!("{ONE}\nmode = \"observe\""));
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE), open]);
    let sandbox = Given::new(&lax, &[requested("r.example/sandbox/app")], &[]);
    assert_eq!(told(&start(&policy, std::slice::from_ref(&sandbox))), "allow (NO_SIGNATURE)");
    let production = Given::new(&strict, &[requested("r.example/prod/app")], &[]);
    let decision = start(&policy, &[sandbox.clone(), production]);
    assert_eq!((told(&decision).as_str(), decision.rule()), ("deny NO_SIGNATURE", Some("production")));
    assert!(decision.because().iter().any(|text| text.contains("counts only if image")), "{:?}", decision.because());
    let signed = Key::named("ci").sign(&strict.index, "");
    let production = Given::new(&strict, &[requested("r.example/prod/app")], &[signed]);
    assert_eq!(told(&start(&policy, &[sandbox, production])), "allow");
    // One image under both names is one that the stricter rule refuses.
    let both = [requested("r.example/sandbox/app"), requested("r.example/prod/app")];
    for decide in [unpack, start] {
        assert_eq!(told(&decide(&policy, &[Given::new(&lax, &both, &[])])), "deny NO_SIGNATURE");
    }
}

#[test]
fn an_image_admitted_without_signatures_is_extracted_beside_a_refused_one_of_the_same_blobs_and_no_other() {
    for (rest, expected) in [
        ("accept = \"unsigned\"".to_owned(), "allow"),
        (format!("{ONE}\nmode = \"observe\""), "allow (NO_SIGNATURE)"),
        (format!("{ONE}\nmode = \"warn\""), "allow (NO_SIGNATURE)"),
    ] {
        let open = rule("open", "\"r.example/open/**\"", &rest);
        let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE), open]);
        let on_base = |config: &str, base: &str, top: (&str, &str)| Image::of_layers(config, &[("base", base), top]);
        let own = on_base("a", "base", ("app", "app"));
        let admitted = Given::new(&own, &[requested("r.example/open/app")], &[]);
        let beside = |other: &Image| {
            let refused = Given::new(other, &[requested("r.example/prod/other")], &[]);
            assert_eq!(told(&unpack(&policy, std::slice::from_ref(&refused))), "deny NO_SIGNATURE");
            told(&unpack(&policy, &[admitted.clone(), refused]))
        };
        assert_eq!(beside(&on_base("b", "base", ("web", "web"))), expected);
        assert_eq!(beside(&on_base("b", "base", ("app", "app"))), expected);
        // Another blob for a layer that both have: this one, or one above it.
        assert_eq!(beside(&on_base("b", "evil", ("web", "web"))), "deny AMBIGUOUS_CONFIG NO_SIGNATURE");
        assert_eq!(beside(&on_base("b", "base", ("app", "evil"))), "deny AMBIGUOUS_CONFIG NO_SIGNATURE");
        // Its own config, copied.
        assert_eq!(beside(&on_base("a", "evil", ("app", "app"))), "deny AMBIGUOUS_CONFIG NO_SIGNATURE");
        // Nothing is known of the blobs of one of the two.
        let unknown = |name: &str, image: &Image| Given {
            unbound: Some(Reason::new(DenyCode::EvidenceUnavailable, "x")),
            ..Given::new(image, &[requested(name)], &[])
        };
        let web = on_base("b", "base", ("web", "web"));
        let beside_unknown = unpack(&policy, &[admitted.clone(), unknown("r.example/prod/other", &web)]);
        assert_eq!(told(&beside_unknown), "deny AMBIGUOUS_CONFIG EVIDENCE_UNAVAILABLE");
        let refused = Given::new(&web, &[requested("r.example/prod/other")], &[]);
        assert!(!unpack(&policy, &[unknown("r.example/open/app", &own), refused]).is_allow());
    }
}

#[test]
fn a_refusal_tells_first_of_the_image_in_question_and_how_to_remove_what_is_in_its_way() {
    let (good, evil) = (Image::new("a", "same"), Image::with_foreign_blobs("b", "same", "evil"));
    let signed = Given::new(&good, &[requested("r.example/prod/app")], &[Key::named("ci").sign(&good.index, "")]);
    let foreign = Given::new(&evil, &[recorded("r.example/prod/other:1")], &[]);
    let asked = |likeliest: &Image, given: &[Given]| {
        let chain = AskedChain { id: good.chain, purpose: Purpose::Extraction };
        let decision = decide_likely(&prod(), Gate::Unpack, Some(chain), Some(likeliest.manifest.digest), given);
        let Outcome::Deny { first, others: _ } = decision.outcome() else { panic!("{decision:?}") };
        (told(&decision), first.detail.clone())
    };
    let (codes, detail) = asked(&evil, &[signed.clone(), foreign.clone()]);
    assert_eq!(codes, "deny NO_SIGNATURE AMBIGUOUS_CONFIG");
    assert!(detail.starts_with("r.example/prod/other"), "{detail}");
    let (codes, detail) = asked(&good, &[signed.clone(), foreign]);
    assert_eq!(codes, "deny AMBIGUOUS_CONFIG NO_SIGNATURE");
    assert!(detail.ends_with("`ctr -n k8s.io images rm --sync r.example/prod/other:1`"), "{detail}");
    let nameless = Given::new(&evil, &[requested("r.example/prod/other")], &[]);
    let (_, detail) = asked(&good, &[signed, nameless]);
    assert!(detail.ends_with(&format!("`ctr -n k8s.io content rm {}`", evil.manifest.digest)), "{detail}");
    // Of two that are refused, the one in question.
    let [one, two] = ["one", "two"].map(|name| {
        let image = Image::new(name, "same");
        let given = Given::new(&image, &[requested(&format!("r.example/prod/{name}"))], &[]);
        (image, given)
    });
    for (image, name) in [(&one.0, "r.example/prod/one "), (&two.0, "r.example/prod/two ")] {
        let (codes, detail) = asked(image, &[one.1.clone(), two.1.clone()]);
        assert_eq!(codes, "deny NO_SIGNATURE");
        assert!(detail.starts_with(name), "{detail}");
    }
}

#[test]
fn an_image_that_needs_no_signature_and_may_not_start_is_told_beside_which_other_image() {
    let open = rule("open", "\"r.example/open/**\"", "accept = \"unsigned\"");
    let policy = with("enforce", &[rule("production", "\"r.example/prod/**\"", ONE), open]);
    let (own, other) = (Image::new("a", "same"), Image::new("b", "same"));
    let given = [
        Given::new(&own, &[requested("r.example/open/app")], &[]),
        Given::new(&other, &[recorded("r.example/prod/app:1")], &[]),
    ];
    let chain = AskedChain { id: own.chain, purpose: Purpose::Use };
    let decision = decide_likely(&policy, Gate::Unpack, Some(chain), Some(own.manifest.digest), &given);
    assert_eq!(told(&decision), "deny AMBIGUOUS_CONFIG NO_SIGNATURE");
    let Outcome::Deny { first, .. } = decision.outcome() else { panic!("{decision:?}") };
    assert!(first.detail.ends_with("`ctr -n k8s.io images rm --sync r.example/prod/app:1`"), "{first}");
}

#[test]
fn a_chain_that_nobody_knows_is_refused_where_anything_enforces() {
    let chain = Some(Digest::sha256(b"unknown"));
    assert_eq!(told(&decide(&prod(), Gate::Unpack, chain, &[])), "deny UNKNOWN_CHAIN");
    let mode = |policy: &str, rule_mode: &str| {
        let one = rule("production", "\"r.example/prod/**\"", &format!("{ONE}\nmode = \"{rule_mode}\""));
        told(&decide(&with(policy, &[one]), Gate::Unpack, chain, &[]))
    };
    assert_eq!(mode("observe", "enforce"), "deny UNKNOWN_CHAIN");
    assert_eq!(mode("enforce", "observe"), "deny UNKNOWN_CHAIN");
    assert_eq!(mode("observe", "warn"), "allow (UNKNOWN_CHAIN)");
}

#[test]
fn a_snapshot_on_no_layers_is_refused_with_a_reason_of_its_own() {
    let nothing = decide(&prod(), Gate::Unpack, Some(Digest::sha256(b"")), &[]);
    let Outcome::Deny { first, .. } = nothing.outcome() else { panic!("{nothing:?}") };
    assert_eq!(first.code, DenyCode::UnknownChain);
    assert!(
        first.detail.contains("the image has no layers (build it with at least one), or the snapshot was made by hand"),
        "{}",
        first.detail
    );
    let unknown = decide(&prod(), Gate::Unpack, Some(Digest::sha256(b"x")), &[]);
    let Outcome::Deny { first, .. } = unknown.outcome() else { panic!("{unknown:?}") };
    assert_eq!(first, &Reason::new(DenyCode::UnknownChain, Digest::sha256(b"x").to_string()));
}
