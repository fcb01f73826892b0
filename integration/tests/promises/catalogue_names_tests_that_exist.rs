//! Every test that docs/attacks.md names stands in the file that it names.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

#[test]
fn every_test_that_the_catalogue_names_exists() -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let catalogue = fs::read_to_string(workspace.join("docs/attacks.md"))?;
    let mut found = 0;
    for row in catalogue.lines().filter(|line| line.starts_with('|')) {
        let mut source: Option<String> = None;
        for quoted in row.split('`').skip(1).step_by(2) {
            if quoted.ends_with(".rs") {
                let path = quoted.replacen("promises/", "integration/tests/promises/", 1);
                source = Some(fs::read_to_string(workspace.join(&path)).with_context(|| path.clone())?);
            } else {
                let source = source.as_ref().with_context(|| format!("{quoted} has no file"))?;
                let is_test = source.contains(&format!("fn {quoted}("));
                ensure!(is_test, "no test is called {quoted} where the catalogue says so: {row}");
                found += 1;
            }
        }
    }
    ensure!(found > 100, "only {found} tests are named");
    Ok(())
}
