//! What the rules say of a packet's source and destination: exempt, banned, denied, its class, its service and its limit.

use core::ops::ControlFlow;

use monitor_common::{
    bucket::level,
    conversation::tracking::{SECOND, since},
    flow::{BanKey, aggregate, is_mapped, protocol},
    names::capacity,
    parse::{Fragment, Frame},
    record::{EventKind, Incident, scope},
    rule::{
        BLOCKS, COUNTS_REQUESTS, DEFAULT_SERVICE, FIRST_INNER_NODE, Limit, MAX_RULE_CHAIN, PORTS_PER_BLOCK,
        PREFIX_FILTER_WORDS, PROTOCOL_BLOCK, ROOT_NODES, ServiceRule, Settings, filter_place, leaf, setting,
    },
    sketch,
    verdict::{Reason, Verdict},
};

use crate::{
    case::{Case, fresh},
    containment, ledger, maps,
    own_flow::{self, Unnamed},
    telemetry, word,
};

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

/// Banned or denied; otherwise the source, its class and whether it is exempt go into the case.
#[inline(always)]
pub fn admit(rules: &Rules, case: &mut Case) -> ControlFlow<Verdict> {
    let settings = rules.settings;
    let [high, low] = case.frame.source;
    // A source in the mapped form is the IPv4 address that it names, whichever header carried it.
    let is_v4 = is_mapped(high, low);
    case.leaf = leaf(rules.generation, high, low, is_v4);
    // Read back, so that the verifier follows what comes after the walk once, however it went.
    let leaf = fresh(&case.leaf);
    (case.high, case.low) = aggregate(high, low, is_v4, settings.v4_bits, settings.v6_bits);
    case.hash = sketch::source(settings.hash_key, case.high, case.low);
    case.class = leaf::class(leaf, settings.default_class);
    case.exempt = (leaf & leaf::EXEMPT) / leaf::EXEMPT;
    let watch_only = settings.flags & setting::WATCH_ONLY != 0;
    case.inside = (leaf & leaf::INSIDE) / leaf::INSIDE;
    case.lifeline = leaf & leaf::LIFELINE;
    case.enforce = u32::from(leaf & leaf::EXEMPT == 0 && !watch_only && !is_stale(rules, case.now));
    if leaf::is_misplaced(leaf, case.interface) && spoofed(settings, case) {
        return ControlFlow::Break(Reason::Spoofed.into());
    }
    if leaf & leaf::EXEMPT == 0 {
        if is_any_marked() && is_marked(case.hash) {
            marked(settings, case, watch_only)?;
        }
        if leaf & leaf::DENIED != 0 && is_denied(leaf & leaf::DENIAL_MASK, case) && !watch_only {
            return ControlFlow::Break(Reason::Denied.into());
        }
    }
    ControlFlow::Continue(())
}

/// Whether an address lies within the trust boundary.
///
/// Not inlined: asked for rare packets only, and long to verify.
#[inline(never)]
pub fn is_inside(generation: u32, high: u64, low: u64, is_v4: bool) -> bool {
    leaf(generation, high, low, is_v4) & leaf::INSIDE != 0
}

/// What the prefix tree says of an address.
#[inline(always)]
pub fn leaf(generation: u32, high: u64, low: u64, is_v4: bool) -> u32 {
    let beginning = if is_v4 { low as u32 >> 16 } else { (high >> 48) as u32 };
    if !is_named(generation, beginning, is_v4) {
        0
    } else if is_v4 {
        leaf_v4(generation, low as u32)
    } else {
        leaf_v6(generation, high, low)
    }
}

/// Whether any prefix covers an address with these first sixteen bits, or lies within them.
#[inline(always)]
fn is_named(generation: u32, beginning: u32, is_v4: bool) -> bool {
    let (word, bit) = filter_place(beginning, is_v4);
    maps::PREFIX_FILTER.get(generation * PREFIX_FILTER_WORDS + word).is_some_and(|word| *word & bit != 0)
}

#[inline(always)]
fn node(generation: u32, node: u32, nibble: u32) -> u32 {
    match maps::PREFIXES.get(generation * maps::prefix_nodes() + node) {
        Some(node) => node.children[(nibble & 15) as usize],
        None => 0,
    }
}

#[inline(always)]
fn leaf_v4(generation: u32, address: u32) -> u32 {
    let mut child = node(generation, address >> 20, address >> 16);
    let mut shift = 16;
    while child & leaf::NODE != 0 && shift != 0 {
        shift -= 4;
        child = node(generation, child & !leaf::NODE, address >> shift);
    }
    child
}

