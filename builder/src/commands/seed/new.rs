//! `edgepair seed new`.

use std::fmt::Write as _;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use edgepair_host_io::atomic;
use edgepair_seed::{Companions, Input, Mac, SEED_FILE, Secret, check, parse_size, secret_from_random};

use super::ask::{ask, can_ask};
use super::{FAILED, WRONG_USE};

/// Name of the secret's file.
const SECRET_FILE: &str = "pair.secret";

/// `edgepair seed new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Name of the pair: lower case letters, digits, hyphens.
    #[arg(long)]
    name: Option<String>,
    /// Address that follows the active node, with prefix length. May be given twice: IPv4 and IPv6.
    #[arg(long, value_name = "ADDRESS/LENGTH")]
    virtual_ip: Vec<String>,
    /// MAC address of the first box.
    #[arg(long, value_name = "MAC")]
    mac_a: Option<String>,
    /// Address of the first box, with prefix length. May be given twice.
    #[arg(long, value_name = "ADDRESS/LENGTH")]
    address_a: Vec<String>,
    /// MAC address of the second box.
    #[arg(long, value_name = "MAC")]
    mac_b: Option<String>,
    /// Address of the second box, with prefix length. May be given twice.
    #[arg(long, value_name = "ADDRESS/LENGTH")]
    address_b: Vec<String>,
    /// Default gateway. May be given twice.
    #[arg(long)]
    gateway: Vec<String>,
    /// DNS server. May be given several times.
    #[arg(long)]
    dns: Vec<String>,
    /// Size of the replicated storage, for example 8GiB.
    #[arg(long)]
    size: Option<String>,
    /// Disk or partition for the replicated storage, in place of a file.
    #[arg(long)]
    device: Option<String>,
    /// Failover mode: witness, fence, manual or availability-first.
    #[arg(long)]
    mode: Option<String>,
    /// Address of the witness.
    #[arg(long, value_name = "URL")]
    witness: Option<String>,
    /// Fingerprint of the witness' certificate.
    #[arg(long, value_name = "sha256:…")]
    fingerprint: Option<String>,
    /// Datastore of Kubernetes: postgres or sqlite; `none` for no Kubernetes.
    #[arg(long)]
    datastore: Option<String>,
    /// SSH public key, or the file it is in. May be given several times.
    #[arg(long, value_name = "KEY|FILE")]
    ssh_key: Vec<String>,
    /// Folder for seed.toml and pair.secret.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// Ask nothing, even on a terminal.
    #[arg(long)]
    no_questions: bool,
}

/// Runs it.
pub fn run(args: &NewArgs) -> anyhow::Result<ExitCode> {
    let (seed_path, secret_path) = (args.out.join(SEED_FILE), args.out.join(SECRET_FILE));
    for path in [&seed_path, &secret_path] {
        // A new secret would cut a living pair off from itself.
        if path.symlink_metadata().is_ok() {
            bail!("{} is there already; choose another folder with --out, or move it away", path.display());
        }
    }
    let questions = can_ask() && !args.no_questions;
    let answers = match Answers::gather(args, questions)? {
        Ok(answers) => answers,
        Err(missing) => {
            eprintln!(
                "edgepair: these are needed: {}; or run it on a terminal to be asked",
                missing.join(", ")
            );
            return Ok(ExitCode::from(WRONG_USE));
        }
    };
    let text = answers.text();
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random)
        .map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    let secret = secret_from_random(&random);
    random.fill(0);
    if !is_good(&text, &secret) {
        return Ok(ExitCode::from(FAILED));
    }
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let line = Secret::new(format!("{}\n", secret.expose_secret()));
    // The secret first: a seed never stands there without it.
    put(&secret_path, line.expose_secret(), 0o600)?;
    put(&seed_path, &text, 0o644)?;
    println!(
        "{} and {} are written. The secret is the pair: keep a copy in a safe place.",
        seed_path.display(),
        secret_path.display()
    );
    println!("Next: edgepair seed show {} --node a", seed_path.display());
    Ok(ExitCode::SUCCESS)
}

fn put(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    atomic::write(path, text.as_bytes(), mode).with_context(|| format!("cannot write {}", path.display()))
}

