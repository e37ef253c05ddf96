//! Updates by themselves: the node that leads asks a web server now and then which version there is, and begins the update
//! when everything allows it.
//!
//! ```text
//!  tick ─▶ Watcher ─┬─ time to ask ──▶ Act::Ask ──▶ fetch (beside the loop) ─▶ Watcher::answered ─▶ memory on state
//!                   └─ decide ───────▶ Act::Start ─▶ driver, as if an operator had asked
//!  other node ──────── what it has seen ▶ memory on state
//! ```
//!
//! What and when is decided in `edgepair_bundle::channel::decide`, a pure function. Here are the polling, with its spread and its
//! patience, and what is remembered: [`kept`]. Only the active node asks; the other one takes nothing from outside, and is told
//! which file was seen, so that an older one does not come back after a failover.

pub mod fetch;
pub mod kept;
#[cfg(test)]
mod tests;

use crate::member::{KeptError, Place};
use edgepair_bundle::channel::{Decision, Local, Named, Signed, Wait, decide, name_of};
use edgepair_bundle::{Time, Version};
use edgepair_window::Window;
use kept::{Kept, Word};
use serde::{Deserialize, Serialize};

/// First wait after a question that was not answered, in seconds; doubled up to the usual time between two questions.
const AGAIN: u64 = 60;
/// A node that has just become active, or has just started, asks after so many seconds at the latest: both nodes of many sites
/// come back together after a power cut.
const FIRST: u64 = 300;
/// Seconds between two looks at what is to be done.
const LOOK: u64 = 10;
/// Questions that fail in a row until that is a problem of the pair.
const PROBLEM: u32 = 3;
/// An update that begins by itself has at least so many seconds to come to its end, although the window closes.
const LIMIT_LEAST: u64 = 3600;

/// What the seed says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address of the channel's file.
    pub address: String,
    /// Name of the pair.
    pub pair: String,
    /// It updates by itself.
    pub automatic: bool,
    /// When; always when empty.
    pub windows: Vec<Window>,
    /// Time zone of the windows.
    pub zone: String,
    /// Seconds between two questions, more or less.
    pub poll: u64,
}

impl Settings {
    /// From the seed; `None` where there is no channel.
    pub fn new(seed: &edgepair_seed::Seed) -> Option<Self> {
        let update = seed.update.as_ref()?;
        Some(Self {
            address: update.channel.clone(),
            pair: seed.pair.name.clone(),
            automatic: update.automatic,
            windows: update.windows.clone(),
            zone: update.zone.clone(),
            poll: (update.poll_ms / 1000).max(AGAIN),
        })
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Address of the file.
    pub address: String,
    /// The channel that it has to be of.
    pub name: String,
    /// Time zone of the windows.
    pub zone: String,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The file, or why there is none, in words.
    pub file: Result<Signed, String>,
    /// Seconds that local time is ahead of UTC.
    pub offset: Result<i32, String>,
}

/// How the node is.
#[derive(Debug, Clone)]
pub struct Now {
    /// It is the active one.
    pub leads: bool,
    /// Version that runs.
    pub running: String,
    /// Versions that failed.
    pub failed: Vec<String>,
    /// The time; nothing when the clock has not been set.
    pub time: Option<Time>,
    /// An update could begin: both nodes are there and healthy.
    pub whole: bool,
    /// An update is under way, or cannot begin yet.
    pub busy: bool,
}

/// An order that follows from the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Where the bundle is.
    pub address: String,
    /// What the channel says that it is.
    pub named: Named,
    /// Name of the pair, when nobody but the channel asks for it.
    pub pair: Option<String>,
    /// Seconds that it may take.
    pub limit: Option<u64>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Ask the server.
    Ask(Question),
    /// Begin the update.
    Start(Box<Order>),
}

/// How the channel is, for `update status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// Address of its file.
    pub address: String,
    /// Whether the pair updates by itself.
    pub automatic: bool,
    /// This node asks: it is the active one.
    pub asks: bool,
    /// Serial number of the file in force.
    pub serial: Option<u64>,
    /// When it was made.
    pub issued: Option<String>,
    /// When it expires.
    pub expires: Option<String>,
    /// Version that it names.
    pub version: Option<String>,
    /// Seconds since it was last read.
    pub read_ago: Option<u64>,
    /// What follows from it, or why nothing does.
    pub words: String,
    /// What went wrong last, empty when nothing did.
    pub troubles: Vec<String>,
}

