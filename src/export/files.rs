//! The files of a namespace below `/etc/netns`.

use std::net::IpAddr;

use super::Exporter;
use super::tree::Entry;
use crate::resource::file::FileKind;
use crate::resource::{Id, Key, Ns, Resource};

impl Exporter<'_> {
    /// A file of a whole namespace, elsewhere if it is the topology's.
    fn file(&self, ns: &Ns, whole: bool, kind: FileKind) -> Option<&str> {
        let id = Id::new(ns.clone(), Key::File(kind));
        let entry = self.survey.state.get(&id)?;
        (whole || entry.owner.is(self.name)).then_some(())?;
        match &entry.resource {
            Resource::File(file) => Some(&file.content),
            _ => None,
        }
    }

    /// What `resolv.conf` says (`man 5 resolv.conf`).
    pub(super) fn dns(&mut self, ns: &Ns, whole: bool) -> Option<Entry> {
        let content = self.file(ns, whole, FileKind::ResolvConf)?.to_owned();
        let (mut servers, mut search, mut options) = (Vec::new(), Vec::new(), Vec::new());
        let mut rest = Vec::new();
        for line in lines(&content, &['#', ';']) {
            let mut words = line.split_whitespace();
            let keyword = words.next().unwrap_or_default();
            match keyword {
                "nameserver" => servers.extend(words.next().map(Entry::item)),
                // The last one counts.
                "search" | "domain" => search = words.map(Entry::item).collect(),
                "options" => options.extend(words.map(Entry::item)),
                _ => rest.push(line.to_owned()),
            }
        }
        for line in rest {
            self.remark(
                ns,
                format!("resolv.conf says what a spec has no words for: {line}"),
            );
        }
        let lists = [
            ("nameservers", servers),
            ("search", search),
            ("options", options),
        ];
        let lists = lists.into_iter().filter(|(_, items)| !items.is_empty());
        let fields: Vec<Entry> = lists
            .map(|(key, items)| {
                let items = items.into_iter().map(Entry::optional).collect();
                Entry::flow(key, items)
            })
            .collect();
        (!fields.is_empty()).then(|| Entry::flow("dns", fields).optional())
    }

    /// What `hosts` says (`man 5 hosts`), but for the lines that every namespace's has.
    pub(super) fn hosts(&mut self, ns: &Ns, whole: bool) -> Option<Entry> {
        let content = self.file(ns, whole, FileKind::Hosts)?;
        let mut names: Vec<(String, Vec<IpAddr>)> = Vec::new();
        for line in lines(content, &['#']) {
            let mut words = line.split_whitespace();
            let Some(ip) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
                continue;
            };
            let usual = |name: &&str| ip.is_loopback() && OF_LOOPBACK.contains(name);
            for name in words.filter(|name| !usual(name)) {
                match names.iter_mut().find(|(known, _)| known == name) {
                    Some((_, addresses)) => addresses.push(ip),
                    None => names.push((name.to_owned(), vec![ip])),
                }
            }
        }
        let entries: Vec<Entry> = names
            .into_iter()
            .map(|(name, addresses)| {
                let entry = match addresses.as_slice() {
                    [only] => Entry::text(&name, only),
                    several => Entry::flow(&name, several.iter().map(Entry::item).collect()),
                };
                entry.optional()
            })
            .collect();
        (!entries.is_empty()).then(|| Entry::block("hosts", entries).optional())
    }
}

/// The names that lead to a loopback address in every file.
const OF_LOOPBACK: [&str; 3] = ["localhost", "ip6-localhost", "ip6-loopback"];

/// The lines that say something, without their comments.
fn lines<'t>(content: &'t str, comments: &'static [char]) -> impl Iterator<Item = &'t str> {
    let said = move |line: &'t str| line.split(comments).next().unwrap_or_default().trim();
    let lines = content.lines().map(said);
    lines.filter(|line| !line.is_empty())
}
