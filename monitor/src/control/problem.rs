//! Errors of the control API as problem details (RFC 9457).
//!
//! In: what went wrong and what to do next. Out: `application/problem+json` with the members `type`, `title`, `status` and
//! `detail` of the RFC, and `code` and `next_step` of ours. Codes are declared in `core::refusal`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::refusal::Refusal;

pub use crate::engine::refusal::Code;

/// One failure, ready to be sent and to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub code: Code,
    /// What is wrong and where.
    pub message: String,
    /// What to do about it; may be empty.
    pub next_step: String,
}

/// The media type of a [`Document`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A [`Problem`] on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// `urn:sluice:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the code means.
    pub title: String,
    pub status: u16,
    /// What is wrong and where.
    pub detail: String,
    pub code: Code,
    /// What to do about it; may be empty.
    pub next_step: String,
}

impl From<&Problem> for Document {
    fn from(problem: &Problem) -> Self {
        let code = problem.code;
        Self {
            kind: format!("urn:sluice:problem:{}", code.label()),
            title: code.meaning().to_owned(),
            status: code.http_status(),
            detail: problem.message.clone(),
            code,
            next_step: problem.next_step.clone(),
        }
    }
}

impl From<Document> for Problem {
    fn from(document: Document) -> Self {
        Self { code: document.code, message: document.detail, next_step: document.next_step }
    }
}

impl Problem {
    pub fn new(code: Code, message: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { code, message: message.into(), next_step: next_step.into() }
    }

    /// The JSON document.
    pub fn document(&self) -> Vec<u8> {
        // A struct of strings always serializes.
        serde_json::to_vec(&Document::from(self)).unwrap_or_default()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, message, next_step } = refusal;
        Self { code, message, next_step: next_step.unwrap_or_default() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        if self.next_step.is_empty() { Ok(()) } else { write!(formatter, "; {}", self.next_step) }
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::{Code, Document, Problem};
    use crate::engine::refusal::Refusal;

    #[test]
    fn a_refusal_keeps_its_status() {
        for code in Code::ALL {
            let problem = Problem::from(Refusal::new(*code, "what"));
            assert_eq!(problem.code.http_status(), code.http_status());
            assert_eq!(Document::from(&problem).status, code.http_status());
        }
    }

    #[test]
    fn every_code_keeps_its_label_through_json() {
        for code in Code::ALL {
            let problem = Problem::new(*code, "what", "next");
            let text = String::from_utf8(problem.document()).unwrap();
            assert!(text.contains(&format!("\"code\":\"{}\"", code.label())), "{text}");
            let back: Document = serde_json::from_str(&text).unwrap();
            assert_eq!(Problem::from(back), problem);
        }
    }

    #[test]
    fn a_problem_reads_as_one_line_with_the_next_step_last() {
        let problem = Problem::new(Code::NotFound, "no service `web`", "see `sluice limit list`");
        assert_eq!(problem.to_string(), "no service `web`; see `sluice limit list`");
    }
}
