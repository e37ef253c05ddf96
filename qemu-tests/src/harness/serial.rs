//! What a machine printed on its serial line: a log file that grows.

use super::Deadline;
use anyhow::bail;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The log.
#[derive(Debug, Clone)]
pub struct Serial {
    path: PathBuf,
    /// Where this start of the machine begins in the file.
    begin: usize,
}

impl Serial {
    /// The log in this file, from its present end on; it may not be there yet.
    pub fn new(path: &Path) -> Self {
        let begin = std::fs::metadata(path).map_or(0, |data| data.len());
        Self { path: path.to_owned(), begin: usize::try_from(begin).unwrap_or(0) }
    }

    /// What comes from now on counts as another start of the machine.
    pub fn begin_anew(&mut self) {
        self.begin = Self::new(&self.path).begin;
    }

    /// Everything since this start of the machine, control sequences and carriage returns removed.
    pub fn text(&self) -> String {
        let all = std::fs::read(&self.path).unwrap_or_default();
        // A file that somebody moved away begins anew.
        plain(&String::from_utf8_lossy(all.get(self.begin..).unwrap_or(&all)))
    }

    /// Waits for one of several texts and says which came.
    ///
    /// # Errors
    /// When none came by the deadline; with the end of the log.
    pub fn wait_for<'a>(&self, texts: &[&'a str], deadline: Deadline) -> anyhow::Result<&'a str> {
        loop {
            let log = self.text();
            if let Some(found) = texts.iter().find(|text| log.contains(**text)) {
                return Ok(found);
            }
            if deadline.passed() {
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(25)..].join("\n");
                bail!("none of {texts:?} on the serial line in time; its end:\n{tail}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Removes terminal control sequences (ECMA-48 CSI) and carriage returns.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => {
                if chars.next_if_eq(&'[').is_some() {
                    for c in chars.by_ref() {
                        if ('@'..='~').contains(&c) {
                            break;
                        }
                    }
                }
            }
            '\r' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn control_sequences_are_removed() {
        assert_eq!(super::plain("\x1b[2J\x1b[01;01Hready\r\nnext\x1b[0m"), "ready\nnext");
    }
}
