//! What follows a finding by itself: a containment or a ban for a time, where the configuration allows it.
//!
//! In: a finding, whom it is about, and the configured response. Out: a plan, never against an exempt source. The guard
//! decides about it like about any other change.

use std::time::Duration;

use super::access::exempting;
use super::containment::change_of;
use super::delta::{self, BanSetting, Delta};
use super::facts::Facts;
use super::plan::Plan;
use api::containments::{Containment, Subject};
use detection::finding::{About, Finding};
use detection::parameters::{Action, Response};
use policy::config::{Mode, Rate};

/// The plan of a response; `None` when nothing is to be done.
pub fn plan(facts: &Facts<'_>, about: &About, finding: &Finding, response: Response) -> Option<Plan> {
    let source = facts.names().prefix(about.subject.address()?);
    if response.action != Action::Alert && exempting(facts, source).is_some() {
        tracing::warn!(%source, detector = %finding.detector, "nothing is done about it: it is exempt");
        return None;
    }
    let now = facts.now;
    let until = now.checked_add(Duration::from_secs(response.for_s)).ok();
    let comment = Some(format!("{}: {} {}", finding.detector, finding.measured, finding.unit));
    let made_by = "detection".to_owned();
    match response.action {
        Action::Alert => None,
        Action::Limit => {
            let subject = about.workload.clone().map_or(Subject::Source(source), Subject::Workload);
            if facts.desired.containments().contains_key(&subject) {
                return None;
            }
            let containment = Containment {
                subject: subject.clone(),
                packets: Some(Rate::per_second(response.packets_per_second)),
                bytes: None,
                mode: Mode::Enforce,
                since: now,
                until,
                comment,
                made_by,
            };
            let what = format!("contain {subject} for {}", finding.detector);
            Some(Plan::new(what, change_of(subject, Some(containment))))
        }
        Action::Ban => {
            let ban = delta::Ban { since: now, until, comment, made_by };
            let bans = vec![BanSetting { source, ban: Some(ban) }];
            Some(Plan::new(
                format!("ban {source} for {}", finding.detector),
                Delta { bans, ..Delta::default() },
            ))
        }
    }
}
