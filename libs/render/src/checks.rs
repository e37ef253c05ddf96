//! How each rendered file is checked by the very program that will read it. Data only: the caller runs the programs,
//! on a developer's machine or inside a tree of the image's suite.
//!
//! Files without a checker of their own (networkd, journald, k3s) are proven by booting.

use edgepair_seed::Member;

use crate::names::{POSTGRES_ETC, SSH_HOST_KEY};
use crate::{Context, Rendered};

/// A call: program and arguments, and what is added to its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Program first.
    pub argv: Vec<String>,
    /// Names and values.
    pub env: Vec<(String, String)>,
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output and standard error.
    pub output: String,
}

/// One file and how its program checks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The rendered file.
    pub file: String,
    /// The program that has to be there, as an absolute path.
    pub program: &'static str,
    /// Debian's package of it.
    pub package: &'static str,
    /// Calls that make what the check needs besides the file: a host key, for example.
    pub prepare: Vec<Call>,
    /// The check itself.
    pub call: Call,
    /// Words in the output that are a failure even when the program says otherwise with its exit code.
    pub refused: &'static [&'static str],
    /// What the kernel must have for the check, when that is not a matter of course.
    pub kernel: Option<&'static str>,
}

/// What became of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The program takes the file.
    Accepted,
    /// It does not, and says why.
    Refused(String),
    /// It was not run, and why.
    Skipped(String),
}

/// All checks for what was rendered, for a tree in which every file lies at `root` + its path. `root` is empty for the
/// tree the programs themselves run in.
#[must_use]
pub fn checks(context: &Context<'_>, rendered: &Rendered, root: &str) -> Vec<Check> {
    let at = |path: &str| format!("{root}{path}");
    let mut list = Vec::new();
    for file in &rendered.files {
        let path = at(&file.path);
        let check = |program, package, args: &[&str]| Check {
            file: file.path.clone(),
            program,
            package,
            prepare: Vec::new(),
            call: call(program, args),
            refused: &[],
            kernel: None,
        };
        let unit = file.path.starts_with("/etc/systemd/system/")
            && [".service", ".mount"].iter().any(|suffix| file.path.ends_with(suffix));
        match file.path.as_str() {
            "/etc/keepalived/keepalived.conf" => {
                let mut check =
                    check("/usr/sbin/keepalived", "keepalived", &["--config-test", "--use-file", &path]);
                // The folder of the tracked file has to be there; on a node tmpfiles makes it.
                let args = ["-d", "-m", "0755", edgepair_layout::path::RUN_DIR];
                check.prepare = vec![call("/usr/bin/install", &args)];
                check.refused = &["Unknown keyword", "unknown keyword", "invalid", "ignoring", "missing"];
                list.push(check);
            }
            "/etc/nftables.conf" => {
                let mut check = check("/usr/sbin/nft", "nftables", &["--check", "--file", &path]);
                check.kernel = Some("nf_tables");
                list.push(check);
            }
            "/etc/ssh/sshd_config" => {
                let key = at(SSH_HOST_KEY);
                let mut check = check("/usr/sbin/sshd", "openssh-server", &["-t", "-f", &path, "-h", &key]);
                let args = ["-q", "-t", "ed25519", "-N", "", "-f", &key];
                // sshd tests nothing without the folder that its own unit makes.
                let folder = ["-d", "-m", "0755", "/run/sshd"];
                check.prepare = vec![call("/usr/bin/ssh-keygen", &args), call("/usr/bin/install", &folder)];
                check.refused = &["Unsupported", "Deprecated", "Bad configuration"];
                list.push(check);
            }
            "/etc/haproxy/haproxy.cfg" => {
                let mut check = check("/usr/sbin/haproxy", "haproxy", &["-c", "-f", &path]);
                check.refused = &["[WARNING]", "[ALERT]"];
                list.push(check);
            }
            "/etc/chrony/chrony.conf" => {
                list.push(check("/usr/sbin/chronyd", "chrony", &["-p", "-f", &path]));
            }
            "/etc/lvm/lvm.conf" => {
                let mut check = check("/usr/sbin/lvmconfig", "lvm2", &["--validate"]);
                check.call.env.push(("LVM_SYSTEM_DIR".to_owned(), at("/etc/lvm")));
                list.push(check);
            }
            _ if file.path.starts_with("/etc/drbd.d/") => {
                let mut check = check("/usr/sbin/drbdadm", "drbd-utils", &["--config-file", &path, "dump"]);
                // The dialect of the kernel's DRBD 8.4, and this node's name, where the machine has neither.
                check.call.env = vec![
                    ("DRBD_DRIVER_VERSION_OVERRIDE".to_owned(), "8.4.11".to_owned()),
                    ("__DRBD_NODE__".to_owned(), context.hostname().to_owned()),
                ];
                list.push(check);
            }
            _ if file.path == format!("{POSTGRES_ETC}/postgresql.conf") => {
                let config = format!("config_file={path}");
                let args = ["-C", "wal_recycle", "-c", &config];
                list.push(check("/usr/lib/postgresql/17/bin/postgres", "postgresql-17", &args));
            }
            _ if file.path.starts_with("/etc/udev/rules.d/") => {
                list.push(check("/usr/bin/udevadm", "udev", &["verify", "--resolve-names=never", &path]));
            }
            _ if unit => {
                let name = file.path.trim_start_matches("/etc/systemd/system/");
                let root = format!("--root={root}/");
                let args = ["verify", "--man=no", "--recursive-errors=no", &root, name];
                let mut check = check("/usr/bin/systemd-analyze", "systemd", &args);
                check.refused =
                    &["Unknown key", "Unknown section", "Failed to parse", "ignoring", "Missing '='"];
                list.push(check);
            }
            _ => {}
        }
    }
    list
}

