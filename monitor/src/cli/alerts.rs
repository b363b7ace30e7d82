//! `sluice alerts`: what detection found about insiders.

use std::collections::HashMap;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use ipnet::IpNet;
use jiff::Timestamp;

use super::change::ChangeArgs;
use super::context::{Output, print};
use super::table::{self, Page};
use super::{Context, Execute, Exit, Failure, figures, arguments};
use api::alerts::{
    Alert, AlertClose, AlertQuery, AlertShow, AlertSilence, AlertState, ListSilences, SilenceInForce, SilenceLift,
};
use api::incidents::Incident;
use api::schema::parse_prefix;
use detection::finding::{Detector, Severity};
use detection::parameters::Silence;
use policy::config;

/// Shows and handles findings
#[derive(Clone, Debug, Args)]
pub struct Alerts {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Lists findings, newest first
    List(Filter),
    /// Shows one finding with its evidence
    Show(Number),
    /// Prints findings as they are raised, grow and end
    Follow(Follow),
    /// Keeps findings quiet; they are still counted and kept
    Silence(Silencing),
    /// Lists the silences in force
    Silences,
    /// Lifts a silence
    Unsilence(Lifting),
    /// Closes a finding by hand
    Close(Number),
}

#[derive(Clone, Copy, Debug, Args)]
struct Lifting {
    /// Its number, as `sluice alerts silences` shows it
    #[arg(value_parser = arguments::number::<u64>)]
    number: u64,
}

#[derive(Clone, Debug, Args)]
struct Filter {
    /// Only those that are open
    #[arg(long)]
    open: bool,
    /// Only of this detector
    #[arg(long, value_parser = detector, value_name = "NAME")]
    detector: Option<Detector>,
    /// Only at least as grave: info, warning or critical
    #[arg(long, value_parser = severity, value_name = "SEVERITY")]
    severity: Option<Severity>,
    /// Only subjects within this prefix
    #[arg(long, value_parser = parse_prefix, value_name = "PREFIX")]
    subject: Option<IpNet>,
    /// How many
    #[arg(short = 'n', long = "number", default_value_t = 50, value_name = "N", value_parser = arguments::count)]
    number: usize,
}

#[derive(Clone, Debug, Args)]
struct Follow {
    #[command(flatten)]
    filter: Filter,
    /// End after so many looks, a second apart
    #[arg(long, value_name = "N", value_parser = arguments::number::<u64>)]
    looks: Option<u64>,
}

#[derive(Clone, Copy, Debug, Args)]
struct Number {
    /// Its number, as `sluice alerts list` shows it
    #[arg(value_parser = arguments::number::<u64>)]
    number: u64,
}

#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["detector", "subject"])))]
struct Silencing {
    /// Of this detector only
    #[arg(long, value_parser = detector, value_name = "NAME")]
    detector: Option<Detector>,
    /// About subjects within this prefix only
    #[arg(long, value_parser = parse_prefix, value_name = "PREFIX")]
    subject: Option<IpNet>,
    /// Why, for those who wonder later
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How long; until it is lifted, if left out
    #[arg(long = "for", value_name = "TIME", value_parser = arguments::time)]
    duration: Option<config::Duration>,
    #[command(flatten)]
    change: ChangeArgs,
}

impl Execute for Alerts {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::List(filter) => {
                let list = context.ask(&filter.query(None))?;
                let now = Timestamp::now();
                context.show(&list, |list, page| {
                    render(&list.answer.alerts, now, page);
                    stories(&list.answer.incidents, page);
                })
            }
            Action::Show(Number { number }) => {
                let alert = context.ask(&AlertShow { number })?;
                context.show(&alert, |alert, page| details(&alert.answer, page))
            }
            Action::Follow(follow) => follow.run(context),
            Action::Silence(Silencing { detector, subject, reason, duration, change }) => {
                let for_seconds = duration.map(|config::Duration(time)| time.as_secs().max(1));
                context.change(&AlertSilence { detector, subject, reason, for_seconds }, &change)
            }
            Action::Silences => {
                let list = context.ask(&ListSilences {})?;
                context.show(&list, |list, page| silences(&list.answer.silences, page))
            }
            Action::Unsilence(Lifting { number }) => {
                context.change(&SilenceLift { number }, &ChangeArgs::default())
            }
            Action::Close(Number { number }) => {
                let alert = context.ask(&AlertClose { number })?;
                context.show(&alert, |alert, page| page.line(line(&alert.answer)))
            }
        }
    }
}

