//! `sluice posture`: what each service speaks and how much of it is encrypted, as a table, JSON or CSV.

use std::fmt::Write as _;

use clap::Args;

use super::context::print;
use super::table::Page;
use super::{Context, Execute, Failure, figures};
use crate::snapshot::ServiceConnections;
use api::posture::{ServicePosture, ShowPosture};
use jiff::Timestamp;
use policy::config::Mode;

/// Shows what each service speaks and how much of it is encrypted, least encrypted first
#[derive(Clone, Copy, Debug, Args)]
pub struct Posture {
    /// As comma-separated values with a heading
    #[arg(long)]
    csv: bool,
}

impl Execute for Posture {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let posture = context.ask(&ShowPosture {})?;
        if self.csv {
            return print(&csv(&posture.answer.services));
        }
        context.show(&posture, |posture, page| {
            render(&posture.answer.services, posture.answer.at, page);
            checked(&posture.answer.checked, page);
        })
    }
}

fn render(services: &[ServicePosture], at: Timestamp, page: &mut Page) {
    let rows = services.iter().map(|service| {
        vec![
            service.server.to_string(),
            service.protocol.clone(),
            service.port.to_string(),
            joined(&service.applications),
            service.conversations.to_string(),
            percent(service),
            joined(service.versions.keys()),
            if service.credentials_in_clear > 0 { service.credentials_in_clear.to_string() } else { String::new() },
            service.clear_since.map_or_else(String::new, |since| figures::ago(since, at)),
            joined(&service.clear_clients),
        ]
    });
    let headings = [
        "SERVER", "PROTOCOL", ">PORT", "SPEAKS", "~>CONVERSATIONS", ">ENCRYPTED", "~TLS", ">PASSWORDS", "~CLEAR SINCE",
        "~CLEAR BY",
    ];
    page.table(&headings, rows.collect(), "no service was seen to speak");
}

/// What the rules say of encryption, and what came of it.
fn checked(services: &[ServiceConnections], page: &mut Page) {
    let asked = services.iter().filter(|service| service.encryption != Mode::Off);
    let rows: Vec<_> = asked
        .map(|service| {
            vec![
                service.service.clone(),
                service.encryption.label().to_owned(),
                service.open.to_string(),
                service.encrypted.to_string(),
                service.in_clear.to_string(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        page.blank();
        page.table(&["SERVICE", "ENCRYPTION", ">OPEN", ">ENCRYPTED", ">IN CLEAR"], rows, "");
    }
}

fn percent(service: &ServicePosture) -> String {
    service.share_encrypted.map_or_else(|| "unknown".to_owned(), |share| format!("{:.0} %", share * 100.0))
}

fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}

/// RFC 4180; lists are separated by spaces.
fn csv(services: &[ServicePosture]) -> String {
    let mut text = "server,protocol,port,workload,applications,conversations,encrypted,in_clear,share_encrypted,versions,\
                    credentials_in_clear,clear_since,clear_until,clear_clients\r\n"
        .to_owned();
    for service in services {
        let versions = service.versions.iter().map(|(version, count)| format!("{version}={count}"));
        let moment = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.to_string());
        let fields = [
            service.server.to_string(),
            service.protocol.clone(),
            service.port.to_string(),
            service.workload.clone().unwrap_or_default(),
            joined(&service.applications),
            service.conversations.to_string(),
            service.encrypted.to_string(),
            service.in_clear.to_string(),
            service.share_encrypted.map_or_else(String::new, |share| share.to_string()),
            joined(versions),
            service.credentials_in_clear.to_string(),
            moment(service.clear_since),
            moment(service.clear_until),
            joined(&service.clear_clients),
        ];
        // Writing to a String cannot fail.
        let _ = write!(text, "{}\r\n", fields.map(|field| quoted(&field)).join(","));
    }
    text
}

/// A field with its quotes, where it needs them; one that a spreadsheet would take for a formula is no formula.
fn quoted(field: &str) -> String {
    let field: String = field.chars().filter(|c| !c.is_control()).collect();
    let field = if field.starts_with(['=', '+', '-', '@']) { format!("'{field}") } else { field };
    if field.contains([',', '"', ' ']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples::noon;

    fn services() -> Vec<ServicePosture> {
        let clear = ServicePosture {
            server: "10.0.0.9".parse().unwrap(),
            protocol: "tcp".to_owned(),
            port: 5432,
            workload: None,
            applications: ["postgresql".to_owned()].into(),
            conversations: 1,
            encrypted: 0,
            in_clear: 1,
            share_encrypted: Some(0.0),
            versions: [].into(),
            credentials_in_clear: 1,
            clear_since: Some(noon()),
            clear_until: Some(noon()),
            clear_clients: ["10.0.0.5".parse().unwrap()].into(),
        };
        let tls = ServicePosture {
            port: 443,
            applications: ["tls".to_owned()].into(),
            encrypted: 1,
            in_clear: 0,
            share_encrypted: Some(1.0),
            versions: [("tls1.3".to_owned(), 1)].into(),
            credentials_in_clear: 0,
            clear_since: None,
            clear_until: None,
            clear_clients: [].into(),
            ..clear.clone()
        };
        vec![clear, tls]
    }

    #[test]
    fn a_service_is_one_row() {
        let mut page = Page::plain();
        render(&services(), noon(), &mut page);
        let text = page.text();
        let rows: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(rows[1], "10.0.0.9 tcp 5432 postgresql 1 0 % 1 just now 10.0.0.5");
        assert_eq!(rows[2], "10.0.0.9 tcp 443 tls 1 100 % tls1.3");
    }

    #[test]
    fn values_are_separated_by_commas_and_no_name_becomes_a_formula() {
        let mut all = services();
        all[0].workload = Some("=cmd(\"x\"),y".to_owned());
        let text = csv(&all);
        let lines: Vec<_> = text.split("\r\n").collect();
        assert!(lines[0].starts_with("server,protocol,port,"));
        assert_eq!(lines[0].split(',').count(), 14);
        assert!(lines[1].starts_with("10.0.0.9,tcp,5432,\"'=cmd(\"\"x\"\"),y\",postgresql,1,0,1,0,,1,"), "{}", lines[1]);
        assert!(lines[2].contains(",tls1.3=1,0,,,"), "{}", lines[2]);
    }
}
