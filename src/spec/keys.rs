//! The language as tables: what each mapping is called, which keys it has, and what each of them is.
//!
//! The reader takes from here which keys there are, and the JSON Schema is made of nothing else.

mod checks;
mod links;
mod publish;
mod subnets;

pub(super) use checks::{CHECK, EXPECTATIONS};
pub(super) use links::{BRIDGE, DUMMY, LINK_ENTRY};
pub(super) use publish::{PROTOCOLS, PUBLICATION};
pub(super) use subnets::{ALLOW, EGRESS, INBOUND, SUBNET_ENTRY};

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
    /// An address of a link: one with a length or without, or with that of the other end.
    Held,
    /// A prefix.
    Prefix,
    /// What a namespace's default routes lead through.
    Gateways,
    /// For which families a namespace is a router.
    Forwarding,
    /// Whether others make a namespace, and where it is.
    External,
    /// Where a route leads: a prefix, an address or a default route.
    Destination,
    /// A routing table.
    Table,
    /// A mark of packets.
    Mark,
    /// A whole number within limits.
    Number(u32, u32),
    /// One of these words, and the one that is meant when nothing stands there.
    OneOf(&'static [&'static str], Option<&'static str>),
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
    /// One of these.
    Either(&'static [Shape]),
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
/// A link's name, or another that it goes by.
const REFERENCE: &str = r#"^(?!(\.{1,2}|all|default)$)[^/:%"\s\u0000-\u001f\u007f]{1,127}$"#;
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
            "The namespaces that the topology makes or works in, by name. `host` is the namespace that netform \
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
        key(
            "publish",
            Optional,
            Shape::ListOf(&Shape::Of(&PUBLICATION)),
            "Ports and addresses of one namespace that lead to a service in another.",
        ),
        key(
            "checks",
            Optional,
            Shape::ListOf(&Shape::Of(&CHECK)),
            "What must be reached from where, and what must not: tried by `netform check` and `apply --check`.",
        ),
    ],
    later: &[],
};

/// An entry of `namespaces`.
pub(super) static NAMESPACE_ENTRY: Mapping = Mapping {
    what: "a namespace",
    about: "A network namespace.",
    keys: &[
        key(
            "external",
            Optional,
            Shape::External,
            "Whether somebody else makes and deletes the namespace: `ip netns`, a container engine, systemd. \
             netform works in it as it does in `host`. `{path: …}` for one that has no name in `/run/netns`.",
        ),
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
            "Whether the namespace is a router between its links. Without it: no, and on `host` and in \
             external ones it is left as it is.",
        ),
        key(
            "routes",
            Optional,
            Shape::ListOf(&Shape::Of(&ROUTE)),
            "Static routes, besides the default routes that `gateway` is about.",
        ),
        key(
            "rules",
            Optional,
            Shape::ListOf(&Shape::Of(&RULE)),
            "Policy routing rules, as ip-rule(8) has them.",
        ),
        key(
            "dns",
            Optional,
            Shape::Of(&DNS),
            "The namespace's resolv.conf, at `/etc/netns/NAME/resolv.conf`. Not for `host`, \
             nor for an external one with a `path`.",
        ),
        key(
            "hosts",
            Optional,
            Shape::Hosts,
            "The namespace's hosts file, at `/etc/netns/NAME/hosts`: names with an address or a list of \
             them. The lines of localhost are added. Not for `host`, nor for an external one with a `path`.",
        ),
        key(
            "links",
            Optional,
            Shape::MapOf(REFERENCE, &LINK_ENTRY),
            "Links with one end, by name: those that netform makes, such as bridges, and those that exist \
             already, such as `lo`.",
        ),
        key(
            "sysctls",
            Optional,
            Shape::Sysctls,
            "Settings below `net` by name, `net.ipv4.conf.veth1.rp_filter: 1` for example. On `host` and \
             in external ones they are borrowed, and given back.",
        ),
    ],
    later: &[],
};

/// `external` of a namespace, when it says where.
pub(super) static EXTERNAL: Mapping = Mapping {
    what: "an `external` mapping",
    about: "A namespace of somebody else that has no name in `/run/netns`.",
    keys: &[key(
        "path",
        Required,
        Shape::Pattern("^/"),
        "The file of the namespace, `/proc/PID/ns/net` or `/run/docker/netns/ID` for example. It is only \
         opened.",
    )],
    later: &[],
};

