//! Runs steps: looks each one up in the cache, runs what is missing inside the tools tree, keeps the result.
//!
//! * [`step`]: what a step is.
//! * [`cache`]: finished steps by content key.
//! * [`edgepair_host_io::sandbox`]: where commands run.
//! * [`progress`]: what the user sees meanwhile.
//!
//! [`Engine::ensure`] walks from the wanted step to what it needs; what does not depend on each other runs at the
//! same time.

pub mod cache;
pub mod progress;
pub mod sources;
pub mod step;
#[cfg(test)]
mod tests;

use anyhow::{Context, bail};
use cache::{Cache, Record, Verdict};
use edgepair_host_io::sandbox::{Mount, Sandbox};
use edgepair_host_io::{HostRunner, Runner, digest};
use progress::Progress;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;
use step::{Action, Input, Step, StepDir};

/// A step's result.
#[derive(Debug, Clone)]
pub struct Done {
    /// Folder of its outputs.
    pub dir: PathBuf,
    /// What made it.
    pub record: Record,
    /// Whether it came from the cache.
    pub cached: bool,
    /// The key in the cache.
    pub key: String,
}

/// A step's result as soon as it is known; a failure is remembered too.
type Slot = Mutex<Option<Result<Done, String>>>;

/// All steps of one build and where they run.
pub struct Engine<'a> {
    cache: &'a Cache,
    sandbox: Sandbox,
    tools: String,
    steps: Vec<(Step, Slot)>,
    progress: &'a Progress,
}

impl<'a> Engine<'a> {
    /// Prepares steps for running. Nothing is run yet. `tools` is a digest of what the tools tree is made of: part of
    /// the key of every step that runs a program in it.
    pub fn new(
        cache: &'a Cache,
        sandbox: Sandbox,
        tools: &str,
        steps: Vec<Step>,
        progress: &'a Progress,
    ) -> Self {
        let steps = steps.into_iter().map(|step| (step, Mutex::new(None))).collect();
        Self { cache, sandbox, tools: tools.to_owned(), steps, progress }
    }

    /// Makes a step's outputs exist, and those it depends on.
    ///
    /// # Errors
    /// The first failure, with the failed program's words.
    pub fn ensure(&self, name: &str) -> anyhow::Result<Done> {
        let Some((step, slot)) = self.steps.iter().find(|(step, _)| step.name == name) else {
            bail!("there is no build step called {name}");
        };
        let mut slot = slot.lock().map_err(|_| anyhow::anyhow!("step {name} broke off"))?;
        // A failure is remembered as well: several steps may need this one, and it would fail again.
        let result = slot.get_or_insert_with(|| self.make(step).map_err(|error| format!("{error:#}")));
        result.clone().map_err(anyhow::Error::msg)
    }

    /// Says for each step whether the cache has it, without running anything. A step whose inputs are not known yet
    /// has no verdict.
    pub fn verdicts(&self) -> Vec<(&'static str, String)> {
        let mut known: BTreeMap<&str, Record> = BTreeMap::new();
        let mut verdicts = Vec::new();
        for (step, _) in &self.steps {
            let digests = self.input_digests(step, |of, file| {
                known.get(of).and_then(|record| record.outputs.get(file).cloned())
            });
            let verdict = match digests {
                None => "depends on steps that are not built yet".to_owned(),
                Some(digests) => {
                    let (key, parts) = Cache::key(step, &digests);
                    match self.cache.look_up(step.name, &key, &parts) {
                        Verdict::Hit(_, record) => {
                            known.insert(step.name, record);
                            "cached".to_owned()
                        }
                        Verdict::Miss(why) => format!("to build ({why})"),
                    }
                }
            };
            verdicts.push((step.name, verdict));
        }
        verdicts
    }

