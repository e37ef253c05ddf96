//! The channel: the watcher is fed from the agent's loop, and what it wants is done here.

use super::{Agent, Input};
use crate::agent::config::Config;
use crate::agent::control::Reply;
use crate::agent::log;
use crate::agent::peer::wire::Said;
use crate::agent::ports::Ports;
use crate::update::channel::kept::Word;
use crate::update::channel::{Act, Answer, Now, Order, Question, Watcher};
use crate::update::driver::Driver;
use crate::update::driver::said::{Start, UpdateStatus};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

/// Ticks between two tellings of what was seen: a word that was lost is made good.
const TELL: u32 = 300;

/// A watcher where the seed has a channel. None where what it remembers is damaged: an old file could come back then.
pub(super) fn start(config: &Config, ports: &Ports, random: u64) -> Option<Watcher> {
    let settings = config.channel.clone()?;
    match Watcher::new(settings, ports.place.clone(), random) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            log::warn(&format!("no updates from the channel on this node: {error}"));
            None
        }
    }
}

impl Agent {
    fn channel_now(&self) -> Now {
        let seen = self.update_seen();
        let hands = self.ports.update.as_ref();
        let failed = self.update.iter().flat_map(Driver::failed).map(str::to_owned).collect();
        Now {
            leads: seen.active,
            running: self.boot.version.clone(),
            failed,
            time: hands.and_then(|hands| hands.known_time()),
            whole: seen.ready(),
            busy: !self.update.as_ref().is_some_and(Driver::is_free),
        }
    }

    pub(super) fn channel_tick(&mut self) {
        if self.channel.is_none() {
            return;
        }
        let now = self.channel_now();
        let act = self.channel.as_mut().and_then(|watcher| watcher.tick(&now));
        match act {
            Some(Act::Ask(question)) => self.channel_ask(question),
            Some(Act::Start(order)) => self.channel_start(order),
            None => {}
        }
        if now.leads && self.ticks % TELL == 0 {
            self.channel_tell();
        }
        match self.channel.as_ref().and_then(Watcher::problem) {
            Some(why) => self.problem("channel", &why),
            None => self.clear("channel"),
        }
    }

    fn channel_ask(&mut self, question: Question) {
        let Some(hands) = self.ports.update.clone() else { return };
        let inputs = self.inputs.clone();
        spawn_local(async move {
            let answer = hands.channel(question).await;
            let answer = answer.unwrap_or_else(|trouble| Answer { file: Err(trouble.text), offset: Ok(0) });
            let _ = inputs.send(Input::Channel(Box::new(answer))).await;
        });
    }

    pub(super) fn channel_answered(&mut self, answer: Answer) {
        let now = self.channel_now();
        let Some(watcher) = &mut self.channel else { return };
        if watcher.answered(answer, &now) {
            self.channel_tell();
        }
        let status = self.update_status();
        for reply in std::mem::take(&mut self.checks) {
            let _ = reply.send(Reply::Update(Box::new(status.clone())));
        }
    }

    fn channel_tell(&mut self) {
        if let Some(word) = self.channel.as_ref().and_then(Watcher::seen) {
            self.mouth.say(&Said::Channel(word));
        }
    }

    pub(super) fn channel_heard(&mut self, word: &Word) {
        if let Some(watcher) = &mut self.channel {
            watcher.hear(word);
        }
    }

    /// The channel begins an update.
    fn channel_start(&mut self, order: Box<Order>) {
        let Some(driver) = &mut self.update else { return };
        log::info(&format!("the channel begins an update to version {}", order.named.version));
        let (answer, receiver) = oneshot::channel();
        driver.start(Start::of_channel(order, None), None, answer);
        let inputs = self.inputs.clone();
        spawn_local(async move {
            let result = receiver.await.unwrap_or_else(|_| Err("the agent is ending".to_owned()));
            let _ = inputs.send(Input::ChannelStarted(result)).await;
        });
        self.update_wants();
    }

    pub(super) fn channel_started(&mut self, result: Result<(), String>) {
        if let Some(watcher) = &mut self.channel {
            watcher.started(result);
        }
    }

    /// What the channel names, for an operator, who waits for no wave and no window.
    pub(super) fn channel_order(&self, limit: Option<u64>) -> Result<Box<Order>, String> {
        let watcher = self.channel.as_ref().ok_or(NONE)?;
        watcher.order(None, limit).map(Box::new)
    }

    /// Somebody wants the channel asked now.
    pub(super) fn channel_check(&mut self, reply: oneshot::Sender<Reply>) {
        let leads = self.update_seen().active;
        let Some(watcher) = &mut self.channel else {
            let _ = reply.send(Reply::Refused(NONE.to_owned()));
            return;
        };
        if !leads {
            let why = "the channel is asked by the active node only: run this there";
            let _ = reply.send(Reply::Refused(why.to_owned()));
            return;
        }
        let question = (!watcher.asking()).then(|| watcher.ask());
        self.checks.push(reply);
        if let Some(Act::Ask(question)) = question {
            self.channel_ask(question);
        }
    }

    /// How updates are.
    pub(super) fn update_status(&self) -> UpdateStatus {
        let mut status = self.update.as_ref().map(Driver::status).unwrap_or_default();
        status.channel = self.channel.as_ref().map(Watcher::status);
        status
    }
}

/// Why nothing comes from a channel.
const NONE: &str =
    "there is no channel: the seed has no table [update], or the journal says what is wrong with it";
