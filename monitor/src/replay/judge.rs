//! Frames through the loaded programs, one after the other, on one CPU.
//!
//! In: batches of frames. Out: the verdict of each, and what else was seen on the way: the kernel's records in their order,
//! the seconds that went by. It does the daemon's housekeeping on the capture's clock.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use monitor_common::conversation::Record;
use monitor_common::record::Incident;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::Runtime;

use super::batch::{Batch, Seen, What};
use super::clock::{Clock, units_of};
use super::rules::Standing;
use super::verdicts::is_excess;
use datapath::{Conversations, Kept, Ring, Simulator, Sources, SweptTo};

const SECOND: u64 = 1_000_000_000;
/// Where frames seem to come in: a guarded interface.
const SLOT: u32 = 1;
/// The ring of records is emptied after so many frames at the latest.
const FRAMES_PER_LOOK: usize = 64;
const DRAINED: usize = 65_536;
/// How often idle conversations are looked for; later when there were few frames, because it walks the whole table.
const SWEEP_NS: u64 = 10 * SECOND;
const RARE_SWEEP_NS: u64 = 60 * SECOND;
const FRAMES_PER_SWEEP: u64 = 2048;
/// The same for sources, whose table is larger by far: few frames cannot fill it, and an idle entry limits nobody.
const SOURCES_SWEEP_NS: u64 = 60 * SECOND;
const RARE_SOURCES_SWEEP_NS: u64 = 3600 * SECOND;
/// Seconds of silence that pass one by one: whatever waits for an answer has waited long enough then.
const SILENT_SECONDS: u64 = 120;

/// The kernel side, and where it stands.
#[derive(Debug)]
pub struct Judge {
    simulator: Simulator,
    conversations: Conversations,
    records: Ring<Record>,
    sources: Sources,
    /// Nobody waits in it; a ring cannot be had without.
    _runtime: Runtime,
    clock: Clock,
    /// The last frame's time, in the capture's and in the kernel's nanoseconds.
    at_ns: u64,
    now: u64,
    /// The last second that went by.
    second: Option<u64>,
    swept: u64,
    sources_swept: u64,
    since_sweep: u64,
    frames_judged: u64,
    frames_at_sweep: u64,
    sources_kept: Kept,
    /// The last second in which a source was over its limit.
    exceeded: HashMap<IpAddr, u64>,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Conversations that lasted to the end.
    pub records: Vec<Record>,
    /// The last frame's time.
    pub at_ns: u64,
    incidents: Vec<u64>,
}

impl Judge {
    /// Loads the programs, and stays on one CPU: budgets are per CPU, and one CPU sees one order.
    pub fn open(standing: &Standing) -> Result<Self> {
        stay_on_one_cpu().context("keep a thread on one CPU")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("start what waits on rings")?;
        let entered = runtime.enter();
        let mut simulator = Simulator::open(standing.capacities, Some(standing.image.settings.hash_key))?;
        simulator.apply(&standing.image)?;
        simulator.come_through(SLOT)?;
        let records = simulator.take_records()?.context("the embedded kernel program reports no records")?;
        drop(entered);
        Ok(Self {
            conversations: simulator.conversations()?,
            records,
            sources: simulator.sources(),
            simulator,
            _runtime: runtime,
            clock: Clock::default(),
            at_ns: 0,
            now: 0,
            second: None,
            swept: 0,
            sources_swept: 0,
            since_sweep: 0,
            frames_judged: 0,
            frames_at_sweep: 0,
            sources_kept: Kept::under(&standing.image),
            exceeded: HashMap::new(),
        })
    }

    /// Judges every frame of a batch.
    pub fn judge(&mut self, batch: &mut Batch) -> Result<()> {
        let Batch { bytes, frames, seen } = batch;
        for (number, frame) in frames.iter_mut().enumerate() {
            if number.is_multiple_of(FRAMES_PER_LOOK) || !self.clock.continues(frame.at_ns) {
                self.drain(seen);
            }
            self.move_on(frame.at_ns, number, seen)?;
            let bytes = bytes.get(frame.start..frame.end).unwrap_or_default();
            let verdict = self.simulator.run(bytes, units_of(self.now))?;
            if let Some(source) = frame.source
                && (is_excess(verdict.reason) || verdict.would_drop.is_some_and(is_excess))
            {
                self.exceed(source, seen);
            }
            frame.verdict = Some(verdict);
        }
        self.drain(seen);
        Ok(())
    }

    /// The end of the capture: conversations that last are handed out in the order in which they began.
    pub fn end(mut self) -> Result<Ended> {
        let mut records = Vec::new();
        self.conversations.end_all(units_of(self.now), &mut records)?;
        let incidents = self.simulator.counters()?.incidents;
        Ok(Ended { records, at_ns: self.at_ns, incidents })
    }

