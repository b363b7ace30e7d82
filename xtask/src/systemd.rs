//! `cargo xtask systemd`: tries the package under a real systemd, on a Debian root of its own.
//!
//! In: which Debian. Out: the test's verdict, and with `--record` the page `docs/bench/systemd.md`. The root is built once by
//! debootstrap and kept below `target`; the test never changes it. `cargo xtask test` prepares the same for its own run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::dist::{self, Arch, Effort, Product};
use crate::{process, setup};

/// The packages that the test installs: this version, and one after it.
const VERSIONS: [&str; 2] = ["0.1.0", "0.1.1"];

/// What a Debian needs besides the least: an init, and what the test looks at interfaces with.
const INCLUDED: &str = "systemd,systemd-sysv,dbus,iproute2";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which Debian
    #[arg(long, value_enum, default_value = "bookworm")]
    suite: Suite,
    /// Try the package that `cargo xtask dist` left in target/dist, not one of an unoptimised build
    #[arg(long)]
    dist: bool,
    /// Write what came out to docs/bench/systemd.md
    #[arg(long)]
    record: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Suite {
    /// Debian 12, systemd 252
    Bookworm,
    /// Debian 13, systemd 257
    Trixie,
}

impl Suite {
    const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// What the test is told of.
#[derive(Debug)]
pub struct Prepared {
    root: PathBuf,
    packages: PathBuf,
    report: PathBuf,
}

impl Prepared {
    /// Adds to `command` where everything is.
    pub fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("SLUICE_SYSTEMD_ROOT", &self.root).env("SLUICE_SYSTEMD_PACKAGES", &self.packages);
        command.env("SLUICE_SYSTEMD_REPORT", &self.report)
    }
}

pub fn main(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Scope::Test)?;
    let prepared = if arguments.dist {
        prepare_from(arguments.suite, Origin::Dist)?
    } else {
        process::run(&mut process::cargo(["build", "--bin", "sluice"]))?;
        prepare(arguments.suite)?
    };
    let mut test = process::cargo(["test", "--package", "monitor-tests", "--test", "systemd"]);
    // A test that is asked for by name must not be skipped.
    process::run(prepared.tell(&mut test).env("SLUICE_NO_SKIP", "1"))?;
    if arguments.record { record(arguments.suite, &prepared) } else { Ok(()) }
}

/// What the packages are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The binary that was built last for the tests
    Tests,
    /// What `cargo xtask dist` left; the first package is its own.
    Dist,
}

/// The root and both packages, from the binary that was built last for the tests.
pub fn prepare(suite: Suite) -> Result<Prepared> {
    prepare_from(suite, Origin::Tests)
}

fn prepare_from(suite: Suite, origin: Origin) -> Result<Prepared> {
    setup::deb()?;
    let folder = process::target().join("systemd");
    let packages = folder.join("packages");
    fs::create_dir_all(&packages).with_context(|| format!("make {}", packages.display()))?;
    let root = root(suite, &folder)?;
    let dist = dist::folder(Arch::Amd64);
    let binary = match origin {
        Origin::Tests => process::built("sluice", false)?,
        Origin::Dist => dist.join("root/usr/bin/sluice"),
    };
    let product = |version: &str| Product {
        binary: binary.clone(),
        generator: binary.clone(),
        version: version.to_owned(),
        arch: Arch::Amd64,
        out: folder.join("build"),
    };
    let tree = match origin {
        Origin::Tests => dist::stage(&product(VERSIONS[0]))?,
        Origin::Dist => dist.join("root"),
    };
    ensure!(tree.is_dir(), "there is no {}: run `cargo xtask dist`", tree.display());
    for version in VERSIONS {
        let made = dist::deb(&product(version), &tree, Effort::Little)?;
        let to = packages.join(made.file_name().context("a package without a name")?);
        fs::rename(&made, &to).with_context(|| format!("move {}", made.display()))?;
        let shipped = dist.join(to.file_name().context("a package without a name")?);
        if origin == Origin::Dist && version == VERSIONS[0] {
            fs::copy(&shipped, &to).with_context(|| format!("take {}", shipped.display()))?;
        }
    }
    let report = folder.join(format!("{}.txt", suite.name()));
    Ok(Prepared { root, packages, report })
}

