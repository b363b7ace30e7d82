//! Which interfaces to attach to for those that are configured, and which receive traffic and are not guarded.
//!
//! In: names and patterns, the host's interfaces, what is guarded. Out: names to attach to, and rows for the snapshot.
//! Pure: it asks nobody.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use datapath::{Guarded, Interface};
use monitor_common::verdict::Reason;

use api::snapshot::Unguarded;

/// VLANs upon VLANs upon a bond.
const MOST_STEPS: usize = 4;
/// So many packets that are neither IP nor ARP, and nothing else, are no idle link any more.
const UNJUDGED: u64 = 200;

/// What to attach to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Each once, in the order of what was wanted.
    pub names: Vec<String>,
    /// Interfaces that another one is guarded for: a bond for its members, a parent for its VLANs.
    pub stands_for: BTreeMap<String, Vec<String>>,
}

/// Names and patterns to the interfaces whose hooks see their frames. A name that is not there stays as it is; a pattern
/// takes no loopback and no interface without an Ethernet header.
pub fn choose(wanted: &[String], links: &[Interface]) -> Choice {
    let mut choice = Choice::default();
    for name in wanted {
        let matching: Vec<_> = if policy::config::is_pattern(name) {
            let fits = |link: &&Interface| link.ethernet && !link.loopback;
            let named = links.iter().filter(fits).map(|link| &link.name);
            named.filter(|found| policy::config::matches(name, found)).collect()
        } else {
            vec![name]
        };
        for name in matching {
            let carrier = carrier_of(name, links);
            if carrier != name {
                let members = choice.stands_for.entry(carrier.to_owned()).or_default();
                if !members.contains(name) {
                    members.push(name.clone());
                }
            }
            if !choice.names.iter().any(|known| known == carrier) {
                choice.names.push(carrier.to_owned());
            }
        }
    }
    choice
}

/// The interface whose hook sees the frames of `name`: itself, unless it is a bond's member or a VLAN.
fn carrier_of<'a>(name: &'a str, links: &'a [Interface]) -> &'a str {
    let mut at = name;
    for _ in 0..MOST_STEPS {
        let carrier = links.iter().find(|link| link.name == at).and_then(Interface::carrier);
        match carrier.and_then(|index| links.iter().find(|link| link.index == index)) {
            Some(next) => at = &next.name,
            None => break,
        }
    }
    at
}

/// Packets received by each interface, at one time.
#[derive(Clone, Debug, Default)]
pub struct Received {
    at: Duration,
    by_index: HashMap<u32, u64>,
}

impl Received {
    pub fn of(links: &[Interface], at: Duration) -> Self {
        Self { at, by_index: links.iter().map(|link| (link.index, link.received)).collect() }
    }

    pub fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.at)
    }
}

/// Interfaces that are up, received something since `before` and whose packets no guarded interface sees.
pub fn unguarded(
    links: &[Interface],
    before: &Received,
    now: Duration,
    guarded: &[Guarded],
) -> Vec<Unguarded> {
    let seconds = before.age(now).as_secs_f64();
    let bare = links.iter().filter(|link| link.up && !link.loopback && !is_covered(link, links, guarded));
    let rows = bare.filter_map(|link| {
        let received = link.received.saturating_sub(*before.by_index.get(&link.index)?);
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let packets_per_second = if seconds > 0.0 { received as f64 / seconds } else { 0.0 };
        (received > 0).then(|| Unguarded { name: link.name.clone(), packets_per_second })
    });
    rows.collect()
}

fn is_covered(link: &Interface, links: &[Interface], guarded: &[Guarded]) -> bool {
    let holds = |name: &str| guarded.iter().any(|row| row.problem.is_none() && row.name == name);
    if holds(&link.name) || holds(carrier_of(&link.name, links)) {
        return true;
    }
    let parent = || links.iter().find(|other| Some(other.index) == link.parent);
    match link.kind.as_str() {
        // What it receives came in through its ports.
        "bridge" => {
            let mut ports = links.iter().filter(|port| port.master == Some(link.index) && port.up).peekable();
            ports.peek().is_some() && ports.all(|port| holds(carrier_of(&port.name, links)))
        }
        "macvlan" | "macvtap" | "ipvlan" | "ipvtap" => {
            parent().is_some_and(|parent| holds(carrier_of(&parent.name, links)))
        }
        _ => false,
    }
}

