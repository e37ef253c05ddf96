//! The witness, the timers, the service.

use crate::{
    ACTIVE, ALONE, Bench, DA, DB, FROZEN, HEALTHY, LOST, PAIRED, SOLO_A, SOLO_B, claims, policy, record,
    said, sent,
};
use pair_core::{
    effect::{Alarm, Code, Effect},
    event::{Answer, Asked, Event, Power, QuestionId, RequestId, Timer},
    message::{Hello, Message, Mode},
    node::{Durable, Identity},
    record::{Claim, Epoch, Holder, Lineage, Record, Refusal, Side},
    view::{Disk, Link, Role, View},
};

fn promotes(effects: &[Effect]) -> bool {
    effects.contains(&Effect::Promote { force: false })
}

#[test]
fn a_lone_standby_claims_then_promotes() {
    let mut b = Bench::paired(Side::B);
    b.view(HEALTHY);
    assert!(!b.node.armed(Timer::Claim));
    assert!(b.view(LOST).contains(&Effect::Arm(Timer::Claim)));
    let effects = b.on(Event::Timer(Timer::Claim));
    assert!(claims(&effects, Claim::Solo) && !promotes(&effects), "{effects:?}");
    let (request, _) = sent(&effects).expect("it claims");
    assert!(promotes(&b.on(Event::Witness { request, answer: Answer::Won(record(8, SOLO_B)) })));
    // Once: the answer is used up.
    assert!(b.on(Event::Witness { request, answer: Answer::Won(record(8, SOLO_B)) }).is_empty());
}

#[test]
fn who_does_not_claim() {
    let connected = View { peer: Some(Role::Secondary), ..HEALTHY };
    for view in [
        HEALTHY,
        connected,
        ACTIVE,
        View { disk: Disk::Outdated, ..LOST },
        View { disk: Disk::Inconsistent, ..LOST },
        View::DOWN,
    ] {
        let mut b = Bench::paired(Side::B);
        b.view(view);
        assert!(!b.node.armed(Timer::Claim), "{view:?}");
        assert!(sent(&b.on(Event::Timer(Timer::Claim))).is_none(), "{view:?}");
    }
    // A peer whose disk failed, or that is being synchronised from here, cannot become active: this one may.
    for (link, peer_disk) in [(Link::Connected, Disk::Diskless), (Link::SyncSource, Disk::Inconsistent)] {
        let mut b = Bench::known(Side::B, Mode::Witness, SOLO_B);
        b.view(View { link, peer_disk, ..connected });
        assert!(b.node.armed(Timer::Claim), "{link:?} {peer_disk:?}");
        let mut b = Bench::known(Side::B, Mode::Witness, SOLO_B);
        b.view(View { link, peer_disk, ..HEALTHY });
        assert!(!b.node.armed(Timer::Claim), "its peer is active: {link:?} {peer_disk:?}");
    }
    // Its own copy is not current, or about to be the one that is synchronised.
    for (link, disk, peer_disk) in [
        (Link::Connected, Disk::Consistent, Disk::Diskless),
        (Link::SyncTarget, Disk::UpToDate, Disk::UpToDate),
    ] {
        let mut b = Bench::known(Side::B, Mode::Witness, SOLO_B);
        b.view(View { link, disk, peer_disk, ..connected });
        assert!(!b.node.armed(Timer::Claim), "{link:?} {disk:?}");
    }
    let strange = Durable::new(policy(1, Mode::Witness));
    let mut b = Bench::new(Side::B, strange);
    let effects = b.view(LOST);
    assert!(effects.contains(&Effect::Alarm(Alarm::StrangeDisk)), "{effects:?}");
    assert!(!b.node.armed(Timer::Claim));
}

