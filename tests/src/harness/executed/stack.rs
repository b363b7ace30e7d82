//! How much stack the deepest way of calls takes, as the oldest supported kernel adds it up.
//!
//! In: a linked program. Out: bytes. Linux 6.1 rounds each function's stack up to 32 bytes and allows 512 in all; later
//! kernels round less, so only this sum says whether they all take the program.

use std::collections::{BTreeMap, BTreeSet};

use aya_obj::generated::bpf_insn;

use super::Code;

const STEP: u64 = 32;
const FRAME: u8 = 10;

#[derive(Debug, Default)]
struct Function {
    bytes: u64,
    calls: BTreeSet<usize>,
}

impl Code {
    /// Bytes of stack on the deepest way.
    pub fn deepest_stack(&self) -> u64 {
        let starts = self.starts();
        let mut functions: BTreeMap<usize, Function> = BTreeMap::new();
        let mut points_to_frame = [false; 11];
        for (at, instruction) in self.instructions.iter().enumerate() {
            let start = *starts.range(..=at).next_back().expect("the first instruction begins a function");
            if start == at {
                points_to_frame = [false; 11];
            }
            let function = functions.entry(start).or_default();
            if let Some(target) = target(at, *instruction) {
                function.calls.insert(target);
            }
            function.bytes = function.bytes.max(touched(*instruction, &mut points_to_frame));
        }
        deepest(&functions, 0)
    }

    fn starts(&self) -> BTreeSet<usize> {
        let called = self.instructions.iter().enumerate();
        let called = called.filter_map(|(at, instruction)| target(at, *instruction));
        called.chain([0]).collect()
    }
}

/// Where a call of a function of the program leads.
fn target(at: usize, instruction: bpf_insn) -> Option<usize> {
    let is_call = instruction.code == 0x85 && instruction.src_reg() == 1;
    is_call.then(|| (at + 1).checked_add_signed(instruction.imm as isize)).flatten()
}

/// How far below the frame's end an instruction reaches, directly or through an address that it makes.
fn touched(instruction: bpf_insn, points_to_frame: &mut [bool; 11]) -> u64 {
    let (target, source) = (instruction.dst_reg(), instruction.src_reg());
    let below = |distance: i64| u64::try_from(-distance).unwrap_or(0);
    match instruction.code & 7 {
        1 if source == FRAME => below(instruction.off.into()),
        2 | 3 if target == FRAME => below(instruction.off.into()),
        7 if instruction.code == 0xbf => {
            points_to_frame[usize::from(target)] = source == FRAME;
            0
        }
        7 if instruction.code == 0x07 && points_to_frame[usize::from(target)] => {
            points_to_frame[usize::from(target)] = false;
            below(instruction.imm.into())
        }
        _ => 0,
    }
}

fn deepest(functions: &BTreeMap<usize, Function>, start: usize) -> u64 {
    let Some(function) = functions.get(&start) else { return 0 };
    let below = function.calls.iter().map(|called| deepest(functions, *called)).max().unwrap_or(0);
    function.bytes.max(1).next_multiple_of(STEP) + below
}
