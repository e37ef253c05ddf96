//! What is asked of the witness, and what each answer changes.

use crate::{ACTIVE, ALONE, Bench, DA, DB, FROZEN, LOST, PAIRED, SOLO_A, SOLO_B, claims, record, said, sent};
use pair_core::{
    effect::{Alarm, Code, Effect},
    event::{Answer, Command, Event, QuestionId, RequestId, Timer},
    message::{Hello, Message, Mode},
    node::Durable,
    reason::Reason,
    record::{Claim, Epoch, Holder, Lineage, Record, Refusal, Side, Swap},
};

/// A record of another history.
fn there(epoch: u64, holder: Holder) -> Record {
    Record { lineage: Lineage([2; 16]), epoch: Epoch(epoch), holder }
}

/// A node that remembers no record.
fn blank(side: Side) -> Bench {
    let durable = *Bench::paired(side).node.durable();
    Bench::new(side, Durable { record: None, ..durable })
}

fn promotes(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Promote { .. }))
}

fn asks(effects: &[Effect]) -> Option<RequestId> {
    said(effects).into_iter().find_map(|message| match message {
        Message::Hello(hello) => hello.asks,
        _ => None,
    })
}

fn answer(bench: &mut Bench, effects: &[Effect], answer: Answer) -> Vec<Effect> {
    let (request, _) = sent(effects).expect("it asks the witness");
    bench.on(Event::Witness { request, answer })
}

/// The peer answers the question in these effects.
fn consents(bench: &mut Bench, effects: &[Effect]) -> Vec<Effect> {
    let answers = asks(effects);
    assert!(answers.is_some(), "{effects:?}");
    let peer = Bench::paired(!bench.node.facts().side).node.hello();
    bench.on(Event::Peer(Message::Hello(Hello { healthy: true, record: None, answers, ..peer })))
}

#[test]
fn a_node_without_memory_reads_before_it_claims() {
    let mut b = blank(Side::B);
    b.view(LOST);
    let effects = b.on(Event::Timer(Timer::Claim));
    assert!(matches!(sent(&effects), Some((_, None))), "{effects:?}");
    let effects = answer(&mut b, &effects, Answer::Is(record(9, PAIRED)));
    let (_, swap) = sent(&effects).expect("now it claims");
    assert_eq!(swap.map(|swap| (swap.claim, swap.expect)), Some((Claim::Solo, Epoch(9))));
    // From a witness that does not know it claims nothing.
    let mut b = blank(Side::B);
    b.view(LOST);
    let effects = b.on(Event::Timer(Timer::Claim));
    let effects = answer(&mut b, &effects, Answer::Is(record(0, Holder::Unknown)));
    assert!(sent(&effects).is_none() && !promotes(&effects), "{effects:?}");
    assert_eq!(b.node.reason(), Reason::WitnessUnknown);
    // An operator does not need it to know.
    let mut b = blank(Side::B);
    b.view(LOST);
    let effects = b.on(Event::Operator(Command::Promote));
    assert!(matches!(sent(&effects), Some((_, None))), "{effects:?}");
    let effects = answer(&mut b, &effects, Answer::Is(record(4, Holder::Unknown)));
    assert!(claims(&effects, Claim::Appoint { floor: Epoch(4) }), "{effects:?}");
    assert!(promotes(&answer(&mut b, &effects, Answer::Won(record(5, SOLO_B)))));
}

#[test]
fn the_handler_learns_from_the_answer_to_its_own_request_only() {
    let frozen = || {
        let mut a = Bench::paired(Side::A);
        a.view(ACTIVE);
        a.view(FROZEN);
        let effects = a.asked(40);
        (a, effects)
    };
    let (mut a, effects) = frozen();
    let effects = answer(&mut a, &effects, Answer::Won(record(8, SOLO_A)));
    // On disk before the kernel goes on.
    let at = |wanted: &Effect| effects.iter().position(|effect| effect == wanted);
    let kept = at(&Effect::Store(*a.node.durable()));
    let exit = at(&Effect::Answer { id: QuestionId(40), code: Code::PeerOutdated });
    assert!(kept.is_some() && exit.is_some() && kept < exit, "{effects:?}");
    assert_eq!(a.node.durable().record, Some(record(8, SOLO_A)));
    let (mut a, _) = frozen();
    let effects = a.on(Event::Witness { request: RequestId(99), answer: Answer::Won(record(8, SOLO_A)) });
    assert_eq!((effects, a.node.durable().record), (vec![], Some(record(7, PAIRED))));
    // A refusal teaches it too.
    let (mut a, effects) = frozen();
    answer(&mut a, &effects, Answer::Refused(Refusal::PeerIsSolo { current: record(9, SOLO_B) }));
    assert_eq!((a.node.durable().record, a.node.reason()), (Some(record(9, SOLO_B)), Reason::Resetting));
}

