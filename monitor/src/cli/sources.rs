//! `sluice sources`: who sends most, is dropped most, or moves most bytes.

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use jiff::Timestamp;

use super::table::Page;
use super::{Context, Execute, Failure, figures, arguments};
use api::schema::parse_prefix;
use api::sources::{SourceList, SourceOrder, SourceQuery};
use crate::snapshot::Source;

/// Lists the sources with the highest rates, drops or bytes
#[derive(Clone, Debug, Args)]
pub struct Sources {
    /// What comes first
    #[arg(long, value_enum, default_value_t, value_name = "ORDER")]
    pub by: Order,
    /// Only sources within this prefix
    #[arg(long, value_parser = parse_prefix, value_name = "PREFIX")]
    pub prefix: Option<IpNet>,
    /// Only at this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// How many
    #[arg(short = 'n', long = "number", default_value_t = 20, value_name = "N", value_parser = arguments::count)]
    pub number: usize,
}

/// Largest first, by what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// Packets per second
    #[default]
    Rate,
    /// Packets dropped
    Drops,
    /// Bytes
    Bytes,
}

impl Order {
    pub const fn asked(self) -> SourceOrder {
        match self {
            Self::Rate => SourceOrder::Rate,
            Self::Drops => SourceOrder::Drops,
            Self::Bytes => SourceOrder::Bytes,
        }
    }
}

impl Sources {
    /// What asks for this list.
    pub fn query(&self) -> SourceQuery {
        SourceQuery {
            order: self.by.asked(),
            prefix: self.prefix,
            service: self.service.clone(),
            limit: self.number,
            ..SourceQuery::default()
        }
    }
}

impl Execute for Sources {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut list = context.ask(&SourceQuery { senders: true, ..self.query() })?;
        // One page is not all that was asked for.
        while let Some(after) = list.answer.next
            && list.answer.sources.len() < self.number
        {
            let page = context.ask(&SourceQuery { after, ..self.query() })?;
            list.answer.sources.extend(page.answer.sources);
            list.answer.next = page.answer.next;
        }
        list.answer.sources.truncate(self.number);
        context.show(&list, |list, page| render(&list.answer, page))
    }
}

pub fn render(list: &SourceList, page: &mut Page) {
    table(&list.sources, list.at, page);
    let shown = u64::try_from(list.sources.len()).unwrap_or(u64::MAX);
    if list.matched > shown {
        page.line(format!("{shown} of {} shown; -n shows more", list.matched));
    }
    if !list.senders.is_empty() {
        page.blank();
        senders(list, page);
    }
}

/// Who sends from this host.
fn senders(list: &SourceList, page: &mut Page) {
    let rows = list.senders.iter().map(|sender| {
        vec![
            sender.source.to_string(),
            sender.workload.clone(),
            figures::count(sender.conversations),
            figures::count(sender.sent.packets),
            figures::bytes(sender.sent.bytes),
            figures::ago(sender.last_seen, list.at),
        ]
    });
    let headings = ["SENDS FROM HERE", "WORKLOAD", "~>CONVERSATIONS", ">PACKETS", ">BYTES", "~SEEN"];
    page.table(&headings, rows.collect(), "");
}

/// The rows of a list of sources.
pub fn table(sources: &[Source], now: Timestamp, page: &mut Page) {
    let headings = [
        "SOURCE",
        "SERVICE",
        "~CLASS",
        ">PACKETS/S",
        "~>BITS/S",
        ">DROPPED/S",
        "~>WOULD DROP/S",
        "~>PACKETS",
        "~>DROPPED",
        "~SEEN",
        "",
    ];
    let rows = sources.iter().map(|source| {
        vec![
            address(&source.source),
            source.service.clone(),
            source.class.clone(),
            figures::rate(source.packets_per_second),
            figures::bits(source.bytes_per_second),
            figures::rate(source.dropped_per_second),
            figures::rate(source.would_drop_per_second),
            figures::count(source.total.packets),
            figures::count(source.dropped.packets),
            figures::ago(source.last_seen, now),
            remark(source),
        ]
    });
    page.table(&headings, rows.collect(), "no source matches");
}

/// A prefix that is one address is written as one.
pub fn address(prefix: &IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() { prefix.addr().to_string() } else { prefix.to_string() }
}

fn remark(source: &Source) -> String {
    let mut remarks = Vec::new();
    if source.exceeding {
        remarks.push("over its limit");
    }
    if let Some(workload) = &source.workload {
        remarks.push(workload);
    }
    remarks.join(", ")
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::cli::table::Page;
    use crate::cli::samples::{noon, source};
    use crate::engine::command::SourceList;

    #[test]
    fn a_list_says_how_much_it_leaves_out() {
        let mut page = Page::plain();
        render(&SourceList { at: noon(), matched: 3, sources: vec![source()], next: None, senders: Vec::new() }, &mut page);
        let wanted = "\
SOURCE        SERVICE  CLASS    PACKETS/S     BITS/S  DROPPED/S  WOULD DROP/S  PACKETS  DROPPED  SEEN
198.51.100.9  web      outside     50.0 k  25.6 Mbit     48.0 k             0   1.25 M   1.20 M  just now  over its limit
1 of 3 shown; -n shows more
";
        assert_eq!(page.text(), wanted);
    }
}
