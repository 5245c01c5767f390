//! A namespace as this room knows it: the way into it, and the numbers of its links.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::error::Error;
use super::external::Identity;
use super::read;
use super::socket::Socket;
use super::{Kernel, namespace, record, tag};
use crate::resource::Ns;
use crate::resource::name::{LinkName, NamespaceName, TopologyName};

/// A namespace that was read or made.
#[derive(Default)]
pub(super) struct Space {
    /// Kept as long as there is room.
    pub(super) socket: Option<Socket>,
    /// Which namespace the socket is of: one of the same name may have taken its place.
    pub(super) inode: u64,
    /// Its links.
    pub(super) links: BTreeMap<LinkName, Known>,
    /// Whose tag its `lo` carries.
    pub(super) owner: Option<TopologyName>,
}

/// What must be known of a link to change it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Its number.
    pub(super) index: u32,
    /// Whose tag it carries.
    pub(super) owner: Option<TopologyName>,
    /// Whether it was made by netform and lacks the tag: its creation never came to its end.
    pub(super) untagged: bool,
    /// Its settings, as far as they come with it.
    pub(super) conf: read::Conf,
}

/// The namespaces that are not looked for by their names each time.
pub(super) struct Doors {
    pub(super) host: OwnedFd,
    /// Those that others make, as far as they exist.
    pub(super) external: BTreeMap<NamespaceName, OwnedFd>,
    pub(super) names: Names,
}

/// What namespaces are called here.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Those that others make, as far as they exist: which each is, and where it was found.
    pub(super) external: BTreeMap<NamespaceName, record::Known>,
    /// All that were read, our own too.
    pub(super) all: BTreeMap<Identity, NamespaceName>,
}

/// A descriptor of a namespace: one of the host's or of an external one is at hand, another's is opened.
pub(super) enum Door<'a> {
    AtHand(BorrowedFd<'a>),
    Named(OwnedFd),
}

impl AsFd for Door<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Door::AtHand(fd) => *fd,
            Door::Named(fd) => fd.as_fd(),
        }
    }
}

/// Opens a namespace. None: it doesn't exist.
pub(super) fn door<'a>(doors: &'a Doors, ns: &Ns) -> Result<Option<Door<'a>>, Error> {
    let Ns::Named(name) = ns else {
        return Ok(Some(Door::AtHand(doors.host.as_fd())));
    };
    Ok(match doors.external.get(name) {
        Some(fd) => Some(Door::AtHand(fd.as_fd())),
        None => namespace::open(name)?.map(Door::Named),
    })
}

/// The same, of one that must exist.
pub(super) fn door_of<'a>(doors: &'a Doors, ns: &Ns) -> Result<Door<'a>, Error> {
    door(doors, ns)?.ok_or_else(|| Error::Missing {
        what: format!("namespace {ns}"),
    })
}

/// Which namespace a descriptor is of.
pub(super) fn inode_of(ns: BorrowedFd<'_>) -> Result<u64, Error> {
    let stat = rustix::fs::fstat(ns).map_err(|e| Error::call("look at a namespace", e))?;
    Ok(stat.st_ino)
}

impl Space {
    /// Takes in what was read of its links.
    pub(super) fn learn(&mut self, links: &[read::Link]) {
        self.links.clear();
        self.owner = None;
        for link in links {
            let owner = tag::of_link(link);
            if link.is_loopback() {
                self.owner.clone_from(&owner);
            }
            if let Ok(name) = LinkName::try_from(link.name.as_str()) {
                let known = Known {
                    index: link.index,
                    untagged: link.group == tag::GROUP && owner.is_none(),
                    owner,
                    conf: link.conf,
                };
                self.links.insert(name, known);
            }
        }
    }
}

impl Kernel {
    /// How many sockets may be kept open beside the external namespaces.
    pub(super) fn room(&self) -> usize {
        self.room.saturating_sub(self.doors.external.len())
    }

    /// The space of a namespace, with a socket and the numbers of its links.
    pub(super) fn space(&mut self, ns: &Ns) -> Result<&mut Space, Error> {
        let closed = self.spaces.get(ns).is_none_or(|s| s.socket.is_none());
        if closed && self.spaces.len() >= self.room() {
            self.close_one();
        }
        let doors = &self.doors;
        let space = self.spaces.entry(ns.clone()).or_default();
        if space.socket.is_none() {
            let door = door_of(doors, ns)?;
            let inode = inode_of(door.as_fd())?;
            let mut socket = namespace::inside(door.as_fd(), Socket::open)?;
            if space.inode != inode {
                let links = read::links(&mut socket)?;
                space.learn(&links);
                space.inode = inode;
            }
            space.socket = Some(socket);
        }
        Ok(space)
    }

    /// Closes the socket of some namespace to make room for another's.
    fn close_one(&mut self) {
        let mut open = self
            .spaces
            .iter_mut()
            .filter(|(ns, space)| **ns != Ns::Host && space.socket.is_some());
        if let Some((_, space)) = open.next() {
            space.socket = None;
        }
    }

    /// The socket of a namespace.
    pub(super) fn socket(&mut self, ns: &Ns) -> Result<&mut Socket, Error> {
        let space = self.space(ns)?;
        Ok(space.socket.as_mut().expect("a space comes with a socket"))
    }

    /// A descriptor of a namespace, for the kernel to know it by. None: it doesn't exist.
    pub(super) fn descriptor(&self, ns: &Ns) -> Result<Option<OwnedFd>, Error> {
        match door(&self.doors, ns)? {
            None => Ok(None),
            Some(Door::Named(fd)) => Ok(Some(fd)),
            Some(Door::AtHand(fd)) => {
                let copy = fd.try_clone_to_owned();
                copy.map(Some)
                    .map_err(|e| Error::call("copy a descriptor", e))
            }
        }
    }
}
