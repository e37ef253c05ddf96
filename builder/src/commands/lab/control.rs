//! What commands ask of a lab's supervisor: one JSON object a line, one answer each.

use anyhow::{Context, bail};
use qemu_tests::harness::pair::Place;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// An order. Places and nodes are given by their words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum Order {
    /// Say how things are.
    Look,
    /// Switch a machine on or off, at once.
    Power {
        /// a, b or witness.
        machine: String,
        /// On or off.
        on: bool,
    },
    /// Stop a node's processors, or let them go on.
    Pause {
        /// a or b.
        node: String,
        /// Which of both.
        paused: bool,
    },
    /// Cut a place from another one, or from everything.
    Cut {
        /// The one.
        one: String,
        /// The other; everything when absent.
        other: Option<String>,
    },
    /// Plug a node's cable in or out.
    Carrier {
        /// a or b.
        node: String,
        /// In.
        up: bool,
    },
    /// Join everything.
    Heal,
    /// Save both machines.
    Save,
    /// Take both machines back to the saved state.
    Load,
    /// End the lab.
    Stop,
}

impl Order {
    /// The order that switches a machine on or off.
    pub fn power(machine: Place, on: bool) -> Self {
        Self::Power { machine: machine.word().to_owned(), on }
    }
}

/// How things are in the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// Machines that are on: a, b, witness.
    pub on: Vec<String>,
    /// Machines that are off.
    pub off: Vec<String>,
    /// Pairs of places that are cut from each other.
    pub cut: Vec<(String, String)>,
    /// Nodes whose cable is out.
    pub unplugged: Vec<String>,
}

impl fmt::Display for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  on   {}", self.on.join(", "))?;
        if !self.off.is_empty() {
            write!(f, "\n  off  {}", self.off.join(", "))?;
        }
        for (one, other) in &self.cut {
            write!(f, "\n  cut  {one} from {other}")?;
        }
        for node in &self.unplugged {
            write!(f, "\n  cut  {node}'s cable is out")?;
        }
        Ok(())
    }
}

/// The answer to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is done.
    Done(Now),
    /// It failed, and why.
    Failed(String),
}

/// Gives an order and waits for the answer.
///
/// # Errors
/// When nobody listens, and when the order failed.
pub fn give(socket: &Path, order: &Order) -> anyhow::Result<Now> {
    let mut stream = UnixStream::connect(socket).context("the lab's supervisor does not listen")?;
    // Saving two machines takes seconds, on a busy computer more.
    stream.set_read_timeout(Some(Duration::from_secs(300)))?;
    stream.write_all((serde_json::to_string(order)? + "\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).context("the lab's supervisor does not answer")?;
    if line.is_empty() {
        bail!("the lab's supervisor ended while it was at it");
    }
    match serde_json::from_str(&line).context("the answer of the lab's supervisor")? {
        Answer::Done(now) => Ok(now),
        Answer::Failed(why) => bail!("{why}"),
    }
}
