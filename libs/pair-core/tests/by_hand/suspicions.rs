//! Sequences of events that were suspected of breaking a node, written down one by one. What several nodes do
//! together is the model's business (`tests/pair`); here is what one node must say or do at one point.

use crate::{ACTIVE, Bench, DA, DB, FROZEN, HEALTHY, LOST, SOLO_A, policy, record, said, sent};
use pair_core::{
    effect::{Alarm, Code, Effect, Query},
    event::{Answer, Asked, Command, Event, QuestionId, RequestId, Timer},
    message::{Hello, Message, Mode},
    node::Durable,
    reason::Reason,
    record::{Claim, Holder, Side},
    view::{Disk, Role, View},
};

#[test]
fn a_freeze_without_a_name_says_ask_again() {
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.view(FROZEN);
    let hello = a.node.hello();
    assert_eq!((hello.frozen, hello.connected), (None, true), "no question yet");
    // A cold peer waits for it; it neither connects nor outdates itself.
    let mut b = Bench::paired(Side::B);
    b.view(View { disk: Disk::Consistent, ..View::DOWN });
    let effects = b.hears(&a);
    assert!(!effects.contains(&Effect::Connect), "{effects:?}");
    assert!(!effects.contains(&Effect::Outdate), "{effects:?}");
    a.asked(40);
    let hello = a.node.hello();
    assert_eq!((hello.frozen, hello.connected), (Some(QuestionId(40)), false));
}

#[test]
fn an_agent_that_starts_on_a_frozen_node_says_ask_again() {
    let mut a = Bench::paired(Side::A);
    a.view(FROZEN);
    assert!(a.node.hello().connected);
    assert_eq!(a.node.hello().frozen, None);
    // It has the kernel ask once more, and then the freeze has a name.
    assert!(a.on(Event::Timer(Timer::Retry)).contains(&Effect::AskAgain));
}

#[test]
fn half_a_change_is_a_freeze() {
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    // "connection" was read, "suspended" not yet.
    let effects = a.view(View { frozen: false, ..FROZEN });
    assert_eq!(a.node.view(), FROZEN);
    assert_eq!(a.node.reason(), Reason::Frozen);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Ask { .. })), "{effects:?}");
    let effects = a.on(Event::Drbd { old: View { frozen: false, ..FROZEN }, new: FROZEN });
    assert!(!effects.contains(&Effect::Alarm(Alarm::MissedEvent)), "{effects:?}");
    // A granted node is none of that: its kernel knows the peer to be outdated.
    let granted = View { frozen: false, peer_disk: Disk::Outdated, ..FROZEN };
    a.view(granted);
    assert_eq!(a.node.view(), granted);
    assert_eq!(a.node.reason(), Reason::ActiveAlone);
}

#[test]
fn views_that_never_were() {
    let lone = View { frozen: false, ..FROZEN };
    assert_eq!(lone.safe(), FROZEN);
    for whole in [
        ACTIVE,
        HEALTHY,
        FROZEN,
        View::DOWN,
        View { role: Role::Secondary, ..lone },
        View { peer_disk: Disk::Outdated, ..lone },
        View { peer_disk: Disk::Inconsistent, ..lone },
        View { disk: Disk::Inconsistent, ..lone },
    ] {
        assert_eq!(whole.safe(), whole);
    }
    assert!(View { disk: Disk::Consistent, ..lone }.safe().frozen);
}

#[test]
fn a_handler_alone_knows_no_promise() {
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.view(FROZEN);
    a.asked(40);
    a.on(Event::Witness { request: RequestId(3), answer: Answer::Silence });
    a.on(Event::Peer(Message::Outdated { freeze: QuestionId(40) }));
    assert!(a.node.facts().promised);
    assert!(!a.node.facts_alone().promised);
    assert!(!a.node.facts_alone().sworn);
    assert_eq!(a.node.facts_alone().record, a.node.facts().record);
}

#[test]
fn a_promise_for_another_freeze_is_none() {
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.view(FROZEN);
    a.asked(40);
    a.on(Event::Peer(Message::Outdated { freeze: QuestionId(39) }));
    assert!(!a.node.facts().promised);
    // And it ends with the freeze.
    a.on(Event::Peer(Message::Outdated { freeze: QuestionId(40) }));
    assert!(a.node.facts().promised);
    a.view(ACTIVE);
    assert!(!a.node.facts().promised);
}

#[test]
fn a_node_that_wants_to_leave_consents_to_nothing() {
    let mut b = Bench::paired(Side::B);
    b.view(HEALTHY);
    assert!(b.node.hello().healthy);
    b.on(Event::Operator(Command::Leave));
    assert!(!b.node.hello().healthy);
    b.on(Event::Timer(Timer::Retry));
    assert!(b.node.hello().healthy);
}

#[test]
fn a_transaction_that_was_used_up_does_not_begin_again() {
    let old = RequestId(9);
    let mut a = Bench::paired(Side::A);
    let durable = Durable { committed: Some(old), ..*a.node.durable() };
    a = Bench::new(Side::A, durable);
    a.view(ACTIVE);
    let effects = a.node.on(Event::Operator(Command::SetPolicy(policy(2, Mode::Manual))), old);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Ask { .. })), "{effects:?}");
    // And a barred node does not take a second policy under the name of the first.
    let mut b = Bench::paired(Side::B);
    b.view(HEALTHY);
    let prepare = |policy| Event::Peer(Message::Prepare { id: old, policy });
    let first = b.on(prepare(policy(2, Mode::Manual)));
    assert!(said(&first).contains(&Message::Prepared { id: old }));
    let again = b.on(prepare(policy(2, Mode::Manual)));
    assert!(said(&again).contains(&Message::Prepared { id: old }), "repeated: {again:?}");
    let other = b.on(prepare(policy(3, Mode::Fence)));
    assert!(!said(&other).contains(&Message::Prepared { id: old }), "{other:?}");
    assert_eq!(b.node.durable().prepared, Some((old, policy(2, Mode::Manual))));
}

