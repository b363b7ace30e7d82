//! Why the engine did not do what was asked: a code that maps to an HTTP status and an exit code, one line, and the
//! next step. Never a chain of causes without a way out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A refusal as the caller sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: Code,
    /// One line: the thing, the place.
    pub message: String,
    /// What to do next, if anything can be done.
    pub next_step: Option<String>,
}

macro_rules! codes {
    ($($name:ident = $label:literal, $status:literal, $exit:literal, $meaning:literal;)+) => {
        /// Kinds of errors: label, HTTP status, exit code and meaning, declared once. They are API
        /// (docs/reference/control-api.md, docs/reference/cli.md) and never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), next_step: None }
    }

    #[must_use]
    pub fn next(mut self, step: impl Into<String>) -> Self {
        self.next_step = Some(step.into());
        self
    }

    /// A failure of the kernel or the store, its causes in one line.
    pub fn failed(error: &anyhow::Error) -> Self {
        Self::new(Code::Failed, format!("{error:#}"))
            .next("see the daemon's log; the running state is unchanged")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        self.next_step.as_ref().map_or(Ok(()), |step| write!(f, "; {step}"))
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Code;

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
}
