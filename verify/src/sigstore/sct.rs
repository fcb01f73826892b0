//! Whether a certificate transparency log of the root has seen a certificate: the embedded signed certificate time-stamps of RFC 6962
//! §3.3, over the certificate as it was before they were put in.

use assay_admission::{Digest, UnixTime};
use x509_parser::{certificate::X509Certificate, der_parser::oid, prelude::FromDer};

use super::SctError;
use crate::{
    der::{only_part, tlv, tlv_parts},
    limits::{Budget, LimitReached, MAX_SCTS},
    trust::Log,
};

/// The extension with the list: 1.3.6.1.4.1.11129.2.4.2, as an OBJECT IDENTIFIER in DER.
const LIST: &[u8] = b"\x06\x0a\x2b\x06\x01\x04\x01\xd6\x79\x02\x04\x02";

/// Finds one time-stamp that a log of `logs` has made for `leaf` as `issuer_key` issued it.
pub(super) fn verify(
    leaf: &[u8],
    issuer_key: &[u8],
    logs: &[Log],
    at: UnixTime,
    budget: &mut Budget,
) -> Result<Result<(), SctError>, LimitReached> {
    let (list, entry) = match parts(leaf, issuer_key) {
        Ok(parts) => parts,
        Err(error) => return Ok(Err(error)),
    };
    let mut first = SctError::Missing;
    for sct in &list {
        let problem = match judge(sct, logs, at) {
            Err(problem) => problem,
            Ok(log) => {
                budget.spend_key_operation()?;
                if log.key.verifies(&signed(sct, &entry), sct.signature) {
                    return Ok(Ok(()));
                }
                SctError::Signature { id: hex::encode(sct.log) }
            }
        };
        if first == SctError::Missing {
            first = problem;
        }
    }
    Ok(Err(first))
}

/// A time-stamp of version 1.
struct Sct<'c> {
    log: &'c [u8],
    milliseconds: u64,
    extensions: &'c [u8],
    algorithm: [u8; 2],
    signature: &'c [u8],
}

fn judge<'l>(sct: &Sct<'_>, logs: &'l [Log], at: UnixTime) -> Result<&'l Log, SctError> {
    let id = || hex::encode(sct.log);
    let log = logs.iter().find(|log| log.id == sct.log).ok_or_else(|| SctError::UnknownLog { id: id() })?;
    let seconds =
        i64::try_from(sct.milliseconds / 1000).map_err(|_| SctError::Malformed("its time is out of range"))?;
    let time = UnixTime::from_seconds(seconds);
    if !log.window.contains(time) || time > at {
        return Err(SctError::Window { id: id(), time });
    }
    // RFC 5246 §7.4.1.4.1: SHA-256, SHA-384 or SHA-512 with RSA or ECDSA, and what the kind of key allows of these.
    let fits = match log.key.hash() {
        "SHA-256" => matches!(sct.algorithm, [4, 1 | 3]),
        "SHA-384" => sct.algorithm == [5, 3],
        "SHA-512" => sct.algorithm == [6, 3],
        _ => sct.algorithm == [8, 7],
    };
    if fits { Ok(log) } else { Err(SctError::Malformed("its algorithm is not that of the log's key")) }
}

/// The `digitally-signed` structure of RFC 6962 §3.2.
fn signed(sct: &Sct<'_>, entry: &[u8]) -> Vec<u8> {
    let [_, _, .., high, low] = sct.extensions.len().to_be_bytes();
    let mut out = vec![0, 0];
    out.extend_from_slice(&sct.milliseconds.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    out.extend_from_slice(entry);
    out.extend_from_slice(&[high, low]);
    out.extend_from_slice(sct.extensions);
    out
}

/// The time-stamps in `leaf`, and the `PreCert` that they are about.
fn parts<'c>(leaf: &'c [u8], issuer_key: &[u8]) -> Result<(Vec<Sct<'c>>, Vec<u8>), SctError> {
    let unreadable = SctError::Malformed("the certificate around it cannot be read");
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| unreadable.clone())?;
    let wanted = oid!(1.3.6.1.4.1.11129.2.4.2);
    let extension = certificate.extensions().iter().find(|extension| extension.oid == wanted);
    let extension = extension.ok_or(SctError::Missing)?;
    let list = only_part(extension.value).ok_or(SctError::Malformed("its extension is no OCTET STRING"))?;
    let scts = read(list.contents)?;
    let precertificate = without_list(certificate.tbs_certificate.as_ref()).ok_or(unreadable)?;
    let [.., high, middle, low] = precertificate.len().to_be_bytes();
    let entry = [Digest::sha256(issuer_key).value(), &[high, middle, low], &precertificate].concat();
    Ok((scts, entry))
}

/// `SignedCertificateTimestampList`: a vector of vectors with two bytes of length each.
fn read(list: &[u8]) -> Result<Vec<Sct<'_>>, SctError> {
    let malformed = SctError::Malformed("its list cannot be read");
    let (mut list, rest) = vector(list).ok_or_else(|| malformed.clone())?;
    let mut scts = Vec::new();
    if !rest.is_empty() {
        return Err(malformed);
    }
    while !list.is_empty() {
        if scts.len() == MAX_SCTS {
            return Err(SctError::Malformed("there are too many"));
        }
        let (one, rest) = vector(list).ok_or_else(|| malformed.clone())?;
        scts.push(sct(one).ok_or_else(|| malformed.clone())?);
        list = rest;
    }
    Ok(scts)
}

fn sct(bytes: &[u8]) -> Option<Sct<'_>> {
    let bytes = bytes.strip_prefix(&[0])?;
    let (log, bytes) = bytes.split_at_checked(32)?;
    let (time, bytes) = bytes.split_first_chunk::<8>()?;
    let (extensions, bytes) = vector(bytes)?;
    let (algorithm, bytes) = bytes.split_first_chunk::<2>()?;
    let (signature, rest) = vector(bytes)?;
    let milliseconds = u64::from_be_bytes(*time);
    rest.is_empty().then_some(Sct { log, milliseconds, extensions, algorithm: *algorithm, signature })
}

fn vector(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, bytes) = bytes.split_first_chunk::<2>()?;
    bytes.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// The TBSCertificate without the extension that holds the list, every other byte as it was.
fn without_list(tbs: &[u8]) -> Option<Vec<u8>> {
    let fields = tlv_parts(only_part(tbs)?.contents, 16)?;
    let (last, before) = fields.split_last()?;
    if last.tag != 0xa3 {
        return None;
    }
    let kept: Vec<u8> = tlv_parts(only_part(last.contents)?.contents, 256)?
        .iter()
        .filter(|extension| !extension.contents.starts_with(LIST))
        .flat_map(|extension| extension.whole.iter().copied())
        .collect();
    // RFC 6962 §3.2 with RFC 5280 §4.1: without extensions the field itself is left out.
    let extensions = if kept.is_empty() { Vec::new() } else { tlv(0xa3, &tlv(0x30, &kept)) };
    let mut contents: Vec<u8> = before.iter().flat_map(|field| field.whole.iter().copied()).collect();
    contents.extend_from_slice(&extensions);
    Some(tlv(0x30, &contents))
}
