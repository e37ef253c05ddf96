//! Whether a node may install a version, and when.

use crate::manifest::{Manifest, Span};
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
    /// The time, when it is known.
    pub now: Option<Time>,
    /// Name of the pair when it updates by itself; nothing when an operator asked, who need not wait for a wave.
    pub pair: Option<&'a str>,
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

impl Manifest {
    /// When a pair's wave begins; nothing when there are no waves.
    #[must_use]
    pub fn begins(&self, pair: &str) -> Option<Time> {
        let place = place(pair, &self.version);
        self.waves.iter().find(|wave| place < wave.percent * 100).or(self.waves.last()).map(|wave| wave.from)
    }
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
