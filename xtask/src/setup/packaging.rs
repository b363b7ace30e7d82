//! The cargo commands that build packages, each at the version whose output was looked at.
//!
//! In: cargo's folder. Out: the commands, installed from their own lock files.

use anyhow::Result;

use super::Item;
use super::programs::version;
use crate::process::{cargo, run};

/// The crate, its command, and its version.
const COMMANDS: [(&str, &str, &str); 4] = [
    ("cargo-auditable", "auditable", "0.7.7"),
    ("cargo-cyclonedx", "cyclonedx", "0.5.9"),
    ("cargo-deb", "deb", "3.8.0"),
    ("cargo-generate-rpm", "generate-rpm", "0.21.1"),
];

pub fn items() -> impl Iterator<Item = Item> {
    COMMANDS.into_iter().map(|(name, command, wanted)| {
        let state = match version(command) {
            Some(found) if found.ends_with(wanted) => Ok(wanted.to_owned()),
            Some(found) => Err(format!("{found}, not {wanted}")),
            None => Err("not installed".to_owned()),
        };
        Item { name, state }
    })
}

/// The crates of [`COMMANDS`].
pub const ALL: [&str; 4] = ["cargo-auditable", "cargo-cyclonedx", "cargo-deb", "cargo-generate-rpm"];

/// Installs those of `names` that are missing.
pub fn install(names: &[&str]) -> Result<()> {
    let missing: Vec<&str> = items().filter(|item| item.state.is_err()).map(|item| item.name).collect();
    let wanted = |name: &str| names.contains(&name) && missing.contains(&name);
    for (name, _, version) in COMMANDS.into_iter().filter(|(name, ..)| wanted(name)) {
        eprintln!("xtask: building {name} {version}, about two minutes");
        run(&mut cargo(["install", name, "--version", version, "--locked", "--force"]))?;
    }
    Ok(())
}
