//! nftables: the topology's table, and accept rules in the chains of others.

use std::fmt::Write;

use super::Writer;
use super::helpers::Helper;
use super::words::{comment, document, quoted};
use crate::plan::{Action, Operation};
use crate::resource::nftables::gateway::withdrawn::{Ended, Nets};
use crate::resource::nftables::{Table, Value};
use crate::resource::permit::{PermitKey, TABLE};
use crate::resource::{Ns, Resource};

impl Writer<'_> {
    pub(super) fn table(&mut self, operation: &Operation) {
        let document = match &operation.action {
            Action::Create(Resource::Table(new)) => whole(new),
            Action::Update {
                before: Resource::Table(before),
                after: Resource::Table(after),
            } if before.differs_in_elements_only(after) => elements(before, after),
            Action::Update {
                after: Resource::Table(after),
                ..
            } => whole(after),
            Action::Remove(Resource::Table(old)) => format!("delete table inet {}\n", old.name),
            _ => return,
        };
        self.nft(&operation.id.ns, &document);
        for ended in operation.ended() {
            self.end(&operation.id.ns, ended);
        }
    }

    /// Appends a transaction.
    fn nft(&mut self, ns: &Ns, text: &str) {
        self.programs.insert("nft");
        let inside = self.inside(ns);
        let _ = write!(self.text, "{inside}nft -f - {}", document(text));
    }

    /// Has the kernel forget connections, as far as conntrack(8) can be told which.
    fn end(&mut self, ns: &Ns, ended: &Ended) {
        let what = super::super::phrase::connections(ended);
        let Ended::Members(nets) = ended else {
            let text = format!("What `apply` ends besides, and no command does: {what}.");
            self.text.push_str(&comment(&text));
            return;
        };
        let inside = self.inside(ns);
        self.command("if command -v conntrack >/dev/null; then");
        for selector in selectors(nets) {
            // It fails where there is none.
            self.command(&format!(
                "    {inside}conntrack -D {selector} >/dev/null 2>&1 || :"
            ));
        }
        self.command("fi");
    }

    pub(super) fn permit(&mut self, operation: &Operation, key: &PermitKey) {
        let ns = &operation.id.ns;
        let matches = permit_words(key);
        if matches!(operation.action, Action::Create(_)) {
            self.nft(
                ns,
                &format!(
                    "insert rule {} {TABLE} {} {matches} counter accept comment \"{}\"\n",
                    key.family,
                    key.chain,
                    key.comment()
                ),
            );
        } else {
            self.uses.insert(Helper::Permit);
            let inside = self.inside(ns);
            self.command(
                format!(
                    "remove_permit {} {} {} {} {} {inside}",
                    key.family,
                    quoted(&key.chain),
                    quoted(&iptables_words(key)),
                    quoted(&matches),
                    quoted(&key.comment())
                )
                .trim_end(),
            );
        }
    }
}

/// A table, in the place of one of the same name if there is one.
fn whole(table: &Table) -> String {
    // Only what exists can be deleted.
    let name = &table.name;
    format!("add table inet {name}\ndelete table inet {name}\n{table}")
}

/// The elements that sets lose and get.
fn elements(before: &Table, after: &Table) -> String {
    let mut text = String::new();
    for change in before.element_changes(after).into_iter().flatten() {
        let verb = if change.adds { "add" } else { "delete" };
        let elements: Vec<String> = change.elements.iter().map(ToString::to_string).collect();
        let (table, name, elements) = (&after.name, change.name, elements.join(", "));
        let _ = writeln!(text, "{verb} element inet {table} {name} {{ {elements} }}");
    }
    text
}

/// What conntrack(8) selects connections from and to some addresses by.
fn selectors(nets: &Nets) -> impl Iterator<Item = String> {
    nets.iter().flat_map(|net| {
        let family = if net.addr().is_ipv6() { "-f ipv6 " } else { "" };
        let net = if net.prefix_len() == net.max_prefix_len() {
            net.addr().to_string()
        } else {
            net.to_string()
        };
        // Answers come from where a connection leads, after all translation.
        [
            format!("{family}--orig-src {net}"),
            format!("{family}--reply-src {net}"),
        ]
    })
}

/// What a rule looks at, as `nft` lists it.
fn permit_words(key: &PermitKey) -> String {
    let link = |name: &crate::resource::name::LinkName| Value::Link(name.clone()).to_string();
    let mut words = format!("iifname {} oifname {}", link(&key.from), link(&key.to));
    for (word, net) in [("saddr", &key.source), ("daddr", &key.destination)] {
        if let Some(net) = net {
            let _ = write!(words, " {} {word} {}", key.family, Value::Ip(*net));
        }
    }
    words
}

/// The same as `iptables` takes it.
fn iptables_words(key: &PermitKey) -> String {
    let mut words = format!("-i {} -o {}", key.from, key.to);
    for (word, net) in [("-s", &key.source), ("-d", &key.destination)] {
        if let Some(net) = net {
            let _ = write!(words, " {word} {net}");
        }
    }
    words
}
