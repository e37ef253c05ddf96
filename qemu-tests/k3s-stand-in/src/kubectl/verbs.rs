//! get, create, apply, delete, patch, annotate, label, taint.

use super::{Api, Call, path};
use crate::api::kinds::Kind;
use crate::api::table;
use crate::client;
use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use std::time::Duration;

pub async fn get(call: &Call, client: &Api) -> anyhow::Result<ExitCode> {
    if let Some(path) = call.option("raw") {
        return raw(client, path).await;
    }
    let (kind, names) = call.targets(1)?;
    let mut objects = Vec::new();
    if names.is_empty() {
        let mut query = Vec::new();
        for (option, parameter) in [("selector", "labelSelector"), ("field-selector", "fieldSelector")] {
            query.extend(call.option(option).map(|value| format!("{parameter}={}", encoded(value))));
        }
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let list = client.get(&(path(call, kind, None) + &query)).await?;
        for item in list["items"].as_array().into_iter().flatten() {
            let mut item = item.clone();
            item["kind"] = kind.kind.into();
            item["apiVersion"] = kind.api_version().into();
            objects.push(item);
        }
    }
    for name in &names {
        match client.get(&path(call, kind, Some(name))).await {
            Err(error) if call.on("ignore-not-found") && client::code(&error) == Some(404) => {}
            other => objects.push(other?),
        }
    }
    print(call, kind, &objects, names.len() == 1)?;
    Ok(ExitCode::SUCCESS)
}

async fn raw(client: &Api, path: &str) -> anyhow::Result<ExitCode> {
    let Api::Network(network) = client else { bail!("--raw is asked over the network") };
    let reply = network.ask("GET", path, "", None, &[]).await?;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    if reply.code != 200 {
        bail!("Error from server: {}", text.trim());
    }
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}

fn print(call: &Call, kind: &Kind, objects: &[Value], one: bool) -> anyhow::Result<()> {
    match call.option("output") {
        Some("json") if one => {
            if let Some(object) = objects.first() {
                println!("{object:#}");
            }
        }
        Some("json") => {
            println!("{:#}", json!({ "apiVersion": "v1", "kind": "List", "items": objects, "metadata": {} }))
        }
        Some("name") => {
            let group = if kind.group.is_empty() { String::new() } else { format!(".{}", kind.group) };
            for object in objects {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                println!("{}{group}/{name}", kind.kind.to_lowercase());
            }
        }
        format @ (None | Some("wide")) => {
            if objects.is_empty() {
                eprintln!("No resources found");
                return Ok(());
            }
            let columns = table::columns(kind);
            let shown = |index: usize| format.is_some() || !columns[index].1;
            let head: Vec<String> = columns.iter().map(|(name, _)| name.to_uppercase()).collect();
            let rows = objects.iter().map(|object| table::cells(kind, object));
            let all: Vec<Vec<String>> =
                (!call.on("no-headers")).then_some(head).into_iter().chain(rows).collect();
            for row in &all {
                let line: Vec<String> = row
                    .iter()
                    .enumerate()
                    .filter(|(index, _)| shown(*index))
                    .map(|(index, cell)| {
                        let width = all.iter().map(|row| row[index].len()).max().unwrap_or_default();
                        format!("{cell:<width$}")
                    })
                    .collect();
                println!("{}", line.join("   ").trim_end());
            }
        }
        Some(other) => bail!("the stand-in's kubectl has no output format {other}"),
    }
    Ok(())
}

pub async fn make(call: &Call, client: &Api, apply: bool) -> anyhow::Result<ExitCode> {
    for object in documents(&call.file()?)? {
        let (group, version) = {
            let text = object["apiVersion"].as_str().context("the object has no apiVersion")?;
            text.split_once('/').unwrap_or(("", text))
        };
        let word = object["kind"].as_str().context("the object has no kind")?;
        let kind = crate::api::kinds::KINDS
            .iter()
            .find(|kind| kind.group == group && kind.version == version && kind.kind == word)
            .with_context(|| {
                format!("no matches for kind \"{word}\" in version \"{}\"", object["apiVersion"])
            })?;
        let namespace = object["metadata"]["namespace"].as_str().or(call.namespace());
        let made = client.post(&kind.path(namespace, None), &object).await;
        let (object, what) = match made {
            Err(error) if apply && client::code(&error) == Some(409) => {
                let name = object["metadata"]["name"].as_str().context("the object has no name")?;
                let path = kind.path(namespace, Some(name));
                let kind = "application/strategic-merge-patch+json";
                (client.json("PATCH", &path, kind, Some(&object)).await?, "configured")
            }
            other => (other?, "created"),
        };
        said(kind, &object, what);
    }
    Ok(ExitCode::SUCCESS)
}

