//! Writes blobs, manifests and signatures to the registry itself, never to a mirror. Where the registry has no referrers
//! API, a signature is listed under the fallback tag, in the layout that cosign and notation read and write.

use std::{collections::BTreeMap, time::Duration};

use assay_admission::{Descriptor, Digest, Document, MediaType};
use hyper::{
    HeaderMap, Method,
    body::Bytes,
    header::{self, HeaderName, HeaderValue},
};
use serde_json::{Value, json};

use crate::{
    caps,
    document::{NewDescriptor, NewManifest},
    error::{Error, Forbidden, Limit, Malformation},
    hosts::Endpoint,
    origin::Url,
    referrers::fallback_tag,
    registry::Remote,
    transport::{Answer, Ask, Redirects},
};

/// A signature to be attached to an image.
#[derive(Clone, Debug)]
pub struct NewReferrer<'a> {
    /// What the signature is for.
    pub subject: &'a Descriptor,
    /// The signature format's artifact type.
    pub artifact_type: &'a str,
    /// Where the manifest says its type.
    pub type_field: TypeField,
    /// The signature's media type.
    pub layer_type: &'a str,
    /// The signature.
    pub layer: &'a [u8],
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// Where a signature manifest says of which type it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeField {
    /// `artifactType`, with the empty config: OCI 1.1, cosign.
    ArtifactType,
    /// `config.mediaType`: OCI 1.0, notation.
    ConfigMediaType,
}

/// How a pushed signature can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// The registry lists it itself (it answered with `OCI-Subject`).
    ByRegistry,
    /// It was added to the index under the fallback tag.
    UnderFallbackTag,
}

/// The empty JSON object, which OCI 1.1 has as the config of what needs none.
const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