    /// The dependencies' results, made at the same time where they are missing.
    fn dependencies(&self, step: &Step) -> anyhow::Result<BTreeMap<&'static str, Done>> {
        let mut names: Vec<&'static str> = step
            .inputs
            .iter()
            .filter_map(|input| if let Input::Output { step, .. } = input { Some(*step) } else { None })
            .collect();
        names.sort_unstable();
        names.dedup();
        let results = std::thread::scope(|scope| {
            let running: Vec<_> =
                names.iter().map(|name| (*name, scope.spawn(|| self.ensure(name)))).collect();
            running
                .into_iter()
                .map(|(name, thread)| {
                    (name, thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("step {name} broke off"))))
                })
                .collect::<Vec<_>>()
        });
        results.into_iter().map(|(name, result)| Ok((name, result?))).collect()
    }

    fn make(&self, step: &Step) -> anyhow::Result<Done> {
        let dependencies = self.dependencies(step)?;
        let digests = self
            .input_digests(step, |of, file| dependencies.get(of)?.record.outputs.get(file).cloned())
            .with_context(|| format!("step {} asks for an output that its maker does not have", step.name))?;
        let (key, parts) = Cache::key(step, &digests);
        // Another edgepair may be at the same step: the second one waits and finds the first one's result.
        let _lock = self.cache.lock(&format!("{}-{key}", step.name))?;
        let why = match self.cache.look_up(step.name, &key, &parts) {
            Verdict::Hit(dir, record) => {
                self.progress.cached(step.name, &step.title);
                return Ok(Done { dir, record, cached: true, key });
            }
            Verdict::Miss(why) => why,
        };
        self.check_inputs(&dependencies)?;
        let mut running = self.progress.start(step.name, &step.title, &why);
        let started = now();
        let work = WorkDir::new(self.cache, &self.sandbox, step.name)?;
        running.watch(&work.build);
        let result = self.run_actions(step, &dependencies, &work);
        if result.is_err() {
            // Said at once: other steps may still run for a while before the build ends with the reason.
            self.progress.say(&format!("{:<10} FAILED", step.name));
        }
        result.with_context(|| format!("step {} failed: {}", step.name, step.title))?;
        let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (dir, record) = self.cache.store(step, &key, parts, &work.build, took)?;
        drop(work);
        running.done(&dir, &step.outputs);
        Ok(Done { dir, record, cached: false, key })
    }

    /// A cached result may have been damaged since; what goes into a new step is read once more.
    fn check_inputs(&self, dependencies: &BTreeMap<&'static str, Done>) -> anyhow::Result<()> {
        for (name, done) in dependencies.iter().filter(|(_, done)| done.cached) {
            if let Err(damage) = Cache::verify(&done.dir) {
                let aside = done.dir.with_extension("damaged");
                cache::remove_tree(&aside)?;
                fs::rename(&done.dir, &aside)?;
                cache::remove_tree(&aside)?;
                bail!(
                    "the cached result of step {name} was damaged ({damage})\n  \
                     it has been removed; run the same command again and it is built anew. If this comes back, check the disk"
                );
            }
        }
        Ok(())
    }

    /// What goes into a step's key, by name; nothing while an input is not known yet.
    fn input_digests(
        &self,
        step: &Step,
        output: impl Fn(&str, &str) -> Option<String>,
    ) -> Option<BTreeMap<String, String>> {
        let runs_programs = step.actions.iter().any(|action| matches!(action, Action::Run { .. }));
        let tools = runs_programs.then(|| Some(("tools tree".to_owned(), self.tools.clone())));
        let inputs = step.inputs.iter().map(|input| {
            let value = match input {
                Input::Output { step, file } => output(step, file)?,
                Input::Host { digest, .. } => digest.clone(),
                Input::Fact { value, .. } => value.clone(),
            };
            Some((input.name().to_owned(), value))
        });
        inputs.chain(tools).collect()
    }

    fn run_actions(
        &self,
        step: &Step,
        dependencies: &BTreeMap<&'static str, Done>,
        work: &WorkDir<'_>,
    ) -> anyhow::Result<()> {
        for (path, content) in &step.files {
            let target = work.build.join(path);
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder)?;
            }
            edgepair_host_io::atomic::write(&target, content.as_bytes(), 0o755)?;
        }
        let mut inputs = BTreeMap::new();
        for input in &step.inputs {
            match input {
                Input::Output { step, file } => {
                    let done =
                        dependencies.get(step).with_context(|| format!("step {step} has no result"))?;
                    inputs.insert((*file).to_owned(), done.dir.join(file));
                }
                Input::Host { name, path, .. } => {
                    inputs.insert(name.clone(), path.clone());
                }
                Input::Fact { .. } => {}
            }
        }
        let mut mounts = vec![Mount { source: work.build.clone(), target: "/build".into(), writable: true }];
        mounts.extend(inputs.iter().map(|(name, path)| Mount {
            source: path.clone(),
            target: format!("/in/{name}"),
            writable: false,
        }));
        mounts.extend(step.mounts.iter().cloned());
        let dir = StepDir { dir: work.build.clone(), inputs };
        for action in &step.actions {
            match action {
                Action::Native { what, run } => run(&dir).with_context(|| what.clone())?,
                Action::Run { argv, env, stdout } => {
                    let argv: Vec<String> = ["sh", "-c", "cd /build && exec \"$@\"", "step"]
                        .into_iter()
                        .map(str::to_owned)
                        .chain(argv.iter().cloned())
                        .collect();
                    let mut call = self.sandbox.wrap(&argv, env, &mounts, step.network);
                    call.log_file = Some(work.log.clone());
                    call.stdout_file = stdout.as_ref().map(|file| work.build.join(file));
                    HostRunner.run(&call).map_err(|error| self.explain(error, action, work))?;
                }
            }
        }
        Ok(())
    }

    /// A failed program inside the tree: its own words and what they usually mean, not the wrapper's argv.
    fn explain(
        &self,
        error: edgepair_host_io::CommandError,
        action: &Action,
        work: &WorkDir<'_>,
    ) -> anyhow::Error {
        let kept = self.cache.path("failed.log");
        let log = match fs::copy(&work.log, &kept) {
            Ok(_) => format!("\n  the whole log: {}", kept.display()),
            Err(_) => String::new(),
        };
        let tail = error.tail().to_owned();
        let hint = progress::hint(&tail).map_or(String::new(), |hint| format!("\n  to do: {hint}"));
        if tail.is_empty() {
            anyhow::Error::new(error).context(action.line())
        } else {
            let line: String = action.line().chars().take(200).collect();
            anyhow::anyhow!("`{line}` failed:\n{tail}{hint}{log}")
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the engine measures how long steps take, for people")]
fn now() -> Instant {
    Instant::now()
}

/// A folder under `work/` for one step, removed when dropped. A lock file beside it tells a live one from one whose
/// process was killed; those are removed at the next start.
struct WorkDir<'a> {
    build: PathBuf,
    log: PathBuf,
    root: PathBuf,
    sandbox: &'a Sandbox,
    _lock: nix::fcntl::Flock<fs::File>,
}

impl<'a> WorkDir<'a> {
    fn new(cache: &Cache, sandbox: &'a Sandbox, step: &str) -> anyhow::Result<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{step}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let lock = cache.lock(&format!("work-{name}"))?;
        let root = cache.path("work").join(name);
        fs::create_dir(&root).with_context(|| format!("cannot make the work folder {}", root.display()))?;
        let build = root.join("build");
        fs::create_dir(&build)?;
        Ok(Self { log: root.join("log"), build, root, sandbox, _lock: lock })
    }
}

impl Drop for WorkDir<'_> {
    fn drop(&mut self) {
        remove_work(&self.root, self.sandbox);
    }
}

