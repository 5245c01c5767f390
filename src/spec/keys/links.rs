//! Links with one end.

use super::Need::Optional;
use super::{Key, LINK, Mapping, Shape, key};

/// What `bridge` of a link's end may be: the name of a bridge.
const PORT: Shape = Shape::Pattern(LINK);

/// `bridge` of a veth's end.
pub(super) const BRIDGE_OF_END: Key = key(
    "bridge",
    Optional,
    PORT,
    "The bridge in the same namespace that it is a port of.",
);

/// An entry of `links` of a namespace.
pub(in crate::spec) static LINK_ENTRY: Mapping = Mapping {
    what: "a link",
    about: "A link with one end. With the key of a kind netform makes it; without one it exists already, as \
            `lo` does, and only what is added to it is netform's.",
    keys: &[
        key(
            "bridge",
            Optional,
            Shape::Either(&[Shape::Of(&BRIDGE), PORT]),
            "A mapping: the link is a bridge. A name: the bridge in the same namespace that the link is a \
             port of.",
        ),
        key(
            "dummy",
            Optional,
            Shape::Of(&DUMMY),
            "The link is a dummy, which swallows what is sent over it: a home for addresses.",
        ),
        key(
            "addresses",
            Optional,
            Shape::ListOf(&Shape::Address),
            "Its addresses, each with its length, or without if it lies in exactly one of \
             `subnets`. The first of IPv4 is the primary one.",
        ),
        key(
            "mac",
            Optional,
            Shape::Pattern("^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$"),
            "Its link-layer address. Without it one is derived that is the same after every rebuild. Not \
             for a link that exists already.",
        ),
        key(
            "mtu",
            Optional,
            Shape::Mtu,
            "Its largest packet, in bytes. 1500 without it. Not for a link that exists already.",
        ),
        key(
            "up",
            Optional,
            Shape::Bool(true),
            "Whether it is up. Not for a link that exists already.",
        ),
    ],
    later: &[
        "vlan",
        "vxlan",
        "macvlan",
        "ipvlan",
        "wireguard",
        "vrf",
        "bond",
        "tun",
        "gre",
        "physical",
    ],
};

/// `bridge` of a link, as a kind.
pub(in crate::spec) static BRIDGE: Mapping = Mapping {
    what: "a bridge",
    about: "A switch of Ethernet frames between the links that are its ports.",
    keys: &[
        key(
            "stp",
            Optional,
            Shape::Bool(false),
            "Whether it speaks the spanning tree protocol. A port then waits half a minute before it \
             forwards.",
        ),
        key(
            "vlan_filtering",
            Optional,
            Shape::Bool(false),
            "Whether it looks at the VLANs of frames.",
        ),
    ],
    later: &[],
};

/// `dummy` of a link.
pub(in crate::spec) static DUMMY: Mapping = Mapping {
    what: "a dummy",
    about: "A link that swallows what is sent over it.",
    keys: &[],
    later: &[],
};