/// Checks what was made, and prints what is to be known. Nothing is written when it has errors.
fn is_good(text: &str, secret: &Secret) -> bool {
    let companions = Companions::load(text, |_| Ok(secret.expose_secret().to_owned()));
    let (seed, report) = check(&Input { name: SEED_FILE, text, companions: &companions, disk: None });
    eprint!("{}", report.render(std::io::stderr().is_terminal()));
    if seed.is_none() {
        eprintln!("edgepair: nothing was written; correct the values above");
    }
    seed.is_some()
}

/// Everything a new seed says.
#[derive(Debug, Default)]
struct Answers {
    name: String,
    virtual_ip: Vec<String>,
    nodes: [(Option<String>, Vec<String>); 2],
    gateway: Vec<String>,
    dns: Vec<String>,
    size: Option<String>,
    device: Option<String>,
    mode: String,
    witness: Option<(String, String)>,
    datastore: Option<String>,
    ssh_keys: Vec<String>,
}

impl Answers {
    /// From the options, and from questions where they are silent. `Err` inside names the options that are missing.
    fn gather(args: &NewArgs, questions: bool) -> anyhow::Result<Result<Self, Vec<&'static str>>> {
        let mut missing = Vec::new();
        let mut one =
            |given: Option<&String>, option: &'static str, question: &str, default: &str, judge: Judge| {
                match given {
                    Some(value) => Ok(value.clone()),
                    None if questions => ask(question, default, judge),
                    None => {
                        missing.push(option);
                        Ok(String::new())
                    }
                }
            };
        let name = one(args.name.as_ref(), "--name", "Name of the pair", "", some)?;
        let mut several = |given: &[String], option, question: &str, judge| -> anyhow::Result<Vec<String>> {
            if given.is_empty() {
                Ok(words(&one(None, option, question, "", judge)?))
            } else {
                Ok(given.to_vec())
            }
        };
        let mut answers = Self {
            virtual_ip: several(
                &args.virtual_ip,
                "--virtual-ip",
                "Virtual IP, for example 192.0.2.50/24",
                nets,
            )?,
            name,
            ..Self::default()
        };
        let address_a =
            several(&args.address_a, "--address-a", "Address of the first box, with length", nets)?;
        let address_b =
            several(&args.address_b, "--address-b", "Address of the second box, with length", nets)?;
        // A box may be found by other means than its MAC address; the check warns.
        let mac = |given: &Option<String>, which: &str| match given {
            None if questions => {
                let answer = ask(&format!("MAC address of the {which} box (empty: none)"), "", mac_or_none)?;
                anyhow::Ok(Some(answer).filter(|answer| !answer.is_empty()))
            }
            given => Ok(given.clone()),
        };
        answers.nodes = [(mac(&args.mac_a, "first")?, address_a), (mac(&args.mac_b, "second")?, address_b)];
        if args.device.is_none() {
            answers.size =
                Some(one(args.size.as_ref(), "--size", "Size of the replicated storage", "8GiB", size)?);
        } else {
            answers.size.clone_from(&args.size);
        }
        answers.device.clone_from(&args.device);
        let default = if args.witness.is_some() { "witness" } else { "manual" };
        let question = "Failover mode (witness, fence, manual, availability-first)";
        answers.mode = match (&args.mode, &args.witness) {
            (None, Some(_)) => "witness".to_owned(),
            (given, _) => one(given.as_ref(), "--mode", question, default, mode)?,
        };
        if answers.mode == "witness" {
            let url = one(args.witness.as_ref(), "--witness", "Address of the witness", "", some)?;
            let fingerprint =
                one(args.fingerprint.as_ref(), "--fingerprint", "Its fingerprint (sha256:…)", "", some)?;
            answers.witness = Some((url, fingerprint));
        }
        let optional = |given: &[String], question: &str| -> anyhow::Result<Vec<String>> {
            if given.is_empty() && questions {
                Ok(words(&ask(question, "", |_| Ok(()))?))
            } else {
                Ok(given.to_vec())
            }
        };
        answers.gateway = optional(&args.gateway, "Gateway (empty: none)")?;
        answers.dns = optional(&args.dns, "DNS servers (empty: none)")?;
        answers.datastore = match &args.datastore {
            Some(word) => Some(word.clone()).filter(|word| word != "none"),
            None => Some("postgres".to_owned()),
        };
        let keys = match args.ssh_key.as_slice() {
            [] if questions => {
                vec![ask("SSH public key, or its file (empty: none)", &usual_key(), |_| Ok(()))?]
            }
            given => given.to_vec(),
        };
        answers.ssh_keys = keys
            .iter()
            .filter(|key| !key.is_empty())
            .map(|key| ssh_keys(key))
            .collect::<anyhow::Result<Vec<_>>>()?
            .concat();
        Ok(if missing.is_empty() { Ok(answers) } else { Err(missing) })
    }

    fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ =
            writeln!(out, "# What this pair of boxes is to be. All keys: docs/seed.md\nschema = 1\n\n[pair]");
        let _ = writeln!(out, "name = {}", quote(&self.name));
        let _ = writeln!(out, "virtual_ip = {}", one_or_list(&self.virtual_ip));
        let _ = writeln!(out, "secret_file = {}", quote(SECRET_FILE));
        for (letter, (mac, addresses)) in ["a", "b"].iter().zip(&self.nodes) {
            let _ = writeln!(out, "\n[node.{letter}]");
            if let Some(mac) = mac {
                let _ = writeln!(out, "mac = {}", quote(mac));
            }
            let _ = writeln!(out, "address = {}", one_or_list(addresses));
        }
        if !self.gateway.is_empty() || !self.dns.is_empty() {
            out.push_str("\n[network]\n");
        }
        if !self.gateway.is_empty() {
            let _ = writeln!(out, "gateway = {}", one_or_list(&self.gateway));
        }
        if !self.dns.is_empty() {
            let _ = writeln!(out, "dns = {}", list(&self.dns));
        }
        let storage = if self.device.is_some() { "device" } else { "loop" };
        let _ = writeln!(out, "\n[storage]\nmode = {}", quote(storage));
        if let Some(device) = &self.device {
            let _ = writeln!(out, "device = {}", quote(device));
        }
        if let Some(size) = &self.size {
            let _ = writeln!(out, "size = {}", quote(size));
        }
        let _ = writeln!(out, "\n[failover]\nmode = {}", quote(&self.mode));
        if let Some((url, fingerprint)) = &self.witness {
            let (url, fingerprint) = (quote(url), quote(fingerprint));
            let _ = writeln!(out, "witness = {{ url = {url}, fingerprint = {fingerprint} }}");
        }
        if let Some(datastore) = &self.datastore {
            let _ = writeln!(out, "\n[kubernetes]\ndatastore = {}", quote(datastore));
        }
        let _ = writeln!(out, "\n[access]\nssh_keys = {}", list(&self.ssh_keys));
        out
    }
}

