//! A time-stamp token: CMS SignedData (RFC 5652 §5) around a TSTInfo, by exactly one signer, whose certificate is in the token and
//! is the one that the signer names and hashes (RFC 5035). Whether that certificate is trusted is not judged here.

use cms::{
    cert::CertificateChoices,
    content_info::ContentInfo,
    signed_data::{SignedData, SignerIdentifier, SignerInfo},
};
use der::{
    Decode, Encode, Tag, Tagged,
    asn1::{AnyRef, ObjectIdentifier, OctetStringRef},
};
use x509_parser::extensions::ParsedExtension;

use super::info::Info;
use crate::{
    limits::{MAX_SENT_CERTIFICATES, MAX_TOKEN_BYTES},
    notation::{chain, hash},
    trust::{Certificate, PublicKey},
};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// A token whose parts fit together. Its signature is not yet verified.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) info: Info,
    /// The signer's certificate.
    pub(super) signer: Certificate,
    /// The other certificates of the token.
    pub(super) others: Vec<Certificate>,
    /// The signed attributes as they are signed: RFC 5652 §5.4.
    attributes: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

impl Token {
    pub(super) fn read(der: &[u8]) -> Result<Self, String> {
        Self::read_beside(der, &[])
    }

    /// The same with certificates that are known already: a token may leave out its signer's (RFC 3161 §2.4.1, certReq).
    pub(super) fn read_beside(der: &[u8], known: &[Certificate]) -> Result<Self, String> {
        if der.len() > MAX_TOKEN_BYTES {
            return Err(format!("it has {} bytes, at most {MAX_TOKEN_BYTES} are read", der.len()));
        }
        let malformed = |error: der::Error| format!("it is not CMS in DER: {error}");
        let outer = ContentInfo::from_der(der).map_err(malformed)?;
        if outer.content_type != SIGNED_DATA {
            return Err(format!("its content {} is not SignedData", outer.content_type));
        }
        let signed: SignedData = outer.content.decode_as().map_err(malformed)?;
        let content_type = signed.encap_content_info.econtent_type;
        if content_type != TST_INFO {
            return Err(format!("its content {content_type} is not TSTInfo"));
        }
        let content = signed.encap_content_info.econtent.as_ref().ok_or("it has no content")?;
        let content = content.decode_as::<OctetStringRef<'_>>().map_err(malformed)?.as_bytes();
        // RFC 3161 §2.4.2: the authority's signature and no other.
        let [info] = signed.signer_infos.0.as_slice() else {
            return Err(format!("it has {} signatures, not one", signed.signer_infos.0.len()));
        };
        let mut certificates = certificates(&signed)?;
        certificates.extend(known.iter().cloned());
        let attributes = attributes(info, content)?;
        let signer = attributes.signer(info, &certificates)?;
        let others = certificates.into_iter().filter(|certificate| *certificate != signer).collect();
        Ok(Self {
            info: Info::read(content)?,
            signer,
            others,
            attributes: attributes.signed,
            algorithm: signature_algorithm(info)?,
            signature: info.signature.as_bytes().to_vec(),
        })
    }

    /// Whether the holder of `key` signed the token.
    pub(super) fn check_signed_by(&self, key: &PublicKey) -> Result<(), String> {
        let identifier = chain::algorithm(&self.algorithm)?;
        chain::check_signed(&identifier, &self.attributes, &self.signature, key)
            .map_err(|_| "its signature does not verify with its certificate and SHA-2".to_owned())
    }
}

fn certificates(signed: &SignedData) -> Result<Vec<Certificate>, String> {
    let set = signed.certificates.as_ref().map(|set| set.0.as_slice()).unwrap_or_default();
    if set.len() > MAX_SENT_CERTIFICATES {
        return Err(format!("it has {} certificates, at most {MAX_SENT_CERTIFICATES} are read", set.len()));
    }
    set.iter()
        .map(|choice| match choice {
            CertificateChoices::Certificate(certificate) => {
                let der = certificate.to_der().map_err(|error| format!("one of its certificates: {error}"))?;
                Certificate::from_der(der).map_err(|error| error.to_string())
            }
            CertificateChoices::Other(_) => Err("it has a certificate that is not X.509".to_owned()),
        })
        .collect()
}

/// The signed attributes that count.
struct Attributes {
    signed: Vec<u8>,
    hash: ObjectIdentifier,
    certificate_hash: Vec<u8>,
}

