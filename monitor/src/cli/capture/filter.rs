//! What people select -> the filter of the kernel, with the names that the daemon gives to numbers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use api::alerts::AlertShow;
use api::config::ShowConfig;
use api::schema::parse_prefix;
use api::status::ShowStatus;
use ipnet::IpNet;
use monitor_common::bucket::Rate;
use monitor_common::capture::{ANY, Filter, what};
use monitor_common::flow::{halves, mapped};
use monitor_common::verdict::Reason;
use policy::config::{Bpf, Config, nearest};

use super::super::config::read_file;
use super::super::{Context, Exit, Failure};
use super::{Bounds, Only, Select};

/// The least burst, in frames: the clock of the rate is one of nanoseconds.
const BURST: u32 = 32;

/// Reads a reason by its label.
pub fn reason(text: &str) -> Result<Reason, String> {
    let labels = || Reason::ALL.iter().map(|reason| reason.label());
    Reason::ALL.iter().find(|reason| reason.label() == text).copied().ok_or_else(|| {
        match nearest(text, labels()) {
            Some(near) => format!("there is no such reason; did you mean `{near}`?"),
            None => format!("there is no such reason; there are {}", labels().collect::<Vec<_>>().join(", ")),
        }
    })
}

/// Where the daemon's pins are: as it is said, as the file says, as the daemon says, or where they are by default.
pub fn pin_directory(
    named: Option<&Path>,
    config: Option<&Path>,
    context: &Context,
) -> Result<PathBuf, Failure> {
    if let Some(directory) = named {
        return Ok(directory.to_owned());
    }
    if let Some(file) = config {
        return Ok(read_file(file)?.bpf.pin_directory);
    }
    let told = context.ask(&ShowConfig {}).ok();
    let told = told.and_then(|answer| Config::parse(&answer.answer.toml, "").ok());
    Ok(told.map_or_else(|| Bpf::default().pin_directory, |config| config.bpf.pin_directory))
}

/// Services by number, and the network that is selected.
#[derive(Debug, Default)]
pub struct Names {
    services: BTreeMap<u32, String>,
    source: Option<IpNet>,
}

impl Names {
    /// Asks the daemon. It need not be there for what is selected without it.
    pub fn ask(select: &Select, context: &Context) -> Result<Self, Failure> {
        let mut names = Self { source: select.source, ..Self::default() };
        match context.ask(&ShowStatus {}) {
            Ok(status) => {
                let services = status.answer.services.into_iter();
                names.services = services.map(|service| (service.number, service.name)).collect();
            }
            Err(failure) if select.service.is_some() || select.finding.is_some() => return Err(failure),
            Err(_) => {}
        }
        if let Some(number) = select.finding {
            let subject = context.ask(&AlertShow { number })?.answer.finding.subject;
            let prefix = parse_prefix(&subject).map_err(|_| {
                let what = format!("finding {number} is about {subject}, which is no address: name a --source");
                Failure::new(Exit::Invalid, what)
            })?;
            names.source = Some(prefix);
        }
        Ok(names)
    }

    /// The name of a service; its number where the daemon did not say.
    pub fn service(&self, number: u32) -> String {
        self.services.get(&number).cloned().unwrap_or_else(|| format!("#{number}"))
    }

    /// The filter of the kernel.
    pub fn filter(&self, select: &Select, bounds: &Bounds, pins: &Path) -> Result<Filter, Failure> {
        let service = match &select.service {
            None => ANY,
            Some(wanted) => {
                let found = self.services.iter().find(|(_, name)| *name == wanted);
                *found.ok_or_else(|| unknown("service", wanted, self.services.values()))?.0
            }
        };
        let interface = match &select.interface {
            None => ANY,
            Some(wanted) => {
                let guarded = datapath::slots_in(pins).map_err(|error| Failure::of(&error))?;
                let found = guarded.iter().find(|(_, name)| *name == wanted);
                *found.ok_or_else(|| unknown("guarded interface", wanted, guarded.values()))?.0
            }
        };
        let (source, mask) = self.source.map_or(([0; 2], [0; 2]), network);
        let reasons = select.reason.iter().fold(0, |bits, reason| bits | 1_u64 << *reason as u32);
        let burst = u64::from(bounds.rate.div_ceil(10).max(BURST));
        let rate = Rate::new(u64::from(bounds.rate), burst, 1)
            .map_err(|error| Failure::new(Exit::Invalid, format!("--rate {}: {error:?}", bounds.rate)))?;
        Ok(Filter {
            source,
            mask,
            reasons: if reasons == 0 { u64::MAX } else { reasons },
            rate,
            what: match select.only {
                None => what::DROPPED | what::WOULD_DROP,
                Some(Only::Dropped) => what::DROPPED,
                Some(Only::WouldDrop) => what::WOULD_DROP,
            },
            one_in: select.sample.unwrap_or_default(),
            service,
            interface,
            snap: bounds.snap,
            is_on: 1,
        })
    }
}

fn unknown<'a>(kind: &str, wanted: &str, there: impl Iterator<Item = &'a String> + Clone) -> Failure {
    let near = nearest(wanted, there.clone().map(String::as_str));
    let next = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", there.map(String::as_str).collect::<Vec<_>>().join(", ")),
    };
    Failure::new(Exit::NotFound, format!("there is no {kind} `{wanted}`; {next}"))
}

/// A prefix as halves of an address, and the bits that count.
fn network(prefix: IpNet) -> ([u64; 2], [u64; 2]) {
    let address = |ip| match ip {
        IpAddr::V4(ip) => mapped(ip.octets()),
        IpAddr::V6(ip) => ip.octets(),
    };
    let mut mask = address(prefix.netmask());
    if let IpNet::V4(_) = prefix {
        mask[..12].fill(0xff);
    }
    let [(high, low), (mask_high, mask_low)] = [halves(&address(prefix.network())), halves(&mask)];
    ([high, low], [mask_high, mask_low])
}

#[cfg(test)]
mod tests {
    use super::{network, reason};
    use monitor_common::flow::mapped_halves;
    use monitor_common::verdict::Reason;

    #[test]
    fn a_prefix_is_halves_and_a_mask() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("192.0.2.7/24"), (mapped_halves([192, 0, 2, 0]), [u64::MAX, !0xff]));
        assert_eq!(of("0.0.0.0/0").1, [u64::MAX, !0 << 32]);
        assert_eq!(of("2001:db8::/32"), ([0x2001_0db8 << 32, 0], [!0 << 32, 0]));
        assert_eq!(of("::/0"), ([0, 0], [0, 0]));
    }

    #[test]
    fn a_mistyped_reason_is_answered_with_the_nearest() {
        assert_eq!(reason("packet_rate"), Ok(Reason::PacketRate));
        assert!(reason("paket_rate").unwrap_err().contains("`packet_rate`"));
        assert!(reason("x").unwrap_err().contains("banned"));
    }
}
