//! What the user sees while a build runs: moving lines on a terminal, plain lines elsewhere.

use crate::definition::size;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where progress goes. Standard output stays free for results.
#[derive(Debug)]
pub struct Progress {
    bars: Option<MultiProgress>,
}

impl Default for Progress {
    fn default() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self { bars }
    }
}

/// A step that is running.
#[derive(Debug)]
pub struct Running<'a> {
    progress: &'a Progress,
    bar: Option<ProgressBar>,
    name: String,
    started: Instant,
}

#[expect(clippy::disallowed_methods, reason = "progress shows people how long something takes")]
fn now() -> Instant {
    Instant::now()
}

impl Progress {
    /// Says one line.
    pub fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(line);
            }
            None => eprintln!("{line}"),
        }
    }

    /// A step that the cache had.
    pub fn cached(&self, name: &str, title: &str) {
        self.say(&format!("{name:<10} {title}: cached"));
    }

    /// A step begins.
    pub fn start(&self, name: &str, title: &str, why: &str) -> Running<'_> {
        let line = format!("{name:<10} {title} ({why})");
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = bars.add(ProgressBar::new_spinner().with_style(style).with_message(line.clone()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            self.say(&line);
        }
        Running { progress: self, bar, name: name.to_owned(), started: now() }
    }
}

impl Running<'_> {
    /// The step is done; its size is that of its outputs.
    pub fn done(self, dir: &Path, outputs: &[&str]) {
        let bytes: u64 = outputs
            .iter()
            .filter_map(|name| std::fs::metadata(dir.join(name)).ok())
            .map(|data| data.len())
            .sum();
        self.finish(&size::show(bytes));
    }

    /// What it is at now, shown where lines can move.
    pub fn at(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{:<10} {what}", self.name));
        }
    }

    /// The work is done, with a remark.
    pub fn finish(self, remark: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.progress.say(&format!(
            "{:<10} done in {:.1} s, {remark}",
            self.name,
            self.started.elapsed().as_secs_f32()
        ));
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What the last words of a failed program usually mean, and what to do.
pub fn hint(tail: &str) -> Option<&'static str> {
    let table: [(&[&str], &str); 8] = [
        // First: a full disk makes everything else fail too, signatures included.
        (
            &["No space left on device"],
            "the disk is full: free space, or set EDGEPAIR_CACHE to a folder with 10 GB free; `edgepair cache prune` removes old results",
        ),
        (
            &["Unable to locate package", "has no installation candidate"],
            "the suite does not have that package: correct its name in the definition, or add the archive area it is in to `components`",
        ),
        (
            &[
                "NO_PUBKEY",
                "is not signed",
                "couldn't be verified",
                "BADSIG",
                "Sub-process /usr/bin/sqv returned an error",
                "clearsigned file isn't valid",
            ],
            "the package archive's signature is not by a key of Debian: use another mirror; nothing from this one was used",
        ),
        (
            &[
                "Could not resolve",
                "Connection refused",
                "Could not connect",
                "Unable to connect",
                "Network is unreachable",
                "Connection timed out",
                "Temporary failure resolving",
            ],
            "the package mirror cannot be reached: check the network, or set `mirrors` in the definition to one that can",
        ),
        (
            &[
                "write failed (No such file or directory) /proc/self/uid_map",
                "newuidmap",
                "unshare failed: Operation not permitted",
                "no line matching user",
            ],
            "an ordinary user needs user namespaces and subordinate ids: `edgepair doctor --fix` sets them up",
        ),
        (
            &["Hash Sum mismatch", "File has unexpected size"],
            "the mirror is being updated or is broken: try again, or use another mirror",
        ),
        (
            &["cannot find -l", "linker `cc` not found"],
            "the compiler tree is incomplete: `edgepair cache prune --tools` and build again",
        ),
        (
            &["does not have a Release file", "404  Not Found"],
            "the mirror does not have that suite: check `suite` and `mirrors`",
        ),
    ];
    table.into_iter().find(|(marks, _)| marks.iter().any(|mark| tail.contains(mark))).map(|(_, fix)| fix)
}

#[cfg(test)]
mod tests {
    use super::hint;

    #[test]
    fn known_failures_have_a_remedy() {
        assert!(hint("E: Unable to locate package nosuch").expect("hint").contains("correct its name"));
        assert!(hint("unshare: write failed (No such file or directory) /proc/self/uid_map").is_some());
        assert!(hint("something new").is_none());
    }
}
