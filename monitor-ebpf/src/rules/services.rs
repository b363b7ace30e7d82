//! What the rules say of a packet's destination: its service, and the limit of its source's class there.

use core::ops::ControlFlow;

use monitor_common::{
    flow::protocol,
    parse::{Fragment, Frame},
    rule::{
        BLOCKS, COUNTS_REQUESTS, DEFAULT_SERVICE, FOLLOWS_CONNECTIONS, Limit, MAX_RULE_CHAIN,
        PORTS_PER_BLOCK, PROTOCOL_BLOCK, ServiceRule, Settings, setting,
    },
    sketch,
    verdict::{Reason, Verdict},
};

use super::Rules;
use crate::{
    context::{PacketContext, fresh},
    maps,
    own_flows::{self, Unnamed},
};

/// The limit that applies to the source at the service that the packet is for.
#[inline(always)]
pub fn service(rules: &Rules, packet: &mut PacketContext) -> ControlFlow<Verdict, &'static Limit> {
    let frame = &packet.frame;
    let has_port = fresh(&packet.piece) != Fragment::Later as u32;
    let Some(rule) = rule(rules, place(frame, frame.destination_port, has_port), &frame.destination) else {
        return ControlFlow::Break(Reason::NotReady.into());
    };
    packet.service = rule.service;
    if fresh(&packet.service) == DEFAULT_SERVICE && unnamed(rules.settings, packet) {
        return ControlFlow::Break(Verdict::from_number(fresh(&packet.verdict)));
    }
    packet.hash = sketch::at_service(packet.hash, rule.service);
    packet.has_aggregate = rule.has_aggregate;
    packet.challenges = rule.challenges;
    let number = rule.limits[(fresh(&packet.class) & 15) as usize];
    match maps::LIMITS.get(rules.generation * maps::limits() + number) {
        Some(limit) => {
            let dimensions = limit.force.dimensions;
            packet.further = if dimensions & (COUNTS_REQUESTS | FOLLOWS_CONNECTIONS) == 0 {
                0
            } else {
                number | dimensions & FOLLOWS_CONNECTIONS
            };
            ControlFlow::Continue(limit)
        }
        None => ControlFlow::Break(Reason::NotReady.into()),
    }
}

/// What no service is for: answers to what this host asked are charged to nothing, and those that nobody asked for have a
/// reason of their own. True when the verdict is in the context.
///
/// Not inlined, and one number is returned: the verifier follows what comes after it once.
#[inline(never)]
fn unnamed(settings: &Settings, packet: &mut PacketContext) -> bool {
    if settings.flags & setting::PROVES == 0 {
        return false;
    }
    let reason = match own_flows::unnamed(settings, packet) {
        Unnamed::Contact => return false,
        Unnamed::Answer => Reason::Answer,
        Unnamed::Reflected => Reason::Reflected,
    };
    packet.verdict = reason as u32;
    if Verdict::from(reason).drops()
        && (settings.flags & setting::DROP_REFLECTED == 0 || fresh(&packet.enforce) == 0)
    {
        packet.note_would_drop(reason.into());
        return false;
    }
    true
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
