//! Everything that proves sluice, a file per behaviour. Needs root for what touches the kernel; what cannot run says so.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::cast_precision_loss, reason = "figures of metrics are compared with room to spare")]

mod accuracy;
mod agreement;
mod bans;
mod benign;
mod budgets;
mod captures;
mod containment;
mod crafted;
mod datapath_life;
mod debts;
mod defence;
mod described;
mod faults;
mod fixtures;
mod floods;
mod fragments;
mod generations;
mod inputs;
mod insiders;
mod life;
mod limiter;
mod link_layer;
mod losses;
mod mirror;
mod parser;
mod proofs;
mod random;
mod refusals;
mod replay;
mod segments;
mod served;
mod side_matters;
mod steering;
mod storm;
mod stress;
mod sweeps;
mod table;
mod tuning;
mod verdicts;
mod workloads;
