//! What can be done from the screen: a form per key, a change per form.
//!
//! In: what the selected row is about, and what was typed. Out: a command of the API. Nothing is done before it was
//! confirmed.

use ipnet::IpNet;
use policy::LimitKind;
use policy::config::{Duration, Mode, Rate};

use super::panes::About;
use crate::cli::sources::address;
use crate::snapshot::LimitInForce;
use api::access::{AccessAdd, AccessKind};
use api::alerts::AlertSilence;
use api::history::Revert;
use api::limits::{LimitSet, RateRequest};
use detection::finding::Detector;

/// A change that can be made.
#[derive(Clone, Debug)]
pub enum Action {
    Access(AccessAdd),
    Limit(Box<LimitSet>),
    Silence(AlertSilence),
    Revert(Revert),
}

/// What a form is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Purpose {
    Access(AccessKind, IpNet),
    Limit { service: String, class: Option<String> },
    Silence { detector: Detector, subject: Option<IpNet> },
    Revert(u64),
}

/// One thing to be typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub label: &'static str,
    pub value: String,
}

/// What is asked before a change.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    pub purpose: Purpose,
    pub fields: Vec<Field>,
    /// The field that is typed into; behind the last: the question.
    pub at: usize,
    /// What was wrong with it.
    pub error: Option<String>,
}

fn field(label: &'static str, value: impl Into<String>) -> Field {
    Field { label, value: value.into() }
}

impl Form {
    /// The form of a key for a row, or why there is none.
    pub fn of(key: char, about: &About, limits: &[LimitInForce]) -> Result<Self, &'static str> {
        let (purpose, fields) = match (key, about) {
            ('b' | 'e', about) => {
                let prefix = source_of(about).ok_or("this row is about no address")?;
                let reason = field("why", "");
                if key == 'b' {
                    (Purpose::Access(AccessKind::Ban, prefix), vec![field("for", "10m"), reason])
                } else {
                    (Purpose::Access(AccessKind::Exempt, prefix), vec![field("for", "1h"), reason])
                }
            }
            ('l', About::Service(service) | About::Source { service, .. }) => {
                let class = if let About::Source { class, .. } = about { class } else { EVERY_CLASS };
                let now = in_force(limits, service, class);
                let of_class = now.map(|limit| limit.class.clone()).filter(|class| class != EVERY_CLASS);
                let rate = now.and_then(|limit| limit.packets).map(|limit| limit.rate.to_string());
                let mode = now.map_or(Mode::Observe, |limit| limit.mode);
                let rate = field("packets per source", rate.unwrap_or_else(|| "1k/s".to_owned()));
                let purpose = Purpose::Limit { service: service.clone(), class: of_class };
                (purpose, vec![rate, field("mode", mode.label())])
            }
            ('l', _) => return Err("a limit belongs to a service: select a service or a source"),
            ('x', About::Finding(alert)) => {
                let purpose = Purpose::Silence {
                    detector: alert.finding.detector,
                    subject: prefix(&alert.finding.subject),
                };
                (purpose, vec![field("for", "1h"), field("why", "")])
            }
            ('x', _) => return Err("only findings are silenced: select one"),
            ('u', About::Change(change)) => (Purpose::Revert(change.number), Vec::new()),
            _ => return Err("changes are undone in their pane: select one"),
        };
        Ok(Self { purpose, fields, at: 0, error: None })
    }

    /// Whether everything is typed and the question is asked.
    pub fn is_question(&self) -> bool {
        self.at >= self.fields.len()
    }

    /// Goes on behind the field that is typed into; what is wrong with all of it is said before the question.
    pub fn next(&mut self) {
        self.error = None;
        self.at += 1;
        if self.is_question()
            && let Err(error) = self.action()
        {
            self.error = Some(error);
            self.at = 0;
        }
    }

    fn value(&self, label: &str) -> &str {
        self.fields.iter().find(|field| field.label == label).map_or("", |field| field.value.trim())
    }

    /// How long; nothing typed is no end.
    fn seconds(&self) -> Result<Option<u64>, String> {
        match self.value("for") {
            "" => Ok(None),
            text => text.parse().map(|Duration(time)| Some(time.as_secs().max(1))),
        }
    }

    /// The change that is asked for.
    pub fn action(&self) -> Result<Action, String> {
        let why = self.value("why");
        Ok(match &self.purpose {
            Purpose::Access(kind, prefix) => Action::Access(AccessAdd {
                kind: *kind,
                prefix: *prefix,
                for_seconds: self.seconds()?,
                comment: (!why.is_empty()).then(|| why.to_owned()),
            }),
            Purpose::Limit { service, class } => {
                let rate = Rate::counted(self.value("packets per source"))?;
                let mode = Mode::ALL.into_iter().find(|mode| mode.label() == self.value("mode"));
                Action::Limit(Box::new(LimitSet {
                    service: service.clone(),
                    class: class.clone(),
                    kind: LimitKind::PerSource,
                    mode: Some(mode.ok_or("write off, observe or enforce as the mode")?),
                    packets: Some(RateRequest { rate, burst: None }),
                    bytes: None,
                    connections: None,
                    fragments: None,
                    requests: None,
                    handshakes: None,
                    concurrent: None,
                }))
            }
            Purpose::Silence { detector, subject } => {
                if why.is_empty() {
                    return Err("write why, for those who wonder later".to_owned());
                }
                Action::Silence(AlertSilence {
                    detector: Some(*detector),
                    subject: *subject,
                    reason: why.to_owned(),
                    for_seconds: self.seconds()?,
                })
            }
            Purpose::Revert(number) => Action::Revert(Revert { number: *number }),
        })
    }

    /// What will be done.
    pub fn title(&self) -> String {
        match &self.purpose {
            Purpose::Access(kind, prefix) => format!("{} {}", kind.label(), address(prefix)),
            Purpose::Limit { service, class: None } => format!("limit {service}"),
            Purpose::Limit { service, class: Some(class) } => format!("limit {service} for {class}"),
            Purpose::Silence { detector, subject } => {
                let about = subject.map_or_else(|| "everything".to_owned(), |subject| address(&subject));
                format!("silence {} about {about}", detector.label())
            }
            Purpose::Revert(number) => format!("undo change {number}"),
        }
    }

    /// In one line: what is typed so far, and the question at the end.
    pub fn line(&self) -> String {
        let mut line = self.title();
        for (place, field) in self.fields.iter().enumerate().take(self.at + 1) {
            let cursor = if place == self.at { "_" } else { "" };
            for part in [", ", field.label, ": ", &field.value, cursor] {
                line.push_str(part);
            }
        }
        if self.is_question() {
            line.push_str("? y/n");
        }
        line
    }
}

