//! Nobody reaches whom he may not: packets that no honest kernel would send, from hostile namespaces of two
//! topologies that stand side by side, and from outside.
//!
//! Each is sent twice: without the rules, to see that it would arrive, and with them.

#[path = "../common/mod.rs"]
mod common;
mod volley;
mod world;

use std::process::Command;

use common::{in_sandbox, run, sh};
use volley::{Shot, check, drop_rules, restore_rules};
use world::{
    FAMILIES, OUTSIDE, OUTSIDE_NET, Out, PARTIES, Party, address, are_neighbours, build,
    is_permitted, may_hear_of, seen_source,
};

#[test]
fn nobody_reaches_a_member_of_another_subnet_and_the_way_out_is_open() {
    in_sandbox(|| {
        build();
        let mut shots = Vec::new();
        for from in &PARTIES {
            for to in &PARTIES {
                if from.name == to.name || are_neighbours(from, to) {
                    continue;
                }
                for v6 in FAMILIES {
                    for kind in ["udp", "fragments", "syn", "ack", "echo", "other"] {
                        let source = from.address(v6);
                        let seen = is_permitted(from, to, kind)
                            .then(|| (to.name, seen_source(from, to, v6)));
                        shots.push(Shot {
                            from: from.name,
                            next: from.next,
                            kind,
                            source,
                            destination: to.address(v6),
                            about: None,
                            without: Some(to.name),
                            with: seen,
                        });
                    }
                }
            }
        }
        check(&shots);
    });
}

/// The host's own addresses, which no member has.
const HOST: [&str; 2] = ["10.34.0.1", "fd00:34::1"];

/// The sources that a party may forge, and whether the kernel forwards such by itself.
fn forged(from: &Party, v6: bool) -> Vec<(String, bool)> {
    let mut sources: Vec<(String, bool)> = PARTIES
        .iter()
        .filter(|party| party.name != from.name && !are_neighbours(party, from))
        .map(|party| (party.address(v6), true))
        .collect();
    // The addresses of a gateway are martians in IPv4 only.
    let more: &[(&str, bool)] = if v6 {
        &[
            ("fd00:34::1", true),
            ("fd00:34::77", true),
            ("2001:db8:10::10", true),
            ("::", false),
            ("::1", false),
            ("ff02::5", false),
            ("fe80::77", false),
        ]
    } else {
        &[
            ("10.34.0.1", false),
            ("10.34.0.77", true),
            ("198.51.100.10", true),
            ("169.254.7.7", true),
            ("0.0.0.0", false),
            ("127.0.0.1", false),
            ("224.0.0.5", false),
            ("255.255.255.255", false),
        ]
    };
    sources.extend(
        more.iter()
            .map(|(source, passes)| (source.to_string(), *passes)),
    );
    // What is behind a router is one source to its gateway.
    if ![OUTSIDE, "deep"].contains(&from.name) {
        // Another of its own network, and the gateway.
        sources.push((address(v6, from.net, 9), true));
        sources.push((address(v6, from.net, 1), v6));
    }
    sources
}

#[test]
fn a_forged_source_leads_nowhere() {
    in_sandbox(|| {
        build();
        let mut shots = Vec::new();
        let victims = PARTIES
            .iter()
            .filter(|party| ["a2", "c2", OUTSIDE].contains(&party.name));
        for victim in victims {
            for from in &PARTIES {
                if from.name == victim.name {
                    continue;
                }
                for v6 in FAMILIES {
                    for (source, passes) in forged(from, v6) {
                        // On a link that exists already sources are not validated: those of its network are
                        // members, to whom it is allowed, and others leave as they did.
                        let own = [1, 9].map(|host| address(v6, 7, host)).contains(&source);
                        if from.name == "e"
                            && (own && victim.name == "c2" || !own && victim.name == OUTSIDE)
                        {
                            continue;
                        }
                        for kind in ["udp", "tagged"] {
                            shots.push(Shot {
                                from: from.name,
                                next: from.next,
                                kind,
                                source: source.clone(),
                                destination: victim.address(v6),
                                about: None,
                                without: Some(victim.name).filter(|_| passes),
                                with: None,
                            });
                        }
                    }
                }
            }
        }
        // The gateway itself is protected as well.
        for from in PARTIES
            .iter()
            .filter(|from| !["e", OUTSIDE].contains(&from.name))
        {
            for v6 in FAMILIES {
                for (source, passes) in forged(from, v6) {
                    if source == "fe80::77" {
                        continue;
                    }
                    shots.push(Shot {
                        from: from.name,
                        next: from.next,
                        kind: "udp",
                        source: source.clone(),
                        destination: HOST[usize::from(v6)].to_owned(),
                        about: None,
                        without: Some("socket:host").filter(|_| passes),
                        with: None,
                    });
                }
            }
        }
        check(&shots);
    });
}