/// Removes a work folder. It may hold files of subordinate users, which only a process inside the user namespace may
/// remove; what cannot be removed stays for the next start, which tries again.
fn remove_work(root: &Path, sandbox: &Sandbox) {
    if fs::remove_dir_all(root).is_err() {
        let mounts = [Mount { source: root.to_owned(), target: "/build".into(), writable: true }];
        let argv = ["find", "/build", "-mindepth", "1", "-delete"].map(str::to_owned);
        let _ = HostRunner.run(&sandbox.wrap(&argv, &[], &mounts, false));
        let _ = fs::remove_dir_all(root);
    }
}

/// Removes work folders whose process is gone.
///
/// # Errors
/// When the cache cannot be listed.
pub fn clean_up(cache: &Cache, sandbox: &Sandbox) -> anyhow::Result<()> {
    for entry in fs::read_dir(cache.path("work"))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(lock) = cache.try_lock(&format!("work-{name}")) {
            remove_work(&entry.path(), sandbox);
            let _ = fs::remove_file(cache.path("locks").join(format!("work-{name}")));
            drop(lock);
        }
    }
    Ok(())
}

/// Digest of a folder's content: names, kinds, permission bits, link targets and bytes, in order of names.
///
/// # Errors
/// When something in it cannot be read.
pub fn digest_of_folder(dir: &Path) -> anyhow::Result<String> {
    use std::os::unix::fs::PermissionsExt;
    let mut lines = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in
            fs::read_dir(&folder).with_context(|| format!("cannot read the folder {}", folder.display()))?
        {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            let name = path.strip_prefix(dir)?.to_string_lossy().into_owned();
            if kind.is_dir() {
                lines.push(format!("{name}/"));
                open.push(path);
            } else if kind.is_symlink() {
                lines.push(format!("{name} -> {}", fs::read_link(&path)?.display()));
            } else {
                // Only the bit that a version control system keeps: the rest depends on the user's umask.
                let executable = entry.metadata()?.permissions().mode() & 0o100 != 0;
                let sum =
                    digest::of_file(&path).with_context(|| format!("cannot read {}", path.display()))?;
                lines.push(format!("{name} {executable} {sum}"));
            }
        }
    }
    lines.sort();
    Ok(digest::of_bytes(lines.join("\n")))
}
