//! The BPF compiler and its linker: Debian's matched pair of compiler and library source, or rustup's pinned nightly.
//!
//! In: what `toolchain` finds. Out: a compiler with library source, and a `bpf-linker` built on the very `libLLVM` that
//! this compiler loads, so that the two can never differ.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use super::{Apt, Item};
use crate::process;
use crate::toolchain::{self, Compiler, NIGHTLY, SYSTEM_RUSTC, Toolchain};

const LINKER_VERSION: &str = "0.13.0";

/// The majors of LLVM that this version of the linker can be built on.
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// The oldest of Debian's packages that builds the kernel side.
const OLDEST_PACKAGE: (u32, u32) = (1, 95);

/// Who provides the compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Origin {
    /// rustc-web and rust-web-src, by apt
    Debian,
    /// The pinned nightly with rust-src, by rustup
    Rustup,
}

pub fn compiler() -> Item {
    let state = Compiler::find().map(|found| {
        let driver = if found.cargo.is_some() { "its own" } else { "this" };
        format!("{} ({}, driven by {driver} cargo)", found.describe(), found.rustc.display())
    });
    Item { name: "BPF compiler", state }
}

pub fn linker() -> Item {
    let state = Toolchain::find()
        .map(|found| format!("{}, fits {}", found.linker.display(), found.compiler.describe()));
    Item { name: "BPF linker", state }
}

/// Debian's packages come first: a machine that has apt needs it for the test tools anyway, and all of them then
/// build the kernel side with one and the same compiler.
pub fn install_compiler(apt: &mut Apt, origin: Option<Origin>) -> Result<()> {
    if origin != Some(Origin::Rustup)
        && apt.candidate("rustc-web").is_some_and(|version| is_new_enough(&version))
    {
        eprintln!("xtask: installing Debian's compiler and library source for the BPF target");
        match apt.install(&["rustc-web", "rust-web-src"]) {
            Err(error) if origin.is_none() => eprintln!("xtask: {error:#}"),
            other => return other,
        }
    }
    if origin == Some(Origin::Debian) {
        bail!(
            "apt offers no rustc-web of 1.95 or newer; rustup is the other way: `cargo xtask setup --toolchain rustup`"
        );
    }
    if process::find_program("rustup").is_some() {
        eprintln!("xtask: installing {NIGHTLY} with its library source for the BPF target");
        let mut rustup = Command::new("rustup");
        rustup.args(["toolchain", "install", NIGHTLY, "--profile", "minimal", "--component", "rust-src"]);
        process::run(rustup.arg("--no-self-update")).map_err(no_way)?;
        return Ok(());
    }
    Err(no_way(anyhow!("apt offers no rustc-web of 1.95 or newer, and there is no rustup")))
}

fn no_way(error: anyhow::Error) -> anyhow::Error {
    error.context(format!(
        "no way to a BPF compiler is open. By hand, either `rustup toolchain install {NIGHTLY} --profile minimal \
         --component rust-src`, or on Debian bookworm with its security updates `apt-get install rustc-web rust-web-src`"
    ))
}

/// Debian's version begins as the compiler's release does.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|found| found >= OLDEST_PACKAGE)
}

pub fn install_linker() -> Result<()> {
    let compiler = Compiler::find().map_err(|missing| anyhow!(missing))?;
    let major = compiler.llvm_major;
    if !LINKER_LLVM.contains(&major) {
        bail!("bpf-linker {LINKER_VERSION} cannot be built on the compiler's LLVM {major}");
    }
    eprintln!(
        "xtask: building bpf-linker {LINKER_VERSION} on the compiler's own LLVM {major}, about a minute"
    );
    let library = llvm_library(&compiler.rustc)?;
    let folder = library.parent().context("libLLVM lies in no folder")?;
    let prefix = llvm_prefix(&library)?;
    let mut cargo =
        process::cargo(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"]);
    cargo.args(["--no-default-features", "--features", &format!("llvm-{major}")]);
    cargo.env("LLVM_PREFIX", &prefix);
    // rustup's libLLVM lies where the dynamic loader does not look.
    cargo.env("RUSTFLAGS", format!("-Clink-arg=-Wl,-rpath,{}", folder.display()));
    process::run(&mut cargo).with_context(|| {
        let flags = format!("--no-default-features --features llvm-{major}");
        format!("by hand: `cargo install bpf-linker --version {LINKER_VERSION} --locked {flags}`, with an LLVM {major}")
    })?;
    toolchain::find_linker(major).map_err(|missing| anyhow!(missing))?;
    Ok(())
}

/// The library that the compiler itself loads.
fn llvm_library(rustc: &Path) -> Result<PathBuf> {
    let output = Command::new("ldd").arg(rustc).output().context("start ldd")?;
    let listing = String::from_utf8_lossy(&output.stdout);
    let line = listing.lines().find(|line| line.trim_start().starts_with("libLLVM"));
    let path = line.and_then(|line| line.split_whitespace().nth(2)).with_context(|| {
        format!("{} loads no libLLVM: only {SYSTEM_RUSTC} and rustup's do", rustc.display())
    })?;
    fs::canonicalize(path).with_context(|| format!("find {path}"))
}

/// A folder in which the linker's build finds that library under the plain name it looks for.
fn llvm_prefix(library: &Path) -> Result<PathBuf> {
    let prefix = process::target().join("llvm");
    let folder = prefix.join("lib");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let link = folder.join("libLLVM.so");
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link).with_context(|| format!("replace {}", link.display()))?;
    }
    symlink(library, &link).with_context(|| format!("make {}", link.display()))?;
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debian_version_counts_by_its_release() {
        assert!(is_new_enough("1.96.0+dfsg1-1~deb12u2"));
        assert!(!is_new_enough("1.85.0+dfsg3-1~deb12u3"));
        assert!(!is_new_enough("unknown"));
    }
}