/// An item of `routes` of a namespace.
pub(super) static ROUTE: Mapping = Mapping {
    what: "a route",
    about: "A static route.",
    keys: &[
        key(
            "to",
            Required,
            Shape::Destination,
            "The prefix that it is for, or one address; `default` for all addresses of the next \
             hop's family, `default4` or `default6` for those of a family that is named.",
        ),
        key(
            "via",
            Optional,
            Shape::Ip,
            "The next router. That of an IPv4 route may have an IPv6 address. Without it the \
             destination is on the link `dev` itself.",
        ),
        key(
            "dev",
            Optional,
            Shape::Pattern(REFERENCE),
            "The link it leads over. Without it, the one with an address beside `via`.",
        ),
        key(
            "metric",
            Optional,
            Shape::Number(0, u32::MAX),
            "Of several routes to one destination the lowest wins. 0 without it, and 1024 with IPv6.",
        ),
        key(
            "table",
            Optional,
            Shape::Table,
            "The routing table: a number, `main` or `default`. `main` without it.",
        ),
        key(
            "src",
            Optional,
            Shape::Ip,
            "The source address of what the namespace itself sends: one of its own.",
        ),
        key(
            "type",
            Optional,
            Shape::OneOf(ROUTE_TYPES, Some("unicast")),
            "`blackhole` drops silently, `unreachable` and `prohibit` tell the sender.",
        ),
        key(
            "onlink",
            Optional,
            Shape::Bool(false),
            "Whether `via` is behind `dev` though no address says so.",
        ),
        key(
            "mtu",
            Optional,
            Shape::Mtu,
            "The largest packet on this way, in bytes. That of the link without it.",
        ),
        key(
            "nexthops",
            Optional,
            Shape::Several(&Shape::Of(&NEXTHOP), 1, 256),
            "Several ways, among which connections are spread. Instead of `via` and `dev`.",
        ),
    ],
    later: &[],
};

/// What a route may do with packets.
pub(super) const ROUTE_TYPES: &[&str] = &["unicast", "blackhole", "unreachable", "prohibit"];

/// An item of `nexthops` of a route.
pub(super) static NEXTHOP: Mapping = Mapping {
    what: "a next hop",
    about: "One of several ways.",
    keys: &[
        key("via", Optional, Shape::Ip, "The next router."),
        key(
            "dev",
            Optional,
            Shape::Pattern(REFERENCE),
            "The link it leads over. Without it, the one with an address beside `via`.",
        ),
        key(
            "weight",
            Optional,
            Shape::Number(1, 256),
            "Its share, beside those of the others. 1 without it.",
        ),
    ],
    later: &[],
};

/// An item of `rules` of a namespace.
pub(super) static RULE: Mapping = Mapping {
    what: "a rule",
    about: "A policy routing rule. With neither `from` nor `to` it is for IPv4 and IPv6.",
    keys: &[
        key(
            "priority",
            Required,
            Shape::Number(1, 32765),
            "Its place: lower ones are asked first. The main table comes at 32766.",
        ),
        key(
            "from",
            Optional,
            Shape::Address,
            "The prefix or address that the packet comes from.",
        ),
        key(
            "to",
            Optional,
            Shape::Address,
            "The prefix or address that the packet goes to.",
        ),
        key(
            "iif",
            Optional,
            Shape::Pattern(REFERENCE),
            "The link that the packet came in by; `lo` for what the namespace itself sends.",
        ),
        key(
            "oif",
            Optional,
            Shape::Pattern(REFERENCE),
            "The link that the sender is bound to.",
        ),
        key(
            "fwmark",
            Optional,
            Shape::Mark,
            "The mark that the packet carries: a number, or `MARK/MASK` for some of its bits.",
        ),
        key(
            "table",
            Optional,
            Shape::Table,
            "The routing table to look into: a number, `main` or `default`.",
        ),
        key(
            "action",
            Optional,
            Shape::OneOf(RULE_ACTIONS, Some("lookup")),
            "`lookup` looks into `table`; `blackhole` drops silently, `unreachable` and \
             `prohibit` tell the sender.",
        ),
    ],
    later: &[],
};

/// What a rule may do with packets.
pub(super) const RULE_ACTIONS: &[&str] = &["lookup", "blackhole", "unreachable", "prohibit"];

/// `dns` of a namespace.
pub(super) static DNS: Mapping = Mapping {
    what: "`dns`",
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
            Shape::ListOf(&Shape::Held),
            "Its addresses, each with its length, or without if it lies in exactly one of \
             `subnets`; or with the address of the other end. The first of IPv4 is the primary one.",
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
        links::BRIDGE_OF_END,
    ],
    later: &[],
};

/// An item of `addresses` with the address of the other end.
pub(super) static POINT_TO_POINT: Mapping = Mapping {
    what: "a point-to-point address",
    about: "An address of a link that leads to one other, or to the prefix behind it.",
    keys: &[
        key(
            "address",
            Required,
            Shape::Ip,
            "The address, without a length.",
        ),
        key(
            "peer",
            Required,
            Shape::Prefix,
            "The address of the other end, with the length of the prefix that is reached by the link: \
             32, or 128 with IPv6, for the other end alone.",
        ),
    ],
    later: &[],
};
