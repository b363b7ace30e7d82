//! The captures with known truth, read where they stand, as cases.

use std::{net::IpAddr, path::Path};

use monitor_tests::harness::{
    capture::directory,
    timeline::Traffic,
    tracker::read,
    truth::{Truth, acceptable},
    variants::{Names, ends, wide},
    verdicts::{Attack, Case},
};

/// A capture with its truth. Attacks that the index calls gray are optional.
#[derive(Clone, Debug)]
pub struct Published {
    pub file: String,
    pub category: String,
    pub case: Case,
}

/// Every capture that is a scan, flood, beacon, tunnel, brute force, lateral movement, a trap or benign.
pub fn read_all() -> Option<Vec<Published>> {
    let place = directory().ok()?;
    let all = Truth::read_all(&place).unwrap().into_iter();
    Some(all.filter(|truth| truth.category != "odd").map(|truth| published(&place, truth)).collect())
}

fn published(place: &Path, truth: Truth) -> Published {
    let mut traffic = Traffic::default();
    let _ = read(&place.join(&truth.file), |bytes, at| traffic.frames.push((at, bytes.to_vec())));
    let traffic = traffic.sorted();
    let mut attacks = Vec::new();
    for (who, kinds) in &truth.attackers {
        let mut as_one_of: Vec<&'static str> =
            kinds.iter().flat_map(|kind| acceptable(kind)).copied().collect();
        as_one_of.dedup();
        let begins = first_of(&traffic, who);
        let mut attack = Attack::new(who, &as_one_of, begins, u64::MAX);
        attack.optional = truth.does_not_count();
        attacks.push(attack);
    }
    let mut case = Case::new(&truth.file, traffic, attacks);
    case.tolerated = 0;
    // The moment at which the threshold was reachable is taken from the capture as it is.
    let clean = case.judge(&detection::contact::default_inside());
    for attack in &mut case.attacks {
        let raised = clean
            .findings
            .iter()
            .filter(|finding| {
                attack.is_about(finding) && attack.as_one_of.contains(&finding.detector.label())
            })
            .map(|finding| u64::try_from(finding.raised_at.as_nanosecond()).unwrap())
            .min();
        attack.reachable = raised.unwrap_or(attack.begins);
    }
    Published { file: truth.file, category: truth.category, case }
}

/// When the attacker (or its victim) was first seen.
pub fn first_of(traffic: &Traffic, who: &str) -> u64 {
    let parties = addresses(who);
    let seen = |frame: &[u8]| {
        parties.is_empty()
            || ends(frame).is_some_and(|(one, other)| parties.contains(&one) || parties.contains(&other))
    };
    traffic.frames.iter().find(|(_, frame)| seen(frame)).map_or(0, |(at, _)| *at)
}

/// The addresses in the name of an attacker.
pub fn addresses(who: &str) -> Vec<IpAddr> {
    let bare = who.strip_prefix("VICTIM:").unwrap_or(who);
    bare.split("->").filter_map(address_of).collect()
}

fn address_of(part: &str) -> Option<IpAddr> {
    part.parse().ok().or_else(|| part.rsplit_once(':').and_then(|(address, _)| address.parse().ok()))
}

impl Published {
    /// The same under other addresses.
    pub fn renamed(&self, names: &mut Names) -> Case {
        let mut case = self.case.clone();
        case.traffic = case.traffic.renamed(names);
        rename(&mut case, |address| names.of(address));
        case
    }
}

/// The same over IPv6.
pub fn over_ipv6(case: &Case) -> Case {
    let mut case = case.clone();
    case.name = format!("{} over ipv6", case.name);
    case.traffic = case.traffic.over_ipv6();
    let wider = |address| match address {
        IpAddr::V4(v4) => IpAddr::V6(wide(v4)),
        IpAddr::V6(_) => address,
    };
    rename(&mut case, wider);
    case.also = case.also.iter().map(|also| wider(also.parse().unwrap()).to_string()).collect();
    case
}

/// Gives the attackers of a case their new names.
fn rename(case: &mut Case, mut name: impl FnMut(IpAddr) -> IpAddr) {
    for attack in &mut case.attacks {
        let mut who = attack.who.clone();
        for address in addresses(&attack.who) {
            who = who.replace(&address.to_string(), &name(address).to_string());
        }
        attack.who = who;
    }
}
