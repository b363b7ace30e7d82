//! Who is on the other end of the socket: kernel-attested credentials in, a role out.
//!
//! Nothing the client says about itself counts; only what the kernel recorded when it connected
//! (`SO_PEERCRED`, `SO_PEERGROUPS`, unix(7)).

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Result, anyhow};
use api::escape::escaped;
use tokio::net::UnixStream;

use crate::engine::command::Role;
use policy::config::Control;

/// Who connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    pub gid: u32,
    /// 0 when the kernel does not say (another pid namespace).
    pub pid: i32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Peer {
    /// The credentials that the kernel recorded for the other end of `stream`.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid: credentials.pid().unwrap_or(0),
            groups: supplementary_groups(stream)?,
        })
    }

    fn is_in(&self, group: Option<u32>) -> bool {
        group.is_some_and(|group| group == self.gid || self.groups.contains(&group))
    }
}

/// Which peers have which role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// Besides uid 0, the daemon's own user is an admin.
    pub daemon_uid: u32,
    pub admin_group: Option<u32>,
    pub operator_group: Option<u32>,
    pub viewer_group: Option<u32>,
}

impl Roles {
    /// The roles that the configuration gives; groups by name or number, looked up in the text of `/etc/group`.
    pub fn of(control: &Control, daemon_uid: u32, group_file: &str) -> Result<Self> {
        let number = |key: &str, group: Option<&String>| {
            let Some(group) = group else { return Ok(None) };
            group_number(group_file, group).map(Some).ok_or_else(|| {
                anyhow!(
                    "control.{key}: there is no group `{group}`; make it with `groupadd --system {group}`"
                )
            })
        };
        Ok(Self {
            daemon_uid,
            admin_group: number("admin_group", control.admin_group.as_ref())?,
            operator_group: number("operator_group", control.operator_group.as_ref())?,
            viewer_group: number("viewer_group", control.viewer_group.as_ref())?,
        })
    }

    /// The group that the socket file belongs to: the widest one, whose members may connect at all.
    pub fn door_group(&self) -> Option<u32> {
        self.viewer_group.or(self.operator_group).or(self.admin_group)
    }

    /// The role of `peer`; `None` for everyone else.
    pub fn role_of(&self, peer: &Peer) -> Option<Role> {
        if peer.uid == 0 || peer.uid == self.daemon_uid || peer.is_in(self.admin_group) {
            Some(Role::Admin)
        } else if peer.is_in(self.operator_group) {
            Some(Role::Operator)
        } else if peer.is_in(self.viewer_group) {
            Some(Role::Viewer)
        } else {
            None
        }
    }
}

/// The number of a group that is given by name or number, from the text of `/etc/group` (group(5)).
pub fn group_number(group_file: &str, group: &str) -> Option<u32> {
    group.parse().ok().or_else(|| {
        group_file.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
        })
    })
}

/// The host's own list of users (passwd(5)), read again when it was replaced.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    /// Time of change, inode and length of what was read.
    stamp: Option<(SystemTime, u64, u64)>,
    text: String,
}

impl Default for Users {
    fn default() -> Self {
        Self { path: PathBuf::from("/etc/passwd"), stamp: None, text: String::new() }
    }
}

impl Users {
    /// The name of a user; `None` for one that only a directory service knows.
    pub fn name(&mut self, uid: u32) -> Option<String> {
        let about = fs::metadata(&self.path).ok()?;
        let stamp = (about.modified().ok()?, about.ino(), about.len());
        if self.stamp != Some(stamp) {
            self.text = fs::read_to_string(&self.path).ok()?;
            self.stamp = Some(stamp);
        }
        name_in(&self.text, uid)
    }
}

/// The same from the text of that list.
pub fn name_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| escaped(name).into_owned())
    })
}

