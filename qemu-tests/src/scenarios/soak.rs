//! Long runs: every case of a soak, one after the other, with a journal. A run that was interrupted goes on where it
//! was; another image begins anew.

use super::Context;
use super::formed::now;
use anyhow::{Context as _, bail};
use edgepair_host_io::{atomic, digest};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A long run.
pub struct Soak {
    /// Name, for the command line and the journal.
    pub name: &'static str,
    /// What it shows, one sentence.
    pub shows: &'static str,
    /// Its cases, found out at run time.
    pub cases: fn(&Context<'_>) -> anyhow::Result<Vec<String>>,
    /// Runs one case and says what it saw.
    pub run: fn(&Context<'_>, &str) -> anyhow::Result<String>,
}

/// All long runs.
pub const ALL: &[Soak] =
    &[super::pair_power_cuts::SOAK, super::failover::SOAK, super::failover::CYCLES, super::updates::SOAK];

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
enum Line {
    /// The first: what is run on which image.
    Plan {
        /// SHA-256 of the disk image.
        image: String,
        /// All cases.
        cases: Vec<String>,
    },
    /// A case was run.
    Ran {
        /// The case.
        case: String,
        /// Whether what must hold held.
        ok: bool,
        /// What was seen, or why not.
        said: String,
        /// Whole seconds.
        seconds: u64,
    },
}

/// A journal: a file to which a line is added for each case, at once durable.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// All cases.
    pub cases: Vec<String>,
    ran: Vec<(String, bool)>,
}

impl Journal {
    /// Opens the journal of a soak, or begins one.
    ///
    /// # Errors
    /// When the cases cannot be found out or the file cannot be written.
    pub fn open(context: &Context<'_>, soak: &Soak, dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{}.jsonl", soak.name));
        let image = digest::of_file(&context.image.disk)?;
        let text = fs::read_to_string(&path).unwrap_or_default();
        if let Some(Known { cases, ran }) = read(&text, &image) {
            return Ok(Self { path, cases, ran });
        }
        if !text.is_empty() {
            fs::rename(&path, path.with_extension("jsonl.old"))?;
        }
        let cases = (soak.cases)(context)?;
        let plan = Line::Plan { image, cases: cases.clone() };
        atomic::write(&path, (serde_json::to_string(&plan)? + "\n").as_bytes(), 0o644)?;
        Ok(Self { path, cases, ran: Vec::new() })
    }

    fn add(&mut self, case: &str, ok: bool, said: &str, seconds: u64) -> anyhow::Result<()> {
        let line = Line::Ran { case: case.to_owned(), ok, said: said.to_owned(), seconds };
        let mut file = File::options().append(true).open(&self.path)?;
        file.write_all((serde_json::to_string(&line)? + "\n").as_bytes())?;
        file.sync_data()?;
        self.ran.push((case.to_owned(), ok));
        Ok(())
    }

    fn passed(&self, case: &str) -> bool {
        self.ran.iter().rev().find(|(ran, _)| ran == case).is_some_and(|(_, ok)| *ok)
    }

    /// What became of a case, in a word.
    pub fn word(&self, case: &str) -> &'static str {
        match self.ran.iter().rev().find(|(ran, _)| ran == case) {
            None => "to do",
            Some((_, true)) => "ok",
            Some((_, false)) => "FAILED",
        }
    }
}

/// The plan and what was run, if the journal is about this image. A last line that was cut short counts as not written.
fn read(text: &str, image: &str) -> Option<Known> {
    let mut lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    let Some(Line::Plan { image: of, cases }) = lines.next() else { return None };
    let ran = lines.filter_map(|line| match line {
        Line::Ran { case, ok, .. } => Some((case, ok)),
        Line::Plan { .. } => None,
    });
    (of == image).then(|| Known { cases, ran: ran.collect() })
}

/// What a journal says.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    cases: Vec<String>,
    /// Case and whether it passed, in the order in which they were run.
    ran: Vec<(String, bool)>,
}

/// Runs what the journal has not seen pass. Says how many cases passed and failed in all.
///
/// # Errors
/// When the journal cannot be written; a case that fails is no error, it is counted.
pub fn run(
    soak: &Soak,
    journal: &mut Journal,
    only: &[String],
    mut context_for: impl FnMut(
        &str,
        &mut dyn FnMut(&Context<'_>) -> anyhow::Result<String>,
    ) -> anyhow::Result<String>,
) -> anyhow::Result<(usize, usize)> {
    let chosen: Vec<String> = journal
        .cases
        .iter()
        .filter(|case| only.is_empty() || only.iter().any(|word| case.contains(word.as_str())))
        .cloned()
        .collect();
    if chosen.is_empty() {
        bail!("no case of {} has {} in its name; --list prints them", soak.name, only.join(" or "));
    }
    for (number, case) in chosen.iter().enumerate() {
        if journal.passed(case) {
            continue;
        }
        let begun = now();
        let result = context_for(case, &mut |context| (soak.run)(context, case));
        let (ok, said) = match result {
            Ok(said) => (true, said),
            Err(error) => (false, format!("{error:#}")),
        };
        let seconds = begun.elapsed().as_secs();
        println!(
            "{:>3}/{} {} {case} ({seconds} s): {said}",
            number + 1,
            chosen.len(),
            if ok { "ok  " } else { "FAIL" }
        );
        journal.add(case, ok, &said, seconds).context("the journal")?;
    }
    let passed = chosen.iter().filter(|case| journal.passed(case)).count();
    Ok((passed, chosen.len() - passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_of_one_image_and_survives_a_cut() {
        let plan = r#"{"line":"plan","image":"abc","cases":["one","two"]}"#;
        let ran = r#"{"line":"ran","case":"one","ok":true,"said":"well","seconds":3}"#;
        let cut = &ran[..20];
        let text = format!("{plan}\n{ran}\n{cut}");
        let known = read(&text, "abc").unwrap();
        assert_eq!(known.cases, ["one", "two"]);
        assert_eq!(known.ran, [("one".to_owned(), true)]);
        assert_eq!(read(&text, "another image"), None);
        assert_eq!(read("", "abc"), None);
        assert_eq!(read(ran, "abc"), None);
    }
}
