//! Freezes, the handler's answers, and what a node does after them.

use crate::{ACTIVE, ALONE, Bench, DA, FROZEN, HEALTHY, LOST, PAIRED, SOLO_A, SOLO_B, policy, record, sent};
use pair_core::{
    effect::{Alarm, Code, Effect},
    event::{Answer, Asked, Command, Event, Power, QuestionId, RequestId, Timer},
    message::{Message, Mode},
    node::{Durable, Identity},
    reason::Reason,
    record::Side,
    view::{Disk, Link, Role, View},
};

fn frozen(mode: Mode) -> Bench {
    let mut a = Bench::known(Side::A, mode, PAIRED);
    a.view(ACTIVE);
    a.view(FROZEN);
    a
}

fn code(effects: &[Effect]) -> Option<Code> {
    effects
        .iter()
        .find_map(|effect| if let Effect::Answer { code, .. } = effect { Some(*code) } else { None })
}

#[test]
fn a_question_before_the_freeze_is_seen_is_no_freeze_yet() {
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.asked(40);
    let hello = a.node.hello();
    assert_eq!((hello.frozen, hello.connected), (None, true));
    a.view(FROZEN);
    let hello = a.node.hello();
    assert_eq!((hello.frozen, hello.connected), (Some(QuestionId(40)), false));
}

#[test]
fn going_on_alone_without_a_witness_is_noted_before_the_kernel_goes_on() {
    let mut a = frozen(Mode::Manual);
    let effects = a.asked(40);
    let at = |wanted: &Effect| effects.iter().position(|effect| effect == wanted);
    let noted = at(&Effect::Store(*a.node.durable()));
    let exit = at(&Effect::Answer { id: QuestionId(40), code: Code::PeerOutdated });
    assert!(noted.is_some() && exit.is_some() && noted < exit, "{effects:?}");
    assert!(a.node.durable().alone);
    // Until it meets a current peer.
    a.view(ALONE);
    assert!(a.node.durable().alone);
    a.view(View { link: Link::SyncSource, peer_disk: Disk::Inconsistent, ..ACTIVE });
    assert!(a.node.durable().alone);
    a.view(ACTIVE);
    assert!(!a.node.durable().alone);
    // Not when the handler answered something else, when the peer has promised, or beside a witness.
    let mut a = frozen(Mode::Manual);
    a.view(View { disk: Disk::Consistent, ..FROZEN });
    assert_eq!((code(&a.asked(40)), a.node.durable().alone), (Some(Code::Stay), false));
    let mut a = frozen(Mode::Manual);
    a.view(View { disk: Disk::Consistent, ..FROZEN });
    a.asked(40);
    let effects = a.on(Event::Peer(Message::Outdated { freeze: QuestionId(40) }));
    assert!(effects.contains(&Effect::AskAgain), "{effects:?}");
    a.view(FROZEN);
    assert_eq!((code(&a.asked(41)), a.node.durable().alone), (Some(Code::PeerOutdated), false));
    let mut a = frozen(Mode::Witness);
    let (request, _) = sent(&a.asked(40)).expect("it claims");
    let effects = a.on(Event::Witness { request, answer: Answer::Won(record(8, SOLO_A)) });
    assert_eq!((code(&effects), a.node.durable().alone), (Some(Code::PeerOutdated), false));
}

#[test]
fn a_promise_while_the_handler_waits_does_not_make_the_kernel_ask_twice() {
    let mut a = frozen(Mode::Witness);
    a.asked(40);
    let effects = a.on(Event::Peer(Message::Outdated { freeze: QuestionId(40) }));
    assert!(!effects.contains(&Effect::AskAgain) && a.node.facts().promised, "{effects:?}");
    // One that comes when the link is back, or after the freeze, is none.
    let mut a = frozen(Mode::Witness);
    a.asked(40);
    a.view(View { frozen: true, ..ACTIVE });
    let effects = a.on(Event::Peer(Message::Outdated { freeze: QuestionId(40) }));
    assert!(!effects.contains(&Effect::AskAgain) && !a.node.facts().promised, "{effects:?}");
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.asked(40);
    let effects = a.on(Event::Peer(Message::Outdated { freeze: QuestionId(40) }));
    assert!(!effects.contains(&Effect::AskAgain) && !a.node.facts().promised, "{effects:?}");
}

#[test]
fn an_active_peer_resets_a_frozen_primary_but_not_a_node_that_asks_to_become_one() {
    let refuse = |bench: &mut Bench| {
        let effects = bench.asked(40);
        let (request, _) = sent(&effects).expect("it claims");
        let holder = if bench.node.facts().side == Side::A { SOLO_B } else { SOLO_A };
        bench.on(Event::Witness { request, answer: Answer::Is(record(9, holder)) })
    };
    let effects = refuse(&mut frozen(Mode::Witness));
    assert_eq!(code(&effects), Some(Code::PeerActive));
    assert!(effects.contains(&Effect::Reset) && effects.contains(&Effect::Alarm(Alarm::Superseded)));
    // Inside `drbdadm primary`: the kernel outdates it, that is all.
    let mut b = Bench::paired(Side::B);
    b.view(LOST);
    let effects = refuse(&mut b);
    assert_eq!(code(&effects), Some(Code::PeerActive));
    assert!(!effects.contains(&Effect::Reset), "{effects:?}");
    assert_eq!(b.node.reason(), Reason::PeerIsSolo);
}

