//! A scripted world of two nodes: real boot control over a doubled boot partition, real memory on disk.

use crate::update::boot::tests::{Double, uki};
use crate::update::boot::{BootControl, SystemdBoot, loader};
use crate::update::bundle::Body;
use crate::update::driver::hands::{Hands, Job, Look, Offer, Trouble, Work};
use crate::update::driver::said::{Said, Start};
use crate::update::driver::*;
use edgepair_host_io::digest::of_bytes;
use std::cell::RefCell;
use tokio::task::{LocalSet, yield_now};

/// What the world does to a node, and what it has seen of it.
#[derive(Debug, Default)]
pub struct Fate {
    pub calls: usize,
    /// The power goes at this call: before it, or after it.
    pub fuse: Option<(usize, bool)>,
    pub cut: bool,
    pub rebooting: bool,
    pub sick: Vec<String>,
    pub silent_source: bool,
    /// The next call of this name fails.
    pub fails: Option<&'static str>,
    /// A write that is begun now goes on for so long, and fails then.
    pub hangs: Option<Rc<std::cell::Cell<bool>>>,
    pub crashes: Vec<String>,
    pub boot: usize,
    pub log: Vec<String>,
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
        if fate.fails.take_if(|fails| *fails == name).is_some() {
            return Box::pin(async { Err(Trouble { text: "it failed".to_owned(), again: true }) });
        }
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

    fn open(&self, start: &Start, _body: Option<Body>) -> Work<Offer> {
        let version = start.file.clone();
        Box::pin(async { Ok(Offer { version, bundle: "digest".to_owned(), trial_limit: 20 }) })
    }

    fn write(&self, job: Job) -> Work<()> {
        assert_eq!(job.bundle, "digest");
        if let Some(over) = self.fate.borrow_mut().hangs.take() {
            return Box::pin(async move {
                while !over.get() {
                    yield_now().await;
                }
                Err(Trouble::lasting("an old write"))
            });
        }
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

pub struct Host {
    pub place: Place,
    pub esp: Double,
    pub fate: Rc<RefCell<Fate>>,
    pub running: String,
    pub driver: Option<Driver>,
    pub done: mpsc::UnboundedReceiver<Done>,
    pub mail: VecDeque<Said>,
}

pub struct World {
    pub hosts: [Host; 2],
    pub active: usize,
    pub witness: bool,
    /// Nodes that are off and stay off.
    pub off: [bool; 2],
    pub switchovers: usize,
    pub said: usize,
    pub alarms: Vec<String>,
    _folder: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
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
        Self {
            hosts,
            active: 0,
            witness: true,
            off: [false; 2],
            switchovers: 0,
            said: 0,
            alarms: Vec::new(),
            _folder: folder,
        }
    }

    /// Starts an agent; after a power cut or reboot the loader chooses first.
    pub fn start_agent(&mut self, at: usize) {
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

    pub fn boot(&mut self, at: usize) {
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

    pub async fn second(&mut self) {
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

    pub async fn settle(&mut self, at: usize) {
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
                Want::Alarm(text) => self.alarms.push(text),
            }
        }
    }

    pub async fn order(&mut self, at: usize, version: &str, solo: bool, limit: u64) -> Result<(), String> {
        let (reply, mut answer) = oneshot::channel();
        let start =
            Start { file: version.to_owned(), solo, limit: Some(limit), one_way: None, channel: None };
        self.hosts[at].driver.as_mut().unwrap().start(start, None, reply);
        for _ in 0..10 {
            self.settle(at).await;
        }
        answer.try_recv().unwrap()
    }

    pub async fn seconds(&mut self, count: usize) {
        for _ in 0..count {
            self.second().await;
        }
    }

    pub fn running(&self) -> [&str; 2] {
        self.hosts.each_ref().map(|host| host.running.as_str())
    }

    pub fn standing(&self, at: usize) -> Vec<(String, Standing)> {
        SystemdBoot::new(self.hosts[at].esp.clone()).versions().unwrap()
    }

    pub fn outcome(&self, at: usize) -> Option<Outcome> {
        self.hosts[at].driver.as_ref().unwrap().status().plan.map(|plan| plan.outcome)
    }

    pub fn kept(&self, version: &str) {
        for at in 0..2 {
            let words = self.hosts.each_ref().map(|host| host.driver.as_ref().unwrap().status().words());
            assert_eq!(self.running()[at], version, "node {at}\n{}\n{}", words[0], words[1]);
            let own = self.standing(at).into_iter().find(|(known, _)| known == version);
            assert_eq!(own.map(|(_, standing)| standing), Some(Standing::Kept), "node {at}");
        }
    }

    pub fn log(&self, at: usize) -> Vec<String> {
        self.hosts[at].fate.borrow().log.clone()
    }
}

pub fn play<T>(scene: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, scene())
}
