//! Tests on private hosts: each test has a host of its own, with an uplink and an internet.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Seek, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, WaitOptions, set_parent_process_death_signal, waitpid};

/// Not every file of tests uses all that there is.
const _: fn() = || {
    let _ = (
        netform as fn(&[&str]) -> Output,
        sh as fn(&str) -> Output,
        ask as fn(&str) -> String,
        world as fn() -> String,
        assert_same_world as fn(&str, &str),
        in_sandbox as fn(fn()),
        Output::ok as fn(Output) -> String,
    );
};

/// Whether this process is the copy that a test runs in.
static FORKED: AtomicBool = AtomicBool::new(false);

/// Runs a test on a private host, in a copy of this process. If it fails, this panics with what it and its
/// commands said.
pub(crate) fn in_sandbox(body: impl FnOnce()) {
    tell_of_panics();
    let mut output = File::from(memfd_create("output", MemfdFlags::CLOEXEC).expect("memory"));
    // SAFETY: the copy only has this thread. It takes no lock that another could have held: the C
    // library frees its own, and what it says goes around those of Rust.
    #[expect(
        unsafe_code,
        reason = "only a process without threads may enter a sandbox"
    )]
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        FORKED.store(true, Ordering::Relaxed);
        let status = catch_unwind(AssertUnwindSafe(|| forked(&output, body))).unwrap_or(101);
        // SAFETY: no code of this process runs afterwards.
        #[expect(
            unsafe_code,
            reason = "what is to be done at exit is the test runner's"
        )]
        unsafe {
            libc::_exit(status.into())
        }
    }
    let pid = Pid::from_raw(pid.max(0)).expect("fork");
    let (_, status) = waitpid(Some(pid), WaitOptions::empty())
        .expect("wait")
        .expect("waits until the end");
    let mut said = Vec::new();
    output.rewind().expect("rewind");
    output.read_to_end(&mut said).expect("read");
    assert_eq!(
        status.exit_status(),
        Some(0),
        "on a private host:\n{}",
        String::from_utf8_lossy(&said)
    );
}

/// What the copy does.
fn forked(output: &File, body: impl FnOnce()) -> u8 {
    set_parent_process_death_signal(Some(Signal::KILL)).expect("tied to the test");
    for stream in [1, 2] {
        // SAFETY: both are open, and nothing owns the standard streams.
        #[expect(unsafe_code, reason = "the copy's output is the test's")]
        let done = unsafe { libc::dup2(output.as_raw_fd(), stream) };
        assert_eq!(done, stream, "{}", std::io::Error::last_os_error());
    }
    let work = || {
        plain_names();
        Ok(catch_unwind(AssertUnwindSafe(body)).map_or(101, |()| 0))
    };
    netform::sandbox::enter(work).unwrap_or_else(|error| {
        say(&format!("{error}\n"));
        error.status()
    })
}

/// Has names looked up in files and by DNS, as on a plain server: what a machine has for desktops
/// (`mdns4_minimal`, `resolve`) would show in what namespaces get.
fn plain_names() {
    let (file, place) = ("/run/nsswitch.conf", "/etc/nsswitch.conf");
    std::fs::write(file, "passwd: files\ngroup: files\nhosts: files dns\n").expect("write");
    if std::fs::exists(place).expect("it can be looked for") {
        rustix::mount::mount_bind(file, place).expect("mount");
    }
}

/// Has panics of copies printed to their output, and not to where the test runner catches what its own
/// threads print.
fn tell_of_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let otherwise = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if FORKED.load(Ordering::Relaxed) {
                say(&format!("{panic}\n"));
            } else {
                otherwise(panic);
            }
        }));
    });
}

