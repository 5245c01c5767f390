//! Links, addresses and routes: from operations to requests, and out.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use super::codec::Verdict;
use super::encode::{self, Change, End, RuleVerb, Verb};
use super::error::Error;
use super::execute::Failed;
use super::outbox::Outbox;
use super::peers::CHOSEN;
use super::space::Known;
use super::{Kernel, namespace, sysctl, tag};
use crate::plan::{Action, Operation, Plan};
use crate::resource::link::veth::{Peer, Veth};
use crate::resource::link::{Link, LinkKind};
use crate::resource::name::LinkName;
use crate::resource::rule::RuleKey;
use crate::resource::sysctl::SysctlKey;
use crate::resource::{Family, Id, Key, Ns, Resource};

/// How long a route is tried again whose next hop isn't reachable yet, because the kernel has not noticed
/// that a new link has a carrier: by itself it notices about a hundred links a second.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// The peer that a link has.
pub(super) fn peer_of(link: &Link) -> Option<&Peer> {
    match &link.kind {
        LinkKind::Veth(Veth { peer }) => peer.as_ref(),
        LinkKind::Loopback | LinkKind::Other(_) => None,
    }
}

/// Writes the requests of a plan.
pub(super) struct Writer<'p> {
    plan: &'p Plan,
    /// The links that the plan makes.
    creations: HashMap<&'p Id, &'p Link>,
    /// The number of the next link.
    next: u32,
    /// The links that went up, and that the kernel may not have seen the carrier of.
    risen: BTreeMap<Ns, Vec<u32>>,
    /// Whether a link went up at all.
    fresh: bool,
    /// Whether routes are tried again: the kernel is then asked for each link that they need.
    insists: bool,
}

/// The requests of one namespace while they are put together.
struct Draft<'p> {
    ns: &'p Ns,
    outbox: Outbox,
    /// Links to be removed together.
    leaving: Vec<(usize, u32)>,
    /// New links that go up once their addresses are there: the kernel then walks fewer routes.
    rising: Vec<(usize, u32, LinkName)>,
}

impl<'p> Writer<'p> {
    pub(super) fn new(plan: &'p Plan) -> Writer<'p> {
        let creation = |operation: &'p Operation| match &operation.action {
            Action::Create(Resource::Link(link)) => Some((&operation.id, link)),
            _ => None,
        };
        Writer {
            plan,
            creations: plan.operations.iter().filter_map(creation).collect(),
            next: fastrand::u32(CHOSEN..1 << 30),
            risen: BTreeMap::new(),
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
            self.send(kernel, ns, draft.outbox, places[0])?;
            if !rising.is_empty() {
                hush(kernel, ns, &rising)?;
                let outbox = self.rise(ns, rising);
                self.send(kernel, ns, outbox, places[0])?;
            }
            finished.extend(places);
        }
        Ok(())
    }

