//! Policy routing rules: making and removing exactly those that are meant.
//!
//! Of what a request doesn't name the kernel takes anything for right: asked to remove the rule for all
//! packets, it removes the first of the same priority, action and protocol, whatever packets that is for
//! (`rule_find` and `rule_exists` of `net/core/fib_rules.c`, `fib4_rule_compare` of
//! `net/ipv4/fib_rules.c`; tried on Linux 6.18).

use super::encode::{self, RuleVerb};
use super::error::Error;
use super::outbox::Outbox;
use super::read;
use super::socket::Socket;
use super::tag::PROTOCOL;
use crate::plan::Action;
use crate::resource::Resource;
use crate::resource::rule::{self, Mark, RuleKey};

/// Our rules of a namespace in the order in which the kernel looks through them, as they will be once the
/// requests are done that were written so far.
pub(super) struct Rules {
    list: Vec<(RuleKey, rule::Action)>,
}

impl Rules {
    /// Reads them.
    pub(super) fn read(socket: &mut Socket) -> Result<Rules, Error> {
        let (mut all, _) = read::rules(socket)?;
        all.retain(|rule| rule.protocol == PROTOCOL);
        Ok(Rules {
            list: all
                .into_iter()
                .map(|rule| (rule.key, rule.action))
                .collect(),
        })
    }

    /// Writes the requests of an operation. One that changes is made as it shall be before it goes as it
    /// was, so that there is always one.
    pub(super) fn write(
        &mut self,
        outbox: &mut Outbox,
        place: usize,
        key: &RuleKey,
        action: &Action,
    ) -> Result<(), Error> {
        let (new, old) = match action {
            Action::Create(Resource::Rule(new)) => (Some(new), None),
            Action::Update {
                before: Resource::Rule(old),
                after: Resource::Rule(new),
            } => (Some(new), Some(old)),
            Action::Remove(Resource::Rule(old)) => (None, Some(old)),
            _ => return Err(Error::Impossible("a rule is something else")),
        };
        let is = |rule: &(RuleKey, rule::Action), action| rule.0 == *key && rule.1 == action;
        if let Some(new) = new
            && !(old.is_some() && self.list.iter().any(|rule| is(rule, new.action)))
        {
            self.add(outbox, place, key.clone(), new.action);
        }
        let Some(old) = old else {
            return Ok(());
        };
        if new.is_none_or(|new| new.action != old.action) {
            self.remove(outbox, place, key, old.action)?;
        }
        for action in &old.surplus {
            // The first of them may be the one that is to stay.
            let count = self.list.iter().filter(|rule| is(rule, *action)).count();
            let stays = new.is_some_and(|new| new.action == *action);
            if count > usize::from(stays) {
                self.remove(outbox, place, key, *action)?;
            }
        }
        Ok(())
    }

    /// Adds one behind the others of its priority, which is where the kernel puts it.
    fn add(&mut self, outbox: &mut Outbox, place: usize, key: RuleKey, action: rule::Action) {
        outbox.put(place, |requests| {
            encode::rule(requests, RuleVerb::Create, &key, action, PROTOCOL);
        });
        let later = |(other, _): &(RuleKey, _)| other.priority > key.priority;
        let end = self.list.iter().position(later);
        self.list
            .insert(end.unwrap_or(self.list.len()), (key, action));
    }

    /// Removes one. The kernel takes the first that a request fits, so those that stand before it and are
    /// fitted too are first made a second time, behind it: the kernel removes the first ones, and at no
    /// time is one missing.
    fn remove(
        &mut self,
        outbox: &mut Outbox,
        place: usize,
        key: &RuleKey,
        action: rule::Action,
    ) -> Result<(), Error> {
        let is_it = |(other, with): &(RuleKey, _)| other == key && *with == action;
        if !self.list.iter().any(is_it) {
            // Whatever the kernel removed would be another.
            return Err(Error::refused(libc::ENOENT, None));
        }
        loop {
            let fits = |(other, with): &(RuleKey, _)| *with == action && fits(key, other);
            let first = self.list.iter().position(fits);
            let first = self.list.remove(first.expect("the rule fits itself"));
            let found = is_it(&first);
            if !found {
                self.add(outbox, place, first.0, first.1);
            }
            outbox.put(place, |requests| {
                encode::rule(requests, RuleVerb::Delete, key, action, PROTOCOL);
            });
            if found {
                return Ok(());
            }
        }
    }
}

/// Whether the kernel takes a rule for the one that a request names.
fn fits(asked: &RuleKey, other: &RuleKey) -> bool {
    fn any<T: PartialEq>(asked: Option<&T>, other: Option<&T>) -> bool {
        asked.is_none() || asked == other
    }
    let bits = |of: fn(&Mark) -> u32| {
        let asked = asked.mark.as_ref().map_or(0, of);
        asked == 0 || Some(asked) == other.mark.as_ref().map(of)
    };
    asked.family == other.family
        && asked.priority == other.priority
        && any(asked.from.as_ref(), other.from.as_ref())
        && any(asked.to.as_ref(), other.to.as_ref())
        && any(asked.iif.as_ref(), other.iif.as_ref())
        && any(asked.oif.as_ref(), other.oif.as_ref())
        && bits(|mark| mark.value)
        && bits(|mark| mark.mask)
}
