//! What the user sees while a build runs: moving lines on a terminal, plain lines elsewhere.

use crate::definition::size;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
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
    line: String,
    name: String,
    started: Instant,
    watch: Option<Watch>,
}

/// Shows on a bar how much lies in a folder, until dropped.
#[derive(Debug)]
struct Watch {
    // Dropping the sender wakes and ends the thread.
    _end: std::sync::mpsc::Sender<()>,
}

impl Watch {
    fn start(bar: ProgressBar, line: String, folder: PathBuf) -> Self {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            while ended.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout) {
                let bytes = written(&folder);
                if bytes > 0 {
                    bar.set_message(format!("{line}  {}", size::show(bytes)));
                }
            }
        });
        Self { _end: end }
    }
}

/// Bytes of the files right in a folder and one level below it: outputs lie at the top, downloads below.
/// Blocks, not lengths: a disk image is as long at its beginning as at its end.
fn written(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |entry: &std::fs::DirEntry| {
        entry.metadata().ok().filter(std::fs::Metadata::is_file).map_or(0, |data| data.blocks() * 512)
    };
    files(folder)
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()).map(|below| bytes(&below)).sum(),
            _ => bytes(&entry),
        })
        .sum()
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
        Running { progress: self, bar, line, name: name.to_owned(), started: now(), watch: None }
    }
}

impl Running<'_> {
    /// Shows on a terminal how much has been written below `folder` so far.
    pub fn watch(&mut self, folder: &Path) {
        if let Some(bar) = &self.bar {
            self.watch = Some(Watch::start(bar.clone(), self.line.clone(), folder.to_owned()));
        }
    }

    /// The step is done; its size is that of its outputs.
    pub fn done(self, dir: &Path, outputs: &[&str]) {
        let bytes: u64 = outputs
            .iter()
            .filter_map(|name| std::fs::metadata(dir.join(name)).ok())
            .map(|data| data.len())
            .sum();
        self.finish(&size::show(bytes));
    }

    /// The work is done, with a remark.
    pub fn finish(mut self, remark: &str) {
        self.watch = None;
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
    fn what_is_written_is_counted_in_blocks_at_the_top_and_one_level_below() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir_all(dir.path().join("below/deep")).expect("mkdir");
        for (file, bytes) in [("a", 4096), ("below/b", 8192), ("below/deep/c", 4096)] {
            let full = vec![1_u8; bytes];
            edgepair_host_io::atomic::write(&dir.path().join(file), &full, 0o600).expect("write");
        }
        std::fs::File::create(dir.path().join("sparse")).expect("make").set_len(1 << 30).expect("length");
        assert_eq!(super::written(dir.path()), 12288);
    }

    #[test]
    fn known_failures_have_a_remedy() {
        assert!(hint("E: Unable to locate package nosuch").expect("hint").contains("correct its name"));
        assert!(hint("unshare: write failed (No such file or directory) /proc/self/uid_map").is_some());
        assert!(hint("something new").is_none());
    }
}
