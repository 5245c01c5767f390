//! What is written is read back equal.

use netform::kernel::nftables::{NfSocket, TableChange};
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

/// Lines, with the elements of a set one a line and in order, and no `*` escaped in them: `nft` 1.0.6
/// forgets to.
fn unordered(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut elements: Option<Vec<String>> = None;
    for line in text.lines() {
        let (start, rest) = match line.split_once("elements = { ") {
            Some((_, rest)) => (true, rest),
            None => (false, line),
        };
        if start {
            elements = Some(Vec::new());
        }
        let Some(found) = &mut elements else {
            lines.push(line.trim_end().to_owned());
            continue;
        };
        let end = rest.trim_end().ends_with(" }");
        let rest = rest.trim().trim_end_matches(" }").trim_end_matches(',');
        found.extend(
            rest.split(", ")
                .map(|element| element.trim().replace("\\*", "*")),
        );
        if end {
            let mut found = elements.take().expect("it was begun");
            found.sort();
            lines.extend(found);
        }
    }
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