#[test]
fn modes_without_a_witness() {
    let timer = Event::Timer(Timer::Claim);
    let mut b = Bench::known(Side::B, Mode::Manual, PAIRED);
    b.view(HEALTHY);
    b.view(LOST);
    let effects = b.on(timer);
    assert!(!promotes(&effects) && sent(&effects).is_none(), "{effects:?}");
    let mut b = Bench::known(Side::B, Mode::AvailabilityFirst, PAIRED);
    b.view(LOST);
    assert!(promotes(&b.on(timer)));
    // By fencing only what was current in this boot.
    let shoots = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::PowerOff { .. }));
    let mut b = Bench::known(Side::B, Mode::Fence, PAIRED);
    b.view(LOST);
    assert!(!shoots(&b.on(timer)), "never at boot");
    let mut b = Bench::known(Side::B, Mode::Fence, PAIRED);
    b.view(HEALTHY);
    b.view(View { disk: Disk::Consistent, ..LOST });
    assert!(!shoots(&b.on(timer)), "not current");
    for (power, won) in [(Power::Off, true), (Power::NotOff, false)] {
        let mut b = Bench::known(Side::B, Mode::Fence, PAIRED);
        b.view(HEALTHY);
        b.view(LOST);
        assert!(shoots(&b.on(timer)));
        let request = RequestId(b.next);
        assert_eq!(promotes(&b.on(Event::Power { request, power })), won);
    }
}

#[test]
fn a_fenced_peer_is_tainted_and_switched_on_again() {
    let mut a = Bench::known(Side::A, Mode::Fence, PAIRED);
    a.view(ACTIVE);
    a.view(FROZEN);
    a.asked(40);
    let request = RequestId(a.next);
    let effects = a.on(Event::Power { request, power: Power::Off });
    let code = Effect::Answer { id: QuestionId(40), code: Code::PeerFenced };
    for wanted in [code, Effect::Taint(true), Effect::PowerOn] {
        assert!(effects.contains(&wanted), "{wanted:?} in {effects:?}");
    }
    assert!(a.view(ACTIVE).contains(&Effect::Taint(false)), "it is back");
}

#[test]
fn time_proves_something_only_with_a_watchdog() {
    for (watchdog, view, tainted) in
        [(true, ALONE, true), (false, ALONE, false), (true, ACTIVE, false), (true, FROZEN, false)]
    {
        let me = Identity { side: Side::A, disk: DA, watchdog, power: false };
        let mut a = Bench::with(me, *Bench::known(Side::A, Mode::Witness, SOLO_A).node.durable());
        a.view(view);
        assert_eq!(
            a.on(Event::Timer(Timer::PeerGone)).contains(&Effect::Taint(true)),
            tainted,
            "{watchdog} {view:?}"
        );
    }
    for (view, resets) in [(FROZEN, true), (ALONE, false), (ACTIVE, false)] {
        let mut a = Bench::paired(Side::A);
        a.view(view);
        assert_eq!(a.node.armed(Timer::SelfFence), resets);
        let effects = a.on(Event::Timer(Timer::SelfFence));
        assert_eq!(
            effects.contains(&Effect::Reset) && effects.contains(&Effect::Alarm(Alarm::SelfFenced)),
            resets
        );
    }
}

#[test]
fn address_and_service_follow_the_storage() {
    let mut a = Bench::paired(Side::A);
    assert!(a.view(ACTIVE).contains(&Effect::Service(true)));
    assert!(a.on(Event::Service(true)).contains(&Effect::VirtualIp(true)));
    // Frozen: the address goes, the datastore stays.
    let effects = a.view(FROZEN);
    assert!(
        effects.contains(&Effect::VirtualIp(false)) && !effects.contains(&Effect::Service(false)),
        "{effects:?}"
    );
    let effects = a.view(ALONE);
    assert!(effects.contains(&Effect::VirtualIp(true)), "{effects:?}");
    assert!(a.on(Event::Service(false)).contains(&Effect::VirtualIp(false)));
    a.on(Event::Service(true));
    let effects = a.view(View { disk: Disk::Inconsistent, ..ALONE });
    assert!(
        effects.contains(&Effect::Service(false)) && effects.contains(&Effect::VirtualIp(false)),
        "{effects:?}"
    );
    // The question alone takes the address too, should the view be late.
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.on(Event::Service(true));
    assert!(a.asked(40).contains(&Effect::VirtualIp(false)));
    let mut b = Bench::paired(Side::B);
    let effects = b.view(HEALTHY);
    assert!(!effects.contains(&Effect::Service(true)), "{effects:?}");
}

