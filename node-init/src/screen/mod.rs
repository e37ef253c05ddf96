//! The one screen that every console shows, serial lines included: what this box is, where it is, what is wrong.
//!
//! [`render`] is pure; [`run`] collects what it shows and draws again when something changed.

mod addresses;

use crate::facts::{Booted, Facts, Problem, Progress, Provisioned, Ready, State, image_info};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

/// Findings of one problem that are shown.
const FINDINGS: usize = 20;

/// Everything on the screen.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Image name and version, board.
    pub image: String,
    /// Host name.
    pub host_name: String,
    /// Found by the stages of this boot.
    pub booted: Option<Booted>,
    /// Found by `provision`.
    pub provisioned: Option<Provisioned>,
    /// A step that takes long.
    pub progress: Option<Progress>,
    /// Found by `ready`.
    pub ready: Option<Ready>,
    /// Interface and addresses.
    pub addresses: Vec<(String, Vec<String>)>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// The screen as lines of plain text, at most 78 columns where the content allows.
pub fn render(view: &View) -> String {
    let mut text = String::new();
    let line = |text: &mut String, label: &str, value: &str| {
        let _ = writeln!(text, "  {label:<10} {value}");
    };
    let _ = writeln!(text, "{}", "=".repeat(78));
    line(&mut text, "node", &view.host_name);
    if let Some(member) = view.provisioned.as_ref().and_then(|provisioned| provisioned.member.as_ref()) {
        line(&mut text, "pair", member);
    }
    line(&mut text, "version", &view.image);
    let slot =
        view.booted.as_ref().map_or("not known".to_owned(), |booted| match (&booted.slot, &booted.disk) {
            (Some(slot), Some(disk)) => format!("{slot} on {disk}"),
            _ => "none (not booted from a disk)".to_owned(),
        });
    line(&mut text, "slot", &slot);
    if view.booted.as_ref().is_some_and(|booted| booted.state == State::Memory) {
        line(&mut text, "state", "IN MEMORY: nothing is kept over a reboot");
    }
    if view.addresses.is_empty() {
        line(&mut text, "addresses", "none: no network link, or no answer yet");
    }
    for (index, (name, list)) in view.addresses.iter().enumerate() {
        line(&mut text, if index == 0 { "addresses" } else { "" }, &format!("{name}  {}", list.join("  ")));
    }
    let status = match &view.ready {
        None => "starting".to_owned(),
        Some(ready) if ready.failed_units.is_empty() => {
            format!("ready after {:.1} s, {}", ready.seconds, ready.verdict)
        }
        Some(ready) => format!(
            "up after {:.1} s, NOT WELL: {} failed units; {}",
            ready.seconds,
            ready.failed_units.len(),
            ready.verdict
        ),
    };
    line(&mut text, "status", &status);
    for (index, what) in view.provisioned.iter().flat_map(|facts| &facts.waiting).enumerate() {
        line(&mut text, if index == 0 { "waits for" } else { "" }, what);
    }
    if let Some(progress) = &view.progress {
        let left = progress.seconds_left.map(|left| format!(", about {left} s left")).unwrap_or_default();
        line(&mut text, "doing", &format!("{}: {} %{left}", progress.what, progress.percent));
    }
    for problem in &view.problems {
        let _ = writeln!(text, "  WRONG      {}", problem.what);
        for finding in problem.lines.iter().take(FINDINGS) {
            let _ = writeln!(text, "             {finding}");
        }
        if problem.lines.len() > FINDINGS {
            let _ =
                writeln!(text, "             and {} more, in the journal", problem.lines.len() - FINDINGS);
        }
        let _ = writeln!(text, "    to do:   {}", problem.fix);
    }
    let _ = writeln!(text, "{}", "=".repeat(78));
    text
}

fn collect() -> View {
    let facts = Facts::default();
    let root = Path::new("/");
    let info = |key: &str| image_info(root, key).unwrap_or_else(|| "not known".to_owned());
    View {
        image: format!("{} {} for {}", info("IMAGE_ID"), info("IMAGE_VERSION"), info("BOARD")),
        host_name: nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        booted: facts.get("booted"),
        provisioned: facts.get("provisioned"),
        progress: facts.get("progress"),
        ready: facts.get("ready"),
        addresses: addresses::list(),
        problems: facts.problems(),
    }
}

/// Draws the screen on standard output; again whenever it changed, until stopped.
///
/// # Errors
/// When the terminal is gone.
pub fn run(once: bool) -> anyhow::Result<()> {
    let mut shown = String::new();
    loop {
        let text = render(&collect());
        if text != shown {
            let mut out = std::io::stdout().lock();
            if !once {
                // Clear and go home (ECMA-48 ED, CUP). A terminal in raw mode needs the carriage return.
                out.write_all(b"\x1b[2J\x1b[H")?;
            }
            out.write_all(text.replace('\n', if once { "\n" } else { "\r\n" }).as_bytes())?;
            out.flush()?;
            shown = text;
        }
        if once {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_says_what_it_waits_for_and_what_is_wrong() {
        let view = View {
            image: "edgepair 0.1.0 for x86-64".into(),
            host_name: "edgepair-012345".into(),
            booted: Some(Booted {
                slot: Some("A".into()),
                disk: Some("vda".into()),
                state: State::Memory,
                first_boot: true,
            }),
            provisioned: Some(Provisioned {
                waiting: vec!["a seed".into()],
                member: Some("b of site-042".into()),
                ..Provisioned::default()
            }),
            progress: Some(Progress { what: "writing".into(), percent: 37, seconds_left: Some(9) }),
            ready: Some(Ready {
                failed_units: vec!["x.service".into()],
                seconds: 12.34,
                verdict: "undecided".into(),
            }),
            addresses: vec![("eth0".into(), vec!["192.0.2.7/24".into()])],
            problems: vec![Problem {
                what: "no room".into(),
                fix: "use a larger disk".into(),
                lines: (1..=25).map(|line| format!("seed.toml:{line}:1: error")).collect(),
            }],
        };
        let text = render(&view);
        for part in [
            "edgepair-012345",
            "A on vda",
            "IN MEMORY",
            "eth0  192.0.2.7/24",
            "NOT WELL: 1 failed units",
            "waits for  a seed",
            "WRONG      no room",
            "seed.toml:20:1: error\n             and 5 more",
            "pair       b of site-042",
            "writing: 37 %, about 9 s left",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let well = render(&View {
            ready: Some(Ready { failed_units: vec![], seconds: 1.0, verdict: "good".into() }),
            problems: vec![],
            ..view
        });
        assert!(well.contains("ready after 1.0 s, good") && !well.contains("WRONG"), "{well}");
    }
}