#[test]
fn a_witness_that_forgot_is_told_by_a_healthy_pair_above_all_epochs() {
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.hears(&Bench::paired(Side::B));
    let effects = a.on(Event::Timer(Timer::Reread));
    let effects = answer(&mut a, &effects, Answer::Is(there(3, Holder::Unknown)));
    assert!(effects.contains(&Effect::Alarm(Alarm::ForeignLineage)), "{effects:?}");
    let effects = consents(&mut a, &effects);
    let adopt = Swap {
        lineage: Lineage([2; 16]),
        expect: Epoch(3),
        side: Side::A,
        disk: DA,
        claim: Claim::Adopt { peer: DB, floor: Epoch(7) },
    };
    assert_eq!(sent(&effects).map(|(_, swap)| swap), Some(Some(adopt)));
    let mut lost = Bench { node: a.node.clone(), next: a.next };
    let effects = answer(&mut a, &effects, Answer::Won(there(8, PAIRED)));
    assert_eq!(a.node.durable().record, Some(there(8, PAIRED)));
    // The peer believes the new history only from here, so it hears of it at once.
    let told = |m: &Message| matches!(m, Message::Hello(hello) if hello.record == Some(there(8, PAIRED)));
    assert!(said(&effects).iter().any(told), "{effects:?}");
    assert!(!a.node.armed(Timer::Retry));
    // No answer: once more at the retry, not before.
    let request = RequestId(lost.next);
    let effects = lost.on(Event::Witness { request, answer: Answer::Silence });
    assert!(said(&effects).is_empty() && sent(&effects).is_none(), "{effects:?}");
    assert!(lost.node.armed(Timer::Retry));
    assert!(asks(&lost.on(Event::Timer(Timer::Retry))).is_some());
}

#[test]
fn an_appointment_starts_from_the_record_of_the_witness_that_forgot() {
    let mut b = Bench::paired(Side::B);
    b.view(LOST);
    let effects = b.on(Event::Timer(Timer::Claim));
    let current = there(3, Holder::Unknown);
    answer(&mut b, &effects, Answer::Refused(Refusal::ForeignLineage { current }));
    let effects = b.on(Event::Operator(Command::Promote));
    let (_, swap) = sent(&effects).expect("it is appointed");
    let swap = swap.expect("without reading again");
    assert_eq!(
        (swap.lineage, swap.expect, swap.claim),
        (Lineage([2; 16]), Epoch(3), Claim::Appoint { floor: Epoch(7) })
    );
    // The new history is believed, because this node's own act began it.
    let effects = answer(&mut b, &effects, Answer::Won(there(8, SOLO_B)));
    assert_eq!(b.node.durable().record, Some(there(8, SOLO_B)));
    assert!(promotes(&effects), "{effects:?}");
}

