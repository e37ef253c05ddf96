//! The ways in which an object is changed in part: JSON merge patch (RFC 7386), JSON patch (RFC 6902), and Kubernetes'
//! strategic merge patch (Kubernetes, "Update API Objects in Place Using kubectl patch").

use serde_json::{Map, Value};

/// How a patch is meant, by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Merge.
    Merge,
    /// Merge, with lists whose items have a key.
    Strategic,
    /// Operations.
    Json,
    /// Server-side apply, taken here as a merge that may make the object.
    Apply,
}

impl How {
    /// From a content type.
    pub fn parse(kind: &str) -> Option<Self> {
        match kind.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            "application/json-patch+json" => Some(Self::Json),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }

    /// Changes an object.
    ///
    /// # Errors
    /// What is wrong with the patch.
    pub fn apply(self, object: &mut Value, patch: &Value) -> Result<(), String> {
        match self {
            Self::Merge => merge(object, patch, false),
            Self::Strategic | Self::Apply => merge(object, patch, true),
            Self::Json => {
                for step in patch.as_array().ok_or("a JSON patch is a list")? {
                    operation(object, step)?;
                }
            }
        }
        Ok(())
    }
}

/// The field by which items of a list are told apart; other lists are replaced whole.
fn key_of(list: &str) -> Option<&'static str> {
    match list {
        "conditions" | "addresses" => Some("type"),
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("containerPort"),
        "ownerReferences" => Some("uid"),
        _ => None,
    }
}

fn merge(object: &mut Value, patch: &Value, strategic: bool) {
    let Value::Object(changes) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(fields) = object else { return };
    for (name, change) in changes {
        if strategic && name.starts_with('$') {
            directive(fields, name, change);
            continue;
        }
        match (strategic.then(|| key_of(name)).flatten(), change) {
            (_, Value::Null) => {
                fields.remove(name);
            }
            (Some(key), Value::Array(items)) => {
                let list = fields.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    merge_list(list, items, key);
                }
            }
            _ => merge(fields.entry(name).or_insert(Value::Null), change, strategic),
        }
    }
}

fn directive(fields: &mut Map<String, Value>, name: &str, change: &Value) {
    if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/")
        && let (Some(Value::Array(list)), Some(gone)) = (fields.get_mut(list), change.as_array())
    {
        list.retain(|item| !gone.contains(item));
    } else if name == "$patch" && change == "replace" {
        fields.clear();
    }
}

fn merge_list(list: &mut Vec<Value>, items: &[Value], key: &str) {
    for item in items {
        let at = list.iter().position(|old| old[key] == item[key]);
        match (item["$patch"] == "delete", at) {
            (true, Some(at)) => {
                list.remove(at);
            }
            (true, None) => {}
            (false, Some(at)) => merge(&mut list[at], item, true),
            (false, None) => list.push(item.clone()),
        }
    }
}

fn operation(object: &mut Value, step: &Value) -> Result<(), String> {
    let path = step["path"].as_str().ok_or("a step of the patch has no path")?;
    let missing = || format!("the patch names {path}, which is not there");
    match step["op"].as_str() {
        Some("test") => {
            let found = object.pointer(path).unwrap_or(&Value::Null);
            if *found == step["value"] { Ok(()) } else { Err(format!("{path} is not as the patch expects")) }
        }
        Some("replace") => {
            *object.pointer_mut(path).ok_or_else(missing)? = step["value"].clone();
            Ok(())
        }
        Some(op @ ("add" | "remove")) => {
            let (parent, last) = path.rsplit_once('/').ok_or_else(missing)?;
            let last = last.replace("~1", "/").replace("~0", "~");
            match object.pointer_mut(parent).ok_or_else(missing)? {
                Value::Object(fields) if op == "add" => {
                    fields.insert(last, step["value"].clone());
                }
                Value::Object(fields) => {
                    fields.remove(&last).ok_or_else(missing)?;
                }
                Value::Array(items) => {
                    let at = if last == "-" { items.len() } else { last.parse().map_err(|_| missing())? };
                    if op == "add" && at <= items.len() {
                        items.insert(at, step["value"].clone());
                    } else if op == "remove" && at < items.len() {
                        items.remove(at);
                    } else {
                        return Err(missing());
                    }
                }
                _ => return Err(missing()),
            }
            Ok(())
        }
        other => Err(format!("a step of the patch is {other:?}, which is not served")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(how: How, object: Value, patch: &Value) -> Value {
        let mut object = object;
        how.apply(&mut object, patch).unwrap();
        object
    }

    #[test]
    fn taints_are_replaced_whole_and_conditions_one_by_one() {
        let node = json!({
            "spec": { "taints": [{ "key": "old", "effect": "NoSchedule" }] },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }, { "type": "DiskPressure", "status": "False" }] },
        });
        let patch = json!({
            "spec": { "taints": [{ "key": "new", "effect": "NoExecute" }] },
            "status": { "$setElementOrder/conditions": [{ "type": "Ready" }], "conditions": [{ "type": "Ready", "status": "Unknown" }] },
        });
        let after = patched(How::Strategic, node.clone(), &patch);
        assert_eq!(after["spec"]["taints"], json!([{ "key": "new", "effect": "NoExecute" }]));
        assert_eq!(after["status"]["conditions"][0]["status"], "Unknown");
        assert_eq!(after["status"]["conditions"][1]["type"], "DiskPressure");
        assert!(after["status"].get("$setElementOrder/conditions").is_none());
        let none = patched(How::Strategic, node.clone(), &json!({ "spec": { "taints": null } }));
        assert!(none["spec"].get("taints").is_none());
        let plain = patched(How::Merge, node, &json!({ "status": { "conditions": [] } }));
        assert_eq!(plain["status"]["conditions"], json!([]));
    }

    #[test]
    fn operations_are_carried_out_or_refused() {
        let object = json!({ "metadata": { "labels": { "a/b": "1" } }, "list": [1, 2] });
        let steps = json!([
            { "op": "test", "path": "/list/0", "value": 1 },
            { "op": "remove", "path": "/metadata/labels/a~1b" },
            { "op": "add", "path": "/list/-", "value": 3 },
            { "op": "replace", "path": "/list/0", "value": 0 },
        ]);
        let after = patched(How::Json, object.clone(), &steps);
        assert_eq!(after, json!({ "metadata": { "labels": {} }, "list": [0, 2, 3] }));
        for bad in [
            json!([{ "op": "test", "path": "/list/0", "value": 2 }]),
            json!([{ "op": "remove", "path": "/none" }]),
            json!([{ "op": "add", "path": "/list/9", "value": 2 }]),
            json!([{ "op": "copy", "path": "/list/0" }]),
            json!({}),
        ] {
            assert!(How::Json.apply(&mut object.clone(), &bad).is_err(), "{bad}");
        }
    }
}
