//! Tables as text, in the language of `nft`.
//!
//! The text is what `nft --stateless list table` (1.0.6) prints of the same table, but that it lists one
//! element a line, in the order of their values, and that it escapes a `*` at the end of a link's name.
//! `nft -f` takes it, unless something isn't recognised.

use std::fmt::{self, Display, Formatter};

use super::recognise::hex;
use super::set::{Element, Field, Lookup, Set, Value};
use super::statement::{CtState, Direction, End, Icmpv6Type, Key, Statement, Verdict};
use super::{Base, Chain, ChainKind, Hook, Policy, Rule, Table};
use crate::resource::Family;

/// A table as lines without their ends.
pub fn render(table: &Table) -> Vec<String> {
    let mut lines = vec![head(table)];
    lines.extend(
        attributes(table)
            .into_iter()
            .map(|line| format!("\t{line}")),
    );
    let mut first = true;
    let sets = table.sets.iter().map(|(name, set)| set_lines(name, set));
    let chains = table
        .chains
        .iter()
        .map(|(name, chain)| chain_lines(name, chain));
    for block in sets.chain(chains) {
        if !std::mem::replace(&mut first, false) {
            lines.push(String::new());
        }
        lines.extend(block.into_iter().map(|line| format!("\t{line}")));
    }
    lines.push("}".to_owned());
    lines
}

/// The table with its lines.
impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        render(self)
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// The line that a table begins with.
pub(super) fn head(table: &Table) -> String {
    format!("table inet {} {{", table.name)
}

/// What a table has besides sets and chains.
pub(super) fn attributes(table: &Table) -> Vec<String> {
    let comment = table.comment.as_deref().map(comment);
    comment
        .into_iter()
        .chain(table.unknown.iter().cloned())
        .collect()
}

/// A set's lines.
fn set_lines(name: &str, set: &Set) -> Vec<String> {
    let mut lines = vec![set_head(name, set)];
    lines.extend(
        set_attributes(set)
            .into_iter()
            .map(|line| format!("\t{line}")),
    );
    let mut elements = set.elements.iter().peekable();
    let mut lead = "\telements = { ";
    while let Some(element) = elements.next() {
        let end = if elements.peek().is_some() { "," } else { " }" };
        lines.push(format!("{lead}{element}{end}"));
        lead = "\t\t     ";
    }
    lines.push("}".to_owned());
    lines
}

/// The line that a set begins with.
pub(super) fn set_head(name: &str, set: &Set) -> String {
    let is_map = set.is_verdict_map() || !set.data.is_empty();
    let kind = if is_map { "map" } else { "set" };
    format!("{kind} {name} {{")
}

/// What a set has besides elements.
pub(super) fn set_attributes(set: &Set) -> Vec<String> {
    let names = |fields: &[Field]| {
        let names: Vec<String> = fields.iter().copied().map(Field::name).collect();
        names.join(" . ")
    };
    let data = match set.data.as_slice() {
        [] if set.is_verdict_map() => " : verdict".to_owned(),
        [] => String::new(),
        data => format!(" : {}", names(data)),
    };
    let mut lines = vec![format!("type {}{data}", names(&set.key))];
    if set.lookup == Lookup::Interval {
        lines.push("flags interval".to_owned());
    }
    lines.extend(set.comment.as_deref().map(comment));
    lines.extend(set.unknown.iter().cloned());
    lines
}

/// A set without a name, as it stands in a rule.
pub(super) fn inline(set: &Set) -> String {
    let elements: Vec<String> = set.elements.iter().map(Element::to_string).collect();
    format!("{{ {} }}", elements.join(", "))
}

/// A chain's lines.
fn chain_lines(name: &str, chain: &Chain) -> Vec<String> {
    let mut lines = vec![chain_head(name)];
    lines.extend(
        chain_body(chain)
            .into_iter()
            .map(|line| format!("\t{line}")),
    );
    lines.push("}".to_owned());
    lines
}

/// The line that a chain begins with.
pub(super) fn chain_head(name: &str) -> String {
    format!("chain {name} {{")
}

/// What a chain has.
pub(super) fn chain_body(chain: &Chain) -> Vec<String> {
    let mut lines: Vec<String> = chain.base.iter().map(Base::to_string).collect();
    lines.extend(chain.unknown.iter().cloned());
    lines.extend(chain.rules.iter().map(Rule::to_string));
    lines
}

/// A comment. `nft` has no way to write a quote in one.
fn comment(text: &str) -> String {
    format!("comment \"{text}\"")
}

impl Display for Base {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Base {
            kind,
            hook,
            priority,
            policy,
        } = self;
        write!(f, "type {kind} hook {hook} priority ")?;
        match priority_name(*priority, *hook) {
            Some(name) => f.write_str(name)?,
            None => priority.fmt(f)?,
        }
        write!(f, "; policy {policy};")
    }
}

/// What `nft` calls a priority (`man 8 nft`, standard priority names).
fn priority_name(priority: i32, hook: Hook) -> Option<&'static str> {
    Some(match (priority, hook) {
        (-300, _) => "raw",
        (-150, _) => "mangle",
        (-100, Hook::Prerouting) => "dstnat",
        (0, _) => "filter",
        (50, _) => "security",
        (100, Hook::Postrouting) => "srcnat",
        _ => return None,
    })
}

