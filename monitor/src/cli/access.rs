//! `sluice access`: who is exempt, denied or banned.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use jiff::Timestamp;

use super::change::{ChangeArgs, render as render_change};
use super::sources::address;
use super::table::Page;
use super::{Context, Execute, Exit, Failure, figures, arguments};
use policy::config::Duration;
use api::access::{AccessAdd, AccessEntry, AccessImport, AccessKind, AccessList, AccessRemove, ListAccess};
use api::schema::parse_prefix;
use crate::snapshot::Ban;

/// Exempts, denies and bans
#[derive(Clone, Debug, Args)]
pub struct Access {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Lists exemptions, denials and bans
    List,
    /// Never drops a prefix; it is still counted and judged
    Exempt(Entry),
    /// Drops a prefix whatever it sends
    Deny(Entry),
    /// Drops a source for a time
    Ban(Entry),
    /// Takes back an exemption
    Unexempt(Removal),
    /// Takes back a denial
    Undeny(Removal),
    /// Takes back a ban
    Unban(Removal),
    /// Denies, or exempts, every prefix of a file as one change; the operator's own networks are left out
    Import(Import),
}

#[derive(Clone, Debug, Args)]
struct Import {
    /// One prefix, address or range a line; `-` reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Exempt them instead
    #[arg(long)]
    exempt: bool,
    /// Only say what would be taken, and what skipped
    #[arg(long)]
    dry_run: bool,
    /// How long, as in 12h [default: until the daemon restarts; `access.lists` of the configuration keeps lists]
    #[arg(long = "for", value_name = "TIME", value_parser = arguments::time)]
    duration: Option<Duration>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Clone, Debug, Args)]
struct Entry {
    /// An address, or a prefix as in 10.0.0.0/8
    #[arg(value_parser = parse_prefix, value_name = "ADDRESS")]
    prefix: IpNet,
    /// How long, as in 1h [default: for ever; bans: 10m]
    #[arg(long = "for", value_name = "TIME", value_parser = arguments::time)]
    duration: Option<Duration>,
    /// Why, for those who read the list later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Clone, Debug, Args)]
struct Removal {
    /// An address, or a prefix as in 10.0.0.0/8
    #[arg(value_parser = parse_prefix, value_name = "ADDRESS")]
    prefix: IpNet,
    #[command(flatten)]
    change: ChangeArgs,
}

impl Execute for Access {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::List => {
                let lists = context.ask(&ListAccess {})?;
                context.show(&lists, |lists, page| render(&lists.answer, Timestamp::now(), page))
            }
            Action::Exempt(entry) => put_in(context, AccessKind::Exempt, entry),
            Action::Deny(entry) => put_in(context, AccessKind::Deny, entry),
            Action::Ban(entry) => put_in(context, AccessKind::Ban, entry),
            Action::Unexempt(removal) => take_out(context, AccessKind::Exempt, &removal),
            Action::Undeny(removal) => take_out(context, AccessKind::Deny, &removal),
            Action::Unban(removal) => take_out(context, AccessKind::Ban, &removal),
            Action::Import(import) => take_over(context, &import),
        }
    }
}

fn put_in(context: &Context, kind: AccessKind, entry: Entry) -> Result<(), Failure> {
    // Less than a second is no time: it would be over before it began.
    let for_seconds = entry.duration.map(|Duration(time)| time.as_secs().max(1));
    let add = AccessAdd { kind, prefix: entry.prefix, for_seconds, comment: entry.reason };
    context.change(&add, &entry.change)
}

fn take_out(context: &Context, kind: AccessKind, removal: &Removal) -> Result<(), Failure> {
    context.change(&AccessRemove { kind, prefix: removal.prefix }, &removal.change)
}

fn take_over(context: &Context, import: &Import) -> Result<(), Failure> {
    let name = import.file.display().to_string();
    let bytes = if name == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(&import.file)
    };
    // A name in Latin-1 in a comment spoils no list.
    let text = bytes.map(|bytes| {
        String::from_utf8(bytes).unwrap_or_else(|other| other.as_bytes().iter().copied().map(char::from).collect())
    });
    let text = text.map_err(|error| {
        let exit =
            if error.kind() == ErrorKind::PermissionDenied { Exit::NotPermitted } else { Exit::Failed };
        Failure::new(exit, format!("access import: read {name}: {error}; name a text file of prefixes"))
    })?;
    let kind = if import.exempt { AccessKind::Exempt } else { AccessKind::Deny };
    let for_seconds = import.duration.map(|Duration(time)| time.as_secs().max(1));
    let list = AccessImport { name, kind, text, dry_run: import.dry_run, for_seconds };
    let applied = context.ask_with(&list, &import.change.options())?;
    context.show(&applied, |applied, page| {
        if import.dry_run {
            page.line("a dry run: nothing was changed");
        }
        render_change(&applied.answer, page);
    })
}

pub fn render(lists: &AccessList, now: Timestamp, page: &mut Page) {
    let entries = |kind: AccessKind, entries: &[AccessEntry]| -> Vec<Vec<String>> {
        entries.iter().map(|entry| entry_row(kind, entry, now)).collect()
    };
    let mut rows = entries(AccessKind::Exempt, &lists.exempt);
    rows.extend(entries(AccessKind::Deny, &lists.denied));
    rows.extend(lists.banned.iter().map(|ban| ban_row(ban, now)));
    let headings = ["LIST", "ADDRESS", "ENDS", ">DROPPED", "~>STRIKES", "~FROM", "WHY"];
    page.table(&headings, rows, "nobody is exempt, denied or banned");
}

fn entry_row(kind: AccessKind, entry: &AccessEntry, now: Timestamp) -> Vec<String> {
    let dropped =
        if kind == AccessKind::Exempt { "-".to_owned() } else { figures::count(entry.dropped.packets) };
    vec![
        kind.label().to_owned(),
        address(&entry.prefix),
        ends(entry.until, now),
        dropped,
        "-".to_owned(),
        entry.origin.clone(),
        entry.comment.clone().unwrap_or_default(),
    ]
}

fn ban_row(ban: &Ban, now: Timestamp) -> Vec<String> {
    let at_service = ban.service.as_ref().map(|service| format!("violations at {service}"));
    vec![
        AccessKind::Ban.label().to_owned(),
        address(&ban.source),
        ends(ban.until, now),
        figures::count(ban.dropped.packets),
        ban.strikes.to_string(),
        ban.made_by.clone(),
        ban.comment.clone().or(at_service).unwrap_or_default(),
    ]
}

fn ends(until: Option<Timestamp>, now: Timestamp) -> String {
    until.map_or_else(|| "never".to_owned(), |until| figures::until(until, now))
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::cli::table::Page;
    use crate::cli::samples::{ban, noon};
    use crate::engine::command::{AccessEntry, AccessList};
    use crate::snapshot::Count;

    #[test]
    fn the_lists_stand_in_one_table() {
        let exempt = AccessEntry {
            prefix: "10.0.0.0/8".parse().unwrap(),
            until: None,
            comment: Some("the office".to_owned()),
            origin: "config".to_owned(),
            dropped: Count::default(),
        };
        let lists = AccessList { exempt: vec![exempt], denied: Vec::new(), banned: vec![ban()] };
        let mut page = Page::plain();
        render(&lists, noon(), &mut page);
        let wanted = "\
LIST    ADDRESS       ENDS       DROPPED  STRIKES  FROM    WHY
exempt  10.0.0.0/8    never            -        -  config  the office
ban     198.51.100.9  in 10 min        5        1  kernel  violations at web
";
        assert_eq!(page.text(), wanted);
    }
}
