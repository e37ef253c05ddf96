//! `edgepair extension`: k3s as an extension file, apart from an image.

use crate::doctor;
use crate::engine::cache::Cache;
use crate::engine::progress::Progress;
use crate::engine::{Engine, clean_up};
use crate::plan::{Extras, Plan};
use crate::signing::minisign::{Passphrase, Signer, public_key};
use crate::stages::extension::{self, Given};
use crate::stages::tools::Wish;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use edgepair_extension::{Error, Unverified};
use edgepair_host_io::{Invocation, atomic};
use edgepair_layout::path::NODE_INIT;
use edgepair_signature::TrustedKeys;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// `edgepair extension`.
#[derive(Debug, Args)]
pub struct ExtensionArgs {
    /// What to do.
    #[command(subcommand)]
    command: ExtensionCommand,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum ExtensionCommand {
    /// Make an extension file out of a k3s program.
    #[command(
        after_help = "Example:\n  edgepair extension build --k3s k3s --version v1.33.4+k3s1 --images k3s-airgap-images-amd64.tar.zst --sign release.key\n\nA node takes only what is signed with a key of its image ([update] keys in the definition)."
    )]
    Build(BuildArgs),
    /// Say what an extension file holds, and with --key whether it is signed with that key and whole.
    #[command(
        after_help = "Example:\n  edgepair extension inspect k3s_v1.33.4+k3s1_amd64.extension --key release.pub"
    )]
    Inspect(InspectArgs),
    /// Send an extension file to the nodes of a pair, which keep it until `node-init extension use` names its version.
    #[command(
        after_help = "Example:\n  edgepair extension push k3s_v1.33.4+k3s1_amd64.extension 192.0.2.60 192.0.2.61\n  ssh root@192.0.2.60 node-init extension use v1.33.4+k3s1"
    )]
    Push(PushArgs),
}

