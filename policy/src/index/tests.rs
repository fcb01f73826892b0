//! The tree against a plain reading of the order that [`Scope`] documents: every scope tried, the matching ones compared.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::cmp::Ordering;

use assay_admission::NameSource;
use proptest::prelude::*;

use super::*;

fn name(text: &str, source: NameSource) -> CandidateName {
    CandidateName { reference: text.parse().unwrap(), source }
}

fn index(scopes: &[Scope]) -> ScopeIndex {
    let mut index = ScopeIndex::default();
    scopes.iter().enumerate().for_each(|(at, scope)| index.insert(scope, at));
    index
}

fn scopes(texts: &[&str]) -> Vec<Scope> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// The text of the scope that is found for a requested name.
fn found(texts: &[&str], reference: &str) -> Option<String> {
    let scopes = scopes(texts);
    let found = index(&scopes).find(Some(&name(reference, NameSource::Requested)), &[Digest::sha256(b"other")]);
    assert!(found.len() < 2, "{found:?}");
    found.first().map(|found| scopes.get(found.rule).unwrap().to_string())
}

#[test]
fn the_most_specific_scope_wins() {
    let all = [
        "**",
        "r.example/**",
        "r.example/*/app",
        "r.example/prod/**",
        "r.example/prod/*",
        "r.example/prod/a*",
        "r.example/prod/app",
        "r.example/prod/**/db",
        "r.example/prod/**/x/db",
        "r.example/prod/*-web",
    ];
    for (reference, scope) in [
        ("r.example/prod/app", "r.example/prod/app"),
        ("r.example/prod/apps", "r.example/prod/a*"),
        ("r.example/prod/a-web", "r.example/prod/a*"),
        ("r.example/prod/b-web", "r.example/prod/*-web"),
        ("r.example/prod/b", "r.example/prod/*"),
        ("r.example/prod/db", "r.example/prod/*"),
        ("r.example/prod/b/c", "r.example/prod/**"),
        ("r.example/prod/b/db", "r.example/prod/**/db"),
        ("r.example/prod/x/db", "r.example/prod/**/x/db"),
        ("r.example/prod/b/x/db", "r.example/prod/**/x/db"),
        ("r.example/test/app", "r.example/*/app"),
        ("r.example/test", "r.example/**"),
        ("r.example/prod", "r.example/**"),
        ("r.example:5000/prod/app", "**"),
        ("alpine", "**"),
    ] {
        assert_eq!(found(&all, reference).as_deref(), Some(scope), "{reference}");
    }
}

#[test]
fn a_name_outside_every_scope_finds_nothing() {
    let all = ["r.example/prod/**", "r.example:5000/x", "alpine"];
    for reference in
        ["r.example/prod", "r.example/prodx/a", "r.example/x", "r.example:5001/x", "x.r.example/prod/a", "busybox"]
    {
        assert_eq!(found(&all, reference), None, "{reference}");
    }
    assert_eq!(found(&all, "docker.io/alpine:3").as_deref(), Some("docker.io/library/alpine"));
}

#[test]
fn a_name_without_its_port_may_be_of_any_port_and_one_with_it_is_exact() {
    let scopes = scopes(&["r.example:5000/a", "r.example:5001/**", "r.example/b", "**"]);
    let index = index(&scopes);
    let find = |text: &str, source| -> Vec<usize> {
        index.find(Some(&name(text, source)), &[]).iter().map(|found| found.rule).collect()
    };
    assert_eq!(find("r.example/a", NameSource::DistributionSource), [0, 1]);
    assert_eq!(find("r.example/b", NameSource::DistributionSource), [1, 2]);
    assert_eq!(find("r.example/a", NameSource::Requested), [3]);
    assert_eq!(find("r.example/a", NameSource::ImageRecord), [3]);
    assert_eq!(find("r.example:5000/a", NameSource::DistributionSource), [0]);
    assert_eq!(find("other.example/a", NameSource::DistributionSource), [3]);
}

