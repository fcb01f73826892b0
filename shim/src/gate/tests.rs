//! The refusal's text; the gate itself is tested behind its socket (`service/tests.rs`).
#![expect(clippy::unwrap_used, reason = "tests")]

use assay_admission::{Mode, RecordId};

use super::*;

#[test]
fn a_refusal_is_one_bounded_line_without_control_characters() {
    let first = Reason::new(DenyCode::NoSignature, "a\nb\u{1b}[31m");
    let outcome = Outcome::Deny { first: first.clone(), others: Vec::new() };
    let because = vec!["é".repeat(4000)];
    let verdict = Verdict::new(outcome, Mode::Enforce, None, because, Some(RecordId::new(3))).unwrap();
    let Refusal { text, own } = refused(&verdict, &first, &[]);
    assert_eq!(own, None);
    assert!(text.starts_with("assay: NO_SIGNATURE: no signature was found for this image (a b [31m); "));
    assert!(text.contains(" [record 3]; é"));
    assert!(text.len() <= MAX_REFUSAL_BYTES && text.ends_with('…'));
    assert!(!text.chars().any(char::is_control));
}

#[tokio::test]
async fn what_the_agent_says_of_a_failed_call_becomes_a_reason() {
    let gate =
        UnpackGate::new(Images::of(Path::new("/n/c")), Agent::at(Path::new("/n/g"), &[0]), Duration::from_secs(3));
    let later = Instant::now() + Duration::from_secs(9);
    for (code, reason) in [
        (Code::Cancelled, "AGENT_UNAVAILABLE"),
        (Code::Unavailable, "AGENT_UNAVAILABLE"),
        (Code::Unknown, "AGENT_UNAVAILABLE"),
        (Code::DeadlineExceeded, "AGENT_UNAVAILABLE"),
        (Code::ResourceExhausted, "LIMIT"),
        (Code::InvalidArgument, "INTERNAL"),
        (Code::Ok, "INTERNAL"),
    ] {
        let Refusal { text, own } = gate.unanswered(&Status::new(code, "x"), later);
        assert!(text.starts_with(&format!("assay: {reason}: ")), "{text}");
        assert_eq!(own.map(|own| own.code.as_str()), Some(reason));
    }
}