/// JSON documents; YAML is left to the real kubectl.
fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let document = document.context("the stand-in's kubectl reads JSON only")?;
        match document["items"].as_array() {
            Some(items) if document["kind"] == "List" => all.extend(items.iter().cloned()),
            _ => all.push(document),
        }
    }
    Ok(all)
}

pub async fn delete(call: &Call, client: &Api) -> anyhow::Result<ExitCode> {
    let (kind, mut names) = call.targets(1)?;
    if names.is_empty()
        && (call.on("all") || call.option("selector").is_some() || call.option("field-selector").is_some())
    {
        let query = [("selector", "labelSelector"), ("field-selector", "fieldSelector")]
            .iter()
            .filter_map(|(option, parameter)| Some(format!("{parameter}={}", encoded(call.option(option)?))))
            .collect::<Vec<_>>()
            .join("&");
        let list = client.get(&format!("{}?{query}", path(call, kind, None))).await?;
        let items = list["items"].as_array().into_iter().flatten();
        names = items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect();
    }
    let mut options = json!({});
    match call.option("grace-period") {
        Some(grace) => options["gracePeriodSeconds"] = grace.parse::<u64>().context("--grace-period")?.into(),
        None if call.on("force") => options["gracePeriodSeconds"] = 0.into(),
        None if call.on("now") => options["gracePeriodSeconds"] = 1.into(),
        None => {}
    }
    for name in &names {
        let path = path(call, kind, Some(name));
        match client.delete(&path, &options).await {
            Err(error) if call.on("ignore-not-found") && client::code(&error) == Some(404) => continue,
            other => drop(other?),
        }
        println!("{} \"{name}\" deleted", kind.kind.to_lowercase());
        if call.option("wait") != Some("false") {
            gone(client, &path, call.option("timeout")).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until an object is gone.
pub async fn gone(client: &Api, path: &str, limit: Option<&str>) -> anyhow::Result<()> {
    let limit = limit.and_then(crate::command_line::seconds).filter(|limit| *limit > 0.0);
    let begun = crate::clock::instant();
    loop {
        match client.get(path).await {
            Err(error) if client::code(&error) == Some(404) => return Ok(()),
            other => drop(other?),
        }
        if limit.is_some_and(|limit| begun.elapsed().as_secs_f64() >= limit) {
            bail!("timed out waiting for the condition on {path}");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

pub async fn patch(call: &Call, client: &Api) -> anyhow::Result<ExitCode> {
    let (kind, names) = call.targets(1)?;
    let patch: Value =
        serde_json::from_str(call.option("patch").context("must specify -p")?).context("the patch")?;
    let how = match call.option("type").unwrap_or("strategic") {
        "strategic" => "application/strategic-merge-patch+json",
        "merge" => "application/merge-patch+json",
        "json" => "application/json-patch+json",
        other => bail!("--type must be one of [json merge strategic], not {other}"),
    };
    for name in &names {
        let part = call.option("subresource").map_or_else(String::new, |part| format!("/{part}"));
        let object = client.json("PATCH", &(path(call, kind, Some(name)) + &part), how, Some(&patch)).await?;
        said(kind, &object, "patched");
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn note(call: &Call, client: &Api, verb: &str) -> anyhow::Result<ExitCode> {
    let (kind, words) = call.targets(1)?;
    let field = if verb == "label" { "labels" } else { "annotations" };
    let mut names: Vec<&String> =
        words.iter().filter(|word| !word.contains('=') && !word.ends_with('-')).collect();
    let single;
    if let Some((_, name)) = call.words[1].split_once('/') {
        single = name.to_owned();
        names = vec![&single];
    }
    let mut notes = Map::new();
    for word in call.words[1..].iter().filter(|word| word.contains('=') || word.ends_with('-')) {
        match word.split_once('=') {
            Some((key, value)) => notes.insert(key.to_owned(), value.into()),
            None => notes.insert(word.trim_end_matches('-').to_owned(), Value::Null),
        };
    }
    for name in names {
        let path = path(call, kind, Some(name));
        let object = client.merge(&path, &json!({ "metadata": { field: notes } })).await?;
        said(kind, &object, if verb == "label" { "labeled" } else { "annotated" });
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn taint(call: &Call, client: &Api) -> anyhow::Result<ExitCode> {
    let (kind, words) = call.targets(1)?;
    if kind.kind != "Node" {
        bail!("invalid resource type {}, only node(s) is supported", kind.plural);
    }
    let is_name = |word: &&String| !word.contains([':', '=']) && !word.ends_with('-');
    let (names, changes): (Vec<&String>, Vec<&String>) = words.iter().partition(is_name);
    for name in names {
        let path = path(call, kind, Some(name));
        // Somebody else may change the taints at the same moment.
        for round in 0.. {
            let node = client.get(&path).await?;
            let old = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
            let new = tainted(&old, &changes, call.on("overwrite"), name)?;
            let patch = json!({
                "metadata": { "resourceVersion": node["metadata"]["resourceVersion"] },
                "spec": { "taints": if new.is_empty() { Value::Null } else { new.into() } },
            });
            match client.merge(&path, &patch).await {
                Err(error) if client::code(&error) == Some(409) && round < 5 => {}
                other => {
                    said(
                        kind,
                        &other?,
                        if changes.iter().all(|change| change.ends_with('-')) {
                            "untainted"
                        } else {
                            "tainted"
                        },
                    );
                    break;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tainted(old: &[Value], changes: &[&String], overwrite: bool, node: &str) -> anyhow::Result<Vec<Value>> {
    let mut taints = old.to_vec();
    for change in changes {
        if let Some(gone) = change.strip_suffix('-') {
            let (key, effect) =
                gone.split_once(':').map_or((gone, None), |(key, effect)| (key, Some(effect)));
            let key = key.split('=').next().unwrap_or(key);
            let before = taints.len();
            taints.retain(|taint| {
                taint["key"] != key || effect.is_some_and(|effect| taint["effect"] != effect)
            });
            if taints.len() == before {
                bail!("taint \"{gone}\" not found");
            }
            continue;
        }
        let (key, effect) =
            change.rsplit_once(':').with_context(|| format!("invalid taint spec: {change}"))?;
        let (key, value) = key.split_once('=').unwrap_or((key, ""));
        if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
            bail!("invalid taint effect: {effect}, unsupported taint effect");
        }
        let new = json!({ "key": key, "value": value, "effect": effect });
        match taints.iter().position(|taint| taint["key"] == key && taint["effect"] == effect) {
            None => taints.push(new),
            Some(_) if !overwrite => {
                bail!("node {node} already has {key} taint(s) with same effect(s) and --overwrite is false");
            }
            Some(at) => taints[at] = new,
        }
    }
    Ok(taints)
}

fn said(kind: &Kind, object: &Value, what: &str) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    println!("{}/{name} {what}", kind.kind.to_lowercase());
}

/// For a query.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(old: &[Value], change: &str, overwrite: bool) -> anyhow::Result<Vec<Value>> {
        tainted(old, &[&change.to_owned()], overwrite, "a")
    }

    #[test]
    fn a_taint_is_set_once_and_removed_by_its_name() {
        let set = changed(&[], "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute", false).unwrap();
        assert_eq!(set[0]["value"], "nodeshutdown");
        assert!(changed(&set, "node.kubernetes.io/out-of-service=other:NoExecute", false).is_err());
        assert_eq!(
            changed(&set, "node.kubernetes.io/out-of-service=other:NoExecute", true).unwrap()[0]["value"],
            "other"
        );
        assert!(changed(&set, "node.kubernetes.io/out-of-service:NoExecute-", false).unwrap().is_empty());
        assert!(changed(&set, "node.kubernetes.io/out-of-service-", false).unwrap().is_empty());
        assert!(changed(&[], "other-", false).is_err());
        assert!(changed(&[], "x:Never", false).is_err());
    }

    #[test]
    fn documents_are_json() {
        assert_eq!(documents("{\"kind\":\"List\",\"items\":[{},{}]}\n{\"kind\":\"Pod\"}").unwrap().len(), 3);
        assert!(documents("kind: Pod").is_err());
    }
}
