//! How what netform made says whose it is.

use super::read::Link;
pub(super) use crate::resource::link::GROUP;
use crate::resource::name::TopologyName;

/// The protocol number of addresses and routes (`rtm_protocol`, `IFA_PROTO`).
pub(super) const PROTOCOL: u8 = 110;

/// What the tags begin with.
const PREFIX: &str = "netform:";

/// The longest alias, in bytes (`IFALIASZ` of `linux/if.h`, without its end).
const LONGEST: usize = 255;

/// The tag of a topology.
pub(super) fn text(topology: &TopologyName) -> String {
    format!("{PREFIX}{topology}")
}

/// The alias of what is a topology's and has words of a person's too, as far as there is room for them.
pub(super) fn with_words(topology: &TopologyName, words: &str) -> String {
    let mut alias = text(topology);
    if !words.is_empty() {
        alias.push(' ');
        alias.push_str(words);
    }
    while alias.len() > LONGEST {
        alias.pop();
    }
    alias
}

/// Whose a tag is: `netform:TOPOLOGY`, and after a space any text a person likes.
pub(super) fn owner(text: &str) -> Option<TopologyName> {
    let rest = text.strip_prefix(PREFIX)?;
    let name = rest.split(' ').next().unwrap_or_default();
    TopologyName::try_from(name).ok()
}

/// Whose a link is: its alias and its number say so. The alias alone may have been copied by somebody, and
/// says nothing. `lo`, whose alias is the tag of its namespace, has no number.
pub(super) fn of_link(link: &Link) -> Option<TopologyName> {
    owner(&link.alias).filter(|_| link.group == GROUP || link.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_may_be_followed_by_what_a_person_likes() {
        let lab = TopologyName::try_from("lab").expect("a name");
        assert_eq!(owner(&text(&lab)), Some(lab.clone()));
        assert_eq!(owner("netform:lab my own words"), Some(lab));
        for not in [
            "",
            "netform:",
            "netform:Lab",
            "netform:lab!",
            " netform:lab",
            "lab",
        ] {
            assert_eq!(owner(not), None, "{not:?}");
        }
    }

    #[test]
    fn words_stay_behind_the_tag_as_far_as_there_is_room() {
        let lab = TopologyName::try_from("lab").expect("a name");
        assert_eq!(with_words(&lab, ""), "netform:lab");
        assert_eq!(with_words(&lab, "of Ann"), "netform:lab of Ann");
        let long = with_words(&lab, &"é".repeat(127));
        assert!(long.len() <= LONGEST && long.starts_with("netform:lab é"));
        assert_eq!(owner(&long), Some(lab));
    }

    #[test]
    fn nothing_but_a_space_ends_a_topologys_name() {
        let long = format!("netform:{}", "a".repeat(255 - "netform:".len()));
        let wordy = format!("netform:lab {}", "x".repeat(255 - "netform:lab ".len()));
        let lab = TopologyName::try_from("lab").expect("a name");
        assert_eq!(owner(&wordy), Some(lab.clone()));
        for not in [
            "netform:lab\tmine",
            "netform:lab\nnetform:other",
            "netform:lab\0",
            "netform:lab\u{a0}mine",
            "netform:lab\u{fffd}",
            "netform: lab",
            "netform:netform:lab",
            "NETFORM:lab",
            "netform:../lab",
            long.as_str(),
        ] {
            assert_eq!(owner(not), None, "{not:?}");
        }
        // One name may begin with another.
        for other in ["netform:lab2", "netform:la", "netform:lab-2 lab"] {
            let owner = owner(other);
            assert!(owner.is_some() && owner != Some(lab.clone()), "{other:?}");
        }
    }

    #[test]
    fn a_copied_alias_is_no_tag() {
        let lab = TopologyName::try_from("lab").expect("a name");
        let mut link = Link {
            alias: text(&lab),
            group: GROUP,
            ..Link::default()
        };
        assert_eq!(of_link(&link), Some(lab.clone()));
        link.group = 0;
        assert_eq!(of_link(&link), None);
        link.flags = libc::IFF_LOOPBACK.cast_unsigned();
        assert_eq!(of_link(&link), Some(lab));
    }
}
