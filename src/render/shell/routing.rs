//! Addresses, routes and rules.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Writer;
use super::helpers::Helper;
use super::words::{comment, quoted};
use crate::plan::{Action, Operation, Transfer};
use crate::resource::address::{Address, AddressKey};
use crate::resource::route::{MAIN, NextHop, Route, RouteKey, Target};
use crate::resource::rule::{self, RuleKey};
use crate::resource::{Family, Id, Key, Resource};

impl<'p> Writer<'p> {
    pub(super) fn address(&mut self, operation: &'p Operation, key: &AddressKey) {
        match &operation.action {
            Action::Update {
                after: Resource::Address(address),
                ..
            } if operation.transfer == Some(Transfer::Adopt) => {
                let own = self.own_address(operation, key, address);
                self.command(&own);
            }
            Action::Create(Resource::Address(new)) => self.new_address(operation, key, new),
            Action::Update {
                before: Resource::Address(before),
                after: Resource::Address(after),
            } => {
                self.remove_address(operation, key, before);
                self.new_address(operation, key, after);
            }
            Action::Remove(Resource::Address(old)) => {
                self.remove_address(operation, key, old);
                self.addresses.remove(&operation.id);
            }
            _ => {}
        }
    }

    /// IPv6 doesn't look for duplicates of it first, so it can be used at once.
    fn new_address(&mut self, operation: &'p Operation, key: &AddressKey, address: &Address) {
        self.uses.insert(Helper::Proto);
        let quiet = if key.ip.is_ipv6() { " nodad" } else { "" };
        let scope = match key.ip {
            IpAddr::V4(ip) if ip.is_loopback() => " scope host",
            _ => "",
        };
        self.command(&format!(
            "{} address add {} dev {}{quiet}{scope} $proto",
            self.ip(operation),
            near(key, address),
            quoted(key.link.as_str())
        ));
        let own = self.own_address(operation, key, address);
        self.addresses.insert(&operation.id, own);
    }

    pub(super) fn remove_address(
        &mut self,
        operation: &Operation,
        key: &AddressKey,
        address: &Address,
    ) {
        self.command(&format!(
            "{} address del {} dev {}",
            self.ip(operation),
            near(key, address),
            quoted(key.link.as_str())
        ));
    }

    /// The command that gives an address netform's number.
    fn own_address(
        &mut self,
        operation: &Operation,
        key: &AddressKey,
        address: &Address,
    ) -> String {
        self.uses.insert(Helper::OwnAddress);
        let (family, bytes) = match key.ip {
            IpAddr::V4(ip) => ("-4", ip.octets().to_vec()),
            IpAddr::V6(ip) => ("-6", ip.octets().to_vec()),
        };
        let bytes: Vec<String> = bytes.iter().map(u8::to_string).collect();
        format!(
            "own_address {} {} '{}' {} {family}",
            quoted(key.link.as_str()),
            address.prefix,
            bytes.join(" "),
            self.ip(operation)
        )
    }

    /// Gives all addresses that were made netform's number, where `ip` couldn't when it made them.
    pub(super) fn own_addresses(&mut self) {
        let addresses = std::mem::take(&mut self.addresses);
        if addresses.is_empty() {
            return;
        }
        let why =
            "The number by which netform knows its addresses, where this `ip` didn't write it.";
        let _ = writeln!(self.text, "\n{}if [ -z \"$proto\" ]; then", comment(why));
        for own in addresses.values() {
            let _ = writeln!(self.text, "    {own}");
        }
        self.command("fi");
    }

    pub(super) fn route(&mut self, operation: &'p Operation, key: &RouteKey) {
        let (verb, route) = match &operation.action {
            // Of one over several links something may be left.
            Action::Create(Resource::Route(new)) if new.hops().len() > 1 => ("replace", new),
            Action::Create(Resource::Route(new)) => ("add", new),
            Action::Update { before, after } if operation.transfer.is_some() && before == after => {
                return self.own_route(operation, key);
            }
            Action::Update {
                after: Resource::Route(new),
                ..
            } => ("replace", new),
            Action::Remove(Resource::Route(old)) => ("del", old),
            _ => return,
        };
        let mut before = "";
        if verb != "del" {
            self.notice(&operation.id.ns);
            if self.fresh && !route.hops().is_empty() {
                self.uses.insert(Helper::Patience);
                before = "patiently ";
            }
        }
        let command = format!(
            "{before}{} route {verb} {}",
            self.ip_of(operation, key.family()),
            route_words(key, route, verb == "del")
        );
        self.command(&command);
    }

