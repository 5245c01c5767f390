//! Links with one end, as an entry of `links` has them.

use super::EndEntry;
use crate::resource::Ns;
use crate::resource::link::LinkKind;
use crate::resource::link::bridge::Bridge;
use crate::resource::link::dummy::Dummy;
use crate::resource::name::LinkName;
use crate::spec::keys::{self, Mapping};
use crate::spec::model::Origin;
use crate::spec::reader::{Fields, Reader};
use crate::spec::source::Spanned;
use crate::spec::tree::{Entry, Value};

/// An entry of `links`.
#[derive(Debug)]
pub(in crate::spec) struct LinkEntry {
    /// What netform makes. None: the link exists already.
    pub(in crate::spec) kind: Option<LinkKind>,
    pub(in crate::spec) end: EndEntry,
}

/// A kind of link: its key, the mapping there, and how that is read.
type Kind = (
    &'static str,
    &'static Mapping,
    fn(&mut Reader<'_>, &Fields<'_, '_>) -> LinkKind,
);

/// The kinds that netform makes.
static KINDS: [Kind; 2] = [
    ("bridge", &keys::BRIDGE, bridge),
    ("dummy", &keys::DUMMY, |_, _| LinkKind::Dummy(Dummy {})),
];

fn bridge(reader: &mut Reader<'_>, fields: &Fields<'_, '_>) -> LinkKind {
    let mut on = |key| {
        let node = fields.get(key);
        node.and_then(|node| reader.bool(node, key))
            .unwrap_or_default()
    };
    LinkKind::Bridge(Bridge {
        stp: on("stp"),
        vlan_filtering: on("vlan_filtering"),
    })
}

impl Reader<'_> {
    /// An entry of `links` of a namespace.
    pub(super) fn link_entry(&mut self, ns: &Ns, entry: &Entry) -> Option<LinkEntry> {
        let at = entry.key.span;
        let name = self.link_name(at, &entry.key.value, "the link's name")?;
        let ns = Spanned::new(ns.clone(), at);
        // `lo:` with nothing after it is a link that nothing is said of.
        if matches!(*entry.value.value, Value::Null) {
            return Some(LinkEntry {
                kind: None,
                end: EndEntry {
                    ns: Some(ns),
                    name: Some(name),
                    addresses: Vec::new(),
                    mac: None,
                    mtu: None,
                    up: true,
                    bridge: None,
                    origin: Origin::Existing,
                },
            });
        }
        let fields = self.fields(&entry.value, &keys::LINK_ENTRY, at)?;
        // What a kind of a later version is called looks like a link that exists.
        let mut later = keys::LINK_ENTRY.later.iter();
        if later.any(|key| fields.get(key).is_some()) {
            return None;
        }
        let kind = self.kind(&fields)?;
        let made = kind.is_some();
        let mut end = self.end_of(&fields, Some(ns), Some(name.clone()));
        if !made {
            if fields.get("bridge").is_some() && end.bridge.is_none() {
                return None;
            }
            end.origin = Origin::Existing;
            self.leave_alone(&fields, &name);
        }
        Some(LinkEntry { kind, end })
    }

    /// The kind that a link is of, if it says one. None: something is wrong with it.
    #[expect(
        clippy::option_option,
        reason = "to say no kind is something else than to say a wrong one"
    )]
    fn kind(&mut self, fields: &Fields<'_, '_>) -> Option<Option<LinkKind>> {
        let mut found: Option<(&str, LinkKind)> = None;
        for (key, mapping, read) in &KINDS {
            let Some(node) = fields.get(key) else {
                continue;
            };
            // A port says there which bridge it is of.
            if *key == "bridge" && matches!(*node.value, Value::Scalar { .. }) {
                continue;
            }
            if matches!(*node.value, Value::Null) {
                let help = format!("write `{key}: {{}}` for one with nothing special");
                self.wrong(node, key, "a mapping", &help);
                return None;
            }
            let inside = self.fields(node, mapping, node.span)?;
            if let Some((first, _)) = &found {
                let message = format!("a link can't be a {first} and a {key}");
                self.found.error(message, node.span, "remove one of them");
                return None;
            }
            found = Some((key, read(self, &inside)));
        }
        Some(found.map(|(_, kind)| kind))
    }

    /// Says so when more is asked of a link that exists than to add something to it.
    fn leave_alone(&mut self, fields: &Fields<'_, '_>, name: &Spanned<LinkName>) {
        for key in ["mac", "mtu", "up"] {
            if let Some(node) = fields.get(key) {
                let name = &name.value;
                let message = format!(
                    "`{name}` exists already, so its `{key}` isn't netform's: only what is added to it is"
                );
                let help = if name.as_str() == "lo" {
                    "remove it".to_owned()
                } else {
                    format!(
                        "remove it, or say of which kind `{name}` is to be made, `bridge: {{}}` for example"
                    )
                };
                self.found.error(message, node.span, help);
            }
        }
    }
}
