//! A model of the kernel and of what topologies may want, to try the planner against.

mod addresses;
pub(crate) mod carry;
pub(crate) mod check;
pub(crate) mod drift;
pub(crate) mod execute;
pub(crate) mod external;
pub(crate) mod fray;
pub(crate) mod generate;
pub(crate) mod kernel;
pub(crate) mod nexthop;
pub(crate) mod ports;
pub(crate) mod rules;
pub(crate) mod singles;
pub(crate) mod sketch;
pub(crate) mod untag;
