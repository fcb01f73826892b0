//! Certificate revocation lists (RFC 5280 §5 and §6.3): complete lists that the certificate's own issuer signed. Delta, indirect and
//! part lists are refused by name. Entries are read only after the signature.

use assay_admission::{Digest, UnixTime};
use der::{
    Decode, Encode, Tagged,
    asn1::{AnyRef, BitStringRef},
};
use x509_parser::{
    extensions::{IssuingDistributionPoint, ParsedExtension},
    prelude::FromDer,
    revocation_list::{CertificateRevocationList, RevokedCertificate},
    x509::{ReasonCode, X509Version},
};

use super::{
    Asked, Pair, SeenAnswer, SeenAt, Status, Trace, freshness, is_excused, is_newest,
    sources::{FRESHEST_CRL, Point, urls},
    trace,
};
use crate::{evidence::RevocationList, failure::Failure, limits::Budget, notation::chain};

const DELTA_INDICATOR: &str = "2.5.29.27";

/// What the lists from `point` say about the pair's certificate, or why they say nothing.
pub(super) fn status(
    pair: Pair<'_>,
    point: &Point,
    asked: &Asked<'_>,
    trace: &mut Trace,
    budget: &mut Budget,
) -> Result<Result<Status, String>, Failure> {
    let (mut problem, mut good) = (None, None);
    let from_here = asked.evidence.lists().iter().filter(|list| point.urls.contains(&list.url));
    for list in from_here {
        budget.spend_key_operation().map_err(Failure::Exhausted)?;
        match read(list, pair, point, asked, trace) {
            Ok(Status::Revoked(since)) => return Ok(Ok(Status::Revoked(since))),
            // Of two lists that hold, the one that holds longer.
            Ok(Status::Good(until)) => good = good.max(Some(until)),
            Err(why) => problem = Some(format!("the list from {}: {why}", list.url)),
        }
    }
    let none = || format!("there is no list from {}", point.urls.join(" or "));
    Ok(good.map(Status::Good).ok_or_else(|| problem.unwrap_or_else(none)))
}

fn read(
    evidence: &RevocationList,
    pair: Pair<'_>,
    point: &Point,
    asked: &Asked<'_>,
    trace: &mut Trace,
) -> Result<Status, String> {
    check_signature(&evidence.der, pair)?;
    read_signed(evidence, pair, point, asked, trace)
}

/// What a list says whose signature was verified.
pub(super) fn read_signed(
    evidence: &RevocationList,
    pair: Pair<'_>,
    point: &Point,
    asked: &Asked<'_>,
    trace: &mut Trace,
) -> Result<Status, String> {
    let (rest, list) =
        CertificateRevocationList::from_der(&evidence.der).map_err(|error| format!("it cannot be read: {error}"))?;
    if !rest.is_empty() {
        return Err("bytes follow it".to_owned());
    }
    let tbs = &list.tbs_cert_list;
    // RFC 5280 §5.1.2.2: the algorithm outside must be the signed one inside.
    if list.signature_algorithm != tbs.signature {
        return Err("it names two signature algorithms".to_owned());
    }
    if tbs.version != Some(X509Version::V2) {
        return Err("it is not of version 2".to_owned());
    }
    if tbs.issuer.as_raw() != pair.issuer.parsed().subject().as_raw() {
        return Err("another issuer made it".to_owned());
    }
    check_extensions(&list, pair, point)?;
    let this_update = UnixTime::from_seconds(tbs.this_update.timestamp());
    // RFC 5280 §5.1.2.5: nextUpdate must be there.
    let next_update = tbs.next_update.ok_or("it does not say when the next one comes")?;
    let about = trace::about_list(pair, &evidence.url);
    // One from the future would keep every present one from counting.
    if this_update <= asked.at {
        let (content, source) = (Digest::sha256(&evidence.der), SeenAt::List(evidence.url.clone()));
        trace.saw(SeenAnswer { about, made: this_update, content, source });
    }
    is_newest("it", this_update, asked.evidence.newest(&about))?;
    let until = freshness("it", this_update, Some(UnixTime::from_seconds(next_update.timestamp())), asked)?;
    for entry in list.iter_revoked_certificates() {
        if let Some(since) = revoked_since(entry, pair, asked)? {
            return Ok(Status::Revoked(since));
        }
    }
    Ok(Status::Good(until))
}

/// The signature over the list as it came, by an issuer that may sign lists, before anything in it is looked at.
pub(super) fn check_signature(der: &[u8], pair: Pair<'_>) -> Result<(), String> {
    let malformed = |error: der::Error| format!("it is no list in DER: {error}");
    let parts = Vec::<AnyRef<'_>>::from_der(der).map_err(malformed)?;
    let [tbs, algorithm, signature] = parts.as_slice() else { return Err("it is no list in DER".to_owned()) };
    if tbs.tag() != der::Tag::Sequence {
        return Err("it is no list in DER".to_owned());
    }
    let (tbs, algorithm) = (tbs.to_der().map_err(malformed)?, algorithm.to_der().map_err(malformed)?);
    let signature = signature.decode_as::<BitStringRef<'_>>().map_err(malformed)?;
    let signature = signature.as_bytes().ok_or("its signature has unused bits")?;
    let algorithm = chain::algorithm(&algorithm)?;
    // RFC 5280 §6.3.3 (f); chains without keyUsage were refused before.
    let may_sign = pair.issuer.parsed().key_usage().ok().flatten().is_some_and(|usage| usage.value.crl_sign());
    if !may_sign {
        return Err("its issuer's keyUsage has no cRLSign".to_owned());
    }
    chain::check_signed(&algorithm, &tbs, signature, pair.issuer_key)
}