#[test]
fn an_error_about_a_connection_of_others_reaches_nobody() {
    in_sandbox(|| {
        build();
        let mut shots = Vec::new();
        for victim in PARTIES
            .iter()
            .filter(|party| ["a1", "a2", "b1", "c2", "d", "e", "f"].contains(&party.name))
        {
            for v6 in FAMILIES {
                // The host knows of this one.
                let about = shots.len();
                let to = HOST[usize::from(v6)].to_owned();
                let arrives = (victim.name != "f").then(|| victim.address(v6));
                shots.push(Shot {
                    from: victim.name,
                    next: victim.next,
                    kind: "udp",
                    source: victim.address(v6),
                    destination: to,
                    about: None,
                    without: None,
                    with: Some(("socket:host", arrives.unwrap_or(address(v6, 9, 2)))),
                });
                for from in PARTIES
                    .iter()
                    .filter(|from| from.name != victim.name && !are_neighbours(from, victim))
                {
                    // The host doesn't know the addresses of what is behind a router.
                    let arrives = may_hear_of(victim, from) && victim.name != "f";
                    shots.push(Shot {
                        from: from.name,
                        next: from.next,
                        kind: "error",
                        source: from.address(v6),
                        destination: victim.address(v6),
                        about: Some((about, victim.address(v6))),
                        without: Some(victim.name),
                        with: arrives.then(|| (victim.name, from.address(v6))),
                    });
                }
            }
        }
        check(&shots);
    });
}

#[test]
fn what_is_not_tracked_does_not_leave_as_it_is() {
    in_sandbox(|| {
        build();
        let mut shots = Vec::new();
        for from in PARTIES.iter().filter(|from| from.name != OUTSIDE) {
            let seen = (from.out == Out::AsItself).then(|| (OUTSIDE, from.address(true)));
            shots.push(Shot {
                from: from.name,
                next: from.next,
                kind: "solicit",
                source: from.address(true),
                destination: address(true, OUTSIDE_NET, 2),
                about: None,
                without: Some(OUTSIDE),
                with: seen,
            });
        }
        check(&shots);
    });
}

/// Sends a datagram that is refused until something comes back, and says what. Hosts send few errors a second to
/// one peer (`icmp_ratelimit`).
const REFUSED: &str = "
import errno, socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], int(sys.argv[2])))
s.settimeout(2)
said = None
for _ in range(15):
    try:
        s.send(b'anybody there?')
        s.recv(1)
    except TimeoutError as e:
        said = e
    except OSError as e:
        said = errno.errorcode.get(e.errno, e)
        break
print(said)
";

#[test]
fn an_error_comes_back_from_where_a_connection_leads() {
    in_sandbox(|| {
        build();
        let ask = |from: &str, to: &str, port: &str| {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", from, "python3", "-c", REFUSED, to, port]);
            let said = run(&mut command).ok();
            assert_eq!(said.trim(), "ECONNREFUSED", "{from} → {to}:{port}");
        };
        for v6 in FAMILIES {
            let outside = address(v6, OUTSIDE_NET, 2);
            for from in PARTIES.iter().filter(|from| from.out != Out::Nowhere) {
                ask(from.name, &outside, "9");
            }
            // To a service of one that has no way out.
            ask(OUTSIDE, &address(v6, OUTSIDE_NET, 1), "5300");
        }
    });
}

/// Says on a link that it is a router, from a link-local address.
const ROUTER: &str = "
import socket, struct
source, nodes = socket.inet_pton(10, 'fe80::bad'), socket.inet_pton(10, 'ff02::1')
icmp = struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 1800, 0, 0)
total = sum(struct.unpack('!28H', source + nodes + struct.pack('!II', 16, 58) + icmp))
while total >> 16:
    total = (total & 0xffff) + (total >> 16)
icmp = icmp[:2] + struct.pack('!H', ~total & 0xffff) + icmp[4:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('eth0', 0))
s.send(bytes.fromhex('333300000001020000000bad86dd') + struct.pack('!IHBB', 6 << 28, 16, 58, 255) + source + nodes + icmp)
";

#[test]
fn a_member_is_no_router_for_its_gateway() {
    in_sandbox(|| {
        build();
        let made = ["a1", "a2", "b1", "c1", "d", "f"];
        let inside = |ns: &str| match ns {
            "host" => String::new(),
            ns => format!("ip netns exec {ns} "),
        };
        // Somebody has set what netform sets against it another way.
        let listen = |ns: &str, link: &str| {
            let file = format!("/proc/sys/net/ipv6/conf/{link}/accept_ra");
            sh(&format!("{}sh -c 'echo 2 >{file}'", inside(ns))).ok();
        };
        let believes = |party: &Party| {
            let (ns, link) = party.next;
            listen(ns, link);
            let mut command = Command::new("ip");
            command.args(["netns", "exec", party.name, "python3", "-c", ROUTER]);
            run(&mut command).ok();
            // What was sent before is dealt with once this is answered.
            let gateway = address(true, party.net, 1);
            sh(&format!(
                "ip netns exec {} ping -n -c1 -W20 {gateway}",
                party.name
            ))
            .ok();
            let routes = sh(&format!(
                "{}ip -6 route show default dev {link}",
                inside(ns)
            ))
            .ok();
            sh(&format!("{}ip -6 route flush proto ra", inside(ns))).ok();
            routes.contains("via fe80::bad")
        };
        let parties = || PARTIES.iter().filter(|party| made.contains(&party.name));
        drop_rules();
        for party in parties() {
            assert!(believes(party), "{} without rules", party.name);
        }
        restore_rules();
        for party in parties() {
            assert!(!believes(party), "{}", party.name);
        }
    });
}
