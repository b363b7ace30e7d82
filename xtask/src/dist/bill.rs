//! The bill of materials: every crate in the binary, with its version and licence, in `CycloneDX`.
//!
//! In: the workspace, resolved for one target. Out: `sluice-VERSION-MACHINE.cdx.json`. cargo-cyclonedx writes a file beside
//! every manifest of the workspace; the daemon's is taken, and none stays.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::Product;
use super::contents::files_named;
use crate::process;

/// Beside each manifest, without the ending that the tool adds.
const NAME: &str = "sluice-bill";

pub fn of_materials(product: &Product) -> Result<PathBuf> {
    let made = product.out.join(format!("sluice-{}-{}.cdx.json", product.version, product.arch.machine()));
    let mut command = process::cargo(["cyclonedx", "--format", "json", "--spec-version", "1.5", "--quiet"]);
    command.args(["--override-filename", NAME, "--target", product.arch.triple()]);
    let ran =
        process::run(command.arg("--manifest-path").arg(process::workspace().join("monitor/Cargo.toml")));
    let beside = process::workspace().join("monitor").join(format!("{NAME}.json"));
    let taken =
        ran.and_then(|()| fs::read_to_string(&beside).with_context(|| format!("read {}", beside.display())));
    for left in files_named(&process::workspace(), &format!("{NAME}.json"))? {
        fs::remove_file(&left).with_context(|| format!("remove {}", left.display()))?;
    }
    let text = without_place(&taken?, &process::workspace().display().to_string());
    fs::write(&made, &text).with_context(|| format!("write {}", made.display()))?;
    ensure!(
        ["CycloneDX", "\"aya\"", "\"tokio\""].iter().all(|word| text.contains(word)),
        "{} does not name what sluice is made of",
        made.display()
    );
    Ok(made)
}

/// The place of the checkout on this machine says nothing about the product.
fn without_place(bill: &str, workspace: &str) -> String {
    bill.replace(&format!("path+file://{workspace}"), "path+file:///sluice")
}

#[cfg(test)]
mod tests {
    use super::without_place;

    #[test]
    fn the_bill_does_not_say_where_it_was_made() {
        let bill =
            r#"{"bom-ref": "path+file:///some/checkout/monitor#0.1.0", "purl": "pkg:cargo/aya@0.14.0"}"#;
        assert_eq!(
            without_place(bill, "/some/checkout"),
            r#"{"bom-ref": "path+file:///sluice/monitor#0.1.0", "purl": "pkg:cargo/aya@0.14.0"}"#
        );
    }
}
