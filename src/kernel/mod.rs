//! The kernel: the only room that reads it and changes it.
//!
//! [`Kernel::observe`] reads what a topology concerns into a [`State`], and [`Kernel::execute`] does what
//! a [`Plan`] says. Nothing here decides anything. What belongs to whom stands in the kernel itself, and
//! in `/run/netform` what it can't say.
//!
//! Each namespace has a socket of its own, which is opened inside of it and used from outside; requests
//! go out many a datagram. Numbers of links never leave this room.

mod adoption;
mod assemble;
mod births;
mod codec;
mod config;
mod conntrack;
mod creation;
mod deaths;
pub mod doors;
mod encode;
pub mod enter;
mod error;
mod execute;
mod external;
mod facts;
mod file;
mod firewall;
pub(crate) mod fuzz;
mod inmates;
mod journal;
mod kept;
mod lock;
mod lost;
pub mod namespace;
pub mod nftables;
mod observe;
mod outbox;
mod peers;
mod ports;
mod probe;
mod processes;
mod programs;
mod provenance;
mod read;
mod record;
mod rename;
mod rules;
mod see;
mod settings;
mod snapshot;
mod socket;
mod space;
mod survey;
mod sysctl;
mod tables;
mod tag;
pub mod trace;
pub mod traffic;
pub mod walk;
mod witness;
mod writer;
mod xtables;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CapabilitySet;

pub use self::error::{Error, Failure};
pub use self::lock::Lock;
pub use self::provenance::Provenance;
pub(crate) use self::read::{ifa, ifla, rta};
pub use self::snapshot::Snapshot;
pub(crate) use self::socket::{Requests, Socket};

use self::record::Membership;
use self::space::{Doors, Space};
use crate::plan::{Conflict, Plan, Warning};
use crate::resource::name::{NamespaceName, TopologyName};
use crate::resource::sysctl::Sysctl;
use crate::resource::{Id, Ns};
use crate::state::{External, Facts, State, Survey};

/// Descriptors that are kept free for everything but the sockets of namespaces.
const SPARE: u64 = 128;

/// How long to wait for another netform.
const PATIENCE: Duration = Duration::from_secs(10);

/// The kernel of this machine, seen from the network namespace that it was opened in, the host.
pub struct Kernel {
    doors: Doors,
    /// How many sockets may be kept open.
    room: usize,
    spaces: BTreeMap<Ns, Space>,
    /// What was read of the host and of external namespaces for [`Kernel::facts`], and the inode of each:
    /// the next observation begins with it.
    found: BTreeMap<Ns, (read::Reading, u64)>,
    /// What the last observation read of namespaces, and what for, if it is kept: what a plan doesn't touch needn't be read
    /// again to see what became of it.
    recent: Option<BTreeMap<Ns, Recent>>,
    /// What the observation that is being made asked for.
    asked: BTreeMap<Ns, observe::Wanted>,
    /// What there is to be read again. None: everything.
    touched: Option<BTreeSet<Ns>>,
    /// The renaming that is planned: what is read is told as if it were done.
    renaming: Option<rename::Renaming>,
    /// The namespaces that plans have removed, until that is sure.
    kept: BTreeMap<NamespaceName, OwnedFd>,
    /// What was taken over, as it was before.
    was: BTreeMap<Id, adoption::Was>,
    /// What the last observation means for the record.
    last: Option<Account>,
}

/// What was read of a namespace.
struct Recent {
    seen: observe::Seen,
    wanted: observe::Wanted,
}

/// What an observation means for the record of its topology.
struct Account {
    topology: TopologyName,
    /// What the record names and was not found.
    gone: BTreeSet<Id>,
    /// The links that the record has as ports, and that are not.
    left: BTreeSet<Membership>,
    /// What of the topology's is in external namespaces, and on loan there.
    abroad: BTreeSet<Id>,
    /// What a record that is lost should say.
    lost: lost::Left,
}

