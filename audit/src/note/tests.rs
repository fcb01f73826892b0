#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;

/// The example in the documentation of Go's golang.org/x/mod/sumdb/note.
const NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

fn verifier_key() -> NoteKey {
    let key = BASE64_STANDARD.decode(VERIFIER.rsplit_once('+').unwrap().1).unwrap();
    NoteKey::from_spki(&[&ED25519_SPKI, &key[1..]].concat()).unwrap()
}

#[test]
fn the_example_note_of_the_go_package_verifies_and_its_changed_twin_does_not() {
    let key = verifier_key();
    assert_eq!(key.verifier_text("PeterNeumann"), VERIFIER);
    let note = Note::parse(NOTE.as_bytes()).unwrap();
    let [line] = &note.signatures[..] else { panic!("one signature") };
    assert_eq!((line.name.as_str(), line.key_id), ("PeterNeumann", key.id("PeterNeumann")));
    assert!(key.verifies(note.text.as_bytes(), &line.signature));
    assert!(!key.verifies(note.text.replace("problem", "Problem").as_bytes(), &line.signature));
    assert_eq!(format!("{}\n{}", note.text, line.line()), NOTE);
}

#[test]
fn malformed_notes_are_refused_for_what_is_wrong_with_them() {
    let line = NOTE.rsplit_once("\n\n").unwrap().1;
    for (note, why) in [
        (String::new(), NoteError::Shape),
        ("text\n".into(), NoteError::Shape),
        (format!("text\n{line}"), NoteError::Shape),
        (format!("text\n\n{}", line.trim_end()), NoteError::Shape),
        (format!("\n\n{line}"), NoteError::Shape),
        (format!("te\u{7}xt\n\n{line}"), NoteError::Bytes),
        (format!("text\r\n\n{line}"), NoteError::Bytes),
        (format!("text\n\n{}", line.replace('\u{2014}', "-")), NoteError::SignatureLine(1)),
        (format!("text\n\n{line}{}", line.replace("PeterNeumann", "Peter+Neumann")), NoteError::SignatureLine(2)),
        (format!("text\n\n{}", line.replace('=', "")), NoteError::SignatureLine(1)),
        ("text\n\n\u{2014} name AAAAAA==\n".into(), NoteError::SignatureLine(1)),
        (format!("text\n\n{}", line.repeat(65)), NoteError::TooManySignatures),
        (format!("{}\n\n{line}", "x".repeat(MAX_NOTE_BYTES)), NoteError::TooLong),
    ] {
        assert_eq!(Note::parse(note.as_bytes()), Err(why), "{:.40}", note);
    }
    assert_eq!(Note::parse(b"\xff\n\n"), Err(NoteError::Bytes));
    assert!(Note::parse(format!("text\n\n{}", line.repeat(64)).as_bytes()).is_ok());
}

#[test]
fn keys_of_other_kinds_and_shapes_are_refused() {
    let good = verifier_key().spki();
    assert_eq!(NoteKey::from_spki(&good), Ok(verifier_key()));
    for bad in [vec![], good[..43].to_vec(), [good.clone(), vec![0]].concat(), good[12..].to_vec()] {
        assert_eq!(NoteKey::from_spki(&bad), Err(NoteError::KeyKind));
    }
    let mut x25519 = good;
    x25519[8] = 0x6e;
    assert_eq!(NoteKey::from_spki(&x25519), Err(NoteError::KeyKind));
}

#[test]
fn integers_of_a_raw_signature_become_der_with_the_fewest_bytes() {
    assert_eq!(integer(&[0, 0]), [2, 1, 0]);
    assert_eq!(integer(&[0, 0x7f]), [2, 1, 0x7f]);
    assert_eq!(integer(&[0, 0x80]), [2, 2, 0, 0x80]);
    assert_eq!(asn1(&[0xff; 64]).len(), 2 + 2 * (2 + 33));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(text in "(\\PC|\n){0,60}", junk in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Note::parse(text.as_bytes());
        let _ = Note::parse(&junk);
        let _ = Note::parse(format!("{text}\n\n\u{2014} {text}\n").as_bytes());
    }

    #[test]
    fn a_note_that_parses_is_written_back_as_it_was(text in "[a-z\n]{0,40}", name in "[a-z./]{1,9}", signature in "[a-z]{5,30}") {
        let note = format!("{text}\n\n\u{2014} {name} {}\n", BASE64_STANDARD.encode(signature));
        if let Ok(parsed) = Note::parse(note.as_bytes()) {
            let lines: String = parsed.signatures.iter().map(NoteSignature::line).collect();
            prop_assert_eq!(format!("{}\n{lines}", parsed.text), note);
        }
    }
}
