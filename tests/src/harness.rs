//! One module per thing that a test needs: packets, captures, the kernel's answers, networks and daemons.

pub mod accuracy;
pub mod capture;
pub mod daemon;
pub mod dialogues;
pub mod flood;
pub mod host;
pub mod http;
pub mod inputs;
pub mod insider;
pub mod kernel;
pub mod listening;
pub mod live;
pub mod network;
pub mod packet;
pub mod pins;
pub mod processor;
pub mod program;
pub mod rules;
pub mod scene;
pub mod skip;
pub mod timeline;
pub mod tracker;
pub mod traffic;
pub mod truth;
pub mod variants;
pub mod verdicts;
