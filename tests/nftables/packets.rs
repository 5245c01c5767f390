//! Real packets through a gateway, between hosts that are threads in network namespaces of their own.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use netform::kernel::nftables::{NfSocket, TableChange};
use netform::resource::Family;
use netform::resource::nftables::gateway::{Egress, Gateway, Inbound, Nat, Origin, Shape};

use super::gateways::{link, seed};
use super::nft::{in_sandbox, leave_network};

/// A host: a thread that does what it is told in its network namespace.
struct Host {
    orders: Sender<Box<dyn FnOnce() + Send>>,
    /// What `ip link set … netns` finds it by.
    thread: i32,
}

impl Host {
    fn new() -> Host {
        let (orders, received) = channel::<Box<dyn FnOnce() + Send>>();
        let (say, heard) = channel();
        std::thread::spawn(move || {
            leave_network();
            say.send(rustix::thread::gettid().as_raw_nonzero().get())
                .expect("it is heard");
            for order in received {
                order();
            }
        });
        let thread = heard.recv().expect("it has started");
        Host { orders, thread }
    }

    fn run<T: Send + 'static>(&self, order: impl FnOnce() -> T + Send + 'static) -> T {
        let (say, heard) = channel();
        let order = move || drop(say.send(order()));
        self.orders.send(Box::new(order)).expect("it listens");
        heard.recv().expect("it succeeds")
    }

    fn ip(&self, commands: &str) {
        for command in commands
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let arguments: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            let said = command.to_owned();
            self.run(move || {
                let output = Command::new("ip")
                    .args(arguments)
                    .output()
                    .expect("ip runs");
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success(), "ip {said}: {error}");
            });
        }
    }

    fn socket(&self, address: &str) -> UdpSocket {
        let address: IpAddr = address.parse().expect("an address");
        let socket =
            self.run(move || UdpSocket::bind((address, 0)).expect("the address is its own"));
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("it takes a limit");
        socket
    }
}

/// Sends texts from sockets to an address. The last must arrive, and none before it may.
fn only_the_last_arrives(from: &[(&UdpSocket, &str)], to: &UdpSocket) -> SocketAddr {
    let address = to.local_addr().expect("it is bound");
    let (_, last) = from.last().expect("there is one");
    // Packets of one way don't overtake each other.
    for (socket, text) in from {
        socket
            .send_to(text.as_bytes(), address)
            .expect("it is sent");
    }
    let mut buffer = [0; 64];
    let (length, source) = to.recv_from(&mut buffer).expect("something arrives");
    assert_eq!(std::str::from_utf8(&buffer[..length]), Ok(*last));
    source
}

struct Network {
    inner: Host,
    holder: Host,
    outer: Host,
}

