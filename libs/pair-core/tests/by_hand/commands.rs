//! What an operator may ask for, and what a node says of itself.

use crate::{
    ACTIVE, ALONE, Bench, DA, DB, FROZEN, HEALTHY, LOST, PAIRED, SOLO_A, SOLO_B, policy, record, said, sent,
};
use pair_core::{
    effect::Effect,
    event::{Answer, Command, Event, RequestId, Timer},
    message::{Message, Mode},
    node::{Durable, Identity},
    reason::Reason,
    record::{Claim, Epoch, Holder, Lineage, Record, Side},
    view::{Disk, Link, Role, View},
};

const DOWN: View = View { disk: Disk::Consistent, ..View::DOWN };

fn refused(bench: &mut Bench, command: Command) -> Option<Reason> {
    let effects = bench.on(Event::Operator(command));
    effects.iter().find_map(|effect| if let Effect::Refuse(reason) = effect { Some(*reason) } else { None })
}

#[test]
fn every_refusal() {
    let change = Command::SetPolicy(policy(2, Mode::Manual));
    let same = Command::SetPolicy(policy(1, Mode::Manual));
    let outdated = View { disk: Disk::Outdated, ..LOST };
    let half = View { disk: Disk::Inconsistent, ..LOST };
    let rows = [
        (HEALTHY, Command::Switchover, Some(Reason::NotActive)),
        (ACTIVE, Command::Switchover, None),
        (ALONE, Command::Switchover, Some(Reason::NotPaired)),
        (ACTIVE, Command::Leave, Some(Reason::IsActive)),
        (HEALTHY, Command::Leave, None),
        (LOST, Command::Leave, None),
        (ACTIVE, Command::Promote, Some(Reason::IsActive)),
        (HEALTHY, Command::Promote, Some(Reason::NotActive)),
        (View::DOWN, Command::Promote, Some(Reason::DiskMissing)),
        (half, Command::Promote, Some(Reason::DiskInconsistent)),
        (outdated, Command::Promote, None),
        (LOST, Command::Promote, None),
        (HEALTHY, change, Some(Reason::NotActive)),
        (ALONE, change, Some(Reason::NotPaired)),
        (ACTIVE, same, Some(Reason::OldPolicy)),
        (ACTIVE, change, None),
    ];
    for (view, command, want) in rows {
        let mut a = Bench::paired(Side::A);
        a.view(view);
        assert_eq!(refused(&mut a, command), want, "{command:?} in {view:?}");
    }
    let barred = Durable {
        prepared: Some((RequestId(5), policy(2, Mode::Manual))),
        ..*Bench::paired(Side::A).node.durable()
    };
    let mut b = Bench::new(Side::A, barred);
    b.view(HEALTHY);
    assert_eq!(refused(&mut b, Command::Leave), Some(Reason::Barred));
    let mut b = Bench::paired(Side::B);
    b.view(HEALTHY);
    assert_eq!(refused(&mut b, Command::Leave), None);
    assert_eq!(refused(&mut b, Command::Leave), Some(Reason::Busy));
}

#[test]
fn a_node_that_is_about_to_be_active_does_not_leave() {
    let free = View { peer: Some(Role::Secondary), ..HEALTHY };
    let mut a = Bench::paired(Side::A);
    assert!(a.view(free).contains(&Effect::Promote { force: false }));
    assert_eq!(refused(&mut a, Command::Leave), Some(Reason::Busy));
    assert!(a.node.armed(Timer::Retry));
    // The other one was quicker: at the retry it is clear that nothing is under way any more.
    a.view(HEALTHY);
    assert_eq!(refused(&mut a, Command::Leave), Some(Reason::Busy), "the order may still be on its way");
    a.on(Event::Timer(Timer::Retry));
    assert_eq!(refused(&mut a, Command::Leave), None);
    // Once it was active there is nothing under way either.
    let mut a = Bench::paired(Side::A);
    a.view(free);
    a.view(ACTIVE);
    a.view(free);
    assert_eq!(refused(&mut a, Command::Leave), None);
}

#[test]
fn a_node_without_a_peer_leaves_at_once_and_one_with_a_peer_asks() {
    let mut b = Bench::paired(Side::B);
    b.view(LOST);
    assert!(b.on(Event::Operator(Command::Leave)).contains(&Effect::Halt));
    let mut b = Bench::paired(Side::B);
    b.view(HEALTHY);
    let effects = b.on(Event::Operator(Command::Leave));
    let id = RequestId(b.next);
    assert!(
        said(&effects).contains(&Message::Leave { id }) && !effects.contains(&Effect::Halt),
        "{effects:?}"
    );
    assert_eq!(b.node.reason(), Reason::Leaving);
    let other = b.on(Event::Peer(Message::MayLeave { id: RequestId(99) }));
    assert!(!other.contains(&Effect::Halt), "{other:?}");
    let effects = b.on(Event::Peer(Message::MayLeave { id }));
    let at = |wanted: &Effect| effects.iter().position(|effect| effect == wanted);
    assert!(at(&Effect::Disconnect) < at(&Effect::Halt) && at(&Effect::Disconnect).is_some(), "{effects:?}");
    assert!(!b.on(Event::Peer(Message::MayLeave { id })).contains(&Effect::Halt), "once");
}

