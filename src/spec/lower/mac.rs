//! Link-layer addresses that stay the same after every rebuild.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::resource::Ns;
use crate::resource::link::MacAddress;
use crate::resource::name::{LinkName, TopologyName};

/// A locally administered unicast address (IEEE 802, bits 1 and 0 of the first octet) that depends on
/// the machine, the topology, the namespace and the name, and on nothing else.
///
/// An address that is set at creation is also one that udev's `MACAddressPolicy=persistent` leaves
/// alone (`man 5 systemd.link`).
pub(super) fn derived(
    machine: &str,
    topology: &TopologyName,
    ns: &Ns,
    name: &LinkName,
) -> MacAddress {
    let mut hasher = SipHasher13::new();
    let ns = match ns {
        Ns::Named(name) => name.as_str(),
        Ns::Host => "",
    };
    for part in [machine, topology.as_str(), ns, name.as_str()] {
        hasher.write(part.as_bytes());
        // No name has a NUL: the parts stay apart.
        hasher.write_u8(0);
    }
    let [_, _, mut bytes @ ..] = hasher.finish().to_be_bytes();
    bytes[0] = bytes[0] & 0b1111_1100 | 0b0000_0010;
    MacAddress(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(machine: &str, ns: &str, name: &str) -> MacAddress {
        let topology = TopologyName::try_from("t").expect("a name");
        let ns = match ns {
            "host" => Ns::Host,
            ns => Ns::Named(ns.try_into().expect("a name")),
        };
        derived(machine, &topology, &ns, &name.try_into().expect("a name"))
    }

    #[test]
    fn an_address_is_the_same_for_ever() {
        // A release that changes these changes every link of every user.
        assert_eq!(of("m", "a", "v").to_string(), FIRST);
        assert_eq!(of("m", "host", "v").to_string(), SECOND);
    }

    const FIRST: &str = "16:27:6b:d0:36:e5";
    const SECOND: &str = "02:3c:78:e5:f3:1f";

    #[test]
    fn each_part_counts_and_the_address_is_local_and_unicast() {
        let all = [
            of("m", "a", "v"),
            of("n", "a", "v"),
            of("m", "b", "v"),
            of("m", "a", "w"),
        ];
        for (at, mac) in all.iter().enumerate() {
            assert_eq!(mac.0[0] & 0b11, 0b10);
            assert!(!all[..at].contains(mac));
        }
    }
}
