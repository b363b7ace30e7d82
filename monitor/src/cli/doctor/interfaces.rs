//! What stands between the interfaces and the program: link layer, foreign programs, MTU, queues, and who is not covered.

use std::fs;
use std::path::Path;

use datapath::{Interface, list_interfaces};

use super::{Check, read};
use crate::snapshot::{AttachMode, Snapshot};

/// Beyond it many drivers refuse native mode without multi-buffer support.
const COMMON_XDP_MTU: u32 = 3498;

pub fn checks(snapshot: Option<&Snapshot>) -> Vec<Check> {
    let interfaces = match list_interfaces() {
        Ok(interfaces) => interfaces,
        Err(error) => return vec![Check::unknown("interfaces", format!("they cannot be listed: {error:#}"))],
    };
    interfaces
        .iter()
        .filter(|interface| interface.up && !interface.loopback)
        .map(|interface| check(interface, &About::of(&interface.name), snapshot))
        .collect()
}

/// What the kernel's files say of an interface.
#[derive(Debug, Default)]
struct About {
    driver: Option<String>,
    queues: usize,
    received: u64,
    /// The bond or bridge that it is a member of.
    master: Option<String>,
}

impl About {
    fn of(name: &str) -> Self {
        let folder = Path::new("/sys/class/net").join(name);
        let link = |part: &str| {
            Some(fs::read_link(folder.join(part)).ok()?.file_name()?.to_string_lossy().into_owned())
        };
        let queues = fs::read_dir(folder.join("queues")).map_or(0, |queues| {
            queues.flatten().filter(|queue| queue.file_name().to_string_lossy().starts_with("rx-")).count()
        });
        let received = read(&folder.join("statistics/rx_packets").to_string_lossy());
        Self {
            driver: link("device/driver"),
            queues,
            received: received.and_then(|count| count.parse().ok()).unwrap_or(0),
            master: link("master"),
        }
    }
}

fn check(interface: &Interface, about: &About, snapshot: Option<&Snapshot>) -> Check {
    let name = format!("interface {}", interface.name);
    let ours = snapshot.and_then(|snapshot| snapshot.interfaces.iter().find(|row| row.name == interface.name));
    let driver = about.driver.as_deref().unwrap_or("virtual");
    if let Some(row) = ours {
        if let Some(problem) = &row.problem {
            return Check::failed(name, format!("not guarded: {problem}"));
        }
        let mode = row.mode.label();
        if row.mode == AttachMode::Generic {
            return Check::warning(name, format!("guarded in generic mode ({driver}): each packet costs a socket buffer"))
                .mend("use a driver with native XDP");
        }
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if about.driver.is_some() && about.queues < cpus {
            return Check::warning(
                name,
                format!("guarded ({mode}, {driver}); {} receive queues for {cpus} CPUs", about.queues),
            )
            .mend(format!("ethtool -L {} combined {cpus}", interface.name));
        }
        return Check::ok(name, format!("guarded ({mode}, {driver})"));
    }
    if let Some(xdp) = interface.xdp {
        return Check::warning(
            name,
            format!("its XDP hook holds program {} in {} mode", xdp.program, xdp.mode.label()),
        )
        .mend(format!("ip link set dev {} xdp off, if that program is not needed", interface.name));
    }
    if !interface.ethernet {
        return Check::warning(name, "a layer-3 interface, which cannot be guarded")
            .mend("guard the interface that carries the tunnel");
    }
    if let Some(master) = &about.master {
        return Check::ok(name, format!("a member of {master}; guard {master}"));
    }
    if interface.mtu > COMMON_XDP_MTU {
        return Check::warning(
            name,
            format!("not guarded; its MTU of {} may keep {driver} from native mode", interface.mtu),
        )
        .mend(format!("ip link set dev {} mtu 1500", interface.name));
    }
    match (snapshot, about.received) {
        (Some(_), 1..) => Check::warning(name, format!("carries traffic and is not guarded ({driver})"))
            .mend("name it under [interfaces]"),
        (Some(_), 0) => Check::ok(name, "not guarded; carries no traffic"),
        (None, _) => Check::unknown(name, format!("no daemon tells whether it is guarded ({driver})")),
    }
}

#[cfg(test)]
mod tests {
    use datapath::{Interface, Mode, Xdp};

    use super::{About, check};
    use crate::cli::doctor::State;
    use crate::cli::samples::snapshot;

    fn interface(name: &str) -> Interface {
        Interface { index: 7, name: name.to_owned(), mtu: 1500, up: true, ethernet: true, ..Interface::default() }
    }

    #[test]
    fn each_interface_gets_the_state_that_concerns_protection() {
        let status = snapshot();
        let about = |received| About { received, queues: 64, driver: Some("virtio_net".to_owned()), ..About::default() };
        let of = |interface: &Interface, received| check(interface, &about(received), Some(&status)).state;
        assert_eq!(of(&interface("eth0"), 9), State::Ok);
        assert_eq!(of(&interface("eth1"), 9), State::Warning);
        assert_eq!(of(&interface("eth1"), 0), State::Ok);
        let tunnel = Interface { ethernet: false, ..interface("tun0") };
        assert_eq!(of(&tunnel, 9), State::Warning);
        let foreign = Interface { xdp: Some(Xdp { mode: Mode::Native, program: 3 }), ..interface("eth2") };
        assert!(check(&foreign, &about(9), Some(&status)).finding.contains("program 3"));
        assert_eq!(check(&interface("eth1"), &about(9), None).state, State::Unknown);
    }

    #[test]
    fn a_member_of_a_bond_names_its_master() {
        let about = About { received: 9, master: Some("bond0".to_owned()), ..About::default() };
        assert!(check(&interface("eth1"), &about, Some(&snapshot())).finding.contains("guard bond0"));
    }
}
