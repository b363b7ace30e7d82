//! `sluice audit`: who changed or tried what, and whether the chain of it is whole.

use std::path::PathBuf;

use api::Origin;
use api::audit::{AuditEntry, AuditHead, AuditKind, AuditQuery, AuditVerdict, VerifyAudit};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use policy::config::Duration;

use super::table::Page;
use super::{Context, Execute, Exit, Failure, figures, arguments};
use crate::store::audit;

/// Lists who changed or tried what, newest first, and checks the chain of it
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Audit {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Lists calls that change something, calls that were refused, and changes of the daemon's own
    List(List),
    /// Checks that no entry was changed, removed or put in; names the first that was
    Verify {
        /// Check the files in this state directory, without a daemon
        #[arg(long, value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
        /// An entry that must be in the chain, as an earlier check printed it
        #[arg(long, value_name = "NUMBER:SHA256", value_parser = head)]
        head: Option<AuditHead>,
    },
}

#[derive(Clone, Debug, Args)]
struct List {
    /// Only entries of this time until now
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    since: Option<Duration>,
    /// How many
    #[arg(short = 'n', long = "number", default_value_t = 50, value_name = "N", value_parser = arguments::count)]
    number: usize,
}

fn head(text: &str) -> Result<AuditHead, String> {
    let (number, sha256) = text.split_once(':').ok_or("write NUMBER:SHA256")?;
    let number = number.parse().map_err(|_| format!("`{number}` is no number of an entry"))?;
    if sha256.len() != 64 || !sha256.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(format!("`{sha256}` is no SHA-256: it has 64 hexadecimal digits"));
    }
    Ok(AuditHead { number, sha256: sha256.to_ascii_lowercase() })
}

impl Execute for Audit {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            None => list(&self.list, context),
            Some(Action::List(chosen)) => list(&chosen, context),
            Some(Action::Verify { directory, head }) => verify(directory, head, context),
        }
    }
}

fn list(List { since, number }: &List, context: &Context) -> Result<(), Failure> {
    let since = since.and_then(|Duration(since)| Timestamp::now().checked_sub(since).ok());
    let mut page = context.ask(&AuditQuery { limit: *number, before: None, since })?;
    // Long entries make short pages.
    while let Some(before) = page.answer.next
        && let Some(more @ 1..) = number.checked_sub(page.answer.entries.len())
    {
        let rest = context.ask(&AuditQuery { limit: more, before: Some(before), since })?;
        page.answer.entries.extend(rest.answer.entries);
        page.answer.next = rest.answer.next;
    }
    context.show(&page, |answer, page| render(&answer.answer.entries, page))
}

/// Of a daemon that runs, or of files.
fn verify(directory: Option<PathBuf>, head: Option<AuditHead>, context: &Context) -> Result<(), Failure> {
    let verdict = if let Some(directory) = directory {
        let verdict = audit::verify(&directory, head.as_slice(), false);
        verdict.map_err(|error| Failure::new(Exit::Failed, format!("audit verify: {error:#}")))?
    } else {
        let (number, sha256) = head.map(|head| (head.number, head.sha256)).unzip();
        context.ask(&VerifyAudit { number, sha256 })?.answer
    };
    context.show(&verdict, render_verdict)?;
    match &verdict.broken {
        None => Ok(()),
        Some(broken) => Err(Failure::new(
            Exit::Broken,
            format!(
                "audit verify: entry {} ({}) breaks the chain: {}; keep the files, and compare them with a copy",
                broken.number, broken.place, broken.why
            ),
        )),
    }
}

fn render(entries: &[AuditEntry], page: &mut Page) {
    let rows = entries.iter().map(|entry| {
        vec![
            entry.number.to_string(),
            figures::moment(entry.at),
            by(entry),
            entry.outcome.clone(),
            what(entry),
        ]
    });
    page.table(&[">NUMBER", "AT", "BY", "OUTCOME", "WHAT"], rows.collect(), "nothing was written");
}

fn by(entry: &AuditEntry) -> String {
    match (entry.origin, &entry.user) {
        (Origin::Socket { uid, .. }, Some(user)) => format!("{user} (uid {uid})"),
        (Origin::Timer, _) => "sluice".to_owned(),
        (origin, _) => origin.made_by(),
    }
}

fn what(entry: &AuditEntry) -> String {
    let mut told = entry.what.clone();
    let changes = entry.changes.iter().filter(|_| entry.kind != AuditKind::Change);
    for detail in changes.map(|change| &change.what).chain(&entry.detail) {
        told = format!("{told}: {detail}");
    }
    told
}

fn render_verdict(verdict: &AuditVerdict, page: &mut Page) {
    page.field("entries", verdict.entries.to_string());
    if let (Some(first), Some(head)) = (verdict.first, &verdict.head) {
        page.field("from", format!("{first} to {}", head.number));
        page.field("head", format!("{}:{}", head.number, head.sha256));
    }
    page.field("gaps", verdict.gaps.to_string());
    page.field("chain", if verdict.broken.is_none() { "whole" } else { "broken" });
}

#[cfg(test)]
mod tests {
    use api::audit::{AuditChange, AuditEntry, AuditKind};
    use api::Origin;

    use super::{head, render};
    use crate::cli::table::Page;

    #[test]
    fn an_entry_says_who_did_what_and_what_came_of_it() {
        let entry = AuditEntry {
            number: 7,
            at: "2026-11-22T12:00:00Z".parse().unwrap(),
            kind: AuditKind::Call,
            user: Some("alice".to_owned()),
            origin: Origin::Socket { uid: 1000, gid: 100, pid: 7 },
            what: "access add".to_owned(),
            outcome: "done".to_owned(),
            detail: None,
            request: None,
            changes: vec![AuditChange {
                number: Some(3),
                what: "deny 10.0.0.1".to_owned(),
                before: serde_json::Value::Null,
                after: serde_json::Value::Null,
            }],
            missing: None,
            previous: String::new(),
            sha256: String::new(),
        };
        let refused = AuditEntry {
            number: 8,
            kind: AuditKind::Refused,
            user: None,
            what: "detach".to_owned(),
            outcome: "not_permitted".to_owned(),
            detail: Some("it needs the role admin".to_owned()),
            changes: Vec::new(),
            ..entry.clone()
        };
        let mut page = Page::plain();
        render(&[refused, entry], &mut page);
        let wanted = "\
NUMBER  AT                    BY                OUTCOME        WHAT
     8  2026-11-22 12:00:00Z  uid 1000          not_permitted  detach: it needs the role admin
     7  2026-11-22 12:00:00Z  alice (uid 1000)  done           access add: deny 10.0.0.1
";
        assert_eq!(page.text(), wanted);
    }

    #[test]
    fn a_head_is_a_number_and_a_digest() {
        let digits = "ab".repeat(32);
        assert_eq!(head(&format!("7:{digits}")).unwrap().number, 7);
        for wrong in ["7", "x:00", "7:abc", &format!("7:{}", "zz".repeat(32))] {
            assert!(head(wrong).is_err(), "{wrong}");
        }
    }
}
