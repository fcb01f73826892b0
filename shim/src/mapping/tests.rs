//! What containerd's labels say of manifests, indexes and names.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

fn content(blobs: &[(&str, &[(&str, String)])]) -> Content {
    let mut content = Content::default();
    for (name, labels) in blobs {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        content.add(Info { digest: digest(name).to_string(), labels, ..Info::default() });
    }
    content
}

fn child(at: usize, name: &str) -> (String, String) {
    (format!("{MANIFEST_LABEL}{at}"), digest(name).to_string())
}

#[test]
fn indexes_are_found_through_other_indexes_and_cycles_end() {
    let (label, manifest) = child(0, "m");
    let (_, inner) = child(0, "inner");
    let (_, outer) = child(0, "outer");
    let content = content(&[
        ("inner", &[(&label, manifest), (&format!("{MANIFEST_LABEL}1"), outer)]),
        ("outer", &[(&label, inner)]),
    ]);
    let mut expected = vec![digest("inner"), digest("outer")];
    expected.sort_unstable();
    assert_eq!(content.indexes_of(digest("m")).unwrap(), expected);
    assert_eq!(content.indexes_of(digest("x")).unwrap(), []);
}

#[test]
fn more_indexes_than_are_looked_at_are_an_error() {
    let mut content = Content::default();
    for n in 0..=MAX_INDEXES {
        content.parents.entry(digest("m")).or_default().push(digest(&n.to_string()));
    }
    assert_eq!(content.indexes_of(digest("m")), Err(MappingError::Indexes(digest("m"))));
    content.parents.get_mut(&digest("m")).unwrap().pop();
    assert_eq!(content.indexes_of(digest("m")).unwrap().len(), MAX_INDEXES);
}

#[test]
fn names_come_from_records_and_sources_and_ids_are_no_names() {
    let content = content(&[(
        "m",
        &[
            (CONFIG_LABEL, digest("c").to_string()),
            ("containerd.io/distribution.source.docker.io", "library/a,team/b,../c".to_owned()),
            ("containerd.io/snapshot/cri.image-ref", "r.example/forged:1".to_owned()),
        ],
    )]);
    assert_eq!(content.manifests, [(digest("m"), digest("c"))]);
    let claim =
        ImageClaim { manifest: digest("m"), config: digest("c"), indexes: vec![digest("i")], names: Vec::new() };
    let mut records = [
        (digest("i"), "r.example:5000/app:1".to_owned()),
        (digest("i"), digest("c").to_string()),
        (digest("other"), "r.example/other:1".to_owned()),
        (digest("m"), "NOT A NAME".to_owned()),
    ];
    records.sort_unstable();
    let names: Vec<String> = content.names_of(&claim, &records).iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "docker.io/library/a (distribution-source)",
            "docker.io/team/b (distribution-source)",
            "r.example:5000/app:1 (image-record)",
        ]
    );
}