impl Kernel {
    /// Opens it for reading and changing. The limit of open files of this process is raised as far as
    /// it may go, because each namespace takes a socket.
    ///
    /// Fails with [`Error::Privilege`] without `CAP_NET_ADMIN` and `CAP_SYS_ADMIN`.
    pub fn open() -> Result<Kernel, Error> {
        require(&[
            (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
            (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
        ])?;
        Ok(Kernel {
            doors: Doors {
                host: namespace::open_own()?,
                external: BTreeMap::new(),
                names: space::Names::default(),
            },
            room: raise_limit(),
            spaces: BTreeMap::new(),
            found: BTreeMap::new(),
            recent: None,
            asked: BTreeMap::new(),
            touched: None,
            renaming: None,
            kept: BTreeMap::new(),
            was: BTreeMap::new(),
            last: None,
        })
    }

    /// Takes the right to change the network, of which there is one on this machine. Waits up to 10
    /// seconds for another netform to end.
    pub fn lock(&self) -> Result<Lock, Error> {
        self.lock_within(PATIENCE)
    }

    /// The same, waiting for as long as `patience`.
    pub fn lock_within(&self, patience: Duration) -> Result<Lock, Error> {
        Lock::take(patience)
    }

    /// What lowering must know of the host, and of the external namespaces of a spec.
    ///
    /// Fails with [`Error::NoExternal`], [`Error::NotNetwork`] and [`Error::SameNamespace`] where one of
    /// these can't be worked in.
    pub fn facts(&mut self, external: &External) -> Result<Facts, Error> {
        let (mut facts, seen) = facts::facts(self, external)?;
        see::remember(self, seen);
        if let Some(renaming) = &self.renaming {
            renaming.facts(&mut facts);
        }
        Ok(facts)
    }

    /// Has everything be told from now on as if topology `old` were called `new` already, until
    /// [`Kernel::rename`] makes it so.
    ///
    /// Fails with [`Error::NoTopology`] and [`Error::Taken`].
    pub fn intend_to_rename(
        &mut self,
        old: &TopologyName,
        new: &TopologyName,
    ) -> Result<(), Error> {
        let (old, new) = (old.clone(), new.clone());
        let renaming = rename::Renaming { old, new };
        rename::check(self, &renaming)?;
        self.renaming = Some(renaming);
        Ok(())
    }

    /// Renames a topology: its tags and its record. Nothing else of it changes, and its tables are replaced
    /// at once.
    pub fn rename(&mut self, old: &TopologyName, new: &TopologyName) -> Result<(), Error> {
        self.renaming = None;
        let (old, new) = (old.clone(), new.clone());
        rename::rename(self, &rename::Renaming { old, new })
    }

    /// Adds to what lowering must know which rules others have that packets through a gateway come by. It is of no use
    /// where there is no gateway, and takes a while where there are many rules.
    pub fn look_at_firewalls(&self, facts: &mut Facts) {
        firewall::look(self, facts);
    }

    /// Reads what a topology concerns: the host, the namespaces of `desired`, and those that the
    /// topology made before, or had something in. Namespaces that don't exist are absent.
    pub fn observe(&mut self, topology: &TopologyName, desired: &State) -> Result<State, Error> {
        let Some(renaming) = self.renaming.clone().filter(|r| r.new == *topology) else {
            return self.observe_as(topology, desired);
        };
        let mut state = self.observe_as(&renaming.old, desired)?;
        renaming.state(&mut state);
        Ok(state)
    }

    /// The same, and without regard to a renaming.
    fn observe_as(&mut self, topology: &TopologyName, desired: &State) -> Result<State, Error> {
        let (state, account) = observe::observe(self, topology, desired)?;
        self.last = Some(account);
        Ok(state)
    }

    /// The same, after a plan was done: what neither its operations nor the links at whose other ends they are have to do with
    /// is taken for what it was when it was read last, if [`Kernel::begin_to_change`] was called before that.
    pub fn observe_after(
        &mut self,
        plan: &Plan,
        topology: &TopologyName,
        desired: &State,
    ) -> Result<State, Error> {
        self.touched = Some(plan.concerns().cloned().collect());
        let state = self.observe(topology, desired);
        self.touched = None;
        state
    }

    /// Has what is read be kept for [`Kernel::observe_after`].
    pub fn begin_to_change(&mut self) {
        self.recent = Some(BTreeMap::new());
    }

    /// The values of settings of what [`Kernel::observe`] read last. Those that came with links are as they were then; others are
    /// read now. One that isn't there is left out: IPv6 on a link with a small MTU.
    pub fn settings(&mut self, wanted: Vec<Id>) -> Result<BTreeMap<Id, Sysctl>, Error> {
        see::settings(self, wanted)
    }

    /// Reads all namespaces that have a name, and the host, as `topology` would see them, and what else there is to
    /// tell of them.
    pub fn survey(&mut self, topology: &TopologyName) -> Result<Survey, Error> {
        survey::survey(self, topology)
    }

    /// Has a survey be as another topology sees it.
    pub fn see_as(&mut self, survey: &mut Survey, topology: &TopologyName) -> Result<(), Error> {
        survey::see_as(self, survey, topology)
    }

    /// What this kernel lacks for the links that a plan makes, each with the place of the first operation that
    /// needs it: [`Error::NoKind`] and [`Error::NoSetting`]. Nothing is changed to find out, but the kernel may load
    /// a module.
    pub fn lacking(&self, plan: &Plan) -> Vec<(usize, Error)> {
        probe::lacking(plan)
    }

    /// Whose the things seem to be that stand in the way of a plan, in the order of the conflicts. None: what
    /// it is says so itself.
    pub fn provenances(
        &mut self,
        conflicts: &[Conflict],
    ) -> Result<Vec<Option<Provenance>>, Error> {
        provenance::provenances(self, conflicts)
    }

    /// What to say of the processes inside of the namespaces that a plan removes.
    pub fn inmates(&self, plan: &Plan) -> Result<Vec<Warning>, Error> {
        inmates::inmates(self, plan)
    }

    /// Does what a plan says, and keeps the record; also a plan without operations has it forget what
    /// is gone. Operations that don't depend on each other may be done in another order
    /// than the plan's, many at once. The plan must come from what [`Kernel::observe`] read last.
    pub fn execute(&mut self, plan: &Plan) -> Result<(), Failure> {
        self.execute_telling(plan, &mut |_| {}, &|| false)?;
        self.commit();
        Ok(())
    }

    /// The same. `tell` hears now and then how many operations are done. Once `stop` says so, what is on its way is
    /// finished, and nothing more begun: that fails with [`Error::Stopped`]. Namespaces that are removed lose their names,
    /// and end with [`Kernel::commit`]; till then [`Kernel::bring_back`] has them back.
    pub fn execute_telling(
        &mut self,
        plan: &Plan,
        tell: &mut dyn FnMut(usize),
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        execute::execute(self, plan, tell, stop)
    }

    /// The topologies that have something on this machine, as `/run/netform` knows them.
    pub fn topologies() -> Result<BTreeSet<TopologyName>, Error> {
        record::names()
    }
}

/// Fails with [`Error::Privilege`] for the first capability that this process lacks.
fn require(needed: &[(CapabilitySet, &'static str)]) -> Result<(), Error> {
    let held = rustix::thread::capabilities(None)
        .map_err(|e| Error::call("read the capabilities of this process", e))?
        .effective;
    let mut lacking = needed.iter().filter(|(set, _)| !held.contains(*set));
    lacking.next().map_or(Ok(()), |(_, capability)| {
        Err(Error::Privilege { capability })
    })
}

/// Raises the soft limit of open files to the hard one, and says how many sockets that leaves room for.
fn raise_limit() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If it fails, the old limit holds, and fewer sockets are kept.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(now.saturating_sub(SPARE)).unwrap_or(usize::MAX)
}

/// Whether the running kernel is older than a release of Linux.
fn older_than(major: u32, minor: u32) -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next(), numbers.next()) < (Some(major), Some(minor))
}
