//! Counts how often each transition fired.
//!
//! Counted per thread and added up when a thread ends: the model's threads must not wait for each other here.

use pair_core::{
    effect::{Effect, Query},
    event::{Answer, Command, Event, Timer},
    message::Message,
    record::{Claim, Refusal},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
    sync::Mutex,
};

type Key = (&'static str, &'static str);

static TOTAL: Mutex<BTreeMap<Key, u64>> = Mutex::new(BTreeMap::new());

/// Names are literals: where they lie tells them apart, and is hashed in no time. Two literals of one text are added
/// up at the end.
#[derive(Default)]
struct Place(u64);

impl Hasher for Place {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_usize(usize::from(*byte)));
    }

    fn write_usize(&mut self, n: usize) {
        self.0 = (self.0.rotate_left(5) ^ n as u64).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

type Places = HashMap<(usize, usize), (Key, u64), BuildHasherDefault<Place>>;

#[derive(Default)]
struct Mine(Places);

impl Mine {
    fn flush(&mut self) {
        if let Ok(mut total) = TOTAL.lock() {
            for (_, (key, n)) in self.0.drain() {
                *total.entry(key).or_default() += n;
            }
        }
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        self.flush();
    }
}

thread_local! {
    static MINE: RefCell<Mine> = RefCell::default();
}

/// One more of this.
pub fn count(kind: &'static str, name: &'static str) {
    let place = (kind.as_ptr() as usize, name.as_ptr() as usize);
    MINE.with_borrow_mut(|mine| mine.0.entry(place).or_insert(((kind, name), 0)).1 += 1);
}

/// Everything counted so far, by kind and name.
pub fn total() -> BTreeMap<Key, u64> {
    MINE.with_borrow_mut(Mine::flush);
    TOTAL.lock().map(|total| total.clone()).unwrap_or_default()
}

pub fn message(message: &Message) -> &'static str {
    match message {
        Message::Hello(_) => "Hello",
        Message::Outdated { .. } => "Outdated",
        Message::Leave { .. } => "Leave",
        Message::MayLeave { .. } => "MayLeave",
        Message::YourTurn => "YourTurn",
        Message::Prepare { .. } => "Prepare",
        Message::Prepared { .. } => "Prepared",
        Message::Commit { .. } => "Commit",
        Message::Abort { .. } => "Abort",
    }
}

pub fn event(event: &Event) {
    let name = match event {
        Event::Peer(said) => return count("message taken", message(said)),
        Event::Drbd { .. } => "Drbd",
        Event::Question { .. } => "Question",
        Event::SplitBrain => "SplitBrain",
        Event::Witness { .. } => "Witness",
        Event::Power { .. } => "Power",
        Event::Timer(Timer::Claim) => "Timer Claim",
        Event::Timer(Timer::Retry) => "Timer Retry",
        Event::Timer(Timer::SelfFence) => "Timer SelfFence",
        Event::Timer(Timer::Reread) => "Timer Reread",
        Event::Timer(Timer::PeerGone) => "Timer PeerGone",
        Event::Timer(Timer::Hello) => "Timer Hello",
        Event::Operator(Command::Switchover) => "Operator Switchover",
        Event::Operator(Command::Leave) => "Operator Leave",
        Event::Operator(Command::Promote) => "Operator Promote",
        Event::Operator(Command::SetPolicy(_)) => "Operator SetPolicy",
        Event::Service(true) => "Service ready",
        Event::Service(false) => "Service stopped",
        Event::Clients(_) => "Clients",
    };
    count("event", name);
}

pub fn effect(effect: &Effect) {
    let name = match effect {
        Effect::Tell(said) => return count("message told", message(said)),
        // They follow from the state, several at every event.
        Effect::Arm(_) | Effect::Disarm(_) => return,
        Effect::Alarm(_) => "Alarm",
        Effect::Ask { query: Query::Read, .. } => "Ask read",
        Effect::Ask { query: Query::Swap(swap), .. } => match swap.claim {
            Claim::Solo => "Ask claim",
            Claim::GiveAway => "Ask give-away",
            Claim::Pair { .. } => "Ask pair",
            Claim::Adopt { .. } => "Ask adopt",
            Claim::Appoint { .. } => "Ask appoint",
        },
        Effect::Store(_) => "Store",
        Effect::PowerOff { .. } => "PowerOff",
        Effect::PowerOn => "PowerOn",
        Effect::Answer { .. } => "Answer",
        Effect::Promote { force: false } => "Promote",
        Effect::Promote { force: true } => "Promote by force",
        Effect::Demote => "Demote",
        Effect::Connect => "Connect",
        Effect::Disconnect => "Disconnect",
        Effect::AskAgain => "AskAgain",
        Effect::Outdate => "Outdate",
        Effect::Service(true) => "Service start",
        Effect::Service(false) => "Service stop",
        Effect::VirtualIp(true) => "VirtualIp on",
        Effect::VirtualIp(false) => "VirtualIp off",
        Effect::Reset => "Reset",
        Effect::Halt => "Halt",
        Effect::Taint(true) => "Taint on",
        Effect::Taint(false) => "Taint off",
        Effect::Refuse(_) => "Refuse",
    };
    count("effect", name);
}

pub fn answer(answer: &Answer) {
    let name = match answer {
        Answer::Is(_) => "Is",
        Answer::Won(_) => "Won",
        Answer::Silence => "Silence",
        Answer::Refused(refusal) => match refusal {
            Refusal::ForeignLineage { .. } => "Refused ForeignLineage",
            Refusal::Moved { .. } => "Refused Moved",
            Refusal::WitnessBehind { .. } => "Refused WitnessBehind",
            Refusal::HolderUnknown { .. } => "Refused HolderUnknown",
            Refusal::PeerIsSolo { .. } => "Refused PeerIsSolo",
            Refusal::NotMyDisk { .. } => "Refused NotMyDisk",
            Refusal::SameDisk { .. } => "Refused SameDisk",
            Refusal::WrongHolder { .. } => "Refused WrongHolder",
            Refusal::EpochsExhausted { .. } => "Refused EpochsExhausted",
        },
    };
    count("witness says", name);
}

/// The number as a name.
pub fn code(code: pair_core::effect::Code) -> &'static str {
    match code.number() {
        0 => "0",
        1 => "1",
        4 => "4",
        5 => "5",
        6 => "6",
        7 => "7",
        _ => "other",
    }
}
