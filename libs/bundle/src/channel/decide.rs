//! What a pair does about its channel now, and when it will do more. Pure: the clock is an input, and may be wrong.

use super::Channel;
use crate::admit::begins;
use crate::{Digest, Time, Version};
use edgepair_window::{Window, open};
use std::fmt;

/// Windows are looked at so far back and ahead, in seconds: all of a week, whatever the hour and the spread.
const BACK: i64 = 8 * 86_400;
const AHEAD: i64 = 15 * 86_400;
/// Longest wait before what came to no end is begun again, in seconds.
pub const AGAIN_MOST: u64 = 86_400;

/// What a pair knows of itself.
#[derive(Debug, Clone, Copy)]
pub struct Local<'a> {
    /// Its name.
    pub pair: &'a str,
    /// Version that runs.
    pub running: &'a Version,
    /// Versions that failed here.
    pub failed: &'a [Version],
    /// The time; nothing when the clock has not been set.
    pub now: Option<Time>,
    /// Seconds that local time is ahead of UTC.
    pub offset: i32,
    /// The pair's own windows; always when empty.
    pub windows: &'a [Window],
    /// It updates by itself; otherwise it only says so.
    pub automatic: bool,
    /// Both nodes are there, current, and may hand over to each other.
    pub whole: bool,
    /// An update is under way.
    pub busy: bool,
    /// It was begun by itself before, and not before this moment again.
    pub again: Option<Time>,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The version that runs is the channel's.
    Current,
    /// The version that runs is newer: nothing goes back by itself.
    Older,
    /// It failed here before.
    Failed,
    /// An operator decides.
    Announce,
    /// Begin now. The windows close at that time, when they close.
    Start {
        /// When no update is begun any more.
        until: Option<Time>,
    },
    /// Not yet.
    Wait(Wait),
}

/// For what it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The clock has not been set.
    NoClock,
    /// The clock says less than when the file was made.
    ClockBehind(Time),
    /// The file's time is over, and no newer one was seen.
    Expired(Time),
    /// The pair's wave.
    Wave(Time),
    /// A window.
    Window(Time),
    /// The windows are open, and the pair's moment within them comes then.
    Spread(Time),
    /// The channel's windows and the pair's own are never open together.
    NeverOpen,
    /// An update is under way.
    Busy,
    /// The pair is not healthy.
    NotWhole,
    /// It was begun and came to no end.
    Again(Time),
}

/// What a pair does about a channel.
#[must_use]
pub fn decide(channel: &Channel, local: &Local<'_>) -> Decision {
    let Some(now) = local.now else { return Decision::Wait(Wait::NoClock) };
    if now < channel.issued {
        return Decision::Wait(Wait::ClockBehind(channel.issued));
    }
    if now >= channel.expires {
        return Decision::Wait(Wait::Expired(channel.expires));
    }
    let version = &channel.bundle.version;
    if version == local.running {
        return Decision::Current;
    }
    if version < local.running {
        return Decision::Older;
    }
    if local.failed.contains(version) {
        return Decision::Failed;
    }
    if !local.automatic {
        return Decision::Announce;
    }
    if local.busy {
        return Decision::Wait(Wait::Busy);
    }
    let wave = begins(&channel.waves, local.pair, version).filter(|wave| *wave > channel.issued);
    let begins = wave.unwrap_or(channel.issued);
    if now < begins {
        return Decision::Wait(Wait::Wave(begins));
    }
    match moment(channel, local, now, begins) {
        None => Decision::Wait(Wait::NeverOpen),
        Some(Moment { opens, start, .. }) if now < opens => Decision::Wait(Wait::Window(start)),
        Some(Moment { start, .. }) if now < start => Decision::Wait(Wait::Spread(start)),
        // One that lies far ahead was noted by a clock that was wrong.
        Some(_)
            if local
                .again
                .is_some_and(|again| now < again && again.0 <= now.0.saturating_add(AGAIN_MOST)) =>
        {
            Decision::Wait(Wait::Again(local.again.unwrap_or(now)))
        }
        Some(_) if !local.whole => Decision::Wait(Wait::NotWhole),
        Some(Moment { closes, .. }) => Decision::Start { until: closes },
    }
}

/// The present or next time at which a pair may begin.
struct Moment {
    opens: Time,
    start: Time,
    closes: Option<Time>,
}

fn moment(channel: &Channel, local: &Local<'_>, now: Time, begins: Time) -> Option<Moment> {
    let at = |time: Time| i64::try_from(time.0).unwrap_or(i64::MAX / 2);
    let (first, last) = ((at(now) - BACK).max(at(begins)), at(now) + AHEAD);
    let spans = open(&[&channel.windows, local.windows], local.offset, first..last);
    let span = spans.into_iter().find(|span| span.end > at(now))?;
    let time = |seconds: i64| Time(u64::try_from(seconds).unwrap_or(0));
    // No longer than the window: else some pairs would never have a turn.
    let room = u64::try_from(span.end - span.start).unwrap_or(0).min(channel.jitter.into());
    let delay = if room == 0 { 0 } else { lot(local.pair, &channel.bundle.version) % room };
    let opens = time(span.start);
    Some(Moment { opens, start: Time(opens.0 + delay), closes: (span.end < last).then(|| time(span.end)) })
}

/// A number that follows from pair and version, evenly spread.
fn lot(pair: &str, version: &Version) -> u64 {
    let sum = Digest::of(format!("edgepair spread 1\0{version}\0{pair}").as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = sum.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoClock => {
                f.write_str("the clock of this node has not been set: see that it reaches a time server")
            }
            Self::ClockBehind(issued) => write!(
                f,
                "the clock of this node is wrong: it says less than {issued}, when the channel file was made; see that it reaches a time server"
            ),
            Self::Expired(end) => write!(
                f,
                "the channel file expired at {end}, and there is no newer one: its publisher has stopped, or somebody holds newer ones back"
            ),
            Self::Wave(from) => write!(f, "this pair's wave begins at {from}"),
            Self::Window(from) => write!(f, "the maintenance windows are closed; this pair begins at {from}"),
            Self::Spread(from) => write!(f, "pairs begin one after the other; this one at {from}"),
            Self::NeverOpen => f.write_str(
                "the channel's maintenance windows and the seed's are never open at the same time: change update.windows in the seed",
            ),
            Self::Busy => f.write_str("an update is under way"),
            Self::Again(from) => {
                write!(f, "the update was begun and came to no end; it begins again at {from}")
            }
            Self::NotWhole => f.write_str("it begins when the pair is healthy"),
        }
    }
}

impl Decision {
    /// What that means for the version that the channel names, in words.
    #[must_use]
    pub fn words(&self, version: &Version) -> String {
        match self {
            Self::Current => format!("version {version} runs, which is the newest there is"),
            Self::Older => {
                format!(
                    "it offers version {version}, which is older than what runs: nothing goes back by itself"
                )
            }
            Self::Failed => format!("version {version} failed here before and is not tried again"),
            Self::Announce => {
                format!("version {version} is there: `node-init update start --channel` installs it")
            }
            Self::Start { .. } => format!("version {version} is there, and the update begins"),
            Self::Wait(wait @ (Wait::NoClock | Wait::ClockBehind(_) | Wait::Expired(_))) => wait.to_string(),
            Self::Wait(wait) => format!("version {version} is there: {wait}"),
        }
    }
}
