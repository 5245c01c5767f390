//! A model of the kernel and of what topologies may want, to try the planner against.

pub mod check;
pub mod drift;
pub mod execute;
pub mod generate;
pub mod kernel;
pub mod sketch;
