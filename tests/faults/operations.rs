//! A fault at every place where an apply, a change of a spec or a destroy changes something.
//!
//! The kernel of the tests is the real one, and nothing in netform knows of this: a tracer has a system call fail, or a
//! request in a datagram be one that the kernel refuses. Each operation is at least one of these.

use std::process::Command;

use crate::cases::{Case, Move, Spec, Whole};
use crate::common::{Output, in_sandbox};
use crate::sample::Sample;
use crate::sample::note;
use crate::tracer::{Change, Fate, trace};

/// The ways to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A call fails, and nothing is done.
    Failed,
    /// A call does what it is to do, and is said to have failed.
    DoneAndFailed,
    /// The kernel refuses one of the requests of a datagram, and goes on to the next.
    Refused,
}

/// Where a fault comes: at which of the calls that change something, or for [`Mode::Refused`] at which of all requests.
#[derive(Debug, Clone)]
struct Place {
    number: usize,
    /// What that was when there was no fault. Threads may come in another order.
    what: String,
}

/// Runs netform with the fault that `decide` makes, which hears of each call that changes something, in order.
fn run(arguments: &[&str], mut decide: impl FnMut(usize, &Change) -> Fate) -> Output {
    let mut count = 0;
    let mut command = Command::new(env!("CARGO_BIN_EXE_netform"));
    let ended = trace(command.args(arguments), |call| {
        let Some(change) = &call.change else {
            return Fate::Done;
        };
        count += 1;
        decide(count - 1, change)
    });
    Output {
        status: ended.status,
        stdout: ended.said,
        stderr: String::new(),
    }
}

/// Where a move can fail.
fn places(of: Move, mode: Mode) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let output = run(&of.arguments(), |_, change| {
        let count = match mode {
            Mode::Refused => change.requests.len(),
            Mode::Failed | Mode::DoneAndFailed => 1,
        };
        for _ in 0..count {
            places.push(Place {
                number: places.len(),
                what: change.what.clone(),
            });
        }
        Fate::Done
    });
    output.ok();
    of.go_back().ok();
    // A lock that was made and can't be opened may be somebody else's: it stays, and the next one takes it.
    places.retain(|place| mode != Mode::DoneAndFailed || place.what != "open /run/netform/lock");
    places
}

/// Makes a move with a fault.
fn fail(of: Move, mode: Mode, place: &Place, options: &[&str]) -> Output {
    let mut arguments = of.arguments();
    arguments.extend(options);
    let mut passed = 0;
    run(&arguments, |call, change| {
        let requests = change.requests.len();
        passed += requests;
        match mode {
            Mode::Failed if call == place.number => Fate::Failed,
            Mode::DoneAndFailed if call == place.number => Fate::DoneAndFailed,
            Mode::Refused if passed > place.number => {
                Fate::Refused(place.number + requests - passed)
            }
            _ => Fate::Done,
        }
    })
}

/// Tries a case with a fault at each place of each move, or at some of them.
fn each(case: &Case, try_one: impl Fn(Move, Mode, &Place, &Whole)) {
    in_sandbox(|| {
        case.prepare();
        let mut sample = Sample::new("NETFORM_FAULTS", 1);
        for of in Move::ALL {
            if of == Move::Change {
                Move::Apply.finish();
            }
            for mode in [Mode::Failed, Mode::DoneAndFailed, Mode::Refused] {
                let places = places(of, mode);
                // A destroy may have nothing to ask of rtnetlink.
                assert!(!places.is_empty() || mode == Mode::Refused, "{of:?}");
                let before = Whole::now(of);
                for place in sample.of(places) {
                    note(&format!("{of:?}, {mode:?} at {place:?}, {sample}\n"));
                    try_one(of, mode, &place, &before);
                }
            }
        }
        sample.report();
    });
}

/// After a fault everything is as it was before, or, where it did no harm, done.
fn is_rolled_back(case: &Case) {
    each(case, |of, mode, place, before| {
        let output = fail(of, mode, place, &[]);
        match output.status {
            // It came after all of the operations.
            0 => {
                of.finish();
                of.go_back().ok();
            }
            1 | 3 => {}
            status => panic!("{status}: {}", output.stdout),
        }
        before.assert_same(&Whole::now(of));
    });
}

/// After a fault that is left as it is, the same again gets to the end, and the way back to the beginning.
fn is_finished(case: &Case) {
    each(case, |of, mode, place, before| {
        let output = fail(of, mode, place, &["--no-rollback"]);
        assert!(matches!(output.status, 0 | 1 | 3 | 4), "{output:?}");
        of.finish();
        of.go_back().ok();
        before.assert_same(&Whole::now(of));
    });
}

/// A link of one end that the kernel makes, and then refuses to tag, has nothing that leads to it.
#[test]
fn whatever_request_for_a_bridge_is_refused_nothing_is_left() {
    in_sandbox(|| {
        BRIDGE.prepare();
        let of = Move::Apply;
        let before = Whole::now(of);
        for place in places(of, Mode::Refused) {
            note(&format!("{place:?}\n"));
            let output = fail(of, Mode::Refused, &place, &[]);
            assert!(matches!(output.status, 1 | 3), "{output:?}");
            before.assert_same(&Whole::now(of));
        }
    });
}

