//! Text to [`Config`]: strict reading, then checks of the whole, each problem with its place in the file.

use std::fmt;

use serde::Deserialize;
use toml::de::{DeTable, Deserializer};

use super::{Config, check, nearest, place::Places};

pub use super::place::Place;

/// Everything that is wrong with a file, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub origin: String,
    pub problems: Vec<Problem>,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Absent when it concerns a default that the file does not spell out.
    pub place: Option<Place>,
    /// A sentence that names the key and what to write instead.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, Problem { place, message }) in self.problems.iter().enumerate() {
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
    let fail = |problems| ConfigError { origin: origin.to_owned(), problems };
    let table = DeTable::parse(text).map_err(|error| {
        let place = error.span().map(|span| Place::of(text, span.start));
        fail(vec![Problem { place, message: format!("not TOML: {}", first_line(error.message())) }])
    })?;
    let places = Places::new(text, &table);
    let config = Config::deserialize(Deserializer::from(table.clone())).map_err(|error| {
        let key = error.span().and_then(|span| places.key_at(span.start));
        let place = error.span().map(|span| Place::of(text, span.start));
        fail(vec![Problem { place, message: plain_words(error.message(), key.as_deref()) }])
    })?;
    let problems: Vec<Problem> = check::problems(&config)
        .into_iter()
        .map(|(path, message)| Problem { place: places.find(&path), message: format!("{path}: {message}") })
        .collect();
    if problems.is_empty() { Ok(config) } else { Err(fail(problems)) }
}

/// The reader's message in the words of this file: serde's candidates become the one that was probably meant.
fn plain_words(message: &str, key: Option<&str>) -> String {
    let message = first_line(message);
    if let Some((unknown, candidates)) = split_unknown(message) {
        let table = key.and_then(|key| key.rsplit_once('.')).map(|(table, _)| table);
        let within = table.map_or_else(String::new, |table| format!(" in [{table}]"));
        return match nearest::nearest(unknown, candidates.iter().copied()) {
            Some(meant) => format!("unknown key `{unknown}`{within}; did you mean `{meant}`?"),
            None if candidates.is_empty() => format!("unknown key `{unknown}`{within}; no key is known here"),
            None => format!("unknown key `{unknown}`{within}; known are {}", candidates.join(", ")),
        };
    }
    if let Some(missing) = message.strip_prefix("missing field ") {
        return match key {
            Some(key) => format!("{key}: the key {missing} is missing"),
            None => format!("the key {missing} is missing"),
        };
    }
    match key {
        Some(key) => format!("{key}: {}", message.replace("unknown variant", "unknown value")),
        None => message.to_owned(),
    }
}

/// The unknown key and the known ones out of serde's sentence, in which all of them stand between backquotes.
fn split_unknown(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message.strip_prefix("unknown field `")?.split('`');
    let unknown = quoted.next()?;
    // After the unknown one, every second piece stands between backquotes.
    Some((unknown, quoted.skip(1).step_by(2).collect()))
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}
