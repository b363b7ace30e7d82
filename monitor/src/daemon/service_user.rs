//! The user that a daemon of root becomes once it has attached.
//!
//! In: the places that are the daemon's own, and the files that it reads later. Out: a thread of user `sluice`, or the
//! reason why it stays root's. What belongs to neither of the two is left alone.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, RawDir};
use rustix::process::{Gid, Uid, getgroups};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Directories within the daemon's own ones: pins are two below theirs.
const DEEPEST: u32 = 4;

/// The user, as `/etc/passwd` and `/etc/group` have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUser {
    pub name: String,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// What the user must reach, so that nothing fails later that root could have done.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Files that are read again at a reload.
    pub read: Vec<PathBuf>,
    /// Directories that lead to its own places.
    pub enter: Vec<PathBuf>,
}

impl ServiceUser {
    /// The user of this name, from the texts of passwd(5) and group(5).
    pub fn find(name: &str, passwd: &str, group: &str) -> Option<Self> {
        let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let fields = users.find(|fields| fields.first() == Some(&name))?;
        let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
        let (uid, gid) = (number(2)?, number(3)?);
        let of_it = group.lines().filter_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let is_member = fields.get(3)?.split(',').any(|member| member == name);
            is_member.then(|| fields.get(2)?.parse().ok()).flatten()
        });
        let mut groups: Vec<u32> = of_it.chain([gid]).collect();
        groups.sort_unstable();
        groups.dedup();
        // An entry that names root is no service user.
        (uid != 0 && gid != 0).then(|| Self { name: name.to_owned(), uid, gid, groups })
    }

    /// The same, in these groups too: a socket that is made again is given to one of them.
    #[must_use]
    pub fn also_in(mut self, groups: impl IntoIterator<Item = u32>) -> Self {
        self.groups.extend(groups);
        self.groups.sort_unstable();
        self.groups.dedup();
        self
    }

    /// Gives what root owns in the tree at `path` to this user. Links are not followed, and a file that has another name
    /// elsewhere stays root's.
    pub fn give(&self, path: &Path) -> Result<()> {
        let given = hand_over(path, (0, 0), (self.uid, self.gid));
        given.with_context(|| format!("give {} to user {}", path.display(), self.name))
    }

    /// The way back, for a daemon that stays root's.
    pub fn take_back(&self, path: &Path) -> Result<()> {
        let taken = hand_over(path, (self.uid, self.gid), (0, 0));
        taken.with_context(|| format!("take {} back from user {}", path.display(), self.name))
    }

    /// Gives the directory of the control socket, if nothing else is in it: `/run` itself stays root's.
    pub fn give_socket_directory(&self, socket: &Path) -> Result<()> {
        let Some(directory) = socket.parent() else { return Ok(()) };
        let about = fs::symlink_metadata(directory)?;
        let others = fs::read_dir(directory)?
            .flatten()
            .any(|entry| Some(entry.file_name().as_os_str()) != socket.file_name());
        if about.is_dir() && !others { self.give(directory) } else { Ok(()) }
    }

    /// Whether this user reaches what is needed: becomes it for a moment.
    pub fn reaches(&self, needs: &Needs) -> Result<()> {
        let before = getgroups().context("ask for the groups")?;
        let groups: Vec<_> = self.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&groups).context("take the groups of the user")?;
        set_thread_res_gid(None, gid, None).context("take the group of the user")?;
        let tried = set_thread_res_uid(None, uid, None);
        let outcome = tried.map_err(anyhow::Error::from).and_then(|()| needs.are_met());
        set_thread_res_uid(None, Uid::ROOT, None).context("return to root")?;
        set_thread_res_gid(None, Gid::ROOT, None).context("return to root's group")?;
        set_thread_groups(&before).context("return to root's groups")?;
        outcome
    }

    /// Becomes this user for good.
    pub fn become_it(&self) -> Result<()> {
        let groups: Vec<_> = self.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&groups).context("take the groups of the user")?;
        set_thread_res_gid(gid, gid, gid).context("take the group of the user")?;
        set_thread_res_uid(uid, uid, uid).context("become the user")
    }
}

impl Needs {
    fn are_met(&self) -> Result<()> {
        let check = |paths: &[PathBuf], access: Access, verb: &str| {
            for path in paths {
                // What is not there is not there for root either.
                if let Err(rustix::io::Errno::ACCESS) =
                    rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS)
                {
                    bail!("it may not {verb} {}", path.display());
                }
            }
            Ok(())
        };
        check(&self.read, Access::READ_OK, "read")?;
        check(&self.enter, Access::EXEC_OK, "enter")
    }
}

/// Everything in the tree at `path` that user and group `from` own goes to `to`.
fn hand_over(path: &Path, from: (u32, u32), to: (u32, u32)) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    hand_all_over(&rustix::fs::open(path, flags, Mode::empty())?, [from, to], 0)
}