macro_rules! cases {
    ($($name:ident, $back:ident, $on:ident: $case:expr;)*) => {
        $(pub(crate) const $name: Case = $case;

        #[test]
        fn $back() {
            is_rolled_back(&$name);
        }

        #[test]
        fn $on() {
            is_finished(&$name);
        })*
    };
}

cases! {
STORY, the_story_is_rolled_back, the_story_is_finished_after_a_fault: Case {
    spec: Spec::Of("breezyfrost"),
    given: "true",
    edit: &[
        ("  - ends:", "  - mtu: 1400\n    ends:"),
        ("nameservers: [198.51.100.53]", "nameservers: [198.51.100.54]"),
        ("addresses: [192.168.50.2]", "addresses: [192.168.50.7]"),
    ],
};
DUAL, both_families_are_rolled_back, both_families_are_finished_after_a_fault: Case {
    spec: Spec::Of("breezyfrost-dual"),
    given: "true",
    edit: &[
        ("name: veth1,  ", "name: eth0,  "),
        (", \"fd50::2\"]", ", \"fd50::7\"]"),
    ],
};
TIERS, tiers_are_rolled_back, tiers_are_finished_after_a_fault: Case {
    spec: Spec::Of("tiers"),
    given: "true",
    // One goes, another comes, and a link leads there instead.
    edit: &[
        ("app: {}, db: {} }\n", "app: {}, store: {} }\n"),
        ("{ namespace: db, ", "{ namespace: store, "),
        ("egress: {}, allow: [app]", "allow: [app]"),
    ],
};
POLICY, policies_are_rolled_back, policies_are_finished_after_a_fault: Case {
    spec: Spec::Of("policy-routing"),
    given: "true",
    edit: &[
        ("      - { to: default, via: 198.18.0.1, table: 200 }\n", "      - { to: default, via: 198.18.0.1, table: 201 }\n"),
        ("to: 10.99.0.0/16, table: 200", "to: 10.98.0.0/16, table: 201"),
        ("from: 198.18.0.2, table: 200", "from: 198.18.0.2, table: 201"),
        (", 10.99.0.1/32]", ", 10.98.0.1/32]"),
        ("{ via: 203.0.113.1, weight: 2 }", "{ via: 203.0.113.1, weight: 3 }"),
    ],
};
BRIDGE, a_bridge_is_rolled_back, a_bridge_is_finished_after_a_fault: Case {
    spec: Spec::Of("bridge"),
    given: "ip link add plug type veth peer name wall",
    edit: &[
        ("  blue: {}\n", ""),
        ("  - ends:\n      - { namespace: blue, name: eth0, addresses: [192.168.60.4, \"fd60::4\"] }\n      - { namespace: host, name: blue, bridge: br0 }\n", ""),
        ("      br0: { bridge: {}, ", "      plug: { bridge: br0 }\n      br0: { bridge: { stp: true }, mtu: 1400, "),
        ("addresses: [192.168.60.3, \"fd60::3\"]", "addresses: [192.168.60.5, \"fd60::3\"]"),
    ],
};
EXTERNAL, an_external_namespace_is_rolled_back, an_external_namespace_is_finished_after_a_fault: Case {
    spec: Spec::Of("external"),
    given: "ip netns add app; ip -n app link set lo up",
    edit: &[
        ("  app: { external: true }\n", "  app: { external: true, gateway: none, forwarding: ipv4 }\n"),
        ("  db: {}\n", "  db: { routes: [{ to: default, via: 10.9.1.1 }] }\n"),
        ("10.9.0.1/30", "10.9.1.1/30"),
        ("10.9.0.2/30", "10.9.1.2/30"),
    ],
};
SERVICES, publications_are_rolled_back, publications_are_finished_after_a_fault: Case {
    spec: Spec::Text("
version: 1
name: services
namespaces:
  web: { hosts: { db: [10.41.2.2] } }
  db: {}
  host: { sysctls: { net.ipv4.conf.ens33.rp_filter: 2, net.core.somaxconn: 5000 } }
subnets:
  web:  { cidr: 10.41.1.0/24, gateway: 10.41.1.1, egress: { dev: ens33, snat: 192.168.95.7 }, allow: [db] }
  web6: { cidr: 'fd41::/64', gateway: 'fd41::1', egress: { dev: ens33, inbound: allow } }
  db:   { cidr: 10.41.2.0/24, gateway: 10.41.2.1 }
publish:
  - { port: 8080, to: '10.41.1.2:80' }
  - { port: 5353, proto: udp, to: '10.41.1.2:53' }
veths:
  - ends:
      - { namespace: web, name: eth0, addresses: [10.41.1.2, 'fd41::2'] }
      - { namespace: host, name: to-web, addresses: [10.41.1.1, 'fd41::1'] }
  - ends:
      - { namespace: db, name: eth0, addresses: [10.41.2.2] }
      - { namespace: host, name: to-db, addresses: [10.41.2.1] }
"),
    given: "iptables -P FORWARD DROP; iptables -A FORWARD -i lo -j ACCEPT",
    edit: &[
        ("somaxconn: 5000", "somaxconn: 6000"),
        ("net.ipv4.conf.ens33.rp_filter: 2, ", ""),
        ("  - { port: 8080, to: '10.41.1.2:80' }\n", "  - { port: 8081, dev: ens33, to: '10.41.2.2:80' }\n"),
        (", snat: 192.168.95.7", ""),
        ("hosts: { db: [10.41.2.2] }", "dns: { nameservers: [198.51.100.53] }"),
    ],
};
}
