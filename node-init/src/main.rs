//! The `node-init` program. Arguments are read in [`node_init::commands`]; nothing happens here.

use std::process::ExitCode;

fn main() -> ExitCode {
    node_init::commands::main()
}
