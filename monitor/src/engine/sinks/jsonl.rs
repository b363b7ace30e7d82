//! Findings as JSON lines in a file that others rotate: as `alerts.jsonl` has them, or in the fields of ECS.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::wording::{event, host, sentence};
use crate::engine::delivery::{Courier, Message, Patience, Queue, Refused};
use crate::engine::line_file::LineFile;
use detection::finding::Severity;
use policy::config::{AlertSink, LineFormat};

/// Readable for the group too: whoever collects logs.
const MODE: u32 = 0o640;
/// The version of the Elastic Common Schema whose fields these are.
const ECS: &str = "8.11.0";

pub fn open(sink: &AlertSink) -> Result<Queue> {
    let Some(path) = sink.path.clone() else { bail!("it has no path") };
    let lines = Lines { file: LineFile::new(path, MODE), format: sink.format };
    Queue::start(sink.name(), lines, Patience::LONG)
}

#[derive(Debug)]
struct Lines {
    file: LineFile,
    format: LineFormat,
}

impl Courier for Lines {
    fn deliver(&mut self, message: &Message) -> Result<(), Refused> {
        match self.format {
            LineFormat::Sluice => self.file.append(&message.line)?,
            LineFormat::Ecs => {
                let line = serde_json::to_string(&ecs(message)).context("write a finding as JSON");
                self.file.append(&line.map_err(Refused::Never)?)?;
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        self.file.close();
    }
}

/// In ECS; everything that it has no field for is under `sluice`.
fn ecs(message: &Message) -> Value {
    let (alert, kind) = (&message.told.alert, message.told.kind);
    let found = &alert.finding;
    let severity = match found.severity {
        Severity::Info => 21,
        Severity::Warning => 47,
        Severity::Critical => 99,
    };
    let mut document = json!({
        "@timestamp": alert.updated,
        "ecs": { "version": ECS },
        "message": sentence(alert, kind),
        "log": { "level": found.severity.label() },
        "event": {
            "kind": "alert",
            "category": ["network", "intrusion_detection"],
            "type": ["info"],
            "module": "sluice",
            "dataset": "sluice.findings",
            "action": event(kind),
            "id": alert.id.to_string(),
            "severity": severity,
            "start": found.first_seen,
            "end": found.last_seen,
        },
        "rule": { "name": found.detector, "ruleset": "sluice" },
        "host": { "hostname": host() },
        "observer": { "vendor": "sluice", "product": "sluice", "type": "firewall" },
        "sluice": { "schema_version": api::command::SCHEMA_VERSION, "alert": alert },
    });
    if let Some(source) = address(&found.subject) {
        document["source"] = json!({ "ip": source, "address": found.subject });
    }
    if let Some(target) = &found.target {
        document["destination"] = json!({ "address": target });
        if let Some(ip) = address(target) {
            document["destination"]["ip"] = json!(ip);
        }
    }
    if let Some(service) = &found.service {
        document["destination"]["port"] = json!(service.port);
        document["network"] = json!({ "transport": service.protocol });
    }
    document
}

fn address(text: &str) -> Option<std::net::IpAddr> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::wording::tests::message;
    use super::*;
    use detection::ledger::ChangeKind;

    #[test]
    fn a_finding_in_ecs_has_its_fields_in_their_places() {
        let document = ecs(&message(ChangeKind::Opened));
        assert_eq!(document["event"]["kind"], "alert");
        assert_eq!(document["event"]["action"], "opened");
        assert_eq!(document["rule"]["name"], document["sluice"]["alert"]["finding"]["detector"].clone());
        assert!(document["@timestamp"].as_str().unwrap().ends_with('Z'));
        assert!(document["source"]["ip"].is_string(), "{document}");
        assert!(document["message"].as_str().unwrap().starts_with("finding "), "{document}");
    }
}
