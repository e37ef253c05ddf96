//! Boots, verdicts, and what the other node says.

use super::*;
use pair_core::rules::Broken;

/// Restarts after a panic or by a watchdog.
fn crashes(booted: Version, blessed: bool, memory: Memory) -> (Updater, Vec<UpdateEffect>) {
    Updater::boot(booted, blessed, Cause::Crash, memory, Rules::ALL)
}

fn refused(memory: Memory) -> Memory {
    Memory { refused: vec![NEW], ..memory }
}

/// On trial in the new slot.
fn on_trial(memory: Memory) -> Updater {
    let (node, effects) = boots(NEW, false, memory);
    assert_eq!((effects, node.reason()), (vec![UpdateEffect::Check(PLAN)], UpdateReason::OnTrial));
    node
}

#[test]
fn the_first_boot_of_a_written_slot_is_a_trial_also_when_it_was_not_counted() {
    for (trials, counted) in [(0, 1), (1, 1), (2, 2)] {
        let mut b = on_trial(Memory { trials, ..memory(WRITTEN) });
        assert_eq!(b.on(pair(true, false)), vec![], "busy");
        let effects = b.on(UpdateEvent::Health(PLAN, true));
        let kept = Memory { trials: counted, ..memory(PASSED) };
        assert_eq!(plain(effects), [UpdateEffect::Store(kept), tells(PASSED)]);
        assert_eq!(b.reason(), UpdateReason::WaitsForPeer);
    }
    // The slot was armed by an older plan, this one has not written it: a trial of nothing.
    for boot in [boots, crashes] {
        let (mut b, effects) = boot(NEW, false, memory(BEGUN));
        assert_eq!(effects, [UpdateEffect::MarkBad(NEW), UpdateEffect::Reboot]);
        assert_eq!(b.on(pair(true, false)), vec![], "it goes down");
    }
}

#[test]
fn a_crash_is_a_verdict_on_a_trial_that_was_counted() {
    let counted = Memory { trials: 1, ..memory(WRITTEN) };
    let kept = refused(Memory { trials: 1, ..memory(REFUSED) });
    let told = [UpdateEffect::Store(kept), tells(REFUSED), UpdateEffect::MarkBad(NEW)];
    let (mut b, effects) = crashes(NEW, false, counted.clone());
    assert_eq!(plain(effects), [&told[..], &[UpdateEffect::Reboot]].concat());
    assert_eq!((b.reason(), b.on(UpdateEvent::Limit)), (UpdateReason::Refused, vec![]));
    // In the old slot: its tries were used up.
    assert_eq!(plain(crashes(OLD, true, counted).1), told);
    assert_eq!(crashes(OLD, true, memory(WRITTEN)).1, vec![], "nothing was tried yet");
    assert_eq!(crashes(NEW, false, memory(WRITTEN)).1, [UpdateEffect::Check(PLAN)]);
}

#[test]
fn a_trial_that_power_cuts_short_is_begun_twice() {
    let tried = |trials| Memory { trials, ..memory(WRITTEN) };
    let (mut b, effects) = boots(OLD, true, tried(1));
    assert_eq!(effects, vec![]);
    b.on(pair(true, false));
    assert_eq!(b.on(says(WRITTEN)), arms(PLAN));
    let (b, effects) = boots(OLD, true, tried(2));
    let kept = Memory { trials: 2, ..memory(ABANDONED) };
    assert_eq!(plain(effects), [UpdateEffect::Store(kept), tells(ABANDONED), UpdateEffect::MarkBad(NEW)]);
    assert_eq!(b.reason(), UpdateReason::Abandoned);
}

#[test]
fn a_vote_is_not_taken_back() {
    let tried = Memory { trials: 2, ..memory(PASSED) };
    for booted in [OLD, NEW] {
        for boot in [boots, crashes] {
            let (mut b, effects) = boot(booted, false, tried.clone());
            assert_eq!((effects, b.reason()), (vec![], UpdateReason::WaitsForPeer));
            assert_eq!(b.on(UpdateEvent::Limit), vec![], "the leader may have decided");
            assert_eq!(b.on(UpdateEvent::Health(PLAN, false)), vec![]);
            b.on(pair(true, false));
            assert_eq!(b.on(says(PASSED)), vec![], "a follower decides nothing");
        }
    }
    // Only the leader may.
    let (mut a, _) = boots(NEW, false, leads(PASSED));
    let effects = a.on(UpdateEvent::Limit);
    let ended = Facts { outcome: Outcome::Abandoned, ..PASSED };
    assert!(keeps(&effects, ended), "{effects:?}");
    assert_eq!(acts(&effects), [UpdateEffect::MarkBad(NEW), UpdateEffect::Reboot]);
}