/// Guarded interfaces whose packets cannot be judged, by slot: how many packets were neither IP nor ARP when the last one
/// that could be judged was counted, and now.
#[derive(Debug, Default)]
pub struct Unjudged {
    seen: HashMap<u32, Seen>,
    /// What an earlier daemon counted is no traffic of now.
    is_primed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    judged: u64,
    non_ip: u64,
    non_ip_then: u64,
}

impl Unjudged {
    /// Takes new counters over.
    pub fn count(&mut self, totals: &[datapath::Total]) {
        let mut sums: HashMap<u32, (u64, u64)> = HashMap::new();
        for datapath::Total { slot, totals, .. } in totals {
            let (judged, non_ip) = sums.entry(*slot).or_default();
            for (reason, count) in Reason::ALL.iter().zip(&totals.ended) {
                match reason {
                    Reason::NonIp => *non_ip += count.packets,
                    Reason::Arp => {}
                    _ => *judged += count.packets,
                }
            }
        }
        self.seen.retain(|slot, _| sums.contains_key(slot));
        for (slot, (judged, non_ip)) in sums {
            let non_ip_then = if self.is_primed { 0 } else { non_ip };
            let seen = self.seen.entry(slot).or_insert(Seen { judged, non_ip, non_ip_then });
            // Counters that went back are those of another interface in the same slot.
            if judged != seen.judged || non_ip < seen.non_ip {
                seen.non_ip_then = non_ip;
            }
            (seen.judged, seen.non_ip) = (judged, non_ip);
        }
        self.is_primed = true;
    }

    /// How many packets in a row could not be judged, when that is more than an idle link receives.
    pub fn in_slot(&self, slot: u32) -> Option<u64> {
        let seen = self.seen.get(&slot)?;
        Some(seen.non_ip - seen.non_ip_then).filter(|packets| *packets >= UNJUDGED)
    }
}

#[cfg(test)]
mod tests {
    use datapath::AttachMode;
    use monitor_common::plain::Plain as _;
    use monitor_common::record::Totals;

    use super::*;

    fn link(index: u32, name: &str) -> Interface {
        Interface { index, name: name.to_owned(), up: true, ethernet: true, ..Interface::default() }
    }

    /// eth0 with two VLANs, one upon the other; eth1 and eth2 in bond0; bond0.5; a bridge with veth1; a tunnel.
    fn host() -> Vec<Interface> {
        let vlan = |index, name, parent| Interface {
            kind: "vlan".into(),
            parent: Some(parent),
            ..link(index, name)
        };
        let member = |index, name, master, kind: &str| Interface {
            master: Some(master),
            master_kind: kind.into(),
            ..link(index, name)
        };
        vec![
            Interface { loopback: true, ..link(1, "lo") },
            link(2, "eth0"),
            vlan(3, "eth0.7", 2),
            vlan(4, "eth0.7.9", 3),
            member(5, "eth1", 7, "bond"),
            member(6, "eth2", 7, "bond"),
            Interface { kind: "bond".into(), ..link(7, "bond0") },
            vlan(8, "bond0.5", 7),
            Interface { kind: "bridge".into(), ..link(9, "br0") },
            Interface { kind: "veth".into(), parent: Some(2), ..member(10, "veth1", 9, "bridge") },
            Interface { ethernet: false, kind: "tun".into(), ..link(11, "tun0") },
        ]
    }

    #[track_caller]
    fn check(wanted: &[&str], names: &[&str], stands_for: &[(&str, &[&str])]) {
        let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let choice = choose(&wanted, &host());
        assert_eq!(choice.names, names, "{wanted:?}");
        let expected = stands_for.iter().map(|(name, members)| {
            ((*name).to_owned(), members.iter().map(|member| (*member).to_owned()).collect())
        });
        assert_eq!(choice.stands_for, expected.collect(), "{wanted:?}");
    }

    #[test]
    fn patterns_take_what_is_there_and_can_be_guarded() {
        check(&["veth*"], &["veth1"], &[]);
        check(&["eth0", "eth?"], &["eth0", "bond0"], &[("bond0", &["eth1", "eth2"])]);
        check(&["*0"], &["eth0", "bond0", "br0"], &[]);
        check(&["enp*"], &[], &[]);
        check(&["enp3s0"], &["enp3s0"], &[]);
        check(&["tun0"], &["tun0"], &[]);
    }

