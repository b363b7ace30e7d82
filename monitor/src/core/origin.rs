//! Who asks for a change and why: for permissions, the lockout guard and the audit.

use serde::{Deserialize, Serialize};

use super::command::{Caller, ChangeOptions};
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
    /// Of a caller; the daemon itself only asks because of signals.
    pub fn of(caller: &Caller) -> Self {
        if *caller == Caller::DAEMON {
            Self::Signal
        } else {
            Self::Socket { uid: caller.uid, gid: caller.gid, pid: caller.pid }
        }
    }

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

/// One request for a change: who, how, and what it rests on.
#[derive(Clone, Debug)]
pub struct Asking {
    pub caller: Caller,
    pub options: ChangeOptions,
    pub origin: Origin,
    /// Why, where a machine decided: for the audit.
    pub evidence: Option<serde_json::Value>,
}

impl Asking {
    /// A caller asks.
    pub fn of(caller: Caller, options: ChangeOptions) -> Self {
        let origin = Origin::of(&caller);
        Self { caller, options, origin, evidence: None }
    }

    /// The daemon asks itself.
    pub fn daemon(origin: Origin) -> Self {
        Self { caller: Caller::DAEMON, options: ChangeOptions::default(), origin, evidence: None }
    }

    /// The same with the evidence that it rests on.
    #[must_use]
    pub fn because(&self, evidence: Option<serde_json::Value>) -> Self {
        Self { evidence, ..self.clone() }
    }

    /// For people and the audit.
    pub fn made_by(&self) -> String {
        self.origin.made_by()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::command::Role;

    #[test]
    fn an_origin_names_its_maker_and_keeps_the_kernels_attestation() {
        let caller = Caller { uid: 1000, gid: 100, pid: 7, role: Role::Operator, ssh_peer: None };
        let socket = Origin::of(&caller);
        assert_eq!(socket, Origin::Socket { uid: 1000, gid: 100, pid: 7 });
        assert_eq!(socket.made_by(), "uid 1000");
        let author = socket.author();
        assert_eq!((author.uid, author.gid, author.pid, author.origin.as_str()), (1000, 100, 7, "control"));
        assert_eq!(Origin::of(&Caller::DAEMON), Origin::Signal);
        assert_eq!(Origin::Tuning.made_by(), "tuning");
    }
}
