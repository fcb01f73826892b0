//! Why a key is not used for what was asked, with what to do about each. Words only; who decides is the service.

use assay_hsm::KeyUri;
use assay_proto::status_with_remedy;
use tonic::{Code, Status};

use crate::config::Purpose;

/// A refusal before a key was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    code: Code,
    why: String,
    remedy: String,
}

impl Refusal {
    /// No key of this URI has a purpose. `other` has the same name and another token.
    pub(super) fn undeclared(uri: &KeyUri, other: Option<&KeyUri>) -> Self {
        let (why, remedy) = match (other, uri.token()) {
            (Some(other), None) => (
                format!("{uri} names no token, and only keys with a purpose, each in its token, may sign"),
                format!("write {other}"),
            ),
            (Some(other), Some(token)) => (
                format!("no key in the token {token:?} may sign under the name {uri}"),
                format!("write {other}, which is in another token and may sign"),
            ),
            (None, _) => (
                format!("key {uri} has no purpose"),
                "see what there is with `assay keys list`, make a key with `assay keys generate`, or declare this one under \
                 [[keys]] in assayd.toml and restart assayd"
                    .to_owned(),
            ),
        };
        Self { code: Code::PermissionDenied, why, remedy }
    }

    /// The key is there for something else.
    pub(super) fn other_purpose(uri: &KeyUri, purpose: Purpose) -> Self {
        Self {
            code: Code::PermissionDenied,
            why: format!("key {uri} is for signing the {}, not images", purpose.as_str()),
            remedy:
                "sign with a key whose purpose is image: `assay keys list` shows it, `assay keys generate` makes one"
                    .into(),
        }
    }

    /// The caller is not among those who may use the key.
    pub(super) fn other_peer(uri: &KeyUri, uid: u32) -> Self {
        Self {
            code: Code::PermissionDenied,
            why: format!("uid {uid} may not use key {uri}"),
            remedy: format!("add {uid} to the key's peers under [[keys]] in assayd.toml and restart assayd"),
        }
    }

    /// What was asked for does not fit together.
    pub(super) fn wrong(why: String, remedy: &str) -> Self {
        Self { code: Code::InvalidArgument, why, remedy: remedy.to_owned() }
    }

    /// For the record.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// For the caller.
    pub(super) fn into_status(self) -> Status {
        status_with_remedy(self.code, self.why, &self.remedy)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use assay_proto::remedy_of;

    use super::*;

    fn told(refusal: Refusal) -> (Code, String) {
        let status = refusal.into_status();
        (status.code(), remedy_of(&status).unwrap().to_owned())
    }

    #[test]
    fn each_refusal_has_a_remedy_that_fits() {
        let uri = |text: &str| text.parse::<KeyUri>().unwrap();
        let (bare, foreign, ours) =
            (uri("pkcs11:object=ci"), uri("pkcs11:token=x;object=ci"), uri("pkcs11:token=assay;object=ci"));
        let expected = (Code::PermissionDenied, "write pkcs11:token=assay;object=ci".to_owned());
        assert_eq!(told(Refusal::undeclared(&bare, Some(&ours))), expected);
        let (_, remedy) = told(Refusal::undeclared(&foreign, Some(&ours)));
        assert_eq!(remedy, "write pkcs11:token=assay;object=ci, which is in another token and may sign");
        assert!(told(Refusal::undeclared(&ours, None)).1.contains("assay keys generate"));
        let (code, remedy) = told(Refusal::other_purpose(&ours, Purpose::Log));
        assert_eq!(code, Code::PermissionDenied);
        assert!(remedy.contains("purpose is image"), "{remedy}");
        let (code, remedy) = told(Refusal::other_peer(&ours, 7));
        assert_eq!(code, Code::PermissionDenied);
        assert!(remedy.contains("add 7 to the key's peers"), "{remedy}");
    }
}
