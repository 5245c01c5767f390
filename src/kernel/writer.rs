//! Links, addresses and routes: from operations to requests, and out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use super::codec::Verdict;
use super::creation::refused;
use super::encode::{self, Change, Verb};
use super::error::Error;
use super::execute::Failed;
use super::outbox::Outbox;
use super::peers::CHOSEN;
use super::rules::Rules;
use super::space::Known;
use super::{Kernel, adoption, namespace, sysctl, tag};
use crate::plan::{Action, Operation, Plan, Reason};
use crate::resource::address::{Address, AddressKey};
use crate::resource::link::Link;
use crate::resource::name::LinkName;
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Id, Key, Ns, Resource};

/// How long a route is tried again whose next hop isn't reachable yet, because the kernel has not noticed
/// that a new link has a carrier: by itself it notices about a hundred links a second.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Writes the requests of a plan.
pub(super) struct Writer<'p> {
    pub(super) plan: &'p Plan,
    /// The links that the plan makes.
    pub(super) creations: HashMap<&'p Id, &'p Link>,
    /// The operations on IPv6 addresses that a link is to take along when it goes down.
    falling: HashMap<&'p Id, Vec<usize>>,
    /// The number of the next link.
    next: u32,
    /// The links that went up, and that the kernel may not have seen the carrier of.
    risen: BTreeMap<Ns, Vec<u32>>,
    /// The links that have new ports, and that get their carrier from these.
    masters: BTreeMap<Ns, BTreeSet<u32>>,
    /// Whether a link went up at all.
    fresh: bool,
    /// Whether routes are tried again: the kernel is then asked for each link that they need.
    insists: bool,
}

/// The requests of one namespace while they are put together.
pub(super) struct Draft<'p> {
    pub(super) ns: &'p Ns,
    pub(super) outbox: Outbox,
    /// Links to be removed together.
    leaving: Vec<(usize, u32)>,
    /// New links that go up once their addresses are there: the kernel then walks fewer routes.
    pub(super) rising: Vec<(usize, u32, LinkName)>,
    /// IPv6 addresses with a peer, for which a link must be up: the kernel makes the route to the peer when
    /// they are added, and not when the link goes up (`fixup_permanent_addr` of `net/ipv6/addrconf.c`).
    late: Vec<(usize, u32, &'p AddressKey, &'p Address)>,
    /// The rules that are there, once one is written.
    rules: Option<Rules>,
}

impl<'p> Writer<'p> {
    pub(super) fn new(plan: &'p Plan) -> Writer<'p> {
        let creation = |operation: &'p Operation| match &operation.action {
            Action::Create(Resource::Link(link)) => Some((&operation.id, link)),
            _ => None,
        };
        let mut falling: HashMap<_, Vec<usize>> = HashMap::new();
        for (place, operation) in plan.operations.iter().enumerate() {
            let cause = match (&operation.action, &operation.with, &operation.reason) {
                (Action::Remove(_), Some(with), _) => with,
                (Action::Create(_), _, Some(Reason::Fell(cause))) => cause,
                _ => continue,
            };
            if matches!(&operation.id.key, Key::Address(key) if key.ip.is_ipv6()) {
                falling.entry(cause).or_default().push(place);
            }
        }
        Writer {
            plan,
            creations: plan.operations.iter().filter_map(creation).collect(),
            falling,
            next: fastrand::u32(CHOSEN..1 << 30),
            risen: BTreeMap::new(),
            masters: BTreeMap::new(),
            fresh: false,
            insists: false,
        }
    }

    /// Does a round of operations.
    pub(super) fn write(
        &mut self,
        kernel: &mut Kernel,
        round: &[usize],
        finished: &mut Vec<usize>,
    ) -> Result<(), Failed> {
        let mut by_ns: BTreeMap<&Ns, Vec<usize>> = BTreeMap::new();
        for place in round {
            let ns = &self.plan.operations[*place].id.ns;
            by_ns.entry(ns).or_default().push(*place);
        }
        for (ns, places) in by_ns {
            let mut draft = self.draft(kernel, ns, &places)?;
            let rising = std::mem::take(&mut draft.rising);
            let late = std::mem::take(&mut draft.late);
            self.send(kernel, ns, draft.outbox, places[0])?;
            if !rising.is_empty() {
                hush(kernel, ns, &rising)?;
                let mut outbox = self.rise(ns, rising);
                for (place, index, key, new) in late {
                    outbox.put(place, |r| encode::new_address(r, index, key, new));
                }
                self.send(kernel, ns, outbox, places[0])?;
            }
            finished.extend(places);
        }
        Ok(())
    }

