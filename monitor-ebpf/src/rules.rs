//! What the rules say of a packet: the generation that judges it, and below, what is said of its source and of its service.

pub mod admission;
pub mod containment;
pub mod prefixes;
pub mod services;

use monitor_common::{
    flow::{aggregate, is_mapped},
    names::capacity,
    rule::Settings,
};

use crate::maps;

/// The generation that judges this packet, read once.
#[derive(Clone, Copy)]
pub struct Rules {
    pub generation: u32,
    pub settings: &'static Settings,
}

impl Rules {
    #[inline(always)]
    pub fn active() -> Option<Self> {
        let generation = maps::ACTIVE.get(0)?.generation & 1;
        let settings = maps::SETTINGS.get(generation)?;
        if settings.tick == 0 {
            return None;
        }
        Some(Self { generation, settings })
    }
}

/// The slot of the interface that the frame came in through; 0 when it is not listed.
#[inline(always)]
pub fn interface(ifindex: u32) -> u32 {
    let mut probe = 0;
    while probe < capacity::INTERFACE_PROBES {
        if let Some(place) = maps::INTERFACES.get((ifindex + probe) & (capacity::INTERFACE_INDEXES - 1))
            && place.ifindex == ifindex
        {
            return place.slot & (capacity::INTERFACES - 1);
        }
        probe += 1;
    }
    0
}

/// The source that an address counts as, in halves.
#[inline(always)]
pub fn source_of(settings: &Settings, [high, low]: [u64; 2]) -> [u64; 2] {
    aggregate(high, low, is_mapped(high, low), settings.v4_bits, settings.v6_bits).into()
}
