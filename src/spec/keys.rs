//! The language as tables: what each mapping is called, which keys it has, and what each of them is.
//!
//! The reader takes from here which keys there are, and the JSON Schema is made of nothing else.

/// A kind of mapping.
#[derive(Debug)]
pub(super) struct Mapping {
    /// What an error calls it, with its article.
    pub(super) what: &'static str,
    /// What it is, for the schema.
    pub(super) about: &'static str,
    /// Its keys.
    pub(super) keys: &'static [Key],
    /// Keys of the language that this version doesn't know yet.
    pub(super) later: &'static [&'static str],
}

/// A key of a mapping.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) shape: Shape,
    pub(super) need: Need,
}

/// Whether a key must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    Optional,
}

/// What may stand at a key.
#[derive(Debug)]
pub(super) enum Shape {
    /// The language's version.
    Version,
    /// A text that an expression matches, as ECMA 262 writes it.
    Pattern(&'static str),
    /// `true` or `false`, and the one that is meant when nothing stands there.
    Bool(bool),
    /// A size of packets, in bytes.
    Mtu,
    /// An address.
    Ip,
    /// An address, with a length or without.
    Address,
    /// A prefix.
    Prefix,
    /// What a namespace's default routes lead through.
    Gateways,
    /// For which families a namespace is a router.
    Forwarding,
    /// A mapping from sysctls to their values.
    Sysctls,
    /// A mapping from names of hosts to addresses.
    Hosts,
    /// A mapping with fixed keys.
    Of(&'static Mapping),
    /// A list.
    ListOf(&'static Shape),
    /// A list of so many.
    Several(&'static Shape, usize, usize),
    /// A mapping from names, which an expression matches, to mappings.
    MapOf(&'static str, &'static Mapping),
}

use Need::{Optional, Required};

const fn key(name: &'static str, need: Need, shape: Shape, about: &'static str) -> Key {
    Key {
        name,
        about,
        shape,
        need,
    }
}

const LINK: &str = r#"^(?!(\.{1,2}|all|default)$)[^/:%"\s\u0000-\u001f\u007f]{1,15}$"#;
const NAMESPACE: &str = r"^(?!\.{1,2}$)[^/\s\u0000-\u001f\u007f]{1,255}$";
const SUBNET: &str = r"^(?!none$)[A-Za-z][A-Za-z0-9_-]{0,31}$";

/// The whole file.
pub(super) static TOPOLOGY: Mapping = Mapping {
    what: "a topology",
    about: "A topology: everything that netform makes true on this host, and nothing else.",
    keys: &[
        key(
            "version",
            Required,
            Shape::Version,
            "The version of the language: 1.",
        ),
        key(
            "requires",
            Optional,
            Shape::Pattern(r"^[0-9]+\.[0-9]+(\.[0-9]+)?$"),
            "The oldest release of netform that the topology is for, `\"0.3\"` for example. An older \
             one says so before anything else.",
        ),
        key(
            "name",
            Required,
            Shape::Pattern("^[a-z][a-z0-9-]{0,31}$"),
            "The topology's name. It owns every object that the topology makes; several topologies \
             live side by side on a host.",
        ),
        key(
            "namespaces",
            Optional,
            Shape::MapOf(NAMESPACE, &NAMESPACE_ENTRY),
            "The namespaces that the topology makes, by name. `host` is the namespace that netform \
             runs in: it always exists and needs no entry.",
        ),
        key(
            "veths",
            Optional,
            Shape::ListOf(&Shape::Of(&VETH)),
            "Pairs of links between two namespaces, or inside one.",
        ),
        key(
            "subnets",
            Optional,
            Shape::MapOf(SUBNET, &SUBNET_ENTRY),
            "Prefixes by name, each with its gateway and its way out.",
        ),
    ],
    later: &["publish", "checks"],
};

/// An entry of `namespaces`.
pub(super) static NAMESPACE_ENTRY: Mapping = Mapping {
    what: "a namespace",
    about: "A network namespace.",
    keys: &[
        key(
            "gateway",
            Optional,
            Shape::Gateways,
            "Which default routes the namespace gets, at most one of a family: a subnet's name, an \
             address, a list of these, or `none`. Without it the subnets that it has an address in \
             decide.",
        ),
        key(
            "forwarding",
            Optional,
            Shape::Forwarding,
            "Whether the namespace is a router between its links. Without it: no, and on `host` it \
             is left as it is.",
        ),
        key(
            "dns",
            Optional,
            Shape::Of(&DNS),
            "The namespace's resolv.conf, at `/etc/netns/NAME/resolv.conf`. Not for `host`.",
        ),
        key(
            "hosts",
            Optional,
            Shape::Hosts,
            "The namespace's hosts file, at `/etc/netns/NAME/hosts`: names with an address or a list of \
             them. The lines of localhost are added. Not for `host`.",
        ),
        key(
            "sysctls",
            Optional,
            Shape::Sysctls,
            "Settings below `net` by name, `net.ipv4.conf.veth1.rp_filter: 1` for example. On `host` they \
             are borrowed, and given back.",
        ),
    ],
    later: &["external", "routes", "rules", "links"],
};

/// `dns` of a namespace.
pub(super) static DNS: Mapping = Mapping {
    what: "a `dns` mapping",
    about: "How a namespace resolves names, as resolv.conf(5) says it.",
    keys: &[
        key(
            "nameservers",
            Required,
            Shape::Several(&Shape::Ip, 1, 3),
            "The addresses of the servers to ask, in this order. The C library reads three.",
        ),
        key(
            "search",
            Optional,
            Shape::ListOf(&Shape::Pattern(r"^\S+$")),
            "The domains that short names are looked up in.",
        ),
        key(
            "options",
            Optional,
            Shape::ListOf(&Shape::Pattern(r"^\S+$")),
            "Options of the resolver, `ndots:2` for example.",
        ),
    ],
    later: &[],
};

/// An item of `veths`.
pub(super) static VETH: Mapping = Mapping {
    what: "a veth",
    about: "A pair of links: what goes into one end comes out of the other.",
    keys: &[
        key(
            "ends",
            Required,
            Shape::Several(&Shape::Of(&END), 2, 2),
            "The two ends.",
        ),
        key(
            "mtu",
            Optional,
            Shape::Mtu,
            "The largest packet of both ends, in bytes. 1500 without it.",
        ),
    ],
    later: &[],
};

/// An item of a veth's `ends`.
pub(super) static END: Mapping = Mapping {
    what: "a veth end",
    about: "One end of a pair.",
    keys: &[
        key(
            "namespace",
            Required,
            Shape::Pattern(NAMESPACE),
            "The namespace it is in: a key of `namespaces`, or `host`.",
        ),
        key(
            "name",
            Required,
            Shape::Pattern(LINK),
            "Its name, at most 15 bytes.",
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
            "Its link-layer address. Without it one is derived that is the same after every rebuild.",
        ),
        key(
            "mtu",
            Optional,
            Shape::Mtu,
            "Its largest packet, in bytes. That of the veth without it.",
        ),
        key("up", Optional, Shape::Bool(true), "Whether it is up."),
    ],
    later: &["bridge"],
};

/// An entry of `subnets`.
pub(super) static SUBNET_ENTRY: Mapping = Mapping {
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
    ],
    later: &["allow"],
};

/// `egress` of a subnet.
pub(super) static EGRESS: Mapping = Mapping {
    what: "an `egress` mapping",
    about: "The way out of a subnet, which begins in the namespace that holds its gateway.",
    keys: &[
        key(
            "dev",
            Optional,
            Shape::Pattern(LINK),
            "The link to leave by. That of the default route without it.",
        ),
        key(
            "masquerade",
            Optional,
            Shape::Bool(true),
            "Whether what leaves gets the address of the link it leaves by.",
        ),
    ],
    later: &["snat", "inbound"],
};
