//! The resolver.

use std::fs;
use std::io::{Read, Write};

use crate::common::{in_sandbox, sh};
use crate::lab::{again, answer, brief, is_for_ipv4, listen, record, serve, tried};

/// Tries the checks of the spec, in a few words.
fn briefly() -> Vec<String> {
    again().iter().map(brief).collect()
}

#[test]
fn names_come_from_the_namespaces_own_hosts_and_servers() {
    in_sandbox(|| {
        let checks = tried(
            r"
  - { from: red, resolve: www.example.test }
  - { from: red, resolve: www.example.test. }
  - { from: red, resolve: www }
  - { from: red, resolve: DB.lab }
  - { from: red, resolve: nobody.example.test }
  - { from: host, resolve: db.lab }
  - { from: host, resolve: www }
",
        );
        let said: Vec<String> = checks.iter().map(brief).collect();
        let www = "ok 2001:db8:10::10 198.51.100.10";
        assert_eq!(
            said,
            [
                www,
                www,
                www,
                "ok 10.0.0.1",
                "no-such-name: no such name: nobody.example.test",
                "no-such-name: no such name: db.lab",
                "no-such-name: no such name: www",
            ]
        );
        // The namespace's own nsswitch.conf counts, and only there.
        fs::write("/etc/netns/red/nsswitch.conf", "hosts: files\n").expect("write");
        assert_eq!(
            briefly()[..3],
            [
                "no-such-name: no such name: www.example.test",
                "no-such-name: no such name: www.example.test.",
                "no-such-name: no such name: www"
            ]
        );
    });
}

#[test]
fn what_servers_do_instead_of_answering_is_said() {
    in_sandbox(|| {
        let checks = "  - { from: blue, resolve: www.example.test, within: 2500ms }\n";
        // Nobody listens.
        let said = brief(&tried(checks)[0]);
        assert_eq!(
            said,
            "no-server: no server answered: 10.1.0.1 has nobody who listens"
        );
        // The first has nobody who listens, and the second is silent.
        let silent = "nameserver 10.1.0.2\nnameserver 10.1.0.1\noptions timeout:1 attempts:1\n";
        fs::write("/etc/netns/blue/resolv.conf", silent).expect("write");
        serve("host", "10.1.0.1", |_| Vec::new());
        let said = &briefly()[0];
        assert!(
            said.contains("10.1.0.2 has nobody who listens, 10.1.0.1 gave no answer"),
            "{said}"
        );
        // The time is over before it is the second's turn.
        let patient = "nameserver 10.1.0.1\nnameserver 10.1.0.2\noptions timeout:9\n";
        fs::write("/etc/netns/blue/resolv.conf", patient).expect("write");
        let said = &briefly()[0];
        assert!(
            said.contains("10.1.0.1 gave no answer, 10.1.0.2 was not asked in time"),
            "{said}"
        );
    });
}

#[test]
fn a_second_server_is_asked_when_the_first_cannot_tell() {
    in_sandbox(|| {
        let checks = "  - { from: blue, resolve: www.example.test }\n";
        tried(checks);
        serve("host", "10.1.0.1", |query| vec![answer(query, 0x8182, &[])]);
        let said = &briefly()[0];
        assert!(
            said.contains("10.1.0.1 said that it failed (SERVFAIL)"),
            "{said}"
        );
        sh("ip addr add 10.1.0.3/24 dev to-blue").ok();
        serve("host", "10.1.0.3", |query| {
            let records = if is_for_ipv4(query) {
                vec![record([10, 9, 9, 9])]
            } else {
                vec![]
            };
            vec![answer(query, 0x8180, &records)]
        });
        fs::write(
            "/etc/netns/blue/resolv.conf",
            "nameserver 10.1.0.1\nnameserver 10.1.0.3\n",
        )
        .expect("write");
        assert_eq!(briefly(), ["ok 10.9.9.9"]);
        // A name without any address is not a name that isn't there.
        fs::write("/etc/netns/blue/resolv.conf", "nameserver 10.1.0.4\n").expect("write");
        sh("ip addr add 10.1.0.4/24 dev to-blue").ok();
        serve("host", "10.1.0.4", |query| vec![answer(query, 0x8180, &[])]);
        assert_eq!(briefly(), ["no-address: www.example.test has no address"]);
    });
}

