//! An entry as a line: the SHA-256 of the entry, a space, the entry as JSON.
//!
//! In: what happened. Out: one line of bounded length without control characters, and back.

use anyhow::{Context, Result, bail, ensure};
use api::Origin;
use api::audit::{AuditChange, AuditEntry, AuditKind, AuditMissing};
use api::escape::escaped;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

/// The predecessor of the first entry.
pub const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// No line is longer.
pub const LONGEST: usize = 64 << 10;
/// Longer texts are cut.
const TEXT: usize = 500;
/// Longer values are cut, and named by their SHA-256.
const VALUE: usize = 2048;
/// Changes that one entry names.
const CHANGES: usize = 8;

/// What happened, before it has a place in the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEntry {
    pub at: Timestamp,
    pub kind: AuditKind,
    pub user: Option<String>,
    pub origin: Origin,
    pub what: String,
    pub outcome: String,
    pub detail: Option<String>,
    pub request: Option<Value>,
    pub changes: Vec<AuditChange>,
    pub missing: Option<AuditMissing>,
}

impl NewEntry {
    /// Something that was done.
    pub fn new(at: Timestamp, kind: AuditKind, origin: Origin, what: impl Into<String>) -> Self {
        Self {
            at,
            kind,
            user: None,
            origin,
            what: what.into(),
            outcome: "done".to_owned(),
            detail: None,
            request: None,
            changes: Vec::new(),
            missing: None,
        }
    }

    /// The same in bounded size, with every control character made visible.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.what = text(&self.what);
        self.user = self.user.map(|user| text(&user));
        self.detail = self.detail.map(|detail| text(&detail));
        self.request = self.request.map(|request| value(&request));
        self.changes.truncate(CHANGES);
        for change in &mut self.changes {
            change.what = text(&change.what);
            change.before = value(&change.before);
            change.after = value(&change.after);
        }
        self
    }

    /// Its place in the chain.
    pub fn after(&self, number: u64, previous: &str) -> AuditEntry {
        let Self { at, kind, user, origin, what, outcome, detail, request, changes, missing } = self.clone();
        let (previous, sha256) = (previous.to_owned(), String::new());
        AuditEntry {
            number,
            at,
            kind,
            user,
            origin,
            what,
            outcome,
            detail,
            request,
            changes,
            missing,
            previous,
            sha256,
        }
    }
}

/// The line with its end, and the SHA-256 in it.
pub fn write(entry: &AuditEntry) -> Result<(Vec<u8>, String)> {
    let json = serde_json::to_vec(entry).context("write an entry of the audit")?;
    let sha256 = sha256(&json);
    let line = [sha256.as_bytes(), b" ", &json, b"\n"].concat();
    ensure!(line.len() <= LONGEST, "an entry of the audit is too long");
    Ok((line, sha256))
}

/// The entry of a line without its end. The SHA-256 in it is that of its text, and the error says so when the line claims
/// another.
pub fn read(line: &[u8]) -> Result<AuditEntry> {
    let (claimed, json) = line.split_at_checked(NOTHING.len()).context("it is too short")?;
    let json = json.strip_prefix(b" ").context("it has no SHA-256 before it")?;
    let sha256 = sha256(json);
    if claimed != sha256.as_bytes() {
        bail!("its text was changed: it has the SHA-256 {sha256}");
    }
    let entry = serde_json::from_slice::<AuditEntry>(json).context("it is no entry")?;
    Ok(AuditEntry { sha256, ..entry })
}

/// Hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
}

fn text(text: &str) -> String {
    let cut: String = text.chars().take(TEXT).collect();
    let more = if cut.len() < text.len() { " (cut)" } else { "" };
    format!("{}{more}", escaped(&cut))
}

fn value(whole: &Value) -> Value {
    let text = whole.to_string();
    if text.len() <= VALUE {
        let mut shown = whole.clone();
        escape(&mut shown);
        return shown;
    }
    let begins: String = text.chars().take(TEXT).collect();
    json!({ "begins": escaped(&begins), "bytes": text.len(), "sha256": sha256(text.as_bytes()) })
}

fn escape(value: &mut Value) {
    match value {
        Value::String(text) => *text = escaped(text).into_owned(),
        Value::Array(values) => values.iter_mut().for_each(escape),
        Value::Object(fields) => fields.values_mut().for_each(escape),
        _ => {}
    }
}