    /// Has a route that is taken over as it is be the topology's.
    fn own_route(&mut self, operation: &Operation, key: &RouteKey) {
        self.uses.insert(Helper::OwnRoute);
        let selected = format!("exact {} metric {}", key.to, key.metric);
        let ip = self.ip_of(operation, key.family());
        self.command(&format!(
            "own_route {} {} {ip}",
            quoted(&selected),
            key.table
        ));
    }

    /// `ip` of a family in the namespace of an operation.
    fn ip_of(&self, operation: &Operation, family: Family) -> String {
        match family {
            Family::Ipv4 => self.ip(operation),
            Family::Ipv6 => format!("{} -6", self.ip(operation)),
        }
    }

    pub(super) fn rule(&mut self, operation: &Operation, key: &RuleKey) {
        let (new, old) = match &operation.action {
            Action::Create(Resource::Rule(new)) => (Some(new), None),
            Action::Update {
                before: Resource::Rule(old),
                after: Resource::Rule(new),
            } => (Some(new), Some(old)),
            Action::Remove(Resource::Rule(old)) => (None, Some(old)),
            _ => return,
        };
        if let (Some(Transfer::Adopt), Some(new), Some(old)) = (operation.transfer, new, old) {
            return self.own_rule(operation, key, old.action, new.action);
        }
        let mut there: Vec<rule::Action> = old
            .map(|old| std::iter::once(old.action).chain(old.surplus.iter().copied()))
            .into_iter()
            .flatten()
            .collect();
        // One that changes is made as it shall be before it goes as it was, so that there is always one.
        if let Some(new) = new
            && !there.contains(&new.action)
        {
            self.add_rule(operation, key, new.action);
            there.push(new.action);
        }
        let Some(old) = old else { return };
        if new.is_none_or(|new| new.action != old.action) {
            self.remove_rule(operation, key, old.action);
            there.remove(0);
        }
        for action in &old.surplus {
            let count = there.iter().filter(|other| *other == action).count();
            let stays = new.is_some_and(|new| new.action == *action);
            if count > usize::from(stays) {
                self.remove_rule(operation, key, *action);
                let place = there.iter().position(|other| other == action);
                there.remove(place.expect("it was counted"));
            }
        }
    }

    fn add_rule(&mut self, operation: &Operation, key: &RuleKey, action: rule::Action) {
        let (ip, words) = (self.ip_of(operation, key.family), rule_words(key, action));
        let priority = key.priority;
        if self.is_alone(operation, key) {
            let words: Vec<String> = words.split(' ').map(quoted).collect();
            let words = words.join(" ");
            self.command(&format!(
                "{ip} rule add priority {priority} {words} protocol 110"
            ));
        } else {
            self.uses.insert(Helper::Rules);
            self.command(&format!("add_rule {priority} {} {ip}", quoted(&words)));
        }
    }

    fn remove_rule(&mut self, operation: &Operation, key: &RuleKey, action: rule::Action) {
        let ip = self.ip_of(operation, key.family);
        let (priority, words) = (key.priority, rule_words(key, action));
        if matches!(action, rule::Action::Other(_)) {
            let words: Vec<String> = words.split(' ').map(quoted).collect();
            let words = words.join(" ");
            self.command(&format!(
                "{ip} rule del priority {priority} {words} protocol 110"
            ));
        } else {
            self.uses.insert(Helper::Rules);
            self.command(&format!("remove_rule {priority} {} {ip}", quoted(&words)));
        }
    }

    /// Has a rule that is taken over be the topology's: it is made a second time, and goes as it was.
    fn own_rule(
        &mut self,
        operation: &Operation,
        key: &RuleKey,
        before: rule::Action,
        after: rule::Action,
    ) {
        let ip = self.ip_of(operation, key.family);
        let priority = key.priority;
        self.checks.insert(format!(
            "[ \"$({ip} rule show priority {priority} | wc -l)\" -eq 1 ] || die {}\n",
            quoted(&format!(
                "there is not one rule of priority {priority} in {}",
                operation.id.ns
            ))
        ));
        let words = |action| {
            let words = rule_words(key, action);
            let words: Vec<String> = words.split(' ').map(quoted).collect();
            words.join(" ")
        };
        let (old, new) = (words(before), words(after));
        self.command(&format!(
            "{ip} rule add priority {priority} {new} protocol 110"
        ));
        // That of others is the first.
        self.command(&format!("{ip} rule del priority {priority} {old}"));
    }

    /// Whether no other rule has the priority of one: its namespace is new, and so has those of the plan.
    fn is_alone(&self, operation: &Operation, key: &RuleKey) -> bool {
        let ns = &operation.id.ns;
        let id = Id::namespace(ns.clone());
        let is_new =
            |other: &Operation| other.id == id && matches!(other.action, Action::Create(_));
        let of_priority = |other: &&Operation| match &other.id.key {
            Key::Rule(rule) => {
                other.id.ns == *ns
                    && rule.family == key.family
                    && rule.priority == key.priority
                    && matches!(other.action, Action::Create(_))
            }
            _ => false,
        };
        self.plan.operations.iter().any(is_new)
            && self.plan.operations.iter().filter(of_priority).count() == 1
    }
}

