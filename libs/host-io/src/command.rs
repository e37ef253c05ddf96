//! External programs: argv as data, one way to run them, one form of error.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

mod limit;

use limit::Watch;

/// How many bytes of a failed program's output an error shows.
const TAIL_BYTES: usize = 4096;

/// One program call as plain data: printable, comparable, the same in `--dry-run` and in a real run.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Invocation {
    /// Program name or path.
    pub program: String,
    /// Arguments without the program.
    pub args: Vec<String>,
    /// Variables set on top of the inherited environment.
    pub env: Vec<(String, String)>,
    /// Working directory; the caller's own when absent.
    pub cwd: Option<PathBuf>,
    /// Standard output goes into this file instead of memory.
    pub stdout_file: Option<PathBuf>,
    /// Standard output and error are appended here as well (a build step's log).
    pub log_file: Option<PathBuf>,
    /// Bytes fed to standard input; `/dev/null` when absent. They may be a secret and are never shown.
    pub stdin: Option<Vec<u8>>,
    /// So long it may take; then it is killed with every process that it started and that stayed in its process group.
    pub limit: Option<Duration>,
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdin = self.stdin.as_ref().map(|bytes| format!("{} bytes", bytes.len()));
        f.debug_struct("Invocation")
            .field("line", &self.shell_line())
            .field("env", &self.env)
            .field("cwd", &self.cwd)
            .field("stdout_file", &self.stdout_file)
            .field("log_file", &self.log_file)
            .field("stdin", &stdin)
            .field("limit", &self.limit)
            .finish()
    }
}

impl Invocation {
    /// A call of `program` with no arguments.
    pub fn new(program: impl Into<String>) -> Self {
        Self { program: program.into(), ..Self::default() }
    }

    /// Appends one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Appends several arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Feeds bytes to standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Gives it so much time.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The call as a line that a shell would accept.
    pub fn shell_line(&self) -> String {
        std::iter::once(self.program.as_str())
            .chain(self.args.iter().map(String::as_str))
            .map(shell_quote)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The standard library's command for this call, for a caller that keeps the child itself (a virtual machine).
    #[expect(clippy::disallowed_methods, reason = "this crate is the home of external programs")]
    pub fn to_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(key, value)| (OsStr::new(key), OsStr::new(value))));
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        command
    }
}

/// Quotes one word for a POSIX shell where it needs it.
pub fn shell_quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// What a program that succeeded had to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output (empty when it went to a file).
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, invalid UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Why a program call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program could not be started at all.
    #[error("cannot start `{argv}`: {source}")]
    Start {
        /// The call as a shell line.
        argv: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The program ended with a status other than 0.
    #[error("`{argv}` ended with {status}{}", tail_note(.tail))]
    Failed {
        /// The call as a shell line.
        argv: String,
        /// Its exit status.
        status: ExitStatus,
        /// The end of what it printed: its messages, or its standard output when there were none.
        tail: String,
        /// The end of its standard output, for a program that answers by its exit status.
        stdout: String,
    },
    /// The program did not end in time and was killed.
    #[error("`{argv}` did not end within {limit:?} and was killed{}", tail_note(.tail))]
    Late {
        /// The call as a shell line.
        argv: String,
        /// The time it had.
        limit: Duration,
        /// The end of what it printed.
        tail: String,
    },
    /// Its output or a file for it could not be handled.
    #[error("`{argv}`: {what}: {source}")]
    Io {
        /// The call as a shell line.
        argv: String,
        /// Which part failed.
        what: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl CommandError {
    /// The end of what the program printed, empty if it never ran.
    pub fn tail(&self) -> &str {
        match self {
            Self::Failed { tail, .. } | Self::Late { tail, .. } => tail,
            _ => "",
        }
    }

    /// The exit code, if the program ran and was not ended by a signal.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Failed { status, .. } => status.code(),
            _ => None,
        }
    }
}

fn tail_note(tail: &str) -> String {
    if tail.trim().is_empty() { String::new() } else { format!("; it said:\n{}", tail.trim_end()) }
}

/// Something that can run an [`Invocation`]: the host, or a script in a test.
pub trait Runner {
    /// Runs the call to its end.
    ///
    /// # Errors
    /// [`CommandError`] when it cannot start, ends with a status other than 0, or its output cannot be kept.
    fn run(&self, call: &Invocation) -> Result<Output, CommandError>;
}

/// Runs programs on this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostRunner;

