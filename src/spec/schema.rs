//! The JSON Schema of a topology, for editors.

use serde_json::{Map, Value, json};

use super::keys::{EXTERNAL, Key, Mapping, Need, POINT_TO_POINT, Shape, TOPOLOGY};

mod hints;

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
    explain(&mut schema, mapping.about);
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
    let mut schema = Map::new();
    schema.insert("type".into(), json!(["string", "null"]));
    explain(&mut schema, "A text for people, kept out of the kernel.");
    Value::Object(schema)
}

/// The keys of every mapping that mean nothing.
fn ignored() -> Value {
    let mut schema = Map::new();
    explain(&mut schema, "Ignored: a home for YAML anchors.");
    json!({ "^x-": schema })
}

fn property(key: &Key) -> Value {
    let mut schema = shape(&key.shape);
    explain(&mut schema, key.about);
    if let Some(examples) = hints::examples(&key.shape) {
        schema.insert("examples".into(), examples);
    }
    Value::Object(schema)
}

/// Says what a value is, with its default: as the plain text of JSON Schema, and as the Markdown that
/// editors prefer.
fn explain(schema: &mut Map<String, Value>, about: &str) {
    let default = match schema.get("default") {
        Some(Value::String(word)) => format!(" Default: `{word}`."),
        Some(other) => format!(" Default: `{other}`."),
        None => String::new(),
    };
    for key in ["description", "markdownDescription"] {
        schema.insert(key.into(), json!(format!("{about}{default}")));
    }
}

/// A value with what it is.
fn explained(value: Value, about: &str) -> Value {
    let Value::Object(mut schema) = value else {
        return value;
    };
    explain(&mut schema, about);
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
        Shape::Held => {
            let pair = mapping(&POINT_TO_POINT);
            json!({ "anyOf": [shape(&Shape::Address), pair] })
        }
        Shape::Prefix => json!({ "type": "string", "pattern": "^[0-9A-Fa-f.:]+/[0-9]{1,3}$" }),
        Shape::Gateways => {
            let items = json!({ "type": "string", "not": { "const": "none" } });
            let several = json!({ "type": "array", "items": items, "minItems": 1, "maxItems": 2 });
            json!({ "anyOf": [{ "type": "string" }, several] })
        }
        Shape::Forwarding => hints::one_of(
            json!([false, true, "ipv4", "ipv6"]),
            Some(&["No.", "IPv4 and IPv6.", "IPv4 alone.", "IPv6 alone."]),
        ),
        Shape::External => {
            let bool = json!({ "type": "boolean", "default": false });
            json!({ "anyOf": [bool, mapping(&EXTERNAL)] })
        }
        Shape::Destination => {
            let words = hints::words(&["default", "default4", "default6"]);
            let prefix = json!({ "pattern": "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$" });
            json!({ "type": "string", "anyOf": [prefix, words] })
        }
        Shape::Table => {
            let number = json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX });
            json!({ "anyOf": [number, hints::words(&["main", "default"])] })
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
        Shape::OneOf(words, usual) => {
            let mut schema = hints::words(words);
            if let Some(usual) = usual {
                schema["default"] = json!(usual);
            }
            schema
        }
        Shape::Sysctls => {
            let name = json!({ "pattern": r"^(net[./]|description$|x-)" });
            let value = json!({ "type": ["integer", "boolean", "string"] });
            let about =
                "A whole number, a bool or a text: what the kernel gives back when it is read.";
            open(&name, &explained(value, about))
        }
        Shape::Hosts => {
            let name = json!({ "pattern": r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$" });
            let items = json!({ "type": "string", "anyOf": ip });
            let several = json!({ "type": "array", "items": items, "minItems": 1 });
            let value = json!({ "anyOf": [items, several] });
            open(
                &name,
                &explained(value, "The address of this name, or a list of them."),
            )
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
