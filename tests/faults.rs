//! What is left when operations fail, when the process is killed, and when it is told to stop.

mod common;
#[path = "faults/lock.rs"]
mod lock;
