//! The binary names no path of the machine that built it.
//!
//! In: the build's command. Out: the flags that give sources a name of their own, and an error when a path is left all the same.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{process, toolchain};

/// Flags that write every folder of sources under a name that is the same on every machine.
pub fn remapping() -> Result<Vec<String>> {
    let named = sources()?.into_iter().map(|(folder, name)| format!("{}={name}", folder.display()));
    Ok(named.flat_map(|pair| ["--remap-path-prefix".to_owned(), pair]).collect())
}

/// Fails when the binary holds the name of a folder of this machine.
pub fn holds_none(binary: &Path) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("read {}", binary.display()))?;
    let held = held(&bytes);
    ensure!(held.is_empty(), "{} holds paths of this machine: {held:?}", binary.display());
    Ok(())
}

fn held(bytes: &[u8]) -> Vec<PathBuf> {
    let folders = [process::workspace(), toolchain::cargo_home(), toolchain::rustup_home()];
    folders.into_iter().filter(|folder| contains(bytes, folder.as_os_str().as_encoded_bytes())).collect()
}

/// Each folder that sources come from, and its name in messages. The later flag wins where two fit.
fn sources() -> Result<Vec<(PathBuf, &'static str)>> {
    let home = toolchain::cargo_home();
    let mut named = vec![(home.clone(), "cargo"), (process::workspace(), "sluice")];
    let registries = home.join("registry/src");
    // A machine that has built nothing yet has none.
    if let Ok(entries) = fs::read_dir(&registries) {
        for entry in entries {
            let entry = entry.with_context(|| format!("list {}", registries.display()))?;
            named.push((entry.path(), "crates"));
        }
    }
    Ok(named)
}

fn contains(bytes: &[u8], path: &[u8]) -> bool {
    path.len() > 1 && bytes.windows(path.len()).any(|window| window == path)
}

#[cfg(test)]
mod tests {
    use super::{held, remapping};
    use crate::process;

    #[test]
    fn a_binary_that_names_a_folder_of_this_machine_is_refused() {
        assert!(held(b"\x7fELF crates/anyhow-1.0/src/lib.rs").is_empty());
        let named = format!("\x7fELF{}/src/main.rs", process::workspace().display());
        assert_eq!(held(named.as_bytes()), [process::workspace()]);
        assert!(remapping().unwrap().iter().any(|flag| flag.ends_with("=sluice")));
    }
}
