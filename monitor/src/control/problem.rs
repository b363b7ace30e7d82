//! How the control API says no: one code per kind of failure, from which the HTTP status follows.
//!
//! In: what went wrong and what to do next. Out: `{"error":{"code","message","next_step"}}`. Codes are API: they are
//! documented in docs/reference/control-api.md and never change their meaning.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::refusal::{self, Refusal};

macro_rules! codes {
    ($($name:ident = $label:literal, $status:literal, $meaning:literal;)+) => {
        /// A kind of failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Code {
            $(#[doc = $meaning] #[serde(rename = $label)] $name,)+
        }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The `code` of the JSON document.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// The HTTP status that carries it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// One sentence for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }
        }
    };
}

codes! {
    Invalid = "invalid", 400, "the request or the configuration is wrong";
    NotPermitted = "not_permitted", 403, "the caller's role does not permit it";
    NotFound = "not_found", 404, "there is no such path, service, limit, entry or change";
    MethodNotAllowed = "method_not_allowed", 405, "the path exists, the method does not";
    TooSlow = "too_slow", 408, "the body of the request did not arrive in time";
    Conflict = "conflict", 409, "it contradicts what is there: a foreign program, a change that waits for confirmation";
    TooLarge = "too_large", 413, "the body is larger than the server reads";
    NeedsConfirmation = "needs_confirmation", 428, "it would cut off the caller, another operator or loopback: repeat it with `yes=true` if it is meant";
    Failed = "failed", 500, "the kernel or the store failed";
    NotSupported = "not_supported", 501, "not part of this build, or switched off in the configuration";
    Unavailable = "unavailable", 503, "the daemon is starting, stopping or too busy";
    TimedOut = "timed_out", 504, "the engine did not answer in time";
    Full = "full", 507, "a table is full";
}

/// One failure, ready to be sent and to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub code: Code,
    /// What is wrong and where.
    pub message: String,
    /// What to do about it; may be empty.
    pub next_step: String,
}

/// The document that carries a [`Problem`].
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorDocument {
    pub error: Problem,
}

impl Problem {
    pub fn new(code: Code, message: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { code, message: message.into(), next_step: next_step.into() }
    }

    /// The JSON document.
    pub fn document(&self) -> Vec<u8> {
        // A struct of strings always serializes.
        serde_json::to_vec(&ErrorDocument { error: self.clone() }).unwrap_or_default()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.code {
            refusal::Code::Invalid => Code::Invalid,
            refusal::Code::NotPermitted => Code::NotPermitted,
            refusal::Code::NotFound => Code::NotFound,
            refusal::Code::Conflict => Code::Conflict,
            refusal::Code::NeedsConfirmation => Code::NeedsConfirmation,
            refusal::Code::Full => Code::Full,
            refusal::Code::Unavailable => Code::Unavailable,
            refusal::Code::NotSupported => Code::NotSupported,
            refusal::Code::Failed => Code::Failed,
        };
        Self { code, message: refusal.message, next_step: refusal.next_step.unwrap_or_default() }
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
    use super::{Code, ErrorDocument, Problem};
    use crate::engine::refusal::{self, Refusal};

    #[test]
    fn a_refusal_keeps_its_status() {
        for code in refusal::Code::ALL {
            let problem = Problem::from(Refusal::new(code, "what"));
            assert_eq!(problem.code.status(), code.http_status());
        }
    }

    #[test]
    fn every_code_keeps_its_label_through_json() {
        for code in Code::ALL {
            let problem = Problem::new(*code, "what", "next");
            let text = String::from_utf8(problem.document()).unwrap();
            assert!(text.contains(&format!("\"code\":\"{}\"", code.label())), "{text}");
            let back: ErrorDocument = serde_json::from_str(&text).unwrap();
            assert_eq!(back.error, problem);
        }
    }

    #[test]
    fn a_problem_reads_as_one_line_with_the_next_step_last() {
        let problem = Problem::new(Code::NotFound, "no service `web`", "see `sluice limit list`");
        assert_eq!(problem.to_string(), "no service `web`; see `sluice limit list`");
    }
}
