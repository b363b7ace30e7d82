//! A capture through the kernel programs and the detectors: what would have been dropped, and what flagged.
//!
//! In: a capture file and a configuration. Out: a [`Report`], the same for the same file whenever and wherever it runs, and
//! notes for people. One thread reads and detects, another hands frames to the kernel. The programs are loaded and not
//! attached; nothing is pinned, no interface is touched, and the only clock is the capture's.

mod batch;
mod clock;
mod frames;
mod judge;
mod rules;
mod verdicts;

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use ipnet::IpNet;

use capture::{Capture, NoCapture};
use datapath::Kept;
use detection::finding::{Finding, Report};
use detection::ledger::ChangeKind;
use detection::{Detection, Learned};
use monitor_common::bucket::UNITS_PER_NS;
use policy::config::Config;

use crate::core::feed;

use batch::{Batch, Seen, What};
use frames::Frames;
use judge::{Ended, Judge};
use rules::Standing;
use verdicts::Verdicts;

/// Batches between reading and judging: enough that neither waits for the other's pauses.
const UNDER_WAY: usize = 8;

/// Under which rules a capture is judged.
#[derive(Clone, Debug)]
pub struct Options {
    pub config: Config,
    /// Instead of the configuration's `access.inside` (and loopback).
    pub inside: Option<Vec<IpNet>>,
    /// The file's size, to choose how much the table of conversations must hold; `None` when it is not known.
    pub file_bytes: Option<u64>,
}

impl Options {
    /// The daemon's own defaults.
    pub fn new(config: Config) -> Self {
        Self { config, inside: None, file_bytes: None }
    }
}

/// What came of a replay.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    pub report: Report,
    /// What people should know of how it was made: what could not be read, what was full.
    pub notes: Vec<String>,
    /// Records of conversations that the kernel made.
    pub records: u64,
}

/// Replays a capture. Loading the programs needs root or `CAP_BPF`, `CAP_NET_ADMIN` and `CAP_PERFMON`; a file that is no
/// capture, or of a link type that is not read, is a [`NoCapture`].
pub fn replay<R: Read>(file: R, options: &Options) -> Result<Replayed> {
    let capture = Capture::new(file)?;
    let standing = Standing::of(options, capture.is_compressed())?;
    let mut frames = Frames::new(capture)?;
    let mut watch = Watch::new(&standing);
    let (to_judge, from_reader) = sync_channel::<Batch>(UNDER_WAY);
    let (to_reader, from_judge) = channel::<Batch>();
    let ended = thread::scope(|scope| -> Result<Ended> {
        let standing = &standing;
        let judge = thread::Builder::new().name("judge".to_owned()).spawn_scoped(scope, move || {
            let mut judge = Judge::open(standing)?;
            for mut batch in from_reader {
                judge.judge(&mut batch)?;
                if to_reader.send(batch).is_err() {
                    break;
                }
            }
            judge.end()
        });
        let judge = judge.context("start a thread")?;
        let mut read = || -> Result<(), NoCapture> {
            let mut spare = Vec::new();
            loop {
                while let Ok(batch) = from_judge.try_recv() {
                    spare.push(watch.take(batch));
                }
                let mut batch = spare.pop().unwrap_or_default();
                let more = frames.fill(&mut batch)?;
                // A judge that gave up says why at the end.
                if to_judge.send(batch).is_err() || !more {
                    return Ok(());
                }
            }
        };
        let read = read();
        drop(to_judge);
        for batch in from_judge {
            watch.take(batch);
        }
        let judged = judge.join().map_err(|_| anyhow!("the judging thread panicked"))?;
        read?;
        judged
    })?;
    let notes = [standing.notes.clone(), frames.notes(), ended.notes(), watch.verdicts.notes()].concat();
    let (findings, verdicts, records) = watch.end(&ended);
    let report = Report {
        schema_version: Report::SCHEMA_VERSION,
        capture: frames.summary(),
        verdicts: verdicts.by_reason(),
        sources: verdicts.sources(),
        findings,
    };
    Ok(Replayed { report, notes, records })
}

/// Detection, and the counts of verdicts, along the capture.
#[derive(Debug)]
struct Watch<'a> {
    standing: &'a Standing,
    detection: Detection,
    verdicts: Verdicts,
    findings: BTreeMap<u64, Finding>,
    records: u64,
}

impl<'a> Watch<'a> {
    fn new(standing: &'a Standing) -> Self {
        let parameters = standing.rules.config.detectors();
        Self {
            standing,
            detection: Detection::new(&parameters, standing.inside.clone(), &Learned::default()),
            verdicts: Verdicts::new(
                standing.rules.config.source,
                Kept::under(&standing.image).idle / UNITS_PER_NS,
            ),
            findings: BTreeMap::new(),
            records: 0,
        }
    }

    /// Takes what came of a batch, and gives it back empty.
    fn take(&mut self, mut batch: Batch) -> Batch {
        let (mut counted, mut observed) = (0, 0);
        for moment in &batch.seen.moments {
            self.observe(&batch.seen, observed..moment.records);
            observed = moment.records;
            match &moment.what {
                What::Excess(source, at_ns) => feed::exceeding(&mut self.detection, [*source], *at_ns),
                What::Passed { times, frame } => {
                    self.verdicts.count(batch.frames.get(counted..*frame).unwrap_or_default());
                    counted = *frame;
                    self.second(*times.start());
                    times.clone().step_by(SECOND).for_each(|at_ns| self.detection.tick(at_ns));
                }
            }
        }
        self.observe(&batch.seen, observed..batch.seen.records.len());
        self.verdicts.count(batch.frames.get(counted..).unwrap_or_default());
        self.keep_findings();
        batch.clear();
        batch
    }

    fn observe(&mut self, seen: &Seen, which: Range<usize>) {
        let records = seen.records.get(which.clone()).unwrap_or_default();
        self.records += records.len() as u64;
        let times = seen.times.get(which).unwrap_or_default();
        let dated = records.iter().zip(times).map(|(record, at_ns)| (record, *at_ns, None));
        feed::records(&mut self.detection, dated);
    }

    /// A second of the capture is over: what services carried in it.
    fn second(&mut self, at_ns: u64) {
        let carried = self.verdicts.end_second(at_ns);
        feed::second(&mut self.detection, carried, &self.standing.image, at_ns);
    }

    fn keep_findings(&mut self) {
        for change in feed::changes(&mut self.detection) {
            if change.kind == ChangeKind::Retracted {
                self.findings.remove(&change.id);
            } else {
                self.findings.insert(change.id, change.finding);
            }
        }
    }

    /// The end of the capture: whatever lasts ends, whatever is waited for will not come.
    fn end(mut self, ended: &Ended) -> (Vec<Finding>, Verdicts, u64) {
        self.second(ended.at_ns);
        self.detection.tick(ended.at_ns);
        let last = ended.records.iter().map(|record| (record, ended.at_ns, None));
        feed::records(&mut self.detection, last);
        self.detection.finish();
        self.keep_findings();
        for (id, finding) in self.detection.open_findings() {
            self.findings.insert(id, finding.clone());
        }
        let records = self.records + ended.records.len() as u64;
        (self.findings.into_values().collect(), self.verdicts, records)
    }
}

/// A second in nanoseconds.
const SECOND: usize = 1_000_000_000;
