//! Finds the manifests that refer to an image: the referrers API with its pages, else the fallback tag. A list is not
//! filtered by artifact type alone: tools write types there that say nothing (cosign's fallback index has the empty type).

use std::{collections::HashSet, pin::pin};

use assay_admission::{Descriptor, Digest, MediaType};
use hyper::header;

use crate::{
    caps,
    document::{Entry, Parsed, parse},
    error::{Error, Forbidden, Limit, Malformation},
    hosts::Endpoint,
    registry::{Remote, media_type},
    transport::Ask,
    wanted::Wanted,
};

/// Where a document was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FoundBy {
    /// The image's own name or digest.
    Name,
    /// `GET /v2/<name>/referrers/<digest>`.
    ReferrersApi,
    /// The tag `sha256-<hex>`.
    ReferrersTag,
    /// cosign's tag `sha256-<hex>.sig`, or `.att` for attestations.
    CosignTag,
}

/// A manifest that a list gives as referring to an image, and that may be a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    /// The manifest, as the list describes it.
    pub descriptor: Descriptor,
    /// Where the list was.
    pub found_by: FoundBy,
    /// What its artifact type says.
    pub likelihood: Likelihood,
}

/// What an artifact type says about a referrer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Likelihood {
    /// The type of a known format of what is wanted.
    Signature,
    /// No type, or one that says nothing: the manifest itself has to be read.
    Unknown,
    /// The type of something else.
    Other,
}

/// The referrers of one digest that may be signatures, likely ones first, and what went wrong on the way.
#[derive(Debug, Default)]
pub struct Referrers {
    /// Without duplicates.
    pub found: Vec<Referrer>,
    /// Whatever could not be read.
    pub problems: Vec<Error>,
}

/// Whether a server has the referrers API.
enum Api {
    Present,
    Absent,
}

/// The tag under which registries without the API keep a subject's referrers (distribution-spec, "Referrers Tag Schema"):
/// at most 32 characters of the algorithm and 64 of the value.
pub(crate) fn fallback_tag(subject: &Digest) -> String {
    format!("{}-{}", subject.algorithm(), subject.hex().chars().take(64).collect::<String>())
}

impl Remote {
    /// The manifests that refer to `subject` and may be what is wanted: from the first server that lists any.
    pub async fn referrers(&self, subject: &Digest, wanted: Wanted) -> Referrers {
        let mut result = Referrers::default();
        if !self.endpoints().iter().any(|endpoint| endpoint.resolve) {
            result.problems.push(self.no_server("resolve"));
        }
        for endpoint in self.endpoints().iter().filter(|endpoint| endpoint.resolve) {
            let (entries, outcome, found_by) = self.list(endpoint, subject, wanted).await;
            let ends = outcome.as_ref().is_err_and(Error::ends_collection);
            result.problems.extend(outcome.err());
            sort_out(subject, entries, found_by, wanted, &mut result);
            if ends || !result.found.is_empty() {
                break;
            }
        }
        result
    }

    /// What one server lists, with what ended the list early. Both places are asked at once; the tag counts only where the
    /// server says that it has no API, and what the tag held or lacked elsewhere is not even waited for.
    async fn list(
        &self,
        endpoint: &Endpoint,
        subject: &Digest,
        wanted: Wanted,
    ) -> (Vec<Entry>, Result<(), Error>, FoundBy) {
        let mut listed = Vec::new();
        let mut tagged = None;
        let mut fallback = pin!(self.fallback(endpoint, subject, wanted));
        let api = {
            let mut pages = pin!(self.pages(endpoint, subject, wanted, &mut listed));
            loop {
                tokio::select! {
                    biased;
                    api = &mut pages => break api,
                    found = &mut fallback, if tagged.is_none() => tagged = Some(found),
                }
            }
        };
        match (api, tagged) {
            (Ok(Api::Present), _) => (listed, Ok(()), FoundBy::ReferrersApi),
            (Err(error), _) => (listed, Err(error), FoundBy::ReferrersApi),
            (Ok(Api::Absent), tagged) => {
                let tagged = match tagged {
                    Some(tagged) => tagged,
                    None => fallback.await,
                };
                match tagged {
                    Ok(entries) => (entries, Ok(()), FoundBy::ReferrersTag),
                    Err(error) => (Vec::new(), Err(error), FoundBy::ReferrersTag),
                }
            }
        }
    }