impl Runner for HostRunner {
    fn run(&self, call: &Invocation) -> Result<Output, CommandError> {
        let argv = || call.shell_line();
        let io = |what: &str| {
            let what = what.to_owned();
            move |source| CommandError::Io { argv: call.shell_line(), what, source }
        };
        let mut command = call.to_command();
        command.stdin(if call.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        match &call.stdout_file {
            Some(path) => command.stdout(File::create(path).map_err(io("create the output file"))?),
            None => command.stdout(Stdio::piped()),
        };
        command.stderr(Stdio::piped());
        if call.limit.is_some() {
            limit::own_group(&mut command);
        }
        let mut child = command.spawn().map_err(|source| CommandError::Start { argv: argv(), source })?;
        let watch = call.limit.map(|limit| Watch::over(&child, limit));

        // Three pipes at once: whoever reads only one of them deadlocks when another fills up.
        let stdin = child.stdin.take().zip(call.stdin.clone());
        let feeder =
            std::thread::spawn(move || stdin.map_or(Ok(()), |(mut pipe, bytes)| pipe.write_all(&bytes)));
        let stdout = child.stdout.take();
        let log = call.log_file.clone();
        let log_of_stdout = log.clone();
        let reader = std::thread::spawn(move || {
            stdout.map_or(Ok(Vec::new()), |pipe| drain(pipe, log_of_stdout.as_deref()))
        });
        let stderr = child.stderr.take().map_or(Ok(Vec::new()), |pipe| drain(pipe, log.as_deref()));
        let stdout =
            reader.join().unwrap_or_else(|_| Err(io::Error::other("the reading thread ended early")));
        let fed = feeder.join().unwrap_or(Ok(()));
        let late = watch.is_some_and(Watch::end);
        let status = child.wait().map_err(io("wait for it"))?;

        let stdout = stdout.map_err(io("read its output"))?;
        let stderr = stderr.map_err(io("read its messages"))?;
        let said = if stderr.iter().any(|byte| !byte.is_ascii_whitespace()) { &stderr } else { &stdout };
        if let (true, Some(limit)) = (late, call.limit) {
            return Err(CommandError::Late { argv: argv(), limit, tail: tail(said) });
        }
        if !status.success() {
            let (said, stdout) = (tail(said), tail(&stdout));
            return Err(CommandError::Failed { argv: argv(), status, tail: said, stdout });
        }
        fed.map_err(io("write to its standard input"))?;
        Ok(Output { stdout, stderr })
    }
}

/// Reads a pipe to its end, copying it to the log as it comes, so that a hung step can be looked at.
fn drain(mut pipe: impl Read, log: Option<&Path>) -> io::Result<Vec<u8>> {
    let mut log = match log {
        Some(path) => Some(File::options().create(true).append(true).open(path)?),
        None => None,
    };
    let mut all = Vec::new();
    let mut chunk = [0_u8; 8192];
    loop {
        let read = pipe.read(&mut chunk)?;
        if read == 0 {
            return Ok(all);
        }
        all.extend_from_slice(&chunk[..read]);
        if let Some(log) = &mut log {
            log.write_all(&chunk[..read])?;
        }
    }
}

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    // A line that a program made of a thousand file names tells nobody anything past its beginning.
    let short = |line: &&str| line.chars().take(300).collect::<String>();
    lines[lines.len().saturating_sub(25)..].iter().map(short).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_carries_argv_and_the_end_of_stderr() {
        let call = Invocation::new("sh").args(["-c", "echo first; echo 'it broke' >&2; exit 3"]);
        let error = HostRunner.run(&call).expect_err("exit 3 is a failure");
        assert_eq!(error.code(), Some(3));
        assert_eq!(error.tail(), "it broke");
        assert!(error.to_string().contains("sh -c"), "{error}");
    }

    #[test]
    fn large_output_on_both_pipes_does_not_block() {
        let call =
            Invocation::new("sh").args(["-c", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"]);
        let output = HostRunner.run(&call).expect("runs");
        assert_eq!((output.stdout.len(), output.stderr.len()), (300_000, 300_000));
    }

    #[test]
    fn stdin_reaches_the_program() {
        let output = HostRunner.run(&Invocation::new("cat").stdin("seed")).expect("runs");
        assert_eq!(output.text(), "seed");
    }

    #[test]
    fn a_late_program_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("alive");
        // The child holds the pipes open and would write after the limit.
        let script = format!("echo begun >&2; (sleep 6; echo alive >{}) & sleep 60", file.display());
        let call = Invocation::new("sh").args(["-c", &script]).within(Duration::from_secs(3));
        let error = HostRunner.run(&call).expect_err("it is late");
        assert!(matches!(error, CommandError::Late { .. }), "{error}");
        assert_eq!(error.tail(), "begun");
        std::thread::sleep(Duration::from_secs(5));
        assert!(!file.exists(), "what the program started is still alive");
    }

    #[test]
    fn a_program_that_leaves_another_behind_is_not_waited_for_longer_than_its_time() {
        let call = Invocation::new("sh").args(["-c", "sleep 60 & exit 0"]).within(Duration::from_millis(300));
        assert!(matches!(HostRunner.run(&call), Err(CommandError::Late { .. })));
    }

    #[test]
    fn a_program_in_time_is_not_disturbed_by_its_limit() {
        let call = Invocation::new("cat").stdin("in time").within(Duration::from_secs(60));
        assert_eq!(HostRunner.run(&call).expect("runs").text(), "in time");
        let call = Invocation::new("sh").args(["-c", "echo answer; echo why >&2; exit 2"]);
        let Err(CommandError::Failed { tail, stdout, .. }) =
            HostRunner.run(&call.within(Duration::from_secs(60)))
        else {
            panic!("exit 2 is a failure");
        };
        assert_eq!((tail.as_str(), stdout.as_str()), ("why", "answer"));
    }

    #[test]
    fn what_is_fed_to_a_program_is_not_shown() {
        let call = Invocation::new("cat").stdin("pass");
        let shown = format!("{call:?} {}", call.shell_line());
        assert!(!shown.contains("pass") && !shown.contains("112"), "{shown}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = HostRunner.run(&Invocation::new("no-such-program-here")).expect_err("not there");
        assert!(error.to_string().contains("no-such-program-here"));
    }

    #[test]
    fn words_are_quoted_only_where_needed() {
        assert_eq!(
            Invocation::new("a").args(["b=c", "d e", "it's", ""]).shell_line(),
            r"a b=c 'd e' 'it'\''s' ''"
        );
    }
}
