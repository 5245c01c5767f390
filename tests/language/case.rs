//! Random specs one after the other, and what is said of the one that failed.

use fastrand::Rng;
use netform::spec::{self, Spec, source::Source};

use super::sketch::Sketch;

/// A number that a variable may give.
pub(crate) fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// What others have on the host, and nothing may touch.
pub(crate) const FOREIGN: &str = "
    ip netns add foreign
    ip link add name f0 type veth peer name f1 netns foreign
    ip link set f0 up
    ip address add 10.99.0.1/24 dev f0
    ip -6 address add fd99::1/64 dev f0 nodad
    ip route add 10.98.0.0/16 via 10.99.0.2
    ip rule add priority 5000 fwmark 0x77 lookup 77
    ip route add 10.97.0.0/16 via 10.99.0.2 table 77
    nft add table inet theirs
";

/// A case that fails says how to try it again, and what was done.
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) transition: u64,
    /// What was wanted, and what was done.
    pub(crate) text: String,
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Case {
                seed,
                transition,
                text,
            } = self;
            // Standard error is the test's, and not captured: this is another process than the runner's.
            let said = format!("NETFORM_SEED={seed}, transition {transition}\n{text}\n");
            let _ = rustix::io::write(rustix::stdio::stderr(), said.as_bytes());
        }
    }
}

/// The next valid spec: one that validates, and that this host has place for.
pub(crate) fn next(sketch: &mut Sketch, random: &mut Rng) -> (String, Spec) {
    for _ in 0..1000 {
        let mut other = sketch.clone();
        other.change(random);
        let text = other.spec();
        let source = Source::new("random.yaml", text.clone());
        if let Ok(spec) = spec::parse(&[source]) {
            *sketch = other;
            return (text, spec);
        }
    }
    panic!("no spec is valid:\n{}", sketch.spec());
}
