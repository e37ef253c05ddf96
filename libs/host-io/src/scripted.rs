//! A runner that answers from a script instead of running anything. For tests only; nothing a user starts uses it.

use crate::command::{CommandError, Invocation, Output, Runner};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;

/// Answers calls in order and remembers them.
#[derive(Debug, Default)]
pub struct ScriptedRunner {
    answers: RefCell<VecDeque<Result<Output, String>>>,
    calls: RefCell<Vec<Invocation>>,
}

impl ScriptedRunner {
    /// A script of standard outputs; `Err` makes that call fail to start with this reason.
    pub fn new<I: IntoIterator<Item = Result<&'static str, &'static str>>>(answers: I) -> Self {
        let answers = answers
            .into_iter()
            .map(|answer| {
                answer
                    .map(|text| Output { stdout: text.as_bytes().to_vec(), stderr: Vec::new() })
                    .map_err(str::to_owned)
            })
            .collect();
        Self { answers: RefCell::new(answers), calls: RefCell::default() }
    }

    /// Every call so far as a shell line.
    pub fn calls(&self) -> Vec<String> {
        self.calls.borrow().iter().map(Invocation::shell_line).collect()
    }
}

impl Runner for ScriptedRunner {
    fn run(&self, call: &Invocation) -> Result<Output, CommandError> {
        self.calls.borrow_mut().push(call.clone());
        let answer = self
            .answers
            .borrow_mut()
            .pop_front()
            .unwrap_or_else(|| Err("the script has no more answers".into()));
        answer.map_err(|why| CommandError::Start { argv: call.shell_line(), source: io::Error::other(why) })
    }
}
