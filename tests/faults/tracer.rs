//! Runs a command, and comes between it and the kernel at each of its system calls (`man 2 ptrace`).
//!
//! A child may always be traced by who started it, so this takes no privilege. Calls are counted over all threads, in
//! the order in which they begin.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::machine;

/// A system call that is about to begin.
pub(crate) struct Call {
    /// Its place among all.
    pub(crate) place: usize,
    /// What it changes, if it changes anything outside of the process.
    pub(crate) change: Option<Change>,
}

/// A system call that changes something outside of the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    /// What it is, in a few words.
    pub(crate) what: String,
    /// Where those requests begin in a datagram to the kernel that change something.
    pub(crate) requests: Vec<u64>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done.
    Done,
    /// It is not done, and said to have failed.
    Failed,
    /// It is done, and said to have failed.
    DoneAndFailed,
    /// It is done, but the kernel refuses this one of the requests in its datagram.
    Refused(usize),
    /// The process gets a signal instead of it, or before it.
    Signal(i32),
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its status; 128 and the signal's number if a signal ended it.
    pub(crate) status: i32,
    pub(crate) said: String,
}

/// Runs a command to its end. Its calls have the fates that `decide` gives them; after one that fails it is not asked again.
pub(crate) fn trace(command: &mut Command, mut decide: impl FnMut(&Call) -> Fate) -> Ended {
    let mut output = tempfile::tempfile().expect("a file");
    let stream = || Stdio::from(output.try_clone().expect("a descriptor"));
    command
        .stdin(Stdio::null())
        .stdout(stream())
        .stderr(stream());
    // SAFETY: ptrace is a system call and nothing more.
    #[expect(
        unsafe_code,
        reason = "what is traced asks for it before it is executed"
    )]
    unsafe {
        command.pre_exec(machine::trace_me);
    }
    #[expect(clippy::zombie_processes, reason = "it is waited for below")]
    let child = command.spawn().expect("it starts");
    let leader = i32::try_from(child.id()).expect("a number");
    let mut tracee = Tracee {
        leader,
        memory: None,
        fates: HashMap::new(),
        place: 0,
        over: false,
    };
    let status = loop {
        let (thread, status) = machine::wait();
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            if thread == leader && libc::WIFEXITED(status) {
                break libc::WEXITSTATUS(status);
            } else if thread == leader {
                break 128 + libc::WTERMSIG(status);
            }
        } else {
            tracee.stopped(thread, status, &mut decide);
        }
    };
    let mut said = String::new();
    output.rewind().expect("rewind");
    output.read_to_string(&mut said).expect("text");
    Ended { status, said }
}

/// The process that is traced.
struct Tracee {
    leader: i32,
    /// Its memory, once it has begun.
    memory: Option<File>,
    /// What becomes of the calls that threads are in.
    fates: HashMap<i32, Fate>,
    place: usize,
    /// Whether a call failed, after which all others are left alone.
    over: bool,
}

impl Tracee {
    /// Lets a thread go on: to the next call, unless nothing is done to any more.
    fn go_on(&self, thread: i32, signal: i32) {
        if self.over && !self.fates.contains_key(&thread) {
            machine::go_on_freely(thread, signal);
        } else {
            machine::go_on(thread, signal);
        }
    }

    /// A thread of it stands still.
    fn stopped(&mut self, thread: i32, status: i32, decide: &mut impl FnMut(&Call) -> Fate) {
        let signal = libc::WSTOPSIG(status);
        let Some(memory) = &self.memory else {
            // The first stop is at its first instruction.
            let memory = File::options()
                .read(true)
                .write(true)
                .open(format!("/proc/{thread}/mem"));
            self.memory = Some(memory.expect("what is traced can be read"));
            machine::options(thread);
            self.go_on(thread, 0);
            return;
        };
        let is_event = status >> 16 != 0;
        if is_event || signal == libc::SIGSTOP {
            // A thread begins, or tells so.
            self.go_on(thread, 0);
        } else if signal != libc::SIGTRAP | 0x80 {
            self.go_on(thread, signal);
        } else if let Some((number, arguments)) = machine::entry(thread) {
            let change = change(self.leader, memory, number, &arguments);
            let call = Call {
                place: self.place,
                change,
            };
            self.place += 1;
            let fate = if self.over { Fate::Done } else { decide(&call) };
            self.over |= !matches!(fate, Fate::Done | Fate::Signal(_));
            match fate {
                Fate::Done => {}
                Fate::DoneAndFailed => {
                    self.fates.insert(thread, fate);
                }
                Fate::Failed => {
                    machine::skip(thread);
                    self.fates.insert(thread, fate);
                }
                Fate::Refused(which) => {
                    let requests = call.change.map_or_else(Vec::new, |change| change.requests);
                    // A kind of message that no release of Linux has, behind the length.
                    memory
                        .write_all_at(&0x03ff_u16.to_ne_bytes(), requests[which] + 4)
                        .expect("memory");
                }
                Fate::Signal(signal) => machine::kill(self.leader, signal),
            }
            self.go_on(thread, 0);
        } else {
            if self.fates.remove(&thread).is_some() {
                machine::answer(thread, libc::EIO);
            }
            self.go_on(thread, 0);
        }
    }
}