    #[test]
    fn a_member_is_guarded_at_its_bond_and_a_vlan_at_its_parent() {
        check(&["eth1"], &["bond0"], &[("bond0", &["eth1"])]);
        check(&["eth2", "eth1", "bond0"], &["bond0"], &[("bond0", &["eth2", "eth1"])]);
        check(&["eth0.7.9"], &["eth0"], &[("eth0", &["eth0.7.9"])]);
        check(&["bond0.5"], &["bond0"], &[("bond0", &["bond0.5"])]);
        check(&["veth1"], &["veth1"], &[]);
    }

    fn guarded(name: &str, problem: Option<&str>) -> Guarded {
        let (mode, problem) = (AttachMode::Native, problem.map(str::to_owned));
        Guarded { name: name.to_owned(), slot: 1, ifindex: 2, mode, egress: true, problem }
    }

    #[test]
    fn what_carries_traffic_past_every_guard_is_told() {
        let before = host();
        let mut after = host();
        for link in &mut after {
            link.received += 50;
        }
        let told = |held: &[Guarded]| -> Vec<String> {
            let then = Received::of(&before, Duration::from_secs(10));
            let rows = unguarded(&after, &then, Duration::from_secs(15), held);
            assert!(rows.iter().all(|row| (row.packets_per_second - 10.0).abs() < 0.01));
            rows.into_iter().map(|row| row.name).collect()
        };
        assert_eq!(told(&[guarded("eth0", None), guarded("bond0", None)]), ["br0", "veth1", "tun0"]);
        assert_eq!(
            told(&[guarded("eth0", None), guarded("bond0", None), guarded("veth1", None)]),
            ["tun0"],
            "a bridge is covered by its ports"
        );
        let refused =
            [guarded("eth0", Some("its hook is taken")), guarded("bond0", None), guarded("veth1", None)];
        assert_eq!(told(&refused), ["eth0", "eth0.7", "eth0.7.9", "tun0"]);
    }

    #[test]
    fn what_receives_nothing_or_is_down_is_not_told() {
        let (before, mut after) = (host(), host());
        after.iter_mut().find(|link| link.name == "tun0").unwrap().received = 9;
        after.iter_mut().find(|link| link.name == "eth0").unwrap().received = 9;
        after.iter_mut().find(|link| link.name == "eth0").unwrap().up = false;
        let rows = unguarded(&after, &Received::of(&before, Duration::ZERO), Duration::from_secs(1), &[]);
        assert_eq!(rows.into_iter().map(|row| row.name).collect::<Vec<_>>(), ["tun0"]);
    }

    fn total(non_ip: u64, accepted: u64, arp: u64) -> datapath::Total {
        let mut totals = Totals::zeroed();
        totals.ended[Reason::NonIp as usize].packets = non_ip;
        totals.ended[Reason::Accepted as usize].packets = accepted;
        totals.ended[Reason::Arp as usize].packets = arp;
        datapath::Total { slot: 1, service: 0, totals }
    }

    #[test]
    fn traffic_that_is_neither_ip_nor_arp_is_a_problem_until_something_is_judged() {
        let mut unjudged = Unjudged::default();
        let mut check = |total: datapath::Total, expected: Option<u64>| {
            unjudged.count(&[total]);
            assert_eq!(unjudged.in_slot(1), expected);
        };
        check(total(0, 0, 0), None);
        check(total(199, 0, 0), None);
        check(total(200, 0, 90), Some(200));
        check(total(300, 1, 90), None);
        check(total(400, 1, 90), None);
        check(total(500, 1, 95), Some(200));
        // Another interface takes the slot.
        check(total(0, 0, 0), None);
    }

    #[test]
    fn what_an_earlier_daemon_counted_is_no_traffic_of_now() {
        let mut unjudged = Unjudged::default();
        unjudged.count(&[total(5000, 9, 0)]);
        assert_eq!(unjudged.in_slot(1), None);
        unjudged.count(&[total(5200, 9, 0)]);
        assert_eq!(unjudged.in_slot(1), Some(200));
    }

    #[test]
    fn an_interface_that_appears_later_is_looked_at_from_its_first_packet() {
        let mut unjudged = Unjudged::default();
        unjudged.count(&[]);
        unjudged.count(&[total(250, 0, 0)]);
        assert_eq!(unjudged.in_slot(1), Some(250));
    }
}
