//! In which order operations are done.
//!
//! What frees a name or an address comes before what needs one; on a gateway the rules are there before
//! the links they guard and the forwarding that they judge, and on the way back they are the last to go.
//! All this is data: each operation names those that must be done before it. They can't wait for each
//! other in a circle, because each waits only for those of an earlier [`Step`], or of its own step by the
//! order of their identities; but for ports, which wait for what they are ports of, and that is no port
//! itself; and for what nothing waits for: one sysctl, whether IPv4 redirects are accepted, and the loans
//! that end with nothing written, both of which wait for the switch.

mod addresses;
mod gateways;
mod routing;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::{Action, Operation, Reason, Stays};
use crate::resource::link::Link;
use crate::resource::name::LinkName;
use crate::resource::sysctl::{ROUTE_LOCALNET, Sysctl, SysctlKey};
use crate::resource::{Family, Id, Key, Ns, Resource};

/// The order of operations that have to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    GiveSwitchBack,
    GiveBack,
    RemovePermit,
    RemoveRule,
    RemoveRoute,
    RemoveAddress,
    RemovePort,
    RemoveLink,
    RemoveFile,
    RemoveNamespace,
    RemoveTable,
    Namespace,
    Table,
    Permit,
    Global,
    Lo,
    Link,
    Peer,
    Port,
    Switch,
    Sysctl,
    Address,
    Route,
    Rule,
    File,
}

/// Whether what is given back stays, because the host forwards. That may be the plan's own doing.
fn relied(operation: &Operation) -> bool {
    let stays = Some(Stays::Relied);
    matches!(&operation.action, Action::GiveBack { stays: given, .. } if *given == stays)
}

fn step(operation: &Operation) -> Step {
    match (&operation.action, &operation.id.key) {
        (Action::GiveBack { .. }, Key::Sysctl(key)) if key.switch().is_some() => {
            Step::GiveSwitchBack
        }
        (Action::GiveBack { .. }, _) => Step::GiveBack,
        (Action::Remove(_), Key::Rule(_)) => Step::RemoveRule,
        (Action::Remove(_), Key::Route(_)) => Step::RemoveRoute,
        (Action::Remove(_), Key::Address(_)) => Step::RemoveAddress,
        (Action::Remove(_), Key::Port(_)) => Step::RemovePort,
        (Action::Remove(_), Key::Link(_) | Key::Sysctl(_)) => Step::RemoveLink,
        (Action::Remove(_), Key::File(_)) => Step::RemoveFile,
        (Action::Remove(_), Key::Namespace) => Step::RemoveNamespace,
        (Action::Remove(_), Key::Table) => Step::RemoveTable,
        (Action::Remove(_), Key::Permit(_)) => Step::RemovePermit,
        (_, Key::Namespace) => Step::Namespace,
        (_, Key::Table) => Step::Table,
        (_, Key::Permit(_)) => Step::Permit,
        (_, Key::Link(_)) => match &operation.with {
            Some(Id {
                key: Key::Link(_), ..
            }) => Step::Peer,
            Some(_) => Step::Lo,
            None => Step::Link,
        },
        (_, Key::Port(_)) => Step::Port,
        (_, Key::Sysctl(key)) if key.switch().is_some() => Step::Switch,
        (_, Key::Sysctl(SysctlKey::Global(_))) => Step::Global,
        (_, Key::Sysctl(_)) => Step::Sysctl,
        (_, Key::Address(_)) => Step::Address,
        (_, Key::Route(_)) => Step::Route,
        (_, Key::Rule(_)) => Step::Rule,
        (_, Key::File(_)) => Step::File,
    }
}

