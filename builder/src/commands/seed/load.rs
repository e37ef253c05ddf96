//! Reads a seed and the files it names.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use edgepair_seed::{Companions, Input, Report, SEED_MAX, Seed, check};

/// Largest file beside a seed: certificates with their whole chain fit.
const COMPANION_MAX: u64 = 1 << 20;

/// A seed's text with the files it names.
pub struct Loaded {
    /// Where it was read.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// The files it names.
    pub companions: Companions,
}

/// Reads the seed at `path`; a folder stands for the `seed.toml` in it.
pub fn load(path: &Path) -> anyhow::Result<Loaded> {
    let path = if path.is_dir() { path.join(edgepair_seed::SEED_FILE) } else { path.to_owned() };
    // One byte more than allowed: the check then says that it is too long.
    let text = read(&path, SEED_MAX as u64 + 1).map_err(|why| anyhow::anyhow!(why)).with_context(|| {
        format!("cannot read the seed {}; make one with: edgepair seed new", path.display())
    })?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let companions = Companions::load(&text, |name| read(&folder.join(name), COMPANION_MAX));
    Ok(Loaded { path, text, companions })
}

/// Reads a text file of at most `most` bytes.
fn read(path: &Path, most: u64) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is not text in UTF-8".to_owned())
}

impl Loaded {
    /// Checks it.
    pub fn check(&self, disk: Option<u64>) -> (Option<Seed>, Report) {
        let name = self.path.to_string_lossy();
        check(&Input { name: &name, text: &self.text, companions: &self.companions, disk })
    }

    /// Checks it and gives the seed; prints the report when it has errors.
    pub fn valid(&self) -> anyhow::Result<Seed> {
        let (seed, report) = self.check(None);
        let Some(seed) = seed else {
            eprint!("{}", report.render(std::io::stderr().is_terminal()));
            bail!("{} has {} errors; mend them first", self.path.display(), report.errors().count());
        };
        Ok(seed)
    }
}
