//! What belongs to one state of the link, what a retry does, and what a node lacks as a whole.

use crate::{
    ACTIVE, ALONE, Bench, DA, DB, FROZEN, HEALTHY, LOST, PAIRED, SOLO_A, SOLO_B, claims, policy, record,
    said, sent,
};
use pair_core::{
    effect::{Alarm, Effect},
    event::{Answer, Command, Event, RequestId, Timer},
    message::{Hello, Message, Mode},
    node::Durable,
    reason::Reason,
    record::{Claim, DiskId, Epoch, Holder, Lineage, Record, Side},
    view::{Disk, Link, Role, View},
};

/// Connected and current, nobody is active.
const FREE: View = View { peer: Some(Role::Secondary), ..HEALTHY };
/// Connected; the peer's disk is being synchronised from here.
const SOURCE: View = View { link: Link::SyncSource, peer_disk: Disk::Inconsistent, ..ACTIVE };
/// The kernel has given the link up.
const GIVEN_UP: View = View { link: Link::StandAlone, ..LOST };

const RETRY: Event = Event::Timer(Timer::Retry);

fn promotes(effects: &[Effect]) -> bool {
    effects.contains(&Effect::Promote { force: false })
}

fn asks(effects: &[Effect]) -> Option<RequestId> {
    said(effects).into_iter().find_map(|message| match message {
        Message::Hello(hello) => hello.asks,
        _ => None,
    })
}

fn hears(bench: &mut Bench, change: impl FnOnce(&mut Hello)) -> Vec<Effect> {
    let peer = Bench::paired(!bench.node.facts().side);
    let mut hello = Hello { record: None, healthy: true, ..peer.node.hello() };
    change(&mut hello);
    bench.on(Event::Peer(Message::Hello(hello)))
}

fn refused(effects: &[Effect]) -> Option<Reason> {
    effects.iter().find_map(|effect| if let Effect::Refuse(reason) = effect { Some(*reason) } else { None })
}

#[test]
fn what_failed_is_tried_again_when_the_link_changes_and_not_at_any_other_change() {
    let failed = || {
        let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
        a.view(ACTIVE);
        let answers = asks(&hears(&mut a, |_| {}));
        let effects = hears(&mut a, |hello| hello.answers = answers);
        assert!(claims(&effects, Claim::Pair { peer: DB }), "{effects:?}");
        let (request, _) = sent(&effects).expect("it pairs");
        assert!(asks(&a.on(Event::Witness { request, answer: Answer::Silence })).is_none());
        a
    };
    let mut a = failed();
    assert!(asks(&a.view(View { peer: Some(Role::Secondary), ..ACTIVE })).is_none());
    assert!(asks(&a.on(Event::Service(true))).is_none());
    a.view(SOURCE);
    assert!(asks(&a.view(ACTIVE)).is_some());
}

#[test]
fn a_lost_link_ends_what_was_agreed_over_it() {
    // The question that is to be answered before the record is widened.
    let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
    a.view(ACTIVE);
    let answers = asks(&hears(&mut a, |_| {}));
    a.view(ALONE);
    a.view(ACTIVE);
    let late = hears(&mut a, |hello| hello.answers = answers);
    assert!(sent(&late).is_none(), "{late:?}");
    // A wish to leave, and the other one is told that it is withdrawn.
    let mut b = Bench::paired(Side::B);
    b.view(HEALTHY);
    b.on(Event::Operator(Command::Leave));
    let id = RequestId(b.next);
    assert_eq!(b.node.reason(), Reason::Leaving);
    b.view(LOST);
    assert_eq!((b.node.hello().stayed, b.node.reason()), (Some(id), Reason::WaitsForWitness));
    // A change of the peer's disk alone ends nothing.
    let mut b = Bench::paired(Side::B);
    b.view(HEALTHY);
    b.on(Event::Operator(Command::Leave));
    b.view(View { peer_disk: Disk::Inconsistent, ..HEALTHY });
    assert_eq!((b.node.hello().stayed, b.node.reason()), (None, Reason::Leaving));
    // The record that was to be given away for a freeze that is over.
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.view(FROZEN);
    a.asked(40);
    let mut b = Bench::paired(Side::B);
    b.view(View { disk: Disk::Consistent, ..View::DOWN });
    let (request, swap) = sent(&b.hears(&a)).expect("it gives away");
    assert_eq!(swap.map(|swap| swap.claim), Some(Claim::GiveAway));
    b.view(HEALTHY);
    let effects = b.on(Event::Witness { request, answer: Answer::Won(record(8, SOLO_A)) });
    assert!(!effects.contains(&Effect::Outdate), "{effects:?}");
    // And the promise itself: an outdated disk is no word for a freeze that is over.
    let mut b = Bench::known(Side::B, Mode::Manual, PAIRED);
    b.view(View { disk: Disk::Consistent, ..View::DOWN });
    assert!(b.hears(&a).contains(&Effect::Outdate));
    b.view(HEALTHY);
    let effects = b.view(View { disk: Disk::Outdated, ..LOST });
    assert!(said(&effects).iter().all(|m| !matches!(m, Message::Outdated { .. })), "{effects:?}");
}

