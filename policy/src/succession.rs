//! Whether a policy may take the place of the one in force: versions only rise, and a version has one content for ever, so
//! that the version in a record says what was decided by.

use std::cmp::Ordering;

use crate::{
    errors::{PolicyErrors, Problems},
    policy::Policy,
};

impl Policy {
    /// Compares this policy with `current`, which is in force. The same version with the same content is no change, and fine.
    ///
    /// # Errors
    /// [`PolicyErrors`] at the version, if it is lower, or the same although the text or a file or key that it names differs.
    pub fn may_follow(&self, current: &Self) -> Result<(), PolicyErrors> {
        let mut problems = Problems::default();
        let (own, other) = (self.version, current.version);
        match own.cmp(&other) {
            Ordering::Greater => {}
            Ordering::Less => problems.add(
                &self.version_span,
                format!("version {own} is older than version {other}, which is in force"),
                "versions only rise: to go back to an old content, give it a new version",
            ),
            Ordering::Equal if self.digest_of_own == current.digest_of_own => {}
            Ordering::Equal => problems.add(
                &self.version_span,
                format!("version {own} is in force already with other content: {}", self.difference(current)),
                format!("raise the version with every change: version = {}", own.saturating_add(1)),
            ),
        }
        problems.into_result(&self.source, Some(()))
    }

    /// Both digests: of the texts, or of everything together if only a file or key differs.
    fn difference(&self, current: &Self) -> String {
        if self.sha256 == current.sha256 {
            let (own, other) = (self.digest_of_own, current.digest_of_own);
            format!("a file or key that it names has changed ({own} with all that it names, in force is {other})")
        } else {
            format!("this file has the sha256 {}, in force is {}", self.sha256, current.sha256)
        }
    }
}
