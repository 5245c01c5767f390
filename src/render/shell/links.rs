//! Links, and ports of those of others.

use std::fmt::Write;

use super::helpers::Helper;
use super::words::quoted;
use super::{Writer, is_removal};
use crate::plan::{Action, Operation, Reason, Transfer};
use crate::resource::link::veth::{Peer, Veth};
use crate::resource::link::{GROUP, Link, LinkKind, Setting};
use crate::resource::name::LinkName;
use crate::resource::{Id, Key, Resource};

impl<'p> Writer<'p> {
    pub(super) fn link(&mut self, operation: &'p Operation, name: &'p LinkName) {
        match &operation.action {
            Action::Create(Resource::Link(link)) => self.new_link(operation, name, link),
            Action::Update {
                before: Resource::Link(before),
                after: Resource::Link(after),
            } => self.changed_link(operation, name, before, after),
            Action::Remove(Resource::Link(link)) => self.old_link(operation, name, link),
            _ => {}
        }
    }

    /// Removes a link. That of a pair may be gone, where the namespace of the other end went.
    fn old_link(&mut self, operation: &Operation, name: &LinkName, link: &Link) {
        let (ip, name) = (self.ip(operation), quoted(name.as_str()));
        let abroad = link.peer().is_none_or(|peer| peer.ns != operation.id.ns);
        if matches!(link.kind, LinkKind::Veth(_)) && abroad {
            self.uses.insert(Helper::RemoveLink);
            self.command(&format!("remove_link {name} {ip}"));
        } else {
            self.command(&format!("{ip} link del dev {name}"));
        }
    }

    /// Makes a pair or a link with one end, or finishes the end that was made with the other one.
    fn new_link(&mut self, operation: &'p Operation, name: &'p LinkName, link: &'p Link) {
        let ns = &operation.id.ns;
        let (ip, dev) = (self.ip(operation), quoted(name.as_str()));
        let mut words = String::new();
        match &link.kind {
            // It came with its namespace.
            LinkKind::Loopback => {}
            LinkKind::Veth(_) if operation.with.is_some() => {}
            LinkKind::Veth(Veth { peer: Some(peer) }) => self.pair(operation, name, link, peer),
            kind => {
                let first = Link {
                    mtu: link.mtu_at_birth(),
                    ..link.clone()
                };
                let mut settings = kind.settings();
                settings.retain(|setting| !setting.usual);
                self.command(&format!(
                    "{ip} link add name {dev}{} type {}{}",
                    born(Some(&first)),
                    kind.name(),
                    written(&settings)
                ));
                if let Some(mtu) = link.mtu {
                    let _ = write!(words, " mtu {mtu}");
                }
            }
        }
        if link.kind != LinkKind::Loopback {
            words.insert_str(0, &format!(" alias {}", self.tag()));
        }
        if let Some(master) = &link.master {
            let _ = write!(words, " master {}", quoted(master.as_str()));
            self.note(operation, master);
        }
        if link.up {
            if !self.doors.is_ours(ns) {
                self.uses.insert(Helper::Quiet);
                let inside = self.inside(ns);
                self.command(format!("quiet {dev} {inside}").trim_end());
            }
            words.push_str(" up");
            if link.kind != LinkKind::Loopback {
                self.note(operation, name);
            }
        }
        if !words.is_empty() {
            self.command(&format!("{ip} link set dev {dev}{words}"));
        }
    }

    /// Makes a veth pair. Without an operation of its own the other end is only what the pair needs.
    fn pair(&mut self, operation: &Operation, name: &LinkName, link: &Link, peer: &Peer) {
        let other = Id::link(peer.ns.clone(), peer.name.clone());
        let other = self.creations.get(&other).copied();
        let mut netns = String::new();
        if peer.ns != operation.id.ns {
            if peer.ns.name().is_none() {
                self.uses.insert(Helper::Host);
            }
            netns = format!(" netns {}", self.doors.netns(&peer.ns));
        }
        self.command(&format!(
            "{} link add name {}{} type veth peer name {}{}{netns}",
            self.ip(operation),
            quoted(name.as_str()),
            born(Some(link)),
            quoted(peer.name.as_str()),
            born(other),
        ));
    }

