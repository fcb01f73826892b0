//! RFC 3161 time-stamps of a signature: tokens come in; the time that an authority of the root has put its name to comes out.
//! The cryptography is sigstore-tsa's, which asks no clock. What it cannot read (RSA, fractions of a second) is left to our reader of the
//! Notary Project's tokens. What both leave open (how many signers, whose window) is decided here.

use assay_admission::UnixTime;
use sigstore_tsa::{TsaAuthority, verify_timestamp_for_authority};
use sigstore_types::{DerCertificate, SignatureBytes, TimestampToken};

use super::{TimestampError, chain};
use crate::{
    der::{Tlv, only_part, tlv_parts},
    failure::Failure,
    limits::{Budget, LimitReached, MAX_CHAIN, MAX_TOKEN_BYTES},
    notation::timestamp::by_authority,
    trust::{Authority, Certificate, SigstoreRoot},
};

/// When `signature` existed, and which authority of the root says so.
pub(super) fn verify<'r>(
    token: &[u8],
    signature: &[u8],
    root: &'r SigstoreRoot,
    budget: &mut Budget,
) -> Result<Result<(UnixTime, &'r Authority), TimestampError>, LimitReached> {
    if let Err(problem) = one_signer(token) {
        return Ok(Err(TimestampError::Malformed(problem)));
    }
    let mut problem = "the root has none".to_owned();
    for authority in &root.time_stamping {
        // The signature and the chain behind it.
        for _ in 0..MAX_CHAIN {
            budget.spend_key_operation()?;
        }
        let time = match by_library(token, signature, authority) {
            Ok(time) => Ok(time),
            // Either of the two proves it on its own; the library's reason is the one that people can look up.
            Err(why) => by_our_reader(token, signature, authority, budget)?.map_err(|ours| format!("{why}; {ours}")),
        };
        match time {
            // Whoever signed it is known now; the window of another authority does not help.
            Ok(time) => {
                // The anchor's own validity counts too, as it does for certificate authorities.
                let anchor = authority.chain.last().map_or(&[][..], Vec::as_slice);
                if let Err(problem) = chain::holds(anchor, time) {
                    return Ok(Err(TimestampError::Untrusted(problem)));
                }
                return Ok(if authority.window.contains(time) {
                    Ok((time, authority))
                } else {
                    Err(TimestampError::Untrusted(format!(
                        "it says {time}, when {} may not be believed",
                        authority.operator
                    )))
                });
            }
            Err(why) => problem = why,
        }
    }
    Ok(Err(TimestampError::Untrusted(problem)))
}

fn by_library(token: &[u8], signature: &[u8], authority: &Authority) -> Result<UnixTime, String> {
    let known = as_one(authority).ok_or("the authority has no certificate")?;
    let (token, signature) = (TimestampToken::new(token.to_vec()), SignatureBytes::new(signature.to_vec()));
    let time = verify_timestamp_for_authority(&token, &signature, &known).map_err(|why| why.to_string())?;
    Ok(UnixTime::from_seconds(time.as_second()))
}

fn by_our_reader(
    token: &[u8],
    signature: &[u8],
    authority: &Authority,
    budget: &mut Budget,
) -> Result<Result<UnixTime, String>, LimitReached> {
    let chain = authority.chain.iter().map(|der| Certificate::from_der(der.clone())).collect::<Result<Vec<_>, _>>();
    let chain = match chain {
        Ok(chain) => chain,
        Err(why) => return Ok(Err(why.to_string())),
    };
    let Some(token) = content_info(token) else { return Ok(Err("it has no ContentInfo".to_owned())) };
    match by_authority(token, signature, &chain, budget) {
        Ok(time) => Ok(Ok(time)),
        Err(Failure::Exhausted(limit)) => Err(limit),
        Err(Failure::Rejected(why)) => Ok(Err(why.to_string())),
    }
}

/// The authority without its window, which is compared in whole seconds like every other.
fn as_one(authority: &Authority) -> Option<TsaAuthority> {
    let certificate = |der: &Vec<u8>| DerCertificate::new(der.clone());
    let (leaf, above) = authority.chain.split_first()?;
    let (root, between) = above.split_last().unwrap_or((leaf, &[]));
    Some(TsaAuthority::new(certificate(leaf), between.iter().map(certificate).collect(), certificate(root), None))
}

/// RFC 3161 §2.4.2: the token has exactly one SignerInfo. More of them would leave open which one is verified.
fn one_signer(token: &[u8]) -> Result<(), String> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(format!("it has {} bytes, at most {MAX_TOKEN_BYTES} are accepted", token.len()));
    }
    let signers = signer_infos(token).ok_or("it is no TimeStampResp or ContentInfo with SignedData in DER")?;
    match tlv_parts(signers.contents, 2).as_deref() {
        Some([_]) => Ok(()),
        _ => Err("it does not have exactly one SignerInfo".to_owned()),
    }
}

/// The token itself, without the answer around it that some clients keep.
fn content_info(token: &[u8]) -> Option<&[u8]> {
    match tlv_parts(only_part(token)?.contents, 2)?.as_slice() {
        [kind, _] if kind.tag == 0x06 => Some(token),
        [_, info] => Some(info.whole),
        _ => None,
    }
}

/// `TimeStampResp { status, ContentInfo { signedData, [0] { SignedData { …, signerInfos } } } }`, or from the ContentInfo on.
fn signer_infos(token: &[u8]) -> Option<Tlv<'_>> {
    let outer = tlv_parts(only_part(token)?.contents, 2)?;
    let content = match outer.as_slice() {
        [kind, content] if kind.tag == 0x06 => *content,
        [_, info] => match tlv_parts(info.contents, 2)?.as_slice() {
            [kind, content] if kind.tag == 0x06 => *content,
            _ => return None,
        },
        _ => return None,
    };
    let fields = tlv_parts(only_part(content.contents)?.contents, 6)?;
    fields.last().copied().filter(|signers| signers.tag == 0x31)
}
