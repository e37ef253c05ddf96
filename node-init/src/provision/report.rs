//! What came of a run: for the journal, for `--json`, for the screen.

use super::run::{Phase, Request};
use crate::facts::{Facts, Problem, Provisioned};
use anyhow::bail;
use serde_json::json;
use std::time::Duration;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) pair: Option<String>,
    pub(super) difference: Option<edgepair_seed::Difference>,
    pub(super) steps: Vec<String>,
    pub(super) ids: Vec<&'static str>,
    /// What only the kernel had forgotten, and every boot brings up anew.
    pub(super) ups: Vec<&'static str>,
    pub(super) waiting: Vec<String>,
    pub(super) problems: Vec<Problem>,
    /// Spent on waiting for devices and for other runs.
    pub(super) waited: Duration,
}

impl Report {
    pub(super) fn say(&mut self, id: &'static str, what: &str, word: &str) {
        println!("{word} {id}: {what}");
        self.steps.push(what.to_owned());
        self.ids.push(id);
    }

    /// Says that a step begins. One that was taken and is missing again would be taken for ever.
    pub(super) fn begin(&mut self, id: &'static str, what: &str, of_this_boot: bool) -> anyhow::Result<()> {
        if self.steps.iter().any(|taken| taken == what) {
            bail!("`{what}` was done and is still missing; `journalctl -b` may say why");
        }
        if of_this_boot {
            println!("up {id}: {what}");
            self.steps.push(what.to_owned());
            self.ups.push(id);
        } else {
            self.say(id, what, "step");
        }
        Ok(())
    }

    /// For the screen: what was done in this boot and what is waited for.
    pub(super) fn note(&self, facts: &Facts, request: &Request) -> anyhow::Result<()> {
        let mut before: Provisioned = facts.get("provisioned").unwrap_or_default();
        before.steps.extend(self.steps.iter().cloned());
        if request.only != Some(Phase::Storage) {
            before.waiting.clone_from(&self.waiting);
            before.member.clone_from(&self.pair);
        }
        Ok(facts.put("provisioned", &before)?)
    }

    /// Prints it. `took` is the time of the whole run; `ok`: nothing failed.
    pub(super) fn print(&self, request: &Request, took: Duration, ok: bool) {
        let own = took.saturating_sub(self.waited).as_secs_f64();
        let waited = self.waited.as_secs_f64();
        let took = match waited {
            waited if waited < 0.1 => format!("{own:.2} s"),
            waited => format!("{own:.2} s, and {waited:.2} s of waiting"),
        };
        if request.json {
            let problems: Vec<_> = self
                .problems
                .iter()
                .map(|problem| json!({"what": problem.what, "findings": problem.lines, "fix": problem.fix}))
                .collect();
            println!(
                "{:#}",
                json!({
                    "member": self.pair, "steps": self.ids, "brought_up": self.ups,
                    "waiting": self.waiting, "problems": problems,
                    "difference": self.difference.as_ref().map(edgepair_seed::Difference::to_json),
                    "dry_run": request.dry_run, "seconds": own, "seconds_waited": waited,
                })
            );
        } else {
            for what in &self.waiting {
                println!("waiting for {what}");
            }
            let took = match self.ups.len() {
                0 => took,
                _ => format!("{took}; brought up: {}", self.ups.join(", ")),
            };
            match (self.ids.len(), self.problems.is_empty() && ok) {
                (0, true) => println!("no step is missing ({took})"),
                (count, _) => {
                    println!("{count} steps {} ({took})", if request.dry_run { "missing" } else { "taken" })
                }
            }
        }
    }
}
