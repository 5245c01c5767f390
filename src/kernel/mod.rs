//! The kernel: the only room that reads it and changes it.

pub mod nftables;
