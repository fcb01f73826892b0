//! Certificate chains by the Notary Project's profiles (signature-specification.md, "Certificate Requirements") and RFC 5280: full,
//! ordered, leaf first, root included. Whether the chain is trusted, and at what time, is not judged here.

use assay_admission::UnixTime;
use aws_lc_rs::signature::{self, VerificationAlgorithm};
use der::{
    Decode as _,
    asn1::{AnyRef, ObjectIdentifier},
};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{ExtendedKeyUsage, KeyUsage, ParsedExtension},
    prelude::FromDer as _,
    signature_algorithm::SignatureAlgorithm,
    x509::{AlgorithmIdentifier, X509Version},
};

use crate::{
    facts::RejectionReason,
    failure::{Failure, malformed},
    limits::{Budget, LimitReached, MAX_CHAIN},
    trust::{Certificate, PublicKey, PublicKeyKind, RSA_PKCS1_SHA256},
};

/// What a chain's leaf signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Notary Project envelopes.
    CodeSigning,
    /// RFC 3161 tokens.
    TimeStamping,
}

/// The leaf's key, if the chain keeps every rule but those of time.
pub(crate) fn verify(chain: &[Certificate], purpose: Purpose, budget: &mut Budget) -> Result<PublicKey, Failure> {
    if chain.len() > MAX_CHAIN {
        return Err(RejectionReason::from(LimitReached { what: "certificates in a chain", limit: MAX_CHAIN }).into());
    }
    let parsed: Vec<X509Certificate<'_>> = chain.iter().map(Certificate::parsed).collect();
    let (mut leaf_key, mut own_key) = (None, None);
    for (depth, certificate) in parsed.iter().enumerate() {
        let problem = |problem: String| RejectionReason::Certificate {
            subject: chain.get(depth).map(Certificate::subject).unwrap_or_default(),
            problem,
        };
        check_profile(certificate, purpose, depth).map_err(problem)?;
        // The last one is its own issuer: a chain without a root is refused.
        let issuer = parsed.get(depth + 1).unwrap_or(certificate);
        let is_last = depth + 1 == parsed.len();
        let is_self_issued = certificate.issuer().as_raw() == certificate.subject().as_raw();
        if certificate.issuer().as_raw() != issuer.subject().as_raw() {
            let missing = if is_last { "the root is missing" } else { "the next certificate is not its issuer" };
            return Err(problem(missing.to_owned()).into());
        }
        if is_self_issued && !is_last {
            return Err(problem("it is self-issued and not the last of the chain".to_owned()).into());
        }
        // Read before, if it was the issuer of the one before.
        let key = own_key.take().map_or_else(|| key_of(certificate), Ok).map_err(problem)?;
        let issuer_key = if is_last { key.clone() } else { key_of(issuer).map_err(problem)? };
        budget.spend_key_operation().map_err(Failure::Exhausted)?;
        check_signature(certificate, &issuer_key).map_err(problem)?;
        leaf_key.get_or_insert(key);
        own_key = Some(issuer_key);
    }
    leaf_key.ok_or_else(|| malformed("certificate chain", "is empty").into())
}