#[test]
fn a_failed_trial_marks_its_slot_bad_before_the_reboot() {
    let mut b = on_trial(memory(WRITTEN));
    let effects = b.on(UpdateEvent::Health(PLAN, false));
    let kept = refused(Memory { trials: 1, ..memory(REFUSED) });
    assert_eq!(
        plain(effects),
        [UpdateEffect::Store(kept), tells(REFUSED), UpdateEffect::MarkBad(NEW), UpdateEffect::Reboot]
    );
    b.on(UpdateEvent::Health(PLAN, true));
    assert_eq!(
        (b.reason(), b.facts()),
        (UpdateReason::Refused, Some(REFUSED)),
        "a later word changes nothing"
    );
    // Too slow is no verdict on the version.
    let mut b = on_trial(memory(WRITTEN));
    let effects = b.on(UpdateEvent::Limit);
    assert!(keeps(&effects, ABANDONED), "{effects:?}");
    assert_eq!(acts(&effects), [UpdateEffect::MarkBad(NEW), UpdateEffect::Reboot]);
    // The health of the old version says nothing of the new one.
    for well in [true, false] {
        let mut b = at_home(memory(WRITTEN));
        assert_eq!((b.on(UpdateEvent::Health(PLAN, well)), b.facts()), (vec![], Some(WRITTEN)));
    }
}

#[test]
fn what_a_boot_after_the_end_of_a_plan_does() {
    let back = vec![UpdateEffect::MarkBad(NEW), UpdateEffect::Reboot];
    let both = Memory { both: true, ..memory(DECIDED) };
    let rows = [
        (OLD, true, memory(ABANDONED), vec![], UpdateReason::Abandoned),
        (NEW, false, memory(ABANDONED), back.clone(), UpdateReason::Abandoned),
        (OLD, true, memory(REFUSED), vec![], UpdateReason::Refused),
        (NEW, false, memory(REFUSED), back, UpdateReason::Refused),
        // Woke in the old slot: the decision stands.
        (OLD, true, memory(DECIDED), arms(PLAN), UpdateReason::Arming),
        (NEW, false, memory(DECIDED), vec![], UpdateReason::WaitsToBless),
        (NEW, false, both.clone(), vec![UpdateEffect::Bless(PLAN)], UpdateReason::WaitsToBless),
        (NEW, true, both, vec![], UpdateReason::Done),
    ];
    for (booted, blessed, memory, effects, reason) in rows {
        let (mut node, done) = boots(booted, blessed, memory.clone());
        assert_eq!((done, node.reason()), (effects, reason), "{booted} {blessed} {memory:?}");
        assert_eq!(node.on(UpdateEvent::Limit), vec![], "it has ended");
    }
}

#[test]
fn a_decision_is_carried_out_on_one_node_at_a_time() {
    let woken = |ready, active| {
        let (mut b, _) = boots(OLD, true, memory(DECIDED));
        assert_eq!(b.on(pair(ready, active)), vec![], "busy");
        b.on(UpdateEvent::Proven(PLAN, true))
    };
    let counted = UpdateEffect::Store(Memory { trials: 1, ..memory(DECIDED) });
    assert_eq!(woken(true, false), [counted.clone(), UpdateEffect::Reboot]);
    assert_eq!(woken(false, false), [counted, UpdateEffect::Reboot]);
    assert_eq!(woken(true, true), [UpdateEffect::Switchover(PLAN)]);
    assert_eq!(woken(false, true), vec![]);
    // A decision stands also when the rollback was not proven: armed again, a while later.
    let (mut b, _) = boots(OLD, true, memory(DECIDED));
    assert_eq!(b.on(UpdateEvent::Proven(PLAN, false)), vec![]);
    assert_eq!(b.on(pair(true, false)), vec![]);
    assert_eq!(acts(&b.on(UpdateEvent::Retry)), arms(PLAN));
}