/// RFC 5652 §5.3 and §11: content type and message digest stand there once and are those of the content; RFC 3161 §2.4.2 and RFC
/// 5816: so does the hash of the signer's certificate.
fn attributes(info: &SignerInfo, content: &[u8]) -> Result<Attributes, String> {
    let attributes = info.signed_attrs.as_ref().ok_or("it has no signed attributes")?;
    let single = |oid: ObjectIdentifier, name: &str| {
        let mut values =
            attributes.iter().filter(|attribute| attribute.oid == oid).flat_map(|attribute| attribute.values.iter());
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            (None, _) => Err(format!("its signed attribute {name} is missing")),
            (Some(_), Some(_)) => Err(format!("its signed attribute {name} has several values")),
        }
    };
    let malformed = |error: der::Error| format!("its signed attributes: {error}");
    let content_type = single(CONTENT_TYPE, "contentType")?.decode_as::<ObjectIdentifier>().map_err(malformed)?;
    if content_type != TST_INFO {
        return Err(format!("its signed attribute contentType is {content_type}, not TSTInfo"));
    }
    let algorithm = info.digest_alg.oid;
    let digest = hash::sha2(&algorithm, content).ok_or_else(|| format!("its hash {algorithm} is not SHA-2"))?;
    let claimed = single(MESSAGE_DIGEST, "messageDigest")?;
    if claimed.decode_as::<OctetStringRef<'_>>().map_err(malformed)?.as_bytes() != digest.as_ref() {
        return Err("its signed attribute messageDigest is not the hash of its content".to_owned());
    }
    let certificate = single(SIGNING_CERTIFICATE_V2, "signingCertificateV2")?.to_der().map_err(malformed)?;
    let (hash, certificate_hash) = first_certificate(&certificate).map_err(malformed)?;
    Ok(Attributes { signed: attributes.to_der().map_err(malformed)?, hash, certificate_hash })
}

/// `SigningCertificateV2 ::= SEQUENCE { SEQUENCE OF ESSCertIDv2, … }`, `ESSCertIDv2 ::= SEQUENCE { AlgorithmIdentifier DEFAULT
/// sha256, OCTET STRING, … }` (RFC 5035 §3): the first is the signer's.
fn first_certificate(der: &[u8]) -> der::Result<(ObjectIdentifier, Vec<u8>)> {
    let missing = || Tag::Sequence.value_error();
    let outer = Vec::<AnyRef<'_>>::from_der(der)?;
    let ids = outer.first().ok_or_else(missing)?.decode_as::<Vec<AnyRef<'_>>>()?;
    let id = ids.first().ok_or_else(missing)?.decode_as::<Vec<AnyRef<'_>>>()?;
    let (hash, rest) = match id.split_first() {
        Some((first, rest)) if first.tag() == Tag::Sequence => {
            let algorithm = first.decode_as::<Vec<AnyRef<'_>>>()?;
            (algorithm.first().ok_or_else(missing)?.decode_as::<ObjectIdentifier>()?, rest)
        }
        Some(_) | None => (hash::DEFAULT, id.as_slice()),
    };
    Ok((hash, rest.first().ok_or_else(missing)?.decode_as::<OctetStringRef<'_>>()?.as_bytes().to_vec()))
}

impl Attributes {
    /// The one certificate that has the signed hash and that the signer info names. Picked by its hash, so that another of the same
    /// issuer and serial number cannot take its place.
    fn signer(&self, info: &SignerInfo, certificates: &[Certificate]) -> Result<Certificate, String> {
        let hash = |certificate: &&Certificate| hash::sha2(&self.hash, certificate.der());
        let found = certificates
            .iter()
            .find(|certificate| hash(certificate).is_some_and(|hash| hash.as_ref() == self.certificate_hash))
            .ok_or("it does not hold the certificate that its signer names by hash")?;
        let parsed = found.parsed();
        let is_named = match &info.sid {
            SignerIdentifier::IssuerAndSerialNumber(named) => {
                let issuer = named.issuer.to_der().map_err(|error| format!("its signer's issuer: {error}"))?;
                issuer == parsed.issuer().as_raw() && named.serial_number.as_bytes() == parsed.raw_serial()
            }
            SignerIdentifier::SubjectKeyIdentifier(named) => parsed.extensions().iter().any(|extension| {
                matches!(extension.parsed_extension(), ParsedExtension::SubjectKeyIdentifier(id) if id.0 == named.0.as_bytes())
            }),
        };
        if is_named { Ok(found.clone()) } else { Err("its signer names two certificates".to_owned()) }
    }
}

/// The algorithm of the signature in DER. Many authorities name RSA alone and leave the hash to the digest algorithm.
fn signature_algorithm(info: &SignerInfo) -> Result<Vec<u8>, String> {
    let mut algorithm = info.signature_algorithm.clone();
    if algorithm.oid == RSA_ENCRYPTION {
        let hash = info.digest_alg.oid;
        algorithm.oid = hash::rsa_with(&hash).ok_or_else(|| format!("its hash {hash} is not SHA-2"))?;
    }
    algorithm.to_der().map_err(|error| format!("its signature algorithm: {error}"))
}
