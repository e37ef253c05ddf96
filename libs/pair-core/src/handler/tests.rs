//! Every first step and every answer, as a table.

use super::*;
use crate::record::{Epoch, Lineage};

const L: Lineage = Lineage([1; 16]);
const DA: DiskId = DiskId([0xa; 16]);
const DB: DiskId = DiskId([0xb; 16]);
const PAIRED: Holder = Holder::Paired { a: DA, b: DB };
const SOLO_A: Holder = Holder::Solo { side: Side::A, disk: DA };
const SOLO_B: Holder = Holder::Solo { side: Side::B, disk: DB };

fn record(epoch: u64, holder: Holder) -> Record {
    Record { lineage: L, epoch: Epoch(epoch), holder }
}

fn facts(mode: Mode) -> Facts {
    Facts {
        side: Side::A,
        disk_id: DA,
        disk: Disk::UpToDate,
        role: Role::Primary,
        mode,
        record: Some(record(7, PAIRED)),
        barred: false,
        promised: false,
        sworn: false,
        power: false,
    }
}

fn begin(facts: &Facts) -> Step {
    let (handler, step) = Handler::start(facts, Rules::ALL, RequestId(1));
    assert_eq!(handler.request(), RequestId(1));
    step
}

fn claim_at(epoch: u64) -> Step {
    let swap = Swap { lineage: L, expect: Epoch(epoch), side: Side::A, disk: DA, claim: Claim::Solo };
    Step::Ask(Query::Swap(swap))
}

const STAY: Step = Step::Exit(Code::Stay);
const GO: Step = Step::Exit(Code::PeerOutdated);

#[test]
fn the_first_step() {
    let witness = facts(Mode::Witness);
    let fence = facts(Mode::Fence);
    let manual = facts(Mode::Manual);
    let any = facts(Mode::AvailabilityFirst);
    let old = Disk::Consistent;
    let rows = [
        (witness, claim_at(7)),
        (Facts { disk: old, ..witness }, claim_at(7)),
        (Facts { disk: Disk::Outdated, ..witness }, STAY),
        (Facts { disk: Disk::Inconsistent, ..witness }, STAY),
        (Facts { barred: true, ..witness }, STAY),
        (Facts { barred: true, promised: true, ..witness }, STAY),
        (Facts { record: None, ..witness }, Step::Ask(Query::Read)),
        (Facts { promised: true, ..witness }, GO),
        // A promise is no claim: it does not lift a disk that may be old.
        (Facts { promised: true, disk: old, ..witness }, claim_at(7)),
        // Beside a witness neither a power device nor an operator's word grants.
        (Facts { power: true, ..witness }, claim_at(7)),
        (Facts { sworn: true, ..witness }, claim_at(7)),
        (Facts { role: Role::Secondary, ..witness }, claim_at(7)),
        (fence, Step::PowerOff),
        (Facts { disk: old, ..fence }, STAY),
        (Facts { sworn: true, disk: old, ..fence }, GO),
        (Facts { promised: true, ..fence }, GO),
        (manual, GO),
        (Facts { disk: old, ..manual }, STAY),
        (Facts { role: Role::Secondary, ..manual }, STAY),
        (Facts { role: Role::Secondary, sworn: true, disk: old, ..manual }, GO),
        (any, GO),
        (Facts { disk: old, role: Role::Secondary, ..any }, GO),
        (Facts { disk: Disk::Outdated, ..any }, STAY),
    ];
    for (facts, want) in rows {
        assert_eq!(begin(&facts), want, "{facts:?}");
    }
}

#[test]
fn every_answer() {
    let facts = facts(Mode::Witness);
    let at = |epoch, holder| record(epoch, holder);
    let refused = |refusal| Answer::Refused(refusal);
    let active = Step::Exit(Code::PeerActive);
    let foreign = Record { lineage: Lineage([2; 16]), ..at(9, PAIRED) };
    let rows = [
        (Answer::Won(at(8, SOLO_A)), GO),
        (Answer::Won(at(8, SOLO_B)), STAY),
        (Answer::Won(at(8, Holder::Solo { side: Side::A, disk: DB })), STAY),
        (Answer::Won(at(8, PAIRED)), STAY),
        // Below what is remembered: the witness went back in time.
        (Answer::Won(at(6, SOLO_A)), STAY),
        (Answer::Won(at(7, SOLO_A)), GO),
        (Answer::Silence, STAY),
        (Answer::Is(at(9, PAIRED)), claim_at(9)),
        (Answer::Is(at(9, SOLO_A)), claim_at(9)),
        (Answer::Is(at(9, SOLO_B)), active),
        (Answer::Is(at(9, Holder::Unknown)), STAY),
        (Answer::Is(foreign), STAY),
        (refused(Refusal::PeerIsSolo { current: at(9, SOLO_B) }), active),
        (refused(Refusal::Moved { current: at(9, PAIRED) }), claim_at(9)),
        (refused(Refusal::Moved { current: at(9, SOLO_A) }), claim_at(9)),
        (refused(Refusal::Moved { current: at(9, SOLO_B) }), active),
        (refused(Refusal::Moved { current: at(9, Holder::Unknown) }), STAY),
        (refused(Refusal::ForeignLineage { current: foreign }), STAY),
        (refused(Refusal::WitnessBehind { current: at(6, PAIRED) }), STAY),
        (refused(Refusal::HolderUnknown { current: at(9, Holder::Unknown) }), STAY),
        (refused(Refusal::NotMyDisk { current: at(9, PAIRED) }), STAY),
    ];
    for (answer, want) in rows {
        let (mut handler, _) = Handler::start(&facts, Rules::ALL, RequestId(1));
        let step = handler.witness(&facts, Rules::ALL, RequestId(1), answer, RequestId(2));
        assert_eq!(step, Some(want), "{answer:?}");
        let next = if matches!(want, Step::Ask(_)) { 2 } else { 1 };
        assert_eq!(handler.request(), RequestId(next), "{answer:?}");
    }
}