#[test]
fn the_leader_decides_when_both_have_passed_and_blesses_when_both_hold_it() {
    let (mut a, _) = boots(NEW, false, leads(PASSED));
    assert_eq!(a.on(says(WRITTEN)), vec![]);
    let effects = a.on(says(PASSED));
    assert_eq!(plain(effects), [UpdateEffect::Store(leads(DECIDED)), tells(DECIDED)]);
    assert_eq!(a.reason(), UpdateReason::WaitsToBless);
    assert_eq!(a.on(says(PASSED)), vec![]);
    let both = Memory { both: true, ..leads(DECIDED) };
    let blessed = [UpdateEffect::Store(both), tells(DECIDED), UpdateEffect::Bless(PLAN)];
    assert_eq!(plain(a.on(says(DECIDED))), blessed);
    assert_eq!((a.reason(), a.on(UpdateEvent::Blessed(PLAN, false))), (UpdateReason::WaitsToBless, vec![]));
    assert_eq!(acts(&a.on(UpdateEvent::Retry)), [UpdateEffect::Bless(PLAN)], "a while later");
    assert_eq!(a.on(UpdateEvent::Blessed(PLAN, true)), vec![]);
    assert_eq!((a.reason(), a.on(says(DECIDED))), (UpdateReason::Done, vec![]));
    // What the follower is told, both hold.
    let (mut b, _) = boots(NEW, false, memory(PASSED));
    let both = Memory { both: true, ..memory(DECIDED) };
    let blessed = [UpdateEffect::Store(both), tells(DECIDED), UpdateEffect::Bless(PLAN)];
    assert_eq!(plain(b.on(says(DECIDED))), blessed);
    // A leader whose own trial has not passed decides nothing.
    let mut a = on_trial(leads(WRITTEN));
    assert_eq!(a.on(says(PASSED)), vec![]);
}

#[test]
fn how_a_plan_ended_there_it_ends_here() {
    let outcome = |outcome, facts| Facts { outcome, ..facts };
    for ended in [Outcome::Abandoned, Outcome::Refused, Outcome::Decided] {
        let mut b = at_home(memory(WRITTEN));
        let effects = b.on(says(outcome(ended, PASSED)));
        assert!(keeps(&effects, outcome(ended, WRITTEN)), "{effects:?}");
        let next = if ended == Outcome::Decided { arms(PLAN) } else { vec![UpdateEffect::MarkBad(NEW)] };
        assert_eq!(acts(&effects), next);
        let UpdateEffect::Store(kept) = &effects[0] else { panic!("{effects:?}") };
        assert_eq!(kept.both, ended == Outcome::Decided);
        assert_eq!(kept.refused.contains(&NEW), ended == Outcome::Refused);
    }
    // A verdict counts also after the plan was given up; nothing else changes an end.
    let mut b = at_home(memory(ABANDONED));
    let effects = b.on(says(REFUSED));
    assert_eq!(effects[0], UpdateEffect::Store(refused(memory(REFUSED))));
    for (ours, theirs) in [
        (ABANDONED, WRITTEN),
        (ABANDONED, ABANDONED),
        (REFUSED, ABANDONED),
        (REFUSED, REFUSED),
        (REFUSED, DECIDED),
    ] {
        let mut b = at_home(memory(ours));
        assert_eq!(b.on(says(theirs)), vec![], "{ours:?} {theirs:?}");
        assert_eq!((b.facts(), b.peer()), (Some(ours), Some(theirs)));
    }
    let (mut a, _) = boots(NEW, false, leads(DECIDED));
    for theirs in [PASSED, ABANDONED] {
        assert_eq!((a.on(says(theirs)), a.reason()), (vec![], UpdateReason::WaitsToBless));
    }
    // A version is refused once.
    let mut b = at_home(refused(memory(WRITTEN)));
    assert_eq!(b.on(says(REFUSED))[0], UpdateEffect::Store(refused(memory(REFUSED))));
}

