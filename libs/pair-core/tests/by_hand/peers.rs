//! What the other agent says: cold start, consent, leaving in order.

use crate::{
    ACTIVE, ALONE, Bench, DA, DB, FROZEN, HEALTHY, LOST, PAIRED, SOLO_A, SOLO_B, claims, policy, record,
    said, sent,
};
use pair_core::{
    effect::{Alarm, Effect},
    event::{Answer, Command, Event, QuestionId, RequestId, Timer},
    message::{Hello, Message, Mode},
    node::Durable,
    reason::Reason,
    record::{Claim, DiskId, Epoch, Holder, Lineage, Record, Side},
    view::{Disk, Link, Role, View},
};

/// Attached, not connected yet.
const COLD: View = View { disk: Disk::Consistent, ..View::DOWN };

fn refused(effects: &[Effect]) -> Option<Reason> {
    effects.iter().find_map(|effect| if let Effect::Refuse(reason) = effect { Some(*reason) } else { None })
}

fn asks(effects: &[Effect]) -> Option<RequestId> {
    said(effects).into_iter().find_map(|message| match message {
        Message::Hello(hello) => hello.asks,
        _ => None,
    })
}

fn hears(bench: &mut Bench, change: impl FnOnce(&mut Hello)) -> Vec<Effect> {
    let peer = Bench::paired(!bench.node.facts().side);
    let mut hello = peer.node.hello();
    change(&mut hello);
    bench.on(Event::Peer(Message::Hello(hello)))
}

#[test]
fn a_cold_node_connects_on_the_peer_s_word_only() {
    let connects = |effects: &[Effect]| effects.contains(&Effect::Connect);
    let mut b = Bench::paired(Side::B);
    assert!(!connects(&b.view(COLD)));
    assert!(!connects(&b.on(Event::Timer(Timer::Retry))));
    assert!(!connects(&hears(&mut b, |hello| hello.connected = true)), "it has not noticed");
    assert!(connects(&hears(&mut b, |_| {})));
    for view in [View::DOWN, LOST, HEALTHY] {
        let mut b = Bench::paired(Side::B);
        b.view(view);
        assert!(!connects(&hears(&mut b, |_| {})), "{view:?}");
    }
    // Copies that have diverged, a disk that is a stranger, a handler that waits.
    let mut b = Bench::paired(Side::B);
    b.view(COLD);
    b.on(Event::SplitBrain);
    assert!(!connects(&hears(&mut b, |_| {})));
    let mut b = Bench::new(Side::B, Durable { enrolled: None, ..*Bench::paired(Side::B).node.durable() });
    assert!(b.view(COLD).contains(&Effect::Alarm(Alarm::StrangeDisk)));
    assert!(!connects(&hears(&mut b, |_| {})));
    let mut b = Bench::paired(Side::B);
    b.view(COLD);
    b.asked(40);
    assert!(!connects(&hears(&mut b, |_| {})));
    // A replaced disk comes empty: it may connect, and be enrolled.
    let mut b = Bench::new(Side::B, Durable { enrolled: None, ..*Bench::paired(Side::B).node.durable() });
    b.view(View { disk: Disk::Inconsistent, ..View::DOWN });
    assert!(connects(&hears(&mut b, |_| {})));
}

#[test]
fn a_question_is_answered_under_its_name() {
    let mut b = Bench::paired(Side::B);
    b.view(HEALTHY);
    let effects = hears(&mut b, |hello| hello.asks = Some(RequestId(60)));
    let answers: Vec<Hello> = said(&effects)
        .into_iter()
        .filter_map(|message| if let Message::Hello(hello) = message { Some(hello) } else { None })
        .collect();
    assert_eq!(answers, [Hello { answers: Some(RequestId(60)), ..b.node.hello() }]);
    assert!(said(&hears(&mut b, |_| {})).is_empty(), "nobody asked");
    // The timer asks under a new name.
    let effects = b.on(Event::Timer(Timer::Hello));
    assert_eq!(asks(&effects), Some(RequestId(b.next)));
}

