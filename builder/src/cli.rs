//! The command line.

use crate::stages::extension::Given;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Builds immutable images for pairs of edge nodes, and runs such a pair in a lab.
#[derive(Debug, Parser)]
#[command(name = "edgepair", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Example:\n  edgepair build images/x86-64.toml      makes the disk image for PCs in out/\n  edgepair lab up                        runs a pair of it in virtual machines"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an image from a definition.
    #[command(
        after_help = "Examples:\n  edgepair build images/x86-64.toml\n  edgepair build images/x86-64.toml --locked --sign release.key --secure-boot keys/\n  edgepair build images/arm64.toml --dry-run\n  edgepair build images/x86-64.toml --k3s k3s --k3s-images k3s-airgap-images-amd64.tar.zst\n\nExit status: 0 built, 1 failed, 2 wrong use."
    )]
    Build(Build),
    /// Show how the archive differs from an image's lock file, or write the lock file.
    #[command(
        after_help = "Examples:\n  edgepair lock images/x86-64.toml             writes images/x86-64.lock, or shows what has changed since\n  edgepair lock images/x86-64.toml --update    takes the changes over\n\nExit status: 0 nothing differs (or it was written), 1 something differs or failed, 2 wrong use."
    )]
    Lock(LockArgs),
    /// Make keys: for manifests and bundles, or for Secure Boot.
    #[command(
        after_help = "Examples:\n  edgepair key new release\n  edgepair key new secure-boot --secure-boot --owner 'Example Ltd'"
    )]
    Key(KeyArgs),
    /// Sign a file; the signature goes beside it (FILE.minisig), or into it (Secure Boot).
    #[command(
        after_help = "Examples:\n  edgepair sign out/manifest.json --key release.key\n  edgepair sign out/edgepair_0.1.0_amd64.uki.efi --secure-boot keys/ --image images/x86-64.toml --output signed/uki.efi\n\nThe key may so stay on a machine that does not build."
    )]
    Sign(SignArgs),
    /// Check a file against its signature.
    #[command(
        after_help = "Example:\n  edgepair verify out/manifest.json --key release.pub\n\nminisign's own program does the same: minisign -V -p release.pub -m out/manifest.json"
    )]
    Verify(VerifyArgs),
    /// Make, show, check and sign update bundles.
    #[command(
        after_help = "Example:\n  edgepair bundle create out --sign release.key\n  edgepair bundle verify out/edgepair_0.1.0_amd64.bundle --key release.pub"
    )]
    Bundle(crate::commands::bundle::BundleArgs),
    /// Make, show, check and sign the file by which pairs update by themselves.
    #[command(
        after_help = "Example:\n  edgepair channel create stable.channel --bundle out/edgepair_0.2.0_amd64.bundle --key release.pub --days 90 --sign release.key\n\nWhat it is: docs/channel.md"
    )]
    Channel(crate::commands::channel::ChannelArgs),
    /// Make, show and send extensions: k3s, apart from the system.
    #[command(
        after_help = "Examples:\n  edgepair extension build --k3s k3s --version v1.33.4+k3s1 --sign release.key\n  edgepair extension inspect k3s_v1.33.4+k3s1_amd64.extension"
    )]
    Extension(crate::commands::extension::ExtensionArgs),
    /// Bring an update bundle to a pair.
    #[command(after_help = "Example:\n  edgepair update push out/edgepair_0.2.0_amd64.bundle 192.0.2.60")]
    Update(crate::commands::update::UpdateArgs),
    /// Say what this machine lacks, and install it.
    #[command(
        after_help = "Examples:\n  edgepair doctor --fix\n  edgepair doctor --architecture arm64\n\nExit status: 0 nothing is missing, 1 something is."
    )]
    Doctor(Doctor),
    /// Show or shrink the build cache.
    #[command(after_help = "Example:\n  edgepair cache\n  edgepair cache prune")]
    Cache(CacheArgs),
    /// Make, check, show and place the file that says what a pair of boxes is to be.
    #[command(after_help = "Example:\n  edgepair seed check seed.toml")]
    Seed(crate::commands::seed::SeedArgs),
    /// Run a pair in virtual machines on this computer.
    #[command(
        after_help = "Example:\n  edgepair lab up\n  edgepair lab kill a\n  edgepair lab status\n  edgepair lab down"
    )]
    Lab(crate::commands::lab::LabArgs),
}

