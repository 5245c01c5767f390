//! What `netform check` finds reached and not reached, with packets.

#[path = "checks/apply.rs"]
mod apply;
mod common;
#[path = "checks/explain.rs"]
mod explain;
#[path = "checks/lab.rs"]
mod lab;
#[path = "checks/many.rs"]
mod many;
#[path = "checks/names.rs"]
mod names;
#[path = "checks/reach.rs"]
mod reach;
#[path = "checks/report.rs"]
mod report;