#[test]
fn a_disk_that_is_known_to_be_old_is_promised_at_once() {
    for disk in [Disk::Outdated, Disk::Inconsistent] {
        for mode in [Mode::Witness, Mode::Manual] {
            let mut b = Bench::known(Side::B, mode, PAIRED);
            b.view(View { disk, ..View::DOWN });
            let effects = hears(&mut b, |hello| hello.frozen = Some(QuestionId(40)));
            assert!(said(&effects).contains(&Message::Outdated { freeze: QuestionId(40) }), "{effects:?}");
            assert!(!effects.contains(&Effect::Outdate) && sent(&effects).is_none(), "{effects:?}");
        }
    }
    // One that may be current is outdated first, and without a witness nothing comes before that.
    let mut b = Bench::known(Side::B, Mode::Manual, PAIRED);
    b.view(COLD);
    let effects = hears(&mut b, |hello| hello.frozen = Some(QuestionId(40)));
    assert!(effects.contains(&Effect::Outdate) && said(&effects).is_empty(), "{effects:?}");
    let again = hears(&mut b, |hello| hello.frozen = Some(QuestionId(40)));
    assert!(!again.contains(&Effect::Outdate), "it is under way: {again:?}");
    assert!(!b.node.armed(Timer::Claim), "it gives way");
    assert!(said(&b.view(View { disk: Disk::UpToDate, ..COLD })).is_empty(), "not outdated yet");
    let effects = b.view(View { disk: Disk::Outdated, ..COLD });
    assert_eq!(said(&effects), [Message::Outdated { freeze: QuestionId(40) }]);
    // The record is given away once.
    let mut b = Bench::paired(Side::B);
    b.view(COLD);
    let effects = hears(&mut b, |hello| hello.frozen = Some(QuestionId(40)));
    assert!(claims(&effects, Claim::GiveAway), "{effects:?}");
    let again = hears(&mut b, |hello| hello.frozen = Some(QuestionId(40)));
    assert!(sent(&again).is_none(), "{again:?}");
}

#[test]
fn who_gives_way_to_a_frozen_peer() {
    let gives = |effects: &[Effect]| claims(effects, Claim::GiveAway) || effects.contains(&Effect::Outdate);
    let frozen = |hello: &mut Hello| hello.frozen = Some(QuestionId(40));
    let mut b = Bench::paired(Side::B);
    b.view(COLD);
    assert!(gives(&hears(&mut b, frozen)));
    // A node that is active, or that an operator promotes, does not.
    let mut b = Bench::known(Side::B, Mode::Manual, PAIRED);
    b.view(View { link: Link::StandAlone, ..ALONE });
    assert!(!gives(&hears(&mut b, frozen)));
    let mut b = Bench::known(Side::B, Mode::Manual, PAIRED);
    b.view(COLD);
    b.on(Event::Operator(Command::Promote));
    assert!(!gives(&hears(&mut b, frozen)));
    // One that became active while it waited for the witness keeps its disk.
    let mut b = Bench::paired(Side::B);
    b.view(COLD);
    let (request, _) = sent(&hears(&mut b, frozen)).expect("it gives away");
    b.view(View { link: Link::StandAlone, ..FROZEN });
    let effects = b.on(Event::Witness { request, answer: Answer::Silence });
    assert!(!effects.contains(&Effect::Outdate), "{effects:?}");
    // The peer's record names another disk here: this one cannot promise for it.
    let mut b = Bench::paired(Side::B);
    b.view(COLD);
    let named = Holder::Paired { a: DA, b: DiskId([0xc; 16]) };
    let effects = hears(&mut b, |hello| {
        hello.frozen = Some(QuestionId(40));
        hello.record = Some(record(7, named));
    });
    assert!(!gives(&effects) && !effects.contains(&Effect::Connect), "{effects:?}");
}

#[test]
fn a_peer_that_writes_alone_resets_a_frozen_node_and_no_other() {
    let alone = |hello: &mut Hello| hello.role = Role::Primary;
    let resets = |view: View, change: &dyn Fn(&mut Hello)| {
        let mut a = Bench::known(Side::A, Mode::Manual, PAIRED);
        a.view(view);
        let effects = hears(&mut a, |hello| change(hello));
        effects.contains(&Effect::Reset)
    };
    assert!(resets(FROZEN, &alone));
    for view in [ALONE, LOST, COLD, ACTIVE, HEALTHY, View { frozen: true, ..ACTIVE }] {
        assert!(!resets(view, &alone), "{view:?}");
    }
    assert!(!resets(FROZEN, &|_| {}), "a standby");
    assert!(!resets(FROZEN, &|hello| {
        hello.role = Role::Primary;
        hello.frozen = Some(QuestionId(40));
    }));
    assert!(!resets(FROZEN, &|hello| {
        hello.role = Role::Primary;
        hello.connected = true;
    }));
}