/// `edgepair build`.
#[derive(Debug, Args)]
pub struct Build {
    /// The definition, for example images/x86-64.toml.
    pub definition: PathBuf,
    /// Print the resolved plan and the exact commands, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Folder for the results.
    #[arg(long, default_value = "out")]
    pub out: PathBuf,
    /// Use exactly the packages of the lock file beside the definition, or fail. Needs no network when they are cached.
    #[arg(long)]
    pub locked: bool,
    /// Fetch the package index even if it was fetched within the last hour.
    #[arg(long, conflicts_with = "locked")]
    pub refresh: bool,
    /// Sign the manifest with this private key (`edgepair key new`), and make a signed update bundle as well.
    #[arg(long, value_name = "KEY")]
    pub sign: Option<PathBuf>,
    /// File with the key's passphrase in its first line; asked for on the terminal otherwise.
    #[arg(long, value_name = "FILE", requires = "sign")]
    pub passphrase_file: Option<PathBuf>,
    /// Sign boot loader and kernel image with the keys in this folder (`edgepair key new DIR --secure-boot`).
    #[arg(long, value_name = "DIR", conflicts_with = "signed_boot")]
    pub secure_boot: Option<PathBuf>,
    /// Take boot loader and kernel image from this folder (loader.efi, uki.efi): the files of this very build, signed on
    /// another machine.
    #[arg(long, value_name = "DIR")]
    pub signed_boot: Option<PathBuf>,
    /// What the image's extension is made of.
    #[command(flatten)]
    pub k3s: K3sArgs,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What of k3s goes into an image.
#[derive(Debug, Clone, Default, Args)]
pub struct K3sArgs {
    /// The program of a k3s release: the image then carries Kubernetes. It cannot be fetched for you.
    #[arg(long, value_name = "FILE")]
    pub k3s: Option<PathBuf>,
    /// Its version (`v1.33.4+k3s1`), when the program does not say it.
    #[arg(long, value_name = "VERSION", requires = "k3s")]
    pub k3s_version: Option<String>,
    /// An archive of container images that k3s loads without a registry; may be given several times.
    #[arg(long, value_name = "TAR")]
    pub k3s_images: Vec<PathBuf>,
}

impl K3sArgs {
    /// As the step takes it.
    pub fn given(&self) -> Given<'_> {
        Given { program: self.k3s.as_deref(), version: self.k3s_version.as_deref(), images: &self.k3s_images }
    }
}

/// `edgepair lock`.
#[derive(Debug, Args)]
pub struct LockArgs {
    /// The definition, for example images/x86-64.toml; its lock file is images/x86-64.lock.
    pub definition: PathBuf,
    /// Take over what the archive has now, and print the difference.
    #[arg(long)]
    pub update: bool,
    /// Print the difference as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `edgepair key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make NAME.key (private, readable by you only) and NAME.pub; or a folder NAME of Secure Boot keys.
    New {
        /// Path without suffix.
        name: PathBuf,
        /// Make platform key, key exchange key and database key for Secure Boot instead.
        #[arg(long)]
        secure_boot: bool,
        /// Whose keys these are: part of the Secure Boot certificates' names.
        #[arg(long, default_value = "edgepair", requires = "secure_boot")]
        owner: String,
        /// Protect the private key with the passphrase in the first line of this file.
        #[arg(long, value_name = "FILE", conflicts_with = "secure_boot")]
        passphrase_file: Option<PathBuf>,
        /// Ask for a passphrase that protects the private key.
        #[arg(long, conflicts_with_all = ["secure_boot", "passphrase_file"])]
        passphrase: bool,
    },
}

/// `edgepair sign`.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// What to sign.
    pub file: PathBuf,
    /// Private key (minisign format).
    #[arg(long, value_name = "KEY", required_unless_present = "secure_boot")]
    pub key: Option<PathBuf>,
    /// File with the key's passphrase in its first line; asked for on the terminal otherwise.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub passphrase_file: Option<PathBuf>,
    /// Sign an EFI program with the keys in this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "key", requires_all = ["image", "output"])]
    pub secure_boot: Option<PathBuf>,
    /// The definition that the EFI program was built from: gives the tools and the time in the signature.
    #[arg(long, value_name = "IMAGE.toml")]
    pub image: Option<PathBuf>,
    /// Where the signed EFI program goes.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `edgepair verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// What to check.
    pub file: PathBuf,
    /// Public key (minisign format).
    #[arg(long, value_name = "KEY")]
    pub key: PathBuf,
    /// The signature; FILE.minisig when absent.
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
}

/// `edgepair doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Install what is missing (asks once on a terminal).
    #[arg(long)]
    pub fix: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Look also at what images of this architecture need.
    #[arg(long, value_name = "ARCH", value_parser = ["amd64", "arm64"])]
    pub architecture: Option<String>,
    /// Print the findings as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `edgepair cache`.
#[derive(Debug, Args)]
pub struct CacheArgs {
    /// What to do; shows the cache when absent.
    #[command(subcommand)]
    pub command: Option<CacheCommand>,
}

/// What to do with the cache.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Remove all but the newest result of each step.
    Prune {
        /// Remove the tools trees as well.
        #[arg(long)]
        tools: bool,
    },
    /// Read everything again and compare digests; what is damaged is removed.
    Verify,
}
