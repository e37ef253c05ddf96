//! Two nodes that update, and what may go wrong on the way.

mod world;

use super::*;
use crate::update::boot::Standing;
use world::{World, play};

#[test]
fn a_pair_moves_to_a_new_version_together() {
    play(async || {
        let mut world = World::new();
        world.seconds(3).await;
        world.order(0, "2", false, 3600).await.unwrap();
        world.seconds(120).await;
        world.kept("2");
        assert_eq!(world.switchovers, 1, "each node reboots as the standby");
        assert_eq!(world.log(1), ["write", "arm", "prove", "reboot", "keep"]);
        assert_eq!(world.log(0), world.log(1));
        let status = world.hosts[1].driver.as_ref().unwrap().status();
        assert_eq!((status.history.len(), status.history[0].outcome), (1, Outcome::Decided));
        assert_eq!((status.why.as_str(), status.problems.len()), ("updated", 0), "{}", status.words());
        assert!(world.order(1, "2", false, 9).await.is_err(), "it runs already");
        let said = world.said;
        world.seconds(60).await;
        assert_eq!(world.said, said, "nothing is left to be said");
        world.order(1, "3", false, 3600).await.unwrap();
        world.seconds(120).await;
        world.kept("3");
    });
}

#[test]
fn a_freshly_flashed_version_is_waited_for_until_its_boot_is_good() {
    play(async || {
        let mut world = World::new();
        let esp = world.hosts[0].esp.clone();
        esp.0.borrow_mut().files.clear();
        esp.put("edgepair_1+3.efi", "1");
        world.seconds(20).await;
        let why = world.order(0, "2", false, 3600).await.unwrap_err();
        assert!(why.contains("not been called good yet"), "{why}");
        assert!(world.log(0).is_empty());
        let status = world.hosts[0].driver.as_ref().unwrap().status();
        assert!(status.why.contains("not been called good yet"), "{}", status.words());
        // By the unit that judges every boot.
        esp.0.borrow_mut().files.clear();
        esp.put("edgepair_1.efi", "1");
        world.seconds(10).await;
        let status = world.hosts[0].driver.as_ref().unwrap().status();
        assert_eq!(status.versions, [("1".to_owned(), Standing::Kept)]);
        world.order(0, "2", false, 3600).await.unwrap();
        world.seconds(120).await;
        world.kept("2");
    });
    // Nobody calls it good, as on a node that has lost its memory of the plan: it takes part again.
    play(async || {
        let mut world = World::new();
        let esp = world.hosts[0].esp.clone();
        esp.0.borrow_mut().files.clear();
        esp.put("edgepair_1+3.efi", "1");
        world.seconds(610).await;
        world.order(0, "2", false, 3600).await.unwrap();
    });
}

#[test]
fn a_sick_version_takes_both_back_and_is_never_tried_again() {
    for sick in 0..2 {
        play(async || {
            let mut world = World::new();
            world.seconds(3).await;
            world.hosts[sick].fate.borrow_mut().sick.push("2".to_owned());
            world.order(0, "2", false, 3600).await.unwrap();
            world.seconds(200).await;
            world.kept("1");
            let status = world.hosts[sick].driver.as_ref().unwrap().status();
            assert_eq!(status.failed[0].version, "2");
            assert_eq!(status.failed[0].why, ["shop.service failed"]);
            for at in 0..2 {
                assert_eq!(world.outcome(at), Some(Outcome::Refused));
                let why = world.order(at, "2", false, 3600).await.unwrap_err();
                assert!(why.contains("failed here before"), "{why}");
            }
            world.hosts[sick].fate.borrow_mut().sick.clear();
            world.order(1, "3", false, 3600).await.unwrap();
            world.seconds(120).await;
            world.kept("3");
        });
    }
}

#[test]
fn the_power_may_go_at_every_call() {
    for (at, after) in [(0, false), (0, true), (1, false), (1, true)] {
        for call in 0..5 {
            play(async || {
                let mut world = World::new();
                world.seconds(3).await;
                world.hosts[at].fate.borrow_mut().fuse = Some((call, after));
                world.order(0, "2", false, 3600).await.unwrap();
                world.seconds(400).await;
                let fate = world.hosts[at].fate.borrow();
                assert!(fate.calls > call, "node {at} never came to call {call}");
                drop(fate);
                println!("node {at}, call {call}, after it: {after}");
                world.kept("2");
            });
        }
    }
}

