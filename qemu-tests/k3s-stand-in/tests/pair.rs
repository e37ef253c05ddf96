//! Two servers over one real PostgreSQL, and real `kubectl`: what the project's scenarios take for granted of the stand-in.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use common::{Node, STAND_IN, TOKEN, database, free_port, kubectl_is_there, wait};
use std::io::Write as _;

/// Short, so that the test ends; a node's heartbeat comes every ten seconds whatever is said.
const TIMES: &[&str] = &[
    "--kube-controller-manager-arg=node-monitor-grace-period=15s",
    "--kube-controller-manager-arg=node-monitor-period=1s",
    "--kube-controller-manager-arg=leader-elect-lease-duration=6s",
    "--kube-controller-manager-arg=leader-elect-renew-deadline=4s",
    "--kube-controller-manager-arg=leader-elect-retry-period=1s",
    "--kube-scheduler-arg=leader-elect-lease-duration=6s",
    "--kube-scheduler-arg=leader-elect-renew-deadline=4s",
    "--kube-scheduler-arg=leader-elect-retry-period=1s",
];

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute";

fn status(node: &Node, of: &str) -> Result<String, String> {
    node.kubectl(&["get", "node", of, "--no-headers"])
        .map(|line| line.split_whitespace().nth(1).unwrap_or_default().to_owned())
}

fn is(node: &Node, of: &str, wanted: &str) -> Result<(), String> {
    let status = status(node, of)?;
    if status == wanted { Ok(()) } else { Err(format!("{of} is {status}")) }
}

fn pod(node: &Node, path: &str) -> Result<String, String> {
    node.kubectl(&["get", "pod", "db-0", "-o", &format!("jsonpath={{{path}}}")])
}

fn runs(node: &Node) -> Result<String, String> {
    match (pod(node, ".status.phase")?, pod(node, ".metadata.deletionTimestamp")?) {
        (phase, gone) if phase == "Running" && gone.is_empty() => pod(node, ".spec.nodeName"),
        (phase, gone) => Err(format!("the pod is {phase} {gone}")),
    }
}

#[test]
fn two_servers_over_one_database_are_one_cluster() {
    let dir = tempfile::tempdir().unwrap();
    if !kubectl_is_there() {
        return;
    }
    let Some(mut database) = database(dir.path()) else { return };
    // One port on two addresses, as on two boxes.
    let port = free_port();
    let mut a = Node::new(dir.path(), "site-a", "127.0.0.1", port);
    let mut b = Node::new(dir.path(), "site-b", "127.0.0.2", port);
    let plain = database.endpoint("sslmode=disable");
    // One of them over TLS, with the name in the certificate checked.
    let sealed =
        database.endpoint(&format!("sslmode=verify-full&sslrootcert={}", database.authority().display()));
    a.server(&plain, TIMES);
    b.server(&sealed, TIMES);
    for node in [&a, &b] {
        wait("readyz", || node.kubectl(&["get", "--raw=/readyz"]));
    }
    let encrypted = database.query("SELECT count(*) FROM pg_stat_ssl WHERE ssl").unwrap();
    assert!(encrypted.parse::<u32>().unwrap() >= 1, "no connection is encrypted");

    // kine's layout, and one authority for both.
    let columns = database.query("SELECT string_agg(column_name, ' ' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = 'kine'").unwrap();
    assert_eq!(columns, "id name created deleted create_revision prev_revision lease value old_value");
    assert_eq!(database.query("SELECT count(*) FROM kine WHERE name LIKE '/bootstrap/%'").unwrap(), "1");
    wait("both nodes", || is(&a, "site-b", "Ready"));
    let other = format!("https://{}", b.address);
    let through = b.kubectl(&["get", "nodes"]).unwrap();
    assert!(through.contains("site-a") && through.contains("control-plane"), "{through}");
    let crossed = a.kubectl(&["--server", &other, "get", "nodes", "-o", "wide"]).unwrap();
    assert!(crossed.contains("site-a") && crossed.contains("127.0.0.2"), "{crossed}");
    let named =
        a.kubectl(&["--server", &other, "--tls-server-name", "site.example", "get", "namespaces"]).unwrap();
    assert!(named.contains("kube-system"), "{named}");
    let refused =
        a.kubectl(&["--server", &other, "--tls-server-name", "other.example", "get", "nodes"]).unwrap_err();
    assert!(refused.contains("other.example"), "{refused}");

    verbs(&a, &b);
    workload_moves(dir.path(), &mut a, &mut b, &plain);
    agents(dir.path(), &mut a, &b, &plain);

    // The datastore goes: whoever leads ends itself, and comes back with it.
    let leader = wait("a leader", || {
        let name = [
            "get",
            "lease",
            "-n",
            "kube-system",
            "kube-controller-manager",
            "-o",
            "jsonpath={.spec.holderIdentity}",
        ];
        b.kubectl(&name).map(|holder| holder.split('_').next().unwrap_or_default().to_owned())
    });
    database.kill();
    let leader = if leader == "site-a" { &mut a } else { &mut b };
    wait("the leader's end", || if leader.ended() { Ok(()) } else { Err("it still runs".into()) });
    assert!(leader.log().contains("leaderelection lost for kube-"), "{}", leader.log());
    database.run().unwrap();
    leader.server(&plain, TIMES);
    wait("readyz after the database's return", || leader.kubectl(&["get", "--raw=/readyz"]));
    leader.kubectl(&["get", "node", "site-a"]).unwrap();
}

