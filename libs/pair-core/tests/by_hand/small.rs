//! Small things that a shell or a reader relies on: timers, what a node tells of itself, words.

use crate::{ACTIVE, Bench, DB, FROZEN, HEALTHY, LOST, PAIRED, SOLO_A, SOLO_B, record, said};
use pair_core::{
    effect::{Code, Effect},
    event::{Event, QuestionId, Timer},
    message::{Hello, Message, Mode},
    node::Durable,
    record::{DiskId, Epoch, Holder, Refusal, Side},
    view::{Disk, Role, View},
};

#[test]
fn a_timer_is_armed_once_disarmed_when_nothing_needs_it_and_armed_again_after_it_fired() {
    let mut b = Bench::paired(Side::B);
    b.view(HEALTHY);
    assert!(b.node.armed(Timer::Hello) && !b.node.armed(Timer::Claim));
    assert!(b.view(LOST).contains(&Effect::Arm(Timer::Claim)));
    assert!(b.node.armed(Timer::Claim) && b.node.armed(Timer::Hello));
    let effects = b.view(HEALTHY);
    assert!(effects.contains(&Effect::Disarm(Timer::Claim)), "{effects:?}");
    assert!(!b.node.armed(Timer::Claim) && b.node.armed(Timer::Hello));
    assert!(!b.view(View { peer: Some(Role::Secondary), ..HEALTHY }).contains(&Effect::Disarm(Timer::Claim)));
    // A fired timer is not armed: it is armed anew by the same event, and the shell is told.
    let effects = b.on(Event::Timer(Timer::Hello));
    assert!(effects.contains(&Effect::Arm(Timer::Hello)), "{effects:?}");
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.view(FROZEN);
    assert!(a.node.armed(Timer::SelfFence) && a.node.armed(Timer::Retry));
    a.view(ACTIVE);
    assert!(!a.node.armed(Timer::SelfFence));
}

#[test]
fn the_preferred_side_begins() {
    let free = View { peer: Some(Role::Secondary), ..HEALTHY };
    for (side, preferred) in [(Side::A, Side::A), (Side::A, Side::B), (Side::B, Side::A), (Side::B, Side::B)]
    {
        let mut node = Bench::paired(side);
        node.node.prefer(preferred);
        let begins = node.view(free).contains(&Effect::Promote { force: false });
        assert_eq!(begins, side == preferred, "{side} where {preferred} is preferred");
    }
}

fn hello(bench: &mut Bench) -> Hello {
    bench.node.hello()
}

#[test]
fn what_a_hello_says() {
    let mut a = Bench::paired(Side::A);
    a.view(View { disk: Disk::Consistent, ..LOST });
    assert!(hello(&mut a).usable && !hello(&mut a).healthy && !hello(&mut a).connected);
    a.view(View { disk: Disk::Inconsistent, ..LOST });
    assert!(!hello(&mut a).usable);
    a.view(View { disk: Disk::Diskless, ..LOST });
    assert!(!hello(&mut a).usable);
    a.view(HEALTHY);
    assert!(hello(&mut a).usable && hello(&mut a).healthy && hello(&mut a).connected);
    // A Secondary is not frozen, whatever it was.
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.view(FROZEN);
    a.asked(5);
    assert_eq!(hello(&mut a).frozen, Some(QuestionId(5)));
    assert!(!hello(&mut a).connected);
    a.view(ACTIVE);
    assert_eq!(hello(&mut a).frozen, None);
}

#[test]
fn what_is_kept_of_a_peer() {
    let mut a = Bench::paired(Side::A);
    let b = Bench::paired(Side::B);
    assert_eq!(a.node.peer(), None);
    a.hears(&b);
    let peer = a.node.peer().expect("it spoke");
    assert_eq!((peer.disk, peer.clients, peer.ahead), (DB, true, None));
    // A node whose reach changes says so at once.
    let effects = a.on(Event::Clients(false));
    let told = said(&effects).into_iter().any(|m| matches!(m, Message::Hello(hello) if !hello.clients));
    assert!(told, "{effects:?}");
}

#[test]
fn a_handler_alone_gets_no_oath() {
    let mut b = Bench::known(Side::B, Mode::Manual, PAIRED);
    b.view(LOST);
    b.on(Event::Operator(pair_core::event::Command::Promote));
    assert!(b.node.facts().sworn);
    assert!(!b.node.facts_alone().sworn && !b.node.facts_alone().promised);
}

#[test]
fn words_and_numbers() {
    let numbers = [
        (Code::Done, 0),
        (Code::Stay, 1),
        (Code::PeerOutdated, 4),
        (Code::Unreachable, 5),
        (Code::PeerActive, 6),
        (Code::PeerFenced, 7),
    ];
    for (code, number) in numbers {
        assert_eq!(code.number(), number);
    }
    let holders =
        [(Holder::Unknown, "unknown"), (PAIRED, "paired"), (SOLO_A, "solo(a)"), (SOLO_B, "solo(b)")];
    for (holder, text) in holders {
        assert_eq!(holder.to_string(), text);
        assert_eq!(record(7, holder).to_string(), format!("{text},7"));
    }
    let current = record(7, SOLO_B);
    let all = [
        Refusal::ForeignLineage { current },
        Refusal::Moved { current },
        Refusal::WitnessBehind { current },
        Refusal::HolderUnknown { current },
        Refusal::PeerIsSolo { current },
        Refusal::NotMyDisk { current },
        Refusal::SameDisk { current },
        Refusal::WrongHolder { current },
        Refusal::EpochsExhausted { current },
    ];
    let words: std::collections::HashSet<String> = all.iter().map(ToString::to_string).collect();
    assert!(words.len() == all.len() && words.iter().all(|text| text.len() > 20), "{words:?}");
    assert!(all[4].to_string().contains("solo(b)"));
}

#[test]
fn a_disk_is_named_by_its_side() {
    assert_eq!(PAIRED.disk_of(Side::B), Some(DB));
    assert_eq!(SOLO_A.disk_of(Side::B), None);
    assert_eq!(Holder::Unknown.disk_of(Side::A), None);
    let none = Durable { record: None, ..*Bench::paired(Side::A).node.durable() };
    let mut a = Bench::new(Side::A, none);
    a.view(HEALTHY);
    assert_eq!(a.node.hello().record, None);
    assert_eq!(Epoch(u64::MAX).next(), None);
    assert_ne!(DiskId([1; 16]), DB);
}
