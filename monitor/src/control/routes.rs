//! The handlers, a file per noun: each takes its request apart, asks the engine once, and gives the answer back.

pub mod access;
pub mod alerts;
pub mod config;
pub mod containments;
pub mod flows;
pub mod history;
pub mod life;
pub mod limits;
pub mod sources;
pub mod status;
pub mod tune;