#[test]
fn an_operator_promotes_by_the_record_and_forces_only_an_old_disk() {
    for (disk, force) in [(Disk::UpToDate, false), (Disk::Consistent, false), (Disk::Outdated, true)] {
        let mut b = Bench::known(Side::B, Mode::Witness, SOLO_A);
        b.view(View { disk, ..LOST });
        let effects = b.on(Event::Operator(Command::Promote));
        let (request, swap) = sent(&effects).expect("it asks the witness");
        assert_eq!(swap.map(|swap| swap.claim), Some(Claim::Appoint { floor: Epoch(7) }));
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Promote { .. })), "{effects:?}");
        let effects = b.on(Event::Witness { request, answer: Answer::Won(record(8, SOLO_B)) });
        assert!(effects.contains(&Effect::Promote { force }), "{disk:?}: {effects:?}");
        let mut b = Bench::known(Side::B, Mode::Witness, SOLO_A);
        b.view(View { disk, ..LOST });
        let (request, _) = sent(&b.on(Event::Operator(Command::Promote))).expect("it asks the witness");
        let effects = b.on(Event::Witness { request, answer: Answer::Silence });
        assert!(effects.contains(&Effect::Refuse(Reason::WaitsForWitness)), "{effects:?}");
        let mut b = Bench::known(Side::B, Mode::Manual, SOLO_A);
        b.view(View { disk, ..LOST });
        assert!(b.on(Event::Operator(Command::Promote)).contains(&Effect::Promote { force }));
    }
}

#[test]
fn an_appointment_won_after_the_peer_came_back_is_not_used() {
    let mut b = Bench::known(Side::B, Mode::Witness, SOLO_A);
    b.view(View { disk: Disk::Outdated, ..LOST });
    let (request, _) = sent(&b.on(Event::Operator(Command::Promote))).expect("it asks the witness");
    b.view(View { link: Link::SyncTarget, disk: Disk::Inconsistent, ..HEALTHY });
    let effects = b.on(Event::Witness { request, answer: Answer::Won(record(8, SOLO_B)) });
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Promote { .. })), "{effects:?}");
}

#[test]
fn what_a_node_says_of_itself() {
    let rows = [
        (PAIRED, Mode::Witness, ACTIVE, Reason::ActivePaired),
        (SOLO_A, Mode::Witness, ALONE, Reason::ActiveAlone),
        (PAIRED, Mode::Witness, FROZEN, Reason::Frozen),
        (PAIRED, Mode::Witness, HEALTHY, Reason::StandbyPaired),
        (
            PAIRED,
            Mode::Witness,
            View { link: Link::SyncTarget, disk: Disk::Inconsistent, ..HEALTHY },
            Reason::Synchronising,
        ),
        (PAIRED, Mode::Witness, View::DOWN, Reason::DiskMissing),
        (PAIRED, Mode::Witness, View { disk: Disk::Inconsistent, ..DOWN }, Reason::DiskInconsistent),
        (PAIRED, Mode::Witness, View { disk: Disk::Outdated, ..DOWN }, Reason::DiskOutdated),
        (PAIRED, Mode::Witness, DOWN, Reason::WaitsForPeer),
        (PAIRED, Mode::Witness, LOST, Reason::WaitsForWitness),
        (SOLO_B, Mode::Witness, LOST, Reason::PeerIsSolo),
        (SOLO_A, Mode::Witness, LOST, Reason::WaitsForWitness),
        (Holder::Solo { side: Side::A, disk: DB }, Mode::Witness, LOST, Reason::NotMyDisk),
        (Holder::Paired { a: DB, b: DA }, Mode::Witness, LOST, Reason::NotMyDisk),
        (PAIRED, Mode::Manual, LOST, Reason::NeedsPeerOrOperator),
        (PAIRED, Mode::Fence, DOWN, Reason::NeedsPeerOrOperator),
        (PAIRED, Mode::Manual, View { peer: Some(Role::Secondary), ..HEALTHY }, Reason::WaitsForPeer),
        (PAIRED, Mode::AvailabilityFirst, LOST, Reason::WaitsForPeer),
    ];
    for (holder, mode, view, want) in rows {
        let mut a = Bench::known(Side::A, mode, holder);
        a.view(view);
        assert_eq!(a.node.reason(), want, "{holder} {mode:?} {view:?}");
    }
    let mut a = Bench::paired(Side::A);
    a.view(LOST);
    a.on(Event::SplitBrain);
    assert_eq!(a.node.reason(), Reason::Diverged);
    let durable = Durable {
        prepared: Some((RequestId(5), policy(2, Mode::Manual))),
        ..*Bench::paired(Side::A).node.durable()
    };
    let mut a = Bench::new(Side::A, durable);
    a.view(LOST);
    assert_eq!(a.node.reason(), Reason::Barred);
    let mut a = Bench::paired(Side::A);
    a.view(HEALTHY);
    let mut hello = Bench::paired(Side::B).node.hello();
    hello.disk = DA;
    hello.record = None;
    a.on(Event::Peer(Message::Hello(hello)));
    assert_eq!(a.node.reason(), Reason::SameDisk);
}

