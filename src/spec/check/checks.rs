//! Checks: whether each can be told from the others.

use std::collections::HashMap;

use crate::spec::diagnostic::Diagnostic;
use crate::spec::findings::Findings;
use crate::spec::model::Check;
use crate::spec::source::Span;

/// Checks that no two have the same name: in a report they would be one.
pub(super) fn check(checks: &[Check], found: &mut Findings) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for name in checks.iter().filter_map(|check| check.name.as_ref()) {
        if let Some(first) = seen.get(name.value.as_str()) {
            let message = format!("two checks are called `{}`", name.value);
            let help = "choose another name for one of them";
            found.push(Diagnostic::new(message, name.span, help).also(*first, "the other"));
        } else {
            seen.insert(&name.value, name.span);
        }
    }
}
