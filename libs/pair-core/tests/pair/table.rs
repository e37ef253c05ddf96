//! Counts how often each transition fired.

use pair_core::{
    effect::{Effect, Query},
    event::{Answer, Event},
    record::Claim,
};
use std::{
    collections::BTreeMap,
    sync::{
        RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Transitions by kind and name.
#[derive(Default)]
pub struct Table(RwLock<BTreeMap<(&'static str, String), AtomicU64>>);

impl Table {
    pub fn count(&self, kind: &'static str, name: &str) {
        let key = (kind, name.to_owned());
        if let Some(n) = self.0.read().expect("no thread died").get(&key) {
            n.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.0.write().expect("no thread died").entry(key).or_default().fetch_add(1, Ordering::Relaxed);
    }

    pub fn event(&self, event: &Event) {
        let text = format!("{event:?}");
        let name = match event {
            Event::Drbd { .. } => "Drbd",
            Event::Witness { .. } => "Witness",
            Event::Power { .. } => "Power",
            Event::Question { .. } => "Question",
            Event::Timer(_) | Event::Peer(_) | Event::Operator(_) => {
                let end = text.find(['{', ' ']).unwrap_or(text.len());
                return self.count("event", text[..end].trim_end_matches(')'));
            }
            _ => &text,
        };
        self.count("event", name);
    }

    pub fn effect(&self, effect: &Effect) {
        let name = match effect {
            Effect::Ask { query: Query::Read, .. } => "Ask read".to_owned(),
            Effect::Ask { query: Query::Swap(swap), .. } => match swap.claim {
                Claim::Solo => "Ask claim".into(),
                Claim::GiveAway => "Ask give-away".into(),
                Claim::Pair { .. } => "Ask pair".into(),
                Claim::Adopt { .. } => "Ask adopt".into(),
                Claim::Appoint { .. } => "Ask appoint".into(),
            },
            Effect::Store(_) => "Store".into(),
            Effect::PowerOff { .. } => "PowerOff".into(),
            Effect::Answer { code, .. } => format!("Answer {}", code.number()),
            Effect::Tell(message) => {
                let text = format!("{message:?}");
                format!("Tell {}", &text[..text.find([' ', '(']).unwrap_or(text.len())])
            }
            // One at a time would be noise: they follow from the state.
            Effect::Arm(_) | Effect::Disarm(_) => return,
            other => format!("{other:?}"),
        };
        self.count("effect", &name);
    }

    pub fn answer(&self, answer: &Answer) {
        let text = format!("{answer:?}");
        let name = match answer {
            Answer::Refused(refusal) => {
                let text = format!("{refusal:?}");
                format!("refused {}", &text[..text.find(' ').unwrap_or(text.len())])
            }
            Answer::Is(_) | Answer::Won(_) => text[..text.find('(').unwrap_or(text.len())].to_owned(),
            Answer::Silence => text,
        };
        self.count("witness says", &name);
    }

    /// Lines for a reader.
    pub fn lines(&self) -> Vec<String> {
        let map = self.0.read().expect("no thread died");
        map.iter()
            .map(|((kind, name), n)| format!("{:>12}  {kind}: {name}", n.load(Ordering::Relaxed)))
            .collect()
    }

    /// What of `wanted` (lines `kind: name`) never fired.
    pub fn missing(&self, wanted: &str) -> Vec<String> {
        let map = self.0.read().expect("no thread died");
        let fired: Vec<String> = map.keys().map(|(kind, name)| format!("{kind}: {name}")).collect();
        let lines = wanted.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.filter(|line| !fired.iter().any(|f| f == line)).map(str::to_owned).collect()
    }
}
