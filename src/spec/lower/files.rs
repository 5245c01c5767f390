//! Files of a namespace.

use std::fmt::Write;

use crate::resource::file::{File, FileKind};
use crate::spec::model::{Dns, Host};
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

/// `hosts`, as `man 5 hosts` has it, a line for each address of a name.
pub(super) fn hosts(hosts: &[Host]) -> (FileKind, File) {
    let mut content = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".to_owned();
    for host in hosts {
        for address in &host.addresses {
            let _ = writeln!(content, "{address} {}", host.name.value);
        }
    }
    (FileKind::Hosts, File { content })
}

fn words(words: &[Spanned<String>]) -> String {
    words
        .iter()
        .map(|word| word.value.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}