/// Puts operations into an order in which they can be done one after the other, and tells each what must
/// be done before it. Independent ones stand by namespace. `waits` says what must be gone besides before
/// something is made.
pub(super) fn order(
    mut operations: Vec<Operation>,
    waits: &BTreeMap<&Id, Vec<&Id>>,
) -> Vec<Operation> {
    let steps: Vec<Step> = operations.iter().map(step).collect();
    let after = Edges::of(&operations, &steps, waits).after;
    let mut waiting: Vec<usize> = after.iter().map(Vec::len).collect();
    let mut then: Vec<Vec<usize>> = vec![Vec::new(); operations.len()];
    for (place, before) in after.iter().enumerate() {
        for earlier in before {
            then[*earlier].push(place);
        }
    }
    let rank = |place: usize| {
        let id = &operations[place].id;
        (
            steps[place] >= Step::Namespace,
            &id.ns,
            steps[place],
            &id.key,
            place,
        )
    };
    let mut ready: BinaryHeap<Reverse<_>> = (0..operations.len())
        .filter(|place| waiting[*place] == 0)
        .map(rank)
        .map(Reverse)
        .collect();
    let mut sequence = Vec::with_capacity(operations.len());
    while let Some(Reverse((.., place))) = ready.pop() {
        sequence.push(place);
        for later in &then[place] {
            waiting[*later] -= 1;
            if waiting[*later] == 0 {
                ready.push(Reverse(rank(*later)));
            }
        }
    }
    debug_assert_eq!(
        sequence.len(),
        operations.len(),
        "operations wait for each other"
    );
    drop(ready);
    let mut places = vec![0; operations.len()];
    for (new, old) in sequence.iter().enumerate() {
        places[*old] = new;
    }
    for (operation, mut after) in operations.iter_mut().zip(after) {
        for earlier in &mut after {
            *earlier = places[*earlier];
        }
        after.sort_unstable();
        after.dedup();
        operation.after = after;
    }
    // In place: a plan of very many takes most of the memory that there is.
    for place in 0..places.len() {
        while places[place] != place {
            let new = places[place];
            operations.swap(place, new);
            places.swap(place, new);
        }
    }
    operations
}

/// The sysctl that takes IPv6 from a link, and its addresses with it.
const OFF: &str = "disable_ipv6";

/// Those that do so for a link.
fn off_for_ipv6(link: &LinkName) -> [SysctlKey; 3] {
    [
        SysctlKey::of_links(Family::Ipv6, "all", OFF),
        SysctlKey::of_links(Family::Ipv6, "default", OFF),
        SysctlKey::conf(Family::Ipv6, link.clone(), OFF),
    ]
}

fn switches_ipv6(operation: &Operation) -> bool {
    match &operation.id.key {
        Key::Sysctl(SysctlKey::Global(path)) => path.ends_with(OFF),
        Key::Sysctl(SysctlKey::Conf { name, .. }) => name == OFF,
        _ => false,
    }
}

/// Where the operations on an identity are.
#[derive(Debug, Default, Clone, Copy)]
struct Places {
    remove: Option<usize>,
    make: Option<usize>,
}

/// What must be done before what.
struct Edges<'o> {
    operations: &'o [Operation],
    steps: &'o [Step],
    places: BTreeMap<&'o Id, Places>,
    /// What links that are made begin with.
    defaults: BTreeMap<&'o Ns, Vec<usize>>,
    /// Whether IPv6 of a link is switched at all.
    ipv6_switched: bool,
    after: Vec<Vec<usize>>,
}

