//! What is to be renamed on the boot partition, and what follows from what is there. Pure.
//!
//! Every decision is made from what is on the disk now, so that one that was cut short is made again and finishes. Steps
//! come in an order in which the loader finds a kept version after each of them, and half-way in it: a FAT folder may
//! after a power cut have the old name, the new one, both, or (through the firmware's driver) neither.

use super::Standing;
use super::entry::{Counter, Entry, file_of};
use super::loader::{self, BOTH, Ids};

/// What is on the boot partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Kernel images that the loader offers, also those of others.
    pub entries: Vec<Entry>,
    /// Files named as ours that are no kernel image: the rest of a write that was cut.
    pub unusable: Vec<String>,
    /// Unfinished writes of ours.
    pub temporary: Vec<String>,
    /// Settings that make the loader choose otherwise than by its order, in words.
    pub pinned: Vec<String>,
}

/// One change of the folder, durable before the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Gives a file another name.
    Rename {
        /// Name it has.
        from: String,
        /// Name it gets; no file has it.
        to: String,
    },
    /// Takes a file of ours away.
    Remove(String),
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The running version is not kept, or not there.
    #[error("version {0} is running and not kept: there is nothing to go back to")]
    NotKept(String),
    /// There is nothing to go on with.
    #[error("version {0} is not on the boot partition")]
    NotInstalled(String),
    /// It is what runs.
    #[error("version {0} is the one that is running")]
    Running(String),
    /// Nothing that is kept would be left.
    #[error("without version {0} no version that is kept would boot")]
    NoWayBack(String),
    /// The loader would boot something else.
    #[error("the boot loader would boot {found}, not version {wanted}")]
    Otherwise {
        /// Version that should boot.
        wanted: String,
        /// What would, in words.
        found: String,
    },
    /// A setting overrides the order.
    #[error("the boot loader is told to choose otherwise: {0}")]
    Pinned(String),
    /// Not a version.
    #[error("`{0}` cannot be a version: letters, digits and .-~^ only, 64 at most")]
    NoVersion(String),
}

/// Proof that a trial is armed and that the loader goes back by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Armed {
    version: String,
    back: String,
    attempts: u32,
}

impl Armed {
    /// The version on trial.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The version that boots when its attempts are used up.
    pub fn back(&self) -> &str {
        &self.back
    }

    /// Attempts.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

impl Listing {
    /// Entries of one version.
    pub fn of<'a>(&'a self, version: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.version() == Some(version))
    }

    /// How a version stands; with several files, the one that the loader would take.
    pub fn standing(&self, version: &str) -> Option<Standing> {
        let own: Vec<Entry> = self.of(version).cloned().collect();
        let best = loader::order(&own, Ids::WithoutCounter);
        best.first().map(|entry| match entry.counter {
            None => Standing::Kept,
            Some(Counter { left: 0, done: 0 }) => Standing::Installed,
            Some(Counter { left: 0, .. }) => Standing::Exhausted,
            Some(counter) => Standing::Trial(counter),
        })
    }

    /// Versions of ours, best first.
    pub fn versions(&self) -> Vec<(String, Standing)> {
        let mut seen: Vec<(String, Standing)> = Vec::new();
        for entry in loader::order(&self.entries, Ids::WithoutCounter) {
            let Some(version) = entry.version() else { continue };
            if let (false, Some(standing)) =
                (seen.iter().any(|(known, _)| known == version), self.standing(version))
            {
                seen.push((version.to_owned(), standing));
            }
        }
        seen
    }

    fn is_kept(&self, version: &str) -> bool {
        self.of(version).any(|entry| entry.counter.is_none())
    }

    /// What is there after a step. Only for steps that were decided on this listing.
    #[must_use]
    pub fn after(&self, step: &Step) -> Self {
        let mut after = self.clone();
        match step {
            Step::Rename { from, to } => {
                for entry in after.entries.iter_mut().filter(|entry| entry.file == *from) {
                    if let Some(renamed) = Entry::parse(to, entry.label.clone()) {
                        *entry = renamed;
                    }
                }
            }
            Step::Remove(file) => {
                after.entries.retain(|entry| entry.file != *file);
                after.unusable.retain(|name| name != file);
                after.temporary.retain(|name| name != file);
            }
        }
        after
    }

    fn after_all(&self, steps: &[Step]) -> Self {
        steps.iter().fold(self.clone(), |listing, step| listing.after(step))
    }

    /// The version that boots for good in the end, when every trial on the way runs out: the loader's choice, counted down
    /// until it does not change. An error when both kinds of loader do not agree, or it is nobody of ours.
    ///
    /// # Errors
    /// What would boot instead, in words.
    pub fn settles_on(&self) -> Result<String, String> {
        let mut found = None;
        for ids in BOTH {
            let version = self.settles(ids)?;
            if found.get_or_insert_with(|| version.clone()) != &version {
                return Err("one of two versions, depending on the boot loader's own".to_owned());
            }
        }
        found.ok_or_else(|| "nothing".to_owned())
    }

    fn settles(&self, ids: Ids) -> Result<String, String> {
        let mut entries = self.entries.clone();
        // Every round either ends or takes an attempt away; names of others may hold many.
        for _ in 0..1000 {
            let Some(chosen) = loader::chosen(&entries, ids).cloned() else {
                return Err("nothing, or one of two equal entries".to_owned());
            };
            match (chosen.counter, chosen.version()) {
                (Some(Counter { left: 0, .. }), _) => {
                    return Err(format!("{chosen}, whose attempts are used up"));
                }
                (None, Some(version)) => return Ok(version.to_owned()),
                (None, None) => return Err(format!("{chosen}, which is not of this system")),
                (Some(_), _) => count(&mut entries, &chosen),
            }
        }
        Err("an entry with a thousand attempts".to_owned())
    }
}

