//! What the kernel makes of a rule: a small program over registers.

use super::set::Set;
use super::statement::Verdict;

/// An instruction of the kernel's (`linux/netfilter/nf_tables.h`, `enum nft_*_attributes`; Linux 6.1).
/// Registers are numbered as the kernel dumps them: 1 to 4 of 16 bytes, or 8 to 23 of 4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Loads something known about the packet (`enum nft_meta_keys`).
    Meta {
        /// What.
        key: u32,
        /// Into which register.
        dreg: u32,
    },
    /// Loads bytes of the packet.
    Payload {
        /// From which header (`enum nft_payload_bases`).
        base: u32,
        /// How far into it.
        offset: u32,
        /// How many.
        len: u32,
        /// Into which register.
        dreg: u32,
    },
    /// Goes on only if a register compares (`enum nft_cmp_ops`).
    Compare {
        /// Which register.
        sreg: u32,
        /// How.
        op: u32,
        /// With what.
        data: Vec<u8>,
    },
    /// Keeps some bits of a register, and flips others.
    Bitwise {
        /// From which register.
        sreg: u32,
        /// Into which register.
        dreg: u32,
        /// Those to keep.
        mask: Vec<u8>,
        /// Those to flip.
        xor: Vec<u8>,
    },
    /// Goes on only if a register is in a set; in a map to verdicts, takes the verdict.
    Lookup {
        /// The first register.
        sreg: u32,
        /// The register that the map's value goes into; 0 is the verdict.
        dreg: Option<u32>,
        /// The set.
        set: SetRef,
    },
    /// Loads something known about the connection (`enum nft_ct_keys`).
    Ct {
        /// What.
        key: u32,
        /// Into which register.
        dreg: u32,
    },
    /// Loads something known about the route (`enum nft_rt_keys`).
    Rt {
        /// What.
        key: u32,
        /// Into which register.
        dreg: u32,
    },
    /// Turns bytes around (`enum nft_byteorder_ops`).
    ByteOrder {
        /// From which register.
        sreg: u32,
        /// Into which register.
        dreg: u32,
        /// Which way.
        op: u32,
        /// How many bytes.
        len: u32,
        /// How many at once.
        size: u32,
    },
    /// Writes a register into a TCP option.
    WriteTcpOption {
        /// Which register.
        sreg: u32,
        /// The option's number.
        kind: u8,
        /// How far into it.
        offset: u32,
        /// How many bytes.
        len: u32,
    },
    /// Counts.
    Counter,
    /// Refuses (`enum nft_reject_types`).
    Reject {
        /// How.
        kind: u32,
        /// The code.
        code: u8,
    },
    /// Takes the address of the outgoing link, with no flags and no range of ports.
    Masquerade,
    /// Loads something that the routing tables say of the packet (`enum nft_fib_result`).
    Fib {
        /// What of the packet is looked up (`enum nft_fib_flags`).
        flags: u32,
        /// What.
        result: u32,
        /// Into which register.
        dreg: u32,
    },
    /// Takes an address, and a port, from registers.
    Nat {
        /// Of the source or of the destination (`enum nft_nat_types`).
        kind: u32,
        /// Of which family.
        family: u32,
        /// The register with the address.
        address: u32,
        /// The register with the port.
        port: Option<u32>,
    },
    /// Decides.
    Verdict(Verdict),
    /// Another one, or one of these with more to it, as libnftnl writes it.
    Other(String),
}

/// The set that a lookup is made in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetRef {
    /// One of the table's, by name.
    Named(String),
    /// One that stands in the rule itself.
    Anonymous(Set),
}

/// Numbers of the kernel's headers.
pub(super) mod number {
    /// `NFT_META_L4PROTO`.
    pub(crate) const META_L4PROTO: u32 = 16;
    /// `NFT_META_NFPROTO`.
    pub(crate) const META_NFPROTO: u32 = 15;
    /// `NFT_META_IIFNAME`.
    pub(crate) const META_IIFNAME: u32 = 6;
    /// `NFT_META_OIFNAME`.
    pub(crate) const META_OIFNAME: u32 = 7;
    /// `NFT_META_IIFGROUP`.
    pub(crate) const META_IIFGROUP: u32 = 21;
    /// `NFT_META_OIFGROUP`.
    pub(crate) const META_OIFGROUP: u32 = 22;
    /// `NFT_PAYLOAD_NETWORK_HEADER`.
    pub(crate) const NETWORK_HEADER: u32 = 1;
    /// `NFT_PAYLOAD_TRANSPORT_HEADER`.
    pub(crate) const TRANSPORT_HEADER: u32 = 2;
    /// `NFT_CMP_EQ`.
    pub(crate) const EQUAL: u32 = 0;
    /// `NFT_CMP_NEQ`.
    pub(crate) const NOT_EQUAL: u32 = 1;
    /// `NFT_CT_STATE`.
    pub(crate) const CT_STATE: u32 = 0;
    /// `NFT_CT_STATUS`.
    pub(crate) const CT_STATUS: u32 = 2;
    /// `IPS_DST_NAT` of `linux/netfilter/nf_conntrack_common.h`.
    pub(crate) const DST_NAT: u32 = 1 << 5;
    /// `NFTA_FIB_F_DADDR`.
    pub(crate) const FIB_DADDR: u32 = 1 << 1;
    /// `NFT_FIB_RESULT_ADDRTYPE`.
    pub(crate) const FIB_ADDRTYPE: u32 = 3;
    /// `RTN_LOCAL` of `linux/rtnetlink.h`.
    pub(crate) const LOCAL: u32 = 2;
    /// `NFT_NAT_SNAT`.
    pub(crate) const SNAT: u32 = 0;
    /// `NFT_NAT_DNAT`.
    pub(crate) const DNAT: u32 = 1;
    /// `NFT_RT_TCPMSS`.
    pub(crate) const RT_TCPMSS: u32 = 3;
    /// `NFT_BYTEORDER_HTON`.
    pub(crate) const HTON: u32 = 1;
    /// `NFT_REJECT_ICMPX_UNREACH`.
    pub(crate) const REJECT_ICMPX: u32 = 2;
    /// `NFT_REJECT_ICMPX_ADMIN_PROHIBITED`.
    pub(crate) const ADMIN_PROHIBITED: u8 = 3;
    /// `IPPROTO_TCP`.
    pub(crate) const TCP: u8 = 6;
    /// `IPPROTO_ICMPV6`.
    pub(crate) const ICMPV6: u8 = 58;
    /// `TCPOPT_MAXSEG` of `net/tcp.h` (RFC 9293).
    pub(crate) const MAXSEG: u8 = 2;
    /// The SYN bit of a TCP header's flags.
    pub(crate) const SYN: u8 = 0x02;
    /// The SYN and RST bits of a TCP header's flags.
    pub(crate) const SYN_RST: u8 = 0x06;
}
