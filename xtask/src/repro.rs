//! `cargo xtask repro [--image images/x86-64.toml] [--user dev] [--keep]`
//!
//! Builds the image once as it is built every day, and once more from nothing where everything differs that must not
//! matter: user (an ordinary one, where the first was root), host name, umask, time zone, locale, folder, cache, and a
//! clock 400 days ahead. Then every output file, unsigned and signed with the same keys, must be equal byte for byte.
//!
//! The clock is moved by libfaketime: for the builder on the host, for everything in the tools tree, and for maintainer
//! scripts inside the new root. A time namespace would move only the clocks since boot.

use crate::run::{command, phase, root};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const AHEAD: &str = "+400d";

struct Arguments {
    image: String,
    user: String,
    keep: bool,
}

impl Arguments {
    fn parse(words: &[String]) -> Result<Self, String> {
        let mut all = Self { image: "images/x86-64.toml".into(), user: "dev".into(), keep: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--image" => all.image = value()?,
                "--user" => all.user = value()?,
                "--keep" => all.keep = true,
                other => return Err(format!("unknown option {other}; there is --image, --user, --keep")),
            }
        }
        Ok(all)
    }
}

/// Runs both builds and compares.
pub fn run(words: &[String]) -> Result<(), String> {
    let arguments = Arguments::parse(words)?;
    prerequisites(&arguments)?;
    let build = ["cargo", "build", "--release", "--quiet", "--package", "edgepair"];
    phase("compile", &build)?;
    let first = root().join("target/repro");
    remove(&first)?;
    fs::create_dir_all(&first).map_err(|error| format!("{}: {error}", first.display()))?;
    let elsewhere = Elsewhere::make(&arguments)?;
    let result = both(&arguments, &first, &elsewhere);
    if arguments.keep {
        println!("kept: {} and {}", first.display(), elsewhere.dir.display());
    } else {
        remove(&elsewhere.dir)?;
    }
    result
}

fn both(arguments: &Arguments, first: &Path, elsewhere: &Elsewhere) -> Result<(), String> {
    let edgepair = root().join("target/release/edgepair");
    let edgepair = text(&edgepair);
    let keys = first.join("keys");
    fs::create_dir_all(&keys).map_err(|error| format!("{}: {error}", keys.display()))?;
    let lock = root().join(&arguments.image).with_extension("lock");
    if !lock.is_file() {
        phase("lock", &[&edgepair, "lock", &arguments.image])?;
    }
    // The daily build: the default cache, this user, this clock.
    let unsigned = text(&first.join("unsigned"));
    let tools =
        first_build(&[&edgepair, "build", &arguments.image, "--locked", "--out", &unsigned, "--json"])?;
    phase("keys", &[&edgepair, "key", "new", &text(&keys.join("release"))])?;
    phase("keys", &[&edgepair, "key", "new", &text(&keys.join("boot")), "--secure-boot"])?;
    let signed = text(&first.join("signed"));
    let (release, boot) = (text(&keys.join("release.key")), text(&keys.join("boot")));
    let how = ["--locked", "--out", &signed, "--sign", &release, "--secure-boot", &boot];
    phase("first", &[&[edgepair.as_str(), "build", &arguments.image], &how[..]].concat())?;

    elsewhere.furnish(&keys, &tools)?;
    elsewhere.build(&["--out", "../unsigned"])?;
    elsewhere.build(&[
        "--out",
        "../signed",
        "--sign",
        "../keys/release.key",
        "--secure-boot",
        "../keys/boot",
    ])?;

    let mut differing = Vec::new();
    for kind in ["unsigned", "signed"] {
        differing.extend(compare(kind, &first.join(kind), &elsewhere.dir.join(kind))?);
    }
    if differing.is_empty() {
        println!("repro: every file is the same");
        Ok(())
    } else {
        Err(format!("not reproducible:\n  {}", differing.join("\n  ")))
    }
}

/// Runs the first build; returns where its tools tree is, which `--json` says.
fn first_build(argv: &[&str]) -> Result<String, String> {
    println!("== first: {}", argv.join(" "));
    let output = command(argv)
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("first build: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let tools = text.lines().find_map(|line| line.trim().strip_prefix("\"tools\": \"")?.strip_suffix("\","));
    match tools {
        Some(tools) if output.status.success() => Ok(tools.to_owned()),
        _ => Err("the first build failed".into()),
    }
}

