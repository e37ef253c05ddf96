//! Pure: calls of `k3s kubectl`, and what it answers. kubectl is k3s's own, so it fits the server, and its configuration
//! is the one that the server writes for root.

use edgepair_host_io::Invocation;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// Longest one call may take, seconds; then two more to end.
const SECONDS: u32 = 10;
/// Longest a drain may take, seconds: less than what is waited for it.
const DRAIN_SECONDS: u32 = 25;
/// Longest a pod may take to end, seconds: less than the drain, or that is over before the pod is. Kubernetes' own is 30.
const GRACE_SECONDS: u32 = 20;
/// Kubernetes' own taint for a node that is surely off ("Non-graceful node shutdown"). The value tells ours from others'.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
const VALUE: &str = "edgepair";
/// On a node that was cordoned for a switchover.
const CORDONED: &str = "edgepair.io/cordoned";
/// Label of the active node: volumes on the replicated storage ask for it.
pub const ACTIVE: &str = "edgepair.io/active";
/// On a pod that is not to be started elsewhere at once when its node is lost.
pub const STAY: &str = "edgepair.io/stay-on-node-loss";

fn bounded(seconds: u32) -> Invocation {
    // The agent is more urgent than most, and this is not.
    Invocation::new("nice").args(["-n", "15", "timeout", "--kill-after=2", &seconds.to_string()])
}

fn kubectl(seconds: u32) -> Invocation {
    bounded(seconds).args(["k3s", "kubectl"])
}

fn short(args: &[&str]) -> Invocation {
    kubectl(SECONDS).args(args.iter().copied())
}

/// The present time.
#[must_use]
pub fn now() -> SystemTime {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME);
    time.map_or(SystemTime::UNIX_EPOCH, |time| SystemTime::UNIX_EPOCH + Duration::from(time))
}

/// Asks for all nodes.
#[must_use]
pub fn nodes() -> Invocation {
    short(&["get", "nodes", "--output=json"])
}

/// Asks for the last lines that k3s itself has said in so long: what it said about an earlier fault would mislead, and what
/// systemd says about the unit is known otherwise. No call of kubectl, and bounded as one.
#[must_use]
pub fn journal(unit: &str, long: Duration) -> Invocation {
    let since = format!("--since=-{}s", long.as_secs() + 1);
    let own = format!("_SYSTEMD_UNIT={unit}");
    let which = ["journalctl", "--boot", "--no-pager", "--output=cat", "--lines=100", &since, &own];
    bounded(SECONDS).args(which)
}

/// Marks a node as out of service.
#[must_use]
pub fn taint(node: &str) -> Invocation {
    short(&["taint", "node", node, &format!("{OUT_OF_SERVICE}={VALUE}:NoExecute"), "--overwrite"])
}

/// Takes that back.
#[must_use]
pub fn untaint(node: &str) -> Invocation {
    short(&["taint", "node", node, &format!("{OUT_OF_SERVICE}:NoExecute-")])
}

/// Says of a node that is surely off what Kubernetes would find out by itself after its grace period: Ready is unknown.
#[must_use]
pub fn silent(node: &str, now: SystemTime) -> Invocation {
    let patch = json!({"status": {"conditions": [{
        "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
        "message": "edgepair: the node is without power or has reset itself",
        "lastTransitionTime": humantime::format_rfc3339_seconds(now).to_string(),
    }]}});
    let patch = patch.to_string();
    short(&["patch", "node", node, "--subresource=status", "--type=strategic", "--patch", &patch])
}

/// Asks who leads the controllers.
#[must_use]
pub fn leaders() -> Invocation {
    short(&["get", "leases", "--namespace=kube-system", "--output=json"])
}

/// Gives back what a node that is surely off leads, in the way of a leader that ends in peace (client-go,
/// `leaderelection.release`): the other node's controllers need not wait for the lease to run out. Each only as long as
/// that node holds it.
#[must_use]
pub fn release(leases: &str, node: &str) -> Vec<Invocation> {
    let list: Value = serde_json::from_str(leases).unwrap_or_default();
    let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    items.iter().filter_map(|lease| release_one(lease, node)).collect()
}

