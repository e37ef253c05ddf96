//! The configuration file. k3s reads YAML; ours are JSON under a comment, which is YAML, and k3s's own documentation
//! shows flat ones: a key, and a value or a list below it. Both are read here, and nothing beyond them.

use anyhow::{Context, bail};
use serde_json::Value;

/// Keys with their values, in order.
pub fn parse(text: &str) -> anyhow::Result<Vec<(String, Vec<String>)>> {
    let plain: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#') && line.trim() != "---")
        .flat_map(|line| [line, "\n"])
        .collect();
    if plain.trim_start().starts_with('{') { object(&plain) } else { flat(&plain) }
}

fn object(text: &str) -> anyhow::Result<Vec<(String, Vec<String>)>> {
    let value: Value = serde_json::from_str(text).context("it begins like JSON and is none")?;
    let Value::Object(object) = value else { bail!("it is no table") };
    let scalar = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        other => bail!("{other} is no value of an option"),
    };
    object
        .iter()
        .map(|(key, value)| {
            let values = match value {
                Value::Array(items) => items.iter().map(scalar).collect::<anyhow::Result<_>>()?,
                one => vec![scalar(one)?],
            };
            Ok((key.clone(), values))
        })
        .collect()
}

fn flat(text: &str) -> anyhow::Result<Vec<(String, Vec<String>)>> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(item) = line.trim_start().strip_prefix("- ") {
            let Some((_, values)) = all.last_mut() else { bail!("`{line}` belongs to no key") };
            values.push(unquoted(item));
        } else if line.starts_with(' ') {
            bail!("the stand-in reads flat files only, and cannot read `{line}`");
        } else {
            let (key, value) = line.split_once(':').with_context(|| format!("`{line}` has no key"))?;
            let value = unquoted(value);
            all.push((unquoted(key), if value.is_empty() { Vec::new() } else { vec![value] }));
        }
    }
    Ok(all)
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner.to_owned();
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_file_is_read() {
        let text =
            "---\nwrite-kubeconfig-mode: \"0644\"\ntls-san:\n  - foo.local\n  - 'bar'\ncluster-init: true\n";
        let read = parse(text).unwrap();
        assert_eq!(read[0], ("write-kubeconfig-mode".into(), vec!["0644".into()]));
        assert_eq!(read[1], ("tls-san".into(), vec!["foo.local".into(), "bar".into()]));
        assert_eq!(read[2], ("cluster-init".into(), vec!["true".into()]));
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        assert!(parse("a:\n  b: c\n").is_err());
        assert!(parse("- a\n").is_err());
        assert!(parse("{\"a\": {\"b\": 1}}").is_err());
        assert!(parse("{\"a\": 1").is_err());
    }
}
