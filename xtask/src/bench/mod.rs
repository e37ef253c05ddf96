//! `cargo xtask bench NAME`: measurements, one JSON object per line on stdout.

mod boot;
mod build;
mod witness;

use std::time::Instant;

/// Runs the benchmark of that name with the rest of the arguments.
pub fn run(arguments: &[String]) -> Result<(), String> {
    match arguments.split_first() {
        Some((name, rest)) if name == "witness" => witness::run(rest),
        Some((name, rest)) if name == "build" => build::run(rest),
        Some((name, rest)) if name == "boot" => boot::run(rest),
        _ => Err("which? There is: build, boot, witness".into()),
    }
}

/// Seconds since the first call.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn seconds() -> f32 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f32()
}

/// How busy the machine was: a figure measured beside other work says little.
struct Load(String);

impl Load {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self(text.split(' ').next().filter(|first| !first.is_empty()).unwrap_or("null").to_owned())
    }
}

/// One JSON object; values are JSON already.
fn line(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}
