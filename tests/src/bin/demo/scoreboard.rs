//! What the demonstration shows: a line a second, and a table at the end.
//!
//! In: what the flood, the server and the client count themselves, and the daemon's metrics.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use monitor_tests::harness::{daemon::Daemon, flood::Flood};

use crate::{
    going_on,
    service::{ASKED, Worker},
};

/// Heads of the columns: sent by the attacker, dropped by sluice, received by the server, answered to the honest client.
const HEAD: &str = "     attacker      dropped       served       honest";

/// The three parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Calm,
    Off,
    On,
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Self::Calm => "no attack",
            Self::Off => "attack, sluice off",
            Self::On => "attack, sluice on",
        }
    }
}

/// Counts in the order of the columns: so far, or per second.
type Line = [f64; 4];

/// Shows and remembers.
#[derive(Debug)]
pub struct Scoreboard<'a> {
    server: &'a Worker,
    client: &'a Worker,
    parts: Vec<(Phase, Line)>,
}

impl<'a> Scoreboard<'a> {
    pub const fn new(server: &'a Worker, client: &'a Worker) -> Self {
        Self { server, client, parts: Vec::new() }
    }

    /// Watches for so many seconds, a line each.
    pub fn watch(
        &mut self,
        phase: Phase,
        seconds: u32,
        flood: Option<&Flood>,
        guard: Option<&Daemon>,
    ) -> Result<()> {
        println!("\n{}, per second\n{HEAD}", phase.name());
        let (start, first) = self.read(flood, guard)?;
        let (mut at, mut before) = (start, first);
        for _ in 0..seconds {
            while at.elapsed() < Duration::from_secs(1) {
                going_on()?;
                thread::sleep(Duration::from_millis(20));
            }
            let (now, counts) = self.read(flood, guard)?;
            println!("{}", text(&rate(&before, &counts, now - at)));
            (at, before) = (now, counts);
        }
        self.parts.push((phase, rate(&first, &before, at - start)));
        Ok(())
    }

    /// The counts and their moment, which on a busy machine may be late. The daemon's figures are up to a second old, so
    /// what is dropped lags a little behind what is sent.
    fn read(&self, flood: Option<&Flood>, guard: Option<&Daemon>) -> Result<(Instant, Line)> {
        let dropped = guard.map(|guard| guard.metric("sluice_packets_total", &["verdict=\"drop\""]));
        let dropped = dropped.transpose()?.unwrap_or_default();
        let sent = flood.map_or(0, Flood::sent);
        let counts = [sent, self.server.count(), self.client.count()].map(|count| count as f64);
        Ok((Instant::now(), [counts[0], dropped, counts[1], counts[2]]))
    }

    /// The table at the end.
    pub fn result(&self) {
        println!("\n{:<20}{HEAD}", "means per second");
        for (phase, line) in &self.parts {
            let share = 100.0 * line[3] / ASKED as f64;
            println!("{:<20}{} ({share:.0} %)", phase.name(), text(line));
        }
    }
}

fn rate(before: &Line, after: &Line, time: Duration) -> Line {
    std::array::from_fn(|at| (after[at] - before[at]) / time.as_secs_f64())
}

fn text(line: &Line) -> String {
    let [sent, dropped, served, answered] = line;
    format!("{sent:>13.0}{dropped:>13.0}{served:>13.0}{answered:>13.0}")
}
