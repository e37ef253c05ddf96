//! Lines as k3s logs them, so that what reads k3s's journal reads the stand-in's.

use crate::clock;

fn line(level: &str, message: &str) {
    eprintln!("time=\"{}\" level={level} msg={message:?}", clock::stamp());
}

/// Something went as it should.
pub fn info(message: &str) {
    line("info", message);
}

/// Something went wrong that is tried again.
pub fn error(message: &str) {
    line("error", message);
}

/// Nothing can be done any more.
pub fn fatal(message: &str) -> ! {
    line("fatal", message);
    std::process::exit(1)
}
