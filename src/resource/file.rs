//! Files under `/etc/netns/NAME`, which `ip netns exec` and `netform exec` mount over those of `/etc`.

use serde::{Deserialize, Serialize};

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// `resolv.conf`: the name servers (`man 5 resolv.conf`).
    ResolvConf,
    /// `hosts`: addresses of names (`man 5 hosts`).
    Hosts,
    /// `nsswitch.conf`: who is asked for names (`man 5 nsswitch.conf`).
    Nsswitch,
}

impl FileKind {
    /// All of them.
    pub const ALL: [FileKind; 3] = [FileKind::ResolvConf, FileKind::Hosts, FileKind::Nsswitch];

    /// Its name in the directory.
    pub fn file_name(self) -> &'static str {
        match self {
            FileKind::ResolvConf => "resolv.conf",
            FileKind::Hosts => "hosts",
            FileKind::Nsswitch => "nsswitch.conf",
        }
    }
}

/// A file's content, without the comment that names its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// The text, whose lines all end with a newline.
    pub content: String,
}

/// What a file says below the line that names its owner.
pub const NOTICE: &str = "# Written by netform: changes are lost when it runs again.\n";