fn hand_all_over(at: &OwnedFd, users: [(u32, u32); 2], depth: u32) -> io::Result<()> {
    let [(from, _), (uid, gid)] = users;
    // The descriptor stays on what was looked at, whatever is renamed meanwhile.
    let about = rustix::fs::fstat(at)?;
    let kind = FileType::from_raw_mode(about.st_mode);
    if kind == FileType::Directory && (about.st_uid == from || about.st_uid == uid) && depth < DEEPEST {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(at, ".", flags, Mode::empty())?;
        for name in names(&directory)? {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(&directory, name, flags, Mode::empty()) {
                Ok(within) => hand_all_over(&within, users, depth + 1)?,
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let has_one_name = kind == FileType::Directory || (kind == FileType::RegularFile && about.st_nlink == 1);
    if about.st_uid == from && has_one_name {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(at, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    Ok(())
}

fn names(directory: &OwnedFd) -> io::Result<Vec<std::ffi::CString>> {
    let mut buffer = Vec::with_capacity(8192);
    let mut entries = RawDir::new(directory.as_fd(), buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_owned();
        if ![c".", c".."].contains(&name.as_c_str()) {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nsluice:x:998:997::/var/lib/sluice:/usr/sbin/nologin\n";
    const GROUP: &str = "root:x:0:\nsluice:x:997:\nsluice-admins:x:990:alice,sluice\nother:x:991:alice\n";

    #[test]
    fn the_user_is_found_with_its_groups_and_root_is_never_it() {
        let user = ServiceUser::find("sluice", PASSWD, GROUP).unwrap();
        assert_eq!((user.uid, user.gid, user.groups.as_slice()), (998, 997, &[990, 997][..]));
        assert_eq!(user.also_in([991, 990]).groups, [990, 991, 997]);
        assert_eq!(ServiceUser::find("nobody", PASSWD, GROUP), None);
        assert_eq!(ServiceUser::find("sluice", "sluice:x:0:0::/:/bin/sh\n", GROUP), None);
        assert_eq!(ServiceUser::find("sluice", "sluice\nsluice:x\n", GROUP), None);
    }

    #[test]
    fn only_what_is_roots_and_has_one_name_is_given() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root");
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let (own, elsewhere) = (place.path().join("own"), place.path().join("elsewhere"));
        fs::create_dir_all(own.join("v1/maps")).unwrap();
        fs::write(own.join("v1/maps/rules"), "").unwrap();
        fs::write(&elsewhere, "").unwrap();
        fs::write(own.join("foreign"), "").unwrap();
        std::os::unix::fs::chown(own.join("foreign"), Some(12), Some(12)).unwrap();
        symlink(&elsewhere, own.join("link")).unwrap();
        fs::hard_link(&elsewhere, own.join("twice")).unwrap();
        let user = ServiceUser::find("sluice", PASSWD, GROUP).unwrap();
        user.give(&own).unwrap();
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        for given in ["", "v1", "v1/maps", "v1/maps/rules"] {
            assert_eq!(owner(&own.join(given)), 998, "{given}");
        }
        assert_eq!(owner(&own.join("foreign")), 12);
        assert_eq!((owner(&own.join("link")), owner(&own.join("twice")), owner(&elsewhere)), (0, 0, 0));
        user.take_back(&own).unwrap();
        assert_eq!((owner(&own), owner(&own.join("v1/maps/rules")), owner(&own.join("foreign"))), (0, 0, 12));
    }

    #[test]
    fn a_user_that_cannot_read_what_is_needed_is_not_taken() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root");
            return;
        }
        // Identities belong to threads here, so only this one changes.
        let tried = std::thread::spawn(|| {
            let place = tempfile::tempdir().unwrap();
            std::os::unix::fs::chown(place.path(), Some(998), None).unwrap();
            let secret = place.path().join("secret");
            fs::write(&secret, "").unwrap();
            fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            let user = ServiceUser::find("sluice", PASSWD, GROUP).unwrap();
            let missing = place.path().join("missing");
            let needs = Needs { read: vec![secret.clone(), missing], enter: vec![place.path().to_owned()] };
            let refused = user.reaches(&needs).unwrap_err().to_string();
            assert!(refused.contains("may not read") && refused.contains("secret"), "{refused}");
            assert!(rustix::process::geteuid().is_root());
            std::os::unix::fs::chown(&secret, Some(998), None).unwrap();
            user.reaches(&needs).unwrap();
            assert!(rustix::process::geteuid().is_root());
            user.become_it().unwrap();
            assert_eq!(rustix::process::geteuid().as_raw(), 998);
            assert!(set_thread_res_uid(None, Uid::ROOT, None).is_err(), "there is a way back");
            // The place is the user's own now, so it can be removed.
        });
        tried.join().unwrap();
    }
}
