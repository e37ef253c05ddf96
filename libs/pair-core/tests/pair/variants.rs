//! Each rule is needed: without it the model finds how the pair breaks, with it the same bounds hold.

use crate::{
    diagram::draw,
    model::{Pair, explore},
    scenarios::{BASE, report},
    world::{Left, Scenario, Twist},
};
use pair_core::rules::{Broken, Rules};
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(120);

/// The broken variant falls; the whole rules stand within the same bounds.
fn caught(broken: Scenario) {
    let whole = Scenario { rules: Rules::default(), twist: Twist::None, ..broken };
    let found = explore(broken, BOUND);
    let (law, moves) = found.broken.as_ref().expect("the broken variant is caught");
    println!("\n{}: {law}\n{}", broken.name, draw(&Pair::new(broken), moves));
    report(&broken, &found);
    let control = explore(whole, BOUND);
    report(&Scenario { name: "  the same with all rules", ..whole }, &control);
    if let Some((law, moves)) = &control.broken {
        println!("{law}\n{}", draw(&Pair::new(whole), moves));
    }
    assert!(control.complete && control.broken.is_none(), "all rules hold within the same bounds");
}

fn without(name: &'static str, rule: Broken, left: Left) -> Scenario {
    Scenario { name, rules: Rules::without(rule), left, ..BASE }
}

#[test]
fn handler_answers_5() {
    let left = Left { link: 1, outage: 1, write: 1, ..BASE.left };
    caught(without("handler answers 5", Broken::HandlerAnswers5, left));
}

#[test]
fn claims_without_compare_and_swap() {
    let left = Left { link: 1, write: 1, ..BASE.left };
    caught(without("claims without compare-and-swap", Broken::ClaimWithoutCompare, left));
}

#[test]
fn cold_start_trusts_consistent() {
    let left = Left { crash: 2, write: 1, ..BASE.left };
    caught(without("cold start trusts Consistent", Broken::TrustConsistent, left));
}

#[test]
fn handler_answers_from_a_read() {
    let left = Left { crash: 1, link: 1, write: 1, ..BASE.left };
    caught(without("handler answers from a read", Broken::HandlerReads, left));
}

#[test]
fn fence_grants_beside_a_witness() {
    let left = Left { link: 1, write: 1, ..BASE.left };
    let scenario = without("fence grants beside a witness", Broken::FenceBesideWitness, left);
    caught(Scenario { power: true, ..scenario });
}

#[test]
fn restored_witness_says_paired() {
    let left = Left { crash: 2, restore: 1, write: 1, ..BASE.left };
    let name = "restored witness says paired";
    caught(Scenario { name, twist: Twist::RestoreBelieved, left, ..BASE });
}

#[test]
fn cloned_disk_id() {
    let left = Left { crash: 2, clone: 1, write: 1, ..BASE.left };
    caught(Scenario { name: "cloned disk id", twist: Twist::CloneKeepsId, left, ..BASE });
}

#[test]
fn solo_without_a_claim_before_an_orderly_disconnect() {
    let left = Left { leave: 1, crash: 1, write: 1, ..BASE.left };
    caught(without("leaves without a claim", Broken::LeaveWithoutClaim, left));
}

#[test]
fn any_answer_counts() {
    let left = Left { link: 3, crash: 0, delay: 1, write: 1, ..BASE.left };
    let scenario = without("an answer to an older request counts", Broken::AnyAnswer, left);
    caught(Scenario { late: true, ..scenario });
}

#[test]
fn connects_without_asking() {
    let left = Left { crash: 1, write: 1, ..BASE.left };
    caught(without("connects without asking", Broken::ConnectAtOnce, left));
}

#[test]
fn a_promise_counts_later() {
    let left = Left { crash: 1, link: 1, outage: 1, write: 1, ..BASE.left };
    caught(without("a promise counts in a later freeze", Broken::PromiseForever, left));
}

#[test]
fn commits_are_empty_flushes() {
    let left = Left { crash: 2, write: 1, ..BASE.left };
    caught(Scenario { name: "commits are empty flushes", twist: Twist::EmptyFlush, left, ..BASE });
}

#[test]
fn the_record_is_widened_without_the_peer() {
    let left = Left { crash: 1, restore: 1, ..BASE.left };
    caught(without("the record is widened without the peer's word", Broken::PairAtOnce, left));
}

#[test]
fn a_strange_disk_connects() {
    let left = Left { crash: 1, clone: 1, write: 1, ..BASE.left };
    caught(without("a strange disk with data connects", Broken::TrustStrangers, left));
}

#[test]
fn a_freeze_without_a_name() {
    let left = Left { crash: 1, lag: 1, write: 1, ..BASE.left };
    caught(without("frozen but not asked yet", Broken::UnnamedFreeze, left));
}

#[test]
fn asks_again_by_an_orderly_disconnect() {
    let left = Left { link: 2, outage: 1, lag: 1, ..BASE.left };
    let name = "asks again by an orderly disconnect";
    caught(Scenario { name, twist: Twist::OrderlyAskAgain, left, ..BASE });
}

#[test]
fn an_undone_win_counts() {
    let left = Left { link: 1, crash: 1, rollback: 1, ..BASE.left };
    caught(without("a win that a rollback has undone counts", Broken::UndoneWin, left));
}
