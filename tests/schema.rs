//! The JSON Schema has for an editor what it shows: a text for each key and each word.

use serde_json::Value;

/// Goes through a schema and all below it, with the way to each.
fn each(schema: &Value, at: &str, visit: &mut impl FnMut(&Value, &str)) {
    visit(schema, at);
    if let Value::Object(members) = schema {
        for (name, below) in members {
            each(below, &format!("{at}/{name}"), visit);
        }
    }
    if let Value::Array(items) = schema {
        for (number, below) in items.iter().enumerate() {
            each(below, &format!("{at}/{number}"), visit);
        }
    }
}

fn schema() -> Value {
    serde_json::from_str(&netform::spec::schema::text()).expect("it is JSON")
}

#[test]
fn every_key_and_every_entry_has_a_text_as_plain_text_and_as_markdown() {
    let mut keys = 0;
    each(&schema(), "", &mut |schema, at| {
        let keyed = at.rsplit('/').nth(1);
        let is_key = matches!(keyed, Some("properties" | "patternProperties"))
            || at.ends_with("/additionalProperties") && schema.is_object();
        if is_key {
            keys += 1;
            for text in ["description", "markdownDescription"] {
                let text = schema[text].as_str().unwrap_or_default();
                assert!(text.ends_with('.'), "{at} has {text:?}");
            }
        }
    });
    assert!(keys > 60, "{keys}");
}

#[test]
fn every_word_has_a_meaning() {
    let mut words = 0;
    each(&schema(), "", &mut |schema, at| {
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            words += values.len();
            for meanings in ["enumDescriptions", "markdownEnumDescriptions"] {
                let meanings = schema[meanings].as_array();
                assert_eq!(meanings.map(Vec::len), Some(values.len()), "{at}");
            }
        }
    });
    assert!(words > 10, "{words}");
}
