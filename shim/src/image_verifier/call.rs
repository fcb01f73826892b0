//! One call as containerd makes it: `-name REF -digest DIGEST -stdin-media-type TYPE` and a descriptor on standard input.
//! What is unknown, missing, twice or contradictory is refused by name; nothing is guessed.

use std::{ffi::OsString, io::Read};

use assay_admission::{CandidateName, DenyCode, Digest, MAX_DOCUMENT_BYTES, MediaType, NameSource, Subject};
use serde::Deserialize;

use crate::refusal::shown;

/// What standard input has to be.
const DESCRIPTOR: &str = "application/vnd.oci.descriptor.v1+json";
/// Most bytes of standard input: containerd's descriptor has some 200.
const MAX_STDIN_BYTES: u64 = 64 << 10;

/// An image that containerd is about to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The name that was asked for, tag and port included.
    pub(super) name: CandidateName,
    /// The index or manifest that the name led containerd to.
    top: Digest,
}

/// Why a call is refused before anybody is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallError {
    pub(super) code: DenyCode,
    pub(super) detail: String,
    /// The image's name, as far as it was told.
    pub(super) about: String,
}

#[derive(Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
    size: u64,
}

/// The words of the command line, each as it was given.
#[derive(Default)]
struct Words {
    name: Option<String>,
    digest: Option<String>,
    stdin_media_type: Option<String>,
}

impl Call {
    /// Reads a call.
    ///
    /// # Errors
    /// [`CallError`] naming the option or field.
    pub(super) fn read(arguments: Vec<OsString>, stdin: impl Read) -> Result<Self, CallError> {
        let mut words = Words::default();
        let call = words.fill(arguments).and_then(|()| words.check(stdin));
        call.map_err(|(code, detail)| CallError { code, detail, about: words.name.unwrap_or_default() })
    }

    /// What the agent is asked about.
    pub(super) fn into_subject(self) -> Subject {
        Subject::Image { name: self.name, top: Some(self.top) }
    }
}

type Refused = (DenyCode, String);

impl Words {
    fn fill(&mut self, arguments: Vec<OsString>) -> Result<(), Refused> {
        let mut arguments = arguments.into_iter();
        while let Some(word) = arguments.next() {
            let word = text(word)?;
            // As Go's flag package reads them: one dash or two, the value behind `=` or next.
            let option = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
            let (option, value) = match option.map(|option| option.split_once('=').ok_or(option)) {
                Some(Ok((option, value))) => (option, Some(value.to_owned())),
                Some(Err(option)) => (option, None),
                None => return Err(called_wrong(format!("with {}, which is no option", shown(&word)))),
            };
            let place = match option {
                "name" => &mut self.name,
                "digest" => &mut self.digest,
                "stdin-media-type" => &mut self.stdin_media_type,
                _ => return Err(called_wrong(format!("with {}, which it does not know", shown(&word)))),
            };
            if place.is_some() {
                return Err(called_wrong(format!("with -{option} twice")));
            }
            let value = match value {
                Some(value) => value,
                None => match arguments.next() {
                    Some(value) => text(value)?,
                    None => return Err(called_wrong(format!("with -{option} and no value"))),
                },
            };
            *place = Some(value);
        }
        Ok(())
    }

    fn check(&self, stdin: impl Read) -> Result<Call, Refused> {
        let missing = |option: &str| called_wrong(format!("without -{option}"));
        let name = self.name.as_deref().ok_or_else(|| missing("name"))?;
        let digest = self.digest.as_deref().ok_or_else(|| missing("digest"))?;
        let stdin_type = self.stdin_media_type.as_deref().ok_or_else(|| missing("stdin-media-type"))?;
        if stdin_type != DESCRIPTOR {
            return Err(called_wrong(format!("with -stdin-media-type {}, it reads {DESCRIPTOR}", shown(stdin_type))));
        }
        let malformed = |detail: String| (DenyCode::Malformed, detail);
        let reference = name.parse().map_err(|error| malformed(format!("image name {}: {error}", shown(name))))?;
        let top: Digest = digest.parse().map_err(|error| malformed(format!("-digest {}: {error}", shown(digest))))?;
        let descriptor = descriptor(stdin)?;
        let described: Digest = descriptor
            .digest
            .parse()
            .map_err(|error| malformed(format!("the descriptor's digest {}: {error}", shown(&descriptor.digest))))?;
        if described != top {
            return Err(malformed(format!("-digest is {top}, the descriptor's digest is {described}")));
        }
        let is_image = MediaType::new(&descriptor.media_type).is_some_and(|kind| kind.is_index() || kind.is_manifest());
        if !is_image {
            let kind = shown(&descriptor.media_type);
            return Err(malformed(format!("{top} has media type {kind}, which is no image index or manifest")));
        }
        if usize::try_from(descriptor.size).is_ok_and(|size| size <= MAX_DOCUMENT_BYTES) {
            return Ok(Call { name: CandidateName { reference, source: NameSource::Requested }, top });
        }
        let detail = format!("{top} has {} bytes, at most {MAX_DOCUMENT_BYTES} are looked at", descriptor.size);
        Err((DenyCode::Limit, detail))
    }
}

