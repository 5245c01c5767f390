//! What an editor shows beyond the rules: what words mean, and examples of values.

use serde_json::{Map, Value, json};

use crate::spec::keys::Shape;

/// One of some words, each with its meaning.
pub(super) fn words(words: &[&str]) -> Value {
    let meanings: Option<Vec<&str>> = words.iter().map(|word| meaning(word)).collect();
    one_of(json!(words), meanings.as_deref())
}

/// One of some values, with their meanings in the same order.
pub(super) fn one_of(values: Value, meanings: Option<&[&str]>) -> Value {
    let mut schema = Map::new();
    schema.insert("enum".into(), values);
    if let Some(meanings) = meanings {
        schema.insert("enumDescriptions".into(), json!(meanings));
        schema.insert("markdownEnumDescriptions".into(), json!(meanings));
    }
    Value::Object(schema)
}

/// What a word of the language means, wherever it may stand.
fn meaning(word: &str) -> Option<&'static str> {
    Some(match word {
        "default" => "All addresses, or the table of that name.",
        "default4" => "All addresses of IPv4.",
        "default6" => "All addresses of IPv6.",
        "main" => "The table that is asked unless a rule says otherwise.",
        "unicast" => "The packet goes to the next hop.",
        "lookup" => {
            "The routes of `table` decide; if none is for the packet, the next rule is asked."
        }
        "blackhole" => "The packet is dropped silently.",
        "unreachable" => {
            "The packet is dropped, and its sender is told that the host is unreachable."
        }
        "tcp" => "Connections of TCP.",
        "udp" => "What is sent by UDP.",
        "any" => "A whole address, whatever the protocol.",
        "prohibit" => "The packet is dropped, and its sender is told that this is prohibited.",
        "ok" => "It must succeed.",
        "fail" => "It must fail, in whichever way.",
        "deny" => "They are dropped.",
        "allow" => "They are let through.",
        _ => return None,
    })
}

/// Examples of a value, where its description doesn't show it.
pub(super) fn examples(shape: &Shape) -> Option<Value> {
    Some(match shape {
        Shape::Mtu => json!([1400, 9000]),
        Shape::Ip => json!(["192.168.50.3", "fd50::3"]),
        Shape::Address => json!(["192.168.50.2", "192.168.50.0/24"]),
        Shape::Prefix => json!(["192.168.50.0/24", "fd50::/64"]),
        Shape::Gateways => json!(["lab", ["lab", "lab6"], "none"]),
        Shape::Destination => json!(["10.0.0.0/8", "fd00::/8", "192.168.50.3", "default"]),
        Shape::Table => json!([100, "main"]),
        Shape::Mark => json!([1, "0x1/0xff"]),
        Shape::Number(least, most) => json!([10.clamp(*least, *most), 20.clamp(*least, *most)]),
        Shape::Sysctls => json!([{ "net.ipv4.conf.all.rp_filter": 2 }]),
        Shape::Hosts => json!([{ "db.lab": "192.168.50.3" }]),
        Shape::ListOf(Shape::Address) => json!([["192.168.50.2/24", "fd50::2/64"]]),
        Shape::ListOf(Shape::Ip) | Shape::Several(Shape::Ip, ..) => json!([["198.51.100.53"]]),
        _ => return None,
    })
}
