//! `cargo xtask bench NAME`: measurements, one JSON object per line on stdout.

mod boot;
mod build;
mod failover;
mod update;
mod witness;

use std::time::Instant;

/// Runs the benchmark of that name with the rest of the arguments.
pub fn run(arguments: &[String]) -> Result<(), String> {
    match arguments.split_first() {
        Some((name, rest)) if name == "witness" => witness::run(rest),
        Some((name, rest)) if name == "build" => build::run(rest),
        Some((name, rest)) if name == "boot" => boot::run(rest),
        Some((name, rest)) if name == "failover" => failover::run(rest),
        Some((name, rest)) if name == "update" => update::run(rest),
        _ => Err("which? There is: build, boot, failover, update, witness".into()),
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

/// What was measured of one thing, ours and a peer's in turn; the best of the runs stands for each.
struct Figure {
    /// What, with the benchmark's name before it.
    name: String,
    unit: &'static str,
    ours: Vec<f32>,
    peer: Vec<f32>,
    peer_name: &'static str,
    conditions: String,
}

impl Figure {
    /// One JSON object.
    fn line(&self) -> String {
        let best = |runs: &[f32]| runs.iter().copied().reduce(f32::min);
        let (ours, peer) = (best(&self.ours), best(&self.peer));
        let show = |value: Option<f32>| value.map_or("null".to_owned(), |value| format!("{value:.2}"));
        let list = |runs: &[f32]| runs.iter().map(|run| format!("{run:.2}")).collect::<Vec<_>>().join(",");
        format!(
            "{{\"name\":\"{}\",\"unit\":\"{}\",\"ours\":{},\"peer\":{},\"peer_name\":{},\"ratio\":{},\"runs\":{{\"ours\":[{}],\"peer\":[{}]}},\"conditions\":\"{}\"}}",
            self.name,
            self.unit,
            show(ours),
            show(peer),
            if peer.is_some() { format!("\"{}\"", self.peer_name) } else { "null".to_owned() },
            show(ours.zip(peer).map(|(ours, peer)| ours / peer)),
            list(&self.ours),
            list(&self.peer),
            self.conditions
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Figure;

    #[test]
    fn a_figure_is_one_json_object_with_the_ratio_of_the_best_runs() {
        let mut figure = Figure {
            name: "build/clean".into(),
            unit: "s",
            ours: vec![60.0, 50.0],
            peer: vec![100.0, 120.0],
            peer_name: "mkosi",
            conditions: "2 processors".into(),
        };
        assert_eq!(
            figure.line(),
            r#"{"name":"build/clean","unit":"s","ours":50.00,"peer":100.00,"peer_name":"mkosi","ratio":0.50,"runs":{"ours":[60.00,50.00],"peer":[100.00,120.00]},"conditions":"2 processors"}"#
        );
        figure.peer.clear();
        assert!(figure.line().contains(r#""peer":null,"peer_name":null,"ratio":null"#), "{}", figure.line());
    }
}
