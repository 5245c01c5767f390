//! What a spec may say, and what it then means.

use std::net::IpAddr;

use netform::render::style::Colour;
use netform::resource::Ns;
use netform::spec::model::{Forwarding, Gateway, Gateways, Nat};
use netform::spec::{self, Spec, source::Source};

fn parse(texts: &[&str]) -> Result<Spec, String> {
    let sources: Vec<Source> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| Source::new(format!("{index}.yaml"), (*text).to_owned()))
        .collect();
    spec::parse(&sources).map_err(|found| {
        found
            .iter()
            .map(|diagnostic| diagnostic.render(&sources, Colour::Off))
            .collect()
    })
}

fn accept(text: &str) -> Spec {
    parse(&[&format!("version: 1\nname: lab\n{text}")]).unwrap_or_else(|shown| panic!("{shown}"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("it is an address")
}

#[test]
fn a_bare_address_has_the_length_of_its_subnet() {
    let spec = accept(
        "namespaces: { a: }
subnets:
  wide: { cidr: 10.0.0.0/8 }
  six: { cidr: fd00::/56 }
veths:
  - ends:
      - { namespace: a, name: v1, addresses: [10.1.2.3, 10.1.2.4/32, fd00::7] }
      - { namespace: host, name: v2 }
",
    );
    let [first, second] = &spec.veths[0].ends;
    let addresses: Vec<String> = first
        .addresses
        .iter()
        .map(|address| address.value.to_string())
        .collect();
    assert_eq!(addresses, ["10.1.2.3/8", "10.1.2.4/32", "fd00::7/56"]);
    assert!(second.addresses.is_empty());
    assert_eq!(second.ns.value, Ns::Host);
}

#[test]
fn an_mtu_is_that_of_the_end_or_of_the_veth_or_1500() {
    let spec = accept(
        "veths:
  - mtu: 9000
    ends: [{ namespace: host, name: v1, mtu: 1280 }, { namespace: host, name: v2, up: false }]
  - ends: [{ namespace: host, name: v3 }, { namespace: host, name: v4, mac: 0a:00:00:00:00:0F }]
",
    );
    let ends: Vec<_> = spec.veths.iter().flat_map(|veth| &veth.ends).collect();
    assert_eq!(
        ends.iter().map(|end| end.mtu).collect::<Vec<_>>(),
        [1280, 9000, 1500, 1500]
    );
    assert_eq!(
        ends.iter().map(|end| end.up).collect::<Vec<_>>(),
        [true, false, true, true]
    );
    let mac = ends[3].mac.map(|mac| mac.value.to_string());
    assert_eq!(mac.as_deref(), Some("0a:00:00:00:00:0f"));
}

#[test]
fn short_prefixes_and_first_addresses_are_fine_where_the_kernel_takes_them() {
    let spec = accept(
        "namespaces: { a: {}, b: {} }
subnets: { first: { cidr: fd00::/64, gateway: \"fd00::\" } }
veths:
  - ends:
      - { namespace: a, name: v1, addresses: [10.0.0.0/31, 10.9.9.9/32, fd01::/64, fd02::1/128] }
      - { namespace: b, name: v1, addresses: [10.0.0.1/31, \"fd00::\", 169.254.1.1/16] }
  - ends:
      - { namespace: a, name: v2, addresses: [10.9.9.9/32] }
      - { namespace: b, name: v2 }
",
    );
    // Policy routing needs the same address on two links.
    let [first, second] = [&spec.veths[0], &spec.veths[1]].map(|veth| &veth.ends[0].addresses);
    assert_eq!(first[1].value, second[0].value);
}

#[test]
fn a_namespace_says_which_gateways_it_gets() {
    let spec = accept(
        "namespaces:
  a: { gateway: [lab, 'fd00::9'] }
  b: { gateway: none, forwarding: ipv6 }
  host: { forwarding: true }
subnets:
  lab: { cidr: 10.0.0.0/24, gateway: 10.0.0.1, egress: { masquerade: false } }
  other: { cidr: 10.1.0.0/24, gateway: 10.1.0.1 }
veths:
  - ends:
      - { namespace: a, name: v1, addresses: [10.0.0.2, 10.1.0.2, 'fd00::2/64'] }
      - { namespace: host, name: v1, addresses: [10.0.0.1] }
  - ends:
      - { namespace: b, name: v1, addresses: [10.0.0.3/32, 10.1.0.3] }
      - { namespace: host, name: v2 }
",
    );
    let [a, b] = ["a", "b"].map(|name| &spec.namespaces[name]);
    let Some(Gateways::Through(through)) = &a.gateway else {
        panic!("{:?}", a.gateway)
    };
    let gateways: Vec<&Gateway> = through.iter().map(|gateway| &gateway.value).collect();
    let lab = "lab".parse().expect("it is a name");
    assert_eq!(
        gateways,
        [&Gateway::Subnet(lab), &Gateway::Address(ip("fd00::9"))]
    );
    assert_eq!(b.gateway, Some(Gateways::None));
    let said = |namespace: &spec::model::Namespace| namespace.forwarding.map(|said| said.value);
    assert_eq!(said(a), None);
    assert_eq!(said(b), Some(Forwarding::Ipv6));
    assert_eq!(spec.host.as_ref().and_then(said), Some(Forwarding::Both));
    let egress = spec.subnets["lab"].egress.as_ref().expect("it is there");
    assert_eq!((egress.dev.as_ref(), egress.nat), (None, Nat::None));
}

#[test]
fn a_resolver_has_servers_domains_and_options() {
    let spec = accept(
        "namespaces:
  a:
    dns:
      nameservers: [192.0.2.1, '2001:db8::1', 127.0.0.1]
      search: [example.org, .]
      options: ['ndots:2', edns0]
",
    );
    let dns = spec.namespaces["a"].dns.as_ref().expect("it is there");
    let servers: Vec<IpAddr> = dns.nameservers.iter().map(|server| server.value).collect();
    assert_eq!(
        servers,
        [ip("192.0.2.1"), ip("2001:db8::1"), ip("127.0.0.1")]
    );
    let words = |list: &[spec::source::Spanned<String>]| {
        list.iter()
            .map(|word| word.value.clone())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(words(&dns.search), "example.org .");
    assert_eq!(words(&dns.options), "ndots:2 edns0");
}

#[test]
fn anchors_aliases_and_merge_keys_save_writing() {
    let spec = accept(
        "x-end: &end { namespace: a, mtu: 1400, up: false }
x-more: &more { up: true, mac: 02:00:00:00:00:01 }
x-name: &name v1
namespaces: &all
  a: {}
  x-template: { gateway: none }
  description: both of them
veths:
  - description: one pair
    x-owner: somebody
    ends:
      - { <<: [*end, *more], name: *name, mtu: 1300 }
      - <<: *end
        name: !!str 1
",
    );
    let [first, second] = &spec.veths[0].ends;
    assert_eq!(
        (first.mtu, first.up, first.name.value.as_str()),
        (1300, false, "v1")
    );
    assert!(first.mac.is_some() && second.mac.is_none());
    assert_eq!((second.mtu, second.name.value.as_str()), (1400, "1"));
    assert_eq!(spec.namespaces.len(), 1);
}

#[test]
fn files_merge() {
    let first = "version: 1\nname: lab\nnamespaces: { a: {} }
subnets: { s: { cidr: 10.0.0.0/24 } }
veths: [{ ends: [{ namespace: a, name: v1 }, { namespace: host, name: v1 }] }]\n";
    let second = "\u{feff}version: 1\r\nname: lab\r\nnamespaces:\r\n  b:\r\n
veths: [{ ends: [{ namespace: b, name: v1 }, { namespace: a, name: v2, addresses: [10.0.0.1] }] }]";
    let spec = parse(&[first, second]).unwrap_or_else(|shown| panic!("{shown}"));
    let names: Vec<&str> = spec.namespaces.keys().map(AsRef::as_ref).collect();
    assert_eq!(names, ["a", "b"]);
    let ends: Vec<&str> = spec
        .veths
        .iter()
        .map(|veth| veth.ends[0].ns.value.name())
        .map(|name| name.map_or("host", AsRef::as_ref))
        .collect();
    assert_eq!(ends, ["a", "b"]);
    assert_eq!(spec.veths[1].ends[1].name.span.source, 1);
}

#[test]
fn a_spec_can_be_empty_and_bring_its_document_marks() {
    let spec =
        parse(&["%YAML 1.2\n---\n# A remark.\nname: lab\nversion: 1\nnamespaces:\nveths:\n...\n"]);
    let spec = spec.unwrap_or_else(|shown| panic!("{shown}"));
    assert!(spec.namespaces.is_empty() && spec.veths.is_empty() && spec.host.is_none());
}

#[test]
fn names_that_look_like_something_else_are_keys_all_the_same() {
    let spec = accept("namespaces: { 1: {}, yes: {}, true: {}, x: {}, \"a:b\": {} }\n");
    let names: Vec<&str> = spec.namespaces.keys().map(AsRef::as_ref).collect();
    assert_eq!(names, ["1", "a:b", "true", "x", "yes"]);
}

#[test]
fn one_run_finds_all_errors_of_all_files() {
    let found = |texts: &[&str]| {
        let shown = parse(texts).expect_err("something is wrong");
        shown.matches("error: ").count()
    };
    let first = "version: 2\nname: Lab\nnamespaces: { a: { dns: {} } }\nveths: [{ ends: [] }]\n";
    assert_eq!(found(&[first]), 4);
    assert_eq!(
        found(&[first, "version: 1\nname: [lab]\nsubnets: { s: {} }\n"]),
        6
    );
    assert_eq!(found(&[first, "\tversion: 1"]), 5);
}

#[test]
fn a_spec_may_require_this_release_or_an_older_one() {
    for release in [env!("CARGO_PKG_VERSION"), "0.0.9", "0.1"] {
        accept(&format!("requires: \"{release}\"\n"));
    }
}

#[test]
fn a_newer_release_is_all_that_is_said_of_several_files() {
    let first = "version: 1\nname: lab\nunknown: 1\n";
    let shown = parse(&[first, "version: 1\nrequires: '99.0'\n"]).expect_err("too old");
    assert!(shown.contains("needs netform 99.0"), "{shown}");
    assert!(!shown.contains("unknown"), "{shown}");
}

#[test]
fn a_sysctl_agrees_with_forwarding_or_is_not_about_it() {
    let spec = accept(
        "namespaces:
  r:
    forwarding: ipv4
    sysctls:
      net.ipv4.ip_forward: true
      net.ipv4.conf.lo.forwarding: 1
      net.ipv6.conf.all.forwarding: 0
      net/ipv4/conf/lo/arp_notify: '1'
",
    );
    let values: Vec<String> = spec
        .namespaces
        .values()
        .flat_map(|namespace| &namespace.sysctls)
        .map(|setting| format!("{}={}", setting.key.value, setting.value.value))
        .collect();
    assert_eq!(
        values,
        [
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.lo.forwarding=1",
            "net.ipv6.conf.all.forwarding=0",
            "net.ipv4.conf.lo.arp_notify=1",
        ]
    );
}

#[test]
fn a_check_is_what_is_written_and_those_of_several_files_come_one_after_the_other() {
    let first = "version: 1\nname: lab\nnamespaces: { a: }\nchecks:
  - { from: a, ping: 10.0.0.1 }
  - { from: host, tcp: \"[fd00::2]:80\", expect: fail, within: 500ms, name: a <wall>, description: x, x-y: 1 }
";
    let second = "version: 1\nname: lab\nchecks:
  - { from: a, tcp: db.lab:5432, within: 10 }
  - { from: a, resolve: www.example.test., expect: ok }
  - { from: a, ping: \"fd00::2\" }
";
    let spec = parse(&[first, second]).unwrap_or_else(|shown| panic!("{shown}"));
    let said = spec.checks.iter().map(|check| {
        let name = check.name.as_ref().map_or("", |name| &name.value);
        format!(
            "{} {} {} {} {:?} {name}",
            check.from.value,
            check.what.verb(),
            check.what,
            check.expect.word(),
            check.within,
        )
    });
    assert_eq!(
        said.collect::<Vec<_>>(),
        [
            "a ping 10.0.0.1 ok 3s ",
            "host tcp [fd00::2]:80 fail 500ms a <wall>",
            "a tcp db.lab:5432 ok 10s ",
            "a resolve www.example.test. ok 3s ",
            "a ping fd00::2 ok 3s ",
        ]
    );
}
