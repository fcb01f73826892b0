//! SLSA provenance v0.2 and v1 (slsa.dev/spec): who built the image, how, and from what.

use std::{collections::BTreeMap, fmt};

use assay_admission::UnixTime;

use crate::json::{JsonError, Object, Value, wrong};

use super::{required, text, time};

/// How an image was built, as the builder says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The specification's version: `v0.2` or `v1`.
    pub version: &'static str,
    /// The builder's identity, a URI. What a builder says is worth what the builder is worth.
    pub builder: String,
    /// How the rest is to be understood, a URI.
    pub build_type: String,
    /// Where the build's instructions came from: `configSource` (v0.2), or the external parameters `source` or `workflow` (v1).
    pub source: Option<Resource>,
    /// Everything else that went in: `materials` (v0.2), `resolvedDependencies` (v1).
    pub materials: Vec<Resource>,
    /// The builder's own name for this build.
    pub invocation: Option<String>,
    /// When the build started, as the builder says.
    pub started: Option<UnixTime>,
    /// When the build ended, as the builder says.
    pub finished: Option<UnixTime>,
}

/// Something that went into a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// Where it came from.
    pub uri: Option<String>,
    /// Its digests: algorithm and value as they stand there.
    pub digests: BTreeMap<String, String>,
    /// The file in it that was run, or the revision that was asked for.
    pub entry: Option<String>,
}

/// slsa.dev/spec/v0.2/provenance
pub(super) fn read_v0_2(object: Object<'_>) -> Result<Provenance, JsonError> {
    let invocation = object.optional_object("invocation")?;
    let source = invocation.map(|found| found.optional_object("configSource")).transpose()?.flatten();
    let source = match source {
        Some(source) => Some(Resource { entry: text(source, "entryPoint")?, ..resource(source)? }),
        None => None,
    };
    let metadata = object.optional_object("metadata")?;
    Ok(Provenance {
        version: "v0.2",
        builder: required(object.object("builder")?, "id")?,
        build_type: required(object, "buildType")?,
        source,
        materials: resources(object.optional_array("materials")?, "materials")?,
        invocation: metadata.map(invocation_v0_2).transpose()?.flatten(),
        started: metadata.map(|found| time(found, "buildStartedOn")).transpose()?.flatten(),
        finished: metadata.map(|found| time(found, "buildFinishedOn")).transpose()?.flatten(),
    })
}

/// The specification writes `buildInvocationId`, earlier versions of the Go library `buildInvocationID`.
fn invocation_v0_2(metadata: Object<'_>) -> Result<Option<String>, JsonError> {
    let is_gos = metadata.members().any(|(key, _)| key == "buildInvocationID");
    text(metadata, if is_gos { "buildInvocationID" } else { "buildInvocationId" })
}

/// slsa.dev/spec/v1.0/provenance
pub(super) fn read_v1(object: Object<'_>) -> Result<Provenance, JsonError> {
    let definition = object.object("buildDefinition")?;
    let details = object.object("runDetails")?;
    let metadata = details.optional_object("metadata")?;
    let dependencies = definition.optional_array("resolvedDependencies")?;
    Ok(Provenance {
        version: "v1",
        builder: required(details.object("builder")?, "id")?,
        build_type: required(definition, "buildType")?,
        source: source_v1(definition.object("externalParameters")?)?,
        materials: resources(dependencies, "resolvedDependencies")?,
        invocation: metadata.map(|found| text(found, "invocationId")).transpose()?.flatten(),
        started: metadata.map(|found| time(found, "startedOn")).transpose()?.flatten(),
        finished: metadata.map(|found| time(found, "finishedOn")).transpose()?.flatten(),
    })
}

/// What the external parameters are is the build type's affair. Two usages are wide-spread: a `source`, which is a URI or a resource
/// descriptor, and GitHub's `workflow` with `repository`, `ref` and `path`. Anything else is no source.
fn source_v1(parameters: Object<'_>) -> Result<Option<Resource>, JsonError> {
    match parameters.optional("source")? {
        Some(Value::String(uri)) => return Ok(Some(Resource { uri: Some(uri.to_string()), ..Resource::default() })),
        Some(value @ Value::Object(_)) => return resource(value.object("source")?).map(Some),
        Some(Value::Null | Value::Bool(_) | Value::Integer(_) | Value::OtherNumber | Value::Array(_)) | None => {}
    }
    let Some(Value::Object(_)) = parameters.optional("workflow")? else { return Ok(None) };
    let workflow = parameters.object("workflow")?;
    let Some(repository) = text(workflow, "repository")? else { return Ok(None) };
    let revision = text(workflow, "ref")?;
    let uri = revision.map_or_else(|| repository.clone(), |revision| format!("git+{repository}@{revision}"));
    Ok(Some(Resource { uri: Some(uri), digests: BTreeMap::new(), entry: text(workflow, "path")? }))
}

fn resources(values: &[Value<'_>], name: &'static str) -> Result<Vec<Resource>, JsonError> {
    values.iter().map(|value| resource(value.object(name)?)).collect()
}

/// A resource descriptor.
fn resource(object: Object<'_>) -> Result<Resource, JsonError> {
    let digests = object.strings("digest")?;
    if let Some((algorithm, value)) = digests.iter().find(|(_, value)| !is_hash(value)) {
        return Err(wrong("digest", format!("has {value:?} for {algorithm:?}, which is no hash")));
    }
    Ok(Resource { uri: text(object, "uri")?, digests, entry: None })
}

/// in-toto digest_set.md: hex, or for algorithms other than the usual ones whatever they use. Never empty, never white space.
fn is_hash(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic())
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SLSA provenance {} by builder {:?}, build type {:?}", self.version, self.builder, self.build_type)?;
        if let Some(uri) = self.source.as_ref().and_then(|source| source.uri.as_ref()) {
            write!(f, ", source {uri:?}")?;
        }
        write!(f, ", {} materials", self.materials.len())
    }
}
