//! Name servers that a namespace can't reach.

use std::net::IpAddr;

use super::super::{Lowering, listed};
use crate::resource::Ns;

impl Lowering<'_> {
    /// A name server on the loopback, as the stub of systemd-resolved (127.0.0.53) or a dnsmasq of the host:
    /// each namespace has a loopback of its own.
    pub(super) fn resolvers(&mut self) {
        let spec = self.spec;
        for (name, namespace) in &spec.namespaces {
            let servers = namespace.dns.iter().flat_map(|dns| &dns.nameservers);
            let own: Vec<IpAddr> = servers
                .map(|server| server.value)
                .filter(IpAddr::is_loopback)
                .collect();
            if own.is_empty() {
                continue;
            }
            let instead = match self.facts.machine.resolvers.as_slice() {
                [] => "write the address of one that is reached over the network, or of one of the host's that \
                       listens on a gateway's address"
                    .to_owned(),
                servers => format!("write what the host's asks itself: {}", listed(servers)),
            };
            let text = format!(
                "`dns` names {}, which in here is the namespace's own loopback, where no server of the host is \
                 reached: {instead}",
                listed(own)
            );
            self.remark(&Ns::Named(name.clone()), text);
        }
    }
}