    /// Has the kernel take notice of all links that went up, so that their IPv6 addresses are usable.
    pub(super) fn settle(&mut self, kernel: &mut Kernel) -> Result<(), Failed> {
        let spaces: BTreeSet<Ns> = self
            .risen
            .keys()
            .chain(self.masters.keys())
            .cloned()
            .collect();
        for ns in spaces {
            let mut outbox = Outbox::default();
            for index in self.unseen(&ns) {
                outbox.ask(0, index);
            }
            let socket = kernel.socket(&ns).map_err(general)?;
            // A link that was removed meanwhile needs nothing.
            outbox.send(socket, |_, _| true).map_err(general)?;
        }
        Ok(())
    }

    fn draft(
        &mut self,
        kernel: &mut Kernel,
        ns: &'p Ns,
        places: &[usize],
    ) -> Result<Draft<'p>, Failed> {
        let mut draft = Draft {
            ns,
            outbox: Outbox::default(),
            leaving: Vec::new(),
            rising: Vec::new(),
            late: Vec::new(),
            rules: None,
        };
        for place in places {
            self.operation(kernel, &mut draft, *place)
                .map_err(Failed::at(*place))?;
        }
        draft.leave();
        Ok(draft)
    }

    fn operation(
        &mut self,
        kernel: &mut Kernel,
        draft: &mut Draft<'p>,
        place: usize,
    ) -> Result<(), Error> {
        let operation = &self.plan.operations[place];
        if let (Key::Link(name), Action::Remove(_)) = (&operation.id.key, &operation.action) {
            let space = kernel.space(draft.ns)?;
            // One that went by itself meanwhile, with its peer's namespace, is gone as was asked for.
            if let Some(known) = space.links.remove(name) {
                draft.leaving.push((place, known.index));
            }
            return Ok(());
        }
        draft.leave();
        if let Some(transfer) = operation.transfer
            && self.transfer(kernel, draft, place, transfer)?
        {
            return Ok(());
        }
        match (&operation.id.key, &operation.action) {
            (Key::Link(name), Action::Create(Resource::Link(link))) => {
                self.create(kernel, draft, place, name, link)
            }
            (
                Key::Link(name),
                Action::Update {
                    before: Resource::Link(before),
                    after: Resource::Link(after),
                },
            ) => self.update(kernel, draft, place, name, (before, after)),
            (Key::Port(name), action) => self.port(kernel, draft, place, name, action),
            (Key::Address(key), action) => {
                let index = index_of(kernel, draft.ns, &key.link)?;
                let outbox = &mut draft.outbox;
                match action {
                    Action::Create(Resource::Address(new))
                        if new.peer.is_some_and(|peer| peer.is_ipv6())
                            && draft.rising.iter().any(|(_, rising, _)| *rising == index) =>
                    {
                        draft.late.push((place, index, key, new));
                    }
                    Action::Create(Resource::Address(new)) => {
                        outbox.put(place, |r| encode::new_address(r, index, key, new));
                    }
                    Action::Update {
                        before: Resource::Address(before),
                        after: Resource::Address(after),
                    } => {
                        outbox.put(place, |r| encode::delete_address(r, index, key, before));
                        outbox.put(place, |r| encode::new_address(r, index, key, after));
                    }
                    Action::Remove(Resource::Address(old)) => {
                        outbox.put(place, |r| encode::delete_address(r, index, key, old));
                    }
                    _ => return Err(Error::Impossible("an address is something else")),
                }
                Ok(())
            }
            (Key::Route(_), _) => self.route(kernel, draft, place),
            (Key::Rule(key), action) => {
                if draft.rules.is_none() {
                    draft.rules = Some(Rules::read(kernel.socket(draft.ns)?)?);
                }
                let rules = draft.rules.as_mut().expect("they were read");
                rules.write(&mut draft.outbox, place, key, action)
            }
            _ => Err(Error::Impossible("a link is something else")),
        }
    }

    /// The number of the next link.
    pub(super) fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn update(
        &mut self,
        kernel: &mut Kernel,
        draft: &mut Draft<'p>,
        place: usize,
        name: &LinkName,
        (before, after): (&Link, &Link),
    ) -> Result<(), Error> {
        let master = match &after.master {
            _ if before.master == after.master => None,
            Some(master) => Some(index_of(kernel, draft.ns, master)?),
            None => Some(0),
        };
        if let Some(name) = &after.master {
            let master = index_of(kernel, draft.ns, name)?;
            self.note_master(draft.ns, master);
        }
        let operation = &self.plan.operations[place];
        let (alias, group) = adoption::tag_of(kernel, operation, &self.plan.topology)?.unzip();
        let known = known(kernel, draft.ns, name)?;
        let change = Change {
            up: Some(after.up).filter(|up| *up != before.up),
            mtu: after.mtu.filter(|_| before.mtu != after.mtu),
            mac: after.mac.filter(|_| before.mac != after.mac),
            master,
            // Its creation never came to its end: it ends now.
            alias: alias.or_else(|| known.untagged.then(|| tag::text(&self.plan.topology))),
            group,
        };
        let settings = after.kind.changes_from(&before.kind);
        let index = known.index;
        if change.up == Some(false) {
            // They stay where `keep_addr_on_down` is set.
            let id = &self.plan.operations[place].id;
            for fallen in self.falling.get(id).into_iter().flatten() {
                let operation = &self.plan.operations[*fallen];
                if let (
                    Key::Address(key),
                    Action::Remove(Resource::Address(address))
                    | Action::Create(Resource::Address(address)),
                ) = (&operation.id.key, &operation.action)
                {
                    draft.outbox.put(place, |requests| {
                        encode::delete_address(requests, index, key, address);
                    });
                }
            }
        }
        if !settings.is_empty() {
            draft.outbox.put(place, |requests| {
                encode::set_kind(requests, index, after.kind.name(), &settings);
            });
        }
        draft
            .outbox
            .put(place, |requests| encode::set_link(requests, index, &change));
        if change.up == Some(true) {
            self.note_risen(draft.ns, index);
        }
        Ok(())
    }

    fn route(
        &mut self,
        kernel: &mut Kernel,
        draft: &mut Draft<'p>,
        place: usize,
    ) -> Result<(), Error> {
        let operation = &self.plan.operations[place];
        let Key::Route(key) = &operation.id.key else {
            return Err(Error::Impossible("a route is something else"));
        };
        let (verb, route) = match &operation.action {
            // Of one over several links something may be left.
            Action::Create(Resource::Route(new)) if new.hops().len() > 1 => (Verb::Replace, new),
            Action::Create(Resource::Route(new)) => (Verb::Create, new),
            Action::Update {
                after: Resource::Route(new),
                ..
            } => (Verb::Replace, new),
            Action::Remove(Resource::Route(old)) => (Verb::Delete, old),
            _ => return Err(Error::Impossible("a route is something else")),
        };
        if verb != Verb::Delete {
            for index in self.unseen(draft.ns) {
                draft.outbox.ask(place, index);
            }
            if self.insists {
                for dev in route.hops().iter().filter_map(|hop| hop.dev.as_ref()) {
                    let index = index_of(kernel, draft.ns, dev)?;
                    draft.outbox.ask(place, index);
                }
            }
        }
        let ns = draft.ns;
        let mut written = Ok(());
        draft.outbox.put(place, |requests| {
            let mut index_of = |name: &LinkName| index_of(kernel, ns, name);
            written = encode::route(requests, verb, key, route, &mut index_of);
        });
        written
    }

    /// Has new links go up.
    fn rise(&mut self, ns: &Ns, links: Vec<(usize, u32, LinkName)>) -> Outbox {
        let mut outbox = Outbox::default();
        let change = Change {
            up: Some(true),
            ..Change::default()
        };
        for (place, index, _) in links {
            outbox.put(place, |requests| encode::set_link(requests, index, &change));
            self.note_risen(ns, index);
        }
        outbox
    }

    /// Takes note that a link has a port that may bring it its carrier.
    pub(super) fn note_master(&mut self, ns: &Ns, index: u32) {
        self.fresh = true;
        self.masters.entry(ns.clone()).or_default().insert(index);
    }

    /// The links of a namespace that the kernel is to look at: first those that went up, then those that
    /// they are ports of, because these have a carrier once a port has.
    fn unseen(&mut self, ns: &Ns) -> Vec<u32> {
        let mut indices = self.risen.remove(ns).unwrap_or_default();
        let masters = self.masters.remove(ns).unwrap_or_default();
        indices.retain(|index| !masters.contains(index));
        indices.extend(masters);
        indices
    }

    fn note_risen(&mut self, ns: &Ns, index: u32) {
        self.fresh = true;
        match self.risen.get_mut(ns) {
            Some(indices) => indices.push(index),
            None => {
                self.risen.insert(ns.clone(), vec![index]);
            }
        }
    }

    /// Sends the requests of a namespace, and tries again those that only wait for a carrier.
    fn send(
        &mut self,
        kernel: &mut Kernel,
        ns: &'p Ns,
        mut outbox: Outbox,
        first: usize,
    ) -> Result<(), Failed> {
        let deadline = Instant::now() + PATIENCE;
        // The kernel removes what a dying namespace held in its own time. What it was faster with than
        // we is what was asked for.
        let gone = |place: usize, verdict: &Verdict| {
            verdict.errno == libc::ENODEV && {
                let operation = &self.plan.operations[place];
                matches!(operation.id.key, Key::Link(_) | Key::Port(_))
                    && matches!(operation.action, Action::Remove(_))
            }
        };
        loop {
            let socket = kernel.socket(ns).map_err(Failed::at(first))?;
            let failed = outbox.send(socket, gone).map_err(Failed::at(first))?;
            let waits = |(place, verdict): &(usize, Verdict)| {
                matches!(verdict.errno, libc::EHOSTUNREACH | libc::ENETUNREACH)
                    && matches!(self.plan.operations[*place].id.key, Key::Route(_))
            };
            // Linux 6.8 and later look at a link that they are asked for, but may be at it just then.
            let again = self.fresh && failed.iter().all(waits) && Instant::now() < deadline;
            let Some((place, verdict)) = failed.first().cloned() else {
                return Ok(());
            };
            if !again {
                let operation = &self.plan.operations[place];
                return Err(Failed::at(place)(refused(operation, verdict)));
            }
            thread::sleep(PAUSE);
            self.insists = true;
            let places: Vec<usize> = failed.into_iter().map(|(place, _)| place).collect();
            let rest = std::mem::replace(&mut outbox, self.draft(kernel, ns, &places)?.outbox);
            outbox.append(rest);
        }
    }
}

