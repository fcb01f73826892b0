//! Chains of many images: what a glance settles, what is left out of a question, and whose signatures are collected first.

use assay_admission::{ImageClaim, Thoroughness};

use super::*;

/// The question about the chain of these images, in this order; of the last `left_out` only digests and names are told.
fn question(images: &[&Image], left_out: usize) -> AdmissionRequest {
    let requests: Vec<AdmissionRequest> = images.iter().map(|image| image.request()).collect();
    let mut claims: Vec<ImageClaim> = requests
        .iter()
        .map(|request| match request.subject() {
            Subject::Chain { images, .. } => images[0].clone(),
            Subject::Image { .. } => panic!("a chain"),
        })
        .collect();
    let alike = claims.split_off(claims.len() - left_out);
    let documents = requests[..claims.len()].iter().flat_map(|request| request.documents().clone()).collect();
    let subject = Subject::Chain { chain: images[0].chain, purpose: Purpose::Extraction, images: claims, alike };
    let (namespace, platform) = ("default".parse().unwrap(), "linux/amd64".parse().unwrap());
    AdmissionRequest::new(Gate::Unpack, namespace, platform, subject, documents).unwrap()
}

#[tokio::test]
async fn a_glance_admits_by_what_is_kept_asks_nobody_and_records_no_refusal() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let image = Image::new("a");
    scene.plays(Fetcher::Brings(vec![scene.signature(&image)]));
    let glance = || image.request().with_thoroughness(Thoroughness::Glance);
    let before = scene.log.head().size;
    let refused = scene.judge.admit(glance(), None).await;
    assert_eq!((code(&refused), refused.record()), (Some(DenyCode::NoSignature), None));
    assert_eq!((scene.asked(), scene.log.head().size), (0, before));
    assert_eq!(scene.judge.counts().denied.load(Ordering::SeqCst), 0);
    // In full it is collected for; then a glance admits too, on record.
    assert_eq!(code(&scene.judge.admit(image.request(), None).await), None);
    let kept = scene.folder.path().join("evidence/subjects").join(format!("{}.json", image.manifest.digest().hex()));
    while !kept.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = scene.log.head().size;
    let admitted = scene.restarted().admit(glance(), None).await;
    assert_eq!((code(&admitted), admitted.record().map(|record| record.index())), (None, Some(before)));
    assert_eq!(scene.asked(), 1);
}

#[tokio::test]
async fn what_a_lenient_rule_would_admit_is_asked_about_in_full() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    scene.apply(2, "observe", true).await;
    let glance = Image::new("a").request().with_thoroughness(Thoroughness::Glance);
    assert_eq!(code(&scene.judge.admit(glance, None).await), Some(DenyCode::EvidencePending));
    assert_eq!(code(&scene.judge.admit(Image::new("a").request(), None).await), None);
}

#[tokio::test]
async fn images_left_out_of_a_question_are_not_examined_and_not_forgotten() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let (signed, other) = (Image::on("a", "base"), Image::on("b", "base"));
    scene.plays(Fetcher::Brings(vec![scene.signature(&signed)]));
    assert_eq!(code(&scene.judge.admit(question(&[&signed, &other], 1), None).await), None);
    let Record::Decision(record) = scene.last_record() else { panic!("not a decision") };
    assert_eq!(record.images.len(), 1);
    // The other way round nobody looks at the signature.
    let judge = scene.restarted();
    let verdict = judge.admit(question(&[&other, &signed], 1), None).await;
    let Outcome::Deny { first, others } = verdict.outcome() else { panic!("{verdict:?}") };
    assert_eq!((first.code, others.last().map(|reason| reason.code)), (DenyCode::NotSatisfied, Some(DenyCode::Limit)));
}

#[tokio::test]
async fn the_likeliest_image_is_collected_for_first_and_alone_if_that_settles_it() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let images: Vec<Image> = (0..40).map(|n| Image::on(&n.to_string(), "base")).collect();
    let mut likeliest: Vec<&Image> = images.iter().collect();
    // Whatever its digests are.
    for _ in 0..3 {
        likeliest.rotate_left(13);
        scene.plays(Fetcher::Brings(vec![scene.signature(likeliest[0])]));
        let before = scene.asked();
        let judge = scene.restarted();
        assert_eq!(code(&judge.admit(question(&likeliest, 0), None).await), None);
        assert!(scene.asked() <= before + 1, "asked {} times", scene.asked() - before);
    }
}

