//! Everything that proves sluice, a file per behaviour. Needs root for what touches the kernel; what cannot run says so.
#![expect(clippy::enum_glob_use, clippy::wildcard_imports, reason = "rows of a table read as sentences")]

mod agreement;
mod bans;
mod captures;
mod datapath_life;
mod fixtures;
mod floods;
mod generations;
mod inputs;
mod life;
mod limiter;
mod parser;
mod random;
mod refusals;
mod served;
mod steering;
mod tuning;
mod verdicts;