#[test]
fn the_handler_is_asked_again_only_while_no_call_of_it_runs() {
    let retry = Event::Timer(Timer::Retry);
    let mut a = frozen(Mode::Witness);
    assert!(a.on(retry).contains(&Effect::AskAgain));
    let (request, _) = sent(&a.asked(40)).expect("it claims");
    assert!(!a.on(retry).contains(&Effect::AskAgain), "the kernel asks nobody while its handler runs");
    assert_eq!(code(&a.on(Event::Witness { request, answer: Answer::Silence })), Some(Code::Stay));
    assert!(a.node.armed(Timer::Retry));
    assert!(a.on(retry).contains(&Effect::AskAgain));
    // The link is back: the kernel has what it needs. And nobody is frozen.
    for view in [View { frozen: true, ..ACTIVE }, ACTIVE, ALONE, HEALTHY, LOST] {
        let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
        a.view(view);
        assert!(!a.on(retry).contains(&Effect::AskAgain), "{view:?}");
    }
}

#[test]
fn only_the_power_device_s_own_answer_counts_and_only_while_it_is_wanted() {
    let shoots = || {
        let mut b = Bench::known(Side::B, Mode::Fence, PAIRED);
        b.view(HEALTHY);
        b.view(LOST);
        let effects = b.on(Event::Timer(Timer::Claim));
        let request = RequestId(b.next);
        assert!(effects.contains(&Effect::PowerOff { request }), "{effects:?}");
        (b, request)
    };
    let promotes = |effects: &[Effect]| effects.contains(&Effect::Promote { force: false });
    let (mut b, request) = shoots();
    let other = b.on(Event::Power { request: RequestId(99), power: Power::Off });
    assert!(!promotes(&other), "{other:?}");
    assert!(promotes(&b.on(Event::Power { request, power: Power::Off })));
    assert!(!promotes(&b.on(Event::Power { request, power: Power::Off })), "it is used up");
    let (mut b, request) = shoots();
    b.view(HEALTHY);
    let late = b.on(Event::Power { request, power: Power::Off });
    assert!(!promotes(&late), "the peer is back: {late:?}");
    // An answer of a witness to something else is not one of the power device.
    let mut b = Bench::paired(Side::B);
    b.view(LOST);
    let (request, _) = sent(&b.on(Event::Timer(Timer::Claim))).expect("it claims");
    assert!(!promotes(&b.on(Event::Power { request, power: Power::Off })));
}

#[test]
fn a_failed_disk_of_a_barred_node_resets() {
    let barred = Durable {
        prepared: Some((RequestId(5), policy(2, Mode::Manual))),
        ..*Bench::paired(Side::B).node.durable()
    };
    let mut b = Bench::new(Side::B, barred);
    b.view(HEALTHY);
    let effects = b.on(Event::Question { id: QuestionId(50), asked: Asked::LocalIoError });
    assert!(effects.contains(&Effect::Reset) && sent(&effects).is_none(), "{effects:?}");
}

#[test]
fn an_operator_s_oath_ends_when_the_peer_is_back() {
    let mut b = Bench::known(Side::B, Mode::Manual, PAIRED);
    b.view(HEALTHY);
    assert!(!b.node.facts().sworn);
    b.view(LOST);
    assert!(!b.node.facts().sworn, "nobody swore");
    b.on(Event::Operator(Command::Promote));
    assert!(b.node.facts().sworn);
    b.view(View { link: Link::StandAlone, ..LOST });
    assert!(b.node.facts().sworn, "still alone");
    b.view(HEALTHY);
    assert!(!b.node.facts().sworn);
}

#[test]
fn nothing_is_tainted_while_the_peer_is_connected() {
    let me = Identity { side: Side::A, disk: DA, watchdog: true, power: false };
    for view in [View { link: Link::SyncSource, peer_disk: Disk::Inconsistent, ..ACTIVE }, HEALTHY, LOST] {
        let mut a = Bench::with(me, *Bench::known(Side::A, Mode::Witness, SOLO_A).node.durable());
        a.view(view);
        assert!(!a.node.armed(Timer::PeerGone), "{view:?}");
        assert!(!a.on(Event::Timer(Timer::PeerGone)).contains(&Effect::Taint(true)), "{view:?}");
    }
    let mut a = Bench::with(me, *Bench::known(Side::A, Mode::Witness, SOLO_A).node.durable());
    a.view(ALONE);
    assert!(a.node.armed(Timer::PeerGone));
    assert!(a.on(Event::Timer(Timer::PeerGone)).contains(&Effect::Taint(true)));
    assert!(!a.on(Event::Timer(Timer::PeerGone)).contains(&Effect::Taint(true)), "once");
    // A node on its way back is not gone any more.
    let syncs = View { link: Link::SyncSource, peer_disk: Disk::Inconsistent, ..ACTIVE };
    assert!(a.view(syncs).contains(&Effect::Taint(false)));
    assert_eq!(a.view(ACTIVE).iter().filter(|effect| matches!(effect, Effect::Taint(_))).count(), 0);
    assert!(!View { role: Role::Secondary, ..ALONE }.writes());
}
