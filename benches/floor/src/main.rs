//! What the benchmark's topology costs when nothing is done but to ask the kernel for it: no spec, no plan, no reading, no record,
//! no way back. Requests of a namespace go in one datagram, and namespaces are made on as many threads as there are processors.
//!
//! ```text
//! floor apply N TABLE    makes namespaces n0 … and the host's links v0 …; TABLE has the bytes of the nftables transaction
//! floor read N           reads them back: links, addresses, routes, rules, and the table's sets
//! floor destroy N        removes them
//! floor time FILE COMMAND [ARGUMENT ...]    runs a command, and writes into FILE what it took: seconds on the clock, of the
//!                        processor outside and inside of the kernel, and the most memory in KiB
//! ```
//!
//! It is for a private host only: it asks nobody, and takes nothing back.

mod netlink;

use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::Instant;

use netlink::{Batch, Socket};

/// The tag that links get, and their group.
const ALIAS: &str = "netform:bench";
const GROUP: u32 = 0x6e66_6d01;
/// The first number of a link.
const FIRST: u32 = 1 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["apply", count, table] => {
            apply(number(count), &fs::read(table).expect("the table's bytes"))
        }
        ["read", count] => read(number(count)),
        ["destroy", count] => destroy(number(count)),
        ["time", file, program, arguments @ ..] => time(file, program, arguments),
        _ => panic!("floor apply N TABLE | read N | destroy N | time FILE COMMAND ..."),
    }
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}

/// The addresses of a pair: of the namespace's end, and of the host's, in both families.
struct Addresses {
    inside: [IpAddr; 2],
    outside: [IpAddr; 2],
}

impl Addresses {
    fn of(at: u32) -> Addresses {
        let net = u32::from(Ipv4Addr::new(10, 0, 0, 0)) + 4 * at;
        let at = u16::try_from(at).expect("so many fit");
        let v6 = |last| Ipv6Addr::new(0xfd00, at, 0, 0, 0, 0, 0, last).into();
        Addresses {
            inside: [Ipv4Addr::from(net + 2).into(), v6(2)],
            outside: [Ipv4Addr::from(net + 1).into(), v6(1)],
        }
    }
}

/// Does something for each of many, on all processors, and keeps the results in order.
fn spread<T: Send>(count: u32, work: impl Fn(u32) -> T + Sync) -> Vec<T> {
    let threads = thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let share = count.div_ceil(threads).max(1);
    thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let range = (thread * share).min(count)..((thread + 1) * share).min(count);
                scope.spawn(move || range.map(work).collect::<Vec<T>>())
            })
            .collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().expect("it ends"))
            .collect()
    })
}

fn path(at: u32) -> String {
    format!("/run/netns/n{at}")
}

fn apply(count: u32, table: &[u8]) {
    let host = fs::File::open("/proc/self/ns/net").expect("the host");
    let sockets = spread(count, |at| birth(at).expect("a namespace"));
    let netfilter = Socket::open(libc::NETLINK_NETFILTER).expect("a socket");
    netfilter.transact(table).expect("the table");
    // Each pair from inside, where it has the namespace's lock to itself.
    for (at, socket) in (0..count).zip(&sockets) {
        inside(at, socket, &host.as_raw_fd()).expect("a pair");
    }
    spread(count, |at| {
        enter(&open(at));
        for setting in ["accept_ra", "accept_redirects"] {
            set(&format!("ipv6/conf/eth0/{setting}"), "0");
        }
    });
    outside(count).expect("the host's ends");
    for at in 0..count {
        set(&format!("ipv4/conf/v{at}/forwarding"), "1");
        set(&format!("ipv6/conf/v{at}/accept_ra"), "0");
        set(&format!("ipv6/conf/v{at}/force_forwarding"), "1");
    }
    let notice = Socket::open(libc::NETLINK_ROUTE).expect("a socket");
    notice
        .ask((0..count).map(|at| FIRST + 2 * at + 1))
        .expect("it has a carrier");
    for (at, socket) in (0..count).zip(&sockets) {
        socket.ask([FIRST + 2 * at]).expect("it has a carrier");
        let mut batch = Batch::default();
        for via in Addresses::of(at).outside {
            batch.default_route(via, FIRST + 2 * at);
        }
        socket.send(batch).expect("routes");
    }
}

