//! What has come by a topology's table, and what goes through it now.

/// What there is to tell of the packets in one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What the rules have counted that drop and refuse, each in the order of the table.
    pub counted: Vec<Counted>,
    /// The connections of members. None: this kernel tells of none (`CONFIG_NF_CT_NETLINK`).
    pub connections: Option<Connections>,
}

/// What one rule has counted since it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The chain that it is in.
    pub chain: String,
    /// Its comment.
    pub rule: Option<String>,
    /// How many packets.
    pub packets: u64,
    /// How many bytes these had, with their IP headers.
    pub bytes: u64,
}

/// How many connections there are now, as connection tracking knows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// All of the members.
    pub all: u64,
    /// Those whose source is rewritten: by `masquerade`, `snat`, or where a publication asks for it.
    pub source_rewritten: u64,
    /// Those whose destination is: by a publication.
    pub destination_rewritten: u64,
}
