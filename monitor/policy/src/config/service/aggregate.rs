//! `aggregate` as a word: `"auto"`, the default, or `"off"`, where no rates are named.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use super::{AggregateLimits, Limits, Mode};

impl AggregateLimits {
    /// Whether the daemon finds what strangers may take: no rates are named, and it is not switched off.
    pub fn is_automatic(&self) -> bool {
        self.limits() == Limits::default() && self.mode != Some(Mode::Off)
    }
}

/// Reads a word, or the table of rates.
pub fn word_or_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AggregateLimits, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = AggregateLimits;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"auto\", \"off\" or a table of rates")
        }

        fn visit_str<E: de::Error>(self, word: &str) -> Result<AggregateLimits, E> {
            match word {
                "auto" => Ok(AggregateLimits::default()),
                "off" => Ok(AggregateLimits { mode: Some(Mode::Off), ..AggregateLimits::default() }),
                _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
            }
        }

        fn visit_map<A: de::MapAccess<'de>>(self, table: A) -> Result<AggregateLimits, A::Error> {
            AggregateLimits::deserialize(de::value::MapAccessDeserializer::new(table))
        }
    }
    deserializer.deserialize_any(Visitor)
}
