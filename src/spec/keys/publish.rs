//! The keys of publications.

use super::Need::{Optional, Required};
use super::{Mapping, NAMESPACE, REFERENCE, Shape, key};

/// An item of `publish`.
pub(in crate::spec) static PUBLICATION: Mapping = Mapping {
    what: "a publication",
    about: "Connections that arrive in one namespace and lead to a service in another.",
    keys: &[
        key(
            "namespace",
            Optional,
            Shape::Pattern(NAMESPACE),
            "The namespace that they arrive in, which holds the gateway of the target's subnet: `host`, if nothing is \
             said.",
        ),
        key(
            "dev",
            Optional,
            Shape::Pattern(REFERENCE),
            "The link that they arrive by, and no other. Without it: that by which the target's subnet leaves, and from \
             members and from the namespace itself.",
        ),
        key(
            "address",
            Optional,
            Shape::Ip,
            "The address that they go to. Any of the namespace's own without it.",
        ),
        key(
            "proto",
            Optional,
            Shape::OneOf(PROTOCOLS, Some("tcp")),
            "The protocol. `any` maps a whole address, both ways.",
        ),
        key(
            "port",
            Optional,
            Shape::Either(&[
                Shape::Number(1, 65535),
                Shape::Pattern("^[0-9]{1,5}-[0-9]{1,5}$"),
            ]),
            "The port that they arrive at, or several in a row such as `8000-8010`, which stay what they are.",
        ),
        key(
            "to",
            Required,
            Shape::Pattern(r"^([0-9.]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$|^[0-9A-Fa-f:.]+$"),
            "Where they lead: a member's address and, if it is another, the port there, as in `192.168.50.2:80` or \
             `\"[fd50::2]:80\"`.",
        ),
        key(
            "localhost",
            Optional,
            Shape::Bool(false),
            "Whether 127.0.0.1 of the namespace leads there too, for its own processes.",
        ),
    ],
    later: &[],
};

/// What `proto` may be.
pub(in crate::spec) const PROTOCOLS: &[&str] = &["tcp", "udp", "any"];
