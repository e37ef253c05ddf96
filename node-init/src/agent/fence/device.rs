//! One power switch: what its program is asked, and what the answer means.

use edgepair_host_io::{CommandError, Invocation, Output};
use edgepair_seed::{FenceDevice, Secret};
use std::time::Duration;

/// Where Debian's fence agents are.
const PROGRAMS: &str = "/usr/sbin";
/// Exit code of `status` for a box that is off. Python's option parser ends with the same one when it does not like what it
/// is asked, so the text has to say it as well.
const OFF: i32 = 2;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Is it on?
    Status,
    /// Take the power away, without asking the system on it.
    Off,
    /// Give power.
    On,
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Off => "off",
            Self::On => "on",
        }
    }
}

/// What a switch said of the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It has power.
    On,
    /// It has none.
    Off,
}

/// The power switch of the other box.
#[derive(Clone)]
pub struct Device {
    program: String,
    place: String,
    lines: Vec<String>,
    password: Option<Secret>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({})", self.name())
    }
}

impl Device {
    /// The switch that a seed names.
    #[must_use]
    pub fn of(fence: &FenceDevice) -> Self {
        let mut lines = vec![format!("ip={}", fence.address)];
        let mut add = |name: &str, value: Option<String>| {
            lines.extend(value.map(|value| format!("{name}={value}")));
        };
        add("ipport", fence.port.map(|port| port.to_string()));
        add("username", fence.username.clone());
        add("plug", fence.plug.clone());
        // The user's own come last: with a repeated name the last one counts.
        lines.extend(fence.options.iter().cloned());
        Self {
            program: format!("{PROGRAMS}/{}", fence.agent),
            place: fence.address.clone(),
            lines,
            password: fence.password.clone(),
        }
    }

    /// The same switch behind another program.
    #[cfg(test)]
    #[must_use]
    pub fn with_program(self, program: &std::path::Path) -> Self {
        Self { program: program.to_string_lossy().into_owned(), ..self }
    }

    /// What it is called: program and address.
    #[must_use]
    pub fn name(&self) -> String {
        let program = self.program.rsplit('/').next().unwrap_or_default();
        format!("{program} at {}", self.place)
    }

    /// The call for an action.
    #[must_use]
    pub fn call(&self, action: Action, limit: Duration) -> Invocation {
        let mut text = format!("action={}\n", action.word());
        for line in &self.lines {
            text += &format!("{line}\n");
        }
        if let Some(password) = &self.password {
            text += &format!("password={}\n", password.expose_secret());
        }
        Invocation::new(&self.program).stdin(text).within(limit)
    }

    /// What the answer to `status` means.
    ///
    /// # Errors
    /// In words, when it is no answer.
    pub fn status(&self, result: Result<Output, CommandError>) -> Result<Said, String> {
        let (code, text) = match &result {
            Ok(output) => (0, output.text()),
            Err(CommandError::Failed { status, stdout, .. }) if status.code() == Some(OFF) => {
                (OFF, stdout.clone())
            }
            Err(error) => return Err(self.why(error)),
        };
        let says = |word: &str| {
            let words = format!("status: {word}");
            text.lines().any(|line| line.trim().to_lowercase() == words)
        };
        match (code, says("on"), says("off")) {
            (0, true, false) => Ok(Said::On),
            (OFF, false, true) => Ok(Said::Off),
            _ => Err(self.hide(&format!("its answer is not understood: {}", short(&text)))),
        }
    }

    /// What the answer to `off` or `on` means: only that it was taken.
    ///
    /// # Errors
    /// In words.
    pub fn taken(&self, result: &Result<Output, CommandError>) -> Result<(), String> {
        match result {
            Ok(_) => Ok(()),
            Err(error) => Err(self.why(error)),
        }
    }

    fn why(&self, error: &CommandError) -> String {
        let text = match error {
            CommandError::Late { limit, .. } => format!("no answer within {:.0} s", limit.as_secs_f32()),
            CommandError::Failed { tail, .. } if !tail.trim().is_empty() => short(tail),
            CommandError::Failed { status, .. } => format!("it ended with {status}"),
            error => error.to_string(),
        };
        self.hide(&text)
    }

    /// An agent that does not know an option prints the whole line.
    fn hide(&self, text: &str) -> String {
        match &self.password {
            Some(password) if !password.expose_secret().is_empty() => {
                text.replace(password.expose_secret(), "[redacted]")
            }
            _ => text.to_owned(),
        }
    }
}

/// The last line that says something, not longer than a line.
fn short(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
    line.trim().chars().filter(|letter| !letter.is_control()).take(200).collect()
}
