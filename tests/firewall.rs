//! The firewalls of others: what is said of them, and what becomes of packets.

mod common;
#[path = "firewall/iptables.rs"]
mod iptables;
#[path = "firewall/judge.rs"]
mod judge;
#[path = "firewall/legacy.rs"]
mod legacy;
#[path = "firewall/random.rs"]
mod random;
#[path = "firewall/rules.rs"]
mod rules;
#[path = "firewall/warn.rs"]
mod warn;
