//! What the two nodes tell each other about updates, what operators ask, and what they are shown.

use super::Driver;
use super::kept::{Failed, Past, Plan};
use crate::update::boot::Standing;
use crate::update::bundle::Terms;
use crate::update::channel::{ChannelStatus, Order};
use crate::update::health::Finding;
use pair_core::record::Side;
use pair_core::update::{Facts, Outcome, Word};
use serde::{Deserialize, Serialize};

/// Longest text of a message's fields, bytes: a frame of the channel has 4096.
const MOST: usize = 1024;

/// How far a node is, with what the other needs to take the plan over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The pair core's.
    pub word: Word,
    /// Text of the plan's version.
    pub version: String,
    /// How to ask for the bundle.
    pub bundle: String,
    /// Seconds that the plan may take.
    pub limit: u64,
    /// Seconds that a trial may take.
    pub trial_limit: u64,
    /// Version that the speaker runs.
    pub running: String,
    /// Plans up to this one were rolled back on the speaker by hand.
    pub rolled_back: u32,
}

impl Said {
    /// What the driver says now; `None` without a plan.
    pub(super) fn of(driver: &Driver, word: Word) -> Option<Self> {
        let plan = driver.kept.plan.as_ref().filter(|plan| plan.serial == word.facts.plan.serial)?;
        let short = |text: &str| text.chars().take(MOST / 4).collect::<String>();
        Some(Self {
            word,
            version: plan.version.clone(),
            bundle: short(&plan.bundle),
            limit: plan.limit,
            trial_limit: plan.trial_limit,
            running: short(&driver.version),
            rolled_back: driver.kept.rolled_back,
        })
    }

    /// The plan as this node takes it over. Solo is one node's matter.
    pub(super) fn plan(&self) -> Plan {
        Plan {
            serial: self.word.facts.plan.serial,
            version: self.version.clone(),
            bundle: self.bundle.clone(),
            solo: false,
            limit: self.limit,
            trial_limit: self.trial_limit,
            spent: 0,
        }
    }
}

/// An operator's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The bundle: a path, an address, or `-` for one that cannot be read twice.
    pub file: String,
    /// Go on without the other node, which is away.
    pub solo: bool,
    /// Seconds that the plan may take.
    pub limit: Option<u64>,
    /// A version that the operator has confirmed as a step from which nothing goes back.
    #[serde(default)]
    pub one_way: Option<String>,
    /// What the channel says of the bundle. Never from outside the agent.
    #[serde(skip)]
    pub channel: Option<Box<Order>>,
}

impl Start {
    /// What the channel names.
    pub fn of_channel(order: Box<Order>, one_way: Option<String>) -> Self {
        let (file, limit) = (order.address.clone(), order.limit);
        Self { file, solo: false, limit, one_way, channel: Some(order) }
    }

    /// On which terms the bundle is taken.
    pub fn terms(&self) -> Terms {
        let order = self.channel.as_ref();
        Terms {
            one_way: self.one_way.clone(),
            named: order.map(|order| order.named.clone()),
            pair: order.and_then(|order| order.pair.clone()),
        }
    }

    /// Where the bundle can be read again.
    pub fn origin(&self) -> Option<String> {
        (self.file != PIPE).then(|| self.file.clone())
    }

    /// The bundle is handed in with the order; else this node fetches it.
    pub fn is_handed_in(&self) -> bool {
        !crate::update::bundle::http::is_address(&self.file)
    }
}

/// What [`Start::file`] says of a pipe.
pub const PIPE: &str = "-";

/// How far a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Blocks in place.
    pub done: usize,
    /// Blocks of the image.
    pub all: usize,
}

/// The present or last plan, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStatus {
    /// Serial number.
    pub serial: u32,
    /// Version to update to.
    pub version: String,
    /// Node on which it was started.
    pub leader: Side,
    /// The inactive slot holds it, read back.
    pub written: bool,
    /// Its trial passed here.
    pub passed: bool,
    /// How it ended, or that it has not.
    pub outcome: Outcome,
    /// Without the other node.
    pub solo: bool,
    /// Seconds left of its limit.
    pub seconds_left: u64,
    /// How far the other node is, as far as it is known.
    pub other: Option<Facts>,
}