/// An inner network behind `eth1` of its holder, which forwards, and an outer one at `ens33`. The inner
/// host has addresses of a subnet, 2 and 9, and one of another prefix. The outer one knows the way back
/// to the other prefix alone.
fn network() -> Network {
    let network = Network {
        inner: Host::new(),
        holder: Host::new(),
        outer: Host::new(),
    };
    let (inner, outer) = (network.inner.thread, network.outer.thread);
    network.holder.ip(&format!(
        "link add eth1 type veth peer name lan
         link add ens33 type veth peer name wan
         link set lan netns {inner}
         link set wan netns {outer}
         address add 10.1.0.1/24 dev eth1
         address add 10.9.0.1/24 dev eth1
         address add fd01::1/64 dev eth1 nodad
         address add fd09::1/64 dev eth1 nodad
         address add 198.51.100.1/24 dev ens33
         address add 2001:db8::1/64 dev ens33 nodad
         link set eth1 up
         link set ens33 up"
    ));
    network.holder.run(|| {
        for family in ["ipv4", "ipv6"] {
            let path = format!("/proc/sys/net/{family}/conf/all/forwarding");
            std::fs::write(path, "1").expect("it forwards");
        }
    });
    network.inner.ip("address add 10.1.0.2/24 dev lan
         address add 10.1.0.9/24 dev lan
         address add 10.9.0.2/24 dev lan
         address add fd01::2/64 dev lan nodad
         address add fd01::9/64 dev lan nodad
         address add fd09::2/64 dev lan nodad
         link set lan up
         route add default via 10.1.0.1
         route add default via fd01::1");
    network.outer.ip("address add 198.51.100.10/24 dev wan
         address add 2001:db8::10/64 dev wan nodad
         link set wan up
         route add 10.9.0.0/24 via 198.51.100.1
         route add fd09::/64 via 2001:db8::1");
    network
}

impl Network {
    /// Has the holder guard `eth1`, with one member and the way out by `ens33`.
    fn guard(&self, origin: Origin) {
        let mut gateway: Gateway = seed();
        let mut only = gateway.links.pop_first().expect("it has one").1;
        only.origin = origin;
        only.shape = Shape::PointToPoint;
        only.members = ["10.1.0.2", "fd01::2"]
            .map(|ip| ip.parse().expect("an address"))
            .into();
        only.prefixes = ["10.1.0.0/24", "fd01::/64"]
            .map(|net| net.parse().expect("a prefix"))
            .into();
        let egress = Egress {
            dev: link("ens33"),
            nat: Nat::Masquerade,
            inbound: Inbound::Deny,
        };
        only.egress = BTreeMap::from(Family::BOTH.map(|family| (family, egress.clone())));
        gateway.links.insert(link("eth1"), only);
        let table = gateway.table().expect("it needs one");
        self.holder.run(move || {
            let mut socket = NfSocket::open().expect("a socket");
            socket
                .apply(&[TableChange::Create(table)])
                .expect("the kernel takes it");
        });
    }
}

#[test]
fn behind_an_existing_link_members_are_translated_others_refused_and_the_rest_is_left_alone() {
    in_sandbox(|| {
        let network = network();
        network.guard(Origin::Existing);
        for [member, stranger, elsewhere, outside, holder] in [
            [
                "10.1.0.2",
                "10.1.0.9",
                "10.9.0.2",
                "198.51.100.10",
                "198.51.100.1",
            ],
            [
                "fd01::2",
                "fd01::9",
                "fd09::2",
                "2001:db8::10",
                "2001:db8::1",
            ],
        ] {
            let [member, stranger, elsewhere] =
                [member, stranger, elsewhere].map(|address| network.inner.socket(address));
            let outside = network.outer.socket(outside);

            let from = [(&stranger, "stranger"), (&member, "member")];
            let source = only_the_last_arrives(&from, &outside);
            assert_eq!(source.ip().to_string(), holder);
            let mut buffer = [0; 64];
            // One may be lost, where the machine has too much to do to find its neighbours.
            let patience = Some(Duration::from_secs(4));
            member.set_read_timeout(patience).expect("a timeout");
            let reply = (0..5).find_map(|_| {
                outside.send_to(b"reply", source).expect("it is sent");
                member.recv(&mut buffer).ok()
            });
            let length = reply.expect("the reply comes back");
            assert_eq!(&buffer[..length], b"reply");

            let source = only_the_last_arrives(&[(&elsewhere, "elsewhere")], &outside);
            assert_eq!(source, elsewhere.local_addr().expect("it is bound"));
        }
    });
}

#[test]
fn behind_an_existing_link_nobody_outside_reaches_a_member() {
    in_sandbox(|| {
        let network = network();
        network.guard(Origin::Existing);
        network.outer.ip("route add 10.1.0.0/24 via 198.51.100.1
             route add fd01::/64 via 2001:db8::1");
        for [member, elsewhere, outside] in [
            ["10.1.0.2", "10.9.0.2", "198.51.100.10"],
            ["fd01::2", "fd09::2", "2001:db8::10"],
        ] {
            let outside = network.outer.socket(outside);
            // Both addresses are of one host, and one socket hears both.
            let any = if member.contains(':') {
                "::"
            } else {
                "0.0.0.0"
            };
            let inside = network.inner.socket(any);
            let port = inside.local_addr().expect("it is bound").port();
            for (address, text) in [(member, "member"), (elsewhere, "elsewhere")] {
                let address: IpAddr = address.parse().expect("an address");
                outside
                    .send_to(text.as_bytes(), (address, port))
                    .expect("it is sent");
            }
            let mut buffer = [0; 64];
            let length = inside.recv(&mut buffer).expect("one arrives");
            assert_eq!(&buffer[..length], b"elsewhere");
        }
    });
}

#[test]
fn behind_a_link_of_ours_only_members_are_heard_even_by_the_holder() {
    in_sandbox(|| {
        let network = network();
        network.guard(Origin::Made);
        for [member, stranger, elsewhere, outside, holder, inner] in [
            [
                "10.1.0.2",
                "10.1.0.9",
                "10.9.0.2",
                "198.51.100.10",
                "198.51.100.1",
                "10.1.0.1",
            ],
            [
                "fd01::2",
                "fd01::9",
                "fd09::2",
                "2001:db8::10",
                "2001:db8::1",
                "fd01::1",
            ],
        ] {
            let [member, stranger, elsewhere] =
                [member, stranger, elsewhere].map(|address| network.inner.socket(address));
            let from = [
                (&stranger, "stranger"),
                (&elsewhere, "elsewhere"),
                (&member, "member"),
            ];
            let outside = network.outer.socket(outside);
            assert_eq!(
                only_the_last_arrives(&from, &outside).ip().to_string(),
                holder
            );
            let gateway = network.holder.socket(inner);
            let source = only_the_last_arrives(&from, &gateway);
            assert_eq!(source, member.local_addr().expect("it is bound"));
        }
    });
}

#[test]
fn without_a_table_everybody_is_heard() {
    in_sandbox(|| {
        let network = network();
        network.outer.ip("route add 10.1.0.0/24 via 198.51.100.1");
        let outside = network.outer.socket("198.51.100.10");
        for address in ["10.1.0.9", "10.9.0.2", "10.1.0.2"] {
            let socket = network.inner.socket(address);
            let source = only_the_last_arrives(&[(&socket, "hello")], &outside);
            assert_eq!(source, socket.local_addr().expect("it is bound"));
        }
    });
}
