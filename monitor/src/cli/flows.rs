//! `sluice flows`: the conversations of insiders as they stand, and those that ended within the last hour.

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use jiff::Timestamp;
use monitor_common::application;
use policy::config::{Duration, nearest};

use super::table::Page;
use super::{Context, Execute, Failure, figures, arguments};
use api::flows::{Flow, FlowEncryption, FlowEnd, FlowList, FlowOutcome, FlowQuery};
use api::schema::parse_prefix;

/// Lists conversations with an inside end, open or ended within the last hour, most bytes first
#[derive(Clone, Debug, Args)]
pub struct Flows {
    /// Only with an end within this prefix
    #[arg(long, value_parser = parse_prefix, value_name = "PREFIX")]
    address: Option<IpNet>,
    /// Only with this port of the one who answers
    #[arg(long, value_name = "PORT", value_parser = arguments::port)]
    port: Option<u16>,
    /// Only this protocol, by name or number
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    protocol: Option<String>,
    /// Only what speaks this, by the first bytes each way
    #[arg(long, value_name = "NAME", value_parser = application)]
    application: Option<String>,
    /// Only conversations that are encrypted like this
    #[arg(long, value_enum)]
    encryption: Option<Encryption>,
    /// Only workloads whose name contains this
    #[arg(long, value_name = "TEXT")]
    workload: Option<String>,
    /// Only conversations that stand like this
    #[arg(long, value_enum)]
    outcome: Option<Outcome>,
    /// Only with a packet within this time
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    since: Option<Duration>,
    /// How many
    #[arg(short = 'n', long = "number", default_value_t = 50, value_name = "N", value_parser = arguments::count)]
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

/// What is spoken, by its name; another one is an error with the nearest.
fn application(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    let names = application::protocol::ALL.iter().map(|(_, label)| *label);
    if names.clone().any(|known| known == name) {
        return Ok(name);
    }
    Err(match nearest(&name, names.clone()) {
        Some(near) => format!("`{text}` is not recognised; did you mean `{near}`?"),
        None => {
            format!("`{text}` is not recognised; write one of {}", names.collect::<Vec<_>>().join(", "))
        }
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Encryption {
    /// No data yet, or nothing that is known
    Unknown,
    /// In clear
    Clear,
    /// By the protocol itself, as SSH and QUIC are
    Native,
    /// TLS from the first byte
    Tls,
    /// Began in clear and went over to TLS
    Upgraded,
}

impl Encryption {
    const fn asked(self) -> FlowEncryption {
        match self {
            Self::Unknown => FlowEncryption::Unknown,
            Self::Clear => FlowEncryption::Clear,
            Self::Native => FlowEncryption::Native,
            Self::Tls => FlowEncryption::Tls,
            Self::Upgraded => FlowEncryption::Upgraded,
        }
    }
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
            application: self.application,
            encryption: self.encryption.map(Encryption::asked),
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
            spoken(flow),
            if flow.open { "open".to_owned() } else { figures::count(flow.conversations) },
            figures::bytes(flow.forward.bytes),
            figures::bytes(flow.backward.bytes),
            figures::span(flow.last_seen.as_second().saturating_sub(flow.first_seen.as_second())),
            figures::ago(flow.last_seen, list.at),
            workload(flow),
        ]
    });
    let headings = [
        "FROM", "TO", "PROTOCOL", ">PORT", "OUTCOME", "SPEAKS", "~>ENDED", ">SENT", "~>ANSWERED", "~>LASTED", "~SEEN", "WORKLOAD",
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

/// What is spoken and how it is encrypted, in a word or two.
fn spoken(flow: &Flow) -> String {
    let name = match flow.application.as_str() {
        "none" | "" => return String::new(),
        name => name,
    };
    let how = match (flow.encryption, &flow.tls_version) {
        (FlowEncryption::Clear, _) if flow.credentials_in_clear => " in clear, password too".to_owned(),
        (FlowEncryption::Clear, _) if flow.signed => " signed".to_owned(),
        (FlowEncryption::Clear, _) => " in clear".to_owned(),
        (FlowEncryption::Native, _) if name == "smb" => " encrypted".to_owned(),
        (FlowEncryption::Unknown | FlowEncryption::Native, _) | (FlowEncryption::Tls, None) => String::new(),
        (FlowEncryption::Tls, Some(version)) => return version.clone(),
        (FlowEncryption::Upgraded, None) => " over tls".to_owned(),
        (FlowEncryption::Upgraded, Some(version)) => format!(" over {version}"),
    };
    format!("{name}{how}")
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
    use super::{application, protocol, render, spoken};
    use crate::cli::table::Page;
    use crate::cli::samples::flow;
    use crate::cli::samples::noon;
    use crate::engine::command::{Flow, FlowEncryption, FlowEnd, FlowList};

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
        let wanted = "10.0.0.5 10.0.0.9 tcp 443 established tls1.3 open 1.50 kB 30.0 kB 0 s just now backup.service";
        assert_eq!(row.join(" "), wanted);
    }

    #[test]
    fn what_is_spoken_is_a_word_and_what_is_in_clear_is_named_so() {
        let of = |application: &str, encryption, version: Option<&str>, credentials_in_clear| {
            let application = application.to_owned();
            let tls_version = version.map(str::to_owned);
            spoken(&Flow { application, encryption, tls_version, credentials_in_clear, ..flow() })
        };
        assert_eq!(of("none", FlowEncryption::Unknown, None, false), "");
        assert_eq!(of("binary", FlowEncryption::Unknown, None, false), "binary");
        assert_eq!(of("http", FlowEncryption::Clear, None, false), "http in clear");
        assert_eq!(of("ftp", FlowEncryption::Clear, None, true), "ftp in clear, password too");
        assert_eq!(of("ssh", FlowEncryption::Native, None, false), "ssh");
        assert_eq!(of("smb", FlowEncryption::Native, None, false), "smb encrypted");
        assert_eq!(of("smtp", FlowEncryption::Upgraded, Some("tls1.2"), false), "smtp over tls1.2");
        assert_eq!(application("TLS").as_deref(), Ok("tls"));
        assert!(application("htpp").unwrap_err().contains("did you mean `http`"));
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