    /// Reads the pages of the referrers API into `entries`.
    async fn pages(
        &self,
        endpoint: &Endpoint,
        subject: &Digest,
        wanted: Wanted,
        entries: &mut Vec<Entry>,
    ) -> Result<Api, Error> {
        let what = self.name(&subject.to_string());
        let mut url = self.url(endpoint, &format!("referrers/{subject}"));
        let mut seen = HashSet::new();
        for _ in 0..caps::MAX_REFERRER_PAGES {
            if !seen.insert(url.clone()) {
                return Err(Limit::PageCycle(*subject).into());
            }
            let mut ask = Ask::get(url.clone(), caps::MAX_DOCUMENT_BYTES);
            ask.headers.insert(header::ACCEPT, header::HeaderValue::from_static(MediaType::OCI_INDEX));
            let first = seen.len() == 1;
            let answer = match self.succeed(endpoint, ask, &what).await {
                // What servers say that do not know the path, or the method on it.
                Err(Error::NotFound { .. } | Error::Status { status: 400 | 405 | 406 | 501, .. }) if first => {
                    return Ok(Api::Absent);
                }
                answer => answer?,
            };
            let media_type = media_type(&answer).filter(|found| found.as_str() == MediaType::OCI_INDEX);
            let Some(media_type) = media_type else {
                // A page for people, with status 200, is what some front ends have for every path they do not know.
                if first {
                    return Ok(Api::Absent);
                }
                return Err(Error::malformed(what, Malformation::Header("Content-Type")));
            };
            match parse(&what, &media_type, &answer.body)? {
                Parsed::Index(page) => entries.extend(page.into_iter().filter(|entry| may_be(wanted, entry))),
                Parsed::Manifest(_) => {
                    return Err(Error::malformed(what, Malformation::Rule("referrers are an index")));
                }
            }
            let links = answer.headers.get_all(header::LINK).iter().filter_map(|value| value.to_str().ok());
            let Some(next) = links.flat_map(next_link).next() else { return Ok(Api::Present) };
            let next = answer.url.join(&next).map_err(|_| Error::malformed(&what, Malformation::Header("Link")))?;
            if next.origin() != url.origin() {
                let (from, to) = (url.to_string(), next.to_string());
                return Err(Forbidden::OtherOrigin { from, to }.into());
            }
            url = next;
        }
        Err(Limit::Pages(*subject).into())
    }

    /// Reads the index under the fallback tag; no such tag is an empty list.
    async fn fallback(&self, endpoint: &Endpoint, subject: &Digest, wanted: Wanted) -> Result<Vec<Entry>, Error> {
        let tag = fallback_tag(subject);
        let document = match self.manifest_at(endpoint, &tag, None).await {
            Err(Error::NotFound { .. }) => return Ok(Vec::new()),
            document => document?,
        };
        match parse(&self.name(&tag), document.media_type(), document.bytes())? {
            Parsed::Index(list) => Ok(list.into_iter().filter(|entry| may_be(wanted, entry)).collect()),
            Parsed::Manifest(_) => Err(Error::malformed(self.name(&tag), Malformation::Rule("referrers are an index"))),
        }
    }
}

fn may_be(wanted: Wanted, entry: &Entry) -> bool {
    wanted.likelihood(entry.artifact_type.as_deref()).is_some()
}

/// Likely signatures first, so that what says nothing of itself cannot push them out of the cap.
fn sort_out(subject: &Digest, entries: Vec<Entry>, found_by: FoundBy, wanted: Wanted, result: &mut Referrers) {
    let mut known = HashSet::new();
    for entry in entries {
        let Some(likelihood) = wanted.likelihood(entry.artifact_type.as_deref()) else { continue };
        match entry.descriptor {
            Some(descriptor) if known.insert(descriptor.digest) => {
                result.found.push(Referrer { descriptor, found_by, likelihood });
            }
            Some(_) => {}
            None if result.problems.len() < caps::MAX_PROBLEMS => result.problems.push(Error::malformed(
                format!("a referrer of {subject}"),
                Malformation::Rule("its descriptor has no valid digest or type"),
            )),
            None => {}
        }
    }
    result.found.sort_by_key(|referrer| referrer.likelihood);
}

/// The targets with `rel="next"` in a `Link` header (RFC 8288 §3).
fn next_link(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some((_, behind)) = rest.split_once('<') {
        let Some((target, behind)) = behind.split_once('>') else { break };
        let parameters = behind.split('<').next().unwrap_or_default();
        let is_next = parameters.split([';', ',']).any(|parameter| {
            parameter.trim().split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
            })
        });
        if is_next {
            found.push(target.to_owned());
        }
        rest = behind;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_link_whose_relation_is_next() {
        assert_eq!(next_link("</v2/a?n=2>; rel=\"next\""), ["/v2/a?n=2"]);
        assert_eq!(next_link("</a>; rel=prev, </b>; title=\"x\"; REL=Next"), ["/b"]);
        for none in ["", "</a>", "</a; rel=next", "</a>; rel=\"prev\"", "rel=next"] {
            assert_eq!(next_link(none), Vec::<String>::new(), "{none}");
        }
    }

    #[test]
    fn a_fallback_tag_is_never_longer_than_a_tag() {
        assert_eq!(fallback_tag(&Digest::sha256(b"")).len(), 71);
        let long: Result<Digest, _> = format!("sha512:{}", "a".repeat(128)).parse();
        assert_eq!(long.map(|digest| fallback_tag(&digest)), Ok(format!("sha512-{}", "a".repeat(64))));
    }
}