#[test]
fn a_reset_takes_the_address_along() {
    let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
    a.view(ALONE);
    a.on(Event::Service(true));
    let (request, _) = sent(&a.on(Event::Timer(Timer::Reread))).expect("it looks");
    let effects = a.on(Event::Witness { request, answer: Answer::Is(record(9, SOLO_B)) });
    let at = |wanted: &Effect| effects.iter().position(|effect| effect == wanted);
    assert!(
        at(&Effect::VirtualIp(false)).is_some() && at(&Effect::VirtualIp(false)) < at(&Effect::Reset),
        "{effects:?}"
    );
    assert!(effects.contains(&Effect::Alarm(Alarm::Superseded)));
}

#[test]
fn a_reread_that_changes_nothing_resets_nobody() {
    for (view, holder, epoch) in
        [(ALONE, SOLO_A, 9), (ALONE, PAIRED, 9), (ALONE, SOLO_B, 6), (ACTIVE, SOLO_B, 9)]
    {
        let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
        a.view(view);
        let request = sent(&a.on(Event::Timer(Timer::Reread))).expect("it looks").0;
        let effects = a.on(Event::Witness { request, answer: Answer::Is(record(epoch, holder)) });
        assert!(!effects.contains(&Effect::Reset), "{view:?} {holder}: {effects:?}");
    }
}

#[test]
fn a_lone_writer_that_does_not_own_the_record_confirms() {
    // It went on by the peer's promise: the record is made to say so.
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    let effects = a.view(ALONE);
    assert!(claims(&effects, Claim::Solo), "{effects:?}");
    let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
    a.view(ACTIVE);
    assert!(sent(&a.view(ALONE)).is_none(), "it owns it");
    let mut a = Bench::known(Side::A, Mode::Manual, PAIRED);
    a.view(ACTIVE);
    assert!(sent(&a.view(ALONE)).is_none(), "no witness");
}

#[test]
fn alarms_of_the_witness() {
    let ask = || {
        let mut b = Bench::paired(Side::B);
        b.view(LOST);
        let request = sent(&b.on(Event::Timer(Timer::Claim))).expect("it claims").0;
        (b, request)
    };
    let foreign = Record { lineage: Lineage([2; 16]), epoch: Epoch(9), holder: PAIRED };
    for (answer, alarm) in [
        (Answer::Refused(Refusal::WitnessBehind { current: record(3, PAIRED) }), Some(Alarm::WitnessBehind)),
        (Answer::Refused(Refusal::ForeignLineage { current: foreign }), Some(Alarm::ForeignLineage)),
        (Answer::Refused(Refusal::PeerIsSolo { current: record(8, SOLO_A) }), None),
        (Answer::Silence, None),
    ] {
        let (mut b, request) = ask();
        let effects = b.on(Event::Witness { request, answer });
        let got = effects
            .iter()
            .find_map(|effect| if let Effect::Alarm(alarm) = effect { Some(*alarm) } else { None });
        assert_eq!(got, alarm, "{answer:?}");
        assert!(!promotes(&effects));
    }
}

#[test]
fn the_record_is_widened_only_on_an_answer_to_the_question() {
    let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
    a.view(ACTIVE);
    let peer = Bench::paired(Side::B);
    let mut hello = Hello { healthy: true, record: None, ..peer.node.hello() };
    let effects = a.on(Event::Peer(Message::Hello(hello)));
    let asks = said(&effects).into_iter().find_map(|message| match message {
        Message::Hello(hello) => hello.asks,
        _ => None,
    });
    assert!(asks.is_some() && sent(&effects).is_none(), "{effects:?}");
    // Said of itself, and to another question: neither is an answer.
    for answers in [None, Some(RequestId(77))] {
        hello.answers = answers;
        assert!(sent(&a.on(Event::Peer(Message::Hello(hello)))).is_none());
    }
    hello.answers = asks;
    let effects = a.on(Event::Peer(Message::Hello(hello)));
    assert!(claims(&effects, Claim::Pair { peer: DB }), "{effects:?}");
    // An answer that says "not healthy" is one, and it is no.
    let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
    a.view(ACTIVE);
    let effects = a.on(Event::Peer(Message::Hello(Hello { answers: None, ..hello })));
    let asks = said(&effects).into_iter().find_map(|message| match message {
        Message::Hello(hello) => hello.asks,
        _ => None,
    });
    assert!(asks.is_some());
    assert!(
        sent(&a.on(Event::Peer(Message::Hello(Hello { answers: asks, healthy: false, ..hello })))).is_none()
    );
}

