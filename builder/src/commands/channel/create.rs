//! `edgepair channel create`.

use super::inspect::{as_json, table};
use super::{content, keys, name, open, refused, wrong};
use crate::commands::bundle::create::{time, wave};
use crate::signing::minisign::{Passphrase, Signer};
use anyhow::{Context, bail, ensure};
use clap::Args;
use edgepair_bundle::channel::file::assemble;
use edgepair_bundle::channel::{Channel, JITTER_MAX, Named};
use edgepair_bundle::manifest::Wave;
use edgepair_bundle::{Digest, Time, Unverified};
use edgepair_host_io::atomic;
use edgepair_window::Window;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `edgepair channel create`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("end").required(true).args(["days", "expires"])))]
pub struct CreateArgs {
    /// Where it goes, NAME.channel. A file that is there is the one before.
    out: PathBuf,
    /// The signed bundle that it names. It is checked to its last byte.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// A public key that nodes trust; more than one may be given.
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<PathBuf>,
    /// Where nodes find the bundle: an address, or a path beside the channel's file. The bundle's file name when absent.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Not acted on after so many days: put a new one there before that.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: Option<u64>,
    /// Not acted on after this moment, for example 2027-06-30T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires: Option<Time>,
    /// When it is made; now when absent.
    #[arg(long, value_name = "TIME", value_parser = time)]
    issued: Option<Time>,
    /// Its number, where the file before is not at hand. Nodes take only higher ones.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    serial: Option<u64>,
    /// From TIME on, PERCENT of all pairs may begin; the last wave has 100. Without, all may at once.
    #[arg(long, value_name = "PERCENT@TIME", value_parser = wave)]
    wave: Vec<Wave>,
    /// When pairs begin, for example 'Mon-Fri 22:00-04:00' in their local time, or with UTC behind it. Without, always.
    #[arg(long, value_name = "WINDOW", value_parser = window)]
    window: Vec<Window>,
    /// Spread the pairs over so many seconds, within the window.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=JITTER_MAX as i64))]
    jitter_seconds: u32,
    /// Sign it with this private key (`edgepair key new`). Without, `edgepair channel sign` does it later.
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// File with the key's passphrase in its first line; asked for on the terminal otherwise.
    #[arg(long, value_name = "FILE", requires = "sign")]
    passphrase_file: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn window(text: &str) -> Result<Window, String> {
    Window::parse(text).map_err(|error| error.to_string())
}

/// Runs it.
pub fn run(args: &CreateArgs) -> anyhow::Result<ExitCode> {
    let words = args.passphrase_file.as_deref().map_or(Passphrase::Ask, Passphrase::File);
    let signer = args.sign.as_deref().map(|key| Signer::open(key, words)).transpose()?;
    let name = name(&args.out)?;
    let serial = serial(args, &name)?;
    let issued = args.issued.unwrap_or_else(now);
    let end = args.days.map(|days| Time(issued.0.saturating_add(days * 86_400))).or(args.expires);
    let channel = Channel {
        name,
        serial,
        issued,
        expires: end.context("no end is given")?,
        windows: args.window.clone(),
        jitter: args.jitter_seconds,
        bundle: named(args)?,
        waves: args.wave.clone(),
    };
    let text = channel.text();
    // What no node reads must not be signed.
    Channel::parse("channel", &text).map_err(|report| wrong(&args.out, &report))?;
    let comment = format!("file:channel.toml channel:{} serial:{serial}", channel.name);
    let signatures: Vec<_> =
        signer.iter().map(|signer| signer.sign(text.as_bytes(), &comment)).collect::<anyhow::Result<_>>()?;
    let file = assemble(&text, &signatures).map_err(|error| refused(&args.out, &error))?;
    atomic::write(&args.out, file.as_bytes(), 0o644)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    let signed_by: Vec<String> = signer.iter().map(Signer::id).collect();
    if args.json {
        let mut out = as_json(&channel, &signed_by);
        out["file"] = args.out.display().to_string().into();
        println!("{out:#}");
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", table(&channel, &signed_by));
    if signer.is_none() {
        println!("no node takes it before `edgepair channel sign {}`", args.out.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// One more than that of the file that is there.
fn serial(args: &CreateArgs, name: &str) -> anyhow::Result<u64> {
    let before = if args.out.try_exists().unwrap_or(false) {
        let before = content(&args.out, &open(&args.out)?)?;
        ensure!(
            before.name == name,
            "{} is the file of channel {}\n  to do: write to another file",
            args.out.display(),
            before.name
        );
        before.serial
    } else {
        0
    };
    match args.serial {
        Some(serial) if serial > before => Ok(serial),
        Some(serial) => bail!(
            "no. {serial} is not above no. {before}, which is there: no node would take it\n  to do: leave --serial out, or give a higher one"
        ),
        None => before.checked_add(1).context("there is no higher number"),
    }
}

/// The bundle as nodes will find it.
fn named(args: &CreateArgs) -> anyhow::Result<Named> {
    let path = &args.bundle;
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let bad = |error: edgepair_bundle::Error| crate::commands::bundle::refused(path, &error);
    let reader = BufReader::with_capacity(1 << 20, &file);
    let verified = Unverified::open(reader).map_err(bad)?.verify(&keys(&args.key)?).map_err(bad)?;
    let contents = verified.check_rest(|_| ()).map_err(bad)?;
    let url = match &args.url {
        Some(url) => url.clone(),
        None => path.file_name().and_then(|name| name.to_str()).map(str::to_owned).with_context(|| {
            format!("{} has no name that can be in an address\n  to do: give --url", path.display())
        })?,
    };
    Ok(Named {
        url,
        version: contents.manifest.version.clone(),
        size: contents.size(),
        head: head(path, contents.head_size())?,
    })
}

/// Digest of the first bytes of a file.
fn head(path: &Path, size: u64) -> anyhow::Result<Digest> {
    let mut bytes = Vec::new();
    File::open(path)?.take(size).read_to_end(&mut bytes)?;
    Ok(Digest::of(&bytes))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a channel file says when it was made; --issued gives another time"
)]
pub(super) fn now() -> Time {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(now.map_or(0, |now| now.as_secs()))
}