fn check_extensions(list: &CertificateRevocationList<'_>, pair: Pair<'_>, point: &Point) -> Result<(), String> {
    let mut seen = Vec::new();
    for extension in list.extensions() {
        let oid = extension.oid.to_id_string();
        if seen.contains(&oid) {
            return Err(format!("its extension {oid} stands twice"));
        }
        match (oid.as_str(), extension.parsed_extension()) {
            (DELTA_INDICATOR, _) => return Err("it is a delta list, and deltas are not read".to_owned()),
            (FRESHEST_CRL, _) => return Err("it names a delta list, and deltas are not read".to_owned()),
            (_, ParsedExtension::IssuingDistributionPoint(scope)) => {
                check_whole(scope, extension.value)?;
                check_scope(scope, pair, point)?;
            }
            (_, ParsedExtension::ParseError { .. }) => return Err(format!("its extension {oid} cannot be read")),
            (_, ParsedExtension::CRLNumber(_) | ParsedExtension::AuthorityKeyIdentifier(_)) => {}
            _ if extension.critical => return Err(format!("its critical extension {oid} is unknown")),
            _ => {}
        }
        seen.push(oid);
    }
    Ok(())
}

/// The parser leaves out what it cannot read, and with it a restriction: there must be as many fields as it found.
fn check_whole(scope: &IssuingDistributionPoint<'_>, der: &[u8]) -> Result<(), String> {
    let found = [
        scope.distribution_point.is_some(),
        scope.only_contains_user_certs,
        scope.only_contains_ca_certs,
        scope.only_some_reasons.is_some(),
        scope.indirect_crl,
        scope.only_contains_attribute_certs,
    ];
    let fields = Vec::<AnyRef<'_>>::from_der(der).map(|fields| fields.len());
    if fields == Ok(found.into_iter().filter(|is_there| *is_there).count()) {
        Ok(())
    } else {
        Err("its issuingDistributionPoint cannot be read".to_owned())
    }
}

/// RFC 5280 §5.2.5 and §6.3.3 (b): the list must be about certificates like this one, from a point that this one names.
fn check_scope(scope: &IssuingDistributionPoint<'_>, pair: Pair<'_>, point: &Point) -> Result<(), String> {
    let is_ca = pair.certificate.parsed().is_ca();
    if scope.indirect_crl {
        return Err("it is an indirect list".to_owned());
    }
    if scope.only_some_reasons.is_some() {
        return Err("it is for some reasons only".to_owned());
    }
    if scope.only_contains_attribute_certs {
        return Err("it is for attribute certificates only".to_owned());
    }
    if scope.only_contains_user_certs && is_ca {
        return Err("it is for certificates that are no CAs".to_owned());
    }
    if scope.only_contains_ca_certs && !is_ca {
        return Err("it is for CAs only".to_owned());
    }
    match &scope.distribution_point {
        None => Ok(()),
        Some(name) => {
            let own = urls(Some(name))?;
            let is_meant = own.iter().any(|url| point.urls.contains(url));
            if is_meant { Ok(()) } else { Err(format!("it is for {}", own.join(" and "))) }
        }
    }
}

/// When this entry revoked the pair's certificate. Every entry's extensions are read: one can change whom the rest is about.
fn revoked_since(
    entry: &RevokedCertificate<'_>,
    pair: Pair<'_>,
    asked: &Asked<'_>,
) -> Result<Option<UnixTime>, String> {
    let is_about = *entry.serial() == pair.certificate.parsed().tbs_certificate.serial;
    let mut invalid_since = None;
    for extension in entry.extensions() {
        match extension.parsed_extension() {
            // Only in delta lists: RFC 5280 §5.3.1.
            ParsedExtension::ReasonCode(ReasonCode::RemoveFromCRL) => {
                return Err("an entry takes a revocation back, which only delta lists do".to_owned());
            }
            ParsedExtension::ReasonCode(_) => {}
            ParsedExtension::InvalidityDate(date) => invalid_since = Some(UnixTime::from_seconds(date.timestamp())),
            _ if extension.critical => {
                return Err(format!("an entry's critical extension {} is unknown", extension.oid.to_id_string()));
            }
            _ => {}
        }
    }
    let is_revoked = is_about && !is_excused(asked, invalid_since);
    Ok(is_revoked.then(|| UnixTime::from_seconds(entry.revocation_date.timestamp())))
}
