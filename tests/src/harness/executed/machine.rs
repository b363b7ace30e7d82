//! The instructions themselves (RFC 9669), and the few helpers that a packet's usual way calls.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the instructions are defined by what is cut off and reinterpreted"
)]

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use aya_obj::generated::bpf_insn;

use super::{
    Executed,
    code::Code,
    memory::{ARRAY, Memory, PER_CPU_ARRAY},
};

/// A reference to a map, which is no address.
const MAP: u64 = 1 << 60;
/// More than any packet takes.
const MOST: u64 = 1_000_000;
const FRAME: u64 = 512;

/// Helpers by number, and what the kernel (x86-64, Linux 6.18) makes of a call.
mod helper {
    pub const LOOK_UP: u32 = 1;
    pub const CPU: u32 = 8;
    pub const JIFFIES: u32 = 118;
    pub const RING_OUTPUT: u32 = 130;
    pub const RING_RESERVE: u32 = 131;
    pub const RING_SUBMIT: u32 = 132;
    pub const FRAME_LENGTH: u32 = 188;
    /// A lookup in an array: four instructions and two jumps.
    pub const LOOK_UP_ARRAY: u64 = 6;
    pub const LOOK_UP_PER_CPU: u64 = 8;
    pub const JIFFIES_INLINE: u64 = 2;
    pub const CPU_INLINE: u64 = 2;
}

/// Where a call goes back to.
#[derive(Clone, Copy, Debug)]
struct Caller {
    next: usize,
    saved: [u64; 5],
}

#[derive(Debug)]
pub struct Machine<'a> {
    code: &'a Code,
    memory: Memory<'a>,
    jiffies: u64,
    registers: [u64; 11],
    callers: Vec<Caller>,
    instructions: u64,
    helpers: BTreeMap<u32, u32>,
}

impl<'a> Machine<'a> {
    pub fn new(code: &'a Code, memory: Memory<'a>, jiffies: u64) -> Self {
        let mut registers = [0; 11];
        registers[1] = Memory::context();
        registers[10] = Memory::stack();
        Self {
            code,
            memory,
            jiffies,
            registers,
            callers: Vec::new(),
            instructions: 0,
            helpers: BTreeMap::new(),
        }
    }

    pub fn run(mut self) -> Result<Executed> {
        let mut at = 0;
        loop {
            let next = self.step(at).with_context(|| format!("instruction {at}"))?;
            if self.instructions > MOST {
                bail!("more than {MOST} instructions");
            }
            let Some(next) = next else { break };
            at = next;
        }
        Ok(Executed {
            verdict: u32::try_from(self.registers[0] & 0xffff_ffff)?,
            instructions: self.instructions,
            lines: self.memory.lines(),
            helpers: self.helpers,
        })
    }

    /// Executes one instruction; the place of the next, or none at the end.
    fn step(&mut self, at: usize) -> Result<Option<usize>> {
        let instruction = *self.code.instructions.get(at).context("behind the end")?;
        self.instructions += 1;
        match instruction.code & 7 {
            0 => self.immediate(instruction, at),
            1 => self.load(instruction).map(|()| Some(at + 1)),
            2 => self.store(instruction, sign_extended(instruction.imm)).map(|()| Some(at + 1)),
            3 if instruction.code & 0xe0 == 0xc0 => self.atomic(instruction).map(|()| Some(at + 1)),
            3 => {
                let value = self.registers[usize::from(instruction.src_reg())];
                self.store(instruction, value).map(|()| Some(at + 1))
            }
            4 => self.arithmetic(instruction, false).map(|()| Some(at + 1)),
            7 => self.arithmetic(instruction, true).map(|()| Some(at + 1)),
            5 => self.jump(instruction, at, true),
            _ => self.jump(instruction, at, false),
        }
    }

    /// A number of 64 bits, a map, or a constant of the object: two places, one instruction.
    fn immediate(&mut self, instruction: bpf_insn, at: usize) -> Result<Option<usize>> {
        let second = self.code.instructions.get(at + 1).context("half an instruction")?.imm;
        let (low, high) = (instruction.imm.cast_unsigned(), second.cast_unsigned());
        self.registers[usize::from(instruction.dst_reg())] = match instruction.src_reg() {
            0 => u64::from(low) | u64::from(high) << 32,
            1 => MAP | u64::from(low),
            2 => Memory::constants(low as usize, u64::from(high)),
            other => bail!("a number of kind {other}"),
        };
        Ok(Some(at + 2))
    }

