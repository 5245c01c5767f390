//! What is written is read back equal.

use std::net::IpAddr;

use ipnet::IpNet;
use netform::kernel::nftables::{NfSocket, TableChange};
use netform::resource::Family;
use netform::resource::nftables::gateway::Nat;
use netform::resource::nftables::{Element, Table, Value};

use super::gateways::{everything, link, random, seed};
use super::nft::{in_sandbox, load, nft};

/// Writes a table and reads it back.
fn written(socket: &mut NfSocket, table: &Table) -> Table {
    socket
        .apply(&[TableChange::Create(table.clone())])
        .expect("the kernel takes it");
    socket
        .read(&table.name)
        .expect("the kernel tells it")
        .expect("it is there")
}

#[test]
fn the_seeds_table_is_read_back_equal() {
    in_sandbox(|| {
        let table = seed().table().expect("it needs one");
        let mut socket = NfSocket::open().expect("a socket");
        assert_eq!(written(&mut socket, &table).to_string(), table.to_string());
        assert_eq!(written(&mut socket, &table), table);
    });
}

#[test]
fn a_table_with_everything_is_read_back_equal() {
    in_sandbox(|| {
        let table = everything().table().expect("it needs one");
        let mut socket = NfSocket::open().expect("a socket");
        assert_eq!(written(&mut socket, &table).to_string(), table.to_string());
        assert_eq!(written(&mut socket, &table), table);
    });
}

#[test]
fn nft_lists_what_render_says() {
    in_sandbox(|| {
        for gateway in [seed(), everything()] {
            let table = gateway.table().expect("it needs one");
            let mut socket = NfSocket::open().expect("a socket");
            written(&mut socket, &table);
            let listed = nft(&format!("--stateless list table inet {}", table.name));
            assert_eq!(unordered(&listed), unordered(&table.to_string()));
        }
    });
}

#[test]
fn nft_reads_what_render_says() {
    in_sandbox(|| {
        let table = everything().table().expect("it needs one");
        load(&table.to_string());
        let mut socket = NfSocket::open().expect("a socket");
        let read = socket.read(&table.name).expect("the kernel tells it");
        assert_eq!(read.map(|table| table.to_string()), Some(table.to_string()));
    });
}

/// Lines in alphabetical order, elements of sets one a line, and no `*` escaped: versions of `nft` differ in
/// the order of what a set has, and 1.0.6 forgets to escape elements.
fn unordered(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut in_elements = false;
    for line in text.lines() {
        let rest = line.split_once("elements = { ").map(|(_, rest)| rest);
        in_elements |= rest.is_some();
        let line = rest.unwrap_or(line).trim().replace("\\*", "*");
        if in_elements {
            in_elements = !line.ends_with(" }");
            let line = line.trim_end_matches(" }").trim_end_matches(',');
            lines.extend(line.split(", ").map(|element| format!("element {element}")));
        } else {
            lines.push(line);
        }
    }
    lines.sort();
    lines
}

#[test]
fn random_tables_are_read_back_equal_and_become_each_other() {
    in_sandbox(|| {
        let seed = fastrand::u64(..);
        let mut source = fastrand::Rng::with_seed(seed);
        let mut socket = NfSocket::open().expect("a socket");
        let mut before: Option<Table> = None;
        for size in [1, 2, 3, 5, 8, 20, 50, 5000, 3, 700] {
            let Some(after) = random(&mut source, size).table() else {
                continue;
            };
            let change = match before.take() {
                None => TableChange::Create(after.clone()),
                Some(before) => TableChange::Update {
                    before,
                    after: after.clone(),
                },
            };
            if let Err(error) = socket.apply(&[change]) {
                panic!("seed {seed}: {error}");
            }
            let read = socket.read(&after.name).expect("the kernel tells it");
            let read = read.expect("it is there");
            assert!(read == after, "seed {seed}:\n{after}\n{read}");
            before = Some(after);
        }
    });
}

/// More than the kernel takes in one message of a process without privilege over the whole machine.
#[test]
fn twenty_thousand_members_are_read_back_equal_and_go_again() {
    in_sandbox(|| {
        let mut gateway = seed();
        let only = gateway.links.values_mut().next().expect("it has one");
        only.members
            .extend((0..20_000_u128).map(|last| IpAddr::V6((0xfd50 << 112 | last).into())));
        let large = gateway.table().expect("it needs one");
        let mut socket = NfSocket::open().expect("a socket");
        let read = written(&mut socket, &large);
        assert!(
            read == large,
            "{} elements",
            read.sets["sources6"].elements.len()
        );

        let mut small = large.clone();
        small
            .sets
            .get_mut("sources6")
            .expect("the set")
            .elements
            .clear();
        let change = TableChange::Update {
            before: large,
            after: small.clone(),
        };
        socket.apply(&[change]).expect("the kernel takes it");
        assert!(socket.read(&small.name).expect("it is read") == Some(small));
    });
}