fn count(entries: &mut [Entry], chosen: &Entry) {
    for entry in entries.iter_mut().filter(|entry| entry.file == chosen.file) {
        *entry = loader::counted(entry);
    }
}

/// Steps that leave exactly one file of a version, under the counter. The one that stays is the first of `own`.
fn only(own: &[&Entry], counter: Option<Counter>) -> Vec<Step> {
    let Some((stays, others)) = own.split_first() else { return Vec::new() };
    let to = stays.with(counter).file;
    let mut steps = Vec::new();
    let same = |entry: &&&Entry| entry.file.eq_ignore_ascii_case(&to);
    if stays.file != to {
        // A file that has the name already is the same image after a rename that was cut.
        if let Some(twin) = others.iter().find(same) {
            steps.push(Step::Remove(twin.file.clone()));
        }
        steps.push(Step::Rename { from: stays.file.clone(), to: to.clone() });
    }
    steps.extend(others.iter().filter(|entry| !same(entry)).map(|entry| Step::Remove(entry.file.clone())));
    steps
}

/// Names of ours without an image behind them stand in the way of a rename.
fn leftovers(listing: &Listing) -> Vec<Step> {
    listing.unusable.iter().cloned().map(Step::Remove).collect()
}

fn own<'a>(listing: &'a Listing, version: &'a str) -> Vec<&'a Entry> {
    let mut own: Vec<&Entry> = listing.of(version).collect();
    own.sort_by(|a, b| loader::compare(a, b, Ids::WithoutCounter));
    own
}

fn version_ok(version: &str) -> Result<(), Refusal> {
    if super::entry::is_version(version) { Ok(()) } else { Err(Refusal::NoVersion(version.to_owned())) }
}

/// Takes everything of ours away but the running version's entry, which must be kept.
///
/// # Errors
/// [`Refusal::NotKept`].
pub fn clear(listing: &Listing, running: &str) -> Result<Vec<Step>, Refusal> {
    if !listing.is_kept(running) {
        return Err(Refusal::NotKept(running.to_owned()));
    }
    let own = own(listing, running);
    let kept: Vec<&Entry> = own.iter().copied().filter(|entry| entry.counter.is_none()).collect();
    let others = listing
        .entries
        .iter()
        .filter(|entry| entry.version().is_some() && kept.first().is_none_or(|kept| kept.file != entry.file));
    let files = others.map(|entry| &entry.file).chain(&listing.unusable).chain(&listing.temporary);
    Ok(files.cloned().map(Step::Remove).collect())
}

/// Gives a version its attempts.
///
/// # Errors
/// [`Refusal`]; nothing is to be changed then.
pub fn arm(listing: &Listing, running: &str, version: &str, attempts: u32) -> Result<Vec<Step>, Refusal> {
    version_ok(version)?;
    if version == running {
        return Err(Refusal::Running(version.to_owned()));
    }
    if !listing.is_kept(running) {
        return Err(Refusal::NotKept(running.to_owned()));
    }
    let own = own(listing, version);
    if own.is_empty() {
        return Err(Refusal::NotInstalled(version.to_owned()));
    }
    let mut steps = leftovers(listing);
    steps.extend(only(&own, Some(Counter { left: attempts, done: 0 })));
    // Refused before anything is renamed, not only when it is read back.
    prove(&listing.after_all(&steps), running, version)?;
    Ok(steps)
}