/// Every certificate must be valid at `at`: RFC 5280 §4.1.2.5, first and last second included.
pub(crate) fn check_time(chain: &[Certificate], at: UnixTime) -> Result<(), RejectionReason> {
    match chain.iter().find(|certificate| at < certificate.not_before() || at > certificate.not_after()) {
        Some(certificate) => Err(RejectionReason::CertificateTime {
            subject: certificate.subject(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            at,
        }),
        None => Ok(()),
    }
}

/// Version and extensions. `depth` is 0 for the leaf; a CA at depth n has n - 1 CAs below it.
fn check_profile(certificate: &X509Certificate<'_>, purpose: Purpose, depth: usize) -> Result<(), String> {
    if certificate.version() != X509Version::V3 {
        return Err("it is not X.509 version 3".to_owned());
    }
    // RFC 5280 §4.1.2.4 and §4.1.2.6: the names of issuers are not empty. Chains are put together by them.
    if certificate.issuer().iter_rdn().next().is_none() {
        return Err("its issuer is empty".to_owned());
    }
    let (mut is_ca, mut has_key_usage, mut has_extended_key_usage) = (false, false, false);
    let mut seen = Vec::new();
    for extension in certificate.extensions() {
        let oid = extension.oid.to_id_string();
        if seen.contains(&extension.oid) {
            return Err(format!("its extension {oid} stands twice"));
        }
        seen.push(extension.oid.clone());
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => {
                is_ca = constraints.ca;
                if constraints.ca && !extension.critical {
                    return Err("its basicConstraints is not critical".to_owned());
                }
                if let (Some(most), Some(below)) = (constraints.path_len_constraint, depth.checked_sub(1))
                    && usize::try_from(most).is_ok_and(|most| below > most)
                {
                    return Err(format!("its path length {most} is exceeded by {below} CAs below it"));
                }
            }
            ParsedExtension::KeyUsage(usage) => {
                has_key_usage = true;
                // The profile of time-stamping chains asks for its presence alone.
                if !extension.critical && purpose == Purpose::CodeSigning {
                    return Err("its keyUsage is not critical".to_owned());
                }
                check_key_usage(usage, depth)?;
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                has_extended_key_usage = true;
                match purpose {
                    Purpose::CodeSigning => check_extended_key_usage(usage, depth)?,
                    Purpose::TimeStamping => check_timestamping_usage(usage, extension.critical, depth)?,
                }
            }
            // The reference implementation ignores them; what would restrict and is not evaluated is refused here.
            ParsedExtension::NameConstraints(_) => return Err("it has name constraints".to_owned()),
            ParsedExtension::ParseError { .. } => return Err(format!("its extension {oid} cannot be read")),
            _ if extension.critical => return Err(format!("its critical extension {oid} is unknown")),
            _ => {}
        }
    }
    match (depth, is_ca) {
        (0, true) => Err("it is a CA, and the leaf must not be one".to_owned()),
        (1.., false) => Err("it is no CA".to_owned()),
        _ if !has_key_usage => Err("it has no keyUsage".to_owned()),
        (0, false) if purpose == Purpose::TimeStamping && !has_extended_key_usage => {
            Err("it has no extendedKeyUsage, and it must be timeStamping".to_owned())
        }
        _ => Ok(()),
    }
}

/// A leaf signs, and at most commits to content; a CA signs certificates.
fn check_key_usage(usage: &KeyUsage, depth: usize) -> Result<(), String> {
    const DIGITAL_SIGNATURE: u16 = 1;
    const CONTENT_COMMITMENT: u16 = 1 << 1;
    let wrong = if depth == 0 {
        !usage.digital_signature() || usage.flags & !(DIGITAL_SIGNATURE | CONTENT_COMMITMENT) != 0
    } else {
        !usage.key_cert_sign()
    };
    match (wrong, depth) {
        (false, _) => Ok(()),
        (true, 0) => Err(format!("its keyUsage must be digitalSignature alone, and it is {usage}")),
        (true, _) => Err(format!("its keyUsage must have keyCertSign, and it is {usage}")),
    }
}

/// A leaf that has extended key usages has codeSigning among them, and none that belongs to another trade. CAs are not restricted.
fn check_extended_key_usage(usage: &ExtendedKeyUsage<'_>, depth: usize) -> Result<(), String> {
    let forbidden = usage.any
        || usage.server_auth
        || usage.client_auth
        || usage.email_protection
        || usage.time_stamping
        || usage.ocsp_signing;
    if depth == 0 && (forbidden || !usage.code_signing) {
        return Err(
            "its extendedKeyUsage must be codeSigning, without any of TLS, mail, time-stamping or OCSP".to_owned()
        );
    }
    Ok(())
}

/// RFC 3161 §2.3: the leaf stamps times and does nothing else, and says so critically. A CA that restricts usages allows this one.
fn check_timestamping_usage(usage: &ExtendedKeyUsage<'_>, critical: bool, depth: usize) -> Result<(), String> {
    let others = usage.any
        || usage.server_auth
        || usage.client_auth
        || usage.code_signing
        || usage.email_protection
        || usage.ocsp_signing
        || !usage.other.is_empty();
    match depth {
        0 if others || !usage.time_stamping => Err("its extendedKeyUsage must be timeStamping alone".to_owned()),
        0 if !critical => Err("its extendedKeyUsage is not critical".to_owned()),
        0 => Ok(()),
        _ if usage.time_stamping || usage.any => Ok(()),
        _ => Err("its extendedKeyUsage does not allow timeStamping".to_owned()),
    }
}