#[test]
fn an_answer_to_another_request_is_none() {
    let facts = facts(Mode::Witness);
    let (mut handler, _) = Handler::start(&facts, Rules::ALL, RequestId(1));
    let won = Answer::Won(record(8, SOLO_A));
    assert_eq!(handler.witness(&facts, Rules::ALL, RequestId(2), won, RequestId(3)), None);
    assert_eq!(handler.power(RequestId(2), Power::Off), None);
    assert_eq!(handler.power(RequestId(1), Power::Off), Some(Code::PeerFenced));
    assert_eq!(handler.power(RequestId(1), Power::NotOff), Some(Code::Stay));
}

#[test]
fn it_follows_a_moving_record_three_times() {
    let facts = facts(Mode::Witness);
    let (mut handler, _) = Handler::start(&facts, Rules::ALL, RequestId(1));
    let mut epoch = 8;
    for id in 1..=3 {
        let moved = Answer::Refused(Refusal::Moved { current: record(epoch, PAIRED) });
        let step = handler.witness(&facts, Rules::ALL, RequestId(id), moved, RequestId(id + 1));
        assert_eq!(step, Some(claim_at(epoch)));
        epoch += 1;
    }
    let moved = Answer::Refused(Refusal::Moved { current: record(epoch, PAIRED) });
    assert_eq!(handler.witness(&facts, Rules::ALL, RequestId(4), moved, RequestId(5)), Some(STAY));
}

/// The model shows what each of these costs; here is that each variant differs in its own rule and in nothing else.
#[test]
fn a_broken_rule_breaks_what_its_name_says() {
    let witness = facts(Mode::Witness);
    let cold = Facts { role: Role::Secondary, ..witness };
    let powered = Facts { power: true, ..witness };
    let read = Step::Ask(Query::Read);
    let appoint = |epoch| {
        let claim = Claim::Appoint { floor: Epoch(epoch) };
        Step::Ask(Query::Swap(Swap { lineage: L, expect: Epoch(epoch), side: Side::A, disk: DA, claim }))
    };
    for (rule, facts, want) in [
        (Broken::HandlerReads, witness, read),
        (Broken::FenceBesideWitness, powered, Step::PowerOff),
        (Broken::FenceBesideWitness, witness, claim_at(7)),
        (Broken::TrustConsistent, cold, GO),
        (Broken::TrustConsistent, witness, claim_at(7)),
        (Broken::ClaimWithoutCompare, witness, appoint(7)),
        (Broken::HandlerAnswers5, witness, claim_at(7)),
    ] {
        assert_eq!(Handler::start(&facts, Rules::without(rule), RequestId(1)).1, want, "{rule:?} {facts:?}");
    }
    let won = Answer::Won(record(8, SOLO_A));
    let undone = Answer::Won(record(6, SOLO_A));
    let moved = |holder| Answer::Refused(Refusal::Moved { current: record(9, holder) });
    let active = Step::Exit(Code::PeerActive);
    for (rule, request, answer, want) in [
        (Broken::HandlerReads, 1, Answer::Is(record(9, SOLO_A)), Some(GO)),
        (Broken::HandlerReads, 1, Answer::Is(record(9, SOLO_B)), Some(active)),
        (Broken::HandlerReads, 1, Answer::Is(record(9, PAIRED)), Some(claim_at(9))),
        (Broken::HandlerAnswers5, 1, Answer::Silence, Some(Step::Exit(Code::Unreachable))),
        (Broken::HandlerAnswers5, 1, won, Some(GO)),
        (Broken::AnyAnswer, 7, won, Some(GO)),
        (Broken::UndoneWin, 1, undone, Some(GO)),
        (Broken::UndoneWin, 1, Answer::Won(record(8, SOLO_B)), Some(STAY)),
        (Broken::UndoneWin, 7, won, None),
        (Broken::ClaimWithoutCompare, 1, moved(SOLO_B), Some(appoint(9))),
    ] {
        let rules = Rules::without(rule);
        let (mut handler, _) = Handler::start(&witness, rules, RequestId(1));
        let step = handler.witness(&witness, rules, RequestId(request), answer, RequestId(2));
        assert_eq!(step, want, "{rule:?} {answer:?}");
    }
}
