//! `cargo xtask api`: lets schemathesis read the daemon's description of its API and try the running daemon against it.
//!
//! In: the number of examples for each operation. Out: the exit status of the binary `api` of the tests' package, which makes
//! the namespaces. The tool lives in a folder of `target`.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{build, process, setup};

/// The release that the recorded run was made with.
const TOOL: &str = "schemathesis==4.32.5";

/// What the run must not do: these end the daemon. Unit tests and behaviour tests try them.
const LEFT_OUT: [&str; 2] = ["/v1/stop", "/v1/detach"];

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Examples for each operation
    #[arg(long, default_value_t = 100)]
    examples: u32,
    /// Begin from this number, to repeat a run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Passed on to schemathesis
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    build::build(setup::Scope::Demo, false)?;
    let folder = process::target().join("schemathesis");
    let tool = folder.join("bin/st");
    let installed = Command::new(&tool).arg("--version").output();
    if !installed.is_ok_and(|output| output.status.success()) {
        process::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            .context("schemathesis needs Python with venv")?;
        process::run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", TOOL]))?;
    }
    let mut command = process::privileged(process::built("api", false)?, &["NO_COLOR", "TERM"]);
    command.arg(&tool);
    command.arg("--config-file").arg(process::workspace().join("tests/schemathesis.toml"));
    command.args(["run", "--continue-on-failure", "--no-shrink"]);
    command.arg(format!("--max-examples={}", arguments.examples)).arg(format!("--seed={}", arguments.seed));
    command.args(LEFT_OUT.iter().map(|path| format!("--exclude-path={path}")));
    process::exec(command.args(&arguments.rest))
}
