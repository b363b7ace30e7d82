//! JSON documents and JSON lines: arrays of addresses, objects with a prefix, the ranges that clouds and crawlers publish.

use serde_json::Value;

use super::entry;
use super::line::Line;

/// Keys whose value is an address, a prefix or a range.
const KEYS: [&str; 18] = [
    "cidr",
    "prefix",
    "ip",
    "ipv4",
    "ipv6",
    "ip_prefix",
    "ipv6_prefix",
    "ipv4Prefix",
    "ipv6Prefix",
    "ipPrefix",
    "ipAddress",
    "ip_address",
    "network",
    "address",
    "range",
    "subnet",
    "net",
    "ip_cidr",
];

/// Every entry of a document, with its text.
pub(super) fn entries(document: &Value) -> Vec<(String, Line)> {
    let mut found = Vec::new();
    walk(document, true, &mut found);
    found
}

/// `strict`: a text that is no entry is told, because nothing else belongs where it stands.
fn walk(value: &Value, strict: bool, found: &mut Vec<(String, Line)>) {
    match value {
        Value::String(text) => match entry::read(text) {
            Some(read) => found.push((text.clone(), read.into())),
            None if strict => found.push((text.clone(), Line::Skipped(entry::NOT_UNDERSTOOD.to_owned()))),
            None => {}
        },
        Value::Array(values) => values.iter().for_each(|value| walk(value, strict, found)),
        Value::Object(fields) => {
            let mut named = false;
            for (key, value) in fields.iter().filter(|(key, _)| KEYS.contains(&key.as_str())) {
                // `prefix` may also hold an object of its own.
                named |= value.is_string();
                walk(value, true, found);
                let _ = key;
            }
            // What describes an entry is no entry.
            if !named {
                let others = fields.iter().filter(|(key, _)| !KEYS.contains(&key.as_str()));
                others
                    .filter(|(_, value)| !value.is_string())
                    .for_each(|(_, value)| walk(value, false, found));
            }
        }
        _ => {}
    }
}
