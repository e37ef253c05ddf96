//! `edgepair key`, `edgepair sign`, `edgepair verify`.

use crate::cli::{KeyCommand, SignArgs, VerifyArgs};
use crate::engine::cache::Cache;
use crate::engine::progress::Progress;
use crate::plan::Plan;
use crate::signing::minisign::{self, Passphrase, Signer};
use crate::signing::secure_boot::{self, SecureBoot};
use crate::stages::tools::{Wish, any_tree};
use anyhow::Context;
use std::process::ExitCode;

/// `edgepair key new`.
///
/// # Errors
/// When a key exists already or cannot be made.
pub fn new(command: KeyCommand) -> anyhow::Result<ExitCode> {
    let KeyCommand::New { name, secure_boot, owner, passphrase_file, passphrase } = command;
    if secure_boot {
        let printable = |c: char| c.is_alphanumeric() || " .,-_".contains(c);
        anyhow::ensure!(
            !owner.is_empty() && owner.len() <= 40 && owner.chars().all(printable),
            "`{owner}` cannot be part of a certificate's name: use letters, digits, spaces and `.,-_`, at most 40"
        );
        let cache = Cache::open()?;
        let _in_use = cache.in_use()?;
        let sandbox = any_tree(&cache).context(
            "openssl of a tools tree makes these keys, and there is none yet: build an image first",
        )?;
        secure_boot::new_keys(&name, &owner, &sandbox)?;
        println!("{}: PK, KEK and db, each as .key (private), .crt and .cer", name.display());
        println!(
            "enrol PK.cer, KEK.cer and db.cer in each box's firmware; sign with `build --secure-boot {}`",
            name.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let words = match (&passphrase_file, passphrase) {
        (Some(file), _) => Passphrase::File(file),
        (None, true) => Passphrase::Ask,
        (None, false) => Passphrase::None,
    };
    let public = minisign::new_key(&name, words)?;
    let (private_path, public_path) = minisign::paths(&name);
    println!("private  {} (keep it; whoever has it can sign)", private_path.display());
    println!("public   {}", public_path.display());
    print!("{public}");
    Ok(ExitCode::SUCCESS)
}

/// `edgepair sign`.
///
/// # Errors
/// When the key cannot be used or the file not be read.
pub fn sign(args: &SignArgs) -> anyhow::Result<ExitCode> {
    if let (Some(keys), Some(image), Some(output)) = (&args.secure_boot, &args.image, &args.output) {
        let plan = Plan::load(image)?;
        let cache = Cache::open()?;
        let _in_use = cache.in_use()?;
        let tools = plan.tools.ensure(&cache, &Progress::default(), Wish::Like(None))?;
        let keys = SecureBoot::from_keys(keys)?;
        secure_boot::sign_file(&keys, &args.file, output, plan.definition.epoch.value, &tools.sandbox)?;
        println!("signed   {}", output.display());
        return Ok(ExitCode::SUCCESS);
    }
    let key = args.key.as_deref().context("no key is given")?;
    let words = args.passphrase_file.as_deref().map_or(Passphrase::Ask, Passphrase::File);
    let signer = Signer::open(key, words)?;
    let path = minisign::sign_file(&signer, &args.file)?;
    println!("signed   {} with key {}", path.display(), signer.id());
    Ok(ExitCode::SUCCESS)
}

/// `edgepair verify`.
///
/// # Errors
/// When the signature does not hold.
pub fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let signature = args.signature.clone().unwrap_or_else(|| minisign::signature_path(&args.file));
    let comment = minisign::verify_file(&args.key, &args.file, &signature)?;
    println!("good     {} ({comment})", args.file.display());
    Ok(ExitCode::SUCCESS)
}
