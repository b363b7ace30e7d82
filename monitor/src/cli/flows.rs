//! `sluice flows`: the conversations of insiders as they stand, and those that ended within the last hour.

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use jiff::Timestamp;
use policy::config::{Duration, nearest};

use super::table::Page;
use super::{Context, Execute, Failure, figures};
use api::flows::{Flow, FlowEnd, FlowList, FlowOutcome, FlowQuery};
use api::schema::parse_prefix;

/// Lists conversations with an inside end, open or ended within the last hour, most bytes first
#[derive(Clone, Debug, Args)]
pub struct Flows {
    /// Only with an end within this prefix
    #[arg(long, value_parser = parse_prefix, value_name = "PREFIX")]
    address: Option<IpNet>,
    /// Only with this port of the one who answers
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Only this protocol, by name or number
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    protocol: Option<String>,
    /// Only workloads whose name contains this
    #[arg(long, value_name = "TEXT")]
    workload: Option<String>,
    /// Only conversations that stand like this
    #[arg(long, value_enum)]
    outcome: Option<Outcome>,
    /// Only with a packet within this time
    #[arg(long, value_name = "TIME")]
    since: Option<Duration>,
    /// How many
    #[arg(short = 'n', long = "number", default_value_t = 50, value_name = "N")]
    number: usize,
}

/// A protocol by its name or number; what is neither is an error with the nearest name.
fn protocol(text: &str) -> Result<String, String> {
    const NAMES: [(&str, u8); 5] = [("tcp", 6), ("udp", 17), ("icmp", 1), ("icmpv6", 58), ("sctp", 132)];
    let name = text.to_ascii_lowercase();
    let number = name.parse::<u8>().ok();
    if let Some((known, _)) = NAMES.iter().find(|(known, of)| *known == name || Some(*of) == number) {
        return Ok((*known).to_owned());
    }
    if number.is_some() {
        return Ok(name);
    }
    let names = NAMES.map(|(name, _)| name);
    Err(match nearest(&name, names) {
        Some(near) => format!("there is no protocol `{text}`; did you mean `{near}`?"),
        None => format!("there is no protocol `{text}`; write {} or a number", names.join(", ")),
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Outcome {
    /// Nobody answered
    Unanswered,
    /// Both ends spoke
    Established,
    /// The other end refused
    Refused,
    /// The start was not seen
    Midstream,
}

impl Outcome {
    const fn asked(self) -> FlowOutcome {
        match self {
            Self::Unanswered => FlowOutcome::Unanswered,
            Self::Established => FlowOutcome::Established,
            Self::Refused => FlowOutcome::Refused,
            Self::Midstream => FlowOutcome::Midstream,
        }
    }
}

impl Execute for Flows {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let list = context.ask(&self.query())?;
        context.show(&list, |list, page| render(&list.answer, page))
    }
}

impl Flows {
    fn query(self) -> FlowQuery {
        FlowQuery {
            address: self.address,
            port: self.port,
            protocol: self.protocol,
            workload: self.workload,
            outcome: self.outcome.map(Outcome::asked),
            since: self.since.and_then(|Duration(since)| Timestamp::now().checked_sub(since).ok()),
            limit: self.number,
        }
    }
}

fn render(list: &FlowList, page: &mut Page) {
    let rows = list.flows.iter().map(|flow| {
        vec![
            flow.initiator.to_string(),
            flow.responder.to_string(),
            flow.protocol.clone(),
            flow.responder_port.to_string(),
            outcome(flow).to_owned(),
            if flow.open { "open".to_owned() } else { figures::count(flow.conversations) },
            figures::bytes(flow.forward.bytes),
            figures::bytes(flow.backward.bytes),
            figures::span(flow.last_seen.as_second().saturating_sub(flow.first_seen.as_second())),
            figures::ago(flow.last_seen, list.at),
            workload(flow),
        ]
    });
    let headings = [
        "FROM", "TO", "PROTOCOL", ">PORT", "OUTCOME", "~>ENDED", ">SENT", "~>ANSWERED", "~>LASTED", "~SEEN", "WORKLOAD",
    ];
    page.table(&headings, rows.collect(), "no conversation matches");
    let shown = u64::try_from(list.flows.len()).unwrap_or(u64::MAX);
    if list.matched > shown {
        page.line(format!("{shown} of {} shown; -n shows more", list.matched));
    }
}

/// The workload; the one who answers is told from the one who asks.
pub fn workload(flow: &Flow) -> String {
    let name = flow.workload.clone().unwrap_or_default();
    if flow.workload_end == Some(FlowEnd::Responder) { format!("{name} (answers)") } else { name }
}

pub const fn outcome(flow: &Flow) -> &'static str {
    match flow.outcome {
        FlowOutcome::Unanswered => "unanswered",
        FlowOutcome::Established => "established",
        FlowOutcome::Refused => "refused",
        FlowOutcome::Midstream => "midstream",
    }
}

#[cfg(test)]
mod tests {
    use super::{protocol, render};
    use crate::cli::table::Page;
    use crate::cli::samples::flow;
    use crate::cli::samples::noon;
    use crate::engine::command::{FlowEnd, FlowList};

    #[test]
    fn a_protocol_that_does_not_exist_is_refused_with_the_nearest() {
        assert_eq!(protocol("TCP").as_deref(), Ok("tcp"));
        assert_eq!(protocol("17").as_deref(), Ok("udp"));
        assert_eq!(protocol("47").as_deref(), Ok("47"));
        assert!(protocol("tpc").unwrap_err().contains("did you mean `tcp`"));
        assert!(protocol("something").unwrap_err().contains("or a number"));
    }

    #[test]
    fn a_conversation_is_one_row() {
        let mut page = Page::plain();
        render(&FlowList { at: noon(), matched: 1, flows: vec![flow()] }, &mut page);
        let text = page.text();
        let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let wanted = "10.0.0.5 10.0.0.9 tcp 443 established open 1.50 kB 30.0 kB 0 s just now backup.service";
        assert_eq!(row.join(" "), wanted);
    }

    #[test]
    fn a_workload_that_answers_is_told_so() {
        let mut page = Page::plain();
        let mut flow = flow();
        flow.workload_end = Some(FlowEnd::Responder);
        render(&FlowList { at: noon(), matched: 1, flows: vec![flow] }, &mut page);
        let text = page.text();
        assert!(text.contains("backup.service (answers)"), "{text}");
    }
}