fn release_one(lease: &Value, node: &str) -> Option<Invocation> {
    let name = lease.get("metadata")?.get("name")?.as_str()?;
    let holder = lease.get("spec")?.get("holderIdentity")?.as_str()?;
    // Kubernetes' components add something of their own to the host name, k3s's do not.
    let its = holder.strip_prefix(node)?;
    if !its.is_empty() && !its.starts_with('_') {
        return None;
    }
    let patch = json!([
        {"op": "test", "path": "/spec/holderIdentity", "value": holder},
        {"op": "replace", "path": "/spec/holderIdentity", "value": ""},
        {"op": "replace", "path": "/spec/leaseDurationSeconds", "value": 1},
    ]);
    let patch = patch.to_string();
    Some(short(&["patch", "lease", name, "--namespace=kube-system", "--type=json", "--patch", &patch]))
}

/// Gives a node the label of the active one, or takes it away.
#[must_use]
pub fn label(node: &str, active: bool) -> Invocation {
    let label = if active { format!("{ACTIVE}=true") } else { format!("{ACTIVE}-") };
    short(&["label", "node", node, &label, "--overwrite"])
}

/// Makes an object what it is to be.
#[must_use]
pub fn apply(object: &Value) -> Invocation {
    short(&["apply", "--filename=-"]).stdin(object.to_string())
}

/// Asks for the pods of a node.
#[must_use]
pub fn pods_of(node: &str) -> Invocation {
    let field = format!("--field-selector=spec.nodeName={node}");
    short(&["get", "pods", "--all-namespaces", &field, "--output=json"])
}

/// Moves a node's pods away: marked as ours first, so that whoever is active afterwards takes it back. `cordoned`: by
/// somebody else already.
#[must_use]
pub fn drain(node: &str, cordoned: bool) -> Vec<Invocation> {
    let limit = format!("--timeout={DRAIN_SECONDS}s");
    let grace = format!("--grace-period={GRACE_SECONDS}");
    let mut calls = Vec::new();
    if !cordoned {
        calls.push(short(&["annotate", "node", node, &format!("{CORDONED}=switchover"), "--overwrite"]));
        calls.push(short(&["cordon", node]));
    }
    let words = ["drain", node, "--ignore-daemonsets", "--delete-emptydir-data", &grace, &limit];
    calls.push(kubectl(DRAIN_SECONDS + 2).args(words));
    calls
}

/// Takes a cordon of ours back.
#[must_use]
pub fn uncordon(node: &str) -> Vec<Invocation> {
    vec![short(&["uncordon", node]), short(&["annotate", "node", node, &format!("{CORDONED}-")])]
}

/// Pods that asked to stay get a toleration of the taint; a pod's tolerations may be added to while it runs. What is then
/// left is Kubernetes' own patience with a node that does not answer.
#[must_use]
pub fn stay_behind(pods: &str) -> Vec<Invocation> {
    let list: Value = serde_json::from_str(pods).unwrap_or_default();
    let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    items.iter().filter_map(tolerate).collect()
}

fn tolerate(pod: &Value) -> Option<Invocation> {
    let meta = pod.get("metadata")?;
    if meta.get("annotations")?.get(STAY)?.as_str()? != "true" {
        return None;
    }
    let (name, space) = (meta.get("name")?.as_str()?, meta.get("namespace")?.as_str()?);
    let present = pod.get("spec").and_then(|spec| spec.get("tolerations")).and_then(Value::as_array);
    let key = |one: &Value| one.get("key").and_then(Value::as_str) == Some(OUT_OF_SERVICE);
    if present.is_some_and(|list| list.iter().any(key)) {
        return None;
    }
    let ours = json!({"key": OUT_OF_SERVICE, "operator": "Exists", "effect": "NoExecute"});
    let patch = match present {
        Some(_) => json!([{"op": "add", "path": "/spec/tolerations/-", "value": ours}]),
        None => json!([{"op": "add", "path": "/spec/tolerations", "value": [ours]}]),
    };
    Some(short(&["patch", "pod", name, "--namespace", space, "--type=json", "--patch", &patch.to_string()]))
}

