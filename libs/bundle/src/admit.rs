//! Whether a node may install a version, and when.

use crate::manifest::{Manifest, Span, Wave};
use crate::{Digest, Time, Version};
use std::fmt;
use thiserror::Error;

/// What a node knows of itself when it is asked to install a version.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// Its board.
    pub board: &'a str,
    /// Highest floor of all versions that were kept here.
    pub floor: Option<&'a Version>,
    /// Versions that failed here.
    pub refused: &'a [Version],
    /// Protocols between the agents that the other node speaks: during an update the new version talks to the old one.
    pub pair_protocol: Span,
    /// Format of the datastore, when there is one.
    pub datastore: Option<u32>,
    /// Schema of what node-init keeps on the state partition.
    pub state: u32,
    /// What the running version reads, for it is the one that an update goes back to.
    pub reads: Reads,
    /// A version that an operator has confirmed as a step from which nothing goes back.
    pub one_way: Option<&'a Version>,
    /// The time, when it is known.
    pub now: Option<Time>,
    /// Name of the pair when it updates by itself; nothing when an operator asked, who need not wait for a wave.
    pub pair: Option<&'a str>,
}

/// What a version reads of what another one left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reads {
    /// Formats of the datastore.
    pub datastore: Span,
    /// Schemas of what node-init keeps on the state partition.
    pub state: Span,
}

/// One reason why a version is not installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is for other boards.
    Board {
        /// This node's.
        board: String,
        /// The bundle's.
        boards: Vec<String>,
    },
    /// It is older than a version that was kept here allows.
    Floor {
        /// The bundle's version.
        version: Version,
        /// The node's floor.
        floor: Version,
    },
    /// It failed here before.
    KnownBad(Version),
    /// It could not talk to the other node.
    PairProtocol {
        /// The other node's.
        peer: Span,
        /// The bundle's.
        bundle: Span,
    },
    /// It cannot run on the datastore as it is.
    Datastore {
        /// The node's format.
        present: u32,
        /// The bundle's.
        bundle: Span,
    },
    /// It cannot read what is on the state partition.
    State {
        /// The node's schema.
        present: u32,
        /// The bundle's.
        bundle: Span,
    },
    /// Once it is kept, the running version could not read what is there, and it does not say that nothing goes back from it.
    Irreversible {
        /// What, in words.
        what: &'static str,
        /// What it leaves behind.
        leaves: u32,
        /// What the running version reads.
        reads: Span,
    },
    /// Nothing goes back from it, and no operator has confirmed that.
    OneWay(Version),
    /// Its time is over.
    Expired(Time),
    /// It has an end, or waves, and the time is not known.
    NoClock,
    /// This pair's wave has not begun.
    Wave(Time),
}

/// All reasons why a version is not installed. Not a byte of a slot has been written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Refused(pub Vec<Refusal>);

impl Node<'_> {
    /// Compares what the node is with what the manifest asks for.
    pub(crate) fn refusals(&self, manifest: &Manifest) -> Result<(), Refused> {
        let mut all = Vec::new();
        if !manifest.boards.iter().any(|board| board == self.board) {
            all.push(Refusal::Board { board: self.board.to_owned(), boards: manifest.boards.clone() });
        }
        if let Some(floor) = self.floor.filter(|floor| manifest.version < **floor) {
            all.push(Refusal::Floor { version: manifest.version.clone(), floor: floor.clone() });
        }
        if self.refused.contains(&manifest.version) {
            all.push(Refusal::KnownBad(manifest.version.clone()));
        }
        let compatible = &manifest.compatible;
        if !compatible.pair_protocol.meets(self.pair_protocol) {
            all.push(Refusal::PairProtocol { peer: self.pair_protocol, bundle: compatible.pair_protocol });
        }
        if let Some(present) = self.datastore.filter(|present| !compatible.datastore.contains(*present)) {
            all.push(Refusal::Datastore { present, bundle: compatible.datastore });
        }
        if !compatible.state.contains(self.state) {
            all.push(Refusal::State { present: self.state, bundle: compatible.state });
        }
        all.extend(self.no_way_back(manifest));
        let begins = self.pair.and_then(|pair| manifest.begins(pair));
        match self.now {
            None if manifest.expires.is_some() || begins.is_some() => all.push(Refusal::NoClock),
            None => {}
            Some(now) => {
                all.extend(manifest.expires.filter(|end| now >= *end).map(Refusal::Expired));
                all.extend(begins.filter(|begin| now < *begin).map(Refusal::Wave));
            }
        }
        if all.is_empty() { Ok(()) } else { Err(Refused(all)) }
    }
}

