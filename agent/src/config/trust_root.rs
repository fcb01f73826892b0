//! `[trust-roots.NAME]` of the agent's configuration: where a Sigstore root of trust comes from, and by whose word.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

/// Repositories of one root of trust: mirrors of each other.
const MAX_REPOSITORIES: usize = 16;

/// The name of a root of trust: 1 to 64 lower-case letters, digits and `-`, as it stands in policies and in a file's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct TrustRootName(String);

/// Where a root of trust comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRootConfig {
    /// The TUF root that the operator trusts: a file.
    pub root: PathBuf,
    /// Addresses of the repository and its mirrors, asked in this order. None: it is only imported.
    #[serde(default, deserialize_with = "repositories")]
    pub repositories: Vec<String>,
    /// How often they are asked.
    #[serde(default = "daily", deserialize_with = "interval")]
    pub refresh: Duration,
}

impl TrustRootName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for TrustRootName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustRootName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TrustRootName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(legal) && !text.starts_with('-') {
            Ok(Self(text))
        } else {
            Err("the name of a trust root is 1 to 64 lower-case letters, digits and '-'")
        }
    }
}

impl TrustRootConfig {
    /// The same with the file below `folder`.
    pub(super) fn below(self, folder: &Path) -> Self {
        Self { root: folder.join(self.root), ..self }
    }
}

const fn daily() -> Duration {
    Duration::from_secs(86_400)
}

fn repositories<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let urls = Vec::<String>::deserialize(from)?;
    if urls.len() > MAX_REPOSITORIES {
        return Err(serde::de::Error::custom(format!("more than {MAX_REPOSITORIES} repositories")));
    }
    let is_url = |url: &String| url.starts_with("https://") || url.starts_with("http://");
    match urls.iter().find(|url| !is_url(url)) {
        Some(url) => Err(serde::de::Error::custom(format!("the repository {url:?} is no http or https URL"))),
        None => Ok(urls),
    }
}

fn interval<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let wrong =
        || serde::de::Error::custom("refresh is a whole number and m, h or d, from 1m to 365d, such as \"24h\"");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let minutes = match unit {
        "m" => 1,
        "h" => 60,
        "d" => 1_440,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let minutes =
        number.checked_mul(minutes).filter(|minutes| (1..=365 * 1_440).contains(minutes)).ok_or_else(wrong)?;
    Ok(Duration::from_secs(minutes * 60))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_trust_root_needs_a_root_and_has_daily_refreshes() {
        let read = |text: &str| toml::from_str::<TrustRootConfig>(text);
        let config = read("root = 'r.json'\nrepositories = ['https://tuf.example']").unwrap();
        assert_eq!((config.refresh, config.repositories.len()), (daily(), 1));
        assert_eq!(read("root = 'r.json'\nrefresh = '90m'").unwrap().refresh, Duration::from_secs(5_400));
        for bad in [
            "",
            "root = 'r'\nrefresh = '0h'",
            "root = 'r'\nrefresh = '1s'",
            "root = 'r'\nrefresh = ''",
            "root = 'r'\nrepositories = ['tuf.example']",
            "root = 'r'\nurl = 'x'",
            "root = 'r'\nrefresh = '9999d'",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_safe_in_files_and_policies() {
        for bad in ["", "A", "a/b", "..", "-a", "a.b", &"a".repeat(65)] {
            assert!(TrustRootName::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert_eq!(TrustRootName::try_from("public-good".to_owned()).unwrap().as_str(), "public-good");
    }
}
