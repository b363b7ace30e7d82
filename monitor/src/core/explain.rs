//! `sources` and `explain`: what is known of whom, and why they are treated as they are.
//!
//! In: an address or a query. Out: entries with names, the rules' own explanation, and bucket levels at this moment. It
//! changes nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use monitor_common::bucket::excess;
use monitor_common::record::{SourceEntry, entry};
use monitor_common::rule::{BYTES, FOLLOWS_CONNECTIONS, Limit, Slot};

use super::access::bans;
use super::address::key;
use super::alerts;
use super::command::{
    AccessEntry, Alert, AlertQuery, BucketLevel, ExplainedService, Explanation, LocalSender, SourceList,
    SourceQuery,
};
use super::facts::Facts;
use super::history;
use super::limits::{ANY_CLASS, known};
use super::ports::Neighbourhood;
use super::sources::{Row, float};
use super::watch::Watch;
use crate::snapshot::{Ban, Count, LimitInForce, RateAndBurst};
use crate::store::Storage;
use api::Error;
use api::containments::Subject;
use api::explanation::NextPacket;
use policy;
use policy::LimitKind;
use policy::config::Mode;

const DIMENSIONS: [&str; 4] = ["packets", "bytes", "connections", "fragments"];

/// Sources that one answer holds.
const LONGEST_PAGE: usize = 1000;
/// Open findings and changes that an explanation holds.
const FINDINGS: usize = 10;
const CHANGES: usize = 5;
/// Bytes of the smallest frame that a packet arrives in.
const SMALLEST_PACKET: u32 = 60;

/// The source table, filtered and sorted; `senders` are those of this host, if they were asked for.
pub fn list_sources(
    facts: &Facts<'_>,
    query: &SourceQuery,
    senders: Vec<LocalSender>,
) -> Result<SourceList, Error> {
    let image = facts.installed.image();
    if let Some(service) = &query.service {
        let names: Vec<_> = image.services.iter().flatten().map(String::as_str).collect();
        known("service", service, &names)?;
    }
    let service = query.service.as_ref().map(|name| image.numbering.service(name).unwrap_or(0));
    let limit = if query.limit == 0 { 20 } else { query.limit.min(LONGEST_PAGE) };
    let wanted = |row: &Row| {
        service.is_none_or(|service| row.key.service == service)
            && query.prefix.is_none_or(|prefix| prefix.contains(&row.address()))
    };
    let names = facts.names();
    let upto = query.after.saturating_add(limit);
    let (rows, matched) = facts.view.sources().top(query.order, upto, wanted);
    let sources = rows.into_iter().skip(query.after).map(|row| names.source(row)).collect();
    let next = (upto as u64 <= matched.saturating_sub(1)).then_some(upto);
    Ok(SourceList { at: facts.now, matched, sources, next, senders })
}

/// Why an address is treated as it is.
pub fn explain(
    facts: &Facts<'_>,
    watch: &Watch,
    store: &dyn Storage,
    network: &Neighbourhood,
    address: IpAddr,
) -> Result<Explanation, Error> {
    let address = address.to_canonical();
    let rules = facts.installed.judging().unwrap_or(facts.desired.rules());
    let told = policy::explain(rules, address, None, facts.now);
    let source = facts.names().prefix(address);
    let held = key(source.network());
    let ban = facts.kernel.ban(held).map_err(|error| Error::failed(&error))?;
    let ban = ban.and_then(|ban| bans(facts, &[(held, ban)]).pop());
    let entry = |access: policy::Ground| AccessEntry {
        prefix: access.prefix,
        until: access.until,
        comment: None,
        origin: access.from,
        dropped: Count::default(),
    };
    let open = AlertQuery { open: true, subject: Some(source), limit: FINDINGS, ..AlertQuery::default() };
    let mut explanation = Explanation {
        address,
        source,
        class: told.class,
        verdict: String::new(),
        roles: roles(address, &rules.own, network),
        exempt: told.exempt.map(entry),
        denied: told.denied.map(entry),
        ban,
        containment: facts.desired.containments().get(&Subject::Source(source)).cloned(),
        services: at_services(facts, source),
        // What the store cannot say is a problem of its own; the verdict does not wait for it.
        findings: alerts::list(facts, watch, store, &open).unwrap_or_default(),
        changes: history::touching(source, CHANGES, store).unwrap_or_default(),
    };
    explanation.verdict = verdict(&explanation);
    if facts.kernel.passes_everything().is_ok_and(|on| on) {
        explanation.verdict = format!("passes, because panic is on; otherwise: {}", explanation.verdict);
    }
    Ok(explanation)
}

