//! DRBD 8.4 as the agent sees it.
//!
//! Two sources, because neither is enough alone. `drbdsetup events2` says *that* something changed, and that a link
//! was lost which is back already; but it describes one change of state in several lines, and a state put together
//! from half of them is one that never was. `/proc/drbd` shows the whole state as one value of the kernel
//! (`drivers/block/drbd/drbd_proc.c`: `state = device->state`). So each line is a reason to look, and what is seen
//! is [`proc::View`](pair_core::view::View).
//!
//! - [`events`]: a line of `events2`. Pure.
//! - [`proc`]: the text of `/proc/drbd`. Pure.
//! - [`stream`]: the running `drbdsetup events2`.
//! - [`orders`]: the commands that the pair core asks for, as data.
pub mod events;
pub mod orders;
pub mod proc;
pub mod stream;
