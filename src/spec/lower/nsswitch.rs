//! `nsswitch.conf` of a namespace, where the host's asks somebody else than the namespace's name servers.

use crate::resource::file::{File, FileKind};

/// What the line for names of hosts begins with (`man 5 nsswitch.conf`).
const HOSTS: &str = "hosts:";

/// The host's file, with another line for names of hosts: without those sources that answer for the host, from
/// a process outside of the namespace. None: the host's asks nobody else.
pub(super) fn nsswitch(host: &str) -> Option<(FileKind, File)> {
    let mut content = String::new();
    let mut bypassed = false;
    for line in host.lines() {
        let said = line.split('#').next().unwrap_or_default().trim();
        match said.strip_prefix(HOSTS).map(sources) {
            Some(all) if all.iter().any(|source| is_elsewhere(source.name)) => {
                bypassed = true;
                content.push_str(&inside(&all));
            }
            _ => content.push_str(line),
        }
        content.push('\n');
    }
    bypassed.then_some((FileKind::Nsswitch, File { content }))
}

/// A source of names, and what is to be done once it answered: `[NOTFOUND=return]`.
struct Source<'t> {
    name: &'t str,
    actions: String,
}

/// The sources of a line.
fn sources(line: &str) -> Vec<Source<'_>> {
    let mut sources: Vec<Source<'_>> = Vec::new();
    let mut within = false;
    for word in line.split_whitespace() {
        within |= word.starts_with('[');
        if !within {
            let actions = String::new();
            sources.push(Source {
                name: word,
                actions,
            });
        } else if let Some(source) = sources.last_mut() {
            source.actions.push(' ');
            source.actions.push_str(word);
        }
        within &= !word.ends_with(']');
    }
    sources
}

/// Whether a source asks a process of the host: systemd-resolved (`man 8 nss-resolve`), systemd-machined
/// (`man 8 nss-mymachines`), or Avahi (nss-mdns).
fn is_elsewhere(source: &str) -> bool {
    source == "resolve" || source == "mymachines" || source.starts_with("mdns")
}

/// The line without these, with files and the namespace's own name servers.
fn inside(all: &[Source<'_>]) -> String {
    let mut line = HOSTS.to_owned();
    let has = |name: &str| all.iter().any(|source| source.name == name);
    if !has("files") {
        line.push_str(" files");
    }
    for source in all.iter().filter(|source| !is_elsewhere(source.name)) {
        line.push(' ');
        line.push_str(source.name);
        line.push_str(&source.actions);
    }
    if !has("dns") {
        line.push_str(" dns");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(host: &str) -> Option<String> {
        let (_, file) = nsswitch(&format!("passwd: files systemd\n{host}\n"))?;
        let rest = file.content.strip_prefix("passwd: files systemd\n");
        Some(rest.expect("other lines stay").trim_end().to_owned())
    }

    #[test]
    fn what_asks_the_hosts_services_is_left_out() {
        for (host, wanted) in [
            (
                "hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns",
                "hosts: files myhostname dns",
            ),
            (
                "hosts:\tfiles mdns4_minimal [NOTFOUND=return] dns mdns4 # Avahi",
                "hosts: files dns",
            ),
            (
                " hosts: files [SUCCESS=return NOTFOUND=continue] resolve",
                "hosts: files [SUCCESS=return NOTFOUND=continue] dns",
            ),
            ("hosts: resolve", "hosts: files dns"),
        ] {
            assert_eq!(line(host).as_deref(), Some(wanted));
        }
    }

    #[test]
    fn what_asks_nobody_else_stays_the_hosts() {
        for host in [
            "hosts: files dns",
            "hosts: files myhostname dns [!UNAVAIL=return]",
            "# hosts: resolve",
            "networks: resolve",
            "",
        ] {
            assert_eq!(line(host), None, "{host}");
        }
    }
}
