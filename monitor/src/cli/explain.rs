//! `sluice explain`: why an address is treated as it is.

use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs};

use clap::Args;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use super::failure::Exit;
use super::limit::rate_of;
use super::sources::address;
use super::table::Page;
use super::{Context, Execute, Failure, figures};
use crate::snapshot::{Ban, LimitInForce};
use api::Versioned;
use api::access::AccessEntry;
use api::explanation::{self, ExplainedService, Explanation, NextPacket};
use api::limits::ListLimits;
use api::schema::{is_meant_as_address, parse_prefix};
use api::sources::{SourceList, SourceQuery};

/// Says why an address is treated as it is, or who sends from a prefix or to a service
#[derive(Clone, Debug, Args)]
pub struct Explain {
    /// An address, a prefix, a service, or a host name
    #[arg(value_parser = target)]
    pub target: Target,
}

/// Sources of a prefix or a service that one answer shows.
const SHOWN: usize = 20;
/// Addresses of one name that are explained.
const ADDRESSES: usize = 8;

/// What the word is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Address(IpAddr),
    Prefix(IpNet),
    /// A service, or a name to be resolved.
    Name(String),
}

/// What a word is about; an error for what can only be meant as an address and is none.
fn target(word: &str) -> Result<Target, String> {
    match parse_prefix(word) {
        Ok(prefix) if prefix.prefix_len() == prefix.max_prefix_len() => Ok(Target::Address(prefix.addr())),
        Ok(prefix) => Ok(Target::Prefix(prefix)),
        Err(wrong) if is_meant_as_address(word) => Err(wrong),
        Err(_) => Ok(Target::Name(word.to_owned())),
    }
}

impl Execute for Explain {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        match self.target {
            Target::Address(address) => {
                let why = context.ask(&explanation::Explain { address })?;
                context.show(&why, |why, page| render(&why.answer, page))
            }
            Target::Prefix(prefix) => {
                let query = SourceQuery { prefix: Some(prefix), limit: SHOWN, ..SourceQuery::default() };
                let list = context.ask(&query)?;
                context.show(&list, |list, page| {
                    if list.answer.sources.is_empty() {
                        page.line(format!("no source of {prefix} is known"));
                    } else {
                        super::sources::render(&list.answer, page);
                    }
                })
            }
            Target::Name(name) => {
                let query =
                    SourceQuery { service: Some(name.clone()), limit: SHOWN, ..SourceQuery::default() };
                match context.ask(&query) {
                    Ok(list) => explain_service(name, list.answer, context),
                    Err(failure) if failure.exit == Exit::NotFound => explain_name(name, &failure, context),
                    Err(failure) => Err(failure),
                }
            }
        }
    }
}

/// A service: its limits, and who sends most to it.
#[derive(Debug, Serialize)]
struct AtService {
    service: String,
    limits: Vec<LimitInForce>,
    sources: SourceList,
}

/// The addresses of a host name.
#[derive(Debug, Serialize)]
struct Resolved {
    name: String,
    addresses: Vec<Explanation>,
}

fn explain_service(service: String, sources: SourceList, context: &Context) -> Result<(), Failure> {
    let mut limits = context.ask(&ListLimits::default())?.answer.limits;
    limits.retain(|limit| limit.service == service);
    context.show(&Versioned::new(AtService { service, limits, sources }), |why, page| {
        super::limit::render(&why.answer.limits, page);
        page.blank();
        super::sources::render(&why.answer.sources, page);
    })
}

/// The name is resolved here, never in the daemon.
fn explain_name(name: String, failure: &Failure, context: &Context) -> Result<(), Failure> {
    let Ok(found) = (name.as_str(), 0).to_socket_addrs() else {
        let message = format!("{} And `{name}` does not resolve to an address", sentence(&failure.message));
        return Err(Failure::new(failure.exit, message));
    };
    let addresses: BTreeSet<IpAddr> = found.map(|found| found.ip()).take(ADDRESSES).collect();
    let explain = |address| Ok(context.ask(&explanation::Explain { address })?.answer);
    let addresses = addresses.into_iter().map(explain).collect::<Result<Vec<_>, Failure>>()?;
    context.show(&Versioned::new(Resolved { name, addresses }), |why, page| {
        for (place, one) in why.answer.addresses.iter().enumerate() {
            if place > 0 {
                page.blank();
            }
            render(one, page);
        }
    })
}

