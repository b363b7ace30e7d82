//! What can go wrong: one table of code, HTTP status, exit code and meaning, for the daemon, the command line and the pages.
//!
//! An [`Error`] travels as a problem document (RFC 9457): `application/problem+json` with the members `type`, `title`,
//! `status` and `detail` of the RFC, and `code` and `next_step` of ours.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($name:ident = $label:literal, $status:literal, $exit:literal, $meaning:literal;)+) => {
        /// Kinds of errors: label, HTTP status, exit code and meaning, declared once. They are API
        /// (docs/reference/control-api.md, docs/reference/cli.md) and never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// The exit code of the command line; 0 is success, 2 is wrong usage, 3 an unreachable daemon.
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$name => $exit,)+ }
            }

            /// One sentence for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }
        }
    };
}

codes! {
    Invalid = "invalid", 400, 5, "the request or the configuration is wrong";
    NotPermitted = "not_permitted", 403, 4, "the caller's role does not permit it";
    NotFound = "not_found", 404, 7, "there is no such path, service, limit, entry or change";
    MethodNotAllowed = "method_not_allowed", 405, 11, "the path exists, the method does not";
    TooSlow = "too_slow", 408, 10, "the body of the request did not arrive in time";
    Conflict = "conflict", 409, 8, "it contradicts what is there: a foreign program, a change that waits for confirmation";
    TooLarge = "too_large", 413, 5, "the body is larger than the server reads";
    NeedsConfirmation = "needs_confirmation", 428, 6, "it would cut off the caller, another operator or loopback: repeat it with `yes=true` if it is meant";
    Failed = "failed", 500, 1, "the kernel or the store failed";
    NotSupported = "not_supported", 501, 11, "not part of this build, or switched off in the configuration";
    Unavailable = "unavailable", 503, 10, "the daemon is starting, stopping or too busy";
    TimedOut = "timed_out", 504, 10, "the engine did not answer in time";
    Full = "full", 507, 9, "a table is full";
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    pub code: Code,
    /// One line: the thing, the place.
    pub message: String,
    /// What to do next, if anything can be done.
    pub next_step: Option<String>,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), next_step: None }
    }

    #[must_use]
    pub fn next(mut self, step: impl Into<String>) -> Self {
        self.next_step = Some(step.into());
        self
    }

    /// A failure of the kernel or the store, its causes in one line.
    pub fn failed(error: &impl fmt::Display) -> Self {
        Self::new(Code::Failed, format!("{error:#}"))
            .next("see the daemon's log; the running state is unchanged")
    }

    /// The JSON of its [`Problem`].
    pub fn json(&self) -> Vec<u8> {
        // A struct of strings always serializes.
        serde_json::to_vec(&Problem::from(self)).unwrap_or_default()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        self.next_step.as_ref().map_or(Ok(()), |step| write!(f, "; {step}"))
    }
}

impl std::error::Error for Error {}

/// The media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An [`Error`] on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
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

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let code = error.code;
        Self {
            kind: format!("urn:sluice:problem:{}", code.label()),
            title: code.meaning().to_owned(),
            status: code.http_status(),
            detail: error.message.clone(),
            code,
            next_step: error.next_step.clone().unwrap_or_default(),
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let Problem { code, detail, next_step, .. } = problem;
        Self { code, message: detail, next_step: (!next_step.is_empty()).then_some(next_step) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Code, Error, Problem};

    /// Those that only the HTTP server gives; each shares the exit code of the kind that it is an instance of.
    const OF_THE_SERVER: [Code; 4] = [Code::MethodNotAllowed, Code::TooSlow, Code::TooLarge, Code::TimedOut];

    #[test]
    fn every_code_has_an_exit_code_and_a_status_of_its_own() {
        let of_the_core: Vec<_> = Code::ALL.iter().filter(|code| !OF_THE_SERVER.contains(code)).collect();
        let exits: HashSet<_> = of_the_core.iter().map(|code| code.exit_code()).collect();
        let statuses: HashSet<_> = Code::ALL.iter().map(|code| code.http_status()).collect();
        let labels: HashSet<_> = Code::ALL.iter().map(|code| code.label()).collect();
        assert_eq!((exits.len(), statuses.len()), (of_the_core.len(), Code::ALL.len()));
        assert_eq!(labels.len(), Code::ALL.len());
        assert!(exits.is_disjoint(&HashSet::from([0, 2, 3])));
        assert!(OF_THE_SERVER.iter().all(|code| exits.contains(&code.exit_code())));
    }

    #[test]
    fn every_code_keeps_its_label_and_status_through_json() {
        for code in Code::ALL {
            let error = Error::new(*code, "what").next("next");
            let text = String::from_utf8(error.json()).unwrap();
            assert!(text.contains(&format!("\"code\":\"{}\"", code.label())), "{text}");
            let back: Problem = serde_json::from_str(&text).unwrap();
            assert_eq!(back.status, code.http_status());
            assert_eq!(Error::from(back), error);
        }
    }

    #[test]
    fn an_error_reads_as_one_line_with_the_next_step_last() {
        let error = Error::new(Code::NotFound, "no service `web`").next("see `sluice limit list`");
        assert_eq!(error.to_string(), "no service `web`; see `sluice limit list`");
    }
}
