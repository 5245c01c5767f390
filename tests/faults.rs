//! What is left when operations fail, when the process is killed, and when it is told to stop.
//!
//! A tracer must know the registers of the machine.
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

#[path = "faults/cases.rs"]
mod cases;
mod common;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/lock.rs"]
mod lock;
#[path = "faults/machine.rs"]
mod machine;
#[path = "faults/operations.rs"]
mod operations;
#[path = "faults/sample.rs"]
mod sample;
#[path = "faults/signals.rs"]
mod signals;
#[path = "faults/tracer.rs"]
mod tracer;
