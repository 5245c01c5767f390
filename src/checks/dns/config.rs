//! How a namespace resolves names: its resolv.conf, hosts and nsswitch.conf, read as the C library does.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::resource::name::NamespaceName;

/// Where namespaces have files that stand for those of `/etc` (`man 8 ip-netns`).
const FILES: &str = "/etc/netns";

/// The most bytes of a file that are read.
const LONGEST: u64 = 4 << 20;

/// How names are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::checks) struct Config {
    /// Who is asked, in this order.
    pub(super) sources: Vec<Source>,
    /// The hosts file, its names in small letters.
    pub(super) hosts: HashMap<String, Vec<IpAddr>>,
    /// The servers, in this order.
    pub(super) servers: Vec<SocketAddr>,
    /// The domains that short names are looked up in.
    pub(super) search: Vec<String>,
    /// A name with so many dots is looked up as it is first.
    pub(super) ndots: usize,
    /// How long a server is waited for.
    pub(super) timeout: Duration,
    /// How often the servers are asked.
    pub(super) attempts: u32,
    /// Whether servers are asked over TCP only.
    pub(super) tcp: bool,
    /// Whether IPv6 addresses are asked for.
    pub(super) ipv6: bool,
}

/// Who is asked for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The hosts file.
    Files,
    /// The servers.
    Dns,
    /// Nobody after this one, if it has no such name.
    Stop,
}

impl Config {
    /// That of the host, or of a namespace with a name. The texts of files that can't be read are empty, as for the C library.
    /// This thread must be in the namespace.
    pub(in crate::checks) fn read(of: Option<&NamespaceName>) -> Config {
        let text = |file: &str| {
            let own = of.map(|name| Path::new(FILES).join(name.as_str()).join(file));
            let usual = PathBuf::from("/etc").join(file);
            own.and_then(|path| read(&path)).or_else(|| read(&usual))
        };
        let text = |file| text(file).unwrap_or_default();
        let uname = rustix::system::uname();
        let domain = uname.nodename().to_string_lossy();
        let domain = domain.split_once('.').map(|(_, domain)| domain);
        Config::parse(
            &text("resolv.conf"),
            &text("hosts"),
            &text("nsswitch.conf"),
            domain.filter(|domain| !domain.is_empty()),
        )
    }

    /// What three texts say; `domain` is the host's own, which is looked up in if nothing else is said.
    fn parse(resolv: &str, hosts: &str, nsswitch: &str, domain: Option<&str>) -> Config {
        let mut config = Config {
            sources: sources(nsswitch),
            hosts: self::hosts(hosts),
            servers: Vec::new(),
            search: domain.map(str::to_owned).into_iter().collect(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            tcp: false,
            ipv6: true,
        };
        for line in resolv.lines() {
            // The keyword begins the line (`man 5 resolv.conf`).
            let mut words = line.split_whitespace();
            let (keyword, first) = (line.split_whitespace().next(), line.chars().next());
            if first.is_none_or(char::is_whitespace) {
                continue;
            }
            words.next();
            match keyword.unwrap_or_default() {
                "nameserver" if config.servers.len() < 3 => {
                    config.servers.extend(words.next().and_then(server));
                }
                "domain" => config.search = words.take(1).map(str::to_owned).collect(),
                "search" => config.search = words.map(str::to_owned).collect(),
                "options" => words.for_each(|option| config.option(option)),
                _ => {}
            }
        }
        // What the C library does if nobody is named.
        if config.servers.is_empty() {
            config.servers.push((Ipv4Addr::LOCALHOST, 53).into());
        }
        config
    }

    /// One of the options. Those that change nothing here, or that are unknown, are skipped.
    fn option(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        let number = value.parse::<u32>().ok();
        match (name, number) {
            ("ndots", Some(number)) => self.ndots = number.min(15) as usize,
            ("timeout", Some(number)) => {
                self.timeout = Duration::from_secs(number.clamp(1, 30).into());
            }
            ("attempts", Some(number)) => self.attempts = number.clamp(1, 5),
            ("use-vc", _) => self.tcp = true,
            ("no-aaaa", _) => self.ipv6 = false,
            _ => {}
        }
    }
}

/// The text of a file. None: there is none, or it is no file that can be read.
fn read(path: &Path) -> Option<String> {
    // Nothing that would be waited for is opened: a pipe.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    let file = match file {
        Ok(file) if file.metadata().is_ok_and(|of| of.is_file()) => file,
        Ok(_) => return None,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        // There is one, so the host's doesn't count.
        Err(_) => return Some(String::new()),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A server's address, with a link for one that is on every link.
fn server(text: &str) -> Option<SocketAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some((ip, 53).into());
    }
    let (ip, link) = text.split_once('%')?;
    let ip = ip.parse().ok()?;
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    );
    let number = match link.parse() {
        Ok(number) => number,
        Err(_) => rustix::net::netdevice::name_to_index(&socket.ok()?, link).ok()?,
    };
    Some(SocketAddrV6::new(ip, 53, 0, number).into())
}

