//! `edgepair lab switch`: the process that holds a lab's machines. What it started ends with it, however it ends.

use super::control::{Answer, Now, Order};
use super::state::Lab;
use anyhow::{Context, bail};
use qemu_tests::harness::pair::{Pair, Place};
use qemu_tests::harness::site::Side;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::time::Duration;

/// Name of the saved state of the freshly formed pair.
const FORMED: &str = "formed";

/// Runs until it is told to stop.
///
/// # Errors
/// When the lab cannot be opened.
pub fn run(lab: &Lab) -> anyhow::Result<ExitCode> {
    let made = lab.made().context("there is no lab of that name; `edgepair lab up` makes one")?;
    if lab.runs() {
        bail!("the lab `{}` has a supervisor already", lab.name);
    }
    lab.enlist()?;
    let mut held = Held { pair: Pair::open(&made.spec)?, unplugged: BTreeSet::new() };
    // Appears when everything is ready for orders.
    let waiting = lab.dir.join("control.new");
    let _ = std::fs::remove_file(&waiting);
    let listener = UnixListener::bind(&waiting).context("the lab's socket")?;
    std::fs::rename(&waiting, lab.socket())?;
    for stream in listener.incoming() {
        let stopped = stream.map_err(anyhow::Error::from).and_then(|stream| held.serve(&stream));
        match stopped {
            Ok(true) => break,
            Ok(false) => {}
            // Whoever asked has gone away; the lab has not.
            Err(error) => eprintln!("lab: {error:#}"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Held {
    pair: Pair,
    unplugged: BTreeSet<&'static str>,
}

impl Held {
    /// Takes one order; says whether it was the last.
    fn serve(&mut self, stream: &UnixStream) -> anyhow::Result<bool> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let order: Order = serde_json::from_str(&line).context("an order that makes no sense")?;
        if order != Order::Look {
            eprintln!("lab: {}", line.trim());
        }
        if order == Order::Stop {
            for side in Side::BOTH {
                self.pair.kill(side);
            }
        }
        let answer = match self.obey(&order) {
            Ok(()) => Answer::Done(self.now()),
            Err(error) => Answer::Failed(format!("{error:#}")),
        };
        let mut writer = stream;
        writer.write_all((serde_json::to_string(&answer)? + "\n").as_bytes())?;
        Ok(order == Order::Stop)
    }

    fn obey(&mut self, order: &Order) -> anyhow::Result<()> {
        let pair = &mut self.pair;
        match order {
            Order::Look | Order::Stop => Ok(()),
            Order::Power { machine, on } if machine == "witness" => {
                let witness = pair.witness.as_mut().context("this lab has no witness")?;
                if *on {
                    return witness.start();
                }
                witness.kill();
                Ok(())
            }
            Order::Power { machine, on: true } => {
                let side = node(machine)?;
                self.unplugged.remove(side.letter());
                pair.start(side)
            }
            Order::Power { machine, on: false } => {
                let side = node(machine)?;
                pair.node(side)?;
                pair.kill(side);
                Ok(())
            }
            Order::Pause { node: word, paused } => pair.node(node(word)?)?.pause(*paused),
            Order::Cut { one, other: Some(other) } => {
                pair.cut(place(one)?, place(other)?, true);
                Ok(())
            }
            Order::Cut { one, other: None } => {
                pair.isolate(place(one)?, true);
                Ok(())
            }
            Order::Carrier { node: word, up } => {
                let side = node(word)?;
                pair.carrier(side, *up)?;
                if *up {
                    self.unplugged.remove(side.letter());
                } else {
                    self.unplugged.insert(side.letter());
                }
                Ok(())
            }
            Order::Heal => {
                self.unplugged.clear();
                pair.heal()
            }
            Order::Save => pair.save(FORMED),
            Order::Load => {
                self.unplugged.clear();
                pair.load(FORMED)
            }
        }
    }

    fn now(&mut self) -> Now {
        let mut machines: Vec<(&str, bool)> =
            Side::BOTH.iter().map(|side| (side.letter(), self.pair.runs(*side))).collect();
        if let Some(witness) = &mut self.pair.witness {
            machines.push(("witness", witness.runs()));
        }
        let those = |which: bool| {
            machines.iter().filter(|(_, on)| *on == which).map(|(word, _)| (*word).to_owned()).collect()
        };
        let word = |place: Place| place.word().to_owned();
        // The stranger is nobody in a lab.
        let shown = |(one, other): &(Place, Place)| *one != Place::Stranger && *other != Place::Stranger;
        Now {
            on: those(true),
            off: those(false),
            cut: self
                .pair
                .cuts()
                .into_iter()
                .filter(shown)
                .map(|(one, other)| (word(one), word(other)))
                .collect(),
            unplugged: self.unplugged.iter().map(|word| (*word).to_owned()).collect(),
        }
    }
}

fn node(word: &str) -> anyhow::Result<Side> {
    Side::parse(word).with_context(|| format!("there is no node `{word}`"))
}

fn place(word: &str) -> anyhow::Result<Place> {
    Place::parse(word).with_context(|| format!("there is no place `{word}`"))
}
