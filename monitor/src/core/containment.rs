//! `contain`: the limit of one source's or one workload's own, on everything it sends, with an end.
//!
//! In: subjects and rates. Out: plans, and the list as it works.

use std::time::Duration;

use super::access::{is_exempt, one_source};
use super::asking::Asking;
use super::delta::{ContainmentSetting, Delta};
use super::facts::Facts;
use super::plan::Plan;
use super::ports::Host;
use api::containments::{Contained, Containment, ContainmentList, ContainmentSet, Subject};
use api::{Code, Error};
use policy::config::{Mode, Rate};

/// A plan that contains a subject, or changes how it is contained.
pub fn contain(
    facts: &Facts<'_>,
    host: &mut dyn Host,
    asking: &Asking,
    set: &ContainmentSet,
) -> Result<Plan, Error> {
    let subject = subject(facts, &set.subject)?;
    let nothing = |rate: Option<Rate>| rate.is_some_and(|rate| rate.amount == 0);
    if nothing(set.packets) || nothing(set.bytes) || set.for_seconds == Some(0) {
        return Err(Error::new(Code::Invalid, "a rate or a duration of nothing")
            .next("leave the rates out to cut the subject off, or name more"));
    }
    let until = set.for_seconds.and_then(|time| facts.now.checked_add(Duration::from_secs(time)).ok());
    let containment = Containment {
        subject: subject.clone(),
        packets: set.packets,
        bytes: set.bytes,
        mode: if set.observe { Mode::Observe } else { Mode::Enforce },
        since: facts.now,
        until,
        comment: set.comment.clone(),
        made_by: asking.made_by(),
    };
    let mut warnings = Vec::new();
    match &subject {
        Subject::Source(source) => {
            if is_exempt(facts, *source) {
                warnings.push(format!("{subject} is exempt, and an exemption goes before a containment"));
            }
        }
        Subject::Workload(name) => {
            if host.cgroups(name).is_empty() {
                warnings.push(format!(
                    "no workload called {subject} runs at present; it is contained as soon as it does"
                ));
            }
            if !facts.interfaces.follows_egress() {
                warnings.push(
                    "no interface's egress is followed (interfaces.egress), so no workload is held"
                        .to_owned(),
                );
            }
        }
    }
    let what = format!("contain {subject}");
    Ok(Plan { warnings, ..Plan::new(what, change_of(subject, Some(containment))) })
}

/// A plan that takes a containment back.
pub fn lift(facts: &Facts<'_>, text: &str) -> Result<Plan, Error> {
    let subject = subject(facts, text)?;
    if !facts.desired.containments().contains_key(&subject) {
        return Err(Error::new(Code::NotFound, format!("{subject} is not contained"))
            .next("`sluice contain` lists who is"));
    }
    Ok(Plan::new(format!("lift the containment of {subject}"), change_of(subject, None)))
}

/// Containments as they work.
pub fn list(facts: &Facts<'_>) -> Result<ContainmentList, Error> {
    let table = facts.kernel.contained().map_err(|error| Error::failed(&error))?;
    let containments = facts.desired.containments().values().map(|containment| {
        let now = facts.installed.contained().effectiveness(containment, &table);
        Contained {
            containment: containment.clone(),
            in_force: now.in_force,
            judged: now.judged,
            over: now.over,
        }
    });
    Ok(ContainmentList { containments: containments.collect() })
}

fn subject(facts: &Facts<'_>, text: &str) -> Result<Subject, Error> {
    let subject = text.parse::<Subject>().map_err(|why| Error::new(Code::Invalid, why))?;
    match subject {
        Subject::Source(prefix) => one_source(facts, prefix, "a containment").map(Subject::Source),
        workload @ Subject::Workload(_) => Ok(workload),
    }
}

/// A change of one containment.
pub fn change_of(subject: Subject, containment: Option<Containment>) -> Delta {
    Delta { containments: vec![ContainmentSetting { subject, containment }], ..Delta::default() }
}
