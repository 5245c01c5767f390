//! Files of a namespace.

use std::fmt::Write;

use crate::resource::file::{File, FileKind};
use crate::spec::model::Dns;
use crate::spec::source::Spanned;

/// `resolv.conf`, as `man 5 resolv.conf` has it.
pub(super) fn resolv_conf(dns: &Dns) -> (FileKind, File) {
    let mut content = String::new();
    for server in &dns.nameservers {
        let _ = writeln!(content, "nameserver {}", server.value);
    }
    if !dns.search.is_empty() {
        let _ = writeln!(content, "search {}", words(&dns.search));
    }
    if !dns.options.is_empty() {
        let _ = writeln!(content, "options {}", words(&dns.options));
    }
    (FileKind::ResolvConf, File { content })
}

fn words(words: &[Spanned<String>]) -> String {
    words
        .iter()
        .map(|word| word.value.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}
