//! Two nodes that update in a scripted world: real boot control over a doubled boot partition, real memory on disk.

use super::hands::{Hands, Job, Look, Offer, Trouble, Work};
use super::said::{Said, Start};
use super::*;
use crate::update::boot::tests::{Double, uki};
use crate::update::boot::{BootControl, SystemdBoot, loader};
use edgepair_host_io::digest::of_bytes;
use std::cell::RefCell;
use tokio::task::{LocalSet, yield_now};

/// What the world does to a node, and what it has seen of it.
#[derive(Debug, Default)]
struct Fate {
    calls: usize,
    /// The power goes at this call: before it, or after it.
    fuse: Option<(usize, bool)>,
    cut: bool,
    rebooting: bool,
    sick: Vec<String>,
    silent_source: bool,
    crashes: Vec<String>,
    boot: usize,
    log: Vec<String>,
}

struct Fake {
    esp: Double,
    running: String,
    fate: Rc<RefCell<Fate>>,
}

impl Fake {
    fn boot(&self) -> SystemdBoot<Double> {
        SystemdBoot::new(self.esp.clone())
    }

    fn act<T: 'static>(&self, name: &str, act: impl FnOnce() -> Result<T, Trouble>) -> Work<T> {
        let mut fate = self.fate.borrow_mut();
        fate.log.push(name.to_owned());
        fate.calls += 1;
        let hit = fate.fuse.filter(|(at, _)| *at + 1 == fate.calls);
        fate.cut |= hit.is_some();
        drop(fate);
        match hit {
            Some((_, after)) => {
                if after {
                    let _ = act();
                }
                Box::pin(std::future::pending())
            }
            None => {
                let result = act();
                Box::pin(async { result })
            }
        }
    }
}

fn install(boot: &SystemdBoot<Double>, running: &str, version: &str) -> Result<(), Trouble> {
    boot.clear(running)?;
    let image = uki(version);
    Ok(boot.install(version, &of_bytes(&image), &mut image.as_slice())?)
}

impl Hands for Fake {
    fn look(&self) -> Work<Look> {
        let versions = self.boot().versions().unwrap();
        let fate = self.fate.borrow();
        let look = Look { versions, boot: fate.boot.to_string(), crashes: fate.crashes.clone() };
        Box::pin(async { Ok(look) })
    }

    fn open(&self, file: PathBuf) -> Work<Offer> {
        let version = file.to_string_lossy().into_owned();
        Box::pin(async { Ok(Offer { version, bundle: "digest".to_owned(), trial_limit: 20 }) })
    }

    fn write(&self, job: Job) -> Work<()> {
        assert_eq!(job.bundle, "digest");
        let silent = self.fate.borrow().silent_source;
        self.act("write", || match silent {
            true => Err(Trouble { text: "the source does not answer".to_owned(), again: true }),
            false => install(&self.boot(), &self.running, &job.version),
        })
    }

    fn arm(&self, job: Job) -> Work<()> {
        self.act("arm", || {
            if self.boot().look().unwrap().of(&job.version).next().is_none() {
                install(&self.boot(), &self.running, &job.version)?;
            }
            Ok(self.boot().arm_trial(&self.running, &job.version)?)
        })
    }

    fn prove(&self, version: String) -> Work<()> {
        self.act("prove", || Ok(self.boot().prove(&self.running, &version).map(drop)?))
    }

    fn keep(&self, version: String) -> Work<()> {
        self.act("keep", || Ok(self.boot().commit(&version)?))
    }

    fn reject(&self, version: String) -> Work<()> {
        self.act("reject", || Ok(self.boot().reject(&version)?))
    }

    fn roll_back(&self) -> Work<String> {
        self.act("roll back", || Ok(self.boot().roll_back(&self.running)?))
    }

    fn observe(&self, seen: Seen, solo: bool) -> Work<Vec<Finding>> {
        let mut findings = Vec::new();
        if self.fate.borrow().sick.contains(&self.running) {
            findings.push(Finding { text: "shop.service failed".to_owned(), elsewhere: false });
        }
        if !solo && !seen.paired {
            findings.push(Finding { text: "the other node does not answer".to_owned(), elsewhere: true });
        }
        Box::pin(async { Ok(findings) })
    }

    fn reboot(&self) -> Work<()> {
        self.act("reboot", || {
            self.fate.borrow_mut().rebooting = true;
            Ok(())
        })
    }

    fn now(&self) -> u64 {
        7
    }
}

struct Host {
    place: Place,
    esp: Double,
    fate: Rc<RefCell<Fate>>,
    running: String,
    driver: Option<Driver>,
    done: mpsc::UnboundedReceiver<Done>,
    mail: VecDeque<Said>,
}

