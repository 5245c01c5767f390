//! Namespaces that others make.

use std::path::PathBuf;

use crate::resource::Ns;
use crate::spec::keys;
use crate::spec::model::External;
use crate::spec::reader::{Reader, is_bool, short};
use crate::spec::tree::{Node, Value};

impl Reader<'_> {
    /// Whether others make a namespace, and where it is.
    pub(super) fn external(&mut self, node: &Node, ns: Option<&Ns>) -> Option<External> {
        if ns == Some(&Ns::Host) {
            let message = "`external` isn't for the host: it always exists";
            self.found.error(message, node.span, "remove it");
            return None;
        }
        match &*node.value {
            Value::Map(_) => {
                let fields = self.fields(node, &keys::EXTERNAL, node.span)?;
                let path = self.path(fields.get("path")?)?;
                Some(External { path: Some(path) })
            }
            Value::Scalar { text, plain: true } if is_bool(text) => text
                .eq_ignore_ascii_case("true")
                .then_some(External { path: None }),
            Value::Scalar { text, .. } if text.starts_with('/') => {
                let help = format!("write `external: {{ path: {} }}`", short(text));
                self.wrong(node, "external", "`true`, `false` or a mapping", &help);
                None
            }
            _ => {
                let help = "write `true`, or `{ path: PATH }` for one without a name in /run/netns";
                self.wrong(node, "external", "`true`, `false` or a mapping", help);
                None
            }
        }
    }

    /// A path of a file, which is whole.
    fn path(&mut self, node: &Node) -> Option<PathBuf> {
        let text = self.text(node, "path", "the path of a file")?.value;
        let wrong = if !text.starts_with('/') {
            format!("the path `{}` doesn't begin at `/`", short(text))
        } else if text.contains(char::is_control) {
            "a path can't have control characters".to_owned()
        } else {
            return Some(PathBuf::from(text));
        };
        let help = "write the whole path, `/proc/PID/ns/net` for example";
        self.found.error(wrong, node.span, help);
        None
    }

    /// Whether anybody mounts the files of a namespace in `/etc/netns`. Says so if nobody does.
    pub(super) fn mounted(&mut self, key: &str, node: &Node, external: Option<&External>) -> bool {
        let nobody = external.is_some_and(|external| external.path.is_some());
        if nobody {
            let message = format!(
                "`{key}` isn't for a namespace with a `path`: nobody mounts its files of /etc/netns"
            );
            let help = "remove it, or give the namespace a name (`ip netns attach NAME PID`) and write \
                        `external: true`";
            self.found.error(message, node.span, help);
        }
        !nobody
    }
}