#[test]
fn a_newer_plan_of_the_peer_is_taken_up_on_a_slot_that_is_kept() {
    let next = Facts { plan: NEXT, ..BEGUN };
    for (booted, before) in
        [(OLD, WRITTEN), (OLD, PASSED), (OLD, ABANDONED), (OLD, REFUSED), (NEW, DECIDED), (OLD, DECIDED)]
    {
        let (mut b, _) = boots(booted, true, memory(before));
        let effects = b.on(says(next));
        assert!(keeps(&effects, next), "{before:?}: {effects:?}");
        // What is under way for the old one is waited for.
        let busy = acts(&effects).is_empty();
        assert_eq!(busy, (booted, before) == (OLD, DECIDED));
        let effects = if busy { b.on(UpdateEvent::Proven(PLAN, true)) } else { effects };
        assert_eq!(acts(&effects), [UpdateEffect::Write(NEXT)], "{before:?}");
    }
    // On trial it ends the old plan first and goes back.
    let mut b = on_trial(memory(WRITTEN));
    let effects = b.on(says(next));
    assert!(keeps(&effects, ABANDONED), "{effects:?}");
    assert_eq!(acts(&effects), [UpdateEffect::MarkBad(NEW), UpdateEffect::Reboot]);
    assert_eq!(b.on(says(next)), vec![], "it goes down");
    assert_eq!((b.facts(), b.peer()), (Some(ABANDONED), None));
    // The peer could not have begun another before it held this decision.
    let (mut b, _) = boots(NEW, false, memory(DECIDED));
    let both = Memory { both: true, ..memory(DECIDED) };
    assert_eq!(b.on(says(next)), [UpdateEffect::Store(both), UpdateEffect::Bless(PLAN)]);
    b.on(UpdateEvent::Blessed(PLAN, true));
    assert!(keeps(&b.on(says(next)), next), "told again");
}

#[test]
fn a_peer_that_is_behind_is_told_and_a_refused_version_is_not_written() {
    let ahead = Facts { plan: NEXT, ..WRITTEN };
    let mut b = at_home(memory(ahead));
    assert_eq!(plain(b.on(says(DECIDED))), [tells(ahead)]);
    assert_eq!((b.facts(), b.peer()), (Some(ahead), None));
    let mut b = at_home(Memory { refused: vec![NEW], ..Memory::default() });
    let effects = b.on(says(BEGUN));
    let known = Facts { outcome: Outcome::Refused, ..BEGUN };
    assert!(keeps(&effects, known) && acts(&effects).is_empty(), "{effects:?}");
    assert_eq!(b.reason(), UpdateReason::Refused);
}

/// The model shows what each of these costs; here is what each variant does differently, once.
#[test]
fn a_broken_rule_of_updates_breaks_what_its_name_says() {
    let boots = |rule, memory| Updater::boot(NEW, false, Cause::Power, memory, Rules::without(rule));
    let (mut b, _) = boots(Broken::BlessEarly, memory(WRITTEN));
    assert_eq!(acts(&b.on(UpdateEvent::Health(PLAN, true))), [UpdateEffect::Bless(PLAN)]);
    assert_eq!(acts(&b.on(UpdateEvent::Health(PLAN, true))), vec![]);
    let (mut b, _) = boots(Broken::RetryFailed, memory(WRITTEN));
    assert_eq!(acts(&b.on(UpdateEvent::Health(PLAN, false))), [UpdateEffect::Reboot]);
}

fn alone(facts: Facts) -> Memory {
    Memory { solo: true, ..leads(facts) }
}

#[test]
fn by_an_operators_word_a_node_goes_on_without_the_other_one() {
    let away = UpdateEvent::Pair { peer: false, ready: true, active: true };
    let (mut a, _) = boots(OLD, true, Memory::default());
    let effects = a.on(UpdateEvent::Start { plan: PLAN, solo: true });
    assert_eq!(effects[0], UpdateEffect::Store(alone(BEGUN)));
    a.on(UpdateEvent::Written(PLAN, true));
    assert_eq!(a.on(away), arms(PLAN), "it serves nobody else");
    assert!(a.on(UpdateEvent::Proven(PLAN, true)).contains(&UpdateEffect::Reboot));
    let (mut a, _) = boots(NEW, false, Memory { trials: 1, ..alone(WRITTEN) });
    a.on(away);
    let effects = a.on(UpdateEvent::Health(PLAN, true));
    assert!(keeps(&effects, PASSED) && keeps(&effects, DECIDED), "{effects:?}");
    assert_eq!(acts(&effects), [UpdateEffect::Bless(PLAN)]);
    a.on(UpdateEvent::Blessed(PLAN, true));
    assert_eq!(a.reason(), UpdateReason::Done);
    // As soon as it answers, it is asked; as a follower nobody goes on alone.
    let (mut a, _) = boots(NEW, false, alone(PASSED));
    assert_eq!(a.on(pair(true, true)), vec![]);
    let (mut a, _) = boots(OLD, true, Memory { solo: true, ..memory(WRITTEN) });
    assert_eq!((a.on(away), a.reason()), (vec![], UpdateReason::WaitsForPeer));
    let (mut a, _) = boots(OLD, true, leads(WRITTEN));
    assert_eq!((a.on(away), a.reason()), (vec![], UpdateReason::WaitsForPeer));
}

