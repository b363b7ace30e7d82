//! `cargo xtask fuzz`: libFuzzer over everything that is read from outside, for a while, on the stable compiler.
//!
//! In: which targets and how long. Out: failure when one of them falls over; the input that did it stays under
//! `fuzz/artifacts`, what was learned under `fuzz/corpus`. Bounded rounds of the same checks are among the tests.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

const TARGETS: [&str; 6] = ["frame", "segments", "config", "request", "capture", "list"];

/// Coverage as libFuzzer reads it: a counter for every edge, and what is compared. No sanitizer, which would need nightly.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions \
                     -Coverflow-checks -Ccodegen-units=1";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only these: frame, segments, config, request, capture, list
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,
    /// How long each
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    if process::find_program("c++").is_none() {
        bail!("libFuzzer is C++: install a compiler, Debian's g++");
    }
    let fuzz = process::workspace().join("fuzz");
    // A workspace of its own, with the same versions as ours.
    fs::copy(process::workspace().join("Cargo.lock"), fuzz.join("Cargo.lock")).context("copy Cargo.lock")?;
    let host = process::host()?;
    let mut build = process::cargo(["build", "--release", "--target", &host]);
    build.current_dir(&fuzz).env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", fuzz.join("target"));
    process::run(&mut build)?;
    let mut fell = Vec::new();
    for target in TARGETS {
        let wanted = arguments.targets.is_empty() || arguments.targets.iter().any(|name| name == target);
        if wanted && let Err(error) = fuzz_one(&fuzz, &host, target, arguments.seconds) {
            eprintln!("xtask: {error:#}");
            fell.push(target);
        }
    }
    if !fell.is_empty() {
        bail!("{} fell over: the inputs are under fuzz/artifacts", fell.join(", "));
    }
    Ok(())
}

fn fuzz_one(fuzz: &Path, host: &str, target: &str, seconds: u32) -> Result<()> {
    let (corpus, artifacts) = (fuzz.join("corpus").join(target), fuzz.join("artifacts").join(target));
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let mut run = Command::new(fuzz.join("target").join(host).join("release").join(target));
    run.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", artifacts.display()));
    process::run(run.arg("-print_final_stats=1").arg(corpus))
}
