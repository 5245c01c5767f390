//! What lowering must know of other programs of the host that configure networks too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::resource::name::LinkName;

/// systemd-networkd, where it runs and manages links (`man 8 systemd-networkd`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Networkd {
    /// Whether it removes routes that it didn't make (`ManageForeignRoutes` of `man 5 networkd.conf`).
    pub routes: bool,
    /// Whether it removes rules that it didn't make (`ManageForeignRoutingPolicyRules`).
    pub rules: bool,
    /// The links that it manages.
    pub links: BTreeMap<LinkName, Managed>,
}

/// How systemd-networkd manages a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Managed {
    /// The file that says so.
    pub file: String,
    /// What it leaves there of what it didn't make.
    pub keeps: Keeps,
}

/// What systemd-networkd leaves on a link of what it didn't make (`KeepConfiguration` of
/// `man 5 systemd.network`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keeps {
    /// Nothing that has to do with it.
    Nothing,
    /// Addresses that stay until somebody removes them.
    Addresses,
    /// All.
    All,
}

/// NetworkManager, where it runs (`man 5 NetworkManager.conf`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkManager {
    /// The devices that `unmanaged-devices` lists.
    pub unmanaged: Vec<String>,
    /// The sections of devices that say `managed`: which devices, and what it says.
    pub devices: Vec<(Vec<String>, bool)>,
    /// The lines of udev's rules that set `NM_UNMANAGED` (`man 7 udev`).
    pub marks: Vec<String>,
}
