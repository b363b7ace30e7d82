//! `cargo xtask dist`: a .deb, an .rpm and a tarball with everything that a host needs, their bill of materials and sums.
//!
//! In: the workspace. Out: `target/dist`. All three hold the same tree (`contents`), so that none can lack a file that
//! another has. What does not run on the oldest host that the packages promise, or is not the same twice, is an error.

mod bill;
mod contents;
mod cross;
mod packages;
mod paths;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{process, setup};
pub use contents::stage;
pub use packages::{Effort, deb};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The architecture of the packages; another one than this machine's is built across
    #[arg(long, value_enum, default_value = "amd64")]
    arch: Arch,
}

/// For whom packages are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// As rustc names it.
    pub const fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// As file names and the rpm carry it.
    pub const fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }
}

/// What is packed: a binary, under a version.
#[derive(Debug, Clone)]
pub struct Product {
    pub binary: PathBuf,
    /// Runs here, and writes the man pages and completions.
    pub generator: PathBuf,
    pub version: String,
    pub arch: Arch,
    /// Where everything goes.
    pub out: PathBuf,
}

/// The version of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub fn main(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Scope::Package)?;
    let arch = arguments.arch;
    let out = folder(arch);
    clear(&out)?;
    let native = process::host()? == arch.triple();
    // The dependencies and their versions travel inside the binary, where scanners find them.
    let mut build = process::cargo(["auditable", "build", "--release", "--bin", "sluice"]);
    process::run(build.env("CARGO_ENCODED_RUSTFLAGS", paths::remapping()?.join("\x1f")))?;
    let generator = process::built("sluice", true)?;
    let binary = if native { generator.clone() } else { cross::build(arch)? };
    let product = Product { binary, generator, version: VERSION.to_owned(), arch, out };

    verify::runs_on_old_hosts(&product.binary, arch)?;
    paths::holds_none(&product.binary)?;
    verify::same_object_twice(arch)?;
    verify::manifests()?;
    let root = stage(&product)?;
    let mut made = vec![
        packages::deb(&product, &root, Effort::Full)?,
        packages::rpm(&product, &root)?,
        packages::tarball(&product, &root)?,
    ];
    made.push(bill::of_materials(&product)?);
    for package in &made {
        verify::holds_everything(package, &root)?;
    }
    verify::sums(&product.out, &made)?;
    for file in made {
        eprintln!("made {}", file.display());
    }
    Ok(())
}

/// Where the packages of an architecture go.
pub fn folder(arch: Arch) -> PathBuf {
    process::target().join("dist").join(arch.machine())
}

/// Makes `folder` anew, empty.
fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}
