//! How what netform made says whose it is.

pub(super) use crate::resource::link::GROUP;
use crate::resource::name::TopologyName;

/// The protocol number of addresses and routes (`rtm_protocol`, `IFA_PROTO`).
pub(super) const PROTOCOL: u8 = 110;

/// What the tags begin with.
const PREFIX: &str = "netform:";

/// The tag of a topology.
pub(super) fn text(topology: &TopologyName) -> String {
    format!("{PREFIX}{topology}")
}

/// Whose a tag is: `netform:TOPOLOGY`, and after a space any text a person likes.
pub(super) fn owner(text: &str) -> Option<TopologyName> {
    let rest = text.strip_prefix(PREFIX)?;
    let name = rest.split(' ').next().unwrap_or_default();
    TopologyName::try_from(name).ok()
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
}
