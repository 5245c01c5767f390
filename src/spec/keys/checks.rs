//! The keys of checks.

use super::Need::{Optional, Required};
use super::{Mapping, NAMESPACE, Shape, key};

/// A name of a host, as a pattern.
const HOST: &str = r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?$";

/// An item of `checks`.
pub(in crate::spec) static CHECK: Mapping = Mapping {
    what: "a check",
    about: "Something that must be reached from a namespace, or must not: one of `ping`, `tcp` and `resolve`.",
    keys: &[
        key(
            "from",
            Required,
            Shape::Pattern(NAMESPACE),
            "The namespace that it is tried from: a key of `namespaces`, or `host`.",
        ),
        key(
            "ping",
            Optional,
            Shape::Either(&[Shape::Ip, Shape::Pattern(HOST)]),
            "An address or a name that must answer an echo request.",
        ),
        key(
            "tcp",
            Optional,
            Shape::Pattern(r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}$"),
            "A host and a port that must take a connection: `192.168.50.2:80`, `\"[fd50::2]:80\"` or `db.lab:5432`.",
        ),
        key(
            "resolve",
            Optional,
            Shape::Pattern(HOST),
            "A name that must have an address, as the namespace's resolv.conf and hosts file say it.",
        ),
        key(
            "expect",
            Optional,
            Shape::OneOf(EXPECTATIONS, Some("ok")),
            "Whether it must succeed or fail.",
        ),
        key(
            "within",
            Optional,
            Shape::Either(&[
                Shape::Number(1, 600),
                Shape::Pattern("^([0-9]+(h|m|s|ms))+$|^[0-9]+$"),
            ]),
            "How long it may take, `500ms` or `10s`, at most 10 minutes. 3 seconds without it.",
        ),
        key(
            "name",
            Optional,
            Shape::Pattern(r"^[^\u0000-\u001f\u007f-\u009f]{1,100}$"),
            "What it is called in what is printed. Without it: what it does.",
        ),
    ],
    later: &[],
};

/// What `expect` may be.
pub(in crate::spec) const EXPECTATIONS: &[&str] = &["ok", "fail"];