/// `node-init update status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// Version that booted.
    pub running: String,
    /// What this node is doing, or why it is not doing more.
    pub why: String,
    /// Versions that the boot loader knew when the agent started, best first.
    pub versions: Vec<(String, Standing)>,
    /// The present or last plan.
    pub plan: Option<PlanStatus>,
    /// How far the slot that is being written is.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// What the last look at a trial's health found.
    pub findings: Vec<Finding>,
    /// Versions that are not tried again.
    pub failed: Vec<Failed>,
    /// Earlier plans, latest last.
    pub history: Vec<Past>,
    /// What is wrong.
    pub problems: Vec<String>,
    /// The channel, where the seed has one.
    #[serde(default)]
    pub channel: Option<ChannelStatus>,
}

impl Driver {
    /// How it is.
    pub fn status(&self) -> UpdateStatus {
        let shell = self.kept.plan.as_ref();
        let plan = self.kept.memory.facts.and_then(|facts| {
            let shell = shell.filter(|plan| plan.serial == facts.plan.serial)?;
            Some(PlanStatus {
                serial: facts.plan.serial,
                version: shell.version.clone(),
                leader: facts.plan.leader,
                written: facts.written,
                passed: facts.passed,
                outcome: facts.outcome,
                solo: shell.solo,
                seconds_left: shell.limit.saturating_sub(shell.spent),
                other: self.updater.as_ref().and_then(|updater| updater.peer()),
            })
        });
        UpdateStatus {
            running: self.version.clone(),
            why: self.reason().map_or_else(|| self.not_begun().to_owned(), |why| why.to_string()),
            versions: self.look.versions.clone(),
            plan,
            progress: self.hands.progress(),
            findings: self.trial.as_ref().map(|trial| trial.gate.findings.clone()).unwrap_or_default(),
            failed: self.kept.failed.clone(),
            history: self.kept.history.clone(),
            problems: self.problems(),
            channel: None,
        }
    }
}

impl UpdateStatus {
    /// For people.
    pub fn words(&self) -> String {
        let mut text = format!("running   {}\nupdate    {}\n", self.running, self.why);
        for (version, standing) in &self.versions {
            let standing = match standing {
                Standing::Kept => "kept".to_owned(),
                Standing::Installed => "installed, not tried".to_owned(),
                Standing::Exhausted => "does not boot: its attempts are used up or were taken".to_owned(),
                Standing::Trial(counter) => format!("on trial, {} attempts left", counter.left),
            };
            text += &format!("slot      {version}: {standing}\n");
        }
        if let Some(plan) = &self.plan {
            let yes = |done: bool| if done { "yes" } else { "no" };
            text += &format!(
                "plan      no. {} to {}, started on node {}{}\n          written {}, passed {}, {:?}\n",
                plan.serial,
                plan.version,
                plan.leader,
                if plan.solo { ", without the other node" } else { "" },
                yes(plan.written),
                yes(plan.passed),
                plan.outcome,
            );
            match &plan.other {
                Some(other) => {
                    text += &format!(
                        "other     written {}, passed {}, {:?}\n",
                        yes(other.written),
                        yes(other.passed),
                        other.outcome
                    );
                }
                None => text += "other     not heard of yet\n",
            }
        }
        if let Some(Progress { done, all }) = self.progress {
            text += &format!("written   {done} of {all} blocks\n");
        }
        if let Some(channel) = &self.channel {
            text += &channel.rows();
        }
        for finding in &self.findings {
            text += &format!("health    {}\n", finding.text);
        }
        for failed in &self.failed {
            text += &format!("refused   {}: {}\n", failed.version, failed.why.join("; "));
        }
        for past in &self.history {
            text += &format!("history   no. {} to {}: {:?}\n", past.serial, past.version, past.outcome);
        }
        for problem in &self.problems {
            text += &format!("problem   {problem}\n");
        }
        text
    }
}
