//! Hands the benchmark the object of the reference programs, or an empty file where there is no BPF toolchain.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=DEP_SLUICE_BPF_REFERENCE");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("sluice-reference");
    match env::var_os("DEP_SLUICE_BPF_REFERENCE") {
        Some(built) => {
            println!("cargo::rerun-if-changed={}", PathBuf::from(&built).display());
            fs::copy(built, out).expect("copy the reference programs to OUT_DIR");
        }
        None => fs::write(out, []).expect("write a stub to OUT_DIR"),
    }
}
