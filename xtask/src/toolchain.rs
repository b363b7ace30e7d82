//! Finds the compiler and the linker that build the BPF object, in one place for everybody who asks.
//!
//! In: the machine (rustup's toolchains, `/usr/bin/rustc`, `bpf-linker`). Out: a [`Toolchain`] whose compiler and
//! linker speak the same LLVM, or one sentence that says what is missing. It installs nothing and never touches
//! the network. `monitor/datapath/build.rs` includes this file, so it uses nothing but `std`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The nightly that rustup provides: the newest one whose LLVM is that of Debian's `rustc-web`.
pub const NIGHTLY: &str = "nightly-2026-05-20";

/// Debian's compiler, matched by the library source of `rust-web-src`.
pub const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

/// The oldest compiler that knows this workspace's edition and the BPF features in use, as (major, minor).
const OLDEST: (u32, u32) = (1, 95);

/// A compiler that comes with the source of its own library.
#[derive(Debug)]
pub struct Compiler {
    pub rustc: PathBuf,
    /// The cargo that belongs to it, or `None` where any cargo may drive it.
    pub cargo: Option<PathBuf>,
    /// The source of its library.
    pub library: PathBuf,
    pub release: String,
    pub llvm_major: u32,
}

/// A compiler and a linker with the same LLVM.
#[derive(Debug)]
pub struct Toolchain {
    pub compiler: Compiler,
    pub linker: PathBuf,
}

impl Toolchain {
    /// The first compiler, rustup's before the system's, that the linker fits.
    pub fn find() -> Result<Self, String> {
        let compiler = Compiler::find()?;
        let linker = find_linker(compiler.llvm_major)?;
        Ok(Self { compiler, linker })
    }
}

impl Compiler {
    /// The pinned nightly if rustup has it, else the system's compiler.
    pub fn find() -> Result<Self, String> {
        pinned_nightly().or_else(|nightly| {
            system().map_err(|system| format!("no compiler for the BPF target: {nightly}; {system}"))
        })
    }

    /// One line for logs and build information.
    pub fn describe(&self) -> String {
        format!("rustc {}, LLVM {}", self.release, self.llvm_major)
    }
}

fn pinned_nightly() -> Result<Compiler, String> {
    let toolchains = rustup_home().join("toolchains");
    let root = std::fs::read_dir(&toolchains)
        .ok()
        .and_then(|entries| {
            let named = |path: &PathBuf| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(NIGHTLY))
            };
            entries.flatten().map(|entry| entry.path()).find(named)
        })
        .ok_or_else(|| format!("rustup has no {NIGHTLY}"))?;
    let cargo = Some(root.join("bin/cargo"));
    inspect(root.join("bin/rustc"), cargo, &root)
}

fn system() -> Result<Compiler, String> {
    let rustc = PathBuf::from(SYSTEM_RUSTC);
    if !rustc.exists() {
        return Err(format!("there is no {SYSTEM_RUSTC}"));
    }
    let sysroot = output(&rustc, &["--print", "sysroot"])?;
    inspect(rustc, None, Path::new(sysroot.trim()))
}

fn inspect(rustc: PathBuf, cargo: Option<PathBuf>, sysroot: &Path) -> Result<Compiler, String> {
    let shown = rustc.display().to_string();
    let version = output(&rustc, &["-vV"])?;
    let field = |key: &str| version.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let release = field("release:").unwrap_or("of an unknown version").to_owned();
    let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
    if numbers.next().zip(numbers.next()).is_none_or(|found| found < OLDEST) {
        return Err(format!("{shown} is {release}, older than {}.{}", OLDEST.0, OLDEST.1));
    }
    let llvm_major = field("LLVM version:")
        .and_then(|llvm| llvm.split('.').next()?.parse().ok())
        .ok_or_else(|| format!("{shown} does not name its LLVM"))?;
    let compiler =
        Compiler { rustc, cargo, library: sysroot.join("lib/rustlib/src/rust"), release, llvm_major };
    if !compiler.library.join("library/core/Cargo.toml").exists() {
        return Err(format!("{shown} has no library source"));
    }
    Ok(compiler)
}

/// The first `bpf-linker` of cargo's own folder and `PATH` that is built on this LLVM.
pub fn find_linker(llvm_major: u32) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(cargo_home().join("bin")).chain(env::split_paths(&path));
    let mut mismatch = None;
    for linker in folders.map(|folder| folder.join("bpf-linker")).filter(|linker| linker.exists()) {
        match linker_llvm_major(&linker) {
            Ok(found) if found == llvm_major => return Ok(linker),
            Ok(found) => {
                let shown = linker.display();
                mismatch.get_or_insert(format!(
                    "{shown} is built on LLVM {found}, and the compiler on LLVM {llvm_major}: they must be the same"
                ));
            }
            Err(error) => {
                mismatch.get_or_insert(error);
            }
        }
    }
    Err(mismatch.unwrap_or_else(|| "there is no bpf-linker".to_owned()))
}

/// LLVM itself answers `--version`, before the linker looks at its inputs.
fn linker_llvm_major(linker: &Path) -> Result<u32, String> {
    let said = output(linker, &["--llvm-args=--version", "--output", "/dev/null", "/dev/null"])?;
    said.split_once("LLVM version ")
        .and_then(|(_, version)| version.trim_start().split('.').next()?.parse().ok())
        .ok_or_else(|| format!("{} does not name its LLVM", linker.display()))
}

fn output(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let shown = program.display();
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{shown} does not start: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let reason = String::from_utf8_lossy(&output.stderr);
        Err(format!("{shown} fails: {}", reason.lines().next().unwrap_or("it says nothing")))
    }
}

/// Where `cargo install` puts its binaries, without the `bin`.
pub fn cargo_home() -> PathBuf {
    folder("CARGO_HOME", ".cargo")
}

/// Where rustup keeps its toolchains.
pub fn rustup_home() -> PathBuf {
    folder("RUSTUP_HOME", ".rustup")
}

fn folder(variable: &str, below_home: &str) -> PathBuf {
    env::var_os(variable).map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(below_home),
        PathBuf::from,
    )
}
