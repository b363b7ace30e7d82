//! What a host gets: the tree of files that every package holds, laid out below a folder as below `/`.
//!
//! In: a binary, the files of `packaging/` and `docs/`. Out: the tree, and the mode and kind of each file in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::packages::MAINTAINER;
use super::{Product, clear};
use crate::process;

/// As Debian's policy wants it; compressed, as the manual pages are.
const CHANGELOG: &str = "usr/share/doc/sluice/changelog";

/// From the workspace, to the host. A folder is copied with all that is in it.
const FILES: [(&str, &str); 17] = [
    ("packaging/sluice.toml", "etc/sluice/sluice.toml"),
    ("packaging/systemd/sluice.service", "usr/lib/systemd/system/sluice.service"),
    ("packaging/systemd/sluice-pins.service", "usr/lib/systemd/system/sluice-pins.service"),
    ("packaging/systemd/sluice.sysusers", "usr/lib/sysusers.d/sluice.conf"),
    ("packaging/systemd/prepare-pins", "usr/lib/sluice/prepare-pins"),
    ("packaging/prometheus", "usr/share/sluice/prometheus"),
    ("packaging/grafana", "usr/share/sluice/grafana"),
    ("packaging/container", "usr/share/sluice/container"),
    ("packaging/kubernetes", "usr/share/sluice/kubernetes"),
    ("packaging/examples", "usr/share/doc/sluice/examples"),
    ("packaging/copyright", "usr/share/doc/sluice/copyright"),
    ("docs", "usr/share/doc/sluice/docs"),
    ("README.md", "usr/share/doc/sluice/README.md"),
    ("ARCHITECTURE.md", "usr/share/doc/sluice/ARCHITECTURE.md"),
    ("CHANGELOG.md", "usr/share/doc/sluice/CHANGELOG.md"),
    ("LICENSE-MIT", "usr/share/doc/sluice/LICENSE-MIT"),
    ("LICENSE-APACHE", "usr/share/doc/sluice/LICENSE-APACHE"),
];

/// As the program names the file, and where each shell looks for it.
const COMPLETIONS: [(&str, &str); 4] = [
    ("sluice.bash", "usr/share/bash-completion/completions/sluice"),
    ("_sluice", "usr/share/zsh/site-functions/_sluice"),
    ("_sluice", "usr/share/zsh/vendor-completions/_sluice"),
    ("sluice.fish", "usr/share/fish/vendor_completions.d/sluice.fish"),
];

/// What a package manager is told about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Program,
    /// Kept when the operator changed it.
    Configuration,
    Documentation,
    Data,
}

impl Kind {
    /// Of a path on the host, without its leading `/`.
    pub fn of(path: &str) -> Self {
        if path.starts_with("etc/") {
            Self::Configuration
        } else if path.starts_with("usr/bin/") || path.starts_with("usr/lib/sluice/") {
            Self::Program
        } else if path.starts_with("usr/share/doc/") || path.starts_with("usr/share/man/") {
            Self::Documentation
        } else {
            Self::Data
        }
    }

    pub const fn mode(self) -> u32 {
        match self {
            Self::Program => 0o755,
            _ => 0o644,
        }
    }
}

/// Lays the tree out below `out` and returns its root.
pub fn stage(product: &Product) -> Result<PathBuf> {
    let root = product.out.join("root");
    clear(&root)?;
    let binary = root.join("usr/bin/sluice");
    copy(&product.binary, &binary)?;
    let strip = if product.arch.machine() == std::env::consts::ARCH {
        "strip".to_owned()
    } else {
        format!("{}-linux-gnu-strip", product.arch.machine())
    };
    process::run(Command::new(strip).arg("--strip-unneeded").arg(&binary))?;
    for (from, to) in FILES {
        copy(&process::workspace().join(from), &root.join(to))?;
    }
    generated(product, &root)?;
    for file in files(&root)? {
        let path = root.join(&file);
        fs::set_permissions(&path, fs::Permissions::from_mode(Kind::of(&file).mode()))
            .with_context(|| format!("set the mode of {}", path.display()))?;
    }
    Ok(root)
}

