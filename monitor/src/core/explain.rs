//! `sources` and `explain`: what is known of whom, and why they are treated as they are.
//!
//! In: an address or a query. Out: entries with names, the rules' own explanation, and bucket levels at this moment. It
//! changes nothing.

use std::net::IpAddr;

use monitor_common::record::SourceEntry;
use monitor_common::rule::{Limit, Slot};

use super::access::bans;
use super::command::{
    AccessEntry, BucketLevel, ExplainedService, Explanation, LocalSender, SourceList, SourceQuery,
};
use super::facts::Facts;
use super::limits::{ANY_CLASS, known};
use super::sources::{Row, float};
use crate::snapshot::{Ban, Count, LimitInForce, RateAndBurst};
use api::Error;
use api::containments::Subject;
use policy;
use policy::LimitKind;
use policy::config::Mode;

const DIMENSIONS: [&str; 4] = ["packets", "bytes", "connections", "fragments"];

/// Sources that one answer holds.
const LONGEST_PAGE: usize = 1000;

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
pub fn explain(facts: &Facts<'_>, address: IpAddr) -> Result<Explanation, Error> {
    let address = address.to_canonical();
    let rules = facts.installed.judging().unwrap_or(facts.desired.rules());
    let told = policy::explain(rules, address, None, facts.now);
    let names = facts.names();
    let source = names.prefix(address);
    let held = facts.kernel.bans().map_err(|error| Error::failed(&error))?;
    let ban = bans(facts, &held).into_iter().find(|ban| ban.source == source);
    let limits = facts.limits();
    let clock = facts.kernel.environment().clock;
    let image = facts.installed.image();
    let services = facts
        .view
        .sources()
        .rows
        .iter()
        .filter(|row| row.address() == source.network())
        .map(|row| {
            let at = names.source(row);
            let limit = limit_of(&limits, &at.service, &at.class, LimitKind::PerSource);
            let rule = image.rules.iter().find(|rule| rule.service == row.key.service);
            let number = rule.and_then(|rule| rule.limits.get(usize::from(row.entry.class)));
            let kernel = number.and_then(|number| image.limits.get(usize::try_from(*number).ok()?));
            ExplainedService {
                trial: limit_of(&limits, &at.service, &at.class, LimitKind::Trial),
                aggregate: limit_of(&limits, &at.service, &at.class, LimitKind::Aggregate),
                buckets: levels(kernel, limit.as_ref(), &row.entry, clock),
                source: at,
                limit,
            }
        })
        .collect::<Vec<_>>();
    let entry = |access: policy::Ground| AccessEntry {
        prefix: access.prefix,
        until: access.until,
        comment: None,
        origin: access.from,
        dropped: Count::default(),
    };
    let mut explanation = Explanation {
        address,
        source,
        class: told.class,
        verdict: String::new(),
        exempt: told.exempt.map(entry),
        denied: told.denied.map(entry),
        ban,
        containment: facts.desired.containments().get(&Subject::Source(source)).cloned(),
        services,
    };
    explanation.verdict = verdict(&explanation);
    Ok(explanation)
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
    let over: Vec<_> =
        services.iter().filter(|s| s.source.exceeding).map(|s| s.source.service.as_str()).collect();
    if over.is_empty() {
        let seen = if services.is_empty() { ", and has no entry at present" } else { "" };
        return format!("passes within the limits of class {class}{seen}");
    }
    format!("exceeds its limit at {}", over.join(", "))
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
    let used = |dimension: usize| {
        let owed = entry.owed(dimension, clock);
        (float(owed) / float(rates[dimension].capacity.max(1))).min(1.0)
    };
    (0..DIMENSIONS.len())
        .filter(|dimension| dimensions & (1 << dimension) != 0)
        .filter_map(|dimension| {
            let rate = told[dimension]?;
            Some(BucketLevel { dimension: DIMENSIONS[dimension].to_owned(), rate, used: used(dimension) })
        })
        .collect()
}
