use super::*;
use crate::datastore::kv::tests::kv;

fn target<'a>(word: &str, namespace: Option<&'a str>) -> Target<'a> {
    Target { kind: Kind::meant(word).unwrap(), namespace }
}

async fn objects(dir: &std::path::Path) -> Objects {
    let objects = Objects { kv: kv(dir), toleration: 300 };
    let home = json!({ "metadata": { "name": "default" } });
    objects.create(target("namespaces", None), home, Wishes::default()).await.unwrap();
    objects
}

fn pod(name: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "app": "db" } }, "spec": { "containers": [{ "name": "one" }] } })
}

#[tokio::test]
async fn an_object_is_made_once_and_only_in_a_namespace_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let objects = objects(dir.path()).await;
    let pods = target("pods", Some("default"));
    let made = objects.create(pods, pod("x"), Wishes::default()).await.unwrap();
    assert_eq!(made["status"]["phase"], "Pending");
    assert_eq!(made["spec"]["tolerations"].as_array().unwrap().len(), 2);
    let code = |result: Result<Value, Refusal>| result.unwrap_err().code;
    assert_eq!(code(objects.create(pods, pod("x"), Wishes::default()).await), 409);
    assert_eq!(code(objects.create(target("pods", Some("none")), pod("y"), Wishes::default()).await), 404);
    assert_eq!(code(objects.create(pods, pod("../x"), Wishes::default()).await), 422);
    assert_eq!(code(objects.create(pods, pod(""), Wishes::default()).await), 422);
    assert_eq!(code(objects.create(pods, json!({ "kind": "Node" }), Wishes::default()).await), 400);
    let tried = Wishes { dry: true, ..Wishes::default() };
    objects.create(pods, pod("tried"), tried).await.unwrap();
    assert_eq!(code(objects.get(pods, "tried").await), 404);
}

#[tokio::test]
async fn an_old_version_of_an_object_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let objects = objects(dir.path()).await;
    let nodes = target("nodes", None);
    let first =
        objects.create(nodes, json!({ "metadata": { "name": "a" } }), Wishes::default()).await.unwrap();
    let mut one = first.clone();
    one["spec"] = json!({ "unschedulable": true });
    objects.replace(nodes, "a", one.clone(), Wishes::default()).await.unwrap();
    let refused = objects.replace(nodes, "a", one, Wishes::default()).await.unwrap_err();
    assert_eq!((refused.code, refused.reason), (409, "Conflict"));
}

#[tokio::test]
async fn status_and_the_rest_are_changed_apart() {
    let dir = tempfile::tempdir().unwrap();
    let objects = objects(dir.path()).await;
    let nodes = target("nodes", None);
    objects.create(nodes, json!({ "metadata": { "name": "a" } }), Wishes::default()).await.unwrap();
    let both = json!({ "spec": { "unschedulable": true }, "status": { "phase": "x" } });
    let status = Wishes { status: true, ..Wishes::default() };
    let after = objects.patch(nodes, "a", How::Merge, &both, status).await.unwrap();
    assert_eq!(after["status"]["phase"], "x");
    assert!(after["spec"]["unschedulable"].is_null());
    let both = json!({ "spec": { "unschedulable": true }, "status": { "phase": "y" } });
    let after = objects.patch(nodes, "a", How::Merge, &both, Wishes::default()).await.unwrap();
    assert_eq!(after["status"]["phase"], "x");
    assert_eq!(after["spec"]["unschedulable"], true);
}

#[tokio::test]
async fn a_pod_on_a_node_is_left_to_the_node_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let objects = objects(dir.path()).await;
    let pods = target("pods", Some("default"));
    for name in ["bound", "free"] {
        objects.create(pods, pod(name), Wishes::default()).await.unwrap();
    }
    objects.bind("default", "bound", "a").await.unwrap();
    assert_eq!(objects.bind("default", "bound", "b").await.unwrap_err().code, 409);
    objects.delete(pods, "free", &Value::Null, false).await.unwrap();
    assert_eq!(objects.get(pods, "free").await.unwrap_err().code, 404);
    objects.delete(pods, "bound", &Value::Null, false).await.unwrap();
    assert!(objects.get(pods, "bound").await.unwrap()["metadata"]["deletionTimestamp"].is_string());
    objects.delete(pods, "bound", &json!({ "gracePeriodSeconds": 0 }), false).await.unwrap();
    assert_eq!(objects.get(pods, "bound").await.unwrap_err().code, 404);
}

#[tokio::test]
async fn a_disruption_budget_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let objects = objects(dir.path()).await;
    let pods = target("pods", Some("default"));
    for name in ["one", "two"] {
        objects.create(pods, pod(name), Wishes::default()).await.unwrap();
        objects.bind("default", name, "a").await.unwrap();
        let runs = json!({ "status": { "phase": "Running" } });
        objects
            .patch(pods, name, How::Merge, &runs, Wishes { status: true, ..Wishes::default() })
            .await
            .unwrap();
    }
    let budget = json!({
        "metadata": { "name": "db" },
        "spec": { "minAvailable": "50%", "selector": { "matchLabels": { "app": "db" } } },
    });
    objects.create(target("pdb", Some("default")), budget, Wishes::default()).await.unwrap();
    objects.evict("default", "one", &Value::Null, false).await.unwrap();
    let refused = objects.evict("default", "two", &Value::Null, false).await.unwrap_err();
    assert_eq!(refused.code, 429);
}

#[tokio::test]
async fn a_namespace_takes_its_objects_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let objects = objects(dir.path()).await;
    let pods = target("pods", Some("default"));
    objects.create(pods, pod("x"), Wishes::default()).await.unwrap();
    objects.delete(target("namespaces", None), "default", &Value::Null, false).await.unwrap();
    assert_eq!(objects.get(pods, "x").await.unwrap_err().code, 404);
}
