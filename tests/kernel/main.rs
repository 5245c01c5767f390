//! The kernel's room on private hosts: what is executed is what is observed.

mod lab;
mod objects;
mod ownership;
mod story;
mod transitions;
mod trouble;
