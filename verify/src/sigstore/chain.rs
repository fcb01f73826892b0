//! The path from a signing certificate to an authority of the root at the time of signing (RFC 5280 §6, by rustls-webpki, whose work
//! is bounded). The anchor's own validity counts too: an expired authority vouches for nothing.

use std::time::Duration;

use assay_admission::UnixTime;
use rustls_pki_types::CertificateDer;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{SigstoreError, leaf::Leaf};
use crate::{
    failure::Failure,
    limits::{Budget, MAX_PATH_SIGNATURES},
    trust::{Authority, SigstoreRoot},
};

/// id-kp-codeSigning, RFC 5280 §4.2.1.12.
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];

/// The SubjectPublicKeyInfo of the certificate that issued the leaf, by a path that holds at `time`.
pub(super) fn issuer_key(
    root: &SigstoreRoot,
    leaf: &Leaf,
    others: &[Vec<u8>],
    time: UnixTime,
    budget: &mut Budget,
) -> Result<Vec<u8>, Failure> {
    // Client specification: a bundle brings no anchor. One that it brings would decide nothing, and whoever put it in meant it to.
    if others.iter().any(|other| is_self_issued(other)) {
        let problem = "has a self-issued certificate, and anchors come from the root of trust alone".to_owned();
        return Err(Failure::Rejected(SigstoreError::Profile { field: "certificates", problem }.into()));
    }
    let mut problem = None;
    for authority in root.authorities.iter().filter(|authority| authority.window.contains(time)) {
        let between = authority.chain.len().saturating_sub(1).saturating_add(others.len());
        for _ in 0..most_signatures(between) {
            budget.spend_key_operation().map_err(Failure::Exhausted)?;
        }
        match path(authority, leaf, others, time) {
            Ok(key) => return Ok(key),
            Err(why) => problem = Some(why),
        }
    }
    Err(Failure::Rejected(match problem {
        Some(problem) => SigstoreError::Chain { identity: leaf.identity.clone(), time, problem }.into(),
        None => SigstoreError::NoAuthority { time }.into(),
    }))
}

/// The signatures that finding a path over at most `between` certificates can cost: each order of each choice of them is a path, and
/// webpki stops at [`MAX_PATH_SIGNATURES`].
fn most_signatures(between: usize) -> usize {
    let (mut total, mut orders) = (1_usize, 1_usize);
    for (chosen, left) in (1..=between).zip((1..=between).rev()) {
        orders = orders.saturating_mul(left);
        total = total.saturating_add(orders.saturating_mul(chosen.saturating_add(1)));
        if total >= MAX_PATH_SIGNATURES {
            return MAX_PATH_SIGNATURES;
        }
    }
    total
}

/// Whether a certificate is its own issuer, as roots are.
pub(crate) fn is_self_issued(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, one)| one.subject().as_raw() == one.issuer().as_raw())
}

fn path(authority: &Authority, leaf: &Leaf, others: &[Vec<u8>], time: UnixTime) -> Result<Vec<u8>, String> {
    let (anchor, between) = authority.chain.split_last().ok_or("the authority has no certificate")?;
    let parsed = holds(anchor, time)?;
    let anchor_der = CertificateDer::from(anchor.as_slice());
    let anchors = [anchor_from_trusted_cert(&anchor_der).map_err(|error| error.to_string())?];
    let between: Vec<CertificateDer<'_>> =
        between.iter().chain(others).map(|der| CertificateDer::from(der.as_slice())).collect();
    let leaf_der = CertificateDer::from(leaf.der.as_slice());
    let end = EndEntityCert::try_from(&leaf_der).map_err(|error| error.to_string())?;
    let seconds = u64::try_from(time.seconds()).map_err(|_| "it is before 1970")?;
    let path = end
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &between,
            rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
            // The leaf has it, or it would not have been read; an authority that names no usage is not restricted (RFC 5280
            // §4.2.1.12), and private ones often do not.
            KeyUsage::required_if_present(CODE_SIGNING),
            None,
            None,
        )
        .map_err(|error| error.to_string())?;
    if path.intermediate_certificates().any(|issuer| !may_issue(&issuer.der())) {
        return Err("an issuer's keyUsage has no keyCertSign".to_owned());
    }
    let issuer = path.intermediate_certificates().next().map(|issuer| issuer.subject_public_key_info().to_vec());
    Ok(issuer.unwrap_or_else(|| parsed.public_key().raw.to_vec()))
}

/// An anchor that is valid at `time`.
pub(super) fn holds(anchor: &[u8], time: UnixTime) -> Result<X509Certificate<'_>, String> {
    let (_, parsed) = X509Certificate::from_der(anchor).map_err(|error| error.to_string())?;
    let validity = parsed.validity();
    if time.seconds() < validity.not_before.timestamp() || time.seconds() > validity.not_after.timestamp() {
        return Err(format!("the authority {} is not valid then", parsed.subject()));
    }
    Ok(parsed)
}

/// RFC 5280 §6.1.4 (n), which webpki leaves out: where a keyUsage is there, it has keyCertSign.
fn may_issue(der: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    certificate.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_paid_for_at_its_worst() {
        assert_eq!([0, 1, 2, 3, 4, 14].map(most_signatures), [1, 3, 11, 49, 100, 100]);
    }
}