#[test]
fn a_claim_that_was_won_below_the_own_memory_promotes_nobody() {
    let mut b = Bench::paired(Side::B);
    b.view(HEALTHY);
    b.view(LOST);
    let effects = b.on(Event::Timer(Timer::Claim));
    let asked = effects.iter().find_map(|effect| match effect {
        Effect::Ask { request, query: Query::Swap(swap), .. } if swap.claim == Claim::Solo => Some(*request),
        _ => None,
    });
    let request = asked.expect("it claims");
    // Meanwhile the peer tells that it went on alone.
    let solo_a = record(9, Holder::Solo { side: Side::A, disk: DA });
    let mut hello = Bench::paired(Side::A).node.hello();
    hello = Hello { record: Some(solo_a), role: Role::Primary, ..hello };
    b.on(Event::Peer(Message::Hello(hello)));
    let won = record(8, Holder::Solo { side: Side::B, disk: DB });
    let effects = b.on(Event::Witness { request, answer: Answer::Won(won) });
    assert!(!effects.contains(&Effect::Promote { force: false }), "{effects:?}");
    assert_eq!(b.node.durable().record, Some(solo_a));
}

#[test]
fn the_kernel_gets_one_answer_to_one_question() {
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.view(FROZEN);
    let first = a.asked(40);
    let request = first.iter().find_map(|effect| match effect {
        Effect::Ask { request, .. } => Some(*request),
        _ => None,
    });
    let request = request.expect("it claims");
    // Asked again before the witness has answered: the first claim is nobody's any more.
    let second = a.asked(41);
    assert!(second.iter().any(|effect| matches!(effect, Effect::Ask { .. })), "{second:?}");
    let solo = record(8, Holder::Solo { side: Side::A, disk: DA });
    let late = a.on(Event::Witness { request, answer: Answer::Won(solo) });
    assert!(!late.iter().any(|effect| matches!(effect, Effect::Answer { .. })), "{late:?}");
    // The freeze keeps the name of its first question: a promise may be on its way.
    assert_eq!(a.node.hello().frozen, Some(QuestionId(40)));
}

#[test]
fn an_owner_elsewhere_resets_a_frozen_node_but_no_other() {
    let peer_alone = Hello { role: Role::Primary, connected: false, ..Bench::paired(Side::B).node.hello() };
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    // Connected: old news.
    assert!(!a.on(Event::Peer(Message::Hello(peer_alone))).contains(&Effect::Reset));
    a.view(FROZEN);
    a.asked(40);
    let unnamed = Hello { connected: true, ..peer_alone };
    assert!(!a.on(Event::Peer(Message::Hello(unnamed))).contains(&Effect::Reset));
    assert!(a.on(Event::Peer(Message::Hello(peer_alone))).contains(&Effect::Reset));
    assert_eq!(a.node.reason(), Reason::Resetting);
    assert!(a.on(Event::Timer(Timer::Retry)).is_empty(), "nothing follows a reset");
}

#[test]
fn a_failed_disk_leaves_only_with_the_record_given_away() {
    let ask = |a: &mut Bench| {
        let effects = a.on(Event::Question { id: QuestionId(50), asked: Asked::LocalIoError });
        effects.iter().find_map(|effect| match effect {
            Effect::Ask { request, query: Query::Swap(swap), .. } if swap.claim == Claim::GiveAway => {
                Some(*request)
            }
            _ => None,
        })
    };
    let done = Effect::Answer { id: QuestionId(50), code: Code::Done };
    let solo_a = record(8, Holder::Solo { side: Side::A, disk: DA });
    let mut b = Bench::paired(Side::B);
    b.view(HEALTHY);
    let request = ask(&mut b).expect("a standby gives the record away");
    let effects = b.on(Event::Witness { request, answer: Answer::Won(solo_a) });
    assert!(effects.contains(&done) && !effects.contains(&Effect::Reset), "{effects:?}");
    let mut b = Bench::paired(Side::B);
    b.view(HEALTHY);
    let request = ask(&mut b).expect("a standby gives the record away");
    let effects = b.on(Event::Witness { request, answer: Answer::Silence });
    assert!(effects.contains(&Effect::Reset) && !effects.contains(&done), "{effects:?}");
    // An active node gives it away too, and then cannot go on.
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    let request = ask(&mut a).expect("an active node gives the record away");
    let solo_b = record(8, Holder::Solo { side: Side::B, disk: DB });
    let effects = a.on(Event::Witness { request, answer: Answer::Won(solo_b) });
    assert!(effects.contains(&Effect::Reset) && !effects.contains(&done), "{effects:?}");
}

#[test]
fn of_two_calls_of_the_handler_the_last_to_come_is_worked_for() {
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.view(FROZEN);
    assert!(!a.asked(2).iter().any(|effect| matches!(effect, Effect::Answer { .. })));
    let effects = a.asked(1);
    assert!(effects.contains(&Effect::Answer { id: QuestionId(2), code: Code::Stay }), "{effects:?}");
    let (request, _) = sent(&effects).expect("a claim for the call that is left");
    let effects = a.on(Event::Witness { request, answer: Answer::Won(record(8, SOLO_A)) });
    assert!(effects.contains(&Effect::Answer { id: QuestionId(1), code: Code::PeerOutdated }), "{effects:?}");
}
