//! The host's load, for the defence ladder and automatic aggregates.
//!
//! In: `/proc/stat` and files of `/proc/net`. Out: shares and rates since the last look.

use std::fs;
use std::time::Duration;

use tuning::defence::Load;

/// The kernel's figures at the last look.
#[derive(Debug, Default)]
pub struct Loads {
    /// Softirq and all time by CPU, in clock ticks.
    cpus: Vec<(u64, u64)>,
    /// Of the backlog, of listeners and of datagrams' sockets.
    drops: [u64; 3],
    at: Option<Duration>,
}

impl Loads {
    /// `now` is the time since boot.
    pub fn measure(&mut self, now: Duration) -> Load {
        let cpus = softirq_times(&fs::read_to_string("/proc/stat").unwrap_or_default());
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let drops = [
            backlog_drops(&read("/proc/net/softnet_stat")),
            counter(&read("/proc/net/netstat"), "TcpExt:", "ListenDrops"),
            counter(&read("/proc/net/snmp"), "Udp:", "RcvbufErrors")
                + line_of(&read("/proc/net/snmp6"), "Udp6RcvbufErrors"),
        ];
        let passed = self.at.map_or(0.0, |at| now.saturating_sub(at).as_secs_f64());
        let share = |(new, old): (&(u64, u64), &(u64, u64))| {
            let all = new.1.saturating_sub(old.1);
            if all == 0 { 0.0 } else { float(new.0.saturating_sub(old.0)) / float(all) }
        };
        let rate = |which: usize| float(drops[which].saturating_sub(self.drops[which])) / passed;
        let load = if passed > 0.0 {
            Load {
                softirq_share: cpus.iter().zip(&self.cpus).map(share).fold(0.0, f64::max),
                backlog_drops_per_second: rate(0),
                listen_drops_per_second: rate(1),
                buffer_errors_per_second: rate(2),
                flood: false,
            }
        } else {
            Load::default()
        };
        (self.cpus, self.drops, self.at) = (cpus, drops, Some(now));
        load
    }
}

/// By CPU: the seventh figure (softirq) and the sum of the first eight (guests are counted in user time already).
fn softirq_times(stat: &str) -> Vec<(u64, u64)> {
    let cpus = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    cpus.map(|line| {
        let figures: Vec<u64> =
            line.split_ascii_whitespace().skip(1).take(8).filter_map(|figure| figure.parse().ok()).collect();
        (figures.get(6).copied().unwrap_or(0), figures.iter().sum())
    })
    .collect()
}

/// The second figure of each line, in hexadecimal: packets that found the backlog full.
fn backlog_drops(softnet: &str) -> u64 {
    let second = |line: &str| u64::from_str_radix(line.split_ascii_whitespace().nth(1)?, 16).ok();
    softnet.lines().filter_map(second).sum()
}

/// A counter of a file whose lines come in pairs, the names before the figures; 0 where the kernel has none.
fn counter(text: &str, group: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group));
    let (Some(names), Some(figures)) = (lines.next(), lines.next()) else { return 0 };
    let found = names.split_ascii_whitespace().zip(figures.split_ascii_whitespace());
    found.filter(|(known, _)| *known == name).find_map(|(_, figure)| figure.parse().ok()).unwrap_or(0)
}

/// A counter of a file with a name and a figure on each line.
fn line_of(text: &str, name: &str) -> u64 {
    let figure = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    text.lines().find_map(figure).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softirq_time_and_backlog_drops_are_read_as_the_kernel_writes_them() {
        let stat =
            "cpu  10 0 10 70 0 0 10 0 0 0\ncpu0 5 0 5 35 0 0 5 0 0 0\ncpu1 5 0 5 35 0 0 5 0 7 0\nintr 5\n";
        assert_eq!(softirq_times(stat), [(5, 50), (5, 50)]);
        let softnet = "0000a000 0000000a 00000000 00000000\n0000b000 00000010 00000000\n";
        assert_eq!(backlog_drops(softnet), 26);
        assert_eq!(backlog_drops("nonsense"), 0);
        let netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 7 9\nIpExt: InNoRoutes\nIpExt: 1\n";
        assert_eq!(counter(netstat, "TcpExt:", "ListenDrops"), 9);
        assert_eq!(counter(netstat, "TcpExt:", "Unknown") + counter("", "Udp:", "RcvbufErrors"), 0);
        assert_eq!(line_of("Udp6InErrors 3\nUdp6RcvbufErrors                \t12\n", "Udp6RcvbufErrors"), 12);
    }
}
