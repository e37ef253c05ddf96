//! JSON Schema (draft 2020-12) of the seed, made from the table, for editors.

use serde_json::{Value, json};

use crate::table::{self, Kind, TABLES};

/// The schema as JSON. `docs/seed.schema.json` holds it, and a test compares.
#[must_use]
pub fn json_schema() -> Value {
    let mut root = object("What a pair of boxes is to be.");
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "edgepair seed".into();
    for table in TABLES {
        for path in both_nodes(table.path) {
            descend(&mut root, &path)["description"] = table.about.into();
            if table.required {
                require(&mut root, &path);
            }
        }
    }
    for row in table::keys() {
        let mut value = if row.path == "schema" { json!({"const": crate::SCHEMA}) } else { kind(row.kind) };
        value["description"] = row.about.into();
        // Defaults are written as TOML; those in use are JSON as well.
        if let Ok(default) = serde_json::from_str::<Value>(row.default) {
            value["default"] = default;
        }
        for path in both_nodes(row.path) {
            let (parent, name) = path.rsplit_once('.').unwrap_or(("", &path));
            let table = descend(&mut root, parent);
            if name == "*" {
                table["additionalProperties"] = value.clone();
                continue;
            }
            table["properties"][name] = value.clone();
            if row.required {
                add_required(table, name);
            }
        }
    }
    root
}

/// `node.*` stands for the two nodes, which the schema lists by name.
fn both_nodes(path: &str) -> Vec<String> {
    match path.strip_prefix("node.*") {
        Some(rest) => ["a", "b"].iter().map(|node| format!("node.{node}{rest}")).collect(),
        None => vec![path.to_owned()],
    }
}

fn object(about: &str) -> Value {
    let mut object = json!({"type": "object", "properties": {}, "additionalProperties": false});
    if !about.is_empty() {
        object["description"] = about.into();
    }
    object
}

/// The object at a table's path, made on the way where missing. `*` is `additionalProperties`.
fn descend<'a>(root: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').filter(|part| !part.is_empty()).fold(root, |at, part| {
        let slot = if part == "*" { &mut at["additionalProperties"] } else { &mut at["properties"][part] };
        if !slot.is_object() {
            *slot = object("");
        }
        slot
    })
}

/// Makes every table on the way required.
fn require(root: &mut Value, path: &str) {
    let mut parent = String::new();
    for part in path.split('.') {
        add_required(descend(root, &parent), part);
        parent = if parent.is_empty() { part.to_owned() } else { format!("{parent}.{part}") };
    }
}

fn add_required(table: &mut Value, name: &str) {
    let mut names = table["required"].as_array().cloned().unwrap_or_default();
    if !names.iter().any(|known| known == name) {
        names.push(name.into());
    }
    table["required"] = names.into();
}

fn kind(kind: Kind) -> Value {
    match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Integer(low, high) => json!({"type": "integer", "minimum": low, "maximum": high}),
        Kind::OneOf(words) => json!({"enum": words}),
        Kind::List(item) => json!({"type": "array", "items": self::kind(*item)}),
        Kind::OneOrMore(item) => {
            json!({"oneOf": [self::kind(*item), {"type": "array", "minItems": 1, "items": self::kind(*item)}]})
        }
        Kind::Anything => json!({}),
        Kind::Label => json!({"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}),
        Kind::Mac => json!({"type": "string", "pattern": "^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$"}),
        Kind::Size => json!({"type": "string", "pattern": "^[0-9]+ ?([KMGT]iB|[kKMGT]B)$"}),
        Kind::Duration => json!({"type": "string", "pattern": "^[0-9]+ ?(ms|s|min|h)$"}),
        Kind::Interface => json!({"type": "string", "pattern": "^[0-9A-Fa-f:.]+/[0-9]{1,3}$"}),
        Kind::Network => json!({"type": "string", "pattern": "^[0-9A-Fa-f:.]+/[0-9]{1,3}$"}),
        Kind::Device => json!({"type": "string", "pattern": "^/dev/"}),
        Kind::Url => json!({"type": "string", "pattern": "^https?://"}),
        Kind::Fingerprint => json!({"type": "string", "pattern": "^sha256:"}),
        Kind::Port => json!({"type": "string", "pattern": "^[0-9]+(-[0-9]+)?/(tcp|udp)$"}),
        Kind::Window => json!({
            "type": "string",
            "pattern": "^(daily|[MTWFS][a-z]{2}[A-Za-z,-]*) [0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]( UTC)?$"
        }),
        Kind::Zone => json!({"type": "string", "pattern": "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"}),
        Kind::Text
        | Kind::Secret
        | Kind::SecretFile
        | Kind::File
        | Kind::Host
        | Kind::Domain
        | Kind::Address
        | Kind::SshKey
        | Kind::KubeLabel
        | Kind::KubeTaint => json!({"type": "string", "minLength": 1}),
    }
}
