//! `cargo xtask bench update [--rounds 2] [--only file,package,kernel,everything]`
//!
//! One node's part of an update, from a web server on this computer into slots that are files: bytes that are fetched, time until the slot
//! is written and verified, most memory, size of the bundle. Ours is the product's code (`node-init/examples/update_slot`); [`peers`] are
//! RAUC and systemd-sysupdate. The images are the same for all: root file system, hash tree, kernel image of the default image.
//!
//! | set | runs | is installed |
//! | --- | --- | --- |
//! | file | the default image | the same as its next version (`file.toml`): the files that say so, and nothing else |
//! | package | it, with haproxy before its last security update | the default image |
//! | kernel | it, with the kernel and modules before the present ones | the default image |
//! | everything | it, compressed otherwise: no block is the same | the default image |
//!
//! Needs root, for the peers and for loop devices.

mod peers;
mod server;

use super::{Figure, Load};
use crate::repro::default_cache;
use crate::run::{command, phase, root};
use server::Server;
use std::fs;
use std::path::{Path, PathBuf};

/// Sets, in the order in which they are measured.
const SETS: [&str; 4] = ["file", "package", "kernel", "everything"];

/// Version that runs, as its kernel image says.
fn running(set: &str) -> &'static str {
    if set == "file" { "0.1.0" } else { "0.0.9" }
}

/// Runs the benchmark.
pub fn run(words: &[String]) -> Result<(), String> {
    let (mut rounds, mut only) = (2_u32, SETS.join(","));
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        match word.as_str() {
            "--rounds" => rounds = value.parse().map_err(|_| "--rounds takes a number")?,
            "--only" => only.clone_from(value),
            other => return Err(format!("unknown option {other}; there is --rounds, --only")),
        }
    }
    let compile =
        ["cargo", "build", "--release", "--quiet", "--package", "edgepair", "--package", "node-init"];
    phase("compile", &[&compile[..], &["--bins", "--example", "update_slot"]].concat())?;
    let bench = Bench::prepare()?;
    let mut all: Vec<Measured> = Vec::new();
    for round in 1..=rounds {
        for set in SETS.into_iter().filter(|set| only.split(',').any(|word| word == *set)) {
            for (tool, result) in [
                ("edgepair", bench.ours(set)),
                ("RAUC", bench.rauc(set)),
                ("systemd-sysupdate", bench.sysupdate(set)),
            ] {
                match result {
                    Ok(one) => {
                        eprintln!("round {round}: {set}, {tool}: {one:?}");
                        all.push(Measured { set, tool, ..one });
                    }
                    Err(why) if tool != "edgepair" => {
                        eprintln!("round {round}: {set}, {tool} cannot run here: {why}")
                    }
                    Err(why) => return Err(why),
                }
            }
        }
    }
    report(&all, &bench.sizes()?);
    Ok(())
}

/// One run.
#[derive(Debug, Clone, Default)]
struct Measured {
    set: &'static str,
    tool: &'static str,
    /// Fetched, MB, and in how many answers.
    megabytes: f32,
    answers: f32,
    seconds: f32,
    /// Most memory, MB.
    memory: f32,
}

/// Name of a figure, its unit, and where it is.
type Field = (&'static str, &'static str, fn(&Measured) -> f32);

