//! The JSON Schema of a topology, for editors.

use serde_json::{Map, Value, json};

use super::keys::{EXTERNAL, Key, Mapping, Need, Shape, TOPOLOGY};

/// The schema as JSON text, with a newline at its end.
///
/// It says what an editor can use. Which names and addresses fit to each other only
/// [`parse`](super::parse) knows.
pub fn text() -> String {
    let mut schema = Map::new();
    schema.insert(
        "$schema".into(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".into(), json!("netform topology"));
    schema.extend(mapping(&TOPOLOGY));
    format!("{:#}\n", Value::Object(schema))
}

fn mapping(mapping: &Mapping) -> Map<String, Value> {
    let mut properties = Map::new();
    properties.insert("description".into(), description());
    for key in mapping.keys {
        properties.insert(key.name.into(), property(key));
    }
    let required: Vec<&str> = mapping
        .keys
        .iter()
        .filter(|key| key.need == Need::Required)
        .map(|key| key.name)
        .collect();
    let mut schema = Map::new();
    schema.insert("description".into(), json!(mapping.about));
    schema.insert("type".into(), json!("object"));
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    schema.insert("properties".into(), Value::Object(properties));
    schema.insert("patternProperties".into(), ignored());
    schema.insert("additionalProperties".into(), json!(false));
    schema
}

/// What `description` is in every mapping.
fn description() -> Value {
    json!({ "description": "A text for people.", "type": ["string", "null"] })
}

/// The keys of every mapping that mean nothing.
fn ignored() -> Value {
    json!({ "^x-": { "description": "Ignored: a home for YAML anchors." } })
}

fn property(key: &Key) -> Value {
    let mut schema = shape(&key.shape);
    schema.insert("description".into(), json!(key.about));
    Value::Object(schema)
}

/// A mapping from names.
fn open(name: &Value, value: &Value) -> Value {
    json!({
        "type": ["object", "null"],
        "propertyNames": name,
        "properties": { "description": description() },
        "patternProperties": ignored(),
        "additionalProperties": value,
    })
}

fn shape(of: &Shape) -> Map<String, Value> {
    let ip = json!([{ "format": "ipv4" }, { "format": "ipv6" }]);
    let value = match of {
        Shape::Version => json!({ "const": 1 }),
        Shape::Pattern(pattern) => json!({ "type": "string", "pattern": pattern }),
        Shape::Bool(default) => json!({ "type": "boolean", "default": default }),
        Shape::Mtu => json!({ "type": "integer", "minimum": 68, "maximum": 65535 }),
        Shape::Ip => json!({ "type": "string", "anyOf": ip }),
        Shape::Address => json!({ "type": "string", "pattern": "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$" }),
        Shape::Prefix => json!({ "type": "string", "pattern": "^[0-9A-Fa-f.:]+/[0-9]{1,3}$" }),
        Shape::Gateways => {
            let items = json!({ "type": "string", "not": { "const": "none" } });
            json!({ "type": ["string", "array"], "items": items, "minItems": 1, "maxItems": 2 })
        }
        Shape::Forwarding => json!({ "enum": [false, true, "ipv4", "ipv6"] }),
        Shape::External => {
            let bool = json!({ "type": "boolean", "default": false });
            json!({ "anyOf": [bool, mapping(&EXTERNAL)] })
        }
        Shape::Destination => {
            let words = json!({ "enum": ["default", "default4", "default6"] });
            let prefix = json!({ "pattern": "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$" });
            json!({ "type": "string", "anyOf": [prefix, words] })
        }
        Shape::Table => {
            let number = json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX });
            json!({ "anyOf": [number, { "enum": ["main", "default"] }] })
        }
        Shape::Mark => {
            let number = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
            let number_of = "(0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,10})";
            let pattern = format!("^{number_of}(/{number_of})?$");
            json!({ "anyOf": [number, { "type": "string", "pattern": pattern }] })
        }
        Shape::Number(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Shape::OneOf(words, usual) => match usual {
            Some(usual) => json!({ "enum": words, "default": usual }),
            None => json!({ "enum": words }),
        },
        Shape::Sysctls => {
            let name = json!({ "pattern": r"^(net[./]|description$|x-)" });
            let value = json!({ "type": ["integer", "boolean", "string"] });
            open(&name, &value)
        }
        Shape::Hosts => {
            let name = json!({ "pattern": r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$" });
            let items = json!({ "type": "string", "anyOf": ip });
            let several = json!({ "type": "array", "items": items, "minItems": 1 });
            open(&name, &json!({ "anyOf": [items, several] }))
        }
        Shape::Of(fixed) => return mapping(fixed),
        Shape::ListOf(item) => {
            json!({ "type": ["array", "null"], "items": shape(item) })
        }
        Shape::Several(item, least, most) => {
            json!({ "type": "array", "items": shape(item), "minItems": least, "maxItems": most })
        }
        Shape::Either(several) => {
            let several: Vec<_> = several.iter().map(shape).map(Value::Object).collect();
            json!({ "anyOf": several })
        }
        Shape::MapOf(pattern, entry) => {
            let mut value = mapping(entry);
            value.insert("type".into(), json!(["object", "null"]));
            open(&json!({ "pattern": pattern }), &Value::Object(value))
        }
    };
    match value {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}
