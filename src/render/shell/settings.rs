//! Namespaces, their files, and sysctls.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::helpers::Helper;
use super::words::{comment, document, quoted};
use super::{Writer, is_removal};
use crate::plan::{Action, Operation};
use crate::resource::file::{FileKind, NOTICE};
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Id, Key, Ns, Resource};

impl<'p> Writer<'p> {
    pub(super) fn namespace(&mut self, operation: &'p Operation) {
        let Ns::Named(name) = &operation.id.ns else {
            return;
        };
        let (ns, tag) = (quoted(name.as_str()), self.tag());
        match &operation.action {
            Action::Create(_) => {
                self.uses.insert(Helper::Namespace);
                self.command(&format!("new_namespace {ns} {tag}"));
            }
            // It is taken over.
            Action::Update { .. } => {
                let (ip, alias) = (self.ip(operation), self.adopted(operation));
                self.command(&format!("{ip} link set dev lo alias {alias}"));
            }
            Action::Remove(_) => {
                self.uses.insert(Helper::Owned);
                self.checks.insert(format!("owned {ns} {tag}\n"));
                // The kernel takes its time with a namespace, and the names of links outside may be needed.
                for link in self.outside_ends(&operation.id.ns) {
                    if let Key::Link(end) = &link.key {
                        let ip = self.doors.ip(&link.ns);
                        self.command(&format!("{ip} link del dev {}", quoted(end.as_str())));
                    }
                }
                self.command(&format!("ip netns del {ns}"));
            }
            _ => {}
        }
    }

    /// The links outside of a namespace that goes that go with it.
    fn outside_ends(&self, dying: &Ns) -> Vec<&'p Id> {
        let operations = &self.plan.operations;
        let removals = operations.iter().filter(|operation| is_removal(operation));
        let doomed: BTreeSet<&Ns> = removals
            .clone()
            .filter(|operation| operation.id.key == Key::Namespace)
            .map(|operation| &operation.id.ns)
            .collect();
        removals
            .filter(|operation| match &operation.action {
                Action::Remove(Resource::Link(link)) => {
                    link.peer().is_some_and(|peer| peer.ns == *dying)
                        && !doomed.contains(&operation.id.ns)
                }
                _ => false,
            })
            .map(|operation| &operation.id)
            .collect()
    }

    pub(super) fn file(&mut self, operation: &Operation, kind: FileKind) {
        let Ns::Named(name) = &operation.id.ns else {
            return;
        };
        let (helper, function, content) = match &operation.action {
            Action::Create(Resource::File(new)) => (Helper::NewFile, "new_file", &new.content),
            Action::Update {
                after: Resource::File(new),
                ..
            } => (Helper::ChangeFile, "change_file", &new.content),
            _ => {
                let path = format!("/etc/netns/{name}/{}", kind.file_name());
                self.command(&format!("rm {}", quoted(&path)));
                return;
            }
        };
        self.uses.insert(helper);
        let text = format!("# {}\n{NOTICE}{content}", self.tag());
        let (ns, file) = (quoted(name.as_str()), kind.file_name());
        let _ = write!(self.text, "{function} {ns} {file} {}", document(&text));
    }

    pub(super) fn sysctl(&mut self, operation: &Operation, key: &SysctlKey) {
        if operation.is_unseen() {
            let what = crate::render::phrase::located(&operation.id, &self.plan.topology);
            self.barriers
                .push(format!("{what} was not there when the plan was made"));
            return;
        }
        let value = match &operation.action {
            Action::Create(Resource::Sysctl(new))
            | Action::Update {
                after: Resource::Sysctl(new),
                ..
            } => &new.value,
            Action::Borrow {
                after, original, ..
            } => {
                let back = self.writing(&operation.id.ns, key, original);
                let back = format!("It is borrowed. By hand it is given back with: {back}");
                self.text.push_str(&comment(&back));
                // Even where it is so already: a switch that went off just before may have cleared it.
                &after.value
            }
            Action::GiveBack { before, after, .. } if before != after => &after.value,
            // There is no removing a sysctl: it is forgotten.
            _ => return,
        };
        let writing = self.writing(&operation.id.ns, key, value);
        self.command(&writing);
    }

    /// The command that writes a sysctl. A single write, and no other program than `tee`: `sysctl` takes some names of links
    /// for patterns, and isn't everywhere.
    fn writing(&mut self, ns: &Ns, key: &SysctlKey, value: &str) -> String {
        let path = quoted(&format!("/proc/sys/{}", key.path()));
        let value = if !value.is_empty() && value.chars().all(|c| c.is_ascii_digit()) {
            format!("echo {value}")
        } else {
            format!("printf '%s\\n' {}", quoted(value))
        };
        let inside = self.inside(ns);
        if inside.is_empty() {
            format!("{value} >{path}")
        } else {
            format!("{value} | {inside}tee {path} >/dev/null")
        }
    }
}
