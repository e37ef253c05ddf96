//! `cargo xtask bench build [--rounds 2] [--image images/x86-64.toml]`
//!
//! Beside mkosi of the image's own suite, in turn: the same suite, package list, erofs with verity, and UKI. Present
//! beforehand on both sides: tools tree, node-init, downloaded packages. Measured: everything else from nothing, again
//! after one changed overlay file, and (ours only) again with nothing changed.
//!
//! `drbd-utils` is left out of both: mkosi's way of unpacking cannot install it. Needs root, for mkosi.

use super::{Figure, Load, seconds};
use crate::repro::default_cache;
use crate::run::{command, phase, root};
use std::fs;
use std::path::{Path, PathBuf};

/// Packages of the tree that mkosi runs in.
const MKOSI: &str = "mkosi,ca-certificates,bubblewrap,uidmap,systemd,systemd-boot,util-linux";

/// What mkosi takes from the image's own packages, where ours takes it from the tools tree.
const IN_THE_IMAGE: [&str; 2] = ["systemd-boot", "systemd-boot-efi"];

/// What both sides leave out.
const LEFT_OUT: &str = "drbd-utils";

/// Runs the benchmark.
pub fn run(words: &[String]) -> Result<(), String> {
    let (mut rounds, mut image) = (2_u32, "images/x86-64.toml".to_owned());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        match word.as_str() {
            "--rounds" => rounds = value.parse().map_err(|_| "--rounds takes a number")?,
            "--image" => image.clone_from(value),
            other => return Err(format!("unknown option {other}; there is --rounds, --image")),
        }
    }
    phase("compile", &["cargo", "build", "--release", "--quiet", "--package", "edgepair"])?;
    let bench = Bench::prepare(&image)?;
    // Not measured: fills both sides' caches, and says early whether both work.
    bench.ours("warm-up")?;
    bench.mkosi("warm-up", true)?;
    let mut all = Vec::new();
    let mut loads = Vec::new();
    for round in 1..=rounds {
        for (what, tool, took) in bench.round(round)? {
            eprintln!("round {round}: {what}, {tool}: {took:.2} s");
            all.push((what, tool, took));
        }
        loads.push(Load::now().0);
    }
    bench.sizes()?;
    let runs = |what: &str, tool: &str| -> Vec<f32> {
        all.iter().filter(|(w, t, _)| *w == what && *t == tool).map(|(.., took)| *took).collect()
    };
    for (what, goal) in [("clean", "ratio 0.6"), ("rebuild", "ratio 0.3"), ("unchanged", "1 s")] {
        let figure = Figure {
            name: format!("build/{what}"),
            unit: "s",
            ours: runs(what, "edgepair"),
            peer: runs(what, "mkosi"),
            peer_name: "mkosi",
            conditions: format!(
                "{} processors, load {}, same suite and packages without {LEFT_OUT}, with mkosi {} more; erofs and verity \
                 and UKI; present beforehand: tools tree, node-init, packages; goal {goal}",
                std::thread::available_parallelism().map_or(1, usize::from),
                loads.join(" and "),
                IN_THE_IMAGE.join(" and ")
            ),
        };
        println!("{}", figure.line());
    }
    Ok(())
}

struct Bench {
    dir: PathBuf,
}

type Measured = (&'static str, &'static str, f32);