#[test]
fn the_owner_s_own_word_resets_a_lone_writer_of_the_same_history() {
    let resets = |view: View, epoch: u64, lineage: u8, holder: Holder| {
        let mut a = Bench::paired(Side::A);
        a.view(view);
        let told = Record { lineage: Lineage([lineage; 16]), ..record(epoch, holder) };
        hears(&mut a, |hello| hello.record = Some(told)).contains(&Effect::Reset)
    };
    assert!(resets(ALONE, 9, 1, SOLO_B));
    assert!(!resets(ALONE, 9, 2, SOLO_B), "another history");
    assert!(!resets(ALONE, 6, 1, SOLO_B), "old news");
    assert!(!resets(ALONE, 9, 1, PAIRED));
    assert!(!resets(ALONE, 9, 1, SOLO_A));
    assert!(!resets(LOST, 9, 1, SOLO_B), "it does not write");
    assert!(!resets(ACTIVE, 9, 1, SOLO_B), "connected: the kernels know better");
    // Learned before, at the same epoch, and frozen since.
    let mut a = Bench::known(Side::A, Mode::Witness, SOLO_B);
    a.view(ALONE);
    // A peer that is behind, or in another history, does not speak as the owner.
    let other = Record { lineage: Lineage([2; 16]), ..record(9, SOLO_B) };
    for told in [record(6, PAIRED), other] {
        let effects = hears(&mut a, |hello| hello.record = Some(told));
        assert!(!effects.contains(&Effect::Reset), "{told:?}: {effects:?}");
    }
    assert!(hears(&mut a, |hello| hello.record = Some(record(7, SOLO_B))).contains(&Effect::Reset));
}

#[test]
fn how_far_the_peer_s_history_is_ahead_is_remembered() {
    for (epoch, ahead) in [(6, None), (7, None), (8, Some(Epoch(8)))] {
        let mut a = Bench::paired(Side::A);
        a.view(LOST);
        let other = Record { lineage: Lineage([2; 16]), epoch: Epoch(epoch), holder: PAIRED };
        hears(&mut a, |hello| hello.record = Some(other));
        let peer = a.node.peer().expect("it spoke");
        assert_eq!((peer.ahead, peer.lineage), (ahead, Some(Lineage([2; 16]))));
        // A new history goes above both.
        let effects = a.on(Event::Operator(Command::Promote));
        let (_, swap) = sent(&effects).expect("it is appointed");
        let floor = ahead.unwrap_or(Epoch(7));
        assert_eq!(swap.map(|swap| swap.claim), Some(Claim::Appoint { floor }));
    }
}

#[test]
fn a_consent_is_asked_once_and_a_refused_one_waits_for_the_retry() {
    let healthy = |hello: &mut Hello| {
        hello.healthy = true;
        hello.record = None;
    };
    let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
    a.view(ACTIVE);
    let answers = asks(&hears(&mut a, healthy));
    assert!(answers.is_some() && a.node.armed(Timer::Retry));
    assert!(asks(&hears(&mut a, healthy)).is_none(), "it is asked");
    let refusal = hears(&mut a, |hello| {
        hello.record = None;
        hello.answers = answers;
    });
    assert!(sent(&refusal).is_none() && asks(&refusal).is_none(), "{refusal:?}");
    assert!(a.node.armed(Timer::Retry));
    assert!(asks(&a.on(Event::Timer(Timer::Retry))).is_some());
    // A consent that is not wanted any more: the record is paired, or somebody else's, or one leaves.
    let asked = || {
        let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
        a.view(ACTIVE);
        let answers = asks(&hears(&mut a, healthy));
        (a, answers)
    };
    let (mut a, answers) = asked();
    let effects = hears(&mut a, |hello| {
        hello.healthy = true;
        hello.record = Some(record(8, PAIRED));
        hello.answers = answers;
    });
    assert!(sent(&effects).is_none(), "{effects:?}");
    assert!(!a.node.armed(Timer::Retry));
    let (mut a, answers) = asked();
    a.on(Event::Peer(Message::Leave { id: RequestId(70) }));
    let request = RequestId(a.next);
    a.on(Event::Witness { request, answer: Answer::Won(record(8, SOLO_A)) });
    let effects = hears(&mut a, |hello| {
        hello.healthy = true;
        hello.record = None;
        hello.answers = answers;
    });
    assert!(sent(&effects).is_none(), "{effects:?}");
}

