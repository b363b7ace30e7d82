//! The object's instructions, linked as the loader links them.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result, anyhow};
use aya_obj::{Object, generated::bpf_insn};
use monitor_common::names::{capacity, global};

/// One program, and the maps that its instructions name.
#[derive(Debug)]
pub struct Code {
    pub instructions: Vec<bpf_insn>,
    /// A reference of an instruction is a place in this list.
    pub maps: Vec<Described>,
}

/// A map as the object describes it.
#[derive(Debug)]
pub struct Described {
    pub name: String,
    pub kind: u32,
    pub key_size: usize,
    pub value_size: usize,
    pub entries: u32,
    /// Constants of the object; empty for a map that the kernel keeps.
    pub data: Vec<u8>,
}

impl Code {
    /// A program of the embedded object, with default capacities and the kernel's own clock.
    ///
    /// # Errors
    /// When the object has no such program, or was built without a BPF toolchain.
    pub fn of(program: &str) -> Result<Self> {
        let mut object = Object::parse(datapath::embedded()).context("read the embedded object")?;
        let sets = (capacity::SOURCES / monitor_common::table::WAYS).to_ne_bytes();
        object.patch_map_data(HashMap::from([(global::SOURCE_SETS, (&sets[..], true))]))?;
        let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let named: Vec<_> = object.maps.clone().into_iter().collect();
        let numbered = (0..).zip(&named).map(|(number, (name, map))| (name.as_str(), number, map));
        object.relocate_maps(numbered, &text)?;
        object.relocate_calls(&text)?;
        let found = object.programs.get(program).ok_or_else(|| anyhow!("the object has no {program}"))?;
        let function = object.functions.get(&found.function_key()).context("a program without a function")?;
        let maps = named.iter().map(|(name, map)| Described {
            name: name.clone(),
            kind: map.map_type(),
            key_size: map.key_size() as usize,
            value_size: map.value_size() as usize,
            entries: map.max_entries(),
            data: map.data().to_vec(),
        });
        Ok(Self { instructions: function.instructions.clone(), maps: maps.collect() })
    }
}