#[test]
fn members_come_and_go_in_random_tables() {
    in_sandbox(|| {
        let seed = fastrand::u64(..);
        let mut source = fastrand::Rng::with_seed(seed);
        let mut socket = NfSocket::open().expect("a socket");
        for _ in 0..20 {
            let mut gateway = random(&mut source, 12);
            let mut before = gateway.table();
            socket
                .apply(
                    &before
                        .clone()
                        .map(TableChange::Create)
                        .into_iter()
                        .collect::<Vec<_>>(),
                )
                .expect("the kernel takes it");
            for _ in 0..5 {
                for link in gateway.links.values_mut() {
                    match source.u8(..5) {
                        4 => {
                            if let Some(egress) = link.egress.get_mut(&Family::Ipv4) {
                                egress.nat = Nat::Source(IpAddr::V4(source.u32(..).into()));
                            }
                        }
                        0 => {
                            link.members.pop_first();
                        }
                        1 => {
                            let ip = IpAddr::V4(source.u32(..).into());
                            link.members.insert(ip);
                            link.prefixes
                                .insert(IpNet::new(ip, source.u8(1..=32)).expect("a prefix"));
                        }
                        2 => {
                            link.members.insert(IpAddr::V6(source.u128(..).into()));
                        }
                        _ => {}
                    }
                }
                let (Some(old), Some(new)) = (before, gateway.table()) else {
                    break;
                };
                let change = TableChange::Update {
                    before: old,
                    after: new.clone(),
                };
                if let Err(error) = socket.apply(&[change]) {
                    panic!("seed {seed}: {error}");
                }
                let read = socket
                    .read(&new.name)
                    .expect("it is read")
                    .expect("it is there");
                assert!(read == new, "seed {seed}:\n{new}\n{read}");
                before = Some(new);
            }
        }
    });
}

#[test]
fn a_prefix_that_grows_over_itself_is_no_conflict() {
    in_sandbox(|| {
        let mut gateway = everything();
        let before = gateway.table().expect("it needs one");
        let mut socket = NfSocket::open().expect("a socket");
        written(&mut socket, &before);
        let existing = gateway.links.get_mut("eth1").expect("the link");
        // The sets stay the same ones; else the table would be made again anyway.
        let nets = ["10.1.0.0/16", "fd71::/64"];
        existing.prefixes = nets.map(|net| net.parse().expect("a prefix")).into();
        let after = gateway.table().expect("it needs one");
        let change = TableChange::Update {
            before,
            after: after.clone(),
        };
        socket.apply(&[change]).expect("the kernel takes it");
        assert_eq!(socket.read(&after.name).expect("it is read"), Some(after));
    });
}

#[test]
fn an_element_more_or_less_leaves_counters_alone() {
    in_sandbox(|| {
        let before = everything().table().expect("it needs one");
        let mut socket = NfSocket::open().expect("a socket");
        written(&mut socket, &before);
        let handles = nft(&format!("-a list table inet {}", before.name));

        let mut after = before.clone();
        let links = &mut after.sets.get_mut("links").expect("the set").elements;
        links.remove(&Element::of([Value::Link(link("br0"))]));
        links.insert(Element::of([Value::Link(link("tap7"))]));
        let change = TableChange::Update {
            before,
            after: after.clone(),
        };
        socket.apply(&[change]).expect("the kernel takes it");
        assert_eq!(
            socket.read(&after.name).expect("it is read"),
            Some(after.clone())
        );
        // Rules made again would have other handles.
        let rules = |text: &str| -> Vec<String> {
            let rule = |line: &&str| line.contains("# handle") && !line.contains("elements");
            text.lines().filter(rule).map(str::to_owned).collect()
        };
        let now = nft(&format!("-a list table inet {}", after.name));
        assert_eq!(rules(&handles), rules(&now));
    });
}

#[test]
fn nothing_of_a_refused_batch_is_applied_and_the_error_names_the_rule() {
    in_sandbox(|| {
        let mut socket = NfSocket::open().expect("a socket");
        let good = seed().table().expect("it needs one");
        let mut bad = good.clone();
        bad.name = "netform-bad".to_owned();
        bad.sets.remove("pass4");
        let changes = [TableChange::Create(good), TableChange::Create(bad)];
        let error = socket
            .apply(&changes)
            .expect_err("it looks up a set that isn't there");
        let text = error.to_string();
        assert!(
            text.starts_with(
                "can't create rule `meta nfproto ipv4 iifname . oifname @pass4 accept` of chain judge of \
                 table inet netform-bad: "
            ),
            "{text}"
        );
        assert_eq!(socket.tables().expect("they are read"), []);
    });
}

#[test]
fn tables_are_made_changed_and_removed_side_by_side() {
    in_sandbox(|| {
        load("table inet foreign {\n chain x {\n tcp dport 22 accept\n }\n }");
        let foreign = nft("list table inet foreign");
        let mut socket = NfSocket::open().expect("a socket");
        let one = seed().table().expect("it needs one");
        let mut two = everything();
        two.topology = "other".parse().expect("a topology's name");
        let two = two.table().expect("it needs one");
        let both = [
            TableChange::Create(one.clone()),
            TableChange::Create(two.clone()),
        ];
        socket.apply(&both).expect("the kernel takes them");
        let names: Vec<String> = socket
            .tables()
            .expect("they are read")
            .into_iter()
            .map(|table| table.name)
            .collect();
        assert_eq!(names, ["foreign", "netform-breezyfrost", "netform-other"]);
        assert_eq!(
            socket.read(&one.name).expect("it is read"),
            Some(one.clone())
        );
        assert_eq!(
            socket.read(&two.name).expect("it is read"),
            Some(two.clone())
        );

        socket
            .apply(&[TableChange::Remove(two.name.clone())])
            .expect("it goes");
        assert_eq!(socket.read(&two.name).expect("it is read"), None);
        assert_eq!(socket.read(&one.name).expect("it is read"), Some(one));
        assert_eq!(nft("list table inet foreign"), foreign);
        let error = socket
            .apply(&[TableChange::Remove(two.name)])
            .expect_err("it is gone");
        assert!(error.is_stale(), "{error}");
    });
}
