//! `cargo xtask test`: set-up, check, tidy, build, then every test in one `cargo test`, with a summary.
//!
//! In: a filter of test names; with one, only the build and the matching tests run. Out: failure if any step failed;
//! the steps that do not need each other all run. In CI a test that would be skipped fails instead.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{check, process, setup, systemd, tidy};

/// Everything that runs on this machine. All builds of one test run name the same packages, because cargo builds a
/// dependency once for each set of features that the named packages ask for.
pub const PACKAGES: [&str; 5] =
    ["--workspace", "--exclude", "monitor-ebpf", "--exclude", "monitor-tests-bpf"];

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run only the tests whose name contains this
    filter: Option<String>,
}

/// What one step came to.
struct Step {
    name: &'static str,
    took: Duration,
    result: Result<()>,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    let mut steps = Vec::new();
    let mut skipped = Vec::new();
    let everything = arguments.filter.is_none();
    let mut step = |name, work: &mut dyn FnMut() -> Result<()>| {
        let start = Instant::now();
        eprintln!("\n== {name}");
        let result = work();
        if let Err(error) = &result {
            eprintln!("xtask: {name}: {error:#}");
        }
        let passed = result.is_ok();
        steps.push(Step { name, took: start.elapsed(), result });
        passed
    };

    let ready = step("setup", &mut || setup::ensure(setup::Scope::Test));
    if everything {
        step("tidy", &mut tidy::main);
        step("format", &mut check::format);
        step("lints", &mut check::lints);
        step("dependencies", &mut check::dependencies);
    }
    let built = ready
        && step("build", &mut || process::run(process::cargo(["build", "--all-targets"]).args(PACKAGES)));
    if built {
        let mut host = None;
        if everything {
            step("host", &mut || match systemd::prepare(systemd::Suite::Bookworm) {
                Ok(prepared) => {
                    host = Some(prepared);
                    Ok(())
                }
                Err(error) if in_ci() => Err(error),
                // A machine without debootstrap or a mirror still runs all other tests. The test of the package says SKIP.
                Err(error) => {
                    eprintln!("SKIP: no host for the package's test: {error:#}");
                    Ok(())
                }
            });
        }
        step("tests", &mut || tests(arguments.filter.as_deref(), host.as_ref(), &mut skipped));
    }
    summarise(&steps, &skipped)
}

/// One `cargo test`, whose last lines say how much passed. Tests of the privileged package go through our runner.
fn tests(filter: Option<&str>, host: Option<&systemd::Prepared>, skipped: &mut Vec<String>) -> Result<()> {
    let mut command = process::cargo(["test", "--no-fail-fast"]);
    command.args(PACKAGES).args(filter);
    if let Some(host) = host {
        host.tell(&mut command);
    }
    if !process::is_root() {
        // Not this process's own path: the build that just ran may have replaced the file.
        let xtask = process::built("xtask", false)?;
        command.env(runner_variable()?, format!("{} runner --", xtask.display()));
    }
    if in_ci() {
        command.env("SLUICE_NO_SKIP", "1");
    }
    eprintln!("+ {}", process::shown(&command));
    // Tests say `SKIP:` on the standard error itself, which libtest does not capture.
    let mut child = command.stderr(Stdio::piped()).spawn().context("start cargo test")?;
    let said = child.stderr.take().context("read what cargo test says")?;
    for line in BufReader::new(said).lines() {
        let line = line.context("read what cargo test says")?;
        eprintln!("{line}");
        if let Some(reason) = line.trim_start().strip_prefix("SKIP:") {
            skipped.push(reason.trim().to_owned());
        }
    }
    let status = child.wait().context("wait for cargo test")?;
    if !status.success() {
        bail!("tests failed ({status})");
    }
    Ok(())
}

fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// The name under which cargo looks for this machine's runner.
fn runner_variable() -> Result<String> {
    Ok(format!("CARGO_TARGET_{}_RUNNER", process::host()?.to_uppercase().replace('-', "_")))
}

fn summarise(steps: &[Step], skipped: &[String]) -> Result<()> {
    eprintln!("\n== summary");
    for step in steps {
        let word = if step.result.is_ok() { "ok" } else { "FAILED" };
        eprintln!("{:<18} {word:<7} {:>6.1} s", step.name, step.took.as_secs_f64());
    }
    if !skipped.is_empty() {
        eprintln!("{} skipped:", skipped.len());
        for reason in skipped {
            eprintln!("  {reason}");
        }
    }
    let failed: Vec<&str> = steps.iter().filter(|step| step.result.is_err()).map(|step| step.name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