impl Filter {
    fn query(&self, since: Option<Timestamp>) -> AlertQuery {
        let Self { open, detector, severity, subject, number } = *self;
        AlertQuery { open, detector, severity, subject, since, limit: number }
    }
}

impl Follow {
    /// What is open at first, then every change: a second's findings may come twice, so what was told is remembered.
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut told: HashMap<u64, Timestamp> = HashMap::new();
        let mut since = None;
        let mut looks = self.looks;
        loop {
            let list = context.ask(&self.filter.query(since))?;
            for alert in list.answer.alerts.iter().rev() {
                since = since.max(Some(alert.updated));
                if told.insert(alert.id, alert.updated) != Some(alert.updated) {
                    tell(context.output, alert)?;
                }
            }
            // Older ones are not asked for again.
            told.retain(|_, updated| Some(*updated) >= since);
            looks = looks.map(|looks| looks.saturating_sub(1));
            if looks == Some(0) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

fn tell(output: Output, alert: &Alert) -> Result<(), Failure> {
    let text = match output {
        Output::Json => serde_json::to_string(alert)
            .map_err(|error| Failure::new(Exit::Failed, format!("show the finding: {error}")))?,
        Output::Table => table::clean(&line(alert)),
    };
    print(&(text + "\n"))
}

/// A finding in one line.
fn line(alert: &Alert) -> String {
    let finding = &alert.finding;
    let target = finding.target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
    format!(
        "{} #{} {} {} {} {}{target}: {}",
        figures::moment(alert.updated),
        alert.id,
        state(alert.state),
        finding.severity.label(),
        finding.detector.label(),
        finding.subject,
        measured(alert)
    )
}

pub fn measured(alert: &Alert) -> String {
    let finding = &alert.finding;
    let window = figures::span(i64::try_from(finding.window_s).unwrap_or(i64::MAX));
    format!(
        "{} {} in {window} (threshold {})",
        number(finding.measured),
        finding.unit,
        number(finding.threshold)
    )
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn silences(silences: &[SilenceInForce], page: &mut Page) {
    let rows = silences.iter().map(|one| {
        let Silence { detector, subject, reason } = &one.silence;
        vec![
            one.number.to_string(),
            detector.map_or("any", |detector| detector.label()).to_owned(),
            subject.map_or_else(|| "any".to_owned(), |subject| subject.to_string()),
            one.until.map_or_else(|| "lifted".to_owned(), figures::moment),
            if one.saved { "yes".to_owned() } else { "no".to_owned() },
            one.made_by.clone(),
            reason.clone(),
        ]
    });
    let headings = [">NUMBER", "DETECTOR", "SUBJECT", "UNTIL", "~SAVED", "~BY", "REASON"];
    page.table(&headings, rows.collect(), "nothing is silenced by hand");
}

const fn state(state: AlertState) -> &'static str {
    match state {
        AlertState::Open => "open",
        AlertState::Closed => "closed",
        AlertState::Retracted => "retracted",
    }
}

pub fn render(alerts: &[Alert], now: Timestamp, page: &mut Page) {
    let rows = alerts.iter().map(|alert| {
        let finding = &alert.finding;
        vec![
            alert.id.to_string(),
            state(alert.state).to_owned(),
            finding.severity.label().to_owned(),
            finding.detector.label().to_owned(),
            finding.subject.clone(),
            finding.target.clone().unwrap_or_default(),
            measured(alert),
            figures::ago(alert.updated, now),
            if alert.quiet { "quiet".to_owned() } else { String::new() },
        ]
    });
    let headings =
        [">NUMBER", "STATE", "SEVERITY", "DETECTOR", "SUBJECT", "TARGET", "MEASURED", "~UPDATED", "~"];
    page.table(&headings, rows.collect(), "nothing was found");
}

/// What findings tell together, under them.
fn stories(incidents: &[Incident], page: &mut Page) {
    if incidents.is_empty() {
        return;
    }
    page.blank();
    let rows = incidents.iter().map(|incident| {
        let story: Vec<&str> = incident.story.iter().map(|chapter| chapter.detector.label()).collect();
        let numbers: Vec<String> = incident.alerts.iter().map(u64::to_string).collect();
        vec![
            incident.subject.clone(),
            incident.severity.label().to_owned(),
            incident.score.to_string(),
            story.join(", "),
            incident.techniques.join(" "),
            numbers.join(" "),
        ]
    });
    page.table(&["INCIDENT", "SEVERITY", ">SCORE", "STORY", "ATT&CK", "~FINDINGS"], rows.collect(), "");
}

pub fn details(alert: &Alert, page: &mut Page) {
    let finding = &alert.finding;
    page.field("finding", format!("{}, {}", alert.id, state(alert.state)));
    page.field("detector", format!("{}, {}", finding.detector.label(), finding.severity.label()));
    page.field("subject", &finding.subject);
    if let Some(target) = &finding.target {
        page.field("target", target);
    }
    if let Some(service) = &finding.service {
        page.field("service", format!("{} {}", service.protocol, service.port));
    }
    page.field("measured", measured(alert));
    page.field("confidence", figures::percent(finding.confidence));
    page.field("raised", figures::moment(finding.raised_at));
    let (first, last) = (figures::moment(finding.first_seen), figures::moment(finding.last_seen));
    page.field("seen", format!("from {first} to {last}"));
    for (name, value) in &finding.evidence {
        page.field(name, value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned));
    }
    page.field("to contain it", &finding.containment);
}

fn detector(name: &str) -> Result<Detector, String> {
    let labels = || Detector::ALL.iter().map(|detector| detector.label());
    Detector::ALL.into_iter().find(|detector| detector.label() == name).ok_or_else(|| {
        policy::config::nearest(name, labels()).map_or_else(
            || format!("there is no such detector; there are {}", labels().collect::<Vec<_>>().join(", ")),
            |meant| format!("there is no such detector; did you mean `{meant}`?"),
        )
    })
}

fn severity(name: &str) -> Result<Severity, String> {
    let found = Severity::ALL.into_iter().find(|severity| severity.label() == name);
    found.ok_or_else(|| "say info, warning or critical".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{details, render};
    use crate::cli::table::Page;
    use crate::cli::samples::alert;
    use crate::cli::samples::noon;

    #[test]
    fn a_list_says_what_was_measured_against_which_threshold() {
        let mut page = Page::plain();
        render(&[alert()], noon(), &mut page);
        let wanted = "\
NUMBER  STATE  SEVERITY  DETECTOR   SUBJECT   TARGET    MEASURED                            UPDATED
     3  open   warning   port_scan  10.0.0.5  10.0.0.9  57 ports in 5 min (threshold 15)  just now
";
        assert_eq!(page.text().replace("  ", " ").replace("  ", " "), wanted.replace("  ", " ").replace("  ", " "));
    }

    #[test]
    fn one_finding_shows_its_evidence_and_how_to_contain_it() {
        let mut page = Page::plain();
        details(&alert(), &mut page);
        let text = page.text();
        for wanted in ["backup.service", "[22,23,25]", "99 %", "sluice access deny 10.0.0.5 --for 10m", "tcp 22"] {
            assert!(text.contains(wanted), "{text}");
        }
    }
}
