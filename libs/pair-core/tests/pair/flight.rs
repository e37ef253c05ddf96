//! Requests and messages on their way: what a renaming has to visit.

use crate::world::{Flight, Stage};
use pair_core::{effect::Query, event::Answer, message::Message, record::Epoch};

pub fn doomed(delay: &mut u8, flight: &mut Flight) {
    match delay.checked_sub(1) {
        Some(left) if matches!(flight.stage, Stage::Going(_, Query::Swap(_))) => *delay = left,
        _ if !matches!(flight.stage, Stage::Going(..)) => {}
        _ => flight.stage = Stage::Lost,
    }
}

pub fn flight_epochs(flight: &mut Flight, visit: &mut dyn FnMut(&mut Epoch)) {
    use pair_core::record::{Claim, Refusal};
    match &mut flight.stage {
        Stage::Going(_, Query::Swap(swap)) => {
            visit(&mut swap.expect);
            if let Claim::Adopt { floor, .. } | Claim::Appoint { floor } = &mut swap.claim {
                visit(floor);
            }
        }
        Stage::Back(Answer::Is(record) | Answer::Won(record)) => visit(&mut record.epoch),
        Stage::Back(Answer::Refused(refusal)) => match refusal {
            Refusal::ForeignLineage { current }
            | Refusal::Moved { current }
            | Refusal::WitnessBehind { current }
            | Refusal::HolderUnknown { current }
            | Refusal::PeerIsSolo { current }
            | Refusal::NotMyDisk { current }
            | Refusal::SameDisk { current }
            | Refusal::WrongHolder { current }
            | Refusal::EpochsExhausted { current } => visit(&mut current.epoch),
        },
        Stage::Going(_, Query::Read)
        | Stage::Back(Answer::Silence)
        | Stage::Shot
        | Stage::ShotDone(_)
        | Stage::Lost => {}
    }
}

pub fn mail_ids(mail: &mut Message, visit: &mut dyn FnMut(&mut u64)) {
    match mail {
        Message::Hello(hello) => {
            let ids = [&mut hello.prepared, &mut hello.stayed, &mut hello.asks, &mut hello.answers];
            ids.into_iter().flatten().for_each(|id| visit(&mut id.0));
            hello.frozen.iter_mut().for_each(|id| visit(&mut id.0));
        }
        Message::Outdated { freeze } => visit(&mut freeze.0),
        Message::Leave { id }
        | Message::MayLeave { id }
        | Message::Prepare { id, .. }
        | Message::Prepared { id }
        | Message::Commit { id }
        | Message::Abort { id } => visit(&mut id.0),
        Message::YourTurn => {}
    }
}