#[tokio::test]
async fn an_answer_to_an_extraction_is_none_to_a_use_and_the_other_way_round() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let image = Image::new("a");
    scene.plays(Fetcher::Brings(vec![scene.signature(&image)]));
    assert_eq!(code(&scene.judge.admit(image.request(), None).await), None);
    for (purpose, from_memory) in [(Purpose::Use, false), (Purpose::Use, true), (Purpose::Extraction, true)] {
        let Subject::Chain { chain, images, alike, .. } = image.request().subject().clone() else { panic!("a chain") };
        let subject = Subject::Chain { chain, purpose, images, alike };
        let (namespace, platform) = ("default".parse().unwrap(), "linux/amd64".parse().unwrap());
        let documents = image.request().documents().clone();
        let request = AdmissionRequest::new(Gate::Unpack, namespace, platform, subject, documents).unwrap();
        let hits = scene.judge.counts().cache_hits.load(Ordering::SeqCst);
        assert_eq!(code(&scene.judge.admit(request, None).await), None);
        assert_eq!(scene.judge.counts().cache_hits.load(Ordering::SeqCst) > hits, from_memory, "{purpose:?}");
    }
}

/// The question about an image, changed before it is asked.
fn changed(image: &Image, purpose: Purpose, change: impl FnOnce(&mut ImageClaim, &mut Documents)) -> AdmissionRequest {
    let asked = image.request();
    let Subject::Chain { chain, mut images, alike, .. } = asked.subject().clone() else { panic!("a chain") };
    let mut documents = asked.documents().clone();
    change(&mut images[0], &mut documents);
    let subject = Subject::Chain { chain, purpose, images, alike };
    AdmissionRequest::new(Gate::Unpack, asked.namespace().clone(), asked.platform().clone(), subject, documents)
        .unwrap()
}

#[tokio::test]
async fn a_name_that_no_rule_covers_does_not_keep_signatures_from_being_asked_for() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let image = Image::new("a");
    let names = |count: u32| {
        // They sort before the name that the rule covers, and are more than are told.
        let more = (0..count).map(|number| CandidateName {
            reference: format!("0.example/x:{number}").parse().unwrap(),
            source: NameSource::ImageRecord,
        });
        changed(&image, Purpose::Use, |claim, _| claim.names.extend(more))
    };
    assert_eq!(code(&scene.judge.admit(names(1), None).await), Some(DenyCode::NoSignature));
    scene.plays(Fetcher::Brings(vec![scene.signature(&image)]));
    assert_eq!(code(&scene.restarted().admit(names(20), None).await), None);
}

#[tokio::test]
async fn an_index_that_lists_a_signed_image_twice_takes_nothing_from_it_and_gives_nothing() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let image = Image::new("a");
    let entry = format!(
        r#"{{"mediaType":"{}","digest":"{}","size":{}}}"#,
        MediaType::OCI_MANIFEST,
        image.manifest.digest(),
        image.manifest.bytes().len()
    );
    let index =
        format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{entry},{entry}]}}"#, MediaType::OCI_INDEX);
    let index = document(MediaType::OCI_INDEX, index.into_bytes());
    let request = || {
        changed(&image, Purpose::Extraction, |claim, documents| {
            claim.indexes.push(*index.digest());
            documents.insert(*index.digest(), index.clone());
        })
    };
    let refused = scene.judge.admit(request(), None).await;
    assert_eq!(code(&refused), Some(DenyCode::NoSignature));
    assert!(refused.because().iter().any(|line| line.ends_with("more than once")), "{refused:?}");
    scene.plays(Fetcher::Brings(vec![scene.signature(&image)]));
    assert_eq!(code(&scene.judge.admit(request(), None).await), None);
    // What is blocked stays blocked.
    let rules = format!(
        "[[blocked]]\ndigest = \"{}\"\nreason = \"x\"\n[[rules]]\nname = \"r\"\nimages = [\"r.example/**\"]\n\
         require = [{{ signatures = 1, of = [\"ci\"] }}]\n",
        index.digest()
    );
    scene.apply_rules(2, "enforce", true, &rules).await;
    assert_eq!(code(&scene.judge.admit(request(), None).await), Some(DenyCode::Blocked));
}

#[tokio::test]
async fn an_image_that_was_unpacked_is_verified_by_digest_without_its_registry_and_no_other_is() {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let (image, other) = (Image::new("a"), Image::new("b"));
    scene.plays(Fetcher::Brings(vec![scene.signature(&image)]));
    assert_eq!(code(&scene.judge.admit(image.request(), None).await), None);
    let kept = scene.folder.path().join("evidence/subjects").join(format!("{}.json", image.manifest.digest().hex()));
    while !kept.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    scene.plays(Fetcher::Fails(DenyCode::EvidenceUnavailable));
    let judge = scene.restarted();
    for (asked, answer) in [(&image, None), (&other, Some(DenyCode::EvidenceUnavailable))] {
        let reference = format!("r.example/app@{}", asked.manifest.digest()).parse().unwrap();
        let name = CandidateName { reference, source: NameSource::Requested };
        let subject = Subject::Image { name, top: Some(*asked.manifest.digest()) };
        let (namespace, platform) = ("default".parse().unwrap(), "linux/amd64".parse().unwrap());
        let request = AdmissionRequest::new(Gate::Ask, namespace, platform, subject, Documents::new()).unwrap();
        assert_eq!(code(&judge.admit(request, None).await), answer);
    }
}