#[test]
fn who_was_away_when_it_was_decided_writes_and_tries_it_first() {
    let decided = Facts { outcome: Outcome::Decided, ..BEGUN };
    let mut b = at_home(Memory::default());
    let effects = b.on(says(DECIDED));
    assert!(keeps(&effects, decided), "{effects:?}");
    assert_eq!(acts(&effects), [UpdateEffect::Write(PLAN)]);
    assert_eq!((b.on(UpdateEvent::Written(PLAN, false)), b.reason()), (vec![], UpdateReason::Writing));
    assert_eq!(acts(&b.on(UpdateEvent::Retry)), [UpdateEffect::Write(PLAN)]);
    assert_eq!(acts(&b.on(UpdateEvent::Written(PLAN, true))), arms(PLAN));
    let tried = Memory { trials: 3, both: true, ..memory(Facts { written: true, ..decided }) };
    let mut b = on_trial(tried.clone());
    let effects = b.on(UpdateEvent::Health(PLAN, true));
    assert_eq!(acts(&effects), [UpdateEffect::Bless(PLAN)]);
    let mut b = on_trial(tried.clone());
    let effects = b.on(UpdateEvent::Health(PLAN, false));
    assert_eq!(acts(&effects), [UpdateEffect::MarkBad(NEW), UpdateEffect::Reboot]);
    assert_eq!(acts(&boots(OLD, true, tried.clone()).1), arms(PLAN), "until it is judged");
    assert_eq!(acts(&crashes(OLD, true, tried).1), [UpdateEffect::MarkBad(NEW)], "a verdict");
    // On trial when the decision comes: the trial goes on.
    let mut b = on_trial(memory(WRITTEN));
    assert_eq!((acts(&b.on(says(DECIDED))), b.reason()), (vec![], UpdateReason::OnTrial));
    assert_eq!(acts(&b.on(UpdateEvent::Health(PLAN, true))), [UpdateEffect::Bless(PLAN)]);
    // Given up before: the slot was marked bad, and is written anew.
    let mut b = at_home(memory(ABANDONED));
    assert_eq!(acts(&b.on(says(DECIDED))), [UpdateEffect::Write(PLAN)]);
}

#[test]
fn two_nodes_that_keep_different_versions_say_so() {
    let word =
        |facts, kept| UpdateEvent::Peer(Word { facts, heard: None, heard_kept: None, answer: false, kept });
    let (mut a, _) = boots(NEW, true, Memory { both: false, ..alone(DECIDED) });
    for (facts, kept, want) in [
        (BEGUN, Some(OLD), UpdateReason::Done),
        (REFUSED, None, UpdateReason::Done),
        (REFUSED, Some(NEW), UpdateReason::Done),
        (REFUSED, Some(OLD), UpdateReason::Mixed),
    ] {
        a.on(word(facts, kept));
        assert_eq!(a.reason(), want, "{facts:?} {kept:?}");
    }
    // Not kept yet, since that has failed: both go back.
    let (mut a, effects) = boots(NEW, false, alone(DECIDED));
    assert_eq!(acts(&effects), [UpdateEffect::Bless(PLAN)]);
    a.on(UpdateEvent::Blessed(PLAN, false));
    assert_eq!(acts(&a.on(word(REFUSED, Some(OLD)))), []);
    let effects = a.on(UpdateEvent::Retry);
    assert!(keeps(&effects, Facts { outcome: Outcome::Refused, ..DECIDED }), "{effects:?}");
    assert_eq!(acts(&effects), [UpdateEffect::MarkBad(NEW), UpdateEffect::Reboot]);
    let mut b = at_home(refused(memory(REFUSED)));
    b.on(word(DECIDED, Some(NEW)));
    assert_eq!(b.reason(), UpdateReason::Mixed);
    // What runs here is started for the other node; here it was tried.
    let (mut a, _) = boots(NEW, true, alone(DECIDED));
    a.on(word(REFUSED, Some(OLD)));
    let again = PlanId { serial: 5, ..PLAN };
    let effects = a.on(starts(again));
    assert!(keeps(&effects, Facts { plan: again, ..PASSED }) && acts(&effects).is_empty(), "{effects:?}");
    a.on(word(Facts { plan: again, ..REFUSED }, Some(OLD)));
    assert_eq!(a.reason(), UpdateReason::Mixed, "and stays");
}
