//! Veths that NetworkManager takes for its own.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Lowering, listed};
use crate::resource::link::{GROUP, LinkKind};
use crate::resource::name::LinkName;
use crate::resource::{Key, Ns, Resource};
use crate::state::NetworkManager;

/// Whether a list of devices names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lists {
    Yes,
    No,
    /// It says so by something that isn't known.
    Perhaps,
}

impl Lowering<'_> {
    /// Ends of pairs on the host that nothing tells it to leave alone.
    pub(super) fn network_manager(&mut self) {
        let Some(manager) = &self.facts.machine.network_manager else {
            return;
        };
        let entries = self.state.entries.iter();
        let veths = entries.filter_map(|(id, entry)| match (&id.ns, &id.key, &entry.resource) {
            (Ns::Host, Key::Link(name), Resource::Link(link))
                if link.up && matches!(link.kind, LinkKind::Veth(_)) =>
            {
                Some((takes(manager, name)?, name))
            }
            _ => None,
        });
        let mut taken: BTreeMap<By, BTreeSet<&LinkName>> = BTreeMap::new();
        for (by, name) in veths {
            taken.entry(by).or_default().insert(name);
        }
        let texts: Vec<String> = taken
            .into_iter()
            .map(|(by, names)| text(by, names))
            .collect();
        for text in texts {
            self.remark(&Ns::Host, text);
        }
    }
}

/// Why it manages a veth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    /// Nothing says that it shall not.
    Default,
    /// A section of its configuration says that it shall.
    Section,
}

/// What is so, and what to do.
fn text(by: By, names: BTreeSet<&LinkName>) -> String {
    let names = listed(names);
    let what = format!(
        "NetworkManager is set to manage {names}, so it may ask for addresses there and remove others"
    );
    match by {
        By::Default => {
            format!("{what}: have it leave netform's links alone, as `netform show --hints` says")
        }
        By::Section => format!(
            "{what}: except them in `match-device` of the [device] section of its configuration that says \
             `managed=1` (`except:interface-name:NAME`)"
        ),
    }
}

/// Why it manages a veth of that name. None: it doesn't, or that can't be told. Its own configuration counts
/// more than udev's marks.
fn takes(manager: &NetworkManager, name: &LinkName) -> Option<By> {
    let mut by = By::Default;
    for (devices, managed) in &manager.devices {
        // Without a list it is for all devices.
        let listed = if devices.is_empty() {
            Lists::Yes
        } else {
            lists(devices, name)
        };
        match (listed, managed) {
            (Lists::Yes, true) => by = By::Section,
            (Lists::No, _) => {}
            (Lists::Perhaps, _) | (_, false) => return None,
        }
    }
    let left = match by {
        By::Section => false,
        By::Default => manager.marks.iter().any(|mark| is_marked(mark, name)),
    };
    (!left && lists(&manager.unmanaged, name) == Lists::No).then_some(by)
}

/// Whether a rule of udev's tells it to leave a veth alone: one that is for veths, but for those whose names its
/// own rule excepts, or for netform's group.
fn is_marked(rule: &str, name: &LinkName) -> bool {
    let number = name.as_str().strip_prefix("eth");
    let excepted = number.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let excepts = rule.contains("!=\"eth[0-9]*\"");
    rule.contains("veth") && !(excepts && excepted) || rule.contains(&GROUP.to_string())
}

/// Whether a list of devices names a veth (`Device List Format` of `man 5 NetworkManager.conf`).
fn lists(devices: &[String], name: &LinkName) -> Lists {
    let mut found = Lists::No;
    for device in devices {
        let (device, except) = match device.strip_prefix("except:") {
            Some(device) => (device, true),
            None => (device.as_str(), false),
        };
        let names = match device.split_once(':') {
            None if device == "*" => Lists::Yes,
            None => is(device == name.as_str()),
            Some(("interface-name", pattern)) => match pattern.strip_prefix('=') {
                Some(exact) => is(exact == name.as_str()),
                None if pattern.contains(['?', '[', '\\', '~']) => Lists::Perhaps,
                None => is(glob(pattern, name.as_str())),
            },
            Some(("driver" | "type", "veth")) => Lists::Yes,
            Some(("driver", driver)) if !driver.contains('*') => Lists::No,
            Some(("type", other)) if other != "ethernet" => Lists::No,
            Some(_) => Lists::Perhaps,
        };
        match (names, except) {
            (Lists::Yes, true) => return Lists::No,
            (Lists::Yes, false) if found == Lists::No => found = Lists::Yes,
            (Lists::Perhaps, _) => found = Lists::Perhaps,
            _ => {}
        }
    }
    found
}

fn is(yes: bool) -> Lists {
    if yes { Lists::Yes } else { Lists::No }
}

/// Whether a name is of a pattern in which `*` stands for anything.
fn glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|left| {
            (0..=left.len())
                .filter(|at| left.is_char_boundary(*at))
                .any(|at| glob(rest, &left[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(unmanaged: &[&str]) -> NetworkManager {
        let own = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        NetworkManager {
            unmanaged: own(unmanaged),
            devices: Vec::new(),
            marks: own(&[
                "ENV{ID_NET_DRIVER}==\"veth\", ENV{INTERFACE}!=\"eth[0-9]*\", ENV{NM_UNMANAGED}=\"1\"",
            ]),
        }
    }

    fn takes(manager: &NetworkManager, name: &str) -> bool {
        super::takes(manager, &LinkName::try_from(name).expect("a name")).is_some()
    }

    #[test]
    fn a_veth_is_left_alone_unless_it_is_named_as_a_card() {
        assert!(!takes(&manager(&[]), "to-a"));
        assert!(!takes(&manager(&[]), "ethos"));
        assert!(takes(&manager(&[]), "eth7"));
        let without = NetworkManager::default();
        assert!(takes(&without, "to-a"));
    }

    #[test]
    fn a_list_names_devices_by_name_pattern_and_kind() {
        for list in [
            &["interface-name:eth7"][..],
            &["interface-name:=eth7"],
            &["interface-name:e*7"],
            &["interface-name:eth[0-9]"],
            &["eth7"],
            &["*", "except:interface-name:wlan*"],
            &["driver:veth"],
            &["type:veth"],
            &["mac:00:11:22:33:44:55"],
        ] {
            assert!(!takes(&manager(list), "eth7"), "{list:?}");
        }
        for list in [
            &["interface-name:eth8"][..],
            &["interface-name:e*8"],
            &["driver:e1000e", "type:wifi"],
            &["*", "except:interface-name:eth*"],
        ] {
            assert!(takes(&manager(list), "eth7"), "{list:?}");
        }
    }

    #[test]
    fn a_section_of_its_own_counts_more_than_the_marks_of_udev() {
        let with = |devices: &[(&str, bool)]| {
            let devices = devices.iter();
            let devices = devices.map(|&(device, managed)| (vec![device.to_owned()], managed));
            NetworkManager {
                devices: devices.collect(),
                ..manager(&[])
            }
        };
        assert!(takes(&with(&[("interface-name:to-*", true)]), "to-a"));
        assert!(takes(&with(&[("interface-name:to-*", false)]), "eth7"));
        assert!(!takes(&with(&[("interface-name:eth*", false)]), "eth7"));
        assert!(!takes(
            &with(&[("driver:veth", true), ("*", false)]),
            "to-a"
        ));
    }
}
