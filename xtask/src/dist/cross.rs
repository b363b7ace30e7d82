//! The binary for another architecture: Debian's compiler with Debian's standard library of that architecture.
//!
//! In: an architecture that is not this machine's. Out: its release binary. The library's package is unpacked below
//! `target`, so nothing of another architecture is installed; rustup's toolchains are not asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{Arch, clear, paths};
use crate::process;
use crate::setup;
use crate::toolchain::SYSTEM_RUSTC;

/// The standard library that fits [`SYSTEM_RUSTC`].
const LIBRARY: &str = "libstd-rust-web-dev";

pub fn build(arch: Arch) -> Result<PathBuf> {
    let Arch::Arm64 = arch else { bail!("{} is built on such a machine only", arch.triple()) };
    let cross = format!("{}-linux-gnu", arch.machine());
    setup::packages(&["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "rustc-web"])?;
    let sysroot = sysroot(arch)?;
    let variable = arch.triple().replace('-', "_");
    let mut command = process::cargo(["auditable", "build", "--release", "--bin", "sluice"]);
    command.args(["--target", arch.triple()]).env("RUSTC", SYSTEM_RUSTC);
    // With `--target` these flags reach nothing that runs here, such as build scripts.
    command.env(
        format!("CARGO_TARGET_{}_RUSTFLAGS", variable.to_uppercase()),
        format!("--sysroot={} {}", sysroot.display(), paths::remapping()?.join(" ")),
    );
    command.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), format!("{cross}-gcc"));
    command.env(format!("CC_{variable}"), format!("{cross}-gcc"));
    command.env(format!("AR_{variable}"), format!("{cross}-ar"));
    process::run(&mut command)?;
    Ok(process::target().join(arch.triple()).join("release/sluice"))
}

/// A sysroot that holds the library of `arch` alone.
fn sysroot(arch: Arch) -> Result<PathBuf> {
    let folder = process::target().join("cross").join(arch.machine());
    let library = folder.join("usr/lib/rustlib").join(arch.triple());
    let version = installed_version()?;
    let mark = folder.join(format!("is-{version}"));
    if library.exists() && mark.exists() {
        return Ok(folder.join("usr"));
    }
    clear(&folder)?;
    let package = download(&folder, &version)?;
    process::run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&folder))?;
    ensure!(library.exists(), "{LIBRARY} {version} has no {}", library.display());
    fs::write(&mark, "").with_context(|| format!("write {}", mark.display()))?;
    Ok(folder.join("usr"))
}

/// The library must be of the very build that the compiler is of.
fn installed_version() -> Result<String> {
    let output = Command::new("dpkg-query").args(["--show", "--showformat=${Version}", "rustc-web"]).output();
    let output = output.context("ask dpkg for the version of rustc-web")?;
    ensure!(
        output.status.success(),
        "rustc-web is not installed: run `cargo xtask setup --toolchain debian`"
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Package lists of the other architecture stay below `folder`: this machine's own are left as they are.
fn download(folder: &Path, version: &str) -> Result<PathBuf> {
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(part)).with_context(|| format!("make {}", folder.display()))?;
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.current_dir(folder).args(["--quiet", "--option", "APT::Architecture=arm64"]);
        command.args(["--option", "APT::Architectures=arm64", "--option", "APT::Sandbox::User=root"]);
        command.arg("--option").arg(format!("Dir::State::lists={}", folder.join("lists").display()));
        command.arg("--option").arg(format!("Dir::Cache={}", folder.join("cache").display()));
        process::run(command.args(arguments))
    };
    apt(&["update"])?;
    apt(&["download", &format!("{LIBRARY}={version}")])?;
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let packages = entries.flatten().map(|entry| entry.path());
    let mut packages = packages.filter(|path| path.extension().is_some_and(|kind| kind == "deb"));
    packages.next().with_context(|| format!("apt left no package of {LIBRARY} in {}", folder.display()))
}