/// What a call changes outside of the process.
fn change(process: i32, memory: &File, number: i64, arguments: &[u64; 6]) -> Option<Change> {
    let text = |at: usize| {
        let mut bytes = [0; 256];
        let read = memory.read_at(&mut bytes, arguments[at]).unwrap_or(0);
        let end = bytes[..read].iter().position(|byte| *byte == 0);
        String::from_utf8_lossy(&bytes[..end.unwrap_or(read)]).into_owned()
    };
    let plain = |what: String| {
        Some(Change {
            what,
            ..Change::default()
        })
    };
    match number {
        libc::SYS_sendto => {
            let requests = requests(memory, arguments[1], arguments[2]);
            requests
                .iter()
                .any(|request| request.changes)
                .then(|| Change {
                    what: format!("send {} requests", requests.len()),
                    requests: requests
                        .iter()
                        .filter(|request| request.changes)
                        .map(|request| request.at)
                        .collect(),
                })
        }
        libc::SYS_write => {
            let fd = arguments[0];
            let path = std::fs::read_link(format!("/proc/{process}/fd/{fd}")).unwrap_or_default();
            let is_file = ["/proc/", "/run/", "/etc/"]
                .iter()
                .any(|top| path.starts_with(top));
            plain(format!("write {}", path.display())).filter(|_| is_file)
        }
        libc::SYS_openat => {
            let flags = i32::try_from(arguments[2] & 0xffff_ffff).unwrap_or(0);
            let makes = flags & (libc::O_CREAT | libc::O_TRUNC) != 0;
            plain(format!("open {}", text(1))).filter(|_| makes)
        }
        libc::SYS_mount => plain(format!("mount {}", text(1))),
        libc::SYS_umount2 => plain(format!("umount {}", text(0))),
        libc::SYS_unshare => plain("unshare".to_owned()),
        libc::SYS_ftruncate => plain("ftruncate".to_owned()),
        libc::SYS_mkdirat => plain(format!("mkdir {}", text(1))),
        libc::SYS_unlinkat => plain(format!("unlink {}", text(1))),
        libc::SYS_linkat => plain(format!("link {}", text(3))),
        libc::SYS_renameat2 => plain(format!("rename to {}", text(3))),
        number => {
            machine::old_name(number).and_then(|(name, at)| plain(format!("{name} {}", text(at))))
        }
    }
}

/// A request in a datagram to the kernel.
struct Request {
    at: u64,
    changes: bool,
}

/// The requests of a datagram (`struct nlmsghdr` of `man 7 netlink`).
fn requests(memory: &File, at: u64, length: u64) -> Vec<Request> {
    let mut all = Vec::new();
    let end = at + length;
    let mut at = at;
    let mut header = [0; 16];
    while at + 16 <= end && memory.read_exact_at(&mut header, at).is_ok() {
        let [a, b, c, d, kind, group, low, high, ..] = header;
        let length = u64::from(u32::from_ne_bytes([a, b, c, d]));
        let kind = u16::from_ne_bytes([kind, group]);
        let flags = i32::from(u16::from_ne_bytes([low, high]));
        // Questions of rtnetlink are the third of each four kinds; all others that netform has are dumps, or in the
        // numbers of nftables and of its batches.
        let asks = flags & libc::NLM_F_DUMP == libc::NLM_F_DUMP && flags & libc::NLM_F_CREATE == 0;
        let rtnetlink = (16..256).contains(&kind) && kind % 4 != 2;
        all.push(Request {
            at,
            changes: !asks && (rtnetlink || kind >= 256 && !is_question_of_netfilter(kind)),
        });
        if length < 16 {
            break;
        }
        at += length.next_multiple_of(4);
    }
    all
}

/// Whether a kind of message only asks (`linux/netfilter/nf_tables.h`, `nfnetlink_conntrack.h`).
fn is_question_of_netfilter(kind: u16) -> bool {
    match (i32::from(kind >> 8), i32::from(kind & 0xff)) {
        (libc::NFNL_SUBSYS_NFTABLES, kind) => matches!(
            kind,
            libc::NFT_MSG_GETTABLE
                | libc::NFT_MSG_GETCHAIN
                | libc::NFT_MSG_GETRULE
                | libc::NFT_MSG_GETSET
                | libc::NFT_MSG_GETSETELEM
                | libc::NFT_MSG_GETGEN
        ),
        // IPCTNL_MSG_CT_GET.
        (_, kind) => kind == 1,
    }
}
