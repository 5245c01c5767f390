//! The keys of subnets and of what is below them.

use super::Need::{Optional, Required};
use super::{Mapping, REFERENCE, SUBNET, Shape, key};

/// An entry of `subnets`.
pub(in crate::spec) static SUBNET_ENTRY: Mapping = Mapping {
    what: "a subnet",
    about: "A prefix, its gateway and its way out. A dual-stack network is two subnets.",
    keys: &[
        key(
            "cidr",
            Required,
            Shape::Prefix,
            "The prefix, without host bits.",
        ),
        key(
            "gateway",
            Optional,
            Shape::Ip,
            "An address of the prefix. Every namespace with an address in the subnet gets its \
             default route through it, but for the one that holds it.",
        ),
        key(
            "egress",
            Optional,
            Shape::Of(&EGRESS),
            "The way out: forwarding and masquerading where the gateway is held.",
        ),
        key(
            "allow",
            Optional,
            Shape::ListOf(&Shape::Either(&[Shape::Pattern(SUBNET), Shape::Of(&ALLOW)])),
            "Other subnets whose gateway is in the same namespace, to whose members this one's may open \
             connections through it: a name for all of them, or `{subnet, tcp, udp, icmp}` for some.",
        ),
    ],
    later: &[],
};

/// `egress` of a subnet.
pub(in crate::spec) static EGRESS: Mapping = Mapping {
    what: "`egress`",
    about: "The way out of a subnet, which begins in the namespace that holds its gateway.",
    keys: &[
        key(
            "dev",
            Optional,
            Shape::Pattern(REFERENCE),
            "The link to leave by. That of the default route without it.",
        ),
        key(
            "masquerade",
            Optional,
            Shape::Bool(true),
            "Whether what leaves gets the address of the link it leaves by.",
        ),
        key(
            "snat",
            Optional,
            Shape::Ip,
            "The address that what leaves gets instead of that of the link it leaves by.",
        ),
        key(
            "inbound",
            Optional,
            Shape::OneOf(INBOUND, Some("deny")),
            "Whether somebody outside may open connections to members: `deny` or `allow`. They must know the way \
             there, which masquerading doesn't give them.",
        ),
    ],
    later: &[],
};

/// What may become of connections from outside.
pub(in crate::spec) const INBOUND: &[&str] = &["deny", "allow"];

/// An item of `allow` of a subnet, when it doesn't allow everything.
pub(in crate::spec) static ALLOW: Mapping = Mapping {
    what: "an item of `allow`",
    about: "Which connections the members of a subnet may open to those of another.",
    keys: &[
        key(
            "subnet",
            Required,
            Shape::Pattern(SUBNET),
            "The other subnet.",
        ),
        key(
            "tcp",
            Optional,
            Shape::ListOf(&PORTS),
            "Ports of TCP: numbers, or ranges such as `8000-8010`.",
        ),
        key(
            "udp",
            Optional,
            Shape::ListOf(&PORTS),
            "Ports of UDP: numbers, or ranges such as `8000-8010`.",
        ),
        key(
            "icmp",
            Optional,
            Shape::Bool(false),
            "Whether they may ping. Without `tcp`, `udp` and `icmp` everything is allowed.",
        ),
    ],
    later: &[],
};

/// A port, or several in a row.
static PORTS: Shape = Shape::Either(&[
    Shape::Number(1, 65535),
    Shape::Pattern("^[0-9]{1,5}-[0-9]{1,5}$"),
]);