/// The entries of a source, each with its limits and levels.
fn at_services(facts: &Facts<'_>, source: IpNet) -> Vec<ExplainedService> {
    let names = facts.names();
    let limits = facts.limits();
    let clock = facts.kernel.environment().clock;
    let image = facts.installed.image();
    let rows = facts.view.sources().rows.iter().filter(|row| row.address() == source.network());
    rows.map(|row| {
        let at = names.source(row);
        let limit = limit_of(&limits, &at.service, &at.class, LimitKind::PerSource);
        let rule = image.rules.iter().find(|rule| rule.service == row.key.service);
        let number = rule.and_then(|rule| rule.limits.get(usize::from(row.entry.class)));
        let kernel = number.and_then(|number| image.limits.get(usize::try_from(*number).ok()?));
        let buckets = levels(kernel, limit.as_ref(), &row.entry, clock);
        ExplainedService {
            trial: limit_of(&limits, &at.service, &at.class, LimitKind::Trial),
            aggregate: limit_of(&limits, &at.service, &at.class, LimitKind::Aggregate),
            next_packet: next_packet(&buckets, limit.as_ref()),
            open_connections: kernel
                .filter(|limit| limit.force.dimensions & FOLLOWS_CONNECTIONS != 0)
                .map(|_| facts.kernel.open_connections(&row.key)),
            proven: row.entry.flags & entry::PROVEN != 0,
            challenges: rule.is_some_and(|rule| rule.challenges != 0),
            buckets,
            source: at,
            limit,
        }
    })
    .collect()
}

/// What the address is to this host.
fn roles(address: IpAddr, own: &[IpAddr], network: &Neighbourhood) -> Vec<String> {
    let (is_link_local, is_broadcast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.is_broadcast()),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), false),
    };
    let facts = [
        (own.contains(&address), "an address of this host"),
        (network.gateways.contains(&address), "the gateway"),
        (network.networks.iter().any(|net| net.contains(&address)), "in a network of this host"),
        (address.is_loopback(), "loopback"),
        (address.is_unspecified(), "the unspecified address, never a valid source"),
        (address.is_multicast(), "multicast, never a valid source"),
        (is_broadcast, "broadcast, never a valid source"),
        (is_link_local, "link-local"),
    ];
    facts.into_iter().filter(|(applies, _)| *applies).map(|(_, role)| role.to_owned()).collect()
}

fn next_packet(buckets: &[BucketLevel], limit: Option<&LimitInForce>) -> NextPacket {
    let is_full = buckets.iter().any(|bucket| bucket.is_full);
    match limit.map_or(Mode::Off, |limit| limit.mode) {
        Mode::Enforce if is_full => NextPacket::Drops,
        Mode::Observe if is_full => NextPacket::WouldDrop,
        _ => NextPacket::Passes,
    }
}

/// The first thing that decides, in the order in which the kernel asks.
fn verdict(explanation: &Explanation) -> String {
    let Explanation { source, exempt, denied, ban, containment, services, class, .. } = explanation;
    if let Some(entry) = exempt {
        return format!("passes: {} is exempt ({})", entry.prefix, entry.origin);
    }
    if let Some(Ban { until, made_by, .. }) = ban {
        let until = until.map_or("for ever".to_owned(), |until| format!("until {until:.0}"));
        return format!("dropped: {source} is banned {until} by {made_by}");
    }
    if let Some(entry) = denied {
        return format!("dropped: {} is denied ({})", entry.prefix, entry.origin);
    }
    if let Some(one) = containment.as_ref().filter(|one| one.mode == Mode::Enforce) {
        let until = one.until.map_or("until it is lifted".to_owned(), |until| format!("until {until:.0}"));
        return format!("contained {until} by {}: `sluice contain` shows what passes", one.made_by);
    }
    for (what, says) in [
        (NextPacket::Drops, "dropped: over its limit at"),
        (NextPacket::WouldDrop, "passes, would be dropped: over its limit at"),
    ] {
        let over: Vec<_> = services.iter().filter(|at| at.next_packet == what).map(over_at).collect();
        if !over.is_empty() {
            return format!("{says} {}", over.join(", "));
        }
    }
    let seen = if services.is_empty() { ", and has no entry at present" } else { "" };
    let lately: Vec<_> =
        services.iter().filter(|at| at.source.exceeding).map(|at| at.source.service.as_str()).collect();
    let lately = if lately.is_empty() {
        String::new()
    } else {
        format!("; it was over its limit at {} when it last sent", lately.join(", "))
    };
    let suspected = suspected(&explanation.findings);
    let holding: String = services.iter().filter_map(holding).collect();
    format!("passes within the limits of class {class}{seen}{lately}{holding}{suspected}")
}

