//! From the start of a plan to the reboot into the new slot.

use super::*;

#[test]
fn a_started_plan_is_noted_then_told_then_written() {
    let (mut a, effects) = boots(OLD, true, Memory::default());
    assert_eq!((effects, a.facts(), a.peer(), a.reason()), (vec![], None, None, UpdateReason::Idle));
    assert_eq!(a.on(UpdateEvent::Retry), vec![], "nothing to tell");
    assert_eq!(a.on(UpdateEvent::Limit), vec![], "nothing to give up");
    assert_eq!(a.on(UpdateEvent::Health(PLAN, false)), vec![], "nothing on trial");
    let effects = a.on(starts(PLAN));
    assert!(keeps(&effects, BEGUN), "{effects:?}");
    assert!(matches!(&effects[0], UpdateEffect::Store(memory) if memory.lead), "{effects:?}");
    assert_eq!(acts(&effects), [UpdateEffect::Write(PLAN)]);
    assert_eq!((a.facts(), a.reason()), (Some(BEGUN), UpdateReason::Writing));
    // Once: the shell is at it.
    assert_eq!(plain(a.on(UpdateEvent::Retry)), [tells(BEGUN)]);
    let effects = a.on(UpdateEvent::Written(PLAN, true));
    assert!(keeps(&effects, WRITTEN) && acts(&effects).is_empty(), "{effects:?}");
    assert_eq!(a.reason(), UpdateReason::WaitsForPeer);
}

#[test]
fn a_slot_that_cannot_be_written_ends_the_plan_without_a_verdict() {
    let mut a = at_home(Memory::default());
    a.on(starts(PLAN));
    let effects = a.on(UpdateEvent::Written(PLAN, false));
    assert!(keeps(&effects, Facts { outcome: Outcome::Abandoned, ..BEGUN }), "{effects:?}");
    assert_eq!(acts(&effects), [UpdateEffect::MarkBad(NEW)]);
    assert_eq!(a.reason(), UpdateReason::Abandoned);
    assert!(matches!(&effects[0], UpdateEffect::Store(memory) if memory.refused.is_empty()));
}

#[test]
fn which_plan_may_be_started() {
    let fresh = PlanId { serial: 5, ..PLAN };
    let refused = Memory { refused: vec![NEW], ..memory(REFUSED) };
    let rows = [
        (OLD, true, Memory::default(), PLAN, None),
        (OLD, true, Memory::default(), PlanId { version: OLD, ..PLAN }, Some(UpdateReason::Busy)),
        (OLD, true, memory(BEGUN), NEXT, Some(UpdateReason::Busy)),
        (OLD, true, memory(ABANDONED), fresh, None),
        (OLD, true, memory(ABANDONED), PLAN, Some(UpdateReason::Busy)),
        (OLD, true, memory(ABANDONED), PlanId { serial: 3, ..NEXT }, Some(UpdateReason::Busy)),
        // Still on its way back.
        (NEW, false, memory(ABANDONED), NEXT, Some(UpdateReason::Busy)),
        (OLD, true, refused.clone(), NEXT, None),
        (OLD, true, refused, fresh, Some(UpdateReason::KnownBad)),
        (NEW, false, memory(REFUSED), NEXT, Some(UpdateReason::Busy)),
        (NEW, true, memory(DECIDED), NEXT, None),
        // Decided, and not carried out yet.
        (NEW, false, memory(DECIDED), NEXT, Some(UpdateReason::Busy)),
        (OLD, true, memory(DECIDED), NEXT, Some(UpdateReason::Busy)),
    ];
    for (booted, blessed, memory, plan, want) in rows {
        let (mut a, _) = boots(booted, blessed, memory.clone());
        let effects = a.on(starts(plan));
        let refuse = want.map(UpdateEffect::Refuse);
        assert_eq!(
            effects.iter().find(|e| matches!(e, UpdateEffect::Refuse(_))),
            refuse.as_ref(),
            "{booted} {blessed} {memory:?} {plan:?}"
        );
        assert_eq!(
            a.facts().map(|facts| facts.plan) == Some(plan),
            want.is_none() || memory.facts.map(|f| f.plan) == Some(plan)
        );
        assert_eq!(effects.contains(&UpdateEffect::Write(plan)), want.is_none());
    }
}

