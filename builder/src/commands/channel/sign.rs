//! `edgepair channel sign`: with a key at hand, or in three steps with one that stays where it is.

use super::{content, open, refused};
use crate::signing::minisign::{self, Passphrase, Signer};
use anyhow::{Context, ensure};
use clap::Args;
use edgepair_bundle::channel::Channel;
use edgepair_bundle::channel::file::assemble;
use edgepair_host_io::atomic;
use edgepair_signature::{Prehash, Signature};
use std::path::PathBuf;
use std::process::ExitCode;

/// `edgepair channel sign`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("how").required(true).args(["key", "emit", "attach"])))]
pub struct SignArgs {
    /// The channel file; it is replaced by the signed one.
    file: PathBuf,
    /// Sign with this private key.
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,
    /// File with the key's passphrase in its first line; asked for on the terminal otherwise.
    #[arg(long, value_name = "FILE", requires = "key")]
    passphrase_file: Option<PathBuf>,
    /// Only write the bytes that are to be signed to this file.
    #[arg(long, value_name = "FILE")]
    emit: Option<PathBuf>,
    /// Put in a signature that was made elsewhere.
    #[arg(long, value_name = "SIGNATURE", requires = "public")]
    attach: Option<PathBuf>,
    /// The public key that the attached signature must be by.
    #[arg(long, value_name = "KEY", requires = "attach")]
    public: Option<PathBuf>,
    /// Take the signatures away that are there. Otherwise only one by the same key is replaced.
    #[arg(long, conflicts_with = "emit")]
    only: bool,
}

/// Runs it.
pub fn run(args: &SignArgs) -> anyhow::Result<ExitCode> {
    let file = open(&args.file)?;
    // What no node reads must not be signed.
    let channel = content(&args.file, &file)?;
    if let Some(out) = &args.emit {
        atomic::write(out, file.text().as_bytes(), 0o644)
            .with_context(|| format!("cannot write {}", out.display()))?;
        println!(
            "to sign  {} (`edgepair sign {} --key KEY`, where the key is)",
            out.display(),
            out.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let signature = signature(args, file.text(), &channel)?;
    let id = signature.key_id();
    let mut all: Vec<Signature> = file.signatures().to_vec();
    all.retain(|other| !args.only && other.key_id() != id);
    all.push(signature);
    let text = assemble(file.text(), &all).map_err(|error| refused(&args.file, &error))?;
    atomic::write(&args.file, text.as_bytes(), 0o644)
        .with_context(|| format!("cannot write {}", args.file.display()))?;
    println!("signed   {} with key {id}", args.file.display());
    Ok(ExitCode::SUCCESS)
}

fn signature(args: &SignArgs, text: &str, channel: &Channel) -> anyhow::Result<Signature> {
    if let Some(key) = &args.key {
        let words = args.passphrase_file.as_deref().map_or(Passphrase::Ask, Passphrase::File);
        let comment = format!("file:channel.toml channel:{} serial:{}", channel.name, channel.serial);
        return Signer::open(key, words)?.sign(text.as_bytes(), &comment);
    }
    let (attach, public) = args.attach.as_ref().zip(args.public.as_ref()).context("no key is given")?;
    let (signature, key) = (minisign::signature(attach)?, minisign::public_key(public)?);
    ensure!(
        key.verify(&Prehash::of_bytes(text.as_bytes()), &signature),
        "{} is not a signature by {} over this channel\n  to do: sign what `edgepair channel sign {} --emit FILE` writes",
        attach.display(),
        public.display(),
        args.file.display()
    );
    Ok(signature)
}