fn prerequisites(arguments: &Arguments) -> Result<(), String> {
    let is_root = command(&["id", "-u"]).output().is_ok_and(|output| output.stdout == b"0\n");
    if !is_root {
        return Err("repro must start as root: it builds once as root and once as another user".into());
    }
    let subuid = fs::read_to_string("/etc/subuid").unwrap_or_default();
    if !subuid.lines().any(|line| line.starts_with(&format!("{}:", arguments.user))) {
        return Err(format!(
            "there is no user {} with subordinate ids\n  to do: `useradd --create-home {}` (or name another with --user)",
            arguments.user, arguments.user
        ));
    }
    if !Path::new("/usr/bin/faketime").exists() {
        phase("packages", &["apt-get", "-qq", "update"])?;
        phase("packages", &["apt-get", "-qq", "install", "--yes", "--no-install-recommends", "faketime"])?;
    }
    Ok(())
}

/// The other place: a folder with its own checkout, cache and tools tree, owned by the other user.
struct Elsewhere {
    dir: PathBuf,
    user: String,
    image: String,
}

impl Elsewhere {
    fn make(arguments: &Arguments) -> Result<Self, String> {
        // Not below this checkout: its owner's folders may be closed to others.
        let dir = PathBuf::from(format!("/var/tmp/edgepair repro {}", std::process::id()));
        // It must not be there yet: what is in it is removed at the end.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self { dir, user: arguments.user.clone(), image: arguments.image.clone() })
    }

