//! A host with a member behind its gateway, and one without a way out, for checks to be tried on.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

use netform::kernel::namespace;
use serde_json::Value;

use crate::common::{Output, netform};

/// Where the spec is.
pub(crate) const SPEC: &str = "/run/lab.yaml";

/// What there is besides checks: `red` has a way out, and `blue` none, nor a name server that is there.
pub(crate) const TOPOLOGY: &str = r#"version: 1
name: lab
namespaces:
  red:
    dns: { nameservers: [198.51.100.53], search: [example.test] }
    hosts: { db.lab: 10.0.0.1, both.lab: ["fd00::1", 10.0.0.1] }
  blue:
    dns: { nameservers: [10.1.0.1], options: ["timeout:1", "attempts:1"] }
subnets:
  four: { cidr: 10.0.0.0/24, gateway: 10.0.0.1, egress: {} }
  six: { cidr: "fd00::/64", gateway: "fd00::1", egress: {} }
veths:
  - ends:
      - { namespace: red, name: eth0, addresses: [10.0.0.2, "fd00::2"] }
      - { namespace: host, name: to-red, addresses: [10.0.0.1, "fd00::1"] }
  - ends:
      - { namespace: blue, name: eth0, addresses: [10.1.0.2/24] }
      - { namespace: host, name: to-blue, addresses: [10.1.0.1/24] }
checks:
"#;

/// Writes a spec with checks.
pub(crate) fn write(checks: &str) {
    fs::write(SPEC, format!("{TOPOLOGY}{checks}")).expect("write");
}

/// Applies the topology with checks, and tries them.
pub(crate) fn tried(checks: &str) -> Vec<Value> {
    write(checks);
    netform(&["apply", "-f", SPEC, "--yes"]).ok();
    again()
}

/// Tries the checks of the spec.
pub(crate) fn again() -> Vec<Value> {
    let output = netform(&["check", "-f", SPEC, "-o", "json"]);
    let document: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", output.stdout, output.stderr));
    assert_eq!(document["format_version"], 1);
    let topology = &document["topologies"][0];
    let checks = topology["checks"].as_array().expect("checks").clone();
    let ok = checks.iter().all(|check| check["ok"] == true);
    assert_eq!((&document["ok"], &topology["ok"]), (&ok.into(), &ok.into()));
    assert_eq!(output.status, i32::from(!ok), "{output:?}");
    checks
}

/// The lines for a person.
pub(crate) fn text() -> Output {
    netform(&["check", "-f", SPEC])
}

/// What became of a check, in a few words: `ok 10.0.0.1`, or the reason and what is said.
pub(crate) fn brief(check: &Value) -> String {
    let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
    match check["result"].as_str() {
        Some("ok") => {
            let addresses = check["addresses"].as_array().expect("a list").iter();
            let addresses: Vec<&str> = addresses.filter_map(Value::as_str).collect();
            format!("ok {}", addresses.join(" "))
        }
        _ => format!("{}: {}", text("reason"), text("message")),
    }
}

/// Something that is opened inside of a namespace.
fn inside<T: Send>(ns: &str, open: impl FnOnce() -> std::io::Result<T> + Send) -> T {
    let door = match ns {
        "host" => namespace::open_own().expect("the host"),
        name => {
            let name = name.try_into().expect("a name");
            namespace::open(&name).expect("opened").expect("there")
        }
    };
    let opened = namespace::inside(door.as_fd(), || Ok(open()));
    opened.expect("inside").expect("a socket")
}

/// A port of a namespace that takes connections for as long as it lives.
pub(crate) fn listen(ns: &str, at: &str) -> TcpListener {
    inside(ns, || TcpListener::bind(at))
}

/// A name server in a namespace, which answers each query with what `answer` makes of it.
pub(crate) fn serve(ns: &str, ip: &str, answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
    let at = SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), 53);
    let socket = inside(ns, || UdpSocket::bind(at));
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, caller)) = socket.recv_from(&mut query) {
            for message in answer(&query[..length]) {
                let _ = socket.send_to(&message, caller);
            }
        }
    });
}

/// An answer to a query: flags, and records that follow its question.
pub(crate) fn answer(query: &[u8], flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2..4].copy_from_slice(&flags.to_be_bytes());
    let count = u16::try_from(records.len()).expect("few");
    bytes[6..8].copy_from_slice(&count.to_be_bytes());
    bytes.extend(records.concat());
    bytes
}

/// Whether a query is for IPv4 addresses.
pub(crate) fn is_for_ipv4(query: &[u8]) -> bool {
    query[query.len() - 4..][..2] == [0, 1]
}

/// An address of the name in the question.
pub(crate) fn record(ip: [u8; 4]) -> Vec<u8> {
    [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4][..], &ip].concat()
}
