//! The initial file system of an emulated machine: busybox, iproute2, our binaries with their libraries, and modules.
//!
//! In: an unpacked kernel and the binaries of one build. Out: one compressed archive below cargo's target folder.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::archive;
use crate::{process, test};

/// In this order; a module that is built into a kernel is left out.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_net", "e1000", "sch_ingress", "cls_bpf"];
const APPLETS: [&str; 22] = [
    "sh", "mount", "insmod", "cat", "echo", "sleep", "poweroff", "grep", "sed", "awk", "wget", "kill",
    "head", "tail", "ls", "seq", "cut", "printf", "[", "test", "wc", "dmesg",
];

/// Builds what goes into the machines: the daemon, and the test binary that holds the behaviour of the whole.
pub fn binaries() -> Result<[PathBuf; 2]> {
    let mut command = process::cargo(["build", "--bin", "sluice", "--test", "behaviour"]);
    command.args(test::PACKAGES).arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    eprintln!("+ {}", process::shown(&command));
    let output = command.output().context("start cargo")?;
    ensure!(output.status.success(), "the build failed");
    let said = String::from_utf8_lossy(&output.stdout);
    let mut named = said.lines().filter(|line| line.contains("\"name\":\"behaviour\""));
    let behaviour = named.find_map(|line| line.split_once("\"executable\":\"")?.1.split_once('"'));
    let (behaviour, _) = behaviour.context("cargo names no test binary `behaviour`")?;
    Ok([process::built("sluice", false)?, PathBuf::from(behaviour)])
}

/// Packs everything; the name of a test binary loses cargo's hash.
pub fn build(unpacked: &Path, binaries: &[PathBuf]) -> Result<PathBuf> {
    let folder = unpacked.with_file_name("root");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    let make = |part: &str| {
        let path = folder.join(part);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display())).map(|()| path)
    };
    for part in ["proc", "sys", "dev", "run", "tmp", "var/lib/sluice", "lib/modules"] {
        make(part)?;
    }
    let bin = make("bin")?;
    let busybox = process::find_program("busybox").context("there is no busybox")?;
    copy(&busybox, &bin.join("busybox"))?;
    for applet in APPLETS {
        symlink("busybox", bin.join(applet)).with_context(|| format!("link {applet}"))?;
    }
    let mut programs = binaries.to_vec();
    for name in ["ip", "tc"] {
        programs.push(process::find_program(name).with_context(|| format!("there is no {name}"))?);
    }
    for binary in &programs {
        let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = name.split_once('-').map_or(name.as_str(), |(name, _)| name);
        copy(binary, &bin.join(name))?;
        for library in libraries(binary)? {
            let to = folder.join(library.strip_prefix("/").unwrap_or(&library));
            if !to.exists() {
                fs::create_dir_all(to.parent().unwrap_or(&folder)).context("make a folder of libraries")?;
                copy(&library, &to)?;
            }
        }
    }
    let tests = process::workspace().join("tests/kernels");
    let init = folder.join("init");
    copy(&tests.join("init"), &init)?;
    // A checkout may lose the mode, and then the kernel starts a shell instead.
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("make the script a program")?;
    copy(&tests.join("sluice.toml"), &make("etc/sluice")?.join("sluice.toml"))?;
    let names = modules(unpacked, &folder.join("lib/modules"))?;
    fs::write(folder.join("modules"), names.join("\n")).context("write the list of modules")?;
    pack(&folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("copy {} to {}", from.display(), to.display()))
}

/// The shared libraries of a binary, its loader included.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(binary).output().context("start ldd")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// Copies the modules, uncompressed, and names them in the order in which they load.
fn modules(unpacked: &Path, to: &Path) -> Result<Vec<String>> {
    let from = archive::only(&unpacked.join("lib/modules"), "")?;
    let release = from.file_name().unwrap_or_default();
    process::run(Command::new("depmod").arg("--basedir").arg(unpacked).arg(release))?;
    let list = fs::read_to_string(from.join("modules.dep")).context("read modules.dep")?;
    let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
    for module in MODULES {
        let is_it =
            |path: &str| path.rsplit('/').next().is_some_and(|file| file.split('.').next() == Some(module));
        let Some((path, needs)) =
            list.lines().filter_map(|line| line.split_once(':')).find(|(path, _)| is_it(path))
        else {
            continue;
        };
        // What a module needs is listed from the nearest to the furthest.
        for path in needs.split_whitespace().rev().chain([path]) {
            if !seen.insert(path.to_owned()) {
                continue;
            }
            let file = path.rsplit('/').next().unwrap_or(path);
            copy(&from.join(path), &to.join(file))?;
            let packed = file.strip_suffix(".xz");
            if packed.is_some() {
                process::run(Command::new("xz").args(["--decompress", "--force"]).arg(to.join(file)))?;
            }
            order.push(packed.unwrap_or(file).to_owned());
        }
    }
    Ok(order)
}

fn pack(folder: &Path) -> Result<PathBuf> {
    let (plain, packed) = (folder.with_extension("cpio"), folder.with_extension("cpio.gz"));
    let archive = File::create(&plain).with_context(|| format!("make {}", plain.display()))?;
    let mut find =
        Command::new("find").arg(".").current_dir(folder).stdout(Stdio::piped()).spawn().context("find")?;
    let names = find.stdout.take().context("read what find says")?;
    let mut cpio = Command::new("cpio");
    cpio.args(["--create", "--format=newc", "--quiet"]).current_dir(folder).stdin(names).stdout(archive);
    process::run(&mut cpio)?;
    ensure!(find.wait().context("wait for find")?.success(), "find failed");
    process::run(Command::new("gzip").args(["--fast", "--force"]).arg(&plain))?;
    Ok(packed)
}