pub(super) fn key_of(certificate: &X509Certificate<'_>) -> Result<PublicKey, String> {
    let key = PublicKey::from_spki_der(certificate.public_key().raw).map_err(|error| error.to_string())?;
    match key.kind() {
        PublicKeyKind::Ed25519 => Err("its Ed25519 key is not one that the Notary Project uses".to_owned()),
        PublicKeyKind::P256 | PublicKeyKind::P384 | PublicKeyKind::P521 | PublicKeyKind::Rsa { .. } => Ok(key),
    }
}

pub(super) fn check_signature(certificate: &X509Certificate<'_>, issuer: &PublicKey) -> Result<(), String> {
    // RFC 5280 §4.1.1.2: the algorithm outside must be the signed one inside.
    if certificate.signature_algorithm != certificate.tbs_certificate.signature {
        return Err("it names two signature algorithms".to_owned());
    }
    if certificate.signature_value.unused_bits != 0 {
        return Err("its signature has unused bits".to_owned());
    }
    let (tbs, signature) = (certificate.tbs_certificate.as_ref(), &certificate.signature_value.data);
    check_signed(&certificate.signature_algorithm, tbs, signature, issuer)
}

/// Reads an AlgorithmIdentifier, strictly: the parser of certificates does not look at every tag.
pub(super) fn algorithm(der: &[u8]) -> Result<AlgorithmIdentifier<'_>, String> {
    let unreadable = |problem: String| format!("its signature algorithm cannot be read: {problem}");
    let parts = Vec::<AnyRef<'_>>::from_der(der).map_err(|error| unreadable(error.to_string()))?;
    let oid = parts.first().ok_or_else(|| unreadable("it is empty".to_owned()))?;
    oid.decode_as::<ObjectIdentifier>().map_err(|error| unreadable(error.to_string()))?;
    let (_, identifier) = AlgorithmIdentifier::from_der(der).map_err(|error| unreadable(error.to_string()))?;
    Ok(identifier)
}

/// Whether `issuer` signed `message`, with an algorithm that counts. Errors are about "it", the signed thing.
pub(super) fn check_signed(
    identifier: &AlgorithmIdentifier<'_>,
    message: &[u8],
    signature: &[u8],
    issuer: &PublicKey,
) -> Result<(), String> {
    let oid = identifier.algorithm.to_id_string();
    let algorithm = signature_algorithm(identifier, issuer.kind())
        .ok_or_else(|| format!("its signature algorithm {oid} is not accepted with an {} issuer", issuer.kind()))?;
    issuer
        .verifies_as(algorithm, message, signature)
        .then_some(())
        .ok_or_else(|| "its issuer did not sign it".to_owned())
}

/// SHA-2 alone: SHA-1 is refused with everything else that is not listed.
fn signature_algorithm(
    identifier: &AlgorithmIdentifier<'_>,
    issuer: PublicKeyKind,
) -> Option<&'static dyn VerificationAlgorithm> {
    use PublicKeyKind::{P256, P384, P521, Rsa};
    match (identifier.algorithm.to_id_string().as_str(), issuer) {
        ("1.2.840.113549.1.1.11", Rsa { .. }) => Some(&RSA_PKCS1_SHA256),
        ("1.2.840.113549.1.1.12", Rsa { .. }) => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        ("1.2.840.113549.1.1.13", Rsa { .. }) => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        ("1.2.840.113549.1.1.10", Rsa { .. }) => pss(identifier),
        ("1.2.840.10045.4.3.2", P256) => Some(&signature::ECDSA_P256_SHA256_ASN1),
        ("1.2.840.10045.4.3.3", P256) => Some(&signature::ECDSA_P256_SHA384_ASN1),
        ("1.2.840.10045.4.3.4", P256) => Some(&signature::ECDSA_P256_SHA512_ASN1),
        ("1.2.840.10045.4.3.2", P384) => Some(&signature::ECDSA_P384_SHA256_ASN1),
        ("1.2.840.10045.4.3.3", P384) => Some(&signature::ECDSA_P384_SHA384_ASN1),
        ("1.2.840.10045.4.3.4", P384) => Some(&signature::ECDSA_P384_SHA512_ASN1),
        ("1.2.840.10045.4.3.2", P521) => Some(&signature::ECDSA_P521_SHA256_ASN1),
        ("1.2.840.10045.4.3.3", P521) => Some(&signature::ECDSA_P521_SHA384_ASN1),
        ("1.2.840.10045.4.3.4", P521) => Some(&signature::ECDSA_P521_SHA512_ASN1),
        _ => None,
    }
}