/// Has new links of the host, or of an external namespace, use their link-local addresses as soon as they
/// are up, without duplicate address detection. In a namespace of our own all links do (see `births`).
fn hush(kernel: &Kernel, ns: &Ns, links: &[(usize, u32, LinkName)]) -> Result<(), Failed> {
    let inside = || {
        let here = sysctl::Here::default();
        for (_, _, name) in links {
            let key = SysctlKey::conf(Family::Ipv6, name.clone(), "accept_dad");
            match here.write(&key, "0") {
                // A link whose MTU is below 1280 has no IPv6.
                Ok(()) | Err(Error::NoSysctl { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    let external = ns.name().and_then(|name| kernel.doors.external.get(name));
    let hushed = match external {
        Some(fd) => namespace::inside(fd.as_fd(), inside),
        None if *ns == Ns::Host => inside(),
        None => Ok(()),
    };
    hushed.map_err(Failed::at(links[0].0))
}

impl Draft<'_> {
    /// Has the links go that were to be removed so far.
    fn leave(&mut self) {
        let leaving = std::mem::take(&mut self.leaving);
        self.outbox.delete(&leaving);
    }
}

fn general(error: Error) -> Failed {
    Failed { place: None, error }
}

fn missing(name: &LinkName) -> Error {
    Error::Missing {
        what: format!("link {name}"),
    }
}

fn known<'k>(kernel: &'k mut Kernel, ns: &Ns, name: &LinkName) -> Result<&'k Known, Error> {
    let space = kernel.space(ns)?;
    space.links.get(name).ok_or_else(|| missing(name))
}

pub(super) fn index_of(kernel: &mut Kernel, ns: &Ns, name: &LinkName) -> Result<u32, Error> {
    known(kernel, ns, name).map(|known| known.index)
}
