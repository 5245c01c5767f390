//! Bridges (`man 8 bridge`): switches of Ethernet frames between the links that are their ports.

use serde::Serialize;

use super::setting::{Attributes, Setting, is_on};

/// What the kernel calls the kind.
pub const NAME: &str = "bridge";

/// `IFLA_BR_STP_STATE` of `linux/if_link.h`, a number of 32 bits.
const STP_STATE: u16 = 5;

/// `IFLA_BR_VLAN_FILTERING`, a number of 8 bits.
const VLAN_FILTERING: u16 = 7;

/// A bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Bridge {
    /// Whether it speaks the spanning tree protocol. Without it a port forwards at once.
    pub stp: bool,
    /// Whether it looks at the VLAN of a frame.
    pub vlan_filtering: bool,
}

impl Bridge {
    pub(super) const NAME: &str = NAME;
    pub(super) const JOINS: bool = true;

    pub(super) fn read(attributes: &Attributes) -> Bridge {
        Bridge {
            stp: is_on(attributes, STP_STATE),
            vlan_filtering: is_on(attributes, VLAN_FILTERING),
        }
    }

    pub(super) fn settings(&self) -> Vec<Setting> {
        let stp = u32::from(self.stp).to_ne_bytes().to_vec();
        let filtering = vec![u8::from(self.vlan_filtering)];
        vec![
            Setting::switch("stp", self.stp, STP_STATE, stp),
            Setting {
                needs: Some("CONFIG_BRIDGE_VLAN_FILTERING"),
                ..Setting::switch(
                    "vlan_filtering",
                    self.vlan_filtering,
                    VLAN_FILTERING,
                    filtering,
                )
            },
        ]
    }
}
