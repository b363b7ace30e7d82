//! `sluice replay`: a capture file through the kernel programs and the detectors, without a daemon.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ipnet::IpNet;

use super::config::read_file;
use super::table::Page;
use super::{Context, Execute, Exit, Failure, figures};
use capture::NoCapture;
use policy::config::Config;
use api::schema::parse_prefix;
use detection::finding::{Finding, Report};
use crate::replay::{Options, replay};

/// Sources that the table shows.
const SOURCES: usize = 10;

/// Says what would have been dropped, and flagged, in a capture file
#[derive(Clone, Debug, Args)]
pub struct Replay {
    /// A pcap or pcapng file, compressed with gzip or not; `-` is standard input
    #[arg(required_unless_present = "inside")]
    file: Option<PathBuf>,
    /// Networks within the trust boundary, instead of those of the configuration; may be repeated
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "PREFIX")]
    inside: Vec<String>,
    /// The configuration whose limits, services and detectors judge [default: the embedded default, which drops nothing]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Replay {
    /// The file, and who is inside. A file behind `--inside` is taken for one more network by the grammar.
    fn file_and_inside(mut self) -> Result<(PathBuf, Option<Vec<IpNet>>), Failure> {
        let usage = |what: String| Failure::new(Exit::Usage, what);
        let behind = |inside: &mut Vec<String>| inside.pop().filter(|last| parse_prefix(last).is_err());
        let file = self.file.take().or_else(|| behind(&mut self.inside).map(PathBuf::from));
        let file = file.ok_or_else(|| usage("name a capture file".to_owned()))?;
        let inside: Result<Vec<_>, _> = self.inside.iter().map(|text| parse_prefix(text)).collect();
        let inside = inside.map_err(|why| usage(format!("--inside: {why}")))?;
        Ok((file, (!inside.is_empty()).then_some(inside)))
    }
}

impl Execute for Replay {
    fn execute(self, context: &Context) -> Result<(), Failure> {
        let config = match &self.config {
            Some(file) => read_file(file)?,
            None => Config::embedded(),
        };
        let (path, inside) = self.file_and_inside()?;
        let shown = path.display().to_string();
        let (file, file_bytes) = open(&path)?;
        let bar = bar(file_bytes);
        let options = Options { inside, file_bytes, ..Options::new(config) };
        let replayed = replay(bar.wrap_read(file), &options);
        bar.finish_and_clear();
        let replayed = replayed.map_err(|error| match error.downcast_ref::<NoCapture>() {
            Some(NoCapture::Unreadable(error)) => unreadable(&shown, error),
            Some(other) => Failure::new(Exit::Invalid, format!("{shown} cannot be replayed: {other}")),
            None => Failure::of(&error.context(format!("replay {shown}"))),
        })?;
        for note in &replayed.notes {
            eprintln!("sluice: {shown}: {note}");
        }
        context.show(&replayed.report, render)
    }
}

/// Opens a file, and how long it is.
fn open(path: &Path) -> Result<(Box<dyn Read>, Option<u64>), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| unreadable(&shown, &error))?;
    let about = file.metadata().map_err(|error| unreadable(&shown, &error))?;
    let length = about.is_file().then_some(about.len());
    Ok((Box::new(file), length))
}

fn unreadable(shown: &str, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::NotPermitted,
        io::ErrorKind::NotFound => Exit::NotFound,
        _ => Exit::Invalid,
    };
    Failure::new(exit, format!("{shown} cannot be read: {error}"))
}