#[test]
fn a_peer_leaves_when_the_record_says_that_this_node_stays_alone() {
    let id = RequestId(70);
    let leave = Event::Peer(Message::Leave { id });
    let may = Message::MayLeave { id };
    let switch = Event::Operator(Command::Switchover);
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    let effects = a.on(leave);
    assert!(claims(&effects, Claim::Solo) && !said(&effects).contains(&may), "{effects:?}");
    let (request, _) = sent(&effects).expect("it claims");
    let mut silent = Bench { node: a.node.clone(), next: a.next };
    let effects = a.on(Event::Witness { request, answer: Answer::Won(record(8, SOLO_A)) });
    assert!(said(&effects).contains(&may), "{effects:?}");
    // It owns the record, and the peer is current: that is not paired as long as the wish stands.
    let pairs = |bench: &mut Bench, change: &dyn Fn(&mut Hello)| {
        let effects = hears(bench, |hello| {
            hello.record = None;
            hello.healthy = true;
            change(hello);
        });
        asks(&effects).is_some()
    };
    assert!(!pairs(&mut a, &|_| {}));
    assert!(!pairs(&mut a, &|hello| hello.stayed = Some(RequestId(69))), "another wish");
    assert!(pairs(&mut a, &|hello| hello.stayed = Some(id)));
    // A wish that was withdrawn is not granted when it arrives late.
    let late = a.on(leave);
    assert!(said(&late).is_empty() && sent(&late).is_none(), "{late:?}");
    // Not recorded: not granted, and nothing stands in the way of anything else.
    let effects = silent.on(Event::Witness { request, answer: Answer::Silence });
    assert!(!said(&effects).contains(&may), "{effects:?}");
    assert_eq!(refused(&silent.on(switch)), None);
    // An answer for a wish that a lost link has ended.
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    let (request, _) = sent(&a.on(leave)).expect("it claims");
    a.view(FROZEN);
    let effects = a.on(Event::Witness { request, answer: Answer::Won(record(8, SOLO_A)) });
    assert!(!said(&effects).contains(&may), "{effects:?}");
    // Without a witness there is nothing to record.
    let mut a = Bench::known(Side::A, Mode::Manual, PAIRED);
    a.view(ACTIVE);
    let effects = a.on(leave);
    assert!(said(&effects).contains(&may) && sent(&effects).is_none(), "{effects:?}");
}

#[test]
fn who_lets_nobody_leave() {
    let leave = Event::Peer(Message::Leave { id: RequestId(70) });
    let lets = |bench: &mut Bench| {
        let effects = bench.on(leave);
        sent(&effects).is_some() || !said(&effects).is_empty()
    };
    for (view, want) in [
        (ACTIVE, true),
        (HEALTHY, true),
        (ALONE, false),
        (View { peer_disk: Disk::Inconsistent, ..ACTIVE }, false),
    ] {
        let mut a = Bench::known(Side::A, Mode::Manual, PAIRED);
        a.view(view);
        assert_eq!(lets(&mut a), want, "{view:?}");
    }
    for command in [Command::Switchover, Command::SetPolicy(policy(2, Mode::Fence))] {
        let mut a = Bench::known(Side::A, Mode::Manual, PAIRED);
        a.view(ACTIVE);
        assert_eq!(refused(&a.on(Event::Operator(command))), None);
        assert!(!lets(&mut a), "{command:?}");
    }
    // The permission is for a standby that waits for it, connected.
    let granted = |view: View, question: bool| {
        let mut b = Bench::paired(Side::B);
        b.view(HEALTHY);
        b.on(Event::Operator(Command::Leave));
        let id = RequestId(b.next);
        if view != HEALTHY {
            b.view(view);
        }
        if question {
            b.asked(40);
        }
        b.on(Event::Peer(Message::MayLeave { id })).contains(&Effect::Halt)
    };
    assert!(granted(HEALTHY, false));
    assert!(!granted(LOST, false) && !granted(ACTIVE, false) && !granted(HEALTHY, true));
}

#[test]
fn a_disk_that_came_empty_is_this_node_s_and_any_other_is_a_stranger() {
    let unknown = Durable { enrolled: None, ..*Bench::paired(Side::B).node.durable() };
    for (disk, strange) in [
        (Disk::Diskless, false),
        (Disk::Inconsistent, false),
        (Disk::Outdated, true),
        (Disk::Consistent, true),
        (Disk::UpToDate, true),
    ] {
        let mut b = Bench::new(Side::B, unknown);
        let alarm = b.view(View { disk, ..LOST }).contains(&Effect::Alarm(Alarm::StrangeDisk));
        assert_eq!((alarm, b.node.reason() == Reason::NotMyDisk), (strange, strange), "{disk:?}");
        let noted = b.node.durable().enrolled;
        assert_eq!(noted, (disk == Disk::Inconsistent).then_some(DB), "{disk:?}");
        // Once.
        let again = b.view(View { disk, link: Link::StandAlone, ..LOST });
        assert!(!again.contains(&Effect::Alarm(Alarm::StrangeDisk)), "{disk:?}");
    }
    // Connected it is the peer's business; current in a pair it is enrolled.
    let mut b = Bench::new(Side::B, unknown);
    b.view(View { peer_disk: Disk::Outdated, ..HEALTHY });
    assert_eq!((b.node.durable().enrolled, b.node.reason()), (None, Reason::StandbyPaired));
    b.view(HEALTHY);
    assert_eq!(b.node.durable().enrolled, Some(DB));
    let mut b = Bench::new(Side::B, Durable { enrolled: Some(DA), ..unknown });
    assert!(b.view(LOST).contains(&Effect::Alarm(Alarm::StrangeDisk)));
    assert!(!b.view(HEALTHY).contains(&Effect::Alarm(Alarm::StrangeDisk)));
    assert_eq!((b.node.durable().enrolled, b.node.reason()), (Some(DB), Reason::StandbyPaired));
}
