//! Other programs of the host that configure networks too, as their files tell of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{config, read};
use crate::resource::name::LinkName;
use crate::state::{Keeps, Managed, NetworkManager, Networkd};

/// Where systemd looks for configuration, the directory that wins first (`man 5 systemd.unit`).
const SYSTEMD: [&str; 4] = [
    "/etc/systemd",
    "/run/systemd",
    "/usr/local/lib/systemd",
    "/usr/lib/systemd",
];

/// Where udev looks for rules (`man 7 udev`), with the place that some distributions have besides.
const UDEV: [&str; 5] = [
    "/etc/udev/rules.d",
    "/run/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
];

/// Whether this is the network namespace that the machine's services run in.
fn is_machines() -> bool {
    let ours = fs::read_link("/proc/thread-self/ns/net");
    matches!((ours, fs::read_link("/proc/1/ns/net")), (Ok(ours), Ok(first)) if ours == first)
}

/// Whether a service may run: systemd, where it is at work, has a link for each that does
/// (`unit_export_invocation_id` of systemd's `src/core/unit.c`).
fn may_run(service: &str) -> bool {
    let units = Path::new("/run/systemd/units");
    !units.exists() || fs::symlink_metadata(units.join(format!("invocation:{service}"))).is_ok()
}

/// systemd-networkd, if it runs in this namespace and manages any of the links.
pub(super) fn networkd(links: &[read::Link]) -> Option<Networkd> {
    if !Path::new("/run/systemd/netif").exists()
        || !is_machines()
        || !may_run("systemd-networkd.service")
    {
        return None;
    }
    let managed = links.iter().filter(|link| !link.is_loopback());
    let managed: BTreeMap<LinkName, Managed> = managed
        .filter_map(|link| {
            let name = LinkName::try_from(link.name.as_str()).ok()?;
            Some((name, managed_as(link.index)?))
        })
        .collect();
    if managed.is_empty() {
        return None;
    }
    let mut networkd = Networkd {
        routes: true,
        rules: true,
        links: managed,
    };
    for text in of_networkd() {
        for (section, key, value) in config::settings(&text) {
            // Nothing sets the default back.
            let value = bool_of(value).or(value.is_empty().then_some(true));
            match (section, key, value) {
                ("Network", "ManageForeignRoutes", Some(value)) => networkd.routes = value,
                ("Network", "ManageForeignRoutingPolicyRules", Some(value)) => {
                    networkd.rules = value;
                }
                _ => {}
            }
        }
    }
    Some(networkd)
}

/// The texts of networkd's configuration, that which wins last.
fn of_networkd() -> Vec<String> {
    let main = SYSTEMD.map(|directory| PathBuf::from(directory).join("networkd.conf"));
    let main = main.into_iter().find(|path| path.exists());
    let more = SYSTEMD.map(|directory| format!("{directory}/networkd.conf.d"));
    let more = config::files(&more, ".conf");
    main.into_iter()
        .chain(more)
        .filter_map(config::text)
        .collect()
}

/// How networkd manages the link of a number, as what it notes of it says (`link_save` of systemd's
/// `src/network/networkd-state-file.c`). None: not at all.
fn managed_as(index: u32) -> Option<Managed> {
    let text = config::text(format!("/run/systemd/netif/links/{index}"))?;
    let value = |wanted| {
        let mut all = text.lines().filter_map(|line| line.split_once('='));
        all.find(|(key, _)| *key == wanted).map(|(_, value)| value)
    };
    if !matches!(
        value("ADMIN_STATE")?,
        "configuring" | "configured" | "failed"
    ) {
        return None;
    }
    let file = value("NETWORK_FILE")?;
    let name = Path::new(file).file_name()?.to_string_lossy().into_owned();
    let more = SYSTEMD.map(|directory| format!("{directory}/network/{name}.d"));
    let texts = [PathBuf::from(file)]
        .into_iter()
        .chain(config::files(&more, ".conf"));
    let mut keeps = Keeps::Nothing;
    for text in texts.filter_map(config::text) {
        for (section, key, value) in config::settings(&text) {
            if (section, key) == ("Network", "KeepConfiguration") {
                keeps = match value {
                    "static" => Keeps::Addresses,
                    value if bool_of(value) == Some(true) => Keeps::All,
                    _ => Keeps::Nothing,
                };
            }
        }
    }
    Some(Managed {
        file: file.to_owned(),
        keeps,
    })
}

/// NetworkManager, if it runs in this namespace.
pub(super) fn network_manager() -> Option<NetworkManager> {
    if !Path::new("/run/NetworkManager").exists()
        || !is_machines()
        || !may_run("NetworkManager.service")
    {
        return None;
    }
    let mut found = NetworkManager::default();
    // Files of /usr/lib and /run come first, then NetworkManager.conf, then those of /etc; of one name only one
    // counts.
    let directories = ["/etc", "/run", "/usr/lib"];
    let directories = directories.map(|above| format!("{above}/NetworkManager/conf.d"));
    let (vendor, own): (Vec<PathBuf>, Vec<PathBuf>) = config::files(&directories, ".conf")
        .into_iter()
        .partition(|path| !path.starts_with("/etc"));
    let main = [PathBuf::from("/etc/NetworkManager/NetworkManager.conf")];
    let files = vendor.into_iter().chain(main).chain(own);
    for text in files.filter_map(config::text) {
        // By section: the devices that it is for, and whether they are managed.
        let mut sections: BTreeMap<&str, (Vec<String>, Option<bool>)> = BTreeMap::new();
        for (section, key, value) in config::settings(&text) {
            match (section, key) {
                ("keyfile", "unmanaged-devices") => found.unmanaged = list(value),
                ("keyfile", "unmanaged-devices+") => found.unmanaged.extend(list(value)),
                (section, "match-device") if section.starts_with("device") => {
                    sections.entry(section).or_default().0 = list(value);
                }
                (section, "managed") if section.starts_with("device") => {
                    sections.entry(section).or_default().1 = bool_of(value);
                }
                _ => {}
            }
        }
        let said = sections.into_values();
        let said = said.filter_map(|(devices, managed)| Some((devices, managed?)));
        found.devices.extend(said);
    }
    let rules = config::files(&UDEV.map(str::to_owned), ".rules").into_iter();
    for text in rules.filter_map(config::text) {
        let lines = text.lines().map(str::trim);
        let marks = lines.filter(|line| !line.starts_with('#') && line.contains("NM_UNMANAGED"));
        found.marks.extend(marks.map(str::to_owned));
    }
    Some(found)
}

/// A list of devices.
fn list(value: &str) -> Vec<String> {
    let words = value.split([',', ';']).map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A yes or a no, as both programs take it.
fn bool_of(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}