/// What is open about it: who passes may still do what nobody should.
fn suspected(findings: &[Alert]) -> String {
    let detectors: BTreeSet<_> = findings.iter().map(|one| one.finding.detector.label()).collect();
    if detectors.is_empty() {
        return String::new();
    }
    format!("; an open finding says {}", detectors.into_iter().collect::<Vec<_>>().join(", "))
}

/// A source that holds all the connections it may: what it has goes on.
fn holding(at: &ExplainedService) -> Option<String> {
    let limit = at.limit.as_ref().filter(|limit| limit.mode != Mode::Off)?;
    let (most, held) = (limit.concurrent?, at.open_connections?);
    let new = if limit.mode == Mode::Enforce { "refused" } else { "counted as refused" };
    (held >= most).then(|| {
        format!("; it holds {held} of {most} connections at {}, new ones are {new}", at.source.service)
    })
}

/// A service with the buckets that are full there.
fn over_at(at: &ExplainedService) -> String {
    let full = at.buckets.iter().filter(|bucket| bucket.is_full);
    let full: Vec<_> = full.map(|bucket| format!("{} {}", bucket.dimension, bucket.rate.rate)).collect();
    format!("{} ({})", at.source.service, full.join(", "))
}

/// The limit of a class, or the one that holds for any.
fn limit_of(limits: &[LimitInForce], service: &str, class: &str, kind: LimitKind) -> Option<LimitInForce> {
    let matching = |wanted: &str| {
        limits.iter().find(|limit| limit.service == service && limit.kind == kind && limit.class == wanted)
    };
    matching(class).or_else(|| matching(ANY_CLASS)).cloned()
}

/// How much of each burst is used at this moment.
fn levels(
    kernel: Option<&Limit>,
    limit: Option<&LimitInForce>,
    entry: &SourceEntry,
    clock: u64,
) -> Vec<BucketLevel> {
    let (Some(Limit { force: Slot { rates, dimensions, .. }, .. }), Some(limit)) = (kernel, limit) else {
        return Vec::new();
    };
    let told: [Option<RateAndBurst>; 4] = [limit.packets, limit.bytes, limit.connections, limit.fragments];
    let level = |dimension: usize| {
        let (owed, rate) = (entry.owed(dimension, clock), rates[dimension]);
        let units = if dimension == BYTES { SMALLEST_PACKET } else { 1 };
        let is_full = excess(owed, rate.cost(units), rate.capacity) == 1;
        ((float(owed) / float(rate.capacity.max(1))).min(1.0), is_full)
    };
    (0..DIMENSIONS.len())
        .filter(|dimension| dimensions & (1 << dimension) != 0)
        .filter_map(|dimension| {
            let rate = told[dimension]?;
            let (used, is_full) = level(dimension);
            Some(BucketLevel { dimension: DIMENSIONS[dimension].to_owned(), rate, used, is_full })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::config::Rate;

    fn bucket(is_full: bool) -> BucketLevel {
        let rate = RateAndBurst { rate: Rate::per_second(100), burst: 100 };
        BucketLevel { dimension: "packets".to_owned(), rate, used: f64::from(u8::from(is_full)), is_full }
    }

    #[test]
    fn only_a_full_bucket_decides_about_the_next_packet() {
        let limit = |mode| LimitInForce { mode, ..crate::cli::samples::limit() };
        let next = |is_full, mode| next_packet(&[bucket(false), bucket(is_full)], Some(&limit(mode)));
        assert_eq!(next(true, Mode::Enforce), NextPacket::Drops);
        assert_eq!(next(true, Mode::Observe), NextPacket::WouldDrop);
        assert_eq!(next(true, Mode::Off), NextPacket::Passes);
        assert_eq!(next(false, Mode::Enforce), NextPacket::Passes);
        assert_eq!(next_packet(&[bucket(true)], None), NextPacket::Passes);
    }

    #[test]
    fn what_an_address_is_to_the_host_is_said() {
        let network = Neighbourhood {
            gateways: vec!["10.0.0.1".parse().unwrap()],
            networks: vec!["10.0.0.0/24".parse().unwrap()],
        };
        let own = ["10.0.0.5".parse().unwrap()];
        let said = |address: &str| roles(address.parse().unwrap(), &own, &network).join("; ");
        assert_eq!(said("10.0.0.5"), "an address of this host; in a network of this host");
        assert_eq!(said("10.0.0.1"), "the gateway; in a network of this host");
        assert_eq!(said("224.0.0.1"), "multicast, never a valid source");
        assert_eq!(said("ff02::1"), "multicast, never a valid source");
        assert_eq!(said("fe80::1"), "link-local");
        assert_eq!(said("198.51.100.1"), "");
    }
}
