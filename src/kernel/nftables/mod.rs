//! nftables tables of a network namespace: read and changed over one socket.
//!
//! Messages are made and read by libnftnl (`object.rs`); everything else here is safe code. A change is
//! one transaction of the kernel's: all of it happens or nothing. See `man 3 libnftnl` and
//! `net/netfilter/nf_tables_api.c`.

mod attribute;
mod counters;
mod error;
mod expression;
mod foreign;
pub(super) mod fuzz;
mod memory;
pub(super) mod nat;
mod number;
mod object;
mod permit;
mod read;
mod socket;
pub(super) mod trace;
mod userdata;
mod write;

use std::collections::HashMap;

use self::socket::Channel;
use self::write::Messages;
use crate::resource::firewall;
use crate::resource::nftables::Table;
use crate::resource::permit::{Permit, PermitKey};
use crate::state::Counted;

pub use self::error::{Error, Object};

/// How often a read is tried again that a change of the ruleset has come into.
const ATTEMPTS: usize = 20;

/// A netfilter socket, bound to the network namespace that it was opened in.
///
/// It can be used from any thread, and asks and is answered in turn.
pub struct NfSocket {
    channel: Channel,
}

/// A change of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableChange {
    /// It is made; one of the same name is replaced.
    Create(Table),
    /// It is changed: element by element if nothing else differs, which leaves counters alone, else
    /// replaced as a whole.
    Update {
        /// What it is.
        before: Table,
        /// What it becomes.
        after: Table,
    },
    /// The table of this name is removed.
    Remove(String),
}

/// A change of the accept rules in the chains of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermitChange<'k> {
    /// One is made, before all rules of its chain.
    Create(&'k PermitKey),
    /// One is removed, as often as it stands there. It may be gone already.
    Remove(&'k PermitKey),
}

impl<'k> PermitChange<'k> {
    /// Which rule it is about.
    pub fn key(self) -> &'k PermitKey {
        match self {
            PermitChange::Create(key) | PermitChange::Remove(key) => key,
        }
    }
}

/// A table without what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// Its name.
    pub name: String,
    /// Its comment.
    pub comment: Option<String>,
}

impl NfSocket {
    /// Opens one in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] if the kernel has no netfilter.
    pub fn open() -> Result<NfSocket, Error> {
        Channel::open().map(|channel| NfSocket { channel })
    }

    /// The tables of family `inet`, by name. One request.
    ///
    /// # Errors
    ///
    /// [`Error::Restless`] if the ruleset changes all the time, else what the kernel says.
    pub fn tables(&mut self) -> Result<Vec<TableName>, Error> {
        for _ in 0..ATTEMPTS {
            if let Some(tables) = read::tables(&mut self.channel)? {
                let name = |table: Table| TableName {
                    name: table.name,
                    comment: table.comment,
                };
                return Ok(tables.into_values().map(name).collect());
            }
        }
        Err(Error::Restless)
    }

    /// The table of family `inet` of a name, if there is one: all of it as of one moment.
    ///
    /// # Errors
    ///
    /// [`Error::Restless`] if the ruleset changes all the time, else what the kernel says.
    pub fn read(&mut self, name: &str) -> Result<Option<Table>, Error> {
        for _ in 0..ATTEMPTS {
            let generation = read::generation(&mut self.channel)?;
            let Some(mut tables) = read::tables(&mut self.channel)? else {
                continue;
            };
            let Some(mut table) = tables.remove(name) else {
                return Ok(None);
            };
            let whole = match read::contents(&mut self.channel, &mut table) {
                Ok(whole) => whole.is_some(),
                // It went away meanwhile.
                Err(error) if error.is_stale() => false,
                Err(error) => return Err(error),
            };
            if whole && read::generation(&mut self.channel)? == generation {
                return Ok(Some(table));
            }
        }
        Err(Error::Restless)
    }

    /// What the rules of a table of family `inet` have counted, all as of one moment.
    ///
    /// # Errors
    ///
    /// [`Error::Restless`] if the ruleset changes all the time, else what the kernel says.
    pub fn counters(&mut self, table: &str) -> Result<Vec<Counted>, Error> {
        self.at_rest(|channel| counters::read(channel, table))
    }

    /// What others have at the hook `forward`, as far as it is understood: all of it as of one moment. `names` are
    /// those of the links by their numbers.
    ///
    /// # Errors
    ///
    /// [`Error::Restless`] if the ruleset changes all the time, else what the kernel says.
    pub fn foreign(&mut self, names: &HashMap<u32, String>) -> Result<Vec<firewall::Table>, Error> {
        self.at_rest(|channel| foreign::tables(channel, names))
    }

    /// What others have besides netform's own, and what of it translates addresses, all as of one moment.
    ///
    /// # Errors
    ///
    /// [`Error::Restless`] if the ruleset changes all the time, else what the kernel says.
    pub(super) fn others(&mut self, names: &HashMap<u32, String>) -> Result<nat::Others, Error> {
        self.at_rest(|channel| nat::others(channel, names))
    }

    /// What is read of one moment: again, as long as the ruleset changes meanwhile.
    fn at_rest<T>(
        &mut self,
        mut read: impl FnMut(&mut Channel) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        for _ in 0..ATTEMPTS {
            match read(&mut self.channel) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                // Something went away meanwhile.
                Err(error) if error.is_stale() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Restless)
    }

    /// The accept rules that topologies have in the chains of others.
    ///
    /// # Errors
    ///
    /// [`Error::Restless`] if the ruleset changes all the time, else what the kernel says.
    pub fn permits(&mut self) -> Result<Vec<(PermitKey, Permit)>, Error> {
        let found = self.found_permits()?.into_iter();
        Ok(found.map(|found| (found.key, found.permit)).collect())
    }

    fn found_permits(&mut self) -> Result<Vec<permit::Found>, Error> {
        for _ in 0..ATTEMPTS {
            if let Some(found) = permit::read(&mut self.channel)? {
                return Ok(found);
            }
        }
        Err(Error::Restless)
    }

    /// Changes accept rules in the chains of others, in order and all of them or none: only where the kernel takes no
    /// message large enough, further steps follow.
    ///
    /// # Errors
    ///
    /// What the kernel says: that a chain is gone, for example.
    pub fn permit(&mut self, changes: &[PermitChange<'_>]) -> Result<(), Error> {
        let removes = |change: &PermitChange<'_>| matches!(change, PermitChange::Remove(_));
        let found = if changes.iter().any(removes) {
            self.found_permits()?
        } else {
            Vec::new()
        };
        self.channel.apply(&[], &permit::messages(changes, &found))
    }

    /// Makes changes, all of them or none.
    ///
    /// Only where the kernel takes no message large enough, because this process has no privilege over the
    /// whole machine and there are more than some 400 KB, elements of sets follow in further steps.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] names what the kernel refused; [`Error::is_stale`] says whether to observe again.
    pub fn apply(&mut self, changes: &[TableChange]) -> Result<(), Error> {
        let messages = Messages::of(changes)?;
        self.channel.apply(&messages.whole, &messages.parts)
    }
}

/// A constant of the kernel's headers that libc has as a signed number.
fn code(number: libc::c_int) -> u32 {
    number.cast_unsigned()
}
