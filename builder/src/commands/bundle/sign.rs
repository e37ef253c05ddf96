//! `edgepair bundle sign`: with a key at hand, or in three steps with one that stays where it is.

use super::{open, refused, write_whole};
use crate::signing::minisign::{self, Passphrase, Signer};
use anyhow::{Context, ensure};
use clap::Args;
use edgepair_bundle::Unverified;
use edgepair_host_io::atomic;
use edgepair_signature::{Prehash, Signature};
use std::path::PathBuf;
use std::process::ExitCode;

/// `edgepair bundle sign`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("how").required(true).args(["key", "emit", "attach"])))]
pub struct SignArgs {
    /// The bundle; it is replaced when the signed one is whole.
    bundle: PathBuf,
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
    let bundle = Unverified::open(open(&args.bundle)?).map_err(|error| refused(&args.bundle, &error))?;
    // A manifest that no node reads must not be signed.
    let manifest = bundle.manifest().map_err(|report| {
        anyhow::anyhow!(
            "{} has a wrong manifest:\n{}  to do: make the bundle again",
            args.bundle.display(),
            report.render_short()
        )
    })?;
    if let Some(file) = &args.emit {
        atomic::write(file, bundle.text().as_bytes(), 0o644)
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!(
            "to sign  {} (`edgepair sign {} --key KEY`, where the key is)",
            file.display(),
            file.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let signature = signature(
        args,
        bundle.text(),
        &format!("{}_{}_{}", manifest.name, manifest.version, manifest.architecture),
    )?;
    let mut all: Vec<Signature> = bundle.signatures().to_vec();
    all.retain(|other| !args.only && other.key_id() != signature.key_id());
    let id = signature.key_id();
    all.push(signature);
    write_whole(&args.bundle, |out| Ok(bundle.resign(&all, out)?))?;
    println!("signed   {} with key {id}", args.bundle.display());
    Ok(ExitCode::SUCCESS)
}

fn signature(args: &SignArgs, text: &str, stem: &str) -> anyhow::Result<Signature> {
    if let Some(key) = &args.key {
        let words = args.passphrase_file.as_deref().map_or(Passphrase::Ask, Passphrase::File);
        let signer = Signer::open(key, words)?;
        return signer.sign(text.as_bytes(), &format!("file:manifest.toml bundle:{stem}"));
    }
    let (attach, public) = args.attach.as_ref().zip(args.public.as_ref()).context("no key is given")?;
    let (signature, key) = (minisign::signature(attach)?, minisign::public_key(public)?);
    ensure!(
        key.verify(&Prehash::of_bytes(text.as_bytes()), &signature),
        "{} is not a signature by {} over this bundle's manifest\n  to do: sign what `edgepair bundle sign {} --emit FILE` writes",
        attach.display(),
        public.display(),
        args.bundle.display()
    );
    Ok(signature)
}
