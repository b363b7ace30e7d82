//! Text to [`Config`], with the place of every problem.

use std::fmt;

use super::Config;

/// Where in the file something stands; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// Everything that is wrong with a file, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub origin: String,
    pub problems: Vec<(Option<Place>, String)>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (place, message)) in self.problems.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            match place {
                Some(Place { line, column }) => write!(f, "{}:{line}:{column}: {message}", self.origin)?,
                None => write!(f, "{}: {message}", self.origin)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

pub(super) fn parse(text: &str, origin: &str) -> Result<Config, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError {
        origin: origin.to_owned(),
        problems: vec![(None, error.message().to_owned())],
    })
}