#[test]
fn a_plan_ends_when_the_kernel_shows_that_it_is_done() {
    let hands_over = || {
        let mut a = Bench::paired(Side::A);
        a.view(ACTIVE);
        a.on(Event::Operator(Command::Switchover));
        assert_eq!(a.node.reason(), Reason::HandingOver);
        let effects = a.view(FREE);
        assert!(said(&effects).contains(&Message::YourTurn), "{effects:?}");
        a
    };
    // The peer is active.
    let mut a = hands_over();
    a.view(HEALTHY);
    assert_eq!(a.node.reason(), Reason::StandbyPaired);
    // It is not yet; and after the retry this node may do something else.
    let mut a = hands_over();
    a.view(View { disk: Disk::Consistent, ..FREE });
    assert_eq!(a.node.reason(), Reason::HandingOver);
    a.on(RETRY);
    assert_ne!(a.node.reason(), Reason::HandingOver);
    // An operator's promotion ends with the role, not before.
    let mut b = Bench::known(Side::B, Mode::Manual, PAIRED);
    b.view(LOST);
    b.on(Event::Operator(Command::Promote));
    let leave = Event::Operator(Command::Leave);
    b.view(View { disk: Disk::Consistent, ..LOST });
    let switch = Event::Operator(Command::Switchover);
    assert_eq!(refused(&b.on(switch)), Some(Reason::Busy));
    b.view(ALONE);
    assert_eq!(refused(&b.on(leave)), Some(Reason::IsActive));
    // A node that became active does not leave, and says so.
    let mut b = Bench::paired(Side::B);
    b.view(FREE);
    b.on(leave);
    let id = RequestId(b.next);
    b.view(ACTIVE);
    assert_eq!((b.node.hello().stayed, b.node.reason()), (Some(id), Reason::ActivePaired));
}

#[test]
fn a_handover_stops_the_service_demotes_and_gives_the_turn() {
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.on(Event::Service(true));
    let effects = a.on(Event::Operator(Command::Switchover));
    assert!(effects.contains(&Effect::VirtualIp(false)) && effects.contains(&Effect::Service(false)));
    assert!(!effects.contains(&Effect::Demote), "the datastore still runs");
    let effects = a.on(Event::Service(false));
    assert!(effects.contains(&Effect::Demote) && a.node.armed(Timer::Retry), "{effects:?}");
    assert!(!a.on(Event::Timer(Timer::Hello)).contains(&Effect::Demote), "once");
    assert!(a.on(RETRY).contains(&Effect::Demote), "and again at the retry");
    // A pair that is not healthy any more keeps its Primary.
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.on(Event::Service(true));
    a.on(Event::Operator(Command::Switchover));
    a.view(View { peer_disk: Disk::Inconsistent, ..ACTIVE });
    assert!(!a.on(Event::Service(false)).contains(&Effect::Demote));
    // Nor is a node demoted that hands nothing over.
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    assert!(!a.on(Event::Service(false)).contains(&Effect::Demote));
}

#[test]
fn a_link_that_the_kernel_gave_up_is_taken_up_again_with_the_peer_s_word() {
    let given_up = || {
        let mut b = Bench::paired(Side::B);
        b.view(HEALTHY);
        b.view(GIVEN_UP);
        b
    };
    let mut b = given_up();
    assert!(!b.node.armed(Timer::Retry) && asks(&b.on(RETRY)).is_none(), "no agent has spoken");
    hears(&mut b, |hello| hello.connected = true);
    assert!(b.node.armed(Timer::Retry));
    assert!(asks(&b.on(RETRY)).is_some());
    b.on(Event::SplitBrain);
    assert!(!b.node.armed(Timer::Retry) && asks(&b.on(RETRY)).is_none(), "an operator must choose");
    let mut b = given_up();
    hears(&mut b, |hello| hello.connected = true);
    b.view(LOST);
    assert!(!b.node.armed(Timer::Retry) && asks(&b.on(RETRY)).is_none(), "the kernel is at it");
}

