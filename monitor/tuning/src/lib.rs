//! Rates of sources come in, proposed limits go out, with the evidence for each.
//!
//! Pure: the clock is passed in, nothing is read, written or changed here. What was dropped or flagged, and what was
//! offered during a flood or an open alert, never teaches. The way of the data: [`learner`] (fills a [`week`] of
//! [`quantiles`] and the [`busiest`] sources) -> [`proposal`] -> [`trial`], [`automatic`]; [`defence`] and [`aggregates`] stand
//! beside it, and [`tuner`] holds all of it.

pub mod aggregates;
pub mod automatic;
pub mod busiest;
pub mod defence;
pub mod learner;
mod parameters;
pub mod proposal;
pub mod quantiles;
#[cfg(test)]
mod simulation;
pub mod trial;
pub mod tuner;
pub mod week;

pub use learner::{Freeze, Learner, Profile, Sample, Subject, Tick};
pub use parameters::{Auto, Bounds, Defence, Mode, Parameters, Rung, ServiceParameters};
pub use proposal::{Advice, Aim, Limit, Limits};
pub use tuner::{Step, Tuner};

/// A number of things from a computed one: negative is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, which is meant")]
fn whole(number: f64) -> u64 {
    number as u64
}

/// A computed number from a number of things.
#[expect(clippy::cast_precision_loss, reason = "rates and counts of a rate limiter stay far below 2^53")]
fn real(number: u64) -> f64 {
    number as f64
}