impl<'o> Edges<'o> {
    fn of(
        operations: &'o [Operation],
        steps: &'o [Step],
        waits: &BTreeMap<&Id, Vec<&Id>>,
    ) -> Edges<'o> {
        let mut places: BTreeMap<&Id, Places> = BTreeMap::new();
        for (place, operation) in operations.iter().enumerate() {
            let of_id = places.entry(&operation.id).or_default();
            match operation.action {
                Action::Remove(_) | Action::GiveBack { .. } => of_id.remove = Some(place),
                _ => of_id.make = Some(place),
            }
        }
        let mut defaults: BTreeMap<&Ns, Vec<usize>> = BTreeMap::new();
        for (place, operation) in operations.iter().enumerate() {
            if let Key::Sysctl(key) = &operation.id.key
                && steps[place] == Step::Global
                && key.of_default().is_some()
            {
                defaults.entry(&operation.id.ns).or_default().push(place);
            }
        }
        let after = vec![Vec::new(); operations.len()];
        let mut edges = Edges {
            operations,
            steps,
            places,
            defaults,
            ipv6_switched: operations.iter().any(switches_ipv6),
            after,
        };
        for (place, operation) in operations.iter().enumerate() {
            edges.common(place);
            if let (Some(gone), Action::Create(_)) = (waits.get(&operation.id), &operation.action) {
                for gone in gone {
                    let root = edges.removal(gone).map(|gone| edges.root(gone));
                    edges.add(place, root);
                }
            }
        }
        edges.on_links();
        edges.routing();
        edges.gateways();
        edges
    }

    fn add(&mut self, place: usize, before: Option<usize>) {
        if let Some(before) = before.filter(|before| *before != place) {
            self.after[place].push(before);
        }
    }

    fn make(&self, id: &Id) -> Option<usize> {
        self.places.get(id)?.make
    }

    fn removal(&self, id: &Id) -> Option<usize> {
        self.places.get(id)?.remove
    }

    fn make_of_link(&self, ns: &Ns, name: &LinkName) -> Option<usize> {
        self.make(&Id::link(ns.clone(), name.clone()))
    }

    /// The operation on `with` that does what the one at `place` says. What is removed may also go with
    /// a change: a link that goes down takes its IPv6 addresses.
    fn bearer(&self, place: usize, with: &Id) -> Option<usize> {
        match self.operations[place].action {
            Action::Remove(_) => self.removal(with).or(self.make(with)),
            _ => self.make(with),
        }
    }

    /// The operation that in the end does what the one at `place` says.
    fn root(&self, mut place: usize) -> usize {
        while let Some(with) = &self.operations[place].with {
            match self.bearer(place, with) {
                Some(other) => place = other,
                None => break,
            }
        }
        place
    }

    /// What each operation waits for by itself.
    fn common(&mut self, place: usize) {
        let operation = &self.operations[place];
        let id = &operation.id;
        if let Some(with) = &operation.with {
            self.add(place, self.bearer(place, with));
        }
        if let Action::Remove(_) = operation.action {
            if id.key != Key::Namespace && operation.with.is_none() {
                // A namespace goes when nothing else is to be done in it.
                let namespace = self.removal(&Id::namespace(id.ns.clone()));
                if let Some(namespace) = namespace {
                    self.add(namespace, Some(place));
                }
            }
            return;
        }
        if let Action::GiveBack { stays, .. } = &operation.action {
            // Until the switch is thrown, the record says whose doing it is that the link forwards.
            if let (Some(Stays::Relied), Key::Sysctl(key)) = (stays, &id.key)
                && let Some(family) = key.forwarding_of_link()
            {
                let switch = Key::Sysctl(SysctlKey::forwarding(family));
                self.add(place, self.make(&Id::new(id.ns.clone(), switch)));
            }
            return;
        }
        // What has its place must be gone.
        let old = self.removal(id).map(|old| self.root(old));
        self.add(place, old);
        if let Some(Reason::Fell(cause)) = &operation.reason {
            let cause = self
                .removal(cause)
                .map(|old| self.root(old))
                .or(self.make(cause));
            self.add(place, cause);
        }
        self.add(place, self.make(&Id::namespace(id.ns.clone())));
        match (&id.key, &operation.action) {
            (Key::Link(_), Action::Create(Resource::Link(link))) => self.link(place, link),
            // It may get IPv6 by it, and forward from then on.
            (Key::Link(_), action) => {
                self.add(place, self.make(&Id::new(id.ns.clone(), Key::Table)));
                if let Action::Update {
                    after: Resource::Link(link),
                    ..
                } = action
                {
                    self.master(place, &id.ns, link);
                }
            }
            // What is behind it comes in by the bridge from then on.
            (
                Key::Port(_),
                Action::Create(Resource::Port(port))
                | Action::Update {
                    after: Resource::Port(port),
                    ..
                },
            ) => {
                self.add(place, self.make(&Id::new(id.ns.clone(), Key::Table)));
                self.add(place, self.make_of_link(&id.ns, &port.master));
            }
            (Key::Address(key), _) => {
                self.add(place, self.make_of_link(&id.ns, &key.link));
                if key.ip.is_ipv6() && self.ipv6_switched {
                    for key in off_for_ipv6(&key.link) {
                        self.add(place, self.make(&Id::new(id.ns.clone(), Key::Sysctl(key))));
                    }
                }
            }
            // It lets through what the table judges.
            (Key::Permit(_), _) => {
                self.add(place, self.make(&Id::new(id.ns.clone(), Key::Table)));
            }
            (Key::Sysctl(key), action) if self.shuts_loopback(&id.ns, key, action) => {
                if let Some(table) = self.make(&Id::new(id.ns.clone(), Key::Table)) {
                    self.add(table, Some(place));
                }
            }
            (Key::Sysctl(key), _) => self.sysctl(place, &id.ns, key),
            _ => {}
        }
    }

    /// Whether a link that is there is kept from taking packets of loopback addresses. What has guarded these goes
    /// after that.
    fn shuts_loopback(&self, ns: &Ns, key: &SysctlKey, action: &Action) -> bool {
        let (
            SysctlKey::Conf { link, name, .. },
            Action::Create(value) | Action::Update { after: value, .. },
        ) = (key, action)
        else {
            return false;
        };
        let made = self.make(&Id::link(ns.clone(), link.clone()));
        let is_new =
            made.is_some_and(|made| matches!(self.operations[made].action, Action::Create(_)));
        name == ROUTE_LOCALNET && *value == Resource::Sysctl(Sysctl::off()) && !is_new
    }

    fn link(&mut self, place: usize, link: &Link) {
        let ns = &self.operations[place].id.ns;
        let table = self.make(&Id::new(ns.clone(), Key::Table));
        self.add(place, table);
        self.defaults(place, ns);
        self.master(place, ns, link);
        let Some(peer) = link.peer() else { return };
        // The first end brings the other: all that the other needs must be there too.
        if self.steps[place] == Step::Link {
            let id = Id::link(peer.ns.clone(), peer.name.clone());
            let old = self.removal(&id).map(|old| self.root(old));
            self.add(place, old);
            self.add(place, self.make(&Id::namespace(peer.ns.clone())));
            self.add(place, self.make(&Id::new(peer.ns.clone(), Key::Table)));
            self.defaults(place, &peer.ns);
        }
    }

    /// A link is there, as it shall be, before its ports.
    fn master(&mut self, place: usize, ns: &Ns, link: &Link) {
        if let Some(master) = &link.master {
            self.add(place, self.make_of_link(ns, master));
        }
    }

    /// A new link takes over what `conf.default` says.
    fn defaults(&mut self, place: usize, ns: &Ns) {
        let before = self.defaults.get(ns).cloned().unwrap_or_default();
        self.after[place].extend(before);
    }

    fn sysctl(&mut self, place: usize, ns: &Ns, key: &SysctlKey) {
        self.add(place, self.make(&Id::new(ns.clone(), Key::Table)));
        if let SysctlKey::Conf { family, link, name } = key {
            self.add(place, self.make_of_link(ns, link));
            for which in ["all", "default"] {
                let wide = SysctlKey::of_links(*family, which, name);
                self.add(place, self.make(&Id::new(ns.clone(), Key::Sysctl(wide))));
            }
            if key.forwarding_of_link().is_some() || key.is_forced() {
                // The switch writes it, whichever way it goes.
                let switch = Id::new(ns.clone(), Key::Sysctl(SysctlKey::forwarding(*family)));
                self.add(place, self.make(&switch));
                self.add(place, self.removal(&switch));
            }
            // The host must keep the routes that it got from advertisements: IPv6 forwarding comes after.
            if *family == Family::Ipv6 && key.lent() == "2" {
                let switch = Id::new(ns.clone(), Key::Sysctl(SysctlKey::forwarding(*family)));
                if let Some(switch) = self.make(&switch) {
                    self.add(switch, Some(place));
                }
            }
        }
        // `all` of IPv6 writes `default`, and the switch of IPv4 whether redirects are accepted.
        match (key.of_default(), key.of_all()) {
            (Some((Family::Ipv6, name)), _) => {
                let wide = SysctlKey::of_links(Family::Ipv6, "all", name);
                self.add(place, self.make(&Id::new(ns.clone(), Key::Sysctl(wide))));
            }
            (_, Some((Family::Ipv4, "accept_redirects"))) => {
                let switch = SysctlKey::forwarding(Family::Ipv4);
                self.add(place, self.make(&Id::new(ns.clone(), Key::Sysctl(switch))));
            }
            _ => {}
        }
    }
}