/// Proves that `version` is tried as often as its counter says and that `running` boots after that.
///
/// # Errors
/// [`Refusal`] says what is in the way.
pub fn prove(listing: &Listing, running: &str, version: &str) -> Result<Armed, Refusal> {
    if version == running {
        return Err(Refusal::Running(version.to_owned()));
    }
    if let Some(pin) = listing.pinned.first() {
        return Err(Refusal::Pinned(pin.clone()));
    }
    let kept: Vec<&Entry> = listing.of(running).collect();
    let [Entry { counter: None, .. }] = kept.as_slice() else {
        return Err(Refusal::NotKept(running.to_owned()));
    };
    let trial: Vec<&Entry> = listing.of(version).collect();
    let [trial] = trial.as_slice() else { return Err(Refusal::NotInstalled(version.to_owned())) };
    let attempts = trial.counter.map(|counter| counter.left).unwrap_or_default();
    let otherwise = |wanted: &str, found: Option<&Entry>| Refusal::Otherwise {
        wanted: wanted.to_owned(),
        found: found.map_or_else(|| "nothing, or one of two".to_owned(), Entry::to_string),
    };
    if attempts == 0 {
        return Err(otherwise(version, kept.first().copied()));
    }
    for ids in BOTH {
        let mut entries = listing.entries.clone();
        for _ in 0..attempts {
            let chosen = loader::chosen(&entries, ids).cloned();
            match chosen {
                Some(chosen) if chosen.version() == Some(version) => count(&mut entries, &chosen),
                other => return Err(otherwise(version, other.as_ref())),
            }
        }
        let back = loader::chosen(&entries, ids);
        if back.is_none_or(|back| back.version() != Some(running)) {
            return Err(otherwise(running, back));
        }
    }
    Ok(Armed { version: version.to_owned(), back: running.to_owned(), attempts })
}

/// Keeps a version.
///
/// # Errors
/// [`Refusal::NotInstalled`].
pub fn commit(listing: &Listing, version: &str) -> Result<Vec<Step>, Refusal> {
    version_ok(version)?;
    let mut own = own(listing, version);
    if own.is_empty() {
        return Err(Refusal::NotInstalled(version.to_owned()));
    }
    // What has the final name already stays.
    own.sort_by_key(|entry| entry.counter.is_some());
    let mut steps = leftovers(listing);
    steps.extend(only(&own, None));
    Ok(steps)
}

/// Takes a version's attempts. A version that is not there has none.
///
/// # Errors
/// [`Refusal::NoWayBack`].
pub fn reject(listing: &Listing, version: &str) -> Result<Vec<Step>, Refusal> {
    version_ok(version)?;
    let mut own = own(listing, version);
    // One that is exhausted already stays as it is.
    own.sort_by_key(|entry| entry.counter.is_none_or(|counter| counter.left > 0));
    let Some(first) = own.first() else { return Ok(Vec::new()) };
    let done = first.counter.map_or(1, |counter| counter.done.max(1));
    let mut steps = leftovers(listing);
    steps.extend(only(&own, Some(Counter { left: 0, done })));
    match listing.after_all(&steps).settles_on() {
        Ok(other) if other != version => Ok(steps),
        _ => Err(Refusal::NoWayBack(version.to_owned())),
    }
}

/// Makes the other kept version boot. Returns it with the steps.
///
/// # Errors
/// [`Refusal::NoWayBack`].
pub fn roll_back(listing: &Listing, running: &str) -> Result<(String, Vec<Step>), Refusal> {
    if !listing.of(running).any(|_| true) {
        return Err(Refusal::NotInstalled(running.to_owned()));
    }
    if let Some(pin) = listing.pinned.first() {
        return Err(Refusal::Pinned(pin.clone()));
    }
    let steps = reject(listing, running)?;
    let other = listing.after_all(&steps).settles_on().map_err(|_| Refusal::NoWayBack(running.to_owned()))?;
    Ok((other, steps))
}

/// The name under which a new version's image is put: no attempts, none made.
pub fn installed_name(version: &str) -> Result<String, Refusal> {
    version_ok(version)?;
    Ok(file_of(version, Some(Counter { left: 0, done: 0 })))
}