    fn load(&mut self, instruction: bpf_insn) -> Result<()> {
        let from =
            self.registers[usize::from(instruction.src_reg())].wrapping_add_signed(instruction.off.into());
        let size = size(instruction.code);
        let value = self.memory.load(from, size)?;
        let shift = 64 - 8 * u32::try_from(size)?;
        let signed = instruction.code & 0xe0 == 0x80;
        self.registers[usize::from(instruction.dst_reg())] =
            if signed { ((value << shift).cast_signed() >> shift).cast_unsigned() } else { value };
        Ok(())
    }

    fn store(&mut self, instruction: bpf_insn, value: u64) -> Result<()> {
        let to =
            self.registers[usize::from(instruction.dst_reg())].wrapping_add_signed(instruction.off.into());
        self.memory.store(to, size(instruction.code), value)
    }

    fn atomic(&mut self, instruction: bpf_insn) -> Result<()> {
        let to =
            self.registers[usize::from(instruction.dst_reg())].wrapping_add_signed(instruction.off.into());
        let size = size(instruction.code);
        let mask = if size == 4 { 0xffff_ffff } else { u64::MAX };
        let source = usize::from(instruction.src_reg());
        let operand = self.registers[source] & mask;
        let old = self.memory.load(to, size)?;
        let new = match instruction.imm & !1 {
            0x00 => old.wrapping_add(operand),
            0x40 => old | operand,
            0x50 => old & operand,
            0xa0 => old ^ operand,
            0xe0 => operand,
            0xf0 if old == self.registers[0] & mask => operand,
            0xf0 => old,
            other => bail!("atomic operation {other:#x}"),
        };
        self.memory.store(to, size, new)?;
        match instruction.imm {
            0xf1 => self.registers[0] = old,
            fetching if fetching & 1 != 0 => self.registers[source] = old,
            _ => {}
        }
        Ok(())
    }

    fn operand(&self, instruction: bpf_insn) -> u64 {
        if instruction.code & 8 == 0 {
            sign_extended(instruction.imm)
        } else {
            self.registers[usize::from(instruction.src_reg())]
        }
    }

    fn arithmetic(&mut self, instruction: bpf_insn, wide: bool) -> Result<()> {
        let target = usize::from(instruction.dst_reg());
        let (mut left, mut right) = (self.registers[target], self.operand(instruction));
        if !wide {
            (left, right) = (left & 0xffff_ffff, right & 0xffff_ffff);
        }
        let bits = if wide { 64 } else { 32 };
        let shift = u32::try_from(right & (bits - 1))?;
        let signed = |value: u64| if wide { value.cast_signed() } else { i64::from(value as u32 as i32) };
        let value = match instruction.code & 0xf0 {
            0x00 => left.wrapping_add(right),
            0x10 => left.wrapping_sub(right),
            0x20 => left.wrapping_mul(right),
            0x30 if instruction.off == 0 => left.checked_div(right).unwrap_or(0),
            0x40 => left | right,
            0x50 => left & right,
            0x60 => left << shift,
            0x70 => left >> shift,
            0x80 => left.wrapping_neg(),
            0x90 if instruction.off == 0 => left.checked_rem(right).unwrap_or(left),
            0xa0 => left ^ right,
            0xb0 => moved(instruction, right)?,
            0xc0 => (signed(left) >> shift).cast_unsigned(),
            0xd0 => swapped(instruction, self.registers[target], wide)?,
            other => bail!("arithmetic {other:#x}"),
        };
        self.registers[target] =
            if wide || instruction.code & 0xf0 == 0xd0 { value } else { value & 0xffff_ffff };
        Ok(())
    }