#[test]
fn an_answer_that_is_none_is_waited_past_and_one_that_is_cut_is_asked_for_again() {
    in_sandbox(|| {
        tried("  - { from: blue, resolve: www.example.test }\n");
        serve("host", "10.1.0.1", |query| {
            let real = answer(query, 0x8180, &[record([10, 9, 9, 9])]);
            let forged = answer(query, 0x8180, &[record([6, 6, 6, 6])]);
            let mut other_number = forged.clone();
            other_number[0] ^= 0x55;
            let mut other_name = forged.clone();
            other_name[13] = b'x';
            let mut circle = forged.clone();
            let at = query.len();
            circle[at..at + 2].copy_from_slice(&[0xc0, u8::try_from(at).expect("short")]);
            let cut = forged[..forged.len() - 1].to_vec();
            let records = if is_for_ipv4(query) {
                real
            } else {
                answer(query, 0x8180, &[])
            };
            vec![other_number, other_name, circle, cut, Vec::new(), records]
        });
        assert_eq!(briefly(), ["ok 10.9.9.9"]);
        sh("ip addr add 10.1.0.3/24 dev to-blue").ok();
        fs::write("/etc/netns/blue/resolv.conf", "nameserver 10.1.0.3\n").expect("write");
        serve("host", "10.1.0.3", |query| vec![answer(query, 0x8380, &[])]);
        let listener = listen("host", "10.1.0.3:53");
        std::thread::spawn(move || {
            for mut caller in listener.incoming().flatten() {
                let mut length = [0; 2];
                caller.read_exact(&mut length).expect("a length");
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                caller.read_exact(&mut query).expect("a query");
                let many: Vec<_> = (1..200).map(|last| record([10, 8, 8, last])).collect();
                let records = if is_for_ipv4(&query) { many } else { vec![] };
                let whole = answer(&query, 0x8180, &records);
                let length = u16::try_from(whole.len()).expect("short").to_be_bytes();
                // In pieces, as it may come.
                for piece in [&length[..1], &length[1..], &whole[..20], &whole[20..]] {
                    caller.write_all(piece).expect("written");
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            }
        });
        let said = &briefly()[0];
        assert!(
            said.starts_with("ok 10.8.8.1 10.8.8.2") && said.ends_with("10.8.8.199"),
            "{said}"
        );
    });
}

#[test]
fn a_query_that_is_lost_is_asked_again_and_one_family_is_enough() {
    in_sandbox(|| {
        tried("  - { from: blue, resolve: www.example.test }\n");
        // The first query of each kind is lost.
        let seen = std::sync::Mutex::new(Vec::new());
        serve("host", "10.1.0.1", move |query| {
            let kind = is_for_ipv4(query);
            let mut seen = seen.lock().expect("a lock");
            if !seen.contains(&kind) {
                seen.push(kind);
                return Vec::new();
            }
            let records = if kind {
                vec![record([192, 0, 2, 1])]
            } else {
                Vec::new()
            };
            vec![answer(query, 0x8180, &records)]
        });
        let began = std::time::Instant::now();
        assert_eq!(briefly(), ["ok 192.0.2.1"]);
        assert!(began.elapsed().as_millis() < 1500, "{:?}", began.elapsed());
    });
    in_sandbox(|| {
        tried("  - { from: blue, resolve: www.example.test }\n");
        // One that never says anything about IPv6.
        serve("host", "10.1.0.1", |query| {
            let known =
                is_for_ipv4(query).then(|| answer(query, 0x8180, &[record([192, 0, 2, 1])]));
            known.into_iter().collect()
        });
        let began = std::time::Instant::now();
        assert_eq!(briefly(), ["ok 192.0.2.1"]);
        assert!(began.elapsed().as_millis() < 1000, "{:?}", began.elapsed());
    });
}
