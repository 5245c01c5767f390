//! A private host, and States made by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::Command;

use netform::kernel::Kernel;
use netform::plan::{Operation, Plan};
use netform::resource::address::{Address, AddressKey};
use netform::resource::file::{File, FileKind};
use netform::resource::link::veth::{Peer, Veth};
use netform::resource::link::{Link, LinkKind, MacAddress};
use netform::resource::name::{NamespaceName, TopologyName};
use netform::resource::namespace::Namespace;
use netform::resource::nftables::gateway::{
    Egress, Gateway, GatewayLink, Guard, Inbound, Nat, Origin, Shape,
};
use netform::resource::route::{Route, RouteKey};
use netform::resource::sysctl::{Sysctl, SysctlKey};
use netform::resource::{Family, Id, Key, Ns, Resource};
use netform::state::{Owner, State};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

/// Runs a test on a host of its own: with network, mounts, `/run` and `/etc` that nobody else sees.
pub(crate) fn on_a_private_host(test: impl FnOnce() + Send) {
    let run = || {
        // SAFETY: descriptors stay shared.
        #[expect(unsafe_code, reason = "a private host for the test")]
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }
            .expect("unshare");
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .expect("private");
        mount("none", "/run", "tmpfs", MountFlags::empty(), None).expect("run");
        sh("ip link set lo up; mkdir /run/upper /run/work /run/netns; \
            mount -t overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work none /etc; rmdir /etc/netns 2>/dev/null || true");
        test();
    };
    std::thread::scope(|scope| scope.spawn(run).join()).expect("the test passes");
}

/// Runs a command, and returns what it says.
pub(crate) fn sh(command: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", command])
        .output()
        .expect("sh runs");
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// A name that is valid.
pub(crate) fn name<T: for<'a> TryFrom<&'a str>>(text: &str) -> T {
    T::try_from(text).ok().expect("a name")
}

/// A desired State while it is put together.
pub(crate) struct Builder {
    pub(crate) topology: TopologyName,
    pub(crate) state: State,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            topology: name("breezyfrost"),
            state: State::new(),
        }
    }

    pub(crate) fn put(&mut self, ns: &Ns, key: Key, resource: Resource) {
        let owner = Owner::Topology(self.topology.clone());
        self.state.insert(Id::new(ns.clone(), key), resource, owner);
    }

    pub(crate) fn namespace(&mut self, text: &str) -> Ns {
        let ns = Ns::Named(name::<NamespaceName>(text));
        self.put(
            &ns,
            Key::Namespace,
            Resource::Namespace(Namespace::default()),
        );
        for family in Family::BOTH {
            self.sysctl(&ns, SysctlKey::forwarding(family), "0");
        }
        ns
    }

    pub(crate) fn sysctl(&mut self, ns: &Ns, key: SysctlKey, value: &str) {
        self.put(
            ns,
            Key::Sysctl(key),
            Resource::Sysctl(Sysctl {
                value: value.into(),
            }),
        );
    }

    pub(crate) fn end(&mut self, here: (&Ns, &str), there: (&Ns, &str), mac: u8) {
        let link = Link {
            kind: LinkKind::Veth(Veth {
                peer: Some(Peer {
                    ns: there.0.clone(),
                    name: name(there.1),
                }),
            }),
            up: true,
            mtu: Some(1500),
            mac: Some(MacAddress([2, 0, 0, 0, 0, mac])),
            master: None,
            tagged: true,
        };
        self.put(here.0, Key::Link(name(here.1)), Resource::Link(link));
    }

    /// A link with one end.
    pub(crate) fn single(&mut self, ns: &Ns, text: &str, kind: LinkKind, mac: u8) {
        let link = Link {
            kind,
            up: true,
            mtu: Some(1500),
            mac: Some(MacAddress([2, 0, 0, 0, 1, mac])),
            master: None,
            tagged: true,
        };
        self.put(ns, Key::Link(name(text)), Resource::Link(link));
    }

    /// A link that is there, to be changed.
    pub(crate) fn link(&mut self, ns: &Ns, text: &str) -> &mut Link {
        let id = Id::link(ns.clone(), name(text));
        match self.state.entries.get_mut(&id).map(|e| &mut e.resource) {
            Some(Resource::Link(link)) => link,
            other => panic!("{text} is {other:?}"),
        }
    }

    pub(crate) fn address(&mut self, ns: &Ns, link: &str, text: &str) {
        let (ip, prefix) = text.split_once('/').expect("a prefix");
        let key = AddressKey {
            link: name(link),
            ip: ip.parse().expect("ip"),
        };
        let address = Address::new(prefix.parse().expect("length"));
        self.put(ns, Key::Address(key), Resource::Address(address));
    }

    /// The table of a gateway link with one member, which leaves by `ens33`.
    pub(crate) fn table(&mut self, ns: &Ns, link: &str) {
        let egress = Egress {
            dev: name("ens33"),
            nat: Nat::Masquerade,
            inbound: Inbound::Deny,
        };
        let gateway_link = GatewayLink {
            origin: Origin::Made,
            shape: Shape::PointToPoint,
            members: ["192.168.50.2", "fd50::2"]
                .map(|ip| ip.parse().expect("an address"))
                .into(),
            prefixes: ["192.168.50.0/24", "fd50::/64"]
                .map(|prefix| prefix.parse().expect("a prefix"))
                .into(),
            routed: [].into(),
            allow: BTreeSet::new(),
            egress: BTreeMap::from([(Family::Ipv4, egress)]),
        };
        let gateway = Gateway {
            topology: self.topology.clone(),
            links: BTreeMap::from([(name(link), gateway_link)]),
            guard: Guard::Links,
            fallback: None,
            published: BTreeSet::new(),
        };
        let table = gateway.table().expect("a gateway needs one");
        self.put(ns, Key::Table, Resource::Table(table));
    }

    pub(crate) fn route(&mut self, ns: &Ns, to: &str, via: &str, dev: &str) {
        let key = RouteKey::main(to.parse().expect("prefix"));
        let via: IpAddr = via.parse().expect("ip");
        self.put(
            ns,
            Key::Route(key),
            Resource::Route(Route::through(via, name(dev))),
        );
    }
}

