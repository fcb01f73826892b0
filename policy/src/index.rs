//! Finds the most specific scope for a name among very many, without looking at the others: a tree over the parts of a
//! path, walked so that the first scope found is the most specific one (the order is [`Scope`]'s).

use std::collections::{BTreeMap, BTreeSet};

use assay_admission::{CandidateName, Digest, Repository};

use crate::scope::{Part, Place, Scope};

/// Scopes, each leading to the position of its rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScopeIndex {
    /// Scopes with a digest, by that digest.
    pinned: BTreeMap<Digest, Places>,
    unpinned: Places,
}

/// A rule that was found for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub(crate) rule: usize,
    /// Whether the scope is `**`, which holds also what no other scope holds.
    pub(crate) is_catch_all: bool,
}

#[derive(Clone, Debug, Default)]
struct Places {
    /// By host with port, as written in references.
    hosts: BTreeMap<String, Node>,
    /// Hosts with and without port, by their name without port.
    ports: BTreeMap<String, BTreeSet<String>>,
    everywhere: Option<usize>,
}

/// The scopes that have the same parts so far.
#[derive(Clone, Debug, Default)]
struct Node {
    literals: BTreeMap<String, Node>,
    /// By length before and behind the `*`, longest last. Wildcards of equal lengths that match one part are equal, so
    /// each length is one look-up.
    wildcards: BTreeMap<(usize, usize), BTreeMap<String, BTreeMap<String, Node>>>,
    /// What stands behind a `**` here, as a tree from the last part to the first.
    rest: Option<Box<Node>>,
    end: Option<usize>,
}

impl ScopeIndex {
    /// Adds a scope. Scopes are distinct: the document's reader refused equal ones.
    pub(crate) fn insert(&mut self, scope: &Scope, rule: usize) {
        let places = match scope.pin {
            Some(digest) => self.pinned.entry(digest).or_default(),
            None => &mut self.unpinned,
        };
        match &scope.place {
            Place::Everywhere => places.everywhere = Some(rule),
            Place::Host { host, head, tail } => {
                places.ports.entry(host_name(host).to_owned()).or_default().insert(host.clone());
                places.hosts.entry(host.clone()).or_default().insert(head, tail.as_deref(), rule);
            }
        }
    }

    /// The rules for an image with these digests (its manifest first, then its indexes) under `name`; without a name the
    /// catch-all alone. More than one only where the name leaves open which port of a host is meant, or where several
    /// indexes of the image have scopes of their own; empty if no scope holds it.
    pub(crate) fn find(&self, name: Option<&CandidateName>, digests: &[Digest]) -> Vec<Found> {
        let pinned = |digest: &Digest| self.pinned.get(digest).map(|places| places.find(name)).unwrap_or_default();
        let mut found = Vec::new();
        if let Some((manifest, indexes)) = digests.split_first() {
            found = pinned(manifest);
            if found.is_empty() {
                found = indexes.iter().flat_map(pinned).collect();
            }
        }
        if found.is_empty() {
            found = self.unpinned.find(name);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The hosts, with their ports, of all scopes that hold `name`, whose own port is unknown.
    pub(crate) fn hosts_with_port(&self, name: &CandidateName) -> BTreeSet<String> {
        let repository = name.reference.repository();
        let parts: Vec<&str> = repository.path().split('/').collect();
        self.pinned
            .values()
            .chain([&self.unpinned])
            .flat_map(|places| {
                places.ports.get(repository.host_name()).into_iter().flatten().map(move |host| (places, host))
            })
            .filter(|(places, host)| places.hosts.get(*host).is_some_and(|node| node.find(&parts).is_some()))
            .map(|(_, host)| host.clone())
            .collect()
    }
}

impl Places {
    fn find(&self, name: Option<&CandidateName>) -> Vec<Found> {
        let mut found = Vec::new();
        if let Some(name) = name {
            let repository = name.reference.repository();
            let parts: Vec<&str> = repository.path().split('/').collect();
            let hosts = self.hosts_of(name, repository);
            found.extend(hosts.filter_map(|node| node.find(&parts)).map(|rule| Found { rule, is_catch_all: false }));
        }
        if found.is_empty() {
            found.extend(self.everywhere.map(|rule| Found { rule, is_catch_all: true }));
        }
        found
    }

    /// A name whose port is unknown may be of any port that the policy knows.
    fn hosts_of(&self, name: &CandidateName, repository: &Repository) -> impl Iterator<Item = &Node> {
        let any_port = name.port_is_unknown().then(|| self.ports.get(repository.host_name())).flatten();
        let exact = if name.port_is_unknown() { None } else { self.hosts.get(repository.host()) };
        any_port.into_iter().flatten().filter_map(|host| self.hosts.get(host)).chain(exact)
    }
}

/// The host without its port; the colons inside `[…]` are the address's own.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        Some(_) | None => host,
    }
}

impl Node {
    fn insert(&mut self, head: &[Part], tail: Option<&[Part]>, rule: usize) {
        let node = head.iter().fold(self, |node, part| node.child(part));
        match tail {
            None => node.end = Some(rule),
            Some(tail) => {
                let rest = node.rest.get_or_insert_default();
                tail.iter().rev().fold(&mut **rest, |node, part| node.child(part)).end = Some(rule);
            }
        }
    }

    fn child(&mut self, part: &Part) -> &mut Self {
        match part {
            Part::Literal(text) => self.literals.entry(text.clone()).or_default(),
            Part::Wildcard { before, after } => self
                .wildcards
                .entry((before.len(), after.len()))
                .or_default()
                .entry(before.clone())
                .or_default()
                .entry(after.clone())
                .or_default(),
        }
    }

    /// The best scope for the parts that are left, from the left. `**` at the end needs one part at least.
    fn find(&self, parts: &[&str]) -> Option<usize> {
        let Some((first, others)) = parts.split_first() else { return self.end };
        self.children(first)
            .find_map(|node| node.find(others))
            .or_else(|| self.rest.as_ref().and_then(|rest| rest.find_behind(parts)))
    }

    /// The best scope behind a `**`, from the right: the longest and most literal tail; the `**` holds what is left.
    fn find_behind(&self, parts: &[&str]) -> Option<usize> {
        let longer =
            parts.split_last().and_then(|(last, others)| self.children(last).find_map(|node| node.find_behind(others)));
        longer.or(self.end)
    }

    /// The nodes for one part, the most specific first.
    fn children<'a>(&'a self, part: &'a str) -> impl Iterator<Item = &'a Self> {
        let wildcards = self.wildcards.iter().rev().filter_map(move |((before, after), nodes)| {
            let middle = part.len().checked_sub(*after).filter(|middle| middle >= before)?;
            nodes.get(part.get(..*before)?)?.get(part.get(middle..)?)
        });
        self.literals.get(part).into_iter().chain(wildcards)
    }
}

#[cfg(test)]
mod tests;
