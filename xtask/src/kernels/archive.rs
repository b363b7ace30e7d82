//! Debian's kernel packages: found, fetched once, and unpacked below cargo's target folder.
//!
//! In: the name of a Debian release. Out: a folder with `boot` and `lib/modules`. The machine's own package lists and
//! sources are only read.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result, ensure};

use crate::process;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The unpacked default kernel of a release.
pub fn kernel(suite: &str) -> Result<PathBuf> {
    let folder = process::target().join("kernels").join(suite);
    let unpacked = folder.join("unpacked");
    if unpacked.join("complete").exists() {
        return Ok(unpacked);
    }
    for part in ["lists/partial", "cache/archives/partial", "unpacked"] {
        fs::create_dir_all(folder.join(part)).with_context(|| format!("make {}", folder.display()))?;
    }
    let source = format!("deb [signed-by={KEYRING}] {} {suite} main\n", archive()?);
    fs::write(folder.join("sources.list"), source).context("write the list of sources")?;
    process::run(apt("apt-get", &folder).args(["update", "--quiet"]))?;
    let output = apt("apt-cache", &folder).args(["depends", "linux-image-amd64"]).output();
    let output = output.context("start apt-cache")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let package = said.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let package = package.with_context(|| format!("{suite} has no linux-image-amd64"))?;
    process::run(apt("apt-get", &folder).args(["download", "--quiet", package]))?;
    let deb = only(&folder, ".deb")?;
    process::run(Command::new("dpkg-deb").arg("--extract").arg(&deb).arg(&unpacked))?;
    fs::remove_file(&deb).context("remove the package")?;
    fs::write(unpacked.join("complete"), package).context("note that it is complete")?;
    Ok(unpacked)
}

/// The entry of a folder whose name ends so, or the first one.
pub fn only(folder: &Path, end: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let entries = entries.collect::<io::Result<Vec<_>>>().context("read a folder")?;
    let mut found =
        entries.iter().map(fs::DirEntry::path).filter(|path| path.to_string_lossy().ends_with(end));
    found.next().with_context(|| format!("{} has no *{end}", folder.display()))
}

/// Where this machine takes Debian's packages from.
fn archive() -> Result<String> {
    let output = Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]).output();
    let output = output.context("ask apt for its sources")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let found = said.lines().find(|line| line.trim_end_matches('/').ends_with("/debian")).map(str::to_owned);
    ensure!(Path::new(KEYRING).exists(), "there is no {KEYRING}: install debian-archive-keyring");
    found.context("apt has no source of Debian here: the kernels are Debian's packages")
}

/// apt with lists and a cache of its own.
fn apt(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    let options = [
        ("Dir::Etc::sourcelist", folder.join("sources.list")),
        ("Dir::Etc::sourceparts", folder.join("none")),
        ("Dir::State::lists", folder.join("lists")),
        ("Dir::Cache", folder.join("cache")),
    ];
    for (name, value) in options {
        command.arg("--option").arg(format!("{name}={}", value.display()));
    }
    command.args(["--option", "APT::Sandbox::User=root"]);
    command
}