#[test]
fn a_witness_of_another_history_is_named_in_words() {
    for (holder, want) in [(Holder::Unknown, Reason::WitnessUnknown), (PAIRED, Reason::ForeignLineage)] {
        let mut a = Bench::paired(Side::A);
        a.view(LOST);
        let (request, _) = sent(&a.on(Event::Timer(Timer::Claim))).expect("it claims");
        let current = Record { lineage: Lineage([2; 16]), epoch: Epoch(9), holder };
        a.on(Event::Witness { request, answer: Answer::Is(current) });
        assert_eq!(a.node.reason(), want);
        assert_eq!(a.node.durable().record, Some(record(7, PAIRED)), "not believed");
    }
}

#[test]
fn a_barred_node_is_freed_by_its_own_transaction_only() {
    let id = RequestId(5);
    let next = policy(2, Mode::Manual);
    let barred = || {
        let mut b = Bench::paired(Side::B);
        b.view(HEALTHY);
        b.on(Event::Peer(Message::Prepare { id, policy: next }));
        assert_eq!(b.node.durable().prepared, Some((id, next)));
        b
    };
    for message in [Message::Commit { id: RequestId(6) }, Message::Abort { id: RequestId(6) }] {
        let mut b = barred();
        b.on(Event::Peer(message));
        assert_eq!(b.node.durable().prepared, Some((id, next)), "{message:?}");
    }
    let mut b = barred();
    b.on(Event::Peer(Message::Commit { id }));
    assert_eq!(
        (b.node.durable().prepared, b.node.durable().policy, b.node.durable().record),
        (None, next, None)
    );
    let mut b = barred();
    b.on(Event::Peer(Message::Abort { id }));
    assert_eq!((b.node.durable().prepared, b.node.durable().policy), (None, policy(1, Mode::Witness)));
    assert_eq!(b.node.durable().record, Some(record(7, PAIRED)));
    // Barred, it claims nothing.
    let mut b = barred();
    b.view(LOST);
    assert!(!b.node.armed(Timer::Claim));
    assert!(sent(&b.on(Event::Timer(Timer::Claim))).is_none());
}

#[test]
fn only_a_current_standby_lets_itself_be_barred() {
    let prepare =
        |revision| Event::Peer(Message::Prepare { id: RequestId(5), policy: policy(revision, Mode::Manual) });
    let idle = View { peer: Some(Role::Secondary), ..HEALTHY };
    for (view, revision, taken) in [
        (HEALTHY, 2, true),
        (HEALTHY, 1, false),
        (idle, 2, false),
        (ACTIVE, 2, false),
        (LOST, 2, false),
        (View { peer_disk: Disk::Inconsistent, ..HEALTHY }, 2, false),
    ] {
        let mut b = Bench::paired(Side::B);
        b.view(view);
        let effects = b.on(prepare(revision));
        assert_eq!(b.node.durable().prepared.is_some(), taken, "{view:?} {revision}");
        assert_eq!(said(&effects).contains(&Message::Prepared { id: RequestId(5) }), taken);
    }
    let mut b = Bench::paired(Side::B);
    b.view(HEALTHY);
    b.on(Event::Operator(Command::Leave));
    b.on(prepare(2));
    assert!(b.node.durable().prepared.is_none(), "it wants to leave");
}

#[test]
fn a_leader_says_how_a_transaction_ended() {
    let me = Identity { side: Side::A, disk: DA, watchdog: true, power: false };
    let durable = Durable { committed: Some(RequestId(5)), ..*Bench::paired(Side::A).node.durable() };
    let mut a = Bench::with(me, durable);
    a.view(ACTIVE);
    for (id, answer) in [
        (RequestId(5), Message::Commit { id: RequestId(5) }),
        (RequestId(6), Message::Abort { id: RequestId(6) }),
    ] {
        let mut hello = Bench::paired(Side::B).node.hello();
        hello.prepared = Some(id);
        let effects = a.on(Event::Peer(Message::Hello(hello)));
        assert!(said(&effects).contains(&answer), "{effects:?}");
    }
}

#[test]
fn one_thing_at_a_time() {
    let switch = Command::Switchover;
    let mut a = Bench::known(Side::A, Mode::Manual, PAIRED);
    a.view(ACTIVE);
    assert_eq!(refused(&mut a, Command::SetPolicy(policy(2, Mode::Fence))), None);
    assert_eq!(refused(&mut a, switch), Some(Reason::Busy), "a change runs");
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.asked(40);
    assert_eq!(refused(&mut a, switch), Some(Reason::Busy), "the kernel waits for an answer");
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    assert_eq!(refused(&mut a, switch), None);
    assert_eq!(refused(&mut a, switch), Some(Reason::Busy), "it hands over");
}
