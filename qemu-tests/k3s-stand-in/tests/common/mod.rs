//! Stand-ins for k3s on the loopback and in a folder of the test, a PostgreSQL server beside them; real `kubectl`.

use edgepair_host_io::Invocation;
use qemu_tests::harness::database::{Database, programs};
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

/// The program under test.
pub const STAND_IN: &str = env!("CARGO_BIN_EXE_k3s-stand-in");
/// Token of the cluster.
pub const TOKEN: &str = "a-token-of-this-test-only";
/// Longest wait for anything, on a machine that has other things to do.
const LIMIT: Duration = Duration::from_secs(180);

#[expect(clippy::disallowed_methods, reason = "a test that waits for programs")]
fn now() -> Instant {
    Instant::now()
}

/// Waits until something is there; says what it was when it does not come.
pub fn wait<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begun = now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(why) => assert!(begun.elapsed() < LIMIT, "{what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `kubectl` is there; else the test fails, unless `EDGEPAIR_WITHOUT_KUBECTL` says that it may be skipped.
pub fn kubectl_is_there() -> bool {
    let there = Invocation::new("kubectl").args(["version", "--client"]).to_command().output();
    let there = there.is_ok_and(|output| output.status.success());
    if !there {
        assert!(
            std::env::var_os("EDGEPAIR_WITHOUT_KUBECTL").is_some(),
            "kubectl is needed (apt-get install kubernetes-client), or EDGEPAIR_WITHOUT_KUBECTL=1 to skip"
        );
        eprintln!("skipped: no kubectl");
    }
    there
}

/// A PostgreSQL server; `None` where there is none on this machine.
pub fn database(dir: &Path) -> Option<Database> {
    if programs().is_none() {
        eprintln!("skipped: no PostgreSQL server on this machine; the scenarios run over the pair's own");
        return None;
    }
    Some(Database::start(dir, free_port()).unwrap())
}

/// A box with a stand-in on it.
pub struct Node {
    /// Its name.
    pub name: String,
    /// Address of its API.
    pub address: String,
    ip: String,
    dir: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// A box with a folder and a loopback address of its own; nothing runs.
    pub fn new(dir: &Path, name: &str, ip: &str, port: u16) -> Self {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self { name: name.to_owned(), address: format!("{ip}:{port}"), ip: ip.to_owned(), dir, child: None }
    }

    fn call(&self, program: &str, verb: &str, options: &[&str]) -> Invocation {
        let file = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        // As the project's own file is: JSON under a comment.
        let config =
            format!("# of a test\n{{ \"node-name\": \"{}\", \"node-ip\": \"{}\" }}\n", self.name, self.ip);
        edgepair_host_io::atomic::write(&self.dir.join("config.yaml"), config.as_bytes(), 0o600).unwrap();
        Invocation::new(program)
            .args([verb, "--config", &file("config.yaml"), "--data-dir", &file("data")])
            .args(options.iter().copied())
            .env("K3S_STAND_IN_NODE_DIR", file("node"))
    }

    fn run(&mut self, program: &str, verb: &str, options: &[&str]) {
        let log = File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let call = self.call(program, verb, options);
        self.child = Some(call.to_command().stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Starts `k3s server`.
    pub fn server(&mut self, endpoint: &str, more: &[&str]) {
        let (ip, kubeconfig) = (self.ip.clone(), self.kubeconfig());
        let port = self.address.rsplit(':').next().unwrap_or_default().to_owned();
        let own = ["--https-listen-port", &port, "--bind-address", &ip, "--write-kubeconfig", &kubeconfig];
        let given = ["--token", TOKEN, "--datastore-endpoint", endpoint, "--tls-san", "site.example"];
        self.run(STAND_IN, "server", &[&own[..], &given, more].concat());
    }

    /// Starts `k3s agent`.
    pub fn agent(&mut self, server: &str) {
        let url = format!("https://{server}");
        self.run(STAND_IN, "agent", &["--server", &url, "--token", TOKEN]);
    }

    /// Runs `k3s agent` that is expected to end by itself.
    pub fn refused(&self, program: &str, server: &str, token: &str) -> String {
        let url = format!("https://{server}");
        let call = self.call(program, "agent", &["--server", &url, "--token", token]);
        let output = call.to_command().output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Where it wrote kubectl's configuration.
    pub fn kubeconfig(&self) -> String {
        self.dir.join("k3s.yaml").to_string_lossy().into_owned()
    }

    /// Pulls the plug.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
    }

    /// What it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Real kubectl at this server.
    pub fn kubectl(&self, words: &[&str]) -> Result<String, String> {
        let call =
            Invocation::new("kubectl").args(["--kubeconfig", &self.kubeconfig(), "--request-timeout=20s"]);
        let call = call.args(words.iter().copied()).env("HOME", self.dir.to_string_lossy());
        succeeded(&call.to_command().output().unwrap())
    }

    /// Real kubectl with a manifest.
    pub fn create(&self, manifest: &str) -> String {
        let path = self.dir.join("manifest.yaml");
        edgepair_host_io::atomic::write(&path, manifest.as_bytes(), 0o600).unwrap();
        self.kubectl(&["create", "-f", &path.to_string_lossy()]).unwrap()
    }

    /// The stand-in's own small kubectl at this server.
    pub fn small_kubectl(&self, words: &[&str]) -> Result<String, String> {
        let call = Invocation::new(STAND_IN).arg("kubectl").args(words.iter().copied());
        let call = call.env("KUBECONFIG", self.kubeconfig()).env("K3S_STAND_IN_KUBECTL", "1");
        succeeded(&call.to_command().output().unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, self.log());
        }
        self.kill();
    }
}

/// What a program printed, or why it failed.
pub fn succeeded(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
