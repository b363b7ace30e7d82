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

/// Kinds of refusals. Names, statuses and exit codes are API (docs/reference/control-api.md, docs/reference/cli.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request or the configuration file is wrong.
    Invalid,
    /// The caller's role is too low.
    NotPermitted,
    /// No such service, limit, entry or change.
    NotFound,
    /// It contradicts what is there: a foreign XDP program, a change that waits for confirmation.
    Conflict,
    /// It would cut off the caller, another operator or loopback: ask again with `yes`.
    NeedsConfirmation,
    /// A table is full.
    Full,
    /// The daemon is starting or stopping, or too busy.
    Unavailable,
    /// Not part of this build or switched off in the configuration.
    NotSupported,
    /// The kernel or the store failed.
    Failed,
}

impl Code {
    pub const ALL: [Self; 9] = [
        Self::Invalid,
        Self::NotPermitted,
        Self::NotFound,
        Self::Conflict,
        Self::NeedsConfirmation,
        Self::Full,
        Self::Unavailable,
        Self::NotSupported,
        Self::Failed,
    ];

    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::NotPermitted => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::NeedsConfirmation => 428,
            Self::Failed => 500,
            Self::NotSupported => 501,
            Self::Unavailable => 503,
            Self::Full => 507,
        }
    }

    /// Exit codes of the command line; 0 is success, 2 is wrong usage, 3 an unreachable daemon.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::NotPermitted => 4,
            Self::Invalid => 5,
            Self::NeedsConfirmation => 6,
            Self::NotFound => 7,
            Self::Conflict => 8,
            Self::Full => 9,
            Self::Unavailable => 10,
            Self::NotSupported => 11,
        }
    }
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

    #[test]
    fn every_code_has_an_exit_code_and_a_status_of_its_own() {
        let exits: HashSet<_> = Code::ALL.iter().map(|code| code.exit_code()).collect();
        let statuses: HashSet<_> = Code::ALL.iter().map(|code| code.http_status()).collect();
        assert_eq!((exits.len(), statuses.len()), (Code::ALL.len(), Code::ALL.len()));
        assert!(exits.is_disjoint(&HashSet::from([0, 2, 3])));
    }
}