/// The addresses of a hosts file by name.
fn hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(ip) = words.next().and_then(|word| word.parse().ok()) else {
            continue;
        };
        for name in words {
            let all = hosts.entry(name.to_ascii_lowercase()).or_default();
            if !all.contains(&ip) {
                all.push(ip);
            }
        }
    }
    hosts
}

/// Who is asked for names of hosts (`man 5 nsswitch.conf`). Services of the host that are asked by another way, such as
/// systemd-resolved's, are skipped: they don't answer for a namespace.
fn sources(text: &str) -> Vec<Source> {
    let line = text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        line.trim().strip_prefix("hosts:")
    });
    let Some(line) = line else {
        return vec![Source::Files, Source::Dns];
    };
    let mut sources = Vec::new();
    let mut known = false;
    // Also `[ NOTFOUND = return ]` is one.
    for part in line.split_inclusive(']') {
        let (names, action) = part.split_once('[').unwrap_or((part, ""));
        for name in names.split_whitespace() {
            let source = match name {
                "files" => Some(Source::Files),
                "dns" => Some(Source::Dns),
                _ => None,
            };
            known = source.is_some();
            sources.extend(source);
        }
        let action: String = action.split_whitespace().collect();
        if known && action.to_ascii_lowercase().contains("notfound=return") && !action.contains('!')
        {
            sources.push(Source::Stop);
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(resolv: &str) -> Config {
        Config::parse(resolv, "", "", Some("lab"))
    }

    fn ips(all: &[&str]) -> Vec<IpAddr> {
        let all = all.iter().map(|ip| ip.parse());
        all.collect::<Result<_, _>>().expect("addresses")
    }

    #[test]
    fn a_resolv_conf_is_read_as_the_c_library_does() {
        let config = parse(
            "# x\n; y\nnameserver 10.0.0.1 # the first\nnameserver fd00::1\n nameserver 10.0.0.9\nnameserver wrong\n\
             nameserver 10.0.0.3\nnameserver 10.0.0.4\nsearch a.test\nsearch b.test c.test\n\
             options ndots:2 timeout:1 attempts:9 rotate\noptions no-aaaa use-vc\n",
        );
        let servers: Vec<IpAddr> = config.servers.iter().map(SocketAddr::ip).collect();
        assert_eq!(servers, ips(&["10.0.0.1", "fd00::1", "10.0.0.3"]));
        assert_eq!(config.search, ["b.test", "c.test"]);
        assert_eq!((config.ndots, config.attempts), (2, 5));
        assert_eq!(config.timeout, Duration::from_secs(1));
        assert!(config.tcp && !config.ipv6);
    }

    #[test]
    fn what_isnt_said_is_as_the_c_library_has_it() {
        let config = parse("");
        assert_eq!(config.servers, [SocketAddr::from(([127, 0, 0, 1], 53))]);
        assert_eq!(config.search, ["lab"]);
        assert_eq!((config.ndots, config.attempts), (1, 2));
        assert_eq!(parse("domain x.test y.test\n").search, ["x.test"]);
        assert!(parse("search\n").search.is_empty());
    }

    #[test]
    fn a_hosts_file_has_names_in_any_case_and_several_addresses_of_one() {
        let hosts =
            hosts("10.0.0.1 Db.Lab db # x y\n#10.0.0.9 db\nfd00::1\tdb\n10.0.0.1 db\nx db\n");
        assert_eq!(hosts["db"], ips(&["10.0.0.1", "fd00::1"]));
        assert_eq!(hosts["db.lab"], ips(&["10.0.0.1"]));
        assert_eq!(hosts.len(), 2);
    }

    #[test]
    fn the_order_of_nsswitch_counts_and_services_of_the_host_do_not() {
        use Source::{Dns, Files, Stop};
        for (line, wanted) in [
            ("", &[Files, Dns][..]),
            ("passwd: files\nhosts: dns files # x", &[Dns, Files]),
            ("hosts: files", &[Files]),
            ("hosts: files [NOTFOUND=return] dns", &[Files, Stop, Dns]),
            (
                "hosts: files [ NOTFOUND = return ] dns",
                &[Files, Stop, Dns],
            ),
            (
                "hosts: files mdns4_minimal [NOTFOUND=return] dns",
                &[Files, Dns],
            ),
            (
                "hosts: resolve [!UNAVAIL=return] files myhostname dns",
                &[Files, Dns],
            ),
            ("hosts: files [!NOTFOUND=return] dns", &[Files, Dns]),
        ] {
            assert_eq!(sources(line), wanted, "{line}");
        }
    }
}
