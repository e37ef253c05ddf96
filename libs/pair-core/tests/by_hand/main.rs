//! One node at a time, event by event. What two nodes do together is the model's business (`tests/pair`).
//!
//! - `suspicions`: sequences that were suspected of breaking a node.
//! - `commands`: what an operator may ask for, and what a node says of itself.
//! - `answers`: the witness, the timers, the service.
//! - `freeze`: freezes, the handler and its answers, power devices.
//! - `link`: what belongs to one state of the link, the retry, what a node lacks.
//! - `peers`: cold start, consent, leaving, strange disks.
//! - `small`: timers, hellos, words.
//! - `witness`: what is asked of it, and what each answer changes.
//! - `change`: a change of mode or witness, by its leader.
//! - `broken`: the known-bad variants of the rules.
//! - `update`: the update machine.
mod answers;
mod broken;
mod change;
mod commands;
mod freeze;
mod link;
mod peers;
mod small;
mod suspicions;
mod update;
mod witness;

use pair_core::{
    effect::{Effect, Query},
    event::{Asked, Event, QuestionId, RequestId},
    message::{Message, Mode, Policy, WitnessId},
    node::{Durable, Identity, Node},
    record::{Claim, DiskId, Epoch, Holder, Lineage, Record, Side, Swap},
    rules::Rules,
    view::{Disk, Link, Role, View},
};

const DA: DiskId = DiskId([0xa; 16]);
const DB: DiskId = DiskId([0xb; 16]);
const PAIRED: Holder = Holder::Paired { a: DA, b: DB };
const SOLO_A: Holder = Holder::Solo { side: Side::A, disk: DA };
const SOLO_B: Holder = Holder::Solo { side: Side::B, disk: DB };

/// A current standby.
const HEALTHY: View = View {
    role: Role::Secondary,
    disk: Disk::UpToDate,
    link: Link::Connected,
    peer: Some(Role::Primary),
    peer_disk: Disk::UpToDate,
    frozen: false,
};
/// It lost its peer.
const LOST: View = View { link: Link::Connecting, peer: None, peer_disk: Disk::Unknown, ..HEALTHY };
/// Active with a current standby.
const ACTIVE: View = View { role: Role::Primary, peer: Some(Role::Secondary), ..HEALTHY };
/// It lost its peer.
const FROZEN: View =
    View { link: Link::Connecting, peer: None, peer_disk: Disk::Unknown, frozen: true, ..ACTIVE };
/// It was granted.
const ALONE: View = View { peer_disk: Disk::Outdated, frozen: false, ..FROZEN };

fn record(epoch: u64, holder: Holder) -> Record {
    Record { lineage: Lineage([1; 16]), epoch: Epoch(epoch), holder }
}

fn policy(revision: u32, mode: Mode) -> Policy {
    Policy { revision, mode, witness: WitnessId(0) }
}

/// A node with its shell: ids are counted, the old view is the one before.
struct Bench {
    node: Node,
    next: u64,
}

impl Bench {
    fn with(me: Identity, durable: Durable) -> Bench {
        Bench { node: Node::new(me, durable, Rules::ALL), next: 0 }
    }

    fn new(side: Side, durable: Durable) -> Bench {
        let disk = if side == Side::A { DA } else { DB };
        Bench::with(Identity { side, disk, watchdog: true, power: false }, durable)
    }

    fn known(side: Side, mode: Mode, holder: Holder) -> Bench {
        let disk = if side == Side::A { DA } else { DB };
        let memory = Durable::new(policy(1, mode));
        Bench::new(side, Durable { record: Some(record(7, holder)), enrolled: Some(disk), ..memory })
    }

    fn paired(side: Side) -> Bench {
        Bench::known(side, Mode::Witness, PAIRED)
    }

    fn on(&mut self, event: Event) -> Vec<Effect> {
        self.next += 1;
        self.node.on(event, RequestId(self.next))
    }

    fn view(&mut self, new: View) -> Vec<Effect> {
        let old = self.node.view();
        self.on(Event::Drbd { old, new })
    }

    fn asked(&mut self, id: u64) -> Vec<Effect> {
        self.on(Event::Question { id: QuestionId(id), asked: Asked::FencePeer })
    }

    fn hears(&mut self, other: &Bench) -> Vec<Effect> {
        let hello = other.node.hello();
        self.on(Event::Peer(Message::Hello(hello)))
    }
}

fn said(effects: &[Effect]) -> Vec<Message> {
    let tell = |effect: &Effect| if let Effect::Tell(message) = effect { Some(*message) } else { None };
    effects.iter().filter_map(tell).collect()
}

/// The request that these effects send, and what it asks for.
fn sent(effects: &[Effect]) -> Option<(RequestId, Option<Swap>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Ask { request, query: Query::Swap(swap), .. } => Some((*request, Some(*swap))),
        Effect::Ask { request, query: Query::Read, .. } => Some((*request, None)),
        _ => None,
    })
}

fn claims(effects: &[Effect], claim: Claim) -> bool {
    sent(effects).and_then(|(_, swap)| swap).is_some_and(|swap| swap.claim == claim)
}
