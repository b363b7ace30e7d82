//! What follows a finding by itself: a containment or a ban for a time, where the configuration allows it.
//!
//! In: a finding, its subject, and the configured response. Out: a plan, never against an exempt source or one that
//! the host depends on. A source is banned only after it proved its address, and never while this host talks to it: else
//! forged packets would ban the address that they name. The guard decides about the plan like about any other change.

use std::time::Duration;

use ipnet::IpNet;
use monitor_common::record::entry;

use super::access::is_exempt;
use super::address::key;
use super::containment::change_of;
use super::delta::{self, BanSetting, Delta};
use super::facts::Facts;
use super::plan::Plan;
use api::containments::{Containment, Subject};
use detection::finding::{About, Finding};
use detection::parameters::{Action, Response};
use policy::config::{Mode, Protocol, Rate};

/// Who makes these changes: what they hold back still answers this host.
pub const MADE_BY: &str = "detection";

/// The plan of a response; `None` when nothing is to be done.
pub fn plan(facts: &Facts<'_>, about: &About, finding: &Finding, response: Response) -> Option<Plan> {
    let source = facts.names().prefix(about.subject.address()?);
    if response.action == Action::Alert {
        return None;
    }
    let left_alone = if is_exempt(facts, source) {
        Some("it is exempt")
    } else if facts.installed.surroundings().lifelines.iter().any(|address| source.contains(address)) {
        Some("this host depends on it")
    } else {
        None
    };
    if let Some(why) = left_alone {
        tracing::warn!(%source, detector = %finding.detector, "nothing is done about it: {why}");
        return None;
    }
    if response.action == Action::Ban {
        match unbannable(facts, source, finding) {
            None => return Some(ban(facts, source, finding, response)),
            Some(why) => {
                tracing::warn!(%source, detector = %finding.detector, "it is limited and not banned: {why}");
            }
        }
    }
    limit(facts, about, source, finding, response)
}

/// Why a source is not banned by itself.
fn unbannable(facts: &Facts<'_>, source: IpNet, finding: &Finding) -> Option<&'static str> {
    if opts_in(facts, finding) {
        return None;
    }
    if facts.kernel.is_contacted(key(source.network())) {
        return Some("this host contacted it");
    }
    let is_proven = facts
        .view
        .sources()
        .rows
        .iter()
        .any(|row| row.entry.flags & entry::PROVEN != 0 && source.contains(&row.address()));
    if is_proven { None } else { Some("it did not prove its address") }
}

/// Whether the service that the finding is about lets sources be banned without proof.
fn opts_in(facts: &Facts<'_>, finding: &Finding) -> bool {
    let Some(service) = &finding.service else { return false };
    let services = facts.desired.rules().services();
    let unproven =
        |service: &policy::EffectiveService| service.protection.ban.is_some_and(|ban| ban.unproven);
    let Ok(protocol) = service.protocol.parse::<Protocol>() else { return false };
    let mut named = services.iter().filter(|one| one.matches.is_some());
    let of_port =
        named.find(|one| one.matches.as_ref().is_some_and(|matches| matches.is_for(protocol, service.port)));
    of_port.or(services.first()).is_some_and(unproven)
}

fn limit(
    facts: &Facts<'_>,
    about: &About,
    source: IpNet,
    finding: &Finding,
    response: Response,
) -> Option<Plan> {
    let subject = about.workload.clone().map_or(Subject::Source(source), Subject::Workload);
    if facts.desired.containments().contains_key(&subject) {
        return None;
    }
    let containment = Containment {
        subject: subject.clone(),
        packets: Some(Rate::per_second(response.packets_per_second)),
        bytes: None,
        mode: Mode::Enforce,
        since: facts.now,
        until: facts.now.checked_add(Duration::from_secs(response.for_s)).ok(),
        comment: Some(comment(finding)),
        made_by: MADE_BY.to_owned(),
    };
    let what = format!("contain {subject} for {}", finding.detector);
    Some(Plan::new(what, change_of(subject, Some(containment))))
}

fn ban(facts: &Facts<'_>, source: IpNet, finding: &Finding, response: Response) -> Plan {
    let ban = delta::Ban {
        since: facts.now,
        until: facts.now.checked_add(Duration::from_secs(response.for_s)).ok(),
        comment: Some(comment(finding)),
        made_by: MADE_BY.to_owned(),
    };
    let bans = vec![BanSetting { source, ban: Some(ban) }];
    Plan::new(format!("ban {source} for {}", finding.detector), Delta { bans, ..Delta::default() })
}

fn comment(finding: &Finding) -> String {
    format!("{}: {} {}", finding.detector, finding.measured, finding.unit)
}
