//! One file of a TUF repository: the repository's address and a name go in, untrusted bytes or "it is not there" come out. Without
//! credentials; nothing is verified here.

use std::time::Duration;

use hyper::StatusCode;

use crate::{
    budget::Budget,
    caps,
    error::{Error, Malformation},
    origin::Url,
    registry::Client,
    transport::{Ask, Peer},
};

/// A file below a repository's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryFile {
    url: Url,
    most_bytes: usize,
}

impl RepositoryFile {
    /// The file at `path` below `repository`, an `http` or `https` URL without query. A file of more than `most_bytes` (4 MiB at
    /// most) is an error.
    ///
    /// # Errors
    /// [`Error::Malformed`] if `repository` is no such URL, or `path` is not of letters, digits and `._-/` or has a part that is
    /// empty or begins with a dot.
    pub fn new(repository: &str, path: &str, most_bytes: usize) -> Result<Self, Error> {
        let no_url = |why| Error::malformed(format!("the address {repository:?}"), Malformation::Rule(why));
        if repository.contains(['?', '#']) {
            return Err(no_url("a repository's address has no query"));
        }
        let base = Url::parse(repository).map_err(|_| no_url("not an http or https URL without user name"))?;
        if !is_plain(path) {
            return Err(Error::malformed(
                format!("the path {path:?}"),
                Malformation::Rule(
                    "a path is of letters, digits, '.', '_', '-' and '/', and no part begins with a dot",
                ),
            ));
        }
        let path = format!("{}/{path}", base.path().trim_end_matches('/'));
        Ok(Self {
            url: Url::new(base.origin().clone(), path),
            most_bytes: most_bytes.min(caps::MAX_REPOSITORY_FILE_BYTES),
        })
    }
}

fn is_plain(path: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(legal);
    path.len() <= caps::MAX_REPOSITORY_PATH && path.split('/').all(is_part)
}

impl Client {
    /// Fetches `file` within `time` (60 s at most). `None`: the server says that it does not have it.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Forbidden`] for plain HTTP and local addresses that the configuration does not name.
    pub async fn repository_file(&self, file: &RepositoryFile, time: Duration) -> Result<Option<Vec<u8>>, Error> {
        let peer = Peer { origin: file.url.origin().clone(), tls: None, named: false };
        let ask = Ask::get(file.url.clone(), file.most_bytes);
        let answer = self.transport().send(&Budget::new(time), &peer, &ask).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer.body)),
            // Storage that lists nothing to strangers answers 403 for what is not there.
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN => Ok(None),
            status => Err(Error::Status { at: answer.url.to_string(), status: status.as_u16(), code: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_address() {
        let url = |base: &str, path: &str| RepositoryFile::new(base, path, 9).map(|file| file.url.to_string()).ok();
        assert_eq!(url("https://r.example", "1.root.json").as_deref(), Some("https://r.example/1.root.json"));
        assert_eq!(url("https://r.example/a/", "targets/x.y").as_deref(), Some("https://r.example/a/targets/x.y"));
        for bad in ["", "/x", "../x", "a/../x", "a//x", ".x", "x?y", "x#y", "x%2fy", "a\\b", "x y", &"x".repeat(257)] {
            assert_eq!(url("https://r.example", bad), None, "{bad}");
        }
        for bad in ["r.example", "file:///etc", "https://u@r.example", "https://r.example/?x=", "https://r.example/#x"]
        {
            assert_eq!(url(bad, "x"), None, "{bad}");
        }
    }
}
