//! sluice's kernel side. A packet's way in: `window` -> `parse` (shared) -> `policy` -> `limiter` -> `conversations` ->
//! `telemetry`; out (`egress`): `window` -> `parse` -> `containment` -> `conversations`.
#![cfg_attr(
    target_arch = "bpf",
    no_std,
    no_main,
    feature(asm_experimental_arch, core_intrinsics),
    allow(internal_features)
)]

#[cfg(target_arch = "bpf")]
mod aggregate;
#[cfg(target_arch = "bpf")]
mod case;
#[cfg(target_arch = "bpf")]
mod challenge;
#[cfg(target_arch = "bpf")]
mod clock;
#[cfg(target_arch = "bpf")]
mod containment;
#[cfg(target_arch = "bpf")]
mod conversations;
#[cfg(target_arch = "bpf")]
mod egress;
#[cfg(target_arch = "bpf")]
mod entry;
#[cfg(target_arch = "bpf")]
mod flood;
#[cfg(target_arch = "bpf")]
mod fragments;
#[cfg(target_arch = "bpf")]
mod ledger;
#[cfg(target_arch = "bpf")]
mod limiter;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod opening;
#[cfg(target_arch = "bpf")]
mod own_flow;
#[cfg(target_arch = "bpf")]
mod policy;
#[cfg(target_arch = "bpf")]
mod proof;
#[cfg(target_arch = "bpf")]
mod records;
#[cfg(target_arch = "bpf")]
mod requests;
#[cfg(target_arch = "bpf")]
mod stranger;
#[cfg(target_arch = "bpf")]
mod table;
#[cfg(target_arch = "bpf")]
mod telemetry;
#[cfg(target_arch = "bpf")]
mod violation;
#[cfg(target_arch = "bpf")]
mod vital;
#[cfg(target_arch = "bpf")]
mod window;
#[cfg(target_arch = "bpf")]
mod word;

/// The object is only meaningful for the BPF target; elsewhere this keeps the workspace's checks in one command.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
