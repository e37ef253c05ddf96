//! What was measured, one JSON object a line, durable before the next measurement begins.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Figure {
    system: String,
    what: String,
    value: f32,
}

/// The journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    all: Vec<Figure>,
}

impl Journal {
    /// Opens it, or begins one. A last line that was cut short counts as not written.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let all = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(Self { path: path.to_owned(), all })
    }

    /// Keeps a figure.
    pub fn add(&mut self, system: &str, what: &str, value: f32) -> anyhow::Result<()> {
        eprintln!("failover_time: {system}: {what}: {value:.2}");
        let figure = Figure { system: system.to_owned(), what: what.to_owned(), value };
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        file.write_all((serde_json::to_string(&figure)? + "\n").as_bytes())?;
        file.sync_data()?;
        self.all.push(figure);
        Ok(())
    }

    /// All figures of a kind, in order.
    pub fn figures(&self, system: &str, what: &str) -> Vec<f32> {
        let of = |figure: &&Figure| figure.system == system && figure.what == what;
        self.all.iter().filter(of).map(|figure| figure.value).collect()
    }
}
