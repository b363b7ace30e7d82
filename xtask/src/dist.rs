//! `cargo xtask dist`: one archive with the release binary, its man pages and its completions.
//!
//! In: a release build. Out: `target/dist/sluice-VERSION-ARCH.tar.gz`, with one folder of that name in it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{build, process, setup};

pub fn main() -> Result<()> {
    build::build(setup::Scope::Build, true)?;
    let sluice = process::built("sluice", true)?;
    let name = format!("sluice-{}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let dist = process::target().join("dist");
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;

    let place = |from: &Path, to: &str| {
        fs::copy(from, folder.join(to)).with_context(|| format!("copy {}", from.display()))
    };
    place(&sluice, "sluice")?;
    for page in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        place(&process::workspace().join(page), page)?;
    }
    for kind in ["man", "completions"] {
        let out = folder.join(kind);
        fs::create_dir(&out).with_context(|| format!("make {}", out.display()))?;
        process::run(Command::new(&sluice).args(["generate", kind, "--out"]).arg(&out))?;
    }

    let archive = dist.join(format!("{name}.tar.gz"));
    process::run(Command::new("tar").arg("--create").arg("--gzip").args([
        "--owner=0",
        "--group=0",
        "--directory",
        &dist.to_string_lossy(),
        "--file",
        &archive.to_string_lossy(),
        &name,
    ]))?;
    eprintln!("packed {}", archive.display());
    Ok(())
}