fn descriptor(stdin: impl Read) -> Result<Descriptor, Refused> {
    let mut bytes = Vec::new();
    stdin
        .take(MAX_STDIN_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| (DenyCode::Internal, format!("the descriptor on standard input cannot be read: {error}")))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_STDIN_BYTES) {
        return Err((
            DenyCode::Limit,
            format!("the descriptor on standard input has more than {MAX_STDIN_BYTES} bytes"),
        ));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| (DenyCode::Malformed, format!("standard input is no descriptor: {error}")))
}

fn text(word: OsString) -> Result<String, Refused> {
    word.into_string()
        .map_err(|word| called_wrong(format!("with {}, which is no UTF-8", shown(&word.to_string_lossy()))))
}

/// Not as containerd's image verifier directory calls, as far as it is known.
fn called_wrong(how: String) -> Refused {
    (DenyCode::Internal, format!("the pull gate was called {how}"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";
    const OTHER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000002";
    const NAME: &str = "127.0.0.1:5000/prod/app:1";

    fn read(words: &[&str], stdin: &str) -> Result<Call, CallError> {
        Call::read(words.iter().map(OsString::from).collect(), stdin.as_bytes())
    }

    fn described(kind: &str, digest: &str, size: u64) -> String {
        format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
    }

    fn good() -> [&'static str; 6] {
        ["-name", NAME, "-digest", DIGEST, "-stdin-media-type", DESCRIPTOR]
    }

    #[test]
    fn containerds_call_is_understood_with_the_name_exactly_as_given() {
        for kind in [MediaType::OCI_INDEX, MediaType::OCI_MANIFEST, MediaType::DOCKER_INDEX, MediaType::DOCKER_MANIFEST]
        {
            let call = read(&good(), &described(kind, DIGEST, 500)).unwrap();
            assert_eq!(call.name.to_string(), format!("{NAME} (requested)"));
            assert_eq!(call.into_subject(), read(&good(), &described(kind, DIGEST, 500)).unwrap().into_subject());
        }
        let (name, digest) = (format!("--name={NAME}"), format!("-digest={DIGEST}"));
        let words = [digest.as_str(), "--stdin-media-type", DESCRIPTOR, name.as_str()];
        assert_eq!(read(&words, &described(MediaType::OCI_INDEX, DIGEST, 500)).unwrap().top.to_string(), DIGEST);
    }

    #[test]
    fn what_is_unknown_missing_twice_or_valueless_is_refused_by_name() {
        let stdin = described(MediaType::OCI_INDEX, DIGEST, 500);
        let with = |more: &[&'static str]| [good().as_slice(), more].concat();
        for (words, named) in [
            (with(&["-platform", "linux/amd64"]), "\"-platform\", which it does not know"),
            (with(&["name"]), "\"name\", which is no option"),
            (with(&["-name", "r.example/b"]), "-name twice"),
            (with(&["-name=r.example/b"]), "-name twice"),
            (vec!["-name", NAME, "-digest", DIGEST, "-stdin-media-type"], "-stdin-media-type and no value"),
            (good().get(2..).unwrap().to_vec(), "without -name"),
            (good().get(..4).unwrap().to_vec(), "without -stdin-media-type"),
            (vec!["-name", NAME, "-stdin-media-type", DESCRIPTOR], "without -digest"),
            (vec![], "without -name"),
            (vec!["-name", NAME, "-digest", DIGEST, "-stdin-media-type", "text/plain"], "\"text/plain\""),
        ] {
            let error = read(&words, &stdin).unwrap_err();
            assert_eq!(error.code, DenyCode::Internal, "{words:?}");
            assert!(error.detail.contains(named), "{words:?}: {}", error.detail);
        }
        let error = read(&good().map(|word| if word == NAME { "r.example/A" } else { word }), &stdin).unwrap_err();
        assert_eq!((error.code, error.about.as_str()), (DenyCode::Malformed, "r.example/A"));
    }

    #[test]
    fn a_descriptor_of_something_else_is_refused() {
        let huge = u64::try_from(MAX_DOCUMENT_BYTES).unwrap() + 1;
        let index = MediaType::OCI_INDEX;
        for (stdin, code) in [
            (described(index, OTHER, 500), DenyCode::Malformed),
            (described(index, "sha256:1", 500), DenyCode::Malformed),
            (described(MediaType::OCI_CONFIG, DIGEST, 500), DenyCode::Malformed),
            (described("application/vnd.oci.image.layer.v1.tar", DIGEST, 500), DenyCode::Malformed),
            (described("", DIGEST, 500), DenyCode::Malformed),
            (described(index, DIGEST, huge), DenyCode::Limit),
            (String::new(), DenyCode::Malformed),
            ("{}".to_owned(), DenyCode::Malformed),
            (described(index, DIGEST, 500).replacen('{', r#"{"digest":"x","#, 1), DenyCode::Malformed),
            (format!("{}{}", described(index, DIGEST, 500), " ".repeat(64 << 10)), DenyCode::Limit),
        ] {
            assert_eq!(read(&good(), &stdin).map_err(|error| error.code), Err(code), "{}", stdin.len());
        }
        assert!(read(&good(), &described(index, DIGEST, huge - 1)).is_ok());
    }
}
