//! One node's part of an update without a node: the product's own bundle source, admission and slot writer, on files that stand
//! for partitions. For `cargo xtask bench update`.
//!
//! ```text
//! update_slot pack  VERSION ROOT VERITY KERNEL BUNDLE KEY.pub
//! update_slot write FOLDER VERSION ROOTHASH URL
//! ```
//!
//! `FOLDER` has `root-a`, `verity-a` (they run), `root-b`, `verity-b` (to be written, of their final size), and `node/`, below
//! which lie `usr/lib/edgepair/keys` and `efi/EFI/Linux` as on a node. Prints one JSON object. What a real node does as well and is
//! missing here: the partitions' identifiers.

use anyhow::{Context, bail, ensure};
use edgepair_bundle::manifest::{Compatible, Leaves, Manifest, Part, PayloadName, Span};
use edgepair_bundle::{Digest, PackError, Packer, Time, Version};
use edgepair_host_io::{HostRunner, atomic};
use edgepair_layout::{format, path};
use edgepair_signature::{KeyId, Prehash, PublicKey, sign};
use node_init::member::Place;
use node_init::update::boot::{SystemdBoot, esp::HostEsp};
use node_init::update::bundle::{About, Bundles, Terms};
use node_init::update::driver::hands::Job;
use node_init::update::slot::{HostVolume, Image, SlotError, Slots, Source, Table, Volume};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The benchmark's key. It protects nothing.
const SEED: [u8; 32] = [7; 32];
const ID: KeyId = KeyId([7; 8]);

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["pack", version, root, verity, kernel, out, key] => pack(version, [root, verity, kernel], out, key),
        ["write", folder, running, hash, url] => write(Path::new(folder), running, hash, url),
        _ => bail!(
            "update_slot pack VERSION ROOT VERITY KERNEL BUNDLE KEY.pub | write FOLDER VERSION ROOTHASH URL"
        ),
    }
}

fn pack(version: &str, files: [&str; 3], out: &str, key: &str) -> anyhow::Result<()> {
    let mut packer = Packer::new(tempfile::tempfile()?)?;
    for (name, file) in PayloadName::ALL.into_iter().zip(files) {
        packer.add(name, BufReader::with_capacity(1 << 20, File::open(file).context(file.to_owned())?))?;
    }
    let root_hash = hash_of(Path::new(files[1]))?;
    let one = |number| Span { min: number, max: number };
    let manifest = Manifest {
        name: "edgepair".into(),
        version: Version::parse(version).context("no version")?,
        architecture: "amd64".into(),
        boards: vec!["x86-64".into()],
        root_hash: Digest::parse(&root_hash).context("no root hash")?,
        build: None,
        floor: Version::parse("0").context("no version")?,
        expires: None,
        trial_seconds: 900,
        extension: None,
        compatible: Compatible {
            pair_protocol: one(format::PAIR_PROTOCOL),
            datastore: one(format::DATASTORE),
            state: one(format::STATE),
        },
        leaves: Leaves { datastore: format::DATASTORE, state: format::STATE },
        one_way: false,
        waves: Vec::new(),
        index: Part { size: 0, sha256: Digest::of(b"") },
        payloads: Vec::new(),
    };
    let seal = |text: &str| {
        let seal = sign(&SEED, ID, &Prehash::of_bytes(text.as_bytes()), "file:manifest.toml");
        seal.map(|seal| vec![seal]).map_err(|error| PackError::Write(std::io::Error::other(error)))
    };
    packer.finish(manifest, seal, File::create(out)?)?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).map_err(|_| anyhow::anyhow!("no key"))?;
    let public = PublicKey::new(ID, pair.public_key().as_ref().try_into()?);
    atomic::write(Path::new(key), public.text().as_bytes(), 0o644)?;
    println!("{{\"size\": {}, \"root_hash\": \"{root_hash}\"}}", std::fs::metadata(out)?.len());
    Ok(())
}

/// The root hash that veritysetup(8) wrote beside the hash tree.
fn hash_of(verity: &Path) -> anyhow::Result<String> {
    let file = verity.with_extension("hash");
    Ok(std::fs::read_to_string(&file).context(file.display().to_string())?.trim().to_owned())
}

/// No partition table stands behind files.
struct NoTable([String; 2]);

impl Table for NoTable {
    fn identifiers(&mut self) -> Result<[String; 2], SlotError> {
        Ok(self.0.clone())
    }

    fn set_identifiers(&mut self, uuids: &[String; 2]) -> Result<(), SlotError> {
        self.0.clone_from(uuids);
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn write(folder: &Path, running: &str, hash: &str, url: &str) -> anyhow::Result<()> {
    let began = std::time::Instant::now();
    let node = folder.join("node");
    let about = About { board: "x86-64".into(), datastore: Some(format::DATASTORE) };
    let bundles = Bundles::new(Place::at(&node), about, None);
    let esp = node.join(path::ESP.trim_start_matches('/'));
    let boot = SystemdBoot::new(HostEsp::folder(&esp, &folder.join("no-variables"), Arc::new(HostRunner)));
    let offer = bundles.open_on(None, Some(url.to_owned()), Some(Time(1_900_000_000)), &Terms::default())?;
    let opened = began.elapsed();
    let job = Job { version: offer.version, bundle: offer.bundle, first: true };
    let mut install = |image: &Image, source: &mut dyn Source| {
        let open = |name: &str, write: bool| -> Result<Box<dyn Volume>, SlotError> {
            let file: PathBuf = folder.join(name);
            let volume = if write { HostVolume::exclusive(&file) } else { HostVolume::reader(&file) };
            let failed = |source| SlotError::Io { what: file.display().to_string(), source };
            Ok(Box::new(volume.map_err(failed)?))
        };
        let mut slots = Slots {
            root: open("root-b", true)?,
            verity: open("verity-b", true)?,
            running_root: open("root-a", false)?,
            running_verity: open("verity-a", false)?,
            table: Box::new(NoTable(Default::default())),
            boot: &boot,
            running: running.to_owned(),
            running_hash: hash.to_owned(),
        };
        slots.install(image, source, &mut |_, _| ())
    };
    let report = bundles.write(&job, &mut install)?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(report.kept + report.copied + report.fetched > 0, "nothing was written");
    println!(
        "{{\"seconds\": {seconds:.3}, \"opened\": {:.3}, \"peak_kib\": {}, \"kept\": {}, \"copied\": {}, \"fetched\": {}}}",
        opened.as_secs_f64(),
        peak()?,
        report.kept,
        report.copied,
        report.fetched
    );
    Ok(())
}

/// Most memory that this process had, in KiB (proc_pid_status(5), `VmHWM`).
fn peak() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