#[test]
fn the_side_that_is_not_preferred_steps_in_at_the_retry() {
    let mut b = Bench::paired(Side::B);
    assert!(!promotes(&b.view(FREE)));
    assert!(b.node.armed(Timer::Retry));
    assert!(promotes(&b.on(RETRY)));
    // The preferred one begins again by itself, once for each retry.
    let mut a = Bench::paired(Side::A);
    assert!(promotes(&a.view(FREE)));
    assert!(!promotes(&a.on(Event::Timer(Timer::Hello))));
    let effects = a.on(RETRY);
    assert_eq!(effects.iter().filter(|e| matches!(e, Effect::Promote { .. })).count(), 1, "{effects:?}");
    // Who does not: the peer is active, the disks are not current, the record does not say paired, it is barred.
    let barred = Durable {
        prepared: Some((RequestId(5), policy(2, Mode::Manual))),
        ..*Bench::paired(Side::B).node.durable()
    };
    for (mut b, view) in [
        (Bench::paired(Side::B), HEALTHY),
        (Bench::paired(Side::B), ACTIVE),
        (Bench::paired(Side::B), View { peer_disk: Disk::Inconsistent, ..FREE }),
        (Bench::paired(Side::B), View { peer: None, ..FREE }),
        (Bench::known(Side::B, Mode::Witness, SOLO_A), FREE),
        (Bench::known(Side::B, Mode::Witness, Holder::Paired { a: DA, b: DA }), FREE),
        (Bench::new(Side::B, barred), FREE),
    ] {
        assert!(!promotes(&b.view(view)), "{view:?}");
        assert!(!b.node.armed(Timer::Retry), "{view:?}");
        assert!(!promotes(&b.on(RETRY)), "{view:?}");
    }
    // Paired, but with another disk than the peer's.
    let mut b = Bench::paired(Side::B);
    b.view(LOST);
    hears(&mut b, |hello| hello.disk = DiskId([0xc; 16]));
    b.view(FREE);
    assert!(!promotes(&b.on(RETRY)));
    // Without a witness two current disks are enough.
    let mut b = Bench::known(Side::B, Mode::Manual, SOLO_A);
    b.view(FREE);
    assert!(promotes(&b.on(RETRY)));
}

#[test]
fn a_turn_is_taken_by_an_idle_current_standby_of_a_paired_record() {
    let turn = Event::Peer(Message::YourTurn);
    let barred = Durable {
        prepared: Some((RequestId(5), policy(2, Mode::Manual))),
        ..*Bench::paired(Side::B).node.durable()
    };
    for (mut b, view, takes) in [
        (Bench::paired(Side::B), FREE, true),
        (Bench::known(Side::B, Mode::Witness, SOLO_A), FREE, false),
        (Bench::known(Side::B, Mode::Manual, SOLO_A), FREE, true),
        (Bench::paired(Side::B), HEALTHY, false),
        (Bench::paired(Side::B), View { peer_disk: Disk::Inconsistent, ..FREE }, false),
        (Bench::paired(Side::B), ACTIVE, false),
        (Bench::new(Side::B, barred), FREE, false),
    ] {
        b.view(view);
        assert_eq!(promotes(&b.on(turn)), takes, "{view:?}");
    }
    let mut b = Bench::paired(Side::B);
    b.view(FREE);
    b.on(Event::Operator(Command::Leave));
    assert!(!promotes(&b.on(turn)), "it wants to leave");
}

#[test]
fn a_node_without_clients_hands_over_to_one_that_has_them() {
    let moves = |view: View, ours: bool, theirs: bool| {
        let mut a = Bench::paired(Side::A);
        a.view(view);
        hears(&mut a, |hello| hello.clients = theirs);
        a.on(Event::Clients(ours));
        a.node.reason() == Reason::HandingOver
    };
    assert!(moves(ACTIVE, false, true));
    assert!(!moves(ACTIVE, true, true));
    assert!(!moves(ACTIVE, false, false), "the other is no better");
    assert!(!moves(HEALTHY, false, true), "it is not active");
    assert!(!moves(SOURCE, false, true), "the other is not current");
    let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
    a.view(ACTIVE);
    hears(&mut a, |_| {});
    a.on(Event::Clients(false));
    assert_eq!(a.node.reason(), Reason::ActivePaired, "the record does not say paired yet");
}