/// `edgepair extension build`.
#[derive(Debug, Args)]
struct BuildArgs {
    /// The program of a k3s release.
    #[arg(long, value_name = "FILE")]
    k3s: PathBuf,
    /// Its version.
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// An archive of container images that k3s loads without a registry; may be given several times.
    #[arg(long, value_name = "TAR")]
    images: Vec<PathBuf>,
    /// Sign it with this private key (`edgepair key new`).
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// File with the key's passphrase in its first line; asked for on the terminal otherwise.
    #[arg(long, value_name = "FILE", requires = "sign")]
    passphrase_file: Option<PathBuf>,
    /// The definition of the images that it is for: gives architecture, tools and time stamps.
    #[arg(long, value_name = "IMAGE.toml", default_value = "images/x86-64.toml")]
    image: PathBuf,
    /// Where the file goes; out/k3s_VERSION_ARCHITECTURE.extension when absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// `edgepair extension inspect`.
#[derive(Debug, Args)]
struct InspectArgs {
    /// The extension file.
    file: PathBuf,
    /// Public key that it must be signed with; the whole file is read then.
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// `edgepair extension push`.
#[derive(Debug, Args)]
struct PushArgs {
    /// The signed extension file.
    file: PathBuf,
    /// The nodes, as ssh knows them; the user is root unless it says otherwise (USER@HOST).
    #[arg(required = true)]
    hosts: Vec<String>,
    /// Options for ssh.
    #[arg(last = true, value_name = "SSH OPTION")]
    ssh: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// What failed and what to do.
pub fn run(args: ExtensionArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        ExtensionCommand::Build(args) => build(&args),
        ExtensionCommand::Inspect(args) => inspect(&args),
        ExtensionCommand::Push(args) => push(&args),
    }
}

fn build(args: &BuildArgs) -> anyhow::Result<ExitCode> {
    let words = args.passphrase_file.as_deref().map_or(Passphrase::Ask, Passphrase::File);
    let signer = args.sign.as_deref().map(|key| Signer::open(key, words)).transpose()?.map(Arc::new);
    let plan = Plan::load(&args.image)?;
    let given = Given { program: Some(&args.k3s), version: args.version.as_deref(), images: &args.images };
    let k3s = extension::resolve(&plan.definition, &plan.board, given)?.context("no k3s was given")?;
    let progress = Progress::default();
    doctor::require(&plan.board, &progress)?;
    let cache = Cache::open()?;
    let _in_use = cache.in_use()?;
    let lock = super::build::load_lock(&args.image)?;
    let tools = plan.tools.ensure(&cache, &progress, Wish::Like(lock.as_ref().map(|lock| &lock.tools)))?;
    clean_up(&cache, &tools.sandbox)?;
    let extras = Extras { k3s: Some(&k3s), signer: signer.as_ref(), secure_boot: None };
    let steps = vec![extension::step(&plan.definition, &plan.board, extras.k3s, extras.signer)];
    let made = Engine::new(&cache, tools.sandbox, &tools.identity, steps, &progress).ensure("extension")?;
    let name = format!("k3s_{}_{}.extension", k3s.version, plan.board.architecture.debian);
    let out = args.out.clone().unwrap_or_else(|| Path::new("out").join(name));
    publish(&made.dir.join(extension::FILE), &out)?;
    println!("{:>10}  {}", crate::definition::size::show(fs::metadata(&out)?.len()), out.display());
    match &signer {
        Some(signer) => println!("signed with key {}", signer.id()),
        None => println!("not signed: no node takes it; make it again with --sign KEY"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Copies a file of the cache under its final name, whole or not at all.
fn publish(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let part = atomic::temporary_name(to);
    let copied = (|| -> std::io::Result<()> {
        fs::copy(from, &part)?;
        fs::set_permissions(&part, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        File::open(&part)?.sync_all()?;
        atomic::publish(&part, to)
    })();
    if copied.is_err() {
        let _ = fs::remove_file(&part);
    }
    copied.with_context(|| format!("cannot write {}", to.display()))
}

fn refused(file: &Path, error: &Error) -> anyhow::Error {
    anyhow::anyhow!("{}: {error}\n  to do: {}", file.display(), error.advice())
}

fn open(file: &Path) -> anyhow::Result<Unverified<std::io::BufReader<File>>> {
    let reader = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    Unverified::open(std::io::BufReader::new(reader)).map_err(|error| refused(file, &error))
}

fn inspect(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let found = open(&args.file)?;
    let head = found.head().clone();
    let signed_by: Vec<String> = found.signatures().iter().map(|seal| seal.key_id().to_string()).collect();
    if let Some(key) = &args.key {
        let keys = TrustedKeys::new([public_key(key)?])?;
        let whole = found.verify(&keys).and_then(|verified| verified.unpack(std::io::sink()));
        whole.map_err(|error| refused(&args.file, &error))?;
    }
    if args.json {
        println!(
            "{:#}",
            serde_json::json!({
                "version": head.version.to_string(), "architecture": head.architecture, "size": head.size,
                "root_hash": head.root_hash, "images": head.images, "signed_by": signed_by,
            })
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("k3s          {}", head.version);
    println!("architecture {}", head.architecture);
    println!("size         {}", crate::definition::size::show(head.size));
    println!(
        "images       {}",
        if head.images.is_empty() { "none".to_owned() } else { head.images.join(", ") }
    );
    println!(
        "signed by    {}",
        if signed_by.is_empty() { "nobody".to_owned() } else { signed_by.join(", ") }
    );
    if args.key.is_some() {
        println!("whole, and signed with this key");
    }
    Ok(ExitCode::SUCCESS)
}

fn push(args: &PushArgs) -> anyhow::Result<ExitCode> {
    // What no node takes need not travel.
    if open(&args.file)?.signatures().is_empty() {
        bail!(
            "{} is not signed, and no node takes it\n  to do: make it again with --sign KEY",
            args.file.display()
        );
    }
    for host in &args.hosts {
        let file = File::open(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
        match call(host, &args.ssh)?.to_command().stdin(file).status() {
            Ok(status) if status.success() => println!("{host} has it"),
            Ok(status) if status.code() == Some(255) => bail!("ssh did not reach {host}"),
            Ok(_) => bail!("{host} did not take the extension"),
            Err(error) => return Err(error).context("ssh (Debian: apt install openssh-client)"),
        }
    }
    println!("both nodes need it before `node-init extension use` takes effect");
    Ok(ExitCode::SUCCESS)
}

fn call(host: &str, options: &[String]) -> anyhow::Result<Invocation> {
    // It would be read as an option, by ssh.
    if host.starts_with('-') || host.is_empty() {
        bail!("`{host}` is not the name of a host");
    }
    let host = if host.contains('@') { host.to_owned() } else { format!("root@{host}") };
    let call = Invocation::new("ssh").args(options.iter().cloned());
    Ok(call.args([&host, NODE_INIT, "extension", "install", "-"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reads_the_extension_from_its_standard_input() {
        let line = call("192.0.2.60", &["-p".into(), "2222".into()]).expect("a call").shell_line();
        assert_eq!(line, "ssh -p 2222 root@192.0.2.60 /usr/lib/edgepair/node-init extension install -");
        for wrong in ["-oProxyCommand=x", ""] {
            assert!(call(wrong, &[]).is_err(), "{wrong}");
        }
    }
}
