//! Builds the kernel side and leaves it in `OUT_DIR/sluice-bpf`, from where the library embeds it.
//!
//! In: the package `monitor-ebpf` and a BPF toolchain. Out: a BPF object, or an empty file (the stub) where there is
//! no such toolchain or `SLUICE_BPF_STUB=1` asks for none, so that check, clippy, docs and unit tests work anywhere.
//! It installs nothing (`cargo xtask setup` does) and shares no target directory with the outer build.

#[path = "../../xtask/src/toolchain.rs"]
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use toolchain::Toolchain;

const TARGET: &str = "bpfel-unknown-none";
const STUB: &str = "SLUICE_BPF_STUB";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let workspace = variable("CARGO_MANIFEST_DIR")?.join("../..");
    let out = variable("OUT_DIR")?;
    for input in ["monitor-ebpf/src", "tests/bpf/src", "monitor-common/src", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    println!("cargo::rerun-if-env-changed={STUB}");

    let object = out.join("sluice-bpf");
    if env::var_os(STUB).is_some_and(|value| value == "1") {
        return stub(&object);
    }
    match Toolchain::find() {
        Ok(toolchain) => {
            let built = compile(&toolchain, &workspace, &out.join("bpf"))?;
            println!("cargo::rustc-env=SLUICE_BPF_COMPILER={}", toolchain.compiler.describe());
            // The benchmark's programs are not for the daemon: the tests' build script asks for this path.
            println!("cargo::metadata=REFERENCE={}", built.join("sluice-reference").display());
            let built = built.join("sluice-bpf");
            fs::copy(&built, &object)
                .map_err(|error| format!("copy {} to OUT_DIR: {error}", built.display()))?;
            Ok(())
        }
        Err(missing) => {
            println!(
                "cargo::warning=sluice is built without its kernel side and will refuse to run: {missing}. \
                 Run `cargo xtask setup`, then build again."
            );
            watch_for_a_toolchain();
            stub(&object)
        }
    }
}

fn stub(object: &Path) -> Result<(), String> {
    println!("cargo::rustc-env=SLUICE_BPF_COMPILER=none");
    fs::write(object, []).map_err(|error| format!("write {}: {error}", object.display()))
}

/// A stub must give way to the real object as soon as there is a toolchain: each way of installing one changes one
/// of these places. Paths that do not exist would make cargo run this script on every build.
fn watch_for_a_toolchain() {
    let places = [
        toolchain::cargo_home().join("bin"),
        toolchain::rustup_home().join("update-hashes"),
        PathBuf::from(toolchain::SYSTEM_RUSTC),
        PathBuf::from("/usr/lib/rustlib"),
    ];
    for place in places.iter().filter(|place| place.exists()) {
        println!("cargo::rerun-if-changed={}", place.display());
    }
}

fn compile(toolchain: &Toolchain, workspace: &Path, target: &Path) -> Result<PathBuf, String> {
    let mut flags = vec![
        format!("-Clinker={}", toolchain.linker.display()),
        // ISA v3 is the first with a 64-bit compare-exchange, which the buckets live on.
        "-Ctarget-cpu=v3".to_owned(),
        // aya needs BTF, and the linker makes it from debug information.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--cfg=bpf_target_arch=\"{}\"", variable("CARGO_CFG_TARGET_ARCH")?.display()),
    ];
    flags.extend(without_places(toolchain, workspace, target)?);
    // Headers stand in packet memory as they please, and the kernel reads them there in one load. Without this, every
    // field is put together from bytes. The stack is another matter: the verifier takes no misaligned access there.
    if toolchain.compiler.llvm_major >= 22 {
        flags.push("-Ctarget-feature=+allows-misaligned-mem-access".to_owned());
    }
    let cargo = toolchain.compiler.cargo.clone().map_or_else(|| variable("CARGO"), Ok)?;
    let mut command = Command::new(&cargo);
    for (name, _) in env::vars_os().filter(|(name, _)| steers_the_outer_build(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    let run = command
        .current_dir(workspace)
        .args([
            "build",
            "--quiet",
            "--package",
            "monitor-ebpf",
            "--package",
            "monitor-tests-bpf",
            "--bins",
            "--release",
        ])
        .args(["--target", TARGET, "-Z", "build-std=core"])
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("RUSTC", &toolchain.compiler.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .stdout(Stdio::null())
        .output()
        .map_err(|error| format!("start {}: {error}", cargo.display()))?;
    let said = String::from_utf8_lossy(&run.stderr);
    if !run.status.success() {
        return Err(format!("the kernel side does not build ({})\n{said}", toolchain.compiler.describe()));
    }
    forward_warnings(&said);
    Ok(target.join(TARGET).join("release"))
}

/// Debug information and BTF name source files. These flags name them by what they are, not by where they are, so that
/// checkout, home and build folder do not change the object. The last prefix that fits applies.
fn without_places(toolchain: &Toolchain, workspace: &Path, target: &Path) -> Result<Vec<String>, String> {
    let workspace = real(workspace)?;
    let mut places = Vec::new();
    let registry = toolchain::cargo_home().join("registry/src");
    for entry in fs::read_dir(&registry).into_iter().flatten().flatten() {
        places.push((entry.path(), "/crates"));
        places.push((real(&entry.path())?, "/crates"));
    }
    let library = &toolchain.compiler.library;
    places.push((real(library)?, "/rust"));
    places.push((library.clone(), "/rust"));
    fs::create_dir_all(target).map_err(|error| format!("make {}: {error}", target.display()))?;
    places.push((real(target)?, "/target"));
    places.push((workspace, "/sluice"));
    // A place within another one comes after it.
    places.sort_by_key(|(place, _)| place.as_os_str().len());
    Ok(places.iter().map(|(place, name)| format!("--remap-path-prefix={}={name}", place.display())).collect())
}

fn real(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|error| format!("find {}: {error}", path.display()))
}

/// What cargo and rustup set for this build and what a wrapper such as clippy adds would reach the inner one too.
fn steers_the_outer_build(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_CFG_"];
    const NAMES: [&str; 6] =
        ["RUSTFLAGS", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTUP_TOOLCHAIN", "CLIPPY_ARGS"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Cargo hides what a successful build script prints, so the compiler's warnings are repeated as its own.
fn forward_warnings(said: &str) {
    let mut inside = false;
    for line in said.lines() {
        // The compiler calls the feature that is asked for above unstable, which is known.
        let known = line.contains("unstable feature specified for `-Ctarget-feature`");
        inside = (line.starts_with("warning") && !known) || (inside && !line.is_empty());
        if inside {
            println!("cargo::warning={line}");
        }
    }
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {name}"))
}