#[test]
fn a_new_plan_begins_with_nothing_of_the_old_one() {
    let spent = Memory { trials: 2, both: true, ..leads(DECIDED) };
    let (mut b, _) = boots(NEW, true, spent);
    b.on(says(DECIDED));
    assert_eq!(b.peer(), Some(DECIDED));
    let begun = Facts { plan: NEXT, ..BEGUN };
    let effects = b.on(says(begun));
    let UpdateEffect::Store(kept) = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(*kept, memory(begun), "followed, not led");
    assert_eq!(b.peer(), Some(begun));
    assert!(keeps(&effects, begun));
    assert_eq!(acts(&effects), [UpdateEffect::Write(NEXT)]);
    // One's own forgets what the peer said of the old one.
    let (mut a, _) = boots(NEW, true, memory(DECIDED));
    a.on(says(DECIDED));
    a.on(starts(NEXT));
    assert_eq!(a.peer(), None);
}

#[test]
fn the_follower_goes_first_and_the_leader_after_it_has_passed() {
    let rows = [
        (memory(WRITTEN), None, UpdateReason::WaitsForPeer),
        (memory(WRITTEN), Some(BEGUN), UpdateReason::WaitsForPeer),
        (memory(WRITTEN), Some(WRITTEN), UpdateReason::Arming),
        (leads(WRITTEN), None, UpdateReason::WaitsForPeer),
        (leads(WRITTEN), Some(WRITTEN), UpdateReason::WaitsForPeer),
        (leads(WRITTEN), Some(PASSED), UpdateReason::Arming),
        (memory(BEGUN), Some(WRITTEN), UpdateReason::Writing),
    ];
    for (memory, peer, want) in rows {
        let mut node = at_home(memory.clone());
        node.on(pair(true, false));
        let effects = peer.map(|facts| node.on(says(facts))).unwrap_or_default();
        assert_eq!(node.reason(), want, "{memory:?} {peer:?}");
        let armed = if want == UpdateReason::Arming { arms(PLAN) } else { vec![] };
        assert_eq!(acts(&effects), armed, "{memory:?} {peer:?}");
    }
}

#[test]
fn only_a_ready_and_inactive_node_is_armed() {
    let waits = || {
        let mut b = at_home(memory(WRITTEN));
        b.on(says(WRITTEN));
        assert_eq!((b.pair(), b.reason()), ((false, false, false), UpdateReason::WaitsForPair));
        b
    };
    let mut b = waits();
    assert_eq!(b.on(pair(false, true)), vec![]);
    assert_eq!((b.pair(), b.reason()), ((true, false, true), UpdateReason::WaitsForPair));
    assert_eq!(b.on(pair(true, true)), [UpdateEffect::Switchover(PLAN)]);
    assert_eq!(b.on(pair(true, true)), vec![], "it lasts");
    assert_eq!(b.on(UpdateEvent::Stayed(PlanId { serial: 3, ..PLAN })), vec![], "of an earlier plan");
    assert_eq!(b.on(UpdateEvent::Stayed(PLAN)), vec![], "a while later");
    assert_eq!(acts(&b.on(UpdateEvent::Retry)), [UpdateEffect::Switchover(PLAN)]);
    assert_eq!((b.pair(), b.reason()), ((true, true, true), UpdateReason::WaitsForSwitchover));
    assert_eq!(b.on(pair(true, false)), arms(PLAN));
    assert_eq!((b.pair(), b.reason()), ((true, true, false), UpdateReason::Arming));
    assert_eq!(b.on(pair(true, false)), vec![], "once");
}

fn armed(memory: Memory) -> Updater {
    let mut b = at_home(memory);
    b.on(pair(true, false));
    assert_eq!(acts(&b.on(says(WRITTEN))), arms(PLAN));
    b
}