/// Programs that rendered units start and that a tree for checking may lack: k3s comes as an extension.
#[must_use]
pub fn programs_of_units(rendered: &Rendered) -> Vec<String> {
    let mut programs: Vec<String> = rendered
        .files
        .iter()
        .filter(|file| file.path.starts_with("/etc/systemd/system/"))
        .flat_map(|file| file.content.lines())
        .filter_map(|line| line.strip_prefix("Exec")?.split_once('=')?.1.split_whitespace().next())
        .map(|program| program.trim_start_matches(['-', '+', '!', '@', ':']).to_owned())
        .filter(|program| program.starts_with('/'))
        .collect();
    programs.sort();
    programs.dedup();
    programs
}

/// Runs one check through `run`, which gives `Err` when a program is not there.
pub fn run(check: &Check, mut run: impl FnMut(&Call) -> Result<Outcome, String>) -> Verdict {
    for call in check.prepare.iter().chain([&check.call]) {
        let outcome = match run(call) {
            Ok(outcome) => outcome,
            Err(why) => return Verdict::Skipped(why),
        };
        if let Some(missing) = check.kernel.filter(|_| kernel_lacks_it(&outcome)) {
            return Verdict::Skipped(format!("the kernel has no {missing}"));
        }
        let refused = check.refused.iter().any(|word| outcome.output.contains(word));
        if outcome.code != Some(0) || refused {
            return Verdict::Refused(format!(
                "{}: {:?}\n{}",
                call.argv.join(" "),
                outcome.code,
                outcome.output
            ));
        }
    }
    Verdict::Accepted
}

/// What nft says where netlink knows no nf_tables, or where the caller may not ask.
fn kernel_lacks_it(outcome: &Outcome) -> bool {
    let signs = ["Protocol not supported", "Operation not permitted", "Unable to initialize Netlink socket"];
    outcome.code != Some(0) && signs.iter().any(|sign| outcome.output.contains(sign))
}

fn call(program: &str, args: &[&str]) -> Call {
    let argv = std::iter::once(program).chain(args.iter().copied()).map(str::to_owned).collect();
    Call { argv, env: Vec::new() }
}

/// A member for every box of a seed, the two nodes first.
#[must_use]
pub fn members(seed: &edgepair_seed::Seed) -> Vec<Member> {
    use edgepair_seed::NodeId;
    let nodes = [Member::Node(NodeId::A), Member::Node(NodeId::B)];
    nodes.into_iter().chain(seed.workers.keys().cloned().map(Member::Worker)).collect()
}
