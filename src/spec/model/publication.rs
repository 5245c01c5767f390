//! What a topology publishes.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use super::Ports;
use crate::resource::name::LinkName;
use crate::resource::{Family, Ns};
use crate::spec::source::{Span, Spanned};

/// Connections that arrive in one namespace and lead to a service in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where it stands.
    pub span: Span,
    /// The namespace that they arrive in.
    pub ns: Spanned<Ns>,
    /// The link that they arrive by; `None` means that by which the target's subnet leaves, and from inside.
    pub dev: Option<Spanned<LinkName>>,
    /// The address that they go to; `None` means any of the namespace's own.
    pub address: Option<Spanned<IpAddr>>,
    /// Which.
    pub what: Published,
    /// The address that they lead to.
    pub to: Spanned<IpAddr>,
    /// Where it is said that 127.0.0.1 of the namespace leads there too.
    pub localhost: Option<Span>,
}

/// Which connections a publication is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Everything that goes to an address.
    Everything,
    /// Those to some ports.
    Ports {
        /// The transport protocol.
        protocol: Transport,
        /// The ports that they arrive at.
        ports: Spanned<Ports>,
        /// The port that they lead to, if it is another; only for a single one.
        to: Option<u16>,
    },
}

/// A transport protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Its number (`/etc/protocols`).
    pub fn number(self) -> u8 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        }
    }

    /// What the language calls it.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }
}

impl Publication {
    /// The family of its addresses.
    pub fn family(&self) -> Family {
        Family::of(self.to.value)
    }

    /// Where it is said which connections these are.
    pub fn place(&self) -> Span {
        match (&self.what, &self.address) {
            (Published::Ports { ports, .. }, _) => ports.span,
            (Published::Everything, Some(address)) => address.span,
            (Published::Everything, None) => self.span,
        }
    }
}

impl Display for Ports {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            self.from.fmt(f)
        } else {
            write!(f, "{}-{}", self.from, self.to)
        }
    }
}
