//! axe-core looks for what people with assistive technology cannot use. `scripts/test` installs it.

use std::path::Path;

use crate::browser::Browser;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/node_modules/axe-core/axe.min.js");

/// What axe-core finds on the page as it is, one line each.
pub async fn found(browser: &Browser) -> Vec<String> {
    assert!(Path::new(SCRIPT).is_file(), "axe-core is not installed (scripts/test installs it)");
    if browser.script("return typeof axe", Vec::new()).await == "undefined" {
        browser.script(&std::fs::read_to_string(SCRIPT).unwrap(), Vec::new()).await;
    }
    let run = "const { violations } = await axe.run(document, { resultTypes: ['violations'] });
               return violations.flatMap(({ id, help, nodes }) =>
                 nodes.map(({ target, failureSummary }) => `${id}: ${help}: ${target}: ${failureSummary}`));";
    let found = browser.await_script(run, Vec::new()).await;
    found.as_array().unwrap().iter().map(|line| line.as_str().unwrap_or_default().to_owned()).collect()
}