/// A message with an end of its own.
fn sentence(message: &str) -> String {
    if message.ends_with('?') { message.to_owned() } else { format!("{message}.") }
}

pub fn render(why: &Explanation, page: &mut Page) {
    page.line(format!("{}: {}", why.address, why.verdict));
    page.blank();
    page.field("counts as", format!("{}, class {}", address(&why.source), why.class));
    if !why.roles.is_empty() {
        page.field("is", why.roles.join(", "));
    }
    page.field("exempt", entry(why.exempt.as_ref()));
    page.field("denied", entry(why.denied.as_ref()));
    page.field("banned", why.ban.as_ref().map_or_else(|| "no".to_owned(), ban));
    for service in &why.services {
        page.blank();
        at_service(service, page);
    }
    if why.services.is_empty() {
        page.field("seen", "not seen by any service, or too light to be remembered");
    }
    if !why.findings.is_empty() {
        page.blank();
        super::alerts::render(&why.findings, Timestamp::now(), page);
    }
    if !why.changes.is_empty() {
        page.blank();
        let rows = why.changes.iter().map(|change| {
            vec![change.number.to_string(), figures::moment(change.at), change.made_by.clone(), change.what.clone()]
        });
        page.table(&[">CHANGE", "AT", "BY", "WHAT"], rows.collect(), "");
    }
}

fn entry(entry: Option<&AccessEntry>) -> String {
    let Some(entry) = entry else { return "no".to_owned() };
    let until = entry.until.map(|until| format!(", until {}", figures::moment(until))).unwrap_or_default();
    let comment = entry.comment.as_ref().map(|comment| format!(": {comment}")).unwrap_or_default();
    format!("by {} ({}){until}{comment}", entry.prefix, entry.origin)
}

fn ban(ban: &Ban) -> String {
    let until = ban.until.map_or_else(|| "for ever".to_owned(), |until| format!("until {}", figures::moment(until)));
    let place = ban.service.as_ref().map(|service| format!(" at {service}")).unwrap_or_default();
    let comment = ban.comment.as_ref().map(|comment| format!(": {comment}")).unwrap_or_default();
    {
        let strikes = if ban.strikes == 1 { "1 strike".to_owned() } else { format!("{} strikes", ban.strikes) };
        format!("{until}, by {}{place}, {strikes}, {} packets dropped{comment}", ban.made_by, ban.dropped.packets)
    }
}

fn at_service(explained: &ExplainedService, page: &mut Page) {
    let source = &explained.source;
    page.field("service", &source.service);
    page.field(
        "sends",
        format!(
            "{} packets/s, {}/s through {}",
            figures::rate(source.packets_per_second),
            figures::bits(source.bytes_per_second),
            source.interface
        ),
    );
    page.field(
        "so far",
        format!(
            "{} packets ({}), {} dropped, {} would be dropped",
            figures::count(source.total.packets),
            figures::bytes(source.total.bytes),
            figures::count(source.dropped.packets),
            figures::count(source.would_drop.packets)
        ),
    );
    let (first, last) = (figures::moment(source.first_seen), figures::moment(source.last_seen));
    page.field("seen", format!("from {first} to {last}"));
    if let Some(workload) = &source.workload {
        page.field("workload", workload);
    }
    for (name, limit) in [
        ("limit", &explained.limit),
        ("trial", &explained.trial),
        ("aggregate", &explained.aggregate),
    ] {
        if let Some(limit) = limit {
            page.field(name, in_words(limit));
        }
    }
    if let Some(held) = explained.open_connections {
        let most = explained.limit.as_ref().and_then(|limit| limit.concurrent);
        page.field("open", most.map_or_else(|| held.to_string(), |most| format!("{held} of {most} connections")));
    }
    page.field("next packet", next_packet(explained.next_packet));
    page.field("address", if explained.proven { "proven" } else { "not proven" });
    if explained.challenges && !explained.proven {
        page.field("challenge", "a SYN that a limit refuses is answered with a cookie");
    }
    let rows = explained.buckets.iter().map(|bucket| {
        let (rate, burst) = rate_of(&bucket.rate);
        vec![bucket.dimension.clone(), rate, burst, figures::percent(bucket.used)]
    });
    if !explained.buckets.is_empty() {
        page.table(&["BUCKET", ">RATE", ">BURST", ">USED"], rows.collect(), "");
    }
}

