//! What is worked out of one packet in this CPU's own memory, beside its context: read back from a map, it is an unknown
//! number to the verifier, and there is too little stack for it.

use monitor_common::{
    application::lead::Lead,
    challenge::{Headers, Options, question::MESSAGE},
    request::Counted,
};

/// Where this CPU looks at the beginning of a segment.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Opening {
    pub lead: Lead,
    /// A number on its way through memory.
    pub plain: u32,
}

/// What is worked out of one packet on this CPU, read back from the map between the steps.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Request {
    pub counted: Counted,
    /// Which of the line's words is the connection's or may become it; `NOWHERE` when others use all of them.
    pub own: u32,
    pub free: u32,
    /// The verdict's number, or `GO_ON`.
    pub verdict: u32,
    /// 1 when the source's own limit has no room.
    pub exceeds: u32,
    /// Which of the places is the source's or may become it.
    pub way: u32,
    pub reserved: u32,
}

/// Where this CPU looks for a connection that is followed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Followed {
    /// Which cell of the set is the connection's or may become it.
    pub own: u32,
    pub free: u32,
    /// Which of the places is the source's or may become it.
    pub way: u32,
    /// The verdict's number, or `GO_ON`.
    pub verdict: u32,
}

/// Where an answer is made, on this CPU.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Reply {
    pub headers: Headers,
    pub options: Options,
    pub hardware: [u8; 12],
    /// Bytes of the TCP header, or of the question that were read.
    pub length: u32,
    pub cookie: u32,
    /// Where the question ends.
    pub end: u32,
    /// A question of DNS behind its UDP header.
    pub message: [u8; MESSAGE],
}