fn supplementary_groups(stream: &UnixStream) -> io::Result<Vec<u32>> {
    let socket = stream.as_fd();
    let mut groups = vec![0_u32; 64];
    loop {
        let bytes = groups.len() * size_of::<u32>();
        let mut length = libc::socklen_t::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: `groups` is writable for `length` bytes, and the kernel writes at most that many.
        let answer = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let filled = usize::try_from(length).map_err(io::Error::other)? / size_of::<u32>();
        if answer == 0 {
            groups.truncate(filled);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // NGROUPS_MAX is 65536: the kernel says how much room it wants.
        if error.raw_os_error() != Some(libc::ERANGE) || filled <= groups.len() || filled > 65_536 {
            return Err(error);
        }
        groups.resize(filled, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Peer, Roles, Users, group_number, name_in};
    use crate::engine::command::Role;
    use policy::config::Control;

    fn peer(uid: u32, gid: u32, groups: &[u32]) -> Peer {
        Peer { uid, gid, pid: 1, groups: groups.to_vec() }
    }

    #[test]
    fn root_and_the_daemon_are_admins_groups_give_less_and_strangers_get_nothing() {
        let roles = Roles {
            daemon_uid: 900,
            admin_group: Some(40),
            operator_group: Some(50),
            viewer_group: Some(60),
        };
        assert_eq!(roles.role_of(&peer(0, 0, &[])), Some(Role::Admin));
        assert_eq!(roles.role_of(&peer(900, 900, &[])), Some(Role::Admin));
        assert_eq!(roles.role_of(&peer(1000, 50, &[])), Some(Role::Operator));
        assert_eq!(roles.role_of(&peer(1000, 1000, &[7, 50, 60])), Some(Role::Operator));
        assert_eq!(roles.role_of(&peer(1000, 1000, &[40])), Some(Role::Admin));
        assert_eq!(roles.role_of(&peer(1000, 1000, &[60])), Some(Role::Viewer));
        assert_eq!(roles.role_of(&peer(1000, 1000, &[7])), None);
    }

    #[test]
    fn a_group_is_found_by_name_or_number() {
        let file = "root:x:0:\nsluice:x:988:alice,bob\nbroken\n";
        assert_eq!(group_number(file, "sluice"), Some(988));
        assert_eq!(group_number(file, "988"), Some(988));
        assert_eq!(group_number(file, "nobody"), None);
        assert_eq!(group_number(file, "broken"), None);
    }

    #[test]
    fn a_user_has_the_first_name_of_its_number() {
        let file =
            "root:x:0:0::/root:/bin/sh\nbroken\n:x:7:7::/:\nalice:x:1000:1000::/:\ntoor:x:0:0::/:/bin/sh\n";
        assert_eq!(name_in(file, 0).as_deref(), Some("root"));
        assert_eq!(name_in(file, 1000).as_deref(), Some("alice"));
        assert_eq!((name_in(file, 7), name_in(file, 1001)), (None, None));
        assert_eq!(name_in("a\u{1b}b:x:5:5::/:\n", 5).as_deref(), Some("a\\u{1b}b"));
    }

    #[test]
    fn a_list_of_users_that_was_replaced_is_read_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("passwd");
        let mut users = Users { path: path.clone(), ..Users::default() };
        assert_eq!(users.name(5), None);
        fs::write(&path, "alice:x:5:5::/:\n").unwrap();
        assert_eq!(users.name(5).as_deref(), Some("alice"));
        // As useradd replaces it, with a time of change that a test cannot tell apart.
        let about = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(place.path().join("new"), "carol:x:5:5::/:\n").unwrap();
        fs::File::open(place.path().join("new")).unwrap().set_modified(about).unwrap();
        fs::rename(place.path().join("new"), &path).unwrap();
        assert_eq!(users.name(5).as_deref(), Some("carol"));
    }

    #[test]
    fn roles_come_from_the_configuration_and_an_unknown_group_is_an_error() {
        let mut control = Control { operator_group: Some("ops".to_owned()), ..Control::default() };
        let roles = Roles::of(&control, 0, "ops:x:50:\n").unwrap();
        assert_eq!((roles.operator_group, roles.door_group()), (Some(50), Some(50)));
        control.viewer_group = Some("nobodys".to_owned());
        let error = Roles::of(&control, 0, "ops:x:50:\n").unwrap_err().to_string();
        assert!(error.contains("control.viewer_group") && error.contains("nobodys"), "{error}");
    }

    #[tokio::test]
    async fn the_kernel_names_the_other_end_of_a_socket_pair() {
        let (one, _other) = tokio::net::UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.uid, rustix::process::getuid().as_raw());
        assert_eq!(peer.pid.cast_unsigned(), std::process::id());
    }
}