#[test]
fn a_cold_node_gives_way_to_a_frozen_one() {
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.view(FROZEN);
    a.asked(40);
    let cold = View { disk: Disk::Consistent, ..View::DOWN };
    let mut b = Bench::paired(Side::B);
    b.view(cold);
    // The record first, then the disk, then the word.
    let effects = b.hears(&a);
    assert!(claims(&effects, Claim::GiveAway) && !effects.contains(&Effect::Outdate), "{effects:?}");
    let request = sent(&effects).expect("it gives away").0;
    let effects = b.on(Event::Witness { request, answer: Answer::Won(record(8, SOLO_A)) });
    assert!(
        effects.contains(&Effect::Outdate)
            && said(&effects).iter().all(|m| !matches!(m, Message::Outdated { .. })),
        "{effects:?}"
    );
    let effects = b.view(View { disk: Disk::Outdated, ..cold });
    assert!(said(&effects).contains(&Message::Outdated { freeze: QuestionId(40) }), "{effects:?}");
    // Its own older claim has won meanwhile: the right is here.
    let mut b = Bench::paired(Side::B);
    b.view(cold);
    let request = sent(&b.hears(&a)).expect("it gives away").0;
    let refused = Answer::Refused(Refusal::Moved { current: record(8, SOLO_B) });
    assert!(!b.on(Event::Witness { request, answer: refused }).contains(&Effect::Outdate));
    // A replaced disk cannot promise for the one that is named.
    let me =
        Identity { side: Side::B, disk: pair_core::record::DiskId([0xc; 16]), watchdog: true, power: false };
    let mut b = Bench::with(me, Durable::new(policy(1, Mode::Witness)));
    b.view(View { disk: Disk::Inconsistent, ..View::DOWN });
    let effects = b.hears(&a);
    assert!(
        said(&effects).iter().all(|m| !matches!(m, Message::Outdated { .. })) && sent(&effects).is_none(),
        "{effects:?}"
    );
}

#[test]
fn a_failed_disk_beside_a_claimed_record_resets() {
    let question = Event::Question { id: QuestionId(50), asked: Asked::LocalIoError };
    for (view, mode, holder) in
        [(HEALTHY, Mode::Manual, PAIRED), (LOST, Mode::Witness, PAIRED), (HEALTHY, Mode::Witness, SOLO_A)]
    {
        let mut b = Bench::known(Side::B, mode, holder);
        b.view(view);
        let effects = b.on(question);
        assert!(
            effects.contains(&Effect::Reset) && effects.contains(&Effect::Alarm(Alarm::DiskFailed)),
            "{view:?} {mode:?}: {effects:?}"
        );
    }
    let mut b = Bench::paired(Side::B);
    b.view(HEALTHY);
    assert!(claims(&b.on(question), Claim::GiveAway));
}

#[test]
fn a_history_is_taken_over_from_a_healthy_peer_only() {
    let next = Record { lineage: Lineage([2; 16]), epoch: Epoch(9), holder: PAIRED };
    let base = Bench::paired(Side::B).node.hello();
    let other = Record { holder: Holder::Paired { a: DA, b: pair_core::record::DiskId([0xc; 16]) }, ..next };
    for (view, record_said, taken) in [
        (ACTIVE, next, true),
        (LOST, next, false),
        (ACTIVE, Record { epoch: Epoch(7), ..next }, false),
        (ACTIVE, Record { holder: SOLO_A, ..next }, false),
        (ACTIVE, other, false),
        (LOST, record(8, SOLO_B), true),
        (LOST, record(6, SOLO_B), false),
    ] {
        let mut a = Bench::paired(Side::A);
        a.view(view);
        a.on(Event::Peer(Message::Hello(Hello { record: Some(record_said), ..base })));
        assert_eq!(a.node.durable().record == Some(record_said), taken, "{view:?} {record_said:?}");
    }
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.on(Event::Peer(Message::Hello(Hello { record: Some(next), revision: 2, ..base })));
    assert_eq!(a.node.durable().record, Some(record(7, PAIRED)), "another policy's record");
}