/// Makes a namespace with its tag and its name; the thread is in it afterwards.
fn birth(at: u32) -> io::Result<Socket> {
    // SAFETY: it changes which namespace this thread is in, and nothing else.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    let socket = Socket::open(libc::NETLINK_ROUTE)?;
    let mut batch = Batch::default();
    batch.change(1, Some(ALIAS), true);
    socket.send(batch)?;
    set("ipv6/conf/default/accept_dad", "0");
    let path = path(at);
    fs::File::create_new(&path)?;
    let (from, to) = (
        CString::new("/proc/thread-self/ns/net")?,
        CString::new(path)?,
    );
    // SAFETY: the paths end with NUL, and the rest may be null.
    check(unsafe {
        libc::mount(
            from.as_ptr(),
            to.as_ptr(),
            c"none".as_ptr(),
            libc::MS_BIND,
            std::ptr::null(),
        )
    })?;
    Ok(socket)
}

fn inside(at: u32, socket: &Socket, host: &i32) -> io::Result<()> {
    let (here, there) = (FIRST + 2 * at, FIRST + 2 * at + 1);
    let mut batch = Batch::default();
    batch.pair((here, "eth0"), (there, &format!("v{at}")), GROUP, *host);
    batch.change(here, Some(ALIAS), false);
    let [v4, v6] = Addresses::of(at).inside;
    batch.address(here, v4, 30);
    batch.address(here, v6, 64);
    batch.change(here, None, true);
    socket.send(batch)
}

fn outside(count: u32) -> io::Result<()> {
    let socket = Socket::open(libc::NETLINK_ROUTE)?;
    let mut all = Batch::default();
    let mut up = Batch::default();
    for at in 0..count {
        let index = FIRST + 2 * at + 1;
        let [v4, v6] = Addresses::of(at).outside;
        all.change(index, Some(ALIAS), false);
        all.address(index, v4, 30);
        all.address(index, v6, 64);
        set(&format!("ipv6/conf/v{at}/accept_dad"), "0");
        up.change(index, None, true);
    }
    socket.send(all)?;
    socket.send(up)
}

fn read(count: u32) {
    let kinds: [u16; 4] = [
        libc::RTM_GETLINK,
        libc::RTM_GETADDR,
        libc::RTM_GETROUTE,
        libc::RTM_GETRULE,
    ];
    let host = thread::spawn(move || {
        let socket = Socket::open(libc::NETLINK_ROUTE).expect("a socket");
        let links: usize = kinds
            .map(|kind| socket.dump(kind).expect("a dump"))
            .iter()
            .sum();
        let netfilter = Socket::open(libc::NETLINK_NETFILTER).expect("a socket");
        links + netfilter.dump_table("netform-bench").expect("the table")
    });
    let bytes: usize = spread(count, |at| {
        enter(&open(at));
        let socket = Socket::open(libc::NETLINK_ROUTE).expect("a socket");
        kinds
            .map(|kind| socket.dump(kind).expect("a dump"))
            .iter()
            .sum::<usize>()
    })
    .iter()
    .sum();
    let bytes = bytes + host.join().expect("it ends");
    writeln!(io::stdout(), "{bytes} bytes").expect("somebody reads");
}

fn destroy(count: u32) {
    let socket = Socket::open(libc::NETLINK_ROUTE).expect("a socket");
    socket.remove_group(GROUP).expect("links");
    let netfilter = Socket::open(libc::NETLINK_NETFILTER).expect("a socket");
    netfilter.remove_table("netform-bench").expect("the table");
    for at in 0..count {
        let path = path(at);
        let name = CString::new(path.as_str()).expect("a path");
        // SAFETY: the path ends with NUL.
        check(unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH) }).expect("it is mounted");
        fs::remove_file(path).expect("it is there");
    }
}

/// A program of little memory begins it: what a process has before it becomes another is counted, too.
fn time(file: &str, program: &str, arguments: &[&str]) {
    let begin = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .status()
        .expect("it runs");
    let wall = begin.elapsed().as_secs_f64();
    // SAFETY: all zeros is one, and it is written in place.
    let used = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut used);
        used
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let (user, system) = (seconds(used.ru_utime), seconds(used.ru_stime));
    fs::write(file, format!("{wall} {user} {system} {}\n", used.ru_maxrss)).expect("written");
    std::process::exit(status.code().unwrap_or(1));
}

fn open(at: u32) -> OwnedFd {
    fs::File::open(path(at)).expect("the namespace").into()
}

fn enter(ns: &OwnedFd) {
    // SAFETY: it changes which namespace this thread is in, and nothing else.
    check(unsafe { libc::setns(ns.as_raw_fd(), libc::CLONE_NEWNET) }).expect("it is a namespace");
}

/// Writes a setting below `/proc/sys/net` of the namespace that this thread is in.
fn set(path: &str, value: &str) {
    fs::write(format!("/proc/sys/net/{path}"), value).expect("a setting");
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