const fn next_packet(next: NextPacket) -> &'static str {
    match next {
        NextPacket::Passes => "passes",
        NextPacket::WouldDrop => "passes; it would be dropped if the limit were enforced",
        NextPacket::Drops => "is dropped",
    }
}

fn in_words(limit: &LimitInForce) -> String {
    let open = limit.concurrent.map(|most| format!("{most} open connections"));
    let rates: Vec<String> = super::limit::rates(limit)
        .into_iter()
        .filter_map(|(dimension, rate)| {
            rate.map(|rate| {
                let (rate, burst) = rate_of(&rate);
                format!("{dimension} {rate} (burst {burst})")
            })
        })
        .chain(open)
        .collect();
    let rates = if rates.is_empty() { "no rates".to_owned() } else { rates.join(", ") };
    format!("{}, {rates}, from {}", limit.mode.label(), limit.origin)
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::cli::table::Page;
    use crate::cli::samples::{ban, limit, source};
    use crate::engine::command::{BucketLevel, ExplainedService, Explanation};
    use crate::snapshot::RateAndBurst;
    use api::explanation::NextPacket;
    use policy::config::Rate;

    #[test]
    fn an_explanation_names_the_verdict_the_ban_the_limit_and_the_bucket() {
        let why = Explanation {
            address: "198.51.100.9".parse().unwrap(),
            source: "198.51.100.9/32".parse().unwrap(),
            class: "outside".to_owned(),
            verdict: "dropped: the source is banned for a time".to_owned(),
            exempt: None,
            denied: None,
            ban: Some(ban()),
            containment: None,
            roles: vec!["in a network of this host".to_owned()],
            findings: Vec::new(),
            changes: Vec::new(),
            services: vec![ExplainedService {
                source: source(),
                limit: Some(limit()),
                trial: None,
                aggregate: None,
                buckets: vec![BucketLevel {
                    dimension: "packets".to_owned(),
                    rate: RateAndBurst { rate: Rate::per_second(2000), burst: 4000 },
                    used: 1.0,
                    is_full: true,
                }],
                open_connections: Some(3),
                next_packet: NextPacket::Drops,
                proven: false,
                challenges: true,
            }],
        };
        let mut page = Page::plain();
        render(&why, &mut page);
        let wanted = "\
198.51.100.9: dropped: the source is banned for a time

counts as     198.51.100.9, class outside
is            in a network of this host
exempt        no
denied        no
banned        until 2026-11-22 12:10:00Z, by kernel at web, 1 strike, 5 packets dropped

service       web
sends         50.0 k packets/s, 25.6 Mbit/s through eth0
so far        1.25 M packets (80.0 MB), 1.20 M dropped, 0 would be dropped
seen          from 2026-11-22 12:00:00Z to 2026-11-22 12:00:00Z
limit         enforce, packets 2k/s (burst 4000), from config
open          3
next packet   is dropped
address       not proven
challenge     a SYN that a limit refuses is answered with a cookie
BUCKET   RATE  BURST   USED
packets  2k/s   4000  100 %
";
        assert_eq!(page.text(), wanted);
    }
}
