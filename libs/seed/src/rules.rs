//! What several keys say together. Each rule looks at what is there and stays silent about what is not: a missing
//! or misshapen key has been reported already.

mod addresses;
mod failover;
mod identity;
mod kubernetes;
mod pair;
mod storage;
mod system;
mod update;

use std::ops::Range;

use crate::companions::Companions;
use crate::shape::Shaped;
use edgepair_findings::{Finding, Severity};

/// What the rules know and what they find.
pub(crate) struct Rules<'a> {
    pub seed: &'a Shaped,
    pub companions: &'a Companions,
    pub disk: Option<u64>,
    pub findings: Vec<Finding>,
}

impl Rules<'_> {
    /// Runs all rules.
    pub fn run(&mut self) {
        self.pair();
        self.identity();
        self.addresses();
        self.replication();
        self.storage();
        self.failover();
        self.kubernetes();
        self.system();
        self.update();
    }

    fn error(&mut self, code: &'static str, key: &str, reason: impl Into<String>, fix: impl Into<String>) {
        self.at(Severity::Error, code, key, self.seed.span(key), reason, fix);
    }

    fn warn(&mut self, code: &'static str, key: &str, reason: impl Into<String>, fix: impl Into<String>) {
        self.at(Severity::Warning, code, key, self.seed.span(key), reason, fix);
    }

    fn at(
        &mut self,
        severity: Severity,
        code: &'static str,
        key: &str,
        span: Range<usize>,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let (reason, fix) = (reason.into(), fix.into());
        self.findings.push(Finding { severity, code, key: key.to_owned(), span, reason, fix });
    }

    /// A secret is given either in the seed or in a file beside it. Reports both, none, and unreadable files.
    fn one_secret(&mut self, value: &str, file: &str, needed: bool) {
        let seed = self.seed;
        match (seed.written(value), seed.written(file)) {
            (true, true) => {
                self.error(
                    "two-secrets",
                    file,
                    format!("both {value} and {file} are given"),
                    "take one of them out",
                );
            }
            (false, false) if needed => {
                let name = file.rsplit('.').next().unwrap_or(file);
                self.error(
                    "missing-key",
                    value,
                    format!("neither {file} nor {value} is given"),
                    format!("add {name} = \"…\" and put the secret into that file beside the seed"),
                );
            }
            (true, false) => self.warn(
                "secret-in-seed",
                value,
                "the secret stands in the seed itself, which is easily copied, mailed and printed",
                format!("put it into a file of its own and name that file with {file}"),
            ),
            _ => {}
        }
        self.readable(file);
    }

    /// A named file is there and can be read.
    fn readable(&mut self, key: &str) {
        if let Some(Err(why)) = self.seed.text(key).and_then(|name| self.companions.get(name)) {
            let name = self.seed.text(key).unwrap_or_default();
            self.error(
                "file-missing",
                key,
                format!("the file {name} cannot be read: {why}"),
                format!("put {name} beside the seed"),
            );
        }
    }
}
