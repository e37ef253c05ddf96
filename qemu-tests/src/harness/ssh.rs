//! What an operator does over SSH, with the seed's key and the node's own host key.

use super::pair::Pair;
use super::site::{KEY_FILE, Side};
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgepair_host_io::{Invocation, atomic};
use edgepair_layout::path::UPDATE_KEYS;
use edgepair_render::names::SSH_HOST_KEY;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Output, Stdio};

/// Runs a command on a node as root, with a file as its input, and does not wait.
///
/// # Errors
/// When ssh cannot be started.
pub fn begin(pair: &mut Pair, side: Side, command: &str, input: &Path) -> anyhow::Result<Child> {
    let host_key = pair.node(side)?.guest.run(&format!("cat {SSH_HOST_KEY}.pub"))?;
    let (dir, port) = (pair.spec.dir.clone(), pair.spec.doors.ssh[side as usize]);
    let known = dir.join(format!("known_hosts-{side}"));
    atomic::write(&known, format!("[127.0.0.1]:{port} {}\n", host_key.trim()).as_bytes(), 0o600)?;
    let option = |name: &str, value: &str| ["-o".to_owned(), format!("{name}={value}")];
    let call = Invocation::new("ssh")
        .args(["-i", &dir.join("seed").join(KEY_FILE).to_string_lossy(), "-p", &port.to_string()])
        .args(option("UserKnownHostsFile", &known.to_string_lossy()))
        .args(option("IdentitiesOnly", "yes"))
        .args(option("StrictHostKeyChecking", "yes"))
        .args(option("BatchMode", "yes"))
        .args(option("ServerAliveInterval", "60"))
        .args(option("LogLevel", "ERROR"))
        // Emulated processors have instructions for it; ChaCha20 alone would take minutes of a guest for one bundle.
        .args(option("Ciphers", "aes128-gcm@openssh.com"))
        .args(["root@127.0.0.1", command]);
    let file = File::open(input).with_context(|| input.display().to_string())?;
    let mut command = call.to_command();
    command.stdin(file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("ssh")
}

/// What it said, on both ways.
pub fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    [text(&output.stdout), text(&output.stderr)].join(" ").trim().to_owned()
}

/// Puts a key where an image has its own, until the next boot.
///
/// # Errors
/// When a node does not take it.
pub fn trust(pair: &mut Pair, key: &Path) -> anyhow::Result<()> {
    let text = STANDARD.encode(std::fs::read(key).with_context(|| key.display().to_string())?);
    for side in Side::BOTH {
        pair.node(side)?.guest.run(&format!(
            "mkdir -p /run/lab-keys && echo {text} | base64 -d > /run/lab-keys/lab.pub && mount --bind /run/lab-keys {UPDATE_KEYS}"
        ))?;
    }
    Ok(())
}
