//! Sysctls as the spec names them, beside those that its other words bring.

use super::{Lowering, called, listed};
use crate::resource::name::LinkName;
use crate::resource::sysctl::{Sysctl, SysctlKey};
use crate::resource::{Id, Key, Ns, Resource};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::nearest;
use crate::spec::model::Setting;
use crate::spec::source::Span;

impl Lowering<'_> {
    /// Puts in what the spec says of sysctls. Comes last, so that it is known what else needs them.
    pub(super) fn settings(&mut self) {
        let spec = self.spec;
        let named = spec.namespaces.iter();
        let named = named.map(|(name, namespace)| (Ns::Named(name.clone()), namespace));
        let host = spec.host.iter().map(|namespace| (Ns::Host, namespace));
        for (ns, namespace) in named.chain(host) {
            for setting in &namespace.sysctls {
                self.setting(&ns, setting);
            }
        }
    }

    fn setting(&mut self, ns: &Ns, setting: &Setting) {
        let key = setting.key.value.clone();
        if let SysctlKey::Conf { link, .. } = &key
            && self.spec.is_found(ns)
            && !self.is_known(ns, link, setting.key.span)
        {
            return;
        }
        let value = &setting.value.value;
        let of_default = key.of_default().filter(|(_, name)| *name == "forwarding");
        let forwarding = key.switch().or(of_default.map(|(family, _)| family));
        // The switch writes the value of `default` too.
        let same = forwarding.map(SysctlKey::forwarding);
        let above = key.forwarding_of_link().map(SysctlKey::forwarding);
        let needed = self
            .value(ns, same.as_ref().unwrap_or(&key))
            .or_else(|| self.value(ns, &above?).filter(|value| value != "0"));
        match needed {
            Some(needed) if needed != *value => {
                let message = format!(
                    "`{}: {value}` contradicts what the gateways of the spec need there: {needed}",
                    setting.key.value
                );
                let diagnostic = Diagnostic::new(message, setting.key.span, "remove it");
                self.errors.push(diagnostic);
            }
            _ if same.is_some() => {}
            _ => {
                let value = Sysctl {
                    value: value.into(),
                };
                self.set(ns, key, value);
            }
        }
    }

    /// The value of a sysctl that something else in the spec has brought.
    fn value(&self, ns: &Ns, key: &SysctlKey) -> Option<String> {
        let id = Id::new(ns.clone(), Key::Sysctl(key.clone()));
        match &self.state.get(&id)?.resource {
            Resource::Sysctl(sysctl) => Some(sysctl.value.to_string()),
            _ => None,
        }
    }

    /// Whether a namespace of others has a link, or is to have it. Says so where not.
    fn is_known(&mut self, ns: &Ns, link: &LinkName, at: Span) -> bool {
        let made = Id::link(ns.clone(), link.clone());
        let place = self.place(ns);
        if place.links.contains_key(link) || self.state.get(&made).is_some() {
            return true;
        }
        let made = self.state.entries.keys().filter(|id| id.ns == *ns);
        let made = made.filter_map(|id| match &id.key {
            Key::Link(name) => Some(name),
            _ => None,
        });
        let names = place.links.keys().chain(made);
        let help = match nearest(link.as_str(), names.clone().map(LinkName::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its links are: {}", listed(names)),
        };
        let message = format!("{} has no link `{link}`", called(ns));
        self.errors.push(Diagnostic::new(message, at, help));
        false
    }
}