    fn jump(&mut self, instruction: bpf_insn, at: usize, wide: bool) -> Result<Option<usize>> {
        let near = |by: i64| Some((at + 1).wrapping_add_signed(by as isize));
        match (instruction.code & 0xf0, wide) {
            (0x00, true) => return Ok(near(instruction.off.into())),
            (0x00, false) => return Ok(near(instruction.imm.into())),
            (0x80, _) if instruction.src_reg() == 1 => return self.call(at, instruction.imm),
            (0x80, _) => return self.help(instruction.imm.cast_unsigned()).map(|()| Some(at + 1)),
            (0x90, _) => return Ok(self.leave()),
            _ => {}
        }
        let (mut left, mut right) =
            (self.registers[usize::from(instruction.dst_reg())], self.operand(instruction));
        if !wide {
            // Sign-extended, so that both kinds of comparison hold.
            (left, right) = (left as u32 as i32 as u64, right as u32 as i32 as u64);
        }
        let (signed_left, signed_right) = (left.cast_signed(), right.cast_signed());
        let taken = match instruction.code & 0xf0 {
            0x10 => left == right,
            0x20 => left > right,
            0x30 => left >= right,
            0x40 => left & right != 0,
            0x50 => left != right,
            0x60 => signed_left > signed_right,
            0x70 => signed_left >= signed_right,
            0xa0 => left < right,
            0xb0 => left <= right,
            0xc0 => signed_left < signed_right,
            0xd0 => signed_left <= signed_right,
            other => bail!("jump {other:#x}"),
        };
        Ok(if taken { near(instruction.off.into()) } else { Some(at + 1) })
    }

    fn call(&mut self, at: usize, by: i32) -> Result<Option<usize>> {
        let mut saved = [0; 5];
        saved.copy_from_slice(&self.registers[6..11]);
        self.callers.push(Caller { next: at + 1, saved });
        if self.callers.len() > 7 {
            bail!("calls nest too deep");
        }
        self.registers[10] -= FRAME;
        Ok(Some((at + 1).wrapping_add_signed(by as isize)))
    }

    fn leave(&mut self) -> Option<usize> {
        let caller = self.callers.pop()?;
        self.registers[6..11].copy_from_slice(&caller.saved);
        Some(caller.next)
    }

    fn help(&mut self, number: u32) -> Result<()> {
        *self.helpers.entry(number).or_default() += 1;
        let (value, inline) = match number {
            helper::LOOK_UP => {
                let map = usize::try_from(self.registers[1] & !MAP)?;
                let inline = match self.code.maps.get(map).context("looks up in no map")?.kind {
                    ARRAY => helper::LOOK_UP_ARRAY,
                    PER_CPU_ARRAY => helper::LOOK_UP_PER_CPU,
                    _ => 1,
                };
                (self.memory.look_up(map, self.registers[2])?, inline)
            }
            helper::CPU => (0, helper::CPU_INLINE),
            helper::JIFFIES => (self.jiffies, helper::JIFFIES_INLINE),
            helper::FRAME_LENGTH => (self.memory.frame_length(), 1),
            helper::RING_OUTPUT | helper::RING_SUBMIT => (0, 1),
            helper::RING_RESERVE => (self.memory.reserve(usize::try_from(self.registers[2])?), 1),
            other => bail!("calls helper {other}, which this machine does not have"),
        };
        self.registers[0] = value;
        // The call itself was counted already.
        self.instructions += inline - 1;
        Ok(())
    }
}

const fn size(code: u8) -> usize {
    match code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

fn sign_extended(number: i32) -> u64 {
    i64::from(number).cast_unsigned()
}

fn moved(instruction: bpf_insn, value: u64) -> Result<u64> {
    Ok(match instruction.off {
        0 => value,
        8 => i64::from(value as i8).cast_unsigned(),
        16 => i64::from(value as i16).cast_unsigned(),
        32 => i64::from(value as i32).cast_unsigned(),
        other => bail!("a move of kind {other}"),
    })
}

/// The order of bytes: to big-endian (the machine is little-endian), to little-endian, or the other way round.
fn swapped(instruction: bpf_insn, value: u64, wide: bool) -> Result<u64> {
    let swaps = wide || instruction.code & 8 != 0;
    Ok(match (instruction.imm, swaps) {
        (16, true) => u64::from((value as u16).swap_bytes()),
        (32, true) => u64::from((value as u32).swap_bytes()),
        (64, true) => value.swap_bytes(),
        (16, false) => value & 0xffff,
        (32, false) => value & 0xffff_ffff,
        (64, false) => value,
        (other, _) => bail!("swaps {other} bits"),
    })
}
