//! The harness that the tests, the benchmarks and the demonstration share.
//!
//! In: nothing of the programs under test but their public faces (the object's maps and programs, the daemon's socket
//! and command line). Out: packets, loaded programs, private networks, running daemons. Everything made is bounded in
//! time and removed when its owner is dropped.

pub mod harness;
