//! `flows`, `graph` and the senders of this host in `sources`: the conversations as they stand, and who talks to whom.
//!
//! In: the kernel's table of conversations, read when somebody asks, and those that ended within the last hour. Out: rows
//! with names. It keeps nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use monitor_common::application::{Recognition, flag, protocol, version};
use monitor_common::conversation::{Conversation, ConversationKey, outcome, state};
use monitor_common::flow::from_halves;

use super::command::{
    Flow, FlowEncryption, FlowEnd, FlowList, FlowOutcome, FlowQuery, Graph, GraphEdge, LocalSender,
};
use super::facts::Facts;
use super::ports::Host;
use super::recent::Recent;
use crate::snapshot::{Count, address_of};
use api::Error;
use detection::finding::Service;

/// Conversations that ended: they stay in the table for their last stray segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closed {
    Told,
    LeftOut,
}

/// Flows as they stand.
pub fn list(
    facts: &Facts<'_>,
    host: &mut dyn Host,
    recent: &Recent,
    query: &FlowQuery,
) -> Result<FlowList, Error> {
    let limit = if query.limit == 0 { 50 } else { query.limit };
    let mut flows = all(facts, host, recent)?;
    flows.retain(|flow| wanted(flow, query));
    let matched = flows.len() as u64;
    flows.sort_by_key(|flow| std::cmp::Reverse(flow.forward.bytes + flow.backward.bytes));
    flows.truncate(limit);
    Ok(FlowList { at: facts.now, matched, flows })
}

/// Who talks to whom. `new` are the edges that an open finding calls new: their source, and the service if it is known.
pub fn graph(
    facts: &Facts<'_>,
    host: &mut dyn Host,
    recent: &Recent,
    new: &[(IpAddr, Option<Service>)],
) -> Result<Graph, Error> {
    let mut edges: BTreeMap<(String, String, String, u16), GraphEdge> = BTreeMap::new();
    // A refused attempt is no talk; a scan would fill the graph with it.
    let talked = |flow: &Flow| matches!(flow.outcome, FlowOutcome::Established | FlowOutcome::Midstream);
    for flow in flows(facts, host, Closed::LeftOut)?.into_iter().chain(ended(facts, recent).filter(talked)) {
        let sender = flow.initiator.to_string();
        let is_new = new.iter().any(|(subject, service)| {
            let port = service.as_ref().is_none_or(|service| service.port == flow.responder_port);
            *subject == flow.initiator && port
        });
        let mut ends = (sender, flow.responder.to_string());
        match (flow.workload, flow.workload_end) {
            (Some(name), Some(FlowEnd::Initiator)) => ends.0 = name,
            (Some(name), Some(FlowEnd::Responder)) => ends.1 = name,
            _ => {}
        }
        let (from, to) = ends;
        let key = (from.clone(), to.clone(), flow.protocol.clone(), flow.responder_port);
        let edge = edges.entry(key).or_insert_with(|| GraphEdge {
            from,
            to,
            protocol: flow.protocol,
            port: flow.responder_port,
            conversations: 0,
            bytes: 0,
            application: application_label(protocol::NONE),
            in_clear: 0,
            encrypted: 0,
            new: false,
        });
        if flow.application != application_label(protocol::NONE) {
            edge.application = flow.application;
        }
        match flow.encryption {
            FlowEncryption::Unknown => {}
            FlowEncryption::Clear => edge.in_clear += flow.conversations,
            FlowEncryption::Native | FlowEncryption::Tls | FlowEncryption::Upgraded => {
                edge.encrypted += flow.conversations;
            }
        }
        edge.conversations += flow.conversations;
        edge.bytes += flow.forward.bytes + flow.backward.bytes;
        edge.new |= is_new;
    }
    Ok(Graph { at: facts.now, edges: edges.into_values().collect() })
}

/// Who of this host sends from where, most bytes first.
pub fn local_senders(
    facts: &Facts<'_>,
    host: &mut dyn Host,
    within: Option<IpNet>,
    limit: usize,
) -> Result<Vec<LocalSender>, Error> {
    let mut senders: BTreeMap<(IpAddr, String), LocalSender> = BTreeMap::new();
    for flow in flows(facts, host, Closed::Told)? {
        let (source, sent) = match flow.workload_end {
            Some(FlowEnd::Initiator) => (flow.initiator, flow.forward),
            Some(FlowEnd::Responder) => (flow.responder, flow.backward),
            None => continue,
        };
        let Some(workload) = flow.workload.filter(|_| within.is_none_or(|net| net.contains(&source))) else {
            continue;
        };
        let sender = senders.entry((source, workload.clone())).or_insert(LocalSender {
            source,
            workload,
            conversations: 0,
            sent: Count::default(),
            last_seen: flow.last_seen,
        });
        sender.conversations += 1;
        sender.sent.packets += sent.packets;
        sender.sent.bytes += sent.bytes;
        sender.last_seen = sender.last_seen.max(flow.last_seen);
    }
    let mut senders: Vec<_> = senders.into_values().collect();
    senders.sort_by_key(|sender| std::cmp::Reverse(sender.sent.bytes));
    senders.truncate(limit);
    Ok(senders)
}

