//! `cargo xtask bench NAME`: measurements, one JSON object per line on stdout.

mod witness;

/// Runs the benchmark of that name with the rest of the arguments.
pub fn run(arguments: &[String]) -> Result<(), String> {
    match arguments.split_first() {
        Some((name, rest)) if name == "witness" => witness::run(rest),
        _ => Err("which? There is: witness".into()),
    }
}
