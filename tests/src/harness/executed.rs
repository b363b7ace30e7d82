//! How many instructions a packet executes, and how many cache lines it touches: the embedded object, run one instruction
//! after the other over the maps of a loaded [`Program`].
//!
//! In: a program's name, a frame, the clock's tick. Out: the verdict, which must be the kernel's, and what the way took.
//! Unlike a time it is the same on every machine and under every load, so a test can hold it. A helper that the kernel
//! writes into the program (a lookup in an array, the tick counter) counts as the instructions that it becomes there; any
//! other helper counts as one, and its own work is not seen. Nothing is written to the maps.

mod code;
mod machine;
mod memory;
mod stack;

use std::collections::BTreeMap;

use anyhow::Result;

pub use self::code::Code;
use self::{machine::Machine, memory::Memory};
use super::program::Program;

/// What one packet took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    pub verdict: u32,
    pub instructions: u64,
    /// Lines of 64 bytes: map values, the packet and the stack.
    pub lines: usize,
    /// Calls of each helper, by its number in the kernel's list.
    pub helpers: BTreeMap<u32, u32>,
}

/// Runs `code` once over `frame`, with the state that `program` has now.
///
/// # Errors
/// When the program does what the machine does not know, or reads what it must not.
pub fn run(code: &Code, program: &Program, frame: &[u8], jiffies: u64) -> Result<Executed> {
    let memory = Memory::new(code, program, frame);
    Machine::new(code, memory, jiffies).run()
}