struct World {
    hosts: [Host; 2],
    active: usize,
    witness: bool,
    /// Nodes that are off and stay off.
    off: [bool; 2],
    switchovers: usize,
    said: usize,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = |name: &str| {
            let esp = Double::default();
            esp.0.borrow_mut().room = 1 << 30;
            esp.put("edgepair_1.efi", "1");
            Host {
                place: Place::at(&folder.path().join(name)),
                esp,
                fate: Rc::default(),
                running: "1".to_owned(),
                driver: None,
                done: mpsc::unbounded_channel().1,
                mail: VecDeque::new(),
            }
        };
        let hosts = [host("a"), host("b")];
        Self { hosts, active: 0, witness: true, off: [false; 2], switchovers: 0, said: 0, _folder: folder }
    }

    /// Starts an agent; after a power cut or reboot the loader chooses first.
    fn start_agent(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let hands =
            Fake { esp: host.esp.clone(), running: host.running.clone(), fate: Rc::clone(&host.fate) };
        let (sender, receiver) = mpsc::unbounded_channel();
        host.done = receiver;
        host.mail.clear();
        let side = [Side::A, Side::B][at];
        let driver = Driver::new(host.place.clone(), side, &host.running, Rc::new(hands), sender);
        host.driver = Some(driver.unwrap());
    }

    fn boot(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let listing = SystemdBoot::new(host.esp.clone()).look().unwrap();
        let chosen = loader::chosen(&listing.entries, loader::Ids::WithCounter).unwrap().clone();
        host.running = chosen.version().unwrap().to_owned();
        let content = host.esp.0.borrow_mut().files.remove(&chosen.file).unwrap();
        host.esp.0.borrow_mut().files.insert(loader::counted(&chosen).file, content);
        let mut fate = host.fate.borrow_mut();
        fate.boot += 1;
        (fate.cut, fate.rebooting) = (false, false);
        drop(fate);
        if self.active == at && !self.off[1 - at] {
            self.active = 1 - at;
        }
        self.start_agent(at);
    }

    async fn second(&mut self) {
        for at in 0..2 {
            if self.off[at] {
                self.hosts[at].driver = None;
                continue;
            }
            let fate = Rc::clone(&self.hosts[at].fate);
            if self.hosts[at].driver.is_none() || fate.borrow().cut || fate.borrow().rebooting {
                self.boot(at);
            }
            let peer = !self.off[1 - at] && self.hosts[1 - at].driver.is_some();
            let (active, witness) = (self.active == at, self.witness);
            let seen = Seen { active, current: true, paired: peer, peer, witness, datastore: None };
            self.hosts[at].driver.as_mut().unwrap().tick(seen);
            for _ in 0..6 {
                self.settle(at).await;
            }
        }
    }

    async fn settle(&mut self, at: usize) {
        for _ in 0..3 {
            yield_now().await;
        }
        let gone = |fate: &RefCell<Fate>| fate.borrow().cut || fate.borrow().rebooting;
        while let Ok(done) = self.hosts[at].done.try_recv() {
            if !gone(&self.hosts[at].fate) {
                self.hosts[at].driver.as_mut().unwrap().done(done);
            }
        }
        while let Some(said) = self.hosts[at].mail.pop_front() {
            self.hosts[at].driver.as_mut().unwrap().hear(&said);
        }
        let wants = self.hosts[at].driver.as_mut().unwrap().wants();
        if gone(&self.hosts[at].fate) {
            return;
        }
        for want in wants {
            match want {
                Want::Say(said) if self.hosts[1 - at].driver.is_some() => {
                    self.said += 1;
                    self.hosts[1 - at].mail.push_back(said);
                }
                Want::Say(_) => {}
                Want::Switchover => {
                    assert_eq!(self.active, at);
                    self.active = 1 - at;
                    self.switchovers += 1;
                }
                Want::Failed(why) => panic!("{why}"),
            }
        }
    }

    async fn order(&mut self, at: usize, version: &str, solo: bool, limit: u64) -> Result<(), String> {
        let (reply, mut answer) = oneshot::channel();
        let start = Start { file: version.to_owned(), solo, limit: Some(limit) };
        self.hosts[at].driver.as_mut().unwrap().start(start, reply);
        for _ in 0..10 {
            self.settle(at).await;
        }
        answer.try_recv().unwrap()
    }

    async fn seconds(&mut self, count: usize) {
        for _ in 0..count {
            self.second().await;
        }
    }

    fn running(&self) -> [&str; 2] {
        self.hosts.each_ref().map(|host| host.running.as_str())
    }

    fn standing(&self, at: usize) -> Vec<(String, Standing)> {
        SystemdBoot::new(self.hosts[at].esp.clone()).versions().unwrap()
    }

    fn outcome(&self, at: usize) -> Option<Outcome> {
        self.hosts[at].driver.as_ref().unwrap().status().plan.map(|plan| plan.outcome)
    }

    fn kept(&self, version: &str) {
        for at in 0..2 {
            let words = self.hosts.each_ref().map(|host| host.driver.as_ref().unwrap().status().words());
            assert_eq!(self.running()[at], version, "node {at}\n{}\n{}", words[0], words[1]);
            let own = self.standing(at).into_iter().find(|(known, _)| known == version);
            assert_eq!(own.map(|(_, standing)| standing), Some(Standing::Kept), "node {at}");
        }
    }

    fn log(&self, at: usize) -> Vec<String> {
        self.hosts[at].fate.borrow().log.clone()
    }
}

fn play<T>(scene: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, scene())
}

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