/// What real kubectl does with objects.
fn verbs(a: &Node, b: &Node) {
    a.kubectl(&["taint", "node", "site-b", "maintenance=yes:NoSchedule"]).unwrap();
    let described = b.kubectl(&["describe", "node", "site-b"]).unwrap();
    assert!(described.contains("maintenance=yes:NoSchedule"), "{described}");
    assert!(a.kubectl(&["taint", "node", "site-b", "maintenance=no:NoSchedule"]).is_err());
    b.kubectl(&["taint", "node", "site-b", "maintenance:NoSchedule-"]).unwrap();
    assert_eq!(a.kubectl(&["get", "node", "site-b", "-o", "jsonpath={.spec.taints}"]).unwrap(), "");
    a.kubectl(&["cordon", "site-b"]).unwrap();
    assert_eq!(status(b, "site-b").unwrap(), "Ready,SchedulingDisabled");
    a.kubectl(&["uncordon", "site-b"]).unwrap();
    a.kubectl(&["label", "node", "site-b", "disk=fast"]).unwrap();
    assert!(b.kubectl(&["get", "nodes", "-l", "disk=fast", "-o", "name"]).unwrap().contains("site-b"));

    a.create("apiVersion: v1\nkind: Pod\nmetadata:\n  name: one\nspec:\n  containers:\n  - name: x\n    image: none\n");
    b.kubectl(&["wait", "pod/one", "--for=jsonpath={.status.phase}=Running", "--timeout=60s"]).unwrap();
    assert!(a.kubectl(&["get", "pods", "-A"]).unwrap().contains("Running"));
    b.kubectl(&["delete", "pod", "one", "--timeout=60s"]).unwrap();
    assert!(a.kubectl(&["get", "pod", "one"]).unwrap_err().contains("(NotFound)"));

    // The small one that a node has.
    a.small_kubectl(&["taint", "node", "site-b", OUT_OF_SERVICE, "--overwrite"]).unwrap();
    assert!(a.small_kubectl(&["get", "nodes", "--output=json"]).unwrap().contains("out-of-service"));
    a.small_kubectl(&["taint", "node", "site-b", "node.kubernetes.io/out-of-service:NoExecute-"]).unwrap();
    a.small_kubectl(&["annotate", "node", "site-b", "edgepair.io/cordoned=switchover", "--overwrite"])
        .unwrap();
    a.small_kubectl(&["annotate", "node", "site-b", "edgepair.io/cordoned-"]).unwrap();
    assert!(a.small_kubectl(&["get", "nodes"]).unwrap().contains("site-b   Ready"));
    assert_eq!(a.small_kubectl(&["get", "--raw", "/readyz"]).unwrap(), "ok");
    assert!(a.small_kubectl(&["rollout", "status"]).is_err());
}

/// A set's pod follows a node's death, with its volume's past.
fn workload_moves(dir: &std::path::Path, a: &mut Node, b: &mut Node, endpoint: &str) {
    let volume = dir.join("volume");
    std::fs::create_dir(&volume).unwrap();
    a.create(&format!(
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  name: db\nspec:\n  serviceName: db\n  replicas: 1\n  \
         selector:\n    matchLabels: {{app: db}}\n  template:\n    metadata:\n      labels: {{app: db}}\n    spec:\n      \
         containers:\n      - {{name: x, image: none}}\n      volumes:\n      - name: data\n        hostPath: {{path: {}}}\n",
        volume.display()
    ));
    let first = wait("the pod", || runs(a));
    let (dead, heir) = if first == "site-a" { (a, b) } else { (b, a) };
    assert!(pod(heir, ".status.message").unwrap().contains("never used before"));
    dead.kill();
    heir.kubectl(&["taint", "node", &first, OUT_OF_SERVICE]).unwrap();
    // The taint alone ends no pod of a node that still counts as ready.
    wait("NotReady", || is(heir, &first, "NotReady"));
    let second = wait("the pod on the other node", || match runs(heir) {
        Ok(node) if node == heir.name => Ok(node),
        other => Err(format!("{other:?}")),
    });
    let said = pod(heir, ".status.message").unwrap();
    assert!(said.contains(&format!("used before on {first}")), "{said}");
    assert_ne!(first, second);
    dead.server(endpoint, TIMES);
    wait("the dead node's return", || is(heir, &first, "Ready"));
    heir.kubectl(&["taint", "node", &first, "node.kubernetes.io/out-of-service:NoExecute-"]).unwrap();
    wait("no taint", || {
        match heir.kubectl(&["get", "node", &first, "-o", "jsonpath={.spec.taints}"])?.as_str() {
            "" => Ok(()),
            taints => Err(taints.to_owned()),
        }
    });
}

