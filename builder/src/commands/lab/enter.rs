//! Ways into a lab: SSH, the shell on a port of the virtual machine, PostgreSQL.

use super::state::Lab;
use anyhow::{Context, bail};
use edgepair_host_io::{Invocation, atomic};
use qemu_tests::harness::Deadline;
use qemu_tests::harness::site::{KEY_FILE, Side, Site};
use qemu_tests::harness::writer::Reach;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// `edgepair lab ssh`.
///
/// # Errors
/// When the lab does not run or there is no ssh on this computer.
pub fn ssh(lab: &Lab, side: Side, command: &[String]) -> anyhow::Result<ExitCode> {
    hand_over(&call(lab, side, command)?, "openssh-client")
}

/// How a node is reached by SSH.
///
/// # Errors
/// When the lab does not run.
pub fn call(lab: &Lab, side: Side, command: &[String]) -> anyhow::Result<Invocation> {
    let made = lab.running()?;
    // The key that the node really has, told through the port of its virtual machine: nothing is believed blindly.
    let host_key = lab
        .guest(side)?
        .run(&format!("cat {}.pub", edgepair_render::names::SSH_HOST_KEY))
        .context("the node has no SSH key yet")?;
    let port = made.spec.doors.ssh[side as usize];
    let known = lab.dir.join(format!("known_hosts-{side}"));
    atomic::write(&known, format!("[127.0.0.1]:{port} {}\n", host_key.trim()).as_bytes(), 0o600)?;
    let option = |name: &str, value: &str| ["-o".to_owned(), format!("{name}={value}")];
    Ok(Invocation::new("ssh")
        .args(["-i", &lab.site().join(KEY_FILE).to_string_lossy(), "-p", &port.to_string()])
        .args(option("UserKnownHostsFile", &known.to_string_lossy()))
        .args(option("IdentitiesOnly", "yes"))
        .args(option("StrictHostKeyChecking", "yes"))
        .args(option("LogLevel", "ERROR"))
        .arg("root@127.0.0.1")
        .args(command.iter().cloned()))
}

/// Runs a program with this one's terminal.
fn hand_over(call: &Invocation, package: &str) -> anyhow::Result<ExitCode> {
    match call.to_command().status() {
        Ok(status) => Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(255)).unwrap_or(255))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "there is no {} on this computer\n  to do: install it (Debian: apt install {package})",
            call.program
        ),
        Err(error) => Err(error).with_context(|| call.program.clone()),
    }
}

/// `edgepair lab kubeconfig`: from the node that has it, with the port of this computer that leads to the virtual IP. The
/// certificate of a k3s server is good for the loopback as well.
///
/// # Errors
/// When the lab does not run, or no node has a k3s server.
pub fn kubeconfig(lab: &Lab) -> anyhow::Result<ExitCode> {
    let port = lab.running()?.spec.doors.kubernetes;
    let line = format!("node-init kubeconfig --server https://127.0.0.1:{port}");
    let mut said = Vec::new();
    for side in Side::BOTH {
        let answer = lab.guest(side).and_then(|mut guest| guest.try_run(&line, Deadline::seconds(60)));
        match answer {
            Ok(answer) if answer.status == 0 => {
                println!("{}", answer.text.trim_end());
                return Ok(ExitCode::SUCCESS);
            }
            Ok(answer) => said.push(format!("node {side}: {}", answer.text.trim())),
            Err(error) => said.push(format!("node {side}: {error:#}")),
        }
    }
    bail!("no node of the lab has a kubeconfig:\n  {}", said.join("\n  "))
}

/// `edgepair lab shell`.
///
/// # Errors
/// When the lab does not run or the node does not answer.
pub fn shell(lab: &Lab, side: Side, command: &[String]) -> anyhow::Result<ExitCode> {
    let mut guest = lab.guest(side)?;
    let mut run = |line: &str| -> anyhow::Result<i32> {
        let answer = guest.try_run(line, Deadline::seconds(600))?;
        // The port serves one at a time; `lab status` may want it meanwhile.
        guest.hang_up();
        if !answer.text.is_empty() {
            println!("{}", answer.text);
        }
        Ok(answer.status)
    };
    if !command.is_empty() {
        let status = run(&command.join(" "))?;
        return Ok(ExitCode::from(u8::try_from(status.clamp(0, 255)).unwrap_or(1)));
    }
    let terminal = std::io::stdin().is_terminal();
    let prompt = || {
        if terminal {
            eprint!("node {side} # ");
            let _ = std::io::stderr().flush();
        }
    };
    prompt();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim() == "exit" {
            break;
        }
        if !line.trim().is_empty() {
            run(&line)?;
        }
        prompt();
    }
    Ok(ExitCode::SUCCESS)
}

/// `edgepair lab psql`: psql(1) where there is one; `-c` also without.
///
/// # Errors
/// When the lab does not run, or the datastore does not answer.
pub fn psql(lab: &Lab, options: &[String]) -> anyhow::Result<ExitCode> {
    let made = lab.running()?;
    let site = Site::read(&lab.site())?;
    let port = made.spec.doors.postgres;
    let kine = edgepair_render::names::KINE;
    // Through the environment: an argument could be read by everybody on this computer.
    let call = Invocation::new("psql")
        .env("PGPASSWORD", site.database_password().expose_secret())
        .env("PGCONNECT_TIMEOUT", "10")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", kine, "-d", kine])
        .args(options.iter().cloned());
    match (call.to_command().status(), options) {
        (Ok(status), _) => Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(255)).unwrap_or(255))),
        (Err(error), [option, sql])
            if error.kind() == std::io::ErrorKind::NotFound && option.as_str() == "-c" =>
        {
            for row in Reach::new(port, &site, Duration::from_secs(30)).query(sql)? {
                let cells: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
                println!("{}", cells.join(" | "));
            }
            Ok(ExitCode::SUCCESS)
        }
        (Err(error), _) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "there is no psql on this computer\n  to do: install it (Debian: apt install postgresql-client), or give one \
             statement: edgepair lab psql -c 'SELECT 1'"
        ),
        (Err(error), _) => Err(error).context("psql"),
    }
}
