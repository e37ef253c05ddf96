//! A build step as data: what goes in, what is run, what comes out.

use edgepair_host_io::sandbox::Mount;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One step of a build.
pub struct Step {
    /// Short name, also a folder in the cache.
    pub name: &'static str,
    /// For people: what it makes.
    pub title: String,
    /// What it depends on.
    pub inputs: Vec<Input>,
    /// Files written into the step's folder before it starts: path and content.
    pub files: Vec<(String, String)>,
    /// What is done, in order.
    pub actions: Vec<Action>,
    /// Files it leaves in its folder.
    pub outputs: Vec<&'static str>,
    /// Whether it needs the network.
    pub network: bool,
    /// Folders that outlive the step (download caches); never part of its result.
    pub mounts: Vec<Mount>,
}

/// Something a step depends on.
#[derive(Debug, Clone)]
pub enum Input {
    /// A file that another step makes, seen as `/in/FILE`.
    Output {
        /// The other step.
        step: &'static str,
        /// One of its outputs.
        file: &'static str,
    },
    /// A file or folder of the host, seen as `/in/NAME`; the digest stands for its content.
    Host {
        /// Name inside.
        name: String,
        /// Where it is.
        path: PathBuf,
        /// Digest of its content.
        digest: String,
    },
    /// A fact that changes the result but is no file, for example the state of the package archive.
    Fact {
        /// What it is.
        name: String,
        /// Its value.
        value: String,
    },
}

/// Something a step does.
pub enum Action {
    /// A program inside the tools tree, in the step's folder (`/build`).
    Run {
        /// Program and arguments.
        argv: Vec<String>,
        /// Variables.
        env: Vec<(String, String)>,
        /// File in the step's folder for its standard output.
        stdout: Option<String>,
    },
    /// Something edgepair does itself. The text is printed by `--dry-run` and is part of the cache key, so it must
    /// change when the code's result does.
    Native {
        /// What it does, in words.
        what: String,
        /// The code.
        run: NativeAction,
    },
}

/// Code of a native action.
pub type NativeAction = Box<dyn Fn(&StepDir) -> anyhow::Result<()> + Send + Sync>;

impl Action {
    /// A program with arguments.
    pub fn run<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self::Run { argv: argv.into_iter().map(Into::into).collect(), env: Vec::new(), stdout: None }
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        if let Self::Run { env, .. } = &mut self {
            env.push((key.to_owned(), value.into()));
        }
        self
    }

    /// Sends standard output into a file of the step's folder.
    #[must_use]
    pub fn stdout(mut self, file: &str) -> Self {
        if let Self::Run { stdout, .. } = &mut self {
            *stdout = Some(file.to_owned());
        }
        self
    }

    /// Something edgepair does itself.
    pub fn native(
        what: impl Into<String>,
        run: impl Fn(&StepDir) -> anyhow::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::Native { what: what.into(), run: Box::new(run) }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        match self {
            Self::Run { argv, env, stdout } => {
                let env: String = env
                    .iter()
                    .map(|(key, value)| format!("{key}={} ", edgepair_host_io::command::shell_quote(value)))
                    .collect();
                let argv: Vec<String> =
                    argv.iter().map(|word| edgepair_host_io::command::shell_quote(word)).collect();
                let stdout = stdout.as_ref().map_or(String::new(), |file| format!(" > {file}"));
                format!("{env}{}{stdout}", argv.join(" "))
            }
            Self::Native { what, .. } => format!("# edgepair: {what}"),
        }
    }
}

/// A step's folder while it runs.
pub struct StepDir {
    /// The folder on the host, `/build` inside.
    pub dir: PathBuf,
    /// Where each input is on the host, by its name under `/in`.
    pub inputs: BTreeMap<String, PathBuf>,
}

impl StepDir {
    /// A file of this step.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where an input is.
    ///
    /// # Errors
    /// When the step did not declare it.
    pub fn input(&self, name: &str) -> anyhow::Result<&Path> {
        match self.inputs.get(name) {
            Some(path) => Ok(path),
            None => anyhow::bail!("the step reads {name} but does not declare it as an input"),
        }
    }

    /// An input's text, without white space at either end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn input_text(&self, name: &str) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.input(name)?)?.trim().to_owned())
    }
}

impl Input {
    /// Its name under `/in`, or the fact's.
    pub fn name(&self) -> &str {
        match self {
            Self::Output { file, .. } => file,
            Self::Host { name, .. } | Self::Fact { name, .. } => name,
        }
    }
}
