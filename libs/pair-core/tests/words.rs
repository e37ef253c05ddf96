//! What an operator reads, and what is kept on disk.

use pair_core::{
    effect::{Alarm, Effect},
    event::{Command, Event, RequestId},
    message::{Mode, Policy, WitnessId},
    node::{Durable, Identity, Node},
    reason::Reason,
    record::{DiskId, Epoch, Holder, Lineage, Record, Side},
    rules::Rules,
    update::{Facts, Memory, Outcome, PlanId, UpdateReason, Version},
    view::{Disk, Link, View},
};
use std::collections::HashSet;

fn node(mode: Mode) -> Node {
    let me = Identity { side: Side::A, disk: DiskId([1; 16]), watchdog: true, power: false };
    let policy = Policy { revision: 1, mode, witness: WitnessId(0) };
    Node::new(me, Durable::new(policy), Rules::default())
}

#[test]
fn every_reason_says_something_else() {
    let all = [
        Reason::ActivePaired,
        Reason::ActiveAlone,
        Reason::StandbyPaired,
        Reason::Synchronising,
        Reason::DiskMissing,
        Reason::DiskInconsistent,
        Reason::DiskOutdated,
        Reason::Frozen,
        Reason::PeerIsSolo,
        Reason::NotMyDisk,
        Reason::WitnessUnknown,
        Reason::ForeignLineage,
        Reason::WaitsForWitness,
        Reason::WaitsForPeer,
        Reason::NeedsPeerOrOperator,
        Reason::Barred,
        Reason::Diverged,
        Reason::SameDisk,
        Reason::HandingOver,
        Reason::Leaving,
        Reason::NotActive,
        Reason::IsActive,
        Reason::NotPaired,
        Reason::Busy,
        Reason::PeerSilent,
        Reason::OldPolicy,
        Reason::Resetting,
    ];
    let words: HashSet<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), all.len());
    assert!(words.iter().all(|text| text.len() > 7));
}

#[test]
fn every_reason_of_an_update_says_something_else() {
    let all = [
        UpdateReason::Idle,
        UpdateReason::Writing,
        UpdateReason::WaitsForPeer,
        UpdateReason::WaitsForPair,
        UpdateReason::WaitsForSwitchover,
        UpdateReason::Arming,
        UpdateReason::OnTrial,
        UpdateReason::WaitsToBless,
        UpdateReason::Done,
        UpdateReason::Abandoned,
        UpdateReason::Refused,
        UpdateReason::Mixed,
        UpdateReason::KnownBad,
        UpdateReason::Busy,
    ];
    let words: HashSet<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), all.len());
    assert!(words.iter().all(|text| text.len() > 6));
    assert_eq!(Version(12).to_string(), "12");
}

#[test]
fn a_bad_identifier_says_what_a_good_one_is() {
    let bad = "0123".parse::<DiskId>().unwrap_err();
    assert!(bad.to_string().contains("32 hexadecimal digits"), "{bad}");
}

#[test]
fn a_missed_event_is_an_alarm_and_the_new_state_counts() {
    let mut node = node(Mode::Witness);
    let new = View { disk: Disk::Inconsistent, ..View::DOWN };
    let wrong = View { link: Link::Connected, ..View::DOWN };
    let effects = node.on(Event::Drbd { old: wrong, new }, RequestId(1));
    assert!(effects.contains(&Effect::Alarm(Alarm::MissedEvent)), "{effects:?}");
    assert_eq!(node.view(), new);
    let effects = node.on(Event::Drbd { old: new, new: View::DOWN }, RequestId(2));
    assert!(!effects.contains(&Effect::Alarm(Alarm::MissedEvent)), "{effects:?}");
}

#[test]
fn refusals_carry_their_reason() {
    for (command, reason) in [
        (Command::Switchover, Reason::NotActive),
        (Command::Promote, Reason::DiskMissing),
        (
            Command::SetPolicy(Policy { revision: 2, mode: Mode::Manual, witness: WitnessId(0) }),
            Reason::NotActive,
        ),
    ] {
        let effects = node(Mode::Witness).on(Event::Operator(command), RequestId(1));
        assert!(effects.contains(&Effect::Refuse(reason)), "{command:?}: {effects:?}");
    }
}

#[test]
fn a_cold_node_says_why_it_waits() {
    for (mode, reason) in [(Mode::Witness, Reason::WaitsForPeer), (Mode::Manual, Reason::NeedsPeerOrOperator)]
    {
        let mut node = node(mode);
        assert_eq!(node.reason(), Reason::DiskMissing);
        let new = View { disk: Disk::Outdated, ..View::DOWN };
        node.on(Event::Drbd { old: View::DOWN, new }, RequestId(1));
        // Never current in this box: it must come empty.
        assert_eq!(node.reason(), Reason::NotMyDisk);
        let policy = Policy { revision: 1, mode, witness: WitnessId(0) };
        let durable = Durable { enrolled: Some(DiskId([1; 16])), ..Durable::new(policy) };
        let me = Identity { side: Side::A, disk: DiskId([1; 16]), watchdog: true, power: false };
        let mut node = Node::new(me, durable, Rules::default());
        node.on(
            Event::Drbd { old: View::DOWN, new: View { disk: Disk::Consistent, ..View::DOWN } },
            RequestId(1),
        );
        assert_eq!(node.reason(), reason);
    }
}

#[test]
fn what_is_kept_survives_its_text_form() {
    let record = Record { lineage: Lineage([3; 16]), epoch: Epoch(7), holder: Holder::Unknown };
    let policy = Policy { revision: 4, mode: Mode::AvailabilityFirst, witness: WitnessId(2) };
    let durable = Durable {
        record: Some(record),
        enrolled: Some(DiskId([9; 16])),
        prepared: Some((RequestId(5), policy)),
        committed: Some(RequestId(6)),
        alone: true,
        ..Durable::new(policy)
    };
    let text = serde_json::to_string(&durable).unwrap();
    assert_eq!(serde_json::from_str::<Durable>(&text).unwrap(), durable);
    assert!(text.contains("availability-first"), "{text}");
    let plan = PlanId { serial: 1, leader: Side::B, version: Version(3) };
    let facts = Facts { plan, written: true, passed: false, outcome: Outcome::Abandoned };
    let memory = Memory { facts: Some(facts), refused: vec![Version(2)], ..Memory::default() };
    let text = serde_json::to_string(&memory).unwrap();
    assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory);
}