/// An address with its length, and with its other end.
fn near(key: &AddressKey, address: &Address) -> String {
    match address.peer {
        Some(peer) => format!("{} peer {peer}/{}", key.ip, address.prefix),
        None => format!("{}/{}", key.ip, address.prefix),
    }
}

/// A prefix as `ip` lists it.
fn prefix(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

/// A rule as `ip rule` lists it with numbers, but for its priority, its protocol, and the words of what it does.
fn rule_words(key: &RuleKey, action: rule::Action) -> String {
    let mut words = match &key.from {
        Some(from) => format!("from {}", prefix(from)),
        None => "from all".to_owned(),
    };
    if let Some(to) = &key.to {
        let _ = write!(words, " to {}", prefix(to));
    }
    match key.mark {
        Some(mark) if mask_is_whole(mark) => {
            let _ = write!(words, " fwmark {:#x}", mark.value);
        }
        Some(mark) => {
            let _ = write!(words, " fwmark {:#x}/{:#x}", mark.value, mark.mask);
        }
        None => {}
    }
    if let Some(iif) = &key.iif {
        let _ = write!(words, " iif {iif}");
    }
    if let Some(oif) = &key.oif {
        let _ = write!(words, " oif {oif}");
    }
    match action {
        rule::Action::Lookup(table) => {
            let _ = write!(words, " lookup {table}");
        }
        rule::Action::Blackhole => words.push_str(" blackhole"),
        rule::Action::Unreachable => words.push_str(" unreachable"),
        rule::Action::Prohibit => words.push_str(" prohibit"),
        rule::Action::Other(number) => {
            let _ = write!(words, " type {number}");
        }
    }
    words
}

fn mask_is_whole(mark: rule::Mark) -> bool {
    mark.mask == u32::MAX
}

/// A route as `ip route` takes it.
fn route_words(key: &RouteKey, route: &Route, removal: bool) -> String {
    let mut words = match kind(&route.target) {
        Some(kind) => format!("{kind} {}", key.to),
        None => key.to.to_string(),
    };
    if key.table != MAIN {
        let _ = write!(words, " table {}", key.table);
    }
    if key.metric != RouteKey::main(key.to).metric || removal {
        let _ = write!(words, " metric {}", key.metric);
    }
    if let Some(src) = route.src {
        let _ = write!(words, " src {src}");
    }
    if let Some(mtu) = route.mtu.filter(|_| !removal) {
        let _ = write!(words, " mtu {mtu}");
    }
    // Nothing but next hops may stand behind one of several.
    words.push_str(" protocol 110");
    // What is on the link itself has the scope of the link, also where there are several.
    let direct = route.hops().iter().all(|hop| hop.via.is_none());
    if key.family() == Family::Ipv4 && route.hops().len() > 1 && direct && !removal {
        words.push_str(" scope link");
    }
    match route.hops() {
        [] => {}
        [hop] => {
            let _ = write!(words, "{}", hop_words(key.family(), hop));
        }
        hops => {
            for hop in hops {
                let way = hop_words(key.family(), hop);
                let _ = write!(words, " nexthop{way} weight {}", hop.weight);
            }
        }
    }
    words
}

/// What kind of route it is, unless one with a next hop.
fn kind(target: &Target) -> Option<&'static str> {
    match target {
        Target::Unicast(_) => None,
        Target::Blackhole => Some("blackhole"),
        Target::Unreachable => Some("unreachable"),
        Target::Prohibit => Some("prohibit"),
        // `RTN_*` of `linux/rtnetlink.h`, in the words of `man 8 ip-route`.
        Target::Other(number) => Some(match number {
            2 => "local",
            3 => "broadcast",
            4 => "anycast",
            5 => "multicast",
            9 => "throw",
            10 => "nat",
            _ => "xresolve",
        }),
    }
}

/// One way on, as words with a space before each.
fn hop_words(family: Family, hop: &NextHop) -> String {
    let mut words = String::new();
    if let Some(via) = hop.via {
        let other = if Family::of(via) == family {
            ""
        } else {
            "inet6 "
        };
        let _ = write!(words, " via {other}{via}");
    }
    if let Some(dev) = &hop.dev {
        let _ = write!(words, " dev {}", quoted(dev.as_str()));
    }
    if hop.onlink {
        words.push_str(" onlink");
    }
    words
}
