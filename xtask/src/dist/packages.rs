//! The tree as a .deb, an .rpm and a tarball.
//!
//! In: a tree from `contents`. Out: one file for each format. The manifests that cargo-deb and cargo-generate-rpm read are
//! written here from that same tree, so that the two cannot differ in what they hold.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::contents::{Kind, files};
use super::{Arch, Product, clear};
use crate::process;

const SUMMARY: &str = "limits every source of traffic in XDP, before the kernel's network stack";

/// Each line of a Debian description is at most 80 characters.
const DESCRIPTION: &str = "\
sluice guards a Linux machine that runs services. A program in the kernel's
XDP hook counts every source and drops what exceeds its limit. A daemon changes
limits while packets flow, learns what is usual and reports machines inside the
trust boundary that scan, guess, tunnel or beacon.
As shipped it observes: everything is counted and nothing is dropped.";

/// The project has no address of its own yet.
pub const MAINTAINER: &str = "The sluice authors <sluice@localhost.localdomain>";

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// For a package that is installed once, by a test.
    Little,
    Full,
}

pub fn deb(product: &Product, root: &Path, effort: Effort) -> Result<PathBuf> {
    let folder = manifest(product, root, SUMMARY)?;
    let made = product.out.join(format!("sluice_{}_{}.deb", product.version, debian(product.arch)));
    let mut command = process::cargo(["deb", "--no-build", "--no-strip", "--quiet"]);
    command.args(["--target", product.arch.triple(), "--deb-version", &product.version]);
    command.args((effort == Effort::Little).then_some("--fast"));
    command.arg("--manifest-path").arg(folder.join("Cargo.toml")).arg("--output").arg(&made);
    process::run(&mut command)?;
    Ok(made)
}

pub fn rpm(product: &Product, root: &Path) -> Result<PathBuf> {
    // The rpm's description is the package's; the .deb's is a summary with an extension.
    let folder = manifest(product, root, DESCRIPTION)?;
    let made = product.out.join(format!("sluice-{}-1.{}.rpm", product.version, product.arch.machine()));
    let mut command = process::cargo(["generate-rpm", "--auto-req", "disabled"]);
    command.current_dir(&folder).args(["--arch", product.arch.machine()]);
    command.arg("--output").arg(&made);
    process::run(&mut command)?;
    Ok(made)
}

/// With one folder in it that holds the tree.
pub fn tarball(product: &Product, root: &Path) -> Result<PathBuf> {
    let name = format!("sluice-{}-{}", product.version, product.arch.machine());
    let made = product.out.join(format!("{name}.tar.gz"));
    let mut command = Command::new("tar");
    command.args(["--create", "--gzip", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    command.arg(format!("--transform=s,^[.],{name},")).arg("--directory").arg(root);
    process::run(command.arg("--file").arg(&made).arg("."))?;
    Ok(made)
}

const fn debian(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "amd64",
        Arch::Arm64 => "arm64",
    }
}

/// A package of its own that has nothing but the tree and what both tools read of it.
fn manifest(product: &Product, root: &Path, description: &str) -> Result<PathBuf> {
    let folder = product.out.join("manifest");
    clear(&folder)?;
    let scripts = process::workspace().join("packaging/scripts");
    for name in ["postinst", "prerm", "postrm"] {
        copy(&scripts.join(format!("deb-{name}")), &folder.join("deb").join(name))?;
    }
    let text = text(&product.version, description, root, &files(root)?, &scripts);
    fs::write(folder.join("lib.rs"), "//! Nothing: the package holds files only.\n")
        .and_then(|()| fs::write(folder.join("Cargo.toml"), text))
        .with_context(|| format!("write to {}", folder.display()))?;
    Ok(folder)
}

fn text(version: &str, description: &str, root: &Path, files: &[String], scripts: &Path) -> String {
    let (mut deb, mut rpm) = (String::new(), String::new());
    for file in files {
        let (from, kind) = (quoted(&root.join(file)), Kind::of(file));
        let mode = kind.mode();
        let flags = match kind {
            Kind::Configuration => ", config = \"noreplace\"",
            Kind::Documentation => ", doc = true",
            Kind::Program | Kind::Data => "",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(deb, "    [{from}, {file:?}, \"{mode:o}\"],");
        let _ =
            writeln!(rpm, "    {{ source = {from}, dest = \"/{file}\", mode = \"100{mode:o}\"{flags} }},");
    }
    let script = |name: &str| quoted(&scripts.join(name));
    let (post, preun, postun) = (script("rpm-post"), script("rpm-preun"), script("rpm-postun"));
    format!(
        "[package]
name = \"sluice\"
version = {version:?}
edition = \"2024\"
license = \"MIT OR Apache-2.0\"
description = {description:?}
publish = false

[lib]
path = \"lib.rs\"

[workspace]

[package.metadata.deb]
maintainer = {MAINTAINER:?}
extended-description = {DESCRIPTION:?}
section = \"net\"
priority = \"optional\"
depends = \"libc6 (>= 2.34), libgcc-s1, systemd (>= 252), init-system-helpers (>= 1.54)\"
conf-files = [\"/etc/sluice/sluice.toml\"]
maintainer-scripts = \"deb\"
assets = [
{deb}]

[package.metadata.generate-rpm]
summary = {SUMMARY:?}
post_install_script = {post}
pre_uninstall_script = {preun}
post_uninstall_script = {postun}
assets = [
{rpm}]

[package.metadata.generate-rpm.requires]
systemd = \">= 252\"
\"libc.so.6(GLIBC_2.34)(64bit)\" = \"*\"
\"libgcc_s.so.1()(64bit)\" = \"*\"
"
    )
}

/// A path as a string of TOML.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::text;

    #[test]
    fn both_manifests_name_every_file() {
        let files = ["etc/sluice/sluice.toml", "usr/bin/sluice", "usr/share/man/man1/sluice.1.gz"];
        let text = text("1.2.3", "limits", Path::new("/t"), &files.map(str::to_owned), Path::new("/s"));
        for line in [
            "[\"/t/etc/sluice/sluice.toml\", \"etc/sluice/sluice.toml\", \"644\"],",
            "[\"/t/usr/bin/sluice\", \"usr/bin/sluice\", \"755\"],",
            "{ source = \"/t/etc/sluice/sluice.toml\", dest = \"/etc/sluice/sluice.toml\", mode = \"100644\", config = \"noreplace\" },",
            "{ source = \"/t/usr/share/man/man1/sluice.1.gz\", dest = \"/usr/share/man/man1/sluice.1.gz\", mode = \"100644\", doc = true },",
            "post_install_script = \"/s/rpm-post\"",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }
}