#[inline(always)]
fn leaf_v6(generation: u32, high: u64, low: u64) -> u32 {
    const _: () = assert!(FIRST_INNER_NODE == 2 * ROOT_NODES);
    let child = node(generation, ROOT_NODES + (high >> 52) as u32, (high >> 48) as u32);
    if child & leaf::NODE == 0 { child } else { leaf_v6_inner(generation, child, high, low) }
}

/// Not inlined: the walk is long and rare, and on its own it is verified with little state.
#[inline(never)]
fn leaf_v6_inner(generation: u32, mut child: u32, high: u64, low: u64) -> u32 {
    let mut shift = 48;
    while child & leaf::NODE != 0 && shift != 0 {
        shift -= 4;
        child = node(generation, child & !leaf::NODE, (high >> shift) as u32);
    }
    shift = 64;
    while child & leaf::NODE != 0 && shift != 0 {
        shift -= 4;
        child = node(generation, child & !leaf::NODE, (low >> shift) as u32);
    }
    child
}

/// What the ban table and the containments say of a source that the filter lets look.
#[inline(always)]
fn marked(settings: &Settings, case: &mut Case, watch_only: bool) -> ControlFlow<Verdict> {
    case.answer = u32::from(own_flow::answers(settings, case));
    if is_banned(case) && !watch_only {
        return ControlFlow::Break(Reason::Banned.into());
    }
    containment::judge(BanKey { high: case.high, low: case.low }, case)
}

/// Whether there is any ban or containment at all. Where there is none, the filter's lines stay out of the cache.
#[inline(always)]
pub fn is_any_marked() -> bool {
    maps::BAN_FILTER.get(capacity::BAN_FILTER_WORDS).is_some_and(|any| *any != 0)
}

/// Whether the filter before bans and containments has the bit of a source with this hash.
#[inline(always)]
pub fn is_marked(hash: u64) -> bool {
    let (word, bit) = sketch::banned(hash);
    match maps::BAN_FILTER.get(word) {
        Some(word) => *word & bit != 0,
        None => false,
    }
}

#[inline(always)]
fn is_banned(case: &Case) -> bool {
    let Case { high, low, now, .. } = *case;
    let Some(ban) = maps::BANS.get_ptr_mut(&BanKey { high, low }) else {
        return false;
    };
    // SAFETY: the pointer is to a map value, which stays valid for the whole run of the program.
    unsafe {
        if level((*ban).until, now) == 0 && (*ban).until != u64::MAX {
            return false;
        }
        if (*ban).scope == scope::NEW_CONTACTS && fresh(&case.answer) != 0 {
            return false;
        }
        ledger::count_ban(ban, case.frame.length);
    }
    true
}

#[inline(always)]
fn is_denied(denial: u32, case: &Case) -> bool {
    let now = case.now;
    let Some(denial) = maps::DENIALS.get_ptr_mut(denial) else {
        return false;
    };
    // SAFETY: the pointer is to a map value, which stays valid for the whole run of the program.
    unsafe {
        if (*denial).until != u64::MAX && level((*denial).until, now) == 0 {
            return false;
        }
        word::add(&raw mut (*denial).packets, 1);
        word::add(&raw mut (*denial).bytes, u64::from(case.frame.length));
        (*denial).last_seen = now;
    }
    true
}

/// The limit that applies to the source at the service that the packet is for.
#[inline(always)]
pub fn service(rules: &Rules, case: &mut Case) -> ControlFlow<Verdict, &'static Limit> {
    let frame = &case.frame;
    let has_port = fresh(&case.piece) != Fragment::Later as u32;
    let Some(rule) = rule(rules, place(frame, frame.destination_port, has_port), &frame.destination) else {
        return ControlFlow::Break(Reason::NotReady.into());
    };
    case.service = rule.service;
    if fresh(&case.service) == DEFAULT_SERVICE && unnamed(rules.settings, case) {
        return ControlFlow::Break(Verdict::from_number(fresh(&case.verdict)));
    }
    case.hash = sketch::at_service(case.hash, rule.service);
    case.has_aggregate = rule.has_aggregate;
    case.challenges = rule.challenges;
    let number = rule.limits[(fresh(&case.class) & 15) as usize];
    match maps::LIMITS.get(rules.generation * maps::limits() + number) {
        Some(limit) => {
            case.requests = if limit.force.dimensions & COUNTS_REQUESTS == 0 { 0 } else { number };
            ControlFlow::Continue(limit)
        }
        None => ControlFlow::Break(Reason::NotReady.into()),
    }
}

