//! What this node is to be: observe → plan → take one step → observe again.
//!
//! ```text
//! early (initrd)     kept seed ─► files and unit links in /etc, before PID 1 reads them
//! configure          seed found, checked, taken ─► kept, host key, files, units      before the network
//! storage            backing file ─► loop device ─► metadata ─► attached to DRBD     beside the network
//! ```
//!
//! The second and third are `node-init provision`; running it twice changes nothing, and a power cut anywhere is
//! answered by running it again. On a box that has its seed, the first has done everything that the second would do.

pub mod configure;
mod early;
mod report;
mod run;
pub mod seed;
pub mod storage;

pub use early::render_before_boot;
pub use run::{Apply, Phase, Request, clock, run};
