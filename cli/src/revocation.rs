//! Revocation lists and OCSP answers that a person has as files: read and bounded, not judged.

use std::path::{Path, PathBuf};

use assay_verify::{RevocationEvidence, RevocationList};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::Args;

use crate::{
    bounded_file,
    failure::{Exit, Failure},
};

/// Largest OCSP answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 << 10;
/// Largest revocation list that is read: the verifier's own cap, and what PEM adds to it.
const MAX_LIST_BYTES: u64 = 6 << 20;

/// What is known about revoked certificates.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RevocationArgs {
    /// A revocation list (DER or PEM) and the address that certificates name for it; once for each
    #[arg(long, value_name = "URL=FILE")]
    crl: Vec<String>,
    /// An OCSP answer (DER) about a certificate; once for each
    #[arg(long, value_name = "FILE")]
    ocsp: Vec<PathBuf>,
}

impl RevocationArgs {
    /// Whether none was given.
    pub(crate) const fn is_empty(&self) -> bool {
        self.crl.is_empty() && self.ocsp.is_empty()
    }

    /// The files' contents.
    ///
    /// # Errors
    /// If a file cannot be read or is too large, or an argument is not what it should be.
    pub(crate) fn read(&self) -> Result<RevocationEvidence, Failure> {
        let lists = self.crl.iter().map(|pair| read_list(pair)).collect::<Result<_, _>>()?;
        let answers = self.ocsp.iter().map(|file| read("the OCSP answer", file, MAX_ANSWER_BYTES));
        RevocationEvidence::new(lists, answers.collect::<Result<_, _>>()?)
            .map_err(|limit| Failure::new("LIMIT", format!("failed to take the revocation evidence: {limit}"), ""))
    }
}

fn read_list(pair: &str) -> Result<RevocationList, Failure> {
    // Addresses may have `=` in them.
    let (url, file) = pair.rsplit_once('=').ok_or_else(|| {
        let hint = "write --crl http://ca.example/ca.crl=ca.crl";
        Failure::new("USAGE", format!("--crl {pair:?} is not URL=FILE"), hint).exits(Exit::Usage)
    })?;
    let bytes = read("the revocation list", Path::new(file), MAX_LIST_BYTES)?;
    let der = from_pem(bytes).ok_or_else(|| {
        Failure::new("CRL", format!("failed to read {file}: it is no PEM of one list"), "give the list in DER or PEM")
    })?;
    Ok(RevocationList { url: url.to_owned(), der })
}

/// The one list of a PEM file (RFC 7468 §6), or the bytes as they are.
fn from_pem(bytes: Vec<u8>) -> Option<Vec<u8>> {
    const BEGIN: &str = "-----BEGIN X509 CRL-----";
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) if text.trim_start().starts_with("-----BEGIN") => text,
        Ok(_) | Err(_) => return Some(bytes),
    };
    let body = text.trim().strip_prefix(BEGIN)?.strip_suffix("-----END X509 CRL-----")?;
    let base64: String = body.split_ascii_whitespace().collect();
    BASE64_STANDARD.decode(base64).ok()
}

fn read(what: &str, path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    bounded_file::read(path, limit).map_err(|error| Failure::io(&format!("read {what}"), path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_der_and_as_pem_and_two_lists_in_one_file_are_none() {
        let pem = "-----BEGIN X509 CRL-----\nMAMC\nAQE=\n-----END X509 CRL-----\n";
        assert_eq!(from_pem(pem.into()), Some(b"\x30\x03\x02\x01\x01".to_vec()));
        assert_eq!(from_pem(b"\x30\x03\x02\x01\x01".to_vec()), Some(b"\x30\x03\x02\x01\x01".to_vec()));
        assert_eq!(from_pem([pem, pem].concat().into()), None);
        assert_eq!(from_pem(b"-----BEGIN CERTIFICATE-----".to_vec()), None);
    }
}
