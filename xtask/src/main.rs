//! Everything a developer or CI does with sluice, one file for each command.
//!
//! In: the command line of `cargo xtask`. Out: the exit status of what was run. Nothing here is part of the product,
//! and no command needs another one to have run before it.

mod api;
mod bench;
mod build;
mod check;
mod demo;
mod dist;
mod docs;
mod fuzz;
mod kernels;
mod process;
mod run;
mod runner;
mod setup;
mod systemd;
mod test;
mod tidy;
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Develop sluice: set up, build, test, demonstrate, measure")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find or install all that the build and the tests need
    Setup(setup::Arguments),
    /// Build everything, with the kernel side in it
    Build(build::Arguments),
    /// Show the main job: a flood between private network namespaces, with sluice off and then on
    Demo(demo::Arguments),
    /// Run the daemon in the foreground
    Run(run::Arguments),
    /// Run every test, after set-up, check, tidy and build
    Test(test::Arguments),
    /// Try the build on other kernels, each in an emulated machine
    Kernels(kernels::Arguments),
    /// Check format, lints, and the dependencies' licences and sources
    Check(check::Arguments),
    /// Check the house rules
    Tidy,
    /// Try the control API against its own description, with schemathesis
    Api(api::Arguments),
    /// Measure, in release
    Bench(bench::Arguments),
    /// Fuzz everything that is read from outside, a minute each
    Fuzz(fuzz::Arguments),
    /// Write the generated pages of docs/
    Docs(docs::Arguments),
    /// Build the packages: a .deb, an .rpm, a tarball, a bill of materials and sums
    Dist(dist::Arguments),
    /// Try the package under a real systemd, as a service of a Debian of its own
    Systemd(systemd::Arguments),
    /// Start one test binary, as root if it needs that
    #[command(hide = true)]
    Runner(runner::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup(arguments) => setup::main(&arguments),
        Command::Build(arguments) => build::main(&arguments),
        Command::Demo(arguments) => demo::main(&arguments),
        Command::Run(arguments) => run::main(&arguments),
        Command::Test(arguments) => test::main(&arguments),
        Command::Kernels(arguments) => kernels::main(&arguments),
        Command::Check(arguments) => check::main(&arguments),
        Command::Tidy => tidy::main(),
        Command::Api(arguments) => api::main(&arguments),
        Command::Bench(arguments) => bench::main(&arguments),
        Command::Fuzz(arguments) => fuzz::main(&arguments),
        Command::Docs(arguments) => docs::main(&arguments),
        Command::Dist(arguments) => dist::main(&arguments),
        Command::Systemd(arguments) => systemd::main(&arguments),
        Command::Runner(arguments) => runner::main(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