#[test]
fn a_trial_is_counted_before_the_reboot_and_only_with_a_proven_rollback() {
    let mut b = armed(Memory { trials: 1, ..memory(WRITTEN) });
    let effects = b.on(UpdateEvent::Proven(PLAN, true));
    assert_eq!(effects, [UpdateEffect::Store(Memory { trials: 2, ..memory(WRITTEN) }), UpdateEffect::Reboot]);
    assert_eq!(b.reason(), UpdateReason::Arming);
    assert_eq!(b.on(pair(true, false)), vec![], "it goes down");
    let mut b = armed(memory(WRITTEN));
    let effects = b.on(UpdateEvent::Proven(PLAN, false));
    assert!(keeps(&effects, ABANDONED), "{effects:?}");
    assert_eq!(acts(&effects), [UpdateEffect::MarkBad(NEW)]);
    // It became the active node meanwhile: first the other one is made active.
    let mut b = armed(memory(WRITTEN));
    assert_eq!(b.on(pair(true, true)), vec![]);
    assert_eq!(b.on(UpdateEvent::Proven(PLAN, true)), [UpdateEffect::Switchover(PLAN)]);
    // The plan ended meanwhile.
    for proven in [true, false] {
        let mut b = armed(memory(WRITTEN));
        b.on(says(ABANDONED));
        assert_eq!(b.on(UpdateEvent::Proven(PLAN, proven)), vec![], "{proven}");
        assert_eq!(at_home(Memory::default()).on(UpdateEvent::Proven(PLAN, proven)), vec![]);
    }
}

#[test]
fn an_answer_counts_for_its_own_plan_only() {
    let (mut a, _) = boots(OLD, true, Memory::default());
    a.on(starts(PLAN));
    a.on(UpdateEvent::Limit);
    let effects = a.on(starts(NEXT));
    assert!(acts(&effects).is_empty(), "the earlier write goes on: {effects:?}");
    assert_eq!(a.on(UpdateEvent::Written(NEXT, true)), vec![], "nobody asked");
    let effects = a.on(UpdateEvent::Written(PLAN, true));
    assert_eq!(effects, [UpdateEffect::Write(NEXT)]);
    assert_eq!(a.on(UpdateEvent::Written(PLAN, false)), vec![], "answered already");
    let written = Facts { plan: NEXT, ..WRITTEN };
    assert!(keeps(&a.on(UpdateEvent::Written(NEXT, true)), written));
    // A check of health, a proof, a version kept.
    let mut b = armed(memory(WRITTEN));
    let other = PlanId { serial: 3, ..PLAN };
    for event in [
        UpdateEvent::Proven(other, true),
        UpdateEvent::Proven(other, false),
        UpdateEvent::Health(PLAN, false),
        UpdateEvent::Blessed(PLAN, true),
    ] {
        assert_eq!((b.on(event), b.reason()), (vec![], UpdateReason::Arming), "{event:?}");
    }
}

#[test]
fn what_was_heard_is_not_said_again() {
    let mut a = at_home(Memory::default());
    a.on(pair(true, true));
    a.on(starts(PLAN));
    let word = |effects: Vec<UpdateEffect>| match effects.as_slice() {
        [UpdateEffect::Tell(word)] => Some(*word),
        _ => None,
    };
    let mine = Word { facts: BEGUN, heard: None, heard_kept: None, answer: true, kept: Some(OLD) };
    assert_eq!(word(a.on(UpdateEvent::Retry)), Some(mine));
    let heard = UpdateEvent::Peer(Word { heard: Some(BEGUN), heard_kept: Some(OLD), answer: true, ..mine });
    let answer = Word { heard: Some(BEGUN), heard_kept: Some(OLD), answer: false, ..mine };
    assert_eq!(word(a.on(heard)), Some(answer), "it has asked");
    assert_eq!(a.on(UpdateEvent::Retry), vec![]);
    assert_eq!(a.on(UpdateEvent::Peer(answer)), vec![], "both are silent");
    // It has heard an earlier run of this node, on a version that was not kept.
    a.on(UpdateEvent::Peer(Word { heard_kept: None, ..answer }));
    assert!(word(a.on(UpdateEvent::Retry)).is_some_and(|word| word.answer));
    a.on(UpdateEvent::Peer(answer));
    // Who was away may have forgotten.
    a.on(UpdateEvent::Pair { peer: false, ready: true, active: true });
    assert!(word(a.on(UpdateEvent::Retry)).is_some_and(|word| word.answer));
    // It has heard something older.
    a.on(UpdateEvent::Peer(answer));
    a.on(UpdateEvent::Written(PLAN, true));
    a.on(UpdateEvent::Peer(answer));
    assert!(word(a.on(UpdateEvent::Retry)).is_some_and(|word| word.facts == WRITTEN));
}