/// A root that debootstrap finished; one that it did not finish is built again.
fn root(suite: Suite, folder: &Path) -> Result<PathBuf> {
    let root = folder.join(suite.name());
    if root.is_dir() {
        return Ok(root);
    }
    let begun = folder.join(format!("{}-begun", suite.name()));
    process::run(process::privileged("rm", &[]).args(["--recursive", "--force"]).arg(&begun))?;
    let mut command = process::privileged("debootstrap", &[]);
    command.args(["--variant=minbase", &format!("--include={INCLUDED}"), suite.name()]);
    process::run(command.arg(&begun).args(mirror()))?;
    process::run(process::privileged("mv", &[]).arg(&begun).arg(&root))?;
    Ok(root)
}

/// Where this machine gets its own packages from; without it debootstrap knows Debian's usual place.
fn mirror() -> Option<String> {
    let mut texts = vec![fs::read_to_string("/etc/apt/sources.list").unwrap_or_default()];
    for entry in fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten() {
        texts.push(fs::read_to_string(entry.path()).unwrap_or_default());
    }
    let words = texts.iter().flat_map(|text| text.split_whitespace());
    let mut mirrors =
        words.filter(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"));
    mirrors.next().map(ToOwned::to_owned)
}

/// Puts this run's part of the page in place of the suite's part before it.
fn record(suite: Suite, prepared: &Prepared) -> Result<()> {
    let report = fs::read_to_string(&prepared.report)
        .with_context(|| format!("read {}", prepared.report.display()))?;
    let Some((systemd, steps)) = report.split_once('\n') else { bail!("the test reported nothing") };
    let said = |program: &str, arguments: &[&str]| -> Result<String> {
        let output = Command::new(program).args(arguments).output();
        let output = output.with_context(|| format!("start {program}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let (date, kernel) = (said("date", &["--utc", "+%Y-%m-%d"])?, said("uname", &["--kernel-release"])?);
    let part = format!(
        "## Debian {}\n\n{date}, Linux {kernel}, {}.\n\n| step | took |\n|---|---|\n{}\n",
        suite.name(),
        systemd.trim(),
        steps.trim_end()
    );
    let page = process::workspace().join("docs/bench/systemd.md");
    let before = fs::read_to_string(&page).unwrap_or_else(|_| INTRODUCTION.to_owned());
    fs::write(&page, replaced(&before, &part)).with_context(|| format!("write {}", page.display()))
}

const INTRODUCTION: &str = "\
# The package under a real systemd

`cargo xtask systemd --record` writes this page (`--suite trixie` its second part). The package is installed with `apt` on a
Debian root that systemd boots as process 1, with a network namespace and a BPF file system of its own. Unit and
configuration are as shipped. In the steps from `kill -9` to the upgrade the interface is looked at every 20 ms, and the
program is on it each time. The times are those of a busy machine with two processors and an unoptimised binary.
";

/// `page` with `part` in place of the part of the same heading, or at its end.
fn replaced(page: &str, part: &str) -> String {
    let heading = part.lines().next().unwrap_or_default();
    let mut parts: Vec<String> = Vec::new();
    for (number, text) in page.split("\n## ").enumerate() {
        parts.push(if number == 0 { text.trim_end().to_owned() } else { format!("## {}", text.trim_end()) });
    }
    let part = part.trim_end().to_owned();
    match parts.iter_mut().find(|old| old.lines().next() == Some(heading)) {
        Some(old) => *old = part,
        None => parts.push(part),
    }
    parts.join("\n\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn a_part_of_the_page_replaces_only_its_own() {
        let page = replaced("# Title\n\nwords\n", "## one\n\n1\n");
        assert_eq!(page, "# Title\n\nwords\n\n## one\n\n1\n");
        let page = replaced(&page, "## two\n\n2\n");
        assert_eq!(replaced(&page, "## one\n\n3\n"), "# Title\n\nwords\n\n## one\n\n3\n\n## two\n\n2\n");
    }
}
