//! Starts other programs: in the workspace's root, said before they run, as root where they must be.
//!
//! In: a [`Command`]. Out: nothing, or an error that names the program that failed. It never runs a shell.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

/// The folder of the workspace's `Cargo.toml`.
pub fn workspace() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).parent().map_or_else(|| PathBuf::from(".."), Path::to_path_buf)
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    workspace().join(target)
}

/// The cargo that started this, in the workspace's root.
pub fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).args(arguments);
    // These belong to the build of xtask and would otherwise count as a change of every build script's environment.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME"] {
        command.env_remove(name);
    }
    command
}

/// What rustc calls this machine.
pub fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("ask rustc for its host")?;
    let version = String::from_utf8_lossy(&output.stdout);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc names no host")
}

/// Whether this process is root: the owner of its own entry in /proc.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// The program as root: itself, or through sudo, which keeps the environment that `keep` names.
pub fn privileged(program: impl AsRef<OsStr>, keep: &[&str]) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    if !keep.is_empty() {
        command.arg(format!("--preserve-env={}", keep.join(",")));
    }
    command.arg("--").arg(program);
    command
}

/// Says the command, runs it, and makes its failure an error.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("+ {}", shown(command));
    let status = command.status().with_context(|| not_started(command))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Says the command and becomes it, so that signals reach it and its status is ours.
pub fn exec(command: &mut Command) -> Result<()> {
    eprintln!("+ {}", shown(command));
    let error = command.exec();
    Err(error).with_context(|| not_started(command))
}

fn not_started(command: &Command) -> String {
    if command.get_program() == "sudo" {
        return format!("`{}` needs root, and sudo does not start: run it as root", shown(command));
    }
    format!("start `{}`", shown(command))
}

/// A binary of this build.
pub fn built(name: &str, release: bool) -> Result<PathBuf> {
    let binary = target().join(if release { "release" } else { "debug" }).join(name);
    if !binary.exists() {
        bail!("the build left no {}: is `{name}` a binary of this workspace?", binary.display());
    }
    Ok(binary)
}

/// The first program of this name, also in the folders that only root's `PATH` has.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let root_only = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(root_only).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// The command line as one would type it.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}