    /// Copies what a second machine would have beforehand: sources, downloaded packages and crates, tools tree, keys.
    fn furnish(&self, keys: &Path, tools: &str) -> Result<(), String> {
        let script = r#"set -eu
dir=$1 keys=$2 cache=$3 tools=$4 user=$5 ahead=$6
umask 077
mkdir "$dir/a checkout" "$dir/cache" "$dir/cache/tools" "$dir/cargo"
git ls-files -z --cached --others --exclude-standard | tar -c --null --files-from=- | tar -x --no-same-permissions -C "$dir/a checkout"
cp -r "$keys" "$dir/keys"
cp -r "$cache/apt" "$dir/cache/apt"
home=${CARGO_HOME:-$HOME/.cargo}
mkdir "$dir/cargo/registry"
cp -r "$home/registry/index" "$home/registry/cache" "$dir/cargo/registry/"
cp target/release/edgepair "$dir/edgepair"
cp -a "$tools" "$dir/cache/tools/"
tree=$dir/cache/tools/${tools##*/}
# Everything that the sandbox starts gets another clock: its last word outside is `env -i`.
lib=$(cd "$tree" && echo usr/lib/*/faketime/libfaketime.so.1)
test -f "$tree/$lib"
mv "$tree/usr/bin/env" "$tree/usr/bin/env.real"
cat > "$tree/usr/bin/env" <<END
#!/bin/sh
if [ "\$1" = -i ]; then
  shift
  exec /usr/bin/env.real -i NO_FAKE_STAT=1 DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME=$ahead LD_PRELOAD=/$lib "\$@"
fi
exec /usr/bin/env.real "\$@"
END
# Maintainer scripts run inside the new root: the library is put there, and taken away before the tree is packed.
mv "$tree/usr/bin/mmdebstrap" "$tree/usr/bin/mmdebstrap.real"
cat > "$tree/usr/bin/mmdebstrap" <<END
#!/bin/sh
exec /usr/bin/mmdebstrap.real --setup-hook='mkdir -p "\$1/${lib%/*}" && cp "/$lib" "\$1/$lib"' \
  --customize-hook='chroot "\$1" date > /build/date-in-root; rm -r "\$1/${lib%/*}"' "\$@"
END
# dracut asks ldd what a program needs, which would name the library as well: not there, so nothing is taken.
mv "$tree/usr/bin/ldd" "$tree/usr/bin/ldd.real"
printf '#!/bin/sh\nunset LD_PRELOAD\nexec /usr/bin/ldd.real "$@"\n' > "$tree/usr/bin/ldd"
chmod 755 "$tree/usr/bin/env" "$tree/usr/bin/mmdebstrap" "$tree/usr/bin/ldd"
chown -R "$user:" "$dir"
"#;
        let cache = default_cache()?;
        let (dir, keys, cache) = (text(&self.dir), text(keys), text(&cache));
        let mut argv = vec!["sh", "-c", script, "furnish"];
        argv.extend([dir.as_str(), &keys, &cache, tools, &self.user, AHEAD]);
        let status = command(&argv).status().map_err(|error| format!("furnish: {error}"))?;
        if status.success() { Ok(()) } else { Err("the second build's folder cannot be furnished".into()) }
    }

    /// Builds there, with everything different.
    fn build(&self, more: &[&str]) -> Result<(), String> {
        let script = r#"set -eu
dir=$1 user=$2 ahead=$3 image=$4; shift 4
hostname far-away.example
mkdir -p "$dir/toolchain" "$dir/bin"
# cargo only fetches here, and rustc's allocator waits for itself for ever when libfaketime is loaded before it.
printf '#!/bin/sh\nexec env -u LD_PRELOAD "%s/toolchain/bin/cargo" "$@"\n' "$dir" > "$dir/bin/cargo"
chmod 755 "$dir/bin/cargo"; chown -R "$user:" "$dir/bin"
mount --bind "$(rustc --print sysroot)" "$dir/toolchain"
cd "$dir/a checkout"
umask 077
setpriv --reuid "$user" --regid "$user" --init-groups env -i HOME="$dir" USER="$user" \
  PATH="$dir/bin:$dir/toolchain/bin:/usr/sbin:/usr/bin:/sbin:/bin" CARGO_HOME="$dir/cargo" EDGEPAIR_CACHE="$dir/cache" \
  TZ=Pacific/Kiritimati LC_ALL=tr_TR.UTF-8 LANG=tr_TR.UTF-8 NO_FAKE_STAT=1 DONT_FAKE_MONOTONIC=1 \
  sh -c 'echo "second: $(id -un)@$(hostname), umask $(umask), $TZ, $LC_ALL, $(faketime -f "$0" date)"; exec faketime -f "$0" "$@"' \
  "$ahead" "$dir/edgepair" build "$image" --locked "$@"
"#;
        let mut argv = vec!["unshare", "--uts", "--mount", "--", "sh", "-c", script, "build"];
        let dir = text(&self.dir);
        argv.extend([dir.as_str(), &self.user, AHEAD, &self.image]);
        argv.extend(more);
        let status = command(&argv).status().map_err(|error| format!("second build: {error}"))?;
        if status.success() { Ok(()) } else { Err("the second build failed".into()) }
    }
}

/// Compares two output folders file by file; returns what differs.
fn compare(kind: &str, one: &Path, two: &Path) -> Result<Vec<String>, String> {
    let names = |dir: &Path| -> Result<Vec<String>, String> {
        let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            // The builder's own note of what it wrote last.
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        Ok(names)
    };
    let (have, other) = (names(one)?, names(two)?);
    if have.is_empty() || have != other {
        return Ok(vec![format!("{kind}: the files are {have:?} and {other:?}")]);
    }
    let mut differing = Vec::new();
    for name in have {
        let (a, b) = (text(&one.join(&name)), text(&two.join(&name)));
        let output = command(&["cmp", &a, &b]).output().map_err(|error| format!("cmp: {error}"))?;
        if output.status.success() {
            println!("same     {kind} {name}");
        } else {
            differing.push(format!("{kind} {name}: {}", String::from_utf8_lossy(&output.stdout).trim()));
        }
    }
    Ok(differing)
}

/// The cache that `edgepair` uses by itself.
pub fn default_cache() -> Result<PathBuf, String> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("EDGEPAIR_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("edgepair")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".cache/edgepair")))
        .ok_or_else(|| "neither EDGEPAIR_CACHE nor HOME is set".into())
}

fn remove(dir: &Path) -> Result<(), String> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", dir.display()))
        }
        _ => Ok(()),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test lays out two small folders")]
    fn a_difference_of_one_byte_or_one_file_is_found() {
        let dir = std::env::temp_dir().join(format!("xtask-repro-{}", std::process::id()));
        let (one, two) = (dir.join("one"), dir.join("two"));
        for folder in [&one, &two] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("a"), "same").unwrap();
        }
        assert_eq!(compare("x", &one, &two).unwrap(), Vec::<String>::new());
        fs::write(two.join("a"), "sane").unwrap();
        assert_eq!(compare("x", &one, &two).unwrap().len(), 1);
        fs::write(two.join("a"), "same").unwrap();
        fs::write(two.join("b"), "more").unwrap();
        assert!(compare("x", &one, &two).unwrap()[0].contains("the files are"));
        remove(&dir).unwrap();
    }
}