    fn changed_link(
        &mut self,
        operation: &'p Operation,
        name: &'p LinkName,
        before: &Link,
        after: &'p Link,
    ) {
        let (ip, dev) = (self.ip(operation), quoted(name.as_str()));
        if before.up && !after.up {
            self.falling_addresses(operation);
        }
        let settings = after.kind.changes_from(&before.kind);
        if !settings.is_empty() {
            self.command(&format!(
                "{ip} link set dev {dev} type {}{}",
                after.kind.name(),
                written(&settings)
            ));
        }
        let mut words = String::new();
        if operation.transfer == Some(Transfer::Adopt) {
            let _ = write!(words, " alias {} group {GROUP}", self.adopted(operation));
        } else if !before.tagged {
            let _ = write!(words, " alias {}", self.tag());
        }
        if let Some(mtu) = after.mtu.filter(|_| before.mtu != after.mtu) {
            let _ = write!(words, " mtu {mtu}");
        }
        if let Some(mac) = after.mac.filter(|_| before.mac != after.mac) {
            let _ = write!(words, " address {mac}");
        }
        if before.master != after.master {
            match &after.master {
                Some(master) => {
                    let _ = write!(words, " master {}", quoted(master.as_str()));
                }
                None => words.push_str(" nomaster"),
            }
        }
        if let Some(master) = &after.master {
            self.note(operation, master);
        }
        match (before.up, after.up) {
            (false, true) => {
                words.push_str(" up");
                self.note(operation, name);
            }
            (true, false) => words.push_str(" down"),
            _ => {}
        }
        if !words.is_empty() {
            self.command(&format!("{ip} link set dev {dev}{words}"));
        }
    }

    /// The alias of a link that is taken over, as a word.
    pub(super) fn adopted(&mut self, operation: &Operation) -> String {
        self.uses.insert(Helper::Tagged);
        let name = operation.id.key.of_link().map_or("lo", LinkName::as_str);
        let ip = self.ip(operation);
        format!("\"$(tagged {} {} {ip})\"", self.tag(), quoted(name))
    }

    /// Removes the IPv6 addresses that a link is to take along when it goes down. They stay where `keep_addr_on_down` is set.
    fn falling_addresses(&mut self, cause: &Operation) {
        for operation in &self.plan.operations {
            let of_cause = match (&operation.action, &operation.with, &operation.reason) {
                (Action::Remove(_), Some(with), _)
                | (Action::Create(_), _, Some(Reason::Fell(with))) => *with == cause.id,
                _ => false,
            };
            if let (
                true,
                Key::Address(key),
                Action::Remove(Resource::Address(address))
                | Action::Create(Resource::Address(address)),
            ) = (of_cause, &operation.id.key, &operation.action)
                && key.ip.is_ipv6()
            {
                self.remove_address(operation, key, address);
            }
        }
    }

    pub(super) fn port(&mut self, operation: &'p Operation, name: &LinkName) {
        let (ip, dev) = (self.ip(operation), quoted(name.as_str()));
        let master = match &operation.action {
            Action::Create(Resource::Port(port))
            | Action::Update {
                after: Resource::Port(port),
                ..
            } => {
                self.note(operation, &port.master);
                format!("master {}", quoted(port.master.as_str()))
            }
            _ => "nomaster".to_owned(),
        };
        debug_assert_eq!(is_removal(operation), master == "nomaster");
        self.command(&format!("{ip} link set dev {dev} {master}"));
    }

    /// Takes note that the kernel is to take notice of a link's carrier.
    fn note(&mut self, operation: &'p Operation, link: &'p LinkName) {
        self.fresh = true;
        let links = self.risen.entry(&operation.id.ns).or_default();
        links.push(link);
    }
}

/// What a link is made with, as words with a space before each. One queue each: `ip` would give a veth one for each
/// processor.
fn born(link: Option<&Link>) -> String {
    let mut words = String::new();
    if let Some(mtu) = link.and_then(|link| link.mtu) {
        let _ = write!(words, " mtu {mtu}");
    }
    if let Some(mac) = link.and_then(|link| link.mac) {
        let _ = write!(words, " address {mac}");
    }
    words + &format!(" group {GROUP} numtxqueues 1 numrxqueues 1")
}

/// Settings of a kind of link, as `ip` takes them.
fn written(settings: &[Setting]) -> String {
    let word = |setting: &Setting| {
        let name = match setting.word {
            "stp" => "stp_state",
            word => word,
        };
        format!(" {name} {}", u8::from(setting.text == "on"))
    };
    settings.iter().map(word).collect()
}
