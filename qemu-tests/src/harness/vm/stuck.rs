//! A machine that stands still before its first program, because the emulator has lost a timer interrupt: TCG does that on
//! rare occasions. Nothing of ours has run by then.

use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// What the kernel says of it, when it still can (kernel/rcu/tree_stall.h, rcu_check_gp_kthread_expired_fqs_timer).
const LOST_TIMER: &str = "Possible timer handling issue on cpu=";
/// The firmware's last word.
const HANDED_OVER: &str = "BdsDxe: starting";
/// A machine that says nothing for so long and uses no processor stands still; doubled with each reset.
const SILENCE: Duration = Duration::from_secs(60);

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub struct Watch {
    /// Since when nothing came, and the processor time used by then.
    since: Option<(Instant, Duration)>,
    resets: u32,
}

impl Watch {
    /// Whether the machine with this output and this process stands still.
    #[expect(clippy::disallowed_methods, reason = "the harness waits for real machines")]
    pub fn stands_still(&mut self, serial: &str, qemu: Option<Pid>) -> bool {
        let stuck = match phase(serial) {
            Phase::Later => {
                self.since = None;
                false
            }
            Phase::LostTimer => true,
            Phase::Silent => {
                let used = qemu.and_then(processor_time).unwrap_or(Duration::MAX);
                let (begun, before) = *self.since.get_or_insert((Instant::now(), used));
                let silent = begun.elapsed();
                let over = silent > SILENCE * 2_u32.saturating_pow(self.resets);
                if over {
                    self.since = None;
                }
                // One that boots uses all it gets.
                over && used.saturating_sub(before) < silent / 5
            }
        };
        if stuck {
            *self = Self { since: None, resets: self.resets + 1 };
        }
        stuck
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Silent,
    LostTimer,
    Later,
}

/// Since the firmware has handed over for the last time.
fn phase(serial: &str) -> Phase {
    let Some(at) = serial.rfind(HANDED_OVER) else { return Phase::Later };
    let said = serial[at..].split_once('\n').map_or("", |(_, rest)| rest);
    if said.contains("node-init[") || said.contains("====") {
        Phase::Later
    } else if said.contains(LOST_TIMER) {
        Phase::LostTimer
    } else if said.trim().is_empty() {
        Phase::Silent
    } else {
        Phase::Later
    }
}

/// User and system time of a process (proc_pid_stat(5), fields 14 and 15, in hundredths of a second on Linux).
fn processor_time(pid: Pid) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_machine_that_has_started_nothing_is_stuck() {
        let handed = "BdsDxe: starting Boot0001\n";
        let lost = format!("{handed}rcu: Possible timer handling issue on cpu=1 timer-softirq=213\n");
        assert_eq!(phase(""), Phase::Later);
        assert_eq!(phase(handed), Phase::Silent);
        assert_eq!(phase(&lost), Phase::LostTimer);
        assert_eq!(phase(&format!("{lost}{handed}")), Phase::Silent, "it was reset");
        let later = format!("{handed}[ 60.5] node-init[363]: seed taken\n");
        assert_eq!(
            phase(&format!("{later}{}", &lost[26..])),
            Phase::Later,
            "a node that hangs later is a finding"
        );
        assert_eq!(phase(&format!("{handed}Kernel panic\n")), Phase::Later);
    }

    #[test]
    fn this_process_has_used_some_time() {
        assert!(processor_time(Pid::this()).is_some());
        let mut watch = Watch::default();
        assert!(!watch.stands_still("BdsDxe: starting Boot0001\n", Some(Pid::this())), "not at once");
    }
}
