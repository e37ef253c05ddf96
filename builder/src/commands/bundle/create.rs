//! `edgepair bundle create`.

use super::write_whole;
use crate::engine::progress::Progress;
use crate::payloads::Output;
use crate::signing::minisign::{Passphrase, Signer};
use anyhow::{Context, anyhow};
use clap::Args;
use edgepair_bundle::manifest::{Compatible, Leaves, Part, Span, Wave};
use edgepair_bundle::{Digest, Manifest, Packer, Time, Version};
use edgepair_layout::format;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `edgepair bundle create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The folder that `edgepair build` wrote.
    folder: PathBuf,
    /// Where the bundle goes; into the folder when absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Sign it with this private key (`edgepair key new`). Without, `edgepair bundle sign` does it later.
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// File with the key's passphrase in its first line; asked for on the terminal otherwise.
    #[arg(long, value_name = "FILE", requires = "sign")]
    passphrase_file: Option<PathBuf>,
    /// A further board that the image is for.
    #[arg(long, value_name = "BOARD")]
    board: Vec<String>,
    /// Once this version is kept, nothing older than FLOOR is installed any more. By default everything older may follow.
    #[arg(long, value_name = "FLOOR", default_value = FLOOR, value_parser = version)]
    floor: Version,
    /// Not to be installed after this moment, for example 2027-06-30T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires: Option<Time>,
    /// A trial that takes longer than this many seconds has failed.
    #[arg(long, value_name = "SECONDS", default_value_t = TRIAL_SECONDS, value_parser = clap::value_parser!(u32).range(60..=86_400))]
    trial_seconds: u32,
    /// From TIME on, PERCENT of all pairs update by themselves; the last wave has 100. Without, all may at once.
    #[arg(long, value_name = "PERCENT@TIME", value_parser = wave)]
    wave: Vec<Wave>,
    /// Version of the k3s extension that it was tested with.
    #[arg(long, value_name = "VERSION")]
    extension: Option<String>,
    /// Nothing goes back from this version: it is installed only when an operator confirms that for it, and never by itself.
    #[arg(long)]
    one_way: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub fn version(text: &str) -> Result<Version, String> {
    Version::parse(text).ok_or_else(|| "write a version, for example 0.2.0".to_owned())
}

pub fn time(text: &str) -> Result<Time, String> {
    Time::parse(text).ok_or_else(|| "write a time in UTC, for example 2027-06-30T00:00:00Z".to_owned())
}

pub fn wave(text: &str) -> Result<Wave, String> {
    let wrong = || "write percent and time, for example 5@2027-01-10T06:00:00Z".to_owned();
    let (percent, from) = text.split_once('@').ok_or_else(wrong)?;
    let percent = percent.parse().ok().filter(|percent| (1..=100).contains(percent)).ok_or_else(wrong)?;
    Ok(Wave { percent, from: Time::parse(from).ok_or_else(wrong)? })
}

/// What a bundle says that does not follow from its image.
#[derive(Debug)]
pub struct Terms {
    boards: Vec<String>,
    floor: Version,
    expires: Option<Time>,
    trial_seconds: u32,
    waves: Vec<Wave>,
    extension: Option<String>,
    one_way: bool,
}

impl CreateArgs {
    fn terms(&self) -> Terms {
        Terms {
            boards: self.board.clone(),
            floor: self.floor.clone(),
            expires: self.expires,
            trial_seconds: self.trial_seconds,
            waves: self.wave.clone(),
            extension: self.extension.clone(),
            one_way: self.one_way,
        }
    }
}

impl Terms {
    /// Those of `bundle create` without options, for an image that carries this version of the extension.
    ///
    /// # Errors
    /// Never; the version is a constant.
    pub fn usual(extension: Option<String>) -> anyhow::Result<Self> {
        Ok(Self {
            boards: Vec::new(),
            floor: Version::parse(FLOOR).context("the usual floor")?,
            expires: None,
            trial_seconds: TRIAL_SECONDS,
            waves: Vec::new(),
            extension,
            one_way: false,
        })
    }
}

/// Everything older may follow.
const FLOOR: &str = "0";
/// A trial takes no longer, unless it is said otherwise.
const TRIAL_SECONDS: u32 = 900;

/// Where a build's bundle goes when nobody says otherwise.
pub fn usual_place(folder: &Path, stem: &str) -> PathBuf {
    folder.join(format!("{stem}.bundle"))
}

/// Runs it.
pub fn run(args: &CreateArgs) -> anyhow::Result<ExitCode> {
    let words = args.passphrase_file.as_deref().map_or(Passphrase::Ask, Passphrase::File);
    let signer = args.sign.as_deref().map(|key| Signer::open(key, words)).transpose()?;
    let output = Output::open(&args.folder)?;
    let out = args.out.clone().unwrap_or_else(|| usual_place(&args.folder, &output.stem()));
    let manifest = make(&output, &args.terms(), &out, signer.as_ref(), &Progress::default())?;
    let size = std::fs::metadata(&out)?.len();
    if args.json {
        let key = signer.as_ref().map(Signer::id);
        println!(
            "{:#}",
            serde_json::json!({
                "bundle": out, "size": size, "version": manifest.version.as_str(),
                "boards": manifest.boards, "signed_by": key,
            })
        );
    } else {
        println!("{:>10}  {}", crate::definition::size::show(size), out.display());
        match &signer {
            Some(signer) => println!("signed with key {}", signer.id()),
            None => println!("not signed: no node takes it before `edgepair bundle sign {}`", out.display()),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the bundle of a build.
///
/// # Errors
/// When the build's folder is not whole, or the bundle cannot be written.
pub fn make(
    output: &Output,
    terms: &Terms,
    out: &Path,
    signer: Option<&Signer>,
    progress: &Progress,
) -> anyhow::Result<Manifest> {
    let template = template(terms, output)?;
    let running = progress.start("bundle", &format!("Update bundle {}", out.display()), "asked for");
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(".".as_ref());
    let spool = tempfile::tempfile_in(folder)
        .with_context(|| format!("cannot make a temporary file in {}", folder.display()))?;
    let mut packer = Packer::new(spool)?;
    output.pack(&mut packer)?;
    let comment = format!("file:manifest.toml bundle:{}", output.stem());
    let manifest = write_whole(out, |file| {
        packer.finish(
            template,
            |text| signer.map(|signer| signer.sign(text.as_bytes(), &comment)).into_iter().collect(),
            file,
        )
    })?;
    running.finish(&crate::definition::size::show(std::fs::metadata(out)?.len()));
    Ok(manifest)
}

fn template(terms: &Terms, output: &Output) -> anyhow::Result<Manifest> {
    let build = &output.manifest;
    let digest = |what: &str, text: &str| {
        Digest::parse(text).ok_or_else(|| anyhow!("the {what} in the build's manifest is no SHA-256 digest"))
    };
    let mut boards = vec![build.board.clone()];
    boards.extend(terms.boards.iter().filter(|board| **board != build.board).cloned());
    let one = |number| Span { min: number, max: number };
    Ok(Manifest {
        name: build.name.clone(),
        version: Version::parse(&build.version)
            .with_context(|| format!("`{}` is not a version that can be compared", build.version))?,
        architecture: build.architecture.clone(),
        boards,
        root_hash: digest("root hash", &build.root_hash)?,
        build: Some(digest("identity", &build.identity)?),
        floor: terms.floor.clone(),
        expires: terms.expires,
        trial_seconds: terms.trial_seconds,
        extension: terms.extension.clone(),
        compatible: Compatible {
            pair_protocol: one(format::PAIR_PROTOCOL),
            datastore: one(format::DATASTORE),
            state: one(format::STATE),
        },
        leaves: Leaves { datastore: format::DATASTORE, state: format::STATE },
        one_way: terms.one_way,
        waves: terms.waves.clone(),
        index: Part { size: 0, sha256: Digest::of(b"") },
        payloads: Vec::new(),
    })
}