/// RSASSA-PSS with one hash for message and mask and a salt of its length (RFC 4055 §3.1).
fn pss(identifier: &AlgorithmIdentifier<'_>) -> Option<&'static dyn VerificationAlgorithm> {
    let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) = SignatureAlgorithm::try_from(identifier) else { return None };
    let hash = parameters.hash_algorithm_oid().to_id_string();
    let mask = parameters.mask_gen_algorithm().ok()?;
    if mask.mgf.to_id_string() != "1.2.840.113549.1.1.8" || mask.hash.to_id_string() != hash {
        return None;
    }
    match (hash.as_str(), parameters.salt_length()) {
        ("2.16.840.1.101.3.4.2.1", 32) => Some(&signature::RSA_PSS_2048_8192_SHA256),
        ("2.16.840.1.101.3.4.2.2", 48) => Some(&signature::RSA_PSS_2048_8192_SHA384),
        ("2.16.840.1.101.3.4.2.3", 64) => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use x509_parser::{
        der_parser::{
            asn1_rs::{Any, FromDer, Oid},
            oid,
        },
        prelude::AlgorithmIdentifier,
    };

    use super::*;

    fn accepted(oid: Oid<'_>, issuer: PublicKeyKind) -> bool {
        signature_algorithm(&AlgorithmIdentifier::new(oid, None), issuer).is_some()
    }

    #[test]
    fn sha_1_md5_and_algorithms_of_another_key_type_are_refused() {
        let rsa = PublicKeyKind::Rsa { bits: 2048 };
        assert!(accepted(oid!(1.2.840.113549.1.1.11), rsa));
        assert!(accepted(oid!(1.2.840.10045.4.3.2), PublicKeyKind::P256));
        for refused in [
            oid!(1.2.840.113549.1.1.5),
            oid!(1.2.840.113549.1.1.4),
            oid!(1.2.840.10045.4.1),
            oid!(1.2.840.10045.4.3.1),
            oid!(1.3.101.112),
        ] {
            assert!(!accepted(refused.clone(), rsa) && !accepted(refused, PublicKeyKind::P256));
        }
        assert!(!accepted(oid!(1.2.840.10045.4.3.2), rsa));
        assert!(!accepted(oid!(1.2.840.113549.1.1.11), PublicKeyKind::P256));
    }

    #[test]
    fn pss_counts_with_one_hash_and_its_salt_length_only() {
        let with = |parameters: &str| {
            let der = hex::decode(parameters).unwrap();
            let (_, any) = Any::from_der(&der).unwrap();
            let identifier = AlgorithmIdentifier::new(oid!(1.2.840.113549.1.1.10), Some(any));
            signature_algorithm(&identifier, PublicKeyKind::Rsa { bits: 2048 }).is_some()
        };
        let sha256 = "300d06096086480165030402010500";
        let sha384 = "300d06096086480165030402020500";
        let parameters = |hash: &str, mask: &str, salt: u8| {
            format!("3034a00f{hash}a11c301a06092a864886f70d010108{mask}a203020120")
                .replace("020120", &format!("0201{salt:02x}"))
        };
        assert!(with(&parameters(sha256, sha256, 32)));
        assert!(!with(&parameters(sha256, sha256, 20)));
        assert!(!with(&parameters(sha256, sha384, 32)));
        assert!(!with(&parameters(sha384, sha384, 32)));
        assert!(with(&parameters(sha384, sha384, 48)));
    }
}
