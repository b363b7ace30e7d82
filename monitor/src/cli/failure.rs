//! How a command fails: one line on standard error, and an exit code that scripts can rely on (docs/reference/cli.md).

use std::io::Write;

use api::client;
use api::{Code, Error};
use policy::config::ConfigError;

macro_rules! exits {
    ($($name:ident = $code:literal, $meaning:literal;)+) => {
        /// What the exit code says.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Exit {
            $(#[doc = $meaning] $name = $code,)+
        }

        impl Exit {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            pub const fn code(self) -> u8 {
                self as u8
            }

            /// One line for docs/reference/cli.md.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }
        }
    };
}

exits! {
    Success = 0, "done";
    Failed = 1, "it failed: the kernel, the store or the system refused";
    Usage = 2, "the command line is wrong";
    NotRunning = 3, "the daemon does not answer";
    NotPermitted = 4, "the caller may not do this";
    Invalid = 5, "the request or the configuration is wrong";
    NeedsConfirmation = 6, "refused for safety: repeat it with `--yes` if it is meant";
    NotFound = 7, "no such service, limit, entry or change";
    Conflict = 8, "it contradicts what is there, such as a foreign XDP program or a change that waits for confirmation";
    Full = 9, "a table is full";
    Unavailable = 10, "the daemon is starting, stopping, too busy or too slow";
    NotSupported = 11, "not part of this build, or switched off in the configuration";
    Warnings = 12, "`sluice doctor` found warnings";
    Broken = 13, "the chain of the audit is broken";
}

/// Why a command ends without success.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    /// What; where; next step. Empty when all was said already.
    pub message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Tells it on standard error.
    pub fn tell(&self) {
        if !self.message.is_empty() {
            // When standard error is closed there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "sluice: {}", self.message);
        }
    }

    /// A failure of the daemon or of a local step, by what its causes say.
    pub fn of(error: &anyhow::Error) -> Self {
        Self::new(exit_of(error), in_short(&format!("{error:#}")))
    }
}

/// A failure is told in few lines: of a long log within it (the kernel's verifier writes thousands) only the end says why.
fn in_short(message: &str) -> String {
    const WHOLE: usize = 12;
    const END: usize = 6;
    let lines: Vec<&str> = message.lines().collect();
    if lines.len() <= WHOLE {
        return message.to_owned();
    }
    let left_out = format!("[{} lines left out]", lines.len() - END - 1);
    let end = &lines[lines.len() - END..];
    [&[lines[0], left_out.as_str()], end].concat().join("\n")
}

fn exit_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<Error>() {
            return error.code.into();
        }
        if cause.downcast_ref::<ConfigError>().is_some() {
            return Exit::Invalid;
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::PermissionDenied
            // To root the kernel says the same of a program that it does not accept.
            && !rustix::process::geteuid().is_root()
        {
            return Exit::NotPermitted;
        }
    }
    Exit::Failed
}

impl From<Code> for Exit {
    fn from(code: Code) -> Self {
        let exit = Self::ALL.iter().find(|exit| exit.code() == code.exit_code());
        exit.copied().unwrap_or(Self::Failed)
    }
}

impl From<client::Failure> for Failure {
    fn from(failure: client::Failure) -> Self {
        let exit = match &failure {
            client::Failure::NotRunning(_) => Exit::NotRunning,
            client::Failure::NoPermission(_) => Exit::NotPermitted,
            client::Failure::Refused(error) => error.code.into(),
            client::Failure::Broken(_) => Exit::Failed,
        };
        Self::new(exit, failure.to_string())
    }
}

/// A reader that goes away (`sluice sources | head`) ends the command without a word.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new(Exit::Success, ""),
            std::io::ErrorKind::PermissionDenied => Self::new(Exit::NotPermitted, error.to_string()),
            _ => Self::new(Exit::Failed, format!("write to standard output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::{Exit, Failure};
    use api::{Code, Error};

    #[test]
    fn exit_codes_agree_with_the_engines() {
        for code in Code::ALL {
            assert_eq!(Exit::from(*code).code(), code.exit_code(), "{code:?}");
        }
    }

    #[test]
    fn of_a_long_log_the_beginning_and_the_end_are_told() {
        let log: Vec<String> = (0..1000).map(|line| format!("line {line}")).collect();
        let failure = Failure::of(&anyhow::anyhow!("{}", log.join("\n")));
        assert_eq!(failure.message.lines().count(), 8);
        assert!(
            failure.message.starts_with("line 0\n[993 lines left out]\nline 994\n"),
            "{}",
            failure.message
        );
        assert!(failure.message.ends_with("line 999"), "{}", failure.message);
    }

    #[test]
    fn the_cause_of_an_error_chooses_its_exit_code() {
        let error = Error::new(Code::Conflict, "eth0 has a foreign program");
        let error = Err::<(), _>(error).context("attach to eth0").unwrap_err();
        let failure = Failure::of(&error);
        assert_eq!(failure.exit, Exit::Conflict);
        assert_eq!(failure.message, "attach to eth0: eth0 has a foreign program");
    }
}
