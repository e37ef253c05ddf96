//! Off and on, bounded. These functions wait: they run on a thread of their own, or in the handler's process.

use super::device::{Action, Device, Said};
use edgepair_host_io::Runner;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Longest one run of a program may take: a management board that is up answers in seconds.
const RUN: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Looks after an order before it is given again.
const LOOKS: u32 = 8;
/// So many runs without any answer end the attempt: a board locks a login that is wrong too often.
const DEAF: u32 = 3;

/// How an attempt runs; a test has less patience.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// For all of it.
    pub limit: Duration,
    /// For one run of the program.
    pub run: Duration,
    /// Between two looks.
    pub pause: Duration,
}

impl Pace {
    /// The usual pace, with so much time for all of it.
    #[must_use]
    pub fn within(limit: Duration) -> Self {
        Self { limit, run: RUN, pause: PAUSE }
    }
}

/// One attempt.
struct Attempt<'a> {
    runner: &'a dyn Runner,
    device: &'a Device,
    pace: Pace,
    deadline: Instant,
    deaf: u32,
}

impl<'a> Attempt<'a> {
    fn new(runner: &'a dyn Runner, device: &'a Device, pace: Pace) -> Self {
        Self { runner, device, pace, deadline: now() + pace.limit, deaf: 0 }
    }

    /// What is left for one run; an error when nothing is.
    fn left(&self) -> Result<Duration, String> {
        let left = self.deadline.saturating_duration_since(now());
        if left.is_zero() {
            return Err(format!("not within {:.0} s", self.pace.limit.as_secs_f32()));
        }
        Ok(left.min(self.pace.run))
    }

    fn status(&mut self) -> Result<Said, String> {
        let call = self.device.call(Action::Status, self.left()?);
        let said = self.device.status(self.runner.run(&call));
        self.heard(said)
    }

    fn order(&mut self, action: Action) -> Result<(), String> {
        let call = self.device.call(action, self.left()?);
        let taken = self.device.taken(&self.runner.run(&call));
        self.heard(taken)
    }

    fn heard<T>(&mut self, answer: Result<T, String>) -> Result<T, String> {
        self.deaf = if answer.is_ok() { 0 } else { self.deaf + 1 };
        answer
    }

    /// Orders until the box reads as wanted. `left_so` is a box that this node left in that state: it is looked at first.
    fn reach(
        &mut self,
        action: Action,
        wanted: Said,
        left_so: bool,
        stop: &AtomicBool,
    ) -> Result<(), String> {
        if left_so && self.status() == Ok(wanted) {
            return Ok(());
        }
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err("given up: the other node is connected again".to_owned());
            }
            // Why an order was not taken says more than that it was not carried out, and that more than that a look was late.
            let mut why = self.order(action).err();
            for _ in 0..LOOKS {
                let seen = match self.status() {
                    Ok(said) if said == wanted => return Ok(()),
                    Ok(said) => {
                        let seen =
                            format!("it still reads as {}", if said == Said::On { "on" } else { "off" });
                        why.get_or_insert(seen).clone()
                    }
                    Err(error) => why.clone().unwrap_or(error),
                };
                if self.deaf >= DEAF || self.left().is_err() {
                    return Err(seen);
                }
                std::thread::sleep(self.pace.pause);
            }
        }
    }
}

/// Switches the other box off and reads back that it is.
///
/// # Errors
/// In words, when it was not read back as off in time. It may go off later.
pub fn off(
    runner: &dyn Runner,
    device: &Device,
    pace: Pace,
    left_off: bool,
    stop: &AtomicBool,
) -> Result<(), String> {
    Attempt::new(runner, device, pace).reach(Action::Off, Said::Off, left_off, stop)
}

/// Switches the other box on and reads back that it is.
///
/// # Errors
/// In words.
pub fn on(runner: &dyn Runner, device: &Device, pace: Pace) -> Result<(), String> {
    Attempt::new(runner, device, pace).reach(Action::On, Said::On, false, &AtomicBool::new(false))
}

/// Asks whether the other box has power.
///
/// # Errors
/// In words.
pub fn look(runner: &dyn Runner, device: &Device, pace: Pace) -> Result<Said, String> {
    Attempt::new(runner, device, pace).status()
}

/// How long something took, for whoever has to wait for it next time.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = now();
    let result = work();
    (result, begun.elapsed())
}

fn now() -> Instant {
    Instant::now()
}