fn say(text: &str) {
    // There is nowhere to tell of a failure.
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Output {
    /// Its status; 128 and the signal's number if a signal ended it.
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// What it said, if it went well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs netform.
pub(crate) fn netform(arguments: &[&str]) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_netform")).args(arguments))
}

/// Runs a shell script, which ends at its first failure.
pub(crate) fn sh(script: &str) -> Output {
    run(Command::new("sh").args(["-ec", script]))
}

/// Runs a command.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let signal = || 128 + output.status.signal().expect("it ended");
    Output {
        status: output.status.code().unwrap_or_else(signal),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Asks a server of the internet for the address that it sees: the last line of its answer.
pub(crate) fn ask(server: &str) -> String {
    let server: SocketAddr = server.parse().expect("an address and a port");
    let mut server = TcpStream::connect_timeout(&server, Duration::from_secs(20)).expect("connect");
    server.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("ask");
    let mut answer = String::new();
    server.read_to_string(&mut answer).expect("an answer");
    answer.lines().last().expect("a line").to_owned()
}

/// All that netform may change on this host, as text. What changes by itself is left out.
pub(crate) fn world() -> String {
    let mut world = String::new();
    for command in [
        "ip -d link",
        "ip addr",
        "ip route show table all",
        "ip -6 route show table all",
        "ip rule",
        "ip -6 rule",
        "nft -s list ruleset",
    ] {
        for line in sh(command).ok().lines() {
            // The kernel puts an address into its table of local routes in its own time.
            if !line.contains("valid_lft") && !line.contains(" table local ") {
                // An address may still be under examination when it is seen first.
                let line = settled(line).replace(" tentative", "");
                writeln!(world, "{command}: {line}").expect("text");
            }
        }
    }
    // Settings of netfilter and its bridge hooks come with modules, whoever on the machine loads them.
    describe(
        &mut world,
        Path::new("/proc/sys/net"),
        &["netfilter", "bridge"],
    );
    describe(&mut world, Path::new("/etc/netns"), &[]);
    // The lock has the number of who held it last.
    describe(&mut world, Path::new("/run"), &["lock"]);
    world
}

/// A line of `ip` without what it says of a carrier, which the kernel takes notice of in its own time, and
/// without the clocks of a bridge and its ports.
pub(crate) fn settled(line: &str) -> String {
    if let Some((before, clocks)) = line.split_once(" hello_timer ") {
        let after = clocks.split_once(" group_fwd_mask ");
        return format!("{before} {}", after.map_or("", |(_, after)| after));
    }
    if let Some((before, clocks)) = line.split_once(" hold_timer ") {
        let after = clocks.split_once(" topology_change_ack ");
        return format!("{before} {}", after.map_or("", |(_, after)| after));
    }
    let line = ["NO-CARRIER,", ",LOWER_UP", " linkdown"]
        .into_iter()
        .fold(line.to_owned(), |line, word| line.replace(word, ""));
    match line.split_once(" state ") {
        Some((before, rest)) => {
            let after = rest.split_once(' ').map_or("", |(_, after)| after);
            format!("{before} {after}")
        }
        None => line,
    }
}

/// Adds a line for a file or directory and each one below it, but for those of some names.
pub(crate) fn describe(world: &mut String, path: &Path, but: &[&str]) {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return;
    };
    let what = if metadata.is_dir() {
        let names = fs::read_dir(path).into_iter().flatten().flatten();
        let mut names: Vec<_> = names.map(|entry| entry.file_name()).collect();
        names.retain(|name| !but.iter().any(|but| name == but));
        names.sort();
        writeln!(world, "{}/", path.display()).expect("text");
        for name in names {
            describe(world, &path.join(name), but);
        }
        return;
    } else if metadata.is_symlink() {
        fs::read_link(path).map(|target| format!("→ {}", target.display()))
    } else if metadata.is_file() {
        fs::read(path).map(|bytes| format!("{:?}", String::from_utf8_lossy(&bytes)))
    } else {
        Ok(format!("{:?}", metadata.file_type()))
    };
    let what = what.unwrap_or_else(|error| error.kind().to_string());
    writeln!(world, "{}: {what}", path.display()).expect("text");
}

/// Panics with the lines that differ.
#[track_caller]
pub(crate) fn assert_same_world(before: &str, after: &str) {
    let difference = similar::TextDiff::from_lines(before, after);
    let mut lines = String::new();
    for change in difference.iter_all_changes() {
        if change.tag() != similar::ChangeTag::Equal {
            write!(lines, "{}{change}", change.tag()).expect("text");
        }
    }
    assert!(lines.is_empty(), "the host is not as it was:\n{lines}");
}