impl Remote {
    /// Uploads a blob, unless the registry has it already. Returns its digest.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Forbidden`] if the upload is to go to another origin.
    pub async fn push_blob(&self, content: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::sha256(content);
        let what = self.name(&digest.to_string());
        let endpoint = self.registry()?;
        let there = Ask { method: Method::HEAD, ..Ask::get(self.url(endpoint, &format!("blobs/{digest}")), 0) };
        match self.succeed(endpoint, there, &what).await {
            Ok(_) => return Ok(digest),
            Err(error) if error.ends_collection() => return Err(error),
            // Not there, or a storage that answers no HEAD: the upload itself will tell.
            Err(_) => {}
        }
        let start = write(Method::POST, self.url(endpoint, "blobs/uploads/"), HeaderMap::new(), Bytes::new());
        let answer = self.succeed(endpoint, start, &what).await?;
        let location = answer.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        let upload = location
            .and_then(|location| answer.url.join(location).ok())
            .ok_or_else(|| Error::malformed(&what, Malformation::Header("Location")))?;
        if upload.origin() != answer.url.origin() {
            let (from, to) = (answer.url.to_string(), upload.to_string());
            return Err(Forbidden::OtherOrigin { from, to }.into());
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let upload = upload.with_query([("digest", digest.to_string().as_str())]);
        self.succeed(endpoint, write(Method::PUT, upload, headers, Bytes::copy_from_slice(content)), &what).await?;
        Ok(digest)
    }

    /// Stores a manifest under `tag`, or under its own digest if that is `None`.
    ///
    /// # Errors
    /// [`Error`] if the registry does not take it.
    pub async fn push_manifest(&self, tag: Option<&str>, document: &Document) -> Result<(), Error> {
        self.put_manifest(tag, document).await.map(drop)
    }

    /// Stores a signature as a manifest that refers to its subject, and sees to it that it can be found.
    /// Returns the manifest's descriptor.
    ///
    /// # Errors
    /// [`Error`]; [`Limit::IndexRace`] if others keep changing the fallback tag's index at the same time.
    pub async fn push_referrer(&self, new: &NewReferrer<'_>) -> Result<(Descriptor, Listed), Error> {
        let layer = self.push_blob(new.layer).await?;
        let config = self.push_blob(EMPTY).await?;
        let (artifact_type, config_type) = match new.type_field {
            TypeField::ArtifactType => (Some(new.artifact_type), EMPTY_TYPE),
            TypeField::ConfigMediaType => (None, new.artifact_type),
        };
        let manifest = NewManifest {
            schema_version: 2,
            media_type: MediaType::OCI_MANIFEST,
            artifact_type,
            config: descriptor(config_type, &config, length(EMPTY)),
            layers: vec![descriptor(new.layer_type, &layer, length(new.layer))],
            subject: descriptor(new.subject.media_type.as_str(), &new.subject.digest, new.subject.size),
            annotations: &new.annotations,
        };
        let bytes = serde_json::to_vec(&manifest).expect("strings and numbers always serialise");
        let document = document(MediaType::OCI_MANIFEST, bytes, &self.name(&new.subject.digest.to_string()))?;
        let answer = self.put_manifest(None, &document).await?;
        let descriptor = document.descriptor();
        // distribution-spec, "Pushing Manifests with Subject": no OCI-Subject header, no referrers API.
        if answer.headers.contains_key(OCI_SUBJECT) {
            return Ok((descriptor, Listed::ByRegistry));
        }
        self.list_under_tag(new, &descriptor).await?;
        Ok((descriptor, Listed::UnderFallbackTag))
    }

    /// Adds `descriptor` to the index under the subject's fallback tag. The registry cannot do that in one step, so the
    /// result is read again, and once more when those who had read the index before are done: who lost against another
    /// writer tries again.
    async fn list_under_tag(&self, new: &NewReferrer<'_>, descriptor: &Descriptor) -> Result<(), Error> {
        let tag = fallback_tag(&new.subject.digest);
        let endpoint = self.registry()?;
        let mut may_be_dropped = false;
        for _ in 0..caps::MAX_INDEX_ATTEMPTS {
            let mut index = match self.manifest_at(endpoint, &tag, None).await {
                Ok(document) => self.index(&tag, &document)?,
                Err(Error::NotFound { .. }) => {
                    json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [] })
                }
                Err(error) => return Err(error),
            };
            let digest = descriptor.digest.to_string();
            let list = index.get_mut("manifests").and_then(Value::as_array_mut);
            let list = list.ok_or_else(|| Error::malformed(self.name(&tag), Malformation::Rule("it has no list")))?;
            if list.iter().any(|entry| entry.get("digest").and_then(Value::as_str) == Some(&digest)) {
                if !may_be_dropped {
                    return Ok(());
                }
                let own = descriptor.digest.value().first().copied().unwrap_or_default();
                tokio::time::sleep(caps::INDEX_PAUSE + Duration::from_millis(own.into())).await;
                may_be_dropped = false;
                continue;
            }
            let entry = NewDescriptor {
                media_type: descriptor.media_type.as_str(),
                digest,
                size: descriptor.size,
                annotations: Some(&new.annotations).filter(|annotations| !annotations.is_empty()),
                artifact_type: Some(new.artifact_type),
            };
            list.push(serde_json::to_value(entry).expect("strings and numbers always serialise"));
            let bytes = serde_json::to_vec(&index).expect("a JSON value always serialises");
            self.put_manifest(Some(&tag), &document(MediaType::OCI_INDEX, bytes, &self.name(&tag))?).await?;
            may_be_dropped = true;
        }
        // The last attempt is looked at too.
        let index = self.manifest_at(endpoint, &tag, None).await?;
        let digest = descriptor.digest.to_string();
        if String::from_utf8_lossy(index.bytes()).contains(&digest) {
            Ok(())
        } else {
            Err(Limit::IndexRace(tag).into())
        }
    }

    /// The index as it is, with all fields that other tools have put there.
    fn index(&self, tag: &str, document: &Document) -> Result<Value, Error> {
        if !document.media_type().is_index() {
            return Err(Error::malformed(self.name(tag), Malformation::Rule("referrers are an index")));
        }
        serde_json::from_slice(document.bytes()).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Error::malformed(self.name(tag), Malformation::Json { line, column })
        })
    }

    async fn put_manifest(&self, tag: Option<&str>, document: &Document) -> Result<Answer, Error> {
        let reference = tag.map_or_else(|| document.digest().to_string(), ToOwned::to_owned);
        let what = self.name(&reference);
        let endpoint = self.registry()?;
        let mut headers = HeaderMap::new();
        let media_type = HeaderValue::from_str(document.media_type().as_str())
            .map_err(|_| Error::malformed(&what, Malformation::UnknownType(document.media_type().to_string())))?;
        headers.insert(header::CONTENT_TYPE, media_type);
        let url = self.url(endpoint, &format!("manifests/{reference}"));
        self.succeed(endpoint, write(Method::PUT, url, headers, Bytes::copy_from_slice(document.bytes())), &what).await
    }

    fn registry(&self) -> Result<&Endpoint, Error> {
        self.endpoints().last().ok_or_else(|| self.no_server("push"))
    }
}

/// A redirect is no acceptance: content and credentials go to the registry that was named.
fn write(method: Method, url: Url, headers: HeaderMap, body: Bytes) -> Ask {
    Ask { method, headers, body, redirects: Redirects::Return, ..Ask::get(url, caps::MAX_ERROR_BYTES) }
}

fn descriptor<'a>(media_type: &'a str, digest: &Digest, size: u64) -> NewDescriptor<'a> {
    NewDescriptor { media_type, digest: digest.to_string(), size, annotations: None, artifact_type: None }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn document(media_type: &str, bytes: Vec<u8>, what: &str) -> Result<Document, Error> {
    let unknown = || Error::malformed(what, Malformation::UnknownType(media_type.to_owned()));
    let media_type = MediaType::new(media_type).ok_or_else(unknown)?;
    Document::new(media_type, bytes)
        .map_err(|_| Limit::Size { what: what.to_owned(), cap: caps::MAX_DOCUMENT_BYTES }.into())
}
