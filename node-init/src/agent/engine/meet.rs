//! The other agent: what it says, and the first forming that both agree on.

use super::{Agent, Formation};
use crate::agent::drbd::orders::Order;
use crate::agent::form::{Facts, Move, Note};
use crate::agent::log;
use crate::agent::peer::Heard;
use crate::agent::peer::wire::{Greeting, PROTOCOL, Said};
use pair_core::event::{Event, Timer};
use pair_core::message::Message;
use pair_core::view::Role;
use std::time::Duration;
use tokio::time::Instant;

/// A turn that this kernel has not confirmed by then is void; the other node takes its role back.
const TURN: Duration = Duration::from_secs(4);

/// Runs of the other agent that are remembered as over: what they said may still be on the way for seconds.
const GONE_RUNS: usize = 8;

impl Agent {
    pub(super) fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Reached => {
                self.clear("deaf");
                self.greet();
                self.fire(Timer::Hello);
            }
            Heard::Refused(text) => {
                if self.peer.refused.as_ref() != Some(&text) {
                    log::warn(&text);
                }
                self.peer.refused = Some(text);
            }
            Heard::Deaf(text) => {
                self.problem("deaf", &format!("the other node cannot reach this one: {text}"))
            }
            Heard::Foreign(protocol) => self.foreign(protocol),
            Heard::Said(said, run) => {
                self.peer.heard = Some(Instant::now());
                match said {
                    Said::Alive => {}
                    Said::Core(message) => {
                        if let Message::Hello(hello) = message {
                            self.peer.role = Some(hello.role);
                        }
                        // Before it is known what the other node is, its words are not acted on; nor those of an
                        // earlier run of its agent that were still on the way.
                        let present = self.peer.greeting.as_ref().map(|greeting| greeting.run);
                        if present.is_some() && present == run {
                            self.peer_says(message);
                        }
                    }
                    Said::Update(update) => {
                        let present = self.peer.greeting.as_ref().map(|greeting| greeting.run);
                        if let Some(driver) =
                            self.update.as_mut().filter(|_| present.is_some() && present == run)
                        {
                            driver.hear(&update);
                            self.update_wants();
                        }
                    }
                    Said::Channel(word) => self.channel_heard(&word),
                    Said::Greeting(greeting) => self.greeted(greeting),
                }
            }
        }
    }

    /// Words may be faster than the other kernel's: what they are about is looked at first.
    fn peer_says(&mut self, message: Message) {
        if message == Message::YourTurn {
            self.turn = Some(Instant::now());
            self.look(false);
            self.take_turn();
        } else {
            self.event(Event::Peer(message));
        }
    }

    /// A turn counts once this kernel has heard that the other node is not active any more.
    pub(super) fn take_turn(&mut self) {
        let Some(since) = self.turn else { return };
        let view = self.node.view();
        if !view.connected() || since.elapsed() > TURN {
            self.turn = None;
        } else if view.peer == Some(Role::Secondary) {
            self.turn = None;
            self.event(Event::Peer(Message::YourTurn));
        }
    }

    fn foreign(&mut self, protocol: u32) {
        let text = format!(
            "the other node's agent speaks version {protocol} of their protocol, this one version {PROTOCOL}; bring both to one version"
        );
        self.peer.greeting = None;
        self.problem("protocol", &text);
    }

    pub(super) fn greeted(&mut self, greeting: Greeting) {
        if greeting.protocol != PROTOCOL {
            return self.foreign(greeting.protocol);
        }
        self.clear("protocol");
        if let Some(before) = self.peer.greeting.as_ref().filter(|before| before.run != greeting.run) {
            self.gone_runs.push_front(before.run);
            self.gone_runs.truncate(GONE_RUNS);
        }
        if self.gone_runs.contains(&greeting.run) {
            return;
        }
        if greeting.seed == self.config.seed {
            self.clear("seed");
        } else {
            self.problem("seed", "the two nodes have different seeds in force; give both the same one");
        }
        let first = self.peer.greeting.as_ref() != Some(&greeting);
        self.peer.greeting = Some(greeting);
        self.peer.refused = None;
        self.k3s_heard();
        if first {
            self.greet();
            self.fire(Timer::Hello);
        }
    }

    /// Introduces this node.
    pub(super) fn greet(&self) {
        self.mouth.say(&Said::Greeting(Greeting {
            protocol: PROTOCOL,
            run: self.run,
            side: self.config.side,
            disk: self.boot.disk,
            just_created: self.just_created == Some(true),
            formation: self.formation(),
            seed: self.config.seed.clone(),
            version: self.boot.version.clone(),
            watchdog: self.ports.kernel.watchdog(),
            k3s: self.own_k3s().map(Box::new),
        }));
    }

    pub(super) fn formation(&self) -> Formation {
        self.memory.formation.about(self.boot.disk)
    }

    pub(super) fn form_facts(&self) -> Facts {
        Facts {
            side: self.config.side,
            view: self.node.view(),
            own: self.formation(),
            just_created: self.just_created == Some(true),
            peer: self.peer.greeting.as_ref().map(|greeting| (greeting.formation, greeting.just_created)),
        }
    }

    /// The next move of the first forming.
    pub(super) fn form(&mut self) {
        while let Some(next) = self.form_facts().next() {
            match next {
                Move::Note(formation) => {
                    if !self.note(formation) {
                        return;
                    }
                }
                Move::SkipSync => {
                    // The proof is used up by the order.
                    if let (Ok(_proof), false) = (
                        self.form_facts().prove(),
                        self.ordered.iter().any(|(order, _)| *order == Order::SkipSync),
                    ) {
                        log::info("step skip-sync: both disks are new, skip the first synchronisation");
                        self.order(Order::SkipSync);
                    }
                    return;
                }
            }
        }
    }

    /// Keeps how far the forming is, durably, and tells the other node.
    pub(super) fn note(&mut self, formation: Formation) -> bool {
        if formation > self.formation() {
            log::info(&format!("forming of the pair: {formation:?}"));
            self.memory.formation = Note { formation, disk: Some(self.boot.disk) };
            if !self.keep() {
                return false;
            }
        }
        self.greet();
        true
    }

    /// Whoever waits for a note goes on once the other node has it, or cannot be active without learning it.
    pub(super) fn notes_done(&mut self) {
        let connected = self.node.view().connected();
        let theirs = self.peer.greeting.as_ref().map(|greeting| greeting.formation);
        let own = self.formation();
        let waits = std::mem::take(&mut self.notes);
        for (wanted, done) in waits {
            let here = own >= wanted;
            let there = !connected || theirs.is_some_and(|theirs| theirs >= wanted);
            if here && there {
                let _ = done.send(());
            } else {
                self.notes.push((wanted, done));
            }
        }
    }
}