/// Writes an event about a node, for `kubectl get events`.
#[must_use]
pub fn event(node: &str, kind: &str, reason: &str, message: &str, now: SystemTime) -> Invocation {
    let time = humantime::format_rfc3339_seconds(now).to_string();
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": format!("{node}.{seconds:x}"), "namespace": "default"},
        "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node},
        "type": kind, "reason": reason, "message": message, "count": 1,
        "firstTimestamp": time, "lastTimestamp": time,
        "source": {"component": "edgepair"},
    });
    short(&["create", "--filename=-"]).stdin(event.to_string())
}

/// A node of the cluster, as far as the pair is concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// What is wrong with it, in words; nothing when it is ready.
    pub trouble: Option<String>,
    /// It carries our out-of-service taint.
    pub out_of_service: bool,
    /// It was cordoned, and not by us.
    pub cordoned: bool,
    /// It was cordoned by us.
    pub cordoned_by_us: bool,
    /// It has the label of the active node.
    pub active: bool,
}

/// All nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes(Vec<Node>);

impl From<Vec<Node>> for Nodes {
    fn from(list: Vec<Node>) -> Self {
        Self(list)
    }
}

impl Nodes {
    /// Reads kubectl's JSON.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let list: Value = serde_json::from_str(text).ok()?;
        Some(Self(list.get("items")?.as_array()?.iter().filter_map(node).collect()))
    }

    /// The node of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.0.iter().find(|node| node.name == name)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Node] {
        &self.0
    }
}

