//! The rules of the benchmark: twenty services, limits in packets, bytes and new connections, prefixes as asked.

use anyhow::{Result, anyhow};
use monitor::policy::Image;
use monitor_common::bucket::Rate;
use monitor_common::plain::Plain as _;
use monitor_common::rule::{
    Aggregate, BLOCKS, BYTES, CLASSES, CONNECTIONS, FIRST_INNER_NODE, Limit, PACKETS, PortBlock, PrefixNode,
    ServiceRule, Settings, Slot, mode,
};

const SERVICES: u32 = 20;

fn rate(per_second: u64, burst: u64, tick: u64) -> Result<Rate> {
    Rate::new(per_second, burst, tick).map_err(|error| anyhow!("{error:?}"))
}

pub fn build(tick_ns: u64, hash_key: [u64; 2], flood: bool) -> Result<Image> {
    let mut limit = Limit::zeroed();
    limit.force = Slot { mode: mode::ENFORCE, dimensions: 7, rates: [Rate::default(); 4] };
    limit.force.rates[PACKETS] = rate(100_000_000, 10_000_000, tick_ns)?;
    limit.force.rates[BYTES] = rate(10_000_000_000, 1_000_000_000, tick_ns)?;
    limit.force.rates[CONNECTIONS] = rate(100_000_000, 10_000_000, tick_ns)?;
    limit.heavy = limit.force.rates[PACKETS].capacity / 2;
    let mut blocks = vec![PortBlock::zeroed(); BLOCKS as usize];
    let mut rules = vec![ServiceRule::zeroed(); SERVICES as usize + 1];
    for (number, rule) in (0..=SERVICES).zip(&mut rules) {
        rule.service = number;
        rule.limits = [1; CLASSES];
        for table in 0..2 {
            let port = 80 + number as usize;
            if number > 0 {
                let word = &mut blocks[table * 256 + port / 256].rules[port % 256 / 2];
                *word |= if port.is_multiple_of(2) { number } else { number << 16 };
            }
        }
    }
    let mut settings = Settings::zeroed();
    settings.hash_key = hash_key;
    settings.tick = tick_ns * 16;
    settings.new_sources =
        if flood { rate(2_000, 8_000, tick_ns)? } else { rate(100_000_000, 10_000_000, tick_ns)? };
    settings.heavy_sources = rate(1_000, 1_000, tick_ns)?;
    settings.flood_hold = 2_000_000_000 * 16;
    settings.known_after = 2_000_000_000 * 16;
    settings.v4_bits = 32;
    settings.v6_bits = 64;
    Ok(Image {
        settings,
        nodes: vec![PrefixNode::zeroed(); FIRST_INNER_NODE as usize],
        denials: Vec::new(),
        blocks,
        rules,
        limits: vec![Limit::zeroed(), limit],
        aggregates: vec![Aggregate::zeroed(); SERVICES as usize + 1],
        services: vec![None; SERVICES as usize + 1],
        classes: Vec::new(),
        numbering: monitor::policy::Numbering::default(),
    })
}