#[test]
fn agents_may_be_started_anew_at_any_second() {
    for at in 0..2 {
        play(async || {
            let mut world = World::new();
            world.seconds(3).await;
            world.order(0, "2", false, 3600).await.unwrap();
            for second in 0..400 {
                world.second().await;
                let idle = !world.hosts[at].fate.borrow().rebooting;
                if second % 23 == 0 && idle && world.hosts[at].driver.is_some() {
                    world.start_agent(at);
                }
            }
            world.kept("2");
        });
    }
}

#[test]
fn the_plan_waits_for_a_healthy_pair_and_no_longer_than_its_limit() {
    play(async || {
        let mut world = World::new();
        world.seconds(3).await;
        world.witness = false;
        world.order(0, "2", false, 300).await.unwrap();
        world.seconds(100).await;
        assert_eq!(world.running(), ["1", "1"]);
        let why = world.hosts[1].driver.as_ref().unwrap().status().why;
        assert!(why.contains("witness"), "{why}");
        world.witness = true;
        world.seconds(120).await;
        world.kept("2");
        world.witness = false;
        world.order(0, "3", false, 100).await.unwrap();
        world.seconds(200).await;
        world.kept("2");
        assert_eq!(world.outcome(1), Some(Outcome::Abandoned), "no verdict: it may be started again");
        world.witness = true;
        world.order(0, "3", false, 3600).await.unwrap();
        world.seconds(120).await;
        world.kept("3");
    });
}

#[test]
fn a_source_that_is_away_is_asked_again() {
    play(async || {
        let mut world = World::new();
        world.seconds(3).await;
        world.hosts[1].fate.borrow_mut().silent_source = true;
        world.order(0, "2", false, 3600).await.unwrap();
        world.seconds(40).await;
        assert!(world.log(1).len() > 3);
        world.hosts[1].fate.borrow_mut().silent_source = false;
        world.seconds(120).await;
        world.kept("2");
    });
}

#[test]
fn a_crash_on_trial_refuses_a_version_and_a_power_cut_does_not() {
    for crash in [true, false] {
        play(async || {
            let mut world = World::new();
            world.hosts[1].fate.borrow_mut().crashes.push("an old one".to_owned());
            world.seconds(3).await;
            world.order(0, "2", false, 3600).await.unwrap();
            while world.hosts[1].running != "2" {
                world.second().await;
            }
            if crash {
                world.hosts[1].fate.borrow_mut().crashes.push("dmesg-1".to_owned());
            }
            world.hosts[1].fate.borrow_mut().cut = true;
            world.seconds(200).await;
            world.kept(if crash { "1" } else { "2" });
        });
    }
}

#[test]
fn an_operator_may_go_on_without_the_other_node_which_follows_later() {
    play(async || {
        let mut world = World::new();
        world.seconds(3).await;
        assert!(world.order(0, "2", true, 3600).await.unwrap_err().contains("answers"));
        world.off[1] = true;
        world.seconds(3).await;
        world.order(0, "2", true, 3600).await.unwrap();
        world.seconds(100).await;
        assert_eq!(world.running()[0], "2");
        assert_eq!(world.standing(0)[0], ("2".to_owned(), Standing::Kept));
        world.off[1] = false;
        world.seconds(150).await;
        world.kept("2");
    });
}

#[test]
fn a_version_that_fails_on_the_node_that_was_away_leaves_two_and_both_say_so() {
    play(async || {
        let mut world = World::new();
        world.seconds(3).await;
        world.off[1] = true;
        world.seconds(3).await;
        world.order(0, "2", true, 3600).await.unwrap();
        world.seconds(100).await;
        world.hosts[1].fate.borrow_mut().sick.push("2".to_owned());
        world.off[1] = false;
        world.seconds(150).await;
        assert_eq!(world.running(), ["2", "1"], "each on one that works there");
        assert_eq!(world.log(1), ["write", "arm", "prove", "reboot", "reject", "reboot"]);
        for at in 0..2 {
            let status = world.hosts[at].driver.as_ref().unwrap().status();
            assert!(status.why.contains("different versions"), "{}", status.words());
        }
        let said = world.said;
        world.seconds(30).await;
        assert_eq!(world.said, said, "nothing is left to be said");
        world.order(1, "3", false, 3600).await.unwrap();
        world.seconds(150).await;
        world.kept("3");
    });
}

