//! What the rules of a table have counted.

use nftnl_sys as sys;

use super::error::{Error, Object};
use super::object::RuleObject;
use super::read::dump;
use super::socket::Channel;
use super::userdata::{self, COMMENT};
use crate::state::Counted;

/// Reads the counters of a table of family `inet`, in the order of its chains and rules. Some if the answer is of one
/// piece.
pub(super) fn read(channel: &mut Channel, table: &str) -> Result<Option<Vec<Counted>>, Error> {
    let mut object = RuleObject::new();
    object.set_str(sys::NFTNL_RULE_TABLE, table);
    let mut request = Vec::new();
    object.build(&mut request, dump(libc::NFT_MSG_GETRULE));
    let mut all = Vec::new();
    let about = Object::Table(table.to_owned());
    let whole = channel.dump(request, &about, |message| {
        let object = RuleObject::parse(message)?;
        if object.str(sys::NFTNL_RULE_TABLE)? == table {
            let chain = object.str(sys::NFTNL_RULE_CHAIN)?;
            let userdata = object.data(sys::NFTNL_RULE_USERDATA).unwrap_or_default();
            object.for_each(|expression| {
                if expression.kind() == "counter" {
                    let number = |attribute| expression.long(attribute).unwrap_or(0);
                    all.push(Counted {
                        chain: chain.clone(),
                        rule: userdata::find_comment(&userdata, COMMENT),
                        packets: number(sys::NFTNL_EXPR_CTR_PACKETS),
                        bytes: number(sys::NFTNL_EXPR_CTR_BYTES),
                    });
                }
            });
        }
        Some(())
    })?;
    Ok(whole.then_some(all))
}
