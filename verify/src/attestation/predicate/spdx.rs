//! SPDX 2.2 and 2.3 in JSON (spdx.github.io/spdx-spec): which packages the image consists of.

use std::fmt;

use assay_admission::UnixTime;

use crate::json::{JsonError, Object, Value};

use super::{required, text, time};

/// An SPDX document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spdx {
    /// `SPDX-2.2` or `SPDX-2.3`.
    pub version: String,
    /// What the document calls itself.
    pub name: Option<String>,
    /// The document's own URI.
    pub namespace: Option<String>,
    /// When it was made, as its maker says.
    pub created: Option<UnixTime>,
    /// The packages in the document's order.
    pub packages: Vec<Package>,
}

/// A package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// Its package URLs.
    pub purls: Vec<String>,
    /// Its licence as the document's maker concluded it.
    pub license: Option<String>,
}

/// `None` if it is of a version that is not read here.
pub(super) fn read(object: Object<'_>) -> Result<Option<Spdx>, JsonError> {
    // SPDX 3 is JSON-LD and has no such field.
    if object.optional("@context")?.is_some() {
        return Ok(None);
    }
    let version = required(object, "spdxVersion")?;
    if !matches!(version.as_str(), "SPDX-2.2" | "SPDX-2.3") {
        return Ok(None);
    }
    let creation = object.optional_object("creationInfo")?;
    Ok(Some(Spdx {
        version,
        name: text(object, "name")?,
        namespace: text(object, "documentNamespace")?,
        created: creation.map(|found| time(found, "created")).transpose()?.flatten(),
        packages: object.optional_array("packages")?.iter().map(package).collect::<Result<_, _>>()?,
    }))
}

fn package(value: &Value<'_>) -> Result<Package, JsonError> {
    let package = value.object("packages")?;
    let mut purls = Vec::new();
    for reference in package.optional_array("externalRefs")? {
        let reference = reference.object("externalRefs")?;
        if reference.string("referenceType")? == "purl" {
            purls.push(required(reference, "referenceLocator")?);
        }
    }
    Ok(Package {
        name: required(package, "name")?,
        version: text(package, "versionInfo")?,
        purls,
        license: text(package, "licenseConcluded")?,
    })
}

impl fmt::Display for Spdx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} SBOM", self.version)?;
        self.name.iter().try_for_each(|name| write!(f, " {name:?}"))?;
        write!(f, " of {} packages", self.packages.len())
    }
}