/// Watches a channel.
#[derive(Debug)]
pub struct Watcher {
    settings: Settings,
    name: String,
    place: Place,
    kept: Kept,
    random: u64,
    ticks: u64,
    led: bool,
    ask_at: u64,
    asking: bool,
    failures: u32,
    file: Option<(Signed, u64)>,
    offset: i32,
    decision: Option<Decision>,
    trouble: Option<String>,
    zone_trouble: Option<String>,
    start_trouble: Option<String>,
}

impl Watcher {
    /// For a channel; `random` is any number, another one on each node.
    ///
    /// # Errors
    /// When what is remembered cannot be used.
    pub fn new(settings: Settings, place: Place, random: u64) -> Result<Self, KeptError> {
        let name = name_of(&settings.address).unwrap_or_default().to_owned();
        Ok(Self {
            kept: Kept::load(&place)?,
            settings,
            name,
            place,
            random,
            ticks: 0,
            led: false,
            ask_at: 0,
            asking: false,
            failures: 0,
            file: None,
            offset: 0,
            decision: None,
            trouble: None,
            zone_trouble: None,
            start_trouble: None,
        })
    }

    /// Once a second: what is to be done now.
    pub fn tick(&mut self, now: &Now) -> Option<Act> {
        self.ticks += 1;
        if now.leads && !self.led {
            self.ask_at = self.ticks + self.below(FIRST.min(self.settings.poll));
        }
        self.led = now.leads;
        if !now.leads {
            // By the time that this node leads again it may be an old one.
            self.file = None;
            self.decision = None;
            return None;
        }
        if !self.asking && self.ticks >= self.ask_at {
            return Some(self.ask());
        }
        if self.ticks % LOOK == 0 { self.look(now) } else { None }
    }

    /// Asks now.
    pub fn ask(&mut self) -> Act {
        self.asking = true;
        let Settings { address, zone, .. } = &self.settings;
        Act::Ask(Question { address: address.clone(), name: self.name.clone(), zone: zone.clone() })
    }

    /// A question is under way.
    pub fn asking(&self) -> bool {
        self.asking
    }

    /// What there is to do about the file in force.
    fn look(&mut self, now: &Now) -> Option<Act> {
        let decision = self.decide(now)?;
        self.decision = Some(decision.clone());
        let Decision::Start { until } = decision else { return None };
        let (signed, _) = self.file.as_ref()?;
        let (version, time) = (signed.channel().bundle.version.clone(), now.time?);
        // Durable before it begins: a version that takes the node down each time must not do so without end.
        self.kept.try_at(&version, time);
        if let Err(error) = self.kept.store(&self.place) {
            self.start_trouble = Some(format!("the update does not begin: {error}"));
            return None;
        }
        let limit = until.map(|until| until.0.saturating_sub(time.0).max(LIMIT_LEAST));
        let pair = Some(self.settings.pair.clone());
        match self.order(pair, limit) {
            Ok(order) => Some(Act::Start(Box::new(order))),
            Err(why) => {
                self.start_trouble = Some(why);
                None
            }
        }
    }

    fn decide(&self, now: &Now) -> Option<Decision> {
        let (signed, _) = self.file.as_ref()?;
        let running = Version::parse(&now.running)?;
        let failed: Vec<Version> = now.failed.iter().filter_map(|version| Version::parse(version)).collect();
        let channel = signed.channel();
        let local = Local {
            pair: &self.settings.pair,
            running: &running,
            failed: &failed,
            now: now.time,
            offset: self.offset,
            windows: &self.settings.windows,
            automatic: self.settings.automatic,
            whole: now.whole,
            busy: now.busy,
            again: self.kept.again(&channel.bundle.version),
        };
        Some(decide(channel, &local))
    }

    /// An order for the version that the channel names. `pair`: nobody but the channel asks for it.
    ///
    /// # Errors
    /// In words, when there is none.
    pub fn order(&self, pair: Option<String>, limit: Option<u64>) -> Result<Order, String> {
        if !self.led {
            return Err("the channel is asked by the active node only: start it there".to_owned());
        }
        let (signed, _) = self.file.as_ref().ok_or_else(|| {
            self.trouble
                .clone()
                .unwrap_or_else(|| "the channel has not been read yet: `node-init update check`".to_owned())
        })?;
        let named = signed.channel().bundle.clone();
        let address = named.address(&self.settings.address).ok_or("the channel's bundle has no address")?;
        Ok(Order { address, named, pair, limit })
    }

    /// What an update that began by itself came to at once.
    pub fn started(&mut self, result: Result<(), String>) {
        self.start_trouble = result.err().map(|why| format!("the update did not begin: {why}"));
    }

