//! What was borrowed is given back, wherever a process that changed it was killed.

mod common;

use std::fs;

use common::{assert_same_world, in_sandbox, netform, sh, world};
use netform::kernel::Kernel;
use netform::plan::{Plan, plan};
use netform::resource::name::TopologyName;
use netform::spec::source::Source;
use netform::spec::{self, Spec};
use netform::state::State;

const RECORD: &str = "/run/netform/lab.json";

/// A namespace with a way out in both families. What is said of the host is written in the manner of YAML's flow.
fn lab(host: &str) -> Spec {
    let text = format!(
        "version: 1
name: lab
namespaces: {{ a: {{}}, host: {{ {host} }} }}
subnets:
  l4: {{ cidr: 10.7.0.0/24, gateway: 10.7.0.1, egress: {{}} }}
  l6: {{ cidr: 'fd07::/64', gateway: 'fd07::1', egress: {{}} }}
veths:
  - ends:
      - {{ namespace: a, name: eth0, addresses: [10.7.0.2, 'fd07::2'] }}
      - {{ namespace: host, name: to-a, addresses: [10.7.0.1, 'fd07::1'] }}
"
    );
    spec::parse(&[Source::new("lab.yaml", text)]).expect("valid")
}

/// The plan to a spec, or to nothing, from what is there.
fn planned(kernel: &mut Kernel, spec: Option<&Spec>) -> Plan {
    let topology = TopologyName::try_from("lab").expect("a name");
    let wanted = spec.map_or_else(State::new, |spec| {
        let facts = kernel.facts(&spec.external()).expect("facts");
        spec::lower(spec, &facts).expect("it fits this host").state
    });
    let observed = kernel.observe(&topology, &wanted).expect("observed");
    plan(&topology, &wanted, &observed).expect("nothing is in the way")
}

/// Gets to a spec, or to nothing, in one go, by a process of its own.
fn become_like(spec: Option<&Spec>) {
    let mut kernel = Kernel::open().expect("open");
    let plan = planned(&mut kernel, spec);
    kernel
        .execute(&plan)
        .unwrap_or_else(|failure| panic!("{failure:?}"));
}

/// Does the first operations of the way to a spec, or to nothing, and leaves the record as it is while that is
/// done. Whether there are so many.
fn is_killed_after(count: usize, spec: Option<&Spec>, record: &str) -> bool {
    let mut kernel = Kernel::open().expect("open");
    let mut part = planned(&mut kernel, spec);
    if count > part.operations.len() {
        return false;
    }
    part.operations.truncate(count);
    kernel
        .execute(&part)
        .unwrap_or_else(|failure| panic!("{count}: {failure:?}"));
    fs::create_dir_all("/run/netform").expect("a directory");
    fs::write(RECORD, record).expect("write");
    true
}

/// Tries all the places where one can be killed on the way to a spec, and on the way back.
fn given_back(host: &str, prepare: &str) {
    in_sandbox(|| {
        sh("ip netns add first; ip netns del first; mkdir /run/netform").ok();
        sh(prepare).ok();
        let spec = lab(host);
        let before = world();
        become_like(Some(&spec));
        // It is written before the first operation, and when a topology goes after the last.
        let record = fs::read_to_string(RECORD).expect("a record");
        assert!(record.contains("ens33"), "{record}");
        become_like(None);
        assert_same_world(&before, &world());
        let mut places = 0;
        while is_killed_after(places, Some(&spec), &record) {
            become_like(None);
            assert_same_world(&before, &world());
            // And where it is finished first.
            is_killed_after(places, Some(&spec), &record);
            become_like(Some(&spec));
            become_like(None);
            assert_same_world(&before, &world());
            places += 1;
        }
        assert!(places > 10, "{places}");
        for place in 0.. {
            become_like(Some(&spec));
            let killed = is_killed_after(place, None, &record);
            become_like(None);
            assert_same_world(&before, &world());
            if !killed {
                break;
            }
        }
    });
}

#[test]
fn forwarding_of_links_is_given_back_after_a_kill_at_each_step() {
    given_back("", "true");
}

#[test]
fn the_switch_and_other_settings_are_given_back_after_a_kill_at_each_step() {
    let host =
        "forwarding: ipv4, sysctls: { net.ipv4.conf.ens33.rp_filter: 2, net.core.somaxconn: 5000 }";
    given_back(
        host,
        "ip link add d0 type veth peer name d1; sysctl -qw net.ipv4.conf.d0.forwarding=1",
    );
}

/// A record is written beside the old one before it takes its name. Who is killed just there may leave the draft of
/// a topology that has nothing yet.
#[test]
fn the_draft_of_a_record_goes_with_the_last_topology() {
    in_sandbox(|| {
        fs::write(
            "/run/lab.yaml",
            "version: 1\nname: lab\nnamespaces: { a: {} }\n",
        )
        .expect("written");
        let before = world();
        fs::create_dir("/run/netform").expect("a directory");
        fs::write("/run/netform/other.json.new", "{").expect("written");
        assert_eq!(
            netform(&["apply", "-f", "/run/lab.yaml", "--yes"]).status,
            0
        );
        assert_eq!(netform(&["destroy", "lab", "--yes"]).status, 0);
        assert_same_world(&before, &world());
    });
}
