//! A panic in any stage of judging an image is a refusal of that image, on record, and nothing else.

use assay_policy::Policy;
use assay_verify::verify;

use super::*;

/// What marks the image for which a stage panics: a stage is a plain function and knows no more than its arguments.
const POISONED: &str = "the image for which a stage panics, and which no other has";

/// Printing a panic with its backtrace may take a while.
const PATIENT: Waits = Waits { verdict: Duration::from_secs(20), ..WAITS };

fn is_poisoned(manifest: &Digest) -> bool {
    *manifest == *Image::new(POISONED).manifest.digest()
}

async fn refuses_that_image_alone(stages: Stages) {
    let scene = Scene::new(Fetcher::Brings(vec![])).await;
    let judge = scene.judge_with(PATIENT, stages);
    let (poisoned, other) = (Image::new(POISONED), Image::new("other"));
    scene.plays(Fetcher::Brings(vec![scene.signature(&poisoned), scene.signature(&other)]));
    for _ in 0..2 {
        assert_eq!(code(&judge.admit(poisoned.request(), None).await), Some(DenyCode::Internal));
        let Record::Decision(record) = scene.last_record() else { panic!("not a decision") };
        assert_eq!((record.outcome, record.reasons[0].code), (RecordedOutcome::Deny, DenyCode::Internal));
        assert_eq!(record.subject, assay_audit::RecordedSubject::Chain(poisoned.chain));
        assert_eq!(code(&judge.admit(other.request(), None).await), None);
    }
    // The very image is admitted where nothing panics: it was the panic that refused it.
    assert_eq!(code(&scene.judge.admit(poisoned.request(), None).await), None);
}

#[tokio::test]
async fn a_panic_in_verification_refuses_that_image_and_the_next_is_judged() {
    refuses_that_image_alone(Stages {
        verify: |image, evidence, trust, at, budget| {
            assert!(!is_poisoned(&image.manifest().digest), "verification panics");
            verify(image, evidence, trust, at, budget)
        },
        ..Stages::REAL
    })
    .await;
}

#[tokio::test]
async fn a_panic_in_the_policy_refuses_that_image_and_the_next_is_judged() {
    refuses_that_image_alone(Stages {
        decide: |policy, case| {
            assert!(!case.images.iter().any(|image| is_poisoned(&image.manifest)), "the policy panics");
            Policy::decide(policy, case)
        },
        ..Stages::REAL
    })
    .await;
}

#[tokio::test]
async fn a_panic_in_collecting_refuses_that_image_and_the_next_is_judged() {
    let scene = Scene::new(Fetcher::Panics).await;
    let judge = scene.judge_with(PATIENT, Stages::REAL);
    let image = Image::new("a");
    assert_eq!(code(&judge.admit(image.request(), None).await), Some(DenyCode::Internal));
    let Record::Decision(record) = scene.last_record() else { panic!("not a decision") };
    assert_eq!(record.outcome, RecordedOutcome::Deny);
    scene.plays(Fetcher::Brings(vec![scene.signature(&image)]));
    assert_eq!(code(&judge.admit(image.request(), None).await), None);
}
