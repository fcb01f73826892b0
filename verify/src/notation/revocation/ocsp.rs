//! OCSP answers (RFC 6960): about this certificate by this issuer, signed by the issuer itself or by one that it appointed for just
//! that, and fresh. No nonce is wanted: an answer that was fetched before, or carried in, is judged by its times alone.

use assay_admission::{Digest, UnixTime};
use der::{
    Decode, Encode,
    asn1::{AnyRef, BitStringRef, ObjectIdentifier},
};
use x509_ocsp::{
    CertStatus, OcspGeneralizedTime, OcspResponse, OcspResponseStatus, ResponderId, ResponseData, SingleResponse,
};
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension};

use super::{
    Asked, Pair, SeenAnswer, SeenAt, Status, Trace, freshness, is_excused, is_newest, sources::Sources, trace as traced,
};
use crate::{
    failure::Failure,
    limits::{Budget, MAX_OCSP_STATUSES, MAX_SENT_CERTIFICATES},
    notation::{chain, hash},
    trust::{Certificate, PublicKey},
};

const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
const INVALIDITY_DATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.24");
/// Whoever has it need not be looked up: RFC 6960 §4.2.2.2.1.
const NO_CHECK: &str = "1.3.6.1.5.5.7.48.1.5";

/// What the answers say about the pair's certificate, or why they say nothing.
pub(super) fn status(
    pair: Pair<'_>,
    asked: &Asked<'_>,
    trace: &mut Trace,
    budget: &mut Budget,
) -> Result<Result<Status, String>, Failure> {
    let (mut problem, mut good) = (None, None);
    for der in asked.evidence.answers() {
        let Ok(answer) = Answer::read(der) else { continue };
        // Answers about other certificates are no problem and cost nothing.
        let about: Vec<&SingleResponse> =
            answer.data.responses.iter().take(MAX_OCSP_STATUSES).filter(|one| is_about(one, pair)).collect();
        if about.is_empty() {
            continue;
        }
        match answer.authenticate(pair, asked, budget)?.and_then(|()| {
            answer.read_statuses(&about, asked, |made| {
                let about = traced::about_certificate(pair);
                // One from the future would keep every present one from counting.
                if made <= asked.at {
                    let (content, source) = (Digest::sha256(der), SeenAt::Answer(traced::request(pair)));
                    trace.saw(SeenAnswer { about, made, content, source });
                }
                is_newest("it", made, asked.evidence.newest(&about))
            })
        }) {
            Ok(Status::Revoked(since)) => return Ok(Ok(Status::Revoked(since))),
            Ok(Status::Good(until)) => good = good.max(Some(until)),
            Err(why) => problem = Some(format!("the OCSP answer: {why}")),
        }
    }
    let none = || "there is no OCSP answer about it".to_owned();
    Ok(good.map(Status::Good).ok_or_else(|| problem.unwrap_or_else(none)))
}

/// Reads an answer, and all its statuses as if they were signed.
#[cfg(fuzzing)]
pub(super) fn fuzz(pair: Pair<'_>, asked: &Asked<'_>, der: &[u8]) {
    let Ok(answer) = Answer::read(der) else { return };
    let all: Vec<&SingleResponse> = answer.data.responses.iter().take(MAX_OCSP_STATUSES).collect();
    let about = all.iter().filter(|one| is_about(one, pair)).count();
    assert!(about <= all.len());
    let budget = &mut Budget::default();
    let _ = answer.responder(pair, asked, budget).map(|key| key.map(|key| answer.check_signature(&key)));
    let _ = answer.read_statuses(&all, asked, |_| Ok(()));
}

/// `BasicOCSPResponse ::= SEQUENCE { tbs, AlgorithmIdentifier, BIT STRING, [0] SEQUENCE OF Certificate OPTIONAL }`, with the signed
/// bytes as they came.
struct Answer {
    tbs: Vec<u8>,
    data: ResponseData,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    certificates: Vec<Certificate>,
}