#[test]
fn a_scope_with_the_images_digest_wins_over_every_scope_without() {
    let (manifest, list) = (Digest::sha256(b"manifest"), Digest::sha256(b"index"));
    let scopes = scopes(&[
        "r.example/app",
        &format!("r.example/**@{manifest}"),
        &format!("r.example/app@{list}"),
        &format!("**@{list}"),
    ]);
    let index = index(&scopes);
    let app = name("r.example/app", NameSource::Requested);
    let find = |name: Option<&CandidateName>, digests: &[Digest]| -> Vec<usize> {
        index.find(name, digests).iter().map(|found| found.rule).collect()
    };
    assert_eq!(find(Some(&app), &[manifest, list]), [1]);
    assert_eq!(find(Some(&app), &[Digest::sha256(b"x"), list]), [2]);
    assert_eq!(find(Some(&app), &[Digest::sha256(b"x")]), [0]);
    assert_eq!(find(None, &[manifest, list]), [3]);
    assert_eq!(find(None, &[manifest]), [0; 0]);
}

/// Whether `scope` holds the repository, by trying every way to cut the path at the `**`.
fn holds(scope: &Scope, path: &[&str]) -> bool {
    let Place::Host { head, tail, .. } = &scope.place else { return true };
    let fits = |parts: &[Part], path: &[&str]| {
        parts.len() == path.len() && parts.iter().zip(path).all(|(part, text)| part_holds(part, text))
    };
    match tail {
        None => fits(head, path),
        Some(tail) => {
            let least = usize::from(tail.is_empty());
            path.len() >= head.len() + tail.len() + least
                && fits(head, path.get(..head.len()).unwrap())
                && fits(tail, path.get(path.len() - tail.len()..).unwrap())
        }
    }
}

fn part_holds(part: &Part, text: &str) -> bool {
    match part {
        Part::Literal(literal) => literal == text,
        Part::Wildcard { before, after } => {
            text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
        }
    }
}

/// The documented order; greater is more specific.
fn compare(a: &Scope, b: &Scope) -> Ordering {
    let (Place::Host { head: a, tail: a_tail, .. }, Place::Host { head: b, tail: b_tail, .. }) = (&a.place, &b.place)
    else {
        return matches!(a.place, Place::Host { .. }).cmp(&matches!(b.place, Place::Host { .. }));
    };
    let weight = |part: Option<&Part>| match part {
        None => (0, 0, 0),
        Some(Part::Wildcard { before, after }) => (1, before.len(), after.len()),
        Some(Part::Literal(_)) => (2, 0, 0),
    };
    let by_parts = |a: Vec<&Part>, b: Vec<&Part>| {
        let order = |at: usize| weight(a.get(at).copied()).cmp(&weight(b.get(at).copied()));
        (0..a.len().max(b.len())).map(order).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    by_parts(a.iter().collect(), b.iter().collect()).then_with(|| match (a_tail, b_tail) {
        (Some(a), Some(b)) => by_parts(a.iter().rev().collect(), b.iter().rev().collect()),
        _ => b_tail.is_some().cmp(&a_tail.is_some()),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_tree_finds_what_trying_every_scope_finds(
        texts in proptest::collection::btree_set("r\\.e(/([ab]|ab|a\\*|\\*b|\\*|\\*\\*)){1,4}", 1..12),
        path in "r\\.e(/(a|b|ab|aab|abb)){1,4}",
    ) {
        let scopes: Vec<Scope> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let mut holding: Vec<usize> =
            (0..scopes.len()).filter(|at| holds(&scopes[*at], &parts)).collect();
        holding.sort_by(|a, b| compare(&scopes[*b], &scopes[*a]));
        if let [first, second, ..] = holding.as_slice() {
            prop_assert_eq!(compare(&scopes[*first], &scopes[*second]), Ordering::Greater, "a tie");
        }
        let found = index(&scopes).find(Some(&name(&path, NameSource::Requested)), &[]);
        prop_assert_eq!(found.first().map(|found| found.rule), holding.first().copied());
    }
}