/// Workers: the right token, no newer version, one name for one box; and the loss of the server that one joined by.
fn agents(dir: &std::path::Path, a: &mut Node, b: &Node, endpoint: &str) {
    let mut worker = Node::new(dir, "worker", "127.0.0.3", free_port());
    let said = worker.refused(STAND_IN, &a.address, "another-token");
    assert!(said.contains("token is not valid") && said.contains("401"), "{said}");
    let newer = dir.join("newer-k3s");
    std::fs::copy(STAND_IN, &newer).unwrap();
    let mut file = std::fs::File::options().append(true).open(&newer).unwrap();
    writeln!(file, "\nk3s-stand-in-version=v1.99.0+k3s1").unwrap();
    drop(file);
    let said = worker.refused(&newer.to_string_lossy(), &a.address, TOKEN);
    assert!(said.contains("may not be newer than its server"), "{said}");

    worker.agent(&a.address);
    wait("the worker", || is(b, "worker", "Ready"));
    assert!(b.kubectl(&["get", "node", "worker"]).unwrap().contains("<none>"), "a worker is no server");
    let copy = Node::new(&dir.join("copy"), "worker", "127.0.0.4", free_port());
    let said = copy.refused(STAND_IN, &a.address, TOKEN);
    assert!(said.contains("Node password rejected"), "{said}");

    let renewed = |node: &Node| {
        node.kubectl(&["get", "lease", "-n", "kube-node-lease", "worker", "-o", "jsonpath={.spec.renewTime}"])
    };
    a.kill();
    let before = renewed(b).unwrap();
    // Two heartbeats, since the first may have been on its way.
    let mut last = before;
    for _ in 0..2 {
        last = wait("the worker's heartbeat", || match renewed(b)? {
            same if same == last => Err("none".into()),
            newer => Ok(newer),
        });
    }
    assert_eq!(status(b, "worker").unwrap(), "Ready");
    a.server(endpoint, TIMES);
    wait("the server's return", || a.kubectl(&["get", "--raw=/readyz"]));
}

#[test]
fn a_server_of_sqlite_keeps_what_it_was_told() {
    let dir = tempfile::tempdir().unwrap();
    if !kubectl_is_there() {
        return;
    }
    let mut node = Node::new(dir.path(), "site-a", "127.0.0.1", free_port());
    let file = dir.path().join("db/state.db");
    std::fs::create_dir(dir.path().join("db")).unwrap();
    let endpoint = format!(
        "sqlite://{}?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate&_synchronous=FULL",
        file.display()
    );
    node.server(&endpoint, TIMES);
    wait("the node", || is(&node, "site-a", "Ready"));
    node.kubectl(&["label", "node", "site-a", "kept=yes"]).unwrap();
    node.kill();
    node.server(&endpoint, TIMES);
    wait("the node again", || is(&node, "site-a", "Ready"));
    assert!(node.kubectl(&["get", "nodes", "-l", "kept=yes"]).unwrap().contains("site-a"));
}

#[test]
fn what_k3s_would_refuse_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| {
        let call = edgepair_host_io::Invocation::new(STAND_IN).args(words.iter().copied());
        let output =
            call.env("K3S_STAND_IN_NODE_DIR", dir.path().to_string_lossy()).to_command().output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let data = dir.path().join("data").to_string_lossy().into_owned();
    for (words, says) in [
        (&["server", "--no-such-option"][..], "flag provided but not defined"),
        (&["agent", "--datastore-endpoint=x"], "flag provided but not defined"),
        (&["agent", "--data-dir", &data], "--token is required"),
        (&["agent", "--data-dir", &data, "--token", "x"], "--server is required"),
        (&["server", "--data-dir", &data, "--cluster-init"], "nothing behind it"),
        (&["server", "--data-dir", &data, "--datastore-endpoint", "mysql://x"], "PostgreSQL and SQLite only"),
        (&["check-config"], "nothing behind it"),
        (&["frobnicate"], "No help topic"),
    ] {
        let (code, said) = run(words);
        assert!(code != Some(0) && said.contains(says), "{words:?}: {code:?} {said}");
    }
    let (code, said) = run(&["--version"]);
    assert!(code == Some(0) && said.starts_with("k3s version v1."), "{said}");
}
