//! A node apart from its pair runs no pods: the active one has them started elsewhere once its time is over, and a volume
//! must not be written by two. The active node itself resets when it is alone; this is the rule for the other one
//! (docs/protocol.md).

use super::{Agent, Input};
use crate::agent::log;
use crate::extension::decide::Layout;
use edgepair_render::names::{K3S_AGENT_UNIT, K3S_SERVER_UNIT, PODS_END_UNIT};
use pair_core::event::Timer;
use pair_core::view::Role;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::Instant;

/// After an attempt that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known of k3s here, as far as being apart goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Pods {
    /// The agent has just begun: an earlier one may have stopped it.
    #[default]
    Unknown,
    /// It may run.
    Allowed,
    /// It was stopped.
    Ended,
}

/// Since when, and what was done about it.
#[derive(Debug, Default)]
pub(super) struct Apart {
    pods: Pods,
    since: Option<Instant>,
    working: bool,
    next: Option<Instant>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    End,
    Allow,
}

/// Pure. `apart`: for how long already. The other node waits for `limit` before it has the pods started elsewhere: half of it
/// leaves the rest for the work.
fn due(pods: Pods, apart: Option<Duration>, limit: Duration) -> Option<Due> {
    match apart {
        None => (pods != Pods::Allowed).then_some(Due::Allow),
        Some(apart) => (pods != Pods::Ended && apart >= limit / 2).then_some(Due::End),
    }
}

impl Agent {
    pub(super) fn apart_tick(&mut self) {
        let Some(kubernetes) = self.config.kubernetes.filter(|kubernetes| kubernetes.taint) else { return };
        let view = self.node.view();
        let together = view.connected() || view.role == Role::Primary;
        let now = Instant::now();
        let apart = if together {
            self.apart.since = None;
            None
        } else {
            Some(now.duration_since(*self.apart.since.get_or_insert(now)))
        };
        if self.apart.working || self.apart.next.is_some_and(|next| next > now) {
            return;
        }
        // As long as the other node waits before it takes this one for gone.
        let limit = self.config.duration(Timer::PeerGone, 0, false);
        let Some(due) = due(self.apart.pods, apart, limit) else { return };
        self.apart.working = true;
        let (units, inputs) = (Rc::clone(&self.ports.units), self.inputs.clone());
        let goal = self.service.watch_goal();
        if due == Due::End {
            log::warn("the other node is out of reach and may be active: the pods of this one end");
        }
        spawn_local(async move {
            let work = async {
                match due {
                    Due::End => {
                        // Twice: k3s may have been about to start again in between.
                        units.start(PODS_END_UNIT).await?;
                        units.stop(K3S_SERVER_UNIT).await?;
                        units.stop(K3S_AGENT_UNIT).await?;
                        units.start(PODS_END_UNIT).await
                    }
                    Due::Allow => match (kubernetes.layout, *goal.borrow()) {
                        (Layout::TwoServers, _) => units.begin(K3S_SERVER_UNIT).await,
                        // Of one server for both, the service takes care.
                        (Layout::OneServer, Some(false)) => units.begin(K3S_AGENT_UNIT).await,
                        (Layout::OneServer, _) => Ok(()),
                    },
                }
            };
            let result: anyhow::Result<()> = work.await;
            let result = result.map(|()| due == Due::End).map_err(|error| format!("{error:#}"));
            let _ = inputs.send(Input::Apart(result)).await;
        });
    }

    /// The pods were ended (true) or may run again, or that failed.
    pub(super) fn apart_done(&mut self, result: Result<bool, String>) {
        self.apart.working = false;
        self.apart.next = None;
        match result {
            Ok(true) => self.apart.pods = Pods::Ended,
            Ok(false) => self.apart.pods = Pods::Allowed,
            Err(error) => {
                self.apart.next = Some(Instant::now() + AGAIN);
                log::warn(&format!("k3s apart from the pair: {error}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_end_well_before_the_other_node_starts_them_and_come_back_with_the_pair() {
        let limit = Duration::from_secs(20);
        let after = |pods, seconds| due(pods, Some(Duration::from_secs(seconds)), limit);
        assert_eq!(after(Pods::Allowed, 9), None, "a link that comes and goes costs nothing");
        assert_eq!(after(Pods::Allowed, 10), Some(Due::End));
        assert_eq!(after(Pods::Unknown, 10), Some(Due::End), "k3s starts with the box");
        assert_eq!(after(Pods::Ended, 1000), None);
        assert_eq!(due(Pods::Ended, None, limit), Some(Due::Allow));
        assert_eq!(due(Pods::Unknown, None, limit), Some(Due::Allow), "an earlier agent may have ended them");
        assert_eq!(due(Pods::Allowed, None, limit), None);
    }
}
