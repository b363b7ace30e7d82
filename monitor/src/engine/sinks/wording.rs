//! A finding in the words of a receiver: one sentence, its level, its fields.

use crate::engine::command::Alert;
use detection::finding::Severity;
use detection::ledger::ChangeKind;

/// What happened to it.
pub const fn event(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Opened => "opened",
        ChangeKind::Updated => "updated",
        ChangeKind::Escalated => "escalated",
        ChangeKind::Closed => "closed",
        ChangeKind::Retracted => "retracted",
    }
}

/// The level of syslog and the journal; what is over is only worth knowing.
pub const fn priority(severity: Severity, kind: ChangeKind) -> u8 {
    match (kind, severity) {
        (ChangeKind::Closed | ChangeKind::Retracted, _) | (_, Severity::Info) => 6,
        (_, Severity::Warning) => 4,
        (_, Severity::Critical) => 2,
    }
}

/// For people.
pub fn sentence(alert: &Alert, kind: ChangeKind) -> String {
    let found = &alert.finding;
    let target = found.target.as_ref().map(|target| format!(" to {target}")).unwrap_or_default();
    let (measured, threshold) = (short(found.measured), short(found.threshold));
    format!(
        "finding {} {}: {} {} by {}{target}: {measured} {} in {} s (threshold {threshold})",
        alert.id,
        event(kind),
        found.severity.label(),
        found.detector,
        found.subject,
        found.unit,
        found.window_s
    )
}

/// Names and values in the order in which they are shown.
pub fn fields(alert: &Alert, kind: ChangeKind) -> Vec<(&'static str, String)> {
    let found = &alert.finding;
    let service = found.service.as_ref().map(|service| format!("{}/{}", service.protocol, service.port));
    let all = [
        ("event", Some(event(kind).to_owned())),
        ("finding", Some(alert.id.to_string())),
        ("detector", Some(found.detector.to_string())),
        ("severity", Some(found.severity.label().to_owned())),
        ("subject", Some(found.subject.clone())),
        ("target", found.target.clone()),
        ("service", service),
        ("measured", Some(short(found.measured))),
        ("threshold", Some(short(found.threshold))),
        ("unit", Some(found.unit.clone())),
        ("window_s", Some(found.window_s.to_string())),
        ("confidence", Some(short(found.confidence))),
        ("first_seen", Some(format!("{:.0}", found.first_seen))),
        ("containment", Some(found.containment.clone())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The name of this machine.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// At most three digits behind the point, and none where there are none.
fn short(value: f64) -> String {
    let digits = format!("{value:.3}");
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::cli::samples;
    use crate::core::Told;
    use crate::engine::delivery::Message;

    /// A finding at one moment.
    pub fn message(kind: ChangeKind) -> Message {
        let alert = samples::alert();
        let line = crate::engine::alert_log::line(&alert, kind).unwrap();
        Message { told: Told { alert, kind, post: true }, line }
    }

    #[test]
    fn numbers_have_no_needless_digits() {
        for (value, wanted) in
            [(3.0, "3"), (0.25, "0.25"), (1200.0, "1200"), (1.0 / 3.0, "0.333"), (0.0, "0")]
        {
            assert_eq!(short(value), wanted);
        }
    }

    #[test]
    fn what_is_over_is_never_urgent() {
        assert_eq!(priority(Severity::Critical, ChangeKind::Opened), 2);
        assert_eq!(priority(Severity::Warning, ChangeKind::Escalated), 4);
        assert_eq!(priority(Severity::Critical, ChangeKind::Closed), 6);
        assert_eq!(priority(Severity::Info, ChangeKind::Opened), 6);
    }
}