/// Open flows, and those that ended within the last hour.
pub fn all(facts: &Facts<'_>, host: &mut dyn Host, recent: &Recent) -> Result<Vec<Flow>, Error> {
    let mut all = flows(facts, host, Closed::LeftOut)?;
    all.extend(ended(facts, recent));
    Ok(all)
}

fn flows(facts: &Facts<'_>, host: &mut dyn Host, closed: Closed) -> Result<Vec<Flow>, Error> {
    let rows = facts.kernel.conversations().map_err(|error| Error::failed(&error))?;
    let open = |conversation: &Conversation| conversation.state & state::CLOSED == 0;
    let told = rows.iter().filter(|(_, conversation)| closed == Closed::Told || open(conversation));
    Ok(told.map(|(key, conversation)| flow(facts, host, key, conversation)).collect())
}

fn flow(facts: &Facts<'_>, host: &mut dyn Host, key: &ConversationKey, conversation: &Conversation) -> Flow {
    let wall = |clock| facts.kernel.wall(clock);
    let lower = (address(key.lower), key.lower_port);
    let higher = (address(key.higher), key.higher_port);
    let (initiator, responder) =
        if conversation.state & state::INITIATOR_IS_HIGHER == 0 { (lower, higher) } else { (higher, lower) };
    let workload = host.workload(conversation.cgroup);
    let responds = conversation.state & state::RESPONDER_IS_LOCAL != 0;
    let end = if responds { FlowEnd::Responder } else { FlowEnd::Initiator };
    let upper = u8::try_from(key.protocol).unwrap_or(u8::MAX);
    let recognised = Recognition(conversation.recognised);
    Flow {
        initiator: initiator.0,
        initiator_port: initiator.1,
        responder: responder.0,
        responder_port: responder.1,
        protocol: Service::new(upper, responder.1).protocol,
        outcome: outcome_of(conversation.outcome),
        application: application_label(recognised.protocol()),
        encryption: FlowEncryption::from_code(recognised.encryption()),
        tls_version: tls_version(recognised),
        credentials_in_clear: recognised.has(flag::CREDENTIALS),
        signed: recognised.has(flag::SIGNED),
        conversations: 1,
        open: true,
        forward: Count { packets: conversation.forward.packets, bytes: conversation.forward.bytes },
        backward: Count { packets: conversation.backward.packets, bytes: conversation.backward.bytes },
        first_seen: wall(conversation.first_seen),
        last_seen: wall(conversation.last_seen),
        interface: facts.names().interface(conversation.interface.into()),
        workload_end: workload.is_some().then_some(end),
        workload,
    }
}

/// Those that ended, as far as they are remembered.
fn ended<'a>(facts: &'a Facts<'_>, recent: &'a Recent) -> impl Iterator<Item = Flow> + 'a {
    let names = facts.names();
    recent.iter().map(move |(pair, sum)| Flow {
        initiator: pair.initiator,
        initiator_port: sum.initiator_port,
        responder: pair.responder,
        responder_port: pair.responder_port,
        protocol: Service::new(u8::try_from(pair.protocol).unwrap_or(u8::MAX), pair.responder_port).protocol,
        outcome: outcome_of(pair.outcome),
        application: application_label(pair.recognised.protocol()),
        encryption: FlowEncryption::from_code(pair.recognised.encryption()),
        tls_version: tls_version(pair.recognised),
        credentials_in_clear: pair.recognised.has(flag::CREDENTIALS),
        signed: pair.recognised.has(flag::SIGNED),
        conversations: sum.conversations,
        open: false,
        forward: sum.forward,
        backward: sum.backward,
        first_seen: sum.first_seen,
        last_seen: sum.last_seen,
        interface: names.interface(sum.interface.into()),
        workload: sum.workload.clone(),
        workload_end: sum.workload.is_some().then_some(FlowEnd::Initiator),
    })
}

fn application_label(code: u32) -> String {
    protocol::label(code).to_owned()
}

fn tls_version(recognised: Recognition) -> Option<String> {
    let code = recognised.version();
    (code != version::UNKNOWN).then(|| version::label(code).to_owned())
}

const fn outcome_of(number: u32) -> FlowOutcome {
    match number {
        outcome::ESTABLISHED => FlowOutcome::Established,
        outcome::REFUSED => FlowOutcome::Refused,
        outcome::MIDSTREAM => FlowOutcome::Midstream,
        _ => FlowOutcome::Unanswered,
    }
}

fn wanted(flow: &Flow, query: &FlowQuery) -> bool {
    query.address.is_none_or(|prefix| prefix.contains(&flow.initiator) || prefix.contains(&flow.responder))
        && query.since.is_none_or(|since| flow.last_seen >= since)
        && query.port.is_none_or(|port| flow.responder_port == port)
        && query.protocol.as_ref().is_none_or(|wanted| flow.protocol.eq_ignore_ascii_case(wanted))
        && query.outcome.is_none_or(|outcome| flow.outcome == outcome)
        && query.application.as_ref().is_none_or(|wanted| flow.application.eq_ignore_ascii_case(wanted))
        && query.encryption.is_none_or(|encryption| flow.encryption == encryption)
        && query
            .workload
            .as_ref()
            .is_none_or(|part| flow.workload.as_ref().is_some_and(|name| name.contains(part)))
}

fn address([high, low]: [u64; 2]) -> IpAddr {
    address_of(from_halves(high, low))
}
