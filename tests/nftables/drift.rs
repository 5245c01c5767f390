//! What somebody changes by hand is seen, said, and mended.

use netform::kernel::nftables::{NfSocket, TableChange};
use netform::resource::nftables::diff::{Change, diff};
use netform::resource::nftables::{Statement, Table};

use super::gateways::{everything, seed};
use super::nft::{in_sandbox, load, nft};

/// Makes the table of the smallest topology, lets `meddle` change it, and checks that the way back is
/// seen as `expected`, and that going it mends everything.
fn mended(meddle: impl FnOnce() + Send + 'static, expected: &'static [&'static str]) {
    in_sandbox(move || {
        let wanted = seed().table().expect("it needs one");
        let mut socket = NfSocket::open().expect("a socket");
        socket
            .apply(&[TableChange::Create(wanted.clone())])
            .expect("the kernel takes it");
        meddle();
        let found = socket
            .read(&wanted.name)
            .expect("it is read")
            .expect("it is there");
        assert_ne!(found, wanted);
        let lines = lines(&found, &wanted);
        let all = lines.len() == expected.len();
        let all = all
            && lines
                .iter()
                .zip(expected)
                .all(|(line, expected)| reads(line, expected));
        assert!(all, "{lines:#?} isn't {expected:#?}");
        mend(&mut socket, found, &wanted);
    });
}

/// Whether a line reads as expected, where `…` stands for what libnftnl says of an instruction.
fn reads(line: &str, expected: &str) -> bool {
    match expected.split_once('…') {
        Some((start, end)) => line.starts_with(start) && line.ends_with(end),
        None => line == expected,
    }
}

fn mend(socket: &mut NfSocket, found: Table, wanted: &Table) {
    let change = TableChange::Update {
        before: found,
        after: wanted.clone(),
    };
    socket.apply(&[change]).expect("the kernel takes it");
    let found = socket
        .read(&wanted.name)
        .expect("it is read")
        .expect("it is there");
    assert_eq!(found.to_string(), wanted.to_string());
    assert_eq!(&found, wanted);
}

/// A difference as text, without the line of the table itself.
fn lines(before: &Table, after: &Table) -> Vec<String> {
    let lines = diff(before, after, 5);
    let lines = lines.iter().filter(|line| line.depth > 0);
    let text = lines.map(|line| {
        let sign = match line.change {
            Change::Same => " ",
            Change::Added => "+",
            Change::Removed => "-",
            Change::More => "…",
        };
        format!("{sign} {}", line.text)
    });
    text.collect()
}

/// The handle of the first rule of a chain that has `text` in it.
fn handle(chain: &str, text: &str) -> String {
    let listed = nft(&format!("-a list chain inet netform-breezyfrost {chain}"));
    let line = listed
        .lines()
        .find(|line| line.contains(text))
        .expect("the rule is there");
    line.rsplit(' ').next().expect("it has a handle").to_owned()
}

#[test]
fn a_rule_deleted_is_put_back() {
    mended(
        || {
            let handle = handle("judge", "ct state");
            nft(&format!(
                "delete rule inet netform-breezyfrost judge handle {handle}"
            ));
        },
        &[
            "  chain judge {",
            "+ ct state vmap { invalid : drop, established : accept }",
        ],
    );
}

#[test]
fn a_verdict_changed_is_changed_back() {
    mended(
        || {
            let handle = handle("judge", "nobody outside");
            nft(&format!(
                "replace rule inet netform-breezyfrost judge handle {handle} counter accept"
            ));
        },
        &[
            "  chain judge {",
            "- counter accept",
            "+ counter drop comment \"nobody outside reaches a member\"",
        ],
    );
}

#[test]
fn a_verdict_of_a_state_changed_is_changed_back() {
    mended(
        || {
            let handle = handle("judge", "ct state");
            nft(&format!(
                "replace rule inet netform-breezyfrost judge handle {handle} \
                 ct state vmap {{ invalid : accept, established : accept }}"
            ));
        },
        &[
            "  chain judge {",
            "- ct state vmap { invalid : accept, established : accept }",
            "+ ct state vmap { invalid : drop, established : accept }",
        ],
    );
}

#[test]
fn an_element_added_is_removed() {
    mended(
        || {
            nft("add element inet netform-breezyfrost pass4 { \"veth1_p\" . \"eth9\" }");
        },
        &["  set pass4 {", "- element \"veth1_p\" . \"eth9\""],
    );
}

#[test]
fn a_set_flushed_is_filled_again() {
    mended(
        || {
            nft("flush set inet netform-breezyfrost sources4");
        },
        &["  set sources4 {", "+ element \"veth1_p\" . 192.168.50.2"],
    );
}

#[test]
fn an_element_that_stands_for_any_is_removed() {
    mended(
        || {
            nft("add element inet netform-breezyfrost links { * }");
        },
        &["  set links {", "- element *"],
    );
}

#[test]
fn a_set_made_again_with_a_limit_is_replaced() {
    mended(
        || {
            let judge = format!(
                "rule inet netform-breezyfrost judge handle {}",
                handle("judge", "untracked")
            );
            load(&format!(
                "flush chain inet netform-breezyfrost outbound\n\
                 replace {judge} accept\n\
                 delete set inet netform-breezyfrost masquerade4\n\
                 table inet netform-breezyfrost {{\n\
                 set masquerade4 {{\n\
                 type ifname . ifname\n\
                 size 2\n\
                 elements = {{ \"veth1_p\" . \"ens33\" }}\n\
                 }}\n\
                 chain outbound {{\n\
                 meta nfproto ipv4 iifname . oifname @masquerade4 masquerade\n\
                 }}\n\
                 }}\n\
                 replace {judge} meta nfproto ipv4 iifname . oifname @masquerade4 ct state vmap {{ untracked : drop }}\n",
            ));
        },
        &[
            "  set masquerade4 {",
            "- size 2",
            "+ comment \"from which link to which link sources are rewritten\"",
        ],
    );
}

#[test]
fn a_policy_changed_is_changed_back() {
    mended(
        || {
            nft("add chain inet netform-breezyfrost forwarding { policy drop ; }");
        },
        &[
            "  chain forwarding {",
            "- type filter hook forward priority filter; policy drop;",
            "+ type filter hook forward priority filter; policy accept;",
        ],
    );
}

#[test]
fn a_foreign_rule_is_removed_known_or_not() {
    mended(
        || {
            nft("insert rule inet netform-breezyfrost source ip saddr 10.0.0.0/8 accept");
            nft("insert rule inet netform-breezyfrost source ip6 daddr 2001:db8::/35 accept");
            nft("insert rule inet netform-breezyfrost source tcp dport 22 accept");
            nft("insert rule inet netform-breezyfrost judge limit rate 5/second accept");
        },
        &[
            "  chain judge {",
            "- [ limit … ] accept",
            "  chain source {",
            "- meta l4proto 6 th dport [ cmp reg 1 op 0 0x0016 ] accept",
            "- ip6 daddr 2001:db8::/35 accept",
            "- ip saddr 10.0.0.0/8 accept",
        ],
    );
}

#[test]
fn masquerade_with_a_flag_is_no_masquerade_of_ours() {
    mended(
        || {
            let handle = handle("outbound", "masquerade");
            nft(&format!(
                "replace rule inet netform-breezyfrost outbound handle {handle} \
                 meta nfproto ipv4 iifname . oifname @masquerade4 masquerade random"
            ));
        },
        &[
            "  chain outbound {",
            "- meta nfproto ipv4 iifname . oifname @masquerade4 [ masq … ]",
            "+ meta nfproto ipv4 iifname . oifname @masquerade4 masquerade",
        ],
    );
}

#[test]
fn a_lookup_turned_around_is_seen() {
    mended(
        || {
            let handle = handle("sources", "goto");
            nft(&format!(
                "replace rule inet netform-breezyfrost sources handle {handle} iifname != @links goto source"
            ));
        },
        &[
            "  chain sources {",
            "- iifname [ lookup … ] goto source",
            "+ iifname @links goto source",
        ],
    );
}

#[test]
fn a_chain_added_is_removed_and_one_flushed_is_filled() {
    mended(
        || {
            nft("add chain inet netform-breezyfrost extra");
            nft("flush chain inet netform-breezyfrost sources");
        },
        &[
            "- chain extra {",
            "  chain sources {",
            "+ iifname @links goto source",
        ],
    );
}

#[test]
fn a_table_put_to_sleep_is_woken() {
    mended(
        || {
            nft("add table inet netform-breezyfrost { flags dormant ; }");
        },
        &["- flags dormant"],
    );
}

#[test]
fn rules_in_another_order_are_put_in_order() {
    mended(
        || {
            let drop = handle("source", "no member");
            nft(&format!(
                "delete rule inet netform-breezyfrost source handle {drop}"
            ));
            nft(
                "insert rule inet netform-breezyfrost source counter drop comment \"no member's address\"",
            );
        },
        &[
            "  chain source {",
            "- counter drop comment \"no member's address\"",
            "+ counter drop comment \"no member's address\"",
        ],
    );
}

#[test]
fn counters_are_no_drift() {
    in_sandbox(|| {
        let wanted = seed().table().expect("it needs one");
        load(
            &wanted
                .to_string()
                .replace("counter", "counter packets 7 bytes 700"),
        );
        let mut socket = NfSocket::open().expect("a socket");
        assert!(nft("list table inet netform-breezyfrost").contains("packets 7 bytes 700"));
        assert_eq!(socket.read(&wanted.name).expect("it is read"), Some(wanted));
    });
}

#[test]
fn a_range_that_is_no_prefix_is_seen_and_removed() {
    in_sandbox(|| {
        let wanted = everything().table().expect("it needs one");
        let mut socket = NfSocket::open().expect("a socket");
        socket
            .apply(&[TableChange::Create(wanted.clone())])
            .expect("the kernel takes it");
        nft("add element inet netform-breezyfrost behind4 { \"eth2\" . 10.0.0.1-10.0.0.6 }");
        let found = socket
            .read(&wanted.name)
            .expect("it is read")
            .expect("it is there");
        assert_eq!(
            lines(&found, &wanted),
            [
                "  set behind4 {",
                "- element \"eth2\" . 0x0a000001-0x0a000006"
            ]
        );
        mend(&mut socket, found, &wanted);
    });
}

#[test]
fn what_others_made_is_not_written_as_if_it_were_understood() {
    in_sandbox(|| {
        let wanted = seed().table().expect("it needs one");
        let mut socket = NfSocket::open().expect("a socket");
        socket
            .apply(&[TableChange::Create(wanted.clone())])
            .expect("the kernel takes it");
        nft("insert rule inet netform-breezyfrost judge limit rate 5/second accept");
        let found = socket
            .read(&wanted.name)
            .expect("it is read")
            .expect("it is there");
        let unknown = |statement: &Statement| matches!(statement, Statement::Unknown(_));
        assert!(
            found.chains["judge"].rules[0]
                .statements
                .iter()
                .any(unknown)
        );
        let error = socket
            .apply(&[TableChange::Create(found.clone())])
            .expect_err("it can't");
        assert!(
            error.to_string().contains("was not made by netform"),
            "{error}"
        );
        assert_eq!(socket.read(&wanted.name).expect("it is read"), Some(found));
    });
}