    /// Time goes on to a frame's: seconds go by, tables are swept.
    fn move_on(&mut self, at_ns: u64, frame: usize, seen: &mut Seen) -> Result<()> {
        self.now = self.clock.advance(at_ns);
        self.at_ns = at_ns;
        self.since_sweep += 1;
        self.frames_judged += 1;
        let Some(second) = self.second else {
            (self.second, self.swept, self.sources_swept) = (Some(at_ns), self.now, self.now);
            return Ok(());
        };
        if at_ns < second {
            // Disorder is waited out; a capture that jumped back begins another count.
            self.second = Some(if second - at_ns > SECOND { at_ns } else { second });
            return Ok(());
        }
        let passed = (at_ns - second) / SECOND;
        if passed == 0 {
            return Ok(());
        }
        self.drain(seen);
        let first = second + SECOND;
        let last = second + passed.min(SILENT_SECONDS) * SECOND;
        seen.note(What::Passed { times: first..=last, frame });
        self.second = Some(second + passed * SECOND);
        let since = self.now - self.swept;
        if since >= RARE_SWEEP_NS || (since >= SWEEP_NS && self.since_sweep >= FRAMES_PER_SWEEP) {
            self.sweep(seen)?;
        }
        Ok(())
    }

    fn sweep(&mut self, seen: &mut Seen) -> Result<()> {
        (self.swept, self.since_sweep) = (self.now, 0);
        let now = units_of(self.now);
        // In one step: the order within the table is not the same in another run.
        self.conversations.sweep(now, u32::MAX, &mut seen.records)?;
        seen.times.resize(seen.records.len(), self.at_ns);
        let (silent, frames) = (self.now - self.sources_swept, self.frames_judged - self.frames_at_sweep);
        if is_due_for_sources(silent, frames) {
            (self.sources_swept, self.frames_at_sweep) = (self.now, self.frames_judged);
            self.sources.sweep(&mut SweptTo::default(), now, self.sources_kept, u32::MAX);
            self.exceeded.clear();
        }
        Ok(())
    }

    /// Hands out the records that wait in the ring. All were made since the clock last jumped.
    fn drain(&mut self, seen: &mut Seen) {
        while self.records.read_ready(&mut seen.records, DRAINED) > 0 {
            let new = seen.records.get(seen.times.len()..).unwrap_or_default();
            seen.times.extend(new.iter().map(|record| self.clock.time_of(record.at)));
        }
    }

    /// Tells once a second that a source is over its limit.
    fn exceed(&mut self, source: IpAddr, seen: &mut Seen) {
        let second = self.now / SECOND;
        if self.exceeded.insert(source, second) != Some(second) {
            self.drain(seen);
            seen.note(What::Excess(source, self.at_ns));
        }
    }
}

impl Ended {
    pub fn notes(&self) -> Vec<String> {
        let of = |incident: Incident| self.incidents.get(incident as usize).copied().unwrap_or_default();
        let told = [
            (
                Incident::ConversationTableFull,
                "conversations were not followed, because the table of them was full",
            ),
            (Incident::RecordLost, "records of conversations were lost"),
            (Incident::ObservationSkipped, "observations were left out"),
            (Incident::SourceTableFull, "times the table of sources was full (capacity.sources)"),
            (
                Incident::BanTableFull,
                "bans were not made, because the table of them was full (capacity.bans)",
            ),
        ];
        let told =
            told.into_iter().map(|(incident, what)| (of(incident), what)).filter(|(count, _)| *count > 0);
        told.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// Whether the table of sources is walked after so long and so many frames.
const fn is_due_for_sources(silent_ns: u64, frames: u64) -> bool {
    silent_ns >= RARE_SOURCES_SWEEP_NS || (silent_ns >= SOURCES_SWEEP_NS && frames >= FRAMES_PER_SWEEP)
}

/// The last CPU that this thread may run on.
fn stay_on_one_cpu() -> rustix::io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let Some(cpu) = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)) else { return Ok(()) };
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None, &one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_few_frames_walks_the_table_of_sources_once_an_hour() {
        let (frames_a_minute, mut walks, mut silent, mut frames) = (4, 0, 0, 0);
        for _ in 0..24 * 60 {
            (silent, frames) = (silent + 60 * SECOND, frames + frames_a_minute);
            if is_due_for_sources(silent, frames) {
                (walks, silent, frames) = (walks + 1, 0, 0);
            }
        }
        assert_eq!(walks, 24);
        assert!(
            is_due_for_sources(60 * SECOND, FRAMES_PER_SWEEP) && !is_due_for_sources(10 * SECOND, 1 << 30)
        );
    }
}
