//! Network namespaces.

use serde::Serialize;

/// A namespace that netform makes and removes.
///
/// It is known by its file in `/run/netns`, as with `ip netns`; its owner stands in the alias of the
/// `lo` inside. What else is true of it are resources of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Namespace {}

/// The IPv4 settings of links that a new namespace copies from the machine's first one
/// (`devinet_init_net` of `net/ipv4/devinet.c`), with the kernel's own values for `all`, `default` and
/// `lo`.
pub const INHERITED: [(&str, [&str; 3]); 32] = [
    ("accept_local", ["0", "0", "0"]),
    ("accept_redirects", ["1", "1", "1"]),
    ("accept_source_route", ["0", "1", "1"]),
    ("arp_accept", ["0", "0", "0"]),
    ("arp_announce", ["0", "0", "0"]),
    ("arp_evict_nocarrier", ["1", "1", "1"]),
    ("arp_filter", ["0", "0", "0"]),
    ("arp_ignore", ["0", "0", "0"]),
    ("arp_notify", ["0", "0", "0"]),
    ("bc_forwarding", ["0", "0", "0"]),
    ("bootp_relay", ["0", "0", "0"]),
    ("disable_policy", ["0", "0", "1"]),
    ("disable_xfrm", ["0", "0", "1"]),
    ("drop_gratuitous_arp", ["0", "0", "0"]),
    ("drop_unicast_in_l2_multicast", ["0", "0", "0"]),
    ("force_igmp_version", ["0", "0", "0"]),
    ("forwarding", ["0", "0", "0"]),
    ("igmpv2_unsolicited_report_interval", ["10000"; 3]),
    ("igmpv3_unsolicited_report_interval", ["1000"; 3]),
    ("ignore_routes_with_linkdown", ["0", "0", "0"]),
    ("log_martians", ["0", "0", "0"]),
    ("medium_id", ["0", "0", "0"]),
    ("promote_secondaries", ["0", "0", "0"]),
    ("proxy_arp", ["0", "0", "0"]),
    ("proxy_arp_pvlan", ["0", "0", "0"]),
    ("route_localnet", ["0", "0", "0"]),
    ("rp_filter", ["0", "0", "0"]),
    ("secure_redirects", ["1", "1", "1"]),
    ("send_redirects", ["1", "1", "1"]),
    ("shared_media", ["1", "1", "1"]),
    ("src_valid_mark", ["0", "0", "0"]),
    ("tag", ["0", "0", "0"]),
];

/// The setting that is 0 in every namespace of netform's: its links then don't wait for duplicate address detection, and their
/// link-local addresses, by which neighbours are asked for, are usable at once (`ip-sysctl.rst`).
pub const QUIET: &str = "net/ipv6/conf/default/accept_dad";
