//! Typed predicates: what is read of each type, and what each refuses by field and value.

use assay_admission::UnixTime;
use assay_verify::{
    Attestation, Component, Discovered, Package, Predicate, RejectionReason, Report, Severity, VerificationResult,
    VexStatus,
};
use serde_json::{Value, json};

use crate::{
    attestations::{attested, attester, state, statement},
    support::*,
};

/// 2026-11-22T10:00:00Z
const TEN: UnixTime = UnixTime::from_seconds(1_795_341_600);

fn real(name: &str) -> Attestation {
    attested(artifact(&format!("attest-{name}")), &attester()).attestations.remove(0)
}

/// The predicate of the real attestation `name` after `change`, signed by somebody who may.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> Result<Predicate, RejectionReason> {
    let real = real(name);
    let mut predicate = real.predicate_json();
    change(&mut predicate);
    state(&statement(real.predicate_type(), &predicate).to_string())
        .map(|mut found| found.remove(0).predicate().clone())
}

/// Takes `field` out of the object at `pointer`.
fn without(name: &str, pointer: &str, field: &str) -> Result<Predicate, RejectionReason> {
    changed(name, |predicate| {
        let object = predicate.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        assert!(object.remove(field).is_some(), "{pointer}/{field}");
    })
}

/// Puts `value` where `pointer` leads.
fn with(name: &str, pointer: &str, value: Value) -> Result<Predicate, RejectionReason> {
    changed(name, |predicate| *predicate.pointer_mut(pointer).unwrap() = value)
}

#[test]
fn provenance_of_both_versions_says_who_built_what_from_what() {
    for (name, version, source, entry) in [
        ("slsaprovenance", "v0.2", "git+https://git.example/acme/app@refs/tags/v1", "Makefile"),
        ("slsaprovenance1", "v1", "git+https://git.example/acme/app@refs/tags/v1", ".ci/release.yml"),
    ] {
        let real = real(name);
        let Predicate::Provenance(found) = real.predicate() else { panic!("{real:?}") };
        assert_eq!((found.version, found.builder.as_str()), (version, "https://ci.example/builder"));
        let from = found.source.as_ref().unwrap();
        assert_eq!((from.uri.as_deref(), from.entry.as_deref()), (Some(source), Some(entry)));
        assert_eq!(found.materials.len(), 1);
        assert_eq!(found.materials[0].digests["sha1"], "b6589fc6ab0dc82cf12099d1c2d40ab994e8410c");
        assert_eq!(found.started, Some(TEN));
        assert!(found.invocation.as_deref().unwrap().ends_with("4711"));
    }
}

#[test]
fn provenance_without_builder_or_build_type_is_refused() {
    for (name, pointer, field, parent) in [
        ("slsaprovenance", "/builder", "id", "builder"),
        ("slsaprovenance", "", "buildType", "predicate"),
        ("slsaprovenance1", "/runDetails/builder", "id", "builder"),
        ("slsaprovenance1", "/buildDefinition", "buildType", "buildDefinition"),
    ] {
        assert_eq!(without(name, pointer, field), Err(malformed(field, &format!("is missing in {parent}"))), "{name}");
        assert_eq!(with(name, &format!("{pointer}/{field}"), "".into()), Err(malformed(field, "is empty")), "{name}");
    }
    let other_case = changed("slsaprovenance", |predicate| {
        let id = predicate["builder"].as_object_mut().unwrap().remove("id").unwrap();
        predicate["builder"]["Id"] = id;
    });
    assert_eq!(other_case, Err(malformed("id", "is written \"Id\" in builder")));
    assert_eq!(
        with("slsaprovenance1", "/runDetails/metadata/startedOn", "yesterday".into()),
        Err(malformed("startedOn", "is \"yesterday\", which is no RFC 3339 time"))
    );
    assert_eq!(
        with("slsaprovenance", "/materials/0/digest/sha1", "".into()),
        Err(malformed("digest", "has \"\" for \"sha1\", which is no hash"))
    );
}