    /// Takes what came back. `true` when the other node is to be told what was seen.
    pub fn answered(&mut self, answer: Answer, now: &Now) -> bool {
        self.asking = false;
        self.zone_trouble = answer.offset.as_ref().err().cloned();
        self.offset = answer.offset.unwrap_or(0);
        match answer.file.and_then(|signed| self.take(signed)) {
            Ok(()) => {
                self.failures = 0;
                self.trouble = None;
                // Not all at the same second, and not in step for ever: within a tenth of the usual time.
                let poll = self.settings.poll;
                self.ask_at = self.ticks + poll - poll / 10 + self.below(poll / 5);
                self.decision = self.decide(now);
                true
            }
            Err(why) => {
                self.trouble = Some(why);
                self.failures = self.failures.saturating_add(1);
                let wait = AGAIN.saturating_mul(1 << (self.failures - 1).min(16)).min(self.settings.poll);
                self.ask_at = self.ticks + wait / 2 + self.below(wait / 2);
                false
            }
        }
    }

    fn take(&mut self, signed: Signed) -> Result<(), String> {
        let mut memory = self.kept.memory();
        if memory.take(&signed).map_err(|replayed| replayed.to_string())? {
            let mut kept = self.kept.clone();
            kept.seen = memory.0.iter().map(Word::from).collect();
            kept.store(&self.place).map_err(|error| error.to_string())?;
            self.kept = kept;
            self.start_trouble = None;
        }
        self.file = Some((signed, self.ticks));
        Ok(())
    }

    /// What was seen of this channel, for the other node.
    pub fn seen(&self) -> Option<Word> {
        self.kept.memory().last(&self.name).map(Word::from)
    }

    /// The other node has seen this.
    pub fn hear(&mut self, word: &Word) {
        let mut memory = self.kept.memory();
        if word.seen().is_some_and(|seen| memory.hear(&seen)) {
            if word.name == self.name {
                self.file = None;
            }
            self.kept.seen = memory.0.iter().map(Word::from).collect();
            if let Err(error) = self.kept.store(&self.place) {
                self.trouble = Some(error.to_string());
            }
        }
    }

    /// What is wrong for long enough to be told.
    pub fn problem(&self) -> Option<String> {
        let (lasting, decision) = (self.failures >= PROBLEM, self.decision.as_ref());
        let asked = self.trouble.as_ref().filter(|_| lasting).cloned();
        let late = match decision {
            Some(Decision::Wait(wait @ Wait::Expired(_))) => Some(wait.to_string()),
            _ => None,
        };
        asked
            .or(late)
            .or_else(|| self.start_trouble.clone())
            .map(|why| format!("channel {}: {why}", self.name))
    }

    /// How it is.
    pub fn status(&self) -> ChannelStatus {
        let channel = self.file.as_ref().map(|(signed, _)| signed.channel());
        let words = match (self.led, channel, &self.decision) {
            (false, ..) => "the active node asks".to_owned(),
            (true, None, _) if self.trouble.is_some() => "it was not read yet".to_owned(),
            (true, None, _) => "it is asked soon".to_owned(),
            (true, Some(channel), Some(decision)) => decision.words(&channel.bundle.version),
            (true, Some(channel), None) => format!("it names version {}", channel.bundle.version),
        };
        let troubles = [&self.trouble, &self.zone_trouble, &self.start_trouble];
        ChannelStatus {
            address: self.settings.address.clone(),
            automatic: self.settings.automatic,
            asks: self.led,
            serial: channel.map(|channel| channel.serial),
            issued: channel.map(|channel| channel.issued.to_string()),
            expires: channel.map(|channel| channel.expires.to_string()),
            version: channel.map(|channel| channel.bundle.version.as_str().to_owned()),
            read_ago: self.file.as_ref().map(|(_, at)| self.ticks.saturating_sub(*at)),
            words,
            troubles: troubles.into_iter().flatten().cloned().collect(),
        }
    }

    /// A number below `most`, for spreading in time; nothing depends on its being hard to guess (SplitMix64).
    fn below(&mut self, most: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most.max(1)
    }
}

impl ChannelStatus {
    /// For people, in the form of `update status`.
    pub fn rows(&self) -> String {
        let how = if self.automatic { "automatic" } else { "announces only" };
        let mut text = format!("channel   {}, {how}\n          {}\n", self.address, self.words);
        if let (Some(serial), Some(issued), Some(expires)) = (self.serial, &self.issued, &self.expires) {
            let ago = self.read_ago.map_or(String::new(), |ago| format!(", read {} min ago", ago / 60));
            text += &format!("          no. {serial} of {issued}, until {expires}{ago}\n");
        }
        for trouble in &self.troubles {
            text += &format!("          {trouble}\n");
        }
        text
    }
}
