//! Where a certificate says that its revocation can be looked up: OCSP responders and distribution points of revocation lists.

use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};

use crate::trust::Certificate;

const OCSP: &str = "1.3.6.1.5.5.7.48.1";
/// A pointer to delta lists (RFC 5280 §4.2.1.15, §5.2.6).
pub(super) const FRESHEST_CRL: &str = "2.5.29.46";

/// What a certificate names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sources {
    pub(super) has_ocsp: bool,
    /// The addresses of OCSP responders.
    pub(super) responders: Vec<String>,
    pub(super) points: Vec<Point>,
}

/// A distribution point: the addresses of one list, any of which will do (RFC 5280 §4.2.1.13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) urls: Vec<String>,
}

impl Sources {
    /// What `certificate` names.
    ///
    /// # Errors
    /// Why it cannot be followed: part lists, indirect lists, delta lists.
    pub(super) fn of(certificate: &Certificate) -> Result<Self, String> {
        let parsed = certificate.parsed();
        let mut sources = Self { has_ocsp: false, responders: Vec::new(), points: Vec::new() };
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::AuthorityInfoAccess(access) => {
                    for one in access.iter().filter(|one| one.access_method.to_id_string() == OCSP) {
                        sources.has_ocsp = true;
                        if let GeneralName::URI(url) = &one.access_location {
                            sources.responders.push((*url).to_owned());
                        }
                    }
                }
                ParsedExtension::CRLDistributionPoints(points) => {
                    for point in &points.points {
                        if point.reasons.is_some() {
                            return Err("it names a list for some reasons only".to_owned());
                        }
                        if point.crl_issuer.is_some() {
                            return Err("it names an indirect list".to_owned());
                        }
                        sources.points.push(Point { urls: urls(point.distribution_point.as_ref())? });
                    }
                }
                _ if extension.oid.to_id_string() == FRESHEST_CRL => {
                    return Err("it names a delta list, and deltas are not read".to_owned());
                }
                _ => {}
            }
        }
        Ok(sources)
    }

    pub(super) const fn is_empty(&self) -> bool {
        !self.has_ocsp && self.points.is_empty()
    }
}

/// The addresses of a full name.
pub(super) fn urls(name: Option<&DistributionPointName<'_>>) -> Result<Vec<String>, String> {
    let Some(DistributionPointName::FullName(names)) = name else {
        return Err("a distribution point has no full name".to_owned());
    };
    let urls: Vec<String> = names
        .iter()
        .filter_map(|name| if let GeneralName::URI(url) = name { Some((*url).to_owned()) } else { None })
        .collect();
    if urls.is_empty() { Err("a distribution point has no address".to_owned()) } else { Ok(urls) }
}
