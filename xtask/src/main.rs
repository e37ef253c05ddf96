//! Tasks of the workspace: `cargo xtask TASK …`, one module per task.

mod bench;
mod layout_law;
mod mutants;
mod repro;
mod run;
mod soak;
mod test;

use std::process::ExitCode;

const TASKS: &str = "There is: test, check-layout, repro, mutants [FILE …], bench NAME, soak NAME";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((task, rest)) if task == "bench" => bench::run(rest),
        Some((task, rest)) if task == "repro" => repro::run(rest),
        Some((task, rest)) if task == "soak" => soak::run(rest),
        Some((task, rest)) if task == "test" => test::run(rest),
        Some((task, rest)) if task == "mutants" => mutants::run(rest),
        Some((task, _)) if task == "check-layout" => layout_law::run(),
        Some((task, _)) => Err(format!("`{task}` is no task. {TASKS}")),
        None => Err(format!("which task? {TASKS}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
