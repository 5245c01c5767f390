//! The release that a spec is for, and what it says of a namespace name by name: hosts and sysctls.

use crate::resource::sysctl::SysctlKey;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::model::{Host, Setting};
use crate::spec::reader::{Reader, is_bool, is_number, short};
use crate::spec::source::Spanned;
use crate::spec::tree::{self, Entry, Node, Value};

/// This release.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// A release: `0.3` is the same as `0.3.0`.
fn release(text: &str) -> Option<[u32; 3]> {
    let mut numbers = [0; 3];
    let parts: Vec<&str> = text.split('.').collect();
    if !(2..=3).contains(&parts.len()) {
        return None;
    }
    for (number, part) in numbers.iter_mut().zip(parts) {
        let digits = part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part.parse().ok().filter(|_| digits)?;
    }
    Some(numbers)
}

/// Says so if a file is for a newer release than this one.
pub(in crate::spec) fn too_old_for(root: &Node) -> Option<Diagnostic> {
    let Value::Map(entries) = &*root.value else {
        return None;
    };
    let entry = entries.iter().find(|entry| entry.key.value == "requires")?;
    let Value::Scalar { text, .. } = &*entry.value.value else {
        return None;
    };
    // A pre-release has what its release will have.
    let own = release(RELEASE.split(['-', '+']).next()?)?;
    let wanted = release(text)?;
    (wanted > own).then(|| {
        let message = format!("this spec needs netform {text} or newer, and this is {RELEASE}");
        Diagnostic::new(message, entry.value.span, "install a newer netform")
    })
}

impl Reader<'_> {
    /// The release that a file is for. That this one is new enough is known already.
    pub(super) fn requires(&mut self, node: &Node) {
        let Some(text) = self.text(node, "requires", "a release, as text") else {
            return;
        };
        if release(text.value).is_none() {
            let message = format!("`{}` is no release of netform", short(text.value));
            let help = "write two or three numbers: `requires: \"0.3\"`";
            self.found.error(message, node.span, help);
        }
    }

    pub(super) fn hosts(&mut self, node: &Node) -> Vec<Host> {
        let entries = self.entries(node, "hosts");
        entries
            .into_iter()
            .filter_map(|entry| self.host(entry))
            .collect()
    }

    fn host(&mut self, entry: &Entry) -> Option<Host> {
        let name = &*entry.key.value;
        if let Some((message, help)) = bad_host(name) {
            self.found.error(message, entry.key.span, help);
            return None;
        }
        let items = match &*entry.value.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(&entry.value),
        };
        if items.is_empty() {
            let message = format!("`{name}` has no address");
            let help = "write one, or remove the name";
            self.found.error(message, entry.value.span, help);
        }
        let addresses: Vec<_> = items
            .iter()
            .filter_map(|item| Some(self.ip(item, name)?.value))
            .collect();
        Some(Host {
            name: Spanned::new(name.to_owned(), entry.key.span),
            addresses,
        })
    }

    /// Sysctls and their values. Two ways to write one name are one sysctl.
    pub(super) fn sysctls(&mut self, node: &Node) -> Vec<Setting> {
        let mut settings: Vec<Setting> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        for entry in self.entries(node, "sysctls") {
            let Some(setting) = self.sysctl(entry) else {
                continue;
            };
            let (key, at) = (setting.key.value.clone(), setting.key.span);
            if let Some(first) = seen.get(&key) {
                let name = key.to_string();
                self.found.push(tree::duplicate(&name, at, *first));
            } else {
                seen.insert(key, at);
                settings.push(setting);
            }
        }
        settings
    }

    fn sysctl(&mut self, entry: &Entry) -> Option<Setting> {
        let value = self.setting(&entry.value, &entry.key.value);
        match SysctlKey::parse(&entry.key.value) {
            Ok(key) => Some(Setting {
                key: Spanned::new(key, entry.key.span),
                value: Spanned::new(value?, entry.value.span),
            }),
            Err(bad) => {
                self.found
                    .error(bad.to_string(), entry.key.span, bad.help());
                None
            }
        }
    }

    /// A sysctl's value, as the kernel gives it back: single spaces between words.
    fn setting(&mut self, node: &Node, key: &str) -> Option<String> {
        let key = short(key);
        let Value::Scalar { text, plain } = &*node.value else {
            let help = "several numbers are one text: `\"4096 131072 6291456\"`";
            self.wrong(node, &key, "a number, a bool or a text", help);
            return None;
        };
        if *plain && is_bool(text) {
            let on = text.eq_ignore_ascii_case("true");
            return Some(u8::from(on).to_string());
        }
        let value = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if value.is_empty() || value.contains(char::is_control) {
            self.wrong(node, &key, "a number, a bool or a text", "write the value");
            return None;
        }
        // The kernel would read these, and give back something else.
        let whole = value.parse::<i64>().map(|number| number.to_string());
        if *plain && is_number(&value) && whole.as_ref() != Ok(&value) {
            let help = "write it with decimal digits only";
            self.wrong(node, &key, "a whole number", help);
            return None;
        }
        Some(value)
    }
}

/// Why a text is no name for a hosts file, and what to do.
fn bad_host(name: &str) -> Option<(String, &'static str)> {
    if name.eq_ignore_ascii_case("localhost") {
        let message = "`localhost` has its lines in every hosts file".to_owned();
        return Some((message, "remove it"));
    }
    bad_name(name)
}

/// Why a text is no name of a host, and what to do.
pub(super) fn bad_name(name: &str) -> Option<(String, &'static str)> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() <= 253 && name.split('.').all(label) {
        return None;
    }
    let message = format!("`{}` is no name of a host", short(name));
    let help =
        "words of letters, digits, `-` and `_`, at most 63 bytes each, with dots between them";
    Some((message, help))
}
