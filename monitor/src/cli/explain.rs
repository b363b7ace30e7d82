//! `sluice explain`: why an address is treated as it is.

use std::net::IpAddr;

use clap::Args;

use super::limit::rate_of;
use super::sources::address;
use super::table::Page;
use super::{Context, Execute, Failure, figures};
use api::access::AccessEntry;
use api::explanation::{self, ExplainedService, Explanation};
use crate::snapshot::{Ban, LimitInForce};

/// Says why an address is treated as it is
#[derive(Clone, Copy, Debug, Args)]
pub struct Explain {
    /// An IPv4 or IPv6 address
    pub address: IpAddr,
}

impl Execute for Explain {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let why = context.ask(&explanation::Explain { address: self.address })?;
        context.show(&why, |why, page| render(&why.answer, page))
    }
}

pub fn render(why: &Explanation, page: &mut Page) {
    page.line(format!("{}: {}", why.address, why.verdict));
    page.blank();
    page.field("counts as", format!("{}, class {}", address(&why.source), why.class));
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
    format!("{until}, by {}{place}, {} strikes, {} packets dropped{comment}", ban.made_by, ban.strikes, ban.dropped.packets)
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
    let rows = explained.buckets.iter().map(|bucket| {
        let (rate, burst) = rate_of(&bucket.rate);
        vec![bucket.dimension.clone(), rate, burst, figures::percent(bucket.used)]
    });
    if !explained.buckets.is_empty() {
        page.table(&["BUCKET", ">RATE", ">BURST", ">USED"], rows.collect(), "");
    }
}

fn in_words(limit: &LimitInForce) -> String {
    let rates: Vec<String> = super::limit::rates(limit)
        .into_iter()
        .filter_map(|(dimension, rate)| {
            rate.map(|rate| {
                let (rate, burst) = rate_of(&rate);
                format!("{dimension} {rate} (burst {burst})")
            })
        })
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
            services: vec![ExplainedService {
                source: source(),
                limit: Some(limit()),
                trial: None,
                aggregate: None,
                buckets: vec![BucketLevel {
                    dimension: "packets".to_owned(),
                    rate: RateAndBurst { rate: Rate::per_second(2000), burst: 4000 },
                    used: 1.0,
                }],
            }],
        };
        let mut page = Page::plain();
        render(&why, &mut page);
        let wanted = "\
198.51.100.9: dropped: the source is banned for a time

counts as     198.51.100.9, class outside
exempt        no
denied        no
banned        until 2026-11-22 12:10:00Z, by kernel at web, 1 strikes, 5 packets dropped

service       web
sends         50.0 k packets/s, 25.6 Mbit/s through eth0
so far        1.25 M packets (80.0 MB), 1.20 M dropped, 0 would be dropped
seen          from 2026-11-22 12:00:00Z to 2026-11-22 12:00:00Z
limit         enforce, packets 2k/s (burst 4000), from config
BUCKET   RATE  BURST   USED
packets  2k/s   4000  100 %
";
        assert_eq!(page.text(), wanted);
    }
}
