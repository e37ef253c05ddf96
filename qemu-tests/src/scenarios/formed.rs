//! The pairs that scenarios share, one in `manual` mode and one with a witness: each formed once in a run, saved, and
//! given to each scenario as it was then.

use super::Context;
use crate::harness::database::{self, Database};
use crate::harness::pair::{Pair, Spec};
use crate::harness::site::{self, SECRET_FILE, Side, Site, Wishes};
use crate::harness::witness::Witness;
use crate::harness::writer::Reach;
use anyhow::Context as _;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Name of the saved state.
const FORMED: &str = "formed";

/// How a shared pair decides who may be active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `mode = "manual"`.
    Manual,
    /// `mode = "witness"`.
    Watched,
    /// `mode = "witness"`, and the nodes have management boards.
    WatchedWithBoards,
    /// `mode = "fence"`, with management boards and without a witness.
    Fenced,
    /// `mode = "witness"`, with Kubernetes over PostgreSQL and a worker in the seed.
    Postgres,
    /// `mode = "witness"`, with Kubernetes over SQLite.
    Sqlite,
    /// `mode = "witness"`, with Kubernetes over a database outside the pair.
    External,
}

impl Kind {
    fn mode(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Fenced => "fence",
            _ => "witness",
        }
    }

    fn boards(self) -> bool {
        matches!(self, Self::WatchedWithBoards | Self::Fenced)
    }

    /// Where Kubernetes stores, when there is one.
    fn kubernetes(self) -> Option<&'static str> {
        match self {
            Self::Postgres => Some("postgres"),
            Self::Sqlite => Some("sqlite"),
            Self::External => Some("external"),
            _ => None,
        }
    }

    /// Its folder.
    fn word(self) -> &'static str {
        match self {
            Self::Manual => "pair",
            Self::Watched => "watched",
            Self::WatchedWithBoards => "boards",
            Self::Fenced => "fenced",
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
            Self::External => "external",
        }
    }
}

/// Where the shared pairs are, once they were formed.
#[derive(Debug, Default)]
pub struct Shared {
    formed: RefCell<BTreeMap<Kind, Kept>>,
    /// The database outside the pair.
    outside: RefCell<Option<Database>>,
}

impl Shared {
    /// Asks the database outside the pair.
    ///
    /// # Errors
    /// When there is none, and what was asked says.
    pub fn outside<T>(&self, ask: impl FnOnce(&Database) -> anyhow::Result<T>) -> anyhow::Result<T> {
        ask(self.outside.borrow().as_ref().context("there is no database outside the pair")?)
    }
}

#[derive(Debug, Clone)]
struct Kept {
    spec: Spec,
    active: Side,
    /// From power-on to a pair that works.
    took: Duration,
    /// What both nodes said while it formed.
    journals: [String; 2],
}

/// A pair under test.
pub struct Lab {
    /// The machines.
    pub pair: Pair,
    /// Their seed.
    pub site: Site,
    /// The way to the datastore.
    pub reach: Reach,
    /// Which node was active at first.
    pub active: Side,
}

