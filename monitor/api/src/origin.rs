//! Where changes come from, as history and audit keep it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a change comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// `sluice panic` or `sluice restore` without the daemon, or past one that hangs.
    Direct { uid: u32, gid: u32, pid: i32 },
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
            Self::Direct { .. } => "direct",
        }
    }

    /// The origin with this label; `None` of another version's.
    pub fn from_label(label: &str, uid: u32, gid: u32, pid: i32) -> Option<Self> {
        let all = [
            Self::Socket { uid, gid, pid },
            Self::Direct { uid, gid, pid },
            Self::Signal,
            Self::Timer,
            Self::Tuning,
            Self::Defence,
            Self::Detection,
        ];
        all.into_iter().find(|origin| origin.label() == label)
    }

    /// For people.
    pub fn made_by(self) -> String {
        match self {
            Self::Socket { uid, .. } => format!("uid {uid}"),
            Self::Direct { uid, .. } => format!("uid {uid}, without the daemon"),
            _ => self.label().to_owned(),
        }
    }
}
