//! What was seen of packets in a namespace, and what its rules decided.

use std::fmt;
use std::net::IpAddr;

/// Packets that belong together: those to an address, and the answers to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Where to.
    pub to: IpAddr,
    /// Of which kind.
    pub transport: Transport,
}

/// What packets are besides their addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// ICMP echo requests.
    Echo,
    /// TCP to a port: what begins connections, and refuses them.
    Tcp(u16),
    /// UDP to a port.
    Udp(u16),
    /// Questions of ARP, or of neighbour discovery.
    Neighbour,
}

impl Transport {
    /// The number of its protocol, and the port, where it has one.
    pub fn port(self) -> Option<(u8, u16)> {
        let (protocol, port) = match self {
            Transport::Echo | Transport::Neighbour => return None,
            Transport::Tcp(port) => (libc::IPPROTO_TCP, port),
            Transport::Udp(port) => (libc::IPPROTO_UDP, port),
        };
        Some((u8::try_from(protocol).unwrap_or_default(), port))
    }

    /// The same to another port, where it has one.
    #[must_use]
    pub fn to_port(self, port: u16) -> Transport {
        match self {
            Transport::Echo | Transport::Neighbour => self,
            Transport::Tcp(_) => Transport::Tcp(port),
            Transport::Udp(_) => Transport::Udp(port),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transport::Echo => write!(f, "ICMP echo"),
            Transport::Neighbour => write!(f, "neighbours"),
            Transport::Tcp(port) => write!(f, "TCP port {port}"),
            Transport::Udp(port) => write!(f, "UDP port {port}"),
        }
    }
}

/// That a rule, or the policy of a chain, decided about packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The table, as `nft` names it: with its family.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule; none: the policy.
    pub rule: Option<RuleAt>,
    /// What was decided.
    pub judgement: Judgement,
    /// Whether about an answer.
    pub answer: bool,
}

/// What is decided about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It goes on.
    Accept,
    /// It is gone, be it silently or with a refusal to who sent it.
    Drop,
    /// A program decides.
    Queue,
}

/// A rule in its chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleAt {
    /// Its place, from 1; none: it is gone.
    pub number: Option<u32>,
    /// Its handle, as `nft -a` prints it.
    pub handle: u64,
    /// Its comment.
    pub comment: Option<String>,
    /// What it is, in the words of `nft`, if all of it is known.
    pub text: Option<String>,
}

/// Whether packets came into a namespace, or began there, and whether they left it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passage {
    /// Whether they came in, or began.
    pub came: bool,
    /// Whether they left.
    pub left: bool,
}

/// What was seen of some packets in a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traced {
    /// Of those on their way there.
    pub there: Passage,
    /// Of answers.
    pub back: Passage,
    /// Which rules and policies decided, each once.
    pub judged: Vec<Judged>,
}
