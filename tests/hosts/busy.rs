//! Others who change the host while netform reads it and changes it.

use super::common::{in_sandbox, netform, sh};
use super::{SPEC, write_gateway};

#[test]
fn what_others_add_and_remove_all_the_time_disturbs_nothing() {
    in_sandbox(|| {
        write_gateway();
        sh("for i in $(seq 20); do echo \"link add busy$i type veth peer name peer$i\"; echo \"addr add 10.77.$i.1/24 dev busy$i\"; \
echo \"link set busy$i up\"; done > /run/add
for i in $(seq 20); do echo \"link del busy$i\"; done > /run/del
for i in $(seq 20); do echo \"rule add pref $((20000 + i)) fwmark $i table 77\"; done > /run/rules
for i in $(seq 20); do echo \"rule del pref $((20000 + i)) fwmark $i table 77\"; done > /run/norules")
        .ok();
        // It is a process of this private host, and ends with it.
        sh("cat > /run/busy.sh <<'EOF'
while [ ! -e /run/quiet ]; do
  ip -batch /run/add; ip -batch /run/rules
  nft 'add table ip busy; add chain ip busy f { type filter hook forward priority 9; }; add rule ip busy f accept'
  nft delete table ip busy
  ip -batch /run/del; ip -batch /run/norules
  echo >> /run/rounds
done
EOF
sh /run/busy.sh >/dev/null 2>&1 &
while ! [ -s /run/rounds ]; do sleep 0.02; done")
        .ok();
        for _ in 0..30 {
            netform(&["apply", "-f", SPEC, "--yes"]).ok();
            netform(&["plan", "-f", SPEC, "--detailed-exitcode"]).ok();
            netform(&["destroy", "odd", "--yes"]).ok();
        }
        let rounds = sh("touch /run/quiet; wc -l < /run/rounds").ok();
        let rounds: u32 = rounds.trim().parse().expect("a number");
        assert!(rounds > 3, "it was quiet: {rounds}");
    });
}