#[test]
fn a_source_in_the_parameters_of_a_build_is_read_as_text_and_as_a_resource() {
    let source = |value: Value| {
        let found = changed("slsaprovenance1", |predicate| {
            predicate["buildDefinition"]["externalParameters"] = json!({ "source": value });
        });
        match found {
            Ok(Predicate::Provenance(found)) => found.source.map(|source| (source.uri, source.digests.len())),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(source("git+https://a.example/b".into()), Some((Some("git+https://a.example/b".to_owned()), 0)));
    let resource = json!({ "uri": "git+https://a.example/b", "digest": { "sha1": "00" } });
    assert_eq!(source(resource), Some((Some("git+https://a.example/b".to_owned()), 1)));
    assert_eq!(source(7.into()), None);
}

#[test]
fn an_spdx_document_lists_its_packages() {
    let Predicate::Spdx(found) = real("spdxjson").predicate().clone() else { panic!("no SPDX") };
    assert_eq!((found.version.as_str(), found.name.as_deref(), found.created), ("SPDX-2.3", Some("app"), Some(TEN)));
    let busybox = Package {
        name: "busybox".to_owned(),
        version: Some("1.36.1".to_owned()),
        purls: vec!["pkg:deb/debian/busybox@1.36.1".to_owned()],
        license: Some("GPL-2.0-only".to_owned()),
    };
    assert_eq!(found.packages, [busybox]);
    assert_eq!(without("spdxjson", "", "spdxVersion"), Err(malformed("spdxVersion", "is missing in predicate")));
    assert_eq!(without("spdxjson", "/packages/0", "name"), Err(malformed("name", "is missing in packages")));
    assert_eq!(with("spdxjson", "/packages", "all".into()), Err(malformed("packages", "is not an array")));
}

#[test]
fn a_cyclonedx_document_lists_components_and_vulnerabilities() {
    let Predicate::CycloneDx(found) = real("cyclonedx").predicate().clone() else { panic!("no CycloneDX") };
    let component = |name: &str, version: Option<&str>, purl: Option<&str>| Component {
        kind: "library".to_owned(),
        name: name.to_owned(),
        version: version.map(str::to_owned),
        purl: purl.map(str::to_owned),
    };
    let busybox = component("busybox", Some("1.36.1"), Some("pkg:deb/debian/busybox@1.36.1"));
    assert_eq!(found.components, [busybox, component("ash", None, None)]);
    let vulnerability = Discovered {
        id: Some("CVE-2026-0001".to_owned()),
        severities: vec!["high".to_owned()],
        state: Some("not_affected".to_owned()),
        justification: Some("code_not_reachable".to_owned()),
    };
    assert_eq!((found.vulnerabilities, found.created), (vec![vulnerability], Some(TEN)));
    assert_eq!(
        with("cyclonedx", "/bomFormat", "SPDX".into()),
        Err(malformed("bomFormat", "is \"SPDX\", not \"CycloneDX\""))
    );
    assert_eq!(
        with("cyclonedx", "/vulnerabilities/0/ratings/0/severity", "awful".into()),
        Err(malformed("severity", "is \"awful\", not one of critical, high, medium, low, info, none, unknown"))
    );
    assert!(matches!(
        with("cyclonedx", "/vulnerabilities/0/analysis/state", "fine".into()),
        Err(RejectionReason::Malformed { field: "state", .. })
    ));
}

#[test]
fn a_scan_says_who_looked_and_when_and_its_sarif_is_read() {
    let Predicate::Vulnerabilities(found) = real("vuln").predicate().clone() else { panic!("no scan") };
    assert_eq!(found.scanner.as_deref(), Some("pkg:deb/debian/scanner@1.0"));
    assert_eq!((found.database.as_deref(), found.database_version.as_deref()), (Some("https://db.example"), Some("7")));
    assert_eq!(found.finished, Some(UnixTime::from_seconds(TEN.seconds() + 60)));
    let Report::Sarif(report) = found.report else { panic!("no SARIF") };
    assert_eq!(report.results[0], (Some("CVE-2026-0001".to_owned()), Some(Severity::Error)));
    let Ok(Predicate::Vulnerabilities(found)) = with("vuln", "/scanner/result", json!({ "matches": [] })) else {
        panic!("another report is no error")
    };
    assert_eq!(found.report, Report::Other);
    assert_eq!(without("vuln", "", "scanner"), Err(malformed("scanner", "is missing in predicate")));
    assert!(matches!(
        with("vuln", "/metadata/scanFinishedOn", "2026-13-01T00:00:00Z".into()),
        Err(RejectionReason::Malformed { field: "scanFinishedOn", .. })
    ));
}

#[test]
fn a_vex_document_says_what_matters_and_why_not() {
    let Predicate::OpenVex(found) = real("openvex").predicate().clone() else { panic!("no OpenVEX") };
    assert_eq!((found.author.as_str(), found.version, found.written), ("Acme", 1, Some(TEN)));
    let statement = &found.statements[0];
    assert_eq!((statement.vulnerability.as_str(), statement.status), ("CVE-2026-0001", VexStatus::NotAffected));
    assert_eq!(statement.products, ["pkg:oci/app"]);
    assert_eq!(
        with("openvex", "/statements/0/status", "harmless".into()),
        Err(malformed("status", "is \"harmless\", which is no OpenVEX status"))
    );
    assert_eq!(
        without("openvex", "/statements/0", "justification"),
        Err(malformed("justification", "is missing beside the status \"not_affected\""))
    );
    assert_eq!(
        with("openvex", "/statements/0/justification", "trust_me".into()),
        Err(malformed("justification", "is \"trust_me\", which is no OpenVEX justification"))
    );
    assert_eq!(with("openvex", "/statements", json!([])), Err(malformed("statements", "is empty")));
    assert_eq!(
        with("openvex", "/statements/0/products/0", json!({})),
        Err(malformed("products", "has an entry with neither @id nor identifiers"))
    );
}

#[test]
fn sarif_and_summaries_are_read() {
    let Predicate::Sarif(found) = real("sarif").predicate().clone() else { panic!("no SARIF") };
    assert_eq!((found.tools, found.results.len()), (vec!["scanner".to_owned()], 2));
    assert_eq!(
        with("sarif", "/runs/0/results/0/level", "fatal".into()),
        Err(malformed("level", "is \"fatal\", not none, note, warning or error"))
    );
    assert_eq!(without("sarif", "", "runs"), Err(malformed("runs", "is missing in predicate")));

    let Predicate::Summary(found) = real("summary").predicate().clone() else { panic!("no summary") };
    assert_eq!((found.result, found.verifier.as_str()), (VerificationResult::Passed, "https://verifier.example"));
    assert_eq!((found.levels, found.verified), (vec!["SLSA_BUILD_LEVEL_3".to_owned()], Some(TEN)));
    let Ok(Predicate::Summary(failed)) = with("summary", "/verificationResult", "FAILED".into()) else {
        panic!("a failure is a result")
    };
    assert_eq!(failed.result, VerificationResult::Failed);
    assert_eq!(
        with("summary", "/verificationResult", "passed".into()),
        Err(malformed("verificationResult", "is \"passed\", not PASSED or FAILED"))
    );
    assert_eq!(without("summary", "/verifier", "id"), Err(malformed("id", "is missing in verifier")));
}

#[test]
fn versions_that_are_not_known_are_another_predicate_and_no_error() {
    for (name, pointer, value) in [
        ("spdxjson", "/spdxVersion", "SPDX-3.0"),
        ("cyclonedx", "/specVersion", "2.0"),
        ("openvex", "/@context", "https://openvex.dev/ns/v9.0.0"),
        ("sarif", "/version", "3.0.0"),
    ] {
        assert_eq!(with(name, pointer, value.into()), Ok(Predicate::Other), "{name}");
    }
    assert_eq!(changed("spdxjson", |predicate| *predicate = "SPDXVersion: SPDX-2.3".into()), Ok(Predicate::Other));
    for unknown in
        ["https://slsa.dev/provenance/v2", "https://slsa.dev/provenance/v0.2/", "HTTPS://slsa.dev/provenance/v0.2"]
    {
        let found = state(&statement(unknown, &json!({})).to_string()).unwrap();
        assert_eq!((found[0].predicate_type(), found[0].predicate()), (unknown, &Predicate::Other));
    }
}

#[test]
fn a_known_type_without_a_predicate_is_refused_and_an_unknown_one_is_not() {
    let absent = |predicate_type: &str| {
        let mut statement = statement(predicate_type, &Value::Null);
        statement.as_object_mut().unwrap().remove("predicate");
        state(&statement.to_string()).map(|found| found[0].predicate_json())
    };
    let problem = "is missing beside \"https://slsa.dev/provenance/v1\"";
    assert_eq!(absent("https://slsa.dev/provenance/v1"), Err(malformed("predicate", problem)));
    assert_eq!(absent("https://acme.example/review/v1"), Ok(Value::Null));
    let list = state(&statement("https://slsa.dev/provenance/v1", &json!([])).to_string());
    assert_eq!(list, Err(malformed("predicate", "is not an object")));
}

#[test]
fn each_predicate_is_told_in_one_line() {
    for (name, words) in [
        ("slsaprovenance", "SLSA provenance v0.2 by builder \"https://ci.example/builder\""),
        ("spdxjson", "SPDX-2.3 SBOM \"app\" of 1 packages"),
        ("cyclonedx", "CycloneDX 1.5 BOM of 2 components, 1 vulnerabilities, 1 of them analysed"),
        ("vuln", "vulnerability scan by \"pkg:deb/debian/scanner@1.0\", finished at 2026-11-22T10:01:00Z"),
        ("openvex", "OpenVEX document \"https://acme.example/vex/1\" by \"Acme\" with 1 statements"),
        ("sarif", "SARIF report of 2 results by [\"scanner\"]"),
        ("summary", "verification summary by \"https://verifier.example\": passed"),
        ("other", "a predicate whose content is not read here"),
    ] {
        let text = real(name).predicate().to_string();
        assert!(text.starts_with(words) && !text.contains('\n'), "{text}");
    }
}
