//! `cargo xtask setup`: finds or installs all that the build and the tests need, and says what it does.
//!
//! In: the machine, and how much is wanted of it. Out: a machine that builds and tests sluice, or one error with the
//! commands to run by hand. With everything in place it changes nothing and takes less than a second.

mod apt;
mod bpf;
mod packaging;
mod programs;

use anyhow::{Result, bail};

use crate::process;
use apt::Apt;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only report what is there and what is missing
    #[arg(long)]
    check: bool,
    /// Also what `dist` builds packages with
    #[arg(long)]
    packages: bool,
    /// Which BPF compiler to install where there is none: by default Debian's if apt offers it, else rustup's
    #[arg(long, value_enum)]
    toolchain: Option<bpf::Origin>,
}

impl Arguments {
    const fn scope(&self) -> Scope {
        if self.packages { Scope::Package } else { Scope::Test }
    }
}

/// How much of the machine a command needs; each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// What compiles and runs sluice
    Build,
    /// and what the demonstration uses
    Demo,
    /// and every tool of the tests, of `check` and of the benchmarks
    Test,
    /// and what builds and tries packages.
    Package,
}

/// One thing that is wanted, and how to see whether it is there.
struct Item {
    name: &'static str,
    /// What is there, or what is missing.
    state: std::result::Result<String, String>,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    if arguments.check {
        return report(&inspect(arguments.scope()));
    }
    install(arguments.scope(), arguments.toolchain)?;
    report(&inspect(arguments.scope()))
}

/// Installs what `scope` lacks. Says nothing when it lacks nothing.
pub fn ensure(scope: Scope) -> Result<()> {
    install(scope, None)
}

/// What builds a .deb, for the test that installs one.
pub fn deb() -> Result<()> {
    packaging::install(&["cargo-deb"])
}

/// Installs Debian's packages of these names where one is missing.
pub fn packages(names: &[&str]) -> Result<()> {
    let missing: Vec<&str> = names.iter().copied().filter(|name| !apt::is_installed(name)).collect();
    if missing.is_empty() { Ok(()) } else { Apt::default().install(&missing) }
}

fn inspect(scope: Scope) -> Vec<Item> {
    let mut items = vec![bpf::compiler(), bpf::linker(), filesystem()];
    if scope >= Scope::Demo {
        items.push(programs::tools(scope));
    }
    if scope >= Scope::Test {
        items.push(programs::lints());
        items.push(programs::cargo_deny());
    }
    if scope >= Scope::Package {
        items.extend(packaging::items());
    }
    items
}

fn install(scope: Scope, origin: Option<bpf::Origin>) -> Result<()> {
    let missing = |item: &Item| item.state.is_err();
    let mut apt = Apt::default();
    if origin.is_some() || missing(&bpf::compiler()) {
        bpf::install_compiler(&mut apt, origin)?;
    }
    if missing(&bpf::linker()) {
        bpf::install_linker()?;
    }
    if scope >= Scope::Demo && missing(&programs::tools(scope)) {
        programs::install_tools(&mut apt, scope)?;
    }
    if scope >= Scope::Test && missing(&programs::lints()) {
        programs::install_lints()?;
    }
    if scope >= Scope::Test && missing(&programs::cargo_deny()) {
        programs::install_cargo_deny()?;
    }
    if scope >= Scope::Package {
        packaging::install(&packaging::ALL)?;
    }
    if missing(&filesystem()) {
        process::run(process::privileged("mount", &[]).args(["-t", "bpf", "bpf", BPF_FILESYSTEM]))?;
    }
    Ok(())
}

fn report(items: &[Item]) -> Result<()> {
    for Item { name, state } in items {
        match state {
            Ok(found) => println!("{name:<15} {found}"),
            Err(missing) => println!("{name:<15} MISSING: {missing}"),
        }
    }
    let missing = items.iter().filter(|item| item.state.is_err()).count();
    if missing > 0 {
        bail!("{missing} of {} are missing: run `cargo xtask setup`", items.len());
    }
    Ok(())
}

/// Where programs and maps are pinned.
const BPF_FILESYSTEM: &str = "/sys/fs/bpf";

fn filesystem() -> Item {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(BPF_FILESYSTEM) && fields.next() == Some("bpf")
    });
    let state = if mounted {
        Ok(format!("mounted on {BPF_FILESYSTEM}"))
    } else {
        Err(format!("not mounted on {BPF_FILESYSTEM}"))
    };
    Item { name: "bpf filesystem", state }
}
