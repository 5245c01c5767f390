//! What is tried once a topology is applied.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::time::Duration;

use crate::resource::Ns;
use crate::spec::source::{Span, Spanned};

/// Something that must be reached from a namespace, or must not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Where it stands.
    pub span: Span,
    /// What it is called, if the spec says it.
    pub name: Option<Spanned<String>>,
    /// The namespace that it is tried from.
    pub from: Spanned<Ns>,
    /// What is tried.
    pub what: What,
    /// How it must end.
    pub expect: Expect,
    /// How long it may take.
    pub within: Duration,
}

/// What a check tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// An echo request, and its answer.
    Ping(Peer),
    /// A connection to a port.
    Tcp(Peer, u16),
    /// To find the addresses of a name.
    Resolve(String),
}

impl What {
    /// What the language calls it.
    pub fn verb(&self) -> &'static str {
        match self {
            What::Ping(_) => "ping",
            What::Tcp(..) => "tcp",
            What::Resolve(_) => "resolve",
        }
    }
}

/// What it is about, as the spec writes it: `10.0.0.1`, `[fd00::1]:80`, `www.example.test`.
impl Display for What {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            What::Ping(host) => host.fmt(f),
            What::Tcp(Peer::Address(IpAddr::V6(ip)), port) => write!(f, "[{ip}]:{port}"),
            What::Tcp(host, port) => write!(f, "{host}:{port}"),
            What::Resolve(name) => f.write_str(name),
        }
    }
}

/// Who is to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Who has an address.
    Address(IpAddr),
    /// Who has a name. It may end in a dot, and then no domain is added to it.
    Name(String),
}

impl Display for Peer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Address(ip) => ip.fmt(f),
            Peer::Name(name) => f.write_str(name),
        }
    }
}

/// How a check must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// With success.
    Ok,
    /// With a failure, whichever.
    Fail,
}

impl Expect {
    /// What the language calls it.
    pub fn word(self) -> &'static str {
        match self {
            Expect::Ok => "ok",
            Expect::Fail => "fail",
        }
    }
}
