//! Files that have other programs leave alone what netform makes, as a script that puts them in place.

use std::fmt::Write;

/// The files: where each goes, and what is in it.
pub const FILES: [(&str, &str); 6] = [
    (
        "/etc/udev/rules.d/79-netform.rules",
        include_str!("../../packaging/hints/udev.rules"),
    ),
    (
        "/etc/systemd/network/05-netform.link",
        include_str!("../../packaging/hints/netform.link"),
    ),
    (
        "/etc/systemd/network/05-netform.network",
        include_str!("../../packaging/hints/netform.network"),
    ),
    (
        "/etc/systemd/networkd.conf.d/50-netform.conf",
        include_str!("../../packaging/hints/networkd.conf"),
    ),
    (
        "/etc/iproute2/rt_protos.d/netform.conf",
        include_str!("../../packaging/iproute2.conf"),
    ),
    (
        "/etc/iproute2/rt_addrprotos.d/netform.conf",
        include_str!("../../packaging/iproute2.conf"),
    ),
];

/// What begins the script.
const HEAD: &str = "\
# Files that have udev, NetworkManager and systemd-networkd leave alone what netform makes, and ip(8) call it by
# its name. Take those that you need, or all:  netform show --hints | sudo sh
# They count for links made afterwards. Before:  udevadm control --reload; systemctl restart systemd-networkd
";

/// The script. It says of each file where it goes.
pub fn script() -> String {
    let mut script = HEAD.to_owned();
    for (path, text) in FILES {
        let directory = path
            .rsplit_once('/')
            .map_or("/", |(directory, _)| directory);
        let _ = write!(
            script,
            "\nmkdir -p {directory}\ncat >{path} <<'END'\n{text}END\n"
        );
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::link::GROUP;

    #[test]
    fn udev_knows_the_links_by_the_number_of_their_group() {
        let (_, rules) = FILES[0];
        assert!(rules.contains(&format!("ATTR{{netdev_group}}==\"{GROUP}\"")));
    }
}
