//! keepalived itself with the rendered configuration of both nodes: the virtual IP is where the tracked file lets it
//! be, on one node at a time, and nowhere at the start.
//!
//! Needs root, `ip`, `keepalived` and a kernel with namespaces and bridges; says "skipped" otherwise.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::netns::{Net, ip};

/// One node: keepalived in its namespace with its own folder in place of /run/edgepair.
struct Node {
    name: String,
    folder: PathBuf,
    keepalived: Child,
}

impl Node {
    fn start(namespace: &str, folder: PathBuf, config: &str) -> Self {
        let local = config.replace(edgepair_layout::path::RUN_DIR, &folder.to_string_lossy());
        let (file, pids) = (folder.join("keepalived.conf"), [folder.join("pid"), folder.join("vrrp")]);
        put(&file, &local);
        let [pid, vrrp] = pids.map(|path| path.to_string_lossy().into_owned());
        #[expect(clippy::disallowed_methods, reason = "keepalived is what this test is about")]
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            namespace,
            "/usr/sbin/keepalived",
            "--dont-fork",
            "--vrrp",
            "--log-console",
        ]);
        command.args(["--use-file", &file.to_string_lossy(), "--pid", &pid, "--vrrp_pid", &vrrp]);
        let keepalived = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        Self { name: namespace.to_owned(), folder, keepalived }
    }

    /// What node-init does.
    fn allow(&self, yes: bool) {
        put(&self.folder.join("keepalived.fault"), if yes { "0\n" } else { "1\n" });
    }

    fn holds(&self, address: &str) -> bool {
        let output = ip(&format!("-n {} -br address show eth0", self.name)).expect("lists");
        String::from_utf8_lossy(&output.stdout).contains(address)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // `ip netns exec` has become keepalived itself; SIGTERM lets it take its address away.
        let _ = common::netns::run("kill", &[&self.keepalived.id().to_string()]);
        let _ = self.keepalived.wait();
    }
}

fn put(path: &Path, text: &str) {
    #[expect(clippy::disallowed_methods, reason = "a scratch folder of this test")]
    std::fs::write(path, text).expect("writes");
}

/// Waits until exactly these nodes hold the address, and it stays so for a while.
fn settles(nodes: &[Node; 2], expected: [bool; 2], when: &str) {
    const STEP: Duration = Duration::from_millis(100);
    let mut steady = 0;
    let mut now = [false; 2];
    for _ in 0..80 {
        now = [nodes[0].holds("192.0.2.50/32"), nodes[1].holds("192.0.2.50/32")];
        assert_ne!(now, [true, true], "{when}: two virtual IPs");
        steady = if now == expected { steady + 1 } else { 0 };
        if steady == 12 {
            return;
        }
        std::thread::sleep(STEP);
    }
    panic!("{when}: expected {expected:?}, got {now:?}");
}

#[test]
fn the_virtual_ip_follows_the_tracked_file() {
    if !Path::new("/usr/sbin/keepalived").exists() {
        return println!("skipped: keepalived is not installed");
    }
    let net = match Net::new() {
        Ok(net) => net,
        Err(why) => return println!("skipped: no network namespaces here: {why}"),
    };
    let seed = common::named("minimal");
    let folder = tempfile::tempdir().expect("tempdir");
    let nodes = [("a", 1), ("b", 2)].map(|(letter, index)| {
        let own = folder.path().join(letter);
        std::fs::create_dir(&own).expect("mkdir");
        // Left by an earlier run: it must not count.
        put(&own.join("keepalived.fault"), "0\n");
        let rendered = common::rendered(&seed, letter);
        let config = &rendered.file("/etc/keepalived/keepalived.conf").expect("config").content;
        Node::start(&net.names[index], own, config)
    });
    let [a, b] = &nodes;
    settles(&nodes, [false, false], "at the start");
    a.allow(true);
    settles(&nodes, [true, false], "a may");
    b.allow(true);
    settles(&nodes, [true, false], "both may, and a keeps it");
    a.allow(false);
    settles(&nodes, [false, true], "only b may");
    a.allow(true);
    settles(&nodes, [false, true], "both may, and b keeps it");
    b.allow(false);
    a.allow(false);
    settles(&nodes, [false, false], "neither may");
}