#[test]
fn a_rollback_by_hand_is_not_undone_by_the_decision() {
    play(async || {
        let mut world = World::new();
        world.seconds(3).await;
        world.order(0, "2", false, 3600).await.unwrap();
        world.seconds(120).await;
        world.kept("2");
        let standby = 1 - world.active;
        let ask = async |world: &mut World, at: usize| {
            let (reply, mut answer) = oneshot::channel();
            world.hosts[at].driver.as_mut().unwrap().roll_back(reply);
            for _ in 0..5 {
                world.settle(at).await;
            }
            answer.try_recv().unwrap()
        };
        assert!(ask(&mut world, 1 - standby).await.unwrap_err().contains("active"));
        ask(&mut world, standby).await.unwrap();
        world.second().await;
        // The other one tells its decision again.
        world.start_agent(1 - standby);
        world.seconds(60).await;
        assert_eq!(world.running()[standby], "1", "and it stays there");
        world.active = standby;
        world.second().await;
        ask(&mut world, 1 - standby).await.unwrap();
        world.seconds(60).await;
        world.kept("1");
        world.order(0, "3", false, 3600).await.unwrap();
        world.seconds(150).await;
        world.kept("3");
    });
}

#[test]
fn what_fails_once_is_done_again_or_ends_the_plan_without_a_verdict() {
    for (name, end) in [("write", "2"), ("reboot", "2"), ("keep", "2"), ("arm", "1"), ("prove", "1")] {
        for at in 0..2 {
            play(async || {
                let mut world = World::new();
                world.seconds(3).await;
                world.hosts[at].fate.borrow_mut().fails = Some(name);
                world.order(0, "2", false, 3600).await.unwrap();
                world.seconds(200).await;
                println!("{name} on node {at}");
                world.kept(end);
                assert_eq!(world.hosts[at].fate.borrow().fails, None);
                if end == "1" {
                    world.order(0, "2", false, 3600).await.unwrap();
                    world.seconds(200).await;
                    world.kept("2");
                }
            });
        }
    }
}

#[test]
fn an_answer_about_an_earlier_plan_is_not_taken_for_this_ones() {
    play(async || {
        let mut world = World::new();
        world.seconds(3).await;
        let over = Rc::new(std::cell::Cell::new(false));
        world.hosts[1].fate.borrow_mut().hangs = Some(Rc::clone(&over));
        world.order(0, "2", false, 60).await.unwrap();
        world.seconds(130).await;
        assert_eq!(world.outcome(0), Some(Outcome::Abandoned));
        world.witness = false;
        world.order(0, "3", false, 3600).await.unwrap();
        world.seconds(20).await;
        over.set(true);
        world.seconds(20).await;
        world.witness = true;
        world.seconds(150).await;
        world.kept("3");
    });
}

/// A folder where the memory's file should be: nothing can be renamed over it.
fn spoil(world: &World, at: usize) -> std::path::PathBuf {
    let memory = world.hosts[at].place.path(edgepair_layout::path::UPDATE_MEMORY);
    let aside = memory.with_extension("aside");
    let _ = std::fs::rename(&memory, &aside);
    std::fs::create_dir_all(memory.join("full")).unwrap();
    aside
}

#[test]
fn a_memory_that_cannot_be_written_stops_the_update_and_nothing_else() {
    for at in 0..2 {
        // At the start, with the slots written, on trial.
        for seconds in [0, 4, 8, 12, 16, 30] {
            play(async || {
                let mut world = World::new();
                world.seconds(3).await;
                if seconds > 0 {
                    world.order(0, "2", false, 3600).await.unwrap();
                    world.seconds(seconds).await;
                }
                let aside = spoil(&world, at);
                if seconds == 0 {
                    let why = world.order(at, "2", false, 3600).await.unwrap_err();
                    assert!(why.contains("could not be made durable"), "{why}");
                }
                world.seconds(100).await;
                println!("node {at}, after {seconds} s");
                assert_eq!(world.alarms.len(), 1, "told once: {:?}", world.alarms);
                let status = world.hosts[at].driver.as_ref().unwrap().status();
                assert!(status.problems[0].contains("updates stop here"), "{}", status.words());
                let log = world.log(at);
                let why = world.order(at, "3", false, 3600).await.unwrap_err();
                assert!(why.contains("stop"), "{why}");
                world.seconds(100).await;
                assert_eq!(world.log(at), log, "nothing is carried out any more");
                // Repaired, and the agent started anew.
                let memory = world.hosts[at].place.path(edgepair_layout::path::UPDATE_MEMORY);
                std::fs::remove_dir_all(&memory).unwrap();
                let _ = std::fs::rename(&aside, &memory);
                world.start_agent(at);
                world.seconds(300).await;
                if seconds == 0 {
                    world.order(at, "2", false, 3600).await.unwrap();
                    world.seconds(150).await;
                }
                world.kept("2");
            });
        }
    }
}