/// What the program writes itself: man pages and completions.
fn generated(product: &Product, root: &Path) -> Result<()> {
    let folder = product.out.join("generated");
    for what in ["man", "completions"] {
        clear(&folder.join(what))?;
        let mut sluice = Command::new(&product.generator);
        process::run(sluice.args(["generate", what, "--out"]).arg(folder.join(what)))?;
    }
    for (from, to) in COMPLETIONS {
        copy(&folder.join("completions").join(from), &root.join(to))?;
    }
    let mut pages = vec![root.join(CHANGELOG)];
    fs::write(&pages[0], changelog(&product.version, &built_on()?)).context("write the changelog")?;
    for page in files(&folder.join("man"))? {
        let section = page.rsplit('.').next().unwrap_or_default();
        let to = root.join(format!("usr/share/man/man{section}")).join(&page);
        copy(&folder.join("man").join(&page), &to)?;
        pages.push(to);
    }
    // Without name and time inside, so that the same page gives the same file.
    process::run(Command::new("gzip").args(["--best", "--no-name"]).args(pages))
}

/// When the sources were last changed, as RFC 2822 writes it; without their history, now.
fn built_on() -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(process::workspace()).args(["log", "-1", "--format=%cD"]);
    let asked = [git.output(), Command::new("date").arg("--rfc-email").output()];
    let told = asked.into_iter().flatten().filter(|output| output.status.success());
    let mut told = told.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    told.find(|date| !date.is_empty()).context("neither git nor date says when this was built")
}

/// Debian's form; what changed stands in `CHANGELOG.md`.
fn changelog(version: &str, date: &str) -> String {
    format!(
        "sluice ({version}) unstable; urgency=medium\n\n  * /usr/share/doc/sluice/CHANGELOG.md says what changed.\n\n \
         -- {MAINTAINER}  {date}\n"
    )
}

/// A file, or all files of a folder.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        for file in files(from)? {
            copy(&from.join(&file), &to.join(&file))?;
        }
        return Ok(());
    }
    let folder = to.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Every file below `root`, as a path from there, in order.
pub fn files(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let below = path.strip_prefix(root).unwrap_or(&path);
            match below.to_str() {
                Some(name) => found.push(name.to_owned()),
                None => bail!("{} has a name that no package can hold", path.display()),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The files of this name in `folder` and in the folders right below it.
pub fn files_named(folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let below = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let folders = std::iter::once(folder.to_owned()).chain(below);
    Ok(folders.map(|folder| folder.join(name)).filter(|path| path.is_file()).collect())
}

#[cfg(test)]
mod tests {
    use super::{FILES, Kind, changelog};
    use crate::process;

    #[test]
    fn every_file_that_is_packed_exists() {
        for (from, _) in FILES {
            assert!(process::workspace().join(from).exists(), "{from}");
        }
    }

    #[test]
    fn the_changelog_has_debians_form() {
        let text = changelog("1.2.3", "Sat, 28 Nov 2026 01:20:34 +0000");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "sluice (1.2.3) unstable; urgency=medium");
        assert!(lines[2].starts_with("  * "), "{text}");
        assert!(
            lines[4].starts_with(" -- ") && lines[4].ends_with(">  Sat, 28 Nov 2026 01:20:34 +0000"),
            "{text}"
        );
    }

    #[test]
    fn only_programs_can_be_executed_and_only_the_configuration_is_the_operators() {
        let check = |path, kind, mode| {
            assert_eq!((Kind::of(path), Kind::of(path).mode()), (kind, mode), "{path}");
        };
        check("etc/sluice/sluice.toml", Kind::Configuration, 0o644);
        check("usr/bin/sluice", Kind::Program, 0o755);
        check("usr/lib/sluice/prepare-pins", Kind::Program, 0o755);
        check("usr/lib/systemd/system/sluice.service", Kind::Data, 0o644);
        check("usr/share/man/man8/sluice-run.8.gz", Kind::Documentation, 0o644);
    }
}