/// The story: one namespace, reachable from the host on both families.
pub(crate) fn story() -> Builder {
    let mut b = Builder::new();
    let ns = b.namespace("breezyfrost");
    b.end((&ns, "veth1"), (&Ns::Host, "veth1_p"), 1);
    b.end((&Ns::Host, "veth1_p"), (&ns, "veth1"), 2);
    b.address(&ns, "veth1", "192.168.50.2/24");
    b.address(&ns, "veth1", "fd50::2/64");
    b.address(&Ns::Host, "veth1_p", "192.168.50.3/24");
    b.address(&Ns::Host, "veth1_p", "fd50::3/64");
    b.route(&ns, "0.0.0.0/0", "192.168.50.3", "veth1");
    b.route(&ns, "::/0", "fd50::3", "veth1");
    b.sysctl(
        &Ns::Host,
        SysctlKey::conf(Family::Ipv6, name("veth1_p"), "accept_ra"),
        "0",
    );
    b.sysctl(
        &Ns::Host,
        SysctlKey::conf(Family::Ipv4, name("veth1_p"), "forwarding"),
        "1",
    );
    b.table(&Ns::Host, "veth1_p");
    b.put(
        &ns,
        Key::File(FileKind::ResolvConf),
        Resource::File(File {
            content: "nameserver 198.51.100.53\n".to_owned(),
        }),
    );
    b
}

/// What a plan says, without conflicts.
pub(crate) fn plan(topology: &TopologyName, desired: &State, observed: &State) -> Plan {
    netform::plan::plan(topology, desired, observed).expect("no conflicts")
}

/// Observes, plans and executes.
pub(crate) fn apply(kernel: &mut Kernel, topology: &TopologyName, desired: &State) -> Plan {
    let observed = kernel.observe(topology, desired).expect("observed");
    let plan = plan(topology, desired, &observed);
    kernel
        .execute(&plan)
        .unwrap_or_else(|failure| panic!("{failure:?}"));
    plan
}

/// What a plan would do now; what is there must be the topology's.
pub(crate) fn difference(
    kernel: &mut Kernel,
    topology: &TopologyName,
    desired: &State,
) -> Vec<Operation> {
    let observed = kernel.observe(topology, desired).expect("observed");
    for (id, entry) in &desired.entries {
        let seen = observed.get(id);
        if let Some(seen) = seen
            && seen.resource == entry.resource
            && !matches!(id.key, Key::Sysctl(_))
        {
            assert_eq!(seen.owner, entry.owner, "{id:?}");
        }
    }
    plan(topology, desired, &observed).operations
}

/// The lines of one text that the other lacks, both ways.
pub(crate) fn changed(before: &str, after: &str) -> Vec<String> {
    let lacks = |text: &str, other: &str, sign: &str| -> Vec<String> {
        let lines = text
            .lines()
            .filter(|line| !other.lines().any(|l| l == *line));
        lines.map(|line| format!("{sign}{line}")).collect()
    };
    [lacks(before, after, "-"), lacks(after, before, "+")].concat()
}

/// All that netform could have changed.
///
/// That a link has a carrier is left out, and the table of local routes: the kernel takes notice of both
/// in its own time.
pub(crate) fn world() -> String {
    sh(
        "{ ip -d link; ip address; ip route show table all; ip -6 route show table all; } |
        sed '/ table local /d; s/NO-CARRIER,//; s/,LOWER_UP//; s/ state [A-Z]*//; s/ linkdown//'
        ip rule; nft list ruleset
        find /run/net* /etc/netns 2>/dev/null | sort
        cd /proc/sys/net; grep -rs . ipv4/conf ipv6/conf ipv4/ip_forward | sort",
    )
}

/// The peer of a veth.
pub(crate) fn peer(link: &Link) -> Option<&Peer> {
    match &link.kind {
        LinkKind::Veth(veth) => veth.peer.as_ref(),
        _ => None,
    }
}

impl Builder {
    /// Makes all of it the topology's, whose name was changed.
    pub(crate) fn own(&mut self) {
        for entry in self.state.entries.values_mut() {
            entry.owner = Owner::Topology(self.topology.clone());
        }
    }

    /// So many namespaces, each reachable from the host.
    pub(crate) fn many(count: u8) -> Builder {
        let mut b = Builder::new();
        for i in 0..count {
            let ns = b.namespace(&format!("n{i}"));
            let outer = format!("h{i}");
            b.end((&ns, "eth0"), (&Ns::Host, &outer), 1);
            b.end((&Ns::Host, &outer), (&ns, "eth0"), 2);
            b.address(&ns, "eth0", &format!("10.0.{i}.2/30"));
            b.address(&ns, "eth0", &format!("fd50:{i:x}::2/64"));
            b.address(&Ns::Host, &outer, &format!("10.0.{i}.1/30"));
            b.address(&Ns::Host, &outer, &format!("fd50:{i:x}::1/64"));
            b.route(&ns, "0.0.0.0/0", &format!("10.0.{i}.1"), "eth0");
            b.route(&ns, "::/0", &format!("fd50:{i:x}::1"), "eth0");
            let accept_ra = SysctlKey::conf(Family::Ipv6, name(&outer), "accept_ra");
            b.sysctl(&Ns::Host, accept_ra, "0");
        }
        b
    }
}
