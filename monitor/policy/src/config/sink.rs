//! `[[alerts.sink]]`: one receiver of findings each, beside the log, the alert log and the webhook.
//!
//! In: the table. Out: the same, checked: which keys belong to which kind, and that addresses can be used.

use std::path::PathBuf;

use detection::finding::{Detector, Severity};
use serde::{Deserialize, Serialize};

use super::check::{Problems, say};

/// Where findings go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// A file of JSON lines.
    Jsonl,
    /// The journal of this host, with fields.
    Journald,
    /// RFC 5424 over UDP, TCP or TLS.
    Syslog,
    /// `POST /api/v2/alerts` of Prometheus' Alertmanager.
    Alertmanager,
}

impl SinkKind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Journald => "journald",
            Self::Syslog => "syslog",
            Self::Alertmanager => "alertmanager",
        }
    }
}

/// What a line of JSON holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineFormat {
    /// As `alerts.jsonl` and the webhook.
    #[default]
    Sluice,
    /// Fields of the Elastic Common Schema.
    Ecs,
}

/// One receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertSink {
    pub kind: SinkKind,
    /// As metrics and problems call it; absent: its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Findings below this are not sent.
    #[serde(default = "warning")]
    pub severity: Severity,
    /// Only findings of these; empty: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detectors: Vec<Detector>,
    /// `jsonl`: the file. `journald`: its socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "is_usual")]
    pub format: LineFormat,
    /// `syslog`: `udp://HOST:PORT`, `tcp://HOST:PORT` or `tls://HOST:PORT`. `alertmanager`: `http://HOST:PORT` or `https://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `syslog` over TLS: the certificates that are trusted, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// `alertmanager`: a file with the value of the header `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_file: Option<PathBuf>,
}

const fn warning() -> Severity {
    Severity::Warning
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_usual(format: &LineFormat) -> bool {
    *format == LineFormat::Sluice
}

impl AlertSink {
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.kind.label())
    }

    /// Whether a finding is for it.
    pub fn wants(&self, detector: Detector, severity: Severity) -> bool {
        severity >= self.severity && (self.detectors.is_empty() || self.detectors.contains(&detector))
    }

    /// Its address in parts: scheme and the rest.
    pub fn address(&self) -> Option<(&str, &str)> {
        self.address.as_deref()?.split_once("://")
    }
}

pub(super) fn check(sinks: &[AlertSink], found: &mut Problems) {
    for (position, sink) in sinks.iter().enumerate() {
        let path = format!("alerts.sink.{}", position + 1);
        let name = sink.name();
        if sinks[..position].iter().any(|other| other.name() == name) {
            say(found, &path, format!("another sink is called `{name}`: give this one a `name`"));
        }
        let well_named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > 32 || !name.chars().all(well_named) {
            say(found, format!("{path}.name"), "1 to 32 letters, digits, `-` and `_`");
        }
        keys(sink, &path, found);
        address(sink, &path, found);
    }
}

/// A key of another kind would be ignored, so it is a mistake.
fn keys(sink: &AlertSink, path: &str, found: &mut Problems) {
    use SinkKind::{Alertmanager, Journald, Jsonl, Syslog};
    let kind = sink.kind;
    let is_tls = sink.address().is_some_and(|(scheme, _)| scheme == "tls");
    for (key, is_there, is_meant) in [
        ("path", sink.path.is_some(), matches!(kind, Jsonl | Journald)),
        ("format", sink.format != LineFormat::Sluice, kind == Jsonl),
        ("address", sink.address.is_some(), matches!(kind, Syslog | Alertmanager)),
        ("ca_file", sink.ca_file.is_some(), kind == Syslog && is_tls),
        ("authorization_file", sink.authorization_file.is_some(), kind == Alertmanager),
    ] {
        if is_there && !is_meant {
            say(found, format!("{path}.{key}"), format!("means nothing to this {} sink", kind.label()));
        }
    }
    let absolute = [&sink.path, &sink.ca_file, &sink.authorization_file];
    for file in absolute.into_iter().flatten().filter(|file| !file.is_absolute()) {
        say(found, path, format!("{} is no absolute path", file.display()));
    }
    if kind == Jsonl && sink.path.is_none() {
        say(found, path, "a jsonl sink needs `path`");
    }
}

fn address(sink: &AlertSink, path: &str, found: &mut Problems) {
    let schemes: &[&str] = match sink.kind {
        SinkKind::Syslog => &["udp", "tcp", "tls"],
        SinkKind::Alertmanager => &["http", "https"],
        SinkKind::Jsonl | SinkKind::Journald => return,
    };
    let path = format!("{path}.address");
    let Some((scheme, rest)) = sink.address() else {
        let example = format!("{}://HOST:PORT", schemes[0]);
        return say(found, path, format!("a {} sink needs one, such as {example}", sink.kind.label()));
    };
    if !schemes.contains(&scheme) {
        say(found, &path, format!("begins with {}://", schemes.join(":// or ")));
    }
    if rest.contains('@') {
        say(found, &path, "holds a password that would be logged: use `authorization_file`");
    }
    let has_port =
        rest.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if sink.kind == SinkKind::Syslog && !has_port {
        say(found, path, format!("`{rest}` is no HOST:PORT"));
    }
}
