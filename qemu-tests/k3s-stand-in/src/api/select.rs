//! Label and field selectors (Kubernetes documentation, "Labels and Selectors", "Field Selectors").

use serde_json::Value;

/// Whether an object's labels are as a selector says.
pub fn labels(selector: &str, object: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    terms(selector).into_iter().all(|term| label(&term, labels))
}

fn label(term: &str, labels: &Value) -> bool {
    let value = |key: &str| labels[key.trim()].as_str();
    let set = |list: &str, value: Option<&str>| {
        let list = list.trim().trim_start_matches('(').trim_end_matches(')');
        value.is_some_and(|value| list.split(',').any(|item| item.trim() == value))
    };
    if let Some((key, list)) = term.split_once(" notin ") {
        !set(list, value(key))
    } else if let Some((key, list)) = term.split_once(" in ") {
        set(list, value(key))
    } else if let Some((key, wanted)) = term.split_once("!=") {
        value(key) != Some(wanted.trim())
    } else if let Some((key, wanted)) = term.split_once("==").or_else(|| term.split_once('=')) {
        value(key) == Some(wanted.trim())
    } else if let Some(key) = term.strip_prefix('!') {
        value(key).is_none()
    } else {
        value(term).is_some()
    }
}

/// Whether an object's fields are as a selector says.
pub fn fields(selector: &str, object: &Value) -> bool {
    terms(selector).into_iter().all(|term| {
        let field = |path: &str| {
            let found = path.trim().split('.').fold(object, |at, part| &at[part]);
            match found {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            }
        };
        if let Some((path, wanted)) = term.split_once("!=") {
            field(path) != wanted
        } else if let Some((path, wanted)) = term.split_once("==").or_else(|| term.split_once('=')) {
            field(path) == wanted
        } else {
            false
        }
    })
}

/// Terms between commas that are not in parentheses.
fn terms(selector: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut inside = false;
    for letter in selector.chars() {
        match letter {
            '(' => inside = true,
            ')' => inside = false,
            ',' if !inside => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = all.last_mut() {
            last.push(letter);
        }
    }
    all.into_iter().map(|term| term.trim().to_owned()).filter(|term| !term.is_empty()).collect()
}

/// Whether labels are as a selector in an object says (`matchLabels` only).
pub fn matches(selector: &Value, object: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    selector["matchLabels"]
        .as_object()
        .is_some_and(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_select() {
        let object = json!({
            "metadata": { "name": "x", "labels": { "app": "db", "tier": "one" } },
            "spec": { "nodeName": "a" },
        });
        for yes in ["app=db", "app==db,tier", "app!=web", "!old", "app in (web, db)", "app notin (web)", ""] {
            assert!(labels(yes, &object), "{yes}");
        }
        for no in ["app=web", "old", "!app", "app in (web)", "app=db,tier=two", "app notin (db,web)"] {
            assert!(!labels(no, &object), "{no}");
        }
        assert!(fields("spec.nodeName=a,metadata.name!=y", &object));
        assert!(!fields("spec.nodeName=b", &object));
        assert!(fields("status.phase=", &object));
        assert!(!fields("nonsense", &object));
    }
}
