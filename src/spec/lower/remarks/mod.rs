//! What a person should know of the host that a spec meets: what will not pass there, or not stay.
//!
//! Each remark says what is, and what to do. Where it can't be told for certain nothing is said.

mod network_manager;
mod networkd;
mod packets;
mod ranges;
mod resolvers;
mod returns;
mod routers;

use super::Lowering;

impl Lowering<'_> {
    /// Makes all of them. Comes last, when it is known what shall be.
    pub(super) fn remarks(&mut self) {
        self.returns();
        self.packets();
        self.ranges();
        self.resolvers();
        self.routers();
        self.networkd();
        self.network_manager();
    }
}
