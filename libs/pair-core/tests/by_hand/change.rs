//! A change of mode or witness, led by the active node, step by step.

use crate::{ACTIVE, Bench, FROZEN, PAIRED, SOLO_A, policy, record, said};
use pair_core::{
    effect::{Alarm, Effect, Query},
    event::{Answer, Command, Event, RequestId, Timer},
    message::{Hello, Message, Mode, Policy, WitnessId},
    node::Durable,
    reason::Reason,
    record::{Claim, Epoch, Holder, Lineage, Record, Side},
};

/// To another witness.
const NEXT: Policy = Policy { revision: 2, mode: Mode::Witness, witness: WitnessId(1) };

/// What the new witness keeps.
fn there(epoch: u64, holder: Holder) -> Record {
    Record { lineage: Lineage([2; 16]), epoch: Epoch(epoch), holder }
}

/// The request, the witness it goes to, what is asked.
fn request(effects: &[Effect]) -> Option<(RequestId, WitnessId, Query)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Ask { request, witness, query } => Some((*request, *witness, *query)),
        _ => None,
    })
}

/// The swap that was sent: to which witness, from which record, for what.
fn swap(effects: &[Effect]) -> Option<(WitnessId, Lineage, Epoch, Claim)> {
    match request(effects) {
        Some((_, witness, Query::Swap(swap))) => Some((witness, swap.lineage, swap.expect, swap.claim)),
        _ => None,
    }
}

fn answer(bench: &mut Bench, effects: &[Effect], answer: Answer) -> Vec<Effect> {
    let (request, _, _) = request(effects).expect("it asks");
    bench.on(Event::Witness { request, answer })
}

/// Begins a change on an active node; its name and its first effects.
fn begins(mode: Mode, next: Policy) -> (Bench, RequestId, Vec<Effect>) {
    let mut a = Bench::known(Side::A, mode, PAIRED);
    a.view(ACTIVE);
    let effects = a.on(Event::Operator(Command::SetPolicy(next)));
    let id = RequestId(a.next);
    (a, id, effects)
}

#[test]
fn to_another_witness_the_old_one_is_locked_the_new_one_read_and_set_then_the_peer_is_barred() {
    let (mut a, id, effects) = begins(Mode::Witness, NEXT);
    assert_eq!(swap(&effects), Some((WitnessId(0), Lineage([1; 16]), Epoch(7), Claim::Solo)));
    assert!(a.node.armed(Timer::Retry), "it has an end");
    let effects = answer(&mut a, &effects, Answer::Won(record(8, SOLO_A)));
    assert_eq!(a.node.durable().record, Some(record(8, SOLO_A)));
    assert!(matches!(request(&effects), Some((_, WitnessId(1), Query::Read))), "{effects:?}");
    let effects = answer(&mut a, &effects, Answer::Is(there(3, Holder::Unknown)));
    // The new history is set from its own record, above all that is remembered here, and not believed yet.
    let claim = Claim::Appoint { floor: Epoch(8) };
    assert_eq!(swap(&effects), Some((WitnessId(1), Lineage([2; 16]), Epoch(3), claim)));
    assert!(!effects.contains(&Effect::Alarm(Alarm::ForeignLineage)), "{effects:?}");
    let effects = answer(&mut a, &effects, Answer::Won(there(9, SOLO_A)));
    assert!(said(&effects).contains(&Message::Prepare { id, policy: NEXT }), "{effects:?}");
    assert_eq!((a.node.durable().record, a.node.durable().policy.revision), (Some(record(8, SOLO_A)), 1));
    // Decided when the peer is barred: kept, then told.
    let effects = a.on(Event::Peer(Message::Prepared { id }));
    let kept = Durable {
        policy: NEXT,
        record: Some(there(9, SOLO_A)),
        committed: Some(id),
        ..*Bench::paired(Side::A).node.durable()
    };
    let at = |wanted: &Effect| effects.iter().position(|effect| effect == wanted);
    let (kept, told) = (at(&Effect::Store(kept)), at(&Effect::Tell(Message::Commit { id })));
    assert!(kept.is_some() && told.is_some() && kept < told, "{effects:?}");
    assert_eq!(a.node.durable().policy, NEXT);
    // Told again when the peer asks, and nothing is under way any more.
    assert!(said(&a.on(Event::Peer(Message::Prepared { id }))).contains(&Message::Commit { id }));
    assert!(!said(&a.on(Event::Timer(Timer::Retry))).contains(&Message::Abort { id }));
}