#[test]
fn a_handover_waits_for_nothing_that_is_under_way() {
    let switch = Event::Operator(Command::Switchover);
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.on(Event::Timer(Timer::Reread));
    assert_eq!(refused(&a.on(switch)), Some(Reason::NotPaired), "a request is out");
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    let effects = a.on(Event::Peer(Message::Leave { id: RequestId(70) }));
    let (request, _) = sent(&effects).expect("it claims first");
    a.on(Event::Witness { request, answer: Answer::Won(record(8, SOLO_A)) });
    a.on(Event::Witness { request, answer: Answer::Won(record(8, SOLO_A)) });
    assert_eq!(refused(&a.on(switch)), Some(Reason::NotPaired), "the peer leaves");
    let mut a = Bench::known(Side::A, Mode::Manual, SOLO_A);
    a.view(ACTIVE);
    assert_eq!(refused(&a.on(switch)), None, "without a witness two current disks are enough");
}

#[test]
fn a_healthy_pair_asks_what_its_record_is() {
    let reads = |effects: &[Effect]| matches!(sent(effects), Some((_, None)));
    let memory = |record| Durable { record, ..*Bench::paired(Side::A).node.durable() };
    for (record, reread) in
        [(None, true), (Some(record(4, Holder::Unknown)), true), (Some(record(4, PAIRED)), false)]
    {
        let mut a = Bench::new(Side::A, memory(record));
        a.view(ACTIVE);
        let effects = hears(&mut a, |_| {});
        assert_eq!(reads(&effects), reread, "{record:?}: {effects:?}");
        assert!(asks(&effects).is_none());
    }
    // The owner pairs; the other one waits for it.
    let mut b = Bench::known(Side::B, Mode::Witness, SOLO_A);
    b.view(HEALTHY);
    let effects = hears(&mut b, |_| {});
    assert!(asks(&effects).is_none() && sent(&effects).is_none(), "{effects:?}");
    // Without a witness there is no record; a barred node changes none.
    let mut a = Bench::known(Side::A, Mode::Manual, SOLO_A);
    a.view(ACTIVE);
    assert!(asks(&hears(&mut a, |_| {})).is_none());
    let barred = Durable {
        prepared: Some((RequestId(5), policy(2, Mode::Manual))),
        ..memory(Some(record(4, SOLO_A)))
    };
    let mut a = Bench::new(Side::A, barred);
    a.view(ACTIVE);
    assert!(asks(&hears(&mut a, |_| {})).is_none());
}

#[test]
fn two_nodes_that_name_one_disk_are_an_alarm_once_and_never_paired() {
    let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
    a.view(ACTIVE);
    let effects = hears(&mut a, |hello| hello.disk = DA);
    assert!(effects.contains(&Effect::Alarm(Alarm::SameDisk)) && asks(&effects).is_none(), "{effects:?}");
    assert_eq!(a.node.reason(), Reason::SameDisk);
    let effects = hears(&mut a, |hello| hello.disk = DA);
    assert!(!effects.contains(&Effect::Alarm(Alarm::SameDisk)), "{effects:?}");
    assert!(asks(&hears(&mut a, |_| {})).is_some());
    assert_eq!(a.node.reason(), Reason::ActivePaired);
}

#[test]
fn a_lone_writer_does_not_confirm_in_a_history_that_is_not_its_own() {
    for holder in [Holder::Unknown, PAIRED] {
        let mut a = Bench::paired(Side::A);
        a.view(ACTIVE);
        let (request, _) = sent(&a.on(Event::Timer(Timer::Reread))).expect("it looks");
        let other = Record { lineage: Lineage([2; 16]), epoch: Epoch(9), holder };
        let effects = a.on(Event::Witness { request, answer: Answer::Is(other) });
        assert!(effects.contains(&Effect::Alarm(Alarm::ForeignLineage)));
        assert!(sent(&a.view(ALONE)).is_none(), "{holder}");
    }
    // And not beside a request that is out.
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.on(Event::Timer(Timer::Reread));
    assert!(sent(&a.view(ALONE)).is_none());
    // A standby looks at nothing: it claims.
    let mut b = Bench::known(Side::B, Mode::Witness, SOLO_B);
    b.view(View { role: Role::Secondary, ..ALONE });
    assert!(b.node.armed(Timer::Claim) && !b.node.armed(Timer::Reread));
}

#[test]
fn only_who_writes_beside_a_witness_looks_at_its_record() {
    for (mode, view, looks) in [
        (Mode::Witness, ACTIVE, true),
        (Mode::Witness, ALONE, true),
        (Mode::Witness, FROZEN, false),
        (Mode::Witness, HEALTHY, false),
        (Mode::Manual, ACTIVE, false),
        (Mode::AvailabilityFirst, ALONE, false),
    ] {
        let mut a = Bench::known(Side::A, mode, SOLO_A);
        a.view(view);
        assert_eq!(a.node.armed(Timer::Reread), looks, "{mode:?} {view:?}");
    }
}