impl Answer {
    fn read(der: &[u8]) -> Result<Self, String> {
        let malformed = |error: der::Error| error.to_string();
        let outer = OcspResponse::from_der(der).map_err(malformed)?;
        if outer.response_status != OcspResponseStatus::Successful {
            return Err("the responder did not answer".to_owned());
        }
        let bytes = outer.response_bytes.ok_or("it is empty")?;
        if bytes.response_type != BASIC {
            return Err(format!("its type {} is unknown", bytes.response_type));
        }
        let parts = Vec::<AnyRef<'_>>::from_der(bytes.response.as_bytes()).map_err(malformed)?;
        let (tbs, algorithm, signature, sent) = match parts.as_slice() {
            [tbs, algorithm, signature] => (tbs, algorithm, signature, None),
            [tbs, algorithm, signature, certificates] => (tbs, algorithm, signature, Some(certificates)),
            _ => return Err("it is no BasicOCSPResponse".to_owned()),
        };
        let tbs = tbs.to_der().map_err(malformed)?;
        let signature = signature.decode_as::<BitStringRef<'_>>().map_err(malformed)?;
        Ok(Self {
            data: ResponseData::from_der(&tbs).map_err(malformed)?,
            tbs,
            algorithm: algorithm.to_der().map_err(malformed)?,
            signature: signature.as_bytes().ok_or("its signature has unused bits")?.to_vec(),
            certificates: sent.map_or_else(|| Ok(Vec::new()), certificates)?,
        })
    }

    /// Whether it is by one who may answer for the pair's issuer.
    fn authenticate(
        &self,
        pair: Pair<'_>,
        asked: &Asked<'_>,
        budget: &mut Budget,
    ) -> Result<Result<(), String>, Failure> {
        let key = match self.responder(pair, asked, budget)? {
            Ok(key) => key,
            Err(problem) => return Ok(Err(problem)),
        };
        budget.spend_key_operation().map_err(Failure::Exhausted)?;
        Ok(self.check_signature(&key))
    }

    fn check_signature(&self, key: &PublicKey) -> Result<(), String> {
        let identifier = chain::algorithm(&self.algorithm)?;
        chain::check_signed(&identifier, &self.tbs, &self.signature, key)
            .map_err(|_| "its signature does not verify with the responder's key and SHA-2".to_owned())
    }

    /// The key of the responder: the issuer's own, or of a certificate that the issuer made for answering (RFC 6960 §4.2.2.2).
    fn responder(
        &self,
        pair: Pair<'_>,
        asked: &Asked<'_>,
        budget: &mut Budget,
    ) -> Result<Result<PublicKey, String>, Failure> {
        if self.is_by(pair.issuer) {
            return Ok(Ok(pair.issuer_key.clone()));
        }
        let Some(responder) = self.certificates.iter().find(|certificate| self.is_by(certificate)) else {
            return Ok(Err("neither the issuer nor a certificate in it is its responder".to_owned()));
        };
        budget.spend_key_operation().map_err(Failure::Exhausted)?;
        let parsed = responder.parsed();
        Ok(check_delegate(responder, &parsed, pair, asked)
            .and_then(|()| chain::key_of(&parsed))
            .map_err(|problem| format!("its responder {:?}: {problem}", responder.subject())))
    }

    /// Whether the responder id names this certificate's subject or key.
    fn is_by(&self, certificate: &Certificate) -> bool {
        let parsed = certificate.parsed();
        match &self.data.responder_id {
            ResponderId::ByName(name) => name.to_der().is_ok_and(|name| name == parsed.subject().as_raw()),
            ResponderId::ByKey(id) => {
                hash::sha1(&parsed.public_key().subject_public_key.data).as_ref() == id.as_bytes()
            }
        }
    }

    /// What the statuses in `about` say together; `made_at` hears when each was made, and may refuse it.
    fn read_statuses(
        &self,
        about: &[&SingleResponse],
        asked: &Asked<'_>,
        mut made_at: impl FnMut(UnixTime) -> Result<(), String>,
    ) -> Result<Status, String> {
        let produced = time(&self.data.produced_at);
        if produced > asked.at {
            return Err(format!("it was made at {produced}, and it is {}", asked.at));
        }
        for extension in self.data.response_extensions.iter().flatten() {
            if extension.critical && extension.extn_id != NONCE {
                return Err(format!("its critical extension {} is unknown", extension.extn_id));
            }
        }
        let mut good = None;
        for one in about {
            made_at(time(&one.this_update))?;
            match read_status(one, asked)? {
                Status::Revoked(since) => return Ok(Status::Revoked(since)),
                Status::Good(until) => good = super::earliest(good, Some(until)),
            }
        }
        good.map(Status::Good).ok_or_else(|| "it has no status".to_owned())
    }
}

