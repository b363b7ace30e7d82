//! Copies of fetched lists in the state directory: what a start without a network reads.
//!
//! In: a list and the bytes that were fetched. Out: two files each, replaced as a whole: the bytes, and what the server
//! said of them. Their names are hashes, because a URL may hold a key.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use ring::digest;
use serde::{Deserialize, Serialize};

use crate::engine::last_good::{write, write_bytes};
use crate::engine::regular;
use policy::config::AccessList;

/// Within the state directory.
const DIRECTORY: &str = "lists";
/// Larger ones are not ours.
const LARGEST_STAMP: u64 = 64 << 10;

/// What the server said of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    /// When the server last said that this is the list.
    pub checked: Timestamp,
}

/// The copy of one list.
#[derive(Clone, Debug)]
pub struct Copy {
    bytes: PathBuf,
    stamp: PathBuf,
}

impl Copy {
    /// Of the list at `url`, below the state directory.
    pub fn of(url: &str, state: &Path) -> Self {
        let hash = digest::digest(&digest::SHA256, url.as_bytes());
        let name = hash.as_ref()[..16].iter().fold(String::new(), |name, byte| format!("{name}{byte:02x}"));
        let directory = state.join(DIRECTORY);
        Self { bytes: directory.join(format!("{name}.list")), stamp: directory.join(format!("{name}.json")) }
    }

    pub fn read(&self, largest: u64) -> Result<Vec<u8>, String> {
        regular::read(&self.bytes, largest)
    }

    pub fn is_there(&self) -> bool {
        self.bytes.is_file() && self.ensure_own().is_ok()
    }

    /// Another user's directory may hold anything, and lead anywhere.
    fn ensure_own(&self) -> Result<()> {
        let directory = self.bytes.parent().context("a copy lies in a directory")?;
        let about = fs::symlink_metadata(directory)?;
        let is_own = about.is_dir() && about.uid() == rustix::process::geteuid().as_raw();
        ensure!(is_own, "{} is not a directory of this user", directory.display());
        Ok(())
    }

    /// What is known of the copy, if there is one.
    pub fn stamp(&self) -> Option<Stamp> {
        let stamp = regular::read(&self.stamp, LARGEST_STAMP).ok()?;
        self.is_there().then(|| serde_json::from_slice(&stamp).ok())?
    }

    pub fn keep(&self, bytes: &[u8], stamp: &Stamp) -> Result<()> {
        if let Some(directory) = self.bytes.parent() {
            fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        }
        self.ensure_own()?;
        // An old stamp must never vouch for new bytes that were cut off, so it goes first.
        let _ = fs::remove_file(&self.stamp);
        write_bytes(&self.bytes, bytes)?;
        self.keep_stamp(stamp)
    }

    pub fn keep_stamp(&self, stamp: &Stamp) -> Result<()> {
        write(&self.stamp, stamp)
    }
}

/// Removes the copies of lists that are no longer fetched.
pub fn tidy(state: &Path, lists: &[AccessList]) {
    let kept: BTreeSet<PathBuf> = lists
        .iter()
        .filter_map(|list| list.url.as_deref())
        .map(|url| Copy::of(url, state))
        .flat_map(|copy| [copy.bytes, copy.stamp])
        .collect();
    // A link would have somebody else's files removed.
    let is_own = fs::symlink_metadata(state.join(DIRECTORY)).is_ok_and(|about| about.is_dir());
    let there = fs::read_dir(state.join(DIRECTORY)).ok().filter(|_| is_own).into_iter().flatten().flatten();
    for path in there.map(|entry| entry.path()).filter(|path| !kept.contains(path)) {
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!("{}: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_found_again_and_goes_with_its_list() {
        let state = tempfile::tempdir().unwrap();
        let url = "https://lists.example/drop?key=secret";
        let copy = Copy::of(url, state.path());
        assert!(copy.stamp().is_none() && copy.read(100).is_err());
        let stamp = Stamp { etag: Some("\"1\"".to_owned()), ..Stamp::default() };
        copy.keep(b"192.0.2.0/24\n", &stamp).unwrap();
        let other = Copy::of("https://lists.example/drop?key=other", state.path());
        other.keep(b"", &Stamp::default()).unwrap();
        assert_eq!((copy.read(100).unwrap(), copy.stamp()), (b"192.0.2.0/24\n".to_vec(), Some(stamp)));
        let list: AccessList = toml::from_str(&format!("url = \"{url}\"")).unwrap();
        tidy(state.path(), &[list]);
        assert!(copy.stamp().is_some() && other.read(100).is_err());
        let names =
            fs::read_dir(state.path().join(DIRECTORY)).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("secret")));
        fs::remove_file(&copy.bytes).unwrap();
        assert!(copy.stamp().is_none(), "a stamp without its bytes says nothing");
    }

    #[test]
    fn a_link_in_place_of_the_directory_is_neither_read_nor_written_nor_tidied() {
        let (state, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let url = "https://lists.example/drop";
        Copy::of(url, elsewhere.path()).keep(b"192.0.2.0/24\n", &Stamp::default()).unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join(DIRECTORY), state.path().join(DIRECTORY)).unwrap();
        let copy = Copy::of(url, state.path());
        assert!(!copy.is_there() && copy.stamp().is_none());
        assert!(copy.keep(b"", &Stamp::default()).unwrap_err().to_string().contains("not a directory"));
        tidy(state.path(), &[]);
        assert!(Copy::of(url, elsewhere.path()).is_there());
    }
}
