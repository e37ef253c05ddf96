//! Network namespaces on one bridge, for tests that need a kernel.

use std::process::{Command, Output};

#[expect(clippy::disallowed_methods, reason = "ip, nft and bash are what this test drives")]
pub fn run(program: &str, args: &[&str]) -> Result<Output, String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

pub fn ip(words: &str) -> Result<Output, String> {
    run("ip", &words.split(' ').collect::<Vec<_>>())
}

/// The namespaces; gone when dropped.
pub struct Net {
    /// Switch, node (.60), its peer (.61), a stranger (.99).
    pub names: [String; 4],
}

impl Net {
    /// `Err` when this machine cannot do it.
    pub fn new() -> Result<Self, String> {
        let id = std::process::id();
        let net = Self { names: ["switch", "node", "peer", "other"].map(|name| format!("ep{id}{name}")) };
        let switch = &net.names[0];
        for name in &net.names {
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        ip(&format!("-n {switch} link add br0 type bridge"))?;
        ip(&format!("-n {switch} link set br0 up"))?;
        for (index, name) in net.names.iter().enumerate().skip(1) {
            let host = [0, 60, 61, 99][index];
            ip(&format!("link add eth0 netns {name} type veth peer name p{index} netns {switch}"))?;
            ip(&format!("-n {switch} link set p{index} master br0 up"))?;
            ip(&format!("-n {name} address add 192.0.2.{host}/24 dev eth0"))?;
            ip(&format!("-n {name} address add 2001:db8::{host}/64 dev eth0 nodad"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
        }
        Ok(net)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&format!("netns delete {name}"));
        }
    }
}
