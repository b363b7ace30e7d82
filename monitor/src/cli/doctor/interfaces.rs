//! What stands between the interfaces and the program: link layer, foreign programs, MTU, offloads, queues, and which of
//! them are not covered.

use std::fs;
use std::path::Path;

use datapath::{Interface, Offloads, list_interfaces, offloads};

use super::Check;
use crate::cli::figures;
use crate::snapshot::{AttachMode, Snapshot};

/// Beyond it many drivers refuse native mode without multi-buffer support.
const COMMON_XDP_MTU: u32 = 3498;

pub fn checks(snapshot: Option<&Snapshot>) -> Vec<Check> {
    let interfaces = match list_interfaces() {
        Ok(interfaces) => interfaces,
        Err(error) => return vec![Check::unknown("interfaces", format!("they cannot be listed: {error:#}"))],
    };
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut checks = Vec::new();
    for interface in interfaces.iter().filter(|interface| interface.up && !interface.loopback) {
        let about = About::of(interface, &interfaces);
        checks.push(check(interface, &about, snapshot));
        checks.extend(before_xdp(interface, &about, snapshot, cpus));
    }
    checks
}

/// What is known of an interface beside its link.
#[derive(Debug, Default)]
struct About {
    driver: Option<String>,
    offloads: Offloads,
    /// The bond, team or parent that is guarded for it, or the bridge that it is a port of.
    master: Option<String>,
    carries_vlans: bool,
}

impl About {
    fn of(interface: &Interface, all: &[Interface]) -> Self {
        let driver = Path::new("/sys/class/net").join(&interface.name).join("device/driver");
        let driver = fs::read_link(driver).ok().and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
        let carrier = interface.carrier().or(interface.master);
        let vlan_of_it = |other: &Interface| other.kind == "vlan" && other.parent == Some(interface.index);
        Self {
            driver,
            offloads: offloads(&interface.name).unwrap_or_default(),
            master: all.iter().find(|other| Some(other.index) == carrier).map(|other| other.name.clone()),
            carries_vlans: all.iter().any(vlan_of_it),
        }
    }
}

fn check(interface: &Interface, about: &About, snapshot: Option<&Snapshot>) -> Check {
    let name = format!("interface {}", interface.name);
    let row = snapshot.and_then(|snapshot| snapshot.interfaces.iter().find(|row| row.name == interface.name));
    let driver = about.driver.as_deref().unwrap_or("virtual");
    if let Some(row) = row {
        if let Some(problem) = &row.problem {
            return Check::failed(name, format!("not guarded: {problem}")).mend(mends(problem));
        }
        let mode = row.mode.label();
        if row.mode == AttachMode::Generic {
            return Check::warning(name, format!("guarded in generic mode ({driver}): each packet costs a socket buffer"))
                .mend("use a driver with native XDP");
        }
        return Check::ok(name, format!("guarded ({mode}, {driver})"));
    }
    if let Some(held) = snapshot.and_then(|snapshot| {
        snapshot.interfaces.iter().find(|row| row.problem.is_none() && row.stands_for.contains(&interface.name))
    }) {
        return Check::ok(name, format!("guarded at {}, which carries its packets", held.name));
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
        let is_held = snapshot.is_some_and(|snapshot| {
            snapshot.interfaces.iter().any(|row| row.problem.is_none() && row.name == *master)
        });
        if is_held || interface.carrier().is_some() {
            let state = if is_held { "guarded" } else { "to be guarded" };
            return Check::ok(name, format!("belongs to {master}, {state} there"));
        }
    }
    if interface.mtu > COMMON_XDP_MTU {
        return Check::warning(
            name,
            format!("not guarded; its MTU of {} may keep {driver} from native mode", interface.mtu),
        )
        .mend(format!("ip link set dev {} mtu 1500", interface.name));
    }
    let Some(snapshot) = snapshot else {
        return Check::unknown(name, format!("no daemon tells whether it is guarded ({driver})"));
    };
    match snapshot.unguarded.iter().find(|row| row.name == interface.name) {
        Some(row) => Check::warning(
            name,
            format!("receives {} packets a second without a guard ({driver})", figures::rate(row.packets_per_second)),
        )
        .mend(format!("add \"{}\" to interfaces.names if it reaches services", interface.name)),
        None => Check::ok(name, "not guarded; no packet reaches it past a guard"),
    }
}

/// The first command that a sentence names, between backquotes.
fn mends(problem: &str) -> String {
    problem.split('`').nth(1).map_or_else(|| "sluice status".to_owned(), str::to_owned)
}