/// The class of a limit that holds for every class without one of its own.
const EVERY_CLASS: &str = "any";

/// The limit that holds for a class at a service.
fn in_force<'a>(limits: &'a [LimitInForce], service: &str, class: &str) -> Option<&'a LimitInForce> {
    let of = |class: &str| {
        let mut all = limits.iter();
        all.find(|one| one.service == service && one.class == class && one.kind == LimitKind::PerSource)
    };
    of(class).or_else(|| of(EVERY_CLASS))
}

/// The source that a row is about.
fn source_of(about: &About) -> Option<IpNet> {
    match about {
        About::Source { source, .. } => Some(*source),
        About::Flow { initiator, .. } => Some(IpNet::from(*initiator)),
        About::Finding(alert) => prefix(&alert.finding.subject),
        About::Interface(_) | About::Service(_) | About::Change(_) => None,
    }
}

/// A subject that is an address or a prefix.
fn prefix(subject: &str) -> Option<IpNet> {
    api::schema::parse_prefix(subject).ok()
}

#[cfg(test)]
mod tests {
    use super::{Action, Form};
    use crate::cli::samples::{alert, limit};
    use crate::cli::top::panes::About;

    fn source() -> About {
        About::Source {
            source: "198.51.100.9/32".parse().unwrap(),
            service: "web".to_owned(),
            class: "outside".to_owned(),
        }
    }

    /// Takes every field as it stands.
    fn fill(mut form: Form) -> Form {
        while !form.is_question() {
            form.next();
        }
        form
    }

    #[test]
    fn a_key_asks_with_what_is_likely_and_makes_the_change_that_it_names() {
        let finding = About::Finding(Box::new(alert()));
        for (key, about, line, wanted) in [
            ('b', source(), "ban 198.51.100.9, for: 10m, why: ? y/n", "Ban, prefix: 198.51.100.9/32, for_seconds: Some(600)"),
            ('e', source(), "exempt 198.51.100.9, for: 1h, why: ? y/n", "Exempt, prefix: 198.51.100.9/32"),
            ('b', finding.clone(), "ban 10.0.0.5, for: 10m, why: ? y/n", "prefix: 10.0.0.5/32"),
            (
                'l',
                source(),
                "limit web for outside, packets per source: 2k/s, mode: enforce? y/n",
                "service: \"web\", class: Some(\"outside\"), kind: PerSource, mode: Some(Enforce)",
            ),
        ] {
            let form = fill(Form::of(key, &about, &[limit()]).unwrap());
            assert_eq!(form.line(), line);
            let action = format!("{:?}", form.action().unwrap());
            assert!(action.contains(wanted), "{action}");
        }
        assert!(Form::of('x', &source(), &[]).is_err());
        assert!(Form::of('b', &About::Service("web".to_owned()), &[]).is_err());
    }

    #[test]
    fn what_is_wrong_is_said_before_the_question() {
        let mut form = Form::of('b', &source(), &[]).unwrap();
        form.fields[0].value = "soon".to_owned();
        form.next();
        form.next();
        assert!(!form.is_question());
        assert!(form.error.as_deref().unwrap().contains("soon"), "{:?}", form.error);
        // A silence needs its reason.
        let mut form = Form::of('x', &About::Finding(Box::new(alert())), &[]).unwrap();
        form.next();
        form.next();
        assert!(form.error.as_deref().unwrap().contains("why"), "{:?}", form.error);
        form.fields[1].value = "known".to_owned();
        let Action::Silence(silence) = fill(form).action().unwrap() else { panic!("no silence") };
        assert_eq!(silence.subject, "10.0.0.5/32".parse().ok());
    }
}
