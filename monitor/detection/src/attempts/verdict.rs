//! An attempt, and what became of it.

use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempted {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// 0 for echo requests.
    pub port: u16,
    /// Segments that open nothing (ACK, FIN, NULL, XMAS scans).
    pub stray: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first contact itself; what becomes of it follows.
    Pending,
    Reached,
    Refused,
    Unanswered,
    /// Accepted, and not taken up.
    HalfOpen,
    /// Not reached this way; its sender reached what it wanted another way.
    Replaced,
}

impl Verdict {
    pub const fn failed(self) -> bool {
        matches!(self, Self::Refused | Self::Unanswered | Self::HalfOpen)
    }
}

/// A verdict, once per attempt (twice when a late answer corrects it).
#[expect(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pub what: Attempted,
    pub verdict: Verdict,
    /// The verdict that this one corrects.
    pub before: Verdict,
    pub source_inside: bool,
    pub destination_inside: bool,
    /// It failed before, and is tried again.
    pub again: bool,
    /// Its opening packet was sent again, as the stacks of hosts do it (RFC 6298); scanners send one.
    pub retried: bool,
    /// TCP flags and source port of a stray segment.
    pub flags: u8,
    pub source_port: u16,
    /// When the contact was made, on the recorded clock and on detection's.
    pub began_at: u64,
    pub began: u64,
    pub now: u64,
}
