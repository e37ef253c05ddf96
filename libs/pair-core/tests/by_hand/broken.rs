//! The known-bad variants, one event each. What each of them costs a pair is the model's business
//! (`tests/pair/variants.rs`); here is that a variant differs in its own rule, and that the whole rules do not.

use crate::{
    ACTIVE, ALONE, Bench, DA, DB, FROZEN, HEALTHY, LOST, PAIRED, SOLO_A, SOLO_B, claims, record, said, sent,
};
use pair_core::{
    effect::{Alarm, Effect},
    event::{Answer, Event, QuestionId, RequestId, Timer},
    message::{Hello, Message, Mode},
    node::{Durable, Identity, Node},
    record::{Claim, DiskId, Epoch, Holder, Side},
    rules::{Broken, Rules},
    view::{Disk, View},
};

/// Attached, not connected yet.
const COLD: View = View { disk: Disk::Consistent, ..View::DOWN };

/// A node that remembers this record, with one rule broken or with all.
fn node(side: Side, holder: Holder, rules: Rules) -> Bench {
    let whole = Bench::known(side, Mode::Witness, holder);
    let disk = if side == Side::A { DA } else { DB };
    let me = Identity { side, disk, watchdog: true, power: false };
    Bench { node: Node::new(me, *whole.node.durable(), rules), next: 0 }
}

/// With the rule and without it.
fn both(rule: Broken, mut what: impl FnMut(Rules) -> bool) {
    assert!(!what(Rules::ALL), "{rule:?}: all rules hold");
    assert!(what(Rules::without(rule)), "{rule:?}: broken");
    let other = if rule == Broken::BlessEarly { Broken::RetryFailed } else { Broken::BlessEarly };
    assert!(!what(Rules::without(other)), "{rule:?}: another one is broken");
}

fn hears(bench: &mut Bench, change: impl FnOnce(&mut Hello)) -> Vec<Effect> {
    let mut hello = Bench::paired(!bench.node.facts().side).node.hello();
    change(&mut hello);
    bench.on(Event::Peer(Message::Hello(hello)))
}

#[test]
fn a_claim_takes_the_record_whatever_it_says() {
    both(Broken::ClaimWithoutCompare, |rules| {
        let mut b = node(Side::B, PAIRED, rules);
        b.view(LOST);
        claims(&b.on(Event::Timer(Timer::Claim)), Claim::Appoint { floor: Epoch(7) })
    });
}

#[test]
fn a_cold_node_believes_its_disk() {
    both(Broken::TrustConsistent, |rules| {
        let mut b = node(Side::B, PAIRED, rules);
        b.view(View { disk: Disk::Consistent, ..LOST });
        b.on(Event::Timer(Timer::Claim)).contains(&Effect::Promote { force: false })
    });
    // One that was current in this boot asks all the same.
    let mut b = node(Side::B, PAIRED, Rules::without(Broken::TrustConsistent));
    b.view(HEALTHY);
    b.view(LOST);
    assert!(claims(&b.on(Event::Timer(Timer::Claim)), Claim::Solo));
}

#[test]
fn an_answer_to_an_older_request_counts() {
    both(Broken::AnyAnswer, |rules| {
        let mut a = node(Side::A, PAIRED, rules);
        a.view(ACTIVE);
        a.view(FROZEN);
        a.asked(40);
        a.on(Event::Witness { request: RequestId(99), answer: Answer::Won(record(8, SOLO_A)) });
        a.node.durable().record == Some(record(8, SOLO_A))
    });
}

#[test]
fn a_peer_leaves_without_a_claim() {
    let id = RequestId(70);
    both(Broken::LeaveWithoutClaim, |rules| {
        let mut a = node(Side::A, PAIRED, rules);
        a.view(ACTIVE);
        said(&a.on(Event::Peer(Message::Leave { id }))).contains(&Message::MayLeave { id })
    });
}

#[test]
fn a_returning_node_connects_at_once() {
    let believes: fn(&mut Hello) = |hello| hello.connected = true;
    let frozen: fn(&mut Hello) = |hello| hello.frozen = Some(QuestionId(40));
    for word in [believes, frozen] {
        both(Broken::ConnectAtOnce, |rules| {
            let mut b = node(Side::B, PAIRED, rules);
            b.view(COLD);
            hears(&mut b, word).contains(&Effect::Connect)
        });
    }
}

#[test]
fn a_promise_counts_for_a_later_freeze() {
    both(Broken::PromiseForever, |rules| {
        let mut a = node(Side::A, PAIRED, rules);
        a.view(ACTIVE);
        a.view(FROZEN);
        a.asked(40);
        a.on(Event::Peer(Message::Outdated { freeze: QuestionId(39) }));
        a.node.facts().promised
    });
    both(Broken::PromiseForever, |rules| {
        let mut a = node(Side::A, PAIRED, rules);
        a.view(ACTIVE);
        a.view(FROZEN);
        a.asked(40);
        a.on(Event::Peer(Message::Outdated { freeze: QuestionId(40) }));
        a.view(ALONE);
        a.node.facts().promised
    });
}

#[test]
fn the_record_is_widened_without_asking() {
    both(Broken::PairAtOnce, |rules| {
        let mut a = node(Side::A, SOLO_A, rules);
        a.view(ACTIVE);
        claims(&hears(&mut a, |hello| hello.record = None), Claim::Pair { peer: DB })
    });
}

#[test]
fn a_strange_disk_is_trusted() {
    let strange = |rules| {
        let mut b = node(Side::B, SOLO_B, rules);
        let durable = Durable { enrolled: None, ..*b.node.durable() };
        let me = Identity { side: Side::B, disk: DiskId([0xc; 16]), watchdog: true, power: false };
        b.node = Node::new(me, durable, rules);
        b
    };
    both(Broken::TrustStrangers, |rules| {
        !strange(rules).view(COLD).contains(&Effect::Alarm(Alarm::StrangeDisk))
    });
    both(Broken::TrustStrangers, |rules| {
        let mut b = strange(rules);
        b.view(COLD);
        hears(&mut b, |hello| hello.record = None).contains(&Effect::Connect)
    });
}

#[test]
fn a_freeze_without_a_name_looks_like_none() {
    both(Broken::UnnamedFreeze, |rules| {
        let mut a = node(Side::A, PAIRED, rules);
        a.view(ACTIVE);
        a.view(FROZEN);
        assert_eq!(sent(&a.on(Event::Timer(Timer::Hello))), None);
        !a.node.hello().connected
    });
}