#[test]
fn which_steps_a_change_has_depends_on_the_modes() {
    let manual = policy(2, Mode::Manual);
    // Away from a witness: it is locked, and no new one is looked at.
    let (mut a, id, effects) = begins(Mode::Witness, manual);
    assert!(matches!(swap(&effects), Some((WitnessId(0), _, _, Claim::Solo))));
    let effects = answer(&mut a, &effects, Answer::Won(record(8, SOLO_A)));
    assert!(said(&effects).contains(&Message::Prepare { id, policy: manual }), "{effects:?}");
    a.on(Event::Peer(Message::Prepared { id }));
    assert_eq!((a.node.durable().policy, a.node.durable().record), (manual, None));
    // Towards one: it is looked at first.
    let (_, _, effects) = begins(Mode::Manual, NEXT);
    assert!(matches!(request(&effects), Some((_, WitnessId(1), Query::Read))), "{effects:?}");
    // Between two others nobody is asked but the peer.
    let fence = policy(2, Mode::Fence);
    let (_, id, effects) = begins(Mode::Manual, fence);
    assert!(request(&effects).is_none(), "{effects:?}");
    assert!(said(&effects).contains(&Message::Prepare { id, policy: fence }));
}

#[test]
fn a_change_that_gets_no_answer_is_given_up_and_the_peer_is_told() {
    let gave_up = |effects: &[Effect], id| {
        effects.contains(&Effect::Refuse(Reason::PeerSilent))
            && said(effects).contains(&Message::Abort { id })
    };
    // At the old witness, at the new one, and when that is to be set.
    for steps in [
        vec![],
        vec![Answer::Won(record(8, SOLO_A))],
        vec![Answer::Won(record(8, SOLO_A)), Answer::Is(there(3, PAIRED))],
    ] {
        let (mut a, id, mut effects) = begins(Mode::Witness, NEXT);
        for step in &steps {
            effects = answer(&mut a, &effects, *step);
        }
        let effects = answer(&mut a, &effects, Answer::Silence);
        assert!(gave_up(&effects, id), "{steps:?}: {effects:?}");
        assert_eq!(a.node.durable().policy.revision, 1);
        // A late consent finds nothing to decide.
        let effects = a.on(Event::Peer(Message::Prepared { id }));
        assert!(said(&effects).contains(&Message::Abort { id }), "{effects:?}");
        assert_eq!((a.node.durable().policy.revision, a.node.durable().committed), (1, None));
    }
    // By the peer, and by the link.
    let wait = || {
        let (a, id, effects) = begins(Mode::Manual, policy(2, Mode::Fence));
        assert!(request(&effects).is_none());
        (a, id)
    };
    let (mut a, id) = wait();
    assert!(gave_up(&a.on(Event::Timer(Timer::Retry)), id));
    let (mut a, id) = wait();
    assert!(gave_up(&a.view(FROZEN), id));
}

#[test]
fn a_consent_counts_for_its_own_transaction_and_not_before_it_was_asked_for() {
    let (mut a, id, first) = begins(Mode::Witness, NEXT);
    // The witnesses have not been set yet.
    let effects = a.on(Event::Peer(Message::Prepared { id }));
    assert!(said(&effects).is_empty() && a.node.durable().committed.is_none(), "{effects:?}");
    let effects = answer(&mut a, &first, Answer::Won(record(8, SOLO_A)));
    let effects = answer(&mut a, &effects, Answer::Is(there(3, PAIRED)));
    answer(&mut a, &effects, Answer::Won(there(9, SOLO_A)));
    let other = RequestId(99);
    let effects = a.on(Event::Peer(Message::Prepared { id: other }));
    assert_eq!(said(&effects), [Message::Abort { id: other }]);
    // The peer says "barred by this one" while it runs: no answer yet.
    let hello = Hello { prepared: Some(id), ..Bench::paired(Side::B).node.hello() };
    let effects = a.on(Event::Peer(Message::Hello(hello)));
    assert!(said(&effects).iter().all(|m| !matches!(m, Message::Abort { .. } | Message::Commit { .. })));
    assert!(said(&a.on(Event::Peer(Message::Prepared { id }))).contains(&Message::Commit { id }));
}