/// What no service is for: answers to what this host asked are charged to nothing, and those that nobody asked for have a
/// reason of their own. True when the verdict is in the case.
///
/// Not inlined, and one number is returned: the verifier follows what comes after it once.
#[inline(never)]
fn unnamed(settings: &Settings, case: &mut Case) -> bool {
    if settings.flags & setting::PROVES == 0 {
        return false;
    }
    let reason = match own_flow::unnamed(settings, case) {
        Unnamed::Contact => return false,
        Unnamed::Answer => Reason::Answer,
        Unnamed::Reflected => Reason::Reflected,
    };
    case.verdict = reason as u32;
    if Verdict::from(reason).drops()
        && (settings.flags & setting::DROP_REFLECTED == 0 || fresh(&case.enforce) == 0)
    {
        case.note_would_drop(reason.into());
        return false;
    }
    true
}

/// A source from an interface that it cannot come through; whether it is dropped. It may be exempt, so what it claims does not
/// save it.
///
/// Not inlined: rare.
#[inline(never)]
fn spoofed(settings: &Settings, case: &mut Case) -> bool {
    if let Some(budget) = maps::BUDGETS.get_ptr_mut(case.interface) {
        // SAFETY: the pointer is to this CPU's map value.
        let last = unsafe { &mut (*budget).spoofed };
        if *last == 0 || since(case.now, *last) >= SECOND {
            *last = case.now;
            let mut event = telemetry::about(EventKind::Spoofed, case.interface, case.now);
            (event.high, event.low) = (case.frame.source[0], case.frame.source[1]);
            telemetry::event(&event);
        }
    }
    if settings.flags & (setting::DROP_SPOOFED | setting::WATCH_ONLY) == setting::DROP_SPOOFED {
        return true;
    }
    case.note_would_drop(Reason::Spoofed.into());
    false
}

/// The source that an address counts as, in halves.
#[inline(always)]
pub fn source_of(settings: &Settings, [high, low]: [u64; 2]) -> [u64; 2] {
    aggregate(high, low, is_mapped(high, low), settings.v4_bits, settings.v6_bits).into()
}

/// Whether the packet comes from a service that the rules name.
///
/// Not inlined: asked for rare packets only.
#[inline(never)]
pub fn is_served(rules: &Rules, frame: &Frame) -> bool {
    let has_port = !matches!(frame.fragment, Fragment::Later);
    let rule = rule(rules, place(frame, frame.source_port, has_port), &frame.source);
    rule.is_some_and(|rule| rule.service != DEFAULT_SERVICE)
}

/// The rule of the service at a [`place`] and an address.
#[inline(always)]
fn rule(rules: &Rules, (block, place): (u32, u32), address: &[u64; 2]) -> Option<&'static ServiceRule> {
    let pair = maps::PORTS.get(rules.generation * BLOCKS + block)?.rules[(place >> 1 & 127) as usize];
    let mut number = if place & 1 == 0 { pair & 0xffff } else { pair >> 16 };
    let base = rules.generation * maps::rules();
    let mut rule = maps::SERVICES.get(base + number)?;
    let mut tried = 0;
    while number != 0 && !matches(rule, address) {
        tried += 1;
        number = if tried < MAX_RULE_CHAIN { rule.next } else { 0 };
        rule = maps::SERVICES.get(base + number)?;
    }
    Some(rule)
}

#[inline(always)]
fn matches(rule: &ServiceRule, address: &[u64; 2]) -> bool {
    address[0] & rule.mask[0] == rule.destination[0] && address[1] & rule.mask[1] == rule.destination[1]
}

/// Block and place in it: by the port on the service's side where there is one, else by protocol.
#[inline(always)]
fn place(frame: &Frame, port: u16, has_port: bool) -> (u32, u32) {
    let table = match frame.protocol {
        protocol::TCP => 0,
        protocol::UDP => 1,
        protocol::SCTP => 2,
        _ => return (PROTOCOL_BLOCK, u32::from(frame.protocol)),
    };
    if !has_port {
        return (PROTOCOL_BLOCK, u32::from(frame.protocol));
    }
    let port = u32::from(port);
    (table * 256 + port / PORTS_PER_BLOCK, port % PORTS_PER_BLOCK)
}

/// Whether the daemon has been silent for so long that limits only observe, as configured.
#[inline(always)]
fn is_stale(rules: &Rules, now: u64) -> bool {
    if rules.settings.flags & setting::OBSERVE_WHEN_STALE == 0 {
        return false;
    }
    let beat = maps::HEARTBEAT.get(0).map_or(0, |beat| *beat);
    let stale = level(now, beat) > rules.settings.heartbeat_timeout;
    if stale {
        telemetry::incident(Incident::StaleHeartbeat);
    }
    stale
}