/// What the card does to packets before the program sees them.
fn before_xdp(interface: &Interface, about: &About, snapshot: Option<&Snapshot>, cpus: usize) -> Vec<Check> {
    let held = snapshot.is_some_and(|snapshot| {
        snapshot.interfaces.iter().any(|row| row.name == interface.name && row.problem.is_none())
    });
    let Offloads { merges, strips_vlan_tags, queues } = &about.offloads;
    let name = &interface.name;
    let mut checks = Vec::new();
    if about.driver.is_some() && !merges.is_empty() {
        let off: Vec<_> = merges.iter().map(|feature| format!("{feature} off")).collect();
        let finding = format!("it merges packets before XDP ({}): drivers refuse native mode, or count several packets as one", merges.join(", "));
        checks.push(Check::warning(format!("offloads {name}"), finding).mend(format!("ethtool -K {name} {}", off.join(" "))));
    }
    if held && *strips_vlan_tags && about.carries_vlans {
        let finding = "the card takes VLAN tags off before XDP: packets of its VLANs are judged as if they had none";
        checks.push(Check::warning(format!("vlan offload {name}"), finding).mend(format!("ethtool -K {name} rxvlan off")));
    }
    if let Some((now, most)) = queues.filter(|_| held && about.driver.is_some()) {
        let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
        let title = format!("queues {name}");
        checks.push(match now {
            now if now >= cpus => Check::ok(title, format!("{now} receive queues for {cpus} CPUs")),
            now if now < most => Check::warning(title, format!("{now} receive queues for {cpus} CPUs; the card has {most}"))
                .mend(format!("ethtool -L {name} combined {}", most.min(cpus))),
            now => Check::ok(title, format!("{now} receive queues for {cpus} CPUs, as many as the card has")),
        });
    }
    checks
}

#[cfg(test)]
mod tests {
    use datapath::{Interface, Mode, Offloads, Xdp};

    use super::{About, before_xdp, check};
    use crate::cli::doctor::State;
    use crate::cli::samples::snapshot;
    use api::snapshot::Unguarded;

    fn interface(name: &str) -> Interface {
        Interface { index: 7, name: name.to_owned(), mtu: 1500, up: true, ethernet: true, ..Interface::default() }
    }

    #[test]
    fn each_interface_gets_the_state_that_concerns_protection() {
        let mut status = snapshot();
        status.unguarded.push(Unguarded { name: "eth1".to_owned(), packets_per_second: 3.0 });
        status.interfaces[0].stands_for = vec!["eth0.7".to_owned()];
        let about = About { driver: Some("virtio_net".to_owned()), ..About::default() };
        let of = |interface: &Interface| check(interface, &about, Some(&status));
        assert_eq!(of(&interface("eth0")).state, State::Ok);
        assert_eq!(of(&interface("eth0.7")).finding, "guarded at eth0, which carries its packets");
        assert_eq!(of(&interface("eth1")).state, State::Warning);
        assert_eq!(of(&interface("eth3")).state, State::Ok);
        let tunnel = Interface { ethernet: false, ..interface("tun0") };
        assert_eq!(of(&tunnel).state, State::Warning);
        let foreign = Interface { xdp: Some(Xdp { mode: Mode::Native, program: 3 }), ..interface("eth2") };
        assert!(of(&foreign).finding.contains("program 3"));
        assert_eq!(check(&interface("eth1"), &about, None).state, State::Unknown);
    }

    #[test]
    fn a_refused_interface_comes_with_the_command_of_its_reason() {
        let mut status = snapshot();
        status.interfaces[0].problem = Some("it merges packets: `ethtool -K eth0 lro off`, or allow generic mode".to_owned());
        let told = check(&interface("eth0"), &About::default(), Some(&status));
        assert_eq!((told.state, told.command.as_deref()), (State::Failed, Some("ethtool -K eth0 lro off")));
    }

    #[test]
    fn what_the_card_does_before_xdp_is_told_with_its_command() {
        let status = snapshot();
        let told = |offloads: Offloads, carries_vlans: bool, cpus: usize| -> Vec<(State, Option<String>)> {
            let driver = Some("ixgbe".to_owned());
            let about = About { driver, offloads, carries_vlans, ..About::default() };
            let checks = before_xdp(&interface("eth0"), &about, Some(&status), cpus);
            checks.into_iter().map(|check| (check.state, check.command)).collect()
        };
        let command = |text: &str| vec![(State::Warning, Some(text.to_owned()))];
        let merges = Offloads { merges: vec!["lro"], ..Offloads::default() };
        assert_eq!(told(merges, false, 8), command("ethtool -K eth0 lro off"));
        let strips = Offloads { strips_vlan_tags: true, ..Offloads::default() };
        assert_eq!(told(strips.clone(), true, 8), command("ethtool -K eth0 rxvlan off"));
        assert_eq!(told(strips, false, 8), []);
        let queues = |now, most| Offloads { queues: Some((now, most)), ..Offloads::default() };
        assert_eq!(told(queues(2, 16), false, 8), command("ethtool -L eth0 combined 8"));
        assert_eq!(told(queues(2, 4), false, 8), command("ethtool -L eth0 combined 4"));
        assert_eq!(told(queues(4, 4), false, 8), [(State::Ok, None)]);
        assert_eq!(told(queues(8, 8), false, 8), [(State::Ok, None)]);
    }

    #[test]
    fn a_member_of_a_bond_names_its_master() {
        let about = About { master: Some("bond0".to_owned()), ..About::default() };
        let member = Interface { master: Some(9), master_kind: "bond".to_owned(), ..interface("eth1") };
        assert_eq!(check(&member, &about, Some(&snapshot())).finding, "belongs to bond0, to be guarded there");
    }
}
