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
    let copied =
        ran.and_then(|()| fs::copy(&beside, &made).with_context(|| format!("take {}", beside.display())));
    for left in files_named(&process::workspace(), &format!("{NAME}.json"))? {
        fs::remove_file(&left).with_context(|| format!("remove {}", left.display()))?;
    }
    copied?;
    let text = fs::read_to_string(&made).with_context(|| format!("read {}", made.display()))?;
    ensure!(
        ["CycloneDX", "\"aya\"", "\"tokio\""].iter().all(|word| text.contains(word)),
        "{} does not name what sluice is made of",
        made.display()
    );
    Ok(made)
}
