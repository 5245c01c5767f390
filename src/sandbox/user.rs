//! Namespaces for a user who may be anybody (`man 7 user_namespaces`).

use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use rustix::thread::UnshareFlags;

use super::error::Error;

/// Settings that keep ordinary users from having namespaces, and the values with which they do.
const SWITCHES: [(&str, &str); 3] = [
    ("kernel.apparmor_restrict_unprivileged_userns", "1"),
    ("kernel.unprivileged_userns_clone", "0"),
    ("user.max_user_namespaces", "0"),
];

/// Moves this process into namespaces of its own, in which it is root, and its children into a process
/// namespace. Where user namespaces are refused, root does without.
pub(super) fn unshare() -> Result<(), Error> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let host = UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWPID;
    match new(host | UnshareFlags::NEWUSER) {
        Ok(()) => map(user, group),
        Err(Errno::PERM | Errno::NOSPC | Errno::ACCESS) if user == 0 => {
            new(host).map_err(|e| refused(&e.into(), user))
        }
        Err(Errno::INVAL) => Err(Error::Host(
            "the kernel lacks namespaces, or this process has threads".to_owned(),
        )),
        Err(e) => Err(refused(&e.into(), user)),
    }
}

fn new(namespaces: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: descriptors stay shared.
    #[expect(unsafe_code, reason = "unshare is unsafe for other flags than these")]
    unsafe {
        rustix::thread::unshare_unsafe(namespaces)
    }
}

/// Makes the user and group outside the root inside. An ordinary user may only do so when groups can't
/// be given up anymore.
fn map(user: u32, group: u32) -> Result<(), Error> {
    fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| fs::write("/proc/self/uid_map", format!("0 {user} 1")))
        .and_then(|()| fs::write("/proc/self/gid_map", format!("0 {group} 1")))
        .map_err(|e| refused(&e, user))
}

/// In one line: that there is no private host for this user, why, and what to do.
fn refused(error: &io::Error, user: u32) -> Error {
    let switch = SWITCHES.into_iter().find(|(name, off)| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        fs::read_to_string(path).is_ok_and(|value| value.trim() == *off)
    });
    let why = switch.map_or_else(
        || error.to_string(),
        |(name, off)| format!("{name} is {off}"),
    );
    Error::Refused(if user == 0 {
        format!(
            "namespaces are refused even to root here ({why}): in a container, start it with \
             --privileged"
        )
    } else {
        format!("user namespaces are refused to you here ({why}): run this as root (sudo)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_that_says_what_to_do() {
        for (user, advice) in [(1000, "sudo"), (0, "--privileged")] {
            let text = refused(&Errno::PERM.into(), user).to_string();
            assert!(text.contains("refused") && text.contains(advice), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }
}
