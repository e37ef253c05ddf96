//! Virtual machines that boot the very image a user flashes: the lab of `edgepair lab`, and the scenarios that test it.
//!
//! * [`harness`]: machine, network, serial line, a shell inside the guest.
//! * [`scenarios`]: one file each; what is done and what must come out.
//!
//! Nothing in here is part of an image. What a guest needs for a test (the shell on a virtio port) is given to it from
//! outside as systemd credentials, so the image under test is not changed.

pub mod harness;
pub mod scenarios;