fn node(item: &Value) -> Option<Node> {
    let meta = item.get("metadata")?;
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let list = |outer: &str, inner: &str| {
        item.get(outer)
            .and_then(|value| value.get(inner))
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let conditions = list("status", "conditions");
    let ready = conditions.iter().find(|one| text(one, "type").as_deref() == Some("Ready"));
    let trouble = match ready.map(|one| (text(one, "status"), text(one, "message"))) {
        Some((Some(status), _)) if status == "True" => None,
        Some((_, Some(message))) if !message.is_empty() => Some(format!("the node is not ready: {message}")),
        _ => Some("the node is not ready".to_owned()),
    };
    let out_of_service = list("spec", "taints").iter().any(|taint| {
        text(taint, "key").as_deref() == Some(OUT_OF_SERVICE)
            && text(taint, "value").as_deref() == Some(VALUE)
    });
    let has = |what: &str, key: &str| meta.get(what).is_some_and(|map| map.get(key).is_some());
    Some(Node {
        name: text(meta, "name")?,
        trouble,
        out_of_service,
        cordoned: item.get("spec").and_then(|spec| spec.get("unschedulable")) == Some(&Value::Bool(true))
            && !has("annotations", CORDONED),
        cordoned_by_us: has("annotations", CORDONED),
        active: has("labels", ACTIVE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = r#"{"apiVersion":"v1","kind":"List","items":[
        {"metadata":{"name":"site-a"},"spec":{},"status":{"conditions":[
            {"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"True","message":"kubelet is posting ready status"}]}},
        {"metadata":{"name":"site-b","labels":{"edgepair.io/active":"true"},"annotations":{"edgepair.io/cordoned":"switchover"}},
         "spec":{"unschedulable":true,"taints":[{"key":"node.kubernetes.io/out-of-service","value":"edgepair","effect":"NoExecute"}]},
         "status":{"conditions":[{"type":"Ready","status":"Unknown","message":"Kubelet stopped posting node status."}]}},
        {"metadata":{"name":"other"},
         "spec":{"unschedulable":true,"taints":[{"key":"node.kubernetes.io/out-of-service","value":"by-hand","effect":"NoExecute"}]}}]}"#;

    #[test]
    fn nodes_as_kubectl_has_them() {
        let nodes = Nodes::parse(NODES).unwrap();
        assert_eq!(nodes.get("site-a"), Some(&Node { name: "site-a".into(), ..Node::default() }));
        let b = nodes.get("site-b").unwrap();
        assert!(b.out_of_service && b.cordoned_by_us && b.active && !b.cordoned);
        assert!(b.trouble.as_ref().unwrap().contains("stopped posting"));
        let other = nodes.get("other").unwrap();
        assert!(!other.out_of_service && other.cordoned, "somebody else's taint and cordon are theirs");
        assert_eq!(other.trouble.as_deref(), Some("the node is not ready"));
        assert_eq!(Nodes::parse("error"), None);
        assert_eq!(Nodes::parse("{}"), None);
    }

    #[test]
    fn every_call_is_bounded() {
        let mut calls = vec![
            nodes(),
            journal("k.service", Duration::from_secs(9)),
            label("b", true),
            apply(&json!({})),
            taint("b"),
            untaint("b"),
            pods_of("b"),
            silent("b", now()),
            leaders(),
            event("b", "Normal", "R", "m", now()),
        ];
        calls.extend(drain("b", false));
        assert_eq!(drain("b", true).len(), 1);
        calls.extend(uncordon("b"));
        for call in &calls {
            assert!(
                call.shell_line().starts_with("nice -n 15 timeout --kill-after=2 "),
                "{}",
                call.shell_line()
            );
            assert!(!call.shell_line().contains("--force"));
        }
        let line = "nice -n 15 timeout --kill-after=2 10 k3s kubectl taint node b node.kubernetes.io/out-of-service=edgepair:NoExecute --overwrite";
        assert_eq!(taint("b").shell_line(), line);
    }

    #[test]
    fn only_what_the_lost_node_leads_is_given_back() {
        let lease = |name: &str, holder: &str| {
            format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"holderIdentity":"{holder}"}}}}"#)
        };
        let list = [
            lease("kube-controller-manager", "site-b_0c1"),
            lease("k3s", "site-b"),
            lease("kube-scheduler", "site-a_77"),
            lease("other", "site-b2_1"),
            lease("free", ""),
            r#"{"metadata":{"name":"empty"}}"#.to_owned(),
        ];
        let calls = release(&format!(r#"{{"items":[{}]}}"#, list.join(",")), "site-b");
        let lines: Vec<String> = calls.iter().map(Invocation::shell_line).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("patch lease kube-controller-manager --namespace=kube-system"));
        assert!(
            lines[0].contains(r#""op":"test","path":"/spec/holderIdentity","value":"site-b_0c1""#),
            "{}",
            lines[0]
        );
        assert!(lines[1].contains("patch lease k3s "), "{}", lines[1]);
        assert!(release("nonsense", "site-b").is_empty());
    }

    #[test]
    fn an_event_says_why() {
        let call = event("b", "Warning", "Reason", "because", SystemTime::UNIX_EPOCH);
        let event: Value = serde_json::from_slice(&call.stdin.unwrap()).unwrap();
        assert_eq!(event["involvedObject"]["name"], "b");
        assert_eq!(event["firstTimestamp"], "1970-01-01T00:00:00Z");
        assert_eq!((event["reason"].as_str(), event["message"].as_str()), (Some("Reason"), Some("because")));
    }

    #[test]
    fn a_pod_that_asked_for_it_stays() {
        let pod = |name: &str, stay: &str, tolerations: &str| {
            format!(
                r#"{{"metadata":{{"name":"{name}","namespace":"shop","annotations":{{"{STAY}":"{stay}"}}}},"spec":{{{tolerations}}}}}"#
            )
        };
        let has = format!(r#""tolerations":[{{"key":"{OUT_OF_SERVICE}","operator":"Exists"}}]"#);
        let list = [
            pod("one", "true", r#""tolerations":[{"key":"x"}]"#),
            pod("two", "true", ""),
            pod("three", "false", ""),
            pod("four", "true", &has),
            r#"{"metadata":{"name":"five","namespace":"shop"}}"#.to_owned(),
        ];
        let calls = stay_behind(&format!(r#"{{"items":[{}]}}"#, list.join(",")));
        let lines: Vec<String> = calls.iter().map(Invocation::shell_line).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[0].contains("patch pod one --namespace shop") && lines[0].contains("/spec/tolerations/-")
        );
        assert!(
            lines[1].contains("patch pod two") && lines[1].contains(r#""path":"/spec/tolerations","#),
            "{}",
            lines[1]
        );
        assert!(stay_behind("nonsense").is_empty());
    }
}