type Judge = fn(&str) -> Result<(), String>;

fn words(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn some(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("this is needed".to_owned()) } else { Ok(()) }
}

fn nets(text: &str) -> Result<(), String> {
    let good = |word: &String| {
        word.split_once('/').is_some_and(|(address, _)| address.parse::<std::net::IpAddr>().is_ok())
    };
    if !words(text).is_empty() && words(text).iter().all(good) {
        Ok(())
    } else {
        Err("write an address with prefix length, for example 192.0.2.60/24".to_owned())
    }
}

fn mac_or_none(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { Mac::parse(text).map(|_| ()) }
}

fn size(text: &str) -> Result<(), String> {
    parse_size(text).map(|_| ())
}

fn mode(text: &str) -> Result<(), String> {
    let modes = ["witness", "fence", "manual", "availability-first"];
    if modes.contains(&text) { Ok(()) } else { Err(format!("write one of {}", modes.join(", "))) }
}

/// The key most people have.
fn usual_key() -> String {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let path = home.join(".ssh/id_ed25519.pub");
    if path.is_file() { path.to_string_lossy().into_owned() } else { String::new() }
}

/// A key as it is, or all keys of a file.
fn ssh_keys(key_or_file: &str) -> anyhow::Result<Vec<String>> {
    if key_or_file.starts_with("ssh-") || key_or_file.starts_with("ecdsa-") || key_or_file.starts_with("sk-")
    {
        return Ok(vec![key_or_file.trim().to_owned()]);
    }
    let text =
        fs::read_to_string(key_or_file).with_context(|| format!("cannot read the SSH key {key_or_file}"))?;
    // Whatever it is instead is refused line by line by the check; a private key must not even get into a snippet.
    if text.contains("PRIVATE KEY") {
        bail!("{key_or_file} is a private key; name the file that ends in .pub");
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.iter().map(|item| quote(item)).collect::<Vec<_>>().join(", "))
}

fn one_or_list(items: &[String]) -> String {
    match items {
        [one] => quote(one),
        many => list(many),
    }
}
