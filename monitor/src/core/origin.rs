//! Where changes come from, as the audit keeps it.

use serde::{Deserialize, Serialize};

use crate::store::Author;

/// Where a change comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A client of the control socket, as the kernel attests it.
    Socket { uid: u32, gid: u32, pid: i32 },
    /// A signal to the daemon.
    Signal,
    /// The daemon's own clock: a rollback, an expiry, the start.
    Timer,
    /// A step of automatic tuning.
    Tuning,
    /// A rung of the defence ladder.
    Defence,
    /// A response to a finding.
    Detection,
}

impl Origin {
    /// As the audit calls it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Socket { .. } => "control",
            Self::Signal => "signal",
            Self::Timer => "timer",
            Self::Tuning => "tuning",
            Self::Defence => "defence",
            Self::Detection => "detection",
        }
    }

    /// As the store kept it.
    pub fn of_author(author: &Author) -> Self {
        let Author { uid, gid, pid, .. } = *author;
        match author.origin.as_str() {
            "control" => Self::Socket { uid, gid, pid },
            "signal" => Self::Signal,
            "tuning" => Self::Tuning,
            "defence" => Self::Defence,
            "detection" => Self::Detection,
            _ => Self::Timer,
        }
    }

    /// As the store keeps it.
    pub fn author(self) -> Author {
        let (uid, gid, pid) = match self {
            Self::Socket { uid, gid, pid } => (uid, gid, pid),
            _ => (0, 0, 0),
        };
        Author { uid, gid, pid, origin: self.label().to_owned() }
    }

    /// For people.
    pub fn made_by(self) -> String {
        match self {
            Self::Socket { uid, .. } => format!("uid {uid}"),
            _ => self.label().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_outlives_the_store_with_the_credentials_of_its_maker() {
        let socket = Origin::Socket { uid: 1000, gid: 100, pid: 7 };
        let author = socket.author();
        assert_eq!((author.uid, author.gid, author.pid, author.origin.as_str()), (1000, 100, 7, "control"));
        let all = [socket, Origin::Signal, Origin::Timer, Origin::Tuning, Origin::Defence, Origin::Detection];
        assert!(all.iter().all(|origin| Origin::of_author(&origin.author()) == *origin));
        assert_eq!((socket.made_by().as_str(), Origin::Tuning.made_by().as_str()), ("uid 1000", "tuning"));
    }
}