impl Bench {
    /// Copies definition and overlays, makes a cache of our own from the daily one, mkosi's tree and its configuration.
    fn prepare(image: &str) -> Result<Self, String> {
        let dir = root().join("target/bench");
        let this = Self { dir };
        let script = r#"set -eu
dir=$1 image=$2 left_out=$3 cache=$4 mkosi=$5 sources=$6
rm -rf "$dir/source" "$dir/cache" "$dir/out" "$dir/mkosi" "$dir/mkosi-space"
mkdir -p "$dir/source" "$dir/cache/steps"
git ls-files -z --cached --others --exclude-standard | tar -c --null --files-from=- | tar -x -C "$dir/source"
# Definitions join their lists, so what is left out is taken out of the text.
sed -i "s/\"$left_out\", *//" "$dir"/source/images/*.toml
rm -f "$dir"/source/images/*.lock
cp -al "$cache/tools" "$cache/apt" "$dir/cache/"
# node-init is there beforehand, so it need not be compiled for the warm-up either.
if [ -d "$cache/steps/node-init" ]; then cp -al "$cache/steps/node-init" "$dir/cache/steps/"; fi
if [ ! -x "$dir/mkosi-tree/usr/bin/mkosi" ]; then
  rm -rf "$dir/mkosi-tree"; mkdir "$dir/mkosi-tree"
  mmdebstrap --variant=minbase --format=tar --include="$mkosi" --aptopt='APT::Install-Recommends "false"' \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg trixie - "$sources" | tar -x -C "$dir/mkosi-tree" --exclude='./dev/*'
fi
mkdir -p "$dir/mkosi/mkosi.repart" "$dir/mkosi/mkosi.sandbox/etc/apt/sources.list.d" "$dir/mkosi/mkosi.pkgcache" "$dir/mkosi/mkosi.cache" "$dir/mkosi-space"
cp -r "$dir/source/overlays/base" "$dir/mkosi/mkosi.extra"
cd "$dir/source"
"$dir/../release/edgepair" build "$image" --dry-run > "$dir/plan"
"#;
        let cache = default_cache()?;
        let edgepair = root().join("target/release/edgepair");
        if !edgepair.is_file() {
            return Err("edgepair was not compiled".into());
        }
        let sources = sources(&cache.join("apt"))?;
        shell(script, &[&text(&this.dir), image, LEFT_OUT, &text(&cache), MKOSI, &sources])?;
        let plan = fs::read_to_string(this.dir.join("plan")).map_err(|error| format!("plan: {error}"))?;
        // Ours runs with a lock file, as mkosi runs with its packages downloaded.
        this.edgepair(&["lock", "images/x86-64.toml"])?;
        this.configure_mkosi(&plan)?;
        Ok(this)
    }

    #[expect(clippy::disallowed_methods, reason = "files of a benchmark, written anew every time")]
    fn configure_mkosi(&self, plan: &str) -> Result<(), String> {
        let field = |name: &str| {
            plan.lines()
                .find_map(|row| row.strip_prefix(name))
                .map(|rest| rest.trim().to_owned())
                .ok_or(format!("the plan has no line `{name}`"))
        };
        let packages = field("packages ")?;
        let arguments = field("kernel ")?;
        let packages: String =
            packages.split(' ').chain(IN_THE_IMAGE).map(|name| format!("    {name}\n")).collect();
        let conf = format!(
            "[Distribution]\nDistribution=debian\nRelease=trixie\nRepositories=non-free-firmware\n\n\
             [Output]\nFormat=disk\nImageId=bench\nImageVersion=1\nOutputDirectory=out\nSplitArtifacts=\n\n\
             [Content]\nBootable=yes\nBootloader=systemd-boot\nUnifiedKernelImages=yes\nWithDocs=no\nSourceDateEpoch=1767225600\n\
             KernelCommandLine={arguments}\nPackages=\n{packages}\n\
             [Build]\nPackageCacheDirectory=mkosi.pkgcache\nCacheDirectory=mkosi.cache\nWorkspaceDirectory=/bench/mkosi-space\nIncremental=yes\n"
        );
        let sources = mkosi_sources(&self.dir.join("cache/apt"))?;
        let repart = [
            (
                "00-esp",
                "[Partition]\nType=esp\nFormat=vfat\nCopyFiles=/boot:/\nCopyFiles=/efi:/\nSizeMinBytes=512M\nSizeMaxBytes=512M\n",
            ),
            (
                "10-root",
                "[Partition]\nType=root\nFormat=erofs\nCompression=zstd\nCompressionLevel=5\nCopyFiles=/\nVerity=data\nVerityMatchKey=root\nMinimize=best\n",
            ),
            (
                "11-root-verity",
                "[Partition]\nType=root-verity\nVerity=hash\nVerityMatchKey=root\nMinimize=best\n",
            ),
        ];
        let mkosi = self.dir.join("mkosi");
        let write = |name: &str, content: &str| {
            fs::write(mkosi.join(name), content).map_err(|error| format!("{name}: {error}"))
        };
        write("mkosi.conf", &conf)?;
        // By this name mkosi takes it in place of its own, which asks the debug archive as well.
        write("mkosi.sandbox/etc/apt/sources.list.d/mkosi.sources", &sources)?;
        for (name, content) in repart {
            write(&format!("mkosi.repart/{name}.conf"), content)?;
        }
        Ok(())
    }

    fn edgepair(&self, words: &[&str]) -> Result<f32, String> {
        let script =
            "cd \"$1/source\" && EDGEPAIR_SOURCE=$PWD EDGEPAIR_CACHE=$1/cache exec \"$2\" \"${@:3}\"";
        let mut argv = vec!["bash", "-c", script, "edgepair"];
        let (dir, program) = (text(&self.dir), text(&root().join("target/release/edgepair")));
        argv.extend([dir.as_str(), program.as_str()]);
        argv.extend(words);
        timed("edgepair", &argv)
    }

    fn ours(&self, what: &str) -> Result<f32, String> {
        println!("== edgepair, {what}");
        self.edgepair(&["build", "images/x86-64.toml", "--locked", "--out", "../out"])
    }

    /// mkosi in its tree, which becomes the root of a mount namespace of its own: it makes namespaces itself, and the
    /// kernel refuses those to a process in a mere chroot (user_namespaces(7)).
    fn mkosi(&self, what: &str, again: bool) -> Result<f32, String> {
        println!("== mkosi, {what}");
        let script = r#"set -eu
tree=$1/mkosi-tree
mkdir -p "$tree/bench" "$tree/old"
mount --make-rprivate /
mount --rbind "$tree" "$tree"
mount --rbind /proc "$tree/proc"; mount --rbind /sys "$tree/sys"; mount --rbind /dev "$tree/dev"
mount --bind "$1" "$tree/bench"
if [ -e /etc/resolv.conf ]; then : >> "$tree/etc/resolv.conf"; mount --bind /etc/resolv.conf "$tree/etc/resolv.conf"; fi
cd "$tree"; pivot_root . old; umount -l /old
cd /bench/mkosi
# -f makes the image anew from the cached tree, -ff that tree as well.
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 mkosi "$2" build
"#;
        let dir = text(&self.dir);
        let force = if again { "-ff" } else { "-f" };
        timed("mkosi", &["unshare", "--mount", "--", "sh", "-c", script, "mkosi", &dir, force])
    }

    fn round(&self, round: u32) -> Result<Vec<Measured>, String> {
        let dir = text(&self.dir);
        // From nothing: only node-init's own results stay.
        let forget = r#"cd "$1/cache/steps" && find . -mindepth 1 -maxdepth 1 ! -name node-init -exec rm -rf {} + ; rm -rf "$1/out""#;
        let touch = r##"for file in "$1/source/overlays/base/etc/nftables.conf" "$1/mkosi/mkosi.extra/etc/nftables.conf"; do echo "# round $2" >> "$file"; done"##;
        let mut all = Vec::new();
        shell(forget, &[&dir])?;
        all.push(("clean", "edgepair", self.ours("clean")?));
        all.push(("clean", "mkosi", self.mkosi("clean", true)?));
        shell(touch, &[&dir, &round.to_string()])?;
        all.push(("rebuild", "edgepair", self.ours("one overlay file changed")?));
        all.push(("rebuild", "mkosi", self.mkosi("one overlay file changed", false)?));
        all.push(("unchanged", "edgepair", self.ours("nothing changed")?));
        Ok(all)
    }

    /// What came out of both, so that nobody compares a small image with a large one.
    fn sizes(&self) -> Result<(), String> {
        let script = r#"cd "$1"; for file in out/*.img.zst out/*.uki.efi mkosi/out/*.raw mkosi/out/*.efi; do [ -e "$file" ] && du -h --apparent-size "$file" && du -h "$file"; done; true"#;
        shell(script, &[&text(&self.dir)])
    }
}

fn timed(name: &str, argv: &[&str]) -> Result<f32, String> {
    let started = seconds();
    let status = command(argv).status().map_err(|error| format!("{name}: {error}"))?;
    if status.success() { Ok(seconds() - started) } else { Err(format!("{name} failed")) }
}

fn shell(script: &str, words: &[&str]) -> Result<(), String> {
    let argv = [&["sh", "-c", script, "bench"], words].concat();
    let status = command(&argv).status().map_err(|error| format!("sh: {error}"))?;
    if status.success() { Ok(()) } else { Err("a step of the benchmark's preparation failed".into()) }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The archive that ours has asked last, as apt has it (sources.list(5)). Others in the cache may be gone.
pub(super) fn sources(apt: &Path) -> Result<String, String> {
    let folders = fs::read_dir(apt).map_err(|error| format!("{}: {error}", apt.display()))?;
    let asked = |folder: &PathBuf| fs::metadata(folder.join("fetched")).and_then(|meta| meta.modified()).ok();
    let newest = folders.flatten().map(|entry| entry.path()).filter(|folder| asked(folder).is_some());
    let newest = newest.max_by_key(asked).ok_or("ours has asked no archive")?;
    let path = newest.join("etc/sources.list");
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The same in the form that mkosi takes (deb822).
fn mkosi_sources(apt: &Path) -> Result<String, String> {
    let stanzas = sources(apt)?.lines().filter_map(stanza).collect::<Vec<_>>().join("\n");
    if stanzas.is_empty() { Err("ours has asked an archive without a name".into()) } else { Ok(stanzas) }
}

/// `deb [options] URI suite components`, as a stanza. The options are ours: mkosi verifies with Debian's keys.
fn stanza(line: &str) -> Option<String> {
    let rest = line.strip_prefix("deb ")?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let words: Vec<&str> = rest.split_whitespace().collect();
    let [uri, suite, components @ ..] = &words[..] else { return None };
    Some(format!(
        "Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {}\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
        components.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::stanza;

    #[test]
    fn a_source_line_becomes_a_stanza() {
        let plain = stanza("deb https://mirror.example/debian trixie main non-free-firmware").unwrap();
        assert!(plain.contains("URIs: https://mirror.example/debian\nSuites: trixie\n"), "{plain}");
        assert!(plain.contains("Components: main non-free-firmware\n"), "{plain}");
        assert_eq!(
            stanza(
                "deb [arch=amd64 signed-by=/x.gpg] https://mirror.example/debian trixie main non-free-firmware"
            ),
            Some(plain)
        );
        assert_eq!(stanza("# deb https://mirror.example/debian trixie main"), None);
        assert_eq!(stanza(""), None);
    }
}
