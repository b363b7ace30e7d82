//! The last configuration that was in force, with the lists as they were, for a start that finds the file broken.
//!
//! In: a configuration that was taken. Out: two files in the state directory, replaced as a whole. It is read before
//! anything else works, so it needs nothing but the directory.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

use super::delta::ConfigSetting;
use super::regular;
use policy::ImportedList;
use policy::config::State;

const SETTING: &str = "last-good.json";
const LISTS: &str = "last-good-lists.json";
/// Larger files are not ours.
const LARGEST: u64 = 256 << 20;

/// The configuration that was last in force for the file `path`, from the first of `directories` that has one.
pub fn setting(directories: &[PathBuf], path: Option<&str>) -> Option<ConfigSetting> {
    let read = |directory: &PathBuf| read::<ConfigSetting>(&directory.join(SETTING));
    directories.iter().filter_map(read).find(|setting| setting.path.as_deref() == path)
}

/// The lists as they were last taken.
pub fn lists(directory: &Path) -> Vec<ImportedList> {
    read(&directory.join(LISTS)).unwrap_or_default()
}

/// Where the state of a configuration may lie that cannot be read: the directory that its text names if that much can be
/// read, the service manager's, the usual one.
pub fn directories(text: &str) -> Vec<PathBuf> {
    let named = named(text, "state", "directory");
    let managed = std::env::var("STATE_DIRECTORY").ok();
    let managed = managed.and_then(|all| all.split(':').next().map(PathBuf::from));
    let all = named.into_iter().chain(managed).chain([State::default().directory]);
    all.filter(|directory| directory.is_absolute()).collect()
}

/// A path that a text names, if that much of it can be read.
pub(super) fn named(text: &str, table: &str, key: &str) -> Option<PathBuf> {
    let (all, _) = toml::de::DeTable::parse_recoverable(text);
    let table = all.get_ref().get(table)?.get_ref().as_table()?;
    table.get(key)?.get_ref().as_str().map(PathBuf::from)
}

/// What was written last, so that nothing is written twice.
#[derive(Debug, Default)]
pub struct Kept {
    setting: Option<(PathBuf, ConfigSetting)>,
    lists: Option<(PathBuf, Vec<ImportedList>)>,
}

impl Kept {
    pub fn keep(&mut self, directory: &Path, setting: &ConfigSetting, lists: &[ImportedList]) -> Result<()> {
        let same = |kept: &PathBuf| kept == directory;
        if !self.setting.as_ref().is_some_and(|(place, kept)| same(place) && kept == setting) {
            self.setting = None;
            write(&directory.join(SETTING), setting)?;
            self.setting = Some((directory.to_owned(), setting.clone()));
        }
        if !self.lists.as_ref().is_some_and(|(place, kept)| same(place) && kept == lists) {
            self.lists = None;
            write(&directory.join(LISTS), &lists)?;
            self.lists = Some((directory.to_owned(), lists.to_vec()));
        }
        Ok(())
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = match regular::read(path, LARGEST) {
        Ok(bytes) => bytes,
        Err(why) => {
            tracing::debug!("{why}");
            return None;
        }
    };
    serde_json::from_slice(&bytes).inspect_err(|error| tracing::error!("{}: {error}", path.display())).ok()
}

pub(super) fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    write_bytes(path, &serde_json::to_vec(value)?)
}

/// Replaces the file at `path` as a whole.
pub(super) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    let shown = || format!("write {}", path.display());
    let mut fresh = path.as_os_str().to_owned();
    fresh.push("-new");
    let _ = fs::remove_file(&fresh);
    let mut file =
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(&fresh).with_context(shown)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(shown)?;
    fs::rename(&fresh, path).with_context(shown)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_state_directory_is_found_in_a_file_that_is_broken_elsewhere() {
        for broken in
            ["nonsense = [\n", "[[service]]\nname = \n", "wat\n", "interfaces.names = \"not a list\"\n"]
        {
            for text in [
                format!("state.directory = \"/tmp/kept\"\n{broken}"),
                format!("[state]\ndirectory = \"/tmp/kept\"\n{broken}"),
            ] {
                assert_eq!(
                    directories(&text).first().map(PathBuf::as_path),
                    Some(Path::new("/tmp/kept")),
                    "{text}"
                );
            }
        }
        assert_eq!(directories("]").last(), Some(&State::default().directory));
    }

    #[test]
    fn what_was_kept_is_for_the_file_that_it_came_from() {
        let files = tempfile::tempdir().unwrap();
        let setting = |path: &str| ConfigSetting {
            path: Some(path.to_owned()),
            toml: "interfaces.names = []".to_owned(),
            flags: super::super::delta::Flags::default(),
        };
        let mut kept = Kept::default();
        kept.keep(files.path(), &setting("/etc/a.toml"), &[]).unwrap();
        let directories = [PathBuf::from("/nowhere"), files.path().to_owned()];
        assert_eq!(super::setting(&directories, Some("/etc/a.toml")), Some(setting("/etc/a.toml")));
        assert_eq!(super::setting(&directories, Some("/etc/b.toml")), None);
        kept.keep(files.path(), &setting("/etc/b.toml"), &[]).unwrap();
        assert_eq!(super::setting(&directories, Some("/etc/b.toml")), Some(setting("/etc/b.toml")));
    }
}