    /// Has the kernel take notice of all links that went up, so that their IPv6 addresses are usable.
    pub(super) fn settle(&mut self, kernel: &mut Kernel) -> Result<(), Failed> {
        for (ns, indices) in std::mem::take(&mut self.risen) {
            let mut outbox = Outbox::default();
            for index in indices {
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
            // One that is gone already is what was asked for: a dying namespace takes its time.
            if let Some(known) = kernel.space(draft.ns)?.links.remove(name) {
                draft.leaving.push((place, known.index));
            }
            return Ok(());
        }
        draft.leave();
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
            (Key::Address(key), action) => {
                let index = index_of(kernel, draft.ns, &key.link)?;
                let outbox = &mut draft.outbox;
                match action {
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
            (Key::Rule(key), action) => rule(draft, place, key, action),
            _ => Err(Error::Impossible("a link is something else")),
        }
    }

    /// Makes a pair, or finishes the end that was made with the other one.
    fn create(
        &mut self,
        kernel: &mut Kernel,
        draft: &mut Draft<'p>,
        place: usize,
        name: &LinkName,
        link: &Link,
    ) -> Result<(), Error> {
        let mut change = Change {
            alias: Some(tag::text(&self.plan.topology)),
            ..Change::default()
        };
        let index = match &link.kind {
            LinkKind::Loopback => {
                change.alias = None;
                index_of(kernel, draft.ns, name)?
            }
            LinkKind::Veth(_) if self.plan.operations[place].with.is_some() => {
                index_of(kernel, draft.ns, name)?
            }
            LinkKind::Veth(Veth { peer: Some(peer) }) => {
                self.pair(kernel, draft, place, name, link, peer)?
            }
            LinkKind::Veth(_) | LinkKind::Other(_) => {
                return Err(Error::Impossible("this kind of link can't be made"));
            }
        };
        if let Some(master) = &link.master {
            change.master = Some(index_of(kernel, draft.ns, master)?);
        }
        if !change.is_empty() {
            draft
                .outbox
                .put(place, |requests| encode::set_link(requests, index, &change));
        }
        if link.up {
            draft.rising.push((place, index, name.clone()));
        }
        Ok(())
    }

    /// Makes a veth pair, and says the number of the end that is here.
    fn pair(
        &mut self,
        kernel: &mut Kernel,
        draft: &mut Draft<'p>,
        place: usize,
        name: &LinkName,
        link: &Link,
        peer: &Peer,
    ) -> Result<u32, Error> {
        // Without an operation of its own the other end is only what the pair needs.
        let other = Id::link(peer.ns.clone(), peer.name.clone());
        let other = self.creations.get(&other).copied();
        let here = End {
            index: self.number(),
            name,
            link: Some(link),
        };
        let there = End {
            index: self.number(),
            name: &peer.name,
            link: other,
        };
        let ns = if peer.ns == *draft.ns {
            None
        } else if peer.ns == Ns::Host {
            Some(kernel.doors.host.as_raw_fd())
        } else {
            let fd = kernel.descriptor(&peer.ns)?.ok_or_else(|| Error::Missing {
                what: format!("namespace {}", peer.ns),
            })?;
            Some(draft.outbox.enclose(fd))
        };
        draft.outbox.put(place, |requests| {
            encode::new_veth(requests, &here, &there, ns);
        });
        for (ns, end) in [(draft.ns, &here), (&peer.ns, &there)] {
            let known = Known {
                index: end.index,
                owner: Some(self.plan.topology.clone()),
                ..Known::default()
            };
            kernel.space(ns)?.links.insert(end.name.clone(), known);
        }
        Ok(here.index)
    }

    fn number(&mut self) -> u32 {
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
        let known = known(kernel, draft.ns, name)?;
        let change = Change {
            up: Some(after.up).filter(|up| *up != before.up),
            mtu: after.mtu.filter(|_| before.mtu != after.mtu),
            mac: after.mac.filter(|_| before.mac != after.mac),
            master,
            // Its creation never came to its end: it ends now.
            alias: known.untagged.then(|| tag::text(&self.plan.topology)),
            group: None,
        };
        let index = known.index;
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
            for index in self.risen.remove(draft.ns).unwrap_or_default() {
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
                matches!(operation.id.key, Key::Link(_))
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
                let error = Error::refused(verdict.errno, verdict.text);
                return Err(Failed::at(place)(error));
            }
            thread::sleep(PAUSE);
            self.insists = true;
            let places: Vec<usize> = failed.into_iter().map(|(place, _)| place).collect();
            outbox = self.draft(kernel, ns, &places)?.outbox;
        }
    }
}

/// Writes a rule. One that changes is made as it shall be before it goes as it was, so that there is
/// always one.
fn rule(draft: &mut Draft<'_>, place: usize, key: &RuleKey, action: &Action) -> Result<(), Error> {
    let (new, old) = match action {
        Action::Create(Resource::Rule(new)) => (Some(new), None),
        Action::Update {
            before: Resource::Rule(old),
            after: Resource::Rule(new),
        } => (Some(new), Some(old)),
        Action::Remove(Resource::Rule(old)) => (None, Some(old)),
        _ => return Err(Error::Impossible("a rule is something else")),
    };
    for (verb, rule) in [(RuleVerb::Create, new), (RuleVerb::Delete, old)] {
        if let Some(rule) = rule {
            draft
                .outbox
                .put(place, |requests| encode::rule(requests, verb, key, rule));
        }
    }
    Ok(())
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
        Some(one) => namespace::inside(one.fd.as_fd(), inside),
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

fn index_of(kernel: &mut Kernel, ns: &Ns, name: &LinkName) -> Result<u32, Error> {
    known(kernel, ns, name).map(|known| known.index)
}
