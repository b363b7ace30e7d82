//! Services and limits in words: for explanations, differences and the audit.

use std::fmt::{self, Display, Formatter};

use super::{AggregateLimits, BanRule, BanScope, Limits, Match, Mode};

impl Display for Mode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        })
    }
}

impl Display for Limits {
    /// `packets 2k/s (burst 500), bytes 50 Mbit/s`, or `no limit`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut part = |name: &str, rate: Option<String>, burst: Option<String>| {
            if let Some(rate) = rate {
                let burst = burst.map_or_else(String::new, |burst| format!(" (burst {burst})"));
                parts.push(format!("{name} {rate}{burst}"));
            }
        };
        let text = |value: Option<u64>| value.map(|value| value.to_string());
        part("packets", self.packets.map(|rate| rate.to_string()), text(self.packets_burst));
        part(
            "bytes",
            self.bytes.map(|rate| rate.to_string()),
            self.bytes_burst.map(|burst| burst.to_string()),
        );
        part("connections", self.connections.map(|rate| rate.to_string()), text(self.connections_burst));
        part("fragments", self.fragments.map(|rate| rate.to_string()), text(self.fragments_burst));
        part("requests", self.requests.map(|rate| rate.to_string()), text(self.requests_burst));
        part("handshakes", self.handshakes.map(|rate| rate.to_string()), text(self.handshakes_burst));
        part("open connections", self.concurrent.map(|count| count.to_string()), None);
        if parts.is_empty() { f.write_str("no limit") } else { f.write_str(&parts.join(", ")) }
    }
}

impl Display for AggregateLimits {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.limits() == Limits::default() && self.mode == Some(Mode::Off) {
            return f.write_str("off");
        }
        if let Some(mode) = self.mode {
            write!(f, "{mode} ")?;
        }
        if self.is_automatic() {
            return write!(f, "auto, reserve {}", self.reserve);
        }
        write!(f, "{}, reserve {}", self.limits(), self.reserve)
    }
}

impl Display for BanRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { after, within, first, growth, longest, unproven, scope } = self;
        write!(f, "after {after} within {within} for {first}, then {growth} times as long up to {longest}")?;
        if *unproven {
            f.write_str(", forged addresses too")?;
        }
        if *scope == BanScope::Everything { f.write_str(", answers to this host too") } else { Ok(()) }
    }
}

impl Display for Match {
    /// `tcp,udp port 53,8000-8010 to 192.0.2.0/24`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        list(f, &self.protocols)?;
        if !self.ports.is_empty() {
            f.write_str(" port ")?;
            list(f, &self.ports)?;
        }
        if !self.destinations.is_empty() {
            f.write_str(" to ")?;
            list(f, &self.destinations)?;
        }
        Ok(())
    }
}

fn list(f: &mut Formatter<'_>, items: &[impl Display]) -> fmt::Result {
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            f.write_str(",")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}