fn report(all: &[Measured], sizes: &[(&'static str, f32)]) {
    let fields: [Field; 4] = [
        ("fetched", "MB", |one| one.megabytes),
        ("answers", "answers", |one| one.answers),
        ("time", "s", |one| one.seconds),
        ("memory", "MB", |one| one.memory),
    ];
    let load = Load::now().0;
    let full = sizes.iter().find(|(tool, _)| *tool == "edgepair").map_or(0.0, |(_, size)| *size);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for set in SETS.into_iter().filter(|set| all.iter().any(|one| one.set == *set)) {
        for peer in ["RAUC", "systemd-sysupdate"] {
            for (name, unit, field) in fields {
                let of = |tool: &str| -> Vec<f32> {
                    all.iter().filter(|one| one.set == set && one.tool == tool).map(field).collect()
                };
                let figure = Figure {
                    name: format!("update/{set}/{name}"),
                    unit,
                    ours: of("edgepair"),
                    peer: of(peer),
                    peer_name: peer,
                    conditions: format!(
                        "{processors} processors, load {load}; server on loopback; slots are files; what was read before may be in the page cache; full \
                         bundle {full:.1} MB; first node only; peer {}",
                        if of(peer).is_empty() { "could not run here" } else { "of Debian 13" }
                    ),
                };
                println!("{}", figure.line());
            }
        }
    }
    let size = |tool: &str| {
        sizes.iter().filter(|(name, _)| *name == tool).map(|(_, size)| *size).collect::<Vec<_>>()
    };
    for peer in ["RAUC", "systemd-sysupdate"] {
        let figure = Figure {
            name: "update/size".into(),
            unit: "MB",
            ours: size("edgepair"),
            peer: size(peer),
            peer_name: peer,
            conditions: "the default image's root, hash tree and kernel image".into(),
        };
        println!("{}", figure.line());
    }
}

struct Bench {
    dir: PathBuf,
    server: Server,
}

/// Makes the images: `$1` folder, `$2` tools tree, `$3` cache, `$4` repository.
const IMAGES: &str = include_str!("images.sh");

/// Makes the peers' bundles, once.
const PEERS: &str = include_str!("peers.sh");

impl Bench {
    fn prepare() -> Result<Self, String> {
        let dir = root().join("target/bench-update");
        let cache = default_cache()?;
        let made = ["out-base", "out-file"];
        for (out, image) in made.into_iter().zip(["images/x86-64.toml", "xtask/src/bench/update/file.toml"]) {
            let folder = text(&dir.join(out));
            phase(out, &["target/release/edgepair", "build", image, "--out", &folder])?;
        }
        let tools = newest(&cache.join("tools"))?;
        let slot = text(&root().join("target/release/examples/update_slot"));
        shell(IMAGES, &[&text(&dir), &text(&tools), &text(&cache), &slot])?;
        let server = Server::start(&dir.join("www")).map_err(|error| format!("the server: {error}"))?;
        let sources = super::build::sources(&cache.join("apt"))?;
        if let Err(why) = shell(PEERS, &[&text(&dir), &sources, peers::PACKAGES, &peers::rauc_manifest("2")])
        {
            eprintln!("the peers' tree was not made: {why}");
        }
        let bench = Self { dir, server };
        bench.settings()?;
        Ok(bench)
    }

    #[expect(clippy::disallowed_methods, reason = "files of a benchmark, written anew every time")]
    fn settings(&self) -> Result<(), String> {
        let folder = self.dir.join("sysupdate.d");
        let put = |path: &Path, text: String| {
            fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for class in peers::CLASSES {
            put(
                &folder.join(format!("{class}.transfer")),
                peers::sysupdate_transfer(class, &self.server.address),
            )?;
        }
        Ok(())
    }

    /// Which image is installed by a set.
    fn target(set: &str) -> &'static str {
        if set == "file" { "file" } else { "base" }
    }

    /// Fresh slots for a set: what runs, and files of zeros.
    fn slots(&self, set: &str) -> Result<(), String> {
        let script = r#"set -eu
cd "$1"; set=$2 target=$3
rm -rf slots sysupdate rauc/data; mkdir -p slots/node/usr/lib/edgepair/keys slots/node/efi/EFI/Linux sysupdate rauc/data
runs=$set; [ "$set" = file ] && runs=base
for part in root verity; do
  cp --sparse=always "images/$runs.$part" "slots/$part-a"
  size=$(stat -c %s "images/$target.$part"); old=$(stat -c %s "images/$runs.$part")
  [ "$old" -gt "$size" ] && size=$old
  size=$(( (size / 67108864 + 1) * 67108864 ))
  truncate -s "$size" "slots/$part-a" "slots/$part-b"
done
cp "images/$runs.uki" "slots/node/efi/EFI/Linux/edgepair_$4.efi"
cp images/bench.pub slots/node/usr/lib/edgepair/keys/
# For RAUC and sysupdate: what runs is in files of the first slots.
cp "images/$runs.uki" slots/uki-a; truncate -s 134217728 slots/uki-a slots/uki-b
for part in root verity uki; do ln "images/$runs.$part" "sysupdate/${part}_1.img" 2>/dev/null || cp "images/$runs.$part" "sysupdate/${part}_1.img"; done
sync
"#;
        shell(script, &[&text(&self.dir), set, Self::target(set), running(set)])
    }

    fn ours(&self, set: &'static str) -> Result<Measured, String> {
        self.slots(set)?;
        let runs = if set == "file" { "base" } else { set };
        let hash = fs::read_to_string(self.dir.join(format!("images/{runs}.hash")))
            .map_err(|error| format!("{runs}: {error}"))?;
        let program = text(&root().join("target/release/examples/update_slot"));
        let url = format!("{}/{}.bundle", self.server.address, Self::target(set));
        self.server.take();
        let slots = text(&self.dir.join("slots"));
        let output = command(&[&program, "write", &slots, running(set), hash.trim(), &url])
            .output()
            .map_err(|error| format!("update_slot: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(format!("update_slot: {said}{}", String::from_utf8_lossy(&output.stderr)));
        }
        eprint!("{said}");
        let number = |key: &str| -> Option<f32> {
            let rest = said.split_once(&format!("\"{key}\": "))?.1;
            rest.split([',', '}']).next()?.trim().parse().ok()
        };
        let (seconds, peak) = number("seconds").zip(number("peak_kib")).ok_or("update_slot said nothing")?;
        // The slot is what was to be installed, whoever says so.
        shell(
            r#"cd "$1"; for part in root verity; do cmp -n "$(stat -c %s "images/$2.$part")" "images/$2.$part" "slots/$part-b"; done"#,
            &[&text(&self.dir), Self::target(set)],
        )?;
        Ok(self.measured(seconds, peak))
    }

    fn measured(&self, seconds: f32, peak_kib: f32) -> Measured {
        let (bytes, answers) = self.server.take();
        #[expect(clippy::cast_precision_loss, reason = "megabytes of a benchmark")]
        let (megabytes, answers) = (bytes as f32 / 1e6, answers as f32);
        Measured { megabytes, answers, seconds, memory: peak_kib * 1024.0 / 1e6, ..Measured::default() }
    }

    /// A script in the peers' tree.
    fn inside(&self, script: &str, word: &str) -> Result<Measured, String> {
        if !self.dir.join("tree/usr/bin").is_dir() {
            return Err("its tree is not there".into());
        }
        self.server.take();
        let dir = text(&self.dir);
        let call = [
            "unshare",
            "--mount",
            "--",
            "sh",
            "-c",
            peers::ENTER,
            "enter",
            &dir,
            "sh",
            "-c",
            script,
            "peer",
            word,
        ];
        let output = command(&call).output().map_err(|error| format!("unshare: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', " | "));
        }
        let (seconds, peak) = peers::measured(&said).ok_or(format!("it said {said:?}"))?;
        Ok(self.measured(seconds, peak))
    }

    fn sysupdate(&self, set: &'static str) -> Result<Measured, String> {
        self.slots(set)?;
        let script = r#"set -eu
cd "$1"; mkdir -p www/sysupdate; rm -f www/sysupdate/*
for part in root verity uki; do ln "images/$2.$part" "www/sysupdate/${part}_2.img"; done
cd www/sysupdate; sha256sum *.img > SHA256SUMS
"#;
        shell(script, &[&text(&self.dir), Self::target(set)])?;
        let one = self.inside(peers::SYSUPDATE, "2")?;
        shell(
            r#"cd "$1"; for part in root verity uki; do cmp "images/$2.$part" "sysupdate/${part}_2.img"; done"#,
            &[&text(&self.dir), Self::target(set)],
        )?;
        Ok(one)
    }

    #[expect(clippy::disallowed_methods, reason = "files of a benchmark, written anew every time")]
    fn rauc(&self, set: &'static str) -> Result<Measured, String> {
        self.slots(set)?;
        let target = Self::target(set);
        if !self.dir.join(format!("www/{target}.raucb")).is_file() {
            return Err("its bundle was not made".into());
        }
        let attach = |which: &str| -> Result<[String; 3], String> {
            let one = |class: &str| {
                let file = text(&self.dir.join(format!("slots/{class}-{which}")));
                let output = command(&["losetup", "--find", "--show", &file])
                    .output()
                    .map_err(|error| error.to_string())?;
                Ok::<_, String>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
            };
            let [root, verity, uki] = peers::CLASSES;
            Ok([one(root)?, one(verity)?, one(uki)?])
        };
        let (a, b) = (attach("a")?, attach("b")?);
        let conf = peers::rauc_system(&a, &b);
        let path = self.dir.join("rauc/system.conf");
        let result = fs::write(&path, conf)
            .map_err(|error| error.to_string())
            .and_then(|()| self.inside(peers::RAUC, &format!("{}/{target}.raucb", self.server.address)));
        for device in a.iter().chain(&b) {
            let _ = command(&["losetup", "--detach", device]).status();
        }
        let one = result?;
        shell(
            r#"cd "$1"; for part in root verity; do cmp -n "$(stat -c %s "images/$2.$part")" "images/$2.$part" "slots/$part-b"; done"#,
            &[&text(&self.dir), target],
        )?;
        Ok(one)
    }

    /// Sizes of what is put on the server for the default image, MB.
    fn sizes(&self) -> Result<Vec<(&'static str, f32)>, String> {
        #[expect(clippy::cast_precision_loss, reason = "megabytes of a benchmark")]
        let size = |name: &str| fs::metadata(self.dir.join(name)).map(|meta| meta.len() as f32 / 1e6).ok();
        let raw: Option<f32> =
            ["root", "verity", "uki"].map(|part| size(&format!("images/base.{part}"))).into_iter().sum();
        let found = [
            ("edgepair", size("www/base.bundle")),
            ("RAUC", size("www/base.raucb")),
            ("systemd-sysupdate", raw),
        ];
        let found: Vec<_> = found.into_iter().filter_map(|(tool, size)| Some((tool, size?))).collect();
        if found.is_empty() { Err("no bundle was made".into()) } else { Ok(found) }
    }
}

fn newest(folder: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let made = |path: &PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .max_by_key(made)
        .ok_or(format!("{} is empty", folder.display()))
}

fn shell(script: &str, words: &[&str]) -> Result<(), String> {
    let argv = [&["sh", "-c", script, "bench"], words].concat();
    let status = command(&argv).status().map_err(|error| format!("sh: {error}"))?;
    if status.success() { Ok(()) } else { Err("a step of the benchmark's preparation failed".into()) }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
