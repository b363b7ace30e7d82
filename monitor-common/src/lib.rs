//! What sluice's kernel and userspace sides must agree on: layouts and pure decisions.
//!
//! Along the way of a packet: [`packet`] gives bounded reads of a frame, [`parse`] makes a [`parse::Frame`] of it,
//! [`rule`] says what is permitted, [`table`] where a source's entry stands, [`bucket`] and [`sketch`] decide what exceeds a
//! limit, [`containment`] limits one sender by itself, [`conversation`] follows who talks to whom, [`verdict`] names the end
//! of every packet and [`record`] is what both sides read afterwards. [`flow`] and [`names`] are the words they share.
//! Nothing here does I/O, knows a map, or allocates.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod application;
pub mod bucket;
pub mod capture;
pub mod challenge;
pub mod connection;
pub mod containment;
pub mod conversation;
pub mod datagram;
pub mod flow;
pub mod names;
pub mod own_flow;
pub mod packet;
pub mod parse;
pub mod plain;
pub mod proof;
pub mod record;
pub mod request;
pub mod rule;
pub mod sketch;
pub mod table;
pub mod verdict;
pub mod vital;
