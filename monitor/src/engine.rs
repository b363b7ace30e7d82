//! The one owner of everything that can change: datapath, policy, detection and tuning.
//!
//! In: commands over a channel, kernel events, ticks. Out: answers, and a snapshot a second. It never blocks on a caller.

pub mod command;
pub mod delta;
pub mod handle;
pub mod links;
pub mod operators;
pub mod refusal;

pub use handle::Handle;