#[test]
fn what_was_not_recorded_is_tried_again_at_the_retry_and_not_before() {
    // The claim that confirms a promise.
    let alone = || {
        let mut a = Bench::paired(Side::A);
        a.view(ACTIVE);
        let effects = a.view(ALONE);
        assert!(claims(&effects, Claim::Solo), "{effects:?}");
        (a, effects)
    };
    for said in [Answer::Silence, Answer::Refused(Refusal::Moved { current: record(9, PAIRED) })] {
        let (mut a, effects) = alone();
        let effects = answer(&mut a, &effects, said);
        assert!(sent(&effects).is_none() && a.node.armed(Timer::Retry), "{said:?}: {effects:?}");
        assert!(claims(&a.on(Event::Timer(Timer::Retry)), Claim::Solo));
    }
    let (mut a, effects) = alone();
    let effects = answer(&mut a, &effects, Answer::Won(record(8, SOLO_A)));
    assert!(sent(&effects).is_none() && !a.node.armed(Timer::Retry), "{effects:?}");
    // The look at the own record: only silence is worth another try.
    for (said, again) in [(Answer::Silence, true), (Answer::Is(record(7, SOLO_A)), false)] {
        let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
        a.view(ALONE);
        let effects = a.on(Event::Timer(Timer::Reread));
        answer(&mut a, &effects, said);
        assert_eq!(a.node.armed(Timer::Retry), again, "{said:?}");
    }
    // Back to paired.
    for (said, again) in [(Answer::Silence, true), (Answer::Won(record(8, PAIRED)), false)] {
        let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
        a.view(ACTIVE);
        let effects = a.hears(&Bench::known(Side::B, Mode::Witness, SOLO_A));
        let effects = consents(&mut a, &effects);
        assert!(claims(&effects, Claim::Pair { peer: DB }), "{effects:?}");
        let effects = answer(&mut a, &effects, said);
        assert!(asks(&effects).is_none() && sent(&effects).is_none(), "{effects:?}");
        assert_eq!(a.node.armed(Timer::Retry), again, "{said:?}");
        assert_eq!(asks(&a.on(Event::Timer(Timer::Retry))).is_some(), again);
    }
}

#[test]
fn another_history_is_an_alarm_once_until_the_own_one_is_back() {
    let mut a = Bench::known(Side::A, Mode::Witness, SOLO_A);
    a.view(ALONE);
    let mut hears = |said: Record| {
        let effects = a.on(Event::Timer(Timer::Reread));
        let effects = answer(&mut a, &effects, Answer::Is(said));
        (effects.contains(&Effect::Alarm(Alarm::ForeignLineage)), a.node.durable().record)
    };
    let own = Some(record(7, SOLO_A));
    assert_eq!(hears(there(3, PAIRED)), (true, own));
    assert_eq!(hears(there(4, PAIRED)), (false, own));
    assert_eq!(hears(there(5, Holder::Unknown)), (false, own));
    assert_eq!(hears(there(5, Holder::Unknown)), (false, own));
    // The same record again is the own history.
    assert_eq!(hears(record(7, SOLO_A)), (false, own));
    assert_eq!(hears(there(3, PAIRED)), (true, own));
}

#[test]
fn a_witness_that_knows_again_is_believed_again() {
    let mut b = Bench::paired(Side::B);
    b.view(LOST);
    let current = there(3, PAIRED);
    let effects = b.on(Event::Timer(Timer::Claim));
    answer(&mut b, &effects, Answer::Refused(Refusal::ForeignLineage { current }));
    assert_eq!(b.node.reason(), Reason::ForeignLineage);
    let effects = b.on(Event::Timer(Timer::Claim));
    let current = record(7, PAIRED);
    answer(&mut b, &effects, Answer::Refused(Refusal::WrongHolder { current }));
    assert_eq!(b.node.reason(), Reason::WaitsForWitness);
    // The own record may be forgotten without a new history: nobody knows then.
    let effects = b.on(Event::Timer(Timer::Claim));
    answer(&mut b, &effects, Answer::Refused(Refusal::Moved { current: record(8, Holder::Unknown) }));
    assert_eq!(b.node.reason(), Reason::WitnessUnknown);
}

#[test]
fn a_consent_that_could_not_be_asked_for_in_the_same_event_is_asked_for_at_the_retry() {
    let mut a = Bench::paired(Side::A);
    a.view(ACTIVE);
    a.view(FROZEN);
    let effects = a.asked(40);
    // The link is back before the witness answers: the record is this node's, and its handler claims once more.
    a.view(ACTIVE);
    a.hears(&Bench::paired(Side::B));
    let current = record(9, SOLO_A);
    let effects = answer(&mut a, &effects, Answer::Refused(Refusal::Moved { current }));
    assert!(
        claims(&effects, Claim::Solo) && asks(&effects).is_none(),
        "one request in one event: {effects:?}"
    );
    assert!(a.node.armed(Timer::Retry));
    assert!(asks(&a.on(Event::Timer(Timer::Retry))).is_some());
}
