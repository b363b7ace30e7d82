//! What is asked about proposals and trials of limits.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use policy::config::Mode;
use tuning::automatic::Decision;
use tuning::trial::Report;
use tuning::{self, Advice, Aim, Freeze};

/// What tuning is asked to show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TuneQuery {
    /// Only this service.
    #[serde(default)]
    pub service: Option<String>,
    /// Only this class; left out: `outside` and every class that something is known of.
    #[serde(default)]
    pub class: Option<String>,
    #[serde(flatten)]
    pub aim: Aim,
}

/// Names what is proposed for, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TuneTarget {
    pub service: String,
    /// `outside` unless named.
    #[serde(default)]
    pub class: Option<String>,
    #[serde(flatten)]
    pub aim: Aim,
}

/// The answer to [`Command::TuneShow`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TuneList {
    pub at: Timestamp,
    /// Why nothing is learned at present, if so.
    pub freeze: Option<Freeze>,
    pub limits: Vec<Tuned>,
}

/// One class of sources at one service, with what tuning has to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    pub service: String,
    pub class: String,
    /// How far tuning may go.
    pub tuning: tuning::Mode,
    /// What the limit in force does.
    pub mode: Mode,
    pub limits: tuning::Limits,
    pub advice: Advice,
    /// What the limit on trial has shown.
    pub trial: Option<Report>,
    /// What automatic mode decided last, by packets, bytes and connections.
    pub decisions: Option<Vec<Decision>>,
}