impl Display for ChainKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
            ChainKind::Other(name) => name,
        })
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
            Hook::Other(number) => return number.fmt(f),
        })
    }
}

impl Display for Policy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::Accept => "accept",
            Policy::Drop => "drop",
        })
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let statements = self.statements.iter().map(Statement::to_string);
        let parts: Vec<String> = statements
            .chain(self.comment.as_deref().map(comment))
            .collect();
        f.write_str(&parts.join(" "))
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Statement::Family(Family::Ipv4) => f.write_str("meta nfproto ipv4"),
            Statement::Family(Family::Ipv6) => f.write_str("meta nfproto ipv6"),
            Statement::In { key, set } => write!(f, "{} @{set}", concatenated(key)),
            Statement::Transports(numbers) => {
                let numbers: Vec<String> = numbers
                    .iter()
                    .map(|number| Value::Protocol(*number).to_string())
                    .collect();
                write!(f, "meta l4proto {{ {} }}", numbers.join(", "))
            }
            Statement::NotLocal => f.write_str("fib daddr type != local"),
            Statement::Redirected => f.write_str("ct status dnat"),
            Statement::Translate {
                end,
                family,
                key,
                map,
                ..
            } => {
                let verb = match end {
                    End::Source => "snat",
                    End::Destination => "dnat",
                };
                let family = match family {
                    Family::Ipv4 => "ip",
                    Family::Ipv6 => "ip6",
                };
                write!(f, "{verb} {family} to {} map @{map}", concatenated(key))
            }
            Statement::NotGroup { direction, group } => {
                let direction = match direction {
                    Direction::In => "iifgroup",
                    Direction::Out => "oifgroup",
                };
                write!(f, "{direction} != {group}")
            }
            Statement::Within { end, net } => {
                let key = Key::Address(Family::of(net.addr()), *end);
                write!(f, "{key} {}", Value::Ip(*net))
            }
            Statement::Icmpv6(types) => {
                let names: Vec<String> = types.iter().map(Icmpv6Type::to_string).collect();
                match names.as_slice() {
                    [only] => write!(f, "icmpv6 type {only}"),
                    names => write!(f, "icmpv6 type {{ {} }}", names.join(", ")),
                }
            }
            Statement::TcpSyn => f.write_str("tcp flags syn / syn,rst"),
            Statement::ClampMss => f.write_str("tcp option maxseg size set rt mtu"),
            Statement::CtState(verdicts) => {
                let pairs: Vec<String> = verdicts
                    .iter()
                    .map(|(state, verdict)| format!("{state} : {verdict}"))
                    .collect();
                write!(f, "ct state vmap {{ {} }}", pairs.join(", "))
            }
            Statement::Counter => f.write_str("counter"),
            Statement::Verdict(verdict) => verdict.fmt(f),
            Statement::RejectAdminProhibited => f.write_str("reject with icmpx admin-prohibited"),
            Statement::Masquerade => f.write_str("masquerade"),
            Statement::Unknown(text) => f.write_str(text),
        }
    }
}

/// Some values, one after the other.
fn concatenated<T: Display>(parts: &[T]) -> String {
    let parts: Vec<String> = parts.iter().map(T::to_string).collect();
    parts.join(" . ")
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Key::Link(Direction::In) => "iifname",
            Key::Link(Direction::Out) => "oifname",
            Key::Address(Family::Ipv4, End::Source) => "ip saddr",
            Key::Address(Family::Ipv4, End::Destination) => "ip daddr",
            Key::Address(Family::Ipv6, End::Source) => "ip6 saddr",
            Key::Address(Family::Ipv6, End::Destination) => "ip6 daddr",
            Key::Protocol => "meta l4proto",
            Key::Port(End::Source) => "th sport",
            Key::Port(End::Destination) => "th dport",
        })
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Continue => f.write_str("continue"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for CtState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Display for Icmpv6Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&concatenated(&self.key))?;
        if let Some(unknown) = &self.unknown {
            let space = if self.key.is_empty() { "" } else { " " };
            write!(f, "{space}{unknown}")?;
        }
        match &self.verdict {
            Some(verdict) => write!(f, " : {verdict}"),
            None if self.data.is_empty() => Ok(()),
            None => write!(f, " : {}", concatenated(&self.data)),
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            // A `*` at the end stands for any more characters, unless it is escaped.
            Value::Link(name) => match name.as_str().strip_suffix('*') {
                Some(start) => write!(f, "\"{start}\\*\""),
                None => write!(f, "\"{name}\""),
            },
            Value::Ip(net) if net.prefix_len() == net.max_prefix_len() => net.addr().fmt(f),
            Value::Ip(net) => net.fmt(f),
            Value::Protocol(6) => f.write_str("tcp"),
            Value::Protocol(17) => f.write_str("udp"),
            Value::Protocol(1) => f.write_str("icmp"),
            Value::Protocol(58) => f.write_str("ipv6-icmp"),
            Value::Protocol(number) => number.fmt(f),
            Value::Port(port) => port.fmt(f),
            Value::Ports(from, to) => write!(f, "{from}-{to}"),
            Value::Icmpv6Type(kind) => kind.fmt(f),
            Value::CtState(state) => state.fmt(f),
            Value::Raw { from, to } if from == to => f.write_str(&hex(from)),
            Value::Raw { from, to } => write!(f, "{}-{}", hex(from), hex(to)),
        }
    }
}