/// How far the file is read, on a terminal.
fn bar(length: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    let template = if length.is_some() {
        "{bar:40} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left"
    } else {
        "{spinner} {bytes}, {binary_bytes_per_sec}"
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn render(report: &Report, page: &mut Page) {
    let capture = &report.capture;
    let bytes = figures::bytes(capture.bytes);
    let skipped = if capture.skipped > 0 { format!(", {} skipped", capture.skipped) } else { String::new() };
    page.field("capture", format!("{} packets, {bytes}, {}{skipped}", capture.packets, capture.link_type));
    if let Some((first, last)) = capture.first.zip(capture.last) {
        let length = figures::span(last.as_second().saturating_sub(first.as_second()));
        page.field("time", format!("{} to {} ({length})", figures::moment(first), figures::moment(last)));
    }
    page.blank();
    let verdicts = report.verdicts.iter().map(|(reason, count)| {
        vec![
            reason.clone(),
            count.packets.to_string(),
            figures::bytes(count.bytes),
            count.would_drop.to_string(),
        ]
    });
    page.table(&["VERDICT", ">PACKETS", ">BYTES", ">WOULD DROP"], verdicts.collect(), "nothing was judged");
    page.blank();
    let findings = report.findings.iter().map(row_of_finding).collect();
    let headings = ["SEVERITY", "FINDING", "SUBJECT", "TARGET", "SERVICE", ">MEASURED", "~RAISED", "~CONTAINMENT"];
    page.table(&headings, findings, "no findings");
    page.blank();
    let sources = report.sources.iter().take(SOURCES).map(|source| {
        vec![
            source.address.to_string(),
            source.packets.to_string(),
            figures::bytes(source.bytes),
            source.dropped.to_string(),
            source.would_drop.to_string(),
        ]
    });
    let headings = ["SOURCE", ">PACKETS", ">BYTES", ">DROPPED", ">WOULD DROP"];
    page.table(&headings, sources.collect(), "no sources");
    if report.sources.len() > SOURCES {
        page.line(format!("the {SOURCES} with most packets; `-o json` lists {}", report.sources.len()));
    }
}

fn row_of_finding(finding: &Finding) -> Vec<String> {
    let service = finding.service.as_ref();
    vec![
        finding.severity.label().to_owned(),
        finding.detector.label().to_owned(),
        finding.subject.clone(),
        finding.target.clone().unwrap_or_default(),
        service.map(|service| format!("{}/{}", service.protocol, service.port)).unwrap_or_default(),
        format!("{} {}", (finding.measured * 100.0).round() / 100.0, finding.unit),
        figures::moment(finding.raised_at),
        finding.containment.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser as _;

    use super::{Replay, render};
    use crate::cli::table::Page;
    use crate::cli::samples::noon;
    use detection::finding::{CaptureSummary, Report, SourceCount, VerdictCount};

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        replay: Replay,
    }

    #[test]
    fn the_file_may_stand_before_and_behind_the_networks() {
        for line in [
            "f.pcap --inside 10.0.0.0/8 192.168.0.0/16",
            "f.pcap --inside 10.0.0.0/8,192.168.0.0/16",
            "--inside 10.0.0.0/8 192.168.0.0/16 f.pcap",
            "--inside 10.0.0.0/8 --inside 192.168.0.0/16 f.pcap",
            "--inside 10.0.0.0/8 --inside 192.168.0.0/16 -- f.pcap",
        ] {
            let parsed = Line::try_parse_from(std::iter::once("replay").chain(line.split(' '))).unwrap();
            let (file, inside) = parsed.replay.file_and_inside().unwrap();
            let inside: Vec<_> = inside.unwrap().iter().map(ToString::to_string).collect();
            assert_eq!((file.to_str(), inside.join(" ")), (Some("f.pcap"), "10.0.0.0/8 192.168.0.0/16".to_owned()));
        }
        let parsed = Line::try_parse_from(["replay", "f.pcap", "--inside", "everywhere"]).unwrap();
        assert!(parsed.replay.file_and_inside().unwrap_err().message.contains("everywhere"));
        let parsed = Line::try_parse_from(["replay", "--inside", "10.0.0.0/8"]).unwrap();
        assert!(parsed.replay.file_and_inside().unwrap_err().message.contains("name a capture file"));
        let parsed = Line::try_parse_from(["replay", "f.pcap"]).unwrap();
        assert_eq!(parsed.replay.file_and_inside().unwrap(), ("f.pcap".into(), None));
    }

    #[test]
    fn a_report_says_what_was_dropped_and_by_whom() {
        let count = VerdictCount { packets: 90, bytes: 9000, would_drop: 7 };
        let report = Report {
            schema_version: Report::SCHEMA_VERSION,
            capture: CaptureSummary {
                link_type: "ethernet".to_owned(),
                packets: 91,
                bytes: 9100,
                first: Some(noon()),
                last: Some(noon()),
                skipped: 1,
            },
            verdicts: BTreeMap::from([("packet_rate".to_owned(), count)]),
            sources: vec![SourceCount {
                address: "10.0.0.5".parse().unwrap(),
                packets: 90,
                bytes: 9000,
                dropped: 90,
                would_drop: 0,
            }],
            findings: Vec::new(),
        };
        let mut page = Page::plain();
        render(&report, &mut page);
        let text = page.text();
        for wanted in ["91 packets, 9.10 kB, ethernet, 1 skipped", "packet_rate", "no findings", "10.0.0.5"] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }
}