fn certificates(sent: &AnyRef<'_>) -> Result<Vec<Certificate>, String> {
    let malformed = |error: der::Error| error.to_string();
    let list = Vec::<AnyRef<'_>>::from_der(sent.value()).map_err(malformed)?;
    if list.len() > MAX_SENT_CERTIFICATES {
        return Err(format!("it has {} certificates, at most {MAX_SENT_CERTIFICATES} are read", list.len()));
    }
    list.iter()
        .map(|one| Certificate::from_der(one.to_der().map_err(malformed)?).map_err(|error| error.to_string()))
        .collect()
}

/// RFC 6960 §4.1.1: hashes of the issuer's name and key, by whatever hash was asked with, and the serial number. A look-up, no proof.
fn is_about(one: &SingleResponse, pair: Pair<'_>) -> bool {
    let id = &one.cert_id;
    let issuer = pair.issuer.parsed();
    let is_hash = |data: &[u8], wanted: &[u8]| {
        hash::index(&id.hash_algorithm.oid, data).is_some_and(|hash| hash.as_ref() == wanted)
    };
    id.serial_number.as_bytes() == pair.certificate.parsed().raw_serial()
        && is_hash(issuer.subject().as_raw(), id.issuer_name_hash.as_bytes())
        && is_hash(&issuer.public_key().subject_public_key.data, id.issuer_key_hash.as_bytes())
}

/// A responder that the issuer appointed: issued by the very key that issued the certificate in question, for OCSP, valid now, and
/// not itself in need of a look-up.
fn check_delegate(
    responder: &Certificate,
    parsed: &X509Certificate<'_>,
    pair: Pair<'_>,
    asked: &Asked<'_>,
) -> Result<(), String> {
    if parsed.issuer().as_raw() != pair.issuer.parsed().subject().as_raw() {
        return Err("another CA issued it".to_owned());
    }
    chain::check_signature(parsed, pair.issuer_key)?;
    let (mut answers, mut signs, mut is_exempt) = (false, true, false);
    for extension in parsed.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::ExtendedKeyUsage(usage) => answers = usage.ocsp_signing,
            ParsedExtension::KeyUsage(usage) => signs = usage.digital_signature(),
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => return Err("it is a CA".to_owned()),
            ParsedExtension::BasicConstraints(_) => {}
            ParsedExtension::NameConstraints(_) => return Err("it has name constraints".to_owned()),
            _ if extension.oid.to_id_string() == NO_CHECK => is_exempt = true,
            _ if extension.critical => {
                return Err(format!("its critical extension {} is unknown", extension.oid.to_id_string()));
            }
            _ => {}
        }
    }
    if !answers {
        return Err("its extendedKeyUsage has no OCSPSigning".to_owned());
    }
    if !signs {
        return Err("its keyUsage has no digitalSignature".to_owned());
    }
    if !is_exempt && !Sources::of(responder).is_ok_and(|sources| sources.is_empty()) {
        return Err("its own revocation would have to be looked up".to_owned());
    }
    chain::check_time(std::slice::from_ref(responder), asked.at).map_err(|reason| reason.to_string())
}

fn read_status(one: &SingleResponse, asked: &Asked<'_>) -> Result<Status, String> {
    let mut invalid_since = None;
    for extension in one.single_extensions.iter().flatten() {
        if extension.extn_id == INVALIDITY_DATE {
            let date = OcspGeneralizedTime::from_der(extension.extn_value.as_bytes());
            invalid_since = Some(time(&date.map_err(|error| format!("its invalidityDate: {error}"))?));
        } else if extension.critical {
            return Err(format!("its critical extension {} is unknown", extension.extn_id));
        }
    }
    let until = freshness("it", time(&one.this_update), one.next_update.as_ref().map(time), asked)?;
    match &one.cert_status {
        CertStatus::Good(_) => Ok(Status::Good(until)),
        CertStatus::Revoked(_) if is_excused(asked, invalid_since) => Ok(Status::Good(until)),
        CertStatus::Revoked(revoked) => Ok(Status::Revoked(time(&revoked.revocation_time))),
        CertStatus::Unknown(_) => Err("the responder does not know the certificate".to_owned()),
    }
}

fn time(time: &OcspGeneralizedTime) -> UnixTime {
    let seconds = time.0.to_unix_duration().as_secs();
    UnixTime::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}
