//! Plans as text against golden files, and every lint with its place. `EDGEPAIR_BLESS=1` writes the golden files anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[expect(clippy::disallowed_methods, reason = "a test runs the real program")]
fn edgepair(args: &[&str], cwd: &Path, cache: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgepair"))
        .args(args)
        .current_dir(cwd)
        .env("EDGEPAIR_CACHE", cache)
        .output()
        .expect("runs")
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace").to_owned()
}

/// What depends on the machine and not on the definition: mirrors of the host, cache verdicts.
fn neutral(text: &str) -> String {
    text.lines()
        .map(|line| match line.find(" 'deb ") {
            Some(at) if line.starts_with("  mmdebstrap") => format!("{} SOURCES", &line[..at]),
            _ => line.to_owned(),
        })
        .filter(|line| !line.starts_with("  cache: "))
        .collect::<Vec<_>>()
        .join("\n")
        + "\n"
}

fn golden(name: &str, definition: &str) {
    let cache = tempfile::tempdir().expect("tempdir");
    let output = edgepair(&["build", definition, "--dry-run"], &workspace(), cache.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = neutral(&String::from_utf8_lossy(&output.stdout));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("EDGEPAIR_BLESS").is_some() {
        edgepair_host_io::atomic::write(&path, text.as_bytes(), 0o644).expect("write");
    }
    let want = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == want,
        "{name} differs from its golden file; look at the difference, then EDGEPAIR_BLESS=1\n{}",
        difference(&want, &text)
    );
}

fn difference(want: &str, have: &str) -> String {
    let (want, have): (Vec<&str>, Vec<&str>) = (want.lines().collect(), have.lines().collect());
    let gone = want.iter().filter(|line| !have.contains(line)).map(|line| format!("- {line}"));
    let new = have.iter().filter(|line| !want.contains(line)).map(|line| format!("+ {line}"));
    gone.chain(new).take(20).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_plan_of_the_x86_image_is_as_committed() {
    golden("x86-64.plan", "images/x86-64.toml");
}

#[test]
fn the_plan_of_the_arm64_image_resolves_and_is_as_committed() {
    golden("arm64.plan", "images/arm64.toml");
}

/// Writes a definition and returns what `build --dry-run` complains about.
fn complaints(text: &str) -> String {
    let dir = tempfile::tempdir().expect("tempdir");
    edgepair_host_io::atomic::write(&dir.path().join("x.toml"), text.as_bytes(), 0o644).expect("write");
    let output = edgepair(&["build", "x.toml", "--dry-run"], dir.path(), &dir.path().join("cache"));
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const GOOD: &str = "schema = 1\nname = \"x\"\nversion = \"1\"\nboard = \"x86-64\"\nsuite = \"trixie\"\nsource_date_epoch = 1\n";

#[test]
fn every_lint_names_file_line_column_and_remedy() {
    for (what, text, place, words) in [
        ("unknown key", format!("{GOOD}packges = []\n"), "x.toml:7:1", "did you mean `packages`?"),
        ("unknown board", GOOD.replace("x86-64", "x86"), "x.toml:4:9", "unknown board `x86`"),
        (
            "slots of unequal size",
            format!("{GOOD}[disk]\nroot_a = \"512MiB\"\nroot_b = \"256MiB\"\n"),
            "x.toml:9:10",
            "slot A has 512 MiB, slot B 256 MiB",
        ),
        (
            "boot partition too small for its kernels",
            format!("{GOOD}[disk]\nesp = \"128MiB\"\n"),
            "x.toml:8:7",
            "three kernel images",
        ),
        (
            "boot partition too small for FAT32",
            format!("{GOOD}[disk]\nesp = \"128MiB\"\n"),
            "x.toml:8:7",
            "too small for a real FAT32",
        ),
        (
            "hash tree too small",
            format!("{GOOD}[disk]\nverity = \"1MiB\"\n"),
            "x.toml:8:10",
            "the hash tree of a full",
        ),
        (
            "overlapping partitions",
            format!(
                "{GOOD}[[disk.partition]]\nlabel = \"a\"\noffset = \"32KiB\"\nsize = \"64KiB\"\n[[disk.partition]]\nlabel = \"b\"\noffset = \"64KiB\"\nsize = \"8KiB\"\n"
            ),
            "x.toml:13:10",
            "partition `b` overlaps `a`",
        ),
        (
            "partition over the table",
            format!("{GOOD}[[disk.partition]]\nlabel = \"a\"\noffset = \"8KiB\"\nsize = \"8KiB\"\n"),
            "x.toml:9:10",
            "lies over the partition table",
        ),
        (
            "unpinned download",
            format!("{GOOD}[[download]]\nurl = \"https://a.example/x\"\npath = \"/x\"\n"),
            "x.toml:7:",
            "without a digest",
        ),
        ("wrong type", GOOD.replace("\"1\"", "1"), "x.toml:3:11", "not a string in quotes"),
        ("other schema", GOOD.replace("schema = 1", "schema = 2"), "x.toml:1:10", "the file says 2"),
        ("missing overlay", format!("{GOOD}overlays = [\"nowhere\"]\n"), "x.toml:7:13", "there is no folder"),
        (
            "a missing key",
            format!("{GOOD}[update]\nkeys = [\"nowhere.pub\"]\n"),
            "x.toml:8:9",
            "cannot read nowhere.pub",
        ),
        (
            "a key that is none",
            format!("{GOOD}[update]\nkeys = [\"x.toml\"]\n"),
            "x.toml:8:9",
            "not a public key of minisign's format",
        ),
        (
            "a unit both ways",
            format!("{GOOD}[units]\nenable = [\"a.service\"]\nmask = {{ \"a.service\" = \"no\" }}\n"),
            "x.toml:9:10",
            "enabled and masked",
        ),
        (
            "root hash by hand",
            format!("{GOOD}[kernel]\narguments = [\"roothash=00\"]\n"),
            "x.toml:8:14",
            "set by the build",
        ),
        (
            "an include that includes itself",
            format!("include = [\"x.toml\"]\n{GOOD}"),
            "x.toml:1:12",
            "includes itself",
        ),
        (
            "a missing include",
            format!("include = [\"y.toml\"]\n{GOOD}"),
            "x.toml:1:12",
            "cannot read the definition",
        ),
        ("no time stamp", GOOD.replace("source_date_epoch = 1\n", ""), "x.toml:1:1", "source_date_epoch"),
    ] {
        let said = complaints(&text);
        assert!(said.contains(place), "{what}: no {place} in\n{said}");
        assert!(said.contains(words), "{what}: no `{words}` in\n{said}");
        assert!(said.contains("to do: "), "{what}: no remedy in\n{said}");
    }
}

#[test]
fn several_errors_are_reported_at_once() {
    let said = complaints(&format!(
        "{}packges = []\n[disk]\nroot = \"1MB\"\nverity = \"1MiB\"\n",
        GOOD.replace("x86-64", "x86")
    ));
    for part in ["unknown board", "unknown key `packges`", "`1MB` is not a size", "the hash tree"] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
}
