//! Everything that an address can point to: the context, the stack, the packet, constants, and values of maps, which are read
//! from the kernel when they are first looked up.
//!
//! An address is a region's number above an offset, so nothing here is a pointer and no read can leave its region.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result, bail, ensure};

use super::{super::program::Program, code::Code};
use crate::harness::kernel;

/// Kinds of maps, as the kernel numbers them.
pub const ARRAY: u32 = 2;
pub const PER_CPU_ARRAY: u32 = 6;

const STACK: usize = 8 * 512;
/// What `xdp_md` holds, and where.
const DATA: u64 = 0;
const DATA_END: u64 = 4;
const INTERFACE: u64 = 12;
const LOOPBACK: u64 = 1;

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Context,
    Stack,
    Packet,
    Constants,
    Value,
}

#[derive(Debug)]
struct Region {
    kind: Kind,
    bytes: Vec<u8>,
    /// The first byte's place within what it is a part of: values of an array lie side by side.
    base: u64,
    /// What it is a part of.
    whole: u64,
}

#[derive(Debug)]
pub struct Memory<'a> {
    code: &'a Code,
    program: &'a Program,
    regions: Vec<Region>,
    values: HashMap<(usize, Vec<u8>), u64>,
    lines: BTreeSet<(u64, u64)>,
}

const fn address(region: usize) -> u64 {
    (region as u64 + 1) << 40
}

impl<'a> Memory<'a> {
    const CONTEXT: usize = 0;
    const STACK: usize = 1;
    const PACKET: usize = 2;
    /// The constants of map `n` are region `CONSTANTS + n`; empty for the others.
    const CONSTANTS: usize = 3;

    pub fn new(code: &'a Code, program: &'a Program, frame: &[u8]) -> Self {
        let mut memory =
            Self { code, program, regions: Vec::new(), values: HashMap::new(), lines: BTreeSet::new() };
        memory.add(Kind::Context, Vec::new(), 0, None);
        memory.add(Kind::Stack, vec![0; STACK], 0, None);
        memory.add(Kind::Packet, frame.to_vec(), 0, None);
        for map in &code.maps {
            memory.add(Kind::Constants, map.data.clone(), 0, None);
        }
        memory
    }

    fn add(&mut self, kind: Kind, bytes: Vec<u8>, base: u64, whole: Option<u64>) -> u64 {
        let number = self.regions.len();
        self.regions.push(Region { kind, bytes, base, whole: whole.unwrap_or(number as u64) });
        address(number)
    }

    pub const fn context() -> u64 {
        address(Self::CONTEXT)
    }

    /// The end of the whole stack; frames grow down from it.
    pub const fn stack() -> u64 {
        address(Self::STACK) + STACK as u64
    }

    pub const fn constants(map: usize, offset: u64) -> u64 {
        address(Self::CONSTANTS + map) + offset
    }

    pub fn frame_length(&self) -> u64 {
        self.regions[Self::PACKET].bytes.len() as u64
    }

    /// Lines of 64 bytes that were touched.
    pub fn lines(&self) -> usize {
        self.lines.len()
    }

    pub fn load(&mut self, from: u64, size: usize) -> Result<u64> {
        if from >> 40 == Self::context() >> 40 {
            return match from - Self::context() {
                DATA => Ok(address(Self::PACKET)),
                DATA_END => Ok(address(Self::PACKET) + self.frame_length()),
                INTERFACE => Ok(LOOPBACK),
                other => bail!("reads byte {other} of the context"),
            };
        }
        let mut word = [0; 8];
        word[..size].copy_from_slice(self.bytes(from, size)?);
        Ok(u64::from_le_bytes(word))
    }

    pub fn store(&mut self, to: u64, size: usize, value: u64) -> Result<()> {
        let word = value.to_le_bytes();
        self.bytes(to, size)?.copy_from_slice(&word[..size]);
        Ok(())
    }

    /// Bytes of a region, which count as touched.
    pub fn bytes(&mut self, at: u64, size: usize) -> Result<&mut [u8]> {
        let number = usize::try_from(at >> 40)?.wrapping_sub(1);
        let offset = at & ((1 << 40) - 1);
        let region = self.regions.get_mut(number).with_context(|| format!("{at:#x} is no address"))?;
        let first = usize::try_from(offset)?;
        let length = region.bytes.len();
        ensure!(
            first + size <= length && (region.kind != Kind::Constants || length != 0),
            "{size} bytes at {offset} of {:?}, which has {length}",
            region.kind
        );
        // Constants become numbers in the instructions that the kernel makes.
        if region.kind != Kind::Constants {
            let place = region.base + offset;
            self.lines.extend((place / 64..=(place + size as u64 - 1) / 64).map(|line| (region.whole, line)));
        }
        Ok(&mut region.bytes[first..first + size])
    }

    /// Room for a record in a ring.
    pub fn reserve(&mut self, size: usize) -> u64 {
        self.add(Kind::Value, vec![0; size], 0, None)
    }

    /// Looks a key up: the address of its value, or 0.
    pub fn look_up(&mut self, map: usize, key: u64) -> Result<u64> {
        let described = &self.code.maps[map];
        let key = self.bytes(key, described.key_size)?.to_vec();
        if let Some(found) = self.values.get(&(map, key.clone())) {
            return Ok(*found);
        }
        let size = described.value_size;
        let is_array = matches!(described.kind, ARRAY | PER_CPU_ARRAY);
        let per_cpu = if described.kind == PER_CPU_ARRAY { self.program.cpus() } else { 1 };
        let mut value = vec![0; size.next_multiple_of(8) * per_cpu];
        let found = if is_array && word(&key) >= described.entries {
            false
        } else {
            kernel::lookup(self.program.map(&described.name), &key, &mut value)
                .with_context(|| format!("look up in {}", described.name))?
        };
        let address = if found {
            value.truncate(size);
            let stride = size.next_multiple_of(8) as u64;
            let base = if is_array { u64::from(word(&key)) * stride } else { 0 };
            // A map's own number, apart from those of regions.
            let whole = is_array.then_some((1 << 32) + map as u64);
            self.add(Kind::Value, value, base, whole)
        } else {
            0
        };
        self.values.insert((map, key), address);
        Ok(address)
    }
}

fn word(key: &[u8]) -> u32 {
    key.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