impl Node<'_> {
    /// What speaks against a version after which the running one could not be gone back to.
    fn no_way_back(&self, manifest: &Manifest) -> Option<Refusal> {
        let confirmed = self.one_way == Some(&manifest.version) && self.pair.is_none();
        if manifest.one_way {
            return (!confirmed).then(|| Refusal::OneWay(manifest.version.clone()));
        }
        let (leaves, reads) = (manifest.leaves, self.reads);
        let datastore =
            ("the datastore in format", leaves.datastore, reads.datastore, self.datastore.is_some());
        let state = ("the state partition with schema", leaves.state, reads.state, true);
        let unread =
            [datastore, state].into_iter().find(|(_, leaves, reads, here)| *here && !reads.contains(*leaves));
        unread.map(|(what, leaves, reads, _)| Refusal::Irreversible { what, leaves, reads })
    }
}

impl Manifest {
    /// When a pair's wave begins; nothing when there are no waves.
    #[must_use]
    pub fn begins(&self, pair: &str) -> Option<Time> {
        begins(&self.waves, pair, &self.version)
    }
}

/// When the wave of a pair begins; nothing when there are no waves.
pub(crate) fn begins(waves: &[Wave], pair: &str, version: &Version) -> Option<Time> {
    let place = place(pair, version);
    waves.iter().find(|wave| place < wave.percent * 100).or(waves.last()).map(|wave| wave.from)
}

/// A pair's place among all, from 0 to 9999: follows from its name and the version, so that another version begins with
/// other pairs and nobody has to keep a list.
#[must_use]
pub fn place(pair: &str, version: &Version) -> u32 {
    let sum = Digest::of(format!("edgepair wave 1\0{version}\0{pair}").as_bytes());
    let [a, b, c, d, ..] = sum.0;
    u32::from_be_bytes([a, b, c, d]) % 10_000
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Board { board, boards } => {
                write!(f, "it is for {}, and this is a {board}: get the bundle for this board", boards.join(", "))
            }
            Self::Floor { version, floor } => {
                write!(f, "version {version} is older than {floor}, the oldest that may follow what ran here: get a newer one")
            }
            Self::KnownBad(version) => {
                write!(f, "version {version} failed here before and is not tried again: get a newer one")
            }
            Self::PairProtocol { peer, bundle } => write!(
                f,
                "the other node speaks the pair's protocol {peer}, and this version {bundle}: update by way of a version that speaks both"
            ),
            Self::Datastore { present, bundle } => write!(
                f,
                "the datastore has format {present}, and this version takes {bundle}: bring the datastore to that format first"
            ),
            Self::State { present, bundle } => write!(
                f,
                "the state partition has schema {present}, and this version reads {bundle}: update by way of a version that reads both"
            ),
            Self::Irreversible { what, leaves, reads } => write!(
                f,
                "once kept it leaves {what} {leaves}, and the version that runs here, to which a failed update goes back, takes {reads}: update by way of a version that takes both"
            ),
            Self::OneWay(version) => write!(
                f,
                "nothing goes back from version {version}: an operator has to say so, with `node-init update start … --one-way {version}`"
            ),
            Self::Expired(end) => write!(f, "it was to be installed before {end}: get a newer one"),
            Self::NoClock => {
                f.write_str("it is bound to a time, and this node does not know the time: see that it reaches a time server")
            }
            Self::Wave(begin) => write!(f, "this pair's turn begins at {begin}: wait, or install it by hand"),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this node does not install the bundle:")?;
        self.0.iter().try_for_each(|refusal| write!(f, "\n  {refusal}"))
    }
}