impl Context<'_> {
    /// Flashes two boxes with one seed and brings up everything but the nodes.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn two_boxes(&self, dir: &Path, kind: Kind) -> anyhow::Result<Lab> {
        self.two_boxes_with(dir, kind, |_, _| {})
    }

    /// The same with something changed beforehand.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn two_boxes_with(
        &self,
        dir: &Path,
        kind: Kind,
        change: impl FnOnce(&mut Spec, &mut Wishes),
    ) -> anyhow::Result<Lab> {
        let mut spec = Spec::new(dir, self.image, self.accel, kind.mode() == "witness")?;
        spec.boards = kind.boards();
        let mut wishes = Wishes::manual("lab", self.accel);
        wishes.mode = kind.mode().into();
        wishes.boards = kind.boards();
        wishes.kubernetes = kind.kubernetes().map(str::to_owned);
        wishes.worker = kind == Kind::Postgres;
        if kind == Kind::External {
            spec.database = true;
            let (address, port) = site::DATABASE;
            wishes.endpoint = Some(database::endpoint(address, port, "sslmode=require"));
            let database = Database::start(&dir.join("outside"), spec.doors.database)?;
            *self.shared.outside.borrow_mut() = Some(database);
        }
        change(&mut spec, &mut wishes);
        let seed = dir.join("seed");
        let site = if spec.witness {
            let mut witness = Witness::new(self.image, &dir.join("witness"), spec.doors.witness)?;
            wishes.fingerprint = Some(witness.fingerprint()?);
            let site = Site::make(&seed, &wishes)?;
            witness.start()?;
            witness.enrol(&wishes.name, &seed.join(SECRET_FILE))?;
            site
        } else {
            Site::make(&seed, &wishes)?
        };
        for side in Side::BOTH {
            Pair::flash(&spec, side, &site)?;
        }
        let reach = self.reach(&spec, &site);
        Ok(Lab { pair: Pair::open(&spec)?, site, reach, active: Side::A })
    }

    fn reach(&self, spec: &Spec, site: &Site) -> Reach {
        Reach::new(spec.doors.postgres, site, Duration::from_secs(2 * self.accel.patience()))
    }

    /// Forms the shared pair, if it is not there yet.
    ///
    /// # Errors
    /// When it does not form; what both nodes said is in its folder.
    pub fn form(&self, kind: Kind) -> anyhow::Result<()> {
        if self.shared.formed.borrow().contains_key(&kind) {
            return Ok(());
        }
        let dir = self.common.join(kind.word());
        let mut lab = self.two_boxes(&dir, kind)?;
        lab.look(|lab| {
            let took = self.bring_up(lab, kind)?;
            let begun = now();
            lab.pair.save(FORMED)?;
            println!("  saved in {:.1} s", begun.elapsed().as_secs_f32());
            let kept = Kept {
                spec: lab.pair.spec.clone(),
                active: lab.active,
                took,
                journals: Side::BOTH.map(|side| lab.pair.journal(side)),
            };
            self.shared.formed.borrow_mut().insert(kind, kept);
            Ok(())
        })
    }

    /// Switches both boxes on and waits until the pair serves; how long that took.
    fn bring_up(&self, lab: &mut Lab, kind: Kind) -> anyhow::Result<Duration> {
        let begun = now();
        for side in Side::BOTH {
            lab.pair.start(side)?;
        }
        lab.active = lab.pair.wait_formed(self.seconds(200), &mut |_| {})?;
        self.serves(lab, kind)?;
        let took = begun.elapsed();
        println!("  formed {:.1} s after power-on, node {} is active", took.as_secs_f32(), lab.active);
        Ok(took)
    }

    /// Waits until what the pair is for is there.
    fn serves(&self, lab: &mut Lab, kind: Kind) -> anyhow::Result<()> {
        if !matches!(kind, Kind::Sqlite | Kind::External) {
            lab.reach.wait(self.seconds(20))?;
        }
        if kind.kubernetes().is_some() { super::kubernetes::wait_ready(self, lab) } else { Ok(()) }
    }

    /// What both nodes said in their journals while the shared pair formed.
    ///
    /// # Errors
    /// When it does not form.
    pub fn forming_journals(&self) -> anyhow::Result<[String; 2]> {
        Ok(self.kept(Kind::Manual)?.journals)
    }

    /// How long the shared pair took to form.
    ///
    /// # Errors
    /// When it does not form.
    pub fn forming_took(&self) -> anyhow::Result<Duration> {
        Ok(self.kept(Kind::Manual)?.took)
    }

    fn kept(&self, kind: Kind) -> anyhow::Result<Kept> {
        self.form(kind)?;
        self.shared.formed.borrow().get(&kind).cloned().context("the shared pair")
    }

    /// Forms a pair for one scenario only, which is not taken back: what is outside of it could not go back with it.
    ///
    /// # Errors
    /// When it does not form, and the scenario's.
    pub fn with_new(
        &self,
        kind: Kind,
        run: impl FnOnce(&mut Lab) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut lab = self.two_boxes(&self.common.join(kind.word()), kind)?;
        lab.look(|lab| {
            self.bring_up(lab, kind)?;
            run(lab)
        })
    }

    /// Takes the shared pair back to the moment when it was formed, and gives it to the scenario; what both nodes say is
    /// kept when it fails.
    ///
    /// # Errors
    /// The scenario's.
    pub fn with_pair(&self, run: impl FnOnce(&mut Lab) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.taken_back(Kind::Manual, false, run)
    }

    /// The same with a copy of the pair, for a scenario that writes new disks.
    ///
    /// # Errors
    /// The scenario's.
    pub fn with_copy(&self, run: impl FnOnce(&mut Lab) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.taken_back(Kind::Manual, true, run)
    }

    /// The same with the pair of another kind.
    ///
    /// # Errors
    /// The scenario's.
    pub fn with_kind(
        &self,
        kind: Kind,
        run: impl FnOnce(&mut Lab) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.taken_back(kind, false, run)
    }

    fn taken_back(
        &self,
        kind: Kind,
        copy: bool,
        run: impl FnOnce(&mut Lab) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let kept = self.kept(kind)?;
        let site = Site::read(&kept.spec.dir.join("seed"))?;
        let spec = if copy { kept.spec.copy(&self.dir.join("pair"))? } else { kept.spec };
        let begun = now();
        let mut pair = Pair::open(&spec)?;
        pair.load(FORMED)?;
        println!("  taken back to the formed pair in {:.1} s", begun.elapsed().as_secs_f32());
        let reach = self.reach(&spec, &site);
        let mut lab = Lab { pair, site, reach, active: kept.active };
        lab.look(|lab| {
            // Being taken back is no fault: the pair must be whole before anything is done to it.
            lab.pair.wait_formed(self.seconds(30), &mut |_| {}).context("the saved pair")?;
            self.serves(lab, kind)?;
            println!("  it is whole and takes writes after {:.1} s", begun.elapsed().as_secs_f32());
            run(lab)
        })
    }
}

impl Lab {
    /// Runs a part of a scenario; when it fails, both nodes are asked what is the matter.
    ///
    /// # Errors
    /// The part's.
    pub fn look<T>(&mut self, part: impl FnOnce(&mut Self) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let result = part(self);
        if result.is_err() {
            self.pair.autopsy();
        }
        result
    }

    /// Where a node's things are.
    pub fn folder(&self, side: Side) -> PathBuf {
        self.pair.spec.node(side)
    }
}

#[expect(clippy::disallowed_methods, reason = "figures for the report; nothing is decided by them")]
pub fn now() -> Instant {
    Instant::now()
}
