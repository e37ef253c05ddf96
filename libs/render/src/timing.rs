//! Times that belong together: how fast a loss is seen, and how long until a lost node is surely silent.

use edgepair_seed::{FailoverMode, Seed};

/// DRBD's `timeout`, in tenths of a second: how long an answer may take before the peer is asked whether it lives. Below
/// `ping-int` and `connect-int`.
pub const DRBD_TIMEOUT_DS: u64 = 9;
/// DRBD's `ping-int`, in seconds: how long a connection may be idle before the peer is asked whether it lives. As short as
/// DRBD takes it: two nodes that lose each other notice at most so much apart, and the standby's delay before it claims
/// has to cover that (`failover.standby_delay`), or a cut cable would move what works.
pub const DRBD_PING_S: u64 = 1;
/// DRBD's `ping-timeout`, in tenths of a second: a kernel that is alive answers in milliseconds, and one that was held up
/// by a second would have been frozen for longer by its clients' measure too.
pub const DRBD_PING_TIMEOUT_DS: u64 = 10;
/// DRBD's `connect-int`, in seconds between attempts to connect.
pub const DRBD_CONNECT_S: u64 = 3;
/// DRBD's `ko-count`: after so many timeouts a peer that answers pings and writes nothing is dropped. Nine seconds: an SD
/// card that erases stalls for some, and must not cost the copy.
pub const DRBD_KO_COUNT: u64 = 10;
// DRBD refuses a timeout that is not below both intervals.
const _: () = assert!(DRBD_TIMEOUT_DS < DRBD_PING_S * 10 && DRBD_TIMEOUT_DS < DRBD_CONNECT_S * 10);

/// VRRP's interval between adverts, in seconds. Leaving FAULT costs three of them.
pub const ADVERT_INTERVAL: &str = "0.2";
/// Longest answer of the fence handler where it only asks (see [`handler_ms`]), in milliseconds.
pub const HANDLER_MS: u64 = 2_000;
/// systemd's watchdog over the agent (`WatchdogSec` of its unit), in milliseconds.
pub const AGENT_WATCHDOG_MS: u64 = 6_000;
/// The hardware watchdog's time while the machine boots, in milliseconds: nothing depends on it then.
pub const BOOT_WATCHDOG_MS: u64 = 120_000;
/// For what is not measured: the reset itself, scheduling, a clock that runs slow.
pub const MARGIN_MS: u64 = 2_000;

/// One part of a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// Milliseconds.
    pub millis: u64,
    /// Where the number comes from.
    pub from: String,
}

/// After this time without a sign, a node that had storage or virtual IP has reset itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfFence {
    /// What it is made of, in the order in which it passes.
    pub parts: Vec<Part>,
}

impl SelfFence {
    /// The sum in milliseconds.
    #[must_use]
    pub fn total_ms(&self) -> u64 {
        self.parts.iter().map(|part| part.millis).sum()
    }
}

/// Time until DRBD reports a lost peer, at worst, in milliseconds: an idle connection waits for the next ping and its
/// answer; one with work to do waits for `timeout`, which is shorter.
#[must_use]
pub const fn detection_ms() -> u64 {
    let idle = DRBD_PING_S * 1000 + DRBD_PING_TIMEOUT_DS * 100;
    let busy = DRBD_TIMEOUT_DS * 100;
    if idle > busy { idle } else { busy }
}

/// Longest answer of the fence handler of this pair, in milliseconds. In mode `fence` the answer is the other box's power, read
/// back as off, and the kernel waits for it as long as that may take; it is frozen meanwhile either way.
#[must_use]
pub fn handler_ms(seed: &Seed) -> u64 {
    match seed.failover.mode {
        FailoverMode::Fence => seed.failover.fence_timeout_ms + HANDLER_MS,
        FailoverMode::Witness(_) | FailoverMode::Manual | FailoverMode::AvailabilityFirst => HANDLER_MS,
    }
}

/// The self-fence time of a pair: detection, handler, the agent's watchdog, the hardware's watchdog, margin.
///
/// `None` without a hardware watchdog: then nothing is ever concluded from time alone.
#[must_use]
pub fn self_fence(seed: &Seed) -> Option<SelfFence> {
    if !seed.watchdog.enabled {
        return None;
    }
    let part = |name, millis, from: &str| Part { name, millis, from: from.to_owned() };
    Some(SelfFence {
        parts: vec![
            part("detection", detection_ms(), "DRBD ping-int + ping-timeout"),
            match seed.failover.mode {
                FailoverMode::Fence => {
                    part("handler", handler_ms(seed), "failover.fence_timeout, and the handler itself")
                }
                _ => part("handler", HANDLER_MS, "bound of the fence handler"),
            },
            part("agent watchdog", AGENT_WATCHDOG_MS, "WatchdogSec of the agent"),
            part("hardware watchdog", seed.watchdog.timeout_ms, "watchdog.timeout in the seed"),
            part("margin", MARGIN_MS, "reset, scheduling, a slow clock"),
        ],
    })
}
